"""The scan itself: scheduler, probers and loop joined, in this process."""

from __future__ import annotations

import errno
import socket
from time import monotonic

from pync.errors import LocalError, reason
from pync.loop import Loop, Task
from pync.proto.ports import UDP
from pync.proto.schedule import Host, Scheduler
from pync.scanning.results import Results
from pync.scanning.sockets import Sockets, socket_settings
from pync.scanning.tcp import TcpProber
from pync.scanning.udp import UdpProber

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.commands.options import ScanOptions
    from pync.scanning.source import Source

# How long probes go out before the loop sees to signals, pipes and progress.
SLICE = 0.02


class Engine:
    """One process's share of a scan. `close` gives everything back."""

    def __init__(
        self, loop: Loop, options: ScanOptions, source: Source, results: Results, *, ceiling: int
    ) -> None:
        self._loop = loop
        self._source = source
        self._results = results
        self._scheduler = Scheduler(
            source,
            ceiling=ceiling,
            timeout=options.timeout,
            retries=options.retries,
            rate=options.rate / source.worker[1] if options.rate else None,
            patient=options.all and options.retries is None,
            silent=self._silent,
        )
        self._settings = socket_settings(options)
        self._timeout = options.timeout
        sockets = Sockets(self._settings, explain=options.all)
        self._wake = source.changed
        self._grabs: dict[socket.socket, Task | None] = {}
        opened = self._grab if options.banner else self._opened
        self._udp = UdpProber(
            loop, self._scheduler, results, sockets, banner=options.banner, wake=self._wake.set
        )
        self._tcp = TcpProber(
            loop, self._scheduler, results, sockets, opened, wake=self._wake.set, starved=self._starved
        )

    def _opened(self, host: Host, code: int, sock: socket.socket, rtt: float) -> None:
        sock.close()
        self._results.found(host, code, "open", "syn-ack", rtt=rtt)

    def _grab(self, host: Host, code: int, sock: socket.socket, rtt: float) -> None:
        """Read what the service says; its socket counts as in flight meanwhile."""
        from pync.scanning.banner import grab, longest_wait

        longest = longest_wait(self._timeout)
        self._results.opened(host, code, "syn-ack", rtt=rtt)
        self._grabs[sock] = None
        self._scheduler.in_flight += 1

        async def work() -> None:
            try:
                banner = await grab(self._loop, sock, host, code, self._settings, longest)
            finally:
                del self._grabs[sock]
                self._scheduler.in_flight -= 1
                self._wake.set()
            self._results.found(host, code, "open", "syn-ack", rtt=rtt, banner=banner)

        task = self._loop.spawn(work())
        if sock in self._grabs:
            self._grabs[sock] = task

    def _starved(self) -> None:
        """No descriptor is left for a single probe: only a look-up that ends could change that."""
        if not self._source.start_lookups():
            raise LocalError(f"scan: {reason(OSError(errno.EMFILE, ''))}")

    def _silent(self, host: Host, code: int) -> None:
        if not code & UDP:
            self._results.found(host, code, "filtered", "no answer")
        elif self._udp.silent(host, code):
            self._results.found(host, code, "open|filtered", "no answer")

    async def run(self) -> None:
        """Ask everything the source gives; returns when every port has its verdict."""
        scheduler = self._scheduler
        while not scheduler.over or self._grabs:
            self._wake.clear()
            for probe in scheduler.expired(monotonic()):
                if not probe.code & UDP:
                    self._tcp.give_up(probe)
            busy = self._send_for(monotonic() + SLICE)
            if not scheduler.over or self._grabs:
                await self._pause(busy)

    def _send_for(self, until: float) -> bool:
        """Send what may go now; True when there is more but the time is up."""
        scheduler = self._scheduler
        now = monotonic()
        while (batch := scheduler.take(now)) is not None:
            host, codes, tries = batch
            for part in _by_protocol(codes):
                (self._udp.send if part[0] & UDP else self._tcp.send)(host, part, tries)
            now = monotonic()
            if now >= until:
                return True
        return False

    async def _pause(self, busy: bool) -> None:
        """Let the loop do its work until there is something for us."""
        now = monotonic()
        deadline = now if busy else self._scheduler.wake_at(now)
        stdin = self._source.waiting_fd if self._scheduler.hungry else None
        if stdin is not None:
            self._loop.watch_read(stdin, self._wake.set)
        try:
            await self._wake.wait(deadline)
        finally:
            if stdin is not None:
                self._loop.forget(stdin)

    def close(self) -> None:
        """Give the descriptors back; idempotent."""
        for task in list(self._grabs.values()):
            if task is not None:
                task.on_done(lambda _task: None)  # somebody looks: its end is no failure of the run
                task.cancel(_CutOff())
        self._scheduler.abandon(lambda probe: None if probe.code & UDP else self._tcp.give_up(probe))
        self._tcp.close()
        self._udp.close()
        self._source.close()


class _CutOff(Exception):
    """Raised where a banner is read that nobody waits for any more."""


def _by_protocol(codes: tuple[int, ...] | list[int]) -> list[tuple[int, ...] | list[int]]:
    """`codes`, in two parts where TCP and UDP are mixed."""
    if not (codes[0] | codes[-1]) & UDP and max(codes) < UDP:
        return [codes]
    parts: list[tuple[int, ...] | list[int]] = [
        [code for code in codes if not code & UDP],
        [code for code in codes if code & UDP],
    ]
    return [part for part in parts if part]
