"""A terminal in raw mode for a remote shell, given back as it was on every way out."""

from __future__ import annotations

import os
import signal

from pync.errors import LocalError
from pync.loop import Loop

try:
    import termios
    import tty
except ImportError:
    raise LocalError("--raw-tty: this system has no modes of a terminal") from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self


class RawTerminal:
    """Raw mode while entered. Stopped from outside (SIGTSTP), the shell gets its terminal as it was, and raw
    mode comes back with SIGCONT."""

    def __init__(self, loop: Loop, fd: int) -> None:
        self._loop = loop
        self._fd = fd
        self._saved: list[Any] | None = None

    def __enter__(self) -> Self:
        self._saved = termios.tcgetattr(self._fd)
        self._loop.on_signal(signal.SIGTSTP, self._stop)
        self._loop.on_signal(signal.SIGCONT, self._enter_raw)
        self._enter_raw()
        return self

    def _enter_raw(self) -> None:
        try:
            tty.setraw(self._fd, termios.TCSADRAIN)
        except termios.error:
            pass  # hung up

    def _restore(self) -> None:
        if self._saved is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
            except termios.error:
                pass

    def _stop(self) -> None:
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)

    def __exit__(self, *exc: object) -> None:
        self._restore()
        self._saved = None
