import re

import pytest
from hypothesis import given

from pync.proto.crlf import Crlf
from tests.proto.cuts import cut, of_bytes, places


@pytest.mark.parametrize(
    ("lines", "wire"),
    [
        (b"", b""),
        (b"a\n", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b"\n\n", b"\r\n\r\n"),
        (b"\r\r\n", b"\r\r\n"),
        (b"\r", b"\r"),
        (b"\ra\n\r", b"\ra\r\n\r"),
    ],
)
def test_lf_becomes_crlf_and_crlf_stays(lines, wire):
    assert Crlf().feed(lines) == wire


@pytest.mark.parametrize(
    ("pieces", "wire"),
    [
        ([b"a\r", b"\nb"], b"a\r\nb"),
        ([b"a\r", b"b\n"], b"a\rb\r\n"),
        ([b"\ra", b"\n"], b"\ra\r\n"),
        ([b"a\r", b"", b"\n"], b"a\r\n"),
    ],
)
def test_a_pair_in_two_reads_is_a_pair(pieces, wire):
    filter_ = Crlf()
    assert b"".join(filter_.feed(piece) for piece in pieces) == wire


@given(of_bytes(b"\r\nab\0"), places)
def test_cuts_do_not_matter(data, where):
    filter_ = Crlf()
    out = b"".join(filter_.feed(memoryview(piece)) for piece in cut(data, where)) + filter_.flush()
    assert out == Crlf().feed(data)
    assert out == re.sub(rb"(?<!\r)\n", b"\r\n", data)


def test_flush_begins_a_new_message():
    filter_ = Crlf()
    filter_.feed(b"ends with \r")
    filter_.flush()
    assert filter_.feed(b"\n") == b"\r\n"
