"""Dialing for datagrams: nothing is sent yet, so nobody can refuse. Groups and broadcast addresses, too."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from pync.endpoint import Address
from pync.errors import ConnectionRefused, NetworkError, PyncError, translate
from pync.transport.channel import Channel
from pync.transport.datagram import DatagramSocket
from pync.transport.dial import lacks_scope, new_socket, no_scope
from pync.transport.settings import SocketSettings, join_group

_AF_UNIX = getattr(socket, "AF_UNIX", -1)


def dial_datagram(addresses: Sequence[Address], settings: SocketSettings) -> Channel:
    """A channel to the first address that has a route. Raises NetworkError, LocalError, UsageError."""
    failure: PyncError | None = None
    for address in addresses:
        try:
            sock = new_socket(address, settings)
        except PyncError as error:
            failure = failure or error
            continue
        try:
            if _is_group(address) or settings.broadcast:
                return _dial_group(sock, address, settings)
            sock.connect(address.sockaddr)
            if address.family != _AF_UNIX and not address.sockaddr[1]:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "")  # nobody has port 0
            return DatagramSocket(sock, made=_made_path(sock))
        except PyncError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            if address.family == _AF_UNIX and error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                failure = ConnectionRefused(f"connect {address}: no such socket")
            elif error.errno == errno.EACCES:
                hint = "to send to a broadcast address add --broadcast"
                failure = failure or NetworkError(f"connect {address}: permission denied", hint=hint)
            elif lacks_scope(address, error):
                failure = failure or no_scope(address)
            else:
                failure = failure or translate(error, f"connect {address}")
    assert failure is not None
    raise failure


def _made_path(sock: socket.socket) -> str | None:
    """The path that `--source` made, to be removed again."""
    name = sock.getsockname() if sock.family == _AF_UNIX else None
    return name if isinstance(name, str) and name else None


def _is_group(address: Address) -> bool:
    if address.family == socket.AF_INET:
        return 224 <= int(address.sockaddr[0].partition(".")[0]) <= 239
    return address.family == socket.AF_INET6 and address.sockaddr[0].lower().startswith("ff")


def _dial_group(sock: socket.socket, address: Address, settings: SocketSettings) -> Channel:
    """To many receivers: not connected, since their answers come from their own addresses."""
    if settings.multicast is not None:
        join_group(sock, settings.multicast, settings.interface)
    if settings.interface is not None and _is_group(address) and address.family == socket.AF_INET6:
        index = socket.if_nametoindex(settings.interface)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    if settings.source is None and settings.source_port is None:
        sock.bind(("0.0.0.0" if address.family == socket.AF_INET else "::", 0))
    return DatagramSocket(sock, target=address.sockaddr)
