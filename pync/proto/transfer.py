"""The transfer protocol of `send` and `recv`, version 1: frames and greetings, without any input or output.

The specification. Numbers are big-endian, names are raw bytes, nothing is ever trusted for being announced.

1. Greeting. Both ends speak at once, whoever connected, and say the same 18 bytes:
   magic (8: 89 "pync" 0D 0A 1A), highest and lowest version spoken (1 byte each), role (1: 1 sends, 2
   receives), flags (1: bit 0 a secret is required, bit 1 this CPU does AES in hardware), length of extra
   fields (2, at most 1024; zero in version 1, skipped by it), and after those the CRC-32 of all that (4).
   The version used is the highest both speak. Bytes that are not the magic are an unframed peer, known from
   the first wrong byte. Two ends of one role, or one with and one without a secret, end here: no payload
   ever crosses.
2. Secret (only if both require one): see `pync.proto.secret`. PAKE from both, PROOF from the sender, PROOF
from
   the receiver; from then on everything travels in sealed records.
3. Frames. type (1), length (3), payload, and the low 8 bytes of the XXH3-64 of type, length and payload, so
that no
   flipped bit can change a name, a size or a confirmation. Unknown types from 128 up are skipped, others
   are an error. A payload ends in optional fields - tag (1), length (2), value - of which unknown ones are
   skipped.
4. The session:
     sender                                  receiver
     BEGIN  session token, digest, count     READY    (after it asked its user, if it has to)
     ENTRY* one directory, link or file each ANSWER   only for a file whose body was not sent along
     MATCH  does your prefix equal mine?
     RUN / HOLE / PACKED ...  the body
     END    digest and size                  CONFIRM  entries first..last are verified and in place
                                             DONE     entry n: identical, skipped, refused, failed, damaged
     FINISH counts                           SUMMARY  counts
     BYE
   Entries are numbered from 0 by counting. The sender goes on without waiting for confirmations, at most
   WINDOW entries ahead. An ENTRY of a file carries a body in one of three ways: INLINE, digest and contents
   inside the frame (up to INLINE_MAX); EAGER, the body follows at once; neither, the sender waits for the
   ANSWER. A LEAVE entry closes the innermost open directory with its mode and times; one that names another
   closes that and all below it, and what closes nothing is ignored. A directory the receiver did not make
   itself keeps its mode and time, unless it may overwrite. The sticky bit of a directory arrives, those of
   set-user-ID and set-group-ID of nothing.
5. Resume. ANSWER says how many bytes the receiver has, at first without a digest: both ends then read that
much of
   their own file at the same time. A second ANSWER brings the receiver's digest, the sender says MATCH yes or
   no, and on yes the body starts there. ANSWER also says what follows a no: the whole body, or nothing
   because the name is taken. An offset of 0 needs no MATCH. Nothing is remembered between runs but the
   partial file itself, so nothing can disagree with it, and the sender would have to read its prefix anyway.
6. Body. RUN announces up to RUN_MAX bytes that follow raw, outside any frame, so that they can go straight
from file
   to socket; PACKED the same as one zstd frame; HOLE that many zero bytes. END carries the digest of the
   whole file, wherever the body started. A receiver that cannot take the body says DONE at once, and the
   sender cuts it short with an END of status STOPPED.
7. The end. The sender is done with SUMMARY: everything confirmed is verified and renamed into place. BYE
tells the
   receiver so; without it, it stays reachable for a while, since the sender may not know yet.
   ABORT, from either side at any time, gives a reason and an exit status (100: busy with another one, try
   again), also when an end is stopped by its user or a deadline: nobody waits for that one. It never comes
   within a RUN or a PACKED block, where it would be contents: those are finished first, or the connection
   ends without a word. KEEPALIVE says "busy, not dead". A sender that lost the connection starts a new
   session with the same token: it takes over from the old one. Its BEGIN then says which receiver it met
   before, and how many entries that one settled, directories left out: the first entry that comes again is
   the one after those.
8. Streams. What the receiver writes to a pipe or a device cannot be taken back. What is there of a delivery
   that was cut must come again from the first entry that is not settled, or, from a sender that was started
   anew, from the very first: the receiver compares it and writes only what follows. It asks for the whole
   body where it has a digest of another kind than the one in BEGIN. Where something differs, the entry is
   damaged. Two senders to one such output take turns; the second waits, with its body or for its ANSWER, also
   while the first one was cut and may come back.
"""

from __future__ import annotations

import struct
from zlib import crc32

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from pync.errors import IntegrityError, NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from pync.lean import NamedTuple

VERSION = 1
MAGIC = b"\x89pync\r\n\x1a"
SENDS, RECEIVES = 1, 2
FLAG_SECRET, FLAG_AES = 1, 2

GREETING = struct.Struct("!8sBBBBH")
EXTRA_MAX = 1024

# Frame types. Which side may send which is checked where they are handled.
(BEGIN, READY, ENTRY, ANSWER, MATCH, RUN, HOLE, PACKED, END, CONFIRM, DONE, FINISH, SUMMARY, BYE, ABORT) = (
    range(1, 16)
)
PAKE, PROOF = 32, 33
KEEPALIVE = 128

KNOWN = frozenset(range(1, 16)) | {PAKE, PROOF, KEEPALIVE}
SKIPPABLE = 128

_WORD = struct.Struct("!I")
_CHECK = struct.Struct("!Q")
HEADER_SIZE = 4
CHECK_SIZE = 8
INLINE_MAX = 64 << 10  # a file up to this size travels inside its ENTRY
# Up to this one the body follows at once: a wasted MiB is cheaper than a wait for an answer.
EAGER_MAX = 1 << 20
FRAME_MAX = INLINE_MAX + (16 << 10)  # contents, a path (4 KiB), a link target (4 KiB), the fixed part
RUN_MAX = 16 << 20  # what a sender must still deliver when its file shrinks under it
PACKED_MAX = 1 << 20  # unpacked size of a PACKED block
WINDOW = 4096  # entries sent and not yet confirmed


# How TLS begins: an alert or a handshake record, of any version.
_TLS = (b"\x15\x03", b"\x16\x03")


class ProtocolError(IntegrityError):
    """The peer broke the protocol, or its bytes were damaged on the way."""


class NotFramed(NetworkError):
    """The peer is something else: an ordinary netcat, an HTTP server."""

    def __init__(self, start: bytes = b"") -> None:
        if start[:2] in _TLS:
            super().__init__("the peer speaks TLS, this end does not", hint="--tls at both ends, or at none")
        else:
            super().__init__("the peer does not speak pync transfer; use --raw")


class Greeting(NamedTuple):
    """What each end says first."""

    role: int
    flags: int
    highest: int = VERSION
    lowest: int = VERSION
    extra: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the wire."""
        head = GREETING.pack(MAGIC, self.highest, self.lowest, self.role, self.flags, len(self.extra))
        head += self.extra
        return head + struct.pack("!I", crc32(head))


def parse_greeting(data: bytes | memoryview) -> tuple[Greeting, int] | None:
    """The greeting at the start of `data` and its length; None while more bytes are needed.

    Raises NotFramed at the first byte that is not the magic, ProtocolError when it is damaged.
    """
    data = bytes(data[: GREETING.size + EXTRA_MAX + 4])
    if not MAGIC.startswith(data[: len(MAGIC)]):
        raise NotFramed(data)
    if len(data) < GREETING.size:
        return None
    _, highest, lowest, role, flags, extra = GREETING.unpack_from(data)
    if extra > EXTRA_MAX:
        raise ProtocolError("the peer's greeting is damaged")
    end = GREETING.size + extra
    if len(data) < end + 4:
        return None
    if struct.unpack_from("!I", data, end)[0] != crc32(data[:end]):
        raise ProtocolError("the peer's greeting is damaged")
    return Greeting(role, flags, highest, lowest, data[GREETING.size : end]), end + 4


def agree(mine: Greeting, theirs: Greeting) -> int:
    """The version both speak. Raises what keeps the two from talking."""
    version = min(mine.highest, theirs.highest)
    if version < max(mine.lowest, theirs.lowest):
        spoken = f"{theirs.lowest} to {theirs.highest}" if theirs.lowest != theirs.highest else theirs.highest
        raise NetworkError(f"the peer speaks pync transfer version {spoken}, this end {mine.highest}")
    if theirs.role not in (SENDS, RECEIVES):
        raise ProtocolError("the peer's greeting is damaged")
    if theirs.role == mine.role:
        verb = "send" if mine.role == SENDS else "receive"
        raise NetworkError(f"both ends want to {verb}")
    if (mine.flags ^ theirs.flags) & FLAG_SECRET:
        if mine.flags & FLAG_SECRET:
            raise IntegrityError(
                "the other end uses no secret, this one requires it; nothing was transferred"
            )
        raise IntegrityError("the other end requires a secret (--secret); nothing was transferred")
    return version


class Frame(NamedTuple):
    """One frame: its type and payload."""

    kind: int
    payload: bytes


def encode(kind: int, payload: bytes = b"") -> bytes:
    """The frame on the wire."""
    if len(payload) > FRAME_MAX:
        raise ValueError(f"a payload of {len(payload)} bytes")
    body = _WORD.pack((kind << 24) | len(payload)) + payload
    return body + xxh3_64_digest(body)


def frame_size(data: memoryview, at: int = 0) -> int:
    """The whole length of the frame that starts at `at`, of which at least HEADER_SIZE bytes are there.

    Raises ProtocolError for a type nobody knows or a length beyond the cap, before anything is buffered.
    """
    (word,) = _WORD.unpack_from(data, at)
    length = int(word & 0xFFFFFF)
    if length > FRAME_MAX:
        raise ProtocolError(f"the peer announced a frame of {length} bytes")
    kind = word >> 24
    if kind < SKIPPABLE and kind not in KNOWN:
        raise ProtocolError(f"the peer sent a frame of unknown type {kind}")
    return HEADER_SIZE + length + CHECK_SIZE


def decode(data: memoryview) -> Frame:
    """The frame that `data` holds exactly; raises ProtocolError when it was damaged."""
    end = len(data) - CHECK_SIZE
    if xxh3_64_intdigest(data[:end]) != _CHECK.unpack_from(data, end)[0]:
        raise ProtocolError("a frame was damaged on the way")
    return Frame(data[0], bytes(data[HEADER_SIZE:end]))


class Decoder:
    """Bytes in, frames out; raw bytes of a body come out as memoryviews in between.

    The reference reader of the format: the driver reads in place, the tests hold that both agree.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._raw = 0

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame held."""
        return len(self._data)

    @property
    def whole(self) -> bool:
        """Whether the stream may end here: no frame and no body is unfinished."""
        return not self._data and not self._raw

    def expect_raw(self, count: int) -> None:
        """The next `count` bytes are a body."""
        self._raw = count

    def feed(self, data: bytes | memoryview) -> None:
        """Takes in `data`."""
        self._data += data

    def next(self) -> Frame | bytes | None:
        """The next frame or piece of body; None while more bytes are needed."""
        if self._raw:
            if not self._data:
                return None
            piece = bytes(self._data[: self._raw])
            self._raw -= len(piece)
            del self._data[: len(piece)]
            return piece
        if len(self._data) < HEADER_SIZE:
            return None
        with memoryview(self._data) as view:
            size = frame_size(view[:HEADER_SIZE])
            if len(view) < size:
                return None
            with view[:size] as whole:
                frame = decode(whole)
        del self._data[:size]
        if frame.kind >= SKIPPABLE and frame.kind != KEEPALIVE:
            return self.next()
        return frame
