"""The same verdicts as nmap, over random sets of ports in network namespaces of our own."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable

import pytest

from tests.harness import PYNC, Host, Processes

# Opens what its first argument lists; says "ready" with the full ports, and keeps them until it is killed.
TARGET = """
import json, select, socket, sys
wanted = json.loads(sys.argv[1])
socks, udp = [], []
for address, port in wanted["open"]:
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port)); s.listen(64); socks.append(s)
for address, port in wanted["hole"]:
    s = socket.socket(); s.bind((address, port)); s.listen(0); socks.append(s)
    for _ in range(4):
        c = socket.socket(); c.setblocking(False); c.connect_ex((address, port)); socks.append(c)
for address, port in wanted["answer"] + wanted["mute"]:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((address, port))
    (udp if [address, port] in wanted["answer"] else socks).append(s)
print("ready", file=sys.stderr, flush=True)
while True:
    for s in select.select(udp, [], [])[0]:
        data, peer = s.recvfrom(65535)
        s.sendto(b"pong", peer)
"""


def start(processes: Processes, host: Host, **wanted: list[tuple[str, int]]) -> None:
    sets = {name: wanted.get(name, []) for name in ("open", "hole", "answer", "mute")}
    processes.spawn(sys.executable, "-c", TARGET, json.dumps(sets), host=host).expect("ready")


def by_nmap(processes: Processes, host: Host, *words: str) -> dict[tuple[str, int], str]:
    """Verdicts of nmap's grepable output; what it leaves out has its "ignored state"."""
    result = processes.spawn("nmap", "-Pn", "-n", "-oG", "-", *words, host=host).wait(within=120)
    assert result.code == 0, result.err
    found: dict[tuple[str, int], str] = {}
    for line in result.out.decode().splitlines():
        address = re.match(r"Host: (\S+)", line)
        ports = re.search(r"Ports: ([^\t]*)", line)
        if address and ports:
            for number, state in re.findall(r"(?:^|, )(\d+)/([^/]+)/", ports[1]):
                found[address[1], int(number)] = state
        if address and (rest := re.search(r"Ignored State: (\S+)", line)):
            found[address[1], -1] = rest[1]
    return found


def by_pync(processes: Processes, host: Host, *words: str) -> dict[tuple[str, int], str]:
    result = processes.spawn(*PYNC, "scan", *words, "--all", "--json", "-n", host=host).wait(within=120)
    assert result.code in (0, 1), result.err
    lines = [json.loads(line) for line in result.out.decode().splitlines()]
    ports = [line for line in lines if line["event"] == "port"]
    found = {(line["address"], line["port"]): line["state"] for line in ports}
    assert len(found) == len(ports), "a port was reported twice"
    return found


def assert_same(ours: dict[tuple[str, int], str], theirs: dict[tuple[str, int], str]) -> None:
    for (address, port), state in ours.items():
        assert state == theirs.get((address, port), theirs.get((address, -1))), f"{address}:{port}"


@pytest.mark.parametrize("seed", range(2))
def test_tcp_verdicts_are_those_of_nmap(
    seed: int, hosts: tuple[Host, Host], processes: Processes, need: Callable[[str], str]
) -> None:
    need("nmap")
    here, there = hosts
    dice = random.Random(seed)
    ports = dice.sample(range(1, 20_000), 60)
    start(
        processes,
        there,
        open=[(there.ipv4, port) for port in ports[:20]],
        hole=[(there.ipv4, port) for port in ports[20:26]],
    )
    here.run("ip", "route", "add", "10.50.0.0/24", "via", there.ipv4)
    words = ",".join(map(str, sorted(ports)))
    # There, an address that nobody has behind a router that drops, and one that nobody has on the wire.
    targets = (there.ipv4, "10.50.0.9", "10.99.0.77")
    ours = by_pync(processes, here, *targets, "-p", words)
    theirs = by_nmap(processes, here, "-sT", "-T4", "--max-retries", "1", "-p", words, *targets)
    assert len(ours) == 3 * 60
    assert_same(ours, theirs)
    assert sum(state == "open" for state in ours.values()) == 20
    assert {ours[there.ipv4, port] for port in ports[20:26]} == {"filtered"}


def test_udp_verdicts_are_those_of_nmap(
    hosts: tuple[Host, Host], processes: Processes, need: Callable[[str], str]
) -> None:
    need("nmap")
    here, there = hosts
    for name in ("icmp_ratelimit=0", "icmp_msgs_per_sec=100000"):
        try:
            there.run("sysctl", "-w", f"net.ipv4.{name}")
        except OSError:  # not in every namespace of every kernel
            continue
    dice = random.Random(7)
    ports = dice.sample(range(10_000, 20_000), 30)
    start(
        processes,
        there,
        answer=[(there.ipv4, port) for port in ports[:6]],
        mute=[(there.ipv4, port) for port in ports[6:10]],
    )
    words = ",".join(map(str, sorted(ports)))
    ours = by_pync(processes, here, there.ipv4, "-u", "-p", words)
    theirs = by_nmap(processes, here, "-sU", "-T4", "--data-length", "4", "-p", words, there.ipv4)
    assert_same(ours, theirs)
    assert sum(state == "open" for state in ours.values()) == 6


def test_reasons_of_routers_are_told_apart(hosts: tuple[Host, Host], processes: Processes) -> None:
    here, there = hosts
    there.run("sysctl", "-w", "net.ipv4.ip_forward=1")
    try:
        there.run("sysctl", "-w", "net.ipv4.icmp_ratelimit=0")
        there.run("sysctl", "-w", "net.ipv4.route.error_cost=0")
    except OSError:
        pass  # then the second and third message come later, and so do we
    there.run("ip", "route", "add", "prohibit", "10.60.0.1")
    here.run("ip", "route", "add", "10.60.0.0/24", "via", there.ipv4)
    result = processes.spawn(
        *PYNC, "scan", "10.60.0.1", "203.0.113.1", "-p", "80,U:80", "--all", "--json", host=here
    ).wait(within=60)
    events = [json.loads(line) for line in result.out.decode().splitlines()]
    reasons = {(e["address"], e["proto"]): (e["state"], e["reason"]) for e in events if e["event"] == "port"}
    assert reasons["10.60.0.1", "tcp"] == ("filtered", "admin prohibited")
    assert reasons["10.60.0.1", "udp"] == ("filtered", "admin prohibited")
    assert reasons["203.0.113.1", "tcp"] == reasons["203.0.113.1", "udp"] == ("filtered", "net unreachable")
    assert result.code == 1


def test_scoped_addresses(hosts: tuple[Host, Host], processes: Processes) -> None:
    here, there = hosts
    shown = there.run("ip", "-6", "-o", "addr", "show", "dev", there.device, "scope", "link")
    if not (found := re.search(r"inet6 (\S+)/", shown)):
        pytest.skip("no link-local address here")
    there.run("ip", "-6", "addr", "change", f"{found[1]}/64", "dev", there.device, "nodad")
    server = processes.spawn(*PYNC, "listen", "-k", "[::]:7777", host=there)
    server.expect("listening")
    word = f"[{found[1]}%{here.device}]:7777"
    # Waiting first: the address on this side may still be tentative.
    assert processes.spawn(*PYNC, "scan", word, "--wait", "10s", "-q", host=here).wait(within=30).code == 0
    result = processes.spawn(*PYNC, "scan", word, "--grepable", host=here).wait(within=30)
    assert (result.code, result.out.decode().strip()) == (0, word)
