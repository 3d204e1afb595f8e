"""Endpoints (CLI contract 2): one grammar, printed and parsed back."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.endpoint import Endpoint, parse, resolve, take
from pync.errors import NetworkError, PyncError, UsageError
from tests.harness import has_ipv6


@pytest.mark.parametrize(
    ("words", "endpoint", "rest"),
    [
        (["host", "80"], Endpoint("tcp", "host", 80), []),
        (["host:80"], Endpoint("tcp", "host", 80), []),
        (["host:http"], Endpoint("tcp", "host", "http"), []),
        (["host", "ftp-data"], Endpoint("tcp", "host", "ftp-data"), []),
        (["[::1]:80"], Endpoint("tcp", "::1", 80), []),
        (["::1", "9000"], Endpoint("tcp", "::1", 9000), []),
        (["[::1]", "9000"], Endpoint("tcp", "::1", 9000), []),
        (["fe80::1%eth0", "9000"], Endpoint("tcp", "fe80::1%eth0", 9000), []),
        (["tcp://host:80"], Endpoint("tcp", "host", 80), []),
        (["udp://host:53"], Endpoint("udp", "host", 53), []),
        (["tls://[::1]:443"], Endpoint("tls", "::1", 443), []),
        (["TCP://host:80/"], Endpoint("tcp", "host", 80), []),
        (["unix:/run/x"], Endpoint("unix", path="/run/x"), []),
        (["unix:rel:ative"], Endpoint("unix", path="rel:ative"), []),
        (["unix:@name"], Endpoint("unix", path="@name"), []),
        (["unix-dgram:/run/x"], Endpoint("unix-dgram", path="/run/x"), []),
        (["fd:3"], Endpoint("fd", path="3"), []),
        (["host", "9000", "a.txt", "b.txt"], Endpoint("tcp", "host", 9000), ["a.txt", "b.txt"]),
        (["host:9000", "a.txt", "b.txt"], Endpoint("tcp", "host", 9000), ["a.txt", "b.txt"]),
        (["unix:/x", "9000"], Endpoint("unix", path="/x"), ["9000"]),
        (["tls://host", "443"], Endpoint("tls", "host", 443), []),
    ],
)
def test_forms(words, endpoint, rest):
    assert take(words) == (endpoint, rest)


@pytest.mark.parametrize(
    ("words", "endpoint"),
    [
        (["9000"], Endpoint("tcp", "", 9000)),
        (["http"], Endpoint("tcp", "", "http")),
        (["0"], Endpoint("tcp", "", 0)),
        (["127.0.0.1", "0"], Endpoint("tcp", "127.0.0.1", 0)),
        (["*:80"], Endpoint("tcp", "", 80)),
        ([":80"], Endpoint("tcp", "", 80)),
        (["udp://:53"], Endpoint("udp", "", 53)),
    ],
)
def test_forms_for_listening(words, endpoint):
    assert take(words, listen=True) == (endpoint, [])


@pytest.mark.parametrize("default", ["tcp", "udp", "tls"])
def test_a_scheme_for_words_without_one(default):
    assert parse("host:1", default=default).scheme == default
    assert parse("tcp://host:1", default=default).scheme == "tcp"


def test_unix_as_the_default():
    assert parse("/run/x", default="unix") == Endpoint("unix", path="/run/x")
    assert parse("/run/x", default="unix-dgram") == Endpoint("unix-dgram", path="/run/x")


@pytest.mark.parametrize(
    "word",
    [
        *(
            "",
            "host",
            "host:",
            "host:65536",
            "host:-1",
            "host:+1",
            "host: 80",
            "host:80x!",
            "[::1]",
            "[::1]80",
        ),
        *("[host]:80", "::1", "[::1:80", ":80", "ftp://host:80", "unix:", "unix:@", "fd:", "fd:x", "a\0b:80"),
        *("host:99999999999999999999", "host:\u0661"),
    ],
)
def test_what_is_none(word):
    with pytest.raises(UsageError) as caught:
        parse(word)
    assert caught.value.message


hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True),
)
services = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
numbers_or_services = st.one_of(st.integers(0, 65535), services)
paths = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=2, max_size=60)
endpoints = st.one_of(
    st.builds(Endpoint, st.sampled_from(["tcp", "udp", "tls"]), hosts, numbers_or_services, st.just("")),
    st.builds(Endpoint, st.sampled_from(["unix", "unix-dgram"]), st.just(""), st.just(0), paths),
    st.builds(Endpoint, st.just("fd"), st.just(""), st.just(0), st.integers(0, 1000).map(str)),
)


@given(endpoints)
def test_printed_and_parsed_back(endpoint):
    assert parse(str(endpoint)) == endpoint


@given(st.lists(st.text(max_size=20), max_size=3), st.booleans())
def test_any_words_are_an_endpoint_or_a_usage_error(words, listen):
    try:
        endpoint, rest = take(words, listen=listen)
    except UsageError:
        return
    assert len(rest) < len(words)
    assert str(endpoint)


# addresses


def test_resolving_addresses_of_either_family():
    assert [str(one) for one in resolve(Endpoint("tcp", "127.0.0.1", 80))] == ["127.0.0.1:80"]
    assert [str(one) for one in resolve(Endpoint("udp", "::1", 53))] == ["[::1]:53"]


def test_services_are_looked_up_for_the_right_protocol():
    assert resolve(Endpoint("tcp", "127.0.0.1", "http"))[0].sockaddr[1] == 80
    assert resolve(Endpoint("udp", "127.0.0.1", "domain"))[0].kind == socket.SOCK_DGRAM


@pytest.mark.parametrize(
    ("endpoint", "options", "kind"),
    [
        (Endpoint("tcp", "no-such-host.invalid", 80), {}, NetworkError),
        (Endpoint("tcp", "localhost", 80), {"numeric": True}, UsageError),
        (Endpoint("tcp", "127.0.0.1", "http"), {"numeric": True}, UsageError),
        (Endpoint("tcp", "127.0.0.1", "no-such-service"), {}, UsageError),
        (Endpoint("tcp", "127.0.0.1", 80), {"family": 6}, UsageError),
        (Endpoint("unix", path="x" * 200), {}, UsageError),
        (Endpoint("tcp", "a" * 300, 80), {}, PyncError),
        (Endpoint("tcp", "a..b", 80), {}, PyncError),
    ],
)
def test_what_does_not_resolve(endpoint, options, kind):
    with pytest.raises(kind):
        resolve(endpoint, **options)


def test_every_address_to_listen_on():
    families = [one.family for one in resolve(Endpoint("tcp", "", 0), passive=True)]
    assert families == [socket.AF_INET, socket.AF_INET6]
    assert [one.family for one in resolve(Endpoint("tcp", "", 0), passive=True, family=6)] == [
        socket.AF_INET6
    ]


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback here")
def test_a_scope_is_kept():
    (address,) = resolve(Endpoint("tcp", "fe80::1%lo", 80))
    assert str(address) == "[fe80::1%lo]:80"


def test_an_abstract_name_starts_with_a_nul():
    assert resolve(Endpoint("unix", path="@name"))[0].sockaddr == b"\0name"
