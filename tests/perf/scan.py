"""Scans and waits, against nmap and nc. Loopback, and namespaces made here; nothing else is ever asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack

from tests.harness import Host, two_hosts
from tests.perf import Bench, Measure, Row
from tests.perf.bench import command

OPEN = 5
NMAP = ("nmap", "-Pn", "-n", "-oG", "-")


def listening(stack: ExitStack, number: int = OPEN) -> set[int]:
    """Ports on 127.0.0.1 where somebody listens; the backlog holds the probes of all runs."""
    ports = set()
    for _ in range(number):
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(512)
        ports.add(sock.getsockname()[1])
    return ports


def timed(
    bench: Bench, *argv: str, codes: tuple[int, ...] = (0,), host: Host | None = None, **env: str
) -> tuple[float, str]:
    """Seconds of one program, and its output."""
    with (bench.scratch / "out").open("w+b") as out:
        begin = bench.now()
        process = bench.spawn(*argv, stdout=out, host=host, env=env)
        done = process.wait(within=600)
        seconds = bench.now() - begin
        out.seek(0)
        text = out.read().decode()
    assert done.code in codes, f"exit {done.code}: {process.describe()}"
    return seconds, text


def all_ports(workers: int) -> Measure:
    def run(bench: Bench) -> float:
        with ExitStack() as stack:
            wanted = listening(stack)
            seconds, text = timed(
                bench,
                *command(),
                "scan",
                "127.0.0.1",
                "-p",
                "all",
                "--grepable",
                PYNC_SCAN_WORKERS=str(workers),
            )
            found = {int(line.rpartition(":")[2]) for line in text.splitlines()}
            assert wanted <= found, f"missed {wanted - found}"
            return seconds

    return run


def all_ports_by_nmap(bench: Bench) -> float:
    with ExitStack() as stack:
        wanted = listening(stack)
        seconds, text = timed(bench, *NMAP, "-sT", "-p-", "-T5", "--min-rate", "100000", "127.0.0.1")
        assert all(f"{port}/open" in text for port in wanted)
        return seconds


def all_ports_by_nc(bench: Bench) -> float:
    with ExitStack() as stack:
        listening(stack)
        return timed(bench, "nc.openbsd", "-zn", "127.0.0.1", "1-65535", codes=(0, 1))[0]


def black_hole(bench: Bench) -> float:
    with two_hosts() as (here, there):
        here.run("ip", "route", "add", "10.50.0.0/24", "via", there.ipv4)
        words = ("10.50.0.9", "-p", "1-1000", "--timeout", "1s", "--retries", "0")
        return timed(bench, *command(), "scan", *words, codes=(1,), host=here)[0]


def many_hosts(*argv: str, codes: tuple[int, ...]) -> Measure:
    """256 hosts, every second /25 of them dead: their router drops what comes."""

    def run(bench: Bench) -> float:
        with two_hosts() as (here, there):
            here.run("ip", "route", "add", "10.50.0.0/24", "via", there.ipv4)
            there.run("ip", "route", "add", "local", "10.50.0.0/25", "dev", "lo")
            program = argv if argv[0] != "pync" else (*command(), *argv[1:])
            return timed(bench, *program, codes=codes, host=here)[0]

    return run


def udp_ports(program: Callable[[str], tuple[str, ...]], codes: tuple[int, ...]) -> Measure:
    """2,000 ports, 3 that answer."""

    def run(bench: Bench) -> float:
        import threading

        with ExitStack() as stack:
            socks = []
            for port in (20_100, 20_700, 21_900):
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sock.bind(("127.0.0.77", port))
                socks.append(sock)
            stop = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            stop.bind(("127.0.0.1", 0))

            def answer() -> None:
                import select

                while stop not in (ready := select.select([*socks, stop], [], [])[0]):
                    for sock in ready:
                        _, peer = sock.recvfrom(2048)
                        sock.sendto(b"pong", peer)

            thread = threading.Thread(target=answer)
            thread.start()
            try:
                seconds, text = timed(bench, *program("20000-21999"), codes=codes)
            finally:
                stop.sendto(b"", stop.getsockname())
                thread.join()
            for port in (20_100, 20_700, 21_900):
                assert f"{port}/open/" in text or f"127.0.0.77:{port} udp open" in text, f"missed {port}"
            return seconds

    return run


def few_descriptors(bench: Bench) -> float:
    """With 64 descriptors the same set, or it fails; the seconds it takes."""
    with ExitStack() as stack:
        wanted = listening(stack)
        shell = 'ulimit -n 64; exec "$@"'
        words = ("scan", "127.0.0.1", "-p", "all", "--grepable")
        seconds, text = timed(bench, "sh", "-c", shell, "sh", *command(), *words)
        found = {int(line.rpartition(":")[2]) for line in text.splitlines()}
        assert wanted <= found, f"missed {wanted - found}"
        return seconds


def reaction(bench: Bench) -> float:
    """Seconds between the opening of a port and the end of the wait for it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        process = bench.pync("scan", f"127.0.0.1:{sock.getsockname()[1]}", "--wait", "30s")
        process.expect("waiting for")  # after a second
        begin = bench.now()
        sock.listen()
        bench.check(process)
        return bench.now() - begin


def starts(*arguments: str) -> Measure:
    """Seconds of one start, connection and end; the best of ten, so that the machine's noise stays out."""

    def run(bench: Bench) -> float:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen(64)
            port = str(sock.getsockname()[1])
            best = 1e9
            for _ in range(10):
                seconds, _text = timed(bench, *command(), *(word.format(port=port) for word in arguments))
                best = min(best, seconds)
            return best

    return run


def _cores() -> int:
    return len(os.sched_getaffinity(0))


_NMAP_MANY = (*NMAP, "-sT", "-T4", "-p", "1-100", "--host-timeout", "20s", "10.50.0.0/24")

ROWS = [
    Row(
        "scan.tcp", "65,535 loopback ports, one process", all_ports(1), {"nmap": all_ports_by_nmap},
        goal=1.0, at_least=False, unit="s", needs=("nmap",),
    ),
    Row(
        "scan.tcp-workers", "65,535 loopback ports, a process a core", all_ports(_cores()),
        {"nmap": all_ports_by_nmap}, goal=1 / 1.3, at_least=False, unit="s", needs=("nmap",),
    ),
    Row(
        "scan.tcp-nc", "65,535 loopback ports, one process", all_ports(1), {"nc": all_ports_by_nc},
        goal=1.0, at_least=False, unit="s", needs=("nc.openbsd",),
    ),
    Row(
        "scan.filtered", "1,000 filtered ports, --timeout 1s --retries 0", black_hole,
        goal=2.5, at_least=False, unit="s", runs=3, needs=("ip", "root"),
    ),
    Row(
        "scan.hosts", "256 hosts x 100 ports, half of the hosts dead",
        many_hosts("pync", "scan", "10.50.0.0/24", "-p", "1-100", codes=(1,)),
        {"nmap": many_hosts(*_NMAP_MANY, codes=(0,))},
        goal=0.5, at_least=False, unit="s", runs=1, needs=("ip", "root", "nmap"),
    ),
    Row(
        "scan.udp", "2,000 UDP ports, 3 answering",
        udp_ports(lambda ports: (*command(), "scan", "127.0.0.77", "-u", "-p", ports), (0,)),
        {"nmap": udp_ports(lambda ports: (*NMAP, "-sU", "-T5", "-p", ports, "127.0.0.77"), (0,))},
        goal=1.0, at_least=False, unit="s", runs=3, needs=("nmap", "root"),
    ),
    Row(
        "scan.few-descriptors", "65,535 loopback ports with 64 descriptors: the same set", few_descriptors,
        goal=5.0, at_least=False, unit="s", runs=3,
    ),
    Row(
        "scan.wait-reaction", "--wait: from the opening to the end, two intervals", reaction,
        goal=0.4, at_least=False, unit="s", runs=3,
    ),
    Row(
        "scan.wait-start", "--wait for an open port, against connect -z",
        starts("scan", "127.0.0.1:{port}", "--wait", "5s"),
        {"connect": starts("connect", "-z", "127.0.0.1", "{port}")},
        goal=1.15, at_least=False, unit="s", runs=3,
    ),
]  # fmt: skip
