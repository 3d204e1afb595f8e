"""Movers that work inside the kernel: splice(2) and sendfile(2). No byte enters our memory."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Generator, Iterator
from time import perf_counter

from pync.relay.mover import SINK_WRITE, SOURCE_READ, Refused
from pync.transport.channel import aligned_buffer

_TURN = 4 << 20  # what one `fill` moves before other channels get their turn
_PIPE_SIZE = 1 << 20  # the kernel's cap for everybody; 64 KiB pipes splice no faster than copying
_BURST = 1 << 20
_WARM = 1 << 16  # what is read and sent while it is in the cache
_NO_COPY = 3 << 30  # bytes a second: nobody who copies is as fast
_CLEARLY = 1.1
_NEVER = 1 << 62
_REFUSALS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV})
_F_SETPIPE_SZ = 1031


class KernelMover:
    """What they share: `fill` goes on until a side is not ready or a turn's worth is moved, because the
    bookkeeping around each call would cost more than the call. An error after some progress is kept for the
    next `fill`, so that what moved is counted first."""

    held = 0  # taken from the source, not yet in the sink

    def __init__(self) -> None:
        self._kept: OSError | Refused | None = None

    @property
    def pending(self) -> bool:
        return self.held > 0

    def fill(self, limit: int) -> int | None:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            raise kept
        moved = 0
        while moved < limit and moved < _TURN:
            try:
                count = self._step(min(limit - moved, _BURST))
            except (OSError, Refused) as error:
                if not moved and not self.held:
                    raise
                self._kept = error
                return moved + self._late()
            if count is None or count < 0:
                return moved or count
            moved += count
            if self.held:
                break
        return moved

    def _late(self) -> int:
        """Bytes that the failing step took before it failed."""
        return 0

    def _step(self, limit: int) -> int | None:
        raise NotImplementedError

    def drain(self) -> int:
        return 0

    def rescue(self) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing is ours."""


class HoldingMover(KernelMover):
    """Takes from the source into something of ours first, and gives that to the sink at once: what it does
    not take is held."""

    def __init__(self) -> None:
        super().__init__()
        self._just_took = 0

    def _take(self, limit: int) -> int | None:
        """Bytes taken from the source and held from now on; None at its end, negative for not now."""
        raise NotImplementedError

    def _give(self) -> int:
        """Bytes of those held that the sink took; -1 for not now."""
        raise NotImplementedError

    def _step(self, limit: int) -> int | None:
        self._just_took = 0
        count = self._take(limit)
        if count is None or count < 0:
            return count
        self.held = self._just_took = count
        while self.held:
            gone = self._give()
            if gone < 0:
                break
            self.held -= gone
        return count

    def _late(self) -> int:
        return self._just_took

    def drain(self) -> int:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            raise kept
        count = self._give()
        if count < 0:
            return SINK_WRITE
        self.held -= count
        return count


class SpliceMover(HoldingMover):
    """Descriptor to descriptor through a pipe of ours (splice(2))."""

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        super().__init__()
        self._source_fd, self._sink_fd = source_fd, sink_fd
        self._pipe_out, self._pipe_in = _big_pipe()

    def _take(self, limit: int) -> int | None:
        count = _splice(self._source_fd, self._pipe_in, limit)
        return count if count > 0 else (SOURCE_READ if count < 0 else None)

    def _give(self) -> int:
        return _splice(self._pipe_out, self._sink_fd, self.held)

    def rescue(self) -> bytes:
        parts = []
        while self.held:
            part = os.read(self._pipe_out, self.held)
            self.held -= len(part)
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        for fd in (self._pipe_out, self._pipe_in):
            if fd >= 0:
                os.close(fd)
        self._pipe_out = self._pipe_in = -1


class PipeMover(KernelMover):
    """Straight between two descriptors of which one is a pipe: no pipe of ours, nothing is ever pending."""

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        super().__init__()
        self._source_fd, self._sink_fd = source_fd, sink_fd
        self._poll = select.poll()
        self._poll.register(source_fd, select.POLLIN)

    def _step(self, limit: int) -> int | None:
        count = _splice(self._source_fd, self._sink_fd, limit)
        if count >= 0:
            return count or None
        # Which side is not ready? A source that has something leaves only the sink.
        return SINK_WRITE if self._poll.poll(0) else SOURCE_READ


class SendfileMover(KernelMover):
    """A regular file to a socket (sendfile(2)). The file's own position moves, as reading would move it."""

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        super().__init__()
        self._source_fd, self._sink_fd = source_fd, sink_fd

    def _step(self, limit: int) -> int | None:
        return _sendfile(self._sink_fd, self._source_fd, limit)


class LocalFileMover(HoldingMover):
    """A regular file to a socket whose other end is on this host.

    There sendfile hands over the file's pages themselves. A receiver that splices them on never touches a
    byte and is as fast as can be; one that copies them (every other netcat) reads them cold from memory, and
    is faster when we copy them into the cache first. Which it is cannot be asked, so it is measured: once,
    each way after enough was sent for the buffers in between to be full of its kind.
    """

    def __init__(
        self,
        source_fd: int,
        sink_fd: int,
        *,
        before: int = 64 << 20,
        window: int = 24 << 20,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        super().__init__()
        self._source_fd, self._sink_fd = source_fd, sink_fd
        self._buffer: memoryview | None = None  # while copying
        self._rest = memoryview(b"")
        self._trial = self._compare(before, window, clock)
        self._until_next = next(self._trial)

    def _compare(self, before: int, window: int, clock: Callable[[], float]) -> Iterator[int]:
        """Yields after how many bytes it wants to be resumed."""
        yield before
        handed_over = yield from self._timed(window, clock)
        if window <= handed_over * _NO_COPY:
            self._buffer = buffer = aligned_buffer(_WARM)
            yield window
            copied = yield from self._timed(window, clock)
            self._buffer = None
            yield window
            # Twice, since a wrong choice costs more than a right one gains.
            handed_over = min(handed_over, (yield from self._timed(window, clock)))
            if copied * _CLEARLY < handed_over:
                self._buffer = buffer
        yield _NEVER

    def _timed(self, window: int, clock: Callable[[], float]) -> Generator[int, None, float]:
        begin = clock()
        yield window
        return clock() - begin

    def _step(self, limit: int) -> int | None:
        if self._buffer is None:
            count = _sendfile(self._sink_fd, self._source_fd, limit)
        else:
            count = super()._step(limit)
        if count is not None and count > 0:
            self._until_next -= count
            if self._until_next <= 0:
                self._until_next = next(self._trial)
        return count

    def _take(self, limit: int) -> int | None:
        assert self._buffer is not None
        view = self._buffer[:limit]
        count = os.readv(self._source_fd, [view])
        self._rest = view[:count]
        return count or None

    def _give(self) -> int:
        try:
            count = os.write(self._sink_fd, self._rest)
        except BlockingIOError:
            return -1
        self._rest = self._rest[count:]
        return count

    def rescue(self) -> bytes:
        held, self.held = bytes(self._rest), 0
        return held


def _sendfile(sink_fd: int, source_fd: int, count: int) -> int | None:
    try:
        return os.sendfile(sink_fd, source_fd, None, count) or None
    except BlockingIOError:
        return SINK_WRITE
    except OSError as error:
        if error.errno in _REFUSALS:
            raise Refused from None
        raise


def can_splice() -> bool:
    """Whether this system has splice and nobody forced the portable mover."""
    return hasattr(os, "splice") and os.environ.get("PYNC_MOVER") != "copy"


def _big_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    enlarge_pipe(writer)
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def enlarge_pipe(fd: int) -> None:
    """Ask for a pipe as large as anybody may have; what the kernel gives is good enough."""
    try:
        import fcntl

        fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_SIZE)
    except (ImportError, OSError):
        pass


def _splice(source_fd: int, sink_fd: int, count: int) -> int:
    """Bytes moved, 0 at the end, -1 for not now; raises Refused or OSError."""
    try:
        return os.splice(source_fd, sink_fd, count, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
    except BlockingIOError:
        return -1
    except OSError as error:
        if error.errno in _REFUSALS:
            raise Refused from None
        raise
