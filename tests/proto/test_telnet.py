import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.proto import telnet
from pync.proto.telnet import DO, DONT, IAC, SB, SE, WILL, WONT, Telnet
from tests.proto.cuts import cut, of_bytes, places

ECHO = 1
NOP = 241


def command(*codes: int) -> bytes:
    return bytes((IAC, *codes))


@pytest.mark.parametrize(
    ("wire", "clean", "replies"),
    [
        (b"plain", b"plain", b""),
        (b"a" + command(DO, ECHO) + b"b", b"ab", command(WONT, ECHO)),
        (b"a" + command(WILL, ECHO) + b"b", b"ab", command(DONT, ECHO)),
        (command(WONT, ECHO) + command(DONT, ECHO), b"", b""),
        (b"a" + command(NOP) + b"b", b"ab", b""),
        (b"a" + command(IAC) + b"b", b"a\xffb", b""),
        (b"a\r\0b\r\nc\0", b"a\rb\r\nc\0", b""),
        (b"\r" + command(NOP) + b"\0x", b"\rx", b""),
        (b"a" + command(SB, 24, 1) + command(SE) + b"b", b"ab", b""),
        (b"a" + command(SB, 24) + b"x" + command(IAC) + b"y" + command(SE) + b"b", b"ab", b""),
        (command(SB, 24) + b"x" + command(DO, ECHO) + b"b", b"b", command(WONT, ECHO)),
        (command(DO, IAC) + b"x", b"x", command(WONT, IAC)),
        (b"\0a", b"\0a", b""),
        (
            b"a\xff\xfa\x18\x01\xff\xf0b\xff\xfd\x01\xff\xfb\x03",
            b"ab",
            b"\xff\xfc\x01\xff\xfe\x03",
        ),  # RFC 854
    ],
)
def test_negotiation_is_answered_and_taken_out(wire, clean, replies):
    client = Telnet()
    assert client.feed(wire) == clean
    assert client.replies() == replies
    assert client.replies() == b""


@pytest.mark.parametrize(
    ("pieces", "clean"),
    [
        ([b"\r", b"\0"], b"\r"),
        ([b"a\r", b"\0bc"], b"a\rbc"),
        ([b"a\r", b"x\0"], b"a\rx\0"),
        ([b"\ra", b"\0b"], b"\ra\0b"),
        ([b"a\r", b"", b"\0b"], b"a\rb"),
    ],
)
def test_a_nul_goes_with_the_cr_of_the_read_before(pieces, clean):
    client = Telnet()
    assert b"".join(client.feed(piece) for piece in pieces) == clean


telnet_bytes = st.one_of(
    of_bytes(bytes((IAC, SB, SE, WILL, WONT, DO, DONT, NOP, ECHO)) + b"\r\0\na"), st.binary(max_size=60)
)


@given(telnet_bytes, places)
def test_cuts_do_not_matter(data, where):
    whole, pieces = Telnet(), Telnet()
    expected = whole.feed(data)
    assert b"".join(pieces.feed(memoryview(piece)) for piece in cut(data, where)) == expected
    assert pieces.replies() == whole.replies()


@given(st.binary(), places)
def test_escaped_data_arrives_as_it_was(data, where):
    client = Telnet()
    wire = telnet.escape(data).replace(b"\r", b"\r\0")
    assert b"".join(client.feed(piece) for piece in cut(wire, where)) == data
    assert client.replies() == b""


@given(telnet_bytes)
def test_two_of_us_do_not_loop(data):
    here, there = Telnet(), Telnet()
    here.feed(data)
    there.feed(here.replies())
    assert there.replies() == b""


def test_flood_of_requests_owes_a_bounded_answer():
    client = Telnet()
    client.feed(command(DO, ECHO) * 10_000)
    assert client.replies() == command(WONT, ECHO)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_subnegotiation_without_end_does_not_swallow_the_session(piece):
    client = Telnet()
    wire = command(SB) + b"x" * (4096 + 10)
    clean = b"".join(client.feed(wire[at : at + piece]) for at in range(0, len(wire), piece))
    assert clean == b"x" * 10


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("before", [0, 100, 4094, 4095])
def test_an_escaped_byte_counts_as_what_it_takes(piece, before):
    client = Telnet()
    wire = command(SB) + b"x" * before + command(IAC) + b"x" * (4094 - before) + b"y" * 10
    clean = b"".join(client.feed(wire[at : at + piece]) for at in range(0, len(wire), piece))
    assert clean == b"y" * 10


def test_flush_drops_an_unfinished_command():
    client = Telnet()
    assert client.feed(b"a\r" + command(SB)) == b"a\r"
    assert client.flush() == b""
    assert client.feed(b"\0b") == b"\0b"
