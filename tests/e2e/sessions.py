"""A `pync` process in one of its two roles, and a raw socket of the test at the other end."""

import contextlib
import os
import select
import socket
import struct
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.harness import PATIENCE, Process, Processes

# Long enough for a process to do the wrong thing, short enough to wait for nothing to happen.
MOMENT = 0.3

# A receive buffer that a sender fills at once; one of the system's choosing may grow to tens of megabytes.
SMALL = 1 << 16


class Session(NamedTuple):
    process: Process
    peer: socket.socket


class Unread:
    """The reading end of a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, count: int) -> bytes:
        """The next bytes, at most `count`."""
        return os.read(self._fd, count)

    def read_to_end(self) -> bytes:
        """All that is left."""
        return b"".join(iter(lambda: os.read(self._fd, 1 << 16), b""))

    def close(self) -> None:
        """Read no more; idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Sessions:
    """Opens sessions over TCP or a Unix socket; closes the test's ends with the test."""

    def __init__(self, processes: Processes, scratch: Path, stack: contextlib.ExitStack) -> None:
        self.processes = processes
        self.receive_buffer = 0  # of the test's sockets made from now on; 0 leaves the system's default
        self._scratch = scratch
        self._stack = stack

    def listener(self, over: str = "tcp") -> tuple[socket.socket, list[str]]:
        """A listening socket of the test and the words that name it."""
        if over == "unix":
            path = str(self._scratch / "peer.sock")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            words = [f"unix:{path}"]
        else:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.receive_buffer:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
            listener.bind(("127.0.0.1", 0))
            words = [f"127.0.0.1:{listener.getsockname()[1]}"]
        listener.listen()
        listener.settimeout(PATIENCE)
        return self._stack.enter_context(listener), words

    def nobody(self) -> list[str]:
        """The words of an endpoint that accepts (the kernel does) and never answers."""
        return self.listener()[1]

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close it with the test, and let none of its calls wait for ever."""
        sock.settimeout(PATIENCE)
        return self._stack.enter_context(sock)

    def connect(self, *options: Any, over: str = "tcp", **popen: Any) -> Session:
        """`pync connect OPTIONS ENDPOINT`, accepted by the test."""
        listener, words = self.listener(over)
        process = self.processes.pync("connect", *options, *words, **popen)
        peer = self.keep(accept_from(process, listener))
        listener.close()
        return Session(process, peer)

    def listen(self, *options: Any, over: str = "tcp", **popen: Any) -> Session:
        """`pync listen OPTIONS ENDPOINT`, to which the test connects."""
        if over == "unix":
            path = str(self._scratch / "pync.sock")
            process = self.listen_at(f"unix:{path}", *options, **popen)
            peer = self.keep(socket.socket(socket.AF_UNIX))
            peer.connect(path)
            return Session(process, peer)
        process = self.processes.listen(*options, "127.0.0.1", "0", **popen)
        return Session(process, self.client(process))

    def listen_at(self, endpoint: str, *options: Any, **popen: Any) -> Process:
        """`pync listen OPTIONS ENDPOINT` on something without a port, once it is ready."""
        return self.processes.listen(*options, endpoint, **popen)

    def client(self, process: Process, host: str = "127.0.0.1") -> socket.socket:
        """One more connection to a listening process."""
        sock = self.keep(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        if self.receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        sock.connect((host, process.port))
        return sock

    def open(self, role: str, *options: Any, over: str = "tcp", **popen: Any) -> Session:
        """A session in `role`, "connect" or "listen"."""
        return (self.connect if role == "connect" else self.listen)(*options, over=over, **popen)

    def unread(self, role: str, *options: Any, **popen: Any) -> tuple[Process, socket.socket, "Unread"]:
        """A session whose stdout is a pipe that only the test reads."""
        reader, writer = os.pipe()
        stdout = self._stack.enter_context(Unread(reader))
        try:
            process, peer = self.open(role, *options, stdout=writer, **popen)
        finally:
            os.close(writer)
        return process, peer, stdout


def accept_from(process: Process, listener: socket.socket) -> socket.socket:
    """The connection of `process`; fails with its words when it ended instead."""
    exit_fd = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([listener, exit_fd], [], [], PATIENCE)
    finally:
        os.close(exit_fd)
    assert listener in ready, f"did not connect: {process.wait()}"
    return listener.accept()[0]


def read_to_end(peer: socket.socket) -> bytes:
    """Everything until the end of the stream; a reset is a ConnectionResetError."""
    return b"".join(iter(lambda: peer.recv(1 << 18), b""))


def read_exactly(peer: socket.socket, count: int) -> bytes:
    """The next `count` bytes; less only when the stream ended."""
    data = bytearray()
    while len(data) < count and (chunk := peer.recv(count - len(data))):
        data += chunk
    return bytes(data)


def reset(peer: socket.socket) -> None:
    """Close with a RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def is_reset(peer: socket.socket) -> bool:
    """Whether the stream ends with a reset, after whatever came before."""
    try:
        read_to_end(peer)
    except ConnectionResetError:
        return True
    return False


def silent(peer: socket.socket, seconds: float = MOMENT) -> bool:
    """Whether nothing arrives, not even an end, for that long."""
    ready, _, _ = select.select([peer], [], [], seconds)
    return not ready


def one_line(stderr: str) -> str:
    """The line of a failure; fails when there are several without a hint, or a traceback."""
    lines = stderr.splitlines()
    assert lines, "no line on stderr"
    assert "Traceback" not in stderr, stderr
    words = [line for line in lines if not line.startswith("listening on ")]
    assert len(words) in (1, 2), stderr
    assert words[0].startswith("pync: "), stderr
    return words[0]


def closed_at_once(peer: socket.socket) -> bool:
    """Whether the listener turned this client away without a byte."""
    try:
        return peer.recv(100) == b""
    except ConnectionResetError:
        return True


def flood(peer: socket.socket, block: bytes = b"flood" * 20_000) -> None:
    """Send `block` again and again: ends with the error that stops it."""
    while True:
        peer.sendall(block)


def echoes(sessions: Sessions, process: Process) -> bool:
    """Whether one more client is served by a process that echoes."""
    with sessions.client(process) as client:
        try:
            client.sendall(b"y")
            return client.recv(1) == b"y"
        except OSError:
            return False


def is_running(pid: int) -> bool:
    """False once a process is gone, or dead and waiting for whoever adopted it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
