"""Entries that go to stdout or a device, where nothing can be taken back: one sender at a time, and no byte
twice, left out or in the middle of something else. Who was cut keeps its turn as long as it may come back.

A Log remembers what the output has of a delivery that is not finished. Whoever comes next - the same sender
after a cut, or the one that was started again - must begin with the very same bytes: they are compared, not
written, and what follows is. Anything else is refused, as damage.
"""

from __future__ import annotations

from collections.abc import Callable

from pync.errors import IntegrityError
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.transfer import digests
from pync.transfer.intake import Intake
from pync.transfer.root import Refused
from pync.transfer.serving import Busy, Seat
from pync.transfer.sink import Onward, Output, Sink, StreamSink, elsewhere
from pync.transfer.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from pync.lean import NamedTuple


class Written(NamedTuple):
    """An entry that is whole on the output."""

    size: int
    digest: bytes
    checksum: str  # what kind of digest it is


class Log:
    """What the output has of one delivery. Entries are counted from 0, directories left out."""

    def __init__(self) -> None:
        # Tokens of senders whose confirmed entries are all here: who wrote last, and who has had the same.
        self.owners: set[bytes] = set()
        self.heirs: set[bytes] = set()  # those who seem to be one of them, started again
        self.count = 0
        # By number. A sender is never more than WINDOW entries ahead of what it knows to be confirmed.
        self.whole: dict[int, Written] = {}
        self.next = 0  # the number of the entry that is being written, or that comes next
        self.size = 0  # bytes of it
        self.hasher: Any = None
        self.checksum = ""  # what kind of hasher it is
        self.finished = False

    @property
    def torn(self) -> bool:
        """Whether the output ends in the middle of a delivery."""
        return bool(self.count or self.size) and not self.finished

    def ended(self, number: int, written: Written) -> None:
        """This entry is whole."""
        self.whole[number] = written
        if len(self.whole) > proto.WINDOW:
            del self.whole[next(iter(self.whole))]
        self.count += 1
        self.next, self.size, self.hasher = number + 1, 0, None


class Shared(Seat):
    """An output that all senders of a run share, in turn. `several`: one delivery may follow another."""

    def __init__(self, *, several: bool) -> None:
        super().__init__()
        self.several = several
        self.log = Log()
        self.expected: Callable[[bytes], bool] = lambda _token: False  # whether that sender may come back

    async def take(self, token: bytes, wire: Wire) -> None:
        """Wait for the turn."""
        while True:
            if not self._kept_from(token):
                try:
                    return await super().take(token, wire)
                except Busy:
                    pass
            await self.wait(wire)

    def inherit(self, owner: bytes, heir: bytes) -> None:
        """The sender `heir`, or nobody (b""), was started in the place of `owner`."""
        if heir and owner in self.log.owners | self.log.heirs:
            self.log.heirs.add(heir)
        self.changed()

    def _kept_from(self, token: bytes) -> bool:
        """Whether the output is in the middle of what somebody else may go on with."""
        may_go_on = self.log.owners | self.log.heirs
        return self.log.torn and token not in may_go_on and any(map(self.expected, may_go_on))


class Streamed:
    """The entries of one connection that go to the output.

    `log`: what this sender wrote to on an earlier connection; `start`: so many of its entries are settled.
    """

    def __init__(
        self, shared: Shared, wire: Wire, intake: Intake, begin: messages.Begin, log: Log | None, start: int
    ) -> None:
        self._shared = shared
        self._wire = wire
        self._intake = intake
        self._token = begin.token
        self._checksum = begin.checksum
        self._start = start
        self._before = log
        self._due = 0  # entries on the output that must come once more before anything is written
        self._astray = False  # from here on nothing is taken any more
        self.log: Log | None = None

    async def _begin(self) -> Log:
        if self.log is not None:
            return self.log
        shared, mine = self._shared, self._before
        await shared.take(self._token, self._wire)
        if mine is not None and self._token in mine.owners:
            self.log = mine
            self._due = sum(number >= self._start for number in mine.whole)
            return mine
        if shared.log.finished and shared.several:
            shared.log = Log()
        self.log = shared.log
        self._due = self.log.count
        # somebody else went on with what we wrote: the part we passed over may not be there
        self._astray = mine is not None and self._start > 0
        return self.log

    async def take(
        self, output: Output, entry: messages.Entry, number: int, in_walk: int, *, inline: bool
    ) -> Written:
        """Take a file or stream; `in_walk` counts over all connections. Raises Refused."""
        log = await self._begin()
        if self._astray:
            raise elsewhere()
        try:
            if in_walk < log.next:
                written = log.whole.get(in_walk)
                if written is None:
                    raise elsewhere()
                await self._repeat(written, entry, number, inline=inline)
                self._due -= 1
                log.owners.add(self._token)
                return written
            if self._due or log.finished or (log.size and in_walk != log.next):
                raise elsewhere()
            log.next = in_walk
            return await self._append(output, entry, number, inline=inline)
        except Refused:
            self._astray = bool(log.size or self._due)
            raise

    def finish(self) -> None:
        """The sender says that this is all. Raises IntegrityError when the output has more than that."""
        log = self.log
        if log is None or self._astray:
            return
        if self._due > 0 or log.size:
            raise IntegrityError(elsewhere().why)
        log.finished, log.owners = True, {self._token}

    async def _repeat(self, written: Written, entry: messages.Entry, number: int, *, inline: bool) -> None:
        """What is there comes again: compare it."""
        if entry.size not in (written.size, messages.UNKNOWN_SIZE):
            raise elsewhere()
        same = written.checksum == self._checksum
        check: Any = digests.new(written.checksum)
        offset = 0
        if inline:
            check.update(entry.body)
        else:
            if not self._intake.due:
                if same:
                    offset, check = written.size, _Known(written.digest)
                await self._agree(number, offset, check)
            hasher = check if same else _Both(digests.new(self._checksum), check)
            await self._intake.read(Sink(hasher), offset, entry.size)
        if check.digest() != written.digest:
            raise elsewhere()

    async def _append(self, output: Output, entry: messages.Entry, number: int, *, inline: bool) -> Written:
        log, intake = self.log, self._intake
        assert log is not None
        hasher, size = digests.new(self._checksum), log.size
        offset = 0
        if size > entry.size:
            raise elsewhere()
        if not inline and not intake.due:
            if size and log.checksum == self._checksum:
                offset, hasher = size, log.hasher
            await self._agree(number, offset, hasher)
        if size and not offset:
            check = digests.new(log.checksum)
            sink: StreamSink = Onward(output.channel, hasher, size, log.hasher.digest(), check)
        else:
            sink = StreamSink(output.channel, hasher, size)
        try:
            if inline:
                await sink.write(self._wire, memoryview(entry.body))
                sink.idle()
                written = Written(entry.size, entry.digest, self._checksum)
            else:
                end = await intake.read(sink, offset, entry.size)
                written = Written(end.size, end.digest, self._checksum)
        finally:
            if sink.size > size:
                log.size, log.hasher, log.checksum = sink.size, hasher, self._checksum
                log.owners = {self._token}
        log.ended(log.next, written)
        log.owners = {self._token}
        return written

    async def _agree(self, number: int, size: int, hasher: Any) -> None:
        """The sender has the same `size` bytes that `hasher` saw, and the body starts behind them."""
        wire = self._wire
        digest = hasher.digest() if size else b""
        wire.put(proto.ANSWER, messages.pack_answer(messages.Answer(number, size, digest, not size)))
        if size:
            frame = await wire.frame()
            if frame.kind != proto.MATCH or messages.parse_match(frame.payload).number != number:
                raise proto.ProtocolError("the peer sent something out of turn")
            if not messages.parse_match(frame.payload).equal:
                raise elsewhere()
        self._intake.due = True


class _Known:
    """In the place of a hasher, where all that is to be hashed was hashed before."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def digest(self) -> bytes:
        return self._digest

    def update(self, data: Any) -> None:
        """Nothing follows but an empty body."""


class _Both:
    """A hasher that lets another one see the same: a sender may use another digest than the one before it."""

    def __init__(self, hasher: Any, other: Any) -> None:
        self._hasher = hasher
        self._other = other

    def digest(self) -> bytes:
        value: bytes = self._hasher.digest()
        return value

    def update(self, data: Any) -> None:
        self._hasher.update(data)
        self._other.update(data)
