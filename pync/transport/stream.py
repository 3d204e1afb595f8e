"""Stream sockets as channels: TCP and Unix."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

from pync.endpoint import host_of, show
from pync.transport.channel import WANT_READ, WANT_WRITE, Channel
from pync.transport.settings import probe_peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)
_LINGER_OFF = (0).to_bytes(8, "little")
_LINGER_ABORT = (1).to_bytes(4, "little") + (0).to_bytes(
    4, "little"
)  # struct linger: on, 0 s: close sends RST
# Where tcpi_bytes_acked and tcpi_bytes_received are in struct tcp_info (linux/tcp.h).
_ACKED, _RECEIVED = slice(120, 128), slice(128, 136)
_RETRANSMITS, _LAST_ACK = 2, slice(56, 60)
# As long as the probes of an idle connection take, and more than one lost packet in a row.
_SILENCE, _CALLS = 57_000, 6
_SO_NWRITE = 0x1024  # sys/socket.h of macOS: what is in the send buffer, so not yet confirmed


class StreamSocket(Channel):
    """A connected stream socket.

    One that was inherited (`borrowed`) shares its description with whoever gave it, so it is never set
    non-blocking: every call says MSG_DONTWAIT, and movers keep to those calls. `peer` is what accept said: a
    client that reset the connection at once has no address any more.
    """

    def __init__(self, sock: socket.socket, peer: Any = None, *, borrowed: bool = False) -> None:
        self.sock = sock
        self.plain = not borrowed and sys.platform != "win32"  # a handle there, and no descriptor
        if not borrowed:
            sock.setblocking(False)
        self.read_fd = self.write_fd = sock.fileno()
        self.tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        self.peer_address = _name(sock.getpeername) if peer is None else peer
        self.local_address = _name(sock.getsockname)
        # A Unix client has no name: the socket it came through says more than nothing.
        self.peer = show(sock.family, self.peer_address or (self.local_address if not self.tcp else ""))
        self.local = show(sock.family, self.local_address)
        self._recv_into = sock.recv_into
        self._send: Callable[[memoryview, int], int] = sock.send
        self._acked_before = self._acked()
        self._broke = False
        self._all_confirmed = False
        self.must_be_asked = self.tcp and not hasattr(socket, "TCP_INFO")
        if self.must_be_asked:
            self._send = self._send_and_forget

    def read_into(self, view: memoryview) -> int | None:
        try:
            return self._recv_into(view, 0, _DONTWAIT) or None
        except BlockingIOError:
            return WANT_READ

    def write(self, view: memoryview) -> int:
        try:
            return self._send(view, _DONTWAIT)
        except BlockingIOError:
            return WANT_WRITE

    def _send_and_forget(self, view: memoryview, flags: int) -> int:
        self._all_confirmed = False
        return self.sock.send(view, flags)

    def send_eof(self) -> int:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone: reading tells how
        return 0

    def facts(self) -> dict[str, Any]:
        """Addresses of both ends, as the `connected` event has them."""
        return address_facts(self.sock, self.peer_address, self.local_address)

    @property
    def same_host(self) -> bool:
        """True when the other end is known to be on this host."""
        return not self.tcp or self.peer_address[:1] == self.local_address[:1]

    # --- truth about the end -----------------------------------------------------------------------

    def guard(self, on: bool) -> None:
        """While on, our death (kill -9 included) resets the connection instead of ending it like a whole
        stream.
        """
        if self.tcp:
            try:
                self.sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ABORT if on else _LINGER_OFF
                )
            except OSError:
                pass

    def probe(self) -> None:
        """Notice a peer that vanished, though we neither send nor expect anything."""
        probe_peer(self.sock)

    def vanished(self) -> bool:
        # A peer that only reads slowly still acknowledges what it is asked; and those are no retransmissions.
        info = self._info()
        silent = int.from_bytes(info[_LAST_ACK], "little")  # milliseconds
        return len(info) >= _LAST_ACK.stop and info[_RETRANSMITS] >= _CALLS and silent >= _SILENCE

    def unacknowledged(self) -> int:
        """Bytes (our FIN counts as one) that the peer's system has not confirmed; 0 where nobody can tell.

        Raises OSError when the connection broke.
        """
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._broke = True
            raise OSError(error, "")
        queued = self._queued() if self.tcp else 0
        self._all_confirmed = queued == 0
        return queued or 0

    def _queued(self) -> int | None:
        """What is in the send queue; None where nobody can tell."""
        try:
            if sys.platform == "darwin":
                return self.sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
            import fcntl
            import termios

            answer = fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, bytes(4))  # SIOCOUTQ, tcp(7)
        except (ImportError, OSError):
            return None
        return int.from_bytes(answer, "little")

    def confirmed(self, count: int) -> bool:
        """True when the peer's system confirmed `count` bytes of ours, even if the connection broke since.

        Where the system does not count them (`must_be_asked`): whether it had, at the last question.
        """
        if not self.tcp:  # a Unix peer that closes with bytes unread resets us; else it had them all
            return not self._broke
        if self.must_be_asked:
            return self._all_confirmed
        return self._acked() - self._acked_before >= count

    def totals(self) -> tuple[int, int]:
        """Bytes that went out and were confirmed, bytes that came in, as the kernel counts them; 0 if it
        does not.
        """
        info = self._info()
        return int.from_bytes(info[_ACKED], "little"), int.from_bytes(info[_RECEIVED], "little")

    def _acked(self) -> int:
        return self.totals()[0]

    def _info(self) -> bytes:
        if not self.tcp or not hasattr(socket, "TCP_INFO"):
            return b""
        try:
            return self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.stop)
        except OSError:
            return b""

    def close(self) -> None:
        self.guard(False)
        self.sock.close()

    def reset(self) -> None:
        self.guard(True)
        self.sock.close()


def _name(ask: Any) -> Any:
    try:
        return ask()
    except OSError:
        return ""


def address_facts(sock: socket.socket, peer: Any, local: Any) -> dict[str, Any]:
    """The facts of an event about a connection: address, port, local_address, local_port, proto, or path."""
    datagram = sock.type == socket.SOCK_DGRAM
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return {
            "proto": "udp" if datagram else "tcp",
            "address": host_of(peer) if peer else "",
            "port": peer[1] if peer else 0,
            "local_address": host_of(local) if local else "",
            "local_port": local[1] if local else 0,
        }
    path = show(sock.family, peer or local).partition(":")[2]
    proto = "unix-dgram" if datagram else "unix"
    return {"proto": proto, "address": None, "port": None, "path": path}
