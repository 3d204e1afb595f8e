"""`pync` on systems that lack something; lacking/sitecustomize.py takes it away."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness import PATIENCE, ROOT, Finished, Process, Processes

_FOLDER = Path(__file__).parent / "lacking"
SYSTEMS = (
    "epoll",  # select.poll serves
    "poll,splice",  # and select where there is not even that
    "splice",
    "sendfile",
    "splice,sendfile,epoll",
    "ipv6",  # a kernel built without: EAFNOSUPPORT
    "unix",  # no AF_UNIX
    "pidfd",  # a kernel before 5.3: children are polled for
    "nowait",  # neither MSG_DONTWAIT nor RWF_NOWAIT
    "tcp-info",
    "udp-offload",  # a kernel before 4.18: neither UDP_SEGMENT nor UDP_GRO
    "pktinfo",
    "recverr",
    "proc",  # a chroot without /proc and /sys
    "unix-modules",  # no fcntl, termios, resource, pwd, grp
    "vectors",  # neither readv nor its kin
    "messages",  # neither recvmsg nor sendmsg
    "spawn",  # no posix_spawn
    "dir-fd",  # directories have no descriptors
    "darwin",
    "windows",
)


class Elsewhere:
    """Runs `pync` on a system that lacks `what` (names of lacking/sitecustomize.py)."""

    def __init__(self, what: str, processes: Processes, stack: ExitStack) -> None:
        self.what = what.split(",")
        self.processes = processes
        self._stack = stack
        self.env = {
            "PYTHONPATH": f"{_FOLDER}{os.pathsep}{ROOT}",
            "PYNC_TEST_LACKS": what,
            "COMSPEC": str(_FOLDER / "cmd"),
        }

    def lacks(self, *names: str) -> bool:
        """Whether one of them is not there; "windows" lacks most."""
        return not set(names).isdisjoint(self.what)

    def died_of(self, signum: int) -> int:
        """The exit code of a process that a signal ended."""
        return 128 + signum if self.lacks("windows") else -signum

    def pync(self, *words: str | Path, **options: Any) -> Process:
        """Start it."""
        return self.processes.pync(*words, env=self.env, **options)

    def run(self, *words: str | Path, **options: Any) -> Finished:
        """From start to end."""
        return self.processes.run(*words, env=self.env, **options)

    def listen(self, *words: str | Path, **options: Any) -> Process:
        """A listener, once it is ready."""
        return self.processes.listen(*words, env=self.env, **options)

    def recv(self, *words: str | Path, **options: Any) -> Process:
        """A listening `recv`, once it is ready."""
        return self.processes.listen(*words, command="recv", env=self.env, **options)

    def new_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket of the test, none of whose calls waits for ever."""
        sock = self._stack.enter_context(socket.socket(family, kind))
        sock.settimeout(PATIENCE)
        return sock

    def accept(self, listener: socket.socket) -> socket.socket:
        """The next client of a socket of the test."""
        client = self._stack.enter_context(listener.accept()[0])
        client.settimeout(PATIENCE)
        return client

    def bound(self, kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, str]:
        """A socket of the test on 127.0.0.1 (listening, if it can) and its HOST:PORT."""
        sock = self.new_socket(kind=kind)
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock, f"127.0.0.1:{sock.getsockname()[1]}"

    def client(self, process: Process, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Connected to a listener."""
        sock = self.new_socket(kind=kind)
        sock.connect(("127.0.0.1", process.port))
        return sock


@pytest.fixture(params=SYSTEMS)
def elsewhere(request: pytest.FixtureRequest, processes: Processes) -> Iterator[Elsewhere]:
    """Each test that takes it runs once for every system."""
    with ExitStack() as stack:
        yield Elsewhere(str(request.param), processes, stack)


def read_all(sock: socket.socket) -> bytes:
    """To the end."""
    return b"".join(iter(lambda: sock.recv(1 << 17), b""))
