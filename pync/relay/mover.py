"""What a mover is: it carries bytes from one channel to another, `fill` takes from the source, `drain` gives
to the sink.

Each says "not now" with the readiness that helps (SOURCE_*, SINK_*, LATER). One that the kernel refuses at
run time raises Refused; `rescue` then gives what it holds, and the copying mover takes over without loss.
"""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    from pync.lean import Protocol

# What fill and drain answer besides a count: None is the end of the source.
SOURCE_READ, SOURCE_WRITE = -1, -2  # wait until the source is readable / writable
SINK_READ, SINK_WRITE = -3, -4  # wait until the sink is
LATER = -5  # wait until `ready_at`


Tap = Callable[[memoryview], None]


class Transform(Protocol):
    """A filter of proto/: bytes in, bytes out, something may stay inside until `flush`."""

    def feed(self, data: bytes | memoryview) -> bytes: ...

    def flush(self) -> bytes: ...


class Refused(Exception):
    """The kernel does not do this here; use the copying mover."""


class Mover(Protocol):
    """See the module. `pending`: bytes taken from the source that the sink does not have yet."""

    @property
    def pending(self) -> bool: ...

    def fill(self, limit: int) -> int | None: ...

    def drain(self) -> int: ...

    def rescue(self) -> bytes: ...

    def close(self) -> None: ...
