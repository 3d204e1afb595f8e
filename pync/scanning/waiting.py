"""`scan --wait`: ask again and again, all at once, until it holds; then end well, or become the command.

Every try is a dial like that of `connect`: all addresses, proxies, Unix sockets. A name that does not
resolve yet is a service that is not up yet. A silent try waits longer each time, so that a far service gets
its chance, and a black hole is still noticed opening when the system repeats its SYN, a second later.
"""

from __future__ import annotations

import os
import sys

from pync.endpoint import Address, Endpoint, is_literal
from pync.errors import (
    ConnectionRefused,
    ExitCode,
    Interrupted,
    LimitReached,
    LocalError,
    NetworkError,
    PyncError,
    TimedOut,
    UsageError,
    reason,
)
from pync.loop import Flag, Loop, Task
from pync.proto import ports as portspec
from pync.proto import targets
from pync.proto.escape import printable
from pync.proto.handshake import Refused
from pync.proto.targets import Block, Cover
from pync.report import Event, Report, silent
from pync.scanning.awaited import endpoints
from pync.scanning.limits import dials_at_once, raise_descriptor_limit, restore_descriptor_limit
from pync.scanning.sockets import socket_settings
from pync.scanning.source import excluded_blocks
from pync.transport.channel import Channel, read_some, write_all
from pync.transport.dial import DialSettings, dial, dial_addresses, resolve_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

    from pync.commands.options import ScanOptions

PATIENCE = (1.0, 2.0, 3.0)  # seconds for the first, second and any further silent try
AT_ONCE = 256  # tries at the same time
EXPECT_BYTES = 4096  # the "first bytes" that --expect looks at
FIRST_WORD, NEXT_WORD = 1.0, 5.0  # seconds until, and between, words about what is still missing
JITTER = 0.2  # of the interval, either way, so that many waiters do not march in step


class Place:
    """One endpoint to wait for."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.reason = ""
        self.met = False
        self.tries = 0

    def __str__(self) -> str:
        return ("udp://" if self.endpoint.scheme == "udp" else "") + self.endpoint.address


async def run(loop: Loop, options: ScanOptions, report: Report) -> ExitCode:
    """Wait until it holds, reporting `waiting`, `port` and `summary` events; does not return from `-- CMD`.

    Raises TimedOut naming what is missing, UsageError and LocalError for what waiting cannot mend.
    """
    assert options.wait is not None
    cover = Cover()
    for block in await excluded_blocks(loop, options):
        cover.exclude(block)
    places = await endpoints(loop, options, cover)
    before = raise_descriptor_limit()
    wait = _Wait(loop, options, report, places, cover)
    try:
        held = await wait.run()
    except (
        Interrupted,
        PyncError,
    ):  # Ctrl-C, --deadline, a failure: what is known by then is told all the same
        report(Event("summary", wait.facts()))
        raise
    finally:
        wait.cancel()
        restore_descriptor_limit(before)
    if held and options.command:  # from here on stdout is the command's
        become(list(options.command))
    report(Event("summary", wait.facts()))
    if not held:
        raise TimedOut(wait.complaint())
    return ExitCode.OK


class _Wait:
    def __init__(
        self,
        loop: Loop,
        options: ScanOptions,
        report: Report,
        endpoints: list[Endpoint],
        cover: Cover,
    ) -> None:
        self._loop = loop
        self._options = options
        self._report = report
        self._settings = DialSettings(socket_settings(options), tuple(options.proxy))
        self._expect = _pattern(options.expect)
        self._cover = cover  # what --exclude leaves
        self._gap = 1 / options.rate if options.rate else 0.0  # seconds from one try to the next
        self._next_at = 0.0
        self._places = [Place(endpoint) for endpoint in endpoints]
        self._all = options.require != "any"
        self._started = loop.now()
        self._deadline = self._started + (options.wait or 0.0)
        self._changed: Flag = loop.flag()
        self._freed: Flag = loop.flag()  # one more may try
        self._running = 0
        named = any(endpoint.host and not is_literal(endpoint.host) for endpoint in endpoints)
        most = min(options.concurrency or AT_ONCE, AT_ONCE)
        self._at_once = dials_at_once(most, look_ups=named or bool(options.proxy))
        self._tasks: list[Task] = []
        self._failure: PyncError | None = None
        for place in self._places:
            self._tasks.append(loop.spawn(self._poll(place)))

    @property
    def _held(self) -> bool:
        met = (place.met for place in self._places)
        return all(met) if self._all else any(met)

    async def run(self) -> bool:
        """True once it holds, False when the time is up."""
        say_at = self._started + FIRST_WORD
        while self._failure is None and not self._held:
            self._changed.clear()
            until = min(self._deadline, say_at)
            if not await self._changed.wait(until) and not self._held:
                if self._loop.now() >= self._deadline:
                    return False
                self._report(Event("waiting", self.facts()))
                say_at = self._loop.now() + NEXT_WORD
        if self._failure is not None:
            raise self._failure
        return True

    def cancel(self) -> None:
        """End the tries that are still running."""
        for task in self._tasks:
            task.on_done(lambda _task: None)  # somebody looks: its end is no failure of the run
            task.cancel(_Over())

    # --- one endpoint ----------------------------------------------------------------------------------

    async def _poll(self, place: Place) -> None:
        try:
            while not place.met:
                await self._turn()
                began = self._loop.now()
                known = place.reason
                place.reason = known or "no answer"
                try:
                    state = await self._try(place)
                finally:
                    self._running -= 1
                    self._freed.set()
                if known and place.reason == "no answer" and self._loop.now() >= self._deadline:
                    place.reason = known  # a try that was cut short knows less than the one before
                if state == self._options.until:
                    self._met(place, state, self._loop.now() - began)
                    return
                pause = self._options.interval * (1 + JITTER * (2 * _fraction(began) - 1))
                # A try that took long (a black hole) has waited already.
                await self._loop.sleep_until(max(began + pause, self._loop.now()))
        except (UsageError, LocalError) as error:
            self._failure = error
            self._changed.set()
        except _Over:
            pass

    async def _turn(self) -> None:
        """Wait until one more may try, then until `--rate` lets it."""
        while self._running >= self._at_once:
            self._freed.clear()
            await self._freed.wait()
        self._running += 1
        if self._gap:
            start_at = max(self._next_at, self._loop.now())
            self._next_at = start_at + self._gap
            await self._loop.sleep_until(start_at)

    def _met(self, place: Place, state: str, rtt: float) -> None:
        place.met = True
        self._changed.set()
        if self._options.command:
            return  # stdout is the command's
        endpoint = place.endpoint
        facts: dict[str, object] = {
            "target": endpoint.host or endpoint.address,
            "address": endpoint.host or endpoint.path,
            "port": endpoint.port if endpoint.host else None,
            "proto": endpoint.scheme,
            "state": state,
            "reason": place.reason,
            "rtt": round(rtt, 6),
            "service": _service(endpoint, numeric=self._options.numeric),
            "banner": None,
        }
        self._report(Event("port", facts))

    async def _try(self, place: Place) -> str:
        """`open`, `closed`, or `unknown` where nobody can tell; sets the place's reason."""
        patience = self._options.timeout or PATIENCE[min(place.tries, len(PATIENCE) - 1)]
        place.tries += 1
        until = min(self._deadline, self._loop.now() + patience)
        try:
            channel = await self._dial(place.endpoint, until)
        except LimitReached as error:
            if self._running == 1:
                raise
            self._at_once = min(self._at_once, self._running - 1)
            place.tries -= 1  # it was none
            place.reason = printable(error.message.rpartition(": ")[2])
            return "unknown"
        except (TimedOut, NetworkError) as error:
            words = error.message.rpartition(": ")[2]
            if error.message.startswith("proxy ") and not isinstance(error, Refused):
                words = f"{error.message.partition(': ')[0]}: {words}"  # it is about the proxy
            place.reason = "no answer" if isinstance(error, TimedOut) else printable(words)
            return "closed" if _is_refusal(error) else "unknown"
        try:
            return await self._look(place, channel, until)
        finally:
            channel.detach(self._loop)
            channel.close()

    async def _dial(self, endpoint: Endpoint, until: float) -> Channel:
        """`dial`, but never an address that `--exclude` has, whatever a name resolves to."""
        if not self._options.exclude or endpoint.path or is_literal(endpoint.host):
            return await dial(self._loop, endpoint, self._settings, silent, until)
        wanted = self._settings.socket
        found = await resolve_all(self._loop, endpoint, wanted, until)
        addresses = [address for address in found if self._allows(address)]
        if not addresses:
            raise NetworkError(f"connect {endpoint.address}: --exclude has every address of it")
        return await dial_addresses(self._loop, endpoint, addresses, wanted, silent, until)

    def _allows(self, address: Address) -> bool:
        number = targets.address_number(address.sockaddr[0])
        return number is None or bool(self._cover.allowed(Block(number[0], number[1], 1, number[2])))

    async def _look(self, place: Place, channel: Channel, until: float) -> str:
        if channel.boundaries and place.endpoint.scheme == "udp":
            return await self._ask_udp(place, channel, until)
        if self._expect is None:
            place.reason = "syn-ack" if place.endpoint.scheme == "tcp" else "connected"
            return "open"
        if not place.reason.startswith("open, "):  # what it said the last time is worth more
            place.reason = "open, but said nothing"
        said = await _first_bytes(self._loop, channel, self._expect, until)
        if self._expect.search(said):
            place.reason = "said what was expected"
            return "open"
        if said:
            place.reason = f"open, but said {printable(said[:60].strip())!r}"
        elif self._loop.now() < self._deadline:
            place.reason = "open, but said nothing"
        return "unknown"

    async def _ask_udp(self, place: Place, channel: Channel, until: float) -> str:
        from pync.proto.probes import payload

        view = memoryview(bytearray(EXPECT_BYTES))
        try:
            await write_all(self._loop, channel, payload(int(place.endpoint.port)), until)
            count = await read_some(self._loop, channel, view, until)
        except TimeoutError:
            place.reason = "no answer"
            return "unknown"
        except OSError as error:
            place.reason = reason(error)
            return "closed" if isinstance(error, ConnectionRefusedError) else "unknown"
        said = bytes(view[: count or 0])
        if self._expect is not None and not self._expect.search(said):
            place.reason = f"answered {printable(said[:60])!r}"
            return "unknown"
        place.reason = "reply"
        return "open"

    # --- what is said ----------------------------------------------------------------------------------

    def facts(self) -> dict[str, object]:
        """Of the `waiting` and the `summary` event."""
        missing = [place for place in self._places if not place.met]
        now = self._loop.now()
        return {
            "until": self._options.until,
            "ready": len(self._places) - len(missing),
            "total": len(self._places),
            "missing": [str(place) for place in missing[:20]],
            "reason": (missing[0].reason or "not asked yet") if missing else None,
            "seconds": round(now - self._started, 3),
            "remaining": round(max(0.0, self._deadline - now), 3),
        }

    def complaint(self) -> str:
        """The line that names what is missing when the time is up."""
        missing = [place for place in self._places if not place.met]
        named = ", ".join(f"{place} ({place.reason or 'not asked yet'})" for place in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        return f"wait: not {self._options.until} after {self._options.wait:g}s: {named}{more}"


class _Over(Exception):
    """Raised inside the tries that nobody needs any more."""


def _is_refusal(error: PyncError) -> bool:
    """Whether the target itself said no, as in a scan: a name that does not resolve, a network or a proxy
    that cannot be reached, and silence leave open what would be there.
    """
    if isinstance(error, Refused):  # what a proxy says of the target
        return error.message.endswith(": connection refused")
    return isinstance(error, ConnectionRefused) and not error.message.startswith("proxy ")


def _fraction(moment: float) -> float:
    return targets.mix(int(moment * 1e6)) / 2**64


def _pattern(text: str | None) -> re.Pattern[bytes] | None:
    if text is None:
        return None
    import re

    try:
        return re.compile(text.encode(errors="surrogateescape"))  # a byte that is no UTF-8 is that byte
    except (re.error, UnicodeError) as error:
        raise UsageError(f"--expect {text!r}: {error}") from None


async def _first_bytes(loop: Loop, channel: Channel, wanted: re.Pattern[bytes], until: float) -> bytes:
    """What comes first, until it matches, ends, is long enough, or the time is up."""
    data = bytearray()
    view = memoryview(bytearray(EXPECT_BYTES))
    try:
        while len(data) < EXPECT_BYTES and not wanted.search(data):
            count = await read_some(loop, channel, view, until)
            if count is None:
                break
            data += view[:count]
    except (OSError, PyncError):  # TimeoutError is one
        pass
    return bytes(data[:EXPECT_BYTES])


def _service(endpoint: Endpoint, *, numeric: bool) -> str:
    if numeric or not isinstance(endpoint.port, int) or not endpoint.host:
        return ""
    return portspec.service_name(endpoint.port | (portspec.UDP if endpoint.scheme == "udp" else 0))


def become(command: list[str]) -> None:
    """Replace this process by `command`; raises LocalError when it cannot be run.

    On Windows it is run, and we end as it does: raises NetworkError for any status but 0.

    What Python changed for itself is put back first: it ignores SIGPIPE and SIGXFSZ, and that is inherited.
    """
    import signal

    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    for name in ("SIGPIPE", "SIGXFSZ"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_DFL)
    try:
        if sys.platform == "win32":  # where exec is a new process, and whoever waits for us goes on at once
            _run(command)
        else:
            os.execvp(command[0], command)
    except OSError as error:
        raise LocalError(f"run {command[0]}: {reason(error)}") from None


def _run(command: list[str]) -> None:
    import subprocess

    status = subprocess.call(command)
    if status:
        raise NetworkError(f"{command[0]}: exit status {status}")
