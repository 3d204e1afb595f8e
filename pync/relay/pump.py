"""A pump moves one direction of a relay: it owns a mover and knows what it waits for."""

from __future__ import annotations

from collections.abc import Callable

from pync.errors import PyncError
from pync.loop import Loop, Timer
from pync.relay.kernel import KernelMover
from pync.relay.mover import LATER, SINK_READ, SOURCE_READ, SOURCE_WRITE, Refused
from pync.relay.movers import CopyMover
from pync.transport.channel import DATAGRAM_MAX, Channel
from pync.transport.stdio import OutputClosed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from pync.proto.pacing import TokenBucket
else:
    from pync.lean import Protocol

# What one pump may move before other channels get their turn.
_TURN = 4 << 20
_UNLIMITED = 1 << 62
# A read of less than this found all there was.
_SHORT = 1 << 16


class Nothing(Channel):
    """Takes everything, gives nothing."""

    def read_into(self, view: memoryview) -> int | None:
        return None

    def write(self, view: memoryview) -> int:
        return len(view)


def _bucket(rate: float) -> TokenBucket:
    from pync.proto.pacing import TokenBucket

    return TokenBucket(rate)


class Gone(Nothing):
    """A stdout whose reader left: as long as nothing more comes, nothing is lost."""

    def write(self, view: memoryview) -> int:
        raise OutputClosed


class PumpOwner(Protocol):
    """The relay, as its pumps see it."""

    last_activity: float

    def ended(self, pump: Pump) -> None: ...

    def failed(self, pump: Pump, error: Exception, *, filling: bool) -> None: ...

    def limit_reached(self, pump: Pump) -> None: ...


class Pump:
    """source -> sink. `taken` and `moved` count bytes read from the source and accepted by the sink.

    States: running, then `draining` (nothing more is taken), then `done` once all that was taken is out.
    """

    def __init__(
        self,
        loop: Loop,
        owner: PumpOwner,
        source: Channel,
        sink: Channel,
        mover: Any,
        *,
        rate: float | None = None,
        limit: int | None = None,
    ) -> None:
        self.loop = loop
        self.source, self.sink = source, sink
        self.taken = 0
        self.moved = 0
        self.datagrams = 0
        self.draining = False
        self.done = False
        self.packets_left: int | None = None
        self._owner = owner
        self._mover = mover
        self._left = _UNLIMITED if limit is None else limit
        self._bucket = _bucket(rate) if rate else None
        self._waits: tuple[Callable[..., None], Any] | None = None
        self._timer: Timer | None = None
        self._again = False
        self._stopped = False
        self._source_empty = False
        # A datagram source gives whole datagrams; a short read of a stream means that it is empty for now.
        self._short_means_empty = isinstance(mover, CopyMover) and not source.boundaries

    @property
    def idle(self) -> bool:
        """True when everything taken is out and the source has nothing more for now."""
        waits_for_source = self._waits is not None and self._waits[0] == self.source.watch_read
        return not self._mover.pending and waits_for_source

    def inject(self, data: bytes) -> None:
        """Send `data` after what is pending (an answer that a filter of the other direction owes)."""
        if data and not self.done and isinstance(self._mover, CopyMover):
            self._mover.inject(data)
            self._wake_later()

    def offer(self, data: memoryview) -> int:
        """Bytes the sink took of `data` right now, past the source; 0 when something is before it in line."""
        mover = self._mover
        if (
            self._stopped
            or self.draining
            or self._bucket is not None
            or mover.pending
            or not mover.transparent
        ):
            return 0
        if self.sink.boundaries and len(data) > DATAGRAM_MAX:
            return 0
        try:
            count = self.sink.write(data)
        except (OSError, PyncError) as failure:
            error = failure
            self.abandon()
            self.loop.call_soon(lambda: self._owner.failed(self, error, filling=False))
            return len(data)
        if count <= 0:
            return 0
        self.taken += count
        self.moved += count
        self._owner.last_activity = self.loop.now()
        return count

    @property
    def one_call(self) -> bool:
        """True when an error may be the source's or the sink's: the mover touches both in one call."""
        return isinstance(self._mover, KernelMover) and self._mover.one_call

    def redirect(self, sink: Channel) -> None:
        """The sink takes no more. Take on, for another one, so that the source's end is noticed."""
        self._unwait()
        self._mover.close()
        self.sink = sink
        self._mover = CopyMover(self.source, sink)
        self._wake_later()

    @property
    def holds(self) -> bool:
        """True while something was taken that the sink does not have yet."""
        return bool(self._mover.pending)

    def stop_taking(self) -> None:
        """Take nothing more from the source; `done` follows once what was taken is out."""
        if not self.draining:
            self.draining = True
            self._wake_later()

    def start(self) -> None:
        """First turn, from the loop."""
        self._wake_later()

    def _wake_later(self) -> None:
        if not self._again and not self._stopped:
            self._again = True
            self.loop.call_soon(self._turn_again)

    def _turn_again(self) -> None:
        self._again = False
        self.run()

    def run(self) -> None:
        """Move until neither side can, or the turn is over. Called whenever what we waited for is ready."""
        if self._stopped or self.done:
            return
        filling = True
        before = self.taken + self.moved
        try:
            while True:
                mover = self._mover
                if mover.pending:
                    filling = False
                    if self._drain(mover):
                        break
                elif self.draining:
                    self._end()
                    break
                elif self._source_empty:
                    self._source_empty = False
                    self._wait(SOURCE_READ, mover)
                    break
                elif self.taken + self.moved - before > _TURN:
                    # Only here, with nothing pending: what was filled may lie in memory that all pumps share.
                    self._wake_later()
                    break
                else:
                    filling = True
                    if self._fill(mover):
                        break
        except Refused:
            self._fall_back()
        except Exception as error:
            self._owner.failed(self, error, filling=filling)
        if self.taken + self.moved != before:
            self._owner.last_activity = self.loop.now()

    def _drain(self, mover: Any) -> bool:
        """True when the sink takes no more for now."""
        count = mover.drain()
        if count >= 0:
            self.moved += count
            return False
        self._wait(count, mover)
        return True

    def _fill(self, mover: Any) -> bool:
        """True when there is nothing more to take for now."""
        limit = self._left
        if self._bucket is not None:
            now = self.loop.now()
            limit = min(limit, self._bucket.allowance(now))
            if limit <= 0 and self._left > 0:
                self._wait_until(self._bucket.ready_at(now))
                return True
        count = mover.fill(limit)
        if count is None:
            self._source_is_over()
            return False
        if count < 0:
            self._wait(count, mover)
            return True
        return self._took(count, mover)

    def _took(self, count: int, mover: Any) -> bool:
        self.taken += count
        self._left -= count
        self.datagrams += 1
        if isinstance(self._mover, KernelMover):
            self.moved += count - mover.held  # most went straight from source to sink
        if self._bucket is not None:
            self._bucket.spend(count, self.loop.now())
        if self._left <= 0 or (self.packets_left is not None and self.datagrams >= self.packets_left):
            self.draining = True
            self._owner.limit_reached(self)
            return False
        if self._short_means_empty and count < _SHORT and not self.source.buffered:
            # Ask the poller next instead of the source: one system call less for each small message.
            self._source_empty = True
        return False

    def _source_is_over(self) -> None:
        end = getattr(self._mover, "end", None)
        if end is not None:
            end()
        self.draining = True

    def _end(self) -> None:
        self.done = True
        self._unwait()
        self._owner.ended(self)

    def abandon(self) -> None:
        """The sink is gone for good: what is pending is lost, the pump done."""
        self.draining = self.done = True
        self._unwait()

    def _fall_back(self) -> None:
        """The kernel refused the fast path: go on by copying, with what the mover still held."""
        held = self._mover.rescue()
        self._mover.close()
        mover = CopyMover(self.source, self.sink)
        mover.inject(held)
        self._mover = mover
        self._short_means_empty = not self.source.boundaries
        self._wake_later()

    # --- waiting -------------------------------------------------------------------------------------

    def _wait(self, want: int, mover: Any) -> None:
        if want == LATER:
            self._wait_until(mover.ready_at)
            return
        source = want >= SOURCE_WRITE
        channel = self.source if source else self.sink
        watch = channel.watch_read if want in (SOURCE_READ, SINK_READ) else channel.watch_write
        if self._waits is not None and self._waits[0] == watch:
            return
        self._unwait()
        self._waits = (watch, None)
        watch(self.loop, self.run)

    def _wait_until(self, when: float) -> None:
        self._unwait()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(when, self.run)

    def _unwait(self) -> None:
        waits, self._waits = self._waits, None
        if waits is not None:
            waits[0](self.loop, None)

    def flush(self) -> bool:
        """Give the sink what was taken, without waiting; True when all of it is out."""
        try:
            while self._mover.pending:
                count = self._mover.drain()
                if count < 0:
                    return False
                self.moved += count
        except Exception:
            return True  # nobody takes it any more
        return True

    def stop(self) -> None:
        """Stop for good and give the mover's descriptors back; idempotent."""
        if self._stopped:
            return
        self._stopped = True
        self._unwait()
        if self._timer is not None:
            self._timer.cancel()
        self._mover.close()
