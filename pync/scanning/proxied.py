"""`scan --proxy`: every port asked through the proxies, a connection for each, few at a time.

A proxy tells less than a network: what it could not reach within the time is called filtered.
"""

from __future__ import annotations

from pync.endpoint import Endpoint
from pync.errors import IntegrityError, LimitReached, LocalError, PyncError, TimedOut, UsageError
from pync.loop import Loop
from pync.proto.escape import printable
from pync.proto.handshake import Refused
from pync.proto.pacing import TokenBucket
from pync.proto.ports import UDP, number_of
from pync.proto.schedule import Host
from pync.report import Report, silent
from pync.scanning.limits import dials_at_once
from pync.scanning.results import Results
from pync.scanning.sockets import socket_settings
from pync.transport import proxy
from pync.transport.dial import DialSettings, dial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.commands.options import ScanOptions
    from pync.scanning.source import Source

AT_ONCE = 64  # polite to a proxy that others share
PATIENCE = 10.0  # seconds for a proxy to give its verdict


class _Scan:
    def __init__(self, loop: Loop, options: ScanOptions, source: Source, results: Results) -> None:
        self._loop = loop
        self._source = source
        self._results = results
        self._settings = DialSettings(socket_settings(options), tuple(options.proxy))
        self._timeout = options.timeout
        self._banner = options.banner
        self._bucket = TokenBucket(options.rate, burst=1.0) if options.rate else None
        self._at_once = dials_at_once(min(options.concurrency or AT_ONCE, AT_ONCE), look_ups=True)
        self._running = 0
        self._again: list[tuple[Host, int]] = []  # for which no descriptor was left
        self._failure: PyncError | None = None

    async def run(self) -> None:
        """Ask every port of every host."""
        for host in self._source:
            if host is None:
                await self._source.wait_for_more()
                continue
            for code in host.next_codes(host.left):
                if code & UDP:
                    raise UsageError("--proxy scans TCP ports only")
                await self._start(host, code)
        while self._running or self._again:
            if self._again:
                await self._start(*self._again.pop())
            else:
                await self._change()
        if self._failure is not None:
            raise self._failure

    async def _start(self, host: Host, code: int) -> None:
        await self._turn()
        self._running += 1
        self._loop.spawn(self._one(host, code))

    async def _turn(self) -> None:
        while self._running >= self._at_once:
            await self._change()
        if self._failure is not None:
            raise self._failure
        if self._bucket is not None:
            while self._bucket.allowance(self._loop.now()) < 1:
                await self._loop.sleep_until(self._bucket.ready_at(self._loop.now()))
            self._bucket.spend(1, self._loop.now())

    async def _change(self) -> None:
        self._source.changed.clear()
        await self._source.changed.wait()

    async def _one(self, host: Host, code: int) -> None:
        try:
            await self._ask(host, code)
        except LimitReached as error:
            if self._running == 1:
                self._failure = self._failure or error
            else:
                self._at_once = min(self._at_once, self._running - 1)
                self._again.append((host, code))
        except PyncError as error:
            self._failure = self._failure or error
        finally:
            self._running -= 1
            self._source.changed.set()

    async def _ask(self, host: Host, code: int) -> None:
        started = self._loop.now()
        endpoint = Endpoint("tcp", host.address, number_of(code))
        try:
            by = started + (self._timeout or PATIENCE)
            channel = await dial(self._loop, endpoint, self._settings, silent, by)
        except TimedOut:
            self._results.found(host, code, "filtered", "no answer")
        except (IntegrityError, LocalError, UsageError):
            raise  # about the proxy or this host, not about the port
        except PyncError as error:
            # Of the port speak the proxy's Refused, and a dial that NO_PROXY sent straight there.
            if not isinstance(error, Refused) and not error.message.startswith(
                f"connect {endpoint.address}:"
            ):
                raise
            words = error.message.rpartition(": ")[2]
            refused = words == "connection refused"
            state, why = ("closed", "refused") if refused else ("filtered", printable(words))
            self._results.found(host, code, state, why)
        else:
            rtt = self._loop.now() - started
            said = None
            try:
                if self._banner:
                    self._results.opened(host, code, "proxy connected", rtt=rtt)
                    from pync.scanning.banner import listen_and_ask, longest_wait

                    longest = longest_wait(self._timeout)
                    said = await listen_and_ask(self._loop, channel, host, endpoint.port, longest)
            finally:
                channel.detach(self._loop)
                channel.close()
            self._results.found(host, code, "open", "proxy connected", rtt=rtt, banner=said)


def takes_names(options: ScanOptions, host: str, code: int) -> bool:
    """Whether the name `host` is for the proxies to look up (socks5h, socks4a, http, https), not for us."""
    if not options.proxy or code & UDP:
        return False
    chain = proxy.wanted_proxies(options.proxy, Endpoint("tcp", host, number_of(code)))
    return bool(chain) and proxy.takes_names(chain[-1])


async def scan(loop: Loop, options: ScanOptions, source: Source, results: Results, _report: Report) -> None:
    """Scan through the proxies; raises what makes the proxies useless (refused credentials, no such host)."""
    await _Scan(loop, options, source, results).run()
