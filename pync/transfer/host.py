"""Clients of a listening transfer: each accepted, secured and handled in a task of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pync.commands.options import RecvOptions, TransferOptions
from pync.errors import PyncError
from pync.loop import Loop, Task
from pync.report import Event, Report
from pync.transfer.strangers import Strangers
from pync.transport.channel import Channel
from pync.transport.listen import Acceptor, Bound, bind
from pync.transport.readiness import tell
from pync.transport.settings import SocketSettings
from pync.transport.stream import StreamSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    from pync.lean import Protocol

TLS_SECONDS = 15.0
LAST_WORDS = 3.0  # more than the Limits of a wire, which ends by itself
Handle = Callable[[Channel], Awaitable[None]]


class Serves(Protocol):
    """What a Host needs: `client` owns its channel and does not raise for what a client did."""

    async def client(self, channel: Channel) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class Host:
    """Accepts on bound sockets until closed.

    `handle` owns its channel and must not raise for what a client did. A client whose TLS handshake fails,
    or is silent for `idle` seconds, is let go.
    """

    def __init__(
        self,
        loop: Loop,
        bound: Bound,
        report: Report,
        handle: Handle,
        failed: Callable[[BaseException], None],
        tls: Any,
        *,
        idle: float | None,
        keep: bool,
    ) -> None:
        self._loop = loop
        self._report = report
        self._handle = handle
        self._failed = failed
        self._tls = tls
        self._idle = idle
        self._keep = keep
        self.port = bound.port
        self.tasks: set[Task] = set()
        self._strangers = Strangers(loop, report)
        self._empty = loop.flag()  # set when the last one has ended
        self._acceptor: Acceptor | None = Acceptor(loop, bound, self._on_client, self._on_full)

    @property
    def fingerprint(self) -> str:
        """Of the certificate that clients are shown; empty without TLS."""
        return str(self._tls.own_fingerprint()) if self._tls is not None else ""

    def _on_full(self, why: str) -> None:
        self._report(Event("waiting", {"reason": f"cannot accept now: {why}"}))

    def _on_client(self, sock: Any, _address: Any) -> None:
        task = self._loop.spawn(self._client(StreamSocket(sock)))
        if not task.done:
            self.tasks.add(task)
        task.on_done(self._over)

    def _over(self, task: Task) -> None:
        self.tasks.discard(task)
        if not self.tasks:
            self._empty.set()
        try:
            task.result()
        except BaseException as error:
            self._failed(error)

    async def _client(self, channel: Channel) -> None:
        try:
            if self._tls is not None:
                from pync.transport.tls import start_tls

                by = self._loop.now() + TLS_SECONDS
                channel = await start_tls(
                    self._loop, channel, self._tls, server=True, name=None, deadline=by, idle=self._idle
                )
        except PyncError as error:
            facts = {"sent": 0, "received": 0, "seconds": 0.0, "reason": error.message}
            self._report(Event("closed", {**channel.facts(), **facts}))
            if self._acceptor is not None:  # else it is we who leave
                self._strangers.tell(channel, error)
            channel.detach(self._loop)
            channel.close()
            return
        try:
            await self._handle(channel)
        finally:
            if not self._keep:
                channel.detach(self._loop)
                channel.close()

    def stop_accepting(self) -> None:
        """Close the listening sockets; idempotent."""
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None

    def close(self, error: BaseException) -> None:
        """End everything that still runs with `error`; idempotent."""
        self.stop_accepting()
        self._failed = lambda _error: None
        for task in list(self.tasks):
            task.cancel(error)

    async def ended(self) -> None:
        """After `close`: until everything has ended, which says its last words first; not for long."""
        self._empty.clear()
        if self.tasks:
            await self._empty.wait(self._loop.now() + LAST_WORDS)


def _tls_facts(tls: Any, options: TransferOptions, port: int) -> dict[str, Any]:
    """Of the `secured` event; the command asks for the secret, which no event may hold."""
    receives = isinstance(options, RecvOptions)
    client, then = ("send", " PATH...") if receives else ("recv --connect", "")
    if options.raw:
        client += " --raw"
    if options.secret is not None or options.secret_file is not None:
        client += " --secret" if receives else " --secret=WORDS"  # recv would not ask, but make a code
    endpoint = options.endpoint
    facts: dict[str, Any] = tls.listener_facts(endpoint.host, port, endpoint.path, client=client, then=then)
    return facts


def open_host(
    loop: Loop,
    options: TransferOptions,
    report: Report,
    settings: SocketSettings,
    tls: Any,
    serving: Serves,
    *,
    keep: bool = False,
    commands: bool = True,
) -> Host:
    """Bind, say so in all the ways that were asked for, and accept. Raises LocalError.

    `keep`: channels outlive their task, whoever took them closes them. `commands`: tell what to type at the
    other end; else the caller does.
    """
    bound = bind(options.endpoint, settings)
    try:
        # unusable certificates come out here, before anybody is told that we listen
        said = _tls_facts(tls, options, bound.port) if tls is not None else {}
        for facts in bound.facts():
            report(Event("listening", facts))
        if said:
            told = said if commands else {name: said[name] for name in said if name != "command"}
            report(Event("secured", told))
        tell(bound, options.port_file, options.ready_fd)
    except BaseException:
        bound.close()
        raise
    idle = options.idle_timeout
    return Host(loop, bound, report, serving.client, serving.fail, tls, idle=idle, keep=keep)
