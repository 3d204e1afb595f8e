"""The reader of our stdout leaves: a failure only if something is still to be written (3.3, 4 and 5)."""

import os
import signal
import socket

import pytest

from tests.e2e.sessions import read_exactly

pytestmark = pytest.mark.usefixtures("mover")


def session(sessions, role):
    """A session whose stdout is a pipe of ours; the peer, and the reading end after `begin` came through."""
    reading, writing = os.pipe()
    process, peer = sessions.open(role, stdout=writing)
    os.close(writing)
    peer.sendall(b"begin")
    assert os.read(reading, 5) == b"begin"
    return process, peer, reading


def test_with_everything_written_the_peers_end_is_a_good_end(sessions, role):
    process, peer, reading = session(sessions, role)
    os.close(reading)
    peer.shutdown(socket.SHUT_WR)
    process.close_stdin()
    assert process.wait().code == 0
    assert peer.recv(1) == b""


def test_what_comes_afterwards_cannot_be_written(sessions, role):
    process, peer, reading = session(sessions, role)
    os.close(reading)
    peer.sendall(b"more")
    assert process.wait().code == -signal.SIGPIPE


def test_a_silent_peer_is_not_waited_for(sessions, role):
    process, peer, reading = session(sessions, role)
    process.write(b"still sent")
    assert read_exactly(peer, 10) == b"still sent"
    os.close(reading)
    assert process.wait().code == -signal.SIGPIPE
