"""Listening: an Endpoint becomes bound sockets, and each client that comes a socket or a datagram channel."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, Sequence

from pync.endpoint import Address, Endpoint, host_of, resolve, show
from pync.errors import LocalError, NetworkError, PyncError, reason, translate
from pync.loop import Loop, Timer
from pync.transport.peers import tell_addresses
from pync.transport.settings import SocketSettings, apply, at_source, join_group, reuse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AF_UNIX = getattr(socket, "AF_UNIX", -1)
# Port 0 must become the same number for both families; this many numbers are tried until one is free in both.
_PORT_TRIES = 32
_ACCEPT_BURST = 64
_ACCEPT_PAUSE = 0.1  # seconds before accepting again after the descriptor limit was hit
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BACKLOG = 4096  # the kernel takes the smaller of this and net.core.somaxconn
# A host without a family is no error as long as another family can be bound.
_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class Bound:
    """Bound sockets; stream sockets are listening. `close` also removes the Unix path that we made."""

    def __init__(
        self, sockets: Sequence[socket.socket], path: str | None = None, *, borrowed: bool = False
    ) -> None:
        self.sockets = list(sockets)
        self.borrowed = borrowed
        self._path = path
        self._inode = os.stat(path).st_ino if path is not None else None

    @property
    def datagram(self) -> bool:
        """True for UDP and Unix datagrams."""
        return self.sockets[0].type == socket.SOCK_DGRAM

    @property
    def port(self) -> int:
        """The port of every socket, 0 for Unix."""
        first = self.sockets[0]
        return int(first.getsockname()[1]) if first.family != _AF_UNIX else 0

    def facts(self) -> list[dict[str, Any]]:
        """One `listening` event a socket: address and port, or path."""
        found: list[dict[str, Any]] = []
        for sock in self.sockets:
            name = sock.getsockname()
            datagram = sock.type == socket.SOCK_DGRAM
            if sock.family == _AF_UNIX:
                path, proto = show(sock.family, name).partition(":")[2], "unix-dgram" if datagram else "unix"
                found.append({"address": None, "port": None, "path": path, "proto": proto})
            else:
                proto = "udp" if datagram else "tcp"
                found.append({"address": host_of(name), "port": name[1], "proto": proto})
        return found

    def close(self) -> None:
        """Idempotent."""
        for sock in self.sockets:
            if self.borrowed and sock.fileno() >= 0:
                sock.setblocking(True)  # the description is shared with whoever gave it
            sock.close()
        path, self._path = self._path, None
        if path is not None:
            try:
                if os.stat(path).st_ino == self._inode:
                    os.unlink(path)
            except OSError:
                pass


def bind(endpoint: Endpoint, settings: SocketSettings) -> Bound:
    """Bind every address of `endpoint`; raises LocalError when none can be, or one is taken."""
    if endpoint.scheme == "fd":
        return _inherited(endpoint)
    endpoint = at_source(endpoint, settings)
    try:
        addresses = resolve(endpoint, family=settings.family, numeric=settings.numeric, passive=True)
    except NetworkError as error:
        raise NetworkError(f"listen {error.message}") from None
    if addresses[0].family == _AF_UNIX:
        return _bind_unix(addresses[0], endpoint, settings)
    failure: PyncError | None = None
    for _ in range(_PORT_TRIES if endpoint.port == 0 else 1):
        sockets: list[socket.socket] = []
        try:
            return Bound(_bind_each(addresses, settings, sockets))
        except PyncError as error:
            failure = error
            for sock in sockets:
                sock.close()
            if "in use" not in error.message:
                break
    assert failure is not None
    raise failure


def _bind_each(
    addresses: Sequence[Address], settings: SocketSettings, sockets: list[socket.socket]
) -> list[socket.socket]:
    """Fill `sockets`, all on one port; raises LocalError."""
    missing: PyncError | None = None
    for address in addresses:
        sockaddr = address.sockaddr
        if sockaddr[1] == 0 and sockets:
            sockaddr = (sockaddr[0], sockets[0].getsockname()[1], *sockaddr[2:])
        try:
            sockets.append(_bind_one(address._replace(sockaddr=sockaddr), settings))
        except OSError as error:
            failure = _bind_error(address, error)
            if error.errno not in _NO_FAMILY:
                raise failure from None
            missing = missing or failure
    if not sockets:
        assert missing is not None
        raise missing
    return sockets


def _bind_error(address: Address, error: OSError) -> PyncError:
    hint = None
    if error.errno == errno.EADDRINUSE:
        hint = "another program has it; port 0 lets the system choose a free one"
    elif error.errno in (errno.EACCES, errno.EPERM):
        hint = "ports below 1024 need root" if 0 < address.sockaddr[1] < 1024 else None
    return LocalError(f"listen {address}: {reason(error)}", hint=hint)


def _bind_one(address: Address, settings: SocketSettings) -> socket.socket:
    sock = socket.socket(address.family, address.kind)
    try:
        sock.setblocking(False)
        apply(sock, settings)
        if settings.reuse_port:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise LocalError("--reuse-port: this system has no such option")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.kind == socket.SOCK_STREAM or settings.multicast is not None:
            # Streams: to be reusable at once. Datagram sockets would share the port with a stranger, which
            # only group members want.
            if settings.multicast is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                reuse_address(sock)
        if address.kind == socket.SOCK_DGRAM:
            tell_addresses(sock)
        sock.bind(address.sockaddr)
        if settings.multicast is not None and (":" in settings.multicast) == (
            address.family == socket.AF_INET6
        ):
            join_group(sock, settings.multicast, settings.interface)
        if address.kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG if settings.backlog is None else settings.backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(address: Address, endpoint: Endpoint, settings: SocketSettings) -> Bound:
    sock = socket.socket(address.family, address.kind)
    path = None if endpoint.path.startswith("@") else endpoint.path
    try:
        sock.setblocking(False)
        apply(sock, settings)
        if path is not None:
            remove_stale(path, address.kind)
        sock.bind(address.sockaddr)
        if address.kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG if settings.backlog is None else settings.backlog)
    except OSError as error:
        sock.close()
        raise translate(error, f"listen {endpoint.address}", local=True) from None
    return Bound([sock], path)


def remove_stale(path: str, kind: int) -> None:
    """Remove a socket that nobody has open any more (its owner was killed); anything else stays.

    The probe is a socket of the other kind: where somebody is there, it fails without being noticed.
    """
    other = socket.SOCK_DGRAM if kind == socket.SOCK_STREAM else socket.SOCK_STREAM
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(_AF_UNIX, other) as probe:
            probe.setblocking(False)
            refused = probe.connect_ex(path) == errno.ECONNREFUSED
        if refused:
            os.unlink(path)
    except OSError:
        pass


def _inherited(endpoint: Endpoint) -> Bound:
    fd = int(endpoint.path)
    if sys.platform == "win32":
        raise LocalError(f"fd:{fd}: sockets are no descriptors on Windows")
    try:
        sock = socket.socket(fileno=os.dup(fd))
        stream = sock.type != socket.SOCK_DGRAM
        if stream and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise LocalError(f"fd:{fd}: the socket is not listening")
    except OSError as error:
        why = "is not a socket" if error.errno == errno.ENOTSOCK else reason(error)
        raise LocalError(f"fd:{fd}: {why}") from None
    sock.setblocking(False)
    return Bound([sock], borrowed=True)


class Acceptor:
    """Accepts the clients of bound stream sockets: `on_client(socket, sockaddr)` owns what it gets.

    At the descriptor limit it pauses and says so through `on_full`, once until it could accept again.
    """

    def __init__(
        self,
        loop: Loop,
        bound: Bound,
        on_client: Callable[[socket.socket, Any], None],
        on_full: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._bound = bound
        self._on_client = on_client
        self._on_full = on_full
        self._full = False
        self._timer: Timer | None = None
        self._stopped = False
        self._watch(True)

    def _watch(self, on: bool) -> None:
        for sock in self._bound.sockets:
            self._loop.watch_read(sock.fileno(), (lambda sock=sock: self._accept(sock)) if on else None)  # type: ignore[misc]

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPT_BURST):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(reason(error))
                    return
                continue  # this client is gone already (accept(2) lists the errors); the next may be there
            self._full = False
            self._on_client(sock, address)
            if self._stopped:
                return

    def _pause(self, why: str) -> None:
        if not self._full:
            self._full = True
            self._on_full(why)
        self._watch(False)
        self._timer = self._loop.call_later(_ACCEPT_PAUSE, self._resume)

    def _resume(self) -> None:
        if not self._stopped:
            self._watch(True)

    def stop(self) -> None:
        """Accept no more and close the listening sockets; idempotent."""
        if self._stopped:
            return
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for sock in self._bound.sockets:
            if sock.fileno() >= 0:
                self._loop.forget(sock.fileno())
        self._bound.close()
