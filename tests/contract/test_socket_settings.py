"""What the user asks of a socket is what the kernel says of it, or an error that names the option."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pync.errors import LocalError, UsageError
from pync.transport import settings as module
from pync.transport.settings import SocketSettings, apply, join_group, probe_peer, source_address


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


FAMILIES = [socket.AF_INET, socket.AF_INET6]


def new(stack: ExitStack, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
    return stack.enter_context(socket.socket(family, kind))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("asked", "level", "names", "expected"),
    [
        ({"keepalive": True}, socket.SOL_SOCKET, ("SO_KEEPALIVE",) * 2, 1),
        ({"nodelay": True}, socket.IPPROTO_TCP, ("TCP_NODELAY",) * 2, 1),
        ({"dscp": 46}, None, ("IP_TOS", "IPV6_TCLASS"), 184),
        ({"ttl": 7}, None, ("IP_TTL", "IPV6_UNICAST_HOPS"), 7),
        # the kernel doubles it
        ({"sndbuf": 50_000}, socket.SOL_SOCKET, ("SO_SNDBUF",) * 2, 100_000),
        ({"rcvbuf": 50_000}, socket.SOL_SOCKET, ("SO_RCVBUF",) * 2, 100_000),
    ],
)
def test_the_kernel_has_what_was_asked_for(
    stack: ExitStack,
    family: int,
    asked: dict[str, int],
    level: int | None,
    names: tuple[str, str],
    expected: int,
) -> None:
    sock = new(stack, family)
    apply(sock, SocketSettings(**asked))
    if level is None:
        level = socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP
    assert sock.getsockopt(level, getattr(socket, names[family == socket.AF_INET6])) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_datagrams_of_a_group_have_the_same_limit_of_hops(stack: ExitStack, family: int) -> None:
    sock = new(stack, family, socket.SOCK_DGRAM)
    apply(sock, SocketSettings(ttl=9, broadcast=True, keepalive=True, nodelay=True))
    if family == socket.AF_INET6:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 9
    else:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 9
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1


def test_a_unix_socket_has_buffers_and_nothing_else(stack: ExitStack) -> None:
    sock = new(stack, socket.AF_UNIX)
    apply(sock, SocketSettings(sndbuf=50_000, ttl=9, keepalive=True, interface="no-such-0"))
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 100_000


def test_a_buffer_over_the_cap_is_what_the_cap_allows(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root, or without the option of Linux."""
    monkeypatch.setattr(module, "LINUX", False)
    sock, plain = new(stack), new(stack)
    apply(sock, SocketSettings(rcvbuf=1 << 30))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == plain.getsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"ttl": 1000}, "--ttl: invalid argument"),
        ({"ttl": 1 << 40}, "--ttl: out of range"),
        ({"interface": "no-such-0"}, "--interface: no interface 'no-such-0'"),
    ],
)
def test_what_the_kernel_refuses_is_told_with_the_option(
    stack: ExitStack, asked: dict[str, int], words: str
) -> None:
    with pytest.raises(LocalError, match=words):
        apply(new(stack), SocketSettings(**asked))


def test_an_option_that_a_system_lacks_is_told(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "IP_TOS")
    with pytest.raises(LocalError, match="--dscp: this system has no such option"):
        apply(new(stack), SocketSettings(dscp=1))


@pytest.mark.parametrize(
    ("family", "group"), [(socket.AF_INET, "239.1.2.3"), (socket.AF_INET6, "ff02::1234")]
)
def test_a_group_is_joined_on_its_interface(stack: ExitStack, family: int, group: str) -> None:
    sock = new(stack, family, socket.SOCK_DGRAM)
    join_group(sock, group, "lo")
    index = socket.if_nametoindex("lo")
    packed = socket.inet_pton(family, group)
    # A member can leave, and nobody else can.
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, packed + struct.pack("=i", index))
    else:
        leave = packed + struct.pack("=4xi", index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, leave)
        with pytest.raises(OSError, match="annot assign"):
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, leave)


@pytest.mark.parametrize(
    ("group", "interface", "error", "words"),
    [
        ("239.1.2.3", "no-such-0", LocalError, "--interface: no interface"),
        ("nobody", None, UsageError, "--multicast: 'nobody' is not an address"),
        ("127.0.0.1", "lo", UsageError, "--multicast: 127.0.0.1 is not the address of a group"),
    ],
)
def test_groups_that_cannot_be_joined(
    stack: ExitStack, group: str, interface: str | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        join_group(new(stack, kind=socket.SOCK_DGRAM), group, interface)


@pytest.mark.parametrize(
    ("asked", "family", "sockaddr"),
    [
        ({}, socket.AF_INET, None),
        ({"source": "127.0.0.1"}, socket.AF_INET, ("127.0.0.1", 0)),
        ({"source": "127.0.0.1:80"}, socket.AF_INET, ("127.0.0.1", 80)),
        ({"source": "127.0.0.1:80", "source_port": 81}, socket.AF_INET, ("127.0.0.1", 81)),
        ({"source": "[::1]:80"}, socket.AF_INET6, ("::1", 80, 0, 0)),
        ({"source": "::1"}, socket.AF_INET6, ("::1", 0, 0, 0)),
        ({"source": "[::1]"}, socket.AF_INET6, ("::1", 0, 0, 0)),
        ({"source_port": 80}, socket.AF_INET, ("0.0.0.0", 80)),
        ({"source_port": "http"}, socket.AF_INET6, ("::", 80, 0, 0)),
    ],
)
def test_where_to_bind_before_connecting(
    asked: dict[str, str], family: int, sockaddr: tuple[object, ...] | None
) -> None:
    found = source_address(SocketSettings(**asked), family, socket.SOCK_STREAM)
    assert (found and found.sockaddr) == sockaddr


def test_a_source_of_the_other_family_is_told() -> None:
    with pytest.raises(UsageError, match="not of the family"):
        source_address(SocketSettings(source="127.0.0.1"), socket.AF_INET6, socket.SOCK_STREAM)


def test_a_silent_peer_is_probed_and_a_unix_one_need_not_be(stack: ExitStack) -> None:
    sock = new(stack)
    probe_peer(sock)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 3
    unix = new(stack, socket.AF_UNIX)
    probe_peer(unix)
    assert unix.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    gone_like = new(stack)
    gone_like.close()
    probe_peer(gone_like)  # a socket that is no more takes no option, which is no failure of ours
