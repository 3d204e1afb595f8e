"""What ends with time: the quiet of datagrams, and the programs of a run whose deadline passed."""

import socket
import time

import pytest

from tests.e2e.sessions import is_running, read_exactly

pytestmark = pytest.mark.usefixtures("mover")


def test_datagram_quiet_begins_with_the_end_of_our_input(sessions):
    """An answer that comes after the end of an input that had long been silent is still received."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(20)
        process = sessions.processes.pync(
            "connect", "-u", "--quit-after", "1s", "127.0.0.1", str(peer.getsockname()[1])
        )
        process.write(b"question")
        data, address = peer.recvfrom(100)
        assert data == b"question"
        silent_since = time.monotonic()
        while time.monotonic() < silent_since + 1.2:
            assert process.popen.poll() is None
        process.close_stdin()
        peer.sendto(b"answer", address)
        done = process.wait()
    assert (done.code, done.out) == (0, b"answer")


@pytest.mark.parametrize("more", [(), ("-C",)])
@pytest.mark.parametrize("keep_open", [(), ("-k",)])
def test_no_child_is_left_when_the_deadline_passed(sessions, keep_open, more):
    options = (*keep_open, *more, "--grace", "100ms", "--deadline", "1s")
    process, peer = sessions.listen(*options, "-c", "trap '' TERM; echo up; cat; cat >&2")
    assert read_exactly(peer, 2) == b"up"
    children = process.children()
    assert children
    done = process.wait()
    assert done.code == 3
    assert "the deadline of 1 s has passed" in done.err
    for child in children:
        assert not is_running(child)


def test_what_arrived_before_the_deadline_is_written(sessions):
    process, peer = sessions.listen("-k", "--deadline", "1s")
    peer.sendall(b"in time")
    done = process.wait()
    assert (done.code, done.out) == (3, b"in time")
