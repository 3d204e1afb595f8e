"""The scan's scheduler on a simulated network: fake time, delay, loss, rationed refusals."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pync.proto.ports import UDP
from pync.proto.rtt import LAST_LOOK, LONGEST, LOWEST, Estimator, wait
from pync.proto.schedule import ACTIVE_HOSTS, FIRST_WINDOW, MOST_TRIES, Host, Probe, Scheduler

# What becomes of try number N at a port: seconds until its answer, None for never.
Network = Callable[[Host, int, int, float], "float | None"]


class Simulation:
    """Drives a Scheduler through a Network, without sockets or clocks."""

    def __init__(self, hosts: Iterable[Host | None], network: Network, **options: object) -> None:
        self.answered: set[tuple[str, int]] = set()
        self.silent: set[tuple[str, int]] = set()
        self.sent: list[tuple[float, str, int, int]] = []
        self.most_in_flight = 0
        self.now = 1000.0
        self._network = network
        self._arrivals: list[tuple[float, int, Probe]] = []
        options.setdefault("ceiling", 1000)
        self.scheduler = Scheduler(iter(hosts), silent=self._on_silent, **options)  # type: ignore[arg-type]

    def _on_silent(self, host: Host, code: int) -> None:
        assert (host.address, code) not in self.silent | self.answered
        self.silent.add((host.address, code))

    def run(self) -> Simulation:
        scheduler = self.scheduler
        for _ in range(2_000_000):
            self._arrive()
            scheduler.expired(self.now)
            self._send()
            if scheduler.over:
                assert scheduler.in_flight == 0
                assert scheduler.expired(self.now + 1000) == []
                return self
            times = [self._arrivals[0][0]] if self._arrivals else []
            when = scheduler.wake_at(self.now)
            if when is not None:
                times.append(when)
            self.now = max(self.now + 1e-6, min(times))
        raise AssertionError("it does not end")

    def _send(self) -> None:
        while (batch := self.scheduler.take(self.now)) is not None:
            host, codes, tries = batch
            for code in codes:
                probe = self.scheduler.sent(host, code, tries, self.now, None)
                self.sent.append((self.now, host.address, code, tries))
                delay = self._network(host, code, tries, self.now)
                if delay is not None:
                    heapq.heappush(self._arrivals, (self.now + delay, len(self.sent), probe))
            self.most_in_flight = max(self.most_in_flight, self.scheduler.in_flight)

    def _arrive(self) -> None:
        while self._arrivals and self._arrivals[0][0] <= self.now:
            probe = heapq.heappop(self._arrivals)[2]
            if not probe.done:
                if probe.code & UDP:
                    probe.host.refusals += 1
                self.answered.add((probe.host.address, probe.code))
                self.scheduler.answered(probe, self.now)


def hosts(number: int, ports: int, *, first: int = 1) -> list[Host]:
    codes = tuple(range(first, first + ports))
    return [Host("", f"h{index}", codes) for index in range(number)]


def everything(number: int, ports: int) -> set[tuple[str, int]]:
    return {(f"h{index}", code) for index in range(number) for code in range(1, ports + 1)}


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    number=st.integers(1, 12),
    ports=st.integers(1, 60),
    retries=st.integers(0, 4),
    base=st.floats(0.0, 0.6),
    ceiling=st.integers(1, 200),
)
def test_no_port_is_missed_while_loss_stays_below_the_retry_budget(
    seed: int, number: int, ports: int, retries: int, base: float, ceiling: int
) -> None:
    dice = random.Random(seed)
    lost: dict[tuple[str, int], int] = {}

    def network(host: Host, code: int, tries: int, _now: float) -> float | None:
        losses = lost.setdefault((host.address, code), dice.randint(0, retries))
        return None if tries < losses else base + dice.random() * LOWEST / 3

    simulation = Simulation(hosts(number, ports), network, retries=retries, ceiling=ceiling).run()
    assert simulation.answered == everything(number, ports)
    assert not simulation.silent
    assert simulation.most_in_flight <= ceiling


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), loss=st.floats(0.0, 0.3))
def test_lossy_networks_are_looked_at_more_often_by_themselves(seed: int, loss: float) -> None:
    dice = random.Random(seed)

    def network(_host: Host, _code: int, tries: int, _now: float) -> float | None:
        return None if dice.random() < loss and tries < MOST_TRIES - 1 else 0.02

    simulation = Simulation(hosts(1, 400), network).run()
    # Without any sign of loss there is one more look; with signs there are as many as ever helped, plus one.
    assert len(simulation.silent) <= 400 * loss**3 + 4


def test_silence_is_asked_about_twice_then_called_silence() -> None:
    simulation = Simulation(hosts(3, 5), lambda *_: None).run()
    assert simulation.silent == everything(3, 5)
    assert sorted(tries for _, _, _, tries in simulation.sent) == [0] * 15 + [1] * 15


def test_no_retries_means_one_look_and_ends_with_the_timeout() -> None:
    simulation = Simulation(hosts(1, 1000), lambda *_: None, retries=0, timeout=1.0).run()
    assert len(simulation.sent) == len(simulation.silent) == 1000
    assert simulation.now - 1000.0 < 1.3


def test_dead_hosts_do_not_hold_up_the_others() -> None:
    answers = {f"h{index}" for index in range(0, 300, 2)}
    simulation = Simulation(
        hosts(300, 20), lambda host, *_: 0.01 if host.address in answers else None, ceiling=20_000
    )
    simulation.run()
    assert len(simulation.answered) == 150 * 20
    assert simulation.now - 1000.0 < 10


def test_hosts_take_turns() -> None:
    simulation = Simulation(hosts(4, 400), lambda *_: 0.01).run()
    first = [address for _, address, _, _ in simulation.sent[:64]]
    assert {first.count(f"h{index}") for index in range(4)} == {16}


def test_the_rate_is_kept() -> None:
    simulation = Simulation(hosts(3, 200), lambda *_: 0.001, rate=100.0).run()
    times = [when for when, *_ in simulation.sent]
    assert times[-1] - times[0] == pytest.approx(6.0, abs=0.2)
    for index in range(len(times) - 50):
        assert times[index + 49] - times[index] >= 0.4


def test_a_refusing_system_gets_its_probes_later_and_none_is_lost() -> None:
    simulation = Simulation(hosts(2, 50), lambda *_: 0.01)
    scheduler = simulation.scheduler
    host, codes, tries = scheduler.take(simulation.now) or pytest.fail("nothing to send")
    scheduler.later(host, list(codes), tries, simulation.now)
    assert scheduler.in_flight == 0
    assert scheduler.take(simulation.now) is None, "it goes on at once"
    simulation.now += 1
    simulation.run()
    assert simulation.answered == everything(2, 50)
    assert {tries for *_, tries in simulation.sent} == {0}, "a refused probe counted as a look"


def test_rationed_refusals_are_waited_for() -> None:
    tokens = [6.0, 0.0]

    def network(_host: Host, code: int, _tries: int, now: float) -> float | None:
        tokens[:] = min(6.0, tokens[0] + (now - tokens[1])), now
        if code == 5 | UDP or tokens[0] < 1:
            return None
        tokens[0] -= 1
        return 0.001

    asked = hosts(1, 40, first=1 | UDP)
    tokens[1] = 1000.0
    simulation = Simulation(asked, network, patient=True).run()
    assert simulation.silent == {("h0", 5 | UDP)}


def test_a_source_that_has_nothing_yet_is_asked_again() -> None:
    def source() -> Iterator[Host | None]:
        yield hosts(1, 2)[0]
        yield None
        yield None
        yield Host("", "late", (9,))

    simulation = Simulation(source(), lambda *_: 0.01)
    scheduler = simulation.scheduler
    simulation._send()
    assert scheduler.hungry
    assert not scheduler.over
    simulation.run()
    assert ("late", 9) in simulation.answered


def test_others_follow_when_all_hosts_are_over_at_once() -> None:
    scheduler = Scheduler(iter(hosts(ACTIVE_HOSTS + 5, 2)), ceiling=1000, silent=lambda *_: None)
    asked = 0
    while (batch := scheduler.take(1000.0)) is not None:
        scheduler.instant(batch[0], len(batch[1]))
        asked += len(batch[1])
    assert asked == 2 * (ACTIVE_HOSTS + 5)
    assert scheduler.over


def test_a_host_that_has_not_answered_yet_gets_few_probes() -> None:
    scheduler = Scheduler(iter(hosts(1, 1000)), ceiling=1000, silent=lambda *_: None)
    while (batch := scheduler.take(1000.0)) is not None:
        for code in batch[1]:
            scheduler.sent(batch[0], code, batch[2], 1000.0, None)
    assert scheduler.in_flight == FIRST_WINDOW


def test_hosts_are_taken_from_the_source_no_faster_than_they_take_turns() -> None:
    drawn: list[Host] = []

    def source() -> Iterator[Host]:
        for host in hosts(ACTIVE_HOSTS * 2, 1):
            drawn.append(host)
            yield host

    scheduler = Scheduler(source(), ceiling=10_000, silent=lambda *_: None)
    while (batch := scheduler.take(1000.0)) is not None:
        scheduler.sent(batch[0], batch[1][0], 0, 1000.0, None)
    assert len(drawn) == ACTIVE_HOSTS


def test_an_answer_to_a_repeat_halves_the_window_once_a_round_trip_and_earns_all_ports_more_looks() -> None:
    """Port 1 is heard at its second look; port 2, given up by then, is looked at a third time."""
    looks: dict[int, list[int]] = {}

    def network(_host: Host, code: int, tries: int, _now: float) -> float | None:
        looks.setdefault(code, []).append(tries)
        return 0.01 if code > 2 or (code == 1 and tries == 1) else None

    (host,) = hosts(1, 40)
    simulation = Simulation([host], network).run()
    assert simulation.silent == {("h0", 2)}
    assert looks[1] == [0, 1]
    assert looks[2] == [0, 1, 2]
    opened = 1000  # the ceiling
    assert host.window == opened // 2


def test_ending_early_gives_back_what_still_waits() -> None:
    (host,) = hosts(1, 3)
    scheduler = Scheduler(iter([host]), ceiling=10, silent=lambda *_: None)
    batch = scheduler.take(1000.0)
    assert batch is not None
    probes = [scheduler.sent(host, code, 0, 1000.0, None) for code in batch[1]]
    scheduler.answered(probes[0], 1000.1)
    left: list[Probe] = []
    scheduler.abandon(left.append)
    scheduler.abandon(left.append)
    assert left == probes[1:]
    assert scheduler.wake_at(1000.2) is None or scheduler.expired(2000.0) == []


def test_workers_share_the_ports_of_a_host() -> None:
    codes = tuple(range(1, 18))
    shares = [Host("", "h", codes, start=start, step=3) for start in range(3)]
    assert sum(host.left for host in shares) == 17
    got = [code for host in shares for code in [*host.next_codes(2), *host.next_codes(100)]]
    assert sorted(got) == list(codes)
    assert all(host.left == 0 for host in shares)


def test_the_estimator_follows_rfc_6298() -> None:
    estimator = Estimator()
    assert estimator.rto == 1.0
    estimator.sample(0.2)
    assert estimator.rto == pytest.approx(0.2 + 4 * 0.1)
    for _ in range(100):
        estimator.sample(0.2)
    assert estimator.rto == pytest.approx(0.2 + LOWEST, abs=0.01)


def test_the_estimator_weighs_samples_as_the_rfc_does() -> None:
    """SRTT moves by an eighth, RTTVAR by a quarter of what the last sample was off (section 2.3)."""
    estimator = Estimator()
    estimator.sample(0.2)
    estimator.sample(0.4)
    assert estimator.rto == pytest.approx(0.225 + 4 * 0.125)
    at_once = Estimator()
    assert not at_once.known
    at_once.sample(0.0)
    assert at_once.known
    at_once.sample(0.8)
    assert at_once.rto == pytest.approx(0.1 + 4 * 0.2)
    slow = Estimator()
    slow.sample(100.0)
    assert slow.rto == LONGEST


def test_each_try_waits_longer_the_last_long_enough_and_none_beyond_the_limit() -> None:
    estimator = Estimator()
    for _ in range(50):
        estimator.sample(0.05)
    first = wait(estimator, 0, last=False, limit=3.0)
    assert wait(estimator, 1, last=False, limit=3.0) == pytest.approx(2 * first)
    assert wait(estimator, 0, last=True, limit=3.0) == LAST_LOOK
    assert wait(estimator, 5, last=True, limit=0.3) == 0.3


def test_a_host_that_never_answered_gets_all_the_time_the_user_gives() -> None:
    simulation = Simulation(hosts(1, 1), lambda *_: 4.5, timeout=5.0).run()
    assert simulation.answered == everything(1, 1)
