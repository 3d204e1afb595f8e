"""The engine on loopback: verdicts, reasons, orders, limits, exit statuses."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pync.commands import scan
from pync.errors import ExitCode, LocalError, NetworkError, PyncError, UsageError
from pync.scanning import limits, tcp, workers
from tests.harness import PYNC, Processes
from tests.scan.conftest import Alone
from tests.scan.engine import listening, run, spec


@pytest.fixture
def closed(stack: ExitStack) -> int:
    """A port that is bound, so that nobody else gets it, but refuses."""
    sock = stack.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return int(sock.getsockname()[1])


@pytest.fixture
def black_hole(stack: ExitStack) -> int:
    """A port that answers nothing: on Linux a listener whose queue is full drops what comes."""
    sock = stack.enter_context(listening(backlog=0))
    for _ in range(4):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(sock.getsockname())
    return int(sock.getsockname()[1])


def test_open_closed_and_filtered_with_their_reasons(listeners: Any, closed: int, black_hole: int) -> None:
    (opened,) = listeners(1)
    done = run("127.0.0.1", ports=spec(opened, closed, black_hole), all=True, timeout=0.2, retries=1)
    assert {(facts["port"], facts["state"], facts["reason"]) for facts in done.ports} == {
        (opened, "open", "syn-ack"),
        (closed, "closed", "refused"),
        (black_hole, "filtered", "no answer"),
    }
    assert done.code == ExitCode.OK
    found = next(facts for facts in done.ports if facts["port"] == opened)
    assert (found["target"], found["address"], found["proto"]) == ("127.0.0.1", "127.0.0.1", "tcp")
    assert 0 < found["rtt"] < 5


def test_only_open_ports_are_reported_unless_all_is_asked_for(listeners: Any, closed: int) -> None:
    (opened,) = listeners(1)
    done = run("127.0.0.1", ports=spec(opened, closed))
    assert done.states() == {opened: "open"}
    assert (done.summary["open"], done.summary["closed"], done.summary["done"]) == (1, 1, 2)


def test_exit_statuses(listeners: Any, closed: int) -> None:
    (opened,) = listeners(1)
    assert run("127.0.0.1", ports=spec(closed)).code == ExitCode.NETWORK
    assert run("127.0.0.1", ports=spec(opened, closed), require="all").code == ExitCode.NETWORK
    assert run("127.0.0.1", ports=spec(opened), require="all").code == ExitCode.OK
    assert run("nobody.invalid", ports="1").code == ExitCode.NETWORK
    partly = run("nobody.invalid", "127.0.0.1", ports=spec(opened))
    assert partly.code == ExitCode.PARTIAL
    assert partly.states() == {opened: "open"}
    (error,) = [event.facts for event in partly.events if event.kind == "error"]
    assert "nobody.invalid" in error["message"]


@pytest.mark.parametrize("backend", ["epoll", "loop"])
def test_every_port_of_a_range_has_its_verdict(
    alone: Alone, listeners: Any, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    if backend == "loop":
        monkeypatch.setattr(tcp, "EpollSet", tcp.LoopSet)
        monkeypatch.setattr(tcp, "LINUX", False)
    opened = listeners(5)
    low, high = opened[0], opened[-1]
    done = run("127.0.0.1", ports=f"{low}-{high}")
    assert set(done.states()) == set(opened)
    assert done.summary["done"] == high - low + 1


def test_pending_probes_are_collected_by_the_portable_fallback_too(
    listeners: Any, black_hole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "EpollSet", tcp.LoopSet)
    (opened,) = listeners(1)
    done = run("127.0.0.1", ports=spec(opened, black_hole), all=True, timeout=0.2, retries=0)
    assert done.states() == {opened: "open", black_hole: "filtered"}


def test_a_service_that_resets_at_once_is_open(stack: ExitStack) -> None:
    import struct
    import threading

    sock = stack.enter_context(listening())
    stack.callback(sock.shutdown, socket.SHUT_RDWR)

    def accept() -> None:
        try:
            while True:
                client = sock.accept()[0]
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
        except OSError:
            pass

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    port = sock.getsockname()[1]
    for _ in range(200):
        assert run("127.0.0.1", ports=str(port)).states() == {port: "open"}


def test_udp_states(stack: ExitStack) -> None:
    answering, silent_one, refusing = (
        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
    )
    for sock in (answering, silent_one, refusing):
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in (answering, silent_one, refusing)]
    refusing.connect(("127.0.0.1", 9))  # then it is nobody's but that peer's, and refuses the others
    import threading

    def answer() -> None:
        data, peer = answering.recvfrom(2048)
        answering.sendto(data.upper() or b"x", peer)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    done = run("127.0.0.1", ports=spec(*ports), udp=True, all=True, timeout=0.3, retries=1)
    thread.join(5)
    assert {(facts["port"], facts["state"], facts["reason"]) for facts in done.ports} == {
        (ports[0], "open", "reply"),
        (ports[1], "open|filtered", "no answer"),
        (ports[2], "closed", "refused"),
    }
    assert {facts["proto"] for facts in done.ports} == {"udp"}


def test_udp_inside_a_list(listeners: Any) -> None:
    (opened,) = listeners(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(("127.0.0.1", 9))
        port = sock.getsockname()[1]
        done = run("127.0.0.1", ports=f"{opened},U:{port}", all=True)
    assert {(facts["proto"], facts["state"]) for facts in done.ports} == {("tcp", "open"), ("udp", "closed")}


def test_overlapping_targets_are_asked_once(listeners: Any) -> None:
    (opened,) = listeners(1)
    done = run("127.0.0.1", "127.0.0.0/30", f"127.0.0.1:{opened}", "localhost", ports=spec(opened), ipv4=True)
    assert [facts["address"] for facts in done.ports].count("127.0.0.1") == 1


def test_excluded_addresses_are_not_asked(listeners: Any) -> None:
    (opened,) = listeners(1)
    done = run("127.0.0.1-4", ports=spec(opened), exclude=("127.0.0.2,127.0.0.3-4",), all=True)
    assert {facts["address"] for facts in done.ports} == {"127.0.0.1"}
    assert run("127.0.0.1-2", ports=spec(opened), exclude=("localhost",), all=True).summary["open"] == 0


def test_shards_together_are_the_whole(listeners: Any) -> None:
    opened = listeners(6)
    shares = [run("127.0.0.1-8", ports=spec(*opened), shard=(part, 3), all=True).ports for part in (1, 2, 3)]
    pairs = [(facts["address"], facts["port"]) for share in shares for facts in share]
    assert len(pairs) == len(set(pairs)) == 8 * len(opened)
    assert all(shares)


def test_random_order_is_repeatable_and_complete() -> None:
    first, second, other = (
        [(facts["address"], facts["port"]) for facts in run(
            "127.0.0.1-3", ports="1-40", randomize=True, seed=seed, all=True, concurrency=1
        ).ports]
        for seed in (5, 5, 6)
    )  # fmt: skip
    assert first == second != other
    assert set(first) == set(other)
    assert len(first) == 120
    assert first != sorted(first)


@pytest.mark.parametrize("word", ["@{file}", "-"])
def test_targets_from_a_file_or_stdin(listeners: Any, tmp_path: Path, word: str, monkeypatch: Any) -> None:
    (opened,) = listeners(1)
    file = tmp_path / "targets"
    file.write_text(
        f"# remark\n127.0.0.1:{opened} # one\n\n127.0.0.2 {opened}\nbad//word\n127.0.0.3:{opened}"
    )
    with file.open("rb") as opened_file:
        saved = os.dup(0)
        os.dup2(opened_file.fileno(), 0)
        try:
            done = run(word.format(file=file), all=True)
        finally:
            os.dup2(saved, 0)
            os.close(saved)
    assert {facts["address"] for facts in done.ports} == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}
    assert done.code == ExitCode.PARTIAL, "the bad word went unnoticed"
    assert any("bad//word" in event.facts["message"] for event in done.events if event.kind == "error")


def test_host_and_port_as_two_words(listeners: Any) -> None:
    first, second = listeners(2)
    assert run("127.0.0.1", str(first), str(second)).states() == {first: "open", second: "open"}


def test_names_and_ipv6(listeners: Any, stack: ExitStack, ipv6: None) -> None:
    sock = stack.enter_context(listening("::1"))
    port = sock.getsockname()[1]
    (facts,) = run(f"[::1]:{port}").ports
    assert (facts["target"], facts["address"]) == ("::1", "::1")
    (opened,) = listeners(1)
    (facts,) = run("localhost", ports=spec(opened), ipv4=True).ports
    assert (facts["target"], facts["address"]) == ("localhost", "127.0.0.1")


def test_service_names_unless_numeric(listeners: Any) -> None:
    done = run("127.0.0.1", ports="22,27017", all=True)
    assert {facts["service"] for facts in done.ports} == {"ssh", "mongodb"}
    assert {facts["service"] for facts in run("127.0.0.1", ports="22", all=True, numeric=True).ports} == {""}


def test_a_source_address_is_used(listeners: Any, stack: ExitStack) -> None:
    sock = stack.enter_context(listening())
    run("127.0.0.1", ports=spec(sock.getsockname()[1]), source="127.0.0.7")
    client, peer = sock.accept()
    client.close()
    assert peer[0] == "127.0.0.7"


@pytest.mark.parametrize(
    ("targets", "options", "kind"),
    [
        ((), {}, UsageError),
        (("10.0.0.1/99",), {}, UsageError),
        (("127.0.0.1",), {"ports": "nonsense"}, UsageError),
        (("127.0.0.1",), {"ipv4": True, "ipv6": True}, UsageError),
        (("::1",), {"ipv4": True}, UsageError),
        (("localhost",), {"numeric": True}, UsageError),
        (("-", "-"), {}, UsageError),
        (("@/no/such/file",), {}, LocalError),
        (("127.0.0.1",), {"source": "192.0.2.1"}, LocalError),
        (("127.0.0.1",), {"interface": "nosuch0"}, LocalError),
        (("127.0.0.1",), {"exclude": ("nobody.invalid",)}, NetworkError),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_sent(
    targets: tuple[str, ...], options: dict[str, Any], kind: type[PyncError]
) -> None:
    with pytest.raises(kind):
        run(*targets, **options)


def test_descriptor_limit_of_64_gives_the_same_set(listeners: Any, black_hole: int) -> None:
    opened = listeners(3)
    wanted = f"{spec(*opened)},{black_hole},1-300"
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = run("127.0.0.1", ports=wanted, all=True, timeout=0.2).states()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        at_once = limits.probes_at_once(None)
        bound = run("127.0.0.1", ports=wanted, all=True, timeout=0.2, concurrency=at_once).states()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert free == bound


def test_running_out_of_descriptors_is_never_a_result(
    listeners: Any, black_hole: int, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ceiling is wrong on purpose: sockets run out, and every port still gets its verdict."""
    opened = listeners(3)
    holes = [stack.enter_context(listening(backlog=0)) for _ in range(20)]
    for hole in holes:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
    monkeypatch.setattr(workers, "probes_at_once", lambda *_: 1000)
    monkeypatch.setattr(limits, "raise_descriptor_limit", lambda: None)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, before[1]))
    try:
        ports = [hole.getsockname()[1] for hole in holes]
        done = run("127.0.0.1", ports=spec(*ports, *opened), all=True, timeout=0.2, retries=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    states = done.states()
    assert {port for port, state in states.items() if state == "open"} == set(opened)
    assert {port for port, state in states.items() if state == "filtered"} == set(ports)


def test_the_rate_is_a_limit() -> None:
    done = run("127.0.0.1", ports="1-60", rate=100.0)
    assert 0.45 < done.summary["seconds"] < 5


def test_progress_is_reported_while_it_runs() -> None:
    done = run("127.0.0.1", ports="1-60", rate=100.0)
    ticks = [event.facts for event in done.events if event.kind == "progress"]
    assert ticks
    assert ticks[-1]["total"] == 60
    assert [tick["done"] for tick in ticks] == sorted(tick["done"] for tick in ticks)


def test_a_socket_that_met_itself_is_no_open_port(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port asked is the one that the probe leaves from, as happens by chance among those lent."""
    met: list[bool] = []
    real = tcp.TcpProber._met_itself
    monkeypatch.setattr(
        tcp.TcpProber, "_met_itself", staticmethod(lambda sock: met.append(real(sock)) or met[-1])
    )
    done = run("127.0.0.9", ports="40000-40009", source="127.0.0.9:40005", all=True, retries=0)
    assert done.states() == dict.fromkeys(range(40_000, 40_010), "closed")
    assert met == [True]


def test_more_hosts_than_take_turns_at_once(alone: Alone) -> None:
    """All of them are over at the same moment, and the next ones follow at once."""
    done = run("127.0.0.0/22", ports="1,2", numeric=True)
    assert done.summary["done"] == done.summary["closed"] == 2048


@pytest.mark.parametrize(
    ("targets", "options", "said"),
    [
        (("127.0.0.1-3",), {"verbose": 1}, True),
        (("127.0.0.0/30", "127.0.0.9"), {"verbose": 1}, True),
        (("127.0.0.1-3",), {}, False),
        (("127.0.0.1-3",), {"verbose": 1, "rate": 1e6}, False),
        (("127.0.0.1-3",), {"verbose": 1, "json": True}, False),
        (("127.0.0.1", "127.0.0.2"), {"verbose": 1}, False),
    ],
)
def test_who_watches_a_range_being_scanned_is_told_of_the_rate_once(
    targets: tuple[str, ...], options: dict[str, Any], said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "isatty", lambda _fd: False)
    done = run(*targets, ports="1-3", **options)
    words = [event.facts["message"] for event in done.events if event.kind == "waiting"]
    assert len(words) == said
    assert all("--rate" in line and f"{done.summary['done']} probes" in line for line in words)


def test_the_terminal_says_how_to_limit_the_rate(processes: Processes) -> None:
    controller, terminal = os.openpty()
    try:
        done = processes.spawn(*PYNC, "scan", "127.0.0.1-2", "-p", "1", stderr=terminal).wait()
        said = os.read(controller, 4096).decode()
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.code == ExitCode.NETWORK
    assert said.count("--rate N") == 1
