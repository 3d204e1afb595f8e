"""One connection of a transfer: frames and bodies over a link.

The reading side is one buffer, filled from the channel (or with what a record opened to) and parsed in
place. The writing side is `pync.transfer.outward`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pync.errors import reason
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.transfer.link import Limits, Lost, PeerAborted, PeerBusy, Silent
from pync.transfer.outward import Outward, read_fully
from pync.transport.channel import WANT_READ, Channel, aligned_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from pync.proto.secret import Opener
    from pync.relay.kernel import KernelMover
else:
    from pync.lean import NamedTuple

INBOX_MAX = 4 * proto.WINDOW


class Record(NamedTuple):
    """A sealed record of a body, whole, for somebody else to open."""

    opener: Opener
    number: int
    memory: memoryview
    plain: int  # bytes it opens to

    def open_into(self, out: memoryview) -> int:
        """See `Opener.open_as`."""
        return self.opener.open_as(self.number, self.memory[: self.plain + 4 + 16], out)


class Wire(Outward):
    """See the module. `duplex`: this end may write a lot, so it reads while it waits for room."""

    def __init__(
        self, loop: Loop, channel: Channel, *, duplex: bool, limits: Limits, idle: float | None = None
    ) -> None:
        super().__init__(loop, channel, duplex=duplex, limits=limits, idle=idle)
        self.body_received = 0
        self.unpacked = 0  # bytes that compression saved
        self._inbox: deque[proto.Frame] = deque()
        self._spare: memoryview | None = None

    @property
    def moved(self) -> int:
        """Bytes of files that went over it, one way or the other."""
        return self.body_sent + self.body_received + self.unpacked

    def _parse(self) -> proto.Frame | None:
        while True:
            start, view = self._start, self._in
            held = self._end - start
            if held < proto.HEADER_SIZE:
                return None
            size = proto.frame_size(view, start)
            if held < size:
                return None
            self._start = start + size
            frame = proto.decode(view[start : start + size])
            if frame.kind == proto.ABORT:
                abort = messages.parse_abort(frame.payload)
                # a sender that was killed and started again is early: the old one has not been given up yet
                raise PeerBusy if abort.code == messages.BUSY else PeerAborted(abort)
            if frame.kind < proto.SKIPPABLE:
                return frame

    def frame_now(self) -> proto.Frame | None:
        """The next frame that already arrived, without asking the channel."""
        if self._inbox:
            return self._inbox.popleft()
        return self._parse()

    def ahead(self) -> memoryview:
        """What arrived and is not parsed yet, to be read in place: valid until somebody waits for more."""
        return self._in[self._start : self._start if self._inbox else self._end]

    def pass_over(self, count: int) -> None:
        """The first `count` bytes of `ahead` are parsed."""
        self._start += count

    async def frame(self, until: float | None = None) -> proto.Frame:
        """The next frame. What we have to say goes out first; raises TimeoutError at `until`."""
        while (frame := self.frame_now()) is None:
            await self.more(until)
        return frame

    async def more(self, until: float | None = None) -> None:
        """Wait for more bytes. What we have to say goes out first; raises TimeoutError at `until`."""
        self.push()
        await self.fill(until)

    def poll(self) -> None:
        """Take in frames that are there, for `frame_now`; never waits."""
        try:
            while self.fill_now() >= 0:
                self._collect()
        finally:
            self._collect()

    def _collect(self) -> None:
        while (frame := self._parse()) is not None:
            self._inbox.append(frame)
        if len(self._inbox) > INBOX_MAX:
            raise proto.ProtocolError("the peer sent more answers than there were questions")

    async def take(self, most: int) -> memoryview:
        """At least one and at most `most` bytes of a body; the view is valid until the next call."""
        if self._start == self._end:
            self.push()
            if self.bucket is not None:
                await self._pace()
            await self.fill()
        count = min(most, self._end - self._start)
        view = self._in[self._start : self._start + count]
        self._start += count
        self.body_received += count
        if self.bucket is not None:
            self.bucket.spend(count, self.loop.now())
        return view

    @property
    def carries(self) -> bool:
        """Whether the next bytes of a body are on the plain descriptor, for a kernel mover to take."""
        return self._sealer is None and self.channel.plain and self._start == self._end

    async def record(self, least: int, most: int, spare: Callable[[], memoryview]) -> Record | None:
        """The next record as it is, in memory that is the caller's now; `spare` gives other memory for it.

        None, and it waits for `take`, when its plain bytes are fewer than `least`, or more than `most` of a
        body, or when there is something before it.
        """
        if self._opener is None or self._start != self._end:
            return None
        self.push()
        if self.bucket is not None:
            await self._pace()
        while (size := self._record_now()) < 0:
            await self.pause(read=size == WANT_READ, write=size != WANT_READ or bool(self._backlog))
            if self._backlog:
                self.push()
        record, plain = self._sealed_in, size - 4 - 16
        if not least <= plain <= most or self._sealed_end != size or self._opener.is_last(record):
            return None
        self._sealed_in, self._sealed_end = spare(), 0
        self.body_received += plain
        if self.bucket is not None:
            self.bucket.spend(plain, self.loop.now())
        return Record(self._opener, self._opener.pass_on(), record, plain)

    async def carry(self, mover: KernelMover, most: int) -> int:
        """At least one and at most `most` bytes of a body, carried by `mover`, past our memory.

        Raises Lost, and what the mover raises because of its sink.
        """
        self.push()
        if self.bucket is not None:
            await self._pace()
            most = min(most, max(1, self.bucket.allowance(self.loop.now())))
        while (count := self._carried(mover, most)) <= 0:
            await self.pause(read=True, write=bool(self._backlog))
            if self._backlog:
                self.push()
        self._alive = self.loop.now()
        self.body_received += count
        if self.bucket is not None:
            self.bucket.spend(count, self.loop.now())
        return count

    def _carried(self, mover: KernelMover, most: int) -> int:
        try:
            count = mover.fill(most)
        except ConnectionError as error:
            raise Lost(f"receive: {reason(error)}") from None
        if count is None:
            raise Lost("the other end closed the connection before the transfer was complete")
        return count

    def flip(self) -> bool:
        """Read into other memory from now on, so that the view `take` gave stays. False while bytes are left
        in this one: then the view is valid only until the next `take`."""
        if self._start != self._end:
            return False
        if self._spare is None or len(self._spare) < len(self._in):
            self._spare = aligned_buffer(len(self._in))
        self._in, self._spare = self._spare, self._in
        self._start = self._end = 0
        return True

    async def greeting(self, mine: proto.Greeting) -> tuple[proto.Greeting, bytes]:
        """Exchange greetings; the peer's and its bytes. Raises NotFramed, Lost, or what `agree` raises."""
        until = self.loop.now() + self.limits.greeting
        self._out.append(mine.encode())
        self.push()
        while True:
            parsed = proto.parse_greeting(self._in[self._start : self._end])
            if parsed is not None:
                raw = bytes(self._in[self._start : self._start + parsed[1]])
                self._start += parsed[1]
                proto.agree(mine, parsed[0])
                return parsed[0], raw
            try:
                await self.fill(until)
            except TimeoutError:
                raise Silent from None


__all__ = ["Limits", "Lost", "PeerAborted", "PeerBusy", "Silent", "Wire", "read_fully"]
