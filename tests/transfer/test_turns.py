"""Several senders to one receiver: who takes whose place, and who waits for whom."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from tests.harness import PATIENCE
from tests.transfer.test_hostile import Sender, receive
from tests.transfer.test_sender_out_of_turn import BODY, Returning

pytestmark = pytest.mark.usefixtures("patient")


def _comes(first: Sender) -> Returning:
    """A connection to the same receiver, of the sender that all these are."""
    sender = Returning(first.sock.getpeername()[1])
    sender.sock.settimeout(PATIENCE)
    sender.begin()
    return sender


@pytest.fixture
def pipe(out: Path) -> Iterator[int]:
    """What comes out of a fifo at `out/fifo`."""
    os.mkfifo(out / "fifo")
    fd = os.open(out / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    yield fd
    os.close(fd)


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
