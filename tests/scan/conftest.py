"""Listeners, and a network of a test's own: scans of whole ranges must not meet what runs beside."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scan.engine import listening

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Alone:
    """This thread's network, where nobody but the test listens."""

    def lend(self, low: int, high: int) -> None:
        """The ports that the system lends to sockets which ask for none."""
        _PORT_RANGE.write_text(f"{low} {high}")


@pytest.fixture
def alone() -> Iterator[Alone]:
    """The test runs in a network namespace that has a loopback and nothing else; needs root.

    The namespace is that of this thread, and of threads and processes it starts meanwhile.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or not hasattr(libc, "setns"):
        pytest.skip("no network namespaces on this system")
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET):
            pytest.skip(f"network namespaces need root: {os.strerror(ctypes.get_errno())}")
        try:
            _loopback_up()
            yield Alone()
        finally:
            assert libc.setns(before, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(before)


def _loopback_up() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def listeners(stack: ExitStack) -> Callable[[int], list[int]]:
    """`listeners(3)`: ports on 127.0.0.1 where somebody listens."""

    def start(number: int, host: str = "127.0.0.1") -> list[int]:
        return sorted(stack.enter_context(listening(host)).getsockname()[1] for _ in range(number))

    return start
