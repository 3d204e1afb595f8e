"""Movers that work inside the kernel: splice(2) and sendfile(2). No byte enters our memory."""

from __future__ import annotations

import errno
import os
import select

from pync.relay.mover import SINK_WRITE, SOURCE_READ, Refused

_PIPE_SIZE = 1 << 20  # the kernel's cap for everybody; 64 KiB pipes splice no faster than copying
_BURST = 1 << 20
_REFUSALS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV})
_F_SETPIPE_SZ = 1031


class SpliceMover:
    """Descriptor to descriptor through a pipe of ours: no byte enters our memory (splice(2))."""

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        self._source_fd, self._sink_fd = source_fd, sink_fd
        self._pipe_out, self._pipe_in = _big_pipe()
        self._held = 0

    @property
    def pending(self) -> bool:
        return self._held > 0

    def fill(self, limit: int) -> int | None:
        count = _splice(self._source_fd, self._pipe_in, min(limit, _PIPE_SIZE))
        if count < 0:
            return SOURCE_READ
        self._held += count
        return count or None

    def drain(self) -> int:
        count = _splice(self._pipe_out, self._sink_fd, self._held)
        if count < 0:
            return SINK_WRITE
        self._held -= count
        return count

    def rescue(self) -> bytes:
        parts = []
        while self._held:
            part = os.read(self._pipe_out, self._held)
            self._held -= len(part)
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        for fd in (self._pipe_out, self._pipe_in):
            if fd >= 0:
                os.close(fd)
        self._pipe_out = self._pipe_in = -1


class PipeMover:
    """Straight between two descriptors of which one is a pipe: no pipe of ours, nothing is ever pending."""

    pending = False

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        self._source_fd, self._sink_fd = source_fd, sink_fd
        self._poll = select.poll()
        self._poll.register(source_fd, select.POLLIN)

    def fill(self, limit: int) -> int | None:
        count = _splice(self._source_fd, self._sink_fd, min(limit, _BURST))
        if count >= 0:
            return count or None
        # Which side is not ready? A source that has something leaves only the sink.
        return SINK_WRITE if self._poll.poll(0) else SOURCE_READ

    def drain(self) -> int:
        return 0

    def rescue(self) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing is ours."""


class SendfileMover:
    """A regular file to a socket (sendfile(2)). The file's own position moves, as reading would move it."""

    pending = False

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        self._source_fd, self._sink_fd = source_fd, sink_fd

    def fill(self, limit: int) -> int | None:
        try:
            return os.sendfile(self._sink_fd, self._source_fd, None, min(limit, 4 * _BURST)) or None
        except BlockingIOError:
            return SINK_WRITE
        except OSError as error:
            if error.errno in _REFUSALS:
                raise Refused from None
            raise

    def drain(self) -> int:
        return 0

    def rescue(self) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing is ours."""


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
