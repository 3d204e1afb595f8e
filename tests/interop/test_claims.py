"""The exit statuses that the README's table gives for other netcats, and ours."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading

import pytest

from tests.harness import PATIENCE, PYNC, pattern

CLIENTS = {
    "pync": (*PYNC, "connect", "127.0.0.1", "PORT"),
    "nc.openbsd": ("nc.openbsd", "127.0.0.1", "PORT"),
    "ncat": ("ncat", "127.0.0.1", "PORT"),
    "socat": ("socat", "-", "TCP:127.0.0.1:PORT"),
}
DATA = pattern(1000)


def against_server(processes, need, name, *, reset, **options):
    """The client after a server sent it 1000 bytes and then closed or reset the connection."""
    if name != "pync":
        need(name)
    read = threading.Event()

    def serve():
        client, _ = server.accept()
        with client:
            client.sendall(DATA)
            if reset:
                read.wait(PATIENCE)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        port = str(server.getsockname()[1])
        words = [port if word == "PORT" else word.replace("PORT", port) for word in CLIENTS[name]]
        process = processes.spawn(*words, stdin=subprocess.DEVNULL, **options)
        if reset:
            process.expect_bytes(len(DATA))
            read.set()
        done = process.wait()
        thread.join()
    return done


@pytest.mark.parametrize(("name", "code"), [("pync", 1), ("nc.openbsd", 0), ("ncat", 1), ("socat", 0)])
def test_a_reset_by_the_peer(processes, need, name, code):
    assert against_server(processes, need, name, reset=True)[:2] == (code, DATA)


@pytest.mark.parametrize(("name", "code"), [("pync", 2), ("nc.openbsd", 0), ("ncat", 2), ("socat", 1)])
def test_a_full_disk_behind_stdout(processes, need, name, code):
    with open("/dev/full", "wb") as full:
        assert against_server(processes, need, name, reset=False, stdout=full).code == code
