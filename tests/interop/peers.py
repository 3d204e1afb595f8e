"""How the other netcats are told to listen and to connect, and what each of them cannot do."""

from __future__ import annotations

from typing import NamedTuple

from tests.harness import Process, Processes

LOOPBACK = {"tcp4": "127.0.0.1", "tcp6": "::1"}


class Peer(NamedTuple):
    program: str
    listen: tuple[str, ...]  # HOST stands for the address; port 0 is asked for where that is understood
    connect: tuple[str, ...]  # HOST and PORT
    sending: tuple[str, ...] = ()  # options it needs to end once all is sent
    families: tuple[str, ...] = ("tcp4", "tcp6")
    # The roles in which it goes on sending after our FIN; in the others it drops what it has not sent yet.
    half_close: tuple[str, ...] = ()


PEERS = {
    "nc.openbsd": Peer(
        "nc.openbsd",
        ("nc.openbsd", "-N", "-l", "HOST", "0"),
        ("nc.openbsd", "-N", "HOST", "PORT"),
        half_close=("connect",),
    ),
    "nc.traditional": Peer(
        "nc.traditional",
        ("nc.traditional", "-l", "-s", "HOST"),
        ("nc.traditional", "HOST", "PORT"),
        sending=("-q", "0"),
        families=("tcp4",),
    ),
    "ncat": Peer("ncat", ("ncat", "-l", "HOST", "0"), ("ncat", "HOST", "PORT"), half_close=("connect",)),
    "socat": Peer(
        "socat",
        ("socat", "-t", "30", "FAMILY-LISTEN:0,bind=HOST", "-"),
        ("socat", "-t", "30", "FAMILY:HOST:PORT", "-"),
        half_close=("listen", "connect"),
    ),
    "busybox": Peer(
        "busybox",
        ("busybox", "nc", "-l"),
        ("busybox", "nc", "HOST", "PORT"),
        families=("tcp4",),
    ),
}
# (our role, the peer, family)
CASES = [
    (we, name, family)
    for we in ("listen", "connect")
    for name, peer in PEERS.items()
    for family in peer.families
]


def half_closes(we: str, name: str) -> bool:
    return ("connect" if we == "listen" else "listen") in PEERS[name].half_close


def words(template: tuple[str, ...], family: str, port: int = 0) -> list[str]:
    host = LOOPBACK[family]
    if template[0] == "socat" and family == "tcp6":
        host = f"[{host}]"
    names = {"FAMILY": family.upper(), "HOST": host, "PORT": str(port)}
    filled = []
    for word in template:
        for name, value in names.items():
            word = word.replace(name, value)
        filled.append(word)
    return filled


def peer_listens(processes: Processes, name: str, family: str, *options: str, **popen: object) -> Process:
    program, *rest = words(PEERS[name].listen, family)
    process = processes.spawn(program, *options, *rest, **popen)
    process.bound()
    return process


def peer_connects(
    processes: Processes, name: str, family: str, port: int, *options: str, **popen: object
) -> Process:
    program, *rest = words(PEERS[name].connect, family, port)
    return processes.spawn(program, *options, *rest, **popen)
