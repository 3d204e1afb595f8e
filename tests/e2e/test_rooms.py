"""`listen --broker` and `--chat` (CLI contract 5)."""

import signal
import socket
import subprocess

import pytest

from tests.e2e.sessions import closed_at_once, flood, read_exactly, reset, silent
from tests.harness import pattern

# broker


class Lines:
    """A client that reads lines."""

    def __init__(self, sock):
        self.sock = sock
        self._file = sock.makefile("rb")

    def say(self, text):
        self.sock.sendall(text)

    def line(self):
        """The next line that is not the room's own."""
        while (line := self._file.readline()).startswith(b"* "):
            pass
        return line

    def note(self, word):
        """The next line of the room itself with that word."""
        while word not in (line := self._file.readline()) and line:
            pass
        assert line.startswith(b"* ")
        return line


def broker(sessions, *options, clients=3, **popen):
    """(process, clients), each known to be in the room."""
    process = sessions.processes.listen("--broker", *options, "127.0.0.1", "0", **popen)
    members = []
    for _ in range(clients):
        members.append(sessions.client(process))
        members[-1].sendall(b"?")
        process.expect_bytes(len(members))
    for number, member in enumerate(members):
        assert read_exactly(member, clients - 1 - number) == b"?" * (clients - 1 - number)
    return process, members


def test_what_one_sends_goes_to_all_others(sessions):
    _, (one, two, three) = broker(sessions)
    one.sendall(b"hello")
    assert read_exactly(two, 5) == read_exactly(three, 5) == b"hello"
    two.sendall(b"reply")
    assert read_exactly(one, 5) == read_exactly(three, 5) == b"reply"
    assert silent(two, 0.05)


def test_stdin_goes_to_all_and_stdout_has_what_was_said(sessions):
    process, members = broker(sessions)
    process.write(b"from us")
    for member in members:
        assert read_exactly(member, 7) == b"from us"
    members[0].sendall(b"to you")
    process.expect_out("to you")


def test_recv_only_passes_nothing_on(sessions):
    process = sessions.processes.listen("--broker", "--recv-only", "127.0.0.1", "0")
    one, two = sessions.client(process), sessions.client(process)
    one.sendall(b"collected")
    process.expect_out("collected")
    assert silent(two)


def test_the_room_goes_on_when_members_leave(sessions):
    process, (one, two, three) = broker(sessions)
    reset(one)
    two.sendall(b"still here")
    assert read_exactly(three, 10) == b"still here"
    two.close()
    late = sessions.client(process)
    late.sendall(b"new")
    assert read_exactly(three, 3) == b"new"
    assert process.popen.poll() is None


def test_a_member_that_does_not_read_is_cut_off_and_the_others_get_all(sessions):
    process, (one, two, stuck) = broker(sessions, "--client-buffer", "64K", "-v", stdin=subprocess.DEVNULL)
    data = pattern(20_000_000)
    received = bytearray()
    one.settimeout(20)
    for at in range(0, len(data), 100_000):
        one.sendall(data[at : at + 100_000])
        received += read_exactly(two, 100_000)
    assert received == data
    with pytest.raises((ConnectionResetError, BrokenPipeError, TimeoutError)):
        flood(stuck)
    assert process.popen.poll() is None


def test_bulk_of_one_reaches_each_of_many(sessions):
    _, members = broker(sessions, "--client-buffer", "16M", clients=20, stdin=subprocess.DEVNULL)
    data = pattern(1_000_000)
    members[0].sendall(data)
    for member in members[1:]:
        assert read_exactly(member, len(data)) == data


def test_unix_and_ipv6_brokers(sessions, ipv6, tmp_path):
    path = f"{tmp_path}/room"
    on_unix = sessions.listen_at(f"unix:{path}", "--broker")
    on_ipv6 = sessions.processes.listen("--broker", "::1", "0")
    for process, family, address in (
        (on_unix, socket.AF_UNIX, path),
        (on_ipv6, socket.AF_INET6, ("::1", on_ipv6.port)),
    ):
        pair = [sessions.keep(socket.socket(family)) for _ in range(2)]
        for number, sock in enumerate(pair, 1):
            sock.connect(address)
            sock.sendall(b"x")
            process.expect_bytes(number)
        assert read_exactly(pair[0], 1) == b"x"
        pair[0].sendall(b"y")
        assert read_exactly(pair[1], 1) == b"y"


def test_datagram_broker(sessions):
    process = sessions.processes.listen("-u", "--broker", "127.0.0.1", "0")
    pair = [sessions.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
    for number, sock in enumerate(pair, 1):
        sock.connect(("127.0.0.1", process.port))
        sock.send(b"x")
        process.expect_bytes(number)
    assert pair[0].recv(100) == b"x"
    pair[0].send(b"whole datagram")
    assert pair[1].recv(100) == b"whole datagram"


# chat


def chat(sessions, *options, names=(b"ann", b"bob")):
    process = sessions.processes.listen("--chat", *options, "127.0.0.1", "0")
    members = []
    for name in names:
        member = Lines(sessions.client(process))
        member.note(b"you are")
        member.say(b"/nick " + name + b"\n")
        member.note(b"you are " + name)
        members.append(member)
    return process, members


def test_lines_go_out_whole_with_a_name_before_them(sessions):
    _, (ann, bob) = chat(sessions)
    ann.say(b"hel")
    ann.say(b"lo\r\nsecond\n")
    assert bob.line() == b"<ann> hello\n"
    assert bob.line() == b"<ann> second\n"
    bob.say(b"hi\n")
    assert ann.line() == b"<bob> hi\n"


def test_joins_leaves_and_names_are_announced(sessions):
    process, (ann, bob) = chat(sessions)
    assert b"bob" in ann.note(b"is now bob")
    bob.say(b"/nick zoe\n")
    assert b"bob" in ann.note(b"is now zoe")
    bob.sock.shutdown(socket.SHUT_RDWR)
    assert ann.note(b"left") == b"* zoe left\n"
    assert process.popen.poll() is None


def test_control_characters_never_reach_another_terminal(sessions):
    process, (ann, bob) = chat(sessions)
    ann.say(b"\x1b]0;x\x07 \x9b2J \xff \xe2\x80\xae end\n")
    line = bob.line()
    assert line == b"<ann> \\x1b]0;x\\x07 \\x9b2J \\xff \\u202e end\n"
    process.expect_out("end")
    assert b"\x1b" not in process.out


def test_our_stdin_takes_part(sessions):
    process, (ann, bob) = chat(sessions)
    process.write(b"a word from the host\n")
    for member in (ann, bob):
        line = member.line()
        assert line.endswith(b"> a word from the host\n")
        assert line.startswith(b"<")
    ann.say(b"thanks\n")
    process.expect_out("<ann> thanks\n")


def test_our_last_line_counts_without_its_end(sessions):
    process, members = chat(sessions)
    process.write(b"one\ntwo")
    process.close_stdin()
    for member in members:
        assert [member.line(), member.line()] == [b"<host> one\n", b"<host> two\n"]


def test_chat_max_conns_and_stop(sessions):
    process, _ = chat(sessions, "-m", "2", "--grace", "100ms")
    assert closed_at_once(sessions.client(process))
    process.signal(signal.SIGTERM)
    assert process.wait().code == -signal.SIGTERM


def test_a_member_who_ends_its_side_leaves(sessions):
    _, (ann, bob) = chat(sessions)
    bob.say(b"last words")
    bob.sock.shutdown(socket.SHUT_WR)
    assert ann.line() == b"<bob> last words\n"
    assert ann.note(b"left") == b"* bob left\n"
