"""Both ends of a transfer in one loop, with a proxy in between that can hurt the bytes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pync.commands import recv, send
from pync.commands.options import RecvOptions, SendOptions
from pync.endpoint import Endpoint
from pync.errors import PyncError
from pync.loop import READ, WRITE, Loop
from pync.report import Event
from tests.cli.schema import check_event

PATIENCE = 30.0
HERE = "127.0.0.1"


class Fault(NamedTuple):
    """What happens to the first connection after so many bytes of one direction."""

    kind: str = "none"  # cut, reset, stall, flip, throttle
    at: int = 0
    upwards: bool = True  # the sender's bytes, else the receiver's
    bit: int = 0


CLEAN = Fault()


class Result(NamedTuple):
    sent: int  # exit status of the sender
    received: int
    send_events: list[Event]
    recv_events: list[Event]
    bytes_up: int
    bytes_down: int
    connections: int

    @property
    def codes(self) -> tuple[int, int]:
        return self.sent, self.received

    def files(self, side: str = "recv") -> dict[str, str]:
        """Name to status, as that side reported."""
        events = self.recv_events if side == "recv" else self.send_events
        return {event.facts["name"]: event.facts["status"] for event in events if event.kind == "file"}

    def errors(self) -> list[str]:
        return [str(e.facts["message"]) for e in self.send_events + self.recv_events if e.kind == "error"]


class Proxy:
    """Listens, connects on, copies. The fault hits the first connection only."""

    def __init__(self, loop: Loop, port: int, fault: Fault) -> None:
        self.loop, self.port, self.fault = loop, port, fault
        self.listener = socket.create_server((HERE, 0))
        self.listener.setblocking(False)
        self.own_port = self.listener.getsockname()[1]
        self.counts = {True: 0, False: 0}
        self.connections = 0
        self.sockets: list[socket.socket] = []
        self.task = loop.spawn(self._accept())

    async def _accept(self) -> None:
        while True:
            await self.loop.wait(self.listener.fileno(), READ)
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection((HERE, self.port))
            except ConnectionRefusedError:
                client.close()
                continue
            first = self.connections == 0
            self.connections += 1
            for one in (client, server):
                one.setblocking(False)
                self.sockets.append(one)
            self.loop.spawn(self._copy(client, server, True, first))
            self.loop.spawn(self._copy(server, client, False, first))

    async def _copy(self, source: socket.socket, target: socket.socket, up: bool, first: bool) -> None:
        fault = self.fault if first and self.fault.upwards == up else Fault()
        passed = 0
        try:
            while True:
                await self.loop.wait(source.fileno(), READ)
                size = 1 << 16
                if fault.kind in ("cut", "reset", "stall"):
                    size = min(size, max(1, fault.at - passed))
                elif fault.kind == "throttle":
                    size = 700
                data = source.recv(size)
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                if fault.kind in ("cut", "reset", "stall") and passed + len(data) >= fault.at:
                    await self._write(target, data[: fault.at - passed])
                    self.counts[up] += fault.at - passed
                    if fault.kind == "stall":
                        return  # not another byte, in this direction
                    self._break((source, target), fault.kind)
                    return
                if fault.kind == "flip" and passed <= fault.at < passed + len(data):
                    changed = bytearray(data)
                    changed[fault.at - passed] ^= 1 << fault.bit
                    data = bytes(changed)
                passed += len(data)
                self.counts[up] += len(data)
                await self._write(target, data)
        except (OSError, ValueError):
            pass  # one end is gone; the other copy tells its peer
        finally:
            if fault.kind != "stall":
                self._hang_up(target)

    async def _write(self, target: socket.socket, data: bytes) -> None:
        while data:
            try:
                data = data[target.send(data) :]
            except BlockingIOError:
                await self.loop.wait(target.fileno(), WRITE)

    def _hang_up(self, sock: socket.socket) -> None:
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _break(self, pair: tuple[socket.socket, socket.socket], kind: str) -> None:
        for sock in pair:
            if kind == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self) -> None:
        self.task.on_done(lambda _task: None)  # somebody looks: its end is no failure of the run
        self.task.cancel(ConnectionAbortedError())
        for sock in (*self.sockets, self.listener):
            if sock.fileno() >= 0:
                self.loop.forget(sock.fileno())
                sock.close()


class Stopped(PyncError):
    """The test ends what still runs."""


async def _outcome(loop: Loop, work: Awaitable[Any], events: list[Event]) -> int:
    try:
        return int(await work)
    except PyncError as error:
        events.append(Event("error", {"message": error.message}))
        return int(error.code)


def transfer(
    paths: list[Path | str],
    output: Path | str,
    *,
    fault: Fault = CLEAN,
    send_with: dict[str, Any] | None = None,
    recv_with: dict[str, Any] | None = None,
    reverse: bool = False,
    within: float = PATIENCE,
    watch: Callable[[Event], None] = lambda event: None,
) -> Result:
    """Send `paths` into `output` through the proxy; both exit statuses and what was said."""
    from pync.commands.session import within as limited

    said: tuple[list[Event], list[Event]] = ([], [])
    given = {"retry_for": 2.0}
    send_values = {**given, "paths": tuple(str(path) for path in paths), **(send_with or {})}
    recv_values = {**given, "output": str(output), **(recv_with or {})}

    astray: list[AssertionError] = []

    with Loop() as loop:
        listening = loop.flag()

        def report(side: int, event: Event) -> None:
            said[side].append(event)
            try:
                check_event({"event": event.kind, "time": 0, **event.facts})
            except AssertionError as error:  # here it would only end one of the two
                astray.append(error)
            watch(event)
            if event.kind == "listening":
                listening.set()

        def start(name: str, port: int) -> Awaitable[Any]:
            endpoint = Endpoint("tcp", HERE, port)
            if name == "recv":
                options = RecvOptions(endpoint=endpoint, connect=reverse, **recv_values)
                return recv.run(loop, options, lambda event: report(1, event))
            options = SendOptions(endpoint=endpoint, listen=reverse, **send_values)
            return send.run(loop, options, lambda event: report(0, event))

        async def both() -> Result:
            first, second = ("send", "recv") if reverse else ("recv", "send")
            side = 0 if reverse else 1
            one = loop.spawn(_outcome(loop, start(first, 0), said[side]))
            if not one.done:
                await listening.wait(loop.now() + PATIENCE)
            if one.done:
                return Result(*((one.result(), -1) if reverse else (-1, one.result())), *said, 0, 0, 0)
            port = next(e.facts["port"] for e in said[side] if e.kind == "listening")
            proxy = Proxy(loop, port, fault)
            try:
                two = loop.spawn(_outcome(loop, start(second, proxy.own_port), said[1 - side]))
                codes = (await two, await one)
            finally:
                proxy.close()
            sent, received = codes[::-1] if reverse else codes
            return Result(sent, received, *said, proxy.counts[True], proxy.counts[False], proxy.connections)

        result: Result = loop.run(limited(loop, within, both()))
    if astray:
        raise astray[0]
    return result


def call_alone(port: int, path: Path) -> tuple[int, str]:
    """`send` to a port that somebody else holds: exit status and message."""
    options = SendOptions(endpoint=Endpoint("tcp", HERE, port), paths=(str(path),))
    events: list[Event] = []
    with Loop() as loop:
        code = int(loop.run(_outcome(loop, send.run(loop, options, events.append), events)))
    return code, str(events[-1].facts.get("message"))


@contextlib.contextmanager
def piped(data: bytes) -> Iterator[int]:
    """A pipe to read `data` from, as somebody's stdin; written by a thread, to whoever reads it."""
    reader, writer = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as stream:
            stream.write(data)

    threading.Thread(target=feed, daemon=True).start()
    try:
        yield reader
    finally:
        os.close(reader)


def tree(path: Path) -> dict[str, Any]:
    """Everything below a directory, comparable: contents, targets, modes, times."""
    found: dict[str, Any] = {}
    for entry in sorted(path.rglob("*")):
        name = entry.relative_to(path).as_posix()
        there = entry.lstat()
        mode = there.st_mode & 0o777
        if entry.is_symlink():
            found[name] = ("link", str(entry.readlink()), there.st_mtime_ns)
        elif entry.is_dir():
            found[name] = ("directory", mode, there.st_mtime_ns)
        else:
            found[name] = ("file", mode, there.st_mtime_ns, entry.read_bytes())
    return found
