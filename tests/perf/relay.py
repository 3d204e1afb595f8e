"""Bytes through connect and listen: what nc is used for, against nc, ncat, socat and a C program."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from tests.harness import Process
from tests.perf import Bench, Measure, Row
from tests.perf.bench import peak_memory

SOCAT = ("socat", "-u", "-b", "1048576")


def bound(process: Process) -> Process:
    process.bound()
    return process


# Who can receive: starts a listener with this stdout, ready, with .port
RECEIVERS: dict[str, Callable[[Bench, Any], Process]] = {
    "pync": lambda bench, out: bench.listen("127.0.0.1:0", stdout=out),
    "nc": lambda bench, out: bound(bench.spawn("nc.openbsd", "-l", "127.0.0.1", "0", stdout=out)),
    "ncat": lambda bench, out: bound(bench.spawn("ncat", "--recv-only", "-l", "127.0.0.1", "0", stdout=out)),
    "socat": lambda bench, out: bound(
        bench.spawn(*SOCAT, "TCP-LISTEN:0,bind=127.0.0.1", "STDOUT", stdout=out)
    ),
    "C": lambda bench, out: bound(bench.spawn(bench.c("reference"), "listen", stdout=out)),
}
# Who can send: the command that sends its stdin to that port and ends when all is delivered
SENDERS: dict[str, Callable[[Bench, int, Any], Process]] = {
    "pync": lambda bench, port, stdin: bench.pync("connect", "127.0.0.1", str(port), stdin=stdin),
    "nc": lambda bench, port, stdin: bench.spawn("nc.openbsd", "-N", "127.0.0.1", str(port), stdin=stdin),
    "ncat": lambda bench, port, stdin: bench.spawn(
        "ncat", "--send-only", "127.0.0.1", str(port), stdin=stdin
    ),
    "socat": lambda bench, port, stdin: bench.spawn(*SOCAT, "STDIN", f"TCP:127.0.0.1:{port}", stdin=stdin),
    "C": lambda bench, port, stdin: bench.spawn(bench.c("reference"), "connect", str(port), stdin=stdin),
}


def connected(port: int) -> bool:
    """Whether there is a connection to that port of 127.0.0.1, in whatever state it is by now."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[2] == f"0100007F:{port:04X}" for line in lines if (fields := line.split()))


def pipe() -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    return open(reading, "rb", buffering=0), open(writing, "wb", buffering=0)


def stream(sender: str, receiver: str, source: str, sink: str) -> Measure:
    """Bytes a second of one transfer; `source` is file or pipe, `sink` null, file, newfile or pipe.

    The clock runs from the connection's start to the end of all processes: start-up has rows of its own.
    """

    def run(bench: Bench) -> float:
        with ExitStack() as stack:
            drain = None
            if sink == "pipe":
                reading, out = pipe()
                drain = bench.spawn("cat", stdin=reading)  # to /dev/null
                reading.close()
            elif sink == "null":
                out = bench.null
            else:
                out = stack.enter_context(bench.sink(new=sink == "newfile"))
            server = RECEIVERS[receiver](bench, out)
            if drain:
                out.close()
            stdin = stack.enter_context(bench.source().open("rb", buffering=0))
            if source == "pipe":
                file, (stdin, writing) = stdin, pipe()
                bench.spawn("cat", stdin=file, stdout=writing)
                writing.close()
            bench.free_memory()
            client = SENDERS[sender](bench, server.port, stdin)
            stdin.close()
            client.until(lambda: connected(server.port), "connecting")
            begin = bench.now()
            for process in filter(None, (client, server, drain)):
                bench.check(process)
            seconds = bench.now() - begin
            if sink == "newfile":
                assert (bench.scratch / "sink").stat().st_size == bench.size, "bytes are missing"
            return bench.size / seconds

    return run


def both(program: str, source: str, sink: str) -> Measure:
    return stream(program, program, source, sink)


def against_c(source: str, sink: str) -> Row:
    what = f"{source} -> socket -> {sink}, against the same system calls"
    return Row(
        f"relay.{source}-{sink}.c",
        what,
        both("pync", source, sink),
        {"C": both("C", source, sink)},
        goal=0.9,
        needs=("cc",),
    )


def udp_pync(bench: Bench) -> float:
    """Bytes a second that arrive, sent as datagrams of 1400 bytes."""
    with bench.sink(new=True) as sink, bench.source().open("rb", buffering=0) as stdin:
        server = bench.listen("-u", "127.0.0.1:0", stdout=sink)
        bench.free_memory()
        begin = bench.now()
        to = ("127.0.0.1", str(server.port), "--datagram-size", "1400", "--send-only")
        return delivered(bench, server, bench.pync("connect", "-u", *to, stdin=stdin), begin)


def udp_nc(bench: Bench) -> float:
    """The same by nc, which sends what one read gives: a stdin that keeps boundaries makes it 1400 bytes."""
    with bench.sink(new=True) as sink, bench.source(bench.size >> 2).open("rb", buffering=0) as file:
        server = bench.spawn("nc.openbsd", "-u", "-l", "127.0.0.1", "0", stdout=sink)
        port = server.bound("udp")
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        bench.free_memory()
        begin = bench.now()
        bench.spawn(bench.c("reference"), "packets", "1400", stdin=file, stdout=ends[0])
        client = bench.spawn("nc.openbsd", "-u", "-w", "1", "127.0.0.1", str(port), stdin=ends[1])
        for end in ends:
            end.close()
        return delivered(bench, server, client, begin)


def delivered(bench: Bench, server: Process, client: Process, begin: float) -> float:
    """Bytes a second in the sink from `begin` to its last growth, after the sender's end."""
    path = bench.scratch / "sink"
    size, grown, ended = 0, begin, 0.0
    while not ended or bench.now() - max(grown, ended) < 0.3:
        time.sleep(0.005)
        now, seen = bench.now(), path.stat().st_size
        if seen > size:
            size, grown = seen, now
        if not ended and client.popen.poll() is not None:
            bench.check(client)
            ended = now
    assert size, f"nothing arrived: {server.describe()}"
    return size / (grown - begin)


def memory(end: str, source: str) -> Measure:
    """Peak MiB of one end after 8 GiB, and that it is within 4 MiB of the peak after 1 GiB."""

    def peak(bench: Bench, size: int) -> float:
        server = RECEIVERS["pync"](bench, bench.null)
        with bench.sparse(size).open("rb", buffering=0) as stdin:
            if source == "pipe":
                reading, writing = pipe()
                bench.spawn("cat", stdin=stdin, stdout=writing)
                writing.close()
                stdin.close()
                stdin = reading
            client = SENDERS["pync"](bench, server.port, stdin)
            stdin.close()
        watched, other = (client, server) if end == "connect" else (server, client)
        most = peak_memory(watched)
        bench.check(watched)
        bench.check(other)
        return most

    def run(bench: Bench) -> float:
        small, large = peak(bench, bench.size >> 1), peak(bench, bench.size << 2)
        assert abs(large - small) <= 4, (
            f"{small:.1f} MiB after {bench.size >> 1} bytes, {large:.1f} MiB after 8 times that"
        )
        return large

    return run


def memory_row(end: str, source: str) -> Row:
    what = f"peak memory of {end}, 8 GiB from a {source} (within 4 MiB of 1 GiB)"
    return Row(
        f"relay.memory.{end}-{source}", what, memory(end, source), goal=40, at_least=False, unit="MiB", runs=1
    )


ROWS = [
    Row(
        "relay.file-null",
        "file -> socket -> /dev/null",
        both("pync", "file", "null"),
        {"nc": both("nc", "file", "null")},
        goal=2.5,
        needs=("nc.openbsd",),
    ),
    Row(
        "relay.file-file",
        "file -> socket -> file",
        both("pync", "file", "file"),
        {name: both(name, "file", "file") for name in ("nc", "ncat", "socat")},
        goal=1.5,
        needs=("nc.openbsd", "ncat", "socat"),
    ),
    Row(
        "relay.file-newfile",
        "file -> socket -> new file (the kernel's page allocation included)",
        both("pync", "file", "newfile"),
        {name: both(name, "file", "newfile") for name in ("nc", "ncat", "socat")},
        goal=1.5,
        needs=("nc.openbsd", "ncat", "socat"),
    ),
    Row(
        "relay.pipe-pipe",
        "pipe -> socket -> pipe",
        both("pync", "pipe", "pipe"),
        {"nc": both("nc", "pipe", "pipe")},
        goal=1.5,
        needs=("nc.openbsd",),
    ),
    against_c("file", "null"),
    against_c("file", "file"),
    against_c("pipe", "pipe"),
    Row(
        "relay.to-nc",
        "pync connect to nc -l, file -> file",
        stream("pync", "nc", "file", "file"),
        {"nc": both("nc", "file", "file")},
        needs=("nc.openbsd",),
    ),
    Row(
        "relay.from-nc",
        "nc to pync listen, file -> file",
        stream("nc", "pync", "file", "file"),
        {"nc": both("nc", "file", "file")},
        needs=("nc.openbsd",),
    ),
    Row(
        "relay.udp",
        "datagrams of 1400 bytes, file -> file",
        udp_pync,
        {"nc -u": udp_nc},
        goal=5,
        needs=("nc.openbsd", "cc"),
    ),
    memory_row("connect", "file"),
    memory_row("connect", "pipe"),
    memory_row("listen", "file"),
    memory_row("listen", "pipe"),
]
