"""Finding the other end, and finding it again: dialing until somebody answers, within `--retry-for`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pync.commands.options import TransferOptions
from pync.errors import NetworkError, TimedOut
from pync.loop import Loop
from pync.report import Event, Report
from pync.transfer.wire import Lost, Silent
from pync.transport.channel import Channel

FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0
LAST_TRY = 0.05  # seconds kept for one more try at the very end of the patience
ONE_TRY = 120.0  # seconds for the only try; about what systems give a connect
# More time does not help these; everything else the network says may be about to change.
_HOPELESS = ("name not found", "address", "does not speak TLS")

Dial = Callable[[float], Awaitable[Channel]]


class Headway:
    """Whether a connection got anything done: the other end was met, an entry settled, or more bytes of a
    body moved than on any connection before."""

    def __init__(self) -> None:
        self.progressed = False
        self._furthest = (-1, 0)

    def got_to(self, order: int, size: int) -> None:
        """So many bytes of the body of that entry were moved."""
        if (order, size) > self._furthest:
            self._furthest = (order, size)
            self.progressed = True


class Patience:
    """How long to seek the other end without getting anything done: `--retry-for`, counted from the start or
    from the moment a connection was lost.

    With `--timeout` alone the first silent try is the last: only who asks for both wants to try again.
    """

    def __init__(self, loop: Loop, options: TransferOptions, report: Report) -> None:
        self._loop = loop
        self._seconds = seconds = options.retry_for
        self._silence_ends = options.timeout is not None and seconds in (0, TransferOptions.retry_for)
        self._report = report
        self._pause = FIRST_PAUSE
        self._told = ""
        self._last: NetworkError | None = None
        self._since = loop.now()
        self.until = self._since + seconds

    @property
    def dial_by(self) -> float:
        """The deadline for the next try: without any patience there is one try, not none."""
        now = self._loop.now()
        return max(self.until, now + LAST_TRY) if self._seconds else now + ONE_TRY

    def renew(self) -> None:
        """Something got done, and the connection was lost just now: the clock starts again."""
        self._since = self._loop.now()
        self.until = self._since + self._seconds
        self._pause = FIRST_PAUSE

    async def wait(self, why: NetworkError | TimedOut) -> None:
        """A growing pause before the next try.

        Raises NetworkError when the patience is at its end, and `why` when another try is of no use.
        """
        now = self._loop.now()
        if isinstance(why, TimedOut) and self._silence_ends and (now < self.until or not self._seconds):
            raise why
        if isinstance(why, NetworkError) and why.message.endswith(_HOPELESS):
            raise why
        if isinstance(why, NetworkError):
            self._last = why
        elif now >= self.until and self._last is not None:
            why = self._last  # a try that our own limit cut short says less than the one before
        if now + LAST_TRY >= self.until:
            took = now - self._since  # longer where a connection was silent
            seconds = round(took) if took > self._seconds else self._seconds
            tried = f" (tried for {seconds:g}s)" if self._seconds else ""
            raise NetworkError(f"{why.message}{tried}", hint=why.hint)
        if why.message != self._told:  # once a reason, not once a try
            self._told = why.message
            self._report(Event("waiting", {"reason": why.message}))
        await self._loop.sleep_until(min(now + self._pause, self.until - LAST_TRY))
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
            channel = await dial(patience.dial_by)
        except (NetworkError, TimedOut) as error:
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
