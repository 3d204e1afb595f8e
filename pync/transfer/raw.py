"""`--raw`: plain bytes, so that the other end can be any netcat. No names, no digests, no resume.

What can be known without the other end's help is said: a reset, bytes its system never acknowledged, an
output that could not be written.
"""

from __future__ import annotations

import os

from pync.errors import LocalError, NetworkError, TimedOut, reason
from pync.loop import Loop
from pync.proto.pacing import TokenBucket
from pync.transfer.root import other_names
from pync.transport.channel import CHUNK, WANT_READ, WANT_WRITE, Channel, aligned_buffer, ready
from pync.transport.stdio import BINARY, Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# After our end, how long the peer may take to acknowledge or close before we believe it is gone.
ACKNOWLEDGE = 30.0
_LOOK_AGAIN = 0.02


class RawPipe:
    """Moves bytes one way and counts them."""

    def __init__(self, loop: Loop, channel: Channel, *, idle: float | None, rate: float | None) -> None:
        self._loop = loop
        self._channel = channel
        self._idle = idle
        self._bucket = TokenBucket(rate) if rate is not None else None
        self._view = aligned_buffer(CHUNK)
        self.moved = 0

    async def _ready(self, channel: Channel, want: int) -> None:
        until = self._loop.now() + self._idle if self._idle is not None else None
        try:
            await ready(self._loop, channel, want, until)
        except TimeoutError:
            raise TimedOut(f"idle for {self._idle:g}s") from None

    async def _allowed(self) -> int:
        """How many bytes may move now."""
        if self._bucket is None:
            return len(self._view)
        while not (allowed := self._bucket.allowance(self._loop.now())):
            await self._loop.sleep_until(self._bucket.ready_at(self._loop.now()))
        return min(allowed, len(self._view))

    async def send(self, source: Channel) -> None:
        """Everything `source` gives. Raises NetworkError when the peer breaks off."""
        while True:
            count = source.read_into(self._view[: await self._allowed()])
            if count is None:
                return
            if count < 0:
                await self._ready(source, count)
                continue
            await self._write(self._channel, self._view[:count], "send")
            self._account(count)

    async def receive(self, sink: Channel, most: int | None = None) -> None:
        """Everything until the peer's end, into `sink`. Raises NetworkError for a reset, LocalError for more
        than `most` bytes."""
        while True:
            try:
                count = self._channel.read_into(self._view[: await self._allowed()])
            except OSError as error:
                raise NetworkError(f"receive: {reason(error)} after {self.moved} bytes") from None
            if count is None:
                return
            if count < 0:
                await self._ready(self._channel, count)
                continue
            if most is not None and self.moved + count > most:
                raise LocalError(f"receive: larger than --max-size ({most} bytes)")
            await self._write(sink, self._view[:count], "write")
            self._account(count)

    def _account(self, count: int) -> None:
        self.moved += count
        if self._bucket is not None:
            self._bucket.spend(count, self._loop.now())

    async def _write(self, channel: Channel, view: memoryview, doing: str) -> None:
        while view:
            try:
                count = channel.write(view)
            except OSError as error:
                raise NetworkError(f"{doing}: {reason(error)} after {self.moved} bytes") from None
            if count >= 0:
                view = view[count:]
            else:
                await self._ready(channel, count)

    async def finish_sending(self) -> None:
        """Our end; then wait until the peer closed, or its system has acknowledged all.

        Raises NetworkError.
        """
        channel, loop = self._channel, self._loop
        while (want := channel.send_eof()) < 0:
            await self._ready(channel, want)
        until = loop.now() + ACKNOWLEDGE
        while loop.now() < until:
            try:
                if channel.read_into(self._view) is None or not channel.unacknowledged():
                    return  # what it says meanwhile is not asked for
                await ready(loop, channel, WANT_READ, loop.now() + _LOOK_AGAIN)
            except TimeoutError:
                continue
            except OSError as error:
                if channel.confirmed(self.moved):
                    return
                raise NetworkError(f"send: {reason(error)}; not everything arrived") from None
        raise NetworkError("send: the peer does not acknowledge what was sent")


class OutputFile(Stdio):
    """A file in the place of stdout, which is called by its name when something is wrong with it."""

    def __init__(self, path: str, fd: int) -> None:
        super().__init__(-1, fd)
        self._path = path

    def write(self, view: memoryview) -> int:
        try:
            return super().write(view)
        except LocalError as error:
            raise LocalError(f"{self._path}: {error.message.removeprefix('stdout: ')}") from None


def check_output(path: str | None, policy: str) -> None:
    """Whether `open_output` will do, before anybody is waited for; nothing is made. Raises LocalError."""
    if path is None or path == "-":
        return
    try:
        if os.path.isdir(path):
            raise LocalError(f"{path}: is a directory")
        if os.path.lexists(path):
            if policy == "refuse" and (os.path.isfile(path) or not os.path.exists(path)):
                raise _exists(path)
            return
        directory = os.path.dirname(path) or "."
        os.stat(directory)
    except OSError as error:
        raise LocalError(f"{path}: {reason(error)}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise LocalError(f"{path}: permission denied")


def open_output(path: str | None, policy: str) -> Stdio:
    """stdout, or a file or device to write. Raises LocalError.

    `policy` (refuse, overwrite, rename, skip) is for a file that exists.
    """
    if path is None or path == "-":
        return Stdio(-1, 1)
    try:
        return OutputFile(path, _create(path, policy))
    except OSError as error:
        raise LocalError(f"{path}: {reason(error)}") from None


def _create(path: str, policy: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY
    # What exists and is no file (a device, a fifo) is written to.
    if policy == "overwrite" or (os.path.exists(path) and not os.path.isfile(path)):
        return os.open(path, flags, 0o666)
    directory, name = os.path.split(path)
    others = map(os.fsdecode, other_names(os.fsencode(name))) if policy == "rename" else ()
    for one in (name, *others):
        try:
            return os.open(os.path.join(directory, one), flags | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
    if policy == "skip":
        return os.open(os.devnull, os.O_WRONLY)
    raise _exists(path)


def _exists(path: str) -> LocalError:
    return LocalError(
        f"{path}: it exists already", hint="--overwrite replaces it, --rename takes another name"
    )


def open_input(path: str) -> Stdio:
    """stdin for `-`, else the file. Raises LocalError."""
    if path == "-":
        return Stdio(0, -1)
    try:
        if os.path.isdir(path):
            raise LocalError(f"{path}: is a directory", hint="leave out --raw, or use tar")
        return Stdio(os.open(path, os.O_RDONLY | BINARY), -1)
    except OSError as error:
        raise LocalError(f"{path}: {reason(error)}") from None


def close(stdio: Any, loop: Loop) -> None:
    """Give back what `open_input` or `open_output` opened; stdin and stdout stay."""
    stdio.detach(loop)
    stdio.close()
    for fd in (stdio.read_fd, stdio.write_fd):
        if fd > 2:
            os.close(fd)


__all__ = ["WANT_WRITE", "RawPipe", "check_output", "close", "open_input", "open_output"]
