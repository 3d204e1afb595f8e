"""Who came to a listening transfer and was no part of it: told to whoever waits for somebody else."""

from __future__ import annotations

from pync.errors import IntegrityError, PyncError, TimedOut
from pync.loop import Loop
from pync.proto.transfer import NotFramed
from pync.report import Event, Report
from pync.transfer.wire import Silent
from pync.transport.channel import Channel

# The same reason is told that seldom: a scanner, or a client that tries for ever, must not flood anybody.
AGAIN = 60.0
# Reasons remembered; what OpenSSL says is not ours to count.
_REASONS = 100


class Strangers:
    """Tells of those who seem to come by mistake: no TLS, other words. Who only looks in is not told of."""

    def __init__(self, loop: Loop, report: Report) -> None:
        self._loop = loop
        self._report = report
        self._next: dict[str, float] = {}  # when each reason may be told again

    def tell(self, channel: Channel, error: PyncError) -> None:
        """`error` is what it came to with that client."""
        from pync.transport.tls_errors import NOT_TLS

        mistaken = isinstance(error, (IntegrityError, NotFramed, Silent, TimedOut))
        if not mistaken and not error.message.endswith(NOT_TLS):
            return
        why, now = error.message.removeprefix(f"tls {channel.peer}: "), self._loop.now()
        if now < self._next.get(why, now) or len(self._next) > _REASONS:
            return
        self._next[why] = now + AGAIN
        self._report(Event("waiting", {"reason": f"{channel.peer}: {why}", "peer": channel.peer}))
