"""The quiet that ends datagrams begins with the end of our input."""

import socket
import time

import pytest

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
