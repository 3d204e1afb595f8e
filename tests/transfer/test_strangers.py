"""Who comes uninvited while a transfer runs or is expected back, and who is cut and never comes back."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pync.errors import IntegrityError, NetworkError, PyncError
from pync.loop import Loop, Task
from pync.proto.secret import WrongSecret
from pync.report import Event
from pync.transfer import serving
from pync.transfer.events import Tally
from pync.transfer.handshake import Guessed
from pync.transfer.serving import Serving
from pync.transfer.wire import Lost
from tests.harness import PATIENCE, Process, Processes, pattern

HERE = "127.0.0.1"
SECRET = "--secret=7-otter-violin"
DATA = pattern(200_000)


def _says_something_else(port: int) -> None:
    """A browser, say; returns once it was hung up on."""
    with socket.create_connection((HERE, port), timeout=PATIENCE) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" * 20)
        try:
            while stranger.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass


class Running:
    """A stream that is on its way as long as nobody ends its input."""

    def __init__(self, processes: Processes, out: Path, who: str, *options: str) -> None:
        self.processes = processes
        self.got = out / "got"
        recv = ("-o", str(self.got), *options)
        if who == "recv":
            self.listener = processes.listen(*recv, f"{HERE}:0", command="recv", stdin=subprocess.DEVNULL)
            self.port = self.listener.port
            self.sender = processes.pync("send", *options, f"{HERE}:{self.port}", "-")
            self.receiver = self.listener
        else:
            words = ("--listen", *options, f"{HERE}:0", "-")
            self.sender = self.listener = processes.listen(*words, command="send")
            self.port = self.listener.port
            words = ("recv", "--connect", *recv, f"{HERE}:{self.port}")
            self.receiver = processes.pync(*words, stdin=subprocess.DEVNULL)
        self.sender.write(DATA)
        part = self.got.with_name("got.part")
        self.receiver.until(lambda: part.exists() and part.stat().st_size, "the first bytes")

    def ends_well(self) -> None:
        assert self.sender.finish(DATA).code == 0
        assert self.receiver.wait().code == 0
        assert self.got.read_bytes() == DATA * 2


def _send(processes: Processes, port: int, *words: str) -> Process:
    return processes.pync("send", f"{HERE}:{port}", *words, stdin=subprocess.DEVNULL)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize("who", ["recv", "send"])
def test_something_else_that_comes_beside_a_transfer_does_not_end_it(
    processes: Processes, out: Path, who: str
) -> None:
    running = Running(processes, out, who, "-v")
    _says_something_else(running.port)
    running.listener.expect("does not speak pync transfer")
    running.ends_well()


@pytest.mark.parametrize("wrong", ["none", "three wrong ones"])
def test_a_wrong_secret_beside_a_transfer_does_not_end_it(
    processes: Processes, out: Path, file: Path, wrong: str
) -> None:
    running = Running(processes, out, "recv", SECRET)
    for words in [()] if wrong == "none" else [("--secret=8-otter-violin",)] * 3:
        assert _send(processes, running.port, *words, str(file)).wait().code == 4
    running.ends_well()


def test_something_else_does_not_end_a_receiver_whose_sender_is_expected_back(
    processes: Processes, out: Path, file: Path
) -> None:
    running = Running(processes, out, "recv", "-v")
    running.sender.popen.send_signal(signal.SIGKILL)
    running.receiver.expect("closed")
    _says_something_else(running.port)
    assert _send(processes, running.port, str(file)).wait().code == 0
    assert running.receiver.wait().code == 0
    assert running.got.read_bytes() == b"x"


@pytest.mark.parametrize("stranger", ["a browser", "a port scan"])
def test_strangers_do_not_count_as_senders(
    processes: Processes, out: Path, file: Path, stranger: str
) -> None:
    words = ("-v", "--count", "2", "--retry-for", "0", "-o", f"{out}/", f"{HERE}:0")
    receiver = processes.listen(*words, command="recv", stdin=subprocess.DEVNULL)
    assert _send(processes, receiver.port, str(file)).wait().code == 0
    if stranger == "a browser":
        _says_something_else(receiver.port)
    else:
        socket.create_connection((HERE, receiver.port), timeout=PATIENCE).close()
    receiver.expect("closed")
    assert _send(processes, receiver.port, str(file)).wait().code == 0
    assert receiver.wait().code == 0


def test_a_sender_that_died_for_good_is_given_up_although_another_came(
    processes: Processes, out: Path, file: Path
) -> None:
    words = ("-v", "--count", "2", "--retry-for", "1", "-o", f"{out}/", f"{HERE}:0")
    receiver = processes.listen(*words, command="recv", stdin=subprocess.DEVNULL)
    large = file.with_name("large")
    large.write_bytes(pattern(3_000_000))
    doomed = _send(processes, receiver.port, "--rate", "500K", str(large))
    part = out / "large.part"
    receiver.until(lambda: part.exists() and part.stat().st_size, "the first bytes")
    doomed.popen.send_signal(signal.SIGKILL)
    receiver.expect("closed")
    assert _send(processes, receiver.port, str(file)).wait().code == 0
    done = receiver.wait()
    assert done.code == 5
    assert "1 of 2 transfers failed" in done.err


# --- without processes: what each end of a connection does to the run ------------------------------------


class Door:
    """Stands for the channel of one client. `end` is what its handler comes to."""

    def __init__(self, stand: Stand, token: bytes, like: str | None) -> None:
        self.ended = stand.loop.flag()
        self.outcome: Tally | PyncError = Tally()
        self.heard = False
        self.token, self.like = token, like
        self.before = b""
        self.served: Task

    def facts(self) -> dict[str, str]:
        return {"peer": "somebody"}


class Stand:
    """A Serving whose clients are told what to do."""

    def __init__(
        self, loop: Loop, *, wanted: int | None, retry_for: float = PATIENCE, tries: int = 3
    ) -> None:
        self.loop = loop
        self.events: list[Event] = []
        self.gone: list[bytes] = []
        limits: dict[str, Any] = {"wanted": wanted, "retry_for": retry_for, "tries": tries}
        self.serving = Serving(loop, self.events.append, self._handle, self._gone, **limits)
        self.run = loop.spawn(self.serving.finish(None))
        self.run.on_done(lambda _task: None)  # `verdict` looks at its failure, perhaps later

    def _gone(self, token: bytes, heir: bytes) -> None:
        self.gone.append(token + b">" + heir if heir else token)

    async def _handle(self, door: Door) -> Tally:
        door.heard = True
        if door.token:
            door.before = self.serving.welcome(door, door.token, door.like)
        await door.ended.wait()
        if isinstance(door.outcome, Tally):
            return door.outcome
        raise door.outcome

    def comes(self, token: bytes = b"", like: str | None = None) -> Door:
        door = Door(self, token, like)
        door.served = self.loop.spawn(self.serving.client(door))
        return door

    async def ends(self, door: Door, outcome: Tally | PyncError) -> None:
        door.outcome = outcome
        door.ended.set()
        await door.served

    async def verdict(self) -> PyncError | None:
        try:
            await self.run
        except PyncError as error:
            return error
        return None


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


def test_each_one_who_was_cut_has_a_deadline_of_its_own(loop: Loop) -> None:
    async def work() -> None:
        stand = Stand(loop, wanted=3, retry_for=0.05)
        for token in (b"a", b"b"):
            await stand.ends(stand.comes(token), Lost("cut"))
        back = stand.comes(b"b")
        await stand.ends(stand.comes(b"c"), Tally())
        while stand.serving._away:  # private: nothing else tells that a deadline has passed
            await loop.sleep_until(loop.now() + 0.01)
        assert not stand.run.done  # b is here
        assert stand.gone == [b"c", b"a"]
        assert [stand.serving.expects(token) for token in (b"a", b"b", b"c")] == [False, True, False]
        await stand.ends(back, Tally())
        error = await stand.verdict()
        assert error is not None
        assert "1 of 3" in error.message

    loop.run(work())


def test_one_that_is_back_before_its_cut_is_noticed_is_not_given_up(loop: Loop) -> None:
    async def work() -> None:
        stand = Stand(loop, wanted=2, retry_for=0)
        old, new = stand.comes(b"a"), stand.comes(b"a")
        await stand.ends(old, Lost("cut"))
        await stand.ends(new, Tally())
        await stand.ends(stand.comes(b"b"), Tally())
        assert await stand.verdict() is None

    loop.run(work())


def test_one_that_is_started_again_counts_once(loop: Loop) -> None:
    async def work() -> None:
        stand = Stand(loop, wanted=3, retry_for=0.05)
        first, other = stand.comes(b"a", "it"), stand.comes(b"o", "it")
        assert other.before == b""  # while a is here, it is another one
        await stand.ends(other, Tally())
        await stand.ends(first, Lost("killed"))
        second = stand.comes(b"b", "it")
        assert second.before == b"a"
        assert stand.comes(b"c", "it").before == b"", "b is that one"
        while stand.serving.expects(b"a"):
            await loop.sleep_until(loop.now() + 0.01)
        assert stand.gone == [b"o", b"a>b"]
        assert not stand.run.done  # a is not missed: o is one of three, b and c are here
        await stand.ends(second, Tally())
        assert not stand.run.done
        await stand.ends(stand.comes(b"d", "another"), Tally())
        assert await stand.verdict() is None

    loop.run(work())


def test_one_that_comes_back_itself_is_another_than_the_one_like_it(loop: Loop) -> None:
    async def work() -> None:
        stand = Stand(loop, wanted=2)
        await stand.ends(stand.comes(b"a", "it"), Lost("cut"))
        alike = stand.comes(b"b", "it")
        back = stand.comes(b"a", "it")
        assert (alike.before, back.before) == (b"a", b"")
        await stand.ends(alike, Tally())
        assert not stand.run.done
        await stand.ends(back, Tally())
        assert await stand.verdict() is None

    loop.run(work())


def test_a_wrong_secret_leaves_time_for_another_and_the_help_says_how_much(
    loop: Loop, processes: Processes
) -> None:
    async def work() -> None:
        stand = Stand(loop, wanted=1)
        await stand.ends(stand.comes(), WrongSecret())
        assert stand.events[-1].facts["left"] == 2
        assert not stand.run.done
        await stand.ends(stand.comes(b"a"), Tally())
        assert await stand.verdict() is None

    loop.run(work())
    for command in ("send", "recv"):
        help = " ".join(processes.run(command, "--help").out.decode().split())
        assert f"{serving.RETYPE:g}s for another try" in help


@pytest.mark.parametrize("wrong", [WrongSecret, Guessed])
def test_wrong_secrets_end_the_run_once_they_harm_nobody(loop: Loop, wrong: type[IntegrityError]) -> None:
    async def work() -> None:
        stand = Stand(loop, wanted=None, tries=1)
        guest = stand.comes(b"a")
        await stand.ends(stand.comes(), wrong())
        assert not stand.run.done
        await stand.ends(guest, Tally())
        assert isinstance(await stand.verdict(), wrong)

    loop.run(work())


def test_nobody_has_more_than_a_hundred_guesses_beside_a_transfer(loop: Loop) -> None:
    async def work() -> None:
        stand = Stand(loop, wanted=1, tries=1)
        guest = stand.comes(b"a")
        for _ in range(serving.GUESSES_BESIDE + 1):
            guesser = stand.comes()
            await stand.ends(guesser, WrongSecret())
            assert guesser.heard
        assert not stand.comes().heard
        await stand.ends(guest, Tally())
        assert await stand.verdict() is None

    loop.run(work())


def test_a_stranger_ends_a_run_that_has_met_nobody_and_a_first_time_out_does_not_delay_that(
    loop: Loop,
) -> None:
    async def work() -> None:
        stand = Stand(loop, wanted=1)
        first = loop.spawn(stand.serving.finish(PATIENCE))
        first.on_done(lambda _task: None)  # looked at below
        began = loop.now()
        await stand.ends(stand.comes(), NetworkError("something else"))
        error = await stand.verdict()
        assert error is not None
        assert error.message == "something else"
        with pytest.raises(NetworkError):
            await first
        assert loop.now() - began < PATIENCE / 2

    loop.run(work())
