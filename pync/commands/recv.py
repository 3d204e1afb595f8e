"""recv: receive what `send` sends, verify it, and put it in place."""

from __future__ import annotations

from _thread import allocate_lock

from pync.commands.exchange import Exchange, Partner, explain, reach, refuse_datagrams, run_raw
from pync.commands.options import RecvOptions
from pync.commands.session import output_closed
from pync.errors import ExitCode, PyncError
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.report import Event, Report
from pync.transfer import ask
from pync.transfer.calls import Patience, call
from pync.transfer.events import Tally
from pync.transfer.filing import ReceiveTerms
from pync.transfer.handshake import Secret, shake
from pync.transfer.host import Host
from pync.transfer.place import Place
from pync.transfer.receiver import Incoming, Reception
from pync.transfer.serving import GOODBYE, Busy, CutAtTheEnd, Seat, verdict
from pync.transfer.sink import OutputClosed
from pync.transfer.wire import Lost, Wire
from pync.transport.channel import Channel
from pync.transport.stdio import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from pync.lean import NamedTuple


async def run(loop: Loop, options: RecvOptions, report: Report) -> ExitCode:
    """Receive; OK only when everything is verified and in place. Raises what went wrong."""
    refuse_datagrams("recv", options)
    if options.raw:
        from pync.transfer.raw_runs import recv_raw

        try:
            await run_raw(recv_raw, loop, options, report)
        except OutputClosed:
            raise output_closed() from None
        return ExitCode.OK
    code, made = ask.secret_from(options.secret, options.secret_file, makes=options.secret_words or 2)
    keep_open = options.keep_open or (options.count or 1) > 1
    place = Place(options.output, keep_open=keep_open)
    place.check()
    try:
        with Receiving(loop, options, report, place, Secret(code), made=made) as receiving:
            await (receiving.call() if options.connect else receiving.serve())
        place.check_whole()
    except OutputClosed:
        raise output_closed() from None
    finally:
        place.close()
    return ExitCode.OK


class Sender(NamedTuple):
    """Who is known by its token, across as many connections as it takes."""

    reception: Reception
    partner: Partner
    seat: Seat  # one of its connections at a time


class Receiving(Exchange):
    """One run of `recv`."""

    way = "received"

    def __init__(
        self, loop: Loop, options: RecvOptions, report: Report, place: Place, secret: Secret, *, made: bool
    ) -> None:
        self._wanted = options.count if options.keep_open or options.count else 1
        super().__init__(loop, options, report, secret, several=not options.connect and self._wanted != 1)
        self._options = options
        self._place = place
        place.shared.expected = self.expects
        self._made = made
        self._known: dict[bytes, Sender] = {}
        self._seat = Seat()  # of the only sender
        self._asking = allocate_lock()
        self._asks = place.is_default and not options.yes and ask.at_terminal()

    # --- figures -------------------------------------------------------------------------------------

    def total(self) -> int | None:
        totals = [sender.partner.total for sender in self._known.values()]
        return totals[0] if len(totals) == 1 and not self.several else None

    # --- one connection ------------------------------------------------------------------------------

    def _reception(self) -> Reception:
        options = self._options
        policies = ("overwrite", "rename", "skip")
        policy = next((name for name in policies if getattr(options, name)), "refuse")
        terms = ReceiveTerms(policy, options.max_size, fsync=not options.no_fsync)
        asking = self._ask if self._asks else None
        return Reception(self._loop, terms, self._report, self._place, ask=asking)

    async def _ask(self, wire: Wire, begin: messages.Begin) -> bool:
        if begin.paths == 1 and not begin.name and kind_of(1) != "terminal":
            return True  # a stream goes to stdout: it overwrites nothing, and no terminal obeys its bytes
        question, here = ask.question(begin, wire.channel.peer), True

        def answer() -> bool:
            with self._asking:  # there is one terminal
                return here and ask.agreed(question)

        try:
            agreed = bool(await wire.busy(answer))
        finally:
            here = False  # if nobody waits for the answer any more, nobody needs to be asked
        self._wires[wire].since = self._loop.now()
        return agreed

    async def _session(self, channel: Channel, *, alone: bool) -> Tally:
        """One sender's connection; raises Busy, CutAtTheEnd, Lost and the rest."""
        with self.connection(channel) as wire:
            return await self._served(wire, alone=alone)

    async def _served(self, wire: Wire, *, alone: bool) -> Tally:
        seat = self._seat
        try:
            await shake(wire, proto.RECEIVES, self._secret)
            frame = await wire.frame()
            if frame.kind != proto.BEGIN:
                raise proto.ProtocolError("the peer sent something out of turn")
            begin = messages.parse_begin(frame.payload)
            if not alone:
                seat = self._sender(begin.token).seat
            await seat.take(begin.token, wire)
            if alone and begin.token not in self._known:
                self._known.clear()  # an earlier sender is gone for good
            sender = self._sender(begin.token)
            await self._receive(wire, begin, sender)
            return sender.reception.tally
        except BaseException as error:
            await explain(wire, error)
            raise
        finally:
            seat.leave(wire)

    def _sender(self, token: bytes) -> Sender:
        if token not in self._known:
            self._known[token] = Sender(self._reception(), self.partner(), Seat())
        return self._known[token]

    async def _receive(self, wire: Wire, begin: messages.Begin, sender: Sender) -> None:
        reception, partner, _ = sender
        if begin.size != messages.UNKNOWN_SIZE:
            partner.total = begin.size
        to_stdout = begin.paths == 1 and not begin.name and self._options.output in (None, "-")
        if to_stdout and kind_of(1) == "terminal":
            self._progress.stop()  # a live line would run through the data
        # A file keeps its name when its sender is started again; a nameless stream perhaps its size.
        what = begin.name or begin.size
        before = self.met(wire, begin.token, (wire.channel.facts().get("address"), begin.paths, what))
        if before and what != messages.UNKNOWN_SIZE:
            self._place.shared.inherit(before, begin.token)
        self.begin(wire, partner)
        try:
            await Incoming(reception, wire, begin).run()
        except Lost:
            if reception.finished is not None:
                raise CutAtTheEnd(reception.finished) from None
            raise
        finally:
            self.progressed = reception.progressed

    progressed = False

    # --- the two ways to meet ------------------------------------------------------------------------

    async def serve(self) -> None:
        """Wait for senders: one, N, or until stopped."""
        alone = self._wanted == 1

        async def handle(channel: Channel) -> Tally:
            try:
                return await self._session(channel, alone=alone)
            except OutputClosed as closed:
                assert self._serving is not None
                self._serving.fail(closed)
                raise Busy from None

        await self.host(handle, self._wanted, self._tell_code if self._made else None, self._gone)

    def _gone(self, token: bytes, heir: bytes) -> None:
        """That sender is not here, and not expected back any more."""
        sender = self._known.pop(token, None)
        if sender is not None and sender.reception.finished is not None:
            self.summarise(sender.reception.finished, sender.partner)
        self._place.shared.inherit(token, heir)

    def _tell_code(self, host: Host | None) -> None:
        """The code we made up, and what to type at the other end. Said once, never repeated in any event."""
        import socket

        endpoint = self._options.endpoint
        words = ["pync send", f"--secret={self._secret.code}"]
        if self._options.tls or endpoint.scheme == "tls":
            words.append("--tls")
        pin = host.fingerprint if host is not None else ""
        if pin:  # whoever signed the certificate and whatever name is in it, a pin is enough
            words.append(f"--tls-fingerprint {pin}")
        if host is None:
            words.append("--listen")
        port = endpoint.port if host is None else host.port
        if not port:
            words.append(f"unix:{endpoint.path}")
        elif host is None:
            words.append(f"{port}")
        else:
            anywhere = endpoint.host in ("", "0.0.0.0", "::")
            words.append(f"{socket.gethostname() if anywhere else endpoint.host} {port}")
        facts = {
            "reason": "for a sender who knows the code",
            "code": self._secret.code,
            "command": " ".join([*words, "PATH..."]),
        }
        self._report(Event("waiting", facts))

    async def call(self) -> None:
        """Connect to a `send --listen`, as often as it takes."""
        loop, options = self._loop, self._options
        if self._made:
            self._tell_code(None)
        patience = Patience(loop, options, self._report)
        tallies: list[Tally] = []

        async def handle(channel: Channel) -> None:
            try:
                tallies.append(await self._session(channel, alone=True))
            except CutAtTheEnd as error:
                tallies[:] = [error.tally]
                patience.until = min(patience.until, loop.now() + GOODBYE)
                raise

        try:
            await call(loop, patience, reach(loop, options, self._report), handle, lambda: self.progressed)
        except PyncError:
            if not tallies:
                raise
        for token in list(self._known):
            self._gone(token, b"")
        verdict(tallies[-1])
