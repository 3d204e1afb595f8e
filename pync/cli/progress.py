"""The live line: bytes, rate, average, time left; drawn over itself with two plain ANSI codes.

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
    from typing import Any

# Between two ordinary lines where nothing can be drawn over.
_SELDOM = 5.0
# Ticks come that often: the first byte came at most so long before the first tick that counts it.
_TICK = 0.1
# Between two draws; ticks come about as often.
_OFTEN = 0.09
_BAR = 20


class Progress:
    """The live line of one run."""

    def __init__(self, stderr: Stderr, *, live: bool) -> None:
        self._stderr = stderr
        self._live = live
        self._drawn = 0  # characters on the screen now
        self._next = 0.0
        self._began: float | None = None
        self._unsaid: dict[str, Any] | None = None
        self.used = False

    def update(self, facts: dict[str, Any]) -> None:
        """Draws what the counters say, now and then; seconds count from the first byte, not before it."""
        now = time.monotonic()
        if "done" not in facts:
            if not facts.get("sent") and not facts.get("received"):
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
        width = self._columns()
        text = compose(facts, width - 1)
        self._stderr.write(self._erasure(width) + text)
        self._drawn = len(text)
        self.used = True

    def erase(self) -> None:
        """Takes the line away; the next update draws it again."""
        if self._drawn:
            self._stderr.write(self._erasure(self._columns()))
            self._drawn = 0
            self._next = 0.0

    def finish(self) -> None:
        """The last figures, where they are lines; else nothing is left on the screen."""
        self.erase()
        self._say()

    def _say(self) -> None:
        facts, self._unsaid = self._unsaid, None
        if facts is not None:
            self._stderr.line(compose(facts, 200))

    def _erasure(self, width: int) -> str:
        # A line drawn on a wider terminal has been wrapped onto several rows since.
        rows = max(self._drawn - 1, 0) // width
        return "\r" + "\033[A" * rows + ("\033[J" if rows else "\033[K")

    def _columns(self) -> int:
        try:
            # 0 is a terminal that was never told its size.
            return max(os.get_terminal_size(self._stderr.fd).columns or 80, 10)
        except OSError:
            return 80

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._stderr.fd) == os.getpgrp()
        except (OSError, AttributeError):
            return True  # no job control here: nobody to disturb


def compose(facts: dict[str, Any], width: int) -> str:
    """The pieces that fit into `width`, the most wanted first to survive."""
    pieces = _ports(facts) if "done" in facts else _bytes(facts)
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

        pieces.append((5, printable(str(facts["name"]))[:30]))
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
