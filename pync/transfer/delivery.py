"""What one receiver gets, across as many connections as it takes.

Entries are settled strictly in order, so "how many are settled" is all there is to remember when a
connection is lost: the next walk passes over that many - unless the receiver is a new one, or the tree
changed meanwhile.
"""

from __future__ import annotations

import os

from pync.loop import Loop
from pync.report import Report
from pync.transfer.calls import Headway
from pync.transfer.events import Tally, file_event
from pync.transfer.source import Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from pync.transfer.wire import Wire
else:
    from pync.lean import NamedTuple


class SendTerms(NamedTuple):
    """How to send."""

    checksum: str = "xxh3"
    compress: str = "auto"
    no_resume: bool = False


class Waiting(NamedTuple):
    """An entry that is not confirmed yet."""

    number: int
    order: int  # in the walk
    path: bytes
    kind: int
    size: int
    digest: bytes


class Delivery(Headway):
    """What one receiver gets."""

    def __init__(self, loop: Loop, terms: SendTerms, report: Report, walk: Walk) -> None:
        super().__init__()
        self.loop = loop
        self.terms = terms
        self.report = report
        self.walk = walk
        self.token = os.urandom(16)
        self.tally = Tally()
        self.settled = 0
        self.settled_path = b""
        self.seen = 0  # entries of the walk met so far, so that a problem is told once
        self.unsent: set[int] = set()  # those that could not be read, by their place in the walk
        self.total: int | None = None
        self.sent = 0  # body bytes, all connections
        self._body: tuple[int, int, Wire] | None = None  # the last one that went out
        self.spent: set[tuple[int, int]] = set()  # stdin and pipes that gave bytes, which are gone
        self.receiver = b""
        self.confirmed = 0  # entries settled by it, directories left out

    def met(self, receiver: bytes) -> None:
        """The receiver gave its token: another one than before has nothing yet."""
        self.got_to(0, 0)
        if receiver != self.receiver:
            if self.receiver:
                self.forget()
            self.receiver = receiver

    def passed(self, entry: Waiting, files: int) -> None:
        """The receiver has settled all up to this entry; after a cut, directories come once more.

        `files`: how many of them are not directories.
        """
        self.confirmed += files
        if entry.order >= self.settled:
            self.settled, self.settled_path = entry.order + 1, entry.path
        self.progressed = True

    def sending(self, order: int, offset: int, wire: Wire) -> None:
        """The body of that entry goes over `wire`, from `offset`."""
        self._body = (order, offset - wire.moved, wire)

    def cut(self) -> None:
        """The connection is over."""
        if self._body is not None:
            order, base, wire = self._body
            self._body = None
            self.got_to(order, base + wire.moved)

    def tell(self, entry: Waiting, status: int, why: str = "", *, peer: str) -> None:
        """The event for a file that is settled."""
        file_event(
            self.report,
            entry.path,
            entry.size,
            status,
            digest=entry.digest,
            checksum=self.terms.checksum,
            why=why,
            peer=peer,
        )

    def forget(self) -> None:
        """Begin from the start: the tree changed under us, and what is there is identical anyway."""
        self.settled = self.seen = self.confirmed = 0
        self._furthest = (-1, 0)
        self.unsent.clear()
        self.tally = Tally()
