"""The copying mover between channels as awkward as the laws allow: short, late, failing."""

import errno
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.loop import Loop
from pync.proto.crlf import Crlf
from pync.proto.telnet import Telnet
from pync.relay.movers import CopyMover, LineMover
from tests.contract.memory import Memory
from tests.contract.pumping import pump
from tests.harness import pattern

pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=12)
plan = st.lists(st.integers(0, 30), max_size=40)


@pytest.fixture(scope="module")
def shared_loop():
    """One loop for all examples of a property."""
    loop = Loop()
    yield loop
    loop.close()


def source_of(loop, chunks, steps=(), *, boundaries=False):
    source = Memory(loop, steps, boundaries=boundaries)
    source.incoming.extend(chunks)
    source.incoming_ended = True
    return source


@given(pieces, plan, plan)
def test_nothing_is_lost_whatever_the_channels_do(shared_loop, chunks, reads, writes):
    source, sink = source_of(shared_loop, chunks, reads), Memory(shared_loop, writes)
    moving, owner = pump(shared_loop, source, sink, CopyMover(source, sink))
    assert owner.error is None
    assert sink.outgoing == b"".join(chunks)
    assert moving.taken == moving.moved == len(sink.outgoing)


@given(pieces, plan, plan, st.integers(0, 200))
def test_a_limit_is_exact(shared_loop, chunks, reads, writes, limit):
    data = b"".join(chunks)
    source, sink = source_of(shared_loop, chunks, reads), Memory(shared_loop, writes)
    _, owner = pump(shared_loop, source, sink, CopyMover(source, sink), limit=limit or 1)
    assert sink.outgoing == data[: limit or 1]
    assert owner.limited == (len(data) >= (limit or 1))


@given(pieces, plan, plan)
def test_taps_see_what_was_read_and_what_was_taken(shared_loop, chunks, reads, writes):
    source, sink = source_of(shared_loop, chunks, reads), Memory(shared_loop, writes)
    seen, gone = [], []
    mover = CopyMover(
        source,
        sink,
        tap_in=lambda view: seen.append(bytes(view)),
        tap_out=lambda view: gone.append(bytes(view)),
    )
    pump(shared_loop, source, sink, mover)
    assert b"".join(seen) == b"".join(gone) == b"".join(chunks)
    assert gone == sink.messages


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xff", b"\0", b"\r\n"]), max_size=40), plan, plan)
def test_transforms_do_not_depend_on_cuts(shared_loop, chunks, reads, writes):
    source, sink = source_of(shared_loop, chunks, reads), Memory(shared_loop, writes)
    pump(shared_loop, source, sink, CopyMover(source, sink, [Telnet(), Crlf()]))
    data = b"".join(chunks)
    assert sink.outgoing == Crlf().feed(Telnet().feed(data))


def test_what_a_transform_held_back_comes_at_the_end(loop):
    class Holding:
        held = b""

        def feed(self, data):
            out, self.held = self.held, bytes(data)
            return out

        def flush(self):
            return self.held

    source, sink = source_of(loop, [b"one", b"two"]), Memory(loop)
    pump(loop, source, sink, CopyMover(source, sink, [Holding(), Holding()]))
    assert sink.outgoing == b"onetwo"


def test_injected_bytes_come_between_reads(loop):
    source, sink = source_of(loop, [b"data"]), Memory(loop, [0, 1])
    mover = CopyMover(source, sink)
    mover.inject(b"answer ")
    pump(loop, source, sink, mover)
    assert sink.outgoing == b"answer data"


# errors


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.ETIMEDOUT, errno.EPIPE, errno.ENOSPC])
def test_a_failing_read_is_told_after_what_came_before_it(loop, number):
    source, sink = source_of(loop, [b"before", b"never"], [6, OSError(number, "")]), Memory(loop, [2, 0, 1])
    _, owner = pump(loop, source, sink, CopyMover(source, sink))
    assert isinstance(owner.error, OSError)
    assert (owner.error.errno, owner.while_filling) == (number, True)
    assert sink.outgoing == b"before"


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE, errno.ENOSPC])
def test_a_failing_write_is_told_as_the_sinks(loop, number):
    source, sink = source_of(loop, [b"data"]), Memory(loop, [2, OSError(number, "")])
    _, owner = pump(loop, source, sink, CopyMover(source, sink))
    assert isinstance(owner.error, OSError)
    assert (owner.error.errno, owner.while_filling) == (number, False)
    assert sink.outgoing == b"da"


# datagrams

messages = st.lists(st.binary(max_size=30), max_size=12)
readiness = st.lists(st.sampled_from([0, 1 << 17]), max_size=30)


@given(messages, readiness)
def test_datagrams_stay_what_they_are(shared_loop, payloads, writes):
    """Empty ones included; a sink that is not ready delays them and changes nothing."""
    source = source_of(shared_loop, payloads, boundaries=True)
    sink = Memory(shared_loop, writes, boundaries=True)
    pump(shared_loop, source, sink, CopyMover(source, sink))
    assert sink.messages == payloads


@given(messages, plan)
def test_datagrams_to_a_stream_are_its_bytes(shared_loop, payloads, writes):
    source, sink = source_of(shared_loop, payloads, boundaries=True), Memory(shared_loop, writes)
    pump(shared_loop, source, sink, CopyMover(source, sink))
    assert sink.outgoing == b"".join(payloads)


@given(pieces, st.integers(1, 20), readiness)
def test_datagram_size_cuts_each_read(shared_loop, chunks, size, writes):
    source, sink = source_of(shared_loop, chunks), Memory(shared_loop, writes, boundaries=True)
    pump(shared_loop, source, sink, CopyMover(source, sink, datagram_size=size))
    assert sink.messages == [chunk[at : at + size] for chunk in chunks for at in range(0, len(chunk), size)]


@pytest.mark.parametrize(("size", "largest"), [(None, 65_507), (1400, 1400), (65_507, 65_507), (1, 1)])
def test_no_datagram_is_larger_than_it_may_be(loop, size, largest):
    data = pattern(200_000)
    source, sink = source_of(loop, [data]), Memory(loop, boundaries=True)
    sink.capacity = 1 << 20
    pump(loop, source, sink, CopyMover(source, sink, datagram_size=size))
    assert b"".join(sink.messages) == data
    assert max(map(len, sink.messages)) == largest


# time


def test_a_rate_takes_its_time(loop):
    source, sink = source_of(loop, [pattern(60_000)] * 2), Memory(loop)
    sink.capacity = 1 << 20
    start = time.monotonic()
    pump(loop, source, sink, CopyMover(source, sink), rate=300_000)
    assert 0.25 < time.monotonic() - start < 5
    assert len(sink.outgoing) == 120_000


def test_a_rate_does_not_cut_datagrams(loop):
    payloads = [pattern(5000, seed) for seed in range(4)]
    source = source_of(loop, payloads, boundaries=True)
    sink = Memory(loop, boundaries=True)
    start = time.monotonic()
    pump(loop, source, sink, CopyMover(source, sink), rate=50_000)
    assert sink.messages == payloads
    assert time.monotonic() - start > 0.15


@given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"d\ne"]), max_size=12), plan, plan)
def test_lines_go_one_by_one(shared_loop, chunks, reads, writes):
    source, sink = source_of(shared_loop, chunks, reads), Memory(shared_loop, writes)
    pump(shared_loop, source, sink, LineMover(source, sink, (), 0.0001))
    assert sink.outgoing == b"".join(chunks)
    assert all(message.count(b"\n") <= 1 for message in sink.messages)


def test_lines_wait_for_each_other(loop):
    source, sink = source_of(loop, [b"a\nb\nc"]), Memory(loop)
    start = time.monotonic()
    pump(loop, source, sink, LineMover(source, sink, (), 0.1))
    assert sink.messages == [b"a\n", b"b\n", b"c"]
    assert 0.2 <= time.monotonic() - start < 5
