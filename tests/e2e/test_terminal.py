"""Terminals: an interactive session, its control characters, raw mode and its restoration."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import termios
import time

import pexpect
import pytest

from tests.e2e.sessions import read_exactly, read_to_end
from tests.harness import PATIENCE, PYNC, ROOT, environment, free_port


@pytest.fixture
def terminal(sessions):
    """Start `pync` on a terminal of its own: `terminal("connect", ...)` gives a pexpect child."""
    children = []

    def start(*words, env=None):
        child = pexpect.spawn(
            PYNC[0],
            [*PYNC[1:], *map(str, words)],
            env=environment(env),
            cwd=str(ROOT),
            timeout=PATIENCE,
            echo=True,
        )
        child.delaybeforesend = None
        child.delayafterclose = 0.01
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


def session(terminal, sessions, *options, env=None):
    """(child, peer): `pync connect` on a terminal and the test at the other end."""
    listener, words = sessions.listener()
    child = terminal("connect", *options, *words, env=env)
    return child, sessions.keep(listener.accept()[0])


def status(child):
    """Exit code, or minus the signal."""
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus if child.signalstatus is None else -child.signalstatus


def test_interactive_session_line_by_line(terminal, sessions):
    child, peer = session(terminal, sessions)
    child.send("hello\n")
    assert read_exactly(peer, 6) == b"hello\n"
    peer.sendall(b"welcome\n")
    child.expect_exact("welcome\r\n")
    child.send("again\n")
    assert read_exactly(peer, 6) == b"again\n"
    child.sendeof()
    assert read_to_end(peer) == b""
    peer.sendall(b"bye\n")
    peer.close()
    child.expect_exact("bye\r\n")
    assert status(child) == 0


def test_the_peers_end_ends_an_interactive_session(terminal, sessions):
    child, peer = session(terminal, sessions)
    peer.sendall(b"goodbye\n")
    peer.close()
    child.expect_exact("goodbye\r\n")
    assert status(child) == 0


def test_peer_eof_continue_overrules_the_terminal(terminal, sessions):
    child, peer = session(terminal, sessions, "--peer-eof", "continue")
    peer.sendall(b"half\n")
    peer.shutdown(socket.SHUT_WR)
    child.expect_exact("half\r\n")
    child.send("still\n")
    assert read_exactly(peer, 6) == b"still\n"
    child.sendeof()
    assert read_to_end(peer) == b""
    assert status(child) == 0


def test_ctrl_d_after_text_sends_the_text(terminal, sessions):
    child, peer = session(terminal, sessions)
    child.send("partial\x04")
    assert read_exactly(peer, 7) == b"partial"
    child.send("\x04")
    assert read_to_end(peer) == b""
    peer.close()
    assert status(child) == 0


def test_ctrl_c_ends_with_130(terminal, sessions):
    child, peer = session(terminal, sessions)
    peer.sendall(b"ready\n")
    child.expect_exact("ready\r\n")
    child.send("\x03")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.signalstatus == signal.SIGINT
    assert b"Traceback" not in child.before


def test_ctrl_c_while_connecting(terminal):
    child = terminal("connect", "-v", "--retry-for", "1h", f"127.0.0.1:{free_port()}")
    child.expect("refused")
    child.send("\x03")
    assert status(child) == -signal.SIGINT


def test_ctrl_c_in_a_listener_on_a_terminal(terminal):
    child = terminal("listen", "127.0.0.1", "0")
    child.expect("listening on")
    child.send("\x03")
    assert status(child) == -signal.SIGINT


def test_a_line_typed_before_the_client_came_is_sent(terminal, sessions):
    child = terminal("listen", "127.0.0.1", "0")
    child.expect(r"listening on 127\.0\.0\.1:(\d+)")
    port = int(child.match[1])
    child.send("early\n")
    peer = sessions.keep(socket.create_connection(("127.0.0.1", port), 20))
    assert read_exactly(peer, 6) == b"early\n"
    peer.close()
    assert status(child) == 0


def test_datagrams_from_a_terminal_are_lines(terminal, sessions):
    peer = sessions.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    peer.bind(("127.0.0.1", 0))
    child = terminal("connect", "-u", f"127.0.0.1:{peer.getsockname()[1]}")
    child.send("one\n")
    assert peer.recv(100) == b"one\n"
    child.send("two\n")
    data, address = peer.recvfrom(100)
    assert data == b"two\n"
    peer.sendto(b"reply\n", address)
    child.expect_exact("reply\r\n")
    child.sendeof()
    assert status(child) == 0


# job control


def shell(terminal_size=(24, 80)):
    child = pexpect.spawn(
        "/bin/bash",
        ["--norc", "--noprofile", "-i"],
        env=environment({"PS1": "PROMPT> ", "TERM": "dumb"}),
        cwd=str(ROOT),
        timeout=PATIENCE,
        dimensions=terminal_size,
    )
    child.delaybeforesend = None
    child.delayafterclose = 0.01
    child.expect_exact("PROMPT> ")
    return child


@pytest.mark.parametrize("options", [(), ("--raw-tty",)])
def test_stop_and_continue(sessions, options):
    """Ctrl-Z stops (raw: the signal does), fg goes on, nothing is lost."""
    listener, words = sessions.listener()
    with contextlib.closing(shell()) as child:
        child.sendline(" ".join([*PYNC, "connect", *options, *words]))
        peer = sessions.keep(listener.accept()[0])
        peer.sendall(b"ready\n")
        child.expect_exact("ready")
        if options:
            os.kill(pync_of(child), signal.SIGTSTP)
        else:
            child.send("\x1a")
        child.expect("Stopped")
        child.expect_exact("PROMPT> ")
        assert is_sane(child)
        peer.sendall(b"while stopped\n")
        child.sendline("echo $((6*7))")
        child.expect_exact("42")
        child.sendline("fg")
        child.expect_exact("while stopped")
        child.send("after\n")
        assert read_exactly(peer, 6).strip() == b"after"
        peer.close()
        child.expect_exact("PROMPT> ")
        child.sendline("echo status=$?")
        child.expect_exact("status=0")


def pync_of(child):
    """The process in the foreground of that shell."""
    return os.tcgetpgrp(child.child_fd)


def is_sane(child):
    """Whether line editing, echo and signals are on as an interactive program expects them after us."""
    local = termios.tcgetattr(child.child_fd)[3]
    return bool(local & termios.ISIG)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_shell_sees_128_and_the_signal(sessions, signum):
    listener, words = sessions.listener()
    with contextlib.closing(shell()) as child:
        child.sendline(" ".join([*PYNC, "connect", *words]))
        peer = sessions.keep(listener.accept()[0])
        peer.sendall(b"ready\n")
        child.expect_exact("ready")
        os.kill(pync_of(child), signum)
        child.expect_exact("PROMPT> ")
        child.sendline("echo status=$?")
        child.expect_exact(f"status={128 + signum}")


# --raw-tty


class Terminal:
    """A terminal whose settings the test watches, with `pync` on it."""

    def __init__(self, sessions, *options):
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        listener, words = sessions.listener()
        self.process = sessions.processes.pync(
            *("connect", "--raw-tty", *options, *words), stdin=self.theirs, stdout=self.theirs
        )
        self.peer = sessions.keep(listener.accept()[0])
        self.process.until(lambda: termios.tcgetattr(self.theirs) != self.before, "raw mode")

    def restored(self):
        return termios.tcgetattr(self.theirs) == self.before

    def close(self):
        os.close(self.ours)
        os.close(self.theirs)


def test_raw_keys_go_to_the_peer_one_by_one(sessions):
    with contextlib.closing(Terminal(sessions)) as terminal:
        for key in (b"a", b"\x03", b"\x04", b"\x1a", b"\r", b"\x1b[A"):
            os.write(terminal.ours, key)
            assert read_exactly(terminal.peer, len(key)) == key
        terminal.peer.sendall(b"\x1b[31mred\n")
        assert os.read(terminal.ours, 100) == b"\x1b[31mred\n"  # no echo of the keys, no added CR
        terminal.peer.close()
        assert terminal.process.wait().code == 0
        assert terminal.restored()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_raw_terminal_is_restored_after_a_signal(sessions, signum):
    with contextlib.closing(Terminal(sessions)) as terminal:
        terminal.process.signal(signum)
        assert terminal.process.wait().code == -signum
        assert terminal.restored()


def test_raw_terminal_is_restored_after_a_reset(sessions):
    with contextlib.closing(Terminal(sessions)) as terminal:
        terminal.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        terminal.peer.close()
        assert terminal.process.wait().code == 1
        assert terminal.restored()


def test_raw_terminal_is_restored_after_a_timeout(sessions):
    with contextlib.closing(Terminal(sessions, "-i", "200ms")) as terminal:
        assert terminal.process.wait().code == 3
        assert terminal.restored()


def test_raw_tty_without_a_terminal(sessions):
    process, peer = sessions.connect("--raw-tty", stdin=subprocess.DEVNULL)
    peer.close()
    done = process.wait()
    assert done.code in (0, 2)
    assert "Traceback" not in done.err


# progress and colour


def test_progress_line_only_on_a_terminal_and_erased(terminal, sessions):
    child, peer = session(terminal, sessions, "--progress")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        peer.sendall(b"data\n")
        if child.expect([r"\d+(\.\d+)? ?[KMk]?i?B", pexpect.TIMEOUT], timeout=0.05) == 0:
            break
    else:
        raise AssertionError(child.before)
    peer.close()
    assert status(child) == 0


def test_no_color_is_obeyed(terminal, sessions):
    child = terminal("connect", f"127.0.0.1:{free_port()}", env={"NO_COLOR": "1"})
    assert status(child) == 1
    assert b"\x1b[3" not in child.before
    assert b"refused" in child.before
