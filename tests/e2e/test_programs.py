"""Programs and built-in services together with limits and copies (CLI contract 3.4, 5)."""

import os
import signal
import socket
import subprocess

import pytest

from tests.e2e.sessions import SMALL, one_line, read_exactly, read_to_end, reset


@pytest.mark.parametrize("more", [(), ("-C",)])
def test_max_bytes_ends_the_input_of_a_program_and_drains_its_output(sessions, role, more):
    process, peer = sessions.open(role, "--max-bytes", "3", *more, "-c", "cat; echo .end")
    peer.sendall(b"abcdef")
    assert read_exactly(peer, 7) == b"abc.end"
    assert process.wait().code == 0


@pytest.mark.parametrize("more", [(), ("-C",)])
def test_recv_only_throws_the_output_of_a_program_away(sessions, role, more, tmp_path):
    process, peer = sessions.open(role, "--recv-only", *more, "-c", f"cat >{tmp_path}/got; echo unheard")
    peer.sendall(b"for the program")
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == b""
    assert process.wait().code == 0
    assert (tmp_path / "got").read_bytes() == b"for the program"


@pytest.mark.parametrize("more", [(), ("-C",)])
def test_a_program_that_writes_too_much_dies_of_it(sessions, role, more, tmp_path):
    """Python ignores SIGXFSZ for itself; a program of ours has it as its shell would give it."""
    command = f"(ulimit -f 1; exec head -c 100000 /dev/zero >{tmp_path}/big); echo $?"
    process, peer = sessions.open(role, *more, "-c", command)
    assert int(read_to_end(peer)) == 128 + signal.SIGXFSZ
    peer.close()
    assert process.wait().code == 0


def test_a_copy_of_an_echo_has_both_directions(sessions, tmp_path):
    process, peer = sessions.listen("--echo", "-o", tmp_path / "copy", stdin=subprocess.DEVNULL)
    peer.sendall(b"a\n")
    assert read_exactly(peer, 2) == b"a\n"
    peer.close()
    assert process.wait().code == 0
    assert (tmp_path / "copy").read_bytes() == b"a\na\n"


@pytest.mark.parametrize("words", [("-u", "foo"), ("-u", "10.0.0.1"), ("-v", "224.1.2.3")])
def test_a_multicast_group_that_is_none_is_named(processes, words):
    done = processes.run("listen", words[0], "--multicast", words[1], "127.0.0.1", "0")
    assert done.code == 2
    one_line(done.err)
    assert "--multicast" in done.err
    assert "inet_pton" not in done.err


@pytest.mark.parametrize("more", [(), ("-o", os.devnull)])
def test_what_a_program_left_unread_costs_none_of_its_output(sessions, role, more):
    """A server of one line never reads the request; the reader is slow."""
    sessions.receive_buffer = SMALL
    process, peer = sessions.open(role, *more, "-c", "read line; seq 100000; echo ended >&2")
    peer.sendall(b"GET / HTTP/1.0\r\nHost: here\r\n\r\n")
    process.expect("ended")
    lines = read_to_end(peer).splitlines()
    assert (len(lines), lines[-1]) == (100_000, b"100000")
    assert process.wait().code == 0


def test_a_reset_before_the_output_of_a_program_arrived_is_no_zero(sessions, role):
    sessions.receive_buffer = SMALL
    process, peer = sessions.open(role, "-c", "seq 100000; echo ended >&2")
    process.expect("ended")
    reset(peer)
    done = process.wait()
    assert done.code == 1
    assert "connection reset by peer" in done.err


def test_max_packets_counts_what_a_program_receives(sessions, role):
    process, peer = sessions.open(role, "--max-packets", "1", "-e", "cat")
    peer.sendall(b"one")
    assert read_exactly(peer, 3) == b"one"
    assert read_to_end(peer) == b""
    assert process.wait().code == 0


def test_a_keeper_outlives_a_program_that_cannot_be_started(sessions, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho served\n")
    program.chmod(0o755)
    process = sessions.processes.listen("-k", "-e", program, "127.0.0.1", "0")
    program.rename(tmp_path / "away")
    assert read_to_end(sessions.client(process)) == b""
    process.expect("pync: cannot run .*program': no such file")
    (tmp_path / "away").rename(program)
    assert read_to_end(sessions.client(process)) == b"served\n"


def test_a_file_that_may_not_be_run_is_named(processes, tmp_path):
    (tmp_path / "script").write_text("echo hi")
    done = processes.run("listen", "-e", tmp_path / "script", "127.0.0.1", "0")
    assert done.code == 2
    assert "may be run" in one_line(done.err)


def test_bytes_of_a_program_are_counted_without_the_ends(sessions, role):
    process, peer = sessions.open(role, "-v", "-c", "echo hello; cat >/dev/null")
    assert read_exactly(peer, 6) == b"hello\n"
    peer.sendall(b"xyz")
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == b""
    assert "sent 6 B, received 3 B" in process.wait().err
