"""From the command to the first byte: a netcat is called in loops."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness import environment
from tests.perf import Bench, Measure, Row
from tests.perf.bench import command

LAUNCHES = 20  # of which the median counts, in each of the row's runs


def launch(bench: Bench, *argv: str, data: bytes = b"") -> float:
    """Seconds from start to end of one process."""
    begin = bench.now()
    done = subprocess.run(argv, input=data, capture_output=True, env=environment(), check=False)
    seconds = bench.now() - begin
    assert done.returncode == 0, f"{' '.join(argv)}: exit {done.returncode} {done.stderr!r}"
    return seconds


@contextmanager
def echo_server() -> Iterator[int]:
    """A thread that answers one byte to each client; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                client, _ = server.accept()
                with client:
                    byte = client.recv(1)
                    if byte == b"q":
                        return
                    client.sendall(byte)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        with socket.create_connection(server.getsockname()) as last:
            last.sendall(b"q")
        thread.join()


def median_of_launches(*argv: str, data: bytes = b"") -> Measure:
    """`PORT` in a word becomes that of an echo server."""

    def run(bench: Bench) -> float:
        with echo_server() as port:
            words = [word.replace("PORT", str(port)) for word in argv]
            return statistics.median(launch(bench, *words, data=data) for _ in range(LAUNCHES))

    return run


BARE = {"python -c 'import socket'": median_of_launches(sys.executable, "-c", "import socket")}

ROWS = [
    Row(
        "startup.connect",
        "connect, one byte there and back, wall time",
        median_of_launches(*command(), "connect", "127.0.0.1", "PORT", data=b"x"),
        BARE,
        goal=1.6,
        at_least=False,
        unit="s",
    ),
    Row(
        "startup.zero",
        "connect -z, wall time",
        median_of_launches(*command(), "connect", "-z", "127.0.0.1", "PORT"),
        BARE,
        goal=1.6,
        at_least=False,
        unit="s",
    ),
    Row(
        "startup.scan",
        "scan of one open port, wall time",
        median_of_launches(*command(), "scan", "127.0.0.1", "-p", "PORT"),
        BARE,
        goal=1.6,
        at_least=False,
        unit="s",
    ),
    Row(
        "startup.help",
        "pync --help",
        median_of_launches(*command(), "--help"),
        goal=0.4,
        at_least=False,
        unit="s",
        runs=1,
    ),
]
