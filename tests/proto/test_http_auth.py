"""Challenges of a 407 and the answers to them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.proto.http_auth import Challenge, Digest, basic, best_digest, challenges
from pync.proto.proxy_url import Credential, parse


def credential(userinfo: str) -> Credential:
    found = parse(f"http://{userinfo}@proxy").credential
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("fields", "schemes"),
    [
        (['Basic realm="x"'], ["basic"]),
        (['Digest realm="x", nonce="n", qop="auth"', "Basic"], ["digest", "basic"]),
        (['Digest realm="x", nonce="n", Basic realm="y"'], ["digest", "basic"]),
        (['Basic realm="Digest, realm=, Basic"'], ["basic"]),
        (["Negotiate, NTLM, Basic realm=x"], ["negotiate", "ntlm", "basic"]),
        (["Negotiate TlRMTVNTUAAB==, Basic realm=x"], ["negotiate", "basic"]),
        (["Negotiate Basic realm=x"], ["negotiate", "basic"]),
        (['NewAuth a="b\\"c, d", e = f , Basic realm=""'], ["newauth", "basic"]),
        ([", ,Basic realm=x, ,"], ["basic"]),
        (['  Basic   realm = "x" '], ["basic"]),
        (['"???", Basic realm=x'], ["basic"]),
        ([""], []),
    ],
)
def test_challenges(fields: list[str], schemes: list[str]) -> None:
    assert [challenge.scheme for challenge in challenges(fields)] == schemes


def test_parameters_are_unquoted() -> None:
    assert challenges(['Digest Realm="a \\"b\\" c", NONCE=abc, stale=TRUE']) == [
        Challenge("digest", {"realm": 'a "b" c', "nonce": "abc", "stale": "TRUE"})
    ]


@given(st.text(st.sampled_from('Basic Dgest,="\\ =\tqop;é'), max_size=60))
def test_any_header_is_read_to_its_end(text: str) -> None:
    challenges([text])


# RFC 7616, 3.9.1
RFC = {
    "realm": "http-auth@example.org",
    "qop": "auth, auth-int",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
}
NONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_the_rfc(algorithm: str, response: str) -> None:
    digest = Digest({**RFC, "algorithm": algorithm})
    answer = digest.answer(credential("Mufasa:Circle%20of%20Life"), "GET", "/dir/index.html", NONCE)
    assert f'response="{response}"'.encode() in answer
    assert b'username="Mufasa"' in answer
    assert b"nc=00000001" in answer
    assert b"qop=auth," in answer
    assert RFC["opaque"].encode() in answer


def test_without_qop_it_is_that_of_rfc_2069() -> None:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    answer = Digest({"realm": "r", "nonce": "n"}).answer(credential("u:p"), "CONNECT", "h:1", "c")
    assert f'response="{md5(":".join((md5("u:r:p"), "n", md5("CONNECT:h:1"))))}"'.encode() in answer
    for absent in (b"qop", b"nc=", b"cnonce", b"algorithm", b"opaque"):
        assert absent not in answer


def test_each_answer_counts() -> None:
    digest = Digest(RFC)
    answers = [digest.answer(credential("u:p"), "CONNECT", "h:1", "c") for _ in range(2)]
    assert b"nc=00000001" in answers[0]
    assert b"nc=00000002" in answers[1]


def test_session_auth_int_and_userhash() -> None:
    digest = Digest({**RFC, "algorithm": "SHA-256-sess", "qop": "auth-int", "userhash": "true"})
    answer = digest.answer(credential("u:p"), "CONNECT", "h:1", "c")
    assert b"qop=auth-int" in answer
    assert b"userhash=true" in answer
    assert b'username="u"' not in answer


@pytest.mark.parametrize("change", [{"algorithm": "ROT13"}, {"qop": "auth-conf"}, {"algorithm": "-sess"}])
def test_unknown_kinds_are_passed_over(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        Digest({**RFC, **change})
    assert best_digest([Challenge("digest", {**RFC, **change}), Challenge("basic", {})]) is None


def test_the_strongest_digest_is_taken() -> None:
    found = [Challenge("digest", {**RFC, "algorithm": name}) for name in ("MD5", "SHA-256", "md5-sess")]
    best = best_digest(found)
    assert best is not None
    assert b"algorithm=SHA-256" in best.answer(credential("u:p"), "CONNECT", "h:1", "c")


def test_quotes_are_escaped_and_control_characters_refused() -> None:
    digest = Digest(RFC)
    assert rb'username="a\"b\\"' in digest.answer(credential('a"b\\:p'), "CONNECT", "h:1", "c")
    with pytest.raises(ValueError, match="control"):
        digest.answer(credential("a%0D%0AX-Evil: 1:p"), "CONNECT", "h:1", "c")


@pytest.mark.parametrize(
    ("userinfo", "value"), [("u", b"dQ=="), ("u:", b"dTo="), ("", b""), ("u:p", b"dTpw")]
)
def test_basic_sends_the_userinfo_as_written(userinfo: str, value: bytes) -> None:
    assert basic(credential(userinfo)) == b"Basic " + value


# the whole header


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_an_answer_of_every_part() -> None:
    digest = Digest({**RFC, "algorithm": "SHA-256-sess", "userhash": "TRUE", "qop": "auth-int, auth"})
    realm, nonce = RFC["realm"], RFC["nonce"]
    secret = sha(f"{sha(f'u:{realm}:p')}:{nonce}:c")
    response = sha(f"{secret}:{nonce}:00000001:c:auth:{sha('CONNECT:h:1')}")
    assert digest.answer(credential("u:p"), "CONNECT", "h:1", "c").decode() == (
        f'Digest username="{sha(f"u:{realm}")}", realm="{realm}", nonce="{nonce}", uri="h:1", '
        f'response="{response}", opaque="{RFC["opaque"]}", cnonce="c", algorithm=SHA-256-sess, '
        "qop=auth, nc=00000001, userhash=true"
    )


def test_a_session_without_qop_has_a_client_nonce() -> None:
    answer = Digest({"nonce": "n", "algorithm": "SHA-256-SESS"}).answer(
        credential("u:p"), "CONNECT", "h:1", "c"
    )
    secret = sha(f"{sha('u::p')}:n:c")
    response = sha(f"{secret}:n:{sha('CONNECT:h:1')}")
    assert answer.decode() == (
        f'Digest username="u", realm="", nonce="n", uri="h:1", response="{response}", cnonce="c", '
        "algorithm=SHA-256-SESS"
    )


def test_auth_int_is_of_an_empty_body() -> None:
    digest = Digest({"nonce": "n", "algorithm": "SHA-256", "qop": "auth-int"})
    response = sha(f"{sha('u::p')}:n:00000001:c:auth-int:{sha(f'CONNECT:h:1:{sha(str())}')}")
    assert f'response="{response}"' in digest.answer(credential("u:p"), "CONNECT", "h:1", "c").decode()


def test_the_strongest_of_all_is_known_and_first() -> None:
    found = [Challenge("digest", {"nonce": "n", "algorithm": name}) for name in ("SHA-256", "sha-512-256")]
    best = best_digest(found)
    assert best is not None
    assert best.nonce == "n"
    assert b"algorithm=sha-512-256" in best.answer(credential("u:p"), "CONNECT", "h:1", "c")
    weaker = best_digest([Challenge("digest", {"nonce": "n"}), found[0], Challenge("digest", {"nonce": "m"})])
    assert weaker is not None
    assert b"algorithm=SHA-256" in weaker.answer(credential("u:p"), "CONNECT", "h:1", "c")


def test_a_digest_needs_a_nonce_and_may_have_an_empty_qop() -> None:
    with pytest.raises(ValueError, match="unknown"):
        Digest({"realm": "r"})
    assert b"qop" not in Digest({"nonce": "n", "qop": ""}).answer(credential("u:p"), "CONNECT", "h:1", "c")


@pytest.mark.parametrize(("byte", "fine"), [("%1F", False), ("%20", True), ("~", True), ("%7F", False)])
def test_which_names_a_header_can_carry(byte: str, fine: bool) -> None:
    digest = Digest(RFC)
    if fine:
        assert digest.answer(credential(f"a{byte}b:p"), "CONNECT", "h:1", "c")
    else:
        with pytest.raises(ValueError, match="control"):
            digest.answer(credential(f"a{byte}b:p"), "CONNECT", "h:1", "c")


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("realm=lost, Basic realm=x", [("basic", {"realm": "x"})]),
        ("Basic realm=x, realm=y", [("basic", {"realm": "x"})]),
        ("Negotiate abc=, Basic", [("negotiate", {}), ("basic", {})]),
        ("Negotiate abc", [("negotiate", {})]),
        ("New a=b", [("new", {"a": "b"})]),
        ("Negotiate Basic", [("negotiate", {}), ("basic", {})]),
        ("Negotiate Digest , New", [("negotiate", {}), ("digest", {}), ("new", {})]),
        ("Negotiate digest nonce=n", [("negotiate", {}), ("digest", {"nonce": "n"})]),
        ('"???" Basic realm=x', []),
        ('"???" , Basic realm=x', [("basic", {"realm": "x"})]),
        ("\tBasic\trealm\t=\tx\t", [("basic", {"realm": "x"})]),
    ],
)
def test_odd_headers(field: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [tuple(challenge) for challenge in challenges([field])] == found


def test_a_hash_that_the_system_forbids_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = hashlib.new

    def new(name: str, *data: bytes, usedforsecurity: bool = True) -> object:
        if name == "md5" or usedforsecurity:
            raise ValueError(f"{name} is disabled")
        return allowed(name, *data, usedforsecurity=usedforsecurity)

    monkeypatch.setattr(hashlib, "new", new)
    with pytest.raises(ValueError, match="disabled"):
        Digest({"nonce": "n"})
    found = [Challenge("digest", {"nonce": "n", "algorithm": name}) for name in ("MD5", "SHA-256")]
    best = best_digest(found)
    assert best is not None
    assert b"SHA-256" in best.answer(credential("u:p"), "CONNECT", "h:1", "c")


def test_the_challenges_of_several_fields_are_one_list() -> None:
    assert [challenge.scheme for challenge in challenges(["A, B", "C x=y"])] == ["a", "b", "c"]
