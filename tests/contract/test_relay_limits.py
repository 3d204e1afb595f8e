"""When a relay is over by a limit, by time, by silence; and how long the last bytes are waited for."""

import errno

import pytest

from pync.errors import ExitCode, TimedOut
from pync.transport.channel import WANT_WRITE
from tests.contract.relaying import Session, datagrams, good

RESET = ConnectionResetError(errno.ECONNRESET, "")


# limits


def test_a_limit_of_bytes():
    session = Session(max_bytes=5)
    session.net.gives(b"123456789")
    assert good(session, "limit").received == 5
    assert session.local.outgoing == b"12345"


def test_a_limit_of_packets():
    session = datagrams(max_packets=2)
    session.net.gives(b"one", b"two", b"three")
    assert good(session, "limit").received == 6


def test_a_program_may_answer_after_the_limit():
    session = Session(max_bytes=1)
    session.local.may_stop_reading = True
    session.net.gives(b"?")
    assert session.running
    assert session.local.outgoing_ended
    session.local.gives(b"answer")
    session.local.ends()
    assert good(session, "eof").sent == 6


def test_nothing_moved_for_too_long():
    session = Session(idle_timeout=5)
    session.loop.forward(4)
    session.net.gives(b"x")
    session.loop.forward(4.9)
    session.local.gives(b"x")
    session.loop.forward(4.9)
    assert session.running
    session.loop.forward(0.1)
    outcome = session.outcome
    assert isinstance(outcome.error, TimedOut)
    assert outcome.error.message == "net:1: idle for 5 s"
    assert (outcome.reason, outcome.seconds) == ("idle", pytest.approx(13.9))
    assert session.net.was_reset


# datagrams


@pytest.mark.parametrize(("policy", "quiet"), [({}, 1.0), ({"quit_after": 3.0}, 3.0)])
def test_datagrams_end_with_silence_after_our_input(policy, quiet):
    session = datagrams(**policy)
    session.loop.forward(60)
    session.local.ends()
    session.loop.forward(quiet * 0.9)
    session.net.gives(b"late")
    session.loop.forward(quiet * 0.9)
    assert session.running
    session.loop.forward(quiet * 0.2)
    outcome = good(session, "quiet")
    assert outcome.seconds == pytest.approx(60 + 1.9 * quiet)


def test_datagrams_that_need_no_answer_end_with_our_input():
    session = datagrams(end_when_sent=True)
    session.local.gives(b"data")
    session.local.ends()
    assert good(session, "sent").sent == 4


def test_a_stream_forwarded_to_datagrams_ends_with_silence_after_the_peers_end():
    session = datagrams(net=False, local=True)
    session.net.ends()
    session.loop.forward(0.9)
    assert session.running
    session.loop.forward(0.1)
    good(session, "quiet")


# the confirmation


def test_the_end_is_looked_for_often_at_first_and_twenty_times_a_second_later():
    session = Session(end_when_sent=True)
    session.local.gives(b"data")
    session.local.ends()
    session.net.waits_for_confirmation = 4
    pauses = []
    session.loop.settle()
    for _ in range(10):
        (pause,) = session.loop.timers
        pauses.append(pause)
        session.loop.forward(pause)
    assert pauses == pytest.approx([0.0005 * 2**n for n in range(7)] + [0.05] * 3)


def test_last_bytes_that_nobody_confirms():
    session = Session(end_when_sent=True)
    session.local.gives(b"data")
    session.local.ends()
    session.net.waits_for_confirmation = 4
    session.loop.forward(59.9)
    session.net.waits_for_confirmation = 3  # it goes on, slowly
    session.loop.forward(59.9)
    assert session.running
    session.loop.forward(0.2)
    outcome = session.outcome
    assert outcome.error.message == "net:1: the last 3 bytes were not acknowledged"
    assert outcome.code == ExitCode.NETWORK


def test_a_connection_that_breaks_during_the_confirmation():
    session = Session(end_when_sent=True)
    session.local.gives(b"data")
    session.local.ends()
    session.net.waits_for_confirmation = 4
    assert session.running
    session.net.waits_for_confirmation = RESET
    session.loop.forward(1)
    assert session.outcome.error.message == ("net:1: connection reset by peer after 4 bytes sent, 0 received")


def test_who_got_nothing_confirms_nothing():
    session = Session()
    session.net.waits_for_confirmation = RESET
    session.local.waits_for_confirmation = RESET
    session.net.ends()
    session.local.ends()
    good(session, "eof")


def test_what_was_forwarded_is_confirmed_too():
    session = Session()
    session.net.gives(b"data")
    session.net.ends()
    session.local.ends()
    session.local.waits_for_confirmation = 2
    session.net.waits_for_confirmation = 5  # not asked for: nothing went there
    assert session.running
    session.local.waits_for_confirmation = 0
    session.loop.forward(0.1)
    good(session, "eof")


def test_the_peer_ends_while_our_last_bytes_wait_for_confirmation():
    session = Session(end_when_sent=True)
    session.local.gives(b"data")
    session.local.ends()
    session.net.waits_for_confirmation = 4
    assert session.running
    session.net.ends()
    assert session.running
    assert len(session.loop.timers) == 1
    session.net.waits_for_confirmation = 0
    session.loop.forward(0.1)
    good(session, "eof")


def test_both_sides_and_their_ends_are_waited_for_together():
    session = Session()
    for side in (session.net, session.local):
        side.gives(b"data")
        side.eofs.append(WANT_WRITE)
        side.waits_for_confirmation = 2
    session.loop.settle()
    for side in (session.net, session.local):
        side.full()
        side.ends()
    session.loop.forward(1)
    assert session.running
    session.net.waits_for_confirmation = session.local.waits_for_confirmation = 1
    session.loop.forward(1)
    assert session.running
    session.net.full(False)
    session.loop.forward(1)
    assert session.running
    session.net.waits_for_confirmation = 0
    session.loop.forward(1)
    assert session.running
    session.local.full(False)
    session.local.waits_for_confirmation = 0
    session.loop.forward(1)
    good(session, "eof")


def test_a_long_life_leaves_no_timers_behind():
    session = Session(idle_timeout=5)
    for _ in range(50):
        session.net.gives(b"x")
        session.loop.forward(4)
    assert len(session.loop.timers) == 1
    assert len(session.relay._timers) <= 2


@pytest.mark.parametrize("side", ["net", "local"])
def test_a_rate_waits_no_longer_than_the_relay_lives(side):
    session = Session(rate=10.0)
    getattr(session, side).gives(b"x" * 100)
    session.loop.settle()
    assert len(session.loop.timers) == 1
    session.relay.abort("interrupted")
    assert session.outcome.reason == "interrupted"


def test_a_program_that_ends_meanwhile_changes_nothing():
    session = Session(end_when_sent=True)
    session.local.gives(b"data")
    session.local.ends()
    session.net.waits_for_confirmation = 4
    assert session.running
    session.relay.conclude()
    assert len(session.loop.timers) == 1
    session.net.waits_for_confirmation = 0
    session.loop.forward(0.1)
    good(session, "sent")
