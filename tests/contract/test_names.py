"""Names that do not resolve, and addresses as messages show them."""

from __future__ import annotations

import errno
import socket

import pytest

from pync import errors
from pync.endpoint import Endpoint, host_of, parse, resolve, show
from pync.errors import NetworkError, UsageError


def fails_with(number: int):
    def getaddrinfo(*_: object) -> None:
        raise socket.gaierror(number, "words of the system")

    return getaddrinfo


@pytest.mark.parametrize(
    ("number", "family", "words"),
    [
        (socket.EAI_AGAIN, 0, "db: name look-up failed (the name server did not answer)"),
        (socket.EAI_NONAME, 0, "db: name not found"),
        (socket.EAI_ADDRFAMILY, 0, "db: the name has no address"),
        (socket.EAI_ADDRFAMILY, 4, "db: the name has no IPv4 address"),
        (socket.EAI_NODATA, 6, "db: the name has no IPv6 address"),
        (socket.EAI_FAIL, 6, "db: name not found"),
    ],
)
def test_why_a_name_has_no_address(
    monkeypatch: pytest.MonkeyPatch, number: int, family: int, words: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", fails_with(number))
    with pytest.raises(NetworkError) as failure:
        resolve(Endpoint("tcp", "db", 80), family=family)
    assert failure.value.message == words


def test_a_name_is_no_address_where_look_ups_are_forbidden() -> None:
    with pytest.raises(UsageError, match="--numeric forbids"):
        resolve(Endpoint("tcp", "db", 80), numeric=True)


def test_an_address_on_an_interface_that_is_not_here() -> None:
    with pytest.raises(UsageError, match="no such interface"):
        resolve(Endpoint("tcp", "fe80::1%no-such-0", 80))


@pytest.mark.parametrize("host", ["ü" * 70, "a..ü"])
def test_what_cannot_be_a_name(host: str) -> None:
    with pytest.raises(UsageError, match="is not a host name"):
        resolve(Endpoint("tcp", host, 80))


def test_a_name_with_other_letters_is_looked_up_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def getaddrinfo(host: object, *_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))] * 2

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    (address,) = resolve(Endpoint("tcp", "bücher.example", 80))
    assert address.sockaddr == ("192.0.2.1", 80)
    assert asked == ["bücher.example"]


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (("::ffff:10.0.0.1", 80, 0, 0), "10.0.0.1"),
        (("fe80::1%eth0", 80, 0, 2), "fe80::1%eth0"),
        (("fe80::1", 80, 0, 1), "fe80::1%lo"),
        (("fe80::1", 80, 0, 2**31 - 1), f"fe80::1%{2**31 - 1}"),
        (("::1", 80, 0, 0), "::1"),
    ],
)
def test_hosts_are_shown_without_what_the_system_adds(sockaddr: tuple[object, ...], text: str) -> None:
    assert host_of(sockaddr) == text


@pytest.mark.parametrize(
    ("family", "sockaddr", "text"),
    [
        (socket.AF_INET, "", "unknown address"),
        (socket.AF_INET6, ("::1", 80, 0, 0), "[::1]:80"),
        (socket.AF_UNIX, b"\0name", "unix:@name"),
        (socket.AF_UNIX, b"", "unix:"),
        (socket.AF_UNIX, "", "unix:"),
        (socket.AF_UNIX, "/run/x", "unix:/run/x"),
    ],
)
def test_addresses_as_messages_show_them(family: int, sockaddr: object, text: str) -> None:
    assert show(family, sockaddr) == text


def test_an_error_without_a_number_has_its_own_words() -> None:
    assert errors.reason(OSError("timed out in the test")) == "timed out in the test"
    assert errors.reason(TimeoutError()) == "TimeoutError"
    assert errors.reason(OSError(errno.ENOTEMPTY, "x")) == "directory not empty"


def test_a_unix_endpoint_keeps_its_path_as_it_is() -> None:
    assert parse("unix:/tmp/a:80").path == "/tmp/a:80"
