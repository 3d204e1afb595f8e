"""Datagram sockets as channels: UDP and Unix, with segmentation offload where the kernel has it."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable

from pync.endpoint import show
from pync.transport.channel import DATAGRAM_MAX, WANT_READ, WANT_WRITE, Channel
from pync.transport.stream import address_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
# Ancillary messages as Linux has them: segments, the address that was hit, what an ICMP error is about.
MESSAGES = sys.platform == "linux" and hasattr(socket.socket, "sendmsg")
_UDP_SEGMENT, _UDP_GRO = 103, 104  # linux/udp.h
_SOL_UDP = 17
MSG_ERRQUEUE = 0x2000
_SEGMENTS_MAX = 64  # UDP_MAX_SEGMENTS of the kernels that had the least
ANCILLARY = 128  # room for a pktinfo and a GRO size


class DatagramChannel(Channel):
    """What the datagram channels share: batches of equal segments, cut by the kernel or by us.

    `take_batch` and `write_batch` move many datagrams of `size` bytes (the last may be shorter) in one call.
    """

    boundaries = True
    batches = True
    half_close = False
    _segments = True  # becomes False where the kernel refuses UDP_SEGMENT

    def take_batch(self, buffer: memoryview) -> tuple[memoryview, int] | None:
        """The datagrams (in `buffer`, or where they are already) and the size of one; None for not now."""
        raise NotImplementedError

    def write_batch(self, view: memoryview, size: int) -> int:
        """Bytes taken: whole datagrams of `size`, or WANT_WRITE."""
        most = min(_SEGMENTS_MAX * size, DATAGRAM_MAX - DATAGRAM_MAX % size)
        if self._segments and len(view) > size:
            batch = view[:most]
            ancillary = [(_SOL_UDP, _UDP_SEGMENT, size.to_bytes(2, "little"))]
            try:
                return self._sendmsg(batch, ancillary)
            except OSError as error:
                if error.errno not in (
                    errno.EINVAL,
                    errno.EIO,
                    errno.EOPNOTSUPP,
                    errno.ENOPROTOOPT,
                    errno.EMSGSIZE,
                ):
                    raise
                self._segments = False  # older kernel, a device without it, or a path MTU below `size`
        return self.write(view[:size])

    def _sendmsg(self, view: memoryview, ancillary: list[Any]) -> int:
        raise NotImplementedError


class DatagramSocket(DatagramChannel):
    """A datagram socket with one peer: connected, or with a broadcast or multicast `target` whose replies
    come from other addresses."""

    def __init__(
        self, sock: socket.socket, target: Any = None, *, borrowed: bool = False, made: str | None = None
    ) -> None:
        """`made`: the Unix path that the socket was bound to, removed at its end."""
        self.sock = sock
        self._made = made
        if not borrowed:
            sock.setblocking(False)
        self.read_fd = self.write_fd = sock.fileno()
        self._target = target
        self.peer_address = target if target is not None else ask(sock.getpeername)
        self.local_address = ask(sock.getsockname)
        self.peer = show(sock.family, self.peer_address) if self.peer_address else ""
        self.local = show(sock.family, self.local_address) if self.local_address else ""
        self._segments = MESSAGES and sock.family != getattr(socket, "AF_UNIX", -1)
        self._gro = self._segments and enable_gro(sock)
        self._hears = self._segments and target is None and not borrowed and hear_errors(sock)
        self._receive = receiver_of(sock)
        self._rest: memoryview = memoryview(b"")
        self._size = 0

    @property
    def buffered(self) -> int:
        return len(self._rest)

    def facts(self) -> dict[str, Any]:
        return address_facts(self.sock, self.peer_address, self.local_address)

    def read_into(self, view: memoryview) -> int | None:
        if not self._rest:
            if not self._gro:
                try:
                    return self.sock.recv_into(view, 0, DONTWAIT)
                except BlockingIOError:
                    return WANT_READ
            batch = self.take_batch(view)
            if batch is None:
                return WANT_READ
            data, self._size = batch
            if len(data) <= self._size:
                return len(data)
            self._rest = memoryview(bytes(data[self._size :]))
            return self._size
        datagram = self._rest[: self._size]
        view[: len(datagram)] = datagram
        self._rest = self._rest[self._size :]
        return len(datagram)

    def take_batch(self, buffer: memoryview) -> tuple[memoryview, int] | None:
        if self._rest:
            rest, self._rest = self._rest, memoryview(b"")
            return rest, self._size
        try:
            count, ancillary, _, _ = self._receive([buffer], ANCILLARY, DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if not self._is_news(error):
                raise
            return None
        return buffer[:count], gro_size(ancillary) or max(count, 1)

    def write(self, view: memoryview) -> int:
        try:
            if self._target is not None:
                return self.sock.sendto(view, DONTWAIT, self._target)
            return self.sock.send(view, DONTWAIT)
        except BlockingIOError:
            return WANT_WRITE
        except OSError as error:
            if not self._is_news(error):
                raise
            return self.sock.send(view, DONTWAIT)

    def _sendmsg(self, view: memoryview, ancillary: list[Any]) -> int:
        try:
            if self._target is not None:
                return self.sock.sendmsg([view], ancillary, DONTWAIT, self._target)
            return self.sock.sendmsg([view], ancillary, DONTWAIT)
        except BlockingIOError:
            return WANT_WRITE
        except OSError as error:
            if not self._is_news(error):
                raise
            return self.sock.sendmsg([view], ancillary, DONTWAIT)

    def _is_news(self, error: OSError) -> bool:
        """Whether `error` only told of a smaller link on the way: the system knows its size now, and cuts
        what comes next. What ICMP said is forgotten either way, or the poller would tell it for ever."""
        told = False
        try:
            while self._hears:
                self.sock.recvmsg(1, ANCILLARY * 4, MSG_ERRQUEUE | DONTWAIT)
                told = True
        except OSError:
            pass
        return told and error.errno == errno.EMSGSIZE

    def close(self) -> None:
        self.sock.close()
        made, self._made = self._made, None
        if made is not None:
            try:
                os.unlink(made)
            except OSError:
                pass


def ask(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except OSError:
        return ""


def receiver_of(sock: socket.socket) -> Callable[[list[memoryview], int, int], tuple[int, Any, int, Any]]:
    """The socket's `recvmsg_into`, or what plays it, without ancillary data, where there is none."""

    def receive(buffers: list[memoryview], _room: int, flags: int) -> tuple[int, Any, int, Any]:
        count, address = sock.recvfrom_into(buffers[0], 0, flags)
        return count, (), 0, address

    return sock.recvmsg_into if hasattr(sock, "recvmsg_into") else receive


def sender_of(sock: socket.socket) -> Callable[[list[memoryview], Any, int, Any], int]:
    """The socket's `sendmsg`, or what plays it where there is none."""

    def send(buffers: list[memoryview], _ancillary: Any, flags: int, address: Any) -> int:
        return sock.sendto(buffers[0], flags, address)

    return sock.sendmsg if hasattr(sock, "sendmsg") else send


def hear_errors(sock: socket.socket) -> bool:
    """Ask for all that ICMP says of our datagrams (no such host, no route), not only of closed ports."""
    six = sock.family == socket.AF_INET6
    try:
        # IPV6_RECVERR, IP_RECVERR
        sock.setsockopt(socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP, 25 if six else 11, 1)
    except OSError:
        return False
    return True


def enable_gro(sock: socket.socket) -> bool:
    try:
        sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return True


def gro_size(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            return int.from_bytes(data[:4], "little")
    return 0
