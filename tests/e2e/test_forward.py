"""`listen --forward` (CLI contract 5)."""

import select
import socket

import pytest

from tests.e2e.sessions import MOMENT, closed_at_once, is_reset, one_line, read_exactly, read_to_end, reset
from tests.harness import PATIENCE, free_port, pattern

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


@pytest.mark.parametrize(
    ("over", "leave"), [("tcp", socket.socket.close), ("unix", socket.socket.close), ("tcp", reset)]
)
def test_forward_passes_the_targets_reset_on(sessions, mover, over, leave):
    """A target that closes with a request unread resets too; the client's place is free again."""
    target, words = sessions.listener(over)
    process, client = sessions.listen("-k", "-m", "1", "-v", "--forward", words[0])
    inner = sessions.keep(target.accept()[0])
    client.sendall(b"request")
    assert select.select([inner], [], [], PATIENCE)[0]
    inner.sendall(b"413")
    assert read_exactly(client, 3) == b"413"
    leave(inner)
    assert is_reset(client)
    process.expect("closed .*connection reset by peer")
    again = sessions.client(process)
    while again in select.select([target, again], [], [], PATIENCE)[0]:
        again = sessions.client(process)  # it came in the very moment in which the place was given back
    sessions.keep(target.accept()[0]).sendall(b"again")
    assert read_exactly(again, 5) == b"again"


def test_a_target_that_resets_while_much_is_sent_to_it(sessions, mover):
    target, words = sessions.listener()
    process, client = sessions.listen("--forward", words[0])
    inner = sessions.keep(target.accept()[0])
    client.setblocking(False)
    try:
        while select.select([], [client], [], MOMENT)[1]:
            client.send(DATA)
    except BlockingIOError:
        pass
    client.settimeout(PATIENCE)
    inner.sendall(b"413")
    inner.close()
    assert read_exactly(client, 3) == b"413"
    assert is_reset(client)
    done = process.wait()
    assert done.code == 1
    assert one_line(done.err) == f"pync: {words[0]}: connection reset by peer"


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
