"""What the Python API hands out: live connections, and listeners that give them.

A Connection over a stream has a loop of its own, so that it may go to another thread; those of one datagram
listener share its loop and its thread.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from typing import Any, Self

from pync.commands import options as opt
from pync.commands.access import AccessRules
from pync.commands.wiring import socket_settings, tls_settings
from pync.errors import NetworkError, TimedOut, UsageError, reason
from pync.keywords import seconds
from pync.loop import Loop
from pync.transport.channel import CHUNK, Channel, read_some, ready, write_all
from pync.transport.listen import Acceptor, Bound, bind
from pync.transport.peers import DatagramListener, DatagramPeer
from pync.transport.readiness import tell
from pync.transport.stream import StreamSocket

# A client that does not finish its TLS handshake, when the program set no time-out.
_HANDSHAKE_SECONDS = 10.0


class Connection:
    """A live connection. A context manager: left by an exception it is reset, so that the peer knows.

    `peer` and `local` are printable addresses. With datagrams one `send` and one `recv` is one datagram.

    >>> import pync
    >>> with (
    ...     pync.listen("udp://127.0.0.1:0") as listener,
    ...     pync.connect(f"udp://127.0.0.1:{listener.port}", timeout=5.0) as client,
    ... ):
    ...     client.send(b"one")
    ...     client.send(b"two")
    ...     with listener.accept(timeout=5.0) as server:
    ...         server.recv(), server.recv(), server.peer == client.local
    (b'one', b'two', True)
    """

    def __init__(self, loop: Loop, channel: Channel, *, timeout: float | None, owns_loop: bool) -> None:
        self._loop = loop
        self._channel = channel
        self._owns_loop = owns_loop
        self._closed = False
        self._buffer: memoryview | None = None
        self.timeout = timeout
        self.peer = channel.peer
        self.local = channel.local

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Hand every byte to the system. Raises NetworkError, and TimedOut after `timeout` seconds."""
        view = memoryview(data).cast("B")
        if self._channel.boundaries:
            self._run(self._send_datagram(view))
        else:
            self._run(write_all(self._loop, self._channel, view, self._deadline()))

    async def _send_datagram(self, view: memoryview) -> None:
        while (count := self._channel.write(view)) < 0:
            await ready(self._loop, self._channel, count, self._deadline())

    def recv(self, size: int = 65_536) -> bytes | None:
        """Up to `size` bytes (a datagram: all of it), when there are some; None once the peer has ended."""
        wanted = max(65_536, size) if self._channel.boundaries else max(1, size)
        if self._buffer is None or len(self._buffer) < wanted:
            self._buffer = memoryview(bytearray(wanted))
        view = self._buffer[:wanted]
        count = self._run(read_some(self._loop, self._channel, view, self._deadline()))
        return None if count is None else bytes(view[:count])

    def __iter__(self) -> Iterator[bytes]:
        """What arrives, until the peer has ended."""
        while (data := self.recv(CHUNK)) is not None:
            yield data

    def read(self) -> bytes:
        """Everything until the peer has ended."""
        return b"".join(self)

    def send_eof(self) -> None:
        """No more will be sent (a FIN); the peer may go on."""
        self._run(self._send_eof())

    async def _send_eof(self) -> None:
        while (want := self._channel.send_eof()) != 0:
            await ready(self._loop, self._channel, want, self._deadline())

    def _deadline(self) -> float | None:
        return None if self.timeout is None else self._loop.now() + self.timeout

    def _run(self, work: Any) -> Any:
        if self._closed:
            work.close()
            raise UsageError("the connection is closed")
        try:
            return self._loop.run(work)
        except TimeoutError:
            raise TimedOut(f"{self.peer}: nothing moved for {self.timeout:g} s") from None
        except OSError as error:
            raise NetworkError(f"{self.peer}: {reason(error)}") from error

    def close(self, *, reset: bool = False) -> None:
        """End both directions; `reset` tells the peer that the stream is not whole. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._channel.detach(self._loop)
        if reset:
            self._channel.reset()
        else:
            self._channel.close()
        if self._owns_loop:
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close(reset=kind is not None)


class Listener:
    """A bound endpoint that gives Connections. `port` is the number bound (0 for Unix).

    Each connection over a stream may go to a thread of its own:

    >>> import pync, threading
    >>> def shout(connection):
    ...     with connection:
    ...         for data in connection:
    ...             connection.send(data.upper())
    >>> def serve(listener, clients):
    ...     for _ in range(clients):
    ...         threading.Thread(target=shout, args=[listener.accept()]).start()
    >>> with pync.listen("127.0.0.1:0") as listener:
    ...     server = threading.Thread(target=serve, args=[listener, 2])
    ...     server.start()
    ...     for word in (b"one", b"two"):
    ...         with pync.connect(f"127.0.0.1:{listener.port}", timeout=5.0) as client:
    ...             client.send(word)
    ...             client.send_eof()
    ...             client.read()
    ...     server.join()
    b'ONE'
    b'TWO'
    """

    def __init__(self, options: opt.ListenOptions) -> None:
        self._options = options
        self._rules = AccessRules(options)
        self._rules.load()
        self._tls = tls_settings(options, options.endpoint)
        self._loop = Loop()
        self._waiting: deque[Channel] = deque()
        self._arrived = self._loop.flag()
        self._closed = False
        try:
            self._bound = _bind(options)
        except BaseException:
            self._loop.close()
            raise
        self.port = self._bound.port
        self._acceptor: Acceptor | None = None
        self._datagrams: list[DatagramListener] = []
        if self._bound.datagram:
            for sock in self._bound.sockets:
                self._datagrams.append(DatagramListener(self._loop, sock, self._on_peer))
        else:
            self._acceptor = Acceptor(self._loop, self._bound, self._on_stream, lambda why: None)

    def _on_stream(self, sock: socket.socket, address: Any) -> None:
        if self._rules.admits(address):
            self._arrive(StreamSocket(sock, address))
        else:
            sock.close()

    def _on_peer(self, peer: DatagramPeer) -> bool:
        admitted = self._rules.admits(peer.address)
        if admitted:
            self._arrive(peer)
        return admitted

    def _arrive(self, channel: Channel) -> None:
        self._waiting.append(channel)
        self._arrived.set()

    def accept(self, timeout: float | None = None) -> Connection:
        """The next client. Raises TimedOut when none came within `timeout` seconds."""
        if self._closed:
            raise UsageError("the listener is closed")
        deadline = None if timeout is None else self._loop.now() + seconds("accept(): timeout", timeout)
        if not self._waiting:
            self._arrived.clear()
            if not self._loop.run(self._arrived.wait(deadline)):
                raise TimedOut(f"listen {self._options.endpoint.address}: no client within {timeout:g} s")
        channel = self._waiting.popleft()
        if channel.boundaries:  # peers of one socket share its loop
            return Connection(self._loop, channel, timeout=self._options.timeout, owns_loop=False)
        return self._own(channel)

    def _own(self, channel: Channel) -> Connection:
        """A connection with a loop of its own, so that it may move to another thread."""
        loop = Loop()
        try:
            if self._tls is not None:
                from pync.transport.tls import start_tls

                limit = self._options.timeout
                by = loop.now() + (_HANDSHAKE_SECONDS if limit is None else limit)
                channel = loop.run(start_tls(loop, channel, self._tls, server=True, name=None, deadline=by))
        except BaseException:
            loop.close()
            raise
        return Connection(loop, channel, timeout=self._options.timeout, owns_loop=True)

    def __iter__(self) -> Iterator[Connection]:
        """Clients, one after another, for ever."""
        while True:
            yield self.accept()

    def close(self) -> None:
        """Accept no more; connections handed out live on, except those over datagrams. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._acceptor is not None:
            self._acceptor.stop()
        for channel in self._waiting:
            channel.reset()
        for listener in self._datagrams:
            listener.close()
        self._bound.close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _bind(options: opt.ListenOptions) -> Bound:
    """Bound as `options` ask, and said to be so where they ask for that."""
    bound = bind(options.endpoint, socket_settings(options))
    try:
        tell(bound, options.port_file, options.ready_fd)
    except BaseException:
        bound.close()
        raise
    return bound
