"""Dialing: an Endpoint becomes a connected Channel, through proxies and inside TLS where that is asked for.

Every resolved address is tried in Happy Eyeballs order (RFC 8305): families alternate, the next address
starts 250 ms after the last one or as soon as one fails, and the first connection wins.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence

from pync.endpoint import DATAGRAM, Address, Endpoint, is_literal, port_number, resolve, unix_sockaddr
from pync.errors import (
    ConnectionRefused,
    LimitReached,
    LocalError,
    NetworkError,
    PyncError,
    TimedOut,
    UsageError,
    reason,
    translate,
)
from pync.loop import WRITE, Loop
from pync.report import Event, Report
from pync.transport.channel import Channel
from pync.transport.settings import SocketSettings, apply, reuse_address, source_address
from pync.transport.stream import StreamSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from pync.transport.tls import TlsSettings
else:
    from pync.lean import NamedTuple


_LINUX = sys.platform == "linux"
_STAGGER = 0.25  # "Connection Attempt Delay" of RFC 8305, section 5
_PENDING = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})


class DialSettings(NamedTuple):
    """How to dial: the socket options, the proxies (outermost first), TLS when `tls` is not None.

    `trust` is what https:// proxies are verified by; without it they are as `tls` says. `idle` is how many
    seconds a handshake, with a proxy or of TLS, may be silent.
    """

    socket: SocketSettings = SocketSettings()
    proxies: tuple[str, ...] = ()
    tls: TlsSettings | None = None
    trust: TlsSettings | None = None
    idle: float | None = None


async def dial(
    loop: Loop, endpoint: Endpoint, settings: DialSettings, report: Report, deadline: float | None = None
) -> Channel:
    """A connected channel to `endpoint`.

    Raises NetworkError (refused, unreachable, no such name), TimedOut at `deadline` (monotonic seconds),
    IntegrityError from TLS or a proxy, LocalError and UsageError for what this host cannot do.
    """
    if endpoint.scheme == "fd":
        channel = inherited(endpoint)
    elif settings.proxies:
        channel = await _dial_through_proxies(loop, endpoint, settings, report, deadline)
    else:
        channel = await _dial_direct(loop, endpoint, settings.socket, report, deadline)
    if settings.tls is None:
        return channel
    from pync.transport.tls import start_tls

    secured = await start_tls(
        loop,
        channel,
        settings.tls,
        server=False,
        name=endpoint.host or None,
        deadline=deadline,
        idle=settings.idle,
    )
    report(Event("secured", secured.secured()))
    return secured


async def _dial_through_proxies(
    loop: Loop, endpoint: Endpoint, settings: DialSettings, report: Report, deadline: float | None
) -> Channel:
    from pync.transport.proxy import connect_through, wanted_proxies

    proxies = wanted_proxies(settings.proxies, endpoint)
    if not proxies:  # the environment says that this one is reached directly
        return await _dial_direct(loop, endpoint, settings.socket, report, deadline)

    async def dial_tcp(host: str, port: int | str, by: float | None) -> Channel:
        return await _dial_direct(loop, Endpoint("tcp", host, port), settings.socket, report, by)

    wanted = settings.socket
    return await connect_through(
        loop,
        proxies,
        endpoint,
        dial_tcp,
        deadline,
        report,
        tls=settings.trust or settings.tls,
        family=wanted.family,
        numeric=wanted.numeric,
        idle=settings.idle,
    )


async def _dial_direct(
    loop: Loop, endpoint: Endpoint, settings: SocketSettings, report: Report, deadline: float | None
) -> Channel:
    addresses = await resolve_all(loop, endpoint, settings, deadline)
    return await dial_addresses(loop, endpoint, addresses, settings, report, deadline)


async def dial_addresses(
    loop: Loop,
    endpoint: Endpoint,
    addresses: Sequence[Address],
    settings: SocketSettings,
    report: Report,
    deadline: float | None,
) -> Channel:
    """A connected channel to one of the `addresses` of `endpoint`; raises as `dial` does."""
    if endpoint.scheme in DATAGRAM:
        from pync.transport.dial_datagram import dial_datagram

        return dial_datagram(addresses, settings)
    return StreamSocket(await _race(loop, endpoint, addresses, settings, report, deadline))


async def resolve_all(
    loop: Loop, endpoint: Endpoint, settings: SocketSettings, deadline: float | None = None
) -> list[Address]:
    """The addresses of `endpoint`; only a name that may take a look-up costs a thread."""
    if endpoint.scheme not in ("tcp", "udp", "tls") or settings.numeric or is_literal(endpoint.host):
        return resolve(endpoint, family=settings.family, numeric=settings.numeric)
    try:
        found: list[Address] = await loop.call_in_thread(
            _resolve, endpoint, settings.family, deadline=deadline
        )
    except TimeoutError:
        raise TimedOut(f"connect {endpoint.address}: name look-up timed out") from None
    except NetworkError as error:
        raise NetworkError(f"connect {error.message}") from None
    return found


def _resolve(endpoint: Endpoint, family: int) -> list[Address]:
    return resolve(endpoint, family=family)


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """Families alternating, starting with the first one the system prefers (RFC 8305, section 4)."""
    first = [address for address in addresses if address.family == addresses[0].family]
    other = [address for address in addresses if address.family != addresses[0].family]
    mixed = []
    for index in range(max(len(first), len(other))):
        mixed += first[index : index + 1] + other[index : index + 1]
    return mixed


class _Attempts:
    """The connection attempts of one race; those that lost are closed."""

    def __init__(self, endpoint: Endpoint, settings: SocketSettings, report: Report) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.report = report
        self.pending: dict[int, tuple[socket.socket, Address]] = {}
        self.failures: list[PyncError] = []

    def begin(self, address: Address) -> socket.socket | None:
        """Start one; a socket that connected at once, or None."""
        doing = f"connect {address}"
        self.report(Event("connecting", _connecting(address)))
        try:
            sock = new_socket(address, self.settings)
        except PyncError as error:
            self.failures.append(error)
            return None
        code = sock.connect_ex(address.sockaddr)
        if code == 0:
            return sock
        if code in _PENDING and not (code == errno.EAGAIN and address.family == _AF_UNIX):
            self.pending[sock.fileno()] = sock, address
        else:
            sock.close()
            self.failures.append(self._failure(OSError(code, os.strerror(code)), doing, address))
        return None

    def finish(self, fd: int) -> socket.socket | None:
        """The socket of `fd` if it connected, None if it failed."""
        sock, address = self.pending.pop(fd)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0 and not is_self_connected(sock):
            return sock
        sock.close()
        code = code or errno.ECONNREFUSED
        self.failures.append(self._failure(OSError(code, os.strerror(code)), f"connect {address}", address))
        return None

    def _failure(self, error: OSError, doing: str, address: Address) -> PyncError:
        if address.family == _AF_UNIX and error.errno == errno.ENOENT:
            return ConnectionRefused(f"{doing}: no such socket")
        if lacks_scope(address, error):
            return no_scope(address)
        if error.errno in (errno.EINVAL, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM):
            return NetworkError(f"{doing}: {reason(error)}")
        return translate(error, doing)

    def close(self) -> None:
        for sock, _ in self.pending.values():
            sock.close()
        self.pending.clear()

    def verdict(self) -> PyncError:
        """One error for all that failed: the most telling one."""
        assert self.failures
        for error in self.failures:
            if isinstance(error, LimitReached):
                return error  # an address was not asked: the others are not the verdict
        refused = [error for error in self.failures if isinstance(error, ConnectionRefused)]
        routed = [error for error in self.failures if "no route" not in error.message]
        telling = refused or routed or self.failures
        local = [error for error in telling if isinstance(error, LocalError)]
        chosen = telling[0] if len(local) < len(telling) else local[0]
        if len(self.failures) > 1 and not isinstance(chosen, LocalError):
            words = chosen.message.rpartition(": ")[2]
            return (ConnectionRefused if refused else NetworkError)(
                f"connect {self.endpoint.address}: {words} ({len(self.failures)} addresses tried)",
                hint="; ".join(error.message.removeprefix("connect ") for error in self.failures[:4]),
            )
        return chosen


def lacks_scope(address: Address, error: OSError) -> bool:
    """Whether a link-local address was given without the link."""
    return (
        error.errno in (errno.EINVAL, errno.EHOSTUNREACH)
        and address.family == socket.AF_INET6
        and address.sockaddr[0].lower().startswith("fe8")
        and not address.sockaddr[3]
    )


def no_scope(address: Address) -> PyncError:
    """What to say then."""
    host = address.sockaddr[0]
    return UsageError(
        f"connect {address}: a link-local address needs its interface", hint=f"write {host}%eth0, say"
    )


_AF_UNIX = getattr(socket, "AF_UNIX", -1)


def _connecting(address: Address) -> dict[str, Any]:
    if address.family == _AF_UNIX:
        return {"address": None, "port": None, "path": str(address).partition(":")[2]}
    return {"address": address.sockaddr[0], "port": address.sockaddr[1]}


async def _race(
    loop: Loop,
    endpoint: Endpoint,
    addresses: Sequence[Address],
    settings: SocketSettings,
    report: Report,
    deadline: float | None,
) -> socket.socket:
    attempts = _Attempts(endpoint, settings, report)
    left = interleave(addresses)
    try:
        while left or attempts.pending:
            if left:
                sock = attempts.begin(left.pop(0))
                if sock is not None:
                    return sock
                if not attempts.pending:
                    continue
            until = min(loop.now() + _STAGGER, deadline or float("inf")) if left else deadline
            ready = await loop.wait_any([(fd, WRITE) for fd in attempts.pending], until)
            if not ready and deadline is not None and loop.now() >= deadline:
                raise TimedOut(f"connect {endpoint.address}: timed out")
            for fd, _ in ready:
                sock = attempts.finish(fd)
                if sock is not None:
                    return sock
        raise attempts.verdict()
    finally:
        for fd in attempts.pending:
            loop.forget(fd)
        attempts.close()


def new_socket(address: Address, settings: SocketSettings) -> socket.socket:
    """A non-blocking socket for `address`, with its options set and its source bound; raises PyncError."""
    try:
        sock = socket.socket(address.family, address.kind)
    except OSError as error:
        raise translate(error, f"connect {address}") from None
    try:
        sock.setblocking(False)
        apply(sock, settings)
        _bind_source(sock, address, settings)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_source(sock: socket.socket, address: Address, settings: SocketSettings) -> None:
    if address.family == _AF_UNIX:
        if settings.source is not None:
            _bind_unix_source(sock, settings.source)
        elif address.kind == socket.SOCK_DGRAM:
            sock.bind(_name_of_its_own())  # so that the peer can answer
        return
    source = source_address(settings, address.family, address.kind)
    if source is None:
        return
    reuse_address(sock)
    try:
        sock.bind(source.sockaddr)
    except OSError as error:
        raise translate(error, f"bind {source}", local=True) from None


def _name_of_its_own() -> str:
    """A name for a Unix datagram socket that has none: Linux finds one, else it is a path, removed again."""
    if _LINUX:
        return ""
    return os.path.join(os.environ.get("TMPDIR", "/tmp"), f"pync-{os.getpid()}-{os.urandom(4).hex()}")


def _bind_unix_source(sock: socket.socket, source: str) -> None:
    from pync.endpoint import parse, unix_sockaddr
    from pync.transport.listen import remove_stale

    endpoint = parse(source, default="unix-dgram")
    if not endpoint.path:
        raise UsageError("--source: a Unix socket needs unix-dgram:PATH")
    try:
        if not endpoint.path.startswith("@"):
            remove_stale(endpoint.path, sock.type)
        sock.bind(unix_sockaddr(endpoint.path))
    except OSError as error:
        raise translate(error, f"bind {endpoint.address}", local=True) from None


def is_self_connected(sock: socket.socket) -> bool:
    """A connect to a closed port of the ephemeral range may, by chance, connect the socket to itself."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False


def check_target(endpoint: Endpoint, *, numeric: bool = False) -> None:
    """Raises what `dial` could only say later: UsageError for a service or path that cannot be, LocalError
    for a descriptor that is no connected socket. Looks no host up."""
    if endpoint.scheme == "fd":
        inherited(endpoint).close()
    elif endpoint.path:
        unix_sockaddr(endpoint.path)
    else:
        kind = socket.SOCK_DGRAM if endpoint.scheme in DATAGRAM else socket.SOCK_STREAM
        port_number(endpoint.port, kind, numeric=numeric)


def inherited(endpoint: Endpoint) -> Channel:
    """The channel of an inherited, connected socket `fd:N`; raises LocalError."""
    fd = int(endpoint.path)
    if sys.platform == "win32":
        raise LocalError(f"fd:{fd}: sockets are no descriptors on Windows")
    try:
        sock = socket.socket(fileno=os.dup(fd))
        sock.getpeername()
        kind = sock.type
    except OSError as error:
        why = "is not a socket" if error.errno == errno.ENOTSOCK else reason(error)
        raise LocalError(f"fd:{fd}: {why}") from None
    if kind == socket.SOCK_DGRAM:
        from pync.transport.datagram import DatagramSocket

        return DatagramSocket(sock, borrowed=True)
    return StreamSocket(sock, borrowed=True)
