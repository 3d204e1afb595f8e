"""The bytes of one body on their way in: runs, holes and packed blocks, hashed and handed to a sink."""

from __future__ import annotations

from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable
from pync.transfer import digests
from pync.transfer.root import Refused
from pync.transfer.sink import Sink
from pync.transfer.squeeze import Unpacker
from pync.transfer.wire import Lost, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Intake:
    """Reads bodies one after the other. `due`: the END of one has not been seen yet."""

    def __init__(self, wire: Wire, most: int | None) -> None:
        self._wire = wire
        self._most = most
        self._unpacker = Unpacker()
        self._raw = 0  # bytes of the run that is being read
        self.due = False
        self.total = 0  # bytes of the file so far, those it had before and the whole current run included
        self.unwritten = 0  # of those, what is still to come
        self._size = 0

    async def read(self, sink: Sink, offset: int, size: int) -> messages.End:
        """One body into `sink`, up to its END, verified.

        The sink's hasher has seen the first `offset` bytes. Raises Refused when the sink cannot take it (call
        `drain` then) or when the digest is wrong, ProtocolError when the sender lies about sizes.
        """
        self.due = True
        self.total = offset
        self._size = size
        while True:
            frame = await self._wire.frame()
            if frame.kind == proto.RUN:
                await self._run(messages.parse_run(frame.payload), sink)
            elif frame.kind == proto.PACKED:
                await self._packed(*messages.parse_packed(frame.payload), sink)
            elif frame.kind == proto.HOLE:
                await self._hole(messages.parse_hole(frame.payload), sink)
            elif frame.kind == proto.END:
                self.due = False
                sink.idle()
                return self._verified(messages.parse_end(frame.payload), sink.hasher)
            else:
                raise proto.ProtocolError("the peer sent something out of turn")

    async def drain(self) -> None:
        """Throw away what is left of a body nobody wants."""
        wire = self._wire
        while self._raw:
            self._raw -= len(await wire.take(self._raw))
        while self.due:
            frame = await wire.frame()
            if frame.kind == proto.RUN:
                left = messages.parse_run(frame.payload)
            elif frame.kind == proto.PACKED:
                left = messages.parse_packed(frame.payload)[1]
            elif frame.kind == proto.HOLE:
                left = 0
            elif frame.kind == proto.END:
                left, self.due = 0, False
            else:
                raise proto.ProtocolError("the peer sent something out of turn")
            while left:
                left -= len(await wire.take(left))

    def _grow(self, count: int) -> None:
        self.total += count
        if self.total > self._size:
            raise proto.ProtocolError("the peer sends more than it announced")
        if self._most is not None and self.total > self._most:
            raise Refused(f"larger than --max-size ({self._most} bytes)")

    async def _run(self, count: int, sink: Sink) -> None:
        wire, write = self._wire, sink.write
        self._raw = self.unwritten = count
        self._grow(count)
        while self._raw:
            carried = await sink.carry(wire, self._raw)
            self._raw -= carried
            if not carried:
                view = await wire.take(self._raw)
                self._raw -= len(view)
                await write(wire, view)
            self.unwritten = self._raw

    async def _packed(self, size: int, packed: int, sink: Sink) -> None:
        self._grow(size)
        self._raw = packed
        block = bytearray()
        while self._raw:
            view = await self._wire.take(self._raw)
            self._raw -= len(view)
            block += view
        data = self._unpacker.unpack(bytes(block), size)
        self._wire.unpacked += size - packed
        await sink.write(self._wire, memoryview(data))

    async def _hole(self, count: int, sink: Sink) -> None:
        self._grow(count)
        sink.idle()
        wire, hasher = self._wire, sink.hasher
        said = wire.loop.now()
        while count:
            step = min(count, digests.SLICE * 16)
            await sink.hole(wire, step)
            if step > digests.SLICE:
                await wire.busy(digests.update_zeros, hasher, step)
            else:
                digests.update_zeros(hasher, step)
            count -= step
            if count:
                if wire.loop.now() - said > wire.limits.keepalive:
                    said = wire.loop.now()
                    wire.keepalive()
                await self._look()

    async def _look(self) -> None:
        """Zeros that nobody waits for any more need not be hashed. Raises what ended the connection."""
        try:
            self._wire.look()
        except Lost:
            await self.drain()  # what was said last explains more
            raise

    def _verified(self, end: messages.End, hasher: Any) -> messages.End:
        if end.status == messages.BROKEN:
            why = printable(end.reason) or "it could not be read"
            raise Refused(f"at the sender: {why}", status=messages.FAILED)
        if end.status != messages.WHOLE:
            raise proto.ProtocolError("the peer stopped without being asked to")
        if self._size != messages.UNKNOWN_SIZE and self.total != self._size:
            raise proto.ProtocolError("the peer sent less than it announced")
        if end.size != self.total or end.digest != hasher.digest():
            raise Refused("its bytes were damaged on the way", status=messages.DAMAGED, code=4)
        return end
