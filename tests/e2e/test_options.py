"""Options that connect and listen share (CLI contract 3.4)."""

import os
import re
import socket
import subprocess
import time

import pytest

from tests.e2e.sessions import read_exactly, read_to_end, silent
from tests.harness import free_port, pattern

DATA = pattern(200_000)

# endpoints and addresses


@pytest.mark.parametrize(
    "words",
    [
        ["127.0.0.1", "{port}"],
        ["127.0.0.1:{port}"],
        ["tcp://127.0.0.1:{port}"],
        ["localhost:{port}"],
        ["-n", "127.0.0.1:{port}"],
        ["-4", "localhost", "{port}"],
    ],
    ids=" ".join,
)
def test_endpoint_forms(sessions, words):
    listener, _ = sessions.listener()
    port = listener.getsockname()[1]
    process = sessions.processes.pync("connect", *(word.format(port=port) for word in words))
    peer = sessions.keep(listener.accept()[0])
    peer.sendall(b"found")
    peer.close()
    assert process.finish()[:2] == (0, b"found")


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize("words", [["::1", "{port}"], ["[::1]:{port}"], ["-6", "[::1]:{port}"]], ids=" ".join)
def test_ipv6_endpoint_forms(sessions, words):
    process = sessions.processes.listen("::1", "0", stdin=subprocess.DEVNULL)
    done = sessions.processes.run(
        "connect", *(word.format(port=process.port) for word in words), input=b"found"
    )
    assert done.code == 0
    assert process.wait()[:2] == (0, b"found")


def test_endpoint_of_an_inherited_socket(sessions):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        process = sessions.processes.pync("connect", f"fd:{theirs.fileno()}", pass_fds=(theirs.fileno(),))
        theirs.close()
        process.write(b"hello")
        assert read_exactly(ours, 5) == b"hello"
        ours.sendall(b"reply")
        ours.close()
        assert process.finish()[:2] == (0, b"reply")


def test_listening_on_an_inherited_socket(sessions):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = sessions.processes.pync("listen", f"fd:{listener.fileno()}", pass_fds=(listener.fileno(),))
    peer = sessions.keep(socket.create_connection(("127.0.0.1", port), 20))
    peer.sendall(b"activated")
    peer.close()
    assert process.finish()[:2] == (0, b"activated")


def test_abstract_unix_socket(sessions):
    name = f"@pync-test-{os.getpid()}-{id(sessions)}"
    process = sessions.listen_at(f"unix:{name}", stdin=subprocess.DEVNULL)
    assert sessions.processes.run("connect", f"unix:{name}", input=b"hello").code == 0
    assert process.wait()[:2] == (0, b"hello")


def test_unix_option_takes_a_path(sessions, tmp_path):
    process = sessions.listen_at(f"{tmp_path}/sock", "-U", stdin=subprocess.DEVNULL)
    assert sessions.processes.run("connect", "-U", f"{tmp_path}/sock", input=b"hello").code == 0
    assert process.wait()[:2] == (0, b"hello")


def test_port_0_is_the_same_number_for_both_families(sessions, ipv6):
    process = sessions.processes.listen("-k", "--discard", "0")
    for host in ("127.0.0.1", "::1"):
        sessions.client(process, host).close()


def test_only_the_wanted_family_listens(sessions, ipv6):
    process = sessions.processes.listen("-6", "--discard", "-k", "0")
    sessions.client(process, "::1").close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", process.port), 20)


def test_source_address_and_port(sessions):
    port = free_port()
    _, peer = sessions.connect("-s", "127.0.0.2", "-p", str(port))
    assert peer.getpeername() == ("127.0.0.2", port)


def test_source_with_a_port_is_reusable_at_once(sessions):
    port = free_port()
    for _ in range(3):
        process, peer = sessions.connect("-s", f"127.0.0.1:{port}", stdin=subprocess.DEVNULL)
        assert peer.getpeername()[1] == port
        assert read_to_end(peer) == b""
        peer.close()
        assert process.wait().code == 0


# what passes


def test_crlf_on_the_wire_only(sessions, role):
    process, peer = sessions.open(role, "-C")
    process.write(b"a\nb\r")
    assert read_exactly(peer, 5) == b"a\r\nb\r"
    process.write(b"\nc\r\n")
    peer.sendall(b"x\ny\n")
    peer.shutdown(socket.SHUT_WR)
    process.close_stdin()
    assert read_to_end(peer) == b"\nc\r\n"
    assert process.wait()[:2] == (0, b"x\ny\n")


def test_rate_limits_what_is_sent(sessions, role, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with source.open("rb") as stdin:
        start = time.monotonic()
        _, peer = sessions.open(role, "--rate", "200K", stdin=stdin)
        assert read_to_end(peer) == DATA
    assert 0.6 < time.monotonic() - start < 6


def test_rate_limits_what_is_received(sessions, role):
    process, peer = sessions.open(role, "--rate", "200K", stdin=subprocess.DEVNULL)
    start = time.monotonic()
    peer.sendall(DATA)
    peer.close()
    assert process.wait()[:2] == (0, DATA)
    assert 0.6 < time.monotonic() - start < 6


def test_max_bytes_ends_with_zero_after_exactly_that_much(sessions, role):
    process, peer = sessions.open(role, "--max-bytes", "100000")
    peer.sendall(DATA)
    done = process.wait()
    assert (done.code, done.out) == (0, DATA[:100_000])


def test_max_bytes_takes_sizes(sessions, role):
    process, peer = sessions.open(role, "--max-bytes", "64K")
    peer.sendall(DATA)
    assert len(process.wait().out) in (64_000, 65_536)


def test_delay_between_lines(sessions, role):
    process, peer = sessions.open(role, "--delay", "300ms")
    process.write(b"one\ntwo\nthr")
    assert read_exactly(peer, 4) == b"one\n"
    assert silent(peer, 0.15)
    process.write(b"ee\nrest")
    process.close_stdin()
    assert read_exactly(peer, 4) == b"two\n"
    assert silent(peer, 0.15)
    assert read_exactly(peer, 6) == b"three\n"
    assert read_to_end(peer) == b"rest"
    peer.close()
    assert process.wait().code == 0


@pytest.mark.parametrize("role", ["connect", "listen"])
@pytest.mark.parametrize(
    ("options", "level", "name", "value"),
    [
        (("--nodelay",), socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (("--keepalive",), socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (("--ttl", "7"), socket.IPPROTO_IP, socket.IP_TTL, 7),
        (("--dscp", "10"), socket.IPPROTO_IP, socket.IP_TOS, 40),
        (("--sndbuf", "64K"), socket.SOL_SOCKET, socket.SO_SNDBUF, None),
        (("--rcvbuf", "64K"), socket.SOL_SOCKET, socket.SO_RCVBUF, None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_socket_options_reach_the_connection(sessions, role, options, level, name, value):
    process, peer = sessions.open(role, *options)
    peer.sendall(b"x")
    process.expect_out("x")  # so that it is accepted
    sock = socket_of(process)
    try:
        found = sock.getsockopt(level, name)
        assert found in ((64_000, 65_536, 128_000, 131_072) if value is None else (value,))
    finally:
        sock.close()


@pytest.mark.parametrize("role", ["send", "recv"])
def test_the_short_frames_of_a_transfer_wait_for_no_acknowledgement(sessions, role, tmp_path):
    if role == "send":
        listener, _ = sessions.listener()
        host, port = listener.getsockname()
        process = sessions.processes.pync("send", f"{host}:{port}", "-", stdin=subprocess.DEVNULL)
        peer = sessions.keep(listener.accept()[0])
    else:
        process = sessions.processes.listen("-o", f"{tmp_path}/", "127.0.0.1:0", command="recv")
        peer = sessions.keep(socket.create_connection(("127.0.0.1", process.port)))
    assert read_exactly(peer, 6) == b"\x89pync\r"  # so that it is accepted
    sock = socket_of(process)
    try:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    finally:
        sock.close()


def socket_of(process):
    """A duplicate of the process's connected TCP socket."""
    pidfd = os.pidfd_open(process.pid)
    try:
        for entry in os.listdir(f"/proc/{process.pid}/fd"):
            if os.readlink(f"/proc/{process.pid}/fd/{entry}").startswith("socket:"):
                duplicate = _pidfd_getfd(pidfd, int(entry))
                sock = socket.socket(fileno=duplicate)
                if sock.family == socket.AF_INET and not sock.getsockopt(
                    socket.SOL_SOCKET, socket.SO_ACCEPTCONN
                ):
                    return sock
                sock.close()
    finally:
        os.close(pidfd)
    raise AssertionError("no connection found")


def _pidfd_getfd(pidfd, fd):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    duplicate = libc.syscall(438, pidfd, fd, 0)
    if duplicate < 0:
        pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return duplicate


@pytest.mark.parametrize("option", ["--sndbuf", "--rcvbuf"])
def test_a_buffer_beyond_all_measure_is_what_the_system_allows(sessions, option):
    assert sessions.processes.run("connect", "-z", option, "99T", *sessions.nobody()).code == 0


def test_interface_that_does_not_exist_is_2(sessions):
    done = sessions.processes.run("connect", "--interface", "nope0", *sessions.nobody())
    assert done.code == 2
    assert "nope0" in done.err


def test_progress_without_a_terminal_draws_nothing(sessions, role):
    process, peer = sessions.open(role, "--progress")
    peer.sendall(DATA)
    process.expect_bytes(len(DATA))
    peer.close()
    done = process.finish()
    assert done.code == 0
    assert "\r" not in done.err
    assert "\x1b" not in done.err


# copies of the session


def test_output_holds_both_directions_in_order_as_it_happens(sessions, role, tmp_path):
    copy = tmp_path / "copy"
    process, peer = sessions.open(role, "-o", copy)
    peer.sendall(b"hello? ")
    process.expect_out("hello")
    process.write(b"hi! ")
    assert read_exactly(peer, 4) == b"hi! "
    process.until(lambda: copy.read_bytes() == b"hello? hi! ", "the copy to be on disk")
    peer.sendall(b"bye")
    peer.close()
    assert process.finish()[:2] == (0, b"hello? bye")
    assert copy.read_bytes() == b"hello? hi! bye"


def test_output_replaces_and_append_adds(sessions, tmp_path):
    copy = tmp_path / "copy"
    copy.write_bytes(b"old ")
    for options, expected in (((), b"new"), (("--append",), b"newnew")):
        process, peer = sessions.connect("-o", copy, *options)
        peer.sendall(b"new")
        peer.close()
        assert process.finish().code == 0
        assert copy.read_bytes() == expected


def test_hex_dump_lines(sessions, role, tmp_path):
    dump = tmp_path / "dump"
    process, peer = sessions.open(role, "-x", dump)
    process.write(b"hi\n")
    assert read_exactly(peer, 3) == b"hi\n"
    peer.sendall(bytes(range(20)))
    process.expect_bytes(20)
    peer.close()
    assert process.finish().code == 0
    lines = dump.read_text().splitlines()
    clock = r"\d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(rf"> {clock} 00000000  68 69 0a {{42}}hi\.", lines[0])
    assert re.fullmatch(rf"< {clock} 00000000  00 01 .* 0e 0f  \.{{16}}", lines[1])
    assert re.fullmatch(rf"< {clock} 00000010  10 11 12 13 {{39}}\.{{4}}", lines[2])


@pytest.mark.parametrize("option", ["-o", "-x"])
@pytest.mark.parametrize("direction", ["sent", "received"])
def test_a_copy_that_fails_later_is_2(sessions, role, option, direction):
    process, peer = sessions.open(role, option, "/dev/full")
    if direction == "sent":
        process.write(b"data")
    else:
        peer.sendall(b"data")
    done = process.wait()
    assert done.code == 2
    assert "/dev/full" in done.err


# programs


@pytest.mark.parametrize("option", ["-e", "-c"])
def test_program_is_run_on_the_connection(sessions, role, option):
    process, peer = sessions.open(role, option, "tr a-z A-Z")
    peer.sendall(b"hello")
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == b"HELLO"
    assert process.wait().code == 0


def test_exec_splits_words_without_a_shell(sessions):
    process, peer = sessions.connect("-e", "printf '%s|' 'two words' $HOME \\$x *")
    assert read_to_end(peer) == b"two words|$HOME|$x|*|"
    assert process.wait().code == 0


def test_sh_exec_is_a_shell(sessions):
    process, peer = sessions.connect("-c", "echo $((6 * 7)) | cat; echo second")
    assert read_to_end(peer) == b"42\nsecond\n"
    assert process.wait().code == 0


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 3", 1), ("kill -9 $$", 1)])
def test_status_of_the_program(sessions, role, command, code):
    process, peer = sessions.open(role, "-c", command)
    assert read_to_end(peer) == b""
    peer.close()
    assert process.wait().code == code


def test_all_output_of_a_program_that_ended_is_sent(sessions, role):
    process, peer = sessions.open(role, "-c", "head -c 3000000 /dev/zero")
    assert len(read_to_end(peer)) == 3_000_000
    peer.close()
    assert process.wait().code == 0


def test_output_of_a_program_is_drained_after_the_peers_end(sessions, role):
    process, peer = sessions.open(role, "-c", "cat >/dev/null; echo afterwards")
    peer.sendall(b"input")
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == b"afterwards\n"
    assert process.wait().code == 0


def test_program_sees_the_connection(sessions, role):
    names = [f"{maker}_{name}" for maker in ("PYNC", "NCAT") for name in
             ("REMOTE_ADDR", "REMOTE_PORT", "LOCAL_ADDR", "LOCAL_PORT", "PROTO")]  # fmt: skip
    process, peer = sessions.open(role, "-c", "echo " + " ".join(f"${name}" for name in names))
    remote, local = peer.getsockname(), peer.getpeername()
    one = f"{remote[0]} {remote[1]} {local[0]} {local[1]} "
    found = read_to_end(peer).decode()
    assert found.lower() == f"{one}tcp {one}tcp\n"
    assert process.wait().code == 0


def test_no_child_is_left_when_the_peer_resets(sessions, role):
    process, peer = sessions.open(role, "-c", "exec sleep 1000")
    (child,) = process.until(process.children, "the program to start")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    process.wait()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
