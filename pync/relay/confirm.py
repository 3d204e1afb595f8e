"""Whether the other system has what we sent. Nothing tells when a send queue gets empty, or that a peer which
ended long ago is gone: it has to be looked for."""

from __future__ import annotations

import errno
from collections.abc import Callable

from pync.loop import Loop, Timer
from pync.transport.channel import Channel

# How long the peer's system may take to confirm our last bytes after both directions ended. TCP itself
# would go on for a quarter of an hour; nobody waits that long for an exit status.
CONFIRM_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05
# How often a system that counts no acknowledgements is asked whether all that was sent has its own.
_ASK_SECONDS = 0.25
# How often a peer that has ended is looked for while we go on.
_LOOK_SECONDS = 5.0


class Confirmation:
    """Looks until `left()` is 0, soon at first, then twenty times a second.

    Then `ended(0)` is called; `ended(left)` when there was no progress for CONFIRM_SECONDS, or when the
    `within` seconds are over where there is such a limit; `broke(error)` when `left` raises.
    """

    def __init__(
        self,
        loop: Loop,
        left: Callable[[], int],
        ended: Callable[[int], None],
        broke: Callable[[OSError], None],
        within: float | None = None,
    ) -> None:
        self._loop, self._left, self._ended, self._broke = loop, left, ended, broke
        self._before: int | None = None
        self._limit = None if within is None else loop.now() + within
        self._give_up = 0.0
        self._pause = _FIRST_PAUSE
        self._timer: Timer | None = None
        self._look()

    def _look(self) -> None:
        try:
            left = self._left()
        except OSError as error:
            self._broke(error)
            return
        now = self._loop.now()
        if self._limit is not None:
            self._give_up = self._limit
        elif self._before is None or left < self._before:
            self._give_up = now + CONFIRM_SECONDS
        if left == 0 or now >= self._give_up:
            self._ended(left)
            return
        self._before = left
        self._timer = self._loop.call_later(self._pause, self._look)
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)

    def cancel(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()


class PeerWatch:
    """The peer has ended and we go on: `gone(error)` is called when its system is not there any more, and may
    be called again until it is cancelled."""

    def __init__(self, loop: Loop, net: Channel, gone: Callable[[OSError], None]) -> None:
        self._loop, self._net, self._gone = loop, net, gone
        self._timers: dict[Callable[[], None], Timer] = {}
        self._over = False

    def start(self) -> None:
        """Begin; it may be gone already."""
        self._net.probe()
        if self._net.read_fd >= 0:
            self._loop.watch_error(self._net.read_fd, self._hung_up)
        if self._net.must_be_asked:
            self._ask()
        self._look()

    def _look(self) -> None:
        """Probes are for the idle: for bytes on their way the system goes on for a quarter of an hour."""
        if self._net.vanished():
            self._gone(TimeoutError(errno.ETIMEDOUT, ""))
        else:
            self._again(_LOOK_SECONDS, self._look)

    def _ask(self) -> None:
        """While the connection lives, so that its channel knows once it broke."""
        try:
            self._net.unacknowledged()
        except OSError as error:
            self._gone(error)
        else:
            self._again(_ASK_SECONDS, self._ask)

    def _again(self, pause: float, look: Callable[[], None]) -> None:
        if not self._over:
            self._timers[look] = self._loop.call_later(pause, look)

    def _hung_up(self) -> None:
        self.ignore_hang_up()
        try:
            self._net.unacknowledged()
        except OSError as error:
            self._gone(error)
        else:
            self._gone(BrokenPipeError(errno.EPIPE, ""))

    def ignore_hang_up(self) -> None:
        """With both directions shut it means nothing."""
        if self._net.read_fd >= 0:
            self._loop.watch_error(self._net.read_fd, None)

    def cancel(self) -> None:
        """Look no more for it."""
        self._over = True
        self.ignore_hang_up()
        for timer in self._timers.values():
            timer.cancel()
