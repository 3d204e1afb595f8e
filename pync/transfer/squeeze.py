"""Compression that pays: zstd blocks, and the decision whether to use them.

`auto` starts uncompressed, because a fast network is faster than any compressor. Once enough went out to
know the rate of the network, one short block is compressed to see speed and ratio; from then on blocks are
compressed as long as the network is the slower part. Data that does not shrink is asked again only after a
while.
"""

from __future__ import annotations

from time import perf_counter

from pync.proto.transfer import PACKED_MAX, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK = PACKED_MAX
LEVEL = 1
# The block that is tried: long enough to tell the ratio, and short enough to cost next to nothing.
TRIAL = 128 << 10
# Below this much saved, a block is sent as it is: the other end has work with it too.
WORTH = 0.9
# Measure the network over at least this much before asking.
SAMPLE = 4 << 20
SAMPLE_SECONDS = 0.25
ASK_AGAIN = 64 << 20


class Squeezer:
    """Decides block by block, and compresses."""

    def __init__(self, mode: str) -> None:
        self._always = mode == "zstd"
        self._never = mode == "none"
        self._on = self._always
        self._compressor: Any = None
        self._sent = 0  # since the last measurement, on the wire
        self._seconds = 0.0
        self._rest = 0  # bytes to pass before asking again
        self.saved = 0

    @property
    def wanted(self) -> bool:
        """Whether the next block should be offered to `squeeze`."""
        return self._on or (not self._never and self._rest <= 0 and self._known)

    @property
    def block(self) -> int:
        """The bytes that the next block should have."""
        return BLOCK if self._on else TRIAL

    @property
    def _known(self) -> bool:
        return self._sent >= SAMPLE or (self._seconds >= SAMPLE_SECONDS and self._sent > 0)

    def went(self, size: int, seconds: float, plain: int) -> None:
        """`size` bytes (of `plain` bytes of file) took `seconds` to go out."""
        self._sent += size
        self._seconds += seconds
        self._rest -= plain

    def squeeze(self, block: memoryview) -> bytes | None:
        """The compressed block; None when it should go as it is."""
        if self._compressor is None:
            from zstandard import ZstdCompressor

            self._compressor = ZstdCompressor(level=LEVEL)
        begin = perf_counter()
        packed: bytes = self._compressor.compress(block)
        seconds = perf_counter() - begin
        smaller = len(packed) < len(block) * WORTH
        if not self._always:
            self._on = smaller and self._pays(len(block), len(packed), seconds)
            if not self._on:
                self._rest = ASK_AGAIN
                self._sent, self._seconds = 0, 0.0
                return None
        if not smaller:
            return None
        self.saved += len(block) - len(packed)
        return packed

    def _pays(self, size: int, packed: int, seconds: float) -> bool:
        """Whether compressing and sending less is faster than sending all; both happen one after the
        other.
        """
        rate = self._sent / max(self._seconds, 1e-6)
        return seconds + packed / rate < size / rate


class Unpacker:
    """Opens blocks; a block never becomes larger than it was announced."""

    def __init__(self) -> None:
        self._decompressor: Any = None

    def unpack(self, packed: bytes, size: int) -> bytes:
        """`size` bytes. Raises ProtocolError for anything else."""
        if self._decompressor is None:
            from zstandard import ZstdDecompressor

            self._decompressor = ZstdDecompressor()
        from zstandard import ZstdError, get_frame_parameters

        try:
            if get_frame_parameters(packed).content_size != size:
                raise ProtocolError("a compressed block does not have the size announced")
            data: bytes = self._decompressor.decompress(packed, max_output_size=size)
        except ZstdError as error:
            raise ProtocolError("a compressed block was damaged") from error
        if len(data) != size:
            raise ProtocolError("a compressed block does not have the size announced")
        return data
