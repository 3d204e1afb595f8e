"""A Report for people or for programs: words, or JSON objects, on stderr.

Only scan's results go to stdout. Nothing here can stop a transfer: stderr may be closed, full or unread.
"""

from __future__ import annotations

import os
import time

from pync.cli.stderr import Stderr
from pync.errors import PyncError
from pync.report import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.cli.progress import Progress
    from pync.cli.scan_view import ScanView
    from pync.commands.options import Shared

# Of the ten ticks a second, programs get one: a log of an hour should stay readable.
_JSON_TICK = 1.0
# Digests kept for the summaries of so many peers.
_PEERS = 1000
# Never said without -v, whatever they hold.
_ROUTINE = frozenset({"connecting", "connected", "eof", "closed"})


class View:
    """What the user sees of one run. Call it with events, then `fail` or nothing, then `finish`."""

    def __init__(self, command: str, options: Shared) -> None:
        self.command = command
        self._verbosity = -1 if options.quiet else options.verbose
        self._json = options.json
        self._stderr = Stderr()
        self._next_tick = time.monotonic() + _JSON_TICK
        self._scan = _scan_view(command, options)
        self._digests: dict[str, str] = {}  # of the last file from or to each peer
        self._shares_terminal = (
            command == "recv" and getattr(options, "output", None) in (None, "-") and _tty(1)
        )
        self._warned: set[Any] = {None}  # a warning is about the whole run: once is enough
        self._last_words = True
        self._told = ""  # of the last file: when it alone was asked for, its failure is that of the run
        # Asked for, or on a terminal that the data does not go to as well.
        wanted = options.progress
        if wanted is None:
            wanted = self._json or (
                self._stderr.terminal and not options.quiet and _quiet_place(command, options)
            )
        self.wants_progress = wanted and not (options.quiet and options.progress is not True)
        self._progress = self._live_line() if self.wants_progress and not self._json else None
        # What is not shown when all went well: thousands of small files a second need not make an event each.
        told = self._json or self._verbosity > 0 or self._progress is not None
        self.unheard = frozenset() if told else frozenset({"file"})

    def __call__(self, event: Event) -> None:
        kind, facts = event
        if self._json:
            self._print_json(kind, facts)
        elif kind == "progress":
            if self._progress is not None:
                self._progress.update(facts)
        elif kind == "port":
            self._show_port(facts)
        elif kind == "error":
            self._say_error(str(facts.get("message") or ""), facts.get("hint"))
        else:
            self._say(kind, facts)

    def fail(self, error: PyncError) -> None:
        """Says why the run failed."""
        if self._json:
            facts = {"code": int(error.code), "message": error.message}
            self._print_json("error", {**facts, "hint": error.hint} if error.hint else facts)
        else:
            self._say_error(error.message, error.hint)

    def finish(self) -> None:
        """Takes the live line away and writes what still waits."""
        if self._progress is not None:
            self._progress.finish()
        if self._scan is not None:
            self._scan.finish()
        self._stderr.finish()

    def _live_line(self) -> Progress:
        from pync.cli.progress import Progress

        return Progress(self._stderr, live=self._stderr.terminal and os.environ.get("TERM") != "dumb")

    def _show_port(self, facts: dict[str, Any]) -> None:
        if self._scan is not None:
            if self._progress is not None:
                self._progress.erase()
            self._scan.port(facts)

    def _say(self, kind: str, facts: dict[str, Any]) -> None:
        if self._verbosity <= 0 and self._progress is None and kind in _ROUTINE:
            return  # the common case, without importing the words
        from pync.cli import words

        if facts.get("warning") in self._warned:
            facts = {**facts, "warning": None}
        self._warned.add(facts.get("warning"))
        needed = words.level(self.command, kind, facts)
        if self._progress is not None:
            if kind == "file" and facts.get("digest"):
                if len(self._digests) > _PEERS:
                    self._digests.clear()  # peers that were cut off left theirs here
                self._digests[str(facts.get("peer") or "")] = facts["digest"]
            if kind == "file" and not facts.get("name") and self._shares_terminal:
                self._last_words = False  # a stream went there: figures would stand in the middle of it
            if (kind == "summary" and self._last_words) or (kind == "closed" and self._ends_the_line(facts)):
                needed = 0  # whoever watches the live line gets its last figures
                self._progress.forget()
        if kind == "summary" and "files" in facts:
            facts = self._with_digest(facts)
        if kind == "summary" and self._scan is not None:
            self.finish()
            needed = 0 if self._stderr.terminal else needed
        if self._verbosity < needed:
            return
        lines = words.say(self.command, kind, facts)
        if kind == "file":
            self._told = lines[-1]
        self._lines(lines)

    def _ends_the_line(self, closed: dict[str, Any]) -> bool:
        """Whether the end of a connection is the last word on what the live line showed.

        A transfer that came to its end has a summary.
        """
        if self.command in ("send", "recv") and not closed.get("reason"):
            return False
        return self._progress is not None and self._progress.used

    def _with_digest(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The summary of one file says its digest too, unless -v has said it with the file."""
        peer = str(facts.get("peer") or "")
        digest = self._digests.pop(peer, "")
        if not peer:
            digest = next(reversed(self._digests.values()), digest)
        if self._verbosity > 0 or facts["files"] != 1 or facts.get("failed"):
            return facts
        return {**facts, "digest": digest}

    def _say_error(self, message: str, hint: object) -> None:
        from pync.proto.escape import printable

        lines = [f"pync: {printable(message)}", *([f"hint: {printable(str(hint))}"] if hint else [])]
        self._lines(lines[1:] if lines[0] == self._told else lines)

    def _lines(self, lines: list[str]) -> None:
        if self._progress is not None:
            self._progress.erase()
        for line in lines:
            self._stderr.line(line)

    def _print_json(self, kind: str, facts: dict[str, Any]) -> None:
        if kind == "progress":
            now = time.monotonic()
            if not self.wants_progress or now < self._next_tick:
                return
            self._next_tick = now + _JSON_TICK
        line = json_line(kind, facts)
        if self.command == "scan" and kind != "error":
            from pync.cli.stdout import write

            write(line + "\n")
        else:
            self._stderr.line(line)


def json_line(kind: str, facts: dict[str, Any]) -> str:
    """One object; names that are no UTF-8 get a replacement character, so that every reader accepts it."""
    import json

    record = {"event": kind, "time": round(time.time(), 6), **facts}
    return json.dumps(_clean(record), ensure_ascii=False, separators=(", ", ": "))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return value
    if isinstance(value, dict):
        return {str(name): _clean(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(part) for part in value]
    # Enums and paths have no JSON of their own; NaN and infinity are no JSON at all.
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value if value is None or isinstance(value, bool | int) else str(value)


def _scan_view(command: str, options: Shared) -> ScanView | None:
    if command != "scan":
        return None
    from pync.cli.scan_view import ScanView
    from pync.commands.options import ScanOptions

    assert isinstance(options, ScanOptions)
    return ScanView(options)


def _quiet_place(command: str, options: Shared) -> bool:
    """Whether a live line would not be in the way: no data on this terminal, no clients coming and going."""
    if command in ("send", "recv", "scan"):
        return True
    if getattr(options, "keep_open", False):
        return False
    return not _tty(1)


def _tty(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def say_failure(error: PyncError, *, json: bool) -> None:
    """An error from before there was a View: words that do not make sense."""
    from pync.commands.options import Shared

    view = View("", Shared(json=json))
    view.fail(error)
    view.finish()
