"""Scans and waits when descriptors run out: fewer at a time, and never a verdict or an end because of it."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import pytest

from pync.endpoint import Address, Endpoint, resolve
from pync.errors import ExitCode, LimitReached, TimedOut
from pync.loop import Loop
from pync.proto.handshake import Refused
from pync.scanning import limits, proxied, source, waiting
from tests.scan.engine import listening, run
from tests.scan.test_waiting import wait


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """This process may open only so many more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_wait_raises_the_soft_limit_while_it_lasts() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    seen = []
    with listening() as sock, descriptors_left(20):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        where = f"127.0.0.1:{sock.getsockname()[1]}"
        wait(where, when=lambda _: seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    assert seen[0] == hard


@pytest.mark.parametrize("knows", [True, False])
def test_a_wait_for_more_than_there_are_descriptors(monkeypatch: pytest.MonkeyPatch, knows: bool) -> None:
    """Each try holds its connection, because nobody says a word; with a wrong idea of what is left, too."""
    monkeypatch.setattr(waiting, "raise_descriptor_limit", lambda: None)
    if not knows:
        monkeypatch.setattr(waiting, "dials_at_once", lambda *_, **__: 1000)
    with ExitStack() as stack:
        ports = [stack.enter_context(listening()).getsockname()[1] for _ in range(20)]
        with descriptors_left(12), pytest.raises(TimedOut, match="said nothing"):
            wait(*(f"127.0.0.1:{port}" for port in ports), expect="x", timeout=0.1, wait=0.5)


def test_what_no_descriptor_was_left_for_is_asked_later_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = 0

    async def scarce(loop: Loop, endpoint: Endpoint, *_: Any) -> NoReturn:
        nonlocal busy
        if busy == 3:
            raise LimitReached("socket: descriptor limit reached")
        busy += 1
        await loop.sleep_until(loop.now() + 0.01)
        busy -= 1
        raise Refused("proxy: connection refused")

    monkeypatch.setattr(proxied, "dial", scarce)
    done = run("127.0.0.1", ports="1-20", proxy=("socks5://127.0.0.1:1",), all=True)
    assert done.states() == dict.fromkeys(range(1, 21), "closed")


def test_what_no_descriptor_was_left_for_is_looked_up_later(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = threading.Semaphore(2)
    pause = threading.Event()

    def scarce(endpoint: Endpoint, **_: Any) -> list[Address]:
        if not descriptors.acquire(blocking=False):
            raise LimitReached("look up: descriptor limit reached")
        pause.wait(0.01)
        descriptors.release()
        return resolve(Endpoint("tcp", "127.0.0.1", 0))

    monkeypatch.setattr(source, "resolve", scarce)
    with listening() as sock:
        port = str(sock.getsockname()[1])
        done = run(*(f"name{number}" for number in range(12)), ports=port)
    assert (done.code, done.summary["failed"]) == (ExitCode.OK, 0)


def test_a_look_up_without_a_descriptor_is_no_traceback() -> None:
    async def look_up(loop: Loop) -> None:
        await loop.call_in_thread(int)

    with Loop() as loop, descriptors_left(1), pytest.raises(LimitReached, match="descriptor limit"):
        loop.run(look_up(loop))


def test_a_resolver_without_a_descriptor_is_no_missing_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(LimitReached, match="look up name: descriptor limit reached"):
        resolve(Endpoint("tcp", "name", 1))


@pytest.mark.parametrize("soft", [64, 256, 1024])
def test_dials_probes_and_look_ups_fit_below_the_limit(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    monkeypatch.setattr(limits, "_soft_limit", lambda: soft)
    monkeypatch.setattr(os, "listdir", lambda _: ["0"] * 10)
    names = limits.lookups_at_once() * limits.LOOKUP_COST
    assert 10 + names + limits.probes_at_once(None) <= soft
    assert 10 + names + limits.dials_at_once(10_000, look_ups=True) * limits.LOOKUP_COST <= soft
    assert limits.dials_at_once(3, look_ups=False) == 3
