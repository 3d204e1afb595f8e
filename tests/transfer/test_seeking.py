"""How long the other end is sought: --retry-for, --timeout, --deadline, each with the status it promises."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pync.commands.options import SendOptions
from pync.endpoint import parse
from pync.errors import NetworkError, PyncError, TimedOut
from pync.loop import Loop
from pync.report import Event
from pync.transfer.calls import LAST_TRY, ONE_TRY, Headway, Patience
from pync.transfer.wire import Limits, Wire
from pync.transport.stream import StreamSocket
from tests.harness import Processes

HERE = "127.0.0.1"


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that answers nothing: on Linux a listener whose queue is full drops what comes."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind((HERE, 0))
        sock.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield int(sock.getsockname()[1])


@pytest.fixture
def path(tmp_path: Path) -> str:
    one = tmp_path / "file"
    one.write_bytes(b"hello\n")
    return str(one)


SEEKERS = {
    "send": ("send", "PLACE", "FILE"),
    "send raw": ("send", "--raw", "PLACE", "FILE"),
    "recv": ("recv", "--connect", "PLACE"),
    "recv raw": ("recv", "--raw", "--connect", "PLACE"),
    "connect": ("connect", "PLACE", "--retry-for", "60s"),
}


def _words(seeker: str, port: int, path: str, *more: str) -> list[str]:
    fill = {"PLACE": f"{HERE}:{port}", "FILE": path}
    return [fill.get(word, word) for word in SEEKERS[seeker]] + list(more)


@pytest.mark.parametrize("seeker", SEEKERS)
def test_the_deadline_is_not_taken_for_one_more_silent_try(
    processes: Processes, black_hole: int, path: str, seeker: str
) -> None:
    done = processes.run(*_words(seeker, black_hole, path, "--deadline", "300ms"))
    assert (done.code, done.err) == (3, "pync: the deadline of 0.3 s has passed\n")


@pytest.mark.parametrize("seeker", [name for name in SEEKERS if name != "connect"])
def test_timeout_alone_ends_with_the_first_silent_try(
    processes: Processes, black_hole: int, path: str, seeker: str
) -> None:
    done = processes.run(*_words(seeker, black_hole, path, "-w", "300ms"))
    assert (done.code, done.err) == (3, f"pync: connect {HERE}:{black_hole}: timed out\n")


@pytest.mark.parametrize("seeker", [name for name in SEEKERS if name != "connect"])
def test_retry_for_used_up_is_1_when_nobody_ever_answered(
    processes: Processes, black_hole: int, path: str, seeker: str
) -> None:
    done = processes.run(*_words(seeker, black_hole, path, "-w", "200ms", "--retry-for", "1s"))
    assert done.code == 1
    assert done.err.endswith(f"pync: connect {HERE}:{black_hole}: timed out (tried for 1s)\n")


class _Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep_until(self, when: float) -> None:
        assert when >= self.time
        self.time = when


def _tries(options: SendOptions, why: Any, *, each: float = 0.0) -> tuple[list[float], PyncError]:
    """When each try began, and how it ended."""
    clock: Any = _Clock()
    told: list[Event] = []
    patience = Patience(clock, options, told.append)
    began: list[float] = []

    def wait() -> None:
        began.append(clock.time)
        clock.time += each
        coroutine = patience.wait(why)
        with pytest.raises(StopIteration):
            coroutine.send(None)

    for _ in range(1000):
        try:
            wait()
        except PyncError as error:
            assert len(told) <= 1, "the same reason is told once"
            return began, error
    raise AssertionError("it never gives up")


def _options(**chosen: Any) -> SendOptions:
    return SendOptions(endpoint=parse("127.0.0.1:9"), paths=(), **chosen)


@pytest.mark.parametrize("seconds", [0.2, 2.0, 2.9, 30.0])
def test_a_last_try_is_made_at_the_very_end(seconds: float) -> None:
    began, error = _tries(_options(retry_for=seconds), NetworkError("connect x: connection refused"))
    assert began[-1] == pytest.approx(seconds - LAST_TRY)
    assert all(later - earlier <= 1.0 + 1e-9 for earlier, later in itertools.pairwise(began))
    assert (type(error), error.code) == (NetworkError, 1)
    assert error.message == f"connect x: connection refused (tried for {seconds:g}s)"


def test_without_patience_there_is_one_whole_try() -> None:
    clock: Any = _Clock()
    patience = Patience(clock, _options(retry_for=0.0), lambda event: None)
    assert patience.dial_by == ONE_TRY
    began, error = _tries(_options(retry_for=0.0), NetworkError("connect x: connection refused"))
    assert (began, error.message) == ([0.0], "connect x: connection refused")
    began, error = _tries(_options(retry_for=0.0, timeout=1.0), TimedOut("connect x: timed out"), each=1.0)
    assert (type(error), error.message) == (TimedOut, "connect x: timed out")


def test_a_name_that_does_not_exist_is_not_sought() -> None:
    began, error = _tries(_options(), NetworkError("connect x:1: name not found"))
    assert (len(began), error.message) == (1, "connect x:1: name not found")


def test_a_last_try_that_was_cut_short_does_not_hide_the_reason() -> None:
    clock: Any = _Clock()
    patience = Patience(clock, _options(retry_for=2.0), lambda event: None)
    with pytest.raises(StopIteration):
        patience.wait(NetworkError("connect x: no route to host")).send(None)
    clock.time = 2.0
    with pytest.raises(NetworkError, match=r"no route to host \(tried for 2s\)"):
        patience.wait(TimedOut("connect x: timed out")).send(None)


def test_what_was_tried_is_told_as_long_as_it_took() -> None:
    clock: Any = _Clock()
    patience = Patience(clock, _options(retry_for=2.0), lambda event: None)
    clock.time = 10.0
    patience.renew()
    assert patience.until == 12.0
    clock.time = 41.2
    with pytest.raises(NetworkError, match=r"silent \(tried for 31s\)"):
        patience.wait(NetworkError("silent")).send(None)


def test_only_what_goes_further_than_before_renews_the_patience() -> None:
    headway = Headway()
    found = []
    for place in ((0, 0), (0, 0), (0, 7), (0, 7), (1, 3), (0, 9)):
        headway.progressed = False
        headway.got_to(*place)
        found.append(headway.progressed)
    assert found == [True, False, True, False, True, False]


def test_the_time_in_which_this_end_was_stopped_is_no_silence_of_the_other() -> None:
    here, there = socket.socketpair()
    ahead = 0.0

    async def wait(loop: Loop) -> bool:
        nonlocal ahead

        def slept() -> None:
            nonlocal ahead
            ahead = 60.0  # a SIGSTOP of a minute, or a lid that was closed

        loop.call_later(0.05, slept)
        loop.call_later(0.4, lambda: there.send(b"x") and None)
        wire = Wire(loop, StreamSocket(here), duplex=False, limits=Limits())
        try:
            return await wire.pause(read=True, write=False)
        finally:
            wire.channel.detach(loop)

    with here, there, Loop() as loop:
        loop.now = lambda: monotonic() + ahead  # type: ignore[method-assign]
        assert loop.run(wait(loop))
