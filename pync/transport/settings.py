"""What the user may ask of a socket, and the one place that asks the kernel for it."""

from __future__ import annotations

import socket
import sys

from pync.endpoint import Address, Endpoint, port_number, resolve, take
from pync.errors import LocalError, UsageError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from pync.lean import NamedTuple

LINUX = sys.platform == "linux"
WINDOWS = sys.platform == "win32"
# A datagram socket with the default 208 KiB drops what arrives while we write; the kernel caps what we ask
# for.
_DATAGRAM_BUFFER = 4 << 20
_BUFFER_MAX = (1 << 31) - 1  # an int of C; the kernel's own cap is far below
# 3 s idle, then 6 probes 9 s apart: a peer that vanished is noticed in about a minute.
_PROBE_IDLE, _PROBE_INTERVAL, _PROBE_COUNT = 3, 9, 6


class SocketSettings(NamedTuple):
    """Values of the shared socket options; None and False leave the system's default."""

    family: int = 0  # 0 any, 4 or 6
    numeric: bool = False
    source: str | None = None
    source_port: int | str | None = None
    nodelay: bool = False
    keepalive: bool = False
    dscp: int | None = None
    ttl: int | None = None
    sndbuf: int | None = None
    rcvbuf: int | None = None
    interface: str | None = None
    broadcast: bool = False
    multicast: str | None = None
    reuse_port: bool = False
    backlog: int | None = None


def apply(sock: socket.socket, settings: SocketSettings) -> None:
    """Set what `settings` asks for on a new, unbound socket; raises LocalError naming the option."""
    inet = sock.family in (socket.AF_INET, socket.AF_INET6)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    datagram = sock.type == socket.SOCK_DGRAM
    if datagram:
        _buffer(sock, socket.SO_RCVBUF, settings.rcvbuf or _DATAGRAM_BUFFER)
    elif settings.rcvbuf is not None:
        _buffer(sock, socket.SO_RCVBUF, settings.rcvbuf)
    if settings.sndbuf is not None:
        _buffer(sock, socket.SO_SNDBUF, settings.sndbuf)
    if not inet:
        return
    if settings.keepalive and not datagram:
        _set(sock, "--keepalive", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if settings.nodelay and not datagram:
        _set(sock, "--nodelay", socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.broadcast and datagram:
        _set(sock, "--broadcast", socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if settings.dscp is not None:
        _by_family(sock, "--dscp", "IP_TOS", "IPV6_TCLASS", settings.dscp << 2)
    if settings.ttl is not None:
        _by_family(sock, "--ttl", "IP_TTL", "IPV6_UNICAST_HOPS", settings.ttl)
        if datagram:
            _by_family(sock, "--ttl", "IP_MULTICAST_TTL", "IPV6_MULTICAST_HOPS", settings.ttl)
    if settings.interface is not None:
        _bind_to_interface(sock, settings.interface)


def _buffer(sock: socket.socket, option: int, size: int) -> None:
    """A buffer size; root may go over the system's cap, everybody else gets the cap (as the kernel does)."""
    # SO_RCVBUFFORCE, SO_SNDBUFFORCE
    force = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}.get(option) if LINUX else None
    size = min(size, _BUFFER_MAX)
    try:
        if force is None:
            raise OSError
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except OSError:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, size)
        except OSError:
            pass


def _set(sock: socket.socket, flag: str, level: int, option: int, value: int) -> None:
    try:
        sock.setsockopt(level, option, value)
    except (OSError, TypeError) as error:  # Python takes a number that is no int of C for bytes
        why = reason(error) if isinstance(error, OSError) else "out of range"
        raise LocalError(f"{flag}: {why}") from None


def _by_family(sock: socket.socket, flag: str, v4: str, v6: str, value: int) -> None:
    six = sock.family == socket.AF_INET6
    option = getattr(socket, v6 if six else v4, None)
    if option is None:
        raise LocalError(f"{flag}: this system has no such option")
    _set(sock, flag, socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP, option, value)


def _bind_to_interface(sock: socket.socket, name: str) -> None:
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise LocalError(f"--interface: no interface {name!r}") from None
    six = sock.family == socket.AF_INET6
    try:
        if hasattr(socket, "SO_BINDTODEVICE"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
        elif WINDOWS:  # IPV6_UNICAST_IF, IP_UNICAST_IF (that one in network order)
            level, order = (socket.IPPROTO_IPV6, sys.byteorder) if six else (socket.IPPROTO_IP, "big")
            sock.setsockopt(level, 31, index.to_bytes(4, order))
        elif six:
            sock.setsockopt(socket.IPPROTO_IPV6, 125, index)  # IPV6_BOUND_IF of macOS
        else:
            sock.setsockopt(socket.IPPROTO_IP, 25, index)  # IP_BOUND_IF of macOS
    except OSError as error:
        raise LocalError(f"--interface {name}: {reason(error)}") from None


def reuse_address(sock: socket.socket) -> None:
    """Let a port be bound again at once, though connections of its last owner linger.

    On Windows that is always so, and the option of that name would let strangers share the port.
    """
    if WINDOWS:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)  # type: ignore[attr-defined]
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def join_group(sock: socket.socket, group: str, interface: str | None) -> None:
    """Join the multicast `group` on `interface` (default: the system's choice); raises LocalError."""
    index = 0
    if interface is not None:
        try:
            index = socket.if_nametoindex(interface)
        except OSError:
            raise LocalError(f"--interface: no interface {interface!r}") from None
    try:
        packed = socket.inet_pton(sock.family, group)
    except OSError:
        raise UsageError(f"--multicast: {group!r} is not an address") from None
    if packed[0] != 0xFF if sock.family == socket.AF_INET6 else packed[0] >> 4 != 0xE:
        raise UsageError(f"--multicast: {group} is not the address of a group, such as 239.1.2.3 or ff15::1")
    try:
        if sock.family == socket.AF_INET6:
            request = packed + index.to_bytes(4, sys.byteorder)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        else:
            # struct ip_mreqn; Windows takes the number in the place of the interface's address
            by_number = index.to_bytes(4, "big") if WINDOWS else bytes(4) + index.to_bytes(4, sys.byteorder)
            request = packed + by_number
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    except OSError as error:
        raise LocalError(f"--multicast {group}: {reason(error)}") from None


def source_address(settings: SocketSettings, family: int, kind: int) -> Address | None:
    """Where to bind before connecting to an address of `family`; None for anywhere.

    Raises UsageError when `--source` is of the other family or malformed.
    """
    if settings.source is None and settings.source_port is None:
        return None
    host, port = _split_source(settings.source)
    if settings.source_port is not None:
        port = settings.source_port
    number = port_number(port, kind, numeric=settings.numeric)
    if not host:
        return Address(
            family, kind, ("0.0.0.0", number) if family == socket.AF_INET else ("::", number, 0, 0)
        )
    scheme = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    found = resolve(Endpoint(scheme, host, number), numeric=settings.numeric)
    for address in found:
        if address.family == family:
            return address
    raise UsageError(f"--source {settings.source} is not of the family of the address to connect to")


def at_source(endpoint: Endpoint, settings: SocketSettings) -> Endpoint:
    """Where to listen: `--source` may give the address of an endpoint that is a port alone, as nc takes it.

    Raises UsageError where it says something else than the endpoint.
    """
    if endpoint.scheme not in ("tcp", "udp", "tls"):
        return endpoint
    host, port = _split_source(settings.source)
    if (host and endpoint.host not in ("", host)) or port not in (0, endpoint.port):
        raise UsageError(
            f"--source {settings.source} contradicts the endpoint {endpoint.address}",
            hint=f"say it once: pync listen {endpoint._replace(host=host).address}",
        )
    if settings.source_port not in (None, 0, endpoint.port):
        raise UsageError(
            f"--source-port {settings.source_port} contradicts the endpoint {endpoint.address}",
            hint=f"the port stands alone: pync listen {settings.source_port}",
        )
    return endpoint._replace(host=host or endpoint.host)


def _split_source(source: str | None) -> tuple[str, int | str]:
    if source is None:
        return "", 0
    if source.startswith("["):
        host, _, port = source[1:].partition("]")
        port = port.removeprefix(":")
    elif source.count(":") == 1:
        host, _, port = source.partition(":")
    else:
        host, port = source, ""
    endpoint, _ = take([host or "*", port or "0"], listen=True)
    return endpoint.host, endpoint.port


def probe_peer(sock: socket.socket) -> None:
    """Let the kernel find out by itself whether an idle TCP peer is still there (CLI contract 3.3.2)."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    wanted = (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _PROBE_IDLE),
        (socket.IPPROTO_TCP, "TCP_KEEPALIVE", _PROBE_IDLE),  # its name on macOS
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _PROBE_INTERVAL),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", _PROBE_COUNT),
    )
    for level, name, value in wanted:
        option = getattr(socket, name, None)
        if option is not None:
            try:
                sock.setsockopt(level, option, value)
            except OSError:
                pass
