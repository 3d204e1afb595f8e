"""Connecting where the system refuses: which of several failures is told, and what it says."""

import errno
import os
import socket
import threading

import pytest

from pync.endpoint import Address, Endpoint, resolve
from pync.errors import ConnectionRefused, LocalError, NetworkError, TimedOut, UsageError
from pync.transport import dial, dial_datagram
from pync.transport.settings import SocketSettings
from tests.harness import PATIENCE

HOST = Endpoint("udp", "host", 9)
ONE = Address(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 9))
TWO = Address(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.2", 9))
LINK = Address(socket.AF_INET6, socket.SOCK_DGRAM, ("fe80::1", 9, 0, 0))


def attempts(*failures):
    made = dial._Attempts(HOST, SocketSettings(), lambda event: None)
    made.failures = list(failures)
    return made


NO_ROUTE = NetworkError("connect 127.0.0.1:9: no route to host")
UNREACHABLE = NetworkError("connect 127.0.0.3:9: network is unreachable")
REFUSED = ConnectionRefused("connect 127.0.0.2:9: connection refused")
LOCAL = LocalError("bind 127.0.0.3: not ours")


@pytest.mark.parametrize("failures", [[NO_ROUTE, REFUSED], [REFUSED, NO_ROUTE]])
def test_the_most_telling_failure_with_all_of_them_as_a_hint(failures):
    told = attempts(*failures).verdict()
    assert isinstance(told, NetworkError)
    assert told.message == "connect host:9: connection refused (2 addresses tried)"
    assert sorted(told.hint.split("; ")) == [
        "127.0.0.1:9: no route to host",
        "127.0.0.2:9: connection refused",
    ]


def test_an_address_that_refuses_tells_more_than_one_that_is_out_of_reach():
    told = attempts(UNREACHABLE, REFUSED).verdict()
    assert isinstance(told, ConnectionRefused)
    assert told.message == "connect host:9: connection refused (2 addresses tried)"
    assert not isinstance(attempts(UNREACHABLE, NO_ROUTE).verdict(), ConnectionRefused)


def test_a_single_failure_is_told_as_it_is():
    assert attempts(REFUSED).verdict() is REFUSED
    assert attempts(NO_ROUTE).verdict() is NO_ROUTE


def test_our_own_failure_is_told_when_there_is_no_other():
    assert attempts(LOCAL, LOCAL).verdict() is LOCAL
    assert "connection refused" in attempts(REFUSED, LOCAL).verdict().message


def test_a_link_local_address_without_its_link():
    told = attempts()._failure(OSError(errno.EINVAL, ""), f"connect {LINK}", LINK)
    assert isinstance(told, UsageError)
    assert "needs its interface" in told.message
    assert "fe80::1%eth0" in told.hint


def test_a_look_up_that_takes_too_long(loop, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(dial, "_resolve", lambda *words: over.wait(PATIENCE) and [])
    try:
        with pytest.raises(TimedOut, match="name look-up timed out"):
            loop.run(dial.resolve_all(loop, HOST, SocketSettings(), loop.now()))
    finally:
        over.set()


class Dialled(socket.socket):
    """A datagram socket whose `connect` fails."""

    def __init__(self, error):
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.error = error

    def connect(self, address):
        if self.error is not None:
            raise self.error
        super().connect(address)


@pytest.fixture
def dialling(monkeypatch):
    """`dialling(addresses, outcome...)`: an errno, None or an error of the making for each address."""
    made = []

    def run(addresses, *outcomes):
        left = list(outcomes)

        def new_socket(address, settings):
            outcome = left.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            made.append(Dialled(None if outcome is None else OSError(outcome, os.strerror(outcome))))
            return made[-1]

        monkeypatch.setattr(dial_datagram, "new_socket", new_socket)
        try:
            return dial_datagram.dial_datagram(addresses, SocketSettings())
        finally:
            assert all(sock.fileno() < 0 for sock in made if sock.error is not None)

    yield run
    for sock in made:
        sock.close()


@pytest.mark.parametrize("first", [LOCAL, errno.ENETUNREACH, errno.EACCES])
def test_datagrams_go_to_the_first_address_that_takes_them(dialling, first):
    assert dialling([ONE, TWO], first, None).peer_address == ("127.0.0.2", 9)


@pytest.mark.parametrize(
    ("address", "outcome", "kind", "words", "hint"),
    [
        (ONE, LOCAL, LocalError, "not ours", None),
        (ONE, errno.EACCES, NetworkError, "permission denied", "add --broadcast"),
        (LINK, errno.EINVAL, UsageError, "needs its interface", "%eth0"),
        (ONE, errno.ENETUNREACH, NetworkError, "connect 127.0.0.1:9: ", None),
    ],
)
def test_the_first_failure_of_all_is_told(dialling, address, outcome, kind, words, hint):
    with pytest.raises(kind, match=words) as told:
        dialling([address, TWO], outcome, errno.ENETDOWN)
    assert hint is None or hint in told.value.hint


def test_nobody_has_port_0(dialling):
    nobody = Address(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
    with pytest.raises(NetworkError, match="refused"):
        dialling([nobody], None)


class TestUnix:
    @pytest.fixture
    def there(self, tmp_path):
        """A bound socket, and its addresses."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(tmp_path / "there"))
            sock.settimeout(PATIENCE)
            endpoint = Endpoint("unix-dgram", path=str(tmp_path / "there"))
            yield (
                sock,
                lambda **named: dial_datagram.dial_datagram(resolve(endpoint), SocketSettings(**named)),
            )

    def test_a_name_of_its_own_where_the_system_finds_none(self, there, tmp_path, monkeypatch):
        sock, run = there
        monkeypatch.setattr(dial, "_LINUX", False)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        channel = run()
        channel.write(memoryview(b"hello"))
        data, name = sock.recvfrom(10)
        assert data == b"hello"
        assert os.path.dirname(name) == str(tmp_path)
        channel.close()
        assert not os.path.lexists(name)

    def test_a_source_of_another_kind(self, there):
        with pytest.raises(UsageError, match="needs unix-dgram:PATH"):
            there[1](source="udp://127.0.0.1:9")

    def test_a_source_that_cannot_be_made(self, there, tmp_path):
        with pytest.raises(LocalError, match="bind unix-dgram:"):
            there[1](source=f"unix-dgram:{tmp_path}/none/source")


def test_who_is_connected_to_itself():
    with socket.socket() as sock:
        assert not dial.is_self_connected(sock)
        sock.bind(("127.0.0.1", 0))
        assert not dial.is_self_connected(sock)
        sock.connect(sock.getsockname())
        assert dial.is_self_connected(sock)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not dial.is_self_connected(ours)
