"""Where the bytes of one entry go: a partial file, stdout or a device, or nowhere."""

from __future__ import annotations

import os

from pync.errors import LocalError
from pync.proto import transfer_messages as messages
from pync.relay.kernel import SpliceMover, can_splice
from pync.relay.mover import Refused as KernelRefused
from pync.transfer import digests
from pync.transfer.part import Part
from pync.transfer.root import Refused, failed
from pync.transfer.wire import Lost, Wire
from pync.transport.channel import WANT_WRITE, ready
from pync.transport.stdio import OutputClosed, Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.transfer.writer import Behind

_ZEROS = bytes(256 << 10)
# Below these, starting a thread, or handing a piece to it, costs more than it gives.
WORTH_A_THREAD = 4 << 20
HANDED_OVER = 64 << 10
WORTH_A_PIPE = 1 << 20
# Bytes carried before they are hashed: few enough that they are still in the processor's cache.
CARRIED = 1 << 20
# From so many processors on a second thread is used.
CPUS = 2


class Sink:
    """Takes bytes in order and hashes them. This one keeps nothing: what arrives is there already."""

    def __init__(self, hasher: Any) -> None:
        self.hasher = hasher

    async def write(self, wire: Wire, view: memoryview) -> None:
        """Take all of `view`. Raises Refused."""
        self.hasher.update(view)

    async def hole(self, wire: Wire, count: int) -> None:
        """Make room for `count` zero bytes, which the caller hashes. Raises Refused."""

    async def carry(self, wire: Wire, most: int) -> int:
        """Take up to `most` bytes that are still on the wire; 0 where they must come through `write`."""
        return 0

    def idle(self) -> None:
        """Until all that was taken is hashed and written. Raises Refused."""

    def close(self) -> None:
        """Idempotent."""


class PartSink(Sink):
    """Into a partial file. Writing there blocks, for as long as the disk needs."""

    def __init__(self, part: Part, hasher: Any) -> None:
        super().__init__(hasher)
        self._part = part

    async def write(self, wire: Wire, view: memoryview) -> None:
        self.hasher.update(view)
        self._part.write(view)

    async def hole(self, wire: Wire, count: int) -> None:
        self._part.skip(count)


class KernelSink(PartSink):
    """Into a partial file inside the kernel (splice). What is hashed is read back from the file: the digest
    is that of what is really there, at half the cost of the way through our memory."""

    def __init__(self, part: Part, hasher: Any, wire: Wire, *, behind: bool) -> None:
        """`behind`: a second thread hashes."""
        super().__init__(part, hasher)
        self._behind: Behind | None = None
        if behind:
            from pync.transfer.writer import Behind

            self._behind = Behind(part.fd, hasher)
        self._mover: SpliceMover | None = SpliceMover(wire.channel.read_fd, part.fd)
        # Told with the next bytes, or at the end: these ones were taken from the wire and must be counted.
        self._refused: Refused | None = None

    async def carry(self, wire: Wire, most: int) -> int:
        self._check()
        mover, part = self._mover, self._part
        if mover is None or not wire.carries:
            return 0
        os.lseek(part.fd, part.at, os.SEEK_SET)
        try:
            count = await wire.carry(mover, min(most, CARRIED))
        except KernelRefused:
            self._close_mover()  # with nothing in its hands: go on through our memory
            return 0
        except OSError as error:
            raise failed(error) from None
        written = count - mover.held
        try:
            self._hash(part.at, written)
        except OSError as error:
            self._refused = failed(error)
        part.at += written
        if mover.held:
            await self._stuck(wire, mover)
        return count

    def _hash(self, offset: int, count: int) -> None:
        if self._behind is not None:
            self._behind.hash(offset, count)
        else:
            digests.update_from(self.hasher, self._part.fd, offset, count)

    async def write(self, wire: Wire, view: memoryview) -> None:
        self.idle()
        await super().write(wire, view)

    async def _stuck(self, wire: Wire, mover: SpliceMover) -> None:
        """The file took less than the wire gave: a full disk, or a file system that refuses in the middle,
        or wants to be asked again."""
        try:
            given = max(0, mover.drain())
            self._hash(self._part.at, given)
        except KernelRefused:
            given = 0
        except OSError as error:
            self._refused = failed(error)
            return
        self._part.at += given
        if mover.held:
            held = mover.rescue()
            self._close_mover()
            await self.write(wire, memoryview(held))

    def idle(self) -> None:
        if self._behind is not None:
            try:
                self._behind.wait()
            except OSError as error:
                self._refused = self._refused or failed(error)
        self._check()

    def _check(self) -> None:
        if self._refused is not None:
            raise self._refused

    def _close_mover(self) -> None:
        if self._mover is not None:
            self._mover.close()
            self._mover = None

    def close(self) -> None:
        self._close_mover()
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.close()


class ThreadSink(PartSink):
    """Into a partial file by a second thread; the wire reads into other memory meanwhile."""

    def __init__(self, part: Part, hasher: Any) -> None:
        from pync.transfer.writer import Writer

        super().__init__(part, hasher)
        self._writer = Writer(part, hasher)

    async def write(self, wire: Wire, view: memoryview) -> None:
        self._writer.wait()
        if len(view) >= HANDED_OVER and wire.flip():
            self._writer.write(view)
        else:
            await super().write(wire, view)

    def idle(self) -> None:
        self._writer.wait()

    def close(self) -> None:
        self._writer.close()


class SealedSink(PartSink):
    """Into a partial file by a second thread that also opens the records: the first one only receives. So
    two processors are used evenly where the sender has one of them, as when both ends are one machine."""

    def __init__(self, part: Part, hasher: Any) -> None:
        from pync.transfer.writer import Unsealing

        super().__init__(part, hasher)
        self._unsealing = Unsealing(part, hasher)

    async def carry(self, wire: Wire, most: int) -> int:
        self._unsealing.check()
        record = await wire.record(HANDED_OVER, most, self._unsealing.spare)
        if record is None:
            return 0
        self._unsealing.put(record)
        return record.plain

    async def write(self, wire: Wire, view: memoryview) -> None:
        self.idle()
        await super().write(wire, view)

    def idle(self) -> None:
        self._unsealing.wait()

    def close(self) -> None:
        self._unsealing.close()


def sink_for(part: Part, hasher: Any, size: int, wire: Wire) -> PartSink:
    """What is faster for a body of `size` bytes."""
    several = size >= WORTH_A_THREAD and (os.cpu_count() or 1) >= CPUS
    if wire.sealed:
        return SealedSink(part, hasher) if several else PartSink(part, hasher)
    if size >= WORTH_A_PIPE and wire.channel.plain and can_splice():
        return KernelSink(part, hasher, wire, behind=several)
    return ThreadSink(part, hasher) if several else PartSink(part, hasher)


class StreamSink(Sink):
    """To stdout, a fifo or a device, at the pace of whoever reads there. `size`: what it has of a stream."""

    def __init__(self, channel: Stdio, hasher: Any, size: int) -> None:
        super().__init__(hasher)
        self._channel = channel
        self.size = size

    async def write(self, wire: Wire, view: memoryview) -> None:
        self.hasher.update(view)
        await self._put(wire, view)

    async def _put(self, wire: Wire, view: memoryview) -> None:
        channel = self._channel
        while view:
            try:
                count = channel.write(view)
            except LocalError as error:
                raise Refused(error.message, status=messages.FAILED) from None
            if count >= 0:
                self.size += count
                view = view[count:]
            else:
                await self._room(wire)

    async def _room(self, wire: Wire) -> None:
        """Wait for whoever reads. A connection that breaks meanwhile shows when it is read: not a byte of
        what arrived may be left out, or written twice when the sender comes back."""
        try:
            wire.push()
            await wire.pause(read=False, write=False, sink=self._channel, patient=True)
        except Lost:
            await ready(wire.loop, self._channel, WANT_WRITE)

    async def hole(self, wire: Wire, count: int) -> None:
        while count > 0:
            step = min(count, len(_ZEROS))
            await self._put(wire, memoryview(_ZEROS)[:step])
            count -= step


class Onward(StreamSink):
    """Goes on with a stream whose first `size` bytes are on the output already: those are only compared."""

    def __init__(self, channel: Stdio, hasher: Any, size: int, digest: bytes, check: Any) -> None:
        """`digest` is that of what is there; `check` a new hasher."""
        super().__init__(channel, hasher, size)
        self._left = size
        self._digest = digest
        self._check = check

    async def write(self, wire: Wire, view: memoryview) -> None:
        there = view[: self._left]
        if there:
            self._check.update(there)
            self.hasher.update(there)
            self._compared(len(there))
        await super().write(wire, view[len(there) :])

    async def hole(self, wire: Wire, count: int) -> None:
        there = min(self._left, count)
        if there:
            await wire.busy(digests.update_zeros, self._check, there)
            self._compared(there)
        await super().hole(wire, count - there)

    def _compared(self, count: int) -> None:
        self._left -= count
        if not self._left and self._check.digest() != self._digest:
            raise elsewhere()

    def idle(self) -> None:
        if self._left:
            raise elsewhere()


def elsewhere() -> Refused:
    """What arrives does not go on with what the output has."""
    why = "the output has the beginning of something else, which cannot be taken back"
    return Refused(why, status=messages.DAMAGED, code=4)


class Output:
    """stdout or a device that receives streams: opened once, closed at the end."""

    def __init__(self, fd: int, *, owned: bool) -> None:
        self.channel = Stdio(-1, fd)
        self._fd = fd
        self._owned = owned

    def finish(self) -> None:
        """Everything was written: let the reader see the end. Raises LocalError when bytes were lost."""
        if not self._owned:
            self.channel.send_eof()

    def close(self) -> None:
        """Idempotent."""
        self.channel.close()
        if self._owned and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


__all__ = ["Output", "OutputClosed", "PartSink", "Sink", "StreamSink"]
