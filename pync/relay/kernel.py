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
_NOW = getattr(os, "SPLICE_F_NONBLOCK", 0) | getattr(os, "SPLICE_F_MOVE", 0)


class KernelMover:
    """What they share: `fill` goes on until a side is not ready or a turn's worth is moved, because the
    bookkeeping around each call would cost more than the call. What stopped it after some progress is kept
    for the next `fill`, so that what moved is counted first."""

    held = 0  # taken from the source, not yet in the sink
    one_call = True  # takes and gives in one system call, so that an error does not say whose it is

    def __init__(self) -> None:
        self._kept: OSError | Refused | int | None = None

    @property
    def pending(self) -> bool:
        return self.held > 0

    def fill(self, limit: int) -> int | None:
        if self._kept is not None:
            return self._keep_no_longer()
        step = self._step
        end = min(_TURN, limit)
        moved = 0
        while moved < end and not self.held:
            left = end - moved
            try:
                count = step(min(_BURST, left))
            except BlockingIOError:
                not_ready = self._not_ready()
                if not moved:
                    return not_ready
                self._kept = not_ready
                break
            except OSError as error:
                told = _told(error)
                moved += self._late()
                if not moved:
                    raise told from None
                self._kept = told
                break
            if not count:
                return moved or None
            moved += count
        return moved

    def _keep_no_longer(self) -> int:
        kept, self._kept = self._kept, None
        if isinstance(kept, Exception):
            raise kept
        assert kept is not None
        return kept

    def _step(self, limit: int) -> int:
        """Bytes taken from the source, 0 at its end; BlockingIOError for not now."""
        raise NotImplementedError

    def _not_ready(self) -> int:
        """Which readiness helps after a BlockingIOError of `_step`."""
        raise NotImplementedError

    def _late(self) -> int:
        """Bytes that the failing step took before it failed."""
        return 0

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

    def _take(self, limit: int) -> int:
        """Bytes taken from the source and held from now on, 0 at its end; BlockingIOError for not now."""
        raise NotImplementedError

    def _give(self) -> int:
        """Bytes of those held that the sink took; BlockingIOError for not now."""
        raise NotImplementedError

    def _step(self, limit: int) -> int:
        self._just_took = 0
        self.held = self._just_took = count = self._take(limit)
        try:
            while self.held:
                self.held -= self._give()
        except BlockingIOError:
            pass  # `drain` goes on
        return count

    def _not_ready(self) -> int:
        return SOURCE_READ

    def _late(self) -> int:
        return self._just_took

    def drain(self) -> int:
        if self._kept is not None:
            self._keep_no_longer()
        try:
            count = self._give()
        except BlockingIOError:
            return SINK_WRITE
        except OSError as error:
            raise _told(error) from None
        self.held -= count
        return count


class SpliceMover(HoldingMover):
    """Descriptor to descriptor through a pipe of ours (splice(2)).

    Both may be connections, so it matters whose an error is: `fill` raises the source's, `drain` the sink's,
    because what the sink did not take is held.
    """

    one_call = False

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        super().__init__()
        self._source_fd, self._sink_fd = source_fd, sink_fd
        self._pipe_out, self._pipe_in = _big_pipe()

    def _take(self, limit: int) -> int:
        return os.splice(self._source_fd, self._pipe_in, limit, None, None, _NOW)

    def _give(self) -> int:
        return os.splice(self._pipe_out, self._sink_fd, self.held, None, None, _NOW)

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

    def _step(self, limit: int) -> int:
        return os.splice(self._source_fd, self._sink_fd, limit, None, None, _NOW)

    def _not_ready(self) -> int:
        # A source that has something leaves only the sink.
        return SINK_WRITE if self._poll.poll(0) else SOURCE_READ


class SendfileMover(KernelMover):
    """A regular file to a socket (sendfile(2)). The file's own position moves, as reading would move it."""

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        super().__init__()
        self._source_fd, self._sink_fd = source_fd, sink_fd

    def _step(self, limit: int) -> int:
        return os.sendfile(self._sink_fd, self._source_fd, None, limit)

    def _not_ready(self) -> int:
        return SINK_WRITE


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

    def _step(self, limit: int) -> int:
        if self._buffer is None:
            count = os.sendfile(self._sink_fd, self._source_fd, None, limit)
        else:
            count = super()._step(limit)
        self._until_next -= count
        if self._until_next <= 0:
            self._until_next = next(self._trial)
        return count

    def _take(self, limit: int) -> int:
        assert self._buffer is not None
        view = self._buffer[:limit]
        count = os.readv(self._source_fd, [view])
        self._rest = view[:count]
        return count

    def _give(self) -> int:
        count = os.write(self._sink_fd, self._rest)
        self._rest = self._rest[count:]
        return count

    def _not_ready(self) -> int:
        return SINK_WRITE  # a file is always ready

    def rescue(self) -> bytes:
        held, self.held = bytes(self._rest), 0
        return held


def _told(error: OSError) -> OSError | Refused:
    return Refused() if error.errno in _REFUSALS else error


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
