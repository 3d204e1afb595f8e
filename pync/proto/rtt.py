"""How long to wait for an answer: the retransmission timer of RFC 6298, for one host."""

from __future__ import annotations

INITIAL = 1.0  # RFC 6298 section 2.1: before any measurement
LOWEST = 0.1  # below this a busy host is called silent for being busy
LONGEST = 3.0
UNKNOWN = 2.0  # the last look at a host of which nothing is known, unless the user sets a time-out
# The last look at a port waits at least this long: a host slower than its average gets a fair hearing, and
# the system's own repeat of the SYN, one second after the first, still counts.
LAST_LOOK = 1.25


class Estimator:
    """Smoothed round-trip time and its variation; `rto` in seconds."""

    __slots__ = ("_srtt", "_var", "rto")

    def __init__(self) -> None:
        self._srtt = -1.0
        self._var = 0.0
        self.rto = INITIAL

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return self._srtt >= 0

    def sample(self, rtt: float) -> None:
        """Take in one measured round trip (never of a repeated probe that could be mistaken: Karn's rule)."""
        if self._srtt < 0:
            self._srtt, self._var = rtt, rtt / 2
        else:
            self._var += (abs(self._srtt - rtt) - self._var) / 4
            self._srtt += (rtt - self._srtt) / 8
        self.rto = min(LONGEST, self._srtt + max(LOWEST, 4 * self._var))


def wait(estimator: Estimator, tries: int, *, last: bool, limit: float) -> float:
    """Seconds to wait for the answer to try number `tries` (from 0): doubled each time, at most `limit`."""
    seconds: float = estimator.rto * 2**tries
    if last:
        # Of a host that never answered nothing is known: it may be as slow as the user allows for.
        seconds = max(seconds, LAST_LOOK if estimator.known else limit)
    return min(seconds, limit)
