"""Finding the other end, and finding it again: dialing until somebody answers, within `--retry-for`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pync.errors import NetworkError, TimedOut
from pync.loop import Loop
from pync.report import Event, Report
from pync.transfer.wire import Lost, Silent
from pync.transport.channel import Channel

FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0
# More time does not help these; everything else the network says may be about to change.
_HOPELESS = ("name not found", "address")

Dial = Callable[[float], Awaitable[Channel]]


class Patience:
    """How long to go on without getting anything done."""

    def __init__(self, loop: Loop, seconds: float, report: Report) -> None:
        self._loop = loop
        self._seconds = seconds
        self._report = report
        self._pause = FIRST_PAUSE
        self._told = ""
        self.until = loop.now() + seconds

    def renew(self) -> None:
        """Something got done: the clock starts again."""
        self.until = self._loop.now() + self._seconds
        self._pause = FIRST_PAUSE

    async def wait(self, why: NetworkError | TimedOut) -> None:
        """A growing pause before the next try; raises `why` when the patience is at its end."""
        now = self._loop.now()
        if now + self._pause >= self.until:
            tried = f" (tried for {self._seconds:g}s)" if self._seconds else ""
            raise type(why)(f"{why.message}{tried}", hint=why.hint)
        if why.message != self._told:  # once a reason, not once a try
            self._told = why.message
            self._report(Event("waiting", {"reason": why.message}))
        await self._loop.sleep_until(now + self._pause)
        self._pause = min(self._pause * 2, LAST_PAUSE)


async def call(
    loop: Loop,
    patience: Patience,
    dial: Dial,
    handle: Callable[[Channel], Awaitable[None]],
    progressed: Callable[[], bool],
) -> None:
    """Dial and `handle` the channel until it returns; again after each Lost. Raises everything else."""
    known = False  # somebody answered as they should before
    while True:
        try:
            channel = await dial(patience.until)
        except (NetworkError, TimedOut) as error:
            if isinstance(error, NetworkError) and error.message.endswith(_HOPELESS):
                raise
            await patience.wait(error)
            continue
        try:
            await handle(channel)
            return
        except Lost as error:
            if isinstance(error, Silent) and not known:
                raise
            if progressed():
                known = True
                patience.renew()
            why = error
        finally:
            channel.detach(loop)
            channel.close()
        await patience.wait(why)
