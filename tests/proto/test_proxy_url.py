"""Proxy URLs, the userinfo rules, ALL_PROXY and NO_PROXY."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.errors import UsageError
from pync.proto.proxy_url import Credential, bypassed, chain, parse


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy", "http://proxy:3128"),
        ("https://proxy", "https://proxy:443"),
        ("socks4://proxy", "socks4://proxy:1080"),
        ("socks4a://proxy", "socks4a://proxy:1080"),
        ("socks5://proxy", "socks5://proxy:1080"),
        ("socks5h://proxy", "socks5h://proxy:1080"),
        ("socks4a://proxy:9", "socks4a://proxy:9"),
        ("socks5://[::1]", "socks5://[::1]:1080"),
        ("SOCKS5H://[2001:db8::1]:99", "socks5h://[2001:db8::1]:99"),
        ("socks://proxy", "socks5://proxy:1080"),
        ("proxy:8080", "http://proxy:8080"),
        ("http://me:secret@proxy:8080/", "http://proxy:8080"),
        ("http://proxy:http-alt", "http://proxy:http-alt"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    proxy = parse(url)
    assert str(proxy) == shown
    assert "secret" not in repr(proxy)


def userinfo(url: str) -> tuple[bytes, bytes, bytes] | None:
    found = parse(url).credential
    return None if found is None else (found.userinfo, found.username, found.password)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://proxy", None),
        ("http://@proxy", (b"", b"", b"")),
        ("http://u@proxy", (b"u", b"u", b"")),
        ("http://u:@proxy", (b"u:", b"u", b"")),
        ("http://:p@proxy", (b":p", b"", b"p")),
        ("http://u:p:q@proxy", (b"u:p:q", b"u", b"p:q")),
        ("http://u%3Av:p%40%2F@proxy", (b"u:v:p@/", b"u:v", b"p@/")),
        ("http://u:p@ss@proxy", (b"u:p@ss", b"u", b"p@ss")),
        ("http://%FF:%00@proxy", (b"\xff:\x00", b"\xff", b"\x00")),
        ("http://ü:p+q@proxy", ("ü:p+q".encode(), "ü".encode(), b"p+q")),
    ],
)
def test_userinfo_is_sent_as_written(text: str, found: tuple[bytes, bytes, bytes] | None) -> None:
    assert userinfo(text) == found


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_any_bytes_can_be_a_credential(name: bytes, password: bytes) -> None:
    quote = "".join(f"%{byte:02X}" for byte in name), "".join(f"%{byte:02x}" for byte in password)
    assert userinfo(f"socks5://{quote[0]}:{quote[1]}@proxy") == (name + b":" + password, name, password)


@pytest.mark.parametrize(
    "url",
    ["", "http://", "ftp://secret@proxy", "http://u:secret@", "http://::1:80", "http://[proxy]:80", "http://[::1",
     "http://name:secret!", "http://u:secret@proxy:99999", "http://proxy:80/path", "http://a b:80", "secret://x:y"],
)  # fmt: skip
def test_bad_urls_are_one_line_without_the_secret(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(url)
    assert "\n" not in caught.value.message
    assert "secret@" not in caught.value.message
    assert ":secret" not in caught.value.message


def test_a_chain_keeps_its_order() -> None:
    assert [str(proxy) for proxy in chain(["socks5://a", "http://b"], "target", 80, {})] == [
        "socks5://a:1080",
        "http://b:3128",
    ]


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({}, []),
        ({"ALL_PROXY": ""}, []),
        ({"ALL_PROXY": "socks5h://p:9"}, ["socks5h://p:9"]),
        ({"all_proxy": "p:9"}, ["http://p:9"]),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "other, target"}, []),
        ({"ALL_PROXY": "http://p", "no_proxy": "*"}, []),
    ],
)
def test_the_environment(environ: dict[str, str], shown: list[str]) -> None:
    assert [str(proxy) for proxy in chain(["env"], "target", 80, environ)] == shown


def test_no_proxy_does_not_touch_a_proxy_that_was_asked_for() -> None:
    assert chain(["http://p"], "target", 80, {"NO_PROXY": "*"})


def test_proxy_auth_of_the_environment_is_for_urls_without_any() -> None:
    first, second = chain(["http://p", "http://u@q"], "target", 80, {"PYNC_PROXY_AUTH": "a:b%40:c"})
    assert isinstance(first.credential, Credential)
    assert (first.credential.username, first.credential.password) == (b"a", b"b%40:c")
    assert second.credential is not None
    assert second.credential.userinfo == b"u"


@pytest.mark.parametrize(
    ("host", "exceptions", "expected"),
    [
        ("example.org", "example.org", True),
        ("www.example.org", "example.org", True),
        ("www.example.org", ".example.org", True),
        ("www.example.org", "*.example.org", True),
        ("example.org", ".example.org", True),
        ("Example.ORG.", "example.org", True),
        ("notexample.org", "example.org", False),
        ("example.org.evil", "example.org", False),
        ("example.org", "example.org:80", True),
        ("example.org", "example.org:81", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3:80", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "1.2.3", False),
        ("::1", "::1", True),
        ("::1", "[::1]:80", True),
        ("::1", "[::1]:81", False),
        ("2001:db8::5", "2001:db8::/32", True),
        ("fe80::1%eth0", "fe80::/10", True),
        ("anything", "", False),
        ("anything", " , ,", False),
        ("anything", ".", False),
        ("anything", "*", True),
    ],
)
def test_no_proxy(host: str, exceptions: str, expected: bool) -> None:
    assert bypassed(host, 80, exceptions) is expected


@given(st.text(max_size=40))
def test_no_text_breaks_the_parsers(text: str) -> None:
    bypassed("example.org", 80, text)
    bypassed("::1", "http", text)
    try:
        parse(text)
    except UsageError:
        pass
