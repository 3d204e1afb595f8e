"""Small files by the dozen: the short way to pack and parse them agrees with the long one, or leaves it to
it.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from pync.proto import transfer as proto
from pync.proto import transfer_inline as inline
from pync.proto import transfer_messages as messages

NAMES = st.binary(max_size=40)
FILES = st.lists(
    st.tuples(NAMES, st.integers(0, 0o7777), st.integers(-(1 << 40), 1 << 60), st.binary(max_size=300)),
    max_size=6,
)


def _frame(path: bytes, mode: int, mtime: int, body: bytes) -> bytes:
    return inline.encode_inline(path, mode, mtime, body, xxh3_128_digest(body))


def _stream(files: list[tuple[bytes, int, int, bytes]]) -> bytes:
    return b"".join(_frame(*file) for file in files)


def _parse(data: bytes) -> tuple[list[messages.Entry], int]:
    files, end = inline.inline_files(memoryview(data), xxh3_128_digest)
    return [inline.entry_of(file) for file in files], end


def _long_way(data: bytes) -> list[messages.Entry]:
    decoder = proto.Decoder()
    decoder.feed(data)
    found = []
    while (frame := decoder.next()) is not None:
        assert isinstance(frame, proto.Frame)
        assert frame.kind == proto.ENTRY
        found.append(messages.parse_entry(frame.payload))
    assert decoder.whole
    return found


def _packed(entry: messages.Entry) -> bytes:
    return proto.encode(proto.ENTRY, messages.pack_entry(entry))


@given(FILES)
def test_both_ways_say_the_same(files: list[tuple[bytes, int, int, bytes]]) -> None:
    stream = _stream(files)
    found, end = _parse(stream)
    assert end == len(stream)
    assert found == _long_way(stream)
    assert [(e.path, e.mode, e.mtime, e.body) for e in found] == files
    assert b"".join(_packed(entry) for entry in found) == stream


@given(FILES.filter(bool), st.data())
def test_what_is_damaged_is_left_to_the_long_way(
    files: list[tuple[bytes, int, int, bytes]], data: st.DataObject
) -> None:
    stream = bytearray(_stream(files))
    bit = data.draw(st.integers(0, len(stream) * 8 - 1))
    stream[bit // 8] ^= 1 << bit % 8
    found, end = _parse(bytes(stream))
    assert len(found) < len(files)
    assert [(e.path, e.mode, e.mtime, e.body) for e in found] == files[: len(found)]
    assert end <= bit // 8


def test_unfinished_frame_waits_for_the_rest() -> None:
    first, second = _frame(b"a", 0o644, 1, b"one"), _frame(b"b", 0o600, 2, b"")
    for end in range(len(first + second)):
        found, parsed = _parse((first + second)[:end])
        assert parsed == (len(first) if end >= len(first) else 0)
        assert len(found) == (end >= len(first))


def _other_things() -> list[bytes]:
    file = messages.Entry(
        messages.FILE, b"b", 0o644, 1, 3, messages.INLINE, b"", b"two", xxh3_128_digest(b"two")
    )
    return [
        proto.encode(proto.BYE),
        proto.encode(proto.FINISH, messages.pack_counts(messages.Counts(1, 0, 3))),
        _packed(messages.Entry(messages.DIRECTORY, b"d", 0o755, 1)),
        _packed(messages.Entry(messages.FILE, b"big", 0o644, 1, 1 << 30)),
        _packed(messages.Entry(messages.SYMLINK, b"l", target=b"t" * 90)),
        _packed(file._replace(flags=messages.INLINE | messages.AFRESH)),
        _packed(file._replace(body=b"too")),  # its digest lies
        _packed(file._replace(body=b"two and a field of a later version")),
        _packed(file._replace(size=2)),
        _packed(file._replace(size=4)),
        _packed(file._replace(kind=messages.STREAM)),
        _packed(file._replace(digest=bytes(messages.DIGEST_MAX + 1))),
        _packed(file._replace(path=b"p" * (messages.PATH_MAX + 1))),
        bytes((proto.ENTRY, 255, 255, 255)) + bytes(200),
        bytes((99, 0, 0, 0)) + bytes(200),
    ]


@pytest.mark.parametrize("other", _other_things())
def test_it_stops_at_anything_else(other: bytes) -> None:
    first = _frame(b"a", 0o644, 1, b"one")
    found, end = _parse(first + other + first)
    assert [entry.path for entry in found] == [b"a"]
    assert end == len(first)


def test_so_many_at_a_time() -> None:
    frame = _frame(b"a", 0o644, 1, b"one")
    found, end = _parse(frame * (inline.BATCH + 3))
    assert len(found) == inline.BATCH
    assert end == len(frame) * inline.BATCH


def test_frame_beyond_the_cap_is_not_made() -> None:
    with pytest.raises(ValueError, match="a payload of"):
        inline.encode_inline(b"a", 0, 0, bytes(proto.FRAME_MAX), b"")
