"""CONNECT: every cut, odd but legal heads, challenges, hostile proxies."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.errors import IntegrityError, NetworkError
from pync.proto.handshake import PeerClosed, Refused
from pync.proto.http_connect import HEAD_LIMIT, Again, ClientNonce, Login, connect
from pync.proto.proxy_url import parse
from tests.proto.cuts import cut, places
from tests.proto.played import Played, play, singly

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
BEHIND = b"\r\n\r\nSSH-2.0-server\r\n"
DIGEST = b'Proxy-Authenticate: Digest realm="r", nonce="n1", qop="auth"\r\n'
BASIC = b'Proxy-Authenticate: Basic realm="r"\r\n'


def login(userinfo: str | None = "u:secret") -> Login:
    credential = None if userinfo is None else parse(f"http://{userinfo}@proxy").credential
    return Login(credential, ClientNonce())


def ask(*answers: bytes, with_login: Login | None = None) -> Played:
    return play(connect("example.org", 443, with_login or login()), answers)


def challenge(*fields: bytes, body: bytes = b"", status: bytes = b"HTTP/1.1 407 Auth") -> bytes:
    return status + b"\r\n" + b"".join(fields) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def answers_in(sent: bytes) -> list[bytes]:
    return re.findall(rb"Proxy-Authorization: (\w+ [^\r]*)\r\n", sent)


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("example.org", b"example.org:443"),
        ("192.0.2.7", b"192.0.2.7:443"),
        ("2001:db8::1", b"[2001:db8::1]:443"),
        ("fe80::1%eth0", b"[fe80::1]:443"),
        ("bücher.example", b"xn--bcher-kva.example:443"),
    ],
)
def test_the_request(host: str, target: bytes) -> None:
    played = play(connect(host, 443, login()), [OK])
    assert played.sent == b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        OK,
        b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 200 \r\n\r\n",
        b"HTTP/1.1  200  OK\n\n",
        b"HTTP/1.1 299 Strange\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\tmore\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\nX:\r\n\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60_000 + b"\r\n\r\n",
    ],
)
def test_odd_but_legal_heads(head: bytes) -> None:
    played = ask(head, BEHIND)
    assert played.result is None
    assert played.left == BEHIND


@given(places, st.sampled_from([OK, b"HTTP/1.0 200\n\n", b"HTTP/1.1 200 OK\r\nA: b\n\r\n"]))
def test_any_cut_and_the_rest_is_left_alone(cuts: list[int], head: bytes) -> None:
    assert ask(*cut(head + BEHIND, cuts)).left == BEHIND
    assert ask(*singly(head + BEHIND)).left == BEHIND


@given(places, st.booleans())
def test_a_challenge_is_answered_however_it_is_cut(cuts: list[int], chunked: bool) -> None:
    page = b"<html>who are you?</html>"
    first = challenge(DIGEST, BASIC, body=page)
    if chunked:
        body = b"5;ext=1\r\n<html\r\n14\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % page[5:]
        first = b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Transfer-Encoding: chunked\r\n\r\n" + body
    played = ask(*cut(first + OK + BEHIND, cuts))
    assert played.result is None
    assert played.left == BEHIND
    (answer,) = answers_in(played.sent)
    assert answer.startswith(b"Digest ")
    assert b"secret" not in played.sent


def test_digest_comes_before_basic() -> None:
    assert answers_in(ask(challenge(BASIC, DIGEST), OK).sent)[0].startswith(b"Digest ")
    both = b'Proxy-Authenticate: Basic realm="x", Digest realm="r", nonce="n"\r\n'
    assert answers_in(ask(challenge(both), OK).sent)[0].startswith(b"Digest ")


def test_basic_where_digest_is_of_an_unknown_kind() -> None:
    unknown = b'Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: Digest algorithm=NEW, nonce="n"\r\n'
    assert answers_in(ask(challenge(unknown, BASIC), OK).sent) == [b"Basic dTpzZWNyZXQ="]


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"\r\n",  # of unknown length
        b"HTTP/1.0 407 Auth\r\n" + DIGEST + b"Content-Length: 0\r\n\r\n",
        challenge(DIGEST, b"Connection: close\r\n"),
        challenge(DIGEST, b"Proxy-Connection: Close\r\n"),
        b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Content-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Content-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Transfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        challenge(DIGEST),  # and it closes when asked again
    ],
)
def test_a_connection_that_cannot_be_used_again(first: bytes) -> None:
    state = login()
    assert ask(first, with_login=state).result == Again()
    played = ask(OK, with_login=state)
    assert played.result is None
    assert answers_in(played.sent)[0].startswith(b"Digest ")


def test_keep_alive_of_http_1_0_is_used() -> None:
    first = challenge(DIGEST, b"Proxy-Connection: Keep-Alive\r\n", status=b"HTTP/1.0 407 Auth")
    assert ask(first, OK).result is None


def test_a_stale_nonce_is_no_refusal() -> None:
    stale = b'Proxy-Authenticate: Digest realm="r", nonce="n2", qop="auth", stale=true\r\n'
    answers = answers_in(ask(challenge(DIGEST), challenge(stale), OK).sent)
    assert [b'nonce="n1"' in answers[0], b'nonce="n2"' in answers[1]] == [True, True]


def test_eternally_stale_is_a_refusal() -> None:
    stale = challenge(DIGEST.replace(b"qop", b"stale=true, qop"))
    with pytest.raises(IntegrityError, match="refused"):
        ask(*[stale] * 10)


@pytest.mark.parametrize("field", [DIGEST, BASIC])
def test_refused_credentials(field: bytes) -> None:
    with pytest.raises(IntegrityError, match="refused") as caught:
        ask(challenge(field), challenge(field))
    assert "secret" not in caught.value.message


def test_a_401_is_a_refusal_of_the_credential() -> None:
    with pytest.raises(IntegrityError, match="401"):
        ask(challenge(BASIC), b"HTTP/1.1 401 Unauthorized\r\n\r\n")


def test_wanted_and_unknown_authentication() -> None:
    with pytest.raises(IntegrityError, match="wants") as caught:
        ask(challenge(BASIC), with_login=login(None))
    assert "PYNC_PROXY_AUTH" in (caught.value.hint or "")
    with pytest.raises(IntegrityError, match="kerberos"):
        ask(challenge(b"Proxy-Authenticate: Kerberos\r\n"))
    with pytest.raises(IntegrityError, match="nothing"):
        ask(challenge())


def test_a_name_that_digest_cannot_carry() -> None:
    with pytest.raises(IntegrityError, match="control"):
        ask(challenge(DIGEST), with_login=login("a%0D%0Ab:p"))


@pytest.mark.parametrize(
    "status", [b"403 Forbidden", b"502 Bad \x1b[31mGateway\x07", b"301 Moved", b"999", b"404"]
)
def test_refusals_are_fit_for_a_terminal(status: bytes) -> None:
    with pytest.raises(Refused) as caught:
        ask(b"HTTP/1.1 " + status + b"\r\n\r\n")
    assert caught.value.message.isprintable()
    assert status[:3].decode() in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n",
        b"\x05\x00\x00\x00\x00",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (HEAD_LIMIT + 10),
        b"HTTP/\n\n",
    ],
)
def test_nonsense(answer: bytes) -> None:
    with pytest.raises(NetworkError) as caught:
        ask(answer)
    assert "\n" not in caught.value.message


def test_every_prefix_of_a_good_answer_is_an_early_end() -> None:
    for size in range(len(OK)):
        with pytest.raises(PeerClosed):
            ask(OK[:size])


def test_endless_chunks_end() -> None:
    endless = (
        b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096
    )
    assert ask(endless, *[b"\r\n1000\r\n" + b"x" * 4096] * 40).result == Again()
    long_line = b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 5000
    assert ask(long_line).result == Again()


@given(
    st.lists(st.sampled_from([b"HTTP/1.1 ", b"407", b"200", b" ", b"\r\n", b"\n", DIGEST, BASIC, b"0", b"x"]))
)
def test_noise_ends(pieces: list[bytes]) -> None:
    try:
        ask(*pieces)
    except (NetworkError, IntegrityError):
        pass


# at the edges


def page(size: int, *, chunked: bool) -> bytes:
    """A challenge with an error page of that size."""
    if not chunked:
        return challenge(DIGEST, body=b"x" * size)
    head = b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + (b"%x\r\n" % size + b"x" * size + b"\r\n" if size else b"") + b"0\r\n\r\n"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "reused"), [(0, True), (1, True), (65_536, True), (65_537, False)])
def test_a_page_of_any_reasonable_length_is_read(size: int, reused: bool, chunked: bool) -> None:
    played = ask(page(size, chunked=chunked), OK, BEHIND)
    assert played.result == (None if reused else Again())
    assert played.left == BEHIND or not reused


@pytest.mark.parametrize(
    ("body", "reused"),
    [
        (b"5\nhello\n0\n\n", True),
        (b"a;name=value\r\n0123456789\r\n0\r\n\r\n", True),
        (b"A \r\n0123456789\r\n0;last\r\nTrailer: x\r\nMore: y\r\n\r\n", True),
        (b"00000001\r\nx\r\n00000000\r\n\r\n", True),
        (b"000000001\r\nx\r\n0\r\n\r\n", False),
        (b"\r\n", False),
        (b"-1\r\n", False),
        (b"0x1\r\n", False),
        (b"0;" + b"e" * 996 + b"\r\n\r\n", True),
        (b"0;" + b"e" * 998 + b"\r\n\r\n", False),
        (b"0\r\n\rX", False),
        (b"8000\r\n" + b"x" * 0x8000 + b"\r\n8000\r\n" + b"x" * 0x8000 + b"\r\n0\r\n\r\n", True),
        (b"8000\r\n" + b"x" * 0x8000 + b"\r\n8001\r\n" + b"x" * 0x8001 + b"\r\n0\r\n\r\n", False),
    ],
)
def test_chunks_of_every_kind(body: bytes, reused: bool) -> None:
    head = b"HTTP/1.1 407 Auth\r\n" + DIGEST + b"Transfer-Encoding: Chunked\r\n\r\n"
    played = ask(head + body, OK, BEHIND)
    assert played.result == (None if reused else Again())
    assert played.left == BEHIND or not reused


@pytest.mark.parametrize(
    ("fields", "reused"),
    [
        (b"Content-Length: 000000005", True),
        (b"Content-Length: 0000000005", False),
        (b"Content-Length: 5, 5", True),
        (b"Content-Length: 5\r\nContent-Length: 5", True),
        (b"Content-Length: -5", False),
        (b"Content-Length: \xb25", False),
        (b"Content-Length: 5\r\nConnection: x, Close", False),
        (b"Content-Length: 5\r\nConnection: keep-alive", True),
        (b"Content-Length:\r\n 5", True),
        (b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked", False),
    ],
)
def test_whether_the_connection_is_used_again(fields: bytes, reused: bool) -> None:
    first = b"HTTP/1.1 407 Auth\r\n" + DIGEST + fields + b"\r\n\r\nhello"
    played = ask(first, OK, BEHIND)
    assert played.result == (None if reused else Again())
    assert played.left == BEHIND or not reused


@pytest.mark.parametrize(("number", "fine"), [(15, True), (16, False)])
def test_how_many_interim_answers_there_may_be(number: int, fine: bool) -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\n" * number + OK
    if fine:
        assert ask(answer, BEHIND).left == BEHIND
    else:
        with pytest.raises(NetworkError, match="makes no sense"):
            ask(answer)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"HTTP/1.1 300 Many", "the proxy answered 300 Many"),
        (b"HTTP/1.1 999", "the proxy answered 999"),
        (b"HTTP/1.0 403  ~ Not\x7f here\x1f! ", "the proxy answered 403 ~ Not here!"),
        (b"HTTP/1.1 502 " + b"w" * 101, "the proxy answered 502 " + "w" * 100),
    ],
)
def test_refusals_in_the_words_of_the_proxy(line: bytes, message: str) -> None:
    with pytest.raises(Refused) as caught:
        ask(line + b"\r\n\r\n")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 199 Odd\r\n\r\n", "closed"),
        (b"HTTP/1.1 101 Switching\r\n\r\n" + OK, "makes no sense"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "does not speak HTTP/1"),
        (b"HTTP/1 200 OK\r\n\r\n", "does not speak HTTP/1"),
        (b"HTTP/1.2 200 OK\r\n\r\n", "does not speak HTTP/1"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "does not speak HTTP/1"),
        (b"SSH-2.0-x", "does not speak HTTP"),
    ],
)
def test_nonsense_is_told_apart(answer: bytes, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        ask(answer)


@pytest.mark.parametrize(("number", "fine"), [(3, True), (4, False)])
def test_a_nonce_may_go_stale_twice(number: int, fine: bool) -> None:
    stale = challenge(DIGEST.replace(b"qop", b"stale=TRUE, qop"))
    if fine:
        assert len(answers_in(ask(*[stale] * number, OK).sent)) == 3
    else:
        with pytest.raises(IntegrityError, match="refused"):
            ask(*[stale] * number, OK)


def test_only_a_stale_digest_is_tried_again() -> None:
    stale_basic = challenge(b'Proxy-Authenticate: Basic realm="r", stale=true\r\n')
    for again in (stale_basic, challenge(DIGEST.replace(b"qop", b"stale=false, qop"))):
        for first in (DIGEST, BASIC):
            with pytest.raises(IntegrityError, match="refused"):
                ask(challenge(first), again, OK)


def test_a_proxy_that_ends_before_any_challenge_ended_early() -> None:
    with pytest.raises(PeerClosed):
        ask(b"")
    with pytest.raises(PeerClosed):
        ask(challenge(DIGEST)[:30])


def test_schemes_that_are_not_known_are_named_once_and_in_order() -> None:
    with pytest.raises(IntegrityError) as caught:
        ask(challenge(b"Proxy-Authenticate: Zeta, Negotiate, zeta\r\n"))
    assert caught.value.message == "the proxy knows no authentication that pync knows (407: negotiate, zeta)"
