"""The parser for the common case: a plain, valid command line, without importing Typer.

It answers only what it is sure of. Help, mistakes and oddities get None, and Typer, which
declares the flags, decides. Whatever this parser does answer, Typer answers alike; a property test holds
that.
"""

from __future__ import annotations

from pync.cli import values as kinds
from pync.cli.build import build
from pync.cli.quick_table import COMMANDS, ROWS
from pync.commands.options import Shared
from pync.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = tuple[str, str, tuple[str, ...], str, tuple[Any, ...]]


class _Unsure(Exception):
    """Not plain, or not valid: for Typer."""


def names_a_scan(letters: str) -> bool:
    """Whether `-s` with these letters is a kind of scan, as nmap has them (`-sT`), and hardly an address."""
    return 0 < len(letters) <= 4 and not letters.strip("STAWMNFXYZUVCOnPL")


def parse(arguments: list[str]) -> tuple[str, Shared] | None:
    """The command and its Options, or None."""
    if not arguments or arguments[0] not in COMMANDS:
        return None
    try:
        reading = _Reading(arguments[0], arguments[1:])
        reading.read()
        return arguments[0], build(arguments[0], reading.words, reading.converted())
    except (_Unsure, UsageError):
        return None


class _Reading:
    """One pass over the words after the command."""

    def __init__(self, command: str, arguments: list[str]) -> None:
        self.command = command
        self.rows: dict[str, Row] = {name: ROWS[n] for n in COMMANDS[command] for name in ROWS[n][2]}
        self.queue = arguments[::-1]
        self.words: list[str] = []
        self.values: dict[str, Any] = {}
        self.unread: list[tuple[Row, str]] = []

    def read(self) -> None:
        number_after_q = False
        while self.queue:
            word = self.queue.pop()
            if word == "--":
                self._rest()
            elif word.startswith("--"):
                self._long(word)
            elif len(word) > 1 and word[0] == "-":
                number_after_q |= word == "-q" and bool(self.queue) and self.queue[-1].isdigit()
                self._cluster(word)
            else:
                self.words.append(word)
        if number_after_q and len(self.words) > 1:
            raise _Unsure  # perhaps the `-q SECONDS` of another netcat

    def _rest(self) -> None:
        rest = self.queue[::-1]
        self.queue.clear()
        if self.command == "scan":
            self.values["command"] = tuple(rest)
        else:
            self.words += rest

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        row = self._row(name)
        if row[1] in ("value", "append"):
            self._set(row, value if equals else self._next())
        elif row[1] == "optional":
            self._set(row, value)
        elif equals:
            raise _Unsure
        else:
            self._switch(row)

    def _cluster(self, word: str) -> None:
        for place, letter in enumerate(word[1:], start=2):
            row = self._row(f"-{letter}")
            if row[1] in ("value", "append"):
                if self.command == "scan" and letter == "s" and names_a_scan(word[place:]):
                    raise _Unsure
                self._set(row, word[place:] or self._next())
                return
            self._switch(row)

    def _row(self, name: str) -> Row:
        row = self.rows.get(name)
        if row is None:
            raise _Unsure
        return row

    def _next(self) -> str:
        if not self.queue:
            raise _Unsure
        return self.queue.pop()

    def _switch(self, row: Row) -> None:
        name, action = row[:2]
        self.values[name] = self.values.get(name, 0) + 1 if action == "count" else action == "on"

    def _set(self, row: Row, word: str) -> None:
        # Of an option given twice only the last value is looked at, as Typer does.
        if row[1] != "append":
            self.unread = [(other, value) for other, value in self.unread if other[0] != row[0]]
        self.unread.append((row, word))

    def converted(self) -> dict[str, Any]:
        """The values; raises _Unsure for one that is not valid."""
        for (name, action, _, kind, args), word in self.unread:
            try:
                value = getattr(kinds, kind)(word, *args)
            except ValueError:
                raise _Unsure from None
            self.values[name] = (*self.values.get(name, ()), value) if action == "append" else value
        return self.values
