"""Target words, exclusion, de-duplication, shards and random order."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.errors import UsageError
from pync.proto import ports
from pync.proto.targets import Block, Cover, Intervals, Name, Permutation, Shards, address_text, mix, parse


def addresses(word: str) -> list[str]:
    found = []
    for target in parse(word):
        assert isinstance(target.where, Block)
        found += [target.where.address(index) for index in range(target.where.size)]
    return found


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("10.0.0.1", ["10.0.0.1"]),
        ("10.0.0.9/30", ["10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.11"]),
        ("10.0.0.1-3", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("10.0.0.3-1", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("10.0.0.255-10.0.1.1", ["10.0.0.255", "10.0.1.0", "10.0.1.1"]),
        ("10.0.1-2.5", ["10.0.1.5", "10.0.2.5"]),
        ("10.0-1.0.5-6", ["10.0.0.5", "10.0.0.6", "10.1.0.5", "10.1.0.6"]),
        ("::1", ["::1"]),
        ("2001:db8::/126", ["2001:db8::", "2001:db8::1", "2001:db8::2", "2001:db8::3"]),
        ("::1-::3", ["::1", "::2", "::3"]),
        ("fe80::1%eth0", ["fe80::1%eth0"]),
        ("0.0.0.0", ["0.0.0.0"]),
    ],
)
def test_addresses(word: str, wanted: list[str]) -> None:
    assert addresses(word) == wanted


@pytest.mark.parametrize(
    ("word", "label", "wanted"),
    [
        ("db.example:5432", "db.example", (5432,)),
        ("my-host-1", "my-host-1", None),
        ("a_b.example", "a_b.example", None),
        ("h:22,80-81", "h", (22, 80, 81)),
        ("h:U:53", "h", (53 | ports.UDP,)),
        ("be-1:U:53", "be-1", (53 | ports.UDP,)),
        ("cafe-1:1-2,U:53", "cafe-1", (1, 2, 53 | ports.UDP)),
        ("10.0.0.1-2-3", "10.0.0.1-2-3", None),
        ("10.0.0.1-256", "10.0.0.1-256", None),
        ("a-b.c.d.e", "a-b.c.d.e", None),
        ("x" * 253, "x" * 253, None),
        ("10.0.0.1:http", "10.0.0.1", (80,)),
        ("[::1]:22,23", "::1", (22, 23)),
        ("[fe80::1%eth0]:22", "fe80::1%eth0", (22,)),
        ("10.0.0.0/30:80", "", (80,)),
        ("tcp://h:1", "h", (1,)),
        ("udp://h:53", "h", (53 | ports.UDP,)),
    ],
)
def test_labels_and_ports(word: str, label: str, wanted: tuple[int, ...] | None) -> None:
    (target,) = parse(word)
    assert (target.label, target.ports) == (label, wanted)


@pytest.mark.parametrize(
    "word",
    [
        "", ":80", "h:", "10.0.0.1/33", "::1/129", "10.0.0.1/x", "h/24", "[::1", "[::1]x", "[::1]:", "1.2.3",
        "12345", "1.2.3.4.5", "256.1.1.1", "http://h", "-x", "tcp://h", "h:99999", "a b", "h\n", "\x1b[2J",
        "x" * 254, "x" * 300, "9" * 5000,
    ],
)  # fmt: skip
def test_refused(word: str) -> None:
    with pytest.raises(UsageError):
        list(parse(word))


@given(st.text(max_size=30))
def test_any_word_is_a_target_or_a_usage_error(word: str) -> None:
    try:
        for target in parse(word):
            assert isinstance(target.where, (Block, Name))
    except UsageError:
        pass


@given(st.integers(0, 2**32 - 1), st.integers(20, 32))
def test_networks_are_those_of_ipaddress(number: int, prefix: int) -> None:
    word = f"{address_text(4, number)}/{prefix}"
    network = ip_network(word, strict=False)
    assert addresses(word) == [str(address) for address in network]


@given(st.integers(0, 2**128 - 1))
def test_addresses_print_as_usual(number: int) -> None:
    text = address_text(6, number)
    assert int(ip_address(text)) == number


def test_a_slash_8_costs_nothing() -> None:
    (target,) = parse("10.0.0.0/8")
    assert isinstance(target.where, Block)
    assert target.where.size == 1 << 24
    ((block, left),) = Cover().fresh(target.where, ports.parse("all"))
    assert (block.size, len(left)) == (1 << 24, 65_535)
    order = Permutation(block.size * 65_535, 1)
    assert 0 <= order[10**11] < len(order)


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=12)


@given(spans, st.tuples(st.integers(0, 60), st.integers(1, 30)))
def test_intervals_are_a_set(spans: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    intervals, wanted = Intervals(), set()
    for start, size in spans:
        intervals.add(start, start + size)
        wanted |= set(range(start, start + size))
    start, stop = asked[0], sum(asked)
    pieces = list(intervals.split(start, stop))
    assert [n for low, high, _ in pieces for n in range(low, high)] == list(range(start, stop))
    assert {n for low, high, hit in pieces if hit for n in range(low, high)} == wanted & set(
        range(start, stop)
    )


def test_intervals_join_where_they_touch_and_not_across_a_gap() -> None:
    intervals = Intervals()
    for start, end in ((0, 5), (6, 8), (8, 10)):
        intervals.add(start, end)
    assert list(intervals.split(0, 10)) == [(0, 5, True), (5, 6, False), (6, 10, True)]
    assert list(intervals.split(10, 12)) == [(10, 12, False)]
    assert list(intervals.split(4, 4)) == []


port_lists = st.sampled_from([(1,), (2,), (1, 2), (2, 3), (1, 2, 3)])


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20), port_lists), max_size=8), spans)
def test_overlapping_targets_are_asked_once_and_excluded_ones_never(
    asked: list[tuple[int, int, tuple[int, ...]]], excluded: list[tuple[int, int]]
) -> None:
    cover = Cover()
    never = set()
    for start, size in excluded:
        cover.exclude(Block(4, start, size))
        never |= set(range(start, start + size))
    got: list[tuple[int, int]] = []
    wanted = set()
    for start, size, codes in asked:
        for block, left in cover.fresh(Block(4, start, size), codes):
            got += [(n, code) for n in range(block.first, block.first + block.size) for code in left]
        wanted |= {(n, code) for n in range(start, start + size) for code in codes}
    assert len(got) == len(set(got))
    assert set(got) == {pair for pair in wanted if pair[0] not in never}


@given(
    st.integers(1, 9),
    st.integers(0, 2**128 - 1),
    st.sets(st.integers(0, 131071), min_size=1, max_size=60),
    st.integers(0, 99),
)
def test_shards_are_disjoint_and_complete(parts: int, number: int, codes: set[int], seed: int) -> None:
    asked = tuple(sorted(codes))
    shares = [Shards(part, parts, seed=seed).own(number, asked) for part in range(1, parts + 1)]
    assert sorted(code for share in shares for code in share) == list(asked)


def test_shards_are_the_same_in_every_version() -> None:
    """Machines that share a scan need not run the same release: the hash is SplitMix64's, after a fold."""
    assert [mix(0), mix(1), mix(1 << 70)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x2A7B67AF6C6AD50E]
    shares = [Shards(1, 3).own(number, tuple(range(1, 13))) for number in (0, 167772161)]
    assert shares == [(1, 4, 12), (3, 5, 6, 7, 8, 9, 10, 11)]


def test_a_block_is_written_as_the_range_it_is() -> None:
    assert [str(Block(4, 167772160, size)) for size in (1, 2)] == ["10.0.0.0", "10.0.0.0-10.0.0.1"]


def test_shards_are_even_and_spread_over_hosts_and_ports() -> None:
    asked = ports.parse("1-1000")
    shards = [Shards(part, 4) for part in range(1, 5)]
    shares = [
        [(n, code) for n in range(167772160, 167772416) for code in shard.own(n, asked)] for shard in shards
    ]
    for share in shares:
        assert abs(len(share) - 64_000) < 1_500
        assert {n for n, _ in share} == set(range(167772160, 167772416))
        assert {code for _, code in share} == set(asked)


@given(st.integers(1, 3000), st.integers(0, 2**48))
def test_random_order_visits_everything_once(size: int, seed: int) -> None:
    order = Permutation(size, seed)
    assert sorted(order[index] for index in range(size)) == list(range(size))


@pytest.mark.parametrize("size", [1, 2, 4, 5, 16, 17, 64, 65, 1000])
def test_random_order_walks_a_square_of_less_than_four_times_the_size(size: int) -> None:
    order = Permutation(size, 7)
    assert sorted(order[index] for index in range(size)) == list(range(size))
    assert size <= 4**order._half < 4 * max(size, 2)
    for index in (-1, size):
        with pytest.raises(IndexError):
            order[index]


def test_shards_forget_port_lists_of_long_ago() -> None:
    shards = Shards(1, 3)
    lists = [tuple(range(1, count)) for count in range(2, 202)]
    for asked in lists:
        assert set(shards.own(5, asked)) <= set(asked)
    assert len(shards._rings) <= 65
    assert shards.own(5, lists[0]) == Shards(1, 3).own(5, lists[0])


def test_random_order_depends_on_the_seed_and_is_not_the_natural_one() -> None:
    first, second = ([Permutation(1000, seed)[i] for i in range(1000)] for seed in (1, 2))
    assert first != second
    assert first != list(range(1000))
    assert first == [Permutation(1000, 1)[i] for i in range(1000)]
