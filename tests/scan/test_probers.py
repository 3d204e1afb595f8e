"""Probes and what the system answers, one call at a time: limits, errors of earlier probes, late answers."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pync.loop import Loop
from pync.proto.schedule import Host, Probe
from pync.scanning import sockets
from pync.scanning.results import Results
from pync.scanning.tcp import LoopSet
from pync.scanning.udp import UdpProber
from tests.contract.scripted import Scripted
from tests.harness import PATIENCE

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "")
PROHIBITED = bytes((13, 0, 0, 0, 2, 3, 13, 0)) + bytes(8)  # EACCES; ICMP: filtered


def queued(port: int, number: int = errno.ECONNREFUSED, kind: int = 3, code: int = 3) -> Any:
    """A step of a script: the error queue has an entry about this port."""
    entry = number.to_bytes(4, "little") + bytes((2, kind, code, 0)) + bytes(8)
    return lambda *_: (b"", [(0, 11, entry)], 0, ("127.0.0.1", port))


class Planner:
    """Notes what a prober tells its scheduler."""

    def __init__(self) -> None:
        self.probes: dict[int, Probe] = {}
        self.told: list[tuple[Any, ...]] = []

    def sent(self, host: Host, code: int, tries: int, now: float, handle: object) -> Probe:
        self.probes[code] = Probe(host, code, tries, now, handle)
        return self.probes[code]

    def instant(self, host: Host, number: int) -> None:
        self.told.append(("instant", number))

    def later(self, host: Host, codes: list[int], tries: int, now: float) -> None:
        self.told.append(("later", codes, tries))

    def answered(self, probe: Probe, now: float, *, measured: bool = True) -> None:
        probe.done = True
        self.told.append(("answered", probe.code, measured))


class Udp:
    """A prober of 127.0.0.1, whose socket does what the test says."""

    def __init__(self, loop: Loop, *, banner: bool) -> None:
        self.sock = Scripted(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.script = self.sock.script
        self.script["sendto"] = [lambda data, target: len(data)] * 500  # nothing leaves
        self.planner = Planner()
        self.ports: list[dict[str, Any]] = []
        self.woken: list[bool] = []
        results = Results(lambda event: self.ports.append(event.facts), show_all=True)
        made: Any = SimpleNamespace(datagram=lambda family: self.sock)
        planner: Any = self.planner
        self.prober = UdpProber(
            loop, planner, results, made, banner=banner, wake=lambda: self.woken.append(True)
        )
        self.host = Host("", "127.0.0.1", [])

    def send(self, *ports: int, tries: int = 0) -> None:
        self.prober.send(self.host, list(ports), tries)

    def states(self) -> list[tuple[int, str, str]]:
        return [(facts["port"], facts["state"], facts["reason"]) for facts in self.ports]


@pytest.fixture
def udp() -> Iterator[Udp]:
    with Loop() as loop:
        made = Udp(loop, banner=True)
        yield made
        made.prober.close()
        assert made.sock.fileno() < 0


def test_our_own_limits_are_no_result(udp: Udp) -> None:
    sent = udp.script["sendto"][0]
    udp.script["sendto"] = [sent, OSError(errno.ENOBUFS, "")]
    udp.send(1, 2, 3, tries=1)
    assert udp.planner.told == [("later", [2, 3], 1)]
    assert list(udp.planner.probes) == [1]
    assert udp.states() == []


def test_what_forbids_a_datagram_is_its_result(udp: Udp) -> None:
    sent = udp.script["sendto"][0]
    udp.script["sendto"] = [PermissionError(errno.EPERM, ""), sent]
    udp.send(1, 2)
    assert udp.states() == [(1, "filtered", "admin prohibited")]
    assert udp.planner.told == [("instant", 1)]
    assert list(udp.planner.probes) == [2]


def test_errors_of_earlier_probes_are_set_aside(udp: Udp) -> None:
    udp.send(1)
    udp.script["sendto"].insert(0, REFUSED)
    udp.script["recvmsg"] = [queued(1)]
    udp.send(2)
    assert udp.states() == [(1, "closed", "refused")]
    assert udp.planner.told == [("answered", 1, True)]
    assert list(udp.planner.probes) == [1, 2]
    assert udp.host.refusals == 1


def test_errors_without_end_are_put_off(udp: Udp) -> None:
    udp.script["sendto"] = [REFUSED] * 100
    udp.script["recvmsg"] = [step for _ in range(100) for step in (queued(9), BlockingIOError())]
    udp.send(1)
    assert udp.planner.told == [("later", [1], 0)]
    assert len(udp.script["sendto"]) == 36


def test_a_local_refusal_is_read_at_once(udp: Udp) -> None:
    udp.host.local = True
    udp.script["recvmsg"] = [queued(1), queued(2, errno.EACCES, 3, 13)]
    udp.send(1, 2)
    assert udp.states() == [(1, "closed", "refused"), (2, "filtered", "admin prohibited")]
    assert udp.planner.told == [("answered", 1, True), ("answered", 2, False)]


def arrived(data: bytes, port: int) -> Any:
    return lambda *_: (data, ("127.0.0.1", port))


@pytest.fixture
def arrive(udp: Udp, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`arrive(step, ...)`: what the next reads of the socket give, then nothing more."""

    def steps(*planned: Any) -> None:
        left = [*planned, BlockingIOError()]

        def recvfrom(sock: Any, size: int) -> Any:
            step = left.pop(0)
            if isinstance(step, OSError):
                raise step
            return step()

        monkeypatch.setattr(Scripted, "recvfrom", recvfrom, raising=False)
        udp.prober._collect()
        assert left == [] or isinstance(planned[-1], OSError)

    return steps


def test_answers_and_errors_mixed(udp: Udp, arrive: Any) -> None:
    udp.send(1, 2, 3)
    udp.script["recvmsg"] = [BlockingIOError(), queued(2), BlockingIOError()]
    arrive(arrived(b"hi", 1), REFUSED, arrived(b"stranger", 77), arrived(b"late", 2))
    assert udp.states() == [(1, "open", "reply"), (2, "closed", "refused")]
    assert udp.ports[0]["banner"] is not None
    assert udp.woken == [True]


def test_an_error_that_says_nothing_ends_the_reading(udp: Udp, arrive: Any) -> None:
    udp.send(1)
    arrive(REFUSED)
    assert udp.states() == []
    assert udp.planner.told == []


def test_tftp_answers_from_a_port_of_its_choice(udp: Udp, arrive: Any) -> None:
    udp.send(69)
    arrive(arrived(b"\0\x05\0\1no such file\0", 50_000))
    assert udp.states() == [(69, "open", "reply")]


def test_an_answer_between_two_tries(udp: Udp, arrive: Any) -> None:
    udp.send(1, 2)
    for probe in udp.planner.probes.values():
        probe.done = True  # its time was up
    arrive(arrived(b"a", 1), arrived(b"b", 2))
    assert udp.states() == [(1, "open", "reply"), (2, "open", "reply")]
    assert udp.planner.told == []
    udp.planner.probes.clear()
    udp.send(1, tries=1)
    assert udp.planner.told == [("instant", 1)]
    assert udp.planner.probes == {}
    assert not udp.prober.silent(udp.host, 2)
    assert udp.prober.silent(udp.host, 2)


# --- sockets ---------------------------------------------------------------------------------------------


def test_an_entry_that_does_not_say_what_happened() -> None:
    with Scripted(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.script["recvmsg"] = [
            lambda *_: (b"", [(0, 11, b"short")], 0, ("127.0.0.1", 5)),
            lambda *_: (b"", [], 0, None),
            lambda *_: (b"", [(0, 8, b"short"), (0, 11, PROHIBITED)], 0, None),
        ]
        unreachable = ("filtered", "host unreachable")
        assert sockets.queued_error(sock) == (unreachable, ("127.0.0.1", 5))
        assert sockets.queued_error(sock) == (unreachable, ("", 0))
        assert sockets.queued_error(sock) == (("filtered", "admin prohibited"), ("", 0))
        assert sockets.queued_error(sock) is None


@pytest.mark.parametrize(
    ("origin", "kind", "code", "found"),
    [
        (2, 3, 10, ("filtered", "admin prohibited")),
        (3, 1, 5, ("filtered", "admin prohibited")),
        (3, 1, 4, ("closed", "refused")),
        (2, 11, 13, ("closed", "refused")),
    ],
)
def test_what_icmp_says(origin: int, kind: int, code: int, found: tuple[str, str]) -> None:
    assert sockets.icmp_verdict(origin, kind, code, errno.ECONNREFUSED) == found


def test_a_kernel_that_does_not_tell_errors_is_asked_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_IP_RECVERR", 9999)
    maker = sockets.Sockets(sockets.socket_settings(SimpleNamespace(
        ipv4=False, ipv6=False, numeric=True, source=None, interface=None
    )))  # fmt: skip
    with maker.datagram(socket.AF_INET) as sock:
        assert not sock.getblocking()
        assert sockets.queued_error(sock) is None


# --- where there is no epoll -----------------------------------------------------------------------------


class Watched:
    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.probe: Any = object()


def test_answered_connects_wake_the_loop() -> None:
    with Loop() as loop:
        watching = LoopSet(loop)
        first, second = Watched(), Watched()
        try:
            assert watching.ready() == []
            watching.add(first.ours.fileno(), first.probe)
            watching.add(second.ours.fileno(), second.probe)
            watching.remove(second.ours.fileno())
            flag = loop.flag()
            loop.watch_read(watching.fd, flag.set)
            assert loop.run(flag.wait(loop.now() + PATIENCE))
            assert watching.ready() == [first.probe]
            assert watching.ready() == []
            assert not select.select([watching.fd], [], [], 0)[0]
            loop.forget(watching.fd)
        finally:
            watching.close()
            for pair in (first, second):
                pair.ours.close()
                pair.theirs.close()
        assert all(end.fileno() < 0 for end in watching._pair)


def test_more_answers_than_the_pipe_takes_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loop() as loop:
        watching = LoopSet(loop)
        pair = Watched()
        flag = loop.flag()

        def send(data: bytes) -> int:
            flag.set()
            raise BlockingIOError

        ends = watching._pair
        try:
            monkeypatch.setattr(watching, "_pair", (ends[0], SimpleNamespace(send=send)))
            watching.add(pair.ours.fileno(), pair.probe)
            assert loop.run(flag.wait(loop.now() + PATIENCE))
            assert watching.ready() == [pair.probe]
        finally:
            for sock in (*ends, pair.ours, pair.theirs):
                sock.close()
