"""The peers of a bound datagram socket, each a channel of its own.

One descriptor serves any number of them, and replies leave from the address that was hit. One descriptor a
peer (connected sockets on the same port) was ruled out: the kernel looks through all of them each time.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable

from pync.endpoint import show
from pync.loop import Loop
from pync.transport.channel import WANT_READ, WANT_WRITE, aligned_buffer, scratch
from pync.transport.datagram import (
    ANCILLARY,
    DONTWAIT,
    MESSAGES,
    MSG_ERRQUEUE,
    DatagramChannel,
    ask,
    enable_gro,
    gro_size,
    receiver_of,
    sender_of,
)
from pync.transport.stream import address_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IP_PKTINFO, _IPV6_PKTINFO = 8, 50
_INBOX_MAX = 4 << 20  # bytes a peer may have waiting; beyond that we behave like a full socket buffer
# Datagrams, or bytes, read before they are passed on: what is read should still be in the processor's cache.
_BURST, _BURST_BYTES = 64, 1 << 18


class DatagramPeer(DatagramChannel):
    """One peer of a DatagramListener."""

    def __init__(self, listener: DatagramListener, address: Any, hit: bytes) -> None:
        self._listener = listener
        self.key = address, hit
        self._reply_from = _reply_from(listener.sock.family, hit)
        self._inbox: deque[tuple[memoryview, int]] = deque()
        self._waiting = 0
        self._error: OSError | None = None
        self._on_read: Callable[[], None] | None = None
        self._scheduled = False
        self._alone = False
        self.address = address
        self.peer = show(listener.sock.family, address) if address else "unix-dgram (unnamed)"
        self.local = _printable(hit)
        self._segments = listener.segments
        self._closed = False

    @property
    def buffered(self) -> int:
        return self._waiting

    def facts(self) -> dict[str, Any]:
        sock = self._listener.sock
        facts = address_facts(sock, self.address, ask(sock.getsockname))
        if self.local:
            facts["local_address"] = self.local
        return facts

    # --- from the listener -------------------------------------------------------------------------

    def deliver(self, data: memoryview, size: int) -> bool:
        """Take a batch of datagrams of `size`; False when the inbox is full."""
        if self._waiting > _INBOX_MAX:
            return False
        self._inbox.append((data, size))
        self._waiting += len(data) + 1
        self._notify_soon()
        return True

    def fail(self, error: OSError) -> None:
        """The peer's host says that nobody is there."""
        self._error = error
        self._notify_soon()

    def _notify_soon(self) -> None:
        if self._on_read is not None and not self._scheduled:
            self._scheduled = True
            self._listener.loop.call_soon(self._notify)

    def _notify(self) -> None:
        self._scheduled = False
        if self._on_read is not None and (self._inbox or self._error):
            self._on_read()
            self._notify_soon_if_more()

    def _notify_soon_if_more(self) -> None:
        if self._inbox or self._error:
            self._notify_soon()

    # --- the channel -------------------------------------------------------------------------------

    def read_into(self, view: memoryview) -> int | None:
        if not self._inbox:
            self.raise_error()
            batch = self._listener.receive_for(self, scratch()) if self._alone else None
            if batch is None:
                return WANT_READ
            self.deliver(memoryview(bytes(batch[0])), batch[1])
        data, size = self._inbox[0]
        datagram = data[:size]
        view[: len(datagram)] = datagram
        if len(data) > size:
            self._inbox[0] = data[size:], size
            self._waiting -= len(datagram)
        else:
            self._taken()
        return len(datagram)

    def take_batch(self, buffer: memoryview) -> tuple[memoryview, int] | None:
        if not self._inbox:
            self.raise_error()
            return self._listener.receive_for(self, buffer) if self._alone else None
        batch = self._inbox[0]
        self._taken()
        return batch

    def _taken(self) -> None:
        data, _ = self._inbox.popleft()
        self._waiting -= len(data) + 1

    def raise_error(self) -> None:
        """Raise what the peer's host answered, once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def write(self, view: memoryview) -> int:
        return self._sendmsg(view, [])

    def _sendmsg(self, view: memoryview, ancillary: list[Any]) -> int:
        self.raise_error()
        if not self.address:
            raise OSError(errno.EDESTADDRREQ, "the peer has no address to answer to")
        return self._listener.send(view, self._reply_from + ancillary, self.address)

    def watch_read(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        self._on_read = callback
        if self._alone:
            loop.watch_read(self._listener.fd, callback)
        self._notify_soon_if_more()

    def take_over(self) -> None:
        """From now on this is the only peer, and reads from the socket itself."""
        self._alone = True

    def watch_write(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        self._listener.watch_write(self, callback)

    def detach(self, loop: Loop) -> None:
        self._on_read = None
        if self._alone:
            loop.watch_read(self._listener.fd, None)
        self._listener.watch_write(self, None)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._listener.gone(self)


def tell_addresses(sock: socket.socket) -> None:
    """Ask for the address that each datagram was sent to, and for ICMP errors with theirs. Best before bind:
    what arrives earlier comes without."""
    if not MESSAGES or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    level, pktinfo, recverr = (
        (socket.IPPROTO_IP, _IP_PKTINFO, 11)  # IP_RECVERR
        if sock.family == socket.AF_INET
        else (socket.IPPROTO_IPV6, 49, 25)  # IPV6_RECVPKTINFO, IPV6_RECVERR
    )
    for option in (pktinfo, recverr):
        try:
            sock.setsockopt(level, option, 1)
        except OSError:
            pass  # replies then leave by the route's choice, and a refusal goes unnoticed


class DatagramListener:
    """A bound datagram socket. `on_peer(peer)` is asked about each new peer: False ignores it in silence.

    With `exclusive`, one peer is all there will be: it reads from the socket itself, at its own pace, and
    what others send is thrown away. Else a full inbox loses that peer's datagrams and nobody else's.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_peer: Callable[[DatagramPeer], bool],
        *,
        exclusive: bool = False,
    ) -> None:
        sock.setblocking(False)
        self.loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.exclusive = exclusive
        self.lost = 0  # datagrams dropped for a full inbox
        self._on_peer = on_peer
        self._peers: dict[tuple[Any, bytes], DatagramPeer] = {}
        self._writers: dict[DatagramPeer, Callable[[], None]] = {}
        self._buffer = aligned_buffer(1 << 16)
        self._handed_over = False
        self._received_bytes = 0
        tell_addresses(sock)
        inet = sock.family in (socket.AF_INET, socket.AF_INET6)
        self.segments = MESSAGES and inet and enable_gro(sock)
        self._receive, self._send = receiver_of(sock), sender_of(sock)
        loop.watch_read(sock.fileno(), self._readable)

    def _readable(self) -> None:
        before = self._received_bytes
        for _ in range(_BURST):
            if self._handed_over or self._received_bytes - before > _BURST_BYTES:
                return
            try:
                count, ancillary, _, address = self._receive([self._buffer], ANCILLARY, DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                continue
            self._received(count, ancillary, address or "")

    def _received(self, count: int, ancillary: list[tuple[int, int, bytes]], address: Any) -> None:
        self._received_bytes += count
        hit = _address_hit(ancillary)
        peer = self._peers.get((address, hit))
        data = memoryview(bytes(self._buffer[:count]))
        size = gro_size(ancillary) or max(count, 1)
        if peer is None:
            peer = DatagramPeer(self, address, hit)
            peer.deliver(data, size)
            if self._on_peer(peer):
                self._peers[peer.key] = peer
                if self.exclusive:
                    self._handed_over = True
                    self.loop.watch_read(self.fd, None)
                    peer.take_over()
        elif not peer.deliver(data, size):
            self.lost += -(-count // size)

    def receive_for(self, peer: DatagramPeer, buffer: memoryview) -> tuple[memoryview, int] | None:
        """The next datagrams of `peer`, the only one; None for not now. Raises what its host answered."""
        while True:
            try:
                count, ancillary, _, address = self._receive([buffer], ANCILLARY, DONTWAIT)
            except BlockingIOError:
                return None
            except OSError as error:
                self._failed(error)
                peer.raise_error()
                continue
            if ((address or ""), _address_hit(ancillary)) == peer.key:
                return buffer[:count], gro_size(ancillary) or max(count, 1)

    def _failed(self, error: OSError) -> None:
        """An ICMP error came back: tell the peer it is about (the error queue knows the address)."""
        if not MESSAGES:
            return
        try:
            _, _, _, address = self.sock.recvmsg(1, ANCILLARY * 4, MSG_ERRQUEUE | DONTWAIT)
        except (OSError, ValueError):
            return
        if error.errno == errno.EMSGSIZE:
            return  # a smaller link on the way: the system knows its size now, and cuts what comes next
        for key, peer in list(self._peers.items()):
            if key[0] == address:
                peer.fail(error)

    def send(self, view: memoryview, ancillary: list[Any], address: Any) -> int:
        """Bytes taken or WANT_WRITE; an error that another peer caused is passed to that one."""
        for _ in range(3):
            try:
                return self._send([view], ancillary, DONTWAIT, address)
            except BlockingIOError:
                return WANT_WRITE
            except ConnectionRefusedError as error:
                if self.sock.family not in (socket.AF_INET, socket.AF_INET6):
                    raise
                self._failed(error)
        return self._send([view], ancillary, DONTWAIT, address)

    def watch_write(self, peer: DatagramPeer, callback: Callable[[], None] | None) -> None:
        """Several peers wait for one descriptor."""
        if callback is None:
            if self._writers.pop(peer, None) is None:
                return
        else:
            self._writers[peer] = callback
        if self.sock.fileno() < 0:
            return
        if self.sock.family == getattr(socket, "AF_UNIX", -1):
            # The socket itself is always writable; the receiver's full queue is what we wait for.
            if callback is not None:
                self.loop.call_later(0.002, self._writable)
        else:
            self.loop.watch_write(self.sock.fileno(), self._writable if self._writers else None)

    def _writable(self) -> None:
        for peer, callback in list(self._writers.items()):
            if self._writers.get(peer) is callback:
                callback()

    def gone(self, peer: DatagramPeer) -> None:
        """Forget a peer; what it sends next makes it a new one."""
        if self._peers.get(peer.key) is peer:
            del self._peers[peer.key]

    def close(self) -> None:
        """Idempotent; the peers stay, deaf and dumb."""
        if self.sock.fileno() >= 0:
            self.loop.forget(self.sock.fileno())
            self.sock.close()


def _address_hit(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """The pktinfo that makes a reply leave from the address the datagram was sent to; empty where unknown."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= 12:
            # ipi_spec_dst, the address to answer from; where the kernel left it out, ipi_addr unless it is
            # a group. Interface 0: the route chooses it.
            address = data[4:8] if any(data[4:8]) else data[8:12]
            return b"\0\0\0\0" + address + b"\0\0\0\0" if address[0] < 224 else b""
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO and len(data) >= 20:
            if data[0] == 0xFF:
                return b""  # sent to a group: the route chooses the source
            scoped = data[:2] == b"\xfe\x80"
            return data[:16] + (data[16:20] if scoped else b"\0\0\0\0")
    return b""


def _reply_from(family: int, hit: bytes) -> list[Any]:
    if not hit:
        return []
    if family == socket.AF_INET:
        return [(socket.IPPROTO_IP, _IP_PKTINFO, hit)]
    return [(socket.IPPROTO_IPV6, _IPV6_PKTINFO, hit)]


def _printable(hit: bytes) -> str:
    if len(hit) == 12:
        return socket.inet_ntop(socket.AF_INET, hit[4:8])
    return socket.inet_ntop(socket.AF_INET6, hit[:16]) if hit else ""
