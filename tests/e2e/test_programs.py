"""Programs on a connection: what they still get and say at the edges of a session."""

import socket

import pytest

from tests.e2e.sessions import read_to_end

pytestmark = pytest.mark.usefixtures("mover")

# --crlf makes bytes pass through the relay; without it the program of a TCP connection has the socket itself.
RELAYED = "--crlf"


@pytest.mark.parametrize("option", [(), (RELAYED,)])
def test_a_program_that_closes_its_output_early_still_gets_its_input(sessions, role, option, tmp_path):
    copy = tmp_path / "copy"
    process, peer = sessions.open(role, *option, "-c", f"echo begin; exec >&-; cat >{copy}")
    peer.sendall(b"x" * 300_000)
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer).strip() == b"begin"
    assert process.wait().code == 0
    assert copy.read_bytes() == b"x" * 300_000


def test_a_program_answers_after_max_bytes(sessions, role):
    process, peer = sessions.open(role, "-c", "cat; echo done", "--max-bytes", "3")
    peer.sendall(b"abcdef")
    assert read_to_end(peer) == b"abcdone\n"
    assert process.wait().code == 0


def test_echo_is_copied_in_both_directions(sessions, tmp_path):
    copy = tmp_path / "copy"
    process, peer = sessions.listen("--echo", "-o", str(copy))
    peer.sendall(b"a\n")
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == b"a\n"
    assert process.wait().code == 0
    assert copy.read_bytes() == b"a\na\n"


@pytest.mark.parametrize("option", [(), (RELAYED,)])
def test_with_keep_open_output_after_the_clients_end_is_sent(sessions, option):
    process, peer = sessions.listen("-k", *option, "-c", "cat >/dev/null; echo afterwards")
    peer.sendall(b"input")
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer).strip() == b"afterwards"


def test_recv_only_throws_the_output_of_a_program_away(sessions, role, tmp_path):
    copy = tmp_path / "copy"
    process, peer = sessions.open(role, "--recv-only", "-c", f"tee {copy}; echo said")
    peer.sendall(b"input")
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == b""
    assert process.wait().code == 0
    assert copy.read_bytes() == b"input"
