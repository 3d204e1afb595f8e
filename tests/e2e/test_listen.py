"""What only listen has (CLI contract 5), one client or a few."""

import os
import signal
import socket
import subprocess

import pytest

from tests.e2e.sessions import (
    closed_at_once,
    echoes,
    flood,
    is_reset,
    is_running,
    one_line,
    read_exactly,
    read_to_end,
    reset,
    silent,
)
from tests.harness import pattern

DATA = pattern(500_000)


@pytest.mark.parametrize("option", [(), ("-u",)])
def test_source_is_the_address_of_a_port_alone(processes, option):
    """Who says `-s 127.0.0.1` must not be reachable from elsewhere."""
    process = processes.listen(*option, "-s", "127.0.0.1", "0")
    process.expect(f"listening on 127.0.0.1:{process.port}")
    process.signal(signal.SIGTERM)
    assert process.wait().err.count("listening on ") == 1


@pytest.mark.parametrize("words", [("-s", "127.0.0.1", "127.0.0.2:0"), ("-p", "9000", "127.0.0.1:0")])
def test_a_source_that_contradicts_the_endpoint_is_2(processes, words):
    done = processes.run("listen", *words)
    assert done.code == 2
    assert "contradicts the endpoint" in one_line(done.err)


# -k, --count, --max-conns


def test_clients_are_served_at_the_same_time(sessions):
    process = sessions.processes.listen("-k", "--echo", "127.0.0.1", "0")
    clients = [sessions.client(process) for _ in range(10)]
    for turn in range(3):
        for number, client in enumerate(clients):
            client.sendall(b"%d/%d" % (turn, number))
        for number, client in enumerate(clients):
            assert read_exactly(client, 3) == b"%d/%d" % (turn, number)


def test_a_stuck_client_delays_nobody(sessions):
    process = sessions.processes.listen("-k", "--echo", "127.0.0.1", "0")
    stuck = sessions.client(process)
    stuck.settimeout(0.3)
    with pytest.raises(TimeoutError):
        flood(stuck)
    other = sessions.client(process)
    other.sendall(b"ping")
    assert read_exactly(other, 4) == b"ping"


def test_count_ends_with_zero_after_that_many(sessions):
    process = sessions.processes.listen("--count", "3", "127.0.0.1", "0")
    for word in (b"a", b"b", b"c"):
        client = sessions.client(process)
        client.sendall(word)
        process.expect_out(word.decode())
        client.close()
    done = process.wait()
    assert (done.code, done.out) == (0, b"abc")


def test_one_client_more_than_max_conns_is_closed_at_once(sessions):
    process = sessions.processes.listen("-k", "-m", "2", "--echo", "-v", "127.0.0.1", "0")
    clients = [sessions.client(process) for _ in range(2)]
    for client in clients:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
    assert closed_at_once(sessions.client(process))
    process.expect("127.0.0.1")
    clients[0].shutdown(socket.SHUT_WR)
    assert read_to_end(clients[0]) == b""
    process.until(lambda: echoes(sessions, process), "a place to be free again")


@pytest.mark.parametrize("service", [("--echo",), ("-e", "/bin/cat")], ids=["echo", "exec"])
def test_whoever_comes_right_after_another_ended_is_served(sessions, service):
    process = sessions.processes.listen("-k", "-m", "1", *service, "127.0.0.1", "0")
    for _ in range(100):
        client = sessions.client(process)
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"x"


def test_max_conns_0_turns_everybody_away(sessions):
    process = sessions.processes.listen("-k", "-m", "0", "127.0.0.1", "0")
    for _ in range(3):
        assert closed_at_once(sessions.client(process))
    assert process.popen.poll() is None


def test_a_reset_of_one_client_leaves_the_others(sessions):
    process = sessions.processes.listen("-k", "--echo", "127.0.0.1", "0")
    first, second = sessions.client(process), sessions.client(process)
    second.sendall(b"1")
    assert read_exactly(second, 1) == b"1"
    first.sendall(b"x")
    reset(first)
    second.sendall(b"2")
    assert read_exactly(second, 1) == b"2"


def test_idle_timeout_is_per_client_and_does_not_end_a_keeper(sessions):
    process = sessions.processes.listen("-k", "--echo", "-i", "300ms", "127.0.0.1", "0")
    idle = sessions.client(process)
    assert closed_at_once(idle)
    busy = sessions.client(process)
    busy.sendall(b"z")
    assert read_exactly(busy, 1) == b"z"


# --stdin


def test_stdin_goes_to_all_clients_by_default(sessions):
    process = sessions.processes.listen("-k", "127.0.0.1", "0")
    clients = [sessions.client(process) for _ in range(3)]
    for client in clients:
        client.sendall(b"x")
    process.expect_bytes(3)
    process.write(b"to all")
    assert [read_exactly(client, 6) for client in clients] == [b"to all"] * 3


def test_stdin_first_goes_to_the_first_client(sessions):
    process = sessions.processes.listen("-k", "--stdin", "first", "127.0.0.1", "0")
    first = sessions.client(process)
    first.sendall(b"x")
    process.expect_bytes(1)
    second = sessions.client(process)
    second.sendall(b"x")
    process.expect_bytes(2)
    process.write(b"for the first")
    assert read_exactly(first, 13) == b"for the first"
    assert silent(second)


def test_stdin_none_is_not_read(sessions, tmp_path):
    (tmp_path / "source").write_bytes(b"left alone")
    with (tmp_path / "source").open("rb") as stdin:
        process = sessions.processes.listen("-k", "--stdin", "none", "127.0.0.1", "0", stdin=stdin)
        client = sessions.client(process)
        client.sendall(b"x")
        process.expect_out("x")
        client.close()
        process.signal(signal.SIGTERM)
        process.wait()
        assert os.lseek(stdin.fileno(), 0, os.SEEK_CUR) == 0


# outputs


def test_output_dir_has_a_file_for_each_client(sessions, tmp_path):
    directory = tmp_path / "out"
    directory.mkdir()
    process = sessions.processes.listen("--count", "3", "--output-dir", directory, "127.0.0.1", "0")
    payloads = {b"first", b"second", DATA}
    for payload in payloads:
        with sessions.client(process) as client:
            client.sendall(payload)
    done = process.wait()
    assert (done.code, done.out) == (0, b"")
    files = list(directory.iterdir())
    assert {file.read_bytes() for file in files} == payloads
    assert all("127.0.0.1" in file.name for file in files)


def test_whole_reads_of_clients_share_stdout_unbroken(sessions):
    process = sessions.processes.listen("--count", "8", "127.0.0.1", "0", stdin=subprocess.DEVNULL)
    clients = [sessions.client(process) for _ in range(8)]
    for _ in range(50):
        for number, client in enumerate(clients):
            client.sendall(b"client %d says hello\n" % number)
    for client in clients:
        client.close()
    lines = process.wait().out.splitlines()
    assert sorted(set(lines)) == [b"client %d says hello" % n for n in range(8)]
    assert len(lines) == 400


# readiness


def test_port_file_appears_whole_with_the_port_alone(sessions, tmp_path):
    port_file = tmp_path / "port"
    process = sessions.processes.pync("listen", "--port-file", port_file, "127.0.0.1", "0")
    text = process.until(lambda: port_file.exists() and port_file.read_text(), "the port file")
    peer = sessions.keep(socket.create_connection(("127.0.0.1", int(text)), 20))
    assert text == f"{int(text)}\n"
    peer.close()
    assert process.finish().code == 0
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("port")] == ["port"]


def test_ready_fd_gets_one_newline_and_is_closed(processes):
    reader, writer = os.pipe()
    try:
        process = processes.pync("listen", "--ready-fd", str(writer), "127.0.0.1", "0", pass_fds=(writer,))
        os.close(writer)
        assert os.read(reader, 10) == b"\n"
        assert os.read(reader, 10) == b""
        assert process.popen.poll() is None
    finally:
        os.close(reader)


def test_address_in_use_is_2_and_reusable_after_its_end(sessions):
    process, peer = sessions.listen()
    port = process.port
    peer.close()
    assert process.finish().code == 0
    again = sessions.processes.listen("127.0.0.1", str(port))
    assert again.port == port


def test_reuse_port_shares_a_port(processes):
    first = processes.listen("--reuse-port", "127.0.0.1", "0")
    second = processes.listen("--reuse-port", "127.0.0.1", str(first.port))
    assert first.port == second.port
    done = processes.run("listen", "127.0.0.1", str(first.port))
    assert done.code == 2


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(sessions, tmp_path):
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    process = sessions.listen_at(f"unix:{path}", stdin=subprocess.DEVNULL)
    done = sessions.processes.run("listen", f"unix:{path}")
    assert done.code == 2
    assert "in use" in one_line(done.err)
    assert sessions.processes.run("connect", f"unix:{path}", input=b"x").code == 0
    assert process.wait()[:2] == (0, b"x")
    assert not path.exists()


def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(processes, tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    assert processes.run("listen", f"unix:{path}").code == 2
    assert path.read_text() == "precious"


# programs, built-in services


def test_exec_for_each_client_at_once(sessions):
    process = sessions.processes.listen("-k", "-e", "cat", "127.0.0.1", "0")
    clients = [sessions.client(process) for _ in range(4)]
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    assert [read_exactly(client, 1) for client in clients] == [b"0", b"1", b"2", b"3"]
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    process.until(lambda: not process.children(), "the children to be reaped")


def test_children_are_ended_with_the_listener(sessions):
    process = sessions.processes.listen("-k", "--grace", "100ms", "-c", "trap '' TERM; cat", "127.0.0.1", "0")
    client = sessions.client(process)
    client.sendall(b"x")
    assert read_exactly(client, 1) == b"x"
    children = process.children()
    assert children
    process.signal(signal.SIGTERM)
    assert process.wait().code == -signal.SIGTERM
    for child in children:
        assert not is_running(child)


def test_echo(sessions):
    process, peer = sessions.listen("--echo", stdin=subprocess.DEVNULL)
    peer.sendall(DATA[:50_000])
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == DATA[:50_000]
    done = process.wait()
    assert (done.code, done.out) == (0, b"")


def test_discard(sessions):
    process, peer = sessions.listen("--discard", stdin=subprocess.DEVNULL)
    peer.sendall(DATA)
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == b""
    done = process.wait()
    assert (done.code, done.out) == (0, b"")


# stopping


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_keeper_stops_by_a_signal_and_says_so(sessions, signum):
    process = sessions.processes.listen("-k", "--grace", "100ms", "127.0.0.1", "0")
    client = sessions.client(process)
    client.sendall(b"kept")
    process.expect_out("kept")
    process.signal(signum)
    done = process.wait()
    assert (done.code, done.out) == (-signum, b"kept")
    assert "Traceback" not in done.err


def test_clients_may_finish_within_the_grace(sessions):
    process = sessions.processes.listen("-k", "--grace", "20s", "--echo", "127.0.0.1", "0")
    client = sessions.client(process)
    client.sendall(b"a")
    assert read_exactly(client, 1) == b"a"
    process.signal(signal.SIGTERM)
    process.until(lambda: refused(process.port), "the port to be closed")
    client.sendall(b"b")
    assert read_exactly(client, 1) == b"b"
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == b""
    assert process.wait().code == -signal.SIGTERM


@pytest.mark.parametrize("options", [(), ("--broker",)])
def test_last_words_within_the_grace_are_written(sessions, options):
    process = sessions.processes.listen("-k", "--grace", "20s", *options, "127.0.0.1", "0")
    client = sessions.client(process)
    client.sendall(b"first and ")
    process.expect_out("first and ")
    process.signal(signal.SIGTERM)
    assert read_to_end(client) == b""
    client.sendall(b"last words")
    client.close()
    assert process.wait()[:2] == (-signal.SIGTERM, b"first and last words")


def test_clients_of_a_keeper_whose_stdout_is_full_are_reset(sessions):
    with open("/dev/full", "wb") as full:
        process = sessions.processes.listen("-k", "127.0.0.1", "0", stdout=full)
    client = sessions.client(process)
    client.sendall(b"x")
    assert is_reset(client)
    done = process.wait()
    assert done.code == 2
    assert done.err.count("no space left") == 1, done.err


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 20).close()
    except OSError:
        return True
    return False
