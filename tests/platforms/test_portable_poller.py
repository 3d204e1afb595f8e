"""select(2) in the shape of select.poll: what it tells, in this process."""

import errno
import os
import select
import socket
import time
from types import SimpleNamespace

import pytest

from pync.loop import POLLERR, POLLIN, POLLNVAL, POLLOUT
from pync.portable import poller
from tests.harness import PATIENCE

LONG = PATIENCE * 1000


@pytest.fixture
def watch(monkeypatch):
    """A poller that leaves the limits of the test's process alone."""
    monkeypatch.setattr(poller, "_keep_descriptors_below", lambda most: None)
    return poller.SelectPoll()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def pipe():
    fds = list(os.pipe())
    yield fds
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def test_what_is_asked_for_is_what_is_told(watch, pair):
    ours, theirs = pair
    fd = ours.fileno()
    watch.register(fd, POLLIN)
    assert watch.poll(0) == []
    watch.modify(fd, POLLIN | POLLOUT)
    assert watch.poll(LONG) == [(fd, POLLOUT)]
    theirs.send(b"x")
    assert watch.poll(LONG) == [(fd, POLLIN | POLLOUT)]
    watch.modify(fd, POLLIN)
    assert watch.poll(None) == [(fd, POLLIN)]
    watch.unregister(fd)
    assert watch.poll(0) == []
    with pytest.raises(KeyError):
        watch.unregister(fd)


def test_a_pipe_that_nobody_reads_is_broken(watch, pipe):
    watch.register(pipe[1], 0)
    assert watch.poll(0) == []
    os.close(pipe[0])
    pipe[0] = -1
    assert watch.poll(LONG) == [(pipe[1], POLLERR)]


def test_only_a_broken_socket_is_told_where_errors_are_all_that_is_asked_for(watch, pair):
    ours, theirs = pair
    watch.register(ours.fileno(), 0)
    assert watch.poll(0) == []
    theirs.send(b"unread")
    assert watch.poll(0) == []
    theirs.close()
    assert watch.poll(0) == []  # an end is no error
    watch.modify(ours.fileno(), POLLIN)
    assert watch.poll(LONG) == [(ours.fileno(), POLLIN)]


def test_a_reset_connection_is_broken(watch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs = server.accept()[0]
    with ours:
        watch.register(ours.fileno(), 0)
        assert watch.poll(0) == []
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        assert watch.poll(LONG) == [(ours.fileno(), POLLERR)]


def test_a_socket_without_a_peer_is_broken_and_does_not_hide_what_else_is_ready(watch, pair):
    with socket.socket() as alone:
        watch.register(alone.fileno(), 0)
        watch.register(pair[0].fileno(), POLLOUT)
        assert sorted(watch.poll(LONG)) == sorted(
            [(alone.fileno(), POLLERR), (pair[0].fileno(), POLLOUT)],
        )


def test_a_socket_closed_behind_its_back_is_broken(watch, pair):
    fd = pair[0].fileno()
    watch.register(fd, 0)
    pair[0].close()
    assert watch.poll(LONG) == [(fd, POLLERR)]


def test_a_closed_descriptor_is_named_and_the_others_are_not(watch, pair):
    gone = os.dup(pair[0].fileno())
    watch.register(gone, POLLIN)
    watch.register(pair[1].fileno(), POLLIN)
    os.close(gone)
    assert watch.poll(LONG) == [(gone, POLLNVAL)]


def test_a_number_that_select_cannot_take_is_named(watch):
    watch.register(1 << 20, POLLIN)
    assert watch.poll(LONG) == [(1 << 20, POLLNVAL)]


def test_an_error_that_is_nobodys_comes_through(watch, pair, monkeypatch):
    real = select.select

    def refuse(reading, *rest):
        if len(reading) > 1:
            raise OSError(errno.ENOMEM, "")
        return real(reading, *rest)

    for sock in pair:
        watch.register(sock.fileno(), POLLIN)
    monkeypatch.setattr(select, "select", refuse)
    with pytest.raises(OSError, match="12"):
        watch.poll(0)


def test_nothing_to_watch_waits_for_what_is_registered_meanwhile(watch, pair, monkeypatch):
    asked = []

    def sleep(seconds):
        asked.append(seconds)
        watch.register(pair[0].fileno(), POLLOUT)

    monkeypatch.setattr(poller, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    assert watch.poll(None) == [(pair[0].fileno(), POLLOUT)]
    assert len(asked) == 1


def test_a_wait_for_errors_only_looks_again_and_ends_on_time(watch, pair, monkeypatch):
    clock = [0.0]

    def sleep(seconds):
        assert seconds > 0
        clock[0] += seconds

    monkeypatch.setattr(poller, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    watch.register(pair[0].fileno(), 0)
    assert watch.poll(600) == []
    assert clock[0] == pytest.approx(0.6)


class TestWindows:
    """Sets of a fixed size, sockets only, a failed connect in the third set."""

    @pytest.fixture(autouse=True)
    def _sets_of_two(self, monkeypatch):
        monkeypatch.setattr(poller, "_ONLY_SOCKETS", True)
        monkeypatch.setattr(poller, "_SET", 2)

    def test_more_than_a_set_takes(self, watch):
        pairs = [socket.socketpair() for _ in range(5)]
        try:
            for ours, _ in pairs:
                watch.register(ours.fileno(), POLLIN)
            assert watch.poll(0) == []
            for ours, theirs in pairs[::-1]:
                theirs.send(b"x")
                assert watch.poll(LONG) == [(ours.fileno(), POLLIN)]
                ours.recv(1)
            for _, theirs in pairs:
                theirs.send(b"x")
            assert sorted(watch.poll(None)) == sorted((ours.fileno(), POLLIN) for ours, _ in pairs)
        finally:
            for sock in sum(pairs, ()):
                sock.close()

    def test_the_first_set_is_waited_for(self, watch, monkeypatch):
        pairs = [socket.socketpair() for _ in range(3)]
        waits = []
        real = select.select

        def noting(reading, writing, failing, seconds):
            waits.append((len(reading), seconds))
            if seconds:
                pairs[0][1].send(b"x")
            return real(reading, writing, failing, seconds)

        try:
            for ours, _ in pairs:
                watch.register(ours.fileno(), POLLIN)
            monkeypatch.setattr(select, "select", noting)
            assert watch.poll(None) == [(pairs[0][0].fileno(), POLLIN)]
            assert waits == [(2, 0.0), (1, 0.0), (2, 0.02)]
        finally:
            for sock in sum(pairs, ()):
                sock.close()

    def test_a_failed_connect_is_room_and_an_error(self, watch, pair, monkeypatch):
        fd = pair[0].fileno()
        watch.register(fd, POLLOUT)
        monkeypatch.setattr(select, "select", lambda reading, writing, failing, seconds: ([], [], failing))
        assert watch.poll(0) == [(fd, POLLOUT | POLLERR)]


@pytest.mark.parametrize(
    ("limits", "set_to"),
    [((4096, 8192), [(1024, 8192)]), ((-1, -1), [(1024, -1)]), ((1024, 8192), []), ((256, 256), [])],
)
def test_descriptors_that_select_cannot_take_do_not_come_into_being(monkeypatch, limits, set_to):
    import resource

    told = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: told.append(pair))
    poller.SelectPoll()
    assert told == set_to


def test_a_limit_that_cannot_be_set_is_no_failure(monkeypatch, pair):
    import resource

    def refuse(which, limits):
        raise ValueError("not permitted to change it")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (4096, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    watch = poller.SelectPoll()
    watch.register(pair[0].fileno(), POLLOUT)
    assert watch.poll(LONG) == [(pair[0].fileno(), POLLOUT)]
