"""The bytes of version 1 as the specification has them, and the exact limit of every number in them.

Round trips cannot notice what both directions get wrong, and both ends of a transfer need not be the same
release.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import pytest
from xxhash import xxh3_64_digest

from pync.errors import IntegrityError, NetworkError
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages

MIB = 1 << 20
U16, U32, U64 = 2, 4, 8
SIZE_MAX = (1 << 63) - 1


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


# --- greetings and frames --------------------------------------------------------------------------------


def test_the_greeting() -> None:
    head = b"\x89pync\r\n\x1a" + bytes((1, 1, 2, 1)) + b"\0\0"
    assert proto.Greeting(2, 1).encode() == head + number(crc32(head), U32)


def test_a_greeting_of_any_allowed_length() -> None:
    for size in (0, 1, 1024):
        greeting = proto.Greeting(1, 3, 7, 2, b"x" * size)
        raw = greeting.encode()
        assert proto.parse_greeting(raw) == (greeting, 18 + size)
        assert proto.parse_greeting(raw[:-1]) is None
        assert proto.parse_greeting(raw + b"x" * 5000) == (greeting, 18 + size)
    with pytest.raises(proto.ProtocolError, match="damaged"):
        proto.parse_greeting(proto.Greeting(1, 0, extra=b"x" * 1025).encode())


@pytest.mark.parametrize(
    ("mine", "theirs", "version"), [((1, 1), (1, 1), 1), ((3, 1), (2, 2), 2), ((2, 2), (5, 1), 2)]
)
def test_the_highest_version_that_both_speak(
    mine: tuple[int, int], theirs: tuple[int, int], version: int
) -> None:
    assert proto.agree(proto.Greeting(1, 0, *mine), proto.Greeting(2, 0, *theirs)) == version


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        ((1, 0, 1, 1), (2, 0, 2, 2), "speaks pync transfer version 2, this end 1"),
        ((1, 0, 3, 3), (2, 0, 2, 1), "speaks pync transfer version 1 to 2, this end 3"),
        ((1, 0), (1, 0), "both ends want to send"),
        ((2, 0), (2, 0), "both ends want to receive"),
    ],
)
def test_who_cannot_talk_to_each_other(mine: tuple[int, ...], theirs: tuple[int, ...], words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        proto.agree(proto.Greeting(*mine), proto.Greeting(*theirs))


@pytest.mark.parametrize("role", [0, 3])
def test_there_are_two_roles(role: int) -> None:
    with pytest.raises(proto.ProtocolError, match="damaged"):
        proto.agree(proto.Greeting(1, 0), proto.Greeting(role, 0))


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        (1, 0, "the other end uses no secret"),
        (3, 2, "the other end uses no secret"),
        (0, 1, "requires a secret"),
    ],
)
def test_a_secret_is_for_both_or_nobody(mine: int, theirs: int, words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        proto.agree(proto.Greeting(1, mine), proto.Greeting(2, theirs))
    assert proto.agree(proto.Greeting(1, mine), proto.Greeting(2, mine ^ 2)) == 1


def test_a_frame() -> None:
    body = b"\x07\0\0\x02hi"
    assert proto.encode(proto.HOLE, b"hi") == body + xxh3_64_digest(body)


def test_the_numbers_of_the_frames() -> None:
    names = "BEGIN READY ENTRY ANSWER MATCH RUN HOLE PACKED END CONFIRM DONE FINISH SUMMARY BYE ABORT"
    assert [getattr(proto, name) for name in names.split()] == list(range(1, 16))
    assert (proto.SENDS, proto.RECEIVES, proto.FLAG_SECRET, proto.FLAG_AES) == (1, 2, 1, 2)
    assert (proto.INLINE_MAX, proto.EAGER_MAX) == (64 << 10, 1 << 20)
    assert (proto.PAKE, proto.PROOF, proto.KEEPALIVE, proto.WINDOW) == (32, 33, 128, 4096)


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        *((kind, True) for kind in (1, 15, 32, 33, 128, 129, 255)),
        *((kind, False) for kind in (0, 16, 31, 34, 127)),
    ],
)
def test_which_frames_are_taken(kind: int, known: bool) -> None:
    word = memoryview(bytes((kind, 0, 0, 9)))
    if known:
        assert proto.frame_size(word) == 4 + 9 + 8
    else:
        with pytest.raises(proto.ProtocolError, match=f"unknown type {kind}"):
            proto.frame_size(word)


def test_how_long_a_frame_may_be() -> None:
    longest = (64 << 10) + (16 << 10)
    assert len(proto.encode(proto.ENTRY, bytes(longest))) == longest + 12
    assert proto.frame_size(memoryview(b"??" + bytes((3,)) + number(longest, 3)), 2) == longest + 12
    with pytest.raises(ValueError, match="a payload of"):
        proto.encode(proto.ENTRY, bytes(longest + 1))
    with pytest.raises(proto.ProtocolError, match=f"a frame of {longest + 1} bytes"):
        proto.frame_size(memoryview(bytes((3,)) + number(longest + 1, 3)))


def test_a_decoder_says_what_it_waits_for() -> None:
    decoder = proto.Decoder()
    frame = proto.encode(proto.RUN, b"abcd")
    for end in range(1, len(frame)):
        decoder.feed(frame[end - 1 : end])
        assert decoder.next() is None
        assert (decoder.pending, decoder.whole) == (end, False)
    decoder.feed(frame[-1:] + b"bo")
    assert decoder.next() == proto.Frame(proto.RUN, b"abcd")
    decoder.expect_raw(3)
    assert decoder.next() == b"bo"
    assert decoder.next() is None
    assert not decoder.whole
    decoder.feed(b"dy")
    assert decoder.next() == b"d"
    assert (decoder.pending, decoder.whole) == (1, False)


def test_a_keepalive_is_told_and_what_nobody_knows_is_not() -> None:
    decoder = proto.Decoder()
    body = bytes((129, 0, 0, 0))
    decoder.feed((body + xxh3_64_digest(body)) * 2 + proto.encode(proto.KEEPALIVE))
    assert decoder.next() == proto.Frame(128, b"")
    assert decoder.next() is None


# --- messages --------------------------------------------------------------------------------------------

TOKEN = bytes(range(16))
MESSAGES: list[tuple[Callable[..., bytes], Callable[[bytes], object], object, bytes]] = [
    (
        messages.pack_begin,
        messages.parse_begin,
        messages.Begin(TOKEN, "blake3", 3, 5, b"name"),
        TOKEN + b"\x02" + number(3, U64) + number(5, U64) + b"\x02\0\x04name",
    ),
    (
        messages.pack_begin,
        messages.parse_begin,
        messages.Begin(TOKEN, "xxh3", 1, 5, b"", TOKEN[::-1], 7),
        TOKEN + b"\x01" + number(1, U64) + number(5, U64) + b"\x03\0\x18" + TOKEN[::-1] + number(7, U64),
    ),
    (
        messages.pack_entry,
        messages.parse_entry,
        messages.Entry(messages.FILE, b"a/b", 0o644, -1, 9, messages.EAGER),
        b"\x01\x01\x01\xa4" + b"\xff" * 8 + number(9, U64) + b"\0\x03a/b",
    ),
    (
        messages.pack_entry,
        messages.parse_entry,
        messages.Entry(messages.SYMLINK, b"l", 0o777, 1, 0, messages.AFRESH, b"to"),
        b"\x03\x04\x01\xff" + number(1, U64) + number(0, U64) + b"\0\x01l" + b"\x01\0\x02to",
    ),
    (
        messages.pack_entry,
        messages.parse_entry,
        messages.Entry(messages.FILE, b"f", 0, 0, 3, messages.INLINE, b"", b"abc", b"DI"),
        b"\x01\x02\0\0" + bytes(8) + number(3, U64) + b"\0\x01f" + b"\x02DIabc",
    ),
    (
        messages.pack_entry,
        messages.parse_entry,
        messages.Entry(messages.DIRECTORY),
        b"\x02\0\0\0" + bytes(16) + b"\0\0",
    ),
    (
        messages.pack_answer,
        messages.parse_answer,
        messages.Answer(7, 8, b"digest", True),
        number(7, U64) + b"\x01" + number(8, U64) + b"\x06digest",
    ),
    (messages.pack_match, messages.parse_match, messages.Match(7, True), number(7, U64) + b"\x01"),
    (messages.pack_match, messages.parse_match, messages.Match(7, False), number(7, U64) + b"\0"),
    (
        messages.pack_end,
        messages.parse_end,
        messages.End(messages.BROKEN, 4, b"d", b"why"),
        b"\x01" + number(4, U64) + b"\x01dwhy",
    ),
    (
        messages.pack_done,
        messages.parse_done,
        messages.Done(6, messages.DAMAGED, "why", 4),
        number(6, U64) + b"\x05\x04why",
    ),
    (
        messages.pack_counts,
        messages.parse_counts,
        messages.Counts(1, 2, 3, 4),
        number(1, U64) + number(2, U64) + number(3, U64) + b"\x04",
    ),
    (messages.pack_abort, messages.parse_abort, messages.Abort(100, "why"), b"dwhy"),
]


@pytest.mark.parametrize(("pack", "parse", "value", "wire"), MESSAGES)
def test_a_message_on_the_wire(
    pack: Callable[..., bytes], parse: Callable[[bytes], object], value: object, wire: bytes
) -> None:
    assert pack(value) == wire
    assert parse(wire) == value


NUMBERS: list[tuple[Callable[..., bytes], Callable[[bytes], object], int, int]] = [
    (messages.pack_run, messages.parse_run, U32, 16 * MIB),
    (messages.pack_hole, messages.parse_hole, U64, SIZE_MAX),
]


@pytest.mark.parametrize(("pack", "parse", "size", "most"), NUMBERS)
def test_a_number_and_its_limits(
    pack: Callable[..., bytes], parse: Callable[[bytes], object], size: int, most: int
) -> None:
    for value in (1, most):
        assert pack(value) == number(value, size)
        assert parse(number(value, size)) == value
    for value in (0, most + 1):
        with pytest.raises(proto.ProtocolError):
            parse(number(value, size))
    with pytest.raises(proto.ProtocolError, match="cut short"):
        parse(number(1, size)[:-1])


def test_a_block_is_never_larger_than_its_contents() -> None:
    for size, packed in ((1, 1), (MIB, MIB), (MIB, 1)):
        assert messages.pack_packed(size, packed) == number(size, U32) + number(packed, U32)
        assert messages.parse_packed(messages.pack_packed(size, packed)) == (size, packed)
    for size, packed in ((1, 0), (1, 2), (MIB + 1, 1)):
        with pytest.raises(proto.ProtocolError, match="impossible block"):
            messages.parse_packed(messages.pack_packed(size, packed))


def test_a_range_of_confirmations() -> None:
    assert messages.pack_confirm(1, 2) == number(1, U64) + number(2, U64)
    for first, last in ((1, 2), (2, 2)):
        assert messages.parse_confirm(messages.pack_confirm(first, last)) == (first, last)
    with pytest.raises(proto.ProtocolError, match="backwards"):
        messages.parse_confirm(messages.pack_confirm(2, 1))


def test_ready_is_a_token() -> None:
    assert messages.parse_ready(TOKEN) == TOKEN
    assert messages.parse_ready(TOKEN + b"later") == TOKEN
    with pytest.raises(proto.ProtocolError, match="length"):
        messages.parse_ready(TOKEN[:-1])


@pytest.mark.parametrize("wire", [wire for *_, wire in MESSAGES[:4]])
def test_what_is_cut_anywhere_in_its_fixed_part_is_refused(wire: bytes) -> None:
    parse = messages.parse_begin if len(wire) > 33 and wire.startswith(TOKEN) else messages.parse_entry
    fixed = 33 if parse is messages.parse_begin else 22 + wire[21]
    for size in range(fixed):
        with pytest.raises(proto.ProtocolError):
            parse(wire[:size])


def refused(parse: Callable[[bytes], object], wire: bytes, words: str) -> None:
    with pytest.raises(proto.ProtocolError, match=words):
        parse(wire)


@pytest.mark.parametrize("size", [0, 23, 25])
def test_a_receiver_and_a_count_have_one_length(size: int) -> None:
    wire = TOKEN + b"\x01" + bytes(16) + b"\x03\0" + bytes((size,)) + bytes(size)
    refused(messages.parse_begin, wire, "bad length")


def test_digests_that_nobody_knows() -> None:
    for unknown in (0, 4):
        refused(messages.parse_begin, TOKEN + bytes((unknown,)) + bytes(16), rf"\({unknown}\)")
    for known, name in ((1, "xxh3"), (2, "blake3"), (3, "sha256")):
        assert messages.parse_begin(TOKEN + bytes((known,)) + bytes(16)).checksum == name


def test_how_long_the_name_of_a_transfer_may_be() -> None:
    begin = messages.Begin(TOKEN, "xxh3", 1, 1, b"n" * 256)
    assert messages.parse_begin(messages.pack_begin(begin)).name == b"n" * 255
    longer = TOKEN + b"\x01" + bytes(16) + messages.fields((2, b"n" * 256))
    assert messages.parse_begin(longer).name == b"n" * 255


def entry(kind: int = 1, size: int = 0, path: bytes = b"p", rest: bytes = b"", flags: int = 0) -> bytes:
    return bytes((kind, flags)) + bytes(10) + number(size, U64) + number(len(path), U16) + path + rest


def test_what_an_entry_may_be() -> None:
    for kind in range(1, 6):
        assert messages.parse_entry(entry(kind)).kind == kind
    for kind in (0, 6):
        refused(messages.parse_entry, entry(kind), f"unknown kind {kind}")
    assert messages.parse_entry(entry(path=b"p" * 4096)).path == b"p" * 4096
    refused(messages.parse_entry, entry(path=b"p" * 4097), "bad length")
    target = messages.fields((1, b"t" * 4096))
    assert messages.parse_entry(entry(3, rest=target)).target == b"t" * 4096
    refused(messages.parse_entry, entry(3, rest=messages.fields((1, b"t" * 4097))), "bad length")


def test_how_large_an_entry_may_be() -> None:
    for kind in (1, 4):
        assert messages.parse_entry(entry(kind, SIZE_MAX)).size == SIZE_MAX
        refused(messages.parse_entry, entry(kind, SIZE_MAX + 1), "impossible size")
    assert messages.parse_entry(entry(4, (1 << 64) - 1)).size == messages.UNKNOWN_SIZE
    refused(messages.parse_entry, entry(1, (1 << 64) - 1), "impossible size")


def test_what_may_travel_inside_an_entry() -> None:
    def inline(size: int, body: bytes, digest: bytes = b"", kind: int = 1) -> bytes:
        return entry(kind, size, flags=2, rest=bytes((len(digest),)) + digest + body)

    full = bytes(64 << 10)
    assert messages.parse_entry(inline(len(full), full)).body == full
    assert messages.parse_entry(inline(1, b"x", bytes(64))).digest == bytes(64)
    assert messages.parse_entry(inline(0, b"")).body == b""
    assert messages.parse_entry(inline(1, b"xyz")).body == b"x"
    not_allowed = "not allowed"
    refused(messages.parse_entry, inline(len(full) + 1, full + b"x"), not_allowed)
    refused(messages.parse_entry, inline(1, b"x", bytes(65)), not_allowed)
    refused(messages.parse_entry, inline(1, b"x", kind=2), not_allowed)
    refused(messages.parse_entry, entry(flags=2), not_allowed)
    refused(messages.parse_entry, inline(2, b"x"), "cut short")


def test_what_an_answer_may_say() -> None:
    assert messages.parse_answer(messages.pack_answer(messages.Answer(1, SIZE_MAX, bytes(64), False))).digest
    refused(messages.parse_answer, messages.pack_answer(messages.Answer(1, SIZE_MAX + 1, b"", False)), "size")
    refused(messages.parse_answer, messages.pack_answer(messages.Answer(1, 1, bytes(65), False)), "length")
    refused(messages.parse_answer, messages.pack_answer(messages.Answer(1, 1, b"ab", False))[:-1], "length")


def test_how_a_body_may_end() -> None:
    longest = messages.End(2, SIZE_MAX, bytes(64), b"r" * 512)
    assert messages.parse_end(messages.pack_end(longest)) == longest
    assert messages.pack_end(longest._replace(reason=b"r" * 513)) == messages.pack_end(longest)
    assert messages.parse_end(messages.pack_end(longest) + b"r") == longest
    refused(messages.parse_end, messages.pack_end(longest._replace(status=3)), "unknown way")
    refused(messages.parse_end, messages.pack_end(longest._replace(size=SIZE_MAX + 1)), "unknown way")
    refused(messages.parse_end, messages.pack_end(longest._replace(digest=bytes(65))), "bad length")


def test_what_may_become_of_an_entry() -> None:
    longest = messages.Done(1, 5, "r" * 512, 255)
    assert messages.parse_done(messages.pack_done(longest)) == longest
    assert messages.pack_done(longest._replace(reason="r" * 513)) == messages.pack_done(longest)
    assert messages.parse_done(messages.pack_done(longest) + b"r") == longest
    assert messages.parse_done(messages.pack_done(messages.Done(1, 0)) + b"\xff").reason == "\\xff"
    refused(messages.parse_done, messages.pack_done(longest._replace(status=6)), "unknown status")
    assert len(messages.STATUS_WORDS) == 6
    assert {messages.STATUS_WORDS[status] for status in messages.DELIVERED} == {"ok", "identical", "skipped"}


def test_how_a_session_may_be_given_up() -> None:
    longest = messages.Abort(255, "r" * 512)
    assert messages.parse_abort(messages.pack_abort(longest)) == longest
    assert messages.pack_abort(messages.Abort(255, "r" * 513)) == messages.pack_abort(longest)
    assert messages.parse_abort(messages.pack_abort(longest) + b"r") == longest
    assert messages.parse_abort(b"\0") == messages.Abort(0, "")
    refused(messages.parse_abort, b"", "cut short")


def test_optional_fields() -> None:
    assert messages.fields((1, b"a"), (2, b""), (255, b"bc")) == b"\x01\0\x01a\xff\0\x02bc"
    assert messages.parse_fields(b"") == {}
    assert messages.parse_fields(b"\x01\0\0") == {1: b""}
    assert messages.parse_fields(b"\x01\0\x01a\x01\0\x02bc\x02\0\0") == {1: b"bc", 2: b""}
    for cut in (b"\x01", b"\x01\0", b"\x01\0\x01", b"\x01\0\x01a\x02", b"\x01\0\x03ab"):
        refused(messages.parse_fields, cut, "field was cut short")


def test_how_long_a_path_may_be() -> None:
    longest = b"/".join([b"n" * 255] * 16)
    assert len(longest) == 4095
    assert len(messages.split_path(longest)) == 16
    assert len(messages.split_path(b"/".join([b"d"] * 2048) + b"d")) == 2048
    for path, words in (
        (b"/".join([b"d"] * 2049), "too long"),
        (b"a/" + b"n" * 256, "name is too long"),
        (b"a/./b", "leaves the directory"),
        (b"a/b\0", "NUL"),
        (b"", "empty"),
    ):
        with pytest.raises(ValueError, match=words):
            messages.split_path(path)
