"""What a relay is asked for and what it gives back: values, in the relay's own terms."""

from __future__ import annotations

from pync.errors import ExitCode, PyncError
from pync.relay.mover import Tap, Transform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from pync.lean import NamedTuple


class Policy(NamedTuple):
    """When a relay ends, in its own terms; durations in seconds."""

    shutdown: bool = True  # pass the end of our input on
    quit_on_peer_eof: bool = False
    quit_after: float | None = None
    idle_timeout: float | None = None
    end_when_sent: bool = False  # our input's end, confirmed by the peer's system, ends the relay
    receive_only: bool = False  # there is no input
    discard_received: bool = False
    max_bytes: int | None = None
    max_packets: int | None = None
    rate: float | None = None


class Filters(NamedTuple):
    """What sees or changes the bytes. With none of it the fast movers can work."""

    sent: tuple[Transform, ...] = ()
    received: tuple[Transform, ...] = ()
    tap_sent: Tap | None = None  # what went out, as it went
    tap_received: Tap | None = None  # what came in, as it came
    datagram_size: int | None = None
    line_delay: float | None = None


class Outcome(NamedTuple):
    """How a relay ended. `error` is None for a good end; `output_closed` is the quiet 141."""

    reason: str
    sent: int
    received: int
    seconds: float
    error: PyncError | None = None
    output_closed: bool = False

    @property
    def code(self) -> ExitCode:
        return ExitCode.OK if self.error is None else self.error.code
