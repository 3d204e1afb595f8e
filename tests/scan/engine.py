"""The scan command run in this process, and what came of it."""

from __future__ import annotations

import socket
from typing import Any

from pync.commands import scan
from pync.commands.options import ScanOptions
from pync.errors import ExitCode
from pync.loop import Loop
from pync.report import Event


class Outcome:
    def __init__(self, code: ExitCode, events: list[Event]) -> None:
        self.code = code
        self.events = events
        self.ports = [event.facts for event in events if event.kind == "port"]
        self.summary = events[-1].facts

    def states(self) -> dict[int, str]:
        return {facts["port"]: facts["state"] for facts in self.ports}


def run(*targets: str, **options: Any) -> Outcome:
    events: list[Event] = []
    with Loop() as loop:
        wanted = ScanOptions(targets=targets, **options)
        code = loop.run(scan.run(loop, wanted, events.append))
    assert events[-1].kind == "summary"
    return Outcome(code, events)


def listening(host: str = "127.0.0.1", backlog: int = 128) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((host, 0))
    sock.listen(backlog)
    return sock


def spec(*ports: int) -> str:
    return ",".join(map(str, ports))
