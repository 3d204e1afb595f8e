import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.proto.pacing import MAX_LINE, LinePacer, TokenBucket
from tests.proto.cuts import cut, of_bytes, places

START = 1000.0


def moved(rate: float, seconds: float, *, late: float = 0.0, piece: int = 1 << 30) -> int:
    """Bytes a greedy sender moves which wakes up `late` after each time it asked for."""
    bucket = TokenBucket(rate)
    now, total = START, 0
    while now < START + seconds:
        count = min(bucket.allowance(now), piece)
        bucket.spend(count, now)
        total += count
        now = max(bucket.ready_at(now), now) + late
    return total


@pytest.mark.parametrize("late", [0.0, 0.003, 0.1])
@pytest.mark.parametrize("rate", [7, 100, 1500.5, 500_000, 1e9])
def test_long_run_rate_is_exact(rate, late):
    assert moved(rate, 100, late=late) == pytest.approx(rate * 100, rel=0.01)


def test_small_pieces_reach_the_rate_too():
    assert moved(1e6, 50, piece=1000) == pytest.approx(50e6, rel=0.01)


def test_who_asks_all_the_time_is_given_chunks_not_crumbs():
    bucket = TokenBucket(1e6)
    given_out = []
    for microsecond in range(1_000_000):
        if count := bucket.allowance(START + microsecond / 1e6):
            bucket.spend(count, START + microsecond / 1e6)
            given_out.append(count)
    assert len(given_out) <= 22
    assert sum(given_out) == pytest.approx(1e6, rel=0.06)


@given(
    st.floats(0.5, 1e10),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 1 << 31)), max_size=50),
)
def test_never_ahead_by_more_than_the_burst(rate, steps):
    bucket = TokenBucket(rate)
    now, total = START, 0
    for pause, wish in steps:
        now += pause
        count = min(wish, bucket.allowance(now))
        bucket.spend(count, now)
        total += count
        assert total <= rate * (now - START) + max(1, rate * 0.05) + rate * 0.2 + 1


@given(st.floats(0.5, 1e10), st.integers(0, 1 << 32), st.floats(0, 1e7))
def test_something_may_go_when_it_says_so(rate, debt, now):
    bucket = TokenBucket(rate)
    bucket.spend(debt, now)
    ready = bucket.ready_at(now)
    assert ready >= now
    assert bucket.allowance(ready) >= 1


def test_what_a_rate_of_a_thousand_gives():
    """A chunk is a twentieth of a second's bytes, and a fifth of a second more may collect."""
    bucket = TokenBucket(1000)
    assert bucket.allowance(START) == 50
    assert bucket.ready_at(START) == START
    bucket.spend(50, START)
    assert bucket.allowance(START + 0.0490) == 0
    assert bucket.allowance(START + 0.0496) == 49
    assert bucket.ready_at(START + 0.0496) == pytest.approx(START + 0.05, abs=1e-5)
    assert bucket.allowance(START + 1000) == 250
    bucket.spend(10, START + 1000)
    assert bucket.allowance(START + 1000) == 240


def test_a_burst_that_was_asked_for():
    bucket = TokenBucket(1000, burst=100)
    assert bucket.allowance(START) == 25
    assert bucket.allowance(START + 1000) == 125
    assert TokenBucket(0.01).allowance(START) == 1
    assert TokenBucket(1000, burst=0).allowance(START + 5) == 1


def test_what_is_spent_late_was_saved_up_to_the_burst_only():
    bucket = TokenBucket(1000)
    assert bucket.allowance(START) == 50
    assert bucket.allowance(START + 10) == 250
    bucket.spend(50, START + 11)
    assert bucket.allowance(START + 11) == 200


def test_when_is_told_from_now_on():
    bucket = TokenBucket(1000)
    bucket.spend(50, START)
    assert bucket.ready_at(START + 0.03) == pytest.approx(START + 0.05)


def test_time_passes_while_bytes_are_spent():
    bucket = TokenBucket(1000)
    bucket.allowance(START)
    bucket.spend(50, START + 0.1)
    assert bucket.allowance(START + 0.1) == 100


def test_a_debt_is_waited_for():
    bucket = TokenBucket(1000, burst=100)
    bucket.spend(65_507, START)
    assert bucket.ready_at(START) == pytest.approx(START + 65.5, abs=0.1)
    assert bucket.allowance(START + 65) == 0


def test_time_that_goes_back_gives_nothing():
    bucket = TokenBucket(1000)
    bucket.spend(bucket.allowance(START), START)
    assert bucket.allowance(START - 5) == 0
    assert bucket.allowance(START) == 0


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match="rate"):
        TokenBucket(rate)


def test_first_line_goes_at_once_and_the_next_waits():
    pacer = LinePacer(2.0)
    pacer.feed(b"a\nb\nc")
    assert pacer.next(START) == b"a\n"
    assert pacer.next(START) is None
    assert pacer.ready_at() == START + 2
    assert pacer.next(START + 1.9) is None
    assert pacer.next(START + 2) == b"b\n"
    assert pacer.ready_at() is None
    assert pacer.next(START + 9) is None
    assert pacer.pending == 1
    pacer.flush()
    assert pacer.next(START + 9) == b"c"
    assert pacer.next(START + 99) is None


@given(of_bytes(b"\nab", max_size=40), places)
def test_lines_are_whole_however_reads_are_cut(data, where):
    pacer = LinePacer(1.0)
    now, lines = START, []

    def take():
        nonlocal now
        while (line := pacer.next(now)) is not None:
            lines.append(line)
            now += 1

    for piece in cut(data, where):
        pacer.feed(memoryview(piece))
        take()
    pacer.flush()
    take()
    assert lines == data.splitlines(keepends=True)
    assert pacer.pending == 0


def test_input_without_line_ends_is_let_go_in_pieces():
    pacer = LinePacer(0)
    data = b"x" * (MAX_LINE + 5)
    for at in range(0, len(data), 1000):
        pacer.feed(data[at : at + 1000])
    assert pacer.next(START) == data[:MAX_LINE]
    assert pacer.next(START) is None
    pacer.flush()
    assert pacer.next(START) == b"x" * 5


@pytest.mark.parametrize(
    ("length", "pieces"),
    [(MAX_LINE, [MAX_LINE]), (MAX_LINE + 1, [MAX_LINE, 1]), (MAX_LINE - 1, [MAX_LINE - 1])],
)
@pytest.mark.parametrize("step", [1 << 20, 1000])
def test_the_longest_line_is_one_piece(length, pieces, step):
    pacer = LinePacer(0)
    data = b"x" * (length - 1) + b"\n"
    got = []
    for at in range(0, length, step):
        pacer.feed(data[at : at + step])
        assert (pacer.ready_at() is None) == (len(pacer._held) < MAX_LINE and b"\n" not in pacer._held)
    while (line := pacer.next(START)) is not None:
        got.append(len(line))
    assert got == pieces


def test_a_pacer_that_waits_for_nothing():
    pacer = LinePacer(5.0)
    assert (pacer.ready_at(), pacer.pending, pacer.next(START)) == (None, 0, None)
    pacer.flush()
    assert (pacer.ready_at(), pacer.next(START)) == (None, None)
    pacer.feed(b"late")
    assert pacer.ready_at() == float("-inf")
    assert pacer.next(START) == b"late"
