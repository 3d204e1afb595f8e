"""Many clients: short connections, round trips, broker, forward; against ncat and socat."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness import Process
from tests.perf import Bench, Measure, Row
from tests.perf.bench import LIMIT

CLIENTS = 10_000


def ncat(bench: Bench, *arguments: str) -> Process:
    server = bench.spawn("ncat", "-l", "-k", "127.0.0.1", "0", *arguments)
    server.bound()
    return server


def socat(bench: Bench, *arguments: str) -> Process:
    server = bench.spawn("socat", "TCP-LISTEN:0,bind=127.0.0.1,backlog=128,fork", *arguments)
    server.bound()
    return server


def load(bench: Bench, mode: str, server: Process, *arguments: int) -> float:
    """The number that `load` prints at its end."""
    words = (mode, str(server.port), *map(str, arguments))
    client = bench.spawn(bench.c("load"), *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    done = client.finish(b"go\n", within=LIMIT)
    assert done.code == 0, client.describe()
    return float(done.out.split()[-1])


def connections(server: str, clients: int) -> Measure:
    """Connections served a second, each with one byte there and back."""

    def run(bench: Bench) -> float:
        if server == "echo":
            serving = bench.listen("-k", "--echo", "127.0.0.1:0")
        elif server == "exec":
            serving = bench.listen("-k", "-e", "/bin/cat", "127.0.0.1:0")
        else:
            serving = ncat(bench, "-e", "/bin/cat", "-m", "1000")
        return load(bench, "connects", serving, 3000, clients)

    return run


def round_trips(server: str) -> Measure:
    def run(bench: Bench) -> float:
        serving = bench.listen("-k", "--echo", "127.0.0.1:0") if server == "pync" else socat(bench, "PIPE")
        return load(bench, "pingpong", serving, 20_000)

    return run


def fan_out(server: str) -> Measure:
    """Messages delivered a second: 20,000 of 64 bytes from one client to 899 others."""

    def run(bench: Bench) -> float:
        serving = (
            bench.listen("--broker", "127.0.0.1:0")
            if server == "pync"
            else ncat(bench, "--broker", "-m", "1000")
        )
        return load(bench, "fanout", serving, 900, 20_000, 64)

    return run


def resident(process: Process) -> int:
    """Bytes of memory in use now."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(process.describe())


def held(bench: Bench) -> float:
    """Memory for each of 10,000 broker clients, in KiB, once a message to all has lost nothing."""
    server = bench.listen("--broker", "127.0.0.1:0", "--backlog", "4096")
    before = resident(server)
    words = ("fanout", str(server.port), str(CLIENTS), "1", "64")
    client = bench.spawn(bench.c("load"), *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client.expect_out("ready", within=LIMIT)
    client.write(b"go\n")
    done = client.wait(within=LIMIT)
    each = (resident(server) - before) / CLIENTS / 1024
    assert done.code == 0, client.describe()
    return each


def forward(server: str) -> Measure:
    """Bytes a second from a client through the forwarder to a target, both of which are C."""

    def run(bench: Bench) -> float:
        target = bench.spawn(bench.c("reference"), "listen")
        to = f"127.0.0.1:{target.bound()}"
        serving = (
            bench.listen("-k", "--forward", to, "127.0.0.1:0")
            if server == "pync"
            else socat(bench, f"TCP:{to}")
        )
        begin = bench.now()
        with bench.source().open("rb", buffering=0) as stdin:
            client = bench.spawn(bench.c("reference"), "connect", str(serving.port), stdin=stdin)
        bench.check(client)
        bench.check(target)
        return bench.size / (bench.now() - begin)

    return run


ROWS = [
    Row(
        "server.short",
        "short connections a second, 4 clients at a time: listen -k --echo",
        connections("echo", 4),
        {"ncat -lk -e /bin/cat": connections("ncat", 4)},
        goal=2,
        unit="/s",
        needs=("cc", "ncat"),
    ),
    Row(
        "server.exec",
        "short connections a second, 50 clients at a time: listen -k -e /bin/cat",
        connections("exec", 50),
        {"ncat -lk -e /bin/cat": connections("ncat", 50)},
        goal=1,
        unit="/s",
        needs=("cc", "ncat"),
    ),
    Row(
        "server.round-trips",
        "one-byte round trips a second: listen -k --echo",
        round_trips("pync"),
        {"socat fork PIPE": round_trips("socat")},
        goal=0.5,
        unit="/s",
        needs=("cc", "socat"),
    ),
    Row(
        "server.fan-out",
        "messages delivered a second by --broker to 900 clients",
        fan_out("pync"),
        {"ncat --broker": fan_out("ncat")},
        goal=2,
        unit="/s",
        needs=("cc", "ncat"),
    ),
    Row(
        "server.held",
        "KiB for each of 10,000 clients of --broker, a message to all, nothing lost",
        held,
        goal=20,
        at_least=False,
        unit="KiB",
        runs=1,
        needs=("cc",),
    ),
    Row(
        "server.forward",
        "a bulk stream through --forward",
        forward("pync"),
        {"socat": forward("socat")},
        goal=1.5,
        needs=("cc", "socat"),
    ),
]
