"""The manual: pync.1 and one page a command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from pync.cli.app import ONE_LINE, PYNC_EXAMPLES
from pync.cli.generate import man_transfer
from pync.cli.generate.man_roff import head, prose, roff, see_also
from pync.cli.generate.man_text import DURATIONS, ENDPOINTS, ENVIRONMENT, EVENTS, EXIT_STATUS, FILES, SIZES
from pync.cli.generate.model import CommandModel, Option, before_any_command

_MANUAL = "User Commands"
_HELP = [".TP", "\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "Print the help."]


def write(commands: tuple[CommandModel, ...]) -> dict[str, str]:
    """File name -> roff."""
    pages = {f"pync-{command.name}.1": _command_page(command, commands) for command in commands}
    return {"pync.1": _main_page(commands), **pages, "pync-transfer.7": man_transfer.write()}


def _examples(lines: tuple[str, ...]) -> list[str]:
    return [".SH EXAMPLES", ".EX", *(roff(line) for line in lines), ".EE"]


def _main_page(commands: tuple[CommandModel, ...]) -> str:
    lines = head("pync", 1, ONE_LINE, _MANUAL)
    lines += [".SH SYNOPSIS"]
    for place, command in enumerate(commands):
        lines += [*([".br"] if place else []), _synopsis(command)]
    lines += _examples(tuple(PYNC_EXAMPLES))
    lines += [
        ".SH DESCRIPTION",
        prose("Standard output carries data and nothing else; all words go to standard error."),
    ]
    for command in commands:
        lines += [".TP", f".BR pync\\-{command.name} (1)", prose(command.summary)]
    lines += [".SS Endpoints", *_list(ENDPOINTS)]
    lines += [".SS Durations, sizes and rates", prose(DURATIONS), ".PP", prose(SIZES)]
    lines += [".SH OPTIONS"]
    for option in before_any_command():
        lines += [".TP", _option(option), _sentence(option.help)]
    lines += [*_HELP, *_tail()]
    lines += [".SH EVENTS", *_events()]
    lines += [
        ".SH SEE ALSO",
        see_also([*((f"pync-{command.name}", 1) for command in commands), ("pync-transfer", 7)]),
    ]
    return "\n".join(lines) + "\n"


def _command_page(command: CommandModel, commands: tuple[CommandModel, ...]) -> str:
    name = f"pync-{command.name}"
    summary = command.summary.rstrip(".")
    lines = head(name, 1, summary[0].lower() + summary[1:], _MANUAL)
    lines += [".SH SYNOPSIS", _synopsis(command), *_examples(command.examples)]
    lines += [".SH DESCRIPTION", prose(command.summary)]
    for paragraph in command.details:
        lines += [".PP", prose(paragraph)]
    lines += [".PP", "Endpoints, durations and sizes are explained in", ".BR pync (1)."]
    lines += [".SH OPTIONS"]
    for panel, options in groupby(command.options, key=lambda option: option.panel):
        lines.append(f".SS {prose(panel)}")
        for option in options:
            lines += [".TP", _option(option), _sentence(option.help)]
    lines += [*_HELP, *_tail()]
    others = [("pync", 1), *((f"pync-{other.name}", 1) for other in commands if other is not command)]
    others += [("pync-transfer", 7)] if command.name in ("send", "recv") else []
    lines += [".SH SEE ALSO", see_also(others)]
    return "\n".join(lines) + "\n"


def _synopsis(command: CommandModel) -> str:
    return f"\\fBpync {command.name}\\fR [\\fIOPTIONS\\fR] \\fI{roff(command.usage)}\\fR"


def _option(option: Option) -> str:
    names = [*option.letters, " / ".join([option.long, *option.off_names])]
    shown = ", ".join(" / ".join(f"\\fB{roff(part)}\\fR" for part in name.split(" / ")) for name in names)
    if option.kind is None:
        return shown
    metavar = roff(option.kind.metavar)
    return f"{shown}[=\\fI{metavar}\\fR]" if option.action == "optional" else f"{shown} \\fI{metavar}\\fR"


def _sentence(text: str) -> str:
    return prose(text if text.endswith(".") else f"{text}.")


def _list(rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for words, text in rows:
        yield from (".TP", f"\\fB{roff(words)}\\fR", _sentence(text))


def _tail() -> list[str]:
    return [
        *(".SH EXIT STATUS", *_list(EXIT_STATUS)),
        *(".SH ENVIRONMENT", *_list(ENVIRONMENT)),
        *(".SH FILES", *_list(FILES)),
    ]


def _events() -> Iterator[str]:
    """From the schema that is shipped with the package."""
    path = Path(__file__).parents[1] / "events.schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    yield prose(EVENTS)
    for kind, event in schema["$defs"].items():
        yield from (f".SS {kind}", prose(event["description"]))
        for name, fact in event["properties"].items():
            mark = "*" if name in event.get("required", ()) else ""
            yield from (".TP", f"\\fB{roff(name)}\\fR{mark}", _sentence(_fact(fact)))


def _fact(fact: dict[str, Any]) -> str:
    kind = fact.get("type")
    types = kind if isinstance(kind, list) else [kind] if kind else []
    values = ", ".join(fact.get("enum", ()))
    said = " or ".join(types) if types else f"one of {values}"
    return f"{said}: {fact['description']}"
