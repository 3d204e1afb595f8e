"""What connect and listen make of the options they share: settings, policy, filters, copies."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import time

from pync.commands.options import SocketOptions, StreamOptions
from pync.endpoint import Endpoint
from pync.errors import ExitCode, LocalError, reason
from pync.loop import Flag, Loop, Timer
from pync.relay.policy import Filters, Outcome, Policy
from pync.relay.relay import Relay
from pync.report import Event, Report
from pync.transport.channel import Channel
from pync.transport.dial import DialSettings
from pync.transport.settings import SocketSettings
from pync.transport.stdio import BINARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from pync.lean import NamedTuple

_TICK = 0.1  # seconds between two progress events


def socket_settings(options: SocketOptions) -> SocketSettings:
    """The socket part of `options`."""
    return SocketSettings(
        family=4 if options.ipv4 else 6 if options.ipv6 else 0,
        numeric=options.numeric,
        source=options.source,
        source_port=options.source_port,
        nodelay=options.nodelay,
        keepalive=options.keepalive,
        dscp=options.dscp,
        ttl=options.ttl,
        sndbuf=options.sndbuf,
        rcvbuf=options.rcvbuf,
        interface=options.interface,
        broadcast=options.broadcast,
        multicast=options.multicast,
        reuse_port=getattr(options, "reuse_port", False),
        backlog=getattr(options, "backlog", None),
    )


def tls_settings(options: Any, endpoint: Endpoint) -> Any:
    """TlsSettings where TLS is wanted for `endpoint`, else None; ssl is imported only then."""
    return _tls_settings(options) if options.tls or endpoint.scheme == "tls" else None


def _tls_settings(options: Any) -> Any:
    from pync.transport.tls_settings import TlsSettings

    return TlsSettings.from_options(options)


def dial_settings(options: Any, endpoint: Endpoint) -> DialSettings:
    """How to dial `endpoint` with these options."""
    tls = tls_settings(options, endpoint)
    trust = tls
    if tls is None and options.proxy and (options.tls_ca or options.tls_insecure or options.tls_min != "1.2"):
        trust = _tls_settings(options)  # the only TLS may be that of an https:// proxy
    return DialSettings(socket_settings(options), tuple(options.proxy), tls, trust, options.idle_timeout)


def policy_of(
    options: StreamOptions, *, interactive: bool, keep_open: bool = False, **changes: Any
) -> Policy:
    """When a connection with these options is over. `interactive`: somebody types."""
    quits = {"auto": interactive or keep_open, "quit": True, "continue": False}[options.peer_eof]
    policy = Policy(
        shutdown=not options.no_shutdown,
        quit_on_peer_eof=quits,
        quit_after=options.quit_after,
        idle_timeout=options.idle_timeout,
        end_when_sent=options.send_only,
        receive_only=options.recv_only,
        discard_received=options.send_only,
        max_bytes=options.max_bytes,
        max_packets=options.max_packets,
        rate=options.rate,
    )
    return policy._replace(**changes)


class Copies:
    """The files of `--output` and `--hex-dump`: all sessions of a run, on disk as it happens."""

    def __init__(self, options: StreamOptions) -> None:
        mode = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if options.append else os.O_TRUNC)
        self._plain = _open(options.output, mode)
        self._hex = _open(options.hex_dump, mode)
        self._dump: Any = None
        self._names = options.output, options.hex_dump
        if self._hex is not None:
            from pync.proto.hexdump import HexDump

            self._dump = HexDump()

    @property
    def wanted(self) -> bool:
        """True when there is a file to write."""
        return self._plain is not None or self._hex is not None

    def tap(self, direction: str) -> Callable[[memoryview], None]:
        """What a relay calls with the bytes of one direction, `>` or `<`."""
        return lambda data: self._write(direction, data)

    def _write(self, direction: str, data: memoryview) -> None:
        try:
            if self._plain is not None:
                _write_all(self._plain, data)
            if self._hex is not None:
                _write_all(self._hex, memoryview(self._dump.feed(direction, data, time())))
        except OSError as error:
            name = self._names[0] or self._names[1]
            raise LocalError(f"{name}: {reason(error)}") from None

    def close(self) -> None:
        """Idempotent."""
        for fd in (self._plain, self._hex):
            if fd is not None:
                os.close(fd)
        self._plain = self._hex = None


def _open(path: str | None, mode: int) -> int | None:
    if path is None:
        return None
    try:
        return os.open(path, mode | BINARY, 0o666)
    except OSError as error:
        raise LocalError(f"{path}: {reason(error)}") from None


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


class TelnetFilter:
    """The telnet transform with somewhere to send its answers."""

    def __init__(self) -> None:
        from pync.proto.telnet import Telnet

        self._telnet = Telnet()
        self.answer: Callable[[bytes], None] = lambda data: None

    def feed(self, data: bytes | memoryview) -> bytes:
        clean = self._telnet.feed(data)
        self.answer(self._telnet.replies())
        return clean

    def flush(self) -> bytes:
        return self._telnet.flush()


class _TelnetEscape:
    """0xff of ours is data, not a command."""

    def feed(self, data: bytes | memoryview) -> bytes:
        from pync.proto.telnet import escape

        return escape(data)

    def flush(self) -> bytes:
        return b""


def filters_of(options: StreamOptions, copies: Copies | None) -> Filters:
    """The filters of one connection; their state is not shared."""
    sent: list[Any] = []
    received: list[Any] = []
    if options.crlf:
        from pync.proto.crlf import Crlf

        sent.append(Crlf())
    if getattr(options, "telnet", False):
        sent.append(_TelnetEscape())
        received.append(TelnetFilter())
    copying = copies is not None and copies.wanted
    return Filters(
        tuple(sent),
        tuple(received),
        tap_sent=copies.tap(">") if copying and copies else None,
        tap_received=copies.tap("<") if copying and copies else None,
        datagram_size=options.datagram_size,
        line_delay=options.delay,
    )


class Totals(NamedTuple):
    """Bytes of a run so far."""

    sent: int
    received: int


class Progress:
    """A `progress` event every tick while a run lasts; costs nothing per byte."""

    def __init__(
        self, loop: Loop, report: Report, count: Callable[[], Totals], total: int | None = None
    ) -> None:
        self._loop, self._report, self._count, self._total = loop, report, count, total
        self._started = loop.now()
        self._last = self._started, Totals(0, 0)
        self._timer: Timer | None = loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._say()
        self._timer = self._loop.call_later(_TICK, self._tick)

    def _say(self) -> None:
        now, totals = self._loop.now(), self._count()
        then, before = self._last
        self._last = now, totals
        moved = sum(totals) - sum(before)
        facts = {
            "sent": totals.sent,
            "received": totals.received,
            "seconds": now - self._started,
            "rate": moved / max(now - then, 1e-9),
            "total": self._total,
        }
        self._report(Event("progress", facts))

    def stop(self) -> None:
        """A last event; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._say()


def closed_event(facts: dict[str, Any], outcome: Outcome) -> Event:
    """The end of a connection whose ends are `facts`."""
    why = outcome.error.message if outcome.error is not None else outcome.reason
    said = {"sent": outcome.sent, "received": outcome.received, "seconds": outcome.seconds, "reason": why}
    return Event("closed", {**facts, **said})


def runs_program(options: StreamOptions) -> bool:
    """Whether --exec or --sh-exec is there."""
    return options.exec_command is not None or options.sh_exec is not None


def relay_between(
    loop: Loop, channel: Channel, local: Channel, policy: Policy, filters: Filters, report: Report
) -> tuple[Relay, Flag]:
    """A relay that reports the end of each direction, and the flag that its own end sets."""
    ended = loop.flag()
    relay = Relay(
        loop,
        channel,
        local,
        policy,
        filters,
        done=lambda _relay: ended.set(),
        notice=lambda direction: report(Event("eof", {"direction": direction})),
    )
    for transform in filters.received:
        if isinstance(transform, TelnetFilter):
            transform.answer = relay.inject
    return relay, ended


async def run_relay(relay: Relay, ended: Flag) -> Outcome:
    """Start `relay` and wait for its end; when we are told to stop, received bytes are written out first."""
    relay.start()
    try:
        await ended.wait()
    except BaseException as stop:
        # What failed here (a full disk) cost the peer's bytes: it must know.
        relay.abort(type(stop).__name__.lower(), stop if isinstance(stop, LocalError) else None)
        raise
    assert relay.outcome is not None
    return relay.outcome


def code_of(outcome: Outcome) -> ExitCode:
    """The status of a run that was one connection; raises the error or the quiet SIGPIPE."""
    from pync.commands.session import output_closed

    if outcome.output_closed:
        raise output_closed()
    if outcome.error is not None:
        raise outcome.error
    return ExitCode.OK
