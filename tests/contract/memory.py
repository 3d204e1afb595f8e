"""A channel in memory that keeps the laws, and can be told to be as awkward as the laws allow."""

from collections import deque
from collections.abc import Callable, Iterable

from pync.loop import Loop
from pync.transport.channel import WANT_READ, WANT_WRITE, Channel

CAPACITY = 1 << 16


class Memory(Channel):
    """What the peer sends is in `incoming`, what it gets in `outgoing`.

    `plan` says, call by call, how much at most a read or a write moves; 0 is "not now" (the next watch calls
    back at once), an exception is raised. When it is used up, everything goes.
    """

    def __init__(self, loop: Loop, plan: Iterable[int | OSError] = (), *, boundaries: bool = False) -> None:
        self.boundaries = boundaries
        self.incoming: deque[bytes] = deque()
        self.outgoing = bytearray()
        self.messages: list[bytes] = []  # as they were written
        self.incoming_ended = False
        self.outgoing_ended = False
        self.closed = False
        self.was_reset = False
        self.capacity = CAPACITY
        self._loop = loop
        self._plan = deque(plan)
        self._on_read: Callable[[], None] | None = None
        self._on_write: Callable[[], None] | None = None

    def _most(self, size: int) -> int:
        """How much this call may move; raises what the plan says."""
        step = self._plan.popleft() if self._plan else size
        if isinstance(step, OSError):
            raise step
        return min(step, size)

    def read_into(self, view: memoryview) -> int | None:
        if not self.incoming:
            return None if self.incoming_ended else WANT_READ
        piece = self.incoming[0]
        if self.boundaries:
            self.incoming.popleft()
            view[: len(piece)] = piece
            return len(piece)
        count = self._most(min(len(view), len(piece)))
        if count == 0:
            return WANT_READ
        view[:count] = piece[:count]
        self.incoming.popleft()
        if piece[count:]:
            self.incoming.appendleft(piece[count:])
        return count

    def write(self, view: memoryview) -> int:
        room = self.capacity - len(self.outgoing)
        count = self._most(len(view) if self.boundaries else min(len(view), max(0, room)))
        if self.boundaries and (count < len(view) or room < len(view)):
            return WANT_WRITE
        if count == 0 and not self.boundaries:
            return WANT_WRITE
        self.outgoing += view[:count]
        self.messages.append(bytes(view[:count]))
        return count

    def write_batch(self, view: memoryview, size: int) -> int:
        return self.write(view[:size])

    def send_eof(self) -> int:
        self.outgoing_ended = True
        return 0

    def watch_read(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        self._on_read = callback
        if callback is not None and (self.incoming or self.incoming_ended):
            loop.call_soon(self._wake_reader)

    def watch_write(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        self._on_write = callback
        if callback is not None and len(self.outgoing) < self.capacity:
            loop.call_soon(self._wake_writer)

    def _wake_reader(self) -> None:
        """Level-triggered, as a descriptor would be."""
        if self._on_read is not None and (self.incoming or self.incoming_ended):
            self._on_read()
            if self._on_read is not None:
                self._loop.call_soon(self._wake_reader)

    def _wake_writer(self) -> None:
        if self._on_write is not None and len(self.outgoing) < self.capacity:
            self._on_write()
            if self._on_write is not None:
                self._loop.call_soon(self._wake_writer)

    def detach(self, loop: Loop) -> None:
        self._on_read = self._on_write = None

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        self.was_reset = True
        self.close()


class MemoryPeer:
    """The other end, used from the same thread."""

    def __init__(self, channel: Memory) -> None:
        self._channel = channel

    def send(self, data: bytes) -> None:
        if data:
            self._channel.incoming.append(data)
        self._channel._loop.call_soon(self._channel._wake_reader)

    def receive(self, count: int) -> bytes:
        data = bytes(self._channel.outgoing[:count])
        del self._channel.outgoing[:count]
        self._channel._loop.call_soon(self._channel._wake_writer)
        return data

    def end(self) -> None:
        self._channel.incoming_ended = True
        self._channel._loop.call_soon(self._channel._wake_reader)

    def close(self) -> None:
        self.end()
