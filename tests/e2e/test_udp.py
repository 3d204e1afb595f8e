"""UDP and Unix datagrams (CLI contract 3.3, 5): boundaries, empty ones, no EOF, a client each with -k."""

import os
import signal
import socket
import subprocess
import time

import pytest

from tests.e2e.sessions import MOMENT, one_line, silent
from tests.harness import PATIENCE, free_port, pattern

LARGEST = 65_507
SIZES = [1, 0, 1400, 1400, 1400, 700, 0, 0, 9000, LARGEST, 1]

pytestmark = pytest.mark.usefixtures("mover")


class Datagrams:
    """A datagram socket of the test, and `pync` at the other end of it."""

    def __init__(self, sessions, scratch):
        self._sessions = sessions
        self._scratch = scratch

    def socket(self, host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = self._sessions.keep(socket.socket(family, socket.SOCK_DGRAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((host, 0))
        return sock

    def connect(self, *options, **popen):
        """(process, peer): the peer knows our address once something came."""
        peer = self.socket()
        process = self._sessions.processes.pync(
            "connect", "-u", *options, f"127.0.0.1:{peer.getsockname()[1]}", **popen
        )
        return process, peer

    def listen(self, *options, **popen):
        """(process, client): the client is connected to the port."""
        process = self._sessions.processes.listen("-u", *options, "127.0.0.1", "0", **popen)
        return process, self.client(process)

    def client(self, process):
        client = self.socket()
        client.connect(("127.0.0.1", process.port))
        return client

    def unix(self, name):
        sock = self._sessions.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        sock.bind(f"{self._scratch}/{name}")
        return sock


@pytest.fixture
def datagrams(sessions, tmp_path):
    return Datagrams(sessions, tmp_path)


def from_terminal_like_reads(process, payloads, peer):
    """One write, seen by the peer before the next, so that each read of stdin is one of them."""
    for payload in payloads:
        process.write(payload)
        assert peer.recv(1 << 17) == payload


# boundaries


def test_one_read_of_stdin_is_one_datagram(datagrams):
    process, peer = datagrams.connect()
    from_terminal_like_reads(process, [b"one", b"second one", b"x" * 4096], peer)
    process.close_stdin()
    assert process.wait().code == 0


def test_a_large_input_is_cut_at_the_largest_datagram(datagrams, tmp_path):
    data = pattern(LARGEST * 3 + 100)
    source = tmp_path / "source"
    source.write_bytes(data)
    with source.open("rb") as stdin:
        process, peer = datagrams.connect("--quit-after", "0.1", stdin=stdin)
        received = []
        while sum(map(len, received)) < len(data):
            received.append(peer.recv(1 << 17))
        assert process.wait().code == 0
    assert b"".join(received) == data
    assert len(received[0]) == LARGEST
    assert len(received) == 4


def test_datagram_size_cuts_smaller(datagrams, tmp_path):
    data = pattern(1400 * 50 + 13)
    source = tmp_path / "source"
    source.write_bytes(data)
    with source.open("rb") as stdin:
        process, peer = datagrams.connect("--datagram-size", "1400", "--quit-after", "0.1", stdin=stdin)
        received = [peer.recv(1 << 17) for _ in range(51)]
        assert process.wait().code == 0
    assert [len(one) for one in received] == [1400] * 50 + [13]
    assert b"".join(received) == data


@pytest.mark.parametrize("role", ["connect", "listen"])
def test_datagrams_arrive_whole_and_in_order(datagrams, role):
    process, peer = getattr(datagrams, role)()
    if role == "connect":
        process.write(b"hello")
        peer.connect(peer.recvfrom(100)[1])
    payloads = [pattern(size, seed) for seed, size in enumerate(SIZES)]
    for payload in payloads:
        peer.send(payload)
    assert process.expect_bytes(sum(SIZES)) == b"".join(payloads)
    process.signal(signal.SIGTERM)
    assert process.wait().out == b"".join(payloads)


def test_each_datagram_is_one_write_of_stdout(datagrams):
    """Seen through a datagram socket as stdout."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.settimeout(PATIENCE)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        process, client = datagrams.listen(stdout=theirs)
        payloads = [pattern(size, seed) for seed, size in enumerate(SIZES) if size]
        for payload in payloads:
            client.send(payload)
        received = [ours.recv(1 << 17) for _ in payloads]
        assert process.popen.poll() is None
    assert received == payloads


def test_an_empty_datagram_is_no_end(datagrams):
    process, client = datagrams.listen()
    client.send(b"")
    client.send(b"data")
    process.expect_out("data")
    assert process.popen.poll() is None


def test_the_first_datagram_is_not_lost(datagrams):
    process, client = datagrams.listen()
    client.send(b"first ")
    client.send(b"second")
    assert process.expect_bytes(12) == b"first second"


# no EOF


def test_after_our_input_replies_are_waited_for(datagrams):
    process, peer = datagrams.connect()
    process.write(b"question")
    process.close_stdin()
    data, address = peer.recvfrom(100)
    assert data == b"question"
    peer.sendto(b"answer", address)
    start = time.monotonic()
    done = process.wait()
    assert (done.code, done.out) == (0, b"answer")
    assert 0.5 < time.monotonic() - start < 5  # one second of silence by default


def test_replies_keep_us_waiting(datagrams):
    process, peer = datagrams.connect("--quit-after", "400ms")
    process.write(b"question")
    process.close_stdin()
    _, address = peer.recvfrom(100)
    for _ in range(4):
        assert not process.ends(0.2)
        peer.sendto(b"x", address)
    done = process.wait()
    assert (done.code, done.out) == (0, b"xxxx")


def test_a_listener_with_stdin_at_its_end_waits_for_its_peer(datagrams):
    process, client = datagrams.listen("--quit-after", "50ms", stdin=subprocess.DEVNULL)
    assert not process.ends(MOMENT)
    client.send(b"served")
    done = process.wait()
    assert (done.code, done.out) == (0, b"served")


def test_send_only_ends_at_once(datagrams):
    process, peer = datagrams.connect("--send-only")
    start = time.monotonic()
    done = process.finish(b"message")
    assert (done.code, peer.recv(100)) == (0, b"message")
    assert time.monotonic() - start < 5


# errors


def test_port_unreachable_is_1(datagrams):
    process = datagrams._sessions.processes.pync("connect", "-u", f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}")
    process.write(b"anybody?")
    done = process.wait()
    assert done.code == 1
    assert "refused" in one_line(done.err)


def test_port_unreachable_while_a_listener_sends_ends_that_client_only(datagrams):
    process, client = datagrams.listen("-k", "-v")
    other = datagrams.client(process)
    for sock in (client, other):
        sock.send(b"x")
    process.expect_bytes(2)
    client.close()
    process.write(b"to all")
    assert other.recv(100) == b"to all"
    process.write(b"again")
    assert other.recv(100) == b"again"
    assert process.popen.poll() is None


# peers


def test_without_keep_open_the_first_peer_is_the_peer(datagrams):
    process, client = datagrams.listen()
    client.send(b"first")
    process.expect_out("first")
    stranger = datagrams.client(process)
    stranger.send(b"stranger")
    assert silent(stranger)  # ignored, not refused
    client.send(b" and more")
    process.expect_out("first and more")
    process.write(b"reply")
    assert client.recv(100) == b"reply"
    assert process.out == b"first and more"


def test_with_keep_open_every_peer_is_a_client(datagrams):
    process, client = datagrams.listen("-k", "--echo")
    clients = [client] + [datagrams.client(process) for _ in range(5)]
    for number, sock in enumerate(clients):
        sock.send(b"hello %d" % number)
    assert [sock.recv(100) for sock in clients] == [b"hello %d" % n for n in range(6)]


def test_with_keep_open_stdin_goes_to_every_peer(datagrams):
    process, client = datagrams.listen("-k")
    other = datagrams.client(process)
    client.send(b"a")
    other.send(b"b")
    process.expect_bytes(2)
    process.write(b"to all")
    assert client.recv(100) == other.recv(100) == b"to all"


def test_a_broker_passes_every_datagram_on_as_it_is(datagrams):
    """Empty ones too, and each of those that the kernel hands over many at a time."""
    process, one = datagrams.listen("--broker")
    two = datagrams.client(process)
    two.send(b"here")
    process.expect_out("here")
    one.send(b"")
    assert two.recv(100) == b""
    one.setsockopt(socket.SOL_UDP, 103, 4)  # UDP_SEGMENT
    one.send(b"aaaabbbbcc")
    assert [two.recv(100) for _ in range(3)] == [b"aaaa", b"bbbb", b"cc"]
    process.expect_out("hereaaaabbbbcc$")


def test_idle_timeout_ends_a_client_quietly_and_counts_it(datagrams):
    process, client = datagrams.listen("-k", "--count", "2", "-i", "150ms")
    client.send(b"one ")
    process.expect_out("one ")
    datagrams.client(process).send(b"two")
    done = process.wait()
    assert (done.code, done.out) == (0, b"one two")
    assert [line for line in done.err.splitlines() if not line.startswith("listening on ")] == []


def test_count_turns_away_those_who_come_after_the_last(datagrams):
    process, client = datagrams.listen("-k", "--count", "1", "-i", "300ms")
    client.send(b"served")
    process.expect_out("served")
    datagrams.client(process).send(b"too late")
    done = process.wait()
    assert (done.code, done.out) == (0, b"served")


def test_replies_leave_from_the_address_that_was_hit(datagrams):
    process = datagrams._sessions.processes.listen("-u", "-4", "--echo", "0")
    client = datagrams.socket()
    for host in ("127.0.0.7", "127.0.0.1"):
        client.sendto(b"ping", (host, process.port))
        if host == "127.0.0.7":
            data, address = client.recvfrom(100)
            assert (data, address) == (b"ping", ("127.0.0.7", process.port))


def test_a_denied_peer_is_dropped_in_silence(datagrams):
    process, client = datagrams.listen("-k", "--echo", "--deny", "127.0.0.1")
    client.send(b"denied")
    assert silent(client)
    assert process.popen.poll() is None


def test_max_packets_ends_with_zero(datagrams):
    process, client = datagrams.listen("--max-packets", "3")
    for word in (b"a", b"b", b"c", b"d"):
        client.send(word)
    done = process.wait()
    assert (done.code, done.out) == (0, b"abc")


def test_zero_probes_with_a_single_nul(datagrams):
    process, peer = datagrams.connect("-z", "-v")
    data, address = peer.recvfrom(100)
    assert data == b"\0"
    peer.sendto(b"here", address)
    done = process.wait()
    assert (done.code, done.out) == (0, b"")
    assert "127.0.0.1" in done.err


def test_zero_to_a_closed_port_is_1(sessions):
    done = sessions.processes.run("connect", "-u", "-z", f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}")
    assert done.code == 1


def test_zero_waits_for_a_service_with_retry_for(datagrams):
    port = free_port(socket.SOCK_DGRAM)
    words = ("-z", "--retry-for", "20s", "--retry-delay", "10ms", "-v")
    process = datagrams._sessions.processes.pync("connect", "-u", *words, f"127.0.0.1:{port}")
    process.expect("connection refused")
    with datagrams._sessions.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as peer:
        peer.bind(("127.0.0.1", port))
        data, address = peer.recvfrom(100)
        peer.sendto(b"up", address)
        assert data == b"\0"
        assert process.wait().code == 0


def test_port_0_is_refused_by_name(datagrams):
    done = datagrams._sessions.processes.run("connect", "-u", "127.0.0.1", "0")
    assert done.code == 1
    assert one_line(done.err) == "pync: connect 127.0.0.1:0: connection refused"


def test_source_port(datagrams):
    port = free_port(socket.SOCK_DGRAM)
    process, peer = datagrams.connect("-p", str(port))
    process.write(b"x")
    assert peer.recvfrom(10)[1] == ("127.0.0.1", port)


@pytest.mark.usefixtures("ipv6")
def test_over_ipv6(datagrams):
    process = datagrams._sessions.processes.listen("-u", "--echo", "::1", "0")
    client = datagrams.socket("::1")
    client.sendto(pattern(LARGEST), ("::1", process.port))
    assert client.recv(1 << 17) == pattern(LARGEST)


def test_bulk_of_datagrams_between_two_of_us(datagrams, tmp_path):
    """Nothing lost, doubled or swapped at a pace the receiver can hold."""
    data = pattern(1400 * 2000)
    source = tmp_path / "source"
    source.write_bytes(data)
    listener = datagrams._sessions.processes.listen(
        "-u", "--max-bytes", str(len(data)), "127.0.0.1", "0", stdin=subprocess.DEVNULL
    )
    with source.open("rb") as stdin:
        done = datagrams._sessions.processes.run(
            *("connect", "-u", "--datagram-size", "1400", "--rate", "20M", "--send-only"),
            f"127.0.0.1:{listener.port}",
            stdin=stdin,
        )
    assert done.code == 0
    assert listener.wait()[:2] == (0, data)


# Unix datagrams


def test_unix_datagrams_both_ways(datagrams, tmp_path):
    peer = datagrams.unix("peer")
    process = datagrams._sessions.processes.pync("connect", f"unix-dgram:{tmp_path}/peer")
    process.write(b"question")
    data, address = peer.recvfrom(100)
    assert data == b"question"
    peer.sendto(b"answer", address)
    process.expect_out("answer")
    process.close_stdin()
    assert process.wait().code == 0


def test_unix_datagrams_spelled_with_options(datagrams, tmp_path):
    process = datagrams._sessions.listen_at(f"{tmp_path}/bound", "-U", "-u")
    client = datagrams.unix("client")
    client.connect(f"{tmp_path}/bound")
    client.send(b"hello")
    process.expect_out("hello")
    process.write(b"reply")
    assert client.recv(100) == b"reply"


def test_unix_datagram_source_path(datagrams, tmp_path):
    peer = datagrams.unix("peer")
    process = datagrams._sessions.processes.pync(
        "connect", "-s", f"unix-dgram:{tmp_path}/mine", f"unix-dgram:{tmp_path}/peer"
    )
    process.write(b"x")
    assert peer.recvfrom(10) == (b"x", f"{tmp_path}/mine")
    process.close_stdin()
    assert process.wait().code == 0
    assert not os.path.exists(f"{tmp_path}/mine")
