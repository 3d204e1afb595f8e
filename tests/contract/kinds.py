"""Every kind of channel, made with a peer that the test plays: one row each, one suite for all."""

import contextlib
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pync.loop import Loop
from pync.transport.child import Child
from pync.transport.datagram import DatagramSocket
from pync.transport.peers import DatagramListener, DatagramPeer
from pync.transport.stdio import Stdio
from pync.transport.stream import StreamSocket
from tests.contract.memory import Memory, MemoryPeer
from tests.harness import PATIENCE


class SocketPeer:
    """The other end, a blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self, count: int) -> bytes:
        """The next `count` bytes; less at the end. Of datagrams: the next one."""
        if self.sock.type == socket.SOCK_DGRAM:
            return self.sock.recv(1 << 17)
        data = bytearray()
        while len(data) < count and (part := self.sock.recv(count - len(data))):
            data += part
        return bytes(data)

    def end(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


class TlsPeer(SocketPeer):
    """The other end, with the standard library's TLS."""

    sock: ssl.SSLSocket

    def end(self) -> None:
        # unwrap() would wait for our close_notify too; this only says its own.
        self.sock.settimeout(0.05)
        with contextlib.suppress(OSError, ssl.SSLError):
            self.sock.unwrap()

    def receive(self, count: int) -> bytes:
        data = bytearray()
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while len(data) < count and (part := self.sock.recv(count - len(data))):
                data += part
        return bytes(data)


class PipePeer:
    """The other ends of two pipes; a file in place of one of them is None."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._write_fd, view) :]

    def receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count and (part := os.read(self._read_fd, count - len(data))):
            data += part
        return bytes(data)

    def end(self) -> None:
        fd, self._write_fd = self._write_fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        self.end()
        fd, self._read_fd = self._read_fd, -1
        if fd >= 0:
            os.close(fd)


Made = tuple[Any, Any]


def _connected(family: int, address: Any) -> tuple[socket.socket, socket.socket]:
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        ours = socket.socket(family)
        ours.connect(listener.getsockname())
        return ours, listener.accept()[0]


@contextlib.contextmanager
def tcp(loop: Loop, scratch: str) -> Iterator[Made]:
    ours, theirs = _connected(socket.AF_INET, ("127.0.0.1", 0))
    yield StreamSocket(ours), SocketPeer(theirs)


@contextlib.contextmanager
def tcp6(loop: Loop, scratch: str) -> Iterator[Made]:
    ours, theirs = _connected(socket.AF_INET6, ("::1", 0))
    yield StreamSocket(ours), SocketPeer(theirs)


@contextlib.contextmanager
def unix(loop: Loop, scratch: str) -> Iterator[Made]:
    ours, theirs = _connected(socket.AF_UNIX, f"{scratch}/sock")
    yield StreamSocket(ours), SocketPeer(theirs)


@contextlib.contextmanager
def inherited(loop: Loop, scratch: str) -> Iterator[Made]:
    """A socket whose description somebody else has too: it stays blocking."""
    ours, theirs = _connected(socket.AF_INET, ("127.0.0.1", 0))
    with ours.dup() as borrowed:
        yield StreamSocket(ours, borrowed=True), SocketPeer(theirs)
        assert borrowed.getblocking()


@contextlib.contextmanager
def child(loop: Loop, scratch: str) -> Iterator[Made]:
    """A child that is a pipe: what it gets goes to the peer's socket, and back."""
    ours, theirs = socket.socketpair()
    script = (
        "import os,socket,sys,threading\n"
        "s=socket.socket(fileno=int(sys.argv[1]))\n"
        "def up():\n"
        "  while d:=os.read(0,65536): s.sendall(d)\n"
        "  s.shutdown(socket.SHUT_WR)\n"
        "t=threading.Thread(target=up,daemon=True); t.start()\n"
        "try:\n"
        "  while d:=s.recv(65536):\n"
        "    while d: d=d[os.write(1,d):]\n"
        "except OSError: pass\n"
        "os.close(1); t.join()\n"
    )
    theirs.set_inheritable(True)
    words = [sys.executable, "-Sc", script, str(theirs.fileno())]
    channel = Child(loop, words, dict(os.environ))
    theirs.close()
    try:
        yield channel, SocketPeer(ours)
    finally:
        channel.process.signal(9)
        loop.run(channel.process.stop(0))


@contextlib.contextmanager
def stdio_pipes(loop: Loop, scratch: str) -> Iterator[Made]:
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    peer = PipePeer(out_read, in_write)
    try:
        yield Stdio(in_read, out_write), peer
        assert os.get_blocking(in_read)
    finally:
        peer.close()
        os.close(in_read)
        os.close(out_write)  # ours, or the /dev/null in its place


@contextlib.contextmanager
def stdio_sockets(loop: Loop, scratch: str) -> Iterator[Made]:
    ours, theirs = socket.socketpair()
    with ours, ours.dup() as output:
        yield Stdio(ours.fileno(), output.fileno()), SocketPeer(theirs)
        assert ours.getblocking()


def _tls(version: ssl.TLSVersion) -> Callable[[Loop, str], Any]:
    @contextlib.contextmanager
    def made(loop: Loop, scratch: str) -> Iterator[Made]:
        from pync.transport.tls import start_tls
        from pync.transport.tls_settings import TlsSettings

        ours, theirs = _connected(socket.AF_INET, ("127.0.0.1", 0))
        secured: list[ssl.SSLSocket] = []
        theirs.settimeout(PATIENCE)

        def accept() -> None:
            secured.append(_server_context(version).wrap_socket(theirs, server_side=True))

        thread = threading.Thread(target=accept)
        thread.start()
        settings = TlsSettings(insecure=True)
        channel = loop.run(
            start_tls(
                loop,
                StreamSocket(ours),
                settings,
                server=False,
                name="localhost",
                deadline=loop.now() + PATIENCE,
            )
        )
        thread.join()
        yield channel, TlsPeer(secured[0])

    return made


_contexts: dict[ssl.TLSVersion, ssl.SSLContext] = {}


def _server_context(version: ssl.TLSVersion) -> ssl.SSLContext:
    if version not in _contexts:
        import trustme

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = version
        trustme.CA().issue_cert("localhost").configure_cert(context)
        _contexts[version] = context
    return _contexts[version]


@contextlib.contextmanager
def memory(loop: Loop, scratch: str) -> Iterator[Made]:
    channel = Memory(loop)
    yield channel, MemoryPeer(channel)


# datagrams


@contextlib.contextmanager
def udp(loop: Loop, scratch: str) -> Iterator[Made]:
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock in (ours, theirs):
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    theirs.connect(ours.getsockname())
    ours.connect(theirs.getsockname())
    yield DatagramSocket(ours), SocketPeer(theirs)


@contextlib.contextmanager
def unix_dgram(loop: Loop, scratch: str) -> Iterator[Made]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    yield DatagramSocket(ours), SocketPeer(theirs)


def _datagram_peer(family: int, address: Any, client: Any) -> Callable[[Loop, str], Any]:
    @contextlib.contextmanager
    def made(loop: Loop, scratch: str) -> Iterator[Made]:
        bound = socket.socket(family, socket.SOCK_DGRAM)
        theirs = socket.socket(family, socket.SOCK_DGRAM)
        bound.bind(address.format(scratch) if isinstance(address, str) else address)
        theirs.bind(client.format(scratch) if isinstance(client, str) else client)
        theirs.connect(bound.getsockname())
        found: list[DatagramPeer] = []
        flag = loop.flag()

        def on_peer(peer: DatagramPeer) -> bool:
            found.append(peer)
            flag.set()
            return True

        listener = DatagramListener(loop, bound, on_peer)
        theirs.send(b"hello")
        loop.run(flag.wait(loop.now() + PATIENCE))
        (channel,) = found
        assert channel.read_into(memoryview(bytearray(100))) == 5
        try:
            yield channel, SocketPeer(theirs)
        finally:
            listener.close()

    return made


STREAMS: dict[str, Callable[[Loop, str], Any]] = {
    "tcp": tcp,
    "tcp6": tcp6,
    "unix": unix,
    "inherited": inherited,
    "child": child,
    "stdio-pipes": stdio_pipes,
    "stdio-sockets": stdio_sockets,
    "tls1.3": _tls(ssl.TLSVersion.TLSv1_3),
    "tls1.2": _tls(ssl.TLSVersion.TLSv1_2),
    "memory": memory,
}
DATAGRAMS: dict[str, Callable[[Loop, str], Any]] = {
    "udp": udp,
    "udp-peer": _datagram_peer(socket.AF_INET, ("127.0.0.1", 0), ("127.0.0.1", 0)),
    "udp6-peer": _datagram_peer(socket.AF_INET6, ("::1", 0), ("::1", 0)),
    "unix-dgram": unix_dgram,
    "unix-dgram-peer": _datagram_peer(socket.AF_UNIX, "{}/bound", "{}/client"),
}
# Those whose peer can break the connection so that reading tells.
RESETTABLE = ("tcp", "tcp6", "inherited", "tls1.3", "tls1.2")
# TLS 1.2 has one end for both directions.
HALF_CLOSING = tuple(kind for kind in STREAMS if kind != "tls1.2")
# The peer can be played by a thread of its own.
THREADED = tuple(kind for kind in STREAMS if kind != "memory")
# The peer can be played by two: one TLS object is not for two threads at once.
BUSY = tuple(kind for kind in THREADED if not kind.startswith("tls"))
