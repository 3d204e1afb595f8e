"""Several senders to one receiver: who takes whose place, and who waits for whom."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from tests.harness import PATIENCE, Process, Processes, pattern
from tests.transfer.rig import piped
from tests.transfer.test_hostile import Sender, receive
from tests.transfer.test_sender_out_of_turn import BODY, DIGEST, ELSEWHERE, Returning

pytestmark = pytest.mark.usefixtures("patient")


def _comes(first: Sender) -> Returning:
    """A connection to the same receiver, of the sender that all these are."""
    sender = Returning(first.sock.getpeername()[1])
    sender.sock.settimeout(PATIENCE)
    sender.begin()
    return sender


@pytest.mark.parametrize("output", ["files", "fifo"])
def test_a_sender_takes_over_from_its_old_connection_that_nobody_saw_break(
    out: Path, pipe: int, output: str
) -> None:
    def attack(another: Sender) -> None:
        old = _comes(another)
        old.file()
        old.answer()
        old.say(proto.RUN, messages.pack_run(20))
        old.raw(BODY[:20])
        if output == "fifo":
            assert select.select([pipe], [], [], PATIENCE)[0]
        new = _comes(another)
        new.file(flags=messages.EAGER)
        new.body()
        assert new.finish() == {}
        another.begin()
        another.small(b"g", b"another")
        assert another.finish() == {}

    where = {"output": str(out / "fifo")} if output == "fifo" else {}
    code, events = receive(out, attack, count=2, retry_for=PATIENCE, **where)
    there = os.read(pipe, 1000) if where else (out / "f").read_bytes() + (out / "g").read_bytes()
    assert (code, there) == (0, BODY + b"another")
    assert "the other end came back on a new connection" in [e.facts.get("reason") for e in events]


# --- one output, which is in the middle of something -------------------------------------------------

OTHER = b"another stream"


def _half(first: Sender, pipe: int, meanwhile: Callable[[], None] = lambda: None) -> None:
    """The connection of a sender that is cut when a part of its stream is in the pipe; recv knows of it."""
    sender = _comes(first)
    sender.file()
    sender.answer()
    sender.say(proto.RUN, messages.pack_run(20))
    sender.raw(BODY[:20])
    assert select.select([pipe], [], [], PATIENCE)[0]
    meanwhile()
    sender.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        sender.until_gone()


def _rest(first: Sender) -> None:
    sender = _comes(first)
    sender.file()
    assert sender.answer().offset == 20
    sender.match(0, equal=True)
    sender.say(proto.RUN, messages.pack_run(len(BODY) - 20))
    sender.raw(BODY[20:])
    sender.say(proto.END, messages.pack_end(messages.End(messages.WHOLE, len(BODY), DIGEST)))
    assert sender.finish() == {}


def _waits(sender: Sender, how: str) -> None:
    sender.greet()
    sender.say(proto.BEGIN, messages.pack_begin(messages.Begin(os.urandom(16), "xxh3", 1, 5, b"g")))
    assert sender.hear().kind == proto.READY
    if how == "inline":
        sender.small(b"g", OTHER)
        return
    kind, size = (messages.FILE, len(OTHER)) if how == "eager" else (messages.STREAM, messages.UNKNOWN_SIZE)
    sender.entry(messages.Entry(kind, b"g", 0o644, size=size, flags=messages.EAGER))
    Returning.body(sender, OTHER)


@pytest.mark.parametrize("how", ["inline", "eager", "stream"])
@pytest.mark.parametrize("comes", ["before the cut", "after the cut"])
def test_a_sender_waits_its_turn_while_the_one_before_may_come_back(
    out: Path, pipe: int, how: str, comes: str
) -> None:
    def attack(second: Sender) -> None:
        if comes == "before the cut":
            _half(second, pipe, lambda: _waits(second, how))
        else:
            _half(second, pipe)
            _waits(second, how)
        _rest(second)
        assert second.finish() == {}

    code, _ = receive(out, attack, output=str(out / "fifo"), count=2, retry_for=PATIENCE)
    assert (code, os.read(pipe, 1000)) == (0, BODY + OTHER)


def test_the_wait_for_one_that_never_comes_back_ends_with_a_refusal(out: Path, pipe: int) -> None:
    def attack(second: Sender) -> None:
        _half(second, pipe)
        _waits(second, "eager")
        (done,) = second.finish().values()
        assert (done.status, done.reason) == (messages.DAMAGED, ELSEWHERE)

    code, events = receive(out, attack, output=str(out / "fifo"), count=2, retry_for=0.3)
    assert (code, os.read(pipe, 1000)) == (4, BODY[:20])
    assert events[-1].kind == "error"


def test_a_sender_that_waits_may_come_back_on_a_new_connection_and_waits_on(out: Path, pipe: int) -> None:
    def attack(first: Sender) -> None:
        first.begin()
        first.entry(messages.Entry(messages.FILE, b"g", 0o644, size=len(OTHER)))
        assert first.hear().kind == proto.ANSWER
        old = _comes(first)
        old.small(b"f", BODY)
        new = _comes(first)  # READY is not said before the old one has left
        new.small(b"f", BODY)
        Returning.body(first, OTHER)
        assert first.finish() == {}
        assert new.finish() == {}

    code, _ = receive(out, attack, output=str(out / "fifo"), count=2, retry_for=PATIENCE)
    assert (code, os.read(pipe, 1000)) == (0, OTHER + BODY)


def test_a_fifo_may_wait_for_its_reader_while_the_sender_hears_that_we_live(out: Path) -> None:
    os.mkfifo(out / "fifo")
    reader = -1

    def attack(sender: Sender) -> None:
        nonlocal reader
        sender.begin()
        sender.small(b"f", BODY)
        try:
            assert sender.sock.recv(1, socket.MSG_PEEK) == bytes((proto.KEEPALIVE,))
        finally:
            reader = os.open(out / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        assert sender.finish() == {}

    code, _ = receive(out, attack, output=str(out / "fifo"))
    with os.fdopen(reader, "rb") as stream:
        assert (code, stream.read()) == (0, BODY)


# --- started again -----------------------------------------------------------------------------------

LARGE = pattern(6_000_000)
SLOW = ("--rate", "2M")  # in the middle when it is killed


def _send(processes: Processes, port: int, *words: str | Path, stdin: int = subprocess.DEVNULL) -> Process:
    return processes.pync("send", f"127.0.0.1:{port}", *map(str, words), stdin=stdin)


def _kill(process: Process) -> None:
    process.popen.send_signal(signal.SIGKILL)
    assert process.ends(PATIENCE)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other"
    path.write_bytes(OTHER)
    return path


@pytest.mark.parametrize("secret", [(), ("--secret=7-otter-violin",)], ids=["plain", "secret"])
def test_a_sender_that_is_killed_and_started_again_is_one_of_so_many(
    processes: Processes, out: Path, large: Path, other: Path, secret: tuple[str, ...]
) -> None:
    words = ("--count", "2", "--retry-for", "1", "-v", "-o", f"{out}/", *secret, "127.0.0.1:0")
    receiver = processes.listen(*words, command="recv", stdin=subprocess.DEVNULL)
    doomed = _send(processes, receiver.port, large, *SLOW, *secret)
    part = out / "large.part"
    receiver.until(lambda: part.exists() and part.stat().st_size, "the first bytes")
    _kill(doomed)
    receiver.expect("closed [^\n]*before the transfer was complete")
    again = _send(processes, receiver.port, large, "--rate", "3M", *secret)  # longer than --retry-for
    assert again.wait().code == 0
    assert not receiver.ends(0.001)
    assert _send(processes, receiver.port, other, *secret).wait().code == 0
    assert receiver.wait().code == 0
    assert ((out / "large").read_bytes(), (out / "other").read_bytes()) == (LARGE, OTHER)


@pytest.mark.parametrize("source", ["file", "pipe"])
def test_a_stream_goes_on_before_those_who_wait_when_its_sender_is_started_again(
    processes: Processes, large: Path, other: Path, source: str
) -> None:
    """A file is recognised at once. A pipe may be anybody's: it waits until the first one is given up."""
    patience = "1" if source == "pipe" else "1h"
    words = ("--count", "2", "--retry-for", patience, "-v", "-o", "-", "127.0.0.1:0")
    receiver = processes.listen(*words, command="recv", stdin=subprocess.DEVNULL)

    def sends(*more: str) -> Process:
        if source == "pipe":
            with piped(LARGE) as stdin:
                return _send(processes, receiver.port, *more, stdin=stdin)
        return _send(processes, receiver.port, large, *more)

    doomed = sends(*SLOW)
    receiver.until(lambda: receiver.out, "the first bytes")
    waiting = _send(processes, receiver.port, other)
    receiver.expect("(connection from [^\n]*\n){2}")
    _kill(doomed)
    receiver.expect("closed [^\n]*before the transfer was complete")
    again = sends()
    assert (again.wait().code, waiting.wait().code) == (0, 0)
    done = receiver.wait()
    assert (done.code, done.out == LARGE + OTHER) == (0, True)
