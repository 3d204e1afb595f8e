"""Our stdin and stdout as a channel. They are borrowed: their O_NONBLOCK is never touched, since the flag
would leak to the shell and to everybody else who shares the description. So we poll first, and move at most
what cannot block."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import sys
from collections.abc import Callable

from pync.errors import LocalError, reason
from pync.loop import POLLIN, POLLNVAL, POLLOUT, Loop, new_poll
from pync.transport.channel import WANT_READ, WANT_WRITE, Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.portable.streams import Writer

_WINDOWS = sys.platform == "win32"
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
BINARY = getattr(os, "O_BINARY", 0)  # Windows would change line ends
_NOWAIT = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "pwritev") else 0
# A pipe that polls writable has room for PIPE_BUF bytes; a terminal for somewhat less.
_PIPE_CHUNK = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
_TERMINAL_CHUNK = 512

if hasattr(os, "readv"):
    _readv = os.readv
else:
    from pync.portable.files import readv as _readv


def kind_of(fd: int) -> str:
    """What a descriptor is: file, directory, pipe, socket, terminal, device or closed."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return "closed"
    for test, name in (
        (stat.S_ISREG, "file"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISDIR, "directory"),
    ):
        if test(mode):
            return name
    if _WINDOWS:
        from pync.portable.streams import is_console

        return "terminal" if is_console(fd) else "device"
    return "terminal" if os.isatty(fd) else "device"


class OutputClosed(Exception):
    """The reader of our stdout went away: stop quietly, status 141."""


class Stdio(Channel):
    """stdin to read, stdout to write. Left out (`-1`), the one is at its end, the other thrown away."""

    def __init__(self, read_fd: int = 0, write_fd: int = 1) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.input = kind_of(read_fd) if read_fd >= 0 else "closed"
        self.output = kind_of(write_fd) if write_fd >= 0 else "closed"
        if self.input == "directory":
            raise LocalError("stdin: is a directory")
        if self.output == "directory":
            raise LocalError("stdout: is a directory")
        self._sockets: dict[int, Any] = {}
        for fd, kind in ((read_fd, self.input), (write_fd, self.output)):
            if kind == "socket":
                self._sockets[fd] = socket.socket(fileno=os.dup(fd))
        self._ready_fd, self._room_fd = read_fd, write_fd
        self._readable = _poller(read_fd, POLLIN) if self.input in ("pipe", "terminal") else None
        self._writable = _poller(write_fd, POLLOUT) if self.output in ("pipe", "terminal") else None
        self._writer: Writer | None = None
        self._wait_in_threads()
        self._nowait = bool(_NOWAIT) and self.output == "pipe"
        self.append = self.output == "file" and _is_append(write_fd)
        self.size = _bytes_left(read_fd) if self.input == "file" else None

    def _wait_in_threads(self) -> None:
        """For what no poller takes here; the threads look like sockets."""
        reads = self.input in ("pipe", "terminal") and self._readable is None
        writes = self.output in ("pipe", "terminal") and self._writable is None
        if reads or writes:
            from pync.portable.streams import Reader, Writer

            if reads:
                reader = self._sockets[self.read_fd] = Reader(self.read_fd)
                self._ready_fd = reader.fileno()
            if writes:
                self._writer = self._sockets[self.write_fd] = Writer(self.write_fd)
                self._room_fd = self._writer.fileno()

    @property
    def plain_input(self) -> bool:
        """True where a mover may take bytes from the descriptor without blocking on it."""
        return self.input in ("pipe", "file")

    @property
    def plain_output(self) -> bool:
        """True where splice may put bytes there (the kernel refuses files opened with O_APPEND)."""
        return self.output in ("pipe", "file", "device") and not self.append

    @property
    def interactive(self) -> bool:
        """True when somebody types."""
        return self.input == "terminal"

    def read_into(self, view: memoryview) -> int | None:
        fd = self.read_fd
        if fd < 0 or self.input == "closed":
            return None
        try:
            if fd in self._sockets:
                return self._sockets[fd].recv_into(view, 0, _DONTWAIT) or None
            if self._readable is not None and not self._readable.poll(0):
                return WANT_READ
            return _readv(fd, [view]) or None
        except BlockingIOError:
            return WANT_READ
        except OSError as error:
            if error.errno == errno.EIO and self.input == "terminal":
                return None  # the terminal hung up, or we are an orphan in the background
            raise LocalError(f"stdin: {reason(error)}") from None

    def write(self, view: memoryview) -> int:
        fd = self.write_fd
        if fd < 0 or self.output == "closed":
            return len(view)
        try:
            if fd in self._sockets:
                return int(self._sockets[fd].send(view, _DONTWAIT))
            if self._writable is None:
                return os.write(fd, view)
            if self._nowait:
                return self._write_nowait(view)
            if not self._writable.poll(0):
                return WANT_WRITE
            return os.write(fd, view[: _PIPE_CHUNK if self.output == "pipe" else _TERMINAL_CHUNK])
        except BlockingIOError:
            return WANT_WRITE
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.ECONNRESET) or (
                error.errno == errno.EIO and self._writable
            ):
                raise OutputClosed from None
            raise LocalError(f"stdout: {reason(error)}") from None

    def _write_nowait(self, view: memoryview) -> int:
        """Whole chunks into a pipe without blocking, where the kernel takes RWF_NOWAIT for pipes."""
        try:
            return os.pwritev(self.write_fd, [view], -1, _NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EPIPE):
                raise
            self._nowait = False
            return self.write(view)

    def send_eof(self) -> int:
        """Close stdout, so that its reader goes on; /dev/null takes its place, so that no socket becomes fd
        1.

        Raises LocalError when the close reports that bytes were lost (a quota, a network file system).
        """
        fd = self.write_fd
        if fd < 0 or self.output == "closed":
            return 0
        self.output = "closed"
        if self._writer is not None:
            self._writer.close(lambda: _end(fd))
        elif fd in self._sockets:
            try:
                self._sockets[fd].shutdown(socket.SHUT_WR)
            except OSError:
                pass
        else:
            _end(fd)
        return 0

    def watch_read(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        loop.watch_read(self._ready_fd, callback)

    def watch_write(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        (loop.watch_write if self._writer is None else loop.watch_read)(self._room_fd, callback)

    def watch_broken(self, loop: Loop, callback: Any) -> None:
        """Call `callback` as soon as the reader of a stdout pipe is gone, written to or not."""
        if self.output == "pipe" and self._writer is None:
            loop.watch_error(self.write_fd, callback)

    def detach(self, loop: Loop) -> None:
        for fd in (self._ready_fd, self._room_fd):
            if fd >= 0:
                loop.forget(fd)

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def _poller(fd: int, mask: int) -> Any:
    """Asks whether the descriptor is ready; None where the system cannot tell, and a thread has to wait."""
    if _WINDOWS:
        return None
    poller = new_poll()
    poller.register(fd, mask)
    if sys.platform == "darwin" and any(event & POLLNVAL for _, event in poller.poll(0)):
        return None  # terminals, for some of its kernels
    return poller


def _end(fd: int) -> None:
    try:
        os.close(fd)
    except OSError as error:
        raise LocalError(f"stdout: {reason(error)}") from None
    finally:
        replace_with_null(fd, os.O_WRONLY)


def _is_append(fd: int) -> bool:
    try:
        import fcntl

        return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)
    except (ImportError, OSError):
        return _WINDOWS


def _bytes_left(fd: int) -> int | None:
    try:
        return max(0, os.fstat(fd).st_size - os.lseek(fd, 0, os.SEEK_CUR))
    except OSError:
        return None


def replace_with_null(fd: int, mode: int) -> None:
    """Put /dev/null on a closed descriptor."""
    opened = os.open(os.devnull, mode)
    if opened != fd:
        os.dup2(opened, fd, inheritable=True)
        os.close(opened)
    else:
        os.set_inheritable(fd, True)
