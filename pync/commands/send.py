"""send: deliver files, directories or stdin, verified end to end."""

from __future__ import annotations

from typing import Any

from pync.commands.options import SendOptions
from pync.commands.wiring import dial_settings, socket_settings, tls_settings
from pync.errors import ExitCode, LocalError, PyncError, UsageError
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.pacing import TokenBucket
from pync.report import Event, Report
from pync.transfer import ask
from pync.transfer.calls import Patience, call
from pync.transfer.delivery import Delivery, SendTerms
from pync.transfer.events import Progress, Tally
from pync.transfer.handshake import GUESSES, Guessed, Secret, shake
from pync.transfer.host import Host, open_host
from pync.transfer.sender import Claim, Outgoing
from pync.transfer.serving import Busy, Seat, Serving, verdict
from pync.transfer.source import Walk
from pync.transfer.wire import Limits, Lost, Wire
from pync.transport.channel import Channel
from pync.transport.dial import dial


async def run(loop: Loop, options: SendOptions, report: Report) -> ExitCode:
    """Deliver everything; OK only once the receiver confirmed all of it. Raises what went wrong."""
    if options.udp or options.endpoint.scheme in ("udp", "unix-dgram"):
        raise UsageError("send over datagrams (-u) is not there yet", hint="leave out -u: TCP delivers")
    walk = Walk(options.paths, exclude=options.exclude, follow=options.follow)
    if options.raw:
        from pync.transfer.raw_runs import send_raw

        reach = _reach(loop, options, report)
        settings, tls = socket_settings(options), tls_settings(options, options.endpoint)
        await send_raw(loop, options, report, reach, settings, tls)
        return ExitCode.OK
    code, _ = ask.secret_from(options.secret, options.secret_file, makes=None)
    sending = Sending(loop, options, report, walk, Secret(code))
    progress = Progress(loop, report, sending.counters)
    if options.progress:
        sending.measure()
        progress.start()
    try:
        await (sending.serve() if options.listen else sending.call())
    finally:
        progress.stop()
    return ExitCode.OK


def _reach(loop: Loop, options: SendOptions, report: Report) -> Any:
    settings = dial_settings(options, options.endpoint)

    async def reach(until: float) -> Channel:
        by = until if options.timeout is None else min(until, loop.now() + options.timeout)
        return await dial(loop, options.endpoint, settings, report, by)

    return reach


class Sending:
    """One run of `send`."""

    limits = Limits()

    def __init__(self, loop: Loop, options: SendOptions, report: Report, walk: Walk, secret: Secret) -> None:
        self._loop = loop
        self._options = options
        self._report = report
        self._walk = walk
        self._secret = secret
        self._wires: set[Wire] = set()
        self._moved = 0
        self._total: int | None = None
        self._guesses = 0
        self._begin = loop.now()

    # --- figures -------------------------------------------------------------------------------------

    def counters(self) -> dict[str, Any]:
        """For the progress event; several receivers are also told apart."""
        each = {wire.channel.peer: wire.body_sent + wire.unpacked for wire in self._wires}
        facts: dict[str, Any] = {
            "sent": self._moved + sum(each.values()),
            "received": 0,
            "total": self._total,
        }
        if len(each) > 1:
            facts["peers"] = each
        return facts

    def measure(self) -> None:
        """Learn the total for the ETA, beside the transfer."""
        total = self._walk.total()
        if total != messages.UNKNOWN_SIZE:
            self._total = total
        elif not self._walk.uses_stdin:
            self._loop.spawn(self._look())

    async def _look(self) -> None:
        try:
            _, self._total = await self._loop.call_in_thread(self._walk.measure)
        except OSError:
            pass  # it changes while we look; then there is no ETA

    def _summarise(self, tally: Tally) -> None:
        facts = {**tally.facts(), "sent": tally.size, "received": 0}
        self._report(Event("summary", {**facts, "seconds": round(self._loop.now() - self._begin, 3)}))

    # --- one connection ------------------------------------------------------------------------------

    async def _open(self, channel: Channel) -> Wire:
        self._report(Event("connected", channel.facts()))
        wire = Wire(self._loop, channel, duplex=True, limits=self.limits, idle=self._options.idle_timeout)
        if self._options.rate is not None:
            wire.bucket = TokenBucket(self._options.rate)
        try:
            await shake(wire, proto.SENDS, self._secret)
        except Guessed:
            # Whoever answers gets one guess a connection; granting more than a few would be an oracle.
            self._guesses += 1
            if self._guesses >= GUESSES:
                raise
            raise Lost("the other end did not prove that it knows the secret") from None
        return wire

    async def _deliver(self, channel: Channel, delivery: Delivery, claim: Claim | None = None) -> None:
        delivery.progressed = False
        wire = await self._open(channel)
        self._wires.add(wire)
        try:
            await Outgoing(delivery, wire).run(claim)
        except Lost:
            raise
        except Busy as error:
            wire.abort(messages.BUSY, error.message)
            raise
        except PyncError as error:
            wire.abort(int(error.code), error.message)
            raise
        finally:
            self._wires.discard(wire)
            self._moved += wire.body_sent + wire.unpacked

    def _delivery(self) -> Delivery:
        terms = SendTerms(self._options.checksum, self._options.compress, self._options.no_resume)
        return Delivery(self._loop, terms, self._report, self._walk)

    # --- the two ways to meet ------------------------------------------------------------------------

    async def call(self) -> None:
        """Connect to the receiver, as often as it takes."""
        delivery = self._delivery()
        patience = Patience(self._loop, self._options.retry_for, self._report)
        reach = _reach(self._loop, self._options, self._report)
        await call(
            self._loop, patience, reach, lambda one: self._deliver(one, delivery), lambda: delivery.progressed
        )
        self._summarise(delivery.tally)
        verdict(delivery.tally)

    async def serve(self) -> None:
        """Wait for receivers: one, N, or until stopped."""
        options = self._options
        wanted = None if options.keep_open else options.to or 1
        if wanted != 1 and self._walk.uses_stdin:
            raise LocalError("stdin can be sent to one receiver only")
        handle = self._one if wanted == 1 else self._each
        self._seat = Seat(self._loop)
        self._only = self._delivery()
        serving = Serving(
            self._loop, self._report, handle, wanted=wanted, retry_for=options.retry_for, tries=options.tries
        )
        self._serving = serving
        host: Host = open_host(
            self._loop,
            options,
            self._report,
            socket_settings(options),
            tls_settings(options, options.endpoint),
            serving,
        )
        try:
            await serving.finish(options.timeout)
        finally:
            host.close(Lost("stopped"))

    async def _each(self, channel: Channel) -> Tally:
        delivery = self._delivery()

        async def claim(_token: bytes, _wire: Wire) -> None:
            self._serving.met.set()

        await self._deliver(channel, delivery, claim)
        self._summarise(delivery.tally)
        return delivery.tally

    async def _one(self, channel: Channel) -> Tally:
        """The one receiver, or the one that came back; a second one is turned away."""
        mine: list[Wire] = []

        async def claim(token: bytes, wire: Wire) -> None:
            await self._seat.take(token, wire)
            mine.append(wire)
            self._serving.met.set()

        try:
            await self._deliver(channel, self._only, claim)
        finally:
            for wire in mine:
                self._seat.leave(wire)
        self._summarise(self._only.tally)
        return self._only.tally


__all__ = ["Busy", "Sending", "run"]
