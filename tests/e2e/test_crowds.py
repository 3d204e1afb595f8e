"""Many clients, of which some are silent, stuck or gone: each one's trouble is its own."""

import contextlib
import os
import signal
import socket
import struct
import time

import pytest

from tests.e2e.sessions import echoes, flood, read_exactly, read_to_end, reset, silent
from tests.harness import free_port, pattern

CROWD = 400  # what the default limit of 1024 descriptors allows the test itself, beside another worker's


def memory_kib(process):
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def crowd(sessions, process, count=CROWD):
    return [sessions.client(process) for _ in range(count)]


def room(sessions, process, count):
    """So many members of a broker, each known to be in, nothing left to read."""
    members = []
    for number in range(1, count + 1):
        members.append(sessions.client(process))
        members[-1].sendall(b"?")
        process.expect_bytes(number)
    for number, member in enumerate(members, 1):
        assert read_exactly(member, count - number) == b"?" * (count - number)
    return members


def test_silent_clients_cost_little_and_nobody_waits(sessions):
    process = sessions.processes.listen("-k", "--echo", "127.0.0.1", "0")
    assert echoes(sessions, process)
    before = memory_kib(process)
    crowd(sessions, process)
    assert echoes(sessions, process)
    assert memory_kib(process) - before < CROWD * 20


def test_a_message_reaches_each_of_a_crowd(sessions):
    process = sessions.processes.listen("--broker", "127.0.0.1", "0")
    *members, last = crowd(sessions, process)
    last.sendall(b"x")  # clients are accepted in the order they came, so all of them are in
    process.expect_bytes(1)
    process.write(b"to all")
    assert read_exactly(last, 6) == b"to all"
    for member in members:
        assert read_exactly(member, 7) == b"xto all"


def test_a_reset_in_the_middle_of_a_fan_out(sessions):
    process = sessions.processes.listen("--broker", "--client-buffer", "8M", "127.0.0.1", "0")
    speaker, *others = room(sessions, process, 12)
    data = pattern(2_000_000)
    speaker.sendall(data[:1_000_000])
    for victim in others[::3]:
        reset(victim)
    speaker.sendall(data[1_000_000:])
    for number, other in enumerate(others):
        if number % 3:
            assert read_exactly(other, len(data)) == data
    assert process.popen.poll() is None


def test_a_reader_of_a_stream_that_is_slow_gets_all_of_it(sessions):
    """Slow is not stuck: nobody is cut off, nothing is lost."""
    process = sessions.processes.listen("--broker", "--client-buffer", "64K", "127.0.0.1", "0")
    speaker, quick, slow = room(sessions, process, 3)
    data = pattern(600_000)
    heard = bytearray()
    speaker.settimeout(20)
    for at in range(0, len(data), 30_000):
        speaker.sendall(data[at : at + 30_000])
        heard += read_exactly(quick, 30_000)
        if at % 60_000 == 0:
            assert read_exactly(slow, 30_000) == data[at // 2 : at // 2 + 30_000]
    rest = read_exactly(slow, len(data) // 2)
    assert heard == data
    assert rest == data[len(data) // 2 :]


def test_a_forward_target_that_never_reads_harms_only_its_client(sessions):
    target, words = sessions.listener()
    process = sessions.processes.listen("-k", "--forward", words[0], "127.0.0.1", "0")
    stuck = sessions.client(process)
    never = sessions.keep(target.accept()[0])
    stuck.settimeout(0.3)
    with pytest.raises(TimeoutError):
        flood(stuck)
    client = sessions.client(process)
    inner = sessions.keep(target.accept()[0])
    client.sendall(b"fine")
    assert read_exactly(inner, 4) == b"fine"
    assert memory_kib(process) < 60_000
    reset(never)
    with pytest.raises(OSError, match=r"."):
        read_to_end(stuck)
    inner.sendall(b"still")
    assert read_exactly(client, 5) == b"still"


def test_a_program_that_ignores_being_told_ends_anyway(sessions):
    process = sessions.processes.listen(
        "-k", "--grace", "100ms", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done", "127.0.0.1", "0"
    )
    clients = crowd(sessions, process, 3)
    process.until(lambda: len(process.children()) == 3, "the programs to start")
    children = process.children()
    start = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait().code == -signal.SIGTERM
    assert time.monotonic() - start < 5
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, 0)
            pytest.fail(f"{child} still runs")
    for client in clients:
        client.close()


@pytest.mark.parametrize("options", [("--echo",), ("--discard",), ("-c", "cat"), ()])
def test_connects_and_resets_leak_no_memory(sessions, options):
    process = sessions.processes.listen("-k", *options, "127.0.0.1", "0")

    def rounds(count):
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", process.port), 20) as client:
                client.sendall(b"x" * 100)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def descriptors():
        return len(os.listdir(f"/proc/{process.pid}/fd"))

    idle = descriptors()
    rounds(600)  # what is collected late is there by now
    process.until(lambda: descriptors() <= idle and not process.children(), "them to be over")
    before = memory_kib(process)
    rounds(600)
    process.until(lambda: descriptors() <= idle and not process.children(), "them to be over")
    # The collector comes when it likes; a buffer kept for each client would be 150 MB.
    assert memory_kib(process) - before < 600 * 40


def test_datagram_peers_come_and_go_without_a_trace(sessions):
    process = sessions.processes.listen("-u", "-k", "--echo", "-i", "500ms", "127.0.0.1", "0")
    for _ in range(3):
        peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
        for peer in peers:
            peer.settimeout(20)
            peer.sendto(b"x", ("127.0.0.1", process.port))
        assert [peer.recv(10) for peer in peers] == [b"x"] * 100
        for peer in peers:
            peer.close()
    assert process.popen.poll() is None
    assert memory_kib(process) < 60_000


def test_a_refused_forward_of_datagrams_is_tried_again(sessions):
    """The target is down, then up: the next datagram of the same peer gets through."""
    port = free_port(socket.SOCK_DGRAM)
    process = sessions.processes.listen("-u", "-k", "--forward", f"udp://127.0.0.1:{port}", "127.0.0.1", "0")
    client = sessions.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.connect(("127.0.0.1", process.port))
    client.send(b"lost")
    assert silent(client)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", port))
        target.settimeout(0.2)

        def arrives():
            client.send(b"found")
            try:
                return target.recv(100) == b"found"
            except TimeoutError:
                return False

        process.until(arrives, "a datagram to arrive")
