"""The EOF law (CLI contract 3.3) for byte streams, in both roles, with fast and portable movers."""

import os
import signal
import socket
import subprocess
import time
from threading import Thread

import pytest

from tests.e2e.sessions import (
    MOMENT,
    SMALL,
    flood,
    is_reset,
    one_line,
    read_exactly,
    read_to_end,
    reset,
    silent,
)
from tests.harness import pattern

BULK = pattern(3_000_000)


pytestmark = pytest.mark.usefixtures("mover")


# 1. Our input ends


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_all_input_is_sent_then_fin_and_the_reply_still_arrives(sessions, role, over):
    process, peer = sessions.open(role, over=over)
    process.write(b"begin ")
    assert read_exactly(peer, 6) == b"begin "
    process.write(b"x" * 1000)
    process.close_stdin()
    assert read_to_end(peer) == b"x" * 1000
    peer.sendall(b"reply after your end")
    peer.shutdown(socket.SHUT_WR)
    done = process.wait()
    assert (done.code, done.out) == (0, b"reply after your end")


def test_bulk_both_ways_at_once(sessions, role, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(BULK)
    with source.open("rb") as stdin:
        process, peer = sessions.open(role, stdin=stdin)

        def send():
            peer.sendall(BULK[::-1])
            peer.shutdown(socket.SHUT_WR)

        sender = Thread(target=send)
        sender.start()
        received = read_to_end(peer)
        sender.join()
        done = process.wait()
    assert done.code == 0
    assert received == BULK
    assert done.out == BULK[::-1]


def test_no_shutdown_sends_no_fin(sessions, role):
    process, peer = sessions.open(role, "--no-shutdown")
    process.write(b"question")
    process.close_stdin()
    assert read_exactly(peer, 8) == b"question"
    assert silent(peer)
    peer.sendall(b"answer")
    peer.close()
    done = process.wait()
    assert (done.code, done.out) == (0, b"answer")


def test_quit_after_ends_with_zero_when_the_peer_never_does(sessions, role):
    process, peer = sessions.open(role, "--quit-after", "200ms")
    peer.sendall(b"kept")
    process.expect_out("kept")
    start = time.monotonic()
    done = process.finish(b"question")
    assert (done.code, done.out) == (0, b"kept")
    assert time.monotonic() - start < 5
    assert read_to_end(peer) == b"question"


def test_quit_after_is_not_a_zero_for_bytes_that_nobody_has(sessions, role, tmp_path):
    """The peer does not read: what our input gave cannot be told to have arrived."""
    source = tmp_path / "source"
    source.write_bytes(BULK[:1_000_000])
    sessions.receive_buffer = 16_384
    with source.open("rb") as stdin:
        process, _ = sessions.open(role, "--quit-after", "50ms", stdin=stdin)
        done = process.wait()
    assert done.code == 1
    assert "not acknowledged" in one_line(done.err)


def test_quit_after_counts_only_from_the_end_of_our_input(sessions, role):
    process, peer = sessions.open(role, "--quit-after", "50ms")
    assert not process.ends(MOMENT)
    peer.sendall(b"later")
    process.expect_out("later")
    assert process.finish().code == 0


def test_quit_after_does_not_wait_for_its_time_when_the_peer_ends(sessions, role):
    process, peer = sessions.open(role, "--quit-after", "1h")
    process.close_stdin()
    assert read_to_end(peer) == b""
    peer.close()
    assert process.wait().code == 0


@pytest.mark.parametrize("timer", [("-i", "150ms"), ("--quit-after", "150ms")])
def test_no_timer_counts_once_both_directions_ended(sessions, role, timer, tmp_path):
    """The peer has ended and we have sent all, but its system has not taken everything yet."""
    source = tmp_path / "source"
    source.write_bytes(BULK[:1_000_000])
    sessions.receive_buffer = 16_384
    with source.open("rb") as stdin:
        process, peer = sessions.open(role, *timer, stdin=stdin)
    peer.shutdown(socket.SHUT_WR)
    assert not process.ends(2 * MOMENT)
    assert read_to_end(peer) == BULK[:1_000_000]
    assert process.wait().code == 0


# 2. The peer's FIN


@pytest.mark.parametrize("options", [(), ("--peer-eof", "continue"), ("--peer-eof", "auto")])
def test_a_peer_that_half_closed_early_gets_the_rest_of_our_input(sessions, role, options):
    process, peer = sessions.open(role, *options)
    peer.sendall(b"bye")
    peer.shutdown(socket.SHUT_WR)
    assert process.expect_out("bye")
    process.write(BULK[:70_000])
    assert read_exactly(peer, 70_000) == BULK[:70_000]
    process.write(b"and more")
    process.close_stdin()
    assert read_to_end(peer) == b"and more"
    done = process.wait()
    assert (done.code, done.out) == (0, b"bye")


def test_peer_eof_quit_ends_when_the_peer_did(sessions, role):
    process, peer = sessions.open(role, "--peer-eof", "quit")
    process.write(b"sent before")
    assert read_exactly(peer, 11) == b"sent before"
    peer.sendall(b"bye")
    peer.shutdown(socket.SHUT_WR)
    done = process.wait()  # our stdin is still open
    assert (done.code, done.out) == (0, b"bye")
    assert read_to_end(peer) == b""


def test_peer_gone_while_we_continue_is_found_and_all_was_acknowledged(sessions, role):
    process, peer = sessions.open(role)
    process.write(b"all of it")
    assert read_exactly(peer, 9) == b"all of it"
    # Its system answers probes for tcp_fin_timeout, a minute, as if somebody still read; here for a second.
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
    peer.close()
    done = process.wait(within=15)
    assert done.code == 0, done


def test_peer_gone_while_we_continue_with_bytes_lost(sessions, role):
    process, peer = sessions.open(role)
    peer.close()
    try:
        for _ in range(100):
            process.write(b"x" * 10_000)
    except BrokenPipeError:
        pass
    done = process.wait()
    assert done.code == 1
    one_line(done.err)


# 3. A reset


def test_reset_writes_out_what_arrived_then_exits_1_with_the_byte_count(sessions, role):
    process, peer = sessions.open(role)
    peer.sendall(BULK[:12_345])
    process.expect_bytes(12_345)
    reset(peer)
    done = process.wait()
    assert done.code == 1
    assert done.out == BULK[:12_345]
    line = one_line(done.err)
    assert "reset" in line
    assert "12345" in line.replace(",", "")


def test_reset_with_bytes_still_unread_by_stdout(sessions, role):
    process, peer, stdout = sessions.unread(role)
    peer.sendall(BULK[:100_000])
    first = stdout.read(1)
    reset(peer)
    received = first + stdout.read_to_end()
    done = process.wait()
    assert done.code == 1
    assert BULK.startswith(received)
    assert len(received) >= 65_536


def test_reset_after_our_end_is_not_a_zero(sessions, role):
    process, peer = sessions.open(role, stdin=subprocess.DEVNULL)
    assert read_to_end(peer) == b""
    reset(peer)
    assert process.wait().code == 1


def test_writing_to_a_dead_peer_is_1(sessions, role, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"y" * 20_000_000)
    sessions.receive_buffer = SMALL
    with source.open("rb") as stdin:
        process, peer = sessions.open(role, stdin=stdin)
        read_exactly(peer, 1000)
        peer.close()
        done = process.wait()
    assert done.code == 1
    one_line(done.err)


# 4. stdout


def test_stdout_closed_by_its_reader_is_141_and_quiet(sessions, role):
    process, peer, stdout = sessions.unread(role)
    peer.sendall(b"first")
    assert stdout.read(5) == b"first"
    stdout.close()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        flood(peer)
    done = process.wait()
    assert done.code == -signal.SIGPIPE
    assert [line for line in done.err.splitlines() if not line.startswith("listening on")] == []


def test_stdout_full_is_2_and_the_peer_is_told(sessions, role):
    with open("/dev/full", "wb") as full:
        process, peer = sessions.open(role, stdout=full)
        peer.sendall(b"data")
        done = process.wait()
    assert done.code == 2
    assert "no space left" in one_line(done.err)
    assert is_reset(peer)


# 5. Listeners, and when stdout is closed


def test_stdin_at_its_end_does_not_end_a_listener(sessions):
    process = sessions.processes.listen("127.0.0.1", "0", stdin=subprocess.DEVNULL)
    assert not process.ends(MOMENT)
    peer = sessions.client(process)
    assert read_to_end(peer) == b""
    peer.sendall(b"served")
    peer.close()
    done = process.wait()
    assert (done.code, done.out) == (0, b"served")


def test_a_second_client_is_refused_once_one_is_served(sessions):
    process, peer = sessions.listen()
    process.write(b"hello")
    assert read_exactly(peer, 5) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", process.port), 20)


def test_stdout_ends_with_the_peer_though_our_input_goes_on(sessions, role):
    process, peer, stdout = sessions.unread(role)
    peer.sendall(b"archive")
    peer.shutdown(socket.SHUT_WR)
    assert stdout.read_to_end() == b"archive"
    assert process.popen.poll() is None
    process.write(b"still sending")
    process.close_stdin()
    assert read_to_end(peer) == b"still sending"
    assert process.wait().code == 0


def test_with_keep_open_a_client_that_ended_gives_its_place_back(sessions):
    process = sessions.processes.listen("-k", "-m", "1", "127.0.0.1", "0")  # our stdin stays open

    def client():
        """One more client that was not turned away; it may take a moment until there is a place."""
        peer = sessions.client(process)
        return peer if silent(peer) else None

    for word in (b"one", b"two", b"three"):
        peer = process.until(client, "a place to be free")
        peer.sendall(word)
        peer.shutdown(socket.SHUT_WR)
        assert read_to_end(peer) == b""
        process.expect_out(word.decode())
    assert process.popen.poll() is None
    process.signal(signal.SIGTERM)
    done = process.wait()
    assert (done.code, done.out) == (-signal.SIGTERM, b"onetwothree")


# 6. One direction


def test_send_only_ends_when_our_input_is_acknowledged(sessions, role):
    process, peer = sessions.open(role, "--send-only")
    peer.sendall(b"not for you")
    process.write(BULK[:200_000])
    process.close_stdin()
    assert read_to_end(peer) == BULK[:200_000]
    done = process.wait()  # the peer never closes
    assert (done.code, done.out) == (0, b"")


def test_send_only_does_not_end_before_all_is_acknowledged(sessions, role, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"z" * 30_000_000)
    sessions.receive_buffer = SMALL
    with source.open("rb") as stdin:
        process, peer = sessions.open(role, "--send-only", stdin=stdin)
        assert not process.ends(MOMENT)  # the peer does not read
        assert len(read_to_end(peer)) == 30_000_000
        assert process.wait().code == 0


def test_send_only_with_a_reset_is_1(sessions, role, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"z" * 30_000_000)
    sessions.receive_buffer = SMALL
    with source.open("rb") as stdin:
        process, peer = sessions.open(role, "--send-only", stdin=stdin)
        peer.recv(1000)
        reset(peer)
        assert process.wait().code == 1


def test_recv_only_never_reads_stdin_and_ends_after_the_peer(sessions, role, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"not to be read")
    with source.open("rb") as stdin:
        process, peer = sessions.open(role, "--recv-only", stdin=stdin)
        peer.sendall(b"only this")
        process.expect_out("only this")
        assert silent(peer)  # no FIN before the peer's
        peer.shutdown(socket.SHUT_WR)
        assert read_to_end(peer) == b""
        done = process.wait()
        assert stdin.tell() == 0
        assert os.lseek(stdin.fileno(), 0, os.SEEK_CUR) == 0
    assert (done.code, done.out) == (0, b"only this")


def test_recv_only_leaves_a_terminal_or_pipe_alone(sessions, role):
    reader, writer = os.pipe()
    try:
        os.write(writer, b"untouched")
        process, peer = sessions.open(role, "--recv-only", stdin=reader)
        peer.close()
        assert process.wait().code == 0
        assert os.read(reader, 100) == b"untouched"
    finally:
        os.close(reader)
        os.close(writer)
