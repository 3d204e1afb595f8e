"""When one side of a relay breaks: who is told what, and what had arrived is written out first."""

import errno

import pytest

from pync.errors import ExitCode, IntegrityError, LocalError, NetworkError
from pync.transport.stdio import OutputClosed
from tests.contract.relaying import Session, consoled, datagrams, echoing

RESET = ConnectionResetError(errno.ECONNRESET, "")
PIPE = BrokenPipeError(errno.EPIPE, "")
UNREACHABLE = OSError(errno.EHOSTUNREACH, "")


# the connection


def test_reading_the_connection_fails_after_what_came_is_out():
    session = Session()
    session.local.full()
    session.local.gives(b"said")
    session.net.gives(b"heard")
    session.net.breaks(RESET)
    assert session.running
    session.local.full(False)
    outcome = session.outcome
    assert session.local.outgoing == b"heard"
    assert isinstance(outcome.error, NetworkError)
    assert outcome.error.message == ("net:1: connection reset by peer after 4 bytes sent, 5 received")
    assert (outcome.reason, outcome.sent, outcome.received) == ("error", 4, 5)
    assert session.net.was_reset
    assert session.local.was_reset
    assert not session.net.outgoing_ended
    assert session.directions == []


def test_nothing_more_is_sent_once_the_connection_broke():
    session = Session()
    session.local.full()
    session.net.gives(b"heard")
    session.loop.settle()
    session.net.breaks_writing = PIPE
    session.local.gives(b"lost")
    assert session.running
    session.net.breaks_writing = None
    session.local.gives(b"too late")
    assert session.running
    assert session.net.outgoing == b""


def test_an_error_in_our_own_words_is_passed_on_as_it_is():
    session = Session()
    truncated = IntegrityError("net:1: the TLS stream was cut")
    session.net.gives(b"part")
    session.net.breaks(truncated)
    assert session.outcome.error is truncated
    assert session.local.outgoing == b"part"


def test_writing_to_the_connection_fails_after_what_came_is_out():
    """The answer that explains the reset (a server's "too large") is heard."""
    session = Session()
    session.net.breaks_writing = PIPE
    session.local.gives(b"data")
    session.net.gives(b"too large")
    session.net.ends()
    outcome = session.outcome
    assert session.local.outgoing == b"too large"
    assert outcome.error.message == ("net:1: the peer closed the connection after 0 bytes sent, 0 received")


def test_the_first_error_counts():
    session = Session()
    session.net.breaks_writing = PIPE
    session.net.breaks_reading = RESET
    session.local.gives(b"data")
    assert "the peer closed the connection" in session.outcome.error.message


def test_writing_datagrams_fails_and_nothing_more_is_taken():
    session = datagrams()
    session.net.breaks_writing = UNREACHABLE
    session.local.gives(b"data")
    assert session.outcome.error.message == ("net:1: no route to host after 0 bytes sent, 0 received")


@pytest.mark.parametrize(("error", "whole", "reason"), [(PIPE, False, "error"), (PIPE, True, "error")])
def test_writing_fails_after_the_peers_end(error, whole, reason):
    session = Session()
    session.net.ends()
    assert session.running
    session.net.has_all = whole
    session.net.breaks_writing = error
    session.local.gives(b"data")
    assert session.outcome.reason == reason


def test_our_own_error_while_writing_after_the_peers_end():
    session = Session()
    session.net.ends()
    assert session.running
    failure = NetworkError("net:1: TLS says no")
    session.net.has_all = True
    session.net.breaks_writing = failure
    session.local.gives(b"data")
    assert session.outcome.error is failure


@pytest.mark.parametrize("error", [PIPE, NetworkError("gone")])
def test_our_end_cannot_be_said(error):
    session = Session()
    session.net.eofs.append(error)
    session.local.ends()
    session.net.gives(b"x")
    session.net.incoming_ended = True
    outcome = session.outcome
    assert session.local.outgoing == b"x"
    assert outcome.error.message.startswith("gone" if error is not PIPE else "net:1: the peer closed")


@pytest.mark.parametrize("error", [PIPE, NetworkError("gone")])
def test_our_end_cannot_be_said_after_the_peers(error):
    session = Session()
    session.net.ends()
    assert session.running
    session.net.eofs.append(error)
    session.local.ends()
    assert session.outcome.reason == "error"


def test_a_bug_is_not_the_networks_fault():
    session = Session()
    session.net.breaks(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        session.loop.settle()


# our side


def broken_sink(error, **changes):
    session = Session()
    for name, value in changes.items():
        setattr(session.local, name, value)
    session.local.breaks_writing = error
    session.net.gives(b"data")
    return session


@pytest.mark.parametrize(
    ("error", "peer", "message", "kind"),
    [
        (OSError(errno.ENOSPC, ""), "", "stdout: no space left on device", LocalError),
        (OSError(errno.ENOSPC, ""), "file:x", "file:x: no space left on device", LocalError),
        (RESET, "to:2", "to:2: connection reset by peer", NetworkError),
        (UNREACHABLE, "to:2", "to:2: no route to host", NetworkError),
        (TimeoutError(errno.ETIMEDOUT, ""), "to:2", "to:2: no answer (the system gave up)", NetworkError),
        (PIPE, "to:2", "to:2: the peer closed the connection", NetworkError),
    ],
)
def test_our_output_breaks(error, peer, message, kind):
    session = broken_sink(error, peer=peer)
    outcome = session.outcome
    assert (outcome.error.message, type(outcome.error)) == (message, kind)
    assert session.net.was_reset


@pytest.mark.parametrize("full", [False, True])
def test_what_a_target_had_answered_is_passed_on_before_it_breaks(full):
    """The answer that explains the reset (a server's "too large") is heard."""
    session = Session()
    session.net.full(full)
    session.local.peer = "to:2"
    session.local.breaks_writing = RESET
    session.net.gives(b"data")
    session.local.gives(b"too large")
    session.local.incoming_ended = True
    assert session.running == full
    session.net.full(False)
    outcome = session.outcome
    assert session.net.outgoing == b"too large"
    assert not session.net.outgoing_ended
    assert outcome.error.message == "to:2: connection reset by peer"
    assert session.net.was_reset


def test_a_target_that_breaks_twice_is_blamed_for_the_first():
    session = Session()
    session.local.peer = "to:2"
    session.local.breaks_writing = RESET
    session.local.breaks_reading = PIPE
    session.net.gives(b"data")
    outcome = session.outcome
    assert outcome.error.message == "to:2: connection reset by peer"
    assert session.directions == []


def test_our_input_breaks():
    session = Session()
    session.local.breaks(OSError(errno.EIO, ""))
    outcome = session.outcome
    assert isinstance(outcome.error, LocalError)
    assert outcome.error.message.startswith("stdin: ")


def test_our_output_breaks_in_our_own_words():
    failure = LocalError("stdout: full")
    assert broken_sink(failure).outcome.error is failure


def test_a_program_that_reads_no_more_still_answers():
    session = broken_sink(PIPE, may_stop_reading=True)
    assert session.running
    session.net.gives(b"ignored")
    session.net.ends()
    session.local.gives(b"answer")
    session.local.ends()
    outcome = session.outcome
    assert (outcome.reason, outcome.error) == ("eof", None)
    assert session.net.outgoing == b"answer"


def test_a_program_that_breaks_otherwise_is_a_failure():
    session = broken_sink(OSError(errno.ENOSPC, ""), may_stop_reading=True)
    assert session.outcome.reason == "error"


def test_a_broken_input_is_a_failure_whatever_the_output_may_do():
    session = Session()
    session.local.may_stop_reading = True
    session.local.breaks(PIPE)
    assert session.outcome.reason == "error"


def test_an_echo_breaks_in_one_way_only():
    session = echoing()
    session.net.breaks_writing = PIPE
    session.net.gives(b"data")
    outcome = session.outcome
    assert outcome.error.message == ("net:1: the peer closed the connection after 0 bytes sent, 0 received")
    assert session.net.was_reset


# the reader of our stdout leaves


def test_the_reader_of_our_stdout_leaves_while_something_waits():
    session = consoled()
    session.local.full()
    session.net.gives(b"data")
    assert session.running
    session.loop.errors[101]()
    outcome = session.outcome
    assert (outcome.reason, outcome.output_closed, outcome.error) == ("stdout-closed", True, None)
    assert session.net.was_reset
    assert session.loop.errors == {}


def test_the_reader_of_our_stdout_leaves_and_nothing_more_comes():
    session = consoled()
    session.net.gives(b"data")
    assert session.running
    session.loop.errors[101]()
    session.loop.forward(0.4)
    assert session.running
    session.loop.forward(0.2)
    outcome = session.outcome
    assert (outcome.reason, outcome.output_closed, outcome.received) == ("stdout-closed", True, 4)


def test_the_reader_of_our_stdout_leaves_just_before_the_peers_end():
    session = consoled()
    session.net.gives(b"data")
    session.loop.settle()
    session.loop.errors[101]()
    session.loop.forward(0.4)
    session.net.ends()
    session.local.ends()
    outcome = session.outcome
    assert (outcome.reason, outcome.output_closed) == ("eof", False)


def test_the_reader_of_our_stdout_leaves_and_the_peer_ends_but_we_go_on():
    session = consoled()
    session.loop.errors[101]()
    session.net.ends()
    session.loop.forward(10)
    assert session.running
    session.local.ends()
    assert session.outcome.reason == "eof"


def test_what_comes_after_the_reader_left_is_lost_and_told():
    session = consoled()
    session.loop.errors[101]()
    session.loop.forward(0.1)
    session.net.gives(b"more")
    outcome = session.outcome
    assert (outcome.reason, outcome.output_closed, outcome.received) == ("stdout-closed", True, 0)
    assert outcome.seconds == pytest.approx(0.1)


def test_a_reader_that_is_found_gone_by_writing_gets_the_same_chance():
    session = consoled()
    session.local.breaks_writing = OutputClosed()
    session.net.gives(b"data")
    assert session.outcome.reason == "stdout-closed"
    again = consoled()
    again.local.breaks_writing = PIPE
    again.net.gives(b"data")
    assert again.outcome.reason == "stdout-closed"


def test_the_reader_leaving_twice_or_late_is_nothing_new():
    session = consoled()
    gone = session.loop.errors[101]
    gone()
    gone()
    session.loop.forward(0.3)
    assert len(session.loop.timers) == 1
    session.net.ends()
    session.loop.settle()
    gone()
    assert session.running
    session.local.ends()
    assert session.outcome.reason == "eof"


def test_who_throws_everything_away_has_no_reader_to_lose():
    session = consoled(discard_received=True)
    assert session.loop.errors == {}
    session.net.gives(b"data")
    session.net.ends()
    session.local.ends()
    outcome = session.outcome
    assert (outcome.received, bytes(session.local.outgoing)) == (4, b"")


@pytest.mark.parametrize("code", [ExitCode.NETWORK])
def test_an_outcome_has_the_errors_status(code):
    session = Session()
    session.net.breaks(RESET)
    assert session.outcome.code == code
