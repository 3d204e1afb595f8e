"""The way to stdout for text of our own: help and scan results. Every byte arrives, or the user is told."""

from __future__ import annotations

import os

from pync.errors import Interrupted, LocalError, reason


def write(text: str, fd: int = 1) -> None:
    """All of `text`; raises LocalError, or Interrupted when the reader went away."""
    data = memoryview(text.encode("utf-8", "surrogateescape"))
    try:
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:  # somebody made the description that we share non-blocking
                _wait_for(fd)
    except BrokenPipeError:
        import signal

        raise Interrupted(getattr(signal, "SIGPIPE", 13)) from None
    except OSError as error:
        raise LocalError(f"standard output: {reason(error)}") from None


def _wait_for(fd: int) -> None:
    """Until the reader made room, or left."""
    from pync.loop import POLLOUT, new_poll

    poll = new_poll()
    poll.register(fd, POLLOUT)
    poll.poll()
