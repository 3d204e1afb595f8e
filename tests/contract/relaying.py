"""A relay between two channels in memory, in time that the test moves."""

from collections import deque
from typing import Any

from pync.errors import ExitCode
from pync.relay.policy import Filters, Outcome, Policy
from pync.relay.relay import Relay
from pync.transport.channel import Channel
from pync.transport.stdio import Stdio
from tests.contract.memory import Memory
from tests.contract.played import PlayedLoop


class Side(Memory):
    """One side, and the other end of it: `gives` and `ends` are what somebody there does."""

    def __init__(self, loop: PlayedLoop, *, boundaries: bool = False) -> None:
        super().__init__(loop, boundaries=boundaries)
        self.guarded = False
        self.probed = False
        self.waits_for_confirmation: int | OSError = 0
        self.questions = 0
        self.gone = False  # the answer of `vanished`
        self.has_all = False  # the answer of `confirmed`
        self.asked_about: list[int] = []
        self.eofs: deque[int | Exception] = deque()  # what `send_eof` says, call by call; then 0
        self.eof_calls = 0
        self.breaks_reading: Exception | None = None
        self.breaks_writing: Exception | None = None

    def read_into(self, view: memoryview) -> int | None:
        if self.breaks_reading is not None and not self.incoming:
            raise self.breaks_reading
        return super().read_into(view)

    def write(self, view: memoryview) -> int:
        if self.breaks_writing is not None:
            raise self.breaks_writing
        return super().write(view)

    def send_eof(self) -> int:
        self.eof_calls += 1
        step = self.eofs.popleft() if self.eofs else 0
        if isinstance(step, Exception):
            raise step
        if step == 0:
            super().send_eof()
        return step

    def guard(self, on: bool) -> None:
        self.guarded = on

    def probe(self) -> None:
        self.probed = True

    def vanished(self) -> bool:
        return self.gone

    def unacknowledged(self) -> int:
        self.questions += 1
        if isinstance(self.waits_for_confirmation, OSError):
            raise self.waits_for_confirmation
        return self.waits_for_confirmation

    def confirmed(self, count: int) -> bool:
        self.asked_about.append(count)
        return self.has_all

    def detach(self, loop: Any) -> None:
        super().detach(loop)
        for fd in (self.read_fd, self.write_fd):
            loop.watch_error(fd, None)

    def close(self) -> None:
        assert self._on_read is None, "closed before it was detached"
        assert self._on_write is None, "closed before it was detached"
        super().close()

    # --- the other end ---------------------------------------------------------------------------

    def gives(self, *pieces: bytes) -> None:
        self.incoming.extend(pieces)
        self._loop.call_soon(self._wake_reader)

    def ends(self) -> None:
        self.incoming_ended = True
        self._loop.call_soon(self._wake_reader)

    def breaks(self, error: Exception) -> None:
        """Reading fails once what was given is read."""
        self.breaks_reading = error
        self.incoming_ended = True
        self._loop.call_soon(self._wake_reader)

    def full(self, on: bool = True) -> None:
        """Whether it takes no more."""
        self.capacity = 0 if on else 1 << 20
        self._loop.call_soon(self._wake_writer)


class Console(Side, Stdio):
    """The same as a stdio: `input` and `output` are a pipe, or a terminal."""

    def __init__(self, loop: PlayedLoop, kind: str = "pipe") -> None:
        super().__init__(loop)
        self.input = self.output = kind
        self.append = False
        self.read_fd, self.write_fd = 100, 101

    def watch_broken(self, loop: Any, callback: Any) -> None:
        if self.output == "pipe":
            loop.watch_error(self.write_fd, callback)

    def reset(self) -> None:
        raise AssertionError("stdio is not ours to reset")


class Session:
    """A relay that was started, with a peer called `net:1`."""

    def __init__(
        self,
        *,
        filters: Filters = Filters(),  # noqa: B008 (an immutable value)
        local: Channel | None = None,
        loop: PlayedLoop | None = None,
        net: Side | None = None,
        **policy: Any,
    ) -> None:
        self.loop = loop or PlayedLoop()
        self.net = net or Side(self.loop)
        self.net.peer = "net:1"
        self.net.read_fd = 7
        self.local: Any = local or Side(self.loop)
        self.directions: list[str] = []
        self.over: list[Outcome] = []
        self.relay = Relay(
            self.loop,  # type: ignore[arg-type]
            self.net,
            self.local,
            Policy(**policy),
            filters,
            done=self._done,
            notice=self.directions.append,
        )
        self.relay.start()
        self.loop.settle()

    def _done(self, relay: Relay) -> None:
        assert relay is self.relay
        assert relay.outcome is not None
        self.over.append(relay.outcome)

    @property
    def outcome(self) -> Outcome:
        """How it ended, once; nothing is left behind then."""
        self.loop.settle()
        (outcome,) = self.over
        assert self.loop.timers == []
        assert self.loop.errors == {}
        assert self.net.closed
        assert self.local.closed or isinstance(self.local, Stdio)  # which is closed by its owner
        return outcome

    @property
    def running(self) -> bool:
        self.loop.settle()
        return not self.over


def consoled(kind: str = "pipe", **options: Any) -> Session:
    """A session whose local side is a stdio."""
    loop = PlayedLoop()
    return Session(loop=loop, local=Console(loop, kind), **options)


def echoing(**options: Any) -> Session:
    """A session whose peer gets back what it sends."""
    loop = PlayedLoop()
    net = Side(loop)
    return Session(loop=loop, net=net, local=net, **options)


def datagrams(*, net: bool = True, local: bool = False, **options: Any) -> Session:
    """A session with boundaries on one side or both."""
    loop = PlayedLoop()
    sides = {"net": Side(loop, boundaries=net), "local": Side(loop, boundaries=local)}
    return Session(loop=loop, **sides, **options)


def good(session: Session, why: str) -> Outcome:
    """The session's outcome: a good end for this reason."""
    outcome = session.outcome
    assert (outcome.reason, outcome.error, outcome.code) == (why, None, ExitCode.OK)
    assert not outcome.output_closed
    assert not session.net.was_reset
    return outcome
