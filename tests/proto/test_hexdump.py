import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.proto.hexdump import HexDump

NOON = time.mktime((2026, 1, 2, 12, 0, 1, 0, 0, -1))


def test_line_of_the_contract():
    line = b"> 12:00:01.000 00000000  68 69 0a                                          hi.\n"
    assert HexDump().feed(">", b"hi\n", NOON) == line


def test_full_lines_and_a_rest():
    out = HexDump().feed("<", bytes(range(0x30, 0x44)), NOON + 0.25).decode()
    assert out.splitlines() == [
        "< 12:00:01.250 00000000  30 31 32 33 34 35 36 37  38 39 3a 3b 3c 3d 3e 3f  0123456789:;<=>?",
        "< 12:00:01.250 00000010  40 41 42 43                                       @ABC",
    ]


def test_a_rest_of_more_than_half_a_line_has_the_gap():
    out = HexDump().feed(">", bytes(range(0x30, 0x3B)), NOON).decode()
    assert out == ("> 12:00:01.000 00000000  30 31 32 33 34 35 36 37  38 39 3a                 0123456789:\n")


def test_each_direction_counts_its_own_offset():
    dump = HexDump()
    sent = [("<", b"x" * 3), (">", b"y" * 5), ("<", b"z"), (">", b"")]
    out = b"".join(dump.feed(direction, data, NOON) for direction, data in sent)
    assert [line[15:23] for line in out.splitlines()] == [b"00000000", b"00000000", b"00000003"]


def test_what_is_not_text_is_a_dot():
    assert HexDump().feed(">", b"\x1b\x1f\x7f\x80\xff~ ", NOON).endswith(b"  .....~ \n")


@pytest.mark.parametrize("data", [b"a", b"a" * 32])
def test_offset_past_four_gigabytes(data):
    dump = HexDump()
    dump._offsets[">"] = 1 << 32
    assert b" 100000000  61 " in dump.feed(">", data, NOON)


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize(
    ("offset", "shown"),
    [((1 << 32) - 16, b"fffffff0"), ((1 << 32) - 1, b"ffffffff"), (1 << 32, b"100000000")],
)
def test_offsets_get_longer_when_they_must(size, offset, shown):
    dump = HexDump()
    dump._offsets["<"] = offset
    assert dump.feed("<", b"a" * size, NOON).startswith(b"< 12:00:01.000 " + shown + b"  61 ")


LINE = re.compile(r"([<>]) \d\d:\d\d:\d\d\.\d{3} ([0-9a-f]{8,})  (.{50})(.*)")


@given(st.lists(st.tuples(st.sampled_from("<>"), st.binary(max_size=100))), st.floats(0, 4e9))
def test_dump_holds_the_session(session, when):
    dump = HexDump()
    seen = {"<": b"", ">": b""}
    for direction, data in session:
        for line in dump.feed(direction, memoryview(data), when).decode().splitlines():
            sign, offset, octets, text = LINE.fullmatch(line).groups()
            assert int(offset, 16) == len(seen[sign])
            assert len(text) == len(bytes.fromhex(octets))
            seen[sign] += bytes.fromhex(octets)
    for sign in "<>":
        assert seen[sign] == b"".join(data for direction, data in session if direction == sign)


def test_the_first_seconds_of_all_have_a_time_too():
    dump = HexDump()
    for when in (1.0, 0.0):
        assert LINE.fullmatch(dump.feed(">", b"a", when).decode().rstrip("\n"))


@pytest.mark.parametrize("fraction", [0.0004, 0.9996])
def test_milliseconds_are_rounded_with_the_seconds(fraction):
    clock = HexDump().feed(">", b"a", NOON + fraction)[2:14]
    assert clock in (b"12:00:01.000", b"12:00:02.000")
