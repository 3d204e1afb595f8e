"""The option tables of the README, between `<!-- options:NAME -->` and `<!-- /options:NAME -->`."""

from __future__ import annotations

from itertools import groupby

from pync.cli.generate.model import CommandModel


def fill(page: str, commands: tuple[CommandModel, ...]) -> str:
    """`page` with each table that has its marks in it made anew."""
    for command in commands:
        start, end = f"<!-- options:{command.name} -->", f"<!-- /options:{command.name} -->"
        before, found, after = page.partition(start)
        _, closed, rest = after.partition(end)
        if found and closed:
            page = f"{before}{start}\n{_table(command)}{end}{rest}"
    return page


def _table(command: CommandModel) -> str:
    lines = ["| option | meaning |", "|---|---|"]
    for panel, options in groupby(command.options, key=lambda option: option.panel):
        lines.append(f"| **{panel}** | |")
        lines += [f"| `{_cell(option.words)}` | {_cell(option.help)} |" for option in options]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text
