"""The chat room of `listen --chat`: who said which line, and who gets to see it.

Clients are lines of text to one another, never bytes. A line that arrives becomes `<name> line`, with control
characters and what is not UTF-8 made visible, so that nobody can act on another's terminal or speak under
another's name: names have no `<`, `>`, spaces or invisible characters, and what the room itself says starts
with `* `. `/nick NAME` takes a name. A line longer than MAX_LINE is passed on in pieces of that size.
"""

from collections.abc import Hashable
from itertools import islice
from typing import NamedTuple

from pync.proto.escape import printable

MAX_LINE = 4096  # also the longest line a terminal hands over in one piece
MAX_NAME = 32
_WELCOMED_NAMES = 20  # a welcome names this many of those present and counts the rest
# Not "printable" to Python, but part of ordinary text: tab, two spaces, and the joiners of emoji and Persian.
_KEEP = "\t\u00a0\u3000\u200c\u200d"
_NICK = b"/nick"


class Said(NamedTuple):
    """Bytes to deliver: to `member` alone when `private`, else to everybody in the room but `member`."""

    data: bytes
    member: Hashable
    private: bool = False


class _Member:
    __slots__ = ("continued", "held", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.held = b""
        self.continued = False  # a piece of this line was passed on already


class Room:
    """Members, known by any hashable key. Each call returns what is to be delivered, in order."""

    def __init__(self) -> None:
        self._members: dict[Hashable, _Member] = {}
        self._taken: dict[str, Hashable] = {}  # names, case ignored
        self._joins = 0
        self._unnamed = 0

    def join(self, key: Hashable, name: str = "") -> list[Said]:
        """A new member, under `name` (made fit and unique) or `user1`, `user2` and so on."""
        self._joins += 1
        name = self._free_name(name)
        others = [member.name for member in islice(self._members.values(), _WELCOMED_NAMES)]
        present = f"; here: {_listed(others, len(self._members))}" if others else ""
        self._members[key] = _Member(name)
        self._taken[name.casefold()] = key
        return [
            _note(key, f"you are {name}, /nick NAME changes that{present}", private=True),
            _note(key, f"{name} joined"),
        ]

    def feed(self, key: Hashable, data: bytes | memoryview) -> list[Said]:
        """What `key` sent, cut anywhere."""
        member = self._members[key]
        held = member.held + bytes(data)
        said: list[Said] = []
        start = 0
        while True:
            end = held.find(b"\n", start, start + MAX_LINE + 1)
            if end >= 0:
                self._line(key, member, held[start:end], said)
                start = end + 1
            elif len(held) - start > MAX_LINE:
                end = start + _piece(held[start : start + MAX_LINE + 1])
                self._line(key, member, held[start:end], said, whole=False)
                start = end
            else:
                break
        member.held = held[start:]
        return said

    def finish(self, key: Hashable) -> list[Said]:
        """`key` says no more: what it sent of a line is all of it."""
        member = self._members[key]
        said: list[Said] = []
        held, member.held = member.held, b""
        if held:
            self._line(key, member, held, said)
        return said

    def leave(self, key: Hashable) -> list[Said]:
        """`key` is gone; a line it did not finish is said first."""
        said = self.finish(key)
        member = self._members[key]
        del self._members[key]
        del self._taken[member.name.casefold()]
        said.append(_note(key, f"{member.name} left"))
        return said

    def _line(
        self, key: Hashable, member: _Member, line: bytes, said: list[Said], *, whole: bool = True
    ) -> None:
        line = line.removesuffix(b"\r")
        begins, member.continued = not member.continued, not whole
        if begins and whole and (line == _NICK or line.startswith(_NICK + b" ")):
            self._rename(key, member, line[len(_NICK) :], said)
        elif begins or line:  # the line end right after the last piece is not an empty line
            text = printable(line, keep=_KEEP)
            said.append(Said(f"<{member.name}> {text}\n".encode(), key))

    def _rename(self, key: Hashable, member: _Member, argument: bytes, said: list[Said]) -> None:
        name = argument.decode("utf-8", "surrogateescape").strip()
        if not name or name != _fit(name):
            problem = f"a name is 1 to {MAX_NAME} visible characters without spaces, < and >"
            said.append(_note(key, problem, private=True))
            return
        if self._taken.get(name.casefold(), key) != key:
            said.append(_note(key, f"{name} is taken", private=True))
            return
        old, member.name = member.name, name
        del self._taken[old.casefold()]
        self._taken[name.casefold()] = key
        said.append(_note(key, f"you are {name}", private=True))
        if old != name:
            said.append(_note(key, f"{old} is now {name}"))

    def _free_name(self, wanted: str) -> str:
        name = _fit(wanted)
        if not name:
            self._unnamed += 1
            name = f"user{self._unnamed}"
        number = self._joins  # nearly always free at once, where counting from 2 would be a search
        while name.casefold() in self._taken:
            suffix = f"-{number}"
            name = (_fit(wanted) or "user")[: MAX_NAME - len(suffix)] + suffix
            number += 1
        return name


def _fit(name: str) -> str:
    fit = (char for char in name if char.isprintable() and not char.isspace() and char not in "<>")
    return "".join(islice(fit, MAX_NAME))


def _piece(held: bytes) -> int:
    """Where to cut more than MAX_LINE bytes: there, or up to three bytes sooner to keep a character whole."""
    for end in range(MAX_LINE, MAX_LINE - 4, -1):
        if held[end] & 0xC0 != 0x80:
            return end
    return MAX_LINE


def _listed(names: list[str], count: int) -> str:
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _note(key: Hashable, text: str, *, private: bool = False) -> Said:
    return Said(f"* {text}\n".encode(), key, private)
