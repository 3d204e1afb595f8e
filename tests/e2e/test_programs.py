"""Programs and built-in services together with limits and copies (CLI contract 3.4, 5)."""

import socket
import subprocess

import pytest

from tests.e2e.sessions import read_exactly, read_to_end


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


def test_a_copy_of_an_echo_has_both_directions(sessions, tmp_path):
    process, peer = sessions.listen("--echo", "-o", tmp_path / "copy", stdin=subprocess.DEVNULL)
    peer.sendall(b"a\n")
    assert read_exactly(peer, 2) == b"a\n"
    peer.close()
    assert process.wait().code == 0
    assert (tmp_path / "copy").read_bytes() == b"a\na\n"


def test_a_multicast_group_that_is_no_address_is_named(processes):
    done = processes.run("listen", "-u", "--multicast", "foo", "127.0.0.1", "0")
    assert done.code == 2
    assert "--multicast" in done.err
    assert "inet_pton" not in done.err
