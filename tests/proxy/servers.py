"""Small servers in threads: an echo, a SOCKS proxy, an HTTP proxy, and whatever a test scripts."""

import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Self

from tests.harness import PATIENCE

Handler = Callable[[socket.socket], None]


class Server:
    """Runs `handler` in a thread for each connection; ends all of them when its scope ends."""

    def __init__(self, handler: Handler, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                connection.settimeout(PATIENCE)
                self._connections.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            with connection:
                self._handler(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for sock in (self._listener, *self._connections):
            sock.close()


def echo(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def says(*answers: bytes, hold: bool = False) -> Handler:
    """For each answer: read something, then send it; at the end close, or hold the connection open."""

    def handle(sock: socket.socket) -> None:
        for answer in answers:
            sock.recv(1 << 16)
            sock.sendall(answer)
        while hold and sock.recv(1 << 16):
            pass

    return handle


def drips(data: bytes) -> Handler:
    """Sends one byte every 20 ms for as long as somebody listens."""

    def handle(sock: socket.socket) -> None:
        pause = threading.Event()
        while True:
            for byte in data:
                sock.sendall(bytes([byte]))
                pause.wait(0.02)

    return handle


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += exactly(sock, 1)
    return data


def join(client: socket.socket, host: str, port: int, granted: bytes) -> None:
    """Connect to the target and relay, half-closes included."""
    with socket.create_connection((host, port), PATIENCE) as target:
        client.sendall(granted)

        def upwards() -> None:
            with contextlib.suppress(OSError):
                while data := client.recv(1 << 16):
                    target.sendall(data)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=upwards, daemon=True)
        thread.start()
        while data := target.recv(1 << 16):
            client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        thread.join(PATIENCE)


class SocksProxy:
    """SOCKS4, 4a and 5, told apart by the first byte; `seen` are the targets as they were asked for."""

    def __init__(self, login: tuple[bytes, bytes] | None = None) -> None:
        self._login = login
        self.seen: list[str] = []

    def __call__(self, sock: socket.socket) -> None:
        (self._version4 if exactly(sock, 1) == b"\x04" else self._version5)(sock)

    def _version4(self, sock: socket.socket) -> None:
        request = exactly(sock, 7)
        port, address = int.from_bytes(request[1:3], "big"), request[3:]
        until(sock, b"\0")
        host = socket.inet_ntoa(address)
        if address[:3] == b"\0\0\0":
            host = until(sock, b"\0")[:-1].decode()
        self.seen.append(host)
        join(sock, host, port, b"\x00\x5a" + bytes(6))

    def _version5(self, sock: socket.socket) -> None:
        methods = exactly(sock, exactly(sock, 1)[0])
        wanted = 2 if self._login else 0
        if wanted not in methods:
            sock.sendall(b"\x05\xff")
            return
        sock.sendall(bytes([5, wanted]))
        if self._login:
            exactly(sock, 1)
            given = tuple(exactly(sock, exactly(sock, 1)[0]) for _ in range(2))
            sock.sendall(b"\x01\x00" if given == self._login else b"\x01\x01")
            if given != self._login:
                return
        kind = exactly(sock, 4)[3]
        if kind == 3:
            host = exactly(sock, exactly(sock, 1)[0]).decode()
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            host = socket.inet_ntop(family, exactly(sock, size))
        port = int.from_bytes(exactly(sock, 2), "big")
        self.seen.append(host)
        try:
            join(sock, host, port, b"\x05\x00\x00\x03\x05proxy\x00\x00")
        except ConnectionRefusedError:
            sock.sendall(b"\x05\x05\x00\x01" + bytes(6))


class HttpProxy:
    """CONNECT; asks for `login` with `scheme`. `lasting`: 407 keeps the connection."""

    def __init__(
        self, scheme: str = "", *, lasting: bool = True, login: tuple[str, str] = ("u", "p")
    ) -> None:
        self._scheme = scheme
        self._lasting = lasting
        self._login = login
        self.heads: list[bytes] = []

    def __call__(self, sock: socket.socket) -> None:
        while True:
            head = until(sock, b"\r\n\r\n")
            self.heads.append(head)
            host, _, port = head.split()[1].decode().rpartition(":")
            if not self._scheme or self._allows(head.decode("latin-1")):
                granted = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"
                join(sock, host.strip("[]"), int(port), granted)
                return
            page = b"<html>no</html>"
            ends = b"" if self._lasting else b"Connection: close\r\n"
            size = b"Content-Length: %d\r\n\r\n" % len(page)
            sock.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n" + self._challenge() + ends + size + page
            )
            if not self._lasting:
                return

    def _challenge(self) -> bytes:
        if self._scheme == "basic":
            return b'Proxy-Authenticate: Negotiate, Basic realm="r"\r\n'
        qop = b', qop="auth"' if self._scheme == "digest" else b""
        return (
            b'Proxy-Authenticate: Digest realm="r", nonce="abc", algorithm=MD5'
            + qop
            + b', Basic realm="r"\r\n'
        )

    def _allows(self, head: str) -> bool:
        """Checked by the words of RFC 2617, not by pync's code."""
        name, password = self._login
        found = re.search(r"Proxy-Authorization: (\w+) (.*)\r\n", head)
        if not found:
            return False
        if self._scheme == "basic":
            import base64

            return found.groups() == ("Basic", base64.b64encode(f"{name}:{password}".encode()).decode())
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', found[2]))

        def md5(*parts: str) -> str:
            return hashlib.md5(":".join(parts).encode()).hexdigest()

        middle = (given["nc"], given["cnonce"], given["qop"]) if "qop" in given else ()
        action = md5("CONNECT", head.split()[1])
        response = md5(md5(name, "r", password), "abc", *middle, action)
        return (
            found[1] == "Digest"
            and given["response"] == response
            and ("qop" in given) == (self._scheme == "digest")
        )
