"""The way to stderr: whatever is at its other end, pync goes on.

Lines that do not fit now wait, up to a limit, and are tried again with the next one and at the end. A
reader that went away, a full disk, a closed descriptor cost the words, never a change of behaviour or of
the exit status.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time

# What a pipe takes without blocking once poll() calls it writable (PIPE_BUF on Linux).
_PIECE = 4096
# Waiting lines beyond this are dropped whole: nobody reads, and memory must not grow.
_LIMIT = 1 << 20
# How long the last words may wait for a reader that is slow but alive.
_PATIENCE = 0.5


class Stderr:
    """Descriptor 2, one per process."""

    def __init__(self, fd: int = 2) -> None:
        self.fd = fd
        self._waiting = bytearray()
        self._dead = False
        self._poll: select.poll | None = None
        try:
            mode = os.fstat(fd).st_mode
            self.terminal = os.isatty(fd)
        except OSError:
            self._dead = True
            self.terminal = False
            return
        # Files and /dev/null are always ready; what can make a writer wait has to be asked first.
        if hasattr(select, "poll") and not stat.S_ISREG(mode):
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def line(self, text: str) -> None:
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Never blocks, never raises."""
        if self._dead:
            return
        data = text.encode(_encoding(), "backslashreplace")
        if len(self._waiting) + len(data) <= _LIMIT:
            self._waiting += data
        self._push(0.0)

    def finish(self) -> None:
        """The last chance of what still waits."""
        deadline = time.monotonic() + _PATIENCE
        while self._waiting and not self._dead:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._push(left)

    def _push(self, patience: float) -> None:
        while self._waiting and not self._dead:
            if not self._ready(patience):
                return
            try:
                done = os.write(self.fd, self._waiting[:_PIECE])
            except BlockingIOError:  # somebody else made the shared description non-blocking
                return
            except OSError:
                self._give_up()
                return
            del self._waiting[:done]

    def _ready(self, patience: float) -> bool:
        if self._poll is None:
            return True
        try:
            events = self._poll.poll(int(patience * 1000))
        except OSError:
            return False
        if any(mask & (select.POLLERR | select.POLLNVAL) for _, mask in events):
            self._give_up()
            return False
        return bool(events)

    def _give_up(self) -> None:
        self._dead = True
        self._waiting.clear()


def _encoding() -> str:
    return getattr(sys.stderr, "encoding", None) or "utf-8"
