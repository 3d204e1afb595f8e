"""The movers that work in our memory, and `choose`: the only place that knows of fast paths."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from time import monotonic

from pync.relay.kernel import LocalFileMover, PipeMover, SendfileMover, SpliceMover, enlarge_pipe
from pync.relay.mover import LATER, SOURCE_READ, Tap, Transform
from pync.transport.channel import CHUNK, DATAGRAM_MAX, Channel, aligned_buffer, scratch
from pync.transport.stdio import Stdio
from pync.transport.stream import StreamSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CopyMover:
    """Through our memory: works for every pair of channels, and the only one that can see or change bytes.

    It reads into this thread's scratch buffer, and keeps of it only what the sink did not take at once: ten
    thousand idle clients have no buffer each.

    Sinks with boundaries get one datagram for each read, cut to `datagram_size`. `tap_in` sees what was read,
    `tap_out` what the sink took.
    """

    ready_at = 0.0

    def __init__(
        self,
        source: Channel,
        sink: Channel,
        transforms: Sequence[Transform] = (),
        *,
        tap_in: Tap | None = None,
        tap_out: Tap | None = None,
        datagram_size: int | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._transforms = transforms
        self._tap_in = tap_in
        self._tap_out = tap_out
        self._out: memoryview | None = None
        self._out_is_ours = False
        self._injected: list[bytes] = []
        self._piece = datagram_size if sink.boundaries else None
        # Datagrams are read and sent whole, whatever may go just now: a limit must not cut one.
        self._whole = source.boundaries or sink.boundaries
        self._most = CHUNK
        if sink.boundaries:
            self._most = DATAGRAM_MAX - (DATAGRAM_MAX % datagram_size if datagram_size else 0)
        if source.boundaries:
            self._most = 1 << 16

    @property
    def pending(self) -> bool:
        return self._out is not None or bool(self._injected)

    @property
    def transparent(self) -> bool:
        """True when bytes pass as they are, unseen: what came another way may overtake an idle mover."""
        return not self._transforms and self._tap_in is None and self._tap_out is None

    def inject(self, data: bytes) -> None:
        """Put `data` into the stream, after what is pending."""
        if data:
            self._injected.append(data)

    def fill(self, limit: int) -> int | None:
        most = self._most if self._whole else max(1, min(limit, self._most))
        view = scratch()[:most]
        count = self._source.read_into(view)
        if count is None or count < 0:
            return count
        data = view[:count]
        if self._tap_in is not None:
            self._tap_in(data)
        if self._transforms:
            data = self._transformed(data)
        if data or (self._source.boundaries and self._sink.boundaries):
            self._out, self._out_is_ours = data, False
        return count

    def _transformed(self, data: memoryview) -> memoryview:
        for transform in self._transforms:
            data = memoryview(transform.feed(data))
        return data

    def end(self) -> None:
        """The source has ended: what the transforms held back becomes pending."""
        rest = b""
        for transform in self._transforms:
            rest = (transform.feed(rest) if rest else b"") + transform.flush()
        self.inject(rest)

    def drain(self) -> int:
        if self._out is None:
            self._out, self._out_is_ours = memoryview(self._injected.pop(0)), True
        out = self._out
        piece = self._piece
        if piece is not None and len(out) > piece:
            taken = self._sink.write_batch(out, piece)  # type: ignore[attr-defined]
        else:
            taken = self._sink.write(out)
        if taken < 0:
            if not self._out_is_ours:
                self._out, self._out_is_ours = memoryview(bytes(out)), True
            return int(taken) - 2
        if self._tap_out is not None:
            self._tap_out(out[:taken])
        self._out = out[taken:] if taken < len(out) else None
        return int(taken)

    def rescue(self) -> bytes:
        return b""

    def close(self) -> None:
        self._out = None


class LineMover(CopyMover):
    """The copying mover that lets a line go every `delay` seconds."""

    def __init__(
        self, source: Channel, sink: Channel, transforms: Sequence[Transform], delay: float, **taps: Any
    ):
        super().__init__(source, sink, transforms, **taps)
        from pync.proto.pacing import LinePacer

        self._pacer = LinePacer(delay)

    @property
    def transparent(self) -> bool:
        return False

    @property
    def pending(self) -> bool:
        return super().pending or self._pacer.ready_at() is not None

    def fill(self, limit: int) -> int | None:
        count = super().fill(limit)
        if self._out is not None:
            self._pacer.feed(self._out)
            self._out = None
        return count

    def end(self) -> None:
        super().end()
        for rest in self._injected:
            self._pacer.feed(rest)
        self._injected.clear()
        self._pacer.flush()

    def drain(self) -> int:
        if not super().pending:
            line = self._pacer.next(monotonic())
            if line is None:
                self.ready_at = self._pacer.ready_at() or 0.0
                return LATER
            self._out, self._out_is_ours = memoryview(line), True
        return super().drain()


class SegmentsMover:
    """Datagrams in batches of equal segments, cut and joined by the kernel (UDP_SEGMENT, UDP_GRO).

    Between two datagram channels boundaries are kept; to a stream the batch is written as it is.
    """

    def __init__(self, source: Any, sink: Channel, on_datagrams: Callable[[int], None]) -> None:
        self._source, self._sink = source, sink
        self._on_datagrams = on_datagrams
        self._buffer = aligned_buffer(1 << 16)
        self._out: memoryview | None = None
        self._size = 1

    @property
    def pending(self) -> bool:
        return self._out is not None

    def fill(self, limit: int) -> int | None:
        batch = self._source.take_batch(self._buffer)
        if batch is None:
            return SOURCE_READ
        data, self._size = batch
        self._on_datagrams(max(1, -(-len(data) // self._size)))
        if data or self._sink.boundaries:
            self._out = data
        return len(data)

    def drain(self) -> int:
        assert self._out is not None
        if self._sink.boundaries and len(self._out) > self._size:
            taken = self._sink.write_batch(self._out, self._size)  # type: ignore[attr-defined]
        else:
            taken = self._sink.write(self._out)
        if taken < 0:
            return int(taken) - 2
        self._out = self._out[taken:] if taken < len(self._out) else None
        return int(taken)

    def rescue(self) -> bytes:
        return b""

    def close(self) -> None:
        self._out = None


def choose(
    source: Channel,
    sink: Channel,
    transforms: Sequence[Transform] = (),
    *,
    tap_in: Tap | None = None,
    tap_out: Tap | None = None,
    datagram_size: int | None = None,
    line_delay: float | None = None,
    on_datagrams: Callable[[int], None] | None = None,
) -> Any:
    """The fastest mover that keeps every promise for this pair. `PYNC_MOVER=copy` forces the portable one.

    `on_datagrams` is told how many datagrams a batch had; without it they come one by one.
    """

    def copy() -> CopyMover:
        return CopyMover(
            source, sink, transforms, tap_in=tap_in, tap_out=tap_out, datagram_size=datagram_size
        )

    if line_delay:
        taps = {"tap_in": tap_in, "tap_out": tap_out, "datagram_size": datagram_size}
        return LineMover(source, sink, transforms, line_delay, **taps)
    if transforms or tap_in or tap_out or source is sink or os.environ.get("PYNC_MOVER") == "copy":
        return copy()
    if source.batches and on_datagrams is not None and not datagram_size:
        return SegmentsMover(source, sink, on_datagrams)
    if source.boundaries or sink.boundaries:
        return copy()
    came_from, goes_to = _descriptor_kind(source, out=False), _descriptor_kind(sink, out=True)
    if came_from == "file" and goes_to == "socket" and hasattr(os, "sendfile") and sys.platform == "linux":
        local = isinstance(sink, StreamSocket) and sink.same_host
        return (LocalFileMover if local else SendfileMover)(source.read_fd, sink.write_fd)
    if "" in (came_from, goes_to) or came_from == "file" or not hasattr(os, "splice"):
        return copy()
    if "pipe" in (came_from, goes_to):
        for kind, fd in ((came_from, source.read_fd), (goes_to, sink.write_fd)):
            if kind == "pipe":
                enlarge_pipe(fd)
        return PipeMover(source.read_fd, sink.write_fd)
    return SpliceMover(source.read_fd, sink.write_fd)


def _descriptor_kind(channel: Channel, *, out: bool) -> str:
    """pipe, file or socket where a mover may go straight to the descriptor, else ""."""
    if isinstance(channel, Stdio):
        if out:
            return ("pipe" if channel.output == "pipe" else "file") if channel.plain_output else ""
        return channel.input if channel.plain_input else ""
    if not channel.plain:
        return ""
    return "socket" if isinstance(channel, StreamSocket) else "pipe"
