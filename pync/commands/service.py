"""What a listener does with each client: pipe it, run a program for it, echo, forward, broker."""

from __future__ import annotations

import os
from collections.abc import Callable

from pync.commands.options import ListenOptions
from pync.commands.session import output_closed
from pync.commands.wiring import (
    Copies,
    Totals,
    closed_event,
    dial_settings,
    filters_of,
    policy_of,
    relay_between,
    run_relay,
    runs_program,
    socket_settings,
    tls_settings,
)
from pync.errors import IntegrityError, Interrupted, LocalError, NetworkError, PyncError, TimedOut, reason
from pync.loop import Flag, Loop
from pync.relay.policy import Outcome, Policy
from pync.relay.relay import Relay
from pync.report import Event, Report
from pync.transport.channel import Channel
from pync.transport.dial import check_target, dial
from pync.transport.stdio import BINARY, Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A client that does not finish its TLS handshake, when the user set no time-out.
_HANDSHAKE_SECONDS = 10.0


class Service:
    """Serves clients as the options ask. `stop(failure)` is called when it cannot go on."""

    def __init__(
        self,
        loop: Loop,
        options: ListenOptions,
        report: Report,
        *,
        keep_open: bool,
        stop: Callable[[BaseException | None], None],
    ) -> None:
        self.loop, self.options, self.report, self.keep_open = loop, options, report, keep_open
        self.socket_settings = socket_settings(options)
        self._stop = stop
        self._ended_by: BaseException | None = None
        if options.output_dir is not None and not os.path.isdir(options.output_dir):
            raise LocalError(f"--output-dir {options.output_dir}: no such directory")
        self._words = self._program()
        self._copies = Copies(options)
        self._tls = tls_settings(options, options.endpoint)
        self._forward = self._forward_settings()
        self._hub: Any = None
        self._stdio: Stdio | None = None
        self._stdio_relay: Relay | None = None
        self._stdio_ended = loop.flag()
        self._relays: dict[Relay, None] = {}
        self._done = Totals(0, 0)
        self._number = 0
        if not (self._words or options.echo or options.discard or options.forward):
            self._open_stdio()

    def _program(self) -> list[str] | None:
        if not runs_program(self.options):
            return None
        from pync.commands.programs import program_of  # nobody else pays for it at start-up

        return program_of(self.options)

    def _forward_settings(self) -> Any:
        target = self.options.forward
        if target is None:
            return None
        check_target(target, numeric=self.options.numeric)
        settings = dial_settings(self.options, target)
        if target.scheme != "tls":
            settings = settings._replace(tls=None)  # --tls is about our clients
        return settings

    def _open_stdio(self) -> None:
        options = self.options
        quiet = options.send_only or (options.output_dir is not None and not (options.broker or options.chat))
        hears = options.recv_only or (self.keep_open and options.stdin == "none")
        self._stdio = Stdio(-1 if hears else 0, -1 if quiet else 1)
        if self.keep_open:
            from pync.relay.hub import Hub

            route = "chat" if options.chat else "others" if options.broker else "local"
            if options.recv_only:
                route = "local"
            to_clients = "none" if options.recv_only else options.stdin
            self._hub = Hub(self.loop, route, to_clients=to_clients, buffer=options.client_buffer)

    def start(self) -> None:
        """Join our stdio to the hub; from now on clients may come."""
        if self._hub is None or self._stdio is None:
            return
        policy = Policy(quit_on_peer_eof=True, receive_only=self._stdio.read_fd < 0)
        self._stdio_relay = Relay(
            self.loop, self._hub.join_local(), self._stdio, policy, done=self._on_stdio_over
        )
        self._stdio_relay.start()

    def _on_stdio_over(self, relay: Relay) -> None:
        self._stdio_ended.set()
        outcome = relay.outcome
        assert outcome is not None
        if outcome.output_closed:
            self._end(output_closed())
        elif outcome.error is not None:
            self._end(outcome.error)

    def _end(self, failure: BaseException) -> None:
        self._ended_by = failure
        self._stop(failure)

    def listening(self, facts: list[dict[str, Any]]) -> None:
        """Say where; with TLS also what a client needs to trust us."""
        if self._tls is not None:
            first = facts[0]
            said = self._tls.listener_facts(
                str(first["address"] or ""), int(first["port"] or 0), first.get("path")
            )
            if said:
                self.report(Event("secured", said))
        for fact in facts:
            self.report(Event("listening", fact))

    def totals(self) -> Totals:
        """Bytes to and from all clients so far."""
        sent = self._done.sent + sum(relay.sent for relay in self._relays)
        received = self._done.received + sum(relay.received for relay in self._relays)
        return Totals(sent, received)

    # --- one client ----------------------------------------------------------------------------------

    async def serve(self, channel: Channel) -> Outcome:
        """Everything for one client; raises PyncError only for what never became a session."""
        self._number += 1
        number = self._number
        facts = channel.facts()
        try:
            channel = await self._secure(channel)
            self.report(Event("connected", channel.facts()))
            outcome = await self._session(channel, number)
        except PyncError as error:
            self.report(closed_event(facts, Outcome("error", 0, 0, 0.0, error)))
            # The client's fault it is not, so somebody must know; what ends us all is said at the end.
            if self.keep_open and isinstance(error, LocalError) and error is not self._ended_by:
                self.report(Event("error", {"code": int(error.code), "message": error.message}))
            raise
        self.report(closed_event(facts, outcome))
        if isinstance(outcome.error, LocalError) and self.keep_open and self._is_fatal(outcome):
            self._end(outcome.error)
        return outcome

    def _is_fatal(self, outcome: Outcome) -> bool:
        """A full disk under our own output ends the listener; a client's child or target does not."""
        return outcome.error is not None and bool(self._copies.wanted or self.options.output_dir)

    async def _secure(self, channel: Channel) -> Channel:
        if self._tls is None:
            return channel
        from pync.transport.tls import start_tls

        seconds = self.options.timeout if self.options.timeout is not None else _HANDSHAKE_SECONDS
        deadline = self.loop.now() + seconds
        try:
            secured = await start_tls(
                self.loop,
                channel,
                self._tls,
                server=True,
                name=None,
                deadline=deadline,
                idle=self.options.idle_timeout,
            )
        except TimedOut as error:
            if self.options.timeout is not None or self.loop.now() < deadline:
                raise
            raise IntegrityError(error.message) from None  # our own limit, not one that the user set
        self.report(Event("secured", secured.secured()))
        return secured

    async def _session(self, channel: Channel, number: int) -> Outcome:
        if self._words is not None:
            return await self._run_program(channel, self._words)
        if self.options.forward is not None:
            return await self._relay(channel, await self._dial_target(channel))
        if self.options.echo:
            return await self._relay(channel, channel)
        if self.options.discard:
            return await self._relay(channel, Channel(), discard_received=True, receive_only=True)
        if self._hub is not None:
            return await self._relay_to_hub(channel, number)
        assert self._stdio is not None
        if self.options.output_dir is not None:
            return await self._relay(channel, self._file_for(channel, number, self._stdio))
        return await self._relay(channel, self._stdio)

    async def _relay(self, channel: Channel, local: Channel, **changes: Any) -> Outcome:
        return await self._run(*self._relay_between(channel, local, self._policy(local, **changes)))

    def _relay_between(self, channel: Channel, local: Channel, policy: Policy) -> tuple[Relay, Flag]:
        filters = filters_of(self.options, self._copies)
        return relay_between(self.loop, channel, local, policy, filters, self.report)

    async def _run(self, relay: Relay, ended: Flag) -> Outcome:
        self._relays[relay] = None
        try:
            return await run_relay(relay, ended)
        finally:
            self._no_longer(relay)

    def _no_longer(self, relay: Relay) -> None:
        """This relay is over, whether it ended or was cut off: no byte of it is lost from the totals."""
        del self._relays[relay]
        self._count(relay.sent, relay.received)

    def _count(self, sent: int, received: int) -> None:
        self._done = Totals(self._done.sent + sent, self._done.received + received)

    def _policy(self, local: Channel, **changes: Any) -> Policy:
        interactive = isinstance(local, Stdio) and local.interactive
        # Programs and targets have an answer to give after a client's end; our stdin may never end.
        keep_open = self._hub is not None
        return policy_of(self.options, interactive=interactive, keep_open=keep_open, **changes)

    async def _relay_to_hub(self, channel: Channel, number: int) -> Outcome:
        port = self._hub.join(channel.peer, datagrams=channel.boundaries)
        local: Channel = port
        if self.options.output_dir is not None:
            local = _Joined(port, self._file_for(channel, number, None))
        policy = self._policy(local, receive_only=self.options.recv_only)
        relay, ended = self._relay_between(channel, local, policy)
        port.direct = relay.up.offer
        port.cut_off = lambda: relay.abort("too slow", NetworkError(f"{channel.peer}: too slow, cut off"))
        return await self._run(relay, ended)

    async def _dial_target(self, channel: Channel) -> Channel:
        target = self.options.forward
        assert target is not None
        seconds = self.options.timeout if self.options.timeout is not None else _HANDSHAKE_SECONDS
        try:
            return await dial(self.loop, target, self._forward, self.report, self.loop.now() + seconds)
        except BaseException:
            channel.detach(self.loop)
            channel.close()
            raise

    async def _run_program(self, channel: Channel, words: list[str]) -> Outcome:
        from pync.commands.programs import run_direct, run_with_child, wants_relay

        if not wants_relay(self.options, channel, self._copies):
            outcome = await run_direct(self.loop, channel, words, self.options.grace)
            self._count(outcome.sent, outcome.received)
            return outcome
        from pync.transport.child import Child, environment_for

        try:
            environment = environment_for(channel.facts(), dict(os.environ))
            child = Child(self.loop, words, environment, mute=self.options.recv_only)
        except PyncError:
            channel.close()
            raise
        relay, ended = self._relay_between(channel, child, self._policy(child))
        self._relays[relay] = None
        try:
            return await run_with_child(relay, ended, child, words, self.options.grace)
        finally:
            self._no_longer(relay)

    def _file_for(self, channel: Channel, number: int, stdio: Stdio | None) -> Channel:
        """A new file of this client's own in --output-dir, never one that is there already."""
        directory = self.options.output_dir
        assert directory is not None
        name = "".join(c if c.isalnum() or c in ".-" else "_" for c in channel.peer)[:200].strip("_.")
        path = os.path.join(directory, f"{name or 'client'}-{number}")
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
        except OSError as error:
            channel.close()
            raise LocalError(f"{path}: {reason(error)}") from None
        return _OutputFile(stdio.read_fd if stdio is not None else -1, fd)

    # --- the end -------------------------------------------------------------------------------------

    def wind_down(self) -> None:
        """Clients should end: they hear all that was said to them, then our FIN."""
        if self._hub is not None:
            self._hub.end_clients()

    async def finish(self, seconds: float = 60) -> None:
        """All clients are gone: what they said is written out, unless our stdout takes none of it that
        long."""
        if self._hub is not None and not self._stdio_ended.is_set:
            self._hub.end()
            try:
                await self._stdio_ended.wait(self.loop.now() + seconds)
            except Interrupted:
                if self._stdio_relay is not None:
                    self._stdio_relay.abort("interrupted")
                raise

    def close(self) -> None:
        """Idempotent."""
        self._copies.close()
        if self._stdio is not None:
            self._stdio.detach(self.loop)
            self._stdio.close()


class _OutputFile(Stdio):
    """A client's own file as its stdout, with our stdin when there is one client only."""

    def close(self) -> None:
        super().close()
        fd, self.write_fd = self.write_fd, -1
        if fd >= 0:
            os.close(fd)

    def send_eof(self) -> int:
        return 0  # closed by `close`; fd 1 is not ours here


class _Joined(Channel):
    """Reads from one channel, writes to another."""

    def __init__(self, reader: Channel, writer: Channel) -> None:
        self._reader, self._writer = reader, writer
        self.read_into = reader.read_into  # type: ignore[method-assign]
        self.write = writer.write  # type: ignore[method-assign]
        self.watch_read = reader.watch_read  # type: ignore[method-assign]
        self.watch_write = writer.watch_write  # type: ignore[method-assign]

    @property
    def buffered(self) -> int:
        return self._reader.buffered

    def detach(self, loop: Loop) -> None:
        self._reader.detach(loop)
        self._writer.detach(loop)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
