"""What goes to a pump's sink past its source: offers of a hub, answers of a filter."""

import errno

import pytest

from tests.contract.between import Between

PIPE = BrokenPipeError(errno.EPIPE, "")


def test_an_offer_goes_straight_to_the_sink():
    between = Between()
    between.loop.forward(3)
    assert between.pump.offer(memoryview(b"data")) == 4
    assert (bytes(between.sink.outgoing), between.counted) == (b"data", (4, 4))
    assert between.owner.last_activity == 1003.0
    assert between.pump.offer(memoryview(b"!")) == 1
    assert between.pump.offer(memoryview(b"")) == 0


def test_an_offer_may_be_taken_in_part_or_not_at_all():
    between = Between()
    between.sink.capacity = 3
    assert between.pump.offer(memoryview(b"data")) == 3
    before = between.owner.last_activity
    between.loop.forward(1)
    assert between.pump.offer(memoryview(b"a")) == 0
    assert (between.counted, between.owner.last_activity) == ((3, 3), before)


def test_an_offer_does_not_overtake():
    between = Between()
    between.sink.capacity = 2
    between.give(b"data")
    between.sink.capacity = 100
    assert between.pump.offer(memoryview(b"x")) == 0
    assert between.sink.outgoing == b"da"


@pytest.mark.parametrize("why", ["rate", "transform", "tap_in", "tap_out", "stopped", "draining"])
def test_an_offer_is_refused_where_it_would_miss_something(why):
    if why == "rate":
        between = Between(rate=1000.0)
    else:
        between = Between()
        if why == "stopped":
            between.pump.stop()
        elif why == "draining":
            between.pump.draining = True
        else:
            between.mover._transforms = (object(),) if why == "transform" else ()
            between.mover._tap_in = print if why == "tap_in" else None
            between.mover._tap_out = print if why == "tap_out" else None
    assert between.pump.offer(memoryview(b"x")) == 0
    assert between.sink.outgoing == b""


@pytest.mark.parametrize(("size", "count"), [(65_507, 65_507), (65_508, 0)])
def test_an_offer_that_is_no_datagram(size, count):
    between = Between(boundaries=True)
    between.sink.capacity = 1 << 20
    assert between.pump.offer(memoryview(bytes(size))) == count


def test_an_offer_that_fails_is_told_from_the_loop():
    between = Between()
    between.sink._plan.append(PIPE)
    assert between.pump.offer(memoryview(b"data")) == 4
    assert between.owner.told == []
    assert between.pump.done
    between.loop.settle()
    assert between.owner.told == [(PIPE, False)]
    assert between.counted == (0, 0)


def test_an_answer_goes_out_by_itself():
    between = Between()
    between.pump.inject(b"answer")
    between.loop.settle()
    assert (bytes(between.sink.outgoing), between.pump.moved) == (b"answer", 6)
    between.pump.inject(b"")
    assert between.loop.due == 0
    between.end()
    between.pump.inject(b"too late")
    between.loop.settle()
    assert between.sink.outgoing == b"answer"
