"""A pump between two channels, run to its end, with an owner that only takes notes."""

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from pync.loop import Loop
from pync.relay.pump import Pump
from pync.transport.channel import Channel
from pync.transport.stdio import Stdio
from pync.transport.stream import StreamSocket
from tests.harness import PATIENCE


class Owner:
    """What a relay is to a pump."""

    def __init__(self, loop: Loop) -> None:
        self.last_activity = 0.0
        self.over = loop.flag()
        self.error: Exception | None = None
        self.while_filling: bool | None = None
        self.limited = False

    def ended(self, pump: Pump) -> None:
        self.over.set()

    def failed(self, pump: Pump, error: Exception, *, filling: bool) -> None:
        self.error, self.while_filling = error, filling
        pump.stop()
        self.over.set()

    def limit_reached(self, pump: Pump) -> None:
        self.limited = True


def pump(loop: Loop, source: Channel, sink: Channel, mover: Any, **limits: Any) -> tuple[Pump, Owner]:
    """(pump, owner) once it ended or failed."""
    owner = Owner(loop)
    moving = Pump(loop, owner, source, sink, mover, **limits)
    moving.start()
    ended = loop.run(owner.over.wait(loop.now() + PATIENCE))
    moving.stop()
    assert ended, "the pump did not end"
    return moving, owner


class Source:
    """A channel fed with `data` by a thread, or from a file."""

    def __init__(self, kind: str, data: bytes, scratch: str) -> None:
        self._close: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        if kind == "file":
            with open(f"{scratch}/source", "wb") as file:
                file.write(data)
            fd = os.open(f"{scratch}/source", os.O_RDONLY)
            self._close.append(lambda: os.close(fd))
            self.channel: Channel = Stdio(fd, -1)
        elif kind == "pipe":
            reader, writer = os.pipe()
            self._close.append(lambda: os.close(reader))
            self.channel = Stdio(reader, -1)
            self._feed(os.fdopen(writer, "wb", 0), data)
        else:
            ours, theirs = socket_pair(kind)
            self.channel = StreamSocket(ours)
            self._feed(theirs.makefile("wb", 0), data)
            theirs.close()

    def _feed(self, file: Any, data: bytes) -> None:
        def work() -> None:
            view = memoryview(data)
            try:
                with file:
                    while view:
                        view = view[file.write(view) :]
            except OSError:
                pass  # the test closed the other end

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.channel.close()
        for close in self._close:
            close()
        if self._thread is not None:
            self._thread.join(PATIENCE)


class Sink:
    """A channel whose bytes are collected by a thread, or in a file."""

    def __init__(self, kind: str, scratch: str) -> None:
        self._data = bytearray()
        self._thread: threading.Thread | None = None
        self._path = f"{scratch}/sink"
        self._fd = -1
        if kind in ("file", "append"):
            self._fd = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if kind == "append" else 0)
            )
            self.channel: Channel = Stdio(-1, self._fd)
        elif kind == "pipe":
            reader, self._fd = os.pipe()
            self.channel = Stdio(-1, self._fd)
            self._collect(os.fdopen(reader, "rb", 0))
        else:
            ours, theirs = socket_pair(kind)
            self.channel = StreamSocket(ours)
            self._collect(theirs.makefile("rb", 0))
            theirs.close()

    def _collect(self, file: Any) -> None:
        def work() -> None:
            with file:
                while chunk := file.read(1 << 17):
                    self._data += chunk

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def finish(self) -> bytes:
        """Close it; everything that came."""
        self.channel.close()
        if self._fd >= 0:
            os.close(self._fd)
        if self._thread is None:
            with open(self._path, "rb") as file:
                return file.read()
        self._thread.join(PATIENCE)
        return bytes(self._data)


def socket_pair(kind: str) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, `unix` or `tcp`."""
    if kind == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]
