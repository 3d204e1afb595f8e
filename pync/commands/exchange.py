"""What a run of send and one of recv have in common: how the other end is met, wires to it, figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from signal import SIGINT

from pync.commands.options import TransferOptions
from pync.commands.wiring import dial_settings, socket_settings, tls_settings
from pync.errors import ExitCode, Interrupted, PyncError, UsageError
from pync.loop import Loop
from pync.proto import transfer_messages as messages
from pync.proto.pacing import TokenBucket
from pync.report import Event, Report
from pync.transfer.calls import Dial
from pync.transfer.events import Progress, Tally
from pync.transfer.handshake import Secret
from pync.transfer.host import Host, open_host
from pync.transfer.serving import Busy, Serving
from pync.transfer.sink import OutputClosed
from pync.transfer.wire import Limits, Lost, PeerAborted, Wire
from pync.transport.channel import Channel
from pync.transport.dial import dial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self


def refuse_datagrams(name: str, options: TransferOptions) -> None:
    """Raises UsageError."""
    if options.udp or options.endpoint.scheme in ("udp", "unix-dgram"):
        raise UsageError(f"{name} over datagrams (-u) is not there yet", hint="leave out -u: TCP delivers")


def reach(loop: Loop, options: TransferOptions, report: Report) -> Dial:
    """How to dial the other end, each try within `--timeout`."""
    settings = dial_settings(options, options.endpoint)

    async def one_try(until: float) -> Channel:
        by = until if options.timeout is None else min(until, loop.now() + options.timeout)
        return await dial(loop, options.endpoint, settings, report, by)

    return one_try


async def run_raw(run: Any, loop: Loop, options: TransferOptions, report: Report) -> None:
    """`run` (send_raw, recv_raw) with what it needs to dial or to listen."""
    settings, tls = socket_settings(options), tls_settings(options, options.endpoint)
    await run(loop, options, report, reach(loop, options, report), settings, tls)


class Partner:
    """One other end, across as many connections as it takes."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.seconds = 0.0  # from then to the end of its last connection
        self.peer = ""  # as it was last called
        self.moved = 0  # bytes of files, over connections that are gone
        self.total: int | None = None  # bytes of files that will be, if that is known


class Connection:
    """`with` it, the wire over one connection of an Exchange, which hears of its beginning and its end."""

    def __init__(self, exchange: Exchange, wire: Wire) -> None:
        self._exchange = exchange
        self._wire = wire
        self._begin = wire.loop.now()

    def __enter__(self) -> Wire:
        self._exchange.opened(self._wire)
        return self._wire

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        why = ""
        if error is not None:
            why = error.message if isinstance(error, PyncError) else "stopped"
        self._exchange.closed(self._wire, self._wire.loop.now() - self._begin, why)


class Exchange(ABC):
    """One run, with one other end or several: its wires, and what was moved over those that are gone."""

    limits = Limits()
    way = ""  # how the bodies go, in the words of the events: sent or received
    duplex = False

    def __init__(
        self, loop: Loop, options: TransferOptions, report: Report, secret: Secret, *, several: bool
    ) -> None:
        self.several = several  # whether more than one other end may come
        self._loop = loop
        self._report = report
        self._shared = options
        self._secret = secret
        self._wires: dict[Wire, Partner] = {}
        self._moved = 0
        self._serving: Serving | None = None
        self._progress = Progress(loop, report, self.counters)

    def __enter__(self) -> Self:
        if self._shared.progress:
            self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    # --- figures -------------------------------------------------------------------------------------

    @abstractmethod
    def total(self) -> int | None:
        """Bytes of files of the whole run, as far as that is known."""

    def counters(self) -> dict[str, Any]:
        """For the progress event; where several come they are also told apart."""
        facts: dict[str, Any] = {"sent": 0, "received": 0, "total": self.total()}
        facts[self.way] = self._moved + sum(wire.moved for wire in self._wires)
        if self.several:
            now = self._loop.now()
            facts["peers"] = [
                {
                    "peer": wire.channel.peer,
                    "sent": 0,
                    "received": 0,
                    self.way: partner.moved + wire.moved,
                    "total": partner.total,
                    "seconds": round(now - partner.since, 3),
                }
                for wire, partner in self._wires.items()
            ]
        return facts

    def summarise(self, tally: Tally, partner: Partner) -> None:
        """The last figures of one other end."""
        facts = {**tally.facts(), "sent": 0, "received": 0, self.way: partner.moved}
        if self.several:
            facts["peer"] = partner.peer
        else:
            self._progress.stop()  # nothing is drawn behind the last figures
        self._report(Event("summary", {**facts, "seconds": round(partner.seconds, 3)}))

    # --- one connection ------------------------------------------------------------------------------

    def connection(self, channel: Channel) -> Connection:
        """A new one: gives the wire over it, and tells of its beginning and its end."""
        idle = self._shared.idle_timeout
        wire = Wire(self._loop, channel, duplex=self.duplex, limits=self.limits, idle=idle)
        if self._shared.rate is not None:
            wire.bucket = TokenBucket(self._shared.rate)
        return Connection(self, wire)

    def opened(self, wire: Wire) -> None:
        """The connection is there."""
        self._report(Event("connected", wire.channel.facts()))

    def closed(self, wire: Wire, seconds: float, why: str) -> None:
        """It is over, after so many seconds; `why` is empty for a clean end."""
        self.end(wire)
        facts = {"sent": 0, "received": 0, self.way: wire.moved, "seconds": round(seconds, 3)}
        self._report(Event("closed", {**wire.channel.facts(), **facts, "reason": why}))

    def partner(self) -> Partner:
        """A new one, who is here as of now."""
        return Partner(self._loop.now())

    def begin(self, wire: Wire, partner: Partner) -> None:
        """From now on bodies go over it."""
        self._wires[wire] = partner
        partner.peer = wire.channel.peer

    def end(self, wire: Wire) -> None:
        """Nothing goes over it any more; its bytes are kept in mind. Idempotent."""
        partner = self._wires.pop(wire, None)
        if partner is not None:
            self._moved += wire.moved
            partner.moved += wire.moved
            partner.seconds = self._loop.now() - partner.since

    # --- meeting -------------------------------------------------------------------------------------

    def met(self, wire: Wire, token: bytes, like: object = None) -> bytes:
        """The other end is no stranger; see `Serving.welcome`."""
        return self._serving.welcome(wire.channel, token, like) if self._serving is not None else b""

    def expects(self, token: bytes) -> bool:
        """Whether the other end with that token is here, or was cut and may come back to us."""
        return self._serving is not None and self._serving.expects(token)

    async def host(
        self,
        handle: Callable[[Channel], Awaitable[Tally]],
        wanted: int | None,
        tell: Callable[[Host], None] | None = None,
        gone: Callable[[bytes, bytes], None] = lambda _token, _heir: None,
    ) -> None:
        """Listen and `handle` so many clients. Raises what went wrong.

        `tell`: says what to type at the other end, in place of the host. `gone`: see Serving.
        """
        loop, options, report = self._loop, self._shared, self._report
        serving = self._serving = Serving(
            loop, report, handle, gone, wanted=wanted, retry_for=options.retry_for, tries=options.tries or 3
        )
        settings, tls = socket_settings(options), tls_settings(options, options.endpoint)
        host = open_host(loop, options, report, settings, tls, serving, commands=tell is None)
        stop: BaseException = Lost("stopped")  # for those who are at the door when it is over
        try:
            if tell is not None:
                tell(host)
            await serving.finish(options.timeout)
        except (Interrupted, PyncError) as error:
            if isinstance(error, Interrupted) or error.code == ExitCode.TIMEOUT:
                stop = error  # those who are being served are told why
            raise
        finally:
            host.close(stop)
            await host.ended()


async def explain(wire: Wire, error: BaseException) -> None:
    """Tell the other end why this one gives up; nothing when the connection is gone, or the other end said
    so itself."""
    if isinstance(error, Busy):
        await wire.abort(messages.BUSY, error.message)
    elif isinstance(error, PyncError) and not isinstance(error, (Lost, PeerAborted)):
        await wire.abort(int(error.code), error.message)
    elif isinstance(error, OutputClosed):
        await wire.abort(1, "its output was closed")
    elif isinstance(error, Interrupted):
        await wire.abort(1, "stopped by the user" if error.signum == SIGINT else "stopped by a signal")
