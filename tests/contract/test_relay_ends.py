"""When a relay is over, and how: the sentences at the top of pync/relay/relay.py, one by one."""

import errno

import pytest

from pync.errors import ExitCode, LocalError, NetworkError, TimedOut
from pync.transport.channel import WANT_WRITE
from tests.contract.relaying import Session, consoled, good

RESET = ConnectionResetError(errno.ECONNRESET, "")


# both directions


@pytest.mark.parametrize("first", ["net", "local"])
def test_over_when_both_directions_ended(first):
    session = Session()
    session.net.gives(b"received")
    session.local.gives(b"sent")
    session.loop.forward(2)
    assert (bytes(session.net.outgoing), bytes(session.local.outgoing)) == (b"sent", b"received")
    sides = {"net": session.net, "local": session.local}
    sides.pop(first).ends()
    assert session.running
    assert session.net.outgoing_ended == (first == "local")
    assert session.local.outgoing_ended == (first == "net")
    assert session.directions == [{"net": "received", "local": "sent"}[first]]
    sides.popitem()[1].ends()
    outcome = good(session, "eof")
    assert (outcome.sent, outcome.received, outcome.seconds) == (4, 8, 2.0)
    assert session.net.outgoing_ended
    assert session.local.outgoing_ended
    assert sorted(session.directions) == ["received", "sent"]
    assert session.net.eof_calls == session.local.eof_calls == 1


@pytest.mark.parametrize("fd", [0, 7])
def test_the_peer_is_watched_for_while_only_we_go_on(fd):
    session = Session()
    session.net.read_fd = fd
    assert not session.net.probed
    session.net.ends()
    assert session.running
    assert session.net.probed
    assert list(session.loop.errors) == [fd]
    session.local.ends()
    good(session, "eof")
    assert session.loop.errors == {}


def test_a_channel_without_a_descriptor_is_not_watched():
    session = Session()
    session.net.read_fd = -1
    session.net.ends()
    assert session.running
    assert session.loop.errors == {}
    session.local.ends()
    good(session, "eof")


@pytest.mark.parametrize("after", [NetworkError("the reader is gone"), OSError(errno.EIO, "")])
def test_the_peer_vanishes_after_its_end_with_all_we_said(after):
    session = Session()
    session.local.gives(b"said")
    session.net.ends()
    session.net.has_all = True
    if isinstance(after, OSError):
        session.net.waits_for_confirmation = after
    assert session.running
    session.loop.errors[7]()
    good(session, "peer-gone")
    assert session.net.asked_about == [4]
    assert session.loop.errors == {}


def test_a_system_that_keeps_no_count_is_asked_while_the_connection_lives():
    session = Session()
    session.net.must_be_asked = True
    session.local.gives(b"said")
    session.net.has_all = True
    assert session.running
    assert session.net.questions == 0
    session.net.ends()
    session.loop.forward(1.1)
    assert session.net.questions == 5
    assert session.running
    session.net.waits_for_confirmation = RESET
    session.loop.forward(0.3)
    good(session, "peer-gone")


def test_a_connection_that_is_gone_when_first_asked():
    session = Session()
    session.net.must_be_asked = True
    session.net.waits_for_confirmation = RESET
    session.net.ends()
    outcome = session.outcome
    assert outcome.error.message == "net:1: connection reset by peer after 0 bytes sent, 0 received"


def test_who_keeps_a_count_is_not_asked_before_the_end():
    session = Session()
    session.net.ends()
    session.loop.forward(10)
    assert session.net.questions == 0


@pytest.mark.parametrize("held", [True, False])
def test_the_peer_vanishes_after_its_end_without_all_we_said(held):
    session = Session()
    session.net.full()
    session.local.gives(b"said")
    session.net.has_all = held  # of what was sent; something else still waits
    session.net.ends()
    assert session.running
    session.loop.errors[7]()
    outcome = session.outcome
    assert outcome.error.message == ("net:1: the peer closed the connection after 0 bytes sent, 0 received")
    assert (outcome.reason, outcome.code) == ("error", ExitCode.NETWORK)
    assert session.net.was_reset
    assert session.local.was_reset


def test_why_the_peer_vanished_is_told_where_the_system_knows():
    session = Session()
    session.local.gives(b"said")
    session.net.ends()
    session.loop.settle()
    session.net.waits_for_confirmation = RESET
    session.loop.errors[7]()
    assert session.outcome.error.message == ("net:1: connection reset by peer after 4 bytes sent, 0 received")


def test_a_peer_that_leaves_our_bytes_unanswered_is_not_waited_for():
    session = Session()
    session.local.gives(b"said")
    session.net.ends()
    session.loop.forward(600)
    assert session.running
    session.net.gone = True
    session.loop.forward(5)
    assert session.outcome.code == ExitCode.NETWORK
    assert "no answer" in session.outcome.error.message


def test_a_silent_peer_that_has_not_ended_is_waited_for():
    session = Session()
    session.net.gone = True
    session.local.gives(b"said")
    session.loop.forward(600)
    assert session.running


# the policy


def test_quitting_with_the_peer_still_sends_what_was_read():
    session = Session(quit_on_peer_eof=True)
    session.net.full()
    session.local.gives(b"read")
    session.loop.settle()
    session.net.ends()
    assert session.running
    assert not session.net.probed
    session.local.gives(b" not read")
    session.net.full(False)
    assert good(session, "eof").sent == 4
    assert session.net.outgoing == b"read"


def test_send_only_ends_once_the_peer_has_everything():
    session = Session(end_when_sent=True)
    session.local.gives(b"data")
    session.local.ends()
    session.net.waits_for_confirmation = 3
    assert session.running
    assert session.net.outgoing_ended
    session.net.waits_for_confirmation = 0
    session.loop.forward(0.1)
    good(session, "sent")


def test_the_end_of_our_input_is_not_enough_by_itself():
    session = Session()
    session.local.ends()
    session.loop.forward(10_000)
    assert session.running


def test_conclude_before_the_end_of_our_input():
    session = Session()
    session.relay.conclude()
    assert session.running
    session.local.ends()
    good(session, "sent")


def test_conclude_after_the_end_of_our_input():
    session = Session()
    session.local.ends()
    assert session.running
    session.relay.conclude()
    good(session, "sent")
    session.relay.conclude()
    assert len(session.over) == 1


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_quit_after_counts_from_the_end_of_our_input(seconds):
    session = Session(quit_after=seconds)
    session.loop.forward(60)
    assert session.running
    session.local.ends()
    session.loop.settle()
    if seconds:
        session.loop.forward(seconds - 0.1)
        session.net.gives(b"an answer changes nothing")
        assert session.running
        session.loop.forward(0.1)
    assert good(session, "quit-after").seconds == 60 + seconds


def test_no_timer_counts_once_both_directions_ended():
    session = Session(quit_after=5, idle_timeout=7)
    session.local.gives(b"data")
    session.local.ends()
    session.net.waits_for_confirmation = 1
    session.loop.settle()
    session.net.ends()
    session.loop.forward(30)
    assert session.running
    session.net.waits_for_confirmation = 0
    session.loop.forward(0.1)
    good(session, "eof")


def test_without_shutdown_our_end_is_kept_back():
    session = Session(shutdown=False)
    session.local.ends()
    assert session.running
    assert not session.net.outgoing_ended
    session.net.ends()
    good(session, "eof")
    assert not session.net.outgoing_ended


def test_without_input_our_end_comes_after_the_peers():
    session = Session(receive_only=True, shutdown=False)
    session.local.gives(b"never read")
    session.net.gives(b"data")
    assert session.running
    assert not session.net.outgoing_ended
    session.net.ends()
    outcome = good(session, "eof")
    assert (outcome.sent, outcome.received) == (0, 4)
    assert session.net.outgoing_ended


def test_one_end_for_both_directions_is_said_last():
    """TLS 1.2: our end would cost the answer."""
    session = Session()
    session.net.half_close = False
    session.local.ends()
    assert session.running
    assert not session.net.outgoing_ended
    session.net.ends()
    good(session, "eof")
    assert session.net.eof_calls == 1


@pytest.mark.parametrize("error", [RESET, NetworkError("gone")])
def test_an_end_said_last_may_come_too_late(error):
    session = Session(end_when_sent=True)
    session.net.half_close = False
    session.net.eofs.append(error)
    session.local.ends()
    good(session, "sent")


@pytest.mark.parametrize("limits", [{"end_when_sent": True, "shutdown": False}, {"end_when_sent": True}])
def test_what_is_said_at_the_close_is_said_once_and_only_if_wanted(limits):
    session = Session(**limits)
    session.net.half_close = False
    session.local.ends()
    good(session, "sent")
    assert session.net.eof_calls == int("shutdown" not in limits)


def test_our_end_may_take_several_calls():
    session = Session()
    session.net.eofs.extend([WANT_WRITE] * 2)
    session.local.ends()
    session.net.full()
    assert session.running
    assert session.net.eof_calls == 1
    session.net.full(False)
    assert session.running
    assert (session.net.eof_calls, session.net.outgoing_ended) == (3, True)
    session.net.gives(b"still heard")
    session.net.ends()
    assert good(session, "eof").received == 11
    assert session.net.eof_calls == 3


def test_passing_on_the_peers_end_may_take_several_calls():
    session = Session()
    session.local.eofs.extend([WANT_WRITE] * 2)
    session.local.full()
    session.net.ends()
    assert session.running
    assert session.local.eof_calls == 1
    session.local.full(False)
    assert session.running
    assert (session.local.eof_calls, session.local.outgoing_ended) == (3, True)
    session.local.ends()
    good(session, "eof")
    assert session.local.eof_calls == 3


@pytest.mark.parametrize("side", ["net", "local"])
def test_an_end_that_is_not_said_yet_is_waited_for(side):
    session = Session()
    waiting = getattr(session, side)
    waiting.eofs.extend([WANT_WRITE] * 2)
    waiting.full()
    session.net.ends()
    session.local.ends()
    session.loop.forward(1)
    assert session.running
    waiting.full(False)
    session.loop.forward(1)
    good(session, "eof")
    assert waiting.outgoing_ended


@pytest.mark.parametrize("calls", [0, 1])
def test_the_close_of_our_output_may_fail(calls):
    session = Session()
    session.local.eofs.extend([WANT_WRITE] * calls)
    session.local.eofs.append(LocalError("stdout: no space left on device"))
    session.net.ends()
    outcome = session.outcome
    assert outcome.error.message == "stdout: no space left on device"
    assert outcome.code == ExitCode.USAGE


# from outside


@pytest.mark.parametrize("ended", [True, False])
def test_an_abort_writes_what_came_and_resets_what_is_not_whole(ended):
    session = Session()
    session.local.full()
    session.net.gives(b"data")
    session.loop.settle()
    if ended:
        session.local.ends()
        session.loop.settle()
    session.local.capacity = 1 << 16
    session.relay.abort("interrupted")
    outcome = session.outcome
    assert (outcome.reason, outcome.received, outcome.error) == ("interrupted", 4, None)
    assert session.local.outgoing == b"data"
    assert session.net.was_reset == (not ended)


def test_an_abort_of_somebody_who_types_is_a_good_end():
    session = consoled("terminal")
    session.relay.abort("interrupted")
    assert not session.net.was_reset
    assert session.outcome.reason == "interrupted"


def test_an_abort_for_a_reason_is_an_error():
    session = Session()
    session.local.ends()
    session.loop.settle()
    error = TimedOut("too long")
    error.__context__ = KeyError()
    session.relay.abort("deadline", error)
    outcome = session.outcome
    assert (outcome.error, outcome.code) == (error, ExitCode.TIMEOUT)
    assert error.__context__ is None
    assert session.net.was_reset
    session.relay.abort("again")
    assert len(session.over) == 1


# what it starts with


@pytest.mark.parametrize(("kind", "guarded"), [("pipe", True), ("terminal", False)])
def test_a_sudden_death_looks_like_one_unless_somebody_types(kind, guarded):
    session = consoled(kind)
    assert (session.net.guarded, session.local.guarded) == (guarded, guarded)
