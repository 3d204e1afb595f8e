"""What channels and sockets do where calls are missing or refused, played in this process."""

import errno
import os
import signal
import socket
import sys
from types import SimpleNamespace

import pytest

from pync.endpoint import parse
from pync.errors import LocalError
from pync.loop import POLLNVAL
from pync.transport import child, settings, stdio
from pync.transport.channel import CHUNK, read_some, write_all
from pync.transport.child import Child
from pync.transport.listen import Acceptor, Bound, bind
from pync.transport.settings import SocketSettings
from pync.transport.stdio import Stdio, kind_of
from tests.harness import PATIENCE


@pytest.fixture
def pipe():
    fds = list(os.pipe())
    yield fds
    for fd in fds:
        os.close(fd)


def read_line(loop, channel):
    async def reading():
        got = b""
        view = memoryview(bytearray(CHUNK))
        while not got.endswith(b"\n"):
            count = await read_some(loop, channel, view, loop.now() + PATIENCE)
            assert count is not None, "it ended in the middle of a line"
            got += view[:count]
        return got

    return loop.run(reading())


class TestStdio:
    def test_a_directory_is_no_stream(self, tmp_path):
        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(LocalError, match="stdin: is a directory"):
                Stdio(fd, -1)
            with pytest.raises(LocalError, match="stdout: is a directory"):
                Stdio(-1, fd)
        finally:
            os.close(fd)

    def test_neither_in_nor_out(self):
        channel = Stdio(-1, -1)
        assert (channel.input, channel.output) == ("closed", "closed")
        assert channel.read_into(memoryview(bytearray(9))) is None
        assert channel.write(memoryview(b"data")) == 4
        assert channel.send_eof() == 0

    def test_a_closed_descriptor_is_known_as_one(self):
        fd = os.dup(0)
        os.close(fd)
        assert kind_of(fd) == "closed"

    def test_an_end_for_a_peer_that_is_gone(self):
        with socket.socket() as sock:
            channel = Stdio(-1, sock.fileno())
            assert channel.send_eof() == 0
            assert channel.output == "closed"
            channel.close()

    def test_what_cannot_be_read_is_said(self, pipe):
        channel = Stdio(pipe[1], -1)
        channel._readable = None
        with pytest.raises(LocalError, match="stdin: "):
            channel.read_into(memoryview(bytearray(9)))

    def test_appending_is_unknown_without_fcntl(self, tmp_path, monkeypatch):
        fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            assert Stdio(-1, fd).append
            monkeypatch.setitem(sys.modules, "fcntl", None)
            assert not Stdio(-1, fd).append
            monkeypatch.setattr(stdio, "_WINDOWS", True)
            assert Stdio(-1, fd).append
        finally:
            os.close(fd)

    def test_what_cannot_be_polled_is_read_by_a_thread(self, loop, pipe, monkeypatch):
        poll = SimpleNamespace(register=lambda fd, mask: None, poll=lambda timeout: [(pipe[0], POLLNVAL)])
        with monkeypatch.context() as patched:
            patched.setattr(stdio, "new_poll", lambda: poll)
            patched.setattr(sys, "platform", "darwin")
            channel = Stdio(pipe[0], -1)
        os.write(pipe[1], b"typed\n")
        assert read_line(loop, channel) == b"typed\n"
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, pipe[1])  # its end, which ends the thread too
        os.close(null)
        view = memoryview(bytearray(9))
        assert loop.run(read_some(loop, channel, view, loop.now() + PATIENCE)) is None
        channel.detach(loop)
        channel.close()


IGNORES = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); input()"
ECHO = "print(input(), flush=True); input()"


def start(loop, code):
    return Child(loop, [sys.executable, "-Sc", code], dict(os.environ))


def close(loop, channel):
    channel.detach(loop)
    channel.close()
    channel.close()


class TestChildren:
    def test_one_that_ignores_us_is_killed(self, loop):
        channel = start(loop, IGNORES)
        assert read_line(loop, channel) == b"up\n"
        loop.run(channel.process.stop(0))
        assert channel.process.status == -signal.SIGKILL
        loop.run(channel.process.stop(0))  # it is gone already
        assert not channel.process.left_others()
        close(loop, channel)

    def test_one_that_somebody_else_reaped(self, loop):
        channel = start(loop, "input()")
        channel.send_eof()
        os.waitpid(channel.process.pid, 0)
        channel.process.signal(signal.SIGTERM)  # nobody is there
        assert channel.process.reap()
        assert channel.process.status == 0
        assert channel.process.ended.is_set
        close(loop, channel)

    def test_what_it_left_may_be_somebody_elses(self, loop, monkeypatch):
        channel = start(loop, "input()")

        def forbidden(pid, signum):
            raise PermissionError(errno.EPERM, "")

        with monkeypatch.context() as patched:
            patched.setattr(os, "killpg", forbidden)
            channel.process.signal(signal.SIGTERM)
            assert channel.process.left_others()
        with monkeypatch.context() as patched:
            patched.delattr(os, "killpg")
            assert not channel.process.left_others()
        loop.run(channel.process.stop(PATIENCE))
        close(loop, channel)

    def test_pipes_that_no_poller_takes(self, loop, monkeypatch):
        monkeypatch.setattr(child, "_WINDOWS", True)
        monkeypatch.delattr(os, "posix_spawnp")
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        channel = start(loop, ECHO)
        loop.run(write_all(loop, channel, b"hello\n", loop.now() + PATIENCE))
        assert read_line(loop, channel) == b"hello\n"
        assert channel.process.status is None
        loop.run(channel.process.stop(0))
        assert channel.process.status == -signal.SIGKILL  # there is no asking for it
        view = memoryview(bytearray(9))
        assert loop.run(read_some(loop, channel, view, loop.now() + PATIENCE)) is None
        channel.send_eof()
        assert channel.write(memoryview(b"too late")) == 8
        close(loop, channel)

    def test_no_such_program_leaves_no_descriptor(self, loop, monkeypatch):
        made = []
        pipe = os.pipe

        def noting():
            fds = pipe()
            made.extend(fds)
            return fds

        monkeypatch.setattr(os, "pipe", noting)
        with pytest.raises(LocalError, match="cannot run '/nowhere/at/all'"):
            Child(loop, ["/nowhere/at/all"], {})
        assert len(made) == 4
        for fd in made:
            with pytest.raises(OSError, match=rf"\[Errno {errno.EBADF}\]"):
                os.fstat(fd)


class Listening(socket.socket):
    """Its `accept` first raises what stands in `errors`."""

    def __init__(self):
        super().__init__()
        self.errors = []
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.setblocking(False)

    def accept(self):
        if self.errors:
            raise self.errors.pop(0)
        return super().accept()


class TestAccepting:
    @pytest.fixture
    def made(self, loop):
        """(acceptor, its socket, clients so far, what it said of being full, a flag for a client)."""
        sock, clients, full, flag = Listening(), [], [], loop.flag()

        def on_client(client, address):
            clients.append(client)
            flag.set()

        acceptor = Acceptor(loop, Bound([sock]), on_client, full.append)
        yield acceptor, sock, clients, full, flag
        acceptor.stop()
        acceptor.stop()
        for client in clients:
            client.close()

    def test_a_client_that_is_gone_already_hides_nobody(self, loop, made):
        _, sock, clients, full, flag = made
        sock.errors = [ConnectionAbortedError(errno.ECONNABORTED, "")]
        with socket.create_connection(sock.getsockname()):
            assert loop.run(flag.wait(loop.now() + PATIENCE))
        assert (len(clients), full, sock.errors) == (1, [], [])

    def test_a_limit_is_said_once_and_waited_out(self, loop, made):
        _, sock, clients, full, flag = made
        sock.errors = [OSError(errno.EMFILE, ""), OSError(errno.EMFILE, "")]
        with socket.create_connection(sock.getsockname()):
            assert loop.run(flag.wait(loop.now() + PATIENCE))
            assert (len(clients), len(full)) == (1, 1)
            flag.clear()
            sock.errors = [OSError(errno.ENFILE, "")]  # full anew, and said anew
            with socket.create_connection(sock.getsockname()):
                assert loop.run(flag.wait(loop.now() + PATIENCE))
        assert (len(clients), len(full)) == (2, 2)

    def test_stopped_while_it_waits(self, loop, made):
        acceptor, sock, clients, full, _ = made
        sock.errors = [OSError(errno.EMFILE, "")]
        acceptor._accept(sock)
        acceptor.stop()
        assert len(full) == 1
        assert sock.fileno() < 0
        acceptor._resume()
        assert clients == []

    def test_a_path_that_is_somebody_elses_by_now_stays(self, loop, tmp_path):
        for there in (True, False):
            bound = bind(parse(f"unix:{tmp_path}/sock"), SocketSettings())
            if there:
                (tmp_path / "other").touch()
                os.replace(tmp_path / "other", tmp_path / "sock")
            else:
                os.unlink(tmp_path / "sock")
            bound.close()
            bound.close()
            assert os.path.lexists(tmp_path / "sock") == there
            if there:
                os.unlink(tmp_path / "sock")


class Noting:
    """A socket that notes its options, or refuses them."""

    def __init__(self, family=socket.AF_INET, error=None):
        self.family, self.error = family, error
        self.noted = []

    def setsockopt(self, *words):
        self.noted.append(words)
        if self.error is not None:
            raise self.error


class TestSettings:
    @pytest.fixture
    def index(self, monkeypatch):
        monkeypatch.setattr(socket, "if_nametoindex", lambda name: 3)
        monkeypatch.delattr(socket, "SO_BINDTODEVICE")
        return 3

    @pytest.mark.parametrize(
        ("windows", "family", "noted"),
        [
            (False, socket.AF_INET, (socket.IPPROTO_IP, 25, 3)),
            (False, socket.AF_INET6, (socket.IPPROTO_IPV6, 125, 3)),
            (True, socket.AF_INET, (socket.IPPROTO_IP, 31, b"\0\0\0\3")),
            (True, socket.AF_INET6, (socket.IPPROTO_IPV6, 31, (3).to_bytes(4, sys.byteorder))),
        ],
    )
    def test_an_interface_has_other_names_elsewhere(self, index, monkeypatch, windows, family, noted):
        monkeypatch.setattr(settings, "WINDOWS", windows)
        sock = Noting(family)
        settings._bind_to_interface(sock, "eth0")
        assert sock.noted == [noted]

    def test_a_refused_interface_is_said(self, index):
        with pytest.raises(LocalError, match="--interface eth0: "):
            settings._bind_to_interface(Noting(error=PermissionError(errno.EPERM, "no")), "eth0")

    def test_a_size_that_is_refused_is_only_a_wish(self):
        sock = Noting(error=OSError(errno.EPERM, ""))
        settings._buffer(sock, socket.SO_RCVBUF, 5000)
        assert sock.noted == [(socket.SOL_SOCKET, 33, 5000), (socket.SOL_SOCKET, socket.SO_RCVBUF, 5000)]

    def test_a_port_is_not_shared_with_strangers(self, monkeypatch):
        monkeypatch.setattr(settings, "WINDOWS", True)
        monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)
        sock = Noting()
        settings.reuse_address(sock)
        assert sock.noted == [(socket.SOL_SOCKET, -5, 1)]
