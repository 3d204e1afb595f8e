"""Threads that wait for what no poller can: the pipes and the console of Windows, terminals of older macOS.

A Reader and a Writer look like a non-blocking socket to the channel that owns one. `fileno()` is a socket to
watch: readable while there is something to read (Reader), or once there is room again (Writer).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from _queue import SimpleQueue
from _thread import start_new_thread
from collections.abc import Callable
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 1 << 18
_AHEAD = 4  # chunks read before anybody asks for them
_BROKEN = frozenset({errno.EPIPE, errno.EINVAL})  # Windows: EINVAL


def is_console(fd: int) -> bool:
    """Whether somebody is there: on Windows NUL claims to be a terminal as well."""
    if not os.isatty(fd):
        return False
    import io

    console = getattr(io, "_WindowsConsoleIO", None)
    return console is None or isinstance(_raw(fd), console)


def _raw(fd: int) -> Any:
    """Python's own way to a standard stream; it speaks UTF-8 where the console's descriptor does not."""
    stream = (sys.__stdin__, sys.__stdout__, sys.__stderr__)[fd] if 0 <= fd <= 2 else None
    return getattr(getattr(stream, "buffer", None), "raw", None)


def _speaks_utf_8(fd: int) -> bool:
    return is_console(fd) and _raw(fd) is not None


class Reader:
    """Reads `fd` ahead. `owned`: it is closed at its end, by the thread, since nobody else may."""

    def __init__(self, fd: int, *, owned: bool = False) -> None:
        self._fd = fd
        self._owned = owned
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._chunks: SimpleQueue[memoryview | OSError] = SimpleQueue()
        self._credits: SimpleQueue[bool] = SimpleQueue()
        self._rest: memoryview | None = None
        self._running = False

    def start(self) -> None:
        """Begin to read; idempotent. Not before somebody wants what comes: it cannot be given back."""
        if not self._running:
            self._running = True
            for _ in range(_AHEAD):
                self._credits.put(True)
            start_new_thread(self._work, ())

    def fileno(self) -> int:
        """What to watch for reading."""
        return self._ours.fileno()

    def ready(self) -> bool:
        """Whether `recv_into` has an answer."""
        return self._rest is not None or not self._chunks.empty()

    def recv_into(self, view: memoryview, _count: int = 0, _flags: int = 0) -> int:
        """Bytes of one read of the descriptor, 0 at its end. Raises BlockingIOError for not now."""
        self.start()
        if self._rest is None:
            self._ours.recv(1, socket.MSG_PEEK)  # one byte for each chunk, taken when the chunk is used up
            chunk = self._chunks.get()
            if isinstance(chunk, OSError):
                self._chunks.put(chunk)
                raise chunk
            self._rest = chunk
        rest = self._rest
        count = min(len(rest), len(view))
        view[:count] = rest[:count]
        if not rest:
            return 0  # for ever: its byte stays
        if count < len(rest):
            self._rest = rest[count:]
        else:
            self._rest = None
            self._ours.recv(1)
            self._credits.put(True)
        return count

    def _work(self) -> None:
        read = _raw(self._fd).read if _speaks_utf_8(self._fd) else partial(os.read, self._fd)
        end = False
        try:
            while not end and self._credits.get():
                try:
                    data = read(_CHUNK) or b""
                    end = not data
                    self._chunks.put(memoryview(data))
                except OSError as error:
                    end = True
                    self._chunks.put(error)
                self._theirs.send(b"\0")
        except OSError:
            pass  # the channel was closed
        finally:
            self._theirs.close()
            if self._owned:
                os.close(self._fd)

    def close(self) -> None:
        """Idempotent. A read that is under way ends when it ends."""
        self._ours.close()
        if self._running:
            self._credits.put(False)
        else:
            self._running = True
            self._theirs.close()
            if self._owned:
                os.close(self._fd)


class Writer:
    """Writes to `fd`, one piece at a time. What `send` counts has been written; as with TLS, a piece that
    could not go at once is to be offered again, and it is the beginning of the next that is offered."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._outcomes: SimpleQueue[int | OSError] = SimpleQueue()
        self._running = self._busy = False

    def fileno(self) -> int:
        """What to watch, for reading."""
        return self._ours.fileno()

    def send(self, view: memoryview, _flags: int = 0) -> int:
        """Bytes written. Raises BlockingIOError for not now."""
        if self._busy:
            self._ours.recv(1)
            self._busy = False
            outcome = self._outcomes.get()
            if isinstance(outcome, OSError):
                raise outcome
            return outcome
        if not self._running:
            self._running = True
            start_new_thread(self._work, ())
        self._busy = True
        self._pieces.put(bytes(view[:_CHUNK]))
        raise BlockingIOError

    def _work(self) -> None:
        write = _raw(self._fd).write if _speaks_utf_8(self._fd) else partial(os.write, self._fd)
        try:
            while (piece := self._pieces.get()) is not None:
                view = memoryview(piece)
                try:
                    while view:
                        view = view[write(view) :]
                    self._outcomes.put(len(piece))
                except OSError as error:
                    gone = BrokenPipeError(errno.EPIPE, "") if error.errno in _BROKEN else error
                    self._outcomes.put(gone)
                self._theirs.send(b"\0")
        except OSError:
            pass  # the channel was closed
        finally:
            self._theirs.close()

    def close(self, then: Callable[[], None] | None = None) -> None:
        """Idempotent. `then` is called when nothing is being written: at once, or by the thread."""
        self._ours.close()
        if then is not None and not self._busy:
            then()
        elif then is not None:
            start_new_thread(self._wait_and, (then,))
        if self._running:
            self._pieces.put(None)
        else:
            self._theirs.close()
        self._running = True

    def _wait_and(self, then: Callable[[], None]) -> None:
        self._outcomes.get()
        then()
