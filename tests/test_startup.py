"""What plain commands import: a netcat is called in loops, and these modules cost more than all the rest.

The list comes from the interpreter itself (`-X importtime`), in a real run without site-packages, so that a
plain call needs no installed library at all.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
from contextlib import contextmanager

import pytest

from tests import harness

HEAVY = {
    *("typer", "click", "rich", "asyncio", "ssl", "dataclasses", "inspect", "logging", "argparse"),
    *("subprocess", "json", "pathlib", "tempfile", "shutil", "threading", "concurrent", "email", "ipaddress"),
    *("cryptography", "xxhash", "zstandard", "blake3", "spake2", "python_socks"),
}


def imported(err: str) -> set[str]:
    """Top-level names of all modules that `-X importtime` reports."""
    found = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", err, re.MULTILINE)
    assert found, err
    return {name.split(".")[0] for name in found}


def spawn(processes, *arguments, **options):
    return processes.spawn(sys.executable, "-S", "-X", "importtime", "-m", "pync", *arguments, **options)


def check(process, code=0, data=b""):
    done = process.finish(data)
    assert done.code == code, done.err
    assert not imported(done.err) & HEAVY
    assert "pync.portable" not in done.err, "what plays a missing call is imported where nothing is missing"
    return done


@contextmanager
def answering(kind=socket.SOCK_STREAM):
    """A server on loopback that sends each client its first bytes back, then ends."""
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            server.listen()

        def serve():
            if kind == socket.SOCK_DGRAM:
                data, peer = server.recvfrom(100)
                server.sendto(data, peer)
                return
            client, _ = server.accept()
            with client:
                client.sendall(client.recv(100))

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(server.getsockname()[1])
        thread.join()


@pytest.mark.parametrize("extra", [(), ("-v",), ("-n", "-4", "-w", "5"), ("--json",)])
def test_connect_imports_nothing_heavy(processes, extra):
    with answering() as port:
        allowed = {"json"} if "--json" in extra else set()
        done = spawn(processes, "connect", *extra, "127.0.0.1", port).finish(b"hello")
        assert (done.code, done.out) == (0, b"hello"), done.err
        assert imported(done.err) & HEAVY <= allowed


def test_a_transfer_imports_little_more_than_its_digest(processes, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    tell = (sys.executable, "-X", "importtime", "-m", "pync")  # with site-packages: xxhash is there
    plain = {"PYTHONPATH": str(harness.ROOT)}  # without what the tests themselves have told
    receiver = processes.spawn(*tell, "recv", "-o", f"{tmp_path}/out", "127.0.0.1:0", env=plain)
    sender = processes.spawn(*tell, "send", f"127.0.0.1:{receiver.bound()}", str(path), env=plain)
    for process in (sender, receiver):
        done = process.finish()
        assert done.code == 0, done.err
        ours = done.err[done.err.index(" pync.errors\n") :]  # not what site-packages import by themselves
        assert not imported(ours) & (HEAVY - {"xxhash"} | {"typing", "re", "hashlib"})


def test_udp_connect_imports_nothing_heavy(processes):
    with answering(socket.SOCK_DGRAM) as port:
        process = spawn(processes, "connect", "-u", "--quit-after", "0.1", "127.0.0.1", port)
        assert check(process, data=b"hello").out == b"hello"


def test_zero_imports_nothing_heavy(processes):
    with socket.create_server(("127.0.0.1", 0)) as server:
        check(spawn(processes, "connect", "-z", "127.0.0.1", str(server.getsockname()[1])))


def test_a_refused_connect_imports_nothing_heavy(processes, free_port):
    done = check(spawn(processes, "connect", "127.0.0.1", str(free_port)), code=1)
    assert f"pync: connect 127.0.0.1:{free_port}: connection refused\n" in done.err


@pytest.mark.parametrize("extra", [(), ("-k", "--count", "1"), ("--echo",)])
def test_listen_imports_nothing_heavy(processes, extra):
    process = spawn(processes, "listen", *extra, "127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", process.bound())) as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        done = check(process)
        assert done.out == (b"" if extra == ("--echo",) else b"hello")


def test_unix_imports_nothing_heavy(processes, tmp_path):
    path = tmp_path / "socket"
    listener = spawn(processes, "listen", f"unix:{path}")
    listener.bound_path(path)
    client = spawn(processes, "connect", f"unix:{path}")
    client.write(b"hello")
    client.close_stdin()
    assert check(listener).out == b"hello"
    check(client)


def test_scan_imports_nothing_heavy(processes):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert str(port).encode() in check(spawn(processes, "scan", "127.0.0.1", "-p", str(port))).out


def test_import_pync_imports_only_itself(processes):
    done = processes.spawn(sys.executable, "-S", "-X", "importtime", "-c", "import pync").finish()
    before = processes.spawn(sys.executable, "-S", "-X", "importtime", "-c", "pass").finish()
    assert imported(done.err) - imported(before.err) <= {"pync", "__future__"}
