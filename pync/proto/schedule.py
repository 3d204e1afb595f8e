"""Which probe goes out when: the brain of `scan`. It sees hosts, times and answers, never sockets or clocks.

Hosts take turns, so that no host is flooded while others wait. A host starts with few probes in flight and
opens up as it answers (or once its silence cannot be a queue that overflowed); loss closes it again. A silent
port is looked at again, later and longer, before it is called silent, and where such a second look found
something, every port given up before gets as many looks: the answer must not depend on the speed.

What this host itself refuses (descriptors, buffers, local ports) never counts as a look: `later` puts the
probe back and lowers the ceiling.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

from pync.proto.pacing import TokenBucket
from pync.proto.ports import UDP, Ports
from pync.proto.rtt import LONGEST, UNKNOWN, Estimator, wait
from pync.proto.targets import Permutation

RETRIES = 1  # further looks at a silent port unless asked otherwise
MOST_TRIES = 8  # however lossy a host proves to be
ACTIVE_HOSTS = 256  # taking turns at once: more would only cost memory
FIRST_WINDOW = 64  # below the packets that a router queues for an address it has yet to find (Linux: 101)
FIRST_PAUSE = 0.1  # seconds until silence no longer means an overflowed queue
WINDOW = 1024
NARROWEST = 2
PAUSE = 0.02  # seconds of rest after this host refused a probe
BURST = 64  # probes of one host in a row when it is alone
# Systems ration the ICMP messages that say "closed": Linux sends one a second to a peer (RFC 1812, 4.3.2.8).
# So where some ports were refused and others stayed silent, the silent ones are looked at again at that pace,
# until so many in a row stayed silent all the same that it is not rationing.
RATION_GAP = 1.05
RATION_DOUBT = 10


class Host:
    """One address with the ports to ask there, and what was learnt about it."""

    __slots__ = (
        "address",
        "budget",
        "cursor",
        "cut_at",
        "estimator",
        "gap",
        "given_up",
        "in_flight",
        "in_vain",
        "label",
        "local",
        "next_at",
        "opened",
        "order",
        "ports",
        "queued",
        "quick",
        "refusals",
        "repeats",
        "sockaddr",
        "started_at",
        "step",
        "window",
    )

    def __init__(
        self,
        label: str,
        address: str,
        ports: Ports,
        *,
        order: Permutation | None = None,
        start: int = 0,
        step: int = 1,
    ) -> None:
        self.label = label or address
        self.address = address
        self.ports = ports
        self.order = order
        self.cursor, self.step = start, step
        self.sockaddr: tuple[int, ...] | None = None  # what follows (address, port), for scoped IPv6
        self.local = False
        self.quick = 3  # how often a second connect may still find no answer before it is not tried again
        self.estimator = Estimator()
        self.in_flight = 0
        self.window = FIRST_WINDOW
        self.opened = False
        self.started_at = -1.0
        self.cut_at = -1.0
        self.budget = 0
        self.gap = 0.0  # seconds between repeats, while refusals seem to be rationed
        self.next_at = -1.0
        self.refusals = 0  # UDP ports that were refused
        self.in_vain = 0  # paced repeats in a row that stayed silent
        self.repeats: deque[tuple[int, int]] = deque()  # (code, tries so far)
        self.given_up = array("Q")  # code | tries << 32
        self.queued = True

    @property
    def left(self) -> int:
        """Ports not asked yet."""
        return -(-(len(self.ports) - self.cursor) // self.step)

    def next_codes(self, most: int) -> Ports | list[int]:
        """Up to `most` ports not asked yet; they count as asked."""
        stop = self.cursor + most * self.step
        ports, order = self.ports, self.order
        if order is None:
            codes: Ports | list[int] = ports[self.cursor : stop : self.step]
        else:
            codes = [ports[order[i]] for i in range(self.cursor, min(stop, len(ports)), self.step)]
        self.cursor += len(codes) * self.step
        return codes


class Probe:
    """One look at one port that is not answered yet. `handle` is the caller's (its socket)."""

    __slots__ = ("code", "done", "handle", "host", "sent_at", "tries")

    def __init__(self, host: Host, code: int, tries: int, sent_at: float, handle: object) -> None:
        self.host = host
        self.code = code
        self.tries = tries
        self.sent_at = sent_at
        self.handle = handle
        self.done = False


class Scheduler:
    """Pulls hosts from `source` (None from it means: none just now) and gives probes to send.

    Every code that `take` gave must come back once: by `sent`, `instant` or `later`; and every probe of
    `sent` by `answered` or from `expired`. `silent` is told of each port that stayed silent to the end.
    """

    def __init__(
        self,
        source: Iterator[Host | None],
        *,
        ceiling: int,
        timeout: float | None = None,
        retries: int | None = None,
        rate: float | None = None,
        patient: bool = False,
        silent: Callable[[Host, int], None],
    ) -> None:
        self._source = source
        self._source_ended = False
        self._ceiling = self._highest = max(1, ceiling)
        self._limit = LONGEST if timeout is None else timeout
        self._blind_limit = UNKNOWN if timeout is None else timeout
        self._retries = retries
        self._bucket = TokenBucket(rate, burst=max(1.0, rate / 50)) if rate else None
        self._silent = silent
        self._patient = patient  # closed UDP ports are to be told from silent ones, whatever time it takes
        self._turns: deque[Host] = deque()
        self._timers: list[tuple[float, int, Probe | Host]] = []
        self._serial = count()
        self._hold_until = -1.0
        self._active = 0
        self.in_flight = 0
        self.hungry = False  # there is room for a host, and the source has none just now

    # --- sending -------------------------------------------------------------------------------------

    def take(self, now: float) -> tuple[Host, Ports | list[int], int] | None:
        """Probes to send now: their host, its ports, and how often they were asked before; or None."""
        room = self._ceiling - self.in_flight
        if room <= 0 or now < self._hold_until:
            return None
        if self._bucket is not None:
            room = min(room, self._bucket.allowance(now))
            if room <= 0:
                return None
        self.hungry = False
        while self._hosts_wait():
            batch = self._next_batch(room, now)
            if batch is not None:
                return batch
        return None

    def _hosts_wait(self) -> bool:
        """Whether a host has its turn; lets in new ones where others are over."""
        if self._active < ACTIVE_HOSTS and not self.hungry:
            self._admit()
        return bool(self._turns)

    def _next_batch(self, room: int, now: float) -> tuple[Host, Ports | list[int], int] | None:
        turns = self._turns
        most = min(room, max(1, BURST // (len(turns) or 1)))
        while turns:
            host = turns.popleft()
            free = host.window - host.in_flight
            if free > 0 or host.local:
                batch = self._from_host(host, most if host.local else min(most, free), now)
                if batch is not None:
                    turns.append(host)
                    if self._bucket is not None:
                        self._bucket.spend(len(batch[0]), now)
                    if host.started_at < 0:
                        self._start(host, now)
                    return host, batch[0], batch[1]
            host.queued = False
            self._finish_if_over(host)
        return None

    def _from_host(self, host: Host, most: int, now: float) -> tuple[Ports | list[int], int] | None:
        codes: Ports | list[int]
        tries = 0
        paced = host.gap > 0 and now < host.next_at
        if host.repeats and not paced:
            code, tries = host.repeats.popleft()
            codes = [code]
            host.next_at = now + host.gap
        else:
            codes = host.next_codes(most)
            if not codes:
                if paced and host.repeats:
                    self._wake_host_at(host, host.next_at)
                return None
        host.in_flight += len(codes)
        self.in_flight += len(codes)
        return codes, tries

    def _admit(self) -> None:
        while self._active < ACTIVE_HOSTS and not self._source_ended:
            try:
                host = next(self._source)
            except StopIteration:
                self._source_ended = True
                return
            if host is None:
                self.hungry = True
                return
            host.budget = RETRIES if self._retries is None else self._retries
            self._active += 1
            self._turns.append(host)

    def _start(self, host: Host, now: float) -> None:
        host.started_at = now
        self._wake_host_at(host, now + FIRST_PAUSE)

    def _wake_host_at(self, host: Host, when: float) -> None:
        heapq.heappush(self._timers, (when, next(self._serial), host))

    def sent(self, host: Host, code: int, tries: int, now: float, handle: object) -> Probe:
        """One probe is on its way."""
        probe = Probe(host, code, tries, now, handle)
        limit = self._limit if host.estimator.known else self._blind_limit
        seconds = wait(host.estimator, tries, last=tries >= host.budget, limit=limit)
        heapq.heappush(self._timers, (now + seconds, next(self._serial), probe))
        return probe

    def instant(self, host: Host, number: int) -> None:
        """`number` probes were answered while they were being sent."""
        host.in_flight -= number
        self.in_flight -= number
        if not host.queued:
            self._again(host)

    def later(self, host: Host, codes: list[int], tries: int, now: float) -> None:
        """This host could not send these now: they go out again, as if never taken."""
        host.in_flight -= len(codes)
        self.in_flight -= len(codes)
        host.repeats.extendleft((code, tries) for code in reversed(codes))
        self._hold_until = now + PAUSE
        self._ceiling = max(1, min(self._ceiling, self.in_flight))
        if not host.queued:
            self._again(host)

    # --- what came of it -----------------------------------------------------------------------------

    def answered(self, probe: Probe, now: float, *, measured: bool = True) -> None:
        """An answer of any kind. Not `measured`: its time says nothing (a router spoke, or which try?)."""
        probe.done = True
        host = probe.host
        host.in_flight -= 1
        self.in_flight -= 1
        if measured:
            host.estimator.sample(now - probe.sent_at)
        if not host.opened:
            self._open(host)
        host.in_vain = 0
        if probe.tries:
            self._lost(host, probe, now)
        elif host.window < self._highest:
            host.window += 1
        if self._ceiling < self._highest:
            self._ceiling += 1
        if not host.queued:
            self._again(host)

    def _lost(self, host: Host, probe: Probe, now: float) -> None:
        """A repeat was answered: what went before was lost. Go slower, and look as often everywhere."""
        if now - host.cut_at > host.estimator.rto:
            host.cut_at = now
            host.window = max(NARROWEST, host.window // 2)
        if self._retries is None:
            host.budget = max(host.budget, min(MOST_TRIES, probe.tries + 1))

    def expired(self, now: float) -> list[Probe]:
        """Probes whose time is up: their handles are of no more use."""
        timers = self._timers
        over: list[Probe] = []
        while timers and timers[0][0] <= now:
            item = heapq.heappop(timers)[2]
            if isinstance(item, Host):
                if not item.opened and now >= item.started_at + FIRST_PAUSE:
                    self._open(item)
                self._again(item)
            elif not item.done:
                item.done = True
                over.append(item)
                self._give_up(item)
        return over

    def _give_up(self, probe: Probe) -> None:
        host = probe.host
        host.in_flight -= 1
        self.in_flight -= 1
        if self._ceiling < self._highest:
            self._ceiling += 1
        if self._patient and probe.code & UDP and host.refusals:
            self._suspect_rationing(host, probe)
        if probe.tries < host.budget:
            host.repeats.append((probe.code, probe.tries + 1))
        else:
            host.given_up.append(probe.code | probe.tries << 32)
        if not host.queued:
            self._again(host)

    @staticmethod
    def _suspect_rationing(host: Host, probe: Probe) -> None:
        if probe.tries:
            host.in_vain += 1
        host.gap = RATION_GAP if host.in_vain < RATION_DOUBT else 0.0

    def _open(self, host: Host) -> None:
        host.opened = True
        host.window = max(host.window, min(WINDOW, self._highest))

    def _again(self, host: Host) -> None:
        if not host.queued:
            host.queued = True
            self._turns.append(host)

    def _finish_if_over(self, host: Host) -> None:
        if host.in_flight or host.repeats or host.left:
            return
        given_up, host.given_up = host.given_up, array("Q")
        for entry in given_up:
            code, tries = entry & 0xFFFFFFFF, entry >> 32
            if tries < host.budget:
                host.repeats.append((code, tries + 1))
            else:
                self._silent(host, code)
        if host.repeats:
            self._again(host)
            return
        host.opened = host.queued = True  # a timer that is still to fire finds nothing to do
        self._active -= 1

    # --- time ----------------------------------------------------------------------------------------

    def wake_at(self, now: float) -> float | None:
        """When `expired` or `take` may have something; None: only an answer or the source can help."""
        timers = self._timers
        while timers and isinstance(item := timers[0][2], Probe) and item.done:
            heapq.heappop(timers)
        when = timers[0][0] if timers else None
        if self._turns and self.in_flight < self._ceiling:
            ready = max(self._hold_until, now)
            if self._bucket is not None:
                ready = max(ready, self._bucket.ready_at(now))
            when = ready if when is None else min(when, ready)
        return when

    @property
    def over(self) -> bool:
        """Nothing is left to do, and nothing can come."""
        return self._source_ended and not self._active

    def abandon(self, give_up: Callable[[Probe], None]) -> None:
        """The scan ends early: hand back every probe that still waits."""
        for _, _, item in self._timers:
            if isinstance(item, Probe) and not item.done:
                item.done = True
                give_up(item)
        self._timers.clear()
