"""The movers that work in our memory, call by call: how much they take, and what becomes of it."""

import pytest

from pync.relay.mover import SINK_READ, SINK_WRITE, SOURCE_READ, SOURCE_WRITE
from pync.relay.movers import CopyMover, SegmentsMover, choose
from pync.transport.channel import WANT_READ, WANT_WRITE, Channel
from tests.contract.memory import Memory
from tests.contract.played import PlayedLoop

ALL = 1 << 30


class Answering(Channel):
    """Answers every call with the same."""

    def __init__(self, answer, *, boundaries=False):
        self.boundaries = boundaries
        self._answer = answer

    def read_into(self, view):
        return self._answer

    def write(self, view):
        return self._answer


def memory(*pieces, boundaries=False, capacity=1 << 20):
    made = Memory(PlayedLoop(), boundaries=boundaries)
    made.capacity = capacity
    made.incoming.extend(pieces)
    return made


@pytest.mark.parametrize(
    ("most", "taken"),
    [(0, 1), (1, 1), (100, 100), (1 << 18, 1 << 18), ((1 << 18) + 1, 1 << 18), (ALL, 1 << 18)],
)
def test_how_much_of_a_stream_is_taken(most, taken):
    mover = CopyMover(memory(bytes(1 << 19)), memory())
    assert not mover.pending
    assert mover.fill(most) == taken
    assert mover.pending


@pytest.mark.parametrize(
    ("size", "taken"), [(None, 65_507), (1400, 64_400), (65_507, 65_507), (40_000, 40_000), (1, 65_507)]
)
def test_whole_datagrams_are_made_of_a_stream_whatever_may_go_now(size, taken):
    """So many bytes that only the last datagram of the stream is a short one."""
    mover = CopyMover(memory(bytes(1 << 19)), memory(boundaries=True), datagram_size=size)
    assert mover.fill(10) == taken


@pytest.mark.parametrize("to_datagrams", [True, False])
def test_a_datagram_is_taken_whole_whatever_may_go_now(to_datagrams):
    mover = CopyMover(memory(bytes(1 << 16), boundaries=True), memory(boundaries=to_datagrams))
    assert mover.fill(10) == 1 << 16


@pytest.mark.parametrize(
    ("answer", "said"), [(WANT_READ, SOURCE_READ), (WANT_WRITE, SOURCE_WRITE), (None, None)]
)
def test_what_the_source_waits_for(answer, said):
    mover = CopyMover(Answering(answer), memory())
    assert mover.fill(ALL) == said
    assert not mover.pending


@pytest.mark.parametrize(("answer", "said"), [(WANT_READ, SINK_READ), (WANT_WRITE, SINK_WRITE)])
def test_what_the_sink_waits_for(answer, said):
    source = memory(b"data")
    mover = CopyMover(source, Answering(answer))
    mover.fill(ALL)
    assert mover.drain() == said
    assert mover.pending


def test_what_waits_is_kept_while_others_use_the_same_buffer():
    sink = memory(capacity=1)
    mover = CopyMover(memory(b"kept"), sink)
    mover.fill(ALL)
    assert (mover.drain(), mover.drain()) == (1, SINK_WRITE)
    CopyMover(memory(b"others"), memory()).fill(ALL)
    sink.capacity = 100
    assert mover.drain() == 3
    assert sink.outgoing == b"kept"
    assert not mover.pending


def test_an_answer_that_waits_is_kept_too():
    sink = memory(capacity=1)
    mover = CopyMover(memory(), sink)
    mover.inject(b"answer")
    assert (mover.drain(), mover.drain()) == (1, SINK_WRITE)
    sink.capacity = 100
    assert mover.drain() == 5
    assert sink.outgoing == b"answer"


@pytest.mark.parametrize(
    ("options", "transparent"),
    [
        ({}, True),
        ({"tap_in": print}, False),
        ({"tap_out": print}, False),
        ({"transforms": (object(),)}, False),
    ],
)
def test_what_nobody_sees_or_changes_may_be_overtaken(options, transparent):
    assert CopyMover(memory(), memory(), **options).transparent is transparent


def test_an_empty_datagram_to_a_stream_is_nothing():
    mover = CopyMover(memory(b"", boundaries=True), memory())
    assert mover.fill(ALL) == 0
    assert not mover.pending
    mover = CopyMover(memory(b"", boundaries=True), memory(boundaries=True))
    assert mover.fill(ALL) == 0
    assert mover.pending


def test_closing_forgets():
    mover = CopyMover(memory(b"data"), memory())
    mover.fill(ALL)
    assert mover.rescue() == b""
    mover.close()
    assert not mover.pending
    mover.inject(b"")
    assert not mover.pending
    mover.inject(b"x")
    assert mover.pending


# datagrams in batches


class Batches(Channel):
    """Gives batches; takes them as `write_batch` and `write` are told."""

    boundaries = batches = True

    def __init__(self, *given, answer=None):
        self.given = list(given)
        self.got = []
        self._answer = answer

    def take_batch(self, buffer):
        assert len(buffer) == 1 << 16
        return self.given.pop(0) if self.given else None

    def write_batch(self, view, size):
        self.got.append((bytes(view), size))
        return len(view) if self._answer is None else self._answer

    def write(self, view):
        self.got.append(bytes(view))
        return len(view) if self._answer is None else self._answer


@pytest.mark.parametrize(
    ("data", "size", "count", "written"),
    [
        (b"aabbc", 2, 3, (b"aabbc", 2)),
        (b"aabb", 2, 2, (b"aabb", 2)),
        (b"aa", 2, 1, b"aa"),
        (b"", 1, 1, b""),
        (b"aaa", 4, 1, b"aaa"),
    ],
)
def test_a_batch_is_passed_on_and_counted(data, size, count, written):
    counts = []
    sink = Batches()
    mover = SegmentsMover(Batches((memoryview(data), size)), sink, counts.append)
    assert not mover.pending
    assert mover.fill(1) == len(data)
    assert mover.pending
    assert mover.drain() == len(data)
    assert not mover.pending
    assert (counts, sink.got) == ([count], [written])
    assert mover.fill(1) == SOURCE_READ


def test_a_batch_to_a_stream_is_its_bytes():
    sink = memory(capacity=3)
    mover = SegmentsMover(Batches((memoryview(b""), 1), (memoryview(b"aabb"), 2)), sink, lambda count: None)
    assert mover.fill(1) == 0
    assert not mover.pending
    assert mover.fill(1) == 4
    assert (mover.drain(), mover.drain()) == (3, SINK_WRITE)
    sink.capacity = 9
    assert mover.drain() == 1
    assert sink.outgoing == b"aabb"
    mover.fill(1)
    mover.close()
    assert not mover.pending
    assert mover.rescue() == b""


@pytest.mark.parametrize(("answer", "said"), [(WANT_READ, SINK_READ), (WANT_WRITE, SINK_WRITE)])
def test_a_batch_that_has_to_wait(answer, said):
    mover = SegmentsMover(Batches((memoryview(b"aabb"), 2)), Batches(answer=answer), lambda count: None)
    mover.fill(1)
    assert mover.drain() == said
    assert mover.pending


# who gets which


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"on_datagrams": print}, SegmentsMover),
        ({}, CopyMover),
        ({"on_datagrams": print, "datagram_size": 5}, CopyMover),
        ({"on_datagrams": print, "tap_in": print}, CopyMover),
        ({"on_datagrams": print, "tap_out": print}, CopyMover),
        ({"on_datagrams": print, "transforms": (object(),)}, CopyMover),
    ],
)
def test_batches_are_for_who_looks_at_nothing(monkeypatch, options, kind):
    monkeypatch.delenv("PYNC_MOVER", raising=False)
    assert type(choose(Batches(), memory(), **options)) is kind
    monkeypatch.setenv("PYNC_MOVER", "copy")
    assert type(choose(Batches(), memory(), **options)) is CopyMover


def test_what_comes_back_is_copied():
    both = Batches()
    assert type(choose(both, both, on_datagrams=print)) is CopyMover
