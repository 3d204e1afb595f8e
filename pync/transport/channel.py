"""Channel: live duplex bytes. TCP, UDP, Unix, TLS, proxied, stdio and a child process look alike.

Laws, held by tests/contract for every kind:

- `read_into` gives the number of bytes put into the view. None is the end; 0 is an empty datagram and occurs
  only where `boundaries` is true.
- "Not now" is WANT_READ or WANT_WRITE: which readiness of this channel helps (TLS may have to read to write).
- `write` takes at least one byte, or says not now. A datagram is taken whole or not at all.
- `buffered` bytes are inside the channel, where no poll can see them (TLS records, bytes over-read by a proxy
  handshake): read until WANT_READ before waiting.
- Errors are OSError or PyncError; `close` and `reset` are idempotent and never raise.
"""

from __future__ import annotations

from _thread import _local
from collections.abc import Callable

from pync.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WANT_READ = -1
WANT_WRITE = -2

# The most one read moves: large enough that system calls do not show, small enough to stay in a core's cache.
CHUNK = 1 << 18
# The largest UDP payload over IPv4: 65,535 less the IP and UDP headers.
DATAGRAM_MAX = 65_507
_HEADER_REST = 64 - 16


def aligned_buffer(size: int) -> memoryview:
    """A buffer that starts on a cache line. Large allocations start 16 bytes into one (glibc's header), where
    the kernel's copies are several times slower on some processors."""
    return memoryview(bytearray(size + _HEADER_REST))[_HEADER_REST:]


_scratches = _local()


def scratch() -> memoryview:
    """The CHUNK bytes that everybody in this thread reads into, and uses up before anybody else runs."""
    try:
        return _scratches.view  # type: ignore[no-any-return]
    except AttributeError:
        _scratches.view = aligned_buffer(CHUNK)
        return _scratches.view  # type: ignore[no-any-return]


class Channel:
    """See the module. Defaults are those of a plain byte stream on one descriptor."""

    boundaries = False  # datagrams
    batches = False  # datagrams also come and go many at a time (`take_batch`, `write_batch`)
    half_close = True  # send_eof ends only our direction
    plain = False  # what is on the descriptors is what the channel carries: movers may go straight there
    may_stop_reading = False  # a sink that takes no more is not an error (a child that closed its stdin)
    must_be_asked = False  # `confirmed` knows only what `unacknowledged` found before the connection broke
    read_fd = -1
    write_fd = -1
    peer = ""  # printable address of the other side
    local = ""

    @property
    def buffered(self) -> int:
        """Bytes that `read_into` gives without any readiness."""
        return 0

    def read_into(self, view: memoryview) -> int | None:
        """Bytes read into `view`; None at the end, WANT_* for not now."""
        raise NotImplementedError

    def write(self, view: memoryview) -> int:
        """Bytes taken from `view`, or WANT_* for not now."""
        raise NotImplementedError

    def send_eof(self) -> int:
        """Tell the peer that no more comes: 0 when said, WANT_WRITE to be called again then."""
        return 0

    def watch_read(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever the channel is readable; None stops that."""
        loop.watch_read(self.read_fd, callback)

    def watch_write(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever the channel takes bytes; None stops that."""
        loop.watch_write(self.write_fd, callback)

    def detach(self, loop: Loop) -> None:
        """Stop all watching; must come before `close`."""
        for fd in {self.read_fd, self.write_fd}:
            loop.forget(fd)

    def facts(self) -> dict[str, Any]:
        """What the `connected` event says of the two ends."""
        return {}

    def guard(self, on: bool) -> None:
        """While on, our sudden death must not look like a whole stream, where the transport can do that."""

    def probe(self) -> None:
        """From now on notice a peer that vanished while nothing is sent."""

    def vanished(self) -> bool:
        """Whether the peer's system left bytes of ours unanswered, again and again, for about a minute."""
        return False

    def unacknowledged(self) -> int:
        """Bytes the peer's system has not confirmed, 0 where nobody can tell; raises OSError when broken."""
        return 0

    def confirmed(self, count: int) -> bool:
        """Whether the peer's system confirmed `count` bytes of ours, asked after the connection broke."""
        return False

    def close(self) -> None:
        """Give the descriptors back."""

    def reset(self) -> None:
        """Close so that the peer knows the stream is not whole, where the transport can say that."""
        self.close()


def sooner(loop: Loop, deadline: float | None, idle: float | None) -> float | None:
    """The deadline of one wait in which nothing moves: `deadline`, or `idle` seconds from now."""
    if idle is None:
        return deadline
    end = loop.now() + idle
    return end if deadline is None else min(deadline, end)


async def ready(loop: Loop, channel: Channel, want: int, deadline: float | None = None) -> None:
    """Wait for the readiness that a WANT_* asked for; raises TimeoutError at the deadline."""
    flag = loop.flag()
    watch = channel.watch_read if want == WANT_READ else channel.watch_write
    watch(loop, flag.set)
    try:
        if not await flag.wait(deadline):
            raise TimeoutError
    finally:
        watch(loop, None)


async def read_some(
    loop: Loop, channel: Channel, view: memoryview, deadline: float | None = None
) -> int | None:
    """Bytes read into `view`, None at the end; raises TimeoutError at the deadline."""
    while True:
        count = channel.read_into(view)
        if count is None or count >= 0:
            return count
        await ready(loop, channel, count, deadline)


async def write_all(
    loop: Loop, channel: Channel, data: bytes | memoryview, deadline: float | None = None
) -> None:
    """Write every byte; raises TimeoutError at the deadline."""
    view = memoryview(data)
    while view:
        count = channel.write(view)
        if count >= 0:
            view = view[count:]
        else:
            await ready(loop, channel, count, deadline)
