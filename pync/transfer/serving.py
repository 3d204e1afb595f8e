"""A listening transfer: who may come, who comes back after a cut, and when it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pync.errors import IntegrityError, LocalError, NetworkError, PartialError, PyncError, TimedOut
from pync.loop import Loop, Timer
from pync.report import Event, Report
from pync.transfer.events import Tally
from pync.transfer.wire import Lost, Wire
from pync.transport.channel import Channel

# Everything is in place, only the goodbye is missing: how long the other end may come back to ask.
GOODBYE = 5.0
# After a wrong secret: how long whoever mistyped it may take to try again before the run ends with 4.
RETYPE = 8.0


class Busy(NetworkError):
    """Somebody else is being served."""

    def __init__(self) -> None:
        super().__init__("busy with another one, and only one is served")


class CutAtTheEnd(Lost):
    """The connection broke after everything was in place; the other end may not know yet."""

    def __init__(self, tally: Tally) -> None:
        super().__init__("the connection broke before the goodbye")
        self.tally = tally


class Seat:
    """The one other end of a run. It is known by its token: on a new connection it takes its place again."""

    def __init__(self, loop: Loop) -> None:
        self._free = loop.flag()
        self._wire: Wire | None = None
        self.token = b""

    @property
    def taken(self) -> bool:
        """Whether somebody is being served."""
        return self._wire is not None

    async def take(self, token: bytes, wire: Wire) -> None:
        """Sit down; raises Busy when somebody else sits there."""
        while self._wire is not None:
            if token != self.token:
                raise Busy
            self._wire.doom(Lost("the other end came back on a new connection"))
            await self._free.wait()
        self.token, self._wire = token, wire
        self._free.clear()

    def leave(self, wire: Wire) -> None:
        """Idempotent."""
        if self._wire is wire:
            self._wire = None
            self._free.set()


class Serving:
    """Runs `handle` for each client. It gives the Tally of a transfer that came to its end; raises Lost
    when the
    connection broke, Busy when the client was turned away."""

    def __init__(
        self,
        loop: Loop,
        report: Report,
        handle: Callable[[Channel], Awaitable[Tally]],
        *,
        wanted: int | None,
        retry_for: float,
        tries: int,
    ) -> None:
        self._loop = loop
        self._report = report
        self._handle = handle
        self._wanted = wanted
        self._retry_for = retry_for
        self._tries = tries
        self._active = 0
        self._over = loop.flag()
        self._failure: BaseException | None = None
        self._tallies: list[Tally] = []
        self._failed = 0
        self._timer: Timer | None = None
        self.met = loop.flag()  # set by `handle` once a client is no stranger

    def fail(self, error: BaseException) -> None:
        """End the run with `error`."""
        if self._failure is None:
            self._failure = error
        self._over.set()

    async def finish(self, timeout: float | None) -> None:
        """Wait until all wanted clients were served; raises the verdict over them."""
        try:
            if timeout is not None and not await self._first(self._loop.now() + timeout):
                raise TimedOut(f"nobody came within {timeout:g}s")
            await self._over.wait()
        finally:
            self._cancel_timer()
        if self._failure is not None:
            raise self._failure
        several_verdict(self._tallies, self._failed)

    async def _first(self, by: float) -> bool:
        return await self.met.wait(by) or self._over.is_set

    # --- clients -------------------------------------------------------------------------------------

    async def client(self, channel: Channel) -> None:
        """One client, from greeting to goodbye; owned by the Host, which closes it."""
        self._active += 1
        begin = self._loop.now()
        try:
            tally = await self._handle(channel)
        except Busy as error:
            self._told(channel, begin, error)
        except Lost as error:
            self._told(channel, begin, error)
            self._cut(error)
        except PyncError as error:
            self._told(channel, begin, error)
            self._unserved(error)
        else:
            self._served(tally)
        finally:
            self._active -= 1

    def _cut(self, error: Lost) -> None:
        if isinstance(error, CutAtTheEnd):
            tally = error.tally
            self._wait_for_return(min(GOODBYE, self._retry_for), lambda: self._served(tally))
        elif self.met.is_set:
            self._wait_for_return(self._retry_for, lambda: self._given_up(error))

    def _told(self, channel: Channel, begin: float, error: PyncError) -> None:
        facts = {"sent": 0, "received": 0, "seconds": round(self._loop.now() - begin, 3)}
        self._report(Event("closed", {**channel.facts(), **facts, "reason": error.message}))

    def _served(self, tally: Tally) -> None:
        self._tallies.append(tally)
        self._cancel_timer()
        self._count()

    def _count(self) -> None:
        if self._wanted is not None and len(self._tallies) + self._failed >= self._wanted:
            self._over.set()

    def _unserved(self, error: PyncError) -> None:
        from pync.proto.secret import WrongSecret

        if isinstance(error, WrongSecret):
            self._tries -= 1
            if self._tries <= 0:
                self.fail(error)
                return
            self._report(Event("waiting", {"reason": "a wrong secret was tried", "left": self._tries}))
            if self._wanted == 1:
                self._wait_for_return(min(RETYPE, self._retry_for), lambda: self.fail(error))
        elif self._wanted == 1:
            self.fail(error)
        elif self.met.is_set and self._wanted is not None:
            self._failed += 1
            self._count()

    def _given_up(self, error: PyncError) -> None:
        waited = f" and did not come back within {self._retry_for:g}s" if self._retry_for else ""
        why = NetworkError(f"{error.message}{waited}")
        if self._wanted == 1:
            self.fail(why)
        elif self._wanted is not None:
            self._failed += 1
            self._count()

    def _wait_for_return(self, seconds: float, give_up: Callable[[], None]) -> None:
        self._cancel_timer()

        def expired() -> None:
            if not self._active:
                give_up()
            else:
                self._timer = self._loop.call_later(seconds, expired)

        self._timer = self._loop.call_later(seconds, expired)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def verdict(tally: Tally) -> None:
    """Raises what one transfer deserves; returns when every file arrived."""
    if not tally.failed:
        return
    kind = {4: IntegrityError, 5: PartialError}.get(int(tally.code), LocalError)
    if tally.files <= 1:
        raise kind(tally.first_failure)
    raise kind(f"{tally.failed} of {tally.files} files failed; the first: {tally.first_failure}")


def several_verdict(tallies: list[Tally], failed: int) -> None:
    """The same over several other ends."""
    if len(tallies) == 1 and not failed:
        verdict(tallies[0])
        return
    bad = [tally for tally in tallies if tally.failed]
    if any(tally.damaged for tally in bad):
        raise IntegrityError("bytes were damaged on the way")
    if bad or failed:
        raise PartialError(
            f"{len(bad) + failed} of {len(tallies) + failed} transfers failed in part or whole"
        )
