"""`listen --forward` (CLI contract 5)."""

import socket

import pytest

from tests.e2e.sessions import closed_at_once, read_exactly, read_to_end, reset
from tests.harness import free_port, pattern

DATA = pattern(500_000)


def test_forward_to_tcp_carries_half_close(sessions):
    target, words = sessions.listener()
    process, client = sessions.listen("--forward", words[0])
    inner = sessions.keep(target.accept()[0])
    client.sendall(DATA)
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(inner) == DATA
    inner.sendall(DATA[::-1])
    inner.close()
    assert read_to_end(client) == DATA[::-1]
    done = process.wait()
    assert (done.code, done.out) == (0, b"")


def test_forward_to_a_unix_socket(sessions):
    target, words = sessions.listener("unix")
    process, client = sessions.listen("--forward", words[0])
    inner = sessions.keep(target.accept()[0])
    client.sendall(b"in")
    assert read_exactly(inner, 2) == b"in"
    inner.sendall(b"out")
    inner.close()
    assert read_to_end(client) == b"out"
    client.close()
    assert process.wait().code == 0


def test_forward_passes_resets_on(sessions):
    target, words = sessions.listener()
    process, client = sessions.listen("-k", "--forward", words[0])
    inner = sessions.keep(target.accept()[0])
    client.sendall(b"x")
    assert read_exactly(inner, 1) == b"x"
    reset(client)
    with pytest.raises(ConnectionResetError):
        read_to_end(inner)
    assert process.popen.poll() is None


def test_a_target_that_is_down_costs_only_that_client(sessions):
    port = free_port()
    process = sessions.processes.listen("-k", "-v", "--forward", f"127.0.0.1:{port}", "127.0.0.1", "0")
    assert closed_at_once(sessions.client(process))
    process.expect("refused")
    with socket.create_server(("127.0.0.1", port)) as target:
        target.settimeout(20)
        client = sessions.client(process)
        inner = sessions.keep(target.accept()[0])
        inner.sendall(b"up")
        assert read_exactly(client, 2) == b"up"


def test_forward_of_datagrams_has_a_session_for_each_peer(sessions):
    target = sessions.processes.listen("-u", "-k", "--echo", "127.0.0.1", "0")
    process = sessions.processes.listen(
        "-u", "-k", "--forward", f"udp://127.0.0.1:{target.port}", "127.0.0.1", "0"
    )
    clients = [sessions.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
    for number, client in enumerate(clients):
        client.connect(("127.0.0.1", process.port))
        client.send(b"client %d" % number)
    assert [client.recv(100) for client in clients] == [b"client %d" % n for n in range(3)]
