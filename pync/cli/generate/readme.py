"""The option tables of the README, between `<!-- options:NAME -->` and `<!-- /options:NAME -->`."""

from __future__ import annotations

from itertools import groupby

from pync.cli.generate.model import CommandModel, Option


def fill(page: str, commands: tuple[CommandModel, ...]) -> str:
    """`page` with each table that has its marks in it made anew.

    The first command's table is whole; what another has in the same words is only named in its own.
    """
    first = commands[0]
    for command in commands:
        start, end = f"<!-- options:{command.name} -->", f"<!-- /options:{command.name} -->"
        before, found, after = page.partition(start)
        _, closed, rest = after.partition(end)
        if found and closed:
            known = {} if command is first else {(o.words, o.help): o for o in first.options}
            page = f"{before}{start}\n{_table(command, known)}{_also(command, first, known)}{end}{rest}"
    return page


def _table(command: CommandModel, known: dict[tuple[str, str], Option]) -> str:
    lines = ["| option | meaning |", "|---|---|"]
    own = [option for option in command.options if (option.words, option.help) not in known]
    for panel, options in groupby(own, key=lambda option: option.panel):
        lines.append(f"| **{panel}** | |")
        lines += [f"| `{_cell(option.words)}` | {_cell(option.help)} |" for option in options]
    return "\n".join(lines) + "\n"


def _also(command: CommandModel, first: CommandModel, known: dict[tuple[str, str], Option]) -> str:
    same = [option for option in command.options if (option.words, option.help) in known]
    if not same:
        return ""
    names = " ".join(f"`{(option.letters or (option.long,))[0]}`" for option in same)
    return f"\nAs for {first.name}: {names}.\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
