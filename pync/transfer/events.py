"""What a transfer tells the user: events for files and their fate, a tick of counters for the progress
line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pync.errors import ExitCode
from pync.loop import Loop, Timer
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable, shortened
from pync.report import Event, Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TICK = 0.1
REMEMBERED = 10_000  # so many directories that failed; memory stays flat


class Tally:
    """What became of the files of one transfer, for the summary and the exit status.

    A directory counts only if it fails: as one failure, together with all that lies below it.
    """

    def __init__(self) -> None:
        self.files = 0  # all that was delivered or failed
        self.delivered = 0
        self.failed = 0
        self.damaged = 0
        self.size = 0
        self.first_failure = ""
        self._unsent = 0
        self._overruled: ExitCode | None = None
        self._directories: set[bytes] = set()  # that failed

    def note(self, *, is_file: bool, status: int, size: int = 0, name: bytes = b"", why: str = "") -> bool:
        """One entry is settled; False if that is part of a failure that was noted before."""
        if status in messages.DELIVERED:
            if is_file:
                self.arrived(1, size)
            return True
        if status == messages.DAMAGED:
            self.damaged += 1
        elif self._directories and self._is_below_one(name):
            return False
        if not is_file and len(self._directories) < REMEMBERED:
            self._directories.add(name)
        self._count_failures(1, f"{shortened(printable(name)) or '(stdin)'}: {why}")
        return True

    def unsent(self, count: int) -> None:
        """The sender says, maybe once more after a cut, that it could not read so many."""
        count = min(count, messages.SIZE_MAX)
        new = count - self._unsent
        if new > 0:
            self._unsent = count
            what = "a file: the sender could not read it"
            self._count_failures(
                new, what if count == 1 else f"{count} files: the sender could not read them"
            )

    def overruled(self, failed: int, code: int) -> None:
        """The receiver's own verdict, where it is worse than what it told of each file: it holds."""
        if self.failed or not (failed or code):
            return
        known = code in (1, 2, 3, 4, 5)
        self._overruled = ExitCode(code) if known else ExitCode.INTEGRITY
        count = max(1, min(failed, self.delivered))
        self.files = max(1, self.files)
        self.delivered -= min(count, self.delivered)
        self.failed = count
        self.first_failure = f"the other end says that {failed or 'something'} failed, and not what"

    def _count_failures(self, count: int, what: str) -> None:
        self.files += count
        self.failed += count
        if not self.first_failure:
            self.first_failure = what

    def _is_below_one(self, name: bytes) -> bool:
        while name:
            if name in self._directories:
                return True
            name = name.rpartition(b"/")[0]
        return False

    def arrived(self, count: int, size: int) -> None:
        """`count` files of `size` bytes together are delivered."""
        self.files += count
        self.delivered += count
        self.size += size

    @property
    def code(self) -> ExitCode:
        """Wrong bytes over partial success; a failure alone is a local error."""
        if self._overruled is not None:
            return self._overruled
        if self.damaged:
            return ExitCode.INTEGRITY
        if not self.failed:
            return ExitCode.OK
        return ExitCode.PARTIAL if self.files > 1 else ExitCode.USAGE

    def facts(self) -> dict[str, Any]:
        """For the `summary` event."""
        return {"files": self.delivered, "failed": self.failed, "bytes": self.size, "code": int(self.code)}


class WalkTally(Tally):
    """A receiver's. After a cut, entries that are counted come once more, where the sender does not know that
    they are settled: they count once, as what they come to in the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._walked = 0  # entries so far, directories left out
        # Status and size of the last of them; no status for a part of a failure that was noted before. A
        # sender is never more than WINDOW entries ahead of what it knows to be settled.
        self._recent: deque[tuple[int | None, int]] = deque(maxlen=proto.WINDOW)

    def note(self, *, is_file: bool, status: int, size: int = 0, name: bytes = b"", why: str = "") -> bool:
        new = super().note(is_file=is_file, status=status, size=size, name=name, why=why)
        if is_file:
            self._walked += 1
            self._recent.append((status if new else None, size))
        return new

    def note_new(self, sizes: list[int]) -> None:
        """So many files are in place."""
        self.arrived(len(sizes), sum(sizes))
        self._walked += len(sizes)
        self._recent.extend((messages.OK, size) for size in sizes)

    def up_to(self, settled: int) -> WalkTally:
        """Of the first `settled` entries alone, to go on counting; this one stays as it is."""
        kept = WalkTally()
        if not settled:
            return kept  # all come again, directories included
        vars(kept).update(vars(self))
        kept._directories, kept._recent = self._directories.copy(), self._recent.copy()
        while kept._walked > settled and kept._recent:
            kept._walked -= 1
            kept._take_back(*kept._recent.pop())
        return kept

    def _take_back(self, status: int | None, size: int) -> None:
        if status is None:
            return
        self.files -= 1
        if status in messages.DELIVERED:
            self.delivered -= 1
            self.size -= size
            return
        self.failed -= 1
        self.damaged -= status == messages.DAMAGED
        if not self.failed:
            self.first_failure = ""


def file_event(
    report: Report,
    name: bytes,
    size: int,
    status: int,
    *,
    digest: bytes = b"",
    checksum: str = "",
    why: str = "",
    peer: str = "",
    saved_as: bytes = b"",
) -> None:
    """One file is settled. Names are escaped here: they may have been chosen to hurt a terminal."""
    facts: dict[str, Any] = {
        "name": printable(name),
        "size": size,
        "status": messages.STATUS_WORDS[status],
        "digest": f"{checksum}:{digest.hex()}" if digest else "",
    }
    if why:
        facts["reason"] = printable(why)
    if saved_as and saved_as != name:
        facts["saved_as"] = printable(saved_as)
    if peer:
        facts["peer"] = peer
    report(Event("file", facts))


class Progress:
    """Reports counters ten times a second while it runs; costs nothing a chunk."""

    def __init__(self, loop: Loop, report: Report, counters: Callable[[], dict[str, Any]]) -> None:
        self._loop = loop
        self._report = report
        self._counters = counters
        self._begin = loop.now()
        self._last = (0.0, 0)
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin ticking."""
        self._begin = self._loop.now()
        self._timer = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Idempotent; reports a last time, so that the line ends with the true figures."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._tell()

    def _tick(self) -> None:
        self._tell()
        self._timer = self._loop.call_later(TICK, self._tick)

    def _tell(self) -> None:
        facts = self._counters()
        seconds = self._loop.now() - self._begin
        moved = facts["sent"] + facts["received"]
        before, count = self._last
        span = seconds - before
        facts["seconds"] = round(seconds, 3)
        facts["rate"] = round((moved - count) / span) if span > 0 else 0
        self._last = (seconds, moved)
        self._report(Event("progress", facts))
