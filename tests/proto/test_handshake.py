"""How much a handshake may read: never a byte that is not its own."""

import pytest

from pync.errors import NetworkError
from pync.proto.handshake import Exactly, Head, wanted


@pytest.mark.parametrize(
    ("size", "data", "more"), [(5, b"", 5), (5, b"abcd", 1), (5, b"abcde", 0), (0, b"", 0)]
)
def test_so_many_bytes(size: int, data: bytes, more: int) -> None:
    assert wanted(Exactly(size), bytearray(data)) == more


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (b"", 2),
        (b"a", 2),
        (b"a\r", 2),
        (b"a\r\n", 1),
        (b"a\n", 1),
        (b"a\n\r", 1),
        (b"a\r\n\r", 1),
        (b"a\n\n", 0),
        (b"a\n\r\n", 0),
        (b"a\r\n\r\n", 0),
        (b"a\n\nb", 2),
        (b"\n", 1),
        (b"\r\n", 1),
    ],
)
def test_a_head_ends_with_an_empty_line(data: bytes, more: int) -> None:
    assert wanted(Head(100), bytearray(data)) == more


def test_a_head_has_a_limit() -> None:
    assert wanted(Head(10), bytearray(b"a" * 9)) == 2
    assert wanted(Head(10), bytearray(b"a" * 8 + b"\n\n")) == 0
    assert wanted(Head(10), bytearray(b"a" * 9 + b"\n\n")) == 0
    for size in (10, 11):
        with pytest.raises(NetworkError, match="longer than 10 bytes"):
            wanted(Head(10), bytearray(b"a" * size))
