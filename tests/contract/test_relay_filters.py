"""What a relay is asked to do with the bytes, and the movers that touch both sides in one call."""

import errno

import pytest

from pync.errors import LocalError, NetworkError
from pync.relay import relay as relay_module
from pync.relay.kernel import KernelMover
from pync.relay.movers import CopyMover
from pync.relay.policy import Filters
from tests.contract.played import PlayedLoop
from tests.contract.relaying import Console, Session, Side, echoing, good

RESET = ConnectionResetError(errno.ECONNRESET, "")
PIPE = BrokenPipeError(errno.EPIPE, "")
FULL = OSError(errno.ENOSPC, "")


class Appending:
    """A transform that leaves its mark on every piece."""

    def __init__(self, mark):
        self._mark = mark

    def feed(self, data):
        return bytes(data) + self._mark

    def flush(self):
        return b""


def marked(seen):
    return Filters(
        sent=(Appending(b"S"),),
        received=(Appending(b"R"),),
        tap_sent=lambda view: seen.append(("sent", bytes(view))),
        tap_received=lambda view: seen.append(("received", bytes(view))),
    )


def test_each_direction_has_its_own_filters():
    seen = []
    session = Session(filters=marked(seen))
    session.local.gives(b"up")
    session.net.gives(b"down")
    session.loop.settle()
    assert (bytes(session.net.outgoing), bytes(session.local.outgoing)) == (b"upS", b"downR")
    assert sorted(seen) == [("received", b"down"), ("sent", b"upS")]


def test_an_echo_has_the_filters_of_both():
    seen = []
    session = echoing(filters=marked(seen))
    session.net.gives(b"echo")
    session.net.ends()
    outcome = good(session, "eof")
    assert session.net.outgoing == b"echoRS"
    assert seen == [("received", b"echo"), ("sent", b"echoRS")]
    assert (outcome.received, outcome.sent) == (4, 6)
    assert session.net.outgoing_ended


@pytest.mark.parametrize("discard", [False, True])
def test_what_is_thrown_away_was_received(discard):
    session = Session(discard_received=discard)
    session.net.gives(b"data")
    session.net.ends()
    session.local.ends()
    assert good(session, "eof").received == 4
    assert session.local.outgoing == (b"" if discard else b"data")


def test_an_answer_of_a_filter_goes_between_what_our_input_sends():
    session = Session()
    session.local.gives(b"one ")
    session.loop.settle()
    session.relay.inject(b"answer ")
    session.loop.settle()
    session.local.gives(b"two")
    session.loop.settle()
    assert session.net.outgoing == b"one answer two"


# datagrams that come many at a time


class Batches(Side):
    """Three datagrams of two bytes in one batch."""

    batches = True

    def __init__(self, loop):
        super().__init__(loop, boundaries=True)
        self._left = [b"aabbcc"]

    def take_batch(self, buffer):
        return (memoryview(self._left.pop()), 2) if self._left else None


@pytest.mark.parametrize(("limit", "counted"), [(None, 3), (9, 0)])
def test_batches_are_counted_as_what_is_in_them(monkeypatch, limit, counted):
    """With a limit of datagrams they come one by one, so that it is exact."""
    monkeypatch.delenv("PYNC_MOVER", raising=False)
    loop = PlayedLoop()
    session = Session(loop=loop, net=Batches(loop), max_packets=limit)
    assert session.relay.down.datagrams == counted


# one call for both sides


class Direct(KernelMover):
    """Moves nothing, and fails as the kernel would."""

    def __init__(self, error):
        super().__init__()
        self.closed = False
        self._error = error

    def _step(self, limit):
        raise self._error

    def close(self):
        self.closed = True


def failing(monkeypatch, direction, error, *, console=False):
    """A session whose mover in that direction fails."""
    loop = PlayedLoop()
    net = Side(loop)
    local = Console(loop) if console else Side(loop)
    mover = Direct(error)

    def choose(source, sink, *transforms, **options):
        wanted = source is (net if direction == "down" else local)
        return mover if wanted else CopyMover(source, sink)

    monkeypatch.setattr(relay_module, "choose", choose)
    session = Session(loop=loop, net=net, local=local)
    session.mover = mover
    return session


@pytest.mark.parametrize(
    ("direction", "error", "kind", "side"),
    [
        ("up", RESET, NetworkError, "net:1"),
        ("down", RESET, NetworkError, "net:1"),
        ("up", PIPE, NetworkError, "net:1"),
        ("down", PIPE, NetworkError, "stdout"),  # what a connection is received into is a pipe
        ("up", FULL, LocalError, "stdin"),
        ("down", FULL, LocalError, "stdout"),
    ],
)
def test_the_kind_of_error_says_which_side_broke(monkeypatch, direction, error, kind, side):
    session = failing(monkeypatch, direction, error)
    session.net.ends()
    assert type(session.outcome.error) is kind
    assert session.outcome.error.message.startswith(f"{side}: ")
    assert session.mover.closed


def test_a_broken_pipe_while_receiving_is_our_stdouts(monkeypatch):
    session = failing(monkeypatch, "down", PIPE, console=True)
    assert session.running  # the peer may be about to end
    session.loop.forward(0.6)
    assert (session.outcome.reason, session.outcome.output_closed) == ("stdout-closed", True)


def test_a_reset_while_receiving_is_the_connections(monkeypatch):
    session = failing(monkeypatch, "down", RESET, console=True)
    assert session.outcome.error.message.startswith("net:1: connection reset by peer")


def test_a_broken_pipe_while_sending_is_the_connections(monkeypatch):
    session = failing(monkeypatch, "up", PIPE, console=True)
    session.net.ends()
    assert session.outcome.error.message.startswith("net:1: the peer closed the connection")
