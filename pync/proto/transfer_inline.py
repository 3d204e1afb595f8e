"""INLINE files of `pync.proto.transfer` by the dozen: the same frames, packed and parsed without a value for
each frame and each entry on the way. Thousands of small files a second depend on it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from pync.proto.transfer import CHECK_SIZE, ENTRY, FRAME_MAX, INLINE_MAX
from pync.proto.transfer_messages import DIGEST_MAX, FILE, INLINE, PATH_MAX, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# path, mode, mtime, contents (in the buffer they arrived in), their digest
InlineFile = tuple[bytes, int, int, memoryview, bytes]
BATCH = 256  # files parsed at a time

_WORD_SIZE = 4
# The frame's header and the fixed part of the entry, which follow each other.
_HEAD = struct.Struct("!IBBHqQH")
_CHECK = struct.Struct("!Q")
_TYPE = ENTRY << 24
_FRAME_END = _TYPE + FRAME_MAX


def inline_files(
    data: memoryview, digest_of: Callable[[Any], bytes], most: int = BATCH
) -> tuple[list[InlineFile], int]:
    """The INLINE files at the start of `data` whose frames are there, and where the last of them ends.

    It stops at whatever is anything else: an unfinished frame, another message, damage, a lie. Whoever reads
    on, one frame at a time, finds out what. The contents of those it gives have the digest they came with.
    """
    files: list[InlineFile] = []
    head, check, head_size = _HEAD.unpack_from, _CHECK.unpack_from, _HEAD.size
    start, end = 0, len(data)
    while start + head_size + CHECK_SIZE < end and len(files) < most:
        word, kind, flags, mode, mtime, size, length = head(data, start)
        if not _TYPE <= word <= _FRAME_END or kind != FILE or flags != INLINE:
            break
        stop = start + _WORD_SIZE + word - _TYPE
        digest_at = start + head_size + length
        if length > PATH_MAX or size > INLINE_MAX or digest_at >= stop or stop + CHECK_SIZE > end:
            break
        body_at = digest_at + 1 + data[digest_at]
        if body_at + size != stop or data[digest_at] > DIGEST_MAX:
            break
        if xxh3_64_intdigest(data[start:stop]) != check(data, stop)[0]:
            break
        body, digest = data[body_at:stop], bytes(data[digest_at + 1 : body_at])
        if digest_of(body) != digest:
            break
        files.append((bytes(data[start + head_size : digest_at]), mode, mtime, body, digest))
        start = stop + CHECK_SIZE
    return files, start


def entry_of(file: InlineFile) -> Entry:
    """The value that `parse_entry` would have made of it."""
    path, mode, mtime, body, digest = file
    return Entry(FILE, path, mode, mtime, len(body), INLINE, b"", bytes(body), digest)


def encode_inline(path: bytes, mode: int, mtime: int, body: bytes, digest: bytes) -> bytes:
    """The frame of such a file on the wire."""
    size = len(body)
    length = _HEAD.size - _WORD_SIZE + len(path) + 1 + len(digest) + size
    if length > FRAME_MAX:
        raise ValueError(f"a payload of {length} bytes")
    head = _HEAD.pack(_TYPE | length, FILE, INLINE, mode, mtime, size, len(path))
    frame = b"".join((head, path, bytes((len(digest),)), digest, body))
    return frame + xxh3_64_digest(frame)
