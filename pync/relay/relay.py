"""A relay joins a connection (`net`) to something of ours (`local`: stdio, a child, a hub's port, another
connection) with two pumps, and decides when it is over.

It is over when
  - both directions have ended, ours by our FIN, the peer's by its, and the peer's system has all we sent;
  - the peer ended and the policy says quit: what was read from our input still goes out first;
  - our input ended and the policy says that this is enough (send-only, a child), or `quit_after` passed;
  - a datagram session was quiet for `quit_after` after our input ended;
  - a limit of received bytes or packets was reached;
  - nothing moved for `idle_timeout`;
  - either side broke. What had arrived from the peer is written out before that counts.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from pync.errors import LocalError, NetworkError, PyncError, TimedOut, reason
from pync.loop import Loop, Timer
from pync.relay.confirm import Confirmation, PeerWatch
from pync.relay.movers import choose
from pync.relay.policy import Filters, Outcome, Policy
from pync.relay.pump import Gone, Nothing, Pump
from pync.transport.channel import Channel
from pync.transport.stdio import OutputClosed, Stdio

# How much longer than `quit_after` the peer's system may take to confirm what our input gave: a round trip.
_ACKNOWLEDGE_SECONDS = 1.0
# How long a peer may take to end, silently, after the reader of our stdout left.
_LAST_WORDS_SECONDS = 0.5
# Datagrams have no end: silence of this length after our input ended is one (CLI contract, 3.3).
DATAGRAM_QUIET = 1.0

_NETWORK = frozenset(
    {errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT}
)


class Relay:
    """See the module. `done(relay)` is called once, from the loop; `outcome` is set by then."""

    def __init__(
        self,
        loop: Loop,
        net: Channel,
        local: Channel,
        policy: Policy,
        filters: Filters = Filters(),  # noqa: B008 (an immutable value)
        *,
        done: Callable[[Relay], None],
        notice: Callable[[str], None] = lambda direction: None,
    ) -> None:
        """`notice` is told which direction ended, "sent" or "received". `local` may be `net` itself: what
        the peer sends goes back to it.
        """
        self.loop, self.net, self.local, self.policy = loop, net, local, policy
        self.outcome: Outcome | None = None
        self.started = self.last_activity = loop.now()
        self._done = done
        self._notice = notice
        self._error: PyncError | None = None
        self._timers: list[Timer] = []
        self._confirmation: Confirmation | None = None
        self._peer_watch: PeerWatch | None = None
        self._eof_said = self._eof_waits = self._local_eof_waits = False
        self._end_when_sent = policy.end_when_sent
        self._limited = False
        self._finishing = False
        self._stdout = local if isinstance(local, Stdio) and not policy.discard_received else None
        sink = Nothing() if policy.discard_received else local
        down = choose(
            net,
            sink,
            filters.received,
            tap_in=filters.tap_received,
            on_datagrams=None if policy.max_packets else self._count_datagrams,
        )
        up = choose(
            local,
            net,
            (*filters.received, *filters.sent) if local is net else filters.sent,
            tap_in=filters.tap_received if local is net else None,
            tap_out=filters.tap_sent,
            datagram_size=filters.datagram_size,
            line_delay=filters.line_delay,
        )
        self.down = Pump(loop, self, net, sink, down, rate=policy.rate, limit=policy.max_bytes)
        self.up = Pump(loop, self, local, net, up, rate=policy.rate)
        self.down.packets_left = policy.max_packets

    def _count_datagrams(self, count: int) -> None:
        self.down.datagrams += count - 1  # the pump counts each fill as one

    @property
    def sent(self) -> int:
        return self.up.moved

    @property
    def received(self) -> int:
        return self.up.taken if self.local is self.net else self.down.moved

    def start(self) -> None:
        """Begin moving; the first bytes move from the loop, not from here."""
        if not self._interactive:
            self.net.guard(True)
            self.local.guard(True)
        if self._stdout is not None:
            self._stdout.watch_broken(self.loop, self._output_broke)
        if self.policy.idle_timeout is not None:
            self._at(self.last_activity + self.policy.idle_timeout, self._look_idle)
        if self.local is self.net:
            self.down.abandon()
        else:
            self.down.start()
        if self.policy.receive_only:
            self.up.abandon()
        else:
            self.up.start()

    @property
    def _interactive(self) -> bool:
        return isinstance(self.local, Stdio) and self.local.interactive

    def inject(self, data: bytes) -> None:
        """Send `data` to the peer between what our input sends."""
        self.up.inject(data)

    def conclude(self) -> None:
        """From now on the end of our input is enough (the program has ended, its output may not have)."""
        self._end_when_sent = True
        if self.up.done and not self._finishing:
            self._confirm("sent")

    # --- what the pumps tell ------------------------------------------------------------------------

    def ended(self, pump: Pump) -> None:
        """A direction ended and all of it is out."""
        if self._finishing:
            return
        if self._error is not None:
            self._finish("error", self._error)
        elif pump is self.up:
            self._notice("sent")
            self._input_ended()
        elif self._limited and not self.local.may_stop_reading:  # a program still has its answer to give
            self._finish("limit", None)
        else:
            self._peer_ended()

    def limit_reached(self, pump: Pump) -> None:
        """The pump took all it may."""
        self._limited = True

    def _peer_ended(self) -> None:
        self._notice("received")
        self._say_eof_to_local()
        if self._finishing:
            return
        if self.up.done:
            self._both_ended()
        elif self.local.boundaries:
            self._end_when_quiet(self.loop.now())
        elif self.policy.quit_on_peer_eof:
            self.up.stop_taking()
        else:
            self._peer_watch = PeerWatch(self.loop, self.net, self._input_undeliverable)
            self._peer_watch.start()

    def _input_undeliverable(self, error: OSError) -> None:
        """The peer is gone for good: no harm if it has all that our input gave so far."""
        if self.up.idle and self.net.confirmed(self.up.moved):
            self._finish("peer-gone", None)
        else:
            self._finish("error", self._net_error(error))

    def _input_ended(self) -> None:
        if self.down.done and self._peer_watch is not None:
            self._peer_watch.ignore_hang_up()  # with both directions shut it means nothing
        if self.policy.shutdown and self.net.half_close:
            self._say_eof()
        if self.down.done:
            self._both_ended()
        elif self.net.boundaries:
            self._datagrams_sent()
        elif self._end_when_sent:
            self._confirm("sent")
        elif self.policy.quit_after is not None:
            patience = self.loop.now() + self.policy.quit_after
            self._at(patience, lambda: self._confirm("quit-after", _ACKNOWLEDGE_SECONDS))

    def _say_eof_to_local(self) -> None:
        waited = self._local_eof_waits
        try:
            self._local_eof_waits = self.local.send_eof() != 0
        except PyncError as error:
            self._finish("error", error)
            return
        if self._local_eof_waits:
            self.local.watch_write(self.loop, self._say_eof_to_local)
        elif waited:
            self.local.watch_write(self.loop, None)

    def _say_eof(self) -> None:
        if not self._eof_said:
            try:
                self._eof_waits = self.net.send_eof() != 0
            except (OSError, PyncError) as error:
                self._net_broke(self.up, error)
                return
            self._eof_said = not self._eof_waits
            self.net.watch_write(self.loop, self._say_eof if self._eof_waits else None)

    def _datagrams_sent(self) -> None:
        if self._end_when_sent:
            self._finish("sent", None)
        else:
            self._end_when_quiet(self.loop.now())

    def _end_when_quiet(self, since: float) -> None:
        quiet = DATAGRAM_QUIET if self.policy.quit_after is None else self.policy.quit_after
        end = max(since, self.last_activity) + quiet
        if self.loop.now() >= end:
            self._finish("quiet", None)
        else:
            self._at(end, lambda: self._end_when_quiet(since))

    def _both_ended(self) -> None:
        if self.policy.shutdown or self.policy.receive_only:
            self._say_eof()
        self._cancel_timers()
        self._confirm("eof")

    def _confirm(self, why: str, within: float | None = None) -> None:
        """End once the peer's system has everything we sent; it may make no progress for a minute, or take
        `within` seconds in all."""

        def ended(left: int) -> None:
            missing = NetworkError(f"{self.net.peer}: the last {left} bytes were not acknowledged")
            self._finish("error" if left else why, missing if left else None)

        def broke(error: OSError) -> None:
            self._finish("error", self._net_error(error))

        if self._confirmation is not None:
            self._confirmation.cancel()
        self._confirmation = Confirmation(self.loop, self._unconfirmed, ended, broke, within)

    def _unconfirmed(self) -> int:
        """Bytes and ends, either way, that the other system does not have yet."""
        left = self.net.unacknowledged() if self.up.moved else 0
        left += self._eof_waits + self._local_eof_waits
        return left + (self.local.unacknowledged() if self.down.moved else 0)

    def failed(self, pump: Pump, error: Exception, *, filling: bool) -> None:
        """A pump's mover raised. Which side it was decides who is told what."""
        if isinstance(error, OutputClosed):
            self._finish("stdout-closed", None, output_closed=True)
            return
        if not isinstance(error, OSError | PyncError):
            raise error
        on_net = filling == (pump is self.down)
        if pump.one_call and isinstance(error, OSError):
            on_net = _from_network(error) and not self._is_output_pipe(pump, error)
        if isinstance(error, LocalError):  # a copy of the session cannot be written
            self._local_broke(pump, error)
        elif on_net or self.local is self.net:
            self._net_broke(pump, error)
        else:
            self._local_broke(pump, error)

    def _is_output_pipe(self, pump: Pump, error: OSError) -> bool:
        """Reading a connection does not raise EPIPE while a stdout or child's pipe is there to do it."""
        return pump is self.down and isinstance(error, BrokenPipeError)

    def _local_broke(self, pump: Pump, error: OSError | PyncError) -> None:
        if isinstance(error, PyncError):
            self._finish("error", error)
        elif isinstance(error, BrokenPipeError) and self._stdout is not None:
            self._output_broke()
        elif isinstance(error, BrokenPipeError) and pump is self.down and self.local.may_stop_reading:
            pump.redirect(Nothing())
        else:
            kind = NetworkError if _from_network(error) else LocalError
            name = self.local.peer or ("stdin" if pump is self.up else "stdout")
            if self._error is None:
                self._error = kind(f"{name}: {reason(error)}")
            if pump is self.down and isinstance(error, ConnectionError) and not self.up.done:
                self.down.abandon()
                self.up.run()  # what a target had answered is passed on first
                if not self.up.idle:
                    return
            self._finish("error", self._error)

    def _net_broke(self, pump: Pump, error: OSError | PyncError) -> None:
        """The connection broke. What had arrived is written out first, then that is the end."""
        failure = self._net_error(error) if isinstance(error, OSError) else error
        if self._error is None:
            self._error = failure
        self.up.abandon()
        if self.local is self.net:
            self._finish("error", failure)
        elif pump is self.down or self.net.boundaries:
            self.down.stop_taking()
        elif not self.down.done:
            self.down.run()  # a broken connection gives what had arrived, then its end
        else:
            self._finish("error", failure)

    def _net_error(self, error: OSError) -> PyncError:
        moved = f" after {self.sent} bytes sent, {self.down.taken} received"
        return NetworkError(f"{self.net.peer}: {reason(error)}{moved}")

    # --- time ----------------------------------------------------------------------------------------

    def _at(self, when: float, callback: Callable[[], None]) -> Timer:
        self._timers = [
            timer for timer in self._timers if timer.callback is not None and timer.when > self.loop.now()
        ]
        self._timers.append(self.loop.call_at(when, callback))
        return self._timers[-1]

    def _cancel_timers(self) -> None:
        for watcher in (self._confirmation, self._peer_watch):
            if watcher is not None:
                watcher.cancel()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _look_idle(self) -> None:
        assert self.policy.idle_timeout is not None
        end = self.last_activity + self.policy.idle_timeout
        if self.loop.now() >= end:
            limit = f"{self.policy.idle_timeout:g} s"
            self._finish("idle", TimedOut(f"{self.net.peer}: idle for {limit}"))
        else:
            self._at(end, self._look_idle)

    # --- the end -------------------------------------------------------------------------------------

    def _output_broke(self) -> None:
        """The reader of our stdout left. One that had all it wants (tar, after the end of its archive) leaves
        just before the peer's FIN comes: then nothing is lost, and nobody is told of a failure."""
        assert self._stdout is not None
        self.loop.watch_error(self._stdout.write_fd, None)
        if self.down.done or isinstance(self.down.sink, Gone):
            return
        if self.down.holds:
            self._output_closed()
        else:
            self.down.redirect(Gone())
            self._at(self.loop.now() + _LAST_WORDS_SECONDS, self._output_closed)

    def _output_closed(self) -> None:
        if not self.down.done:
            self._finish("stdout-closed", None, output_closed=True)

    def abort(self, why: str, error: PyncError | None = None) -> None:
        """End now (a signal, a deadline): received bytes are written out as far as that needs no waiting."""
        self.down.flush()
        whole = self.up.done or self._interactive
        self._finish(why, error, reset=not whole)

    def _finish(
        self, why: str, error: PyncError | None, *, output_closed: bool = False, reset: bool = False
    ) -> None:
        if self._finishing:
            return
        self._finishing = True
        self._cancel_timers()
        self.up.stop()
        self.down.stop()
        for channel in (self.net, self.local):
            channel.detach(self.loop)
        if error is not None or output_closed or reset:
            self.net.reset()
            if self.local is not self.net and not isinstance(self.local, Stdio):
                self.local.reset()
        else:
            self._close_quietly()
        if error is not None:  # it lives on in the outcome, and must not keep our frames and buffers alive
            error.__context__ = error.__traceback__ = None
        seconds = self.loop.now() - self.started
        self.outcome = Outcome(why, self.sent, self.received, seconds, error, output_closed)
        self._done(self)

    def _close_quietly(self) -> None:
        if self.policy.shutdown and not self._eof_said and not self.net.half_close:
            try:
                self.net.send_eof()  # TLS 1.2: said only now, when it can no longer cost the reply
            except (OSError, PyncError):
                pass  # the peer went first
        self.net.close()
        self.local.close()


def _from_network(error: OSError) -> bool:
    """Whether an error of a call that touches both sides can only be the connection's."""
    return isinstance(error, ConnectionError | TimeoutError) or error.errno in _NETWORK
