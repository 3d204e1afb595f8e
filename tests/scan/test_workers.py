"""One scan in several processes: together they ask everything once, and never one another."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from pync.commands import scan
from pync.commands.options import ScanOptions
from pync.commands.session import within
from pync.errors import LocalError, TimedOut
from pync.loop import Loop
from pync.report import Event, silent
from pync.scanning import workers
from pync.scanning.sockets import lent_ports
from pync.scanning.source import Source
from tests.scan.conftest import Alone
from tests.scan.engine import run


@pytest.fixture
def share_between(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`share_between(3)`: scans, even small ones, run in so many processes."""

    def between(number: int) -> None:
        monkeypatch.setenv("PYNC_SCAN_WORKERS", str(number))
        monkeypatch.setattr(workers, "WORTH", 10)
        monkeypatch.setattr(workers, "_single_threaded", lambda: True)
        monkeypatch.setattr(os, "fork", _quiet_fork(os.fork))

    return between


def test_worker_processes_find_the_same(alone: Alone, listeners: Any, share_between: Any) -> None:
    share_between(3)
    opened = listeners(5)
    low, high = max(opened[0] - 50, 1), min(opened[-1] + 50, 65535)
    done = run("127.0.0.1", ports=f"{low}-{high}", all=True)
    states = done.states()
    assert {port for port, state in states.items() if state == "open"} == set(opened)
    assert len(done.ports) == len(states) == done.summary["done"] == high - low + 1


def _quiet_fork(fork: Callable[[], int]) -> Callable[[], int]:
    """pytest's own threads make newer Pythons warn; the program itself checks that it has none."""

    def quiet() -> int:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return fork()

    return quiet


def test_a_worker_that_dies_is_no_result(share_between: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    share_between(2)
    monkeypatch.setattr(workers, "_work", lambda *_: os._exit(9))
    with pytest.raises(LocalError, match="worker"):
        run("127.0.0.1", ports="1-100")


def test_what_a_worker_knows_is_told_when_the_scan_ends_early(
    alone: Alone, stack: ExitStack, share_between: Any
) -> None:
    """Open ports that say nothing, one of them a worker's: every second port is."""
    share_between(2)
    ports = {2001, 2002}  # a network of our own, and no ports that the system lends
    for port in ports:
        stack.enter_context(socket.create_server(("127.0.0.1", port)))
    events: list[Event] = []
    options = ScanOptions(targets=("127.0.0.1",), ports="1951-2050", banner=True)
    with Loop() as loop, pytest.raises(TimedOut):
        loop.run(within(loop, 2.0, scan.run(loop, options, events.append)))
    told = [event.facts["port"] for event in events if event.kind == "port"]
    assert sorted(told) == sorted(ports)
    assert events[-1].kind == "summary"
    assert events[-1].facts["open"] == len(told)


def shares(
    workers: int, targets: str, ports: str, lent: range | None, **options: Any
) -> list[list[tuple[str, int]]]:
    """What each of so many processes would ask."""
    asked = []
    with Loop() as loop:
        for part in range(workers):
            wanted = ScanOptions(targets=(targets,), ports=ports, numeric=True, **options)
            source = Source(loop, wanted, silent, excluded=[])
            source.worker, source.lent = (part, workers), lent
            hosts = [host for host in source if host is not None]
            asked.append([(host.address, code) for host in hosts for code in host.next_codes(host.left)])
    return asked


@pytest.mark.parametrize("targets", ["127.0.0.1-7", "192.0.2.1-7"])
@pytest.mark.parametrize("ports", ["1-500", "150-160", "100", "1-90,U:100-110", "190,7,120"])
@pytest.mark.parametrize("options", [{}, {"randomize": True, "seed": 3}, {"shard": (1, 2)}])
def test_workers_ask_everything_once(targets: str, ports: str, options: dict[str, Any]) -> None:
    alone = shares(1, targets, ports, None, **options)
    for workers_number in (2, 3, 5):
        asked = shares(workers_number, targets, ports, range(100, 200), **options)
        assert sorted(pair for share in asked for pair in share) == sorted(alone[0])


def test_ports_that_are_lent_are_asked_by_one_worker_where_workers_could_meet() -> None:
    """Asked by two, each could be lent the port that the other asks, and both would find it open."""
    lent = range(100, 200)
    for number in (2, 3):
        asked = shares(number, "127.0.0.1-6", "1-400", lent)
        for host in {address for address, _ in asked[0]}:
            askers = [{code for address, code in share if address == host} & set(lent) for share in asked]
            assert sorted(map(len, askers)) == [0] * (number - 1) + [100]
        sizes = [len(share) for share in asked]
        assert max(sizes) - min(sizes) <= 12, "the work is shared unfairly"
    strangers = shares(2, "192.0.2.1", "100-199", lent)
    assert [len(share) for share in strangers] == [50, 50]


def test_the_system_says_what_it_lends(alone: Alone) -> None:
    alone.lend(40_000, 40_007)
    assert lent_ports() == range(40_000, 40_008)
