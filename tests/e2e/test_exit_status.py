"""Exit status (CLI contract 3.2): each row that connect and listen can come to."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest

from tests.e2e.sessions import SMALL, one_line, read_exactly, read_to_end
from tests.harness import PYNC, free_port


def test_refused_is_1(processes):
    port = free_port()
    done = processes.run("connect", f"127.0.0.1:{port}")
    assert (done.code, done.out) == (1, b"")
    assert one_line(done.err) == f"pync: connect 127.0.0.1:{port}: connection refused"


def test_name_not_found_is_1(processes):
    done = processes.run("connect", "no-such-host.invalid:80")
    assert done.code == 1
    assert "no-such-host.invalid" in one_line(done.err)


@pytest.mark.parametrize("endpoint", ["unix:{}/none.sock", "unix:@pync-nobody-{}"])
def test_no_such_unix_socket_is_1(processes, tmp_path, endpoint):
    done = processes.run("connect", endpoint.format(tmp_path))
    assert done.code == 1
    one_line(done.err)


def test_a_file_that_is_no_socket_is_1(processes, tmp_path):
    (tmp_path / "file").touch()
    done = processes.run("connect", f"unix:{tmp_path}/file")
    assert done.code == 1
    one_line(done.err)


def test_a_proxy_that_refuses_is_told_from_its_target(processes):
    proxy = f"http://127.0.0.1:{free_port()}"
    done = processes.run("connect", "--proxy", proxy, "127.0.0.1", "9")
    assert done.code == 1
    assert one_line(done.err).startswith(f"pync: proxy {proxy}: connect ")


def test_retry_for_used_up_is_1_with_the_last_reason(processes):
    port = free_port()
    start = time.monotonic()
    done = processes.run("connect", "--retry-for", "300ms", "--retry-delay", "50ms", f"127.0.0.1:{port}")
    assert done.code == 1
    assert time.monotonic() - start >= 0.3
    assert "connection refused" in one_line(done.err)


@pytest.mark.parametrize(
    "words",
    [
        ("connect",),
        ("connect", "--no-such-option", "127.0.0.1:1"),
        ("connect", "127.0.0.1:http-no-such-service"),
        ("connect", "127.0.0.1:65536"),
        ("connect", "-w", "soon", "127.0.0.1:1"),
        ("connect", "--rate", "fast", "127.0.0.1:1"),
        ("connect", "-4", "-6", "127.0.0.1:1"),
        ("connect", "-n", "localhost:1"),
        ("connect", "--peer-eof", "sometimes", "127.0.0.1:1"),
        ("connect", "ftp://127.0.0.1:1"),
        ("listen",),
        ("listen", "--count", "0", "1"),
        ("frobnicate",),
    ],
    ids=" ".join,
)
def test_bad_usage_is_2(processes, words):
    done = processes.run(*words)
    assert (done.code, done.out) == (2, b"")
    assert done.err
    assert "Traceback" not in done.err


def test_a_listener_without_a_client_names_its_port(processes):
    done = processes.run("listen", "-w", "50ms", "0")
    assert done.code == 3
    port = re.search(r"listening on 0\.0\.0\.0:(\d+)", done.err)[1]
    assert f"pync: listen *:{port}: no client within 0.05 s" in done.err


@pytest.mark.parametrize("option", ["--echo", "--discard", "--forward=127.0.0.1:1", "-ecat"])
def test_an_output_directory_that_nothing_would_write_to_is_2(processes, tmp_path, option):
    done = processes.run("listen", "--output-dir", tmp_path, option, "127.0.0.1", "0")
    assert done.code == 2
    assert "exclude each other" in one_line(done.err)


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize("option", [(), ("-u",)])
@pytest.mark.parametrize("host", ["fe80::1", "fe80::1%nowhere"])
def test_a_link_local_address_without_its_link_is_2(processes, host, option):
    done = processes.run("connect", *option, host, "9")
    assert done.code == 2
    assert "interface" in one_line(done.err)


def test_cannot_bind_is_2(processes):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = processes.run("listen", "127.0.0.1", str(port))
    assert done.code == 2
    line = one_line(done.err)
    assert "address already in use" in line
    assert str(port) in line


def test_an_address_that_is_not_ours_is_2(processes):
    done = processes.run("listen", "192.0.2.1:0")
    assert done.code == 2
    one_line(done.err)


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program-anywhere arg", "/etc/passwd"])
def test_exec_program_not_found_is_2(sessions, program):
    done = sessions.processes.run("connect", "-e", program, *sessions.nobody())
    assert done.code == 2
    assert program.split()[0] in one_line(done.err)


def test_a_copy_that_cannot_be_written_is_2(sessions, tmp_path):
    done = sessions.processes.run("connect", "-o", f"{tmp_path}/no/dir/copy", *sessions.nobody())
    assert done.code == 2
    assert f"{tmp_path}/no/dir/copy" in one_line(done.err)


def test_listen_timeout_is_3(processes):
    done = processes.run("listen", "-w", "100ms", "127.0.0.1", "0")
    assert done.code == 3
    one_line(done.err)


def test_listen_timeout_is_for_the_first_client_only(sessions):
    process, peer = sessions.listen("-w", "1s")
    peer.sendall(b"here")
    process.expect_out("here")
    assert not process.ends(1.2)
    peer.close()
    assert process.finish().code == 0


def test_idle_timeout_is_3(sessions, role):
    process, peer = sessions.open(role, "-i", "200ms")
    peer.sendall(b"kept")
    done = process.wait()
    assert (done.code, done.out) == (3, b"kept")
    one_line(done.err)


def test_idle_timeout_is_for_nothing_either_way(sessions, role):
    process, peer = sessions.open(role, "-i", "700ms")
    for turn in range(4):
        assert not process.ends(0.25)
        if turn % 2:
            peer.sendall(b"x")
        else:
            process.write(b"y")
            assert read_exactly(peer, 1) == b"y"
    peer.close()
    assert process.finish().code == 0


def test_deadline_is_3(sessions, role):
    process, peer = sessions.open(role, "--deadline", "1s")
    peer.sendall(b"kept")
    process.expect_out("kept")
    done = process.wait()
    assert (done.code, done.out) == (3, b"kept")
    one_line(done.err)


def test_deadline_counts_while_waiting_for_a_client(processes):
    assert processes.run("listen", "--deadline", "100ms", "127.0.0.1", "0").code == 3


def test_deadline_counts_while_retrying(processes):
    done = processes.run("connect", "--retry-for", "1h", "--deadline", "200ms", f"127.0.0.1:{free_port()}")
    assert done.code == 3


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_really_dies_of_a_signal(sessions, role, signum):
    process, peer = sessions.open(role)
    peer.sendall(b"kept")
    process.expect_out("kept")
    process.signal(signum)
    done = process.wait()
    assert (done.code, done.out) == (-signum, b"kept")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_dies_of_a_signal_while_waiting_for_a_client(processes, signum):
    process = processes.listen("127.0.0.1", "0")
    process.signal(signum)
    done = process.wait()
    assert done.code == -signum
    assert "Traceback" not in done.err


def test_a_shell_sees_143(sessions):
    listener, words = sessions.listener()
    script = '"$@" & wait $! ; echo $?'
    shell = sessions.processes.spawn("/bin/sh", "-c", script, "sh", *PYNC, "connect", *words)
    sessions.keep(listener.accept()[0])
    (child,) = shell.until(shell.children, "starting pync")
    os.kill(child, signal.SIGTERM)
    assert shell.wait().out == b"143\n"


def test_signals_ignored_by_the_parent_stay_ignored(sessions):
    """nohup: SIGHUP."""
    listener, words = sessions.listener()
    script = 'trap "" HUP; exec "$@"'
    process = sessions.processes.spawn("/bin/sh", "-c", script, "sh", *PYNC, "connect", *words)
    peer = sessions.keep(listener.accept()[0])
    process.signal(signal.SIGHUP)
    process.write(b"alive")
    assert read_exactly(peer, 5) == b"alive"
    peer.close()
    assert process.finish().code == 0


def test_peer_that_went_away_before_reading_is_not_0(sessions, role, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"q" * 10_000_000)
    sessions.receive_buffer = SMALL
    with source.open("rb") as stdin:
        process, peer = sessions.open(role, stdin=stdin)
        peer.close()
        assert process.wait().code == 1


def test_all_done_is_0(sessions, role):
    process, peer = sessions.open(role, stdin=subprocess.DEVNULL)
    assert read_to_end(peer) == b""
    peer.close()
    done = process.wait()
    assert (done.code, done.out) == (0, b"")


# help and version


@pytest.mark.parametrize("words", [("--help",), ("connect", "--help"), ("listen", "--help"), ("--version",)])
def test_help_and_version_asked_for_go_to_stdout(processes, words):
    done = processes.run(*words)
    assert (done.code, done.err) == (0, "")
    assert done.out


def test_pync_alone_prints_the_help_on_stderr(processes):
    done = processes.run()
    assert (done.code, done.out) == (2, b"")
    assert "connect" in done.err
    assert "listen" in done.err


# letters of other netcats


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("-l", "9000"), "pync listen 9000"),
        (("-l", "-p", "9000"), "pync listen"),
        (("host", "80"), "pync connect host 80"),
        (("-k", "-l", "9000"), "pync listen"),
        (("-z", "host", "80"), "pync connect -z"),
        (("connect", "-N", "127.0.0.1:1"), "--quit-after|--no-shutdown|FIN|default"),
        (("connect", "-d", "127.0.0.1:1"), "--recv-only"),
        (("connect", "-q", "1", "127.0.0.1:1"), "--quit-after"),
        (("connect", "-l", "9000"), "pync listen"),
        (("connect", "-k", "127.0.0.1:1"), "listen"),
        (("listen", "-l", "9000"), "pync listen"),
        (("listen", "-z", "9000"), "connect"),
        (("-lvnp", "9000"), "pync listen -v -n 9000"),
        (("-zv", "host", "80"), "pync connect -z -v host 80"),
        (("-vz", "host", "20-30"), "pync scan host -p 20-30"),
        (("-u", "host", "53"), "pync connect -u host 53"),
        (("-X", "5", "-x", "proxy:1", "host", "80"), "pync connect --proxy socks5://proxy:1 host 80"),
        (("connect", "-q1", "127.0.0.1:1"), "--quit-after 1"),
        (("connect", "-z", "127.0.0.1", "20-30"), "pync scan HOST -p 20-30"),
        (("listen", "-p", "9000"), "pync listen 9000"),
        (("listen", "-kp", "9000"), "pync listen -k 9000"),
        (("listen", "-p", "9000", "127.0.0.1"), "pync listen 127.0.0.1 9000"),
        (("listen", "127.0.0.1"), "127.0.0.1:PORT"),
    ],
    ids=" ".join,
)
def test_foreign_habits_are_2_with_the_pync_spelling(processes, words, hint):
    done = processes.run(*words)
    assert (done.code, done.out) == (2, b"")
    assert any(part in done.err for part in hint.split("|")), done.err
    assert "Traceback" not in done.err
