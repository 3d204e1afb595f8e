"""What cannot be done is told in one line with the option or the descriptor it is about, and exit 2 or 1."""

import os
import socket

import pytest

from tests.e2e.sessions import one_line, read_exactly
from tests.harness import free_port


@pytest.mark.parametrize("command", ["connect", "listen"])
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("'", '--exec "\'": no closing quotation'),
        (" ", "--exec: no program given"),
        ("no-such-program-here", "--exec 'no-such-program-here': no such program"),
    ],
)
def test_programs_that_cannot_be_run(processes, command, program, words):
    where = "127.0.0.1:0" if command == "listen" else f"127.0.0.1:{free_port()}"
    done = processes.run(command, "-e", program, where)
    assert (done.code, one_line(done.err)) == (2, f"pync: {words}")


@pytest.mark.parametrize("command", ["connect", "listen"])
def test_descriptors_that_are_none_or_no_sockets(processes, command):
    assert one_line(processes.run(command, "fd:77").err) == "pync: fd:77: bad file descriptor"
    done = processes.run(command, "fd:0")
    assert (done.code, one_line(done.err)) == (2, "pync: fd:0: is not a socket")


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("127.0.0.1:nosuch", (), "unknown tcp service 'nosuch'"),
        ("udp://127.0.0.1:nosuch", ("-u",), "unknown udp service 'nosuch'"),
        ("127.0.0.1:http", ("-n",), "'http' is a service name, and --numeric forbids look-ups"),
        ("unix:/" + "x" * 200, (), "the Unix path is 201 bytes long, 107 are allowed"),
        ("fd:77", (), "fd:77: bad file descriptor"),
        ("fd:0", (), "fd:0: is not a socket"),
    ],
)
def test_a_target_that_can_never_be_is_refused_at_the_start(processes, target, options, words):
    done = processes.run("listen", *options, "--forward", target, "127.0.0.1", "0")
    assert (done.code, done.err.splitlines()[0]) == (2, f"pync: {words}")


def test_an_inherited_socket_is_a_target(sessions):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        fd = theirs.fileno()
        _, client = sessions.listen("--forward", f"fd:{fd}", pass_fds=(fd,))
        client.sendall(b"in")
        assert ours.recv(10) == b"in"
        ours.sendall(b"out")
        assert read_exactly(client, 3) == b"out"


def test_a_socket_that_is_not_listening_is_none_to_listen_on(processes):
    with socket.socket() as sock:
        done = processes.run("listen", f"fd:{sock.fileno()}", pass_fds=(sock.fileno(),))
    assert done.code == 2
    assert one_line(done.err).endswith(": the socket is not listening")


def test_an_inherited_datagram_socket_speaks_to_its_peer(processes):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.settimeout(20)
        process = processes.pync(
            "connect", "--quit-after", "100ms", f"fd:{theirs.fileno()}", pass_fds=(theirs.fileno(),)
        )
        ours.send(b"one")
        process.expect_out("one")
        process.write(b"two")
        assert ours.recv(100) == b"two"
        assert process.finish().code == 0


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--port-file", "/no/such/folder/port"), "--port-file /no/such/folder/port: no such file"),
        (("--ready-fd", "77"), "--ready-fd 77: bad file descriptor"),
        (("-s", "::1"), "--source ::1 contradicts the endpoint 127.0.0.1:0"),
        (("--tls", "--tls-cert", "/no/such.pem"), "/no/such.pem"),
        (("--output-dir", "/no/such/folder"), "--output-dir /no/such/folder: no such directory"),
        (("--allow-file", "/no/such/list"), "/no/such/list: no such file"),
        (("-n", "--allow", "localhost"), "--numeric forbids look-ups"),
        (("--deny", "10.0.0.0/99"), "10.0.0.0/99"),
    ],
)
def test_listeners_that_cannot_start(processes, option, words):
    done = processes.run("listen", "-k", *option, "127.0.0.1", "0")
    assert done.code == 2
    assert words in done.err.replace("listening on", "\n").rsplit("pync: ", 1)[1]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("-s", "::1", "127.0.0.1", "9"), 2, "not of the family"),
        (("-s", "192.0.2.77", "127.0.0.1", "9"), 2, "bind 192.0.2.77:0: "),
        (("-u", "-s", "192.0.2.77", "127.0.0.1", "9"), 2, "bind 192.0.2.77:0: "),
        (("-u", "--interface", "no-such-0", "127.0.0.1", "9"), 2, "no interface 'no-such-0'"),
        (("-u", "255.255.255.255", "9"), 1, "connect 255.255.255.255:9: "),
        (("-u", "127.0.0.1", "0"), 1, "connect 127.0.0.1:0: connection refused"),
        (("unix-dgram:/no/such/socket",), 1, "no such socket"),
        (("-s", "tcp://h:1", "unix-dgram:/no/such/socket"), 2, "--source"),
        (("-s", "unix-dgram:/no/such/folder/x", "unix-dgram:/no/such/socket"), 2, "bind unix-dgram:"),
    ],
)
def test_connections_that_cannot_be_made(processes, words, code, line):
    done = processes.run("connect", *words)
    assert (done.code, line in one_line(done.err)) == (code, True), done.err


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_directory_is_no_stream(processes, stream, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            words = ("connect", f"127.0.0.1:{server.getsockname()[1]}")
            done = processes.pync(*words, **{stream: fd}).wait()
    finally:
        os.close(fd)
    assert done.code in (1, 2)  # Python itself refuses to start with a directory as stdin
