"""Faults to survive: the documented exit code, one line, everything received written, no child left."""

import os
import resource
import select
import signal
import socket
import subprocess

import pytest

from tests.e2e.sessions import (
    SMALL,
    closed_at_once,
    echoes,
    flood,
    one_line,
    read_exactly,
    read_to_end,
    reset,
)
from tests.harness import PYNC, pattern

DATA = pattern(2_000_000)

pytestmark = pytest.mark.usefixtures("mover")


# the peer


@pytest.mark.parametrize("sent", [0, 1, 1000])
@pytest.mark.parametrize("read", [0, 1])
def test_reset_at_many_points(sessions, role, sent, read):
    process, peer = sessions.open(role)
    if sent:
        peer.sendall(DATA[:sent])
        process.expect_bytes(sent)
    if read:
        process.write(b"x")
        assert read_exactly(peer, 1) == b"x"
    reset(peer)
    done = process.wait()
    assert (done.code, done.out) == (1, DATA[:sent])
    assert "reset" in one_line(done.err)


def test_reset_before_anything_is_accepted(sessions):
    """Clients that are gone before they are accepted harm nobody."""
    process = sessions.processes.listen("-k", "--echo", "127.0.0.1", "0")
    for _ in range(20):
        reset(sessions.client(process))
    assert echoes(sessions, process)


def test_a_byte_at_a_time(sessions, role):
    process, peer = sessions.open(role)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(100):
        peer.sendall(DATA[number : number + 1])
        process.expect_bytes(number + 1)
    peer.close()
    assert process.finish()[:2] == (0, DATA[:100])


def test_peer_closes_early_with_data_on_its_way(sessions, role, tmp_path):
    """It closes without having read all: what it sent before is on stdout, and the exit status tells."""
    sessions.receive_buffer = SMALL
    (tmp_path / "source").write_bytes(DATA * 5)
    with (tmp_path / "source").open("rb") as stdin:
        process, peer = sessions.open(role, stdin=stdin)
        peer.sendall(b"last words")
        process.expect_out("last words")
        peer.close()
        done = process.wait()
    assert (done.code, done.out) == (1, b"last words")


# limits of this host


def limited(soft):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))


def test_descriptor_limit_of_32(sessions, role):
    process, peer = sessions.open(role, preexec_fn=limited(32))
    peer.sendall(DATA)
    peer.shutdown(socket.SHUT_WR)
    process.write(b"reply")
    process.close_stdin()
    assert read_to_end(peer) == b"reply"
    assert process.wait()[:2] == (0, DATA)


def test_more_clients_than_descriptors(sessions):
    """Accepting pauses and resumes, who is there is served, one line says so."""
    process = sessions.processes.listen(
        "-k", "-m", "1000", "--echo", "127.0.0.1", "0", preexec_fn=limited(32)
    )
    clients = [sessions.client(process) for _ in range(45)]
    served = []
    for client in clients[:10]:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        served.append(client)
    process.expect("descriptor")
    for client in clients[:30]:
        client.close()
    for client in clients[30:]:
        client.sendall(b"y")
        assert read_exactly(client, 1) == b"y"
    assert process.popen.poll() is None
    assert process.err.count("descriptor") == 1


def test_disk_full(sessions, role, tmp_path):
    """A file that may grow no further."""
    with (tmp_path / "out").open("wb") as stdout:
        process, peer = sessions.open(
            role,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
            env={"COVERAGE_PROCESS_CONFIG": None},  # it could not write what it measures
        )
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            flood(peer, DATA)
        done = process.wait()
    assert done.code == 2
    one_line(done.err)
    assert (tmp_path / "out").read_bytes() == DATA[:100_000]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_disk_really_full(sessions, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode:
        pytest.skip("no mounting here")
    try:
        with (disk / "out").open("wb") as stdout:
            process, peer = sessions.connect(stdin=subprocess.DEVNULL, stdout=stdout)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                flood(peer, DATA)
            done = process.wait()
        assert done.code == 2
        assert "no space left" in one_line(done.err)
        assert DATA.startswith((disk / "out").read_bytes())
    finally:
        subprocess.run(["umount", disk], check=True)


# signals in every state


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "state", ["sending to a full peer", "writing to a full pipe", "after the peer's end"]
)
def test_signals_in_states(sessions, role, state, signum, tmp_path):
    if state == "sending to a full peer":
        sessions.receive_buffer = SMALL
        (tmp_path / "source").write_bytes(DATA * 10)
        with (tmp_path / "source").open("rb") as stdin:
            process, peer = sessions.open(role, stdin=stdin)
        assert read_exactly(peer, 10) == DATA[:10]
    elif state == "writing to a full pipe":
        process, peer, stdout = sessions.unread(role)
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            flood(peer, DATA)
        assert stdout.read(10) == DATA[:10]
    else:
        process, peer = sessions.open(role)
        peer.sendall(b"x")
        peer.shutdown(socket.SHUT_WR)
        process.expect_out("x")
    process.signal(signum)
    done = process.wait()
    assert done.code == -signum
    assert "Traceback" not in done.err


def test_stopped_and_continued_in_the_middle_of_a_stream(sessions, role):
    process, peer = sessions.open(role, stdin=subprocess.DEVNULL)
    peer.sendall(DATA[:1000])
    process.expect_bytes(1000)
    process.signal(signal.SIGTSTP)
    process.until(lambda: stopped(process.pid), "it to stop")
    process.signal(signal.SIGCONT)
    peer.sendall(DATA[1000:])
    peer.close()
    assert process.wait()[:2] == (0, DATA)


def stopped(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


def test_a_program_that_closes_its_output_early(sessions, role):
    process, peer = sessions.open(role, "-c", "exec >&-; cat >/dev/null")
    peer.sendall(b"x" * 100_000)
    peer.shutdown(socket.SHUT_WR)
    assert read_to_end(peer) == b""
    assert process.wait().code == 0


def test_a_program_that_does_not_read(sessions, role):
    process, peer = sessions.open(role, "-c", "exec <&-; echo done")
    peer.settimeout(20)
    try:
        peer.sendall(DATA * 5)
        peer.shutdown(socket.SHUT_WR)
        assert read_to_end(peer) == b"done\n"
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert process.wait().code in (0, 1)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_child_is_left_after_a_signal(sessions, role, signum):
    process, _ = sessions.open(role, "-c", "exec sleep 1000")
    (child,) = process.until(process.children, "the program to start")
    process.signal(signum)
    assert process.wait().code == -signum
    process_ended(child)


def process_ended(pid):
    """A child may outlive us by the moment its signal takes."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], 10)[0], "the program still runs"
    finally:
        os.close(pidfd)


def test_a_host_without_ipv6(sessions, hosts):
    here, _ = hosts
    here.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.lo.disable_ipv6=1")
    listener = sessions.processes.spawn(*PYNC, "listen", "0", host=here, stdin=subprocess.DEVNULL)
    port = listener.expect(r"listening on 0\.0\.0\.0:(\d+)")[1].decode()
    done = sessions.processes.run("connect", f"localhost:{port}", input=b"hello", host=here)
    assert done.code == 0, done
    assert listener.wait()[:2] == (0, b"hello")


def test_many_connects_and_resets_leak_nothing(sessions):
    process = sessions.processes.listen("-k", "--echo", "127.0.0.1", "0")
    assert echoes(sessions, process)
    before = len(os.listdir(f"/proc/{process.pid}/fd"))
    for _ in range(1000):
        with socket.create_connection(("127.0.0.1", process.port), 20) as client:
            client.sendall(b"x")
            reset(client)
    assert echoes(sessions, process)
    process.until(
        lambda: len(os.listdir(f"/proc/{process.pid}/fd")) <= before, "descriptors to be given back"
    )


def test_a_client_of_a_full_house_is_told_by_closing(sessions):
    process = sessions.processes.listen("-k", "-m", "1", "--echo", "127.0.0.1", "0")
    client = sessions.client(process)
    client.sendall(b"x")
    assert read_exactly(client, 1) == b"x"
    assert closed_at_once(sessions.client(process))
