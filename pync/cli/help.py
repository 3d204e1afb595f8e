"""How a command's help looks, and the two things about words that Typer's parser does not know.

The help is made from what Typer knows of a command (usage, help, panels, epilog) and drawn in two columns,
or, on a narrow terminal, with the text below the option.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup

from pync.cli.stdout import write
from pync.errors import UsageError

_NARROW = 76  # columns below which the text of an option goes on the line after its name
_WIDEST = 100  # longer lines are harder to read, however wide the terminal
_COLUMN = 28  # where the texts begin


class Command(TyperCommand):
    """A command: `--secret` alone takes no value, and scan's words after `--` are a program to run."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(p.metavar or "" for p in self.params if p.param_type_name == "argument")]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args, program, seconds = split_words(self, list(args))
        rest = super().parse_args(ctx, args)
        if seconds is not None and self.name in ("connect", "listen") and len(ctx.params["words"]) > 1:
            # `listen -q 1 9000` would parse, as host 1; nobody means that.
            hint = f"-q is --quiet; to end {seconds} s after our input ended: --quit-after {seconds}"
            raise UsageError(f"{self.name}: -q takes no value", hint=hint)
        if self.name == "scan":
            ctx.params["command"] = tuple(program or ())
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write_help(self, ctx)


class Group(TyperGroup):
    """`pync` itself."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write_help(self, ctx)


def split_words(command: Any, args: list[str]) -> tuple[list[str], list[str] | None, str | None]:
    """`args` with a bare `--secret` spelt `--secret=`; scan's words after `--`; the number after a `-q`.

    Walks as the parser will: a value is never taken for an option.
    """
    takes_value = {name for param in command.params if _takes_value(param) for name in param.opts}
    done: list[str] = []
    seconds = None
    words = iter(args)
    for word in words:
        if seconds == "":
            seconds = word if word.isdigit() else None
        if word == "--":
            rest = list(words)
            if command.name == "scan":
                return done, rest, seconds
            return [*done, "--", *rest], None, seconds
        if word == "-q":
            seconds = ""
        done.append("--secret=" if word == "--secret" and word in takes_value else word)
        if _wants_more(word, takes_value):
            done.extend([following for following in [next(words, None)] if following is not None])
    return done, None, seconds or None


def _takes_value(param: Any) -> bool:
    return param.param_type_name == "option" and not (param.is_flag or param.count)


def _wants_more(word: str, takes_value: set[str]) -> bool:
    """Whether the value of an option, or of a cluster such as `-vw`, is the next word."""
    if word == "--secret":
        return False
    if word in takes_value:
        return True
    if word.startswith("-") and not word.startswith("--"):
        for place, letter in enumerate(word[1:], start=1):
            if f"-{letter}" in takes_value:
                return place == len(word) - 1
    return False


def write_help(command: Any, ctx: Any) -> None:
    """The help of `command` on stdout, coloured only there where a terminal shows it."""
    width = min(_columns(), _WIDEST)
    colour = _colour()
    lines = _help_lines(command, ctx, width, colour)
    # Not simply 1: the help of `pync` alone is redirected to stderr.
    write("".join(f"{line.rstrip()}\n" for line in lines), sys.stdout.fileno())


def _columns() -> int:
    """Of the terminal stdout goes to; COLUMNS wins, 80 where neither says."""
    if os.environ.get("COLUMNS", "").isdigit():
        return max(int(os.environ["COLUMNS"]), 40)
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).columns or 80, 40)
    except (OSError, ValueError):
        return 80


def _colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _help_lines(command: Any, ctx: Any, width: int, colour: bool) -> Iterator[str]:
    pieces = " ".join(command.collect_usage_pieces(ctx))
    yield from textwrap.wrap(f"Usage: {ctx.command_path} {pieces}", width, subsequent_indent="       ")
    for paragraph in (command.help or "").split("\n\n"):
        yield ""
        yield from textwrap.wrap(paragraph, width, break_long_words=False)
    if isinstance(command, TyperGroup):
        yield from _panel("Commands", _command_rows(command, ctx), width, colour)
    panels: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        if param.param_type_name == "option" and not param.hidden:
            is_help = param.name == "help"
            panel = getattr(param, "rich_help_panel", None) or (list(panels)[-1] if panels else "Options")
            text = "Print this help" if is_help else param.help or ""
            panels.setdefault(panel, []).append((option_words(param), text))
    for title, rows in panels.items():
        yield from _panel(title, rows, width, colour)
    if command.epilog:
        yield ""
        yield _paint("Examples", "1", colour)
        yield from (f"  {line}" for line in command.epilog.split("\n"))


def _command_rows(group: Any, ctx: Any) -> list[tuple[str, str]]:
    commands = [(name, group.get_command(ctx, name)) for name in group.list_commands(ctx)]
    return [(name, (found.help or "").split("\n\n")[0]) for name, found in commands]


def option_words(param: Any) -> str:
    """`-w, --timeout D`, as the help and the manual show it."""
    shorts = sorted(name for name in param.opts if not name.startswith("--"))
    longs = [name for name in (*param.opts, *param.secondary_opts) if name.startswith("--")]
    names = ", ".join([*shorts, " / ".join(longs)])
    if not _takes_value(param):
        return names
    metavar = param.metavar or "TEXT"
    return f"{names}[={metavar}]" if "--secret" in param.opts else f"{names} {metavar}"


def _panel(title: str, rows: list[tuple[str, str]], width: int, colour: bool) -> Iterator[str]:
    yield ""
    yield _paint(title, "1", colour)
    for words, text in rows:
        # Options without a letter line up with the long names of the others.
        shown = f"      {words}" if words.startswith("--") else f"  {words}"
        yield from _row(shown, text, width, colour)


def _row(shown: str, text: str, width: int, colour: bool) -> Iterator[str]:
    column = _COLUMN if width >= _NARROW else 10
    lines = textwrap.wrap(text, width - column, break_long_words=False, break_on_hyphens=False)
    painted = _paint(shown, "36", colour)
    if len(shown) + 2 <= column and lines:
        yield painted + " " * (column - len(shown)) + lines.pop(0)
    else:
        yield painted
    for line in lines:
        yield " " * column + line


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if colour else text
