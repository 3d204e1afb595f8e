"""Framing and messages: round trips, every split, every flipped bit, every truncation."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pync.errors import IntegrityError, NetworkError
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages

KINDS = sorted(proto.KNOWN - {proto.KEEPALIVE})
FRAMES = st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=200)), max_size=8)


def _all(decoder: proto.Decoder) -> list[proto.Frame]:
    found = []
    while (frame := decoder.next()) is not None:
        assert isinstance(frame, proto.Frame)
        found.append(frame)
    return found


@given(FRAMES, st.integers(1, 40))
def test_frames_come_back_however_they_are_cut(frames: list[tuple[int, bytes]], step: int) -> None:
    stream = b"".join(proto.encode(kind, payload) for kind, payload in frames)
    decoder = proto.Decoder()
    found = []
    for at in range(0, len(stream), step):
        decoder.feed(stream[at : at + step])
        found += _all(decoder)
    assert [(frame.kind, frame.payload) for frame in found] == frames
    assert decoder.whole


@given(FRAMES.filter(bool), st.data())
def test_any_flipped_bit_is_an_error_or_leaves_the_stream_unfinished(
    frames: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(proto.encode(kind, payload) for kind, payload in frames))
    bit = data.draw(st.integers(0, len(stream) * 8 - 1))
    stream[bit // 8] ^= 1 << bit % 8
    decoder = proto.Decoder()
    decoder.feed(bytes(stream))
    try:
        found = _all(decoder)
    except proto.ProtocolError:
        return
    # only a longer length can hide the damage, and only until more bytes or the end come
    assert not decoder.whole
    assert len(found) < len(frames)
    assert [(frame.kind, frame.payload) for frame in found] == frames[: len(found)]


def test_every_single_bit_of_one_frame() -> None:
    stream = proto.encode(proto.DONE, messages.pack_done(messages.Done(7, messages.REFUSED, "no", 2)))
    for bit in range(len(stream) * 8):
        changed = bytearray(stream)
        changed[bit // 8] ^= 1 << bit % 8
        decoder = proto.Decoder()
        decoder.feed(bytes(changed))
        try:
            assert decoder.next() is None
        except proto.ProtocolError:
            continue
        assert decoder.pending == len(stream)


def test_every_truncation_waits_for_the_rest() -> None:
    stream = proto.encode(proto.BEGIN, b"x" * 50)
    for end in range(len(stream)):
        decoder = proto.Decoder()
        decoder.feed(stream[:end])
        assert decoder.next() is None
        assert decoder.whole == (end == 0)


def test_raw_bytes_pass_between_frames_untouched() -> None:
    decoder = proto.Decoder()
    decoder.feed(proto.encode(proto.RUN, messages.pack_run(5)) + b"hello" + proto.encode(proto.BYE))
    assert decoder.next() == proto.Frame(proto.RUN, messages.pack_run(5))
    decoder.expect_raw(5)
    assert decoder.next() == b"hello"
    assert decoder.next() == proto.Frame(proto.BYE, b"")


def test_unknown_frames_are_skipped_or_refused_by_their_number() -> None:
    decoder = proto.Decoder()
    body = bytes((200,)) + (3).to_bytes(3, "big") + b"new"
    from xxhash import xxh3_64_digest

    decoder.feed(body + xxh3_64_digest(body) + proto.encode(proto.BYE))
    assert decoder.next() == proto.Frame(proto.BYE, b"")
    decoder.feed(bytes((99, 0, 0, 0)))
    with pytest.raises(proto.ProtocolError, match="unknown type 99"):
        decoder.next()


def test_length_beyond_the_cap_is_refused_before_it_is_buffered() -> None:
    decoder = proto.Decoder()
    decoder.feed(bytes((proto.ENTRY, 255, 255, 255)))
    with pytest.raises(proto.ProtocolError, match="frame of 16777215 bytes"):
        decoder.next()
    with pytest.raises(ValueError, match="a payload of"):
        proto.encode(proto.ENTRY, bytes(proto.FRAME_MAX + 1))


def test_the_largest_entry_there_can_be_fits_a_frame() -> None:
    entry = messages.Entry(
        messages.FILE,
        b"n" * messages.PATH_MAX,
        0o777,
        1,
        proto.INLINE_MAX,
        messages.INLINE,
        body=bytes(proto.INLINE_MAX),
        digest=bytes(32),
    )
    assert len(messages.pack_entry(entry)) <= proto.FRAME_MAX
    link = messages.Entry(messages.SYMLINK, b"n" * 4096, target=b"t" * 4096)
    assert messages.parse_entry(messages.pack_entry(link)) == link


# --- greetings -------------------------------------------------------------------------------------------

GREETING = proto.Greeting(proto.SENDS, proto.FLAG_AES)


def test_greeting_comes_back_however_it_is_cut() -> None:
    raw = GREETING.encode()
    assert len(raw) == 18
    for end in range(len(raw)):
        assert proto.parse_greeting(raw[:end]) is None
    assert proto.parse_greeting(raw + b"more") == (GREETING, 18)


def test_every_flipped_bit_of_a_greeting_is_noticed() -> None:
    raw = GREETING.encode()
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert proto.parse_greeting(bytes(changed)) is None  # it only became longer
        except (proto.ProtocolError, proto.NotFramed):
            pass


@pytest.mark.parametrize("said", [b"\x16\x03\x01", b"\x15\x03\x03\x00\x02\x02\x0a"])
def test_peer_that_speaks_tls_is_named(said: bytes) -> None:
    with pytest.raises(proto.NotFramed, match="the peer speaks TLS, this end does not"):
        proto.parse_greeting(said)


@pytest.mark.parametrize("said", [b"G", b"GET / HTTP/1.1\r\n", b"\x16", b"\x89PNG", b"SSH-2.0", b"\n"])
def test_unframed_peer_is_known_from_its_first_bytes(said: bytes) -> None:
    with pytest.raises(proto.NotFramed, match="does not speak pync transfer; use --raw"):
        proto.parse_greeting(said)


def test_later_version_may_say_more_and_is_understood() -> None:
    later = proto.Greeting(proto.RECEIVES, 0, highest=9, lowest=1, extra=b"\x01\x00\x02hi")
    parsed = proto.parse_greeting(later.encode())
    assert parsed is not None
    assert proto.agree(GREETING, parsed[0]) == 1


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (proto.Greeting(proto.RECEIVES, 0, highest=9, lowest=2), "version 2 to 9, this end 1"),
        (proto.Greeting(proto.SENDS, 0), "both ends want to send"),
    ],
)
def test_ends_that_do_not_fit_are_told_why(theirs: proto.Greeting, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        proto.agree(GREETING, theirs)


def test_a_secret_on_one_side_only_is_an_integrity_error() -> None:
    open_, closed = proto.Greeting(proto.SENDS, 0), proto.Greeting(proto.RECEIVES, proto.FLAG_SECRET)
    for mine, theirs in ((open_, closed), (closed._replace(role=1), open_._replace(role=2))):
        with pytest.raises(IntegrityError, match="nothing was transferred"):
            proto.agree(mine, theirs)


# --- messages --------------------------------------------------------------------------------------------

U64 = st.integers(0, 2**63 - 1)
DIGESTS = st.binary(max_size=64)
ENTRIES = st.one_of(
    st.builds(
        messages.Entry,
        kind=st.sampled_from([messages.FILE, messages.STREAM, messages.SYMLINK, messages.DIRECTORY]),
        path=st.binary(max_size=300),
        mode=st.integers(0, 0o777),
        mtime=st.integers(-(2**63), 2**63 - 1),
        size=U64,
        flags=st.sampled_from([0, messages.EAGER, messages.AFRESH]),
        target=st.binary(max_size=300),
        body=st.just(b""),
        digest=st.just(b""),
    ),
    st.binary(max_size=500).flatmap(
        lambda body: st.builds(
            messages.Entry,
            kind=st.just(messages.FILE),
            path=st.binary(max_size=300),
            mode=st.integers(0, 0o777),
            mtime=U64,
            size=st.just(len(body)),
            flags=st.just(messages.INLINE),
            target=st.just(b""),
            body=st.just(body),
            digest=DIGESTS,
        )
    ),
)
MESSAGES = {
    "begin": (
        messages.pack_begin,
        messages.parse_begin,
        st.builds(
            lambda begin, met: begin._replace(receiver=met[0], settled=met[1]),
            st.builds(
                messages.Begin,
                token=st.binary(min_size=16, max_size=16),
                checksum=st.sampled_from(sorted(messages.CHECKSUM_NUMBERS)),
                paths=U64,
                size=U64,
                name=st.binary(max_size=255),
                receiver=st.just(b""),
                settled=st.just(0),
            ),
            st.just((b"", 0)) | st.tuples(st.binary(min_size=16, max_size=16), U64.filter(bool)),
        ),
    ),
    "entry": (messages.pack_entry, messages.parse_entry, ENTRIES),
    "answer": (
        messages.pack_answer,
        messages.parse_answer,
        st.builds(messages.Answer, number=U64, offset=U64, digest=DIGESTS, whole_follows=st.booleans()),
    ),
    "match": (
        messages.pack_match,
        messages.parse_match,
        st.builds(messages.Match, number=U64, equal=st.booleans()),
    ),
    "end": (
        messages.pack_end,
        messages.parse_end,
        st.builds(
            messages.End, status=st.integers(0, 2), size=U64, digest=DIGESTS, reason=st.binary(max_size=512)
        ),
    ),
    "done": (
        messages.pack_done,
        messages.parse_done,
        st.builds(
            messages.Done,
            number=U64,
            status=st.integers(0, 5),
            reason=st.text(max_size=100),
            code=st.integers(0, 5),
        ),
    ),
    "counts": (
        messages.pack_counts,
        messages.parse_counts,
        st.builds(messages.Counts, entries=U64, failed=U64, size=U64, code=st.integers(0, 255)),
    ),
    "abort": (
        messages.pack_abort,
        messages.parse_abort,
        st.builds(messages.Abort, code=st.integers(0, 255), reason=st.text(max_size=100)),
    ),
}


@pytest.mark.parametrize("name", sorted(MESSAGES))
@given(data=st.data())
@settings(max_examples=60)
def test_message_comes_back(name: str, data: st.DataObject) -> None:
    pack, parse, values = MESSAGES[name]
    value = data.draw(values)
    assert parse(pack(value)) == value  # type: ignore[operator]


PARSERS = (
    messages.parse_begin,
    messages.parse_entry,
    messages.parse_answer,
    messages.parse_match,
    messages.parse_end,
    messages.parse_done,
    messages.parse_counts,
    messages.parse_abort,
    messages.parse_confirm,
    messages.parse_run,
    messages.parse_hole,
    messages.parse_packed,
    messages.parse_ready,
    messages.parse_fields,
)


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(data=st.binary(max_size=120))
@settings(max_examples=150)
def test_no_bytes_break_a_parser(parse: object, data: bytes) -> None:
    try:
        parse(data)  # type: ignore[operator]
    except proto.ProtocolError:
        pass


@pytest.mark.parametrize("name", sorted(MESSAGES))
@given(data=st.data())
@settings(max_examples=40)
def test_truncated_message_is_an_error_or_another_valid_one(name: str, data: st.DataObject) -> None:
    pack, parse, values = MESSAGES[name]
    raw = pack(data.draw(values))  # type: ignore[operator]
    try:
        parse(raw[: data.draw(st.integers(0, len(raw)))])  # type: ignore[operator]
    except proto.ProtocolError:
        pass


def test_a_reason_travels_whatever_is_in_it_and_is_cut_to_what_is_read() -> None:
    name = os.fsdecode(b"\xff")
    done = messages.parse_done(messages.pack_done(messages.Done(1, messages.FAILED, name * 1000)))
    abort = messages.parse_abort(messages.pack_abort(messages.Abort(2, name * 1000)))
    assert done.reason == abort.reason == ("\\udcff" * 1000)[: messages.REASON_MAX]


def test_unknown_fields_are_skipped() -> None:
    begin = messages.Begin(bytes(16), "xxh3", 1, 5, b"name")
    raw = messages.pack_begin(begin) + messages.fields((200, b"from the future"))
    assert messages.parse_begin(raw) == begin


@pytest.mark.parametrize(
    "path",
    [b"", b"/", b"/etc/passwd", b"..", b"a/..", b"a/../b", b"./a", b"a//b", b"a/", b"a\0b", b"n" * 256,
     b"/".join([b"d"] * 3000)],
)  # fmt: skip
def test_path_that_could_lead_elsewhere_is_refused(path: bytes) -> None:
    with pytest.raises(ValueError, match="its"):
        messages.split_path(path)


@pytest.mark.parametrize(
    "path", [b"a", b"a/b", b"...", b"a\nb", b"\x1b[31m", b"\xff\xfe", b"-rf", b" ", b"n" * 255]
)
def test_odd_names_are_names(path: bytes) -> None:
    assert b"/".join(messages.split_path(path)) == path
