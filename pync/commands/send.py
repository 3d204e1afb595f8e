"""send: deliver files, directories or stdin, verified end to end."""

from __future__ import annotations

from pync.commands.exchange import Exchange, Partner, explain, reach, refuse_datagrams, run_raw
from pync.commands.options import SendOptions
from pync.errors import ExitCode, LocalError
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.report import Report
from pync.transfer import ask
from pync.transfer.calls import Patience, call
from pync.transfer.delivery import Delivery, SendTerms
from pync.transfer.events import Tally
from pync.transfer.handshake import GUESSES, Guessed, Secret, shake
from pync.transfer.sender import Claim, Outgoing
from pync.transfer.serving import Seat, verdict
from pync.transfer.source import Walk
from pync.transfer.wire import Lost, Wire
from pync.transport.channel import Channel


async def run(loop: Loop, options: SendOptions, report: Report) -> ExitCode:
    """Deliver everything; OK only once the receiver confirmed all of it. Raises what went wrong."""
    refuse_datagrams("send", options)
    walk = Walk(options.paths, exclude=options.exclude, follow=options.follow)
    if options.raw:
        from pync.transfer.raw_runs import send_raw

        await run_raw(send_raw, loop, options, report)
        return ExitCode.OK
    code = await ask.secret_typed(loop, options.secret, options.secret_file)
    with Sending(loop, options, report, walk, Secret(code)) as sending:
        await (sending.serve() if options.listen else sending.call())
    return ExitCode.OK


class Sending(Exchange):
    """One run of `send`."""

    way = "sent"
    duplex = True

    def __init__(self, loop: Loop, options: SendOptions, report: Report, walk: Walk, secret: Secret) -> None:
        self._wanted = None if options.keep_open else options.to or 1
        super().__init__(loop, options, report, secret, several=options.listen and self._wanted != 1)
        self._options = options
        self._walk = walk
        self._size: int | None = None
        self._guesses = 0
        if options.progress:
            self._measure()

    # --- figures -------------------------------------------------------------------------------------

    def total(self) -> int | None:
        return None if self._size is None or self._wanted is None else self._size * self._wanted

    def _measure(self) -> None:
        """Learn the size of it all for the ETA, beside the transfer."""
        size = self._walk.total()
        if size != messages.UNKNOWN_SIZE:
            self._know(size)
        elif not self._walk.uses_stdin:
            self._loop.spawn(self._look())

    async def _look(self) -> None:
        try:
            _, size = await self._loop.call_in_thread(self._walk.measure)
        except OSError:
            return  # it changes while we look; then there is no ETA
        self._know(size)

    def _know(self, size: int) -> None:
        self._size = size
        for partner in self._wires.values():
            partner.total = size

    # --- one connection ------------------------------------------------------------------------------

    async def _shake(self, wire: Wire) -> None:
        try:
            await shake(wire, proto.SENDS, self._secret)
        except Guessed:
            # Whoever answers gets one guess a connection; granting more than a few would be an oracle.
            self._guesses += 1
            if self._guesses >= GUESSES:
                raise
            raise Lost("the other end did not prove that it knows the secret") from None

    async def _deliver(
        self, channel: Channel, delivery: Delivery, partner: Partner, claim: Claim | None = None
    ) -> None:
        delivery.progressed = False
        with self.connection(channel) as wire:
            await self._shake(wire)
            partner.total = self._size
            self.begin(wire, partner)
            try:
                await Outgoing(delivery, wire).run(claim)
            except BaseException as error:
                await explain(wire, error)
                raise
            finally:
                delivery.cut()

    def _delivery(self) -> Delivery:
        terms = SendTerms(self._options.checksum, self._options.compress, self._options.no_resume)
        return Delivery(self._loop, terms, self._report, self._walk)

    # --- the two ways to meet ------------------------------------------------------------------------

    async def call(self) -> None:
        """Connect to the receiver, as often as it takes."""
        loop, options = self._loop, self._options
        delivery, partner = self._delivery(), self.partner()
        patience = Patience(loop, options, self._report)

        async def handle(channel: Channel) -> None:
            if not partner.moved:
                partner.since = loop.now()
            await self._deliver(channel, delivery, partner)

        await call(loop, patience, reach(loop, options, self._report), handle, lambda: delivery.progressed)
        self.summarise(delivery.tally, partner)
        verdict(delivery.tally)

    async def serve(self) -> None:
        """Wait for receivers: one, N, or until stopped."""
        alone = self._wanted == 1
        if not alone and self._walk.uses_stdin:
            raise LocalError("stdin can be sent to one receiver only")
        self._seat = Seat()
        self._only, self._partner = self._delivery(), self.partner()
        await self.host(self._one if alone else self._each, self._wanted)

    async def _each(self, channel: Channel) -> Tally:
        delivery, partner = self._delivery(), self.partner()

        async def claim(token: bytes, wire: Wire) -> None:
            self.met(wire, token)

        await self._deliver(channel, delivery, partner, claim)
        self.summarise(delivery.tally, partner)
        return delivery.tally

    async def _one(self, channel: Channel) -> Tally:
        """The one receiver, or the one that came back; a second one is turned away."""
        mine: list[Wire] = []

        async def claim(token: bytes, wire: Wire) -> None:
            await self._seat.take(token, wire)
            mine.append(wire)
            if not partner.moved:
                partner.since = self._loop.now()
            self.met(wire, token)

        partner = self._partner
        try:
            await self._deliver(channel, self._only, partner, claim)
        finally:
            for wire in mine:
                self._seat.leave(wire)
        self.summarise(self._only.tally, partner)
        return self._only.tally
