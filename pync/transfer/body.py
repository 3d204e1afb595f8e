"""The bytes of one file on their way out: runs for sendfile, holes left out, blocks packed where it pays."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.transfer import digests
from pync.transfer.squeeze import Squeezer
from pync.transfer.system import os
from pync.transfer.wire import Wire, read_fully
from pync.transport.channel import Channel, aligned_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A pipe gives what its writer wrote, 64 KiB at most by default; several of those make one run.
_PUMP = 256 << 10


def extents(fd: int, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """(from, to, is data) over the whole range; one extent of data where the system cannot tell."""
    blocks = getattr(os.fstat(fd), "st_blocks", None) if hasattr(os, "SEEK_DATA") else None
    if blocks is None or blocks * 512 >= end:
        yield start, end, True
        return
    at = start
    while at < end:
        try:
            data = min(end, os.lseek(fd, at, os.SEEK_DATA))
        except OSError as error:
            if error.errno != errno.ENXIO:
                yield at, end, True
                return
            data = end  # nothing but a hole follows
        if data > at:
            yield at, data, False
        if data >= end:
            return
        at = min(end, os.lseek(fd, data, os.SEEK_HOLE))
        yield data, at, True


class Body:
    """Sends one body. `wants_more` is asked between pieces: False when the receiver said DONE already."""

    def __init__(self, wire: Wire, squeezer: Squeezer, hasher: Any, wants_more: Callable[[], bool]) -> None:
        self._wire = wire
        self._squeezer = squeezer
        self._hasher = hasher
        self._wants_more = wants_more
        self.done = 0  # bytes of the file sent

    async def send(self, fd: int, base: int, offset: int, size: int) -> bool:
        """The file's bytes `offset` to `size` (from `base` of the descriptor); whether it had all of them."""
        position = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            for start, end, is_data in extents(fd, base + offset, base + size):
                if not await (self._data if is_data else self._hole)(fd, start, end):
                    return False
        finally:
            os.lseek(fd, position, os.SEEK_SET)  # it may be the user's stdin
        return True

    async def _hole(self, fd: int, start: int, end: int) -> bool:
        self._wire.put(proto.HOLE, messages.pack_hole(end - start))
        await self._wire.flush()
        while start < end and self._wants_more():
            step = min(digests.SLICE * 16, end - start)
            await self._wire.busy(digests.update_zeros, self._hasher, step)
            start += step
            self.done += step
        return True

    async def _data(self, fd: int, start: int, end: int) -> bool:
        wire, squeezer = self._wire, self._squeezer
        while start < end and self._wants_more():
            begin = wire.loop.now()
            before = wire.body_sent
            if squeezer.wanted:
                step = min(squeezer.block, end - start)
                had = await self._block(fd, start, step)
            else:
                step = min(wire.run_size, end - start)
                had = await wire.send_run(fd, start, step, self._hasher)
            self.done += had
            squeezer.went(wire.body_sent - before, wire.loop.now() - begin, step)
            if had != step:
                return False
            start += step
        return True

    async def _block(self, fd: int, start: int, count: int) -> int:
        buffer = aligned_buffer(count)
        got = read_fully(fd, buffer, start)
        if got:
            await self._piece(buffer[:got])
        return got

    async def _piece(self, piece: memoryview) -> None:
        self._hasher.update(piece)
        packed = self._squeezer.squeeze(piece) if self._squeezer.wanted else None
        if packed is None:
            await self._wire.send_piece(proto.RUN, messages.pack_run(len(piece)), piece)
        else:
            announced = messages.pack_packed(len(piece), len(packed))
            await self._wire.send_piece(proto.PACKED, announced, packed)
            self._wire.unpacked += len(piece) - len(packed)

    async def pump(self, source: Channel, began: Callable[[], None]) -> None:
        """Everything a stream gives until its end."""
        wire = self._wire
        buffer = aligned_buffer(_PUMP)
        while self._wants_more():
            count = source.read_into(buffer)
            if count is None:
                return
            if count < 0:
                await wire.flush()
                await wire.pause(read=True, write=False, source=source)
                continue
            began()
            begin = wire.loop.now()
            before = wire.body_sent
            await self._piece(buffer[:count])
            self._squeezer.went(wire.body_sent - before, wire.loop.now() - begin, count)
            self.done += count
