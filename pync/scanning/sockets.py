"""Sockets for probes: where they leave from, and what their errors mean."""

from __future__ import annotations

import errno
import socket
import sys

from pync.errors import reason, translate
from pync.transport.settings import SocketSettings, apply, reuse_address, source_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.proto.schedule import Host

# Not results but our own limits: the probe goes out later.
LATER = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.EADDRINUSE,
        errno.EAGAIN,
        errno.EINTR,
    }
)
LINUX = sys.platform == "linux"
_ERROR_QUEUE = LINUX and hasattr(socket.socket, "recvmsg")
_IP_RECVERR = 11  # linux/in.h
_IPV6_RECVERR = 25  # linux/in6.h
_IP_BIND_ADDRESS_NO_PORT = 24
_MSG_ERRQUEUE = 0x2000
_PROHIBITED_V4 = frozenset({9, 10, 13})  # RFC 1122, RFC 1812: by network, by host, by filter
_PROHIBITED_V6 = frozenset({1, 5, 6})  # RFC 4443: policy, source address policy, reject route
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3  # linux/errqueue.h

Verdict = tuple[str, str]
REFUSED: Verdict = ("closed", "refused")
_BY_ERRNO: dict[int, Verdict] = {
    errno.ECONNREFUSED: REFUSED,
    # A reset instead of a SYN-ACK is ECONNREFUSED; these mean that it was open before it was reset.
    errno.ECONNRESET: ("open", "syn-ack"),
    errno.EPIPE: ("open", "syn-ack"),
    errno.EHOSTUNREACH: ("filtered", "host unreachable"),
    errno.EHOSTDOWN: ("filtered", "host unreachable"),
    errno.ENETUNREACH: ("filtered", "net unreachable"),
    errno.ENETDOWN: ("filtered", "net unreachable"),
    errno.ETIMEDOUT: ("filtered", "no answer"),
    errno.EACCES: ("filtered", "admin prohibited"),
    errno.EPERM: ("filtered", "admin prohibited"),
}


def verdict(number: int) -> Verdict:
    """State and reason for the errno of a failed probe."""
    return _BY_ERRNO.get(number) or ("filtered", reason(OSError(number, "")))


def icmp_verdict(origin: int, kind: int, code: int, number: int) -> Verdict:
    """State and reason for an entry of the error queue."""
    if origin == _ORIGIN_ICMP and kind == 3 and code in _PROHIBITED_V4:
        return "filtered", "admin prohibited"
    if origin == _ORIGIN_ICMP6 and kind == 1 and code in _PROHIBITED_V6:
        return "filtered", "admin prohibited"
    return verdict(number)


def queued_error(sock: socket.socket) -> tuple[Verdict, tuple[str, int]] | None:
    """The next entry of the socket's error queue and the destination it is about; None when there is none."""
    if not _ERROR_QUEUE:  # the flag's number means something else there
        return None
    try:
        _, ancillary, _, about = sock.recvmsg(1, 256, _MSG_ERRQUEUE)
    except OSError:
        return None
    for _level, _kind, data in ancillary:
        if len(data) >= 16:  # struct sock_extended_err
            number = int.from_bytes(data[:4], sys.byteorder)
            found = icmp_verdict(data[4], data[5], data[6], number)
            return found, (about[0], about[1]) if about else ("", 0)
    return verdict(errno.EHOSTUNREACH), (about[0], about[1]) if about else ("", 0)


def socket_settings(options: Any) -> SocketSettings:
    """What the options of `scan` ask of a socket."""
    family = 4 if options.ipv4 else 6 if options.ipv6 else 0
    return SocketSettings(
        family=family, numeric=options.numeric, source=options.source, interface=options.interface
    )


class Sockets:
    """Makes the sockets of one scan. Raises UsageError or LocalError for a source that cannot be used."""

    def __init__(self, settings: SocketSettings, *, explain: bool = False) -> None:
        self._settings = settings
        self._explain = explain and _ERROR_QUEUE  # find out who refused, for an extra system call a socket
        self._sources: dict[tuple[int, int], tuple[Any, ...] | None] = {}
        nothing_to_set = settings.source is None and settings.interface is None and not self._explain
        self._plain = nothing_to_set and hasattr(socket, "SOCK_NONBLOCK")
        if settings.source is not None or settings.interface is not None:
            self._check()

    def _check(self) -> None:
        family = socket.AF_INET6 if (self._settings.source or "").count(":") > 1 else socket.AF_INET
        try:
            self.stream(family).close()
        except OSError as error:
            raise translate(error, f"bind {self._settings.source}", local=True) from None

    def stream(self, family: int) -> socket.socket:
        """A non-blocking TCP socket."""
        sock = socket.socket(family, socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0))
        return sock if self._plain else self._prepare(sock, explain=self._explain)

    def datagram(self, family: int) -> socket.socket:
        """A non-blocking UDP socket that hears of ICMP errors where the system tells."""
        return self._prepare(socket.socket(family, socket.SOCK_DGRAM), explain=_ERROR_QUEUE)

    def _prepare(self, sock: socket.socket, *, explain: bool) -> socket.socket:
        settings = self._settings
        try:
            if sock.gettimeout() != 0:
                sock.setblocking(False)
            if settings.interface is not None or sock.type == socket.SOCK_DGRAM:
                apply(sock, settings)
            if settings.source is not None:
                self._bind(sock)
            if explain:
                _tell_errors(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _bind(self, sock: socket.socket) -> None:
        key = int(sock.family), int(sock.type)
        if key not in self._sources:
            source = source_address(self._settings, *key)
            self._sources[key] = source.sockaddr if source is not None else None
        place = self._sources[key]
        if place is None:
            return
        if place[1]:
            reuse_address(sock)
        elif LINUX and sock.type == socket.SOCK_STREAM:
            # The port is then chosen at connect, by destination: not 28,000 in all but as many to each.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind(place)


def _tell_errors(sock: socket.socket) -> None:
    """Queue ICMP errors with who sent them; a kernel that cannot leaves reasons (UDP: refusals) unknown."""
    four = sock.family == socket.AF_INET
    level, option = (socket.IPPROTO_IP, _IP_RECVERR) if four else (socket.IPPROTO_IPV6, _IPV6_RECVERR)
    try:
        sock.setsockopt(level, option, 1)
    except OSError:
        pass


def family_of(host: Host) -> int:
    """AF_INET or AF_INET6 of a host's address."""
    return socket.AF_INET6 if ":" in host.address else socket.AF_INET


def lent_ports() -> range:
    """The ports that the system lends to sockets which ask for none."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            low, high = map(int, file.read().split())
    except (OSError, ValueError):
        return range(1024, 65_536)  # every system lends from in here
    return range(low, high + 1)


def is_ours(address: str) -> bool:
    """Whether the address belongs to this machine: the way to it then starts at itself."""
    if address.startswith("127.") or address == "::1":
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
            return bool(sock.getsockname()[0] == address)
    except OSError:
        return False


def reachable_family(address: str) -> bool:
    """False when this machine has no address at all to speak to `address` from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
