"""Standard streams of every kind (CLI contract 3.1)."""

import contextlib
import os
import pty
import signal
import socket
import subprocess

import pytest

from tests.e2e.sessions import one_line, read_exactly, read_to_end
from tests.harness import PYNC, has_ipv6, pattern

DATA = pattern(300_000)

pytestmark = pytest.mark.usefixtures("mover")


def with_redirection(sessions, redirection, *options, before=""):
    """`pync connect OPTIONS` started by a shell with that redirection, and the peer's end."""
    listener, words = sessions.listener()
    script = f'{before} exec "$@" {redirection}'
    process = sessions.processes.spawn("/bin/sh", "-c", script, "sh", *PYNC, "connect", *options, *words)
    return process, sessions.keep(listener.accept()[0])


# stdin


def test_stdin_is_a_regular_file_read_from_its_offset(sessions, role, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with source.open("rb") as stdin:
        stdin.seek(1000)
        os.lseek(stdin.fileno(), 1000, os.SEEK_SET)
        process, peer = sessions.open(role, stdin=stdin)
        assert read_to_end(peer) == DATA[1000:]
        peer.close()
        assert process.wait().code == 0
        # As after any program that read it: the next one goes on from here.
        assert os.lseek(stdin.fileno(), 0, os.SEEK_CUR) == len(DATA)


def test_stdin_is_an_empty_file(sessions, role, tmp_path):
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as stdin:
        process, peer = sessions.open(role, stdin=stdin)
        assert read_to_end(peer) == b""
        peer.sendall(b"reply")
        peer.close()
        assert process.wait()[:2] == (0, b"reply")


def test_stdin_is_a_file_that_reports_no_size(sessions, role):
    with open("/proc/self/status", "rb") as stdin:
        process, peer = sessions.open(role, stdin=stdin)
        assert b"Name:" in read_to_end(peer)
        peer.close()
        assert process.wait().code == 0


def test_stdin_is_dev_null(sessions, role):
    process, peer = sessions.open(role, stdin=subprocess.DEVNULL)
    assert read_to_end(peer) == b""
    peer.sendall(DATA)
    peer.close()
    assert process.wait()[:2] == (0, DATA)


def test_stdin_is_a_socket(sessions, role):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process, peer = sessions.open(role, stdin=theirs)
        theirs.close()
        ours.sendall(DATA)
        ours.shutdown(socket.SHUT_WR)
        assert read_to_end(peer) == DATA
        peer.close()
        assert process.wait().code == 0


def test_stdin_and_stdout_are_one_socket(sessions, role):
    """As under inetd or socat EXEC."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process, peer = sessions.open(role, stdin=theirs, stdout=theirs)
        theirs.close()
        ours.settimeout(20)
        ours.sendall(b"question")
        assert read_exactly(peer, 8) == b"question"
        peer.sendall(b"answer")
        assert read_exactly(ours, 6) == b"answer"
        ours.shutdown(socket.SHUT_WR)
        assert read_to_end(peer) == b""
        peer.close()
        assert read_to_end(ours) == b""
        assert process.wait().code == 0


def test_stdin_is_closed(sessions):
    process, peer = with_redirection(sessions, "<&-")
    assert read_to_end(peer) == b""
    peer.sendall(DATA)
    peer.close()
    assert process.wait()[:2] == (0, DATA)


def test_stdin_is_a_terminal(sessions, role):
    ours, theirs = pty.openpty()
    try:
        process, peer = sessions.open(role, stdin=theirs)
        os.write(ours, b"a line\n")
        assert read_exactly(peer, 7) == b"a line\n"
        os.write(ours, b"\x04")  # Ctrl-D
        assert read_to_end(peer) == b""
        peer.sendall(b"reply")
        peer.close()
        assert process.wait()[:2] == (0, b"reply")
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_as_stdin_means_quit_when_the_peer_ends(sessions, role):
    ours, theirs = pty.openpty()
    try:
        process, peer = sessions.open(role, stdin=theirs)
        peer.sendall(b"bye")
        peer.shutdown(socket.SHUT_WR)
        assert process.wait()[:2] == (0, b"bye")
    finally:
        os.close(ours)
        os.close(theirs)


def test_stdin_is_a_directory(sessions):
    """Python itself refuses to start then, before any code of ours: its words, and its status 1."""
    directory = os.open("/", os.O_RDONLY)
    try:
        done = sessions.processes.run("connect", *sessions.nobody(), stdin=directory)
        assert done.code in (1, 2)
        assert "<stdin> is a directory" in done.err
    finally:
        os.close(directory)


def test_stdin_is_write_only(sessions, tmp_path):
    process, _ = with_redirection(sessions, f"0>{tmp_path}/file")
    done = process.wait()
    assert done.code == 2
    assert "stdin" in one_line(done.err)


# stdout


def test_stdout_is_a_regular_file(sessions, role, tmp_path):
    with (tmp_path / "out").open("wb") as stdout:
        stdout.write(b"before ")
        stdout.flush()
        process, peer = sessions.open(role, stdin=subprocess.DEVNULL, stdout=stdout)
        peer.sendall(DATA)
        peer.close()
        assert process.wait().code == 0
    assert (tmp_path / "out").read_bytes() == b"before " + DATA


def test_stdout_is_appended_to_a_file(sessions, role, tmp_path):
    out = tmp_path / "out"
    out.write_bytes(b"already there ")
    with out.open("ab") as stdout:
        process, peer = sessions.open(role, stdin=subprocess.DEVNULL, stdout=stdout)
        peer.sendall(DATA)
        peer.close()
        assert process.wait().code == 0
    assert out.read_bytes() == b"already there " + DATA


def test_stdout_is_dev_null(sessions, role):
    process, peer = sessions.open(role, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    peer.sendall(DATA)
    peer.close()
    assert process.wait().code == 0


def test_stdout_is_a_socket(sessions, role):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        process, peer = sessions.open(role, stdin=subprocess.DEVNULL, stdout=theirs)
        theirs.close()
        peer.sendall(b"for the socket")
        peer.close()
        assert read_to_end(ours) == b"for the socket"
        assert process.wait().code == 0


def test_stdout_is_a_terminal(sessions, role):
    ours, theirs = pty.openpty()
    try:
        process, peer = sessions.open(role, stdin=subprocess.DEVNULL, stdout=theirs)
        os.close(theirs)
        theirs = -1
        peer.sendall(b"shown")
        peer.close()
        assert process.wait().code == 0
        assert os.read(ours, 100) == b"shown"
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


@pytest.mark.parametrize("redirection", [">&-", ">&- <&-", ">&- <&- 2>&-"])
def test_stdout_closed_at_start_is_dev_null(sessions, redirection):
    process, peer = with_redirection(sessions, redirection)
    if "<&-" not in redirection:
        process.close_stdin()
    assert read_to_end(peer) == b""
    peer.sendall(DATA)
    peer.close()
    assert process.wait().code == 0


def test_no_socket_becomes_a_standard_descriptor(sessions):
    """With all three closed, what `--exec` inherits as stderr must not be the connection."""
    command = "readlink /proc/self/fd/2"
    process, peer = with_redirection(sessions, "<&- >&- 2>&-", "-c", command)
    assert b"socket" not in read_to_end(peer)
    process.wait()


# stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize("option", ["-v", "--json"])
def test_a_stderr_that_cannot_be_written_changes_nothing(sessions, redirection, option):
    process, peer = with_redirection(sessions, redirection, option)
    process.close_stdin()
    assert read_to_end(peer) == b""
    peer.sendall(DATA)
    peer.close()
    assert process.wait()[:2] == (0, DATA)


@pytest.mark.parametrize("options", [("-v",), ("--json",), ("--progress",)])
def test_a_stderr_whose_reader_left_changes_nothing(sessions, role, options):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process, peer = sessions.open(role, *options, stderr=writer)
        peer.sendall(b"data")
        peer.close()
        assert process.finish()[:2] == (0, b"data")
    finally:
        os.close(writer)


def test_a_failure_keeps_its_status_without_a_stderr(sessions):
    words = ("connect", "127.0.0.1:1")
    process = sessions.processes.spawn("/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *PYNC, *words)
    assert process.wait().code == 1


# what is said, and where


def test_only_data_on_stdout_even_when_talkative(sessions, role):
    process, peer = sessions.open(role, "-vv")
    peer.sendall(b"data")
    peer.close()
    done = process.finish()
    assert (done.code, done.out) == (0, b"data")
    assert done.err


def test_listen_says_one_line_when_ready(sessions):
    process = sessions.processes.pync("listen", "127.0.0.1", "0")
    process.expect(r"\Alistening on 127\.0\.0\.1:\d+\n\Z")


def test_listen_says_one_line_for_each_address(sessions):
    if not has_ipv6():
        pytest.skip("no IPv6 loopback here")
    process = sessions.processes.pync("listen", "0")
    found = process.expect(r"listening on 0\.0\.0\.0:(\d+)\nlistening on \[::\]:(\d+)\n")
    assert found[1] == found[2]


def test_connect_says_nothing_when_all_is_well(sessions):
    process, peer = sessions.connect()
    peer.sendall(b"data")
    peer.close()
    assert process.finish().err == ""


def test_no_colour_and_no_progress_without_a_terminal(sessions, role):
    process, peer = sessions.open(role, "-v")
    peer.sendall(DATA)
    peer.close()
    err = process.finish().err
    assert "\x1b" not in err
    assert "\r" not in err


# what is inherited


def test_inherited_descriptors_are_never_left_non_blocking(sessions, role):
    in_reader, in_writer = os.pipe()
    out_reader, out_writer = os.pipe()
    try:
        process, peer = sessions.open(role, stdin=in_reader, stdout=out_writer)
        peer.sendall(b"ping")
        assert os.read(out_reader, 4) == b"ping"
        assert os.get_blocking(in_reader)
        assert os.get_blocking(out_writer)
        process.signal(signal.SIGKILL)  # there is no clean-up that could put it right
        process.wait()
        assert os.get_blocking(in_reader)
        assert os.get_blocking(out_writer)
    finally:
        for fd in (in_reader, in_writer, out_reader, out_writer):
            os.close(fd)


def test_ignored_sigpipe_still_dies_of_a_closed_stdout(sessions):
    listener, words = sessions.listener()
    reader, writer = os.pipe()
    script = 'trap "" PIPE CHLD; exec "$@"'
    process = sessions.processes.spawn("/bin/sh", "-c", script, "sh", *PYNC, "connect", *words, stdout=writer)
    os.close(writer)
    peer = sessions.keep(listener.accept()[0])
    peer.sendall(b"x")
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    with contextlib.suppress(OSError):
        while True:
            peer.sendall(DATA)
    done = process.wait()
    assert (done.code, done.err) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize(("command", "code"), [("exit 3", 1), ("exit 0", 0)])
def test_ignored_sigchld_keeps_the_status_of_a_program(sessions, command, code):
    process, peer = with_redirection(sessions, "", "-c", command, before='trap "" CHLD;')
    assert read_to_end(peer) == b""
    peer.close()
    assert process.finish().code == code
