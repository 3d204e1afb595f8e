"""An end that is stopped says so: the other one gives up with the reason, and keeps what is of the source."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from pync.errors import TimedOut
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.transfer import digests
from pync.transfer.wire import Limits, Wire
from pync.transport.stream import StreamSocket
from tests.harness import Finished, Process, Processes, pattern
from tests.transfer.test_processes import HERE, SECRET, _grown, _recv, _send

WAYS = pytest.mark.parametrize("options", [(), SECRET], ids=["plain", "secret"])
# So slow that whatever stops an end does so in the middle of a run.
SLOW = ("--rate", "500K", "--compress", "none")
SIGNALS = {"SIGINT": "stopped by the user", "SIGTERM": "stopped by a signal"}


def _limit(how: str, seconds: int) -> tuple[str, ...]:
    return ("--deadline", f"{seconds}s") if how == "deadline" else ()


def _stop(process: Process, how: str) -> Finished:
    """By a signal, or by the deadline that it has."""
    if how in SIGNALS:
        process.signal(getattr(signal, how))
    done = process.wait()
    assert done.code == (3 if how == "deadline" else -getattr(signal, how))
    return done


def _gave_up(done: Finished, how: str, seconds: int) -> None:
    assert done.code == (3 if how == "deadline" else 1)
    why = SIGNALS.get(how, f"the deadline of {seconds} s has passed")
    assert f"the other end gave up: {why}" in done.err


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(pattern(30_000_000))
    return path


@WAYS
@pytest.mark.parametrize("how", [*SIGNALS, "deadline"])
def test_sender_that_is_stopped_in_a_file(
    processes: Processes, large: Path, out: Path, options: tuple[str, ...], how: str
) -> None:
    receiver = _recv(processes, out, *options)
    sender = _send(processes, receiver.port, large, *options, *SLOW, *_limit(how, 3))
    sender.until(_grown(out / "large.part", 200_000), "a part of the file")
    _stop(sender, how)
    _gave_up(receiver.wait(), how, 3)
    data = large.read_bytes()
    assert data.startswith((out / "large.part").read_bytes())
    again = _recv(processes, out, *options)
    assert _send(processes, again.port, large, *options).wait().code == 0
    assert again.wait().code == 0
    assert (out / "large").read_bytes() == data


@WAYS
@pytest.mark.parametrize("how", [*SIGNALS, "deadline"])
def test_sender_that_is_stopped_in_a_stream(
    processes: Processes, large: Path, options: tuple[str, ...], how: str
) -> None:
    receiver = processes.listen(*options, f"{HERE}:0", command="recv", stdin=subprocess.DEVNULL)
    with large.open("rb") as stdin:
        words = ("send", *options, *SLOW, *_limit(how, 3), f"{HERE}:{receiver.port}")
        sender = processes.pync(*words, stdin=stdin)
    receiver.expect_bytes(200_000)
    _stop(sender, how)
    done = receiver.wait()
    _gave_up(done, how, 3)
    assert large.read_bytes().startswith(done.out)


@WAYS
@pytest.mark.parametrize("how", [*SIGNALS, "deadline"])
@pytest.mark.parametrize("serves", ["receiver", "sender"])
def test_receiver_that_is_stopped(
    processes: Processes, large: Path, out: Path, options: tuple[str, ...], how: str, serves: str
) -> None:
    limit = _limit(how, 4)
    if serves == "receiver":
        receiver = _recv(processes, out, *options, *limit)
        sender = _send(processes, receiver.port, large, *options, *SLOW)
    else:
        words = ("--listen", *options, *SLOW, f"{HERE}:0", str(large))
        sender = processes.listen(*words, command="send", stdin=subprocess.DEVNULL)
        words = ("-o", f"{out}/", *options, *limit, "--connect", f"{HERE}:{sender.port}")
        receiver = processes.pync("recv", *words, stdin=subprocess.DEVNULL)
    receiver.until(_grown(out / "large.part", 200_000), "a part of the file")
    _stop(receiver, how)
    _gave_up(sender.wait(), how, 4)
    assert large.read_bytes().startswith((out / "large.part").read_bytes())


def test_one_of_several_senders_that_is_stopped_ends_nothing(
    processes: Processes, large: Path, tmp_path: Path, out: Path
) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"x")
    receiver = _recv(processes, out, "--count", "2")
    sender = _send(processes, receiver.port, large, *SLOW)
    sender.until(_grown(out / "large.part", 200_000), "a part of the file")
    sender.signal(signal.SIGINT)
    assert sender.wait().code == -signal.SIGINT
    assert _send(processes, receiver.port, small).wait().code == 0
    assert receiver.wait().code == 5


@pytest.mark.parametrize("reads", [False, True])
def test_nothing_is_said_in_a_run_that_cannot_be_finished(
    large: Path, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    monkeypatch.setattr(Limits, "last_words", 0.2)
    here, there = socket.socketpair()
    size = 8_000_000
    told = bytearray()

    async def run(loop: Loop) -> None:
        wire = Wire(loop, StreamSocket(here), duplex=True, limits=Limits())
        wire.quiet = False

        async def send() -> None:
            with large.open("rb") as file:
                try:
                    await wire.send_run(file.fileno(), 0, size, digests.new("xxh3"))
                except TimedOut:
                    await wire.abort(3, "too late")

        task = loop.spawn(send())
        there.setblocking(False)

        def take() -> None:
            told.extend(there.recv(1 << 20))

        if reads:
            loop.watch_read(there.fileno(), take)
        task.cancel(TimedOut("too late"))
        await task
        loop.forget(there.fileno())
        wire.channel.detach(loop)

    with here, there:
        with Loop() as loop:
            loop.run(run(loop))
        here.close()
        while data := there.recv(1 << 20):
            told += data
    announced = proto.encode(proto.RUN, messages.pack_run(size))
    assert told.startswith(announced)
    body, rest = told[len(announced) : len(announced) + size], told[len(announced) + size :]
    assert large.read_bytes().startswith(body)
    said = proto.encode(proto.ABORT, messages.pack_abort(messages.Abort(3, "too late")))
    assert bytes(rest) == (said if reads else b"")
