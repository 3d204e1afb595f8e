"""The live line."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.cli.progress import Progress, Speed, compose
from pync.cli.stderr import Stderr

FACTS = {
    "sent": 0,
    "received": 512 << 20,
    "total": 1 << 30,
    "seconds": 4.0,
    "rate": 128 << 20,
    "name": "big.iso",
}


def test_everything_fits_a_wide_terminal() -> None:
    assert compose(FACTS, 200) == (
        "big.iso   50 %  [##########          ]  512 MiB of 1.0 GiB  128 MiB/s  avg 128 MiB/s  0:04  ETA 0:04"
    )


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "big.iso   50 %  512 MiB of 1.0 GiB  128 MiB/s  0:04  ETA 0:04"),
        (50, " 50 %  512 MiB of 1.0 GiB  128 MiB/s  ETA 0:04"),
        (40, " 50 %  512 MiB of 1.0 GiB  128 MiB/s"),
        (30, " 50 %  512 MiB of 1.0 GiB"),
        (20, "512 MiB of 1.0 GiB"),
        (10, "512 MiB of"),
    ],
)
def test_the_most_wanted_survives_a_narrow_one(width: int, line: str) -> None:
    assert compose(FACTS, width) == line


def test_both_directions_are_told_apart() -> None:
    assert (
        compose({"sent": 1024, "received": 2048, "seconds": 0.5, "rate": 10}, 80)
        == "1.0 KiB out, 2.0 KiB in  10 B/s"
    )


def test_a_scan_counts_probes() -> None:
    facts = {"done": 500, "total": 1000, "open": 3, "rate": 250, "seconds": 2.0}
    assert compose(facts, 80) == " 50 %  [##########          ]  500/1,000 probes  250/s  3 open  ETA 0:02"


@given(
    st.fixed_dictionaries(
        {
            "sent": st.integers(0, 1 << 62),
            "received": st.integers(0, 1 << 62),
            "seconds": st.floats(0, 1e9),
            "rate": st.floats(0, 1e15),
            "total": st.none() | st.integers(0, 1 << 62),
            "name": st.none() | st.text(max_size=300),
        }
    ),
    st.integers(1, 300),
)
def test_a_line_is_never_wider_than_the_terminal_nor_dangerous(facts: dict[str, object], width: int) -> None:
    line = compose(facts, width)
    assert len(line) <= width
    assert line.isprintable()


PEERS = [
    {"peer": "10.0.0.1:5", "sent": 512 << 20, "received": 0, "total": 1 << 30, "seconds": 4.0},
    {"peer": "10.0.0.10:50", "sent": 0, "received": 0, "total": 1 << 30, "seconds": 0.5},
]
SEVERAL = {"sent": 512 << 20, "received": 0, "total": 2 << 30, "seconds": 4.0, "rate": 64 << 20}


class Screen:
    """A Stderr whose writes are kept."""

    fd = -1
    terminal = True

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def line(self, text: str) -> None:
        self.text += text + "\n"


@pytest.fixture
def screen() -> Screen:
    return Screen()


def test_a_line_is_drawn_over_the_last_and_erased(screen: Screen) -> None:
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    progress.update({"sent": 5})
    progress.erase()
    progress.erase()
    assert screen.text == "\r\033[K5 B  0 B/s\r\033[K"


def test_a_line_wrapped_by_a_narrower_terminal_is_erased_whole(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    progress.update({**FACTS})
    assert sum(progress._drawn) > 60  # three rows of the terminal below
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((30, 10)))
    progress.erase()
    assert screen.text.endswith("\r\033[A\033[A\033[J")


def test_in_the_background_nothing_is_drawn(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    progress.update({"sent": 5})
    assert screen.text == ""


def test_where_nothing_can_be_drawn_over_lines_come_seldom(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = Progress(screen, live=False)  # type: ignore[arg-type]
    for tick in range(120):
        progress.update({"sent": tick, "seconds": tick / 10})
        now += 0.1
    assert screen.text.count("\n") == 2
    progress.finish()
    progress.finish()
    assert screen.text.splitlines()[2].startswith("119 B  0 B/s")
    assert screen.text.count("\n") == 3


def test_a_real_terminal_shows_it() -> None:
    primary, secondary = os.openpty()
    try:
        Progress(Stderr(secondary), live=True).update({"received": 2048, "seconds": 2.0, "rate": 1024})
        assert b"2.0 KiB  1.0 KiB/s" in os.read(primary, 1000)
    finally:
        os.close(primary)
        os.close(secondary)


def test_time_counts_from_the_first_byte(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    progress.update({"sent": 0, "received": 0, "seconds": 60.0})
    assert screen.text == ""
    progress.update({"sent": 0, "received": 1024, "seconds": 60.1})
    now += 1
    progress.update({"sent": 0, "received": 4096, "seconds": 62.0, "rate": 1024})
    assert screen.text.endswith("4.0 KiB  1.0 KiB/s  avg 2.0 KiB/s  0:02")


def test_several_have_a_line_each_and_one_together(screen: Screen) -> None:
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    progress.update({**SEVERAL, "peers": PEERS})
    lines = screen.text.removeprefix("\r\033[K").split("\n")
    assert lines == [
        "10.0.0.1:5     50 %  512 MiB of 1.0 GiB  128 MiB/s  0:04  ETA 0:04",
        "10.0.0.10:50    0 %  [                    ]  0 B of 1.0 GiB  0 B/s",
        "all            25 %  512 MiB of 2.0 GiB  64.0 MiB/s  ETA 0:24",
    ]
    progress.erase()
    assert screen.text.endswith("\r\033[A\033[A\033[J")


def test_nothing_is_drawn_while_none_of_several_is_here(screen: Screen) -> None:
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    progress.update({**SEVERAL, "peers": PEERS[:1]})
    progress.erase()
    shown = screen.text
    progress.update({**SEVERAL, "peers": []})
    assert screen.text == shown
    progress.update({**SEVERAL, "peers": PEERS[:1]})
    assert screen.text.startswith("10.0.0.1:5", len(shown) + len("\r\033[K"))


def test_one_of_several_is_still_named(screen: Screen) -> None:
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    progress.update({**SEVERAL, "peers": PEERS[:1]})
    assert screen.text.startswith("\r\033[K10.0.0.1:5   50 %  512 MiB of 1.0 GiB")
    assert "all" not in screen.text


def test_more_lines_than_the_terminal_has_are_not_drawn(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((80, 5)))
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    peers = [{**PEERS[0], "peer": f"10.0.0.1:{number}"} for number in range(100)]
    progress.update({**SEVERAL, "peers": peers})
    assert screen.text.count("10.0.0.1:") == 3
    assert screen.text.endswith("ETA 0:24")  # the last line is that of all of them
    progress.erase()
    assert screen.text.endswith("\r\033[A\033[A\033[A\033[J")


def test_a_name_of_a_peer_cannot_hurt_the_terminal(screen: Screen) -> None:
    progress = Progress(screen, live=True)  # type: ignore[arg-type]
    progress.update({**SEVERAL, "peers": [{**PEERS[0], "peer": "\x1b[31m" + "x" * 1000}]})
    assert "\x1b[31m" not in screen.text
    assert "x" * 40 not in screen.text


def test_a_rate_is_that_of_about_a_second() -> None:
    speed = Speed()
    assert speed.steadied({"rate": 100, "seconds": 1.0}) == 100
    assert speed.steadied({"rate": 0, "seconds": 1.1}) == pytest.approx(90)
    assert speed.steadied({"rate": 300, "seconds": 5.0}) == 300


def test_the_rate_of_a_peer_is_what_it_moved_since(screen: Screen) -> None:
    speed = Speed()
    assert speed.between({"sent": 1000, "seconds": 1.0}) == 1000
    assert speed.between({"sent": 5000, "seconds": 2.0}) == 4000
    assert speed.between({"sent": 5000, "seconds": 2.0}) == 4000
    assert speed.between({"received": 10, "seconds": 0.1}) == pytest.approx(
        100
    )  # another one, of the same name
