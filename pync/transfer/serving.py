"""A listening transfer: who may come, who comes back after a cut, and when it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pync.errors import IntegrityError, LocalError, NetworkError, PartialError, PyncError, TimedOut
from pync.loop import Loop, Timer
from pync.report import Event, Report
from pync.transfer.events import Tally
from pync.transfer.handshake import Guessed
from pync.transfer.strangers import Strangers
from pync.transfer.wire import Lost, Wire
from pync.transport.channel import Channel

# Everything is in place, only the goodbye is missing: how long the other end may come back to ask.
GOODBYE = 5.0
# After a wrong secret: how long whoever mistyped it may take to try again before the run ends with 4. People
# could use more, but scripts wait for their 4, and starting again costs little. The help of --tries has it.
RETYPE = 8.0
# Somebody came just when the patience with one who was cut ran out: how soon to look who it was.
AT_THE_DOOR = 0.25
# Wrong secrets beyond --tries that end nothing, because somebody is being served. Then newcomers are sent
# away unheard: a hundred guesses find one of 26 million codes once in 260,000 times.
GUESSES_BESIDE = 100
_SOMEBODY = b""  # no token: whoever mistyped the secret


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
    """For one at a time, known by its token: on a new connection it takes its place again."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self._waiting: list[Wire] = []
        self.token = b""

    @property
    def taken(self) -> bool:
        """Whether somebody is being served."""
        return self._wire is not None

    async def take(self, token: bytes, wire: Wire) -> None:
        """Sit down; raises Busy when somebody else sits there."""
        while self._wire is not None and self._wire is not wire:
            if token != self.token:
                raise Busy
            self._wire.doom(Lost("the other end came back on a new connection"))
            await self.wait(wire)
        self.token, self._wire = token, wire

    async def wait(self, wire: Wire) -> None:
        """Until something changed here; the other end hears that we live."""
        self._waiting.append(wire)
        await wire.pause(read=False, write=False, patient=True)

    def leave(self, wire: Wire) -> None:
        """Idempotent."""
        if self._wire is wire:
            self._wire = None
            self.changed()

    def changed(self) -> None:
        """Whoever waits looks again, in the order in which they came."""
        waiting, self._waiting = self._waiting, []
        for wire in waiting:
            wire.wake()


class Serving:
    """Runs `handle` for each client; knows who is here, who was cut and may come back, and when it is over.

    `handle` gives the Tally of a transfer that came to its end; raises Lost when the connection broke, Busy
    when the client was turned away. It calls `welcome` once a client has shown that it is one. Until then it
    is a stranger: it counts for nothing, and does no harm to those who are here or expected back.

    One that was killed and started again has a new token, but is like the one that is expected back: the two
    count as one. `gone` is told each token that is neither here nor expected any more, and that of its heir,
    which was started in its place, or b"".
    """

    def __init__(
        self,
        loop: Loop,
        report: Report,
        handle: Callable[[Channel], Awaitable[Tally]],
        gone: Callable[[bytes, bytes], None],
        *,
        wanted: int | None,
        retry_for: float,
        tries: int,
    ) -> None:
        self._loop = loop
        self._report = report
        self._handle = handle
        self._gone = gone
        self._wanted = wanted
        self._retry_for = retry_for
        self._tries = tries
        self._strangers = Strangers(loop, report)
        self._wrong: PyncError | None = None  # the last wrong secret
        self._active = 0  # connections, those of strangers included
        self._here: dict[Channel, bytes] = {}  # clients, with their tokens
        self._away: dict[bytes, Timer] = {}  # until when each is expected back, by token
        self._likes: dict[bytes, object] = {}  # what those who are here or expected back are recognised by
        self._heirs: dict[bytes, bytes] = {}  # of those expected back
        self._begun = loop.flag()  # the first client came, or the run failed
        self._over = loop.flag()
        self._leaving = False  # the run is over, whoever is still here is sent away
        self._failure: BaseException | None = None
        self._tallies: list[Tally] = []
        self._failed = 0

    def fail(self, error: BaseException) -> None:
        """End the run with `error`, unless it is over."""
        if not self._over.is_set:
            self._failure = error
            self._over.set()
            self._begun.set()

    async def finish(self, timeout: float | None) -> None:
        """Wait until all wanted clients were served; raises the verdict over them."""
        try:
            if timeout is not None and not await self._begun.wait(self._loop.now() + timeout):
                raise TimedOut(f"nobody came within {timeout:g}s")
            await self._over.wait()
        finally:
            self._leaving = True
            for token in list(self._away):
                self._no_longer_away(token)
        if self._failure is not None:
            raise self._failure
        several_verdict(self._tallies, self._failed)

    # --- clients -------------------------------------------------------------------------------------

    async def client(self, channel: Channel) -> None:
        """One client, from greeting to goodbye; owned by the Host, which closes it."""
        if self._tries <= -GUESSES_BESIDE:
            return  # unheard; the Host closes it
        self._active += 1
        outcome: Tally | PyncError
        try:
            outcome = await self._handle(channel)
        except PyncError as error:
            outcome = error
        finally:
            self._active -= 1
            token = self._here.pop(channel, None)
        if isinstance(outcome, Tally):
            self._tallies.append(outcome)
        elif token is None:
            self._stranger(channel, outcome)
        elif isinstance(outcome, Lost):
            self._cut(token, outcome)
        else:
            self._unserved(outcome)
        if token is not None:
            self._forget(token)
        self._settle()

    def expects(self, token: bytes) -> bool:
        """Whether the client with that token is here or may come back."""
        return token in self._away or token in self._here.values()

    def welcome(self, channel: Channel, token: bytes, like: object = None) -> bytes:
        """The client behind `channel` is no stranger; `token` is how it is known on every connection.

        `like`: what it is recognised by when it was started again; None for nothing. The token it had then,
        if it seems to be one that is expected back, else b"".
        """
        before = b""
        if like is not None and not self.expects(token):
            alike = (away for away in self._away if self._likes.get(away) == like and away not in self._heirs)
            before = next(alike, b"")
        if before:
            self._heirs[before] = token
        self._here[channel] = token
        self._likes[token] = like
        # where one is wanted, whoever was expected back has been replaced
        for known in list(self._away) if self._wanted == 1 else [token]:
            self._no_longer_away(known)
        self._begun.set()
        return before

    def _stranger(self, channel: Channel, error: PyncError) -> None:
        from pync.proto.secret import WrongSecret

        first = self._wanted == 1 and not self._occupied
        if isinstance(error, WrongSecret):
            self._wrong = error
            self._tries -= 1
            if self._tries > 0:
                self._report(Event("waiting", {"reason": "a wrong secret was tried", "left": self._tries}))
                if first:
                    self._expect(_SOMEBODY, min(RETYPE, self._retry_for), lambda: self.fail(error))
        elif isinstance(error, Guessed):
            self._wrong = error
            self._tries = min(self._tries, 1) - 1  # its few were granted before it was raised
        elif first and not isinstance(error, (Lost, Busy)):
            self.fail(error)
        elif not self._leaving:
            self._strangers.tell(channel, error)

    def _cut(self, token: bytes, error: Lost) -> None:
        if token in self._here.values():
            return  # it came back before its old connection was seen to be gone
        if isinstance(error, CutAtTheEnd):
            tally = error.tally
            self._expect(token, min(GOODBYE, self._retry_for), lambda: self._tallies.append(tally))
        else:
            waited = f" and did not come back within {self._retry_for:g}s" if self._retry_for else ""
            why = NetworkError(f"{error.message}{waited}")
            self._expect(token, self._retry_for, lambda: self._unserved(why))

    def _unserved(self, error: PyncError) -> None:
        if self._wanted == 1:
            self.fail(error)
        else:
            self._failed += 1

    def _settle(self) -> None:
        """Whether it is over, now that somebody came to an end."""
        if self._wanted is not None and len(self._tallies) + self._failed >= self._wanted:
            self._over.set()
        elif self._wrong is not None and self._tries <= 0 and not self._occupied:
            self.fail(self._wrong)

    # --- who was cut ---------------------------------------------------------------------------------

    @property
    def _occupied(self) -> bool:
        """Whether a client is here or expected back."""
        return bool(self._here) or any(token != _SOMEBODY for token in self._away)

    def _expect(self, token: bytes, seconds: float, give_up: Callable[[], None]) -> None:
        """`give_up` unless the one with `token` is welcomed within so many seconds."""

        def expired() -> None:
            if self._active > len(self._here):  # somebody is at the door, and it may be this one
                self._away[token] = self._loop.call_later(AT_THE_DOOR, expired)
                return
            heir = self._no_longer_away(token)
            if not heir:
                give_up()
            self._settle()

        self._no_longer_away(token)
        self._away[token] = self._loop.call_later(seconds, expired)

    def _no_longer_away(self, token: bytes) -> bytes:
        """The token of its heir, if it has one."""
        heir = self._heirs.get(token, b"")
        timer = self._away.pop(token, None)
        if timer is not None:
            timer.cancel()
            self._forget(token)
        return heir

    def _forget(self, token: bytes) -> None:
        """Unless it is here or expected back."""
        heir = self._heirs.pop(token, b"")
        if not self.expects(token):
            self._likes.pop(token, None)
            self._gone(token, heir)


def verdict(tally: Tally) -> None:
    """Raises what one transfer deserves; returns when every file arrived."""
    if not tally.failed:
        return
    kinds = {1: NetworkError, 3: TimedOut, 4: IntegrityError, 5: PartialError}
    kind = kinds.get(int(tally.code), LocalError)
    if tally.files <= 1:
        raise kind(tally.first_failure)
    raise kind(f"{tally.failed} of {tally.files} files failed; the first: {tally.first_failure}")


def several_verdict(tallies: list[Tally], failed: int) -> None:
    """The same over several other ends."""
    if len(tallies) == 1 and not failed:
        verdict(tallies[0])
        return
    bad = [tally for tally in tallies if tally.failed]
    if any(int(tally.code) == IntegrityError.code for tally in bad):
        raise IntegrityError("bytes were damaged on the way")
    if bad or failed:
        raise PartialError(
            f"{len(bad) + failed} of {len(tallies) + failed} transfers failed in part or whole"
        )
