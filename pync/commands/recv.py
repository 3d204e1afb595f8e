"""recv: receive what `send` sends, verify it, and put it in place."""

from __future__ import annotations

from typing import Any

from pync.commands.options import RecvOptions
from pync.commands.session import output_closed
from pync.commands.wiring import dial_settings, socket_settings, tls_settings
from pync.errors import ExitCode, PyncError, UsageError
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.pacing import TokenBucket
from pync.report import Event, Report
from pync.transfer import ask
from pync.transfer.calls import Patience, call
from pync.transfer.events import Progress, Tally
from pync.transfer.filing import ReceiveTerms
from pync.transfer.handshake import Secret, shake
from pync.transfer.host import open_host
from pync.transfer.place import Place
from pync.transfer.receiver import Incoming, Reception
from pync.transfer.serving import GOODBYE, Busy, CutAtTheEnd, Seat, Serving, verdict
from pync.transfer.sink import OutputClosed
from pync.transfer.wire import Limits, Lost, Wire
from pync.transport.channel import Channel
from pync.transport.dial import dial


async def run(loop: Loop, options: RecvOptions, report: Report) -> ExitCode:
    """Receive; OK only when everything is verified and in place. Raises what went wrong."""
    if options.udp or options.endpoint.scheme in ("udp", "unix-dgram"):
        raise UsageError("recv over datagrams (-u) is not there yet", hint="leave out -u: TCP delivers")
    if options.raw:
        from pync.transfer.raw_runs import recv_raw

        reach = _reach(loop, options, report)
        settings, tls = socket_settings(options), tls_settings(options, options.endpoint)
        try:
            await recv_raw(loop, options, report, reach, settings, tls)
        except OutputClosed:
            raise output_closed() from None
        return ExitCode.OK
    code, made = ask.secret_from(options.secret, options.secret_file, makes=options.secret_words)
    keep_open = options.keep_open or (options.count or 1) > 1
    place = Place(options.output, keep_open=keep_open)
    place.check()
    receiving = Receiving(loop, options, report, place, Secret(code), made=made)
    progress = Progress(loop, report, receiving.counters)
    if options.progress:
        progress.start()
    try:
        await (receiving.call() if options.connect else receiving.serve())
    except OutputClosed:
        raise output_closed() from None
    finally:
        progress.stop()
        place.close()
    return ExitCode.OK


def _reach(loop: Loop, options: RecvOptions, report: Report) -> Any:
    settings = dial_settings(options, options.endpoint)

    async def reach(until: float) -> Channel:
        by = until if options.timeout is None else min(until, loop.now() + options.timeout)
        return await dial(loop, options.endpoint, settings, report, by)

    return reach


class Receiving:
    """One run of `recv`."""

    limits = Limits()

    def __init__(
        self, loop: Loop, options: RecvOptions, report: Report, place: Place, secret: Secret, *, made: bool
    ) -> None:
        self._loop = loop
        self._options = options
        self._report = report
        self._place = place
        self._secret = secret
        self._made = made
        self._wires: set[Wire] = set()
        self._moved = 0
        self._known: dict[bytes, Reception] = {}  # by the sender's token
        self._seat = Seat(loop)
        self._asks = place.is_default and not options.yes and ask.at_terminal()
        self._begin = loop.now()

    # --- figures -------------------------------------------------------------------------------------

    def counters(self) -> dict[str, Any]:
        """For the progress event; several senders are also told apart."""
        each = {wire.channel.peer: wire.body_received + wire.unpacked for wire in self._wires}
        totals = [reception.total for reception in self._known.values()]
        total = totals[0] if len(totals) == 1 else None
        facts: dict[str, Any] = {"sent": 0, "received": self._moved + sum(each.values()), "total": total}
        if len(each) > 1:
            facts["peers"] = each
        return facts

    def _summarise(self, tally: Tally) -> None:
        facts = {**tally.facts(), "sent": 0, "received": tally.size}
        self._report(Event("summary", {**facts, "seconds": round(self._loop.now() - self._begin, 3)}))

    # --- one connection ------------------------------------------------------------------------------

    def _reception(self) -> Reception:
        options = self._options
        policies = ("overwrite", "rename", "skip")
        policy = next((name for name in policies if getattr(options, name)), "refuse")
        terms = ReceiveTerms(policy, options.max_size, fsync=not options.no_fsync)
        asking = self._ask if self._asks else None
        return Reception(self._loop, terms, self._report, self._place, ask=asking)

    async def _ask(self, wire: Wire, begin: messages.Begin) -> bool:
        if begin.paths == 1 and not begin.name:
            return True  # a stream, which goes to stdout and overwrites nothing
        return bool(await wire.busy(ask.agreed, ask.question(begin, wire.channel.peer)))

    async def _session(self, channel: Channel, *, alone: bool) -> Tally:
        """One sender's connection; raises Busy, CutAtTheEnd, Lost and the rest."""
        self._report(Event("connected", channel.facts()))
        wire = Wire(self._loop, channel, duplex=False, limits=self.limits, idle=self._options.idle_timeout)
        if self._options.rate is not None:
            wire.bucket = TokenBucket(self._options.rate)
        try:
            await shake(wire, proto.RECEIVES, self._secret)
            frame = await wire.frame()
            if frame.kind != proto.BEGIN:
                raise proto.ProtocolError("the peer sent something out of turn")
            begin = messages.parse_begin(frame.payload)
            if alone:
                await self._seat.take(begin.token, wire)
            return await self._receive(wire, begin, alone=alone)
        except Lost:
            raise
        except Busy as error:
            wire.abort(messages.BUSY, error.message)
            raise
        except PyncError as error:
            wire.abort(int(error.code), error.message)
            raise
        except OutputClosed:
            wire.abort(1, "its output was closed")
            raise
        finally:
            self._seat.leave(wire)

    async def _receive(self, wire: Wire, begin: messages.Begin, *, alone: bool) -> Tally:
        if alone and begin.token not in self._known:
            self._known.clear()  # an earlier sender is gone for good
        reception = self._known.get(begin.token) or self._reception()
        self._known[begin.token] = reception
        self.met()
        self._wires.add(wire)
        try:
            await Incoming(reception, wire, begin).run()
        except Lost:
            if reception.finished:
                raise CutAtTheEnd(reception.tally) from None
            raise
        finally:
            self._wires.discard(wire)
            self._moved += wire.body_received + wire.unpacked
            self.progressed = reception.progressed
        del self._known[begin.token]
        self._summarise(reception.tally)
        return reception.tally

    progressed = False

    def met(self) -> None:
        """A sender is here."""
        if self._serving is not None:
            self._serving.met.set()

    _serving: Serving | None = None

    # --- the two ways to meet ------------------------------------------------------------------------

    async def serve(self) -> None:
        """Wait for senders: one, N, or until stopped."""
        options = self._options
        wanted = options.count if options.keep_open or options.count else 1
        alone = wanted == 1

        async def handle(channel: Channel) -> Tally:
            try:
                return await self._session(channel, alone=alone)
            except OutputClosed as closed:
                serving.fail(closed)
                raise Busy from None

        serving = self._serving = Serving(
            self._loop, self._report, handle, wanted=wanted, retry_for=options.retry_for, tries=options.tries
        )
        host = open_host(
            self._loop,
            options,
            self._report,
            socket_settings(options),
            tls_settings(options, options.endpoint),
            serving,
        )
        try:
            if self._made:
                self._tell_code(host.port)
            await serving.finish(options.timeout)
        finally:
            host.close(Lost("stopped"))

    def _tell_code(self, port: int | None) -> None:
        """The code we made up, and what to type at the other end. Said once, never repeated in any event."""
        import socket

        code, endpoint = self._secret.code, self._options.endpoint
        if self._options.connect:
            where = f"--listen {endpoint.port}"
        elif port:
            host = endpoint.host if endpoint.host not in ("", "0.0.0.0", "::") else socket.gethostname()
            where = f"{host} {port}"
        else:
            where = f"unix:{endpoint.path}"
        command = f"pync send --secret={code} {where} PATH..."
        facts = {"reason": "for a sender who knows the code", "code": code, "command": command}
        self._report(Event("waiting", facts))

    async def call(self) -> None:
        """Connect to a `send --listen`, as often as it takes."""
        loop, options = self._loop, self._options
        if self._made:
            self._tell_code(None)
        patience = Patience(loop, options.retry_for, self._report)
        tallies: list[Tally] = []

        async def handle(channel: Channel) -> None:
            try:
                tallies.append(await self._session(channel, alone=True))
            except CutAtTheEnd as error:
                tallies[:] = [error.tally]
                patience.until = min(patience.until, loop.now() + GOODBYE)
                raise

        try:
            await call(loop, patience, _reach(loop, options, self._report), handle, lambda: self.progressed)
        except PyncError:
            if not tallies:
                raise
        verdict(tallies[-1])
