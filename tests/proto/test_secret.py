"""The key exchange and the records: what a flipped, moved, repeated or missing record does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pync.errors import UsageError
from pync.proto import secret
from pync.proto.transfer import ProtocolError
from pync.proto.words import WORDS

GREETINGS = {"sender_greeting": b"s", "receiver_greeting": b"r"}


def _pair(code: str = "7-otter-violin", other: str | None = None) -> tuple[secret.Exchange, secret.Exchange]:
    a = secret.Exchange(code, sender=True)
    b = secret.Exchange(other or code, sender=False)
    a.finish(b.message, **GREETINGS)
    b.finish(a.message, **GREETINGS)
    return a, b


@pytest.fixture(scope="module")
def pair() -> tuple[secret.Exchange, secret.Exchange]:
    return _pair()


def test_same_words_make_the_same_keys_both_ways(pair: tuple[secret.Exchange, secret.Exchange]) -> None:
    a, b = pair
    b.check(a.proof(sender=True))
    a.check(b.proof(sender=False))
    for aes in (True, False):
        seal, open_ = a.streams(aes=aes)
        seal_b, open_b = b.streams(aes=aes)
        assert open_b.open(seal.seal(b"up")) == b"up"
        assert open_.open(seal_b.seal(b"down")) == b"down"


@pytest.mark.parametrize(
    "typed", ["7 otter violin", "7-Otter-VIOLIN", " 7_otter--violin ", "7-otter-violin\n"]
)
def test_retyped_code_is_the_same_code(typed: str) -> None:
    assert secret.normalise(typed) == secret.normalise("7-otter-violin")


def test_another_code_is_found_out_by_both_proofs() -> None:
    a, b = _pair("7-otter-violin", "7-otter-viola")
    with pytest.raises(secret.WrongSecret):
        b.check(a.proof(sender=True))
    with pytest.raises(secret.WrongSecret):
        a.check(b.proof(sender=False))


def test_keys_are_bound_to_what_was_said_before() -> None:
    a, b = secret.Exchange("w", sender=True), secret.Exchange("w", sender=False)
    a.finish(b.message, sender_greeting=b"s", receiver_greeting=b"r")
    b.finish(a.message, sender_greeting=b"S", receiver_greeting=b"r")
    with pytest.raises(secret.WrongSecret):
        b.check(a.proof(sender=True))


def test_proof_cannot_be_reflected(pair: tuple[secret.Exchange, secret.Exchange]) -> None:
    a, _ = pair
    with pytest.raises(secret.WrongSecret):
        a.check(a.proof(sender=True))


@pytest.mark.parametrize("message", [b"", b"B", b"B" + bytes(32), b"A" + bytes(32), b"x" * 33, b"B" * 65])
def test_message_that_is_none_is_refused(message: bytes) -> None:
    a = secret.Exchange("w", sender=True)
    with pytest.raises(ProtocolError):
        a.finish(message, **GREETINGS)


def test_own_message_reflected_is_refused() -> None:
    a = secret.Exchange("w", sender=True)
    with pytest.raises(ProtocolError):
        a.finish(a.message, **GREETINGS)


def test_empty_secret_is_refused() -> None:
    for empty in ("", "  ", "-"):
        with pytest.raises(UsageError, match="no word"):
            secret.normalise(empty)


def _records(pair: tuple[secret.Exchange, secret.Exchange], parts: list[bytes]) -> list[bytes]:
    sealer, _ = pair[0].streams(aes=True)
    return [sealer.seal(part, last=number == len(parts) - 1) for number, part in enumerate(parts)]


def _opener(pair: tuple[secret.Exchange, secret.Exchange]) -> secret.Opener:
    return pair[1].streams(aes=True)[1]


PARTS = [b"one", b"", b"three" * 100]


def test_records_open_in_order_and_the_last_one_says_so(
    pair: tuple[secret.Exchange, secret.Exchange],
) -> None:
    opener = _opener(pair)
    assert [opener.open(record) for record in _records(pair, PARTS)] == PARTS
    assert opener.ended
    with pytest.raises(ProtocolError):
        opener.record_size(b"\0\0\0\x20")


def test_truncation_is_known_from_the_missing_last_record(
    pair: tuple[secret.Exchange, secret.Exchange],
) -> None:
    opener = _opener(pair)
    for record in _records(pair, PARTS)[:-1]:
        opener.open(record)
    assert not opener.ended


@pytest.mark.parametrize("order", [(1,), (0, 0), (0, 2), (1, 0, 2)])
def test_missing_repeated_or_moved_record_does_not_open(
    pair: tuple[secret.Exchange, secret.Exchange], order: tuple[int, ...]
) -> None:
    records = _records(pair, PARTS)
    opener = _opener(pair)

    def open_all() -> None:
        for number in order:
            opener.open(records[number])

    with pytest.raises(ProtocolError):
        open_all()


def test_record_of_the_other_direction_does_not_open(pair: tuple[secret.Exchange, secret.Exchange]) -> None:
    sealer, _ = pair[1].streams(aes=True)
    with pytest.raises(ProtocolError):
        _opener(pair).open(sealer.seal(b"x"))


def test_every_flipped_bit_of_a_record_is_noticed(pair: tuple[secret.Exchange, secret.Exchange]) -> None:
    (record,) = _records(pair, [b"payload"])
    for bit in range(len(record) * 8):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        opener = _opener(pair)
        try:
            size = opener.record_size(bytes(changed[:4]))
        except ProtocolError:
            continue
        if size != len(record):
            continue  # another length: more bytes or an end will not make it open, see below
        with pytest.raises(ProtocolError):
            opener.open(bytes(changed))


@given(st.binary(min_size=20, max_size=200))
@settings(max_examples=100)
def test_no_bytes_open(data: bytes) -> None:
    opener = _opener(_KNOWN)
    with pytest.raises(ProtocolError):
        opener.open(data)


_KNOWN = _pair()


def test_words_are_many_short_and_different() -> None:
    assert len(WORDS) == len(set(WORDS)) == 512
    assert all(word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 9 for word in WORDS)


def test_made_codes_have_the_bits_that_were_promised() -> None:
    import math

    assert math.log2(secret.NUMBERS * len(WORDS) ** 2) >= 24
    codes = {secret.make_code() for _ in range(200)}
    assert len(codes) > 190
    number, *words = secret.make_code(5).split("-")
    assert 1 <= int(number) <= secret.NUMBERS
    assert len(words) == 5
    assert set(words) <= set(WORDS)
