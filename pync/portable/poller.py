"""select(2) in the shape of `select.poll`.

It sees no broken connections: a failed connect is writable (on Windows only in the third set), a reset one
readable. Where that is all that is asked for (mask 0), sockets are looked at a few times a second, and what
is no socket is taken for the writing end of a pipe, which select calls readable once nobody reads it.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import sys
import time

from pync.loop import POLLERR, POLLIN, POLLNVAL, POLLOUT

_LOOK_EVERY = 0.25  # seconds
# A set takes so many descriptors on Windows, elsewhere it ends at the descriptor of that number.
_SET = 500 if sys.platform == "win32" else 1024
_ONLY_SOCKETS = sys.platform == "win32"


class SelectPoll:
    """See the module. Times are milliseconds, as in `select.poll`."""

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}
        self._sockets_for_errors: set[int] = set()
        if not _ONLY_SOCKETS:
            _keep_descriptors_below(_SET)

    def register(self, fd: int, mask: int) -> None:
        """Watch `fd` for `mask`, from now on or anew."""
        self._masks[fd] = mask
        if not mask and (_ONLY_SOCKETS or stat.S_ISSOCK(os.fstat(fd).st_mode)):
            self._sockets_for_errors.add(fd)
        else:
            self._sockets_for_errors.discard(fd)

    modify = register

    def unregister(self, fd: int) -> None:
        """Raises KeyError for one that is not watched."""
        del self._masks[fd]
        self._sockets_for_errors.discard(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """What is ready within `timeout` milliseconds, None for ever."""
        deadline = None if timeout is None or timeout < 0 else time.monotonic() + timeout / 1000
        while True:
            broken = [(fd, POLLERR) for fd in self._sockets_for_errors if _is_broken(fd)]
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if broken:
                left = 0.0
            elif self._sockets_for_errors:
                left = _LOOK_EVERY if left is None else min(left, _LOOK_EVERY)
            found = self._ready(left) + broken
            if found or (deadline is not None and time.monotonic() >= deadline):
                return found

    def _ready(self, seconds: float | None) -> list[tuple[int, int]]:
        masks = {fd: mask for fd, mask in self._masks.items() if fd not in self._sockets_for_errors}
        if not masks:
            time.sleep(3600 if seconds is None else seconds)  # Windows refuses three empty sets
            return []
        fds = list(masks)
        if len(fds) <= _SET or not _ONLY_SOCKETS:
            return _select(masks, fds, seconds)
        parts = [fds[start : start + _SET] for start in range(0, len(fds), _SET)]
        found = [event for part in parts for event in _select(masks, part, 0.0)]
        # The first part has the loop's own wake-up; the others are asked fifty times a second.
        return found or _select(masks, parts[0], 0.02 if seconds is None else min(seconds, 0.02))


def _select(masks: dict[int, int], fds: list[int], seconds: float | None) -> list[tuple[int, int]]:
    reading = [fd for fd in fds if masks[fd] & POLLIN or not masks[fd]]
    writing = [fd for fd in fds if masks[fd] & POLLOUT]
    try:
        ready, room, failed = select.select(reading, writing, writing if _ONLY_SOCKETS else [], seconds)
    except (OSError, ValueError):
        closed = [(fd, POLLNVAL) for fd in fds if not _is_open(fd)]
        if not closed:
            raise
        return closed
    events: dict[int, int] = {}
    for found, bit in ((ready, POLLIN), (room, POLLOUT), (failed, POLLOUT | POLLERR)):
        for fd in found:
            events[fd] = events.get(fd, 0) | (bit if masks[fd] else POLLERR)
    return list(events.items())


def _is_open(fd: int) -> bool:
    try:
        select.select([fd], [], [], 0)
    except (OSError, ValueError):
        return False
    return True


def _is_broken(fd: int) -> bool:
    """Whether a connection whose end was read already was reset since."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return True
    try:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return True
        if select.select([sock], [], [], 0)[0]:
            sock.recv(1, socket.MSG_PEEK)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    finally:
        sock.detach()
    return False


def _keep_descriptors_below(most: int) -> None:
    """A descriptor that select cannot take must not come into being."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if not 0 <= soft <= most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (ImportError, OSError, ValueError):
        pass
