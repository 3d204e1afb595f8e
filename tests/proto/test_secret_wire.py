"""A sealed record as the specification has it, made here by the library alone."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pync.proto import secret
from pync.proto.transfer import ProtocolError

KEY = bytes(range(32))
MIB = 1 << 20


def record(number: int, plain: bytes, *, last: bool = False) -> bytes:
    """Length (the top bit marks the last), then the sealed part; the number and the mark are the nonce."""
    header = (len(plain) + 16 | (1 << 31 if last else 0)).to_bytes(4, "big")
    nonce = number.to_bytes(8, "big") + b"\0\0\0" + bytes((last,))
    return header + AESGCM(KEY).encrypt(nonce, plain, header)


def test_records_on_the_wire() -> None:
    sealer = secret.Sealer(AESGCM(KEY))
    assert sealer.seal(b"first") == record(0, b"first")
    assert sealer.seal(b"") == record(1, b"")
    assert sealer.seal(b"last", last=True) == record(2, b"last", last=True)
    with pytest.raises(ValueError, match="after the last"):
        sealer.seal(b"more")


@pytest.mark.parametrize(
    ("size", "fine"), [(15, False), (16, True), (2 * MIB + 16, True), (2 * MIB + 17, False)]
)
@pytest.mark.parametrize("last", [0, 1 << 31])
def test_how_long_a_record_may_be(size: int, fine: bool, last: int) -> None:
    opener = secret.Opener(AESGCM(KEY))
    header = (size | last).to_bytes(4, "big")
    assert opener.is_last(header) == bool(last)
    if fine:
        assert opener.record_size(header) == 4 + size
    else:
        with pytest.raises(ProtocolError, match="damaged or changed"):
            opener.record_size(header)


@pytest.mark.parametrize("words", [1, 2, 4])
def test_a_fresh_code_is_a_number_and_so_many_words(words: int) -> None:
    for _ in range(20):
        first, *rest = secret.make_code(words).split("-")
        assert 1 <= int(first) <= 99
        assert len(rest) == words


def test_how_long_a_message_of_the_key_exchange_may_be() -> None:
    for theirs in (b"", bytes(65)):
        exchange = secret.Exchange("w", sender=True)
        with pytest.raises(ProtocolError, match="key exchange is damaged"):
            exchange.finish(theirs, sender_greeting=b"s", receiver_greeting=b"r")
