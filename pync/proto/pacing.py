"""When bytes may go: a token bucket for `--rate`, line by line for `--delay`. Times are monotonic seconds."""

# Credit saved up while the source was slow or the process was late: enough that a wake-up late by this much
# costs no throughput, little enough that a limited link never sees more than this of its second at once.
BURST_SECONDS = 0.2
# Tokens are floats; a hair below a whole byte is that byte, else the last of a chunk would cost a wake-up.
_HAIR = 1e-6
# That much of a chunk passes for one: clocks that have run for months are not exact to the byte.
_NEARLY = 0.99


class TokenBucket:
    """At most `rate` bytes a second in the long run, at most about `burst` bytes more than that at once."""

    def __init__(self, rate: float, *, burst: float | None = None) -> None:
        if not rate > 0:
            raise ValueError("a rate is more than 0 bytes a second")
        self.rate = rate
        # Waking for every byte would burn a processor, so a chunk collects first; the rest is for lateness.
        credit = rate * BURST_SECONDS if burst is None else burst
        self._chunk = max(1.0, credit / 4)
        self._burst = self._chunk + credit
        self._tokens = self._chunk
        self._last: float | None = None

    def allowance(self, now: float) -> int:
        """How many bytes may go now; 0 while there is less than a chunk, which is not worth a system call."""
        self._refill(now)
        return 0 if self._tokens < self._chunk * _NEARLY else int(self._tokens + _HAIR)

    def spend(self, count: int, now: float) -> None:
        """`count` bytes went. More than the allowance is a debt paid by waiting: a datagram cannot be cut."""
        self._refill(now)
        self._tokens -= count

    def ready_at(self, now: float) -> float:
        """When a chunk worth a wake-up may go: `now`, or a time to come."""
        self._refill(now)
        missing = self._chunk - self._tokens
        return now if missing <= _HAIR else now + missing / self.rate

    def _refill(self, now: float) -> None:
        if self._last is not None and now > self._last:
            self._tokens = min(self._burst, self._tokens + (now - self._last) * self.rate)
        if self._last is None or now > self._last:
            self._last = now


# A "line" without an end is let go in pieces of this size, so that binary input cannot fill the memory.
MAX_LINE = 64 * 1024


class LinePacer:
    """Gives lines back one at a time, `delay` seconds apart, whole however the reads were cut.

    The caller stops feeding while `pending` is large: what was fed is held until its turn.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._held = bytearray()
        self._scanned = 0  # no line end before this index, so that a long line is not searched twice
        self._next_at = float("-inf")
        self._ended = False

    @property
    def pending(self) -> int:
        """Bytes held."""
        return len(self._held)

    def feed(self, data: bytes | memoryview) -> None:
        """Takes in `data`."""
        self._held += data

    def flush(self) -> None:
        """The input ended: what is left counts as a line even without its line end."""
        self._ended = True

    def next(self, now: float) -> bytes | None:
        """The next line with its line end, or None while its time has not come or it is not complete."""
        length = self._line_length()
        if not length or now < self._next_at:
            return None
        line = bytes(memoryview(self._held)[:length])
        del self._held[:length]
        self._scanned = 0
        self._next_at = now + self._delay
        return line

    def ready_at(self) -> float | None:
        """When `next` will give a line; None when it first needs more input."""
        return self._next_at if self._line_length() else None

    def _line_length(self) -> int:
        end = self._held.find(b"\n", self._scanned, MAX_LINE)
        if end >= 0:
            self._scanned = end
            return end + 1
        self._scanned = min(len(self._held), MAX_LINE)
        if self._scanned == MAX_LINE or self._ended:
            return self._scanned
        return 0
