"""The hub: who is waited for and for how long, and what happens to the one who is not."""

import pytest

from pync.relay.hub import Hub, Port
from pync.transport.channel import WANT_READ, WANT_WRITE
from tests.contract.hubs import BUFFER, Writer, bystanders, hear, say
from tests.contract.played import PlayedLoop

STUCK_SECONDS = 0.25
LOCAL_BUFFER = 1 << 18


@pytest.fixture
def loop():
    return PlayedLoop()


def test_our_stdin_is_kept_for_the_first_client(loop):
    hub = Hub(loop, "local", buffer=BUFFER)
    local = hub.join_local()
    writer = Writer(local)
    assert say(local, b"x") == WANT_WRITE
    loop.forward(10)
    assert writer.calls == 0
    (one,) = bystanders(hub, "one")
    loop.settle()
    assert writer.calls == 1
    assert say(local, b"x") == 1
    assert hear(one) == b"x"


def filled(hub, size):
    """(source, receiver with `size` bytes waiting)."""
    source, receiver = bystanders(hub, "source", "receiver")
    assert say(source, bytes(size)) == size
    return source, receiver


def test_a_reader_with_half_its_buffer_waiting_is_not_waited_for(loop):
    source, receiver = filled(Hub(loop, "others", buffer=BUFFER), BUFFER // 2)
    assert say(source, b"x") == 1
    assert receiver.buffered == BUFFER // 2 + 1


def test_a_slow_reader_is_waited_for_until_a_quarter_is_left(loop):
    source, receiver = filled(Hub(loop, "others", buffer=BUFFER), BUFFER // 2 + 1)
    writer = Writer(source)
    assert say(source, b"x") == WANT_WRITE
    hear(receiver, BUFFER // 4)
    loop.settle()
    assert writer.calls == 0
    hear(receiver, 1)
    loop.settle()
    assert writer.calls == 1
    hear(receiver)
    loop.settle()
    assert writer.calls == 1  # it is told once
    assert say(source, b"x") == 1


def test_everybody_waits_for_a_slow_reader_and_is_told(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    source, receiver = filled(hub, BUFFER // 2 + 1)
    (another,) = bystanders(hub, "another")
    writers = [Writer(source), Writer(another)]
    assert (say(source, b"x"), say(another, b"x")) == (WANT_WRITE, WANT_WRITE)
    receiver.close()
    loop.settle()
    assert [writer.calls for writer in writers] == [1, 1]


def test_one_who_takes_nothing_is_not_waited_for_any_longer(loop):
    source, _stuck = filled(Hub(loop, "others", buffer=BUFFER), BUFFER // 2 + 1)
    writer = Writer(source)
    loop.forward(STUCK_SECONDS / 2)
    assert say(source, b"x") == WANT_WRITE
    assert say(source, b"x") == WANT_WRITE
    loop.forward(STUCK_SECONDS * 0.9)
    assert (writer.calls, len(loop.timers)) == (0, 1)
    loop.forward(STUCK_SECONDS * 0.2)
    assert (writer.calls, loop.timers) == (1, [])
    assert say(source, b"x") == 1


def test_whoever_takes_a_little_is_waited_for_again(loop):
    source, receiver = filled(Hub(loop, "others", buffer=BUFFER), BUFFER)
    writer = Writer(source)
    for _ in range(3):
        loop.forward(STUCK_SECONDS * 0.9)
        assert say(source, b"x") == WANT_WRITE
        hear(receiver, 1)
    calls = writer.calls
    loop.forward(STUCK_SECONDS)
    assert writer.calls == calls + 1
    assert say(source, b"x") == 1


def test_an_idle_time_before_is_no_sign_of_being_stuck(loop):
    source, receiver = bystanders(Hub(loop, "others", buffer=BUFFER), "source", "receiver")
    loop.forward(STUCK_SECONDS * 4)
    say(source, bytes(BUFFER))
    assert say(source, b"x") == WANT_WRITE
    assert hear(receiver) == bytes(BUFFER)


def test_the_stuck_one_is_cut_off_once_its_buffer_is_passed(loop):
    source, stuck = filled(Hub(loop, "others", buffer=BUFFER), BUFFER)
    cuts = []
    stuck.cut_off = lambda: cuts.append(loop.now())
    loop.forward(STUCK_SECONDS)
    assert say(source, b"the last") == 8
    assert stuck.buffered == BUFFER + 8
    assert not stuck.too_slow
    assert say(source, b"lost") == 4
    assert stuck.too_slow
    assert cuts == []  # not from within
    say(source, b"lost")
    loop.settle()
    assert len(cuts) == 1
    assert stuck.buffered == BUFFER + 8


def test_a_stuck_one_without_a_cutter_is_left_alone(loop):
    source, stuck = filled(Hub(loop, "others", buffer=BUFFER), BUFFER + 1)
    loop.forward(STUCK_SECONDS)
    say(source, b"lost")
    loop.settle()
    assert stuck.too_slow


def test_our_stdout_is_waited_for_as_long_as_it_takes_and_never_cut_off(loop):
    hub = Hub(loop, "local", buffer=BUFFER)
    local = hub.join_local()
    (one,) = bystanders(hub, "one")
    writer = Writer(one)
    assert say(one, bytes(LOCAL_BUFFER)) == LOCAL_BUFFER
    assert say(one, b"x") == 1
    for _ in range(3):
        assert say(one, b"x") == WANT_WRITE
        loop.forward(STUCK_SECONDS * 1.1)
    calls = writer.calls
    assert say(one, b"x") == WANT_WRITE
    hear(local, LOCAL_BUFFER * 3 // 4)
    loop.settle()
    assert writer.calls == calls
    hear(local, 1)
    loop.settle()
    assert writer.calls == calls + 1
    assert say(one, b"x") == 1
    assert not local.too_slow


def test_the_smallest_buffer_is_a_byte(loop):
    source, receiver = bystanders(Hub(loop, "others", buffer=0), "source", "receiver")
    assert say(source, b"x") == 1
    assert say(source, b"x") == WANT_WRITE
    loop.forward(STUCK_SECONDS)
    assert say(source, b"x") == 1
    assert receiver.buffered == 2


# the short cut


def test_a_direct_way_spares_the_queue_and_the_rest_is_queued(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    one, two, three = bystanders(hub, "one", "two", "three")
    taken = []

    def direct(view):
        taken.append(bytes(view))
        return min(3, len(view))

    two.direct = direct
    say(one, b"abc")
    assert (taken, hear(two), hear(three)) == ([b"abc"], WANT_READ, b"abc")
    say(one, b"defgh")
    assert two.buffered == 2
    say(one, b"i")  # something waits: it must not be overtaken
    assert (taken, hear(two), hear(three)) == ([b"abc", b"defgh"], b"ghi", b"defghi")


def test_a_direct_way_that_takes_nothing_changes_nothing(loop):
    one, two = bystanders(Hub(loop, "others", buffer=BUFFER), "one", "two")
    two.direct = lambda view: 0
    say(one, b"abc")
    assert hear(two) == b"abc"


def test_a_port_by_itself(loop):
    """What a writer is told when it no longer listens: nothing."""
    hub = Hub(loop, "others", buffer=BUFFER)
    port = Port(hub)
    writer = Writer(port)
    port.wake_writer()
    port.watch_write(loop, None)
    loop.settle()
    assert writer.calls == 0
    port.wake_writer()
    loop.settle()
    assert writer.calls == 0
    assert port.name == ""
