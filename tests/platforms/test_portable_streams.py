"""Threads that wait for pipes, files and children without POSIX's calls: in this process."""

import errno
import io
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from pync.portable import files, processes, streams
from tests.harness import PATIENCE, pattern


@pytest.fixture
def pipe():
    """[read, write]; what a test closes it sets to -1."""
    fds = list(os.pipe())
    yield fds
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def close(pipe, which):
    os.close(pipe[which])
    pipe[which] = -1


def wait(channel):
    assert select.select([channel], [], [], PATIENCE)[0], "nothing came"


def take(reader, size):
    """One answer of at most `size` bytes, waited for."""
    buffer = bytearray(size)
    wait(reader)
    return bytes(buffer[: reader.recv_into(memoryview(buffer))])


def put(writer, data):
    """`data`, offered twice as the channel does."""
    with pytest.raises(BlockingIOError):
        writer.send(memoryview(data))
    wait(writer)
    return writer.send(memoryview(data))


def wait_for_closed_reader(fd):
    """Until nobody reads the pipe that `fd` writes to."""
    poll = select.poll()
    poll.register(fd, 0)
    assert poll.poll(PATIENCE * 1000), "the reading end stayed open"


class TestReader:
    def test_pieces_order_and_an_end_that_stays(self, pipe):
        reader = streams.Reader(pipe[0])
        with pytest.raises(BlockingIOError):
            reader.recv_into(memoryview(bytearray(10)))
        os.write(pipe[1], b"hello there")
        assert take(reader, 5) == b"hello"
        assert reader.ready()
        assert take(reader, 100) == b" there"
        assert not reader.ready()
        close(pipe, 1)
        assert [take(reader, 9) for _ in range(3)] == [b""] * 3
        reader.close()
        assert os.fstat(pipe[0])  # not owned: still open

    def test_it_reads_no_more_than_a_few_chunks_ahead(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            for n in range(9):
                theirs.send(b"%d" % n)
            reader = streams.Reader(ours.fileno())
            reader.start()
            reader.start()
            for n in range(9):
                wait(reader)
                assert len(reader._ours.recv(100, socket.MSG_PEEK)) <= 4
                assert take(reader, 10) == b"%d" % n
            theirs.send(b"")  # the thread ends before the descriptor does
            assert take(reader, 10) == b""
            reader.close()

    def test_a_failed_read_is_raised_each_time(self, tmp_path):
        fd = os.open(tmp_path, os.O_RDONLY)
        reader = streams.Reader(fd, owned=True)
        reader.start()
        for _ in range(2):
            with pytest.raises(IsADirectoryError):
                take(reader, 10)
        reader.close()

    def test_an_owned_descriptor_is_closed_at_its_end(self, pipe):
        reader = streams.Reader(pipe[0], owned=True)
        pipe[0] = -1
        reader.start()
        os.write(pipe[1], b"x")
        assert take(reader, 10) == b"x"
        reader.close()
        reader.close()
        os.write(pipe[1], b"y")  # ends the read that is under way
        wait_for_closed_reader(pipe[1])

    def test_an_owned_descriptor_that_was_never_read_is_closed_at_once(self, pipe):
        reader = streams.Reader(pipe[0], owned=True)
        pipe[0] = -1
        reader.close()
        with pytest.raises(BrokenPipeError):
            os.write(pipe[1], b"x")
        reader.close()

    def test_what_was_never_read_can_be_read_by_others(self, pipe):
        reader = streams.Reader(pipe[0])
        os.write(pipe[1], b"theirs")
        reader.close()
        assert os.read(pipe[0], 10) == b"theirs"


class TestWriter:
    def test_what_it_counts_was_written(self, pipe):
        writer = streams.Writer(pipe[1])
        for data in (b"one", b"two"):
            assert put(writer, data) == 3
            assert os.read(pipe[0], 10) == data
        writer.close()
        writer.close()

    def test_not_now_stays_not_now(self, pipe):
        data = pattern(streams._CHUNK + 5)
        writer = streams.Writer(pipe[1])
        for _ in range(3):
            with pytest.raises(BlockingIOError):
                writer.send(memoryview(data))
        got = b""
        while len(got) < streams._CHUNK:
            got += os.read(pipe[0], 1 << 20)
        wait(writer)
        assert writer.send(memoryview(data)) == streams._CHUNK
        assert got == data[: streams._CHUNK]
        writer.close()

    def test_nobody_reads(self, pipe):
        close(pipe, 0)
        writer = streams.Writer(pipe[1])
        for _ in range(2):
            with pytest.raises(BrokenPipeError):
                put(writer, b"x")
        writer.close()

    def test_other_errors_are_themselves(self, pipe):
        writer = streams.Writer(pipe[0])  # cannot be written to
        with pytest.raises(OSError, match=rf"\[Errno {errno.EBADF}\]"):
            put(writer, b"x")
        writer.close()

    def test_closing_has_something_done_at_once_when_nothing_is_under_way(self, pipe):
        done = []
        unused = streams.Writer(pipe[1])
        unused.close(lambda: done.append("unused"))
        used = streams.Writer(pipe[1])
        put(used, b"x")
        used.close(lambda: done.append("used"))
        assert done == ["unused", "used"]

    def test_closing_waits_for_what_is_under_way(self, pipe):
        data = pattern(streams._CHUNK)  # more than a pipe takes
        writer = streams.Writer(pipe[1])
        with pytest.raises(BlockingIOError):
            writer.send(memoryview(data))
        done = threading.Event()
        writer.close(done.set)
        got = os.read(pipe[0], 10)
        assert not done.is_set()
        while len(got) < len(data):
            got += os.read(pipe[0], 1 << 20)
        assert done.wait(PATIENCE)
        assert got == data


class TestConsole:
    @pytest.fixture
    def terminal(self):
        master, slave = os.openpty()
        yield slave
        os.close(master)
        os.close(slave)

    def test_a_terminal_is_one_and_a_pipe_is_not(self, terminal, pipe):
        assert streams.is_console(terminal)
        assert not streams.is_console(pipe[0])

    def test_what_only_claims_to_be_a_terminal(self, terminal, monkeypatch):
        monkeypatch.setattr(io, "_WindowsConsoleIO", io.FileIO, raising=False)
        assert not streams.is_console(terminal)

    @pytest.fixture
    def console(self, monkeypatch):
        """Descriptors 0 and 1 are a console that speaks UTF-8 by Python's own streams only."""

        class Raw:
            def __init__(self):
                self.lines = ["é\n".encode(), b""]
                self.written = []

            def read(self, count):
                return self.lines.pop(0)

            def write(self, view):
                self.written.append(bytes(view[:2]))
                return len(self.written[-1])

        raw = Raw()
        stream = SimpleNamespace(buffer=SimpleNamespace(raw=raw))
        monkeypatch.setattr(io, "_WindowsConsoleIO", Raw, raising=False)
        monkeypatch.setattr(os, "isatty", lambda fd: fd <= 2)
        monkeypatch.setattr(sys, "__stdin__", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        return raw

    def test_it_is_read_and_written_in_utf_8(self, console):
        assert streams.is_console(0)
        reader, writer = streams.Reader(0), streams.Writer(1)
        reader.start()
        assert [take(reader, 10), take(reader, 10)] == ["é\n".encode(), b""]
        assert put(writer, "éa\n".encode()) == 4
        assert console.written == ["é".encode(), b"a\n"]
        reader.close()
        writer.close()

    def test_a_console_that_is_gone(self, console, monkeypatch):
        def refuse(view):
            raise OSError(errno.EINVAL, "")

        monkeypatch.setattr(console, "write", refuse)
        writer = streams.Writer(1)
        with pytest.raises(BrokenPipeError):
            put(writer, b"x")
        writer.close()


class TestFiles:
    def test_one_buffer_is_filled(self, pipe):
        os.write(pipe[1], b"abcdef")
        buffer, other = bytearray(4), bytearray(4)
        assert files.readv(pipe[0], [memoryview(buffer), memoryview(other)]) == 4
        assert (bytes(buffer), bytes(other)) == (b"abcd", bytes(4))
        assert files.readv(pipe[0], [memoryview(buffer)]) == 2
        assert bytes(buffer) == b"efcd"

    def test_at_an_offset(self, tmp_path):
        (tmp_path / "file").write_bytes(b"0123456789")
        buffer = bytearray(4)
        with open(tmp_path / "file", "rb") as file:
            assert files.preadv(file.fileno(), [memoryview(buffer)], 8) == 2
            assert bytes(buffer) == b"89\0\0"
            assert files.preadv(file.fileno(), [memoryview(buffer)], 10) == 0
            assert file.tell() == 0


class TestChildren:
    @pytest.fixture
    def start(self):
        """A child with pipes of ours: (spawned, its input, its output)."""
        fds, children = [], []

        def spawn(code):
            (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
            fds.extend((ours_in, ours_out))
            try:
                words = [sys.executable, "-Sc", code]
                child = processes.Spawned(words, dict(os.environ, MARK="here"), {0: theirs_in, 1: theirs_out})
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
            children.append(child)
            return child, ours_in, ours_out

        yield spawn
        for child in children:
            child.end()
            self.ended(child)
        for fd in fds:
            os.close(fd)

    def ended(self, child):
        """Its status, waited for."""
        if child.poll() is None:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return child.poll()

    def line(self, fd):
        got = b""
        while got[-1:] != b"\n":
            part = os.read(fd, 100)
            assert part, "the child wrote no line"
            got += part
        return got

    def test_streams_environment_group_and_status(self, start):
        code = "import os,sys; print(os.environ['MARK'], os.getpgrp(), sys.stdin.readline()); sys.exit(3)"
        child, ours_in, ours_out = start(code)
        assert child.poll() is None
        os.write(ours_in, b"in\n")
        status = self.ended(child)
        assert os.read(ours_out, 100).split() == [b"here", b"%d" % child.pid, b"in"]
        assert status == child.poll() == 3

    def test_it_has_no_say_in_its_end(self, start):
        code = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); input()"
        child, _, ours_out = start(code)
        assert self.line(ours_out) == b"up\n"
        child.end()
        assert self.ended(child) == -signal.SIGKILL

    def test_no_such_program(self):
        with pytest.raises(FileNotFoundError):
            processes.Spawned(["/nowhere/to/be/found"], {}, {0: 0, 1: 1})

    def test_a_group_of_its_own_on_windows(self, monkeypatch):
        asked = {}

        def popen(words, **named):
            asked.update(named)
            return SimpleNamespace(pid=77)

        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(subprocess, "Popen", popen)
        assert processes.Spawned(["x"], {"A": "b"}, {0: 5, 1: 6}).pid == 77
        assert asked == {"env": {"A": "b"}, "stdin": 5, "stdout": 6, "creationflags": 0x200}
