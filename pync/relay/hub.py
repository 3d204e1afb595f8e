"""A hub joins any number of channels: each client's relay ends in a Port, and what one writes others read.

Routes: `local` (clients talk to our stdio and back), `others` (a broker: everybody to everybody else), `chat`
(the same by whole lines). Our own stdio is a port like any other, the `local` one.

Nobody waits for a stuck client. A source is held back while a receiver that is still reading has more than
half of its buffer waiting; one that took nothing for STUCK_SECONDS is not waited for, and is cut off once
its backlog passes the buffer. So healthy clients of different speeds lose nothing, and a dead one costs the
others a quarter of a second, once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from pync.loop import Loop, Timer
from pync.transport.channel import WANT_READ, WANT_WRITE, Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STUCK_SECONDS = 0.25
# What may wait for our own stdout before clients are held back; it is never cut off.
_LOCAL_BUFFER = 1 << 18


class Port(Channel):
    """One member's end of the hub, in memory. `direct` may send a piece at once, sparing the queue.

    With `datagrams` each piece is one of them, also an empty one, which weighs a byte so that it is noticed.
    """

    def __init__(self, hub: Hub, name: str = "", *, datagrams: bool = False) -> None:
        self.hub = hub
        self.name = name
        self.backlog = 0
        self.last_taken = 0.0
        self.direct: Callable[[memoryview], int] | None = None
        self.cut_off: Callable[[], None] | None = None
        self.boundaries = datagrams
        self._queue: deque[memoryview] = deque()
        self._ended = False  # nothing more will be queued
        self._on_read: Callable[[], None] | None = None
        self._on_write: Callable[[], None] | None = None
        self._scheduled = False
        self.too_slow = False
        self.closed = False

    @property
    def buffered(self) -> int:
        return self.backlog

    def read_into(self, view: memoryview) -> int | None:
        if not self._queue:
            return None if self._ended else WANT_READ
        done = 0
        while self._queue and done < len(view):
            piece = self._queue[0]
            part = piece[: len(view) - done]
            view[done : done + len(part)] = part
            done += len(part)
            if len(part) < len(piece):
                self._queue[0] = piece[len(part) :]
            else:
                self._queue.popleft()
            if self.boundaries:
                self.backlog -= len(part) == len(piece)
                break  # one message, one datagram
        self.backlog -= done
        self.last_taken = self.hub.loop.now()
        self.hub.has_room(self)
        return done

    def write(self, view: memoryview) -> int:
        return self.hub.publish(self, view)

    def write_batch(self, view: memoryview, size: int) -> int:
        """`view` as datagrams of `size` and a shorter last one: bytes of those taken, or WANT_WRITE."""
        done = 0
        while done < len(view):
            if self.write(view[done : done + size]) < 0:
                return done or WANT_WRITE
            done += size
        return len(view)

    def send_eof(self) -> int:
        self.hub.input_ended(self)
        return 0

    def enqueue(self, data: memoryview) -> None:
        """Queue `data` (ours from now on) for this member."""
        if self.closed or self._ended or not (data or self.boundaries):
            return
        if not self._queue:
            self.last_taken = self.hub.loop.now()
        self._queue.append(data)
        self.backlog += len(data) + self.boundaries
        self._notify_soon()

    def end(self) -> None:
        """What is queued is the last."""
        self._ended = True
        self._notify_soon()

    def watch_read(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        self._on_read = callback
        if self._queue or self._ended:
            self._notify_soon()

    def watch_write(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        self._on_write = callback

    def wake_writer(self) -> None:
        """What this member wrote and could not pass on may go now."""
        if self._on_write is not None:
            self.hub.loop.call_soon(self._write_again)

    def _write_again(self) -> None:
        if self._on_write is not None:
            self._on_write()

    def _notify_soon(self) -> None:
        if self._on_read is not None and not self._scheduled:
            self._scheduled = True
            self.hub.loop.call_soon(self._notify)

    def _notify(self) -> None:
        self._scheduled = False
        if self._on_read is not None and (self._queue or self._ended):
            self._on_read()
            if self._queue or self._ended:  # until the reader had the end too, and stops listening
                self._notify_soon()

    def detach(self, loop: Loop) -> None:
        self._on_read = self._on_write = None

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.backlog = 0
            self._queue.clear()
            self.hub.leave(self)


class Hub:
    """See the module. `to_clients` is who gets our stdin: "broadcast", "first" or "none"."""

    def __init__(self, loop: Loop, route: str, *, to_clients: str = "broadcast", buffer: int) -> None:
        self.loop = loop
        self.to_clients = to_clients
        self._route = route
        self._buffer = max(1, buffer)
        self._clients: dict[Port, None] = {}  # an ordered set: the first is the one who came first
        self._waiting: dict[Port, None] = {}  # sources held back
        self._timer: Timer | None = None
        self._stdin_ended = False
        self._room: Any = None
        if route == "chat":
            from pync.proto.chat import Room

            self._room = Room()
        self.local: Port | None = None

    def join_local(self) -> Port:
        """The port of our own stdio."""
        self.local = Port(self, "local")
        if self._room is not None:
            self._said(self._room.join(self.local, "host"))
        return self.local

    def join(self, name: str, *, datagrams: bool = False) -> Port:
        """A port for a new client."""
        port = Port(self, name, datagrams=datagrams)
        self._clients[port] = None
        if self._room is not None:
            self._said(self._room.join(port))
        self._end_hearers()
        self._wake_writers()
        return port

    def _hearers(self) -> list[Port]:
        """The clients that get our stdin; the others' end comes with their own."""
        if self.to_clients == "first":
            return list(self._clients)[:1]
        return list(self._clients) if self.to_clients == "broadcast" else []

    def _end_hearers(self) -> None:
        if self._stdin_ended and self._route == "local":
            for client in self._hearers():
                client.end()

    def leave(self, port: Port) -> None:
        """A client is gone."""
        if self._clients.pop(port, self) is self:
            return
        if self._room is not None:
            self._said(self._room.leave(port))
        self._end_hearers()
        self._wake_writers()

    def input_ended(self, port: Port) -> None:
        """A member says no more. Our stdin's end is passed on where clients only talk to us."""
        if self._room is not None:
            self._said(self._room.finish(port))
        if port is self.local:
            self._stdin_ended = True
            self._end_hearers()

    def end_clients(self) -> None:
        """No more will be said to the clients; what they still say is heard."""
        for port in list(self._clients):
            port.end()

    def end(self) -> None:
        """No more will be said to anybody: ports end once their queues are read."""
        for port in self._members():
            port.end()

    def _members(self) -> Iterable[Port]:
        return [*self._clients, self.local] if self.local is not None else list(self._clients)

    # --- passing on --------------------------------------------------------------------------------

    def publish(self, source: Port, view: memoryview) -> int:
        """Pass on what `source` says: bytes taken, or WANT_WRITE while a receiver needs time."""
        receivers = self._receivers(source)
        if not receivers and source is self.local and self._route == "local":
            self._waiting[source] = None  # our stdin is kept for the clients to come
            return WANT_WRITE
        if self._too_full(receivers):
            self._waiting[source] = None
            return WANT_WRITE
        if self._room is not None:
            self._said(self._room.feed(source, view))
        else:
            self._deliver(receivers, view)
        return len(view)

    def _receivers(self, source: Port) -> list[Port]:
        if self._route != "local":
            return [port for port in self._members() if port is not source]
        if source is not self.local:
            return [self.local] if self.local is not None else []
        return self._hearers()

    def _too_full(self, receivers: Iterable[Port]) -> bool:
        now = self.loop.now()
        half = self._buffer // 2
        for port in receivers:
            if port is self.local:
                full = port.backlog > _LOCAL_BUFFER
            else:
                full = port.backlog > half and now - port.last_taken < STUCK_SECONDS
            if full:
                if self._timer is None:
                    self._timer = self.loop.call_later(STUCK_SECONDS, self._look_again)
                return True
        return False

    def _look_again(self) -> None:
        self._timer = None
        self._wake_writers()

    def has_room(self, port: Port) -> None:
        """A member read some of its backlog."""
        if self._waiting and port.backlog <= (_LOCAL_BUFFER if port is self.local else self._buffer) // 4:
            self._wake_writers()

    def _wake_writers(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for port in waiting:
            port.wake_writer()

    def _deliver(self, receivers: Iterable[Port], view: memoryview) -> None:
        copy: memoryview | None = None
        for port in receivers:
            rest = 0
            if port.direct is not None and not port.backlog and view:
                rest = port.direct(view)
                if rest == len(view):
                    continue
            if copy is None:
                copy = memoryview(bytes(view))  # one copy for all who cannot take it right now
            self._queue(port, copy[rest:])

    def _queue(self, port: Port, data: memoryview) -> None:
        if port is self.local or port.backlog <= self._buffer:
            port.enqueue(data)
        elif not port.too_slow:
            port.too_slow = True
            if port.cut_off is not None:
                self.loop.call_soon(port.cut_off)  # not from within the fan-out

    def _said(self, said: Iterable[Any]) -> None:
        for item in said:
            data = memoryview(item.data)
            if item.private:
                self._deliver([item.member], data)
            else:
                self._deliver([port for port in self._members() if port is not item.member], data)
