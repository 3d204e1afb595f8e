"""The scan's scheduler call by call: what each of them changes, at which moment."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pync.proto.ports import UDP
from pync.proto.rtt import INITIAL, LAST_LOOK, UNKNOWN
from pync.proto.schedule import ACTIVE_HOSTS, Host, Probe, Scheduler
from pync.proto.targets import Permutation

START = 1000.0
Batch = tuple[Host, "tuple[int, ...] | list[int]", int]


def host_with(number: int, name: str = "h") -> Host:
    return Host("", name, tuple(range(1, number + 1)))


class Steps:
    """A scheduler and the ports that it called silent."""

    def __init__(self, *hosts: Host, ceiling: int = 1000, **options: object) -> None:
        self.silent: list[int] = []
        self.scheduler = Scheduler(
            iter(hosts),
            ceiling=ceiling,
            silent=lambda _, code: self.silent.append(code),
            **options,  # type: ignore[arg-type]
        )

    def take(self, now: float) -> Batch:
        batch = self.scheduler.take(now)
        assert batch is not None, "nothing to send"
        return batch

    def send(self, now: float) -> dict[int, Probe]:
        """Send all there is to send now; the probes by their ports."""
        probes = {}
        while (batch := self.scheduler.take(now)) is not None:
            host, codes, tries = batch
            for code in codes:
                probes[code] = self.scheduler.sent(host, code, tries, now, None)
        return probes

    def quiet(self, now: float) -> bool:
        return self.scheduler.take(now) is None


# hosts


def test_a_host_in_random_order_asks_every_port_once() -> None:
    codes = tuple(range(1, 18))
    shares = [
        Host("", "h", codes, order=Permutation(len(codes), 3), start=start, step=3) for start in range(3)
    ]
    got = [[*share.next_codes(2), *share.next_codes(2), *share.next_codes(100)] for share in shares]
    assert [len(codes) for codes in got] == [6, 6, 5]
    asked = [code for share in got for code in share]
    assert sorted(asked) == list(codes)
    assert asked != list(codes)
    assert [share.left for share in shares] == [0, 0, 0]


def test_more_workers_than_ports_leave_some_with_nothing_to_do() -> None:
    shares = [Host("", "h", (7,), start=start, step=4) for start in range(4)]
    assert [share.left for share in shares] == [1, 0, 0, 0]
    assert [list(share.next_codes(9)) for share in shares] == [[7], [], [], []]


def test_a_host_is_called_by_its_address_unless_it_has_a_name() -> None:
    assert (Host("", "10.0.0.1", (1,)).label, Host("name", "10.0.0.1", (1,)).label) == ("10.0.0.1", "name")


# sending


def test_many_hosts_get_a_probe_each_and_few_get_more() -> None:
    steps = Steps(*(host_with(100, f"h{n}") for n in range(70)))
    assert [len(steps.take(START)[1]) for _ in range(70)] == [1] * 70
    steps = Steps(*(host_with(100, f"h{n}") for n in range(2)))
    assert [len(steps.take(START)[1]) for _ in range(2)] == [32, 32]


def test_no_more_is_in_flight_than_the_ceiling() -> None:
    steps = Steps(host_with(100), ceiling=10)
    assert len(steps.take(START)[1]) == 10
    assert steps.quiet(START)
    assert steps.scheduler.in_flight == 10


def test_a_rate_below_one_a_second_still_sends() -> None:
    steps = Steps(host_with(3), rate=0.5)
    assert list(steps.take(START)[1]) == [1]
    assert steps.quiet(START + 1.9)
    assert list(steps.take(START + 2.0)[1]) == [2]


def test_answers_that_come_at_once_are_over() -> None:
    host = host_with(70)
    steps = Steps(host)
    for most in (64, 6):
        taken, codes, _ = steps.take(START)
        assert (taken, len(codes)) == (host, most)
        steps.scheduler.instant(host, len(codes))
        assert (host.in_flight, steps.scheduler.in_flight) == (0, 0)
    assert steps.quiet(START)
    assert steps.scheduler.over


def test_an_instant_answer_gives_a_host_its_turn_again() -> None:
    host = host_with(100)
    steps = Steps(host)
    assert len(steps.take(START)[1]) == 64
    assert steps.quiet(START)  # its window is full
    assert not host.queued
    steps.scheduler.instant(host, 64)
    assert len(steps.take(START)[1]) == 36


# what this host refuses


def test_what_could_not_be_sent_goes_first_and_in_order_after_a_rest() -> None:
    host = host_with(5)
    steps = Steps(host)
    steps.take(START)
    assert steps.quiet(START)
    assert not host.queued
    steps.scheduler.later(host, [1, 2, 3, 4, 5], 0, START)
    assert (host.in_flight, steps.scheduler.in_flight) == (0, 0)
    assert steps.quiet(START + 0.019)
    assert steps.scheduler.wake_at(START) == START + 0.02
    assert list(steps.take(START + 0.02)[1]) == [1]
    assert steps.quiet(START + 0.02)  # the ceiling fell to what was in flight, at least one
    steps.scheduler.instant(host, 1)
    assert list(steps.take(START + 0.02)[1]) == [2]


def test_each_answer_lifts_a_lowered_ceiling_by_one() -> None:
    host = host_with(20)
    steps = Steps(host, ceiling=8)
    probes = [steps.scheduler.sent(host, code, 0, START, None) for code in steps.take(START)[1]]
    steps.scheduler.later(host, [8], 0, START)  # seven were in flight: that many may be
    assert steps.quiet(START + 1)
    steps.scheduler.answered(probes[0], START + 1)
    assert steps.scheduler.in_flight == 6
    assert list(steps.take(START + 1)[1]) == [8]
    assert list(steps.take(START + 1)[1]) == [9]
    assert steps.quiet(START + 1)


def test_a_silent_probe_lifts_the_ceiling_too() -> None:
    hosts = host_with(2, "one"), host_with(4, "two")
    steps = Steps(*hosts, ceiling=4, retries=0, timeout=1.0)
    batches = [steps.take(START) for _ in hosts]
    steps.scheduler.sent(hosts[0], 1, 0, START, None)
    steps.scheduler.sent(hosts[0], 2, 0, START, None)
    steps.scheduler.later(hosts[1], list(batches[1][1]), 0, START)
    assert steps.quiet(START + 0.5)
    assert len(steps.scheduler.expired(START + 1)) == 2
    assert [list(steps.take(START + 1)[1]) for _ in range(3)] == [[1], [2], [3, 4]]
    assert steps.quiet(START + 1)


def test_at_least_one_probe_may_be_in_flight() -> None:
    steps = Steps(host_with(3), ceiling=0)
    assert list(steps.take(START)[1]) == [1]
    assert steps.quiet(START)


# answers


def test_an_answer_is_measured_unless_its_time_says_nothing() -> None:
    host = host_with(3)
    steps = Steps(host)
    probes = steps.send(START)
    steps.scheduler.answered(probes[1], START + 0.9, measured=False)
    assert not host.estimator.known
    assert host.opened
    steps.scheduler.answered(probes[2], START + 0.4)
    assert host.estimator.rto == pytest.approx(0.4 + 4 * 0.2)
    assert (host.in_flight, steps.scheduler.in_flight) == (1, 1)


def test_each_first_answer_widens_the_window_up_to_the_ceiling() -> None:
    host = host_with(3)
    steps = Steps(host, ceiling=66)
    probes = steps.send(START)
    windows = []
    for code in (1, 2, 3):
        steps.scheduler.answered(probes[code], START)
        windows.append(host.window)
    assert windows == [66, 66, 66]
    wide = host_with(3)
    steps = Steps(wide, ceiling=5000)
    probes = steps.send(START)
    windows = []
    for code in (1, 2, 3):
        steps.scheduler.answered(probes[code], START)
        windows.append(wide.window)
    assert windows == [1025, 1026, 1027]


def test_loss_narrows_the_window_once_a_round_trip_and_not_below_two() -> None:
    host = host_with(20)
    steps = Steps(host)
    steps.send(START)
    steps.scheduler.expired(START + INITIAL)
    second = steps.send(START + INITIAL)
    assert {probe.tries for probe in second.values()} == {1}
    now = START + INITIAL
    windows = []
    for code in range(1, 15):
        steps.scheduler.answered(second[code], now, measured=False)
        windows.append(host.window)
        now += INITIAL if code % 2 == 0 else INITIAL / 10
    assert windows == [500, 500, 250, 250, 125, 125, 62, 62, 31, 31, 15, 15, 7, 7]
    for code in range(15, 21):
        now += INITIAL * 2
        steps.scheduler.answered(second[code], now, measured=False)
    assert host.window == 2


def test_a_port_given_up_is_looked_at_again_once_loss_is_seen_elsewhere() -> None:
    host = host_with(2)
    steps = Steps(host)
    steps.send(START)
    assert len(steps.scheduler.expired(START + INITIAL)) == 2
    first = steps.take(START + INITIAL)
    assert (list(first[1]), first[2]) == ([1], 1)
    steps.scheduler.sent(host, 1, 1, START + INITIAL, None)
    later = START + INITIAL + 0.5
    second = steps.take(later)
    assert (list(second[1]), second[2]) == ([2], 1)
    answer = steps.scheduler.sent(host, 2, 1, later, None)
    gone = START + INITIAL + UNKNOWN
    assert [probe.code for probe in steps.scheduler.expired(gone)] == [1]
    assert steps.silent == []
    steps.scheduler.answered(answer, gone)
    again = steps.take(gone)
    assert (list(again[1]), again[2]) == ([1], 2)
    steps.scheduler.sent(host, 1, 2, gone, None)
    steps.scheduler.expired(gone + 100)
    assert steps.quiet(gone + 100)
    assert (steps.silent, steps.scheduler.over) == ([1], True)


def test_a_number_of_retries_that_was_asked_for_stays() -> None:
    host = host_with(2)
    steps = Steps(host, retries=1)
    steps.send(START)
    steps.scheduler.expired(START + INITIAL)
    second = steps.send(START + INITIAL)
    steps.scheduler.answered(second[1], START + INITIAL)
    steps.scheduler.expired(START + 100)
    assert steps.quiet(START + 100)
    assert steps.silent == [2]


# time


def test_a_probe_is_over_at_its_moment_and_not_before() -> None:
    host = host_with(1)
    steps = Steps(host)
    (probe,) = steps.send(START).values()
    steps.scheduler.expired(START + 0.1)  # the host opens
    assert steps.scheduler.wake_at(START + 0.2) in (START + 0.2, START + INITIAL)
    assert steps.quiet(START + 0.2)
    assert steps.scheduler.wake_at(START + 0.2) == START + INITIAL
    assert steps.scheduler.expired(START + INITIAL - 0.001) == []
    assert steps.scheduler.expired(START + INITIAL) == [probe]
    assert probe.done


def test_the_last_look_at_a_host_that_answers_is_long_enough() -> None:
    host = host_with(2)
    steps = Steps(host, retries=0)
    probes = steps.send(START)
    steps.scheduler.answered(probes[1], START + 0.01)
    assert steps.scheduler.expired(START + UNKNOWN - 0.01) == []
    assert steps.scheduler.expired(START + UNKNOWN) == [probes[2]]
    known = host_with(2)
    steps = Steps(known, retries=0)
    known.estimator.sample(0.01)
    probes = steps.send(START)
    assert steps.scheduler.expired(START + LAST_LOOK - 0.01) == []
    assert len(steps.scheduler.expired(START + LAST_LOOK)) == 2


def test_silence_for_a_tenth_of_a_second_opens_the_window() -> None:
    host = host_with(2000)
    steps = Steps(host)
    assert len(steps.send(START)) == 64
    assert steps.scheduler.expired(START + 0.099) == []
    assert steps.quiet(START + 0.099)
    steps.scheduler.expired(START + 0.1)
    assert len(steps.send(START + 0.1)) == 1000 - 64


def test_a_timer_of_a_host_that_is_over_changes_nothing() -> None:
    one, two = host_with(1, "one"), host_with(1, "two")
    steps = Steps(one, two)
    for host in (one, two):
        steps.take(START)
        if host is one:
            steps.scheduler.instant(one, 1)
    assert steps.quiet(START)
    probe = steps.scheduler.sent(two, 1, 0, START, None)
    steps.scheduler.expired(START + 0.2)
    assert steps.quiet(START + 0.2)
    assert not steps.scheduler.over
    steps.scheduler.answered(probe, START + 0.3)
    assert steps.quiet(START + 0.3)
    assert steps.scheduler.over


def test_nothing_to_wait_for_is_said_so() -> None:
    steps = Steps(host_with(1))
    host, _, _ = steps.take(START)
    probe = steps.scheduler.sent(host, 1, 0, START, None)
    steps.scheduler.expired(START + 0.1)
    steps.scheduler.answered(probe, START + 0.2)
    assert steps.quiet(START + 0.2)
    assert steps.scheduler.wake_at(START + 0.2) is None


def test_the_rate_says_when_to_come_back() -> None:
    steps = Steps(host_with(5), rate=1.0)
    steps.take(START)
    assert steps.scheduler.wake_at(START) == pytest.approx(START + 0.1)
    steps.scheduler.expired(START + 0.1)
    assert steps.scheduler.wake_at(START + 0.1) == pytest.approx(START + 1.0)


# rationed refusals


def rationed(*, patient: bool, refused: int, ports: int = 30) -> list[float]:
    """When each port that stays silent was looked at for the second time, from the first of them on."""
    host = Host("", "h", tuple(UDP | port for port in range(1, ports + 1)))
    steps = Steps(host, patient=patient) if patient else Steps(host)
    probes = steps.send(START)
    for code in list(probes)[:refused]:
        host.refusals += 1
        steps.scheduler.answered(probes[code], START + 0.001)
    times: list[float] = []
    now = START
    for _ in range(10_000):
        steps.scheduler.expired(now)
        times += [now] * len(steps.send(now))
        if steps.scheduler.over:
            assert len(steps.silent) == len(times) == ports - refused
            return [round(when - times[0], 6) for when in times]
        when = steps.scheduler.wake_at(now)
        assert when is not None
        now = max(now + 1e-6, when)
    raise AssertionError("it does not end")


def test_silent_ports_are_looked_at_again_at_the_pace_of_the_ration() -> None:
    times = rationed(patient=True, refused=1)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[:10] == pytest.approx([1.05] * 10, abs=0.01)
    assert sum(gaps[10:]) < 0.5  # ten that stayed silent all the same are no rations


@pytest.mark.parametrize(("patient", "refused"), [(False, 1), (True, 0)])
def test_without_need_or_sign_of_rations_nobody_waits(patient: bool, refused: int) -> None:
    assert rationed(patient=patient, refused=refused)[-1] < 0.1


def test_as_many_hosts_take_turns_as_are_allowed() -> None:
    steps = Steps(*(host_with(1, f"h{n}") for n in range(ACTIVE_HOSTS + 1)), ceiling=5000)
    sent = 0
    while (batch := steps.scheduler.take(START)) is not None:
        steps.scheduler.sent(batch[0], 1, 0, START, None)
        sent += 1
    assert sent == ACTIVE_HOSTS
