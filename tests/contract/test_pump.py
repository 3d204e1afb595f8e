"""The pump by itself, in time that the test moves: turns, waits, limits, refusals."""

import errno
from types import SimpleNamespace

import pytest

from pync.relay.mover import Refused
from pync.relay.movers import CopyMover
from pync.relay.pump import Gone, Nothing, Pump
from pync.transport.stdio import OutputClosed
from tests.contract.between import Between, Notes
from tests.contract.memory import Memory
from tests.contract.played import PlayedLoop

TURN = 4 << 20
PIPE = BrokenPipeError(errno.EPIPE, "")


# its states


def test_everything_is_out_before_it_has_ended():
    between = Between()
    between.sink.capacity = 2
    between.give(b"data")
    between.end()
    pump = between.pump
    assert (between.counted, pump.holds, pump.done) == ((4, 2), True, False)
    assert between.owner.told == []
    between.take()
    assert (between.counted, pump.holds, pump.done, pump.draining) == ((4, 4), False, True, True)
    assert between.owner.told == ["ended"]
    pump.run()
    pump.stop_taking()
    between.loop.settle()
    assert between.owner.told == ["ended"]


def test_idle_is_waiting_for_the_source_with_nothing_held():
    between = Between()
    assert between.pump.idle
    between.sink.capacity = 2
    between.give(b"data")
    assert not between.pump.idle
    between.take()
    assert between.pump.idle
    between.end()
    assert not between.pump.idle


def test_taking_can_be_stopped():
    between = Between()
    between.sink.capacity = 2
    between.give(b"data")
    between.pump.stop_taking()
    between.give(b"more")
    assert not between.pump.done
    between.take()
    assert (between.counted, between.owner.told) == ((4, 4), ["ended"])


def test_an_abandoned_pump_does_nothing_any_more():
    between = Between()
    between.pump.abandon()
    assert between.pump.done
    between.give(b"data")
    assert (between.counted, between.owner.told, between.source.reads) == ((0, 0), [], 0)


def test_a_stopped_pump_does_nothing_any_more():
    between = Between()
    between.pump.stop()
    between.pump.stop()
    between.pump.start()
    between.pump.run()
    between.give(b"data")
    assert (between.counted, between.loop.timers) == ((0, 0), [])


def test_a_start_and_a_stop_in_one_round_is_a_stop():
    between = Between()
    between.source.incoming.append(b"data")
    between.pump.start()
    between.pump.start()
    assert between.loop.due == 1
    between.pump.stop()
    between.loop.settle()
    assert between.counted == (0, 0)


def test_activity_is_when_something_moved():
    between = Between()
    assert between.owner.last_activity == 0.0
    between.sink.capacity = 2
    between.loop.forward(1)
    between.give(b"data")
    assert between.owner.last_activity == 1001.0
    between.loop.forward(1)
    between.pump.run()
    assert between.owner.last_activity == 1001.0
    between.take()
    assert between.owner.last_activity == 1002.0


# turns and system calls


def test_a_short_read_is_not_followed_by_another():
    between = Between()
    between.give(b"data")
    assert between.source.reads == 1


def test_what_is_inside_the_source_is_read_at_once():
    between = Between()
    between.source.inside = 4
    between.give(b"data")
    assert between.source.reads == 2


@pytest.mark.parametrize(("size", "reads"), [((1 << 16) - 1, 1), (1 << 16, 2)])
def test_a_long_read_is_followed_by_another(size, reads):
    between = Between()
    between.sink.capacity = 1 << 20
    between.give(bytes(size))
    assert between.source.reads == reads


def test_datagrams_are_read_until_there_are_none():
    between = Between(boundaries=True)
    between.give(b"one", b"two")
    assert (between.source.reads, between.sink.messages) == (3, [b"one", b"two"])


def test_an_empty_datagram_is_passed_on_like_any_other():
    between = Between(boundaries=True)
    between.source.capacity = 0  # who waits for the wrong thing waits for ever
    between.give(b"", b"x")
    assert between.sink.messages == [b"", b"x"]


def test_others_get_their_turn():
    between = Between()
    between.sink.capacity = 1 << 30
    between.source.incoming.extend([bytes(1 << 18)] * 40)
    between.pump.run()
    # Bytes read and bytes written both count: half a turn each, and the one block that passes the limit.
    assert between.counted == (TURN // 2 + (1 << 18),) * 2
    between.loop.settle()
    assert between.counted == (40 << 18,) * 2


# limits


def test_the_limit_is_exact_and_told_once():
    between = Between(limit=6)
    between.give(b"data", b"data")
    assert (between.counted, between.owner.told) == ((6, 6), ["limit", "ended"])


def test_a_limit_of_datagrams():
    between = Between(boundaries=True)
    between.pump.packets_left = 2
    between.give(b"one", b"two", b"three")
    assert (between.pump.datagrams, between.counted) == (2, (6, 6))
    assert between.owner.told == ["limit", "ended"]


def test_a_rate_waits_and_a_limit_under_it_is_exact():
    between = Between(rate=1000.0, limit=120)
    between.give(b"x" * 200)
    assert between.counted == (50, 50)
    assert between.loop.timers == pytest.approx([0.05], abs=1e-4)
    between.loop.forward(0.051)
    assert between.counted == (100, 100)
    assert len(between.loop.timers) == 1
    between.loop.forward(0.051)
    assert (between.counted, between.owner.told) == ((120, 120), ["limit", "ended"])
    between.pump.stop()
    assert between.loop.timers == []


def test_the_last_byte_of_a_limit_waits_for_its_rate_too():
    between = Between(rate=1000.0, limit=51)
    between.give(b"x" * 100)
    assert (between.counted, len(between.loop.timers)) == ((50, 50), 1)
    between.loop.forward(0.06)
    assert between.counted == (51, 51)


# other sinks, other movers


def test_what_a_redirected_pump_takes_goes_elsewhere():
    between = Between()
    between.sink.capacity = 2
    between.give(b"data")
    between.pump.redirect(Nothing())
    assert between.sink._on_write is None
    assert not between.mover.pending  # closed
    between.loop.settle()
    assert not between.pump.holds
    between.give(b"more")
    between.end()
    assert (bytes(between.sink.outgoing), between.owner.told) == (b"da", ["ended"])
    assert between.pump.taken == 8


def test_nothing_gives_nothing_and_takes_everything():
    assert Nothing().read_into(memoryview(bytearray(1))) is None
    assert Nothing().write(memoryview(b"abc")) == 3
    with pytest.raises(OutputClosed):
        Gone().write(memoryview(b"abc"))


class Refusing(CopyMover):
    """Takes two bytes, then the kernel refuses; what it holds is rescued."""

    def __init__(self, source, sink):
        super().__init__(source, sink)
        self.closed = False
        self._times = 0

    def fill(self, limit):
        self._times += 1
        if self._times > 1:
            raise Refused
        return super().fill(2)

    def drain(self):
        raise Refused

    def rescue(self):
        return bytes(self._out or b"")

    def close(self):
        self.closed = True


def test_a_refusal_goes_on_by_copying_without_loss():
    between = Between()
    refusing = Refusing(between.source, between.sink)
    between.pump._mover = refusing
    between.give(b"data", b"more")
    assert between.sink.outgoing == b"datamore"
    assert between.counted == (8, 8)
    assert refusing.closed
    between.end()
    assert between.owner.told == ["ended"]


@pytest.mark.parametrize("filling", [True, False])
def test_a_failure_says_in_which_half_it_was(filling):
    between = Between()
    (between.source if filling else between.sink)._plan.append(PIPE)
    between.give(b"data")
    assert between.owner.told == [(PIPE, filling)]
    assert between.counted == ((0, 0) if filling else (4, 0))


def test_a_read_that_fails_after_a_write_is_the_sources():
    between = Between()
    between.sink.capacity = 1 << 20
    between.source._plan.extend([1 << 16, PIPE])
    between.give(bytes(1 << 16), b"never")
    assert between.owner.told == [(PIPE, True)]
    assert between.counted == (1 << 16, 1 << 16)


# the last moment


def test_a_flush_gives_what_the_sink_takes_now():
    between = Between()
    between.sink.capacity = 1
    between.give(b"data")
    between.sink.capacity = 3
    assert between.pump.flush() is False
    assert between.pump.moved == 3
    between.sink.capacity = 10
    assert between.pump.flush() is True
    assert between.pump.moved == 4
    assert between.pump.flush() is True


def test_a_flush_into_a_broken_sink_is_over():
    between = Between()
    between.sink.capacity = 1
    between.give(b"data")
    between.sink._plan.append(PIPE)
    assert between.pump.flush() is True


def test_a_mover_that_says_when_is_called_then():
    """LATER: no channel tells, the clock does."""
    loop = PlayedLoop()
    source, sink = Memory(loop), Memory(loop)
    calls = []

    def drain():
        calls.append(loop.now())
        return -5

    mover = SimpleNamespace(pending=True, drain=drain, ready_at=loop.now() + 2, close=lambda: None)
    pump = Pump(loop, Notes(), source, sink, mover)
    pump.start()
    loop.settle()
    mover.ready_at += 1
    loop.forward(2.5)
    assert calls == [1000.0, 1002.0]
    assert loop.timers == pytest.approx([0.5])
    pump.stop()
    assert loop.timers == []
