"""listen: accept connections and pipe, serve, relay or broker them."""

from __future__ import annotations

from pync.commands.access import AccessRules
from pync.commands.options import ListenOptions
from pync.commands.service import Service
from pync.commands.session import output_closed
from pync.commands.wiring import Progress, Totals, code_of
from pync.errors import ExitCode, Interrupted, PyncError, TimedOut
from pync.loop import Loop, Task, Timer
from pync.relay.policy import Outcome
from pync.report import Event, Report
from pync.transport.channel import Channel
from pync.transport.listen import Acceptor, Bound, bind
from pync.transport.peers import DatagramListener, DatagramPeer
from pync.transport.stream import StreamSocket, address_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_FULL = "too many clients"
# Whoever was served sees the end a moment before the place is free, and the next one may be here by then.
# So a few may wait for that moment; the rest is turned away at once.
_AT_THE_DOOR, _MOMENT = 16, 0.2  # sockets, seconds


async def run(loop: Loop, options: ListenOptions, report: Report) -> ExitCode:
    """Listen until everything asked for was served; raises what went wrong."""
    server = Server(loop, options, report)
    try:
        return await server.run()
    finally:
        server.close()


class Server:
    """The clients of one listener: who may come, how many, and when it is over."""

    def __init__(self, loop: Loop, options: ListenOptions, report: Report) -> None:
        self.loop, self.options, self.report = loop, options, report
        # A count says that more than one client is expected; so do a room and a broker.
        self.keep_open = bool(options.keep_open or options.broker or options.chat or (options.count or 1) > 1)
        self.service = Service(loop, options, report, keep_open=self.keep_open, stop=self._stop)
        self.rules = AccessRules(options)
        self._bound: Bound | None = None
        self._acceptor: Acceptor | None = None
        self._datagrams: list[DatagramListener] = []
        self._clients: dict[Task, None] = {}
        self._door: dict[Any, tuple[Any, Timer]] = {}  # sockets that wait for a place, and their addresses
        self._accepted = 0
        self._accepting = True
        self._first = loop.flag()
        self._over = loop.flag()
        self._failure: BaseException | None = None
        self._last: Outcome | None = None

    async def run(self) -> ExitCode:
        """Bind, say so, serve, end."""
        if self.keep_open:
            raise_descriptor_limit()
        self.rules.load()
        self._open()
        self.service.start()
        progress = None
        if self.options.progress:
            progress = Progress(self.loop, self.report, self._totals)
        try:
            await self._wait_for_end()
            return await self._end()
        except (Interrupted, PyncError) as stop:  # a signal, or the deadline
            await self._wind_down(stop)
            raise
        finally:
            if progress is not None:
                progress.stop()

    def _totals(self) -> Totals:
        return self.service.totals()

    def _open(self) -> None:
        options = self.options
        endpoint = options.endpoint
        if options.udp and endpoint.scheme == "tcp":
            endpoint = endpoint._replace(scheme="udp")
        settings = self.service.socket_settings
        if options.forward is not None:  # then --source is about the connections to the target
            settings = settings._replace(source=None, source_port=None)
        self._bound = bound = bind(endpoint, settings)
        self.service.listening(bound.facts())
        if options.port_file is not None or options.ready_fd is not None:
            from pync.transport.readiness import tell

            tell(bound, options.port_file, options.ready_fd)
        self.rules.watch(self.loop, self.report)
        if bound.datagram:
            for sock in bound.sockets:
                listener = DatagramListener(self.loop, sock, self._on_peer, exclusive=not self.keep_open)
                self._datagrams.append(listener)
        else:
            self._acceptor = Acceptor(self.loop, bound, self._on_stream, self._on_full)

    async def _wait_for_end(self) -> None:
        if self.options.timeout is not None:
            by = self.loop.now() + self.options.timeout
            if not await self._first.wait(by) and not self._over.is_set:
                raise TimedOut(f"listen {self._where()}: no client within {self.options.timeout:g} s")
        await self._over.wait()

    def _where(self) -> str:
        """The endpoint as it was bound, with the port that the system chose."""
        endpoint = self.options.endpoint
        if endpoint.port == 0 and self._bound is not None and self._bound.port:
            endpoint = endpoint._replace(port=self._bound.port)
        return endpoint.address

    async def _end(self) -> ExitCode:
        await self.service.finish()
        if self._failure is not None:
            raise self._failure
        if not self.keep_open and self._last is not None:
            return code_of(self._last)
        return ExitCode.OK

    async def _wind_down(self, stop: BaseException) -> None:
        """Accept no more; on SIGTERM clients have the grace to finish, on anything else they are cut at
        once.
        """
        import signal

        self._stop_accepting()
        if self.keep_open and isinstance(stop, Interrupted) and stop.signum == signal.SIGTERM:
            self.service.wind_down()
            by = self.loop.now() + self.options.grace
            while self._clients:
                task = next(iter(self._clients))
                ended = self.loop.flag()
                task.on_done(lambda _task, ended=ended: ended.set())  # type: ignore[misc]
                if not await ended.wait(by):
                    break
        self._cut(stop if isinstance(stop, Interrupted) else Interrupted(signal.SIGTERM))
        by = self.loop.now() + self.options.grace + 5
        while self._clients and self.loop.now() < by:  # children are being ended
            await self.loop.sleep_until(self.loop.now() + 0.01)
        await self.service.finish(60 if isinstance(stop, Interrupted) else self.options.grace)

    def _cut(self, stop: BaseException) -> None:
        for task in list(self._clients):
            task.cancel(stop)

    # --- clients -------------------------------------------------------------------------------------

    def _on_full(self, why: str) -> None:
        self.report(Event("waiting", {"reason": f"{why}: new clients wait until others end"}))

    def _on_stream(self, sock: Any, address: Any) -> None:
        why = self._obstacle(address)
        if why is None:
            self._admit(StreamSocket(sock, address))
        elif why == _FULL and len(self._door) < min(self.options.max_conns or 0, _AT_THE_DOOR):
            timer = self.loop.call_later(_MOMENT, lambda: self._turn_away(sock, self._leave_door(sock), why))
            self._door[sock] = address, timer
        else:
            self._turn_away(sock, address, why)

    def _leave_door(self, sock: Any) -> Any:
        """The address of `sock`, which waits no more."""
        address, timer = self._door.pop(sock)
        timer.cancel()
        return address

    def _answer_door(self) -> None:
        """Whoever waited longest has the place that is free."""
        while self._door and len(self._clients) < (self.options.max_conns or 0) and not self._over.is_set:
            sock = next(iter(self._door))
            self._admit(StreamSocket(sock, self._leave_door(sock)))

    def _turn_away(self, sock: Any, address: Any, why: str) -> None:
        self._say_no(address_facts(sock, address, ""), why)
        sock.close()

    def _on_peer(self, peer: DatagramPeer) -> bool:
        if not self._accepting:
            return False
        why = self._obstacle(peer.address)
        if why is not None:
            self._say_no(peer.facts(), why)
            return False
        self._admit(peer)
        return True

    def _obstacle(self, address: Any) -> str | None:
        """Why a client may not come in, if so."""
        if not self.rules.admits(address):
            return "denied"
        most = self.options.max_conns
        return _FULL if most is not None and len(self._clients) >= most else None

    def _say_no(self, facts: dict[str, Any], why: str) -> None:
        self.report(Event("closed", {**facts, "sent": 0, "received": 0, "seconds": 0.0, "reason": why}))

    def _admit(self, channel: Channel) -> None:
        self._accepted += 1
        self._first.set()
        if not self.keep_open or self._accepted == self.options.count:
            self._stop_accepting()
        task = self.loop.spawn(self.service.serve(channel), self._on_done)
        if not task.done:
            self._clients[task] = None

    def _stop_accepting(self) -> None:
        self._accepting = False
        for sock in list(self._door):
            self._turn_away(sock, self._leave_door(sock), _FULL)
        # Datagram sockets stay: they carry the clients that are there.
        if self._acceptor is not None:
            self._acceptor.stop()

    def _on_done(self, task: Task) -> None:
        self._clients.pop(task, None)
        try:
            self._last = task.result()
        except Interrupted:
            return
        except PyncError as error:
            if not self.keep_open:
                self._failure = error
        except BaseException as error:
            self._failure = error
            self._over.set()
        if self._last is not None and self._last.output_closed:
            self._failure = output_closed()
        self._answer_door()
        count = self.options.count if self.keep_open else 1
        if count is not None and self._accepted >= count and not self._clients:
            self._over.set()

    def _stop(self, failure: BaseException | None) -> None:
        """The service cannot go on: our stdout is closed, or full."""
        self._failure = failure
        self._stop_accepting()
        self._cut(failure or Interrupted(13))
        self._over.set()

    def close(self) -> None:
        """Give back what is still open."""
        self._stop_accepting()
        for listener in self._datagrams:
            listener.close()
        if self._bound is not None:
            self._bound.close()
        self.service.close()


def raise_descriptor_limit() -> None:
    """As many clients as the hard limit allows."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ImportError, OSError, ValueError):
        pass
