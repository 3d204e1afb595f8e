"""What the frames of `pync.proto.transfer` say: one value per message, packed and parsed, every length
capped.

A parser raises ProtocolError for anything short, too long or out of range. Optional fields at the end of
a payload are tag (1), length (2), value; a reader skips the tags it does not know, so that a later version
may add some.
"""

from __future__ import annotations

import struct

from pync.proto.transfer import INLINE_MAX, PACKED_MAX, RUN_MAX, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from pync.lean import NamedTuple

PATH_MAX = 4096
NAME_MAX = 255
REASON_MAX = 512
DIGEST_MAX = 64
SIZE_MAX = (1 << 63) - 1
TIME_MAX = (1 << 63) - 1  # nanoseconds, before or after 1970
UNKNOWN_SIZE = (1 << 64) - 1
DIRECTORY_MODE = (
    0o1777  # of a mode; without the sticky bit, everybody could delete what others have in a 1777
)

# Entry kinds
FILE, DIRECTORY, SYMLINK, STREAM, LEAVE = 1, 2, 3, 4, 5
# Entry flags: how the body of a file travels; AFRESH: whatever the receiver has of it
EAGER, INLINE, AFRESH = 1, 2, 4
# Digests by their number on the wire
CHECKSUMS = {1: "xxh3", 2: "blake3", 3: "sha256"}
CHECKSUM_NUMBERS = {name: number for number, name in CHECKSUMS.items()}

# What became of an entry (DONE)
OK, IDENTICAL, SKIPPED, REFUSED, FAILED, DAMAGED = range(6)
STATUS_WORDS = ("ok", "identical", "skipped", "refused", "failed", "damaged")
DELIVERED = frozenset({OK, IDENTICAL, SKIPPED})

# How a body ended (END)
WHOLE, BROKEN, STOPPED = range(3)

# ABORT codes are exit statuses, and this one: somebody else is being served, try again
BUSY = 100

# Optional fields
FIELD_TARGET, FIELD_NAME, FIELD_SETTLED = 1, 2, 3

_BEGIN = struct.Struct("!16sBQQ")
_SETTLED = struct.Struct("!16sQ")
_ENTRY = struct.Struct("!BBHqQH")
_ANSWER = struct.Struct("!QBQB")
_MATCH = struct.Struct("!QB")
_END = struct.Struct("!BQB")
_RANGE = struct.Struct("!QQ")
_DONE = struct.Struct("!QBB")
_COUNTS = struct.Struct("!QQQB")
_U64 = struct.Struct("!Q")
_U32 = struct.Struct("!I")
_PACKED = struct.Struct("!II")
_FIELD = struct.Struct("!BH")


class Begin(NamedTuple):
    """BEGIN: who this is (a token, to find the way back after a cut) and what is coming."""

    token: bytes
    checksum: str
    paths: int  # named by the user, not the files below them
    size: int  # bytes, UNKNOWN_SIZE where only a walk or the end of stdin would tell
    name: bytes = b""  # of the first one, for the question to the user
    receiver: bytes = b""  # the token of the one that was met before a cut
    settled: int = 0  # entries it confirmed, directories left out: they do not come again


class Entry(NamedTuple):
    """ENTRY: one thing to be created."""

    kind: int
    path: bytes = b""
    mode: int = 0
    mtime: int = 0  # nanoseconds
    size: int = 0
    flags: int = 0
    target: bytes = b""
    body: bytes = b""  # INLINE: the contents
    digest: bytes = b""  # INLINE: of the contents


class Answer(NamedTuple):
    """ANSWER: the receiver has that much; `whole_follows`: what it wants if the sender's prefix differs."""

    number: int
    offset: int
    digest: bytes
    whole_follows: bool


class Match(NamedTuple):
    """MATCH."""

    number: int
    equal: bool


class End(NamedTuple):
    """END of a body."""

    status: int
    size: int
    digest: bytes
    reason: bytes = b""


class Done(NamedTuple):
    """DONE: what became of one entry."""

    number: int
    status: int
    reason: str = ""
    code: int = 0


class Counts(NamedTuple):
    """FINISH: entries, failed at the source, bytes. SUMMARY: delivered, failed, bytes, exit status."""

    entries: int
    failed: int
    size: int
    code: int = 0


class Abort(NamedTuple):
    """ABORT: this session is over, and why."""

    code: int
    reason: str


def fields(*items: tuple[int, bytes]) -> bytes:
    """Optional fields, those with an empty value left out."""
    return b"".join(_FIELD.pack(tag, len(value)) + value for tag, value in items if value)


def parse_fields(data: bytes) -> dict[int, bytes]:
    """The optional fields; unknown tags are kept and ignored, the last of a tag wins."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + _FIELD.size > len(data):
            raise ProtocolError("a field was cut short")
        tag, length = _FIELD.unpack_from(data, at)
        at += _FIELD.size
        if at + length > len(data):
            raise ProtocolError("a field was cut short")
        found[tag] = data[at : at + length]
        at += length
    return found


def _unpack(form: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) < form.size:
        raise ProtocolError("a message was cut short")
    return form.unpack_from(data)


def _take(data: bytes, at: int, length: int, most: int) -> bytes:
    if length > most or at + length > len(data):
        raise ProtocolError("a message has a bad length")
    return data[at : at + length]


def pack_begin(begin: Begin) -> bytes:
    return _BEGIN.pack(begin.token, CHECKSUM_NUMBERS[begin.checksum], begin.paths, begin.size) + fields(
        (FIELD_NAME, begin.name[:NAME_MAX]),
        (FIELD_SETTLED, _SETTLED.pack(begin.receiver, begin.settled) if begin.settled else b""),
    )


def parse_begin(data: bytes) -> Begin:
    if len(data) < _BEGIN.size:
        raise ProtocolError("a message was cut short")
    token, checksum, paths, size = _BEGIN.unpack_from(data)
    if checksum not in CHECKSUMS:
        raise ProtocolError(f"the peer uses a digest this version does not know ({checksum})")
    extra = parse_fields(data[_BEGIN.size :])
    name, settled = extra.get(FIELD_NAME, b""), extra.get(FIELD_SETTLED)
    receiver, count = _unpack_settled(settled) if settled is not None else (b"", 0)
    return Begin(token, CHECKSUMS[checksum], paths, size, name[:NAME_MAX], receiver, count)


def _unpack_settled(data: bytes) -> tuple[bytes, int]:
    if len(data) != _SETTLED.size:
        raise ProtocolError("a field has a bad length")
    receiver, count = _SETTLED.unpack(data)
    return receiver, count


def pack_entry(entry: Entry) -> bytes:
    """INLINE: digest (with its length in front) and contents stand between the path and the fields."""
    head = _ENTRY.pack(entry.kind, entry.flags, entry.mode, entry.mtime, entry.size, len(entry.path))
    if entry.flags & INLINE:
        return b"".join((head, entry.path, bytes((len(entry.digest),)), entry.digest, entry.body))
    return head + entry.path + fields((FIELD_TARGET, entry.target))


def parse_entry(data: bytes) -> Entry:
    if len(data) < _ENTRY.size:
        raise ProtocolError("a message was cut short")
    kind, flags, mode, mtime, size, length = _ENTRY.unpack_from(data)
    at = _ENTRY.size + length
    if length > PATH_MAX or at > len(data):
        raise ProtocolError("a message has a bad length")
    path = data[_ENTRY.size : at]
    if flags & INLINE:
        return _parse_inline(data, at, Entry(kind, path, mode, mtime, size, flags))
    if not FILE <= kind <= LEAVE:
        raise ProtocolError(f"the peer sent an entry of unknown kind {kind}")
    if size > SIZE_MAX and (kind != STREAM or size != UNKNOWN_SIZE):
        raise ProtocolError("the peer announced an impossible size")
    target = parse_fields(data[at:]).get(FIELD_TARGET, b"") if at < len(data) else b""
    if len(target) > PATH_MAX:
        raise ProtocolError("a message has a bad length")
    return Entry(kind, path, mode, mtime, size, flags, target)


def _parse_inline(data: bytes, at: int, entry: Entry) -> Entry:
    if entry.kind != FILE or entry.size > INLINE_MAX or at >= len(data) or data[at] > DIGEST_MAX:
        raise ProtocolError("the peer sent a file in a way that is not allowed")
    body_at = at + 1 + data[at]
    body = data[body_at : body_at + entry.size]
    if len(body) != entry.size:
        raise ProtocolError("a message was cut short")
    return Entry(*entry[:7], body, data[at + 1 : body_at])


def pack_answer(answer: Answer) -> bytes:
    return (
        _ANSWER.pack(answer.number, answer.whole_follows, answer.offset, len(answer.digest)) + answer.digest
    )


def parse_answer(data: bytes) -> Answer:
    number, whole, offset, length = _unpack(_ANSWER, data)
    if offset > SIZE_MAX:
        raise ProtocolError("the peer announced an impossible size")
    return Answer(number, offset, _take(data, _ANSWER.size, length, DIGEST_MAX), bool(whole))


def pack_match(match: Match) -> bytes:
    return _MATCH.pack(match.number, match.equal)


def parse_match(data: bytes) -> Match:
    number, equal = _unpack(_MATCH, data)
    return Match(number, bool(equal))


def pack_end(end: End) -> bytes:
    return _END.pack(end.status, end.size, len(end.digest)) + end.digest + end.reason[:REASON_MAX]


def parse_end(data: bytes) -> End:
    status, size, length = _unpack(_END, data)
    if status > STOPPED or size > SIZE_MAX:
        raise ProtocolError("the peer ended a file in an unknown way")
    digest = _take(data, _END.size, length, DIGEST_MAX)
    return End(status, size, digest, data[_END.size + length :][:REASON_MAX])


def pack_confirm(first: int, last: int) -> bytes:
    return _RANGE.pack(first, last)


def parse_confirm(data: bytes) -> tuple[int, int]:
    first, last = _unpack(_RANGE, data)
    if last < first:
        raise ProtocolError("the peer confirmed backwards")
    return first, last


def _reason(text: str) -> bytes:
    """As much as travels; names in it may have bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace")[:REASON_MAX]


def pack_done(done: Done) -> bytes:
    return _DONE.pack(done.number, done.status, done.code) + _reason(done.reason)


def parse_done(data: bytes) -> Done:
    number, status, code = _unpack(_DONE, data)
    if status >= len(STATUS_WORDS):
        raise ProtocolError("the peer reported an unknown status")
    return Done(number, status, data[_DONE.size :][:REASON_MAX].decode("utf-8", "backslashreplace"), code)


def pack_counts(counts: Counts) -> bytes:
    return _COUNTS.pack(*counts)


def parse_counts(data: bytes) -> Counts:
    entries, failed, size, code = _unpack(_COUNTS, data)
    return Counts(entries, failed, size, code)


def pack_abort(abort: Abort) -> bytes:
    return bytes((abort.code,)) + _reason(abort.reason)


def parse_abort(data: bytes) -> Abort:
    if not data:
        raise ProtocolError("a message was cut short")
    return Abort(data[0], data[1:][:REASON_MAX].decode("utf-8", "backslashreplace"))


def pack_run(size: int) -> bytes:
    return _U32.pack(size)


def parse_run(data: bytes) -> int:
    (size,) = _unpack(_U32, data)
    if not 0 < size <= RUN_MAX:
        raise ProtocolError(f"the peer announced a run of {size} bytes")
    return size


def pack_hole(size: int) -> bytes:
    return _U64.pack(size)


def parse_hole(data: bytes) -> int:
    (size,) = _unpack(_U64, data)
    if not 0 < size <= SIZE_MAX:
        raise ProtocolError("the peer announced an impossible hole")
    return size


def pack_packed(size: int, packed: int) -> bytes:
    return _PACKED.pack(size, packed)


def parse_packed(data: bytes) -> tuple[int, int]:
    """Unpacked and packed size of a block; a packed one is never larger than its contents."""
    size, packed = _unpack(_PACKED, data)
    if not 0 < packed <= size <= PACKED_MAX:
        raise ProtocolError("the peer announced an impossible block")
    return size, packed


def parse_ready(data: bytes) -> bytes:
    """READY: the token of the receiver. Another one than before is another receiver, which has nothing."""
    return _take(data, 0, 16, 16)


def split_path(path: bytes) -> tuple[bytes, ...]:
    """The names on the way to an entry. Raises ValueError, in words, for a path that could lead elsewhere.

    Newlines, escape codes and bytes that are not UTF-8 are legal in names here and stay; who prints them
    escapes them.
    """
    if not path:
        raise ValueError("its path is empty")
    if len(path) > PATH_MAX:
        raise ValueError("its path is too long")
    if b"\0" in path:
        raise ValueError("its name contains a NUL")
    parts = tuple(path.split(b"/"))
    for part in parts:
        if part in (b"", b".", b".."):
            raise ValueError("its path is absolute or leaves the directory")
        if len(part) > NAME_MAX:
            raise ValueError("its name is too long")
    return parts
