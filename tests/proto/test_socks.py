"""SOCKS handshakes: the bytes of the memos and RFCs, every cut, refusals and nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.errors import IntegrityError, NetworkError, PyncError, UsageError
from pync.proto.handshake import PeerClosed, Refused
from pync.proto.proxy_url import Credential, parse
from pync.proto.socks import socks4, socks5
from tests.proto.cuts import cut, places
from tests.proto.played import play, singly

GRANTED4 = b"\x00\x5a" + bytes(6)
GRANTED5 = b"\x05\x00" + b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90"
REFUSED5 = b"\x05\x00" + b"\x05\x05\x00\x01" + bytes(6)
BEHIND = b"SSH-2.0-server\r\n"


def credential(userinfo: str) -> Credential:
    found = parse(f"socks5://{userinfo}@proxy").credential
    assert found is not None
    return found


def test_socks4_asks_for_an_address() -> None:
    played = play(socks4("192.0.2.7", 80, credential("me")), [GRANTED4])
    assert played.sent == b"\x04\x01\x00\x50\xc0\x00\x02\x07me\x00"


def test_socks4a_asks_for_a_name() -> None:
    played = play(socks4("example.org", 80, None), [GRANTED4])
    assert played.sent == b"\x04\x01\x00\x50\x00\x00\x00\x01\x00example.org\x00"


def test_socks4_sends_the_userinfo_as_written() -> None:
    assert play(socks4("192.0.2.7", 80, credential("u:")), [GRANTED4]).sent.endswith(b"u:\x00")


def test_socks4_cannot_carry_ipv6() -> None:
    with pytest.raises(UsageError, match="IPv6"):
        play(socks4("::1", 80, None), [])


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (0x5B, Refused, "could not connect"),
        (0x5C, IntegrityError, "could not reach identd"),
        (0x5D, IntegrityError, "refused the user name"),
        (0x5E, Refused, "unknown code 94"),
    ],
)
def test_socks4_refusals(code: int, kind: type[PyncError], words: str) -> None:
    with pytest.raises(kind, match=words):
        play(socks4("192.0.2.7", 80, None), [bytes([0, code]) + bytes(6)])


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", b"\x01\xc0\x00\x02\x07"),
        ("2001:db8::1", b"\x04" + bytes.fromhex("20010db8000000000000000000000001")),
        ("fe80::1%eth0", b"\x04" + bytes.fromhex("fe800000000000000000000000000001")),
        ("example.org", b"\x03\x0bexample.org"),
        ("bücher.example", b"\x03\x15xn--bcher-kva.example"),
    ],
)
def test_socks5_asks_for_any_kind_of_address(host: str, address: bytes) -> None:
    played = play(socks5(host, 443, None), [GRANTED5, BEHIND])
    assert played.sent == b"\x05\x01\x00" + b"\x05\x01\x00" + address + b"\x01\xbb"
    assert played.left == BEHIND


def test_socks5_logs_in_when_asked() -> None:
    answers = [b"\x05\x02", b"\x01\x00", GRANTED5[2:]]
    played = play(socks5("192.0.2.7", 80, credential("me:p%40ss")), answers)
    assert played.sent.startswith(b"\x05\x02\x00\x02" + b"\x01\x02me\x04p@ss")


def test_socks5_keeps_the_password_to_itself_when_not_asked() -> None:
    assert b"secret" not in play(socks5("192.0.2.7", 80, credential("me:secret")), [GRANTED5]).sent


def test_socks5_sends_empty_parts_of_a_credential() -> None:
    answers = [b"\x05\x02", b"\x01\x00", GRANTED5[2:]]
    assert b"\x01\x01u\x00" in play(socks5("192.0.2.7", 80, credential("u")), answers).sent
    assert b"\x05\x02\x00\x02\x01\x00\x00" in play(socks5("192.0.2.7", 80, credential("")), answers).sent


@pytest.mark.parametrize("answer", [b"\x05\xff", b"\x05\x02\x01\x01"])
def test_refused_credentials(answer: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        play(socks5("192.0.2.7", 80, credential("me:secret")), [answer])
    assert "secret" not in caught.value.message


def test_wanted_credentials_are_hinted_at() -> None:
    with pytest.raises(IntegrityError) as caught:
        play(socks5("192.0.2.7", 80, None), [b"\x05\xff"])
    assert "PYNC_PROXY_AUTH" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "general failure"),
        (2, "not allowed by its rules"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (6, "TTL expired"),
        (7, "it knows no CONNECT"),
        (8, "it does not take that kind of address"),
        (9, "unknown code 9"),
    ],
)  # RFC 1928, section 6
def test_socks5_refusals_do_not_wait_for_an_address(code: int, words: str) -> None:
    with pytest.raises(Refused, match=words):
        play(socks5("192.0.2.7", 80, None), [b"\x05\x00\x05" + bytes([code])])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x04\x00", "does not speak SOCKS5"),
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak SOCKS5"),
        (b"\x05\x01", "method 1, which was not offered"),
        (b"\x05\x02", "method 2, which was not offered"),
        (b"\x05\x00\x04\x00\x00\x01", "answer is not SOCKS5"),
        (b"\x05\x00\x05\x00\x00\x02" + bytes(6), "unknown address type 2"),
        (b"\x05\x00\x05\x00\x00\x03", "closed"),
        (b"\x05", "closed"),
        (b"", "closed"),
    ],
)
def test_malformed_and_short_answers(answer: bytes, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        play(socks5("192.0.2.7", 80, None), [answer])


def test_answers_of_another_protocol() -> None:
    with pytest.raises(NetworkError, match="does not speak SOCKS4"):
        play(socks4("192.0.2.7", 80, None), [b"\x05\x5a" + bytes(6)])
    with pytest.raises(NetworkError, match="answer to the password is not SOCKS5"):
        play(socks5("192.0.2.7", 80, credential("a:b")), [b"\x05\x02", b"\x02\x00"])
    wrong_and_common = [b"\x05\x02", b"\x05\x00", GRANTED5[2:]]
    assert play(socks5("192.0.2.7", 80, credential("a:b")), wrong_and_common).left == b""


@pytest.mark.parametrize("name", ["", "x" * 256, "a b", "a\r\nb", "a\x00b", "a\x7fb", "\ud800"])
def test_names_that_no_proxy_can_be_given(name: str) -> None:
    for ask in (socks4, socks5):
        with pytest.raises(UsageError):
            play(ask(name, 80, None), [GRANTED5])


@pytest.mark.parametrize("name", ["x" * 255, "a~b"])
def test_names_that_a_proxy_can_just_be_given(name: str) -> None:
    assert name.encode() in play(socks4(name, 80, None), [GRANTED4]).sent
    assert name.encode() in play(socks5(name, 80, None), [GRANTED5]).sent


@pytest.mark.parametrize("userinfo", ["x" * 256, "me:" + "x" * 256])
def test_overlong_credentials_are_a_usage_error(userinfo: str) -> None:
    for ask in (socks4, socks5):
        with pytest.raises(UsageError) as caught:
            play(ask("192.0.2.7", 80, credential(userinfo)), [])
        assert "xx" not in caught.value.message


def test_credentials_of_the_greatest_length() -> None:
    long = "x" * 255
    answers = [b"\x05\x02", b"\x01\x00", GRANTED5[2:]]
    sent = play(socks5("192.0.2.7", 80, credential(f"{long}:{long}")), answers).sent
    assert b"\x01" + (b"\xff" + long.encode()) * 2 in sent
    assert long.encode() in play(socks4("192.0.2.7", 80, credential(long)), [GRANTED4]).sent


def test_a_user_name_with_an_end_in_it_is_not_for_socks4() -> None:
    with pytest.raises(UsageError, match="no such user name"):
        play(socks4("192.0.2.7", 80, credential("a%00b")), [GRANTED4])


@given(
    places,
    st.sampled_from([b"\x01" + bytes(6), b"\x04" + bytes(18), b"\x03\x03abc\x00\x50", b"\x03\x00\x00\x50"]),
)
def test_socks5_takes_any_cut_and_leaves_the_rest(cuts: list[int], address: bytes) -> None:
    whole = b"\x05\x00" + b"\x05\x00\x00" + address + BEHIND
    assert play(socks5("example.org", 80, None), cut(whole, cuts)).left == BEHIND
    assert play(socks5("example.org", 80, None), singly(whole)).left == BEHIND


@given(places)
def test_socks4_takes_any_cut_and_leaves_the_rest(cuts: list[int]) -> None:
    assert play(socks4("192.0.2.7", 80, None), cut(GRANTED4 + BEHIND, cuts)).left == BEHIND


@given(st.binary(max_size=64))
def test_noise_is_an_error_and_never_a_tunnel_by_accident(noise: bytes) -> None:
    for handshake in (socks4("192.0.2.7", 80, None), socks5("192.0.2.7", 80, credential("a:b"))):
        try:
            played = play(handshake, [noise])
        except (NetworkError, IntegrityError):
            continue
        assert noise.startswith((b"\x00\x5a", b"\x05"))
        assert played.result is None


def test_every_prefix_of_a_good_answer_is_an_early_end() -> None:
    for size in range(len(GRANTED5)):
        with pytest.raises(PeerClosed):
            play(socks5("192.0.2.7", 80, None), [GRANTED5[:size]])
