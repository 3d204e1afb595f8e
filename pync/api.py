"""The Python API: the engine of the commands, typed, without printing, exits or signal handlers.

Failures are the exceptions of `pync.errors`; their `code` is the exit status that the command would have.
Every function may be called from any thread; one Connection or Listener belongs to one thread at a time.
Keyword arguments are the long options with `_` for `-` (`retry_for=5.0`, `tls=True`), durations in seconds,
sizes in bytes, None as if left out; where several may be given, one alone will do. An option that a function
cannot honour raises UsageError: those about what is shown have no use here, and `connect` and `listen` take
none about what their commands do on a connection (programs, copies, limits, services).

>>> import pync
>>> try:
...     pync.connect("127.0.0.1:0", timeout=5.0)
... except pync.PyncError as error:
...     print(error.code.name)
NETWORK
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from pync.cli.build import default_scheme
from pync.commands import options as opt
from pync.commands.checks import check
from pync.commands.connect import dial_retrying
from pync.commands.session import execute
from pync.connection import Connection, Listener
from pync.endpoint import Endpoint, parse
from pync.errors import ExitCode, NetworkError, PartialError, UsageError
from pync.keywords import read, several
from pync.loop import Loop
from pync.report import Event, silent


def _endpoint(where: str | Endpoint, values: dict[str, Any], *, listen: bool = False) -> Endpoint:
    if isinstance(where, str):
        return parse(where, listen=listen, default=default_scheme(values))
    return where


def connect(where: str | Endpoint, *, timeout: float | None = None, **options: Any) -> Connection:
    """An open connection to `where` ("example.org:80", "udp://[::1]:53", "unix:/run/x"; any Endpoint).

    `timeout` seconds bound the connecting and then each call on the connection. With `retry` or `retry_for` a
    place that says no is tried again, each try within `timeout`.

    >>> import pync
    >>> with pync.listen("127.0.0.1:0") as listener:
    ...     with pync.connect(f"127.0.0.1:{listener.port}") as client, listener.accept() as server:
    ...         client.send(b"ping")
    ...         client.send_eof()
    ...         server.read()
    b'ping'
    """
    values = read("connect", {"timeout": timeout, **options})
    chosen = opt.ConnectOptions(endpoint=_endpoint(where, values), **values)
    check(chosen)
    loop = Loop()
    try:
        channel = loop.run(dial_retrying(loop, chosen, silent))
    except BaseException:
        loop.close()
        raise
    return Connection(loop, channel, timeout=chosen.timeout, owns_loop=True)


def listen(where: str | Endpoint, **options: Any) -> Listener:
    """A Listener on `where` ("127.0.0.1:0", "9000" for all addresses, "udp://:5353", "unix:/run/x").

    Raises LocalError when it cannot be bound. `timeout` seconds bound each call on its connections, and the
    TLS handshake of each. Clients that `allow`, `deny` and their files (read once) keep out are closed, and
    `accept` goes on waiting.

    >>> import pync
    >>> with pync.listen("127.0.0.1:0") as listener:
    ...     try:
    ...         pync.listen(f"127.0.0.1:{listener.port}")
    ...     except pync.LocalError as error:
    ...         print(error.message.partition(": ")[2])
    ...     try:
    ...         listener.accept(timeout=0.0)
    ...     except pync.TimedOut:
    ...         print("nobody came")
    address already in use
    nobody came
    """
    values = read("listen", options)
    chosen = opt.ListenOptions(endpoint=_endpoint(where, values, listen=True), **values)
    check(chosen)
    return Listener(chosen)


class Delivery(NamedTuple):
    """What a finished `send` or `recv` did: one dict of facts for each file, and those of the summary.

    The facts are those of the events `file` and `summary` in the JSON schema.

    >>> from pync.api import Delivery
    >>> done = Delivery([{"name": "a.txt", "status": "ok"}], {"files": 1, "failed": 0})
    >>> [file["name"] for file in done.files], done.summary["files"]
    (['a.txt'], 1)
    """

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


def send(
    where: str | Endpoint,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    **options: Any,
) -> Delivery:
    """Deliver `paths` (one, or several) to a `recv`; comes back once all is verified and in place there.

    Raises PartialError when some of several files failed. The receiver may start later, within `retry_for`.

    >>> import pathlib, pync, tempfile, threading
    >>> with tempfile.TemporaryDirectory() as name:
    ...     here = pathlib.Path(name)
    ...     _ = (here / "note.txt").write_text("hello")
    ...     meet = f"unix:{here}/meet"
    ...     receiver = threading.Thread(target=pync.recv, args=[meet, here / "copy.txt"])
    ...     receiver.start()
    ...     sent = pync.send(meet, [here / "note.txt"])
    ...     receiver.join()
    ...     (here / "copy.txt").read_text(), sent.summary["files"], sent.files[0]["status"]
    ('hello', 1, 'ok')
    """
    values = read("send", options)
    chosen = several("send(): paths", paths)
    if not chosen or "-" in chosen:
        raise UsageError("send needs paths here; stdin belongs to the program")
    endpoint = _endpoint(where, values, listen=values.get("listen", False))
    return _transfer("send", opt.SendOptions(endpoint=endpoint, paths=chosen, **values))


def recv(where: str | Endpoint, output: str | os.PathLike[str], **options: Any) -> Delivery:
    """Receive what a `send` sends into `output`, a directory or the name of one file.

    >>> import pathlib, pync, tempfile, threading
    >>> with tempfile.TemporaryDirectory() as name:
    ...     here = pathlib.Path(name)
    ...     (here / "inbox").mkdir()
    ...     _ = (here / "note.txt").write_text("hello")
    ...     meet = f"unix:{here}/meet"
    ...     words = {"secret": "7-otter-violin"}
    ...     sender = threading.Thread(target=pync.send, args=[meet, [here / "note.txt"]], kwargs=words)
    ...     sender.start()
    ...     got = pync.recv(meet, here / "inbox", **words)
    ...     sender.join()
    ...     (here / "inbox" / "note.txt").read_text(), got.files[0]["digest"].partition(":")[0]
    ('hello', 'xxh3')
    """
    values = {"yes": True, **read("recv", options)}
    into = os.fspath(output)
    if into == "-":
        raise UsageError("recv needs a path here; stdout belongs to the program")
    endpoint = _endpoint(where, values, listen=not values.get("connect", False))
    return _transfer("recv", opt.RecvOptions(endpoint=endpoint, output=into, **values))


class Port(NamedTuple):
    """One result of a scan; `state` is open, closed, filtered or open|filtered, `rtt` in seconds.

    A Unix socket has its path as `address`, and 0 as `port`.

    >>> from pync.api import Port
    >>> port = Port("localhost", "127.0.0.1", 22, "tcp", "open", service="ssh")
    >>> f"{port.address}:{port.port} {port.service}"
    '127.0.0.1:22 ssh'
    """

    target: str
    address: str
    port: int
    proto: str
    state: str
    reason: str = ""
    rtt: float | None = None
    service: str = ""
    banner: dict[str, Any] | None = None  # protocol, text, status, ..., as the events have it


def _port(facts: dict[str, Any]) -> Port:
    """The result that a `port` event tells of; what the event does not know has the default."""
    known = {name: value for name, value in facts.items() if name in Port._fields and value is not None}
    return Port(**{"port": 0, **known})


def scan(
    targets: str | Sequence[str],
    ports: str | int | None = None,
    *,
    found: Callable[[Port], None] | None = None,
    **options: Any,
) -> list[Port]:
    """The open ports of `targets` (with `all=True` every port); `found` is called with each as it is found.

    No open port is an empty list. Raises PartialError when some targets could not be scanned, NetworkError
    when none could (no such name).

    >>> import pync
    >>> with pync.listen("127.0.0.1:0") as listener:
    ...     ports = pync.scan("127.0.0.1", str(listener.port))
    ...     [(port.port == listener.port, port.state) for port in ports]
    [(True, 'open')]
    """
    values = read("scan", {"ports": ports, **options})
    chosen = opt.ScanOptions(targets=several("scan(): targets", targets), **values)
    check(chosen)
    results: list[Port] = []
    failures: list[str] = []

    def note(event: Event) -> None:
        if event.kind == "error":
            failures.append(event.facts["message"])
        elif event.kind == "port":
            results.append(_port(event.facts))
            if found is not None:
                found(results[-1])

    code = execute("scan", chosen, note, signals=False)
    if failures:
        raise PartialError(failures[0]) if code == ExitCode.PARTIAL else NetworkError(failures[0])
    return results
