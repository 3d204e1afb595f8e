"""The Python API: the engine of the commands, typed, without printing, exits or signal handlers.

Failures are the exceptions of `pync.errors`; their `code` is the exit status that the command would have.
Every function may be called from any thread; one Connection or Listener belongs to one thread at a time.
Keyword arguments are the long options with `_` for `-` (`idle_timeout=5.0`, `tls=True`), durations in
seconds, sizes in bytes.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

from pync.commands import options as opt
from pync.commands.checks import check
from pync.commands.session import execute
from pync.commands.wiring import dial_settings, socket_settings, tls_settings
from pync.endpoint import Endpoint, parse
from pync.errors import ExitCode, NetworkError, PartialError, TimedOut, UsageError, reason
from pync.loop import Loop
from pync.report import Event, silent
from pync.transport.channel import CHUNK, Channel, read_some, ready, write_all
from pync.transport.dial import dial
from pync.transport.listen import Acceptor, bind
from pync.transport.peers import DatagramListener, DatagramPeer
from pync.transport.stream import StreamSocket

_HANDSHAKE_SECONDS = 10.0


class Connection:
    """A live connection. A context manager: left by an exception it is reset, so that the peer knows.

    `peer` and `local` are printable addresses. With datagrams one `send` and one `recv` is one datagram.
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


def _endpoint(where: str | Endpoint, *, listen: bool = False, udp: bool = False) -> Endpoint:
    endpoint = parse(where, listen=listen) if isinstance(where, str) else where
    if udp:
        endpoint = endpoint._replace(
            scheme={"tcp": "udp", "unix": "unix-dgram"}.get(endpoint.scheme, endpoint.scheme)
        )
    return endpoint


def connect(where: str | Endpoint, *, timeout: float | None = None, **options: Any) -> Connection:
    """An open connection to `where` ("example.org:80", "udp://[::1]:53", "unix:/run/x"; any Endpoint).

    `timeout` seconds bound the connecting and then each call on the connection.

    >>> import pync
    >>> with pync.listen("127.0.0.1:0") as listener:
    ...     with pync.connect(f"127.0.0.1:{listener.port}") as client, listener.accept() as server:
    ...         client.send(b"ping")
    ...         client.send_eof()
    ...         server.read()
    b'ping'
    """
    endpoint = _endpoint(where, udp=options.get("udp", False))
    chosen = opt.ConnectOptions(endpoint=endpoint, timeout=timeout, **options)
    check(chosen)
    loop = Loop()
    try:
        deadline = None if timeout is None else loop.now() + timeout
        channel = loop.run(dial(loop, endpoint, dial_settings(chosen, endpoint), silent, deadline))
    except BaseException:
        loop.close()
        raise
    return Connection(loop, channel, timeout=timeout, owns_loop=True)


class Listener:
    """A bound endpoint that gives Connections. `port` is the number bound (0 for Unix)."""

    def __init__(self, options: opt.ListenOptions) -> None:
        self._options = options
        self._tls = tls_settings(options, options.endpoint)
        self._loop = Loop()
        self._waiting: deque[Channel] = deque()
        self._arrived = self._loop.flag()
        self._closed = False
        try:
            self._bound = bind(options.endpoint, socket_settings(options))
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
        self._arrive(StreamSocket(sock, address))

    def _on_peer(self, peer: DatagramPeer) -> bool:
        self._arrive(peer)
        return True

    def _arrive(self, channel: Channel) -> None:
        self._waiting.append(channel)
        self._arrived.set()

    def accept(self, timeout: float | None = None) -> Connection:
        """The next client. Raises TimedOut when none came within `timeout` seconds."""
        if self._closed:
            raise UsageError("the listener is closed")
        deadline = None if timeout is None else self._loop.now() + timeout
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

                by = loop.now() + _HANDSHAKE_SECONDS
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


def listen(where: str | Endpoint, **options: Any) -> Listener:
    """A Listener on `where` ("127.0.0.1:0", "9000" for all addresses, "udp://:5353", "unix:/run/x").

    Raises LocalError when it cannot be bound. `timeout` seconds bound each call on its connections.
    """
    endpoint = _endpoint(where, listen=True, udp=options.get("udp", False))
    chosen = opt.ListenOptions(endpoint=endpoint, **options)
    check(chosen)
    return Listener(chosen)


class Delivery(NamedTuple):
    """What a finished `send` or `recv` did: one dict of facts for each file, and those of the summary."""

    files: list[dict[str, Any]]
    summary: dict[str, Any]


def _transfer(command: str, options: opt.TransferOptions) -> Delivery:
    check(options)
    files: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}

    def note(event: Event) -> None:
        if event.kind == "file":
            files.append(event.facts)
        elif event.kind == "summary":
            summary.update(event.facts)

    code = execute(command, options, note, signals=False)
    if code == ExitCode.PARTIAL:
        raise PartialError(f"{command}: some files failed")
    return Delivery(files, summary)


def send(where: str | Endpoint, paths: Iterable[str | os.PathLike[str]], **options: Any) -> Delivery:
    """Deliver `paths` to a `recv`; comes back once the receiver confirmed that all is verified and in place.

    Raises PartialError when some of several files failed.
    """
    listens = bool(options.get("listen"))
    chosen = tuple(os.fspath(path) for path in paths)
    if not chosen or "-" in chosen:
        raise UsageError("send needs paths here; stdin belongs to the program")
    return _transfer(
        "send", opt.SendOptions(endpoint=_endpoint(where, listen=listens), paths=chosen, **options)
    )


def recv(where: str | Endpoint, output: str | os.PathLike[str], **options: Any) -> Delivery:
    """Receive what a `send` sends into `output`, a directory or the name of one file."""
    listens = not options.get("connect")
    into = os.fspath(output)
    if into == "-":
        raise UsageError("recv needs a path here; stdout belongs to the program")
    options.setdefault("yes", True)
    return _transfer(
        "recv", opt.RecvOptions(endpoint=_endpoint(where, listen=listens), output=into, **options)
    )


class Port(NamedTuple):
    """One result of a scan; `state` is open, closed, filtered or open|filtered, `rtt` in seconds."""

    target: str
    address: str
    port: int
    proto: str
    state: str
    reason: str = ""
    rtt: float | None = None
    service: str = ""
    banner: dict[str, Any] | None = None  # protocol, text, status, ..., as the events have it


def scan(
    targets: str | Sequence[str],
    ports: str | None = None,
    *,
    found: Callable[[Port], None] | None = None,
    **options: Any,
) -> list[Port]:
    """The open ports of `targets` (with `all=True` every port); `found` is called with each as it is found.

    No open port is an empty list. Raises PartialError when some targets could not be scanned, NetworkError
    when none could (no such name).
    """
    words = (targets,) if isinstance(targets, str) else tuple(targets)
    results: list[Port] = []
    failures: list[str] = []

    def note(event: Event) -> None:
        if event.kind == "error":
            failures.append(event.facts["message"])
        elif event.kind == "port":
            facts = {
                name: value
                for name, value in event.facts.items()
                if name in Port._fields and value is not None
            }
            results.append(Port(**facts))
            if found is not None:
                found(results[-1])

    chosen = opt.ScanOptions(targets=words, ports=ports, **options)
    check(chosen)
    code = execute("scan", chosen, note, signals=False)
    if failures:
        raise PartialError(failures[0]) if code == ExitCode.PARTIAL else NetworkError(failures[0])
    return results
