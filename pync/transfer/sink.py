"""Where the bytes of one entry go: a partial file, stdout or a device, or nowhere."""

from __future__ import annotations

import os

from pync.errors import LocalError
from pync.proto import transfer_messages as messages
from pync.transfer.part import Part
from pync.transfer.root import Refused
from pync.transfer.wire import Lost, Wire
from pync.transport.channel import WANT_WRITE, ready
from pync.transport.stdio import OutputClosed, Stdio

_ZEROS = bytes(256 << 10)


class Sink:
    """Takes bytes in order. This one throws them away: an entry was refused and its body is on the way."""

    part: Part | None = None

    async def write(self, wire: Wire, view: memoryview) -> None:
        """Take all of `view`. Raises Refused."""

    async def hole(self, wire: Wire, count: int) -> None:
        """Take `count` zero bytes. Raises Refused."""


class PartSink(Sink):
    """Into a partial file. Writing there blocks, for as long as the disk needs."""

    def __init__(self, part: Part) -> None:
        self.part: Part = part

    async def write(self, wire: Wire, view: memoryview) -> None:
        self.part.write(view)

    async def hole(self, wire: Wire, count: int) -> None:
        self.part.skip(count)


class StreamSink(Sink):
    """To stdout, a fifo or a device, at the pace of whoever reads there."""

    def __init__(self, channel: Stdio) -> None:
        self._channel = channel

    async def write(self, wire: Wire, view: memoryview) -> None:
        channel = self._channel
        while view:
            try:
                count = channel.write(view)
            except LocalError as error:
                raise Refused(error.message, status=messages.FAILED) from None
            if count >= 0:
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
            await self.write(wire, memoryview(_ZEROS)[:step])
            count -= step


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
