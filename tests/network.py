"""The network as the kernel tells of it, and two hosts on one machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path


# the kernel's socket tables
def _inodes(pid: int) -> set[str]:
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                link = os.readlink(entry.path)
                if link.startswith("socket:["):
                    inodes.add(link[8:-1])
    return inodes


def bound_ports(pid: int, kind: str) -> set[int]:
    """Ports on which a process listens (`tcp`) or which it has bound (`udp`)."""
    inodes = _inodes(pid)
    ports = set()
    for table in (kind, kind + "6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in inodes and (kind == "udp" or fields[3] == "0A"):
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports - {0}


def unix_sockets() -> set[str]:
    """Paths of all bound Unix sockets."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {fields[7] for line in lines if len(fields := line.split(None, 7)) == 8}


def free_port(kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """A port nobody had a moment ago, for programs that cannot be told 0 (and for "connection refused")."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])


def has_ipv6() -> bool:
    try:
        free_port(host="::1")
    except OSError:
        return False
    return True


# two hosts on one machine
class Host:
    """A network namespace with an address on a wire to the other one."""

    def __init__(self, name: str, device: str, ipv4: str, ipv6: str) -> None:
        self.name = name
        self.device = device
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.prefix = ("ip", "netns", "exec", name)

    def run(self, *argv: str) -> str:
        """A command inside, such as `ip link set ... down` or `sysctl -w ...`; its stdout."""
        return command(*self.prefix, *argv)


def command(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


_wires = itertools.count()


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two namespaces joined by a veth pair: 10.99.0.1 - 10.99.0.2, fd99::1 - fd99::2.

    Raises OSError where that is not allowed. The addresses repeat from pair to pair: namespaces do not
    see each other.
    """
    tag = f"{os.getpid():x}-{next(_wires)}"
    names = (f"pync-{tag}-a", f"pync-{tag}-b")
    made: list[str] = []
    try:
        for name in names:
            command("ip", "netns", "add", name)
            made.append(name)
        command(
            "ip",
            "link",
            "add",
            "wire",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            "wire",
            "netns",
            names[1],
        )
        hosts = tuple(Host(name, "wire", f"10.99.0.{i}", f"fd99::{i}") for i, name in enumerate(names, 1))
        for host in hosts:
            host.run("ip", "addr", "add", f"{host.ipv4}/24", "dev", "wire")
            with contextlib.suppress(OSError):  # a kernel without IPv6
                host.run("ip", "addr", "add", f"{host.ipv6}/64", "dev", "wire", "nodad")
            host.run("ip", "link", "set", "lo", "up")
            host.run("ip", "link", "set", "wire", "up")
        yield hosts[0], hosts[1]
    finally:
        for name in made:
            command("ip", "netns", "del", name)
