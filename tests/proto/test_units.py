"""Durations, sizes and rates."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.proto.units import duration, rate, say_duration, say_size, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2", 2),
        ("2s", 2),
        ("1.5m", 90),
        ("1h", 3600),
        ("1d", 86400),
        ("0", 0),
        (".5", 0.5),
        ("5.", 5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *(("64K", 65536), ("64k", 65536), ("1M", 1 << 20), ("5MiB", 5 << 20), ("1kb", 1000), ("1MB", 10**6)),
        *(("0", 0), ("17", 17), ("10B", 10), ("1.5K", 1536), ("2T", 2 << 40), ("0.1K", 102)),
        ("8388607.999999999999T", 9223372036854775806),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(("letter", "power"), [("K", 1), ("M", 2), ("G", 3), ("T", 4)])
def test_every_unit(letter: str, power: int) -> None:
    assert (size(f"3{letter}"), size(f"3{letter}iB")) == (3 * 1024**power,) * 2
    assert size(f"3{letter}B") == 3 * 1000**power


@pytest.mark.parametrize(
    ("text", "per_second"), [("500K", 512000), ("5M", 5 << 20), ("1MiB/s", 1 << 20), ("1", 1)]
)
def test_rates(text: str, per_second: float) -> None:
    assert rate(text) == per_second


BAD = [
    "",
    " ",
    "-1",
    "+1",
    "1e3",
    "1_000",
    "inf",
    "nan",
    "1.2.3",
    ".",
    "1 s",
    "s",
    "1x",
    "\u0661",
    "1" * 40,
    "0x10",
]


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("parse", [duration, size, rate])
def test_anything_else_is_refused_with_what_is_allowed(parse: object, text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse(text)  # type: ignore[operator]


def test_the_longest_that_is_taken() -> None:
    assert duration("3650d") == 3650 * 86400
    assert size("0" * 29 + "7") == 7
    assert size(str((1 << 63) - 1)) == (1 << 63) - 1
    for parse, text in ((duration, "3650.001d"), (size, "0" * 30 + "7"), (size, str(1 << 63))):
        with pytest.raises(ValueError, match="such as"):
            parse(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [(rate, "0"), (rate, "0.1"), (duration, "4000d"), (size, "9000000T"), (size, "8388608T")],
)
def test_limits(parse: object, text: str) -> None:
    with pytest.raises(ValueError, match=text.rstrip("dT")):
        parse(text)  # type: ignore[operator]


@given(st.text(max_size=12))
def test_parsers_raise_nothing_but_value_errors(text: str) -> None:
    for parse in (duration, size, rate):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


@given(st.integers(0, (1 << 63) - 1))
def test_plain_numbers_are_exact(count: int) -> None:
    assert size(str(count)) == count


@pytest.mark.parametrize(
    ("count", "words"),
    [
        *((0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (102400, "100 KiB")),
        *((102_348, "99.9 KiB"), (102_349, "100 KiB"), (1_048_514, "1024 KiB"), (1_048_525, "1.0 MiB")),
        *((1048575, "1.0 MiB"), (1 << 30, "1.0 GiB"), (5 << 50, "5120 TiB")),
    ],
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert say_size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0, "0.00 s"), (9.994, "9.99 s"), (9.996, "10 s"), (59.49, "59 s"), (59.5, "1:00"), (61, "1:01")),
        *((3599.4, "59:59"), (3599.6, "1:00:00"), (36_000, "10:00:00")),
        *(
            (0.214, "0.21 s"),
            (9.999, "10 s"),
            (59.4, "59 s"),
            (59.9, "1:00"),
            (187, "3:07"),
            (3729, "1:02:09"),
        ),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert say_duration(seconds) == words
