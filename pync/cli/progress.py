"""The live line: bytes, rate, average, time left; drawn over itself with two plain ANSI codes. Where several
are served at once each has a line of its own, and all of them together one more.

It fits the terminal as it is now (the size is asked for at each draw), stays in ASCII whatever the locale,
and is silent while the process is in the background. Where nothing can be drawn over (a dumb terminal, or
`--progress` into a file) it's an ordinary line now and then.
"""

from __future__ import annotations

import os
import time

from pync.cli.stderr import Stderr
from pync.proto.units import say_duration, say_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Between two ordinary lines where nothing can be drawn over.
_SELDOM = 5.0
# Ticks come that often: the first byte came at most so long before the first tick that counts it.
_TICK = 0.1
# Between two draws; ticks come about as often.
_OFTEN = 0.09
_BAR = 20
# Longer names of files and peers are cut: figures are what the line is for.
_NAME = 30


class Progress:
    """The live line, or lines, of one run."""

    def __init__(self, stderr: Stderr, *, live: bool) -> None:
        self._stderr = stderr
        self._live = live
        self._drawn: list[int] = []  # characters of each line on the screen now
        self._next = 0.0
        self._began: float | None = None
        self._unsaid: dict[str, Any] | None = None
        self._speed = Speed()
        self._speeds: dict[str, Speed] = {}  # of each peer, by its name
        self.used = False

    def update(self, facts: dict[str, Any]) -> None:
        """Draws what the counters say, now and then; seconds count from the first byte, not before it."""
        now = time.monotonic()
        if "done" not in facts:
            if not facts.get("sent") and not facts.get("received"):
                return
            if facts.get("peers") == []:  # several may come, and nobody is here: nothing moves
                self.erase()
                return
            seconds = float(facts.get("seconds") or 0)
            if self._began is None:
                self._began = max(seconds - _TICK, 0.0)
            facts = {**facts, "seconds": seconds - self._began}
        self._unsaid = None if self._live else facts
        if now < self._next:
            return
        if not self._live:
            # Not the first tick: most runs are over before there is anything to say.
            if self._next:
                self._say()
            self._next = now + _SELDOM
            return
        self._next = now + _OFTEN
        if not self._in_foreground():
            return
        columns, rows = self._size()
        lines = self._lines(facts, columns - 1)
        lines = [*lines[: max(rows - 2, 0)], lines[-1]] if len(lines) >= rows else lines
        self._stderr.write(self._erasure(columns) + "\n".join(lines))
        self._drawn = [len(line) for line in lines]
        self.used = True

    def erase(self) -> None:
        """Takes the lines away; the next update draws them again."""
        if self._drawn:
            self._stderr.write(self._erasure(self._size()[0]))
            self._drawn = []
            self._next = 0.0

    def forget(self) -> None:
        """The last figures were said in other words."""
        self._unsaid = None

    def finish(self) -> None:
        """The last figures, where they are lines; else nothing is left on the screen."""
        self.erase()
        self._say()

    def _say(self) -> None:
        facts, self._unsaid = self._unsaid, None
        if facts is not None:
            for line in self._lines(facts, 200):
                self._stderr.line(line)

    def _lines(self, facts: dict[str, Any], width: int) -> list[str]:
        facts = {**facts, "rate": self._speed.steadied(facts)}
        peers = self._peers(facts.get("peers") or ())
        if not peers:
            return [compose(facts, width)]
        whole = [{**facts, "peer": "all"}] if len(peers) > 1 else []
        margin = max(len(peer["peer"]) for peer in peers)
        return [compose(one, width, margin) for one in (*peers, *whole)]

    def _peers(self, peers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """With names fit to be shown, and the speed of each."""
        from pync.proto.escape import printable

        named = [{**facts, "peer": printable(str(facts["peer"]))[:_NAME]} for facts in peers]
        self._speeds = {facts["peer"]: self._speeds.get(facts["peer"]) or Speed() for facts in named}
        return [{**facts, "rate": self._speeds[facts["peer"]].between(facts)} for facts in named]

    def _erasure(self, width: int) -> str:
        # A line drawn on a wider terminal has been wrapped onto several rows since.
        rows = sum(max(drawn - 1, 0) // width + 1 for drawn in self._drawn) - 1
        return "\r" + "\033[A" * rows + ("\033[J" if rows > 0 else "\033[K")

    def _size(self) -> tuple[int, int]:
        """Columns and rows; 0 is a terminal that was never told its size."""
        try:
            size = os.get_terminal_size(self._stderr.fd)
        except OSError:
            return 80, 24
        return max(size.columns or 80, 10), size.lines or 24

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._stderr.fd) == os.getpgrp()
        except (OSError, AttributeError):
            return True  # no job control here: nobody to disturb


class Speed:
    """Bytes a second as of about the last second: that of one tick alone jumps too much to be read."""

    def __init__(self) -> None:
        self._rate: float | None = None
        self._seconds = 0.0
        self._moved = 0

    def steadied(self, facts: dict[str, Any]) -> float:
        """From the `rate` of a tick."""
        seconds = float(facts.get("seconds") or 0)
        return self._next(float(facts.get("rate") or 0), seconds)

    def between(self, facts: dict[str, Any]) -> float:
        """From what was moved since the last time."""
        seconds = float(facts.get("seconds") or 0)
        moved = int(facts.get("sent") or 0) + int(facts.get("received") or 0)
        if moved < self._moved or seconds < self._seconds:  # another one under the same name
            self._rate, self._seconds, self._moved = None, 0.0, 0
        span, went, self._moved = seconds - self._seconds, moved - self._moved, moved
        return self._next(went / span if span > 0 else 0.0, seconds)

    def _next(self, rate: float, seconds: float) -> float:
        weight = min(max(seconds - self._seconds, 0.0), 1.0)
        self._seconds = seconds
        self._rate = rate if self._rate is None else self._rate + (rate - self._rate) * weight
        return self._rate


def compose(facts: dict[str, Any], width: int, margin: int = 0) -> str:
    """The pieces that fit into `width`, the most wanted first to survive; a peer's name takes `margin`."""
    pieces = _ports(facts) if "done" in facts else _bytes(facts)
    if facts.get("peer"):
        pieces.insert(0, (0, str(facts["peer"]).ljust(margin)))
    kept = [piece for _, piece in pieces]
    # Drop the least wanted piece until the rest fits.
    for rank in sorted((rank for rank, _ in pieces), reverse=True):
        if not rank or len("  ".join(kept)) <= width:
            break
        kept = [piece for r, piece in pieces if r < rank]
    return "  ".join(kept)[:width]


def _bytes(facts: dict[str, Any]) -> list[tuple[int, str]]:
    """(rank, piece) in the order shown; rank 0 is kept longest."""
    sent, received = int(facts.get("sent") or 0), int(facts.get("received") or 0)
    moved, total = max(sent, received), facts.get("total")
    seconds, rate = float(facts.get("seconds") or 0), float(facts.get("rate") or 0)
    both = sent and received
    amount = f"{say_size(sent)} out, {say_size(received)} in" if both else say_size(moved)
    pieces = []
    if facts.get("name"):
        from pync.proto.escape import printable

        pieces.append((5, printable(str(facts["name"]))[:_NAME]))
    if total:
        done = min(moved / total, 1.0)
        pieces += [(1, f"{done * 100:3.0f} %"), (6, _bar(done))]
        amount += f" of {say_size(total)}"
    pieces += [(0, amount), (2, f"{say_size(rate)}/s")]
    if seconds >= 1:
        pieces += [(7, f"avg {say_size(moved / seconds)}/s"), (4, _clock(seconds))]
    left = (total - moved) if total else 0
    if left > 0 and rate > 0:
        pieces.append((3, f"ETA {_clock(left / rate)}"))
    return pieces


def _ports(facts: dict[str, Any]) -> list[tuple[int, str]]:
    done, total = int(facts["done"]), int(facts.get("total") or 0)
    rate = float(facts.get("rate") or 0)
    pieces = []
    if total:
        pieces += [(1, f"{done * 100 // total:3} %"), (4, _bar(done / total))]
    pieces += [(0, f"{done:,}{f'/{total:,}' if total else ''} probes"), (2, f"{rate:,.0f}/s")]
    if "open" in facts:
        pieces.append((0, f"{facts['open']:,} open"))
    if total > done and rate > 0:
        pieces.append((3, f"ETA {_clock((total - done) / rate)}"))
    return pieces


def _bar(done: float) -> str:
    full = round(done * _BAR)
    return "[" + "#" * full + " " * (_BAR - full) + "]"


def _clock(seconds: float) -> str:
    """`0:07`; people compare it with the next draw, so the form never changes."""
    if seconds >= 359_999:
        return say_duration(359_999)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
