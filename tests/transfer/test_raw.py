"""--raw: the other end is any netcat, in both roles; and a reset is not an end."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import PATIENCE, Processes, free_port, pattern

HERE = "127.0.0.1"
DATA = pattern(3_000_000)
Need = Callable[[str], str]

LISTENING = {
    "nc.openbsd": ("-l", HERE, "PORT"),
    "nc.traditional": ("-l", "-s", HERE, "-p", "PORT"),
    "ncat": ("--recv-only", "-l", HERE, "PORT"),
    "socat": ("-u", f"TCP-LISTEN:PORT,bind={HERE},reuseaddr", "STDOUT"),
}
SENDING = {
    "nc.openbsd": ("-N", HERE, "PORT"),
    "nc.traditional": ("-q", "0", HERE, "PORT"),
    "ncat": ("--send-only", HERE, "PORT"),
    "socat": ("-u", "STDIN", f"TCP:{HERE}:PORT"),
}


def _argv(path: str, words: tuple[str, ...], port: int) -> list[str]:
    return [path, *(word.replace("PORT", str(port)) for word in words)]


@pytest.mark.parametrize("peer", sorted(LISTENING))
def test_send_to_a_listening_netcat(processes: Processes, need: Need, tmp_path: Path, peer: str) -> None:
    path, port = tmp_path / "f", free_port()
    path.write_bytes(DATA)
    other = processes.spawn(*_argv(need(peer), LISTENING[peer], port), stdin=subprocess.DEVNULL)
    # it may start first or later: send finds it
    sent = processes.pync("send", "--raw", f"{HERE}:{port}", str(path), stdin=subprocess.DEVNULL).wait()
    assert sent.code == 0, sent.err
    assert other.wait().out == DATA


@pytest.mark.parametrize("peer", sorted(SENDING))
def test_receive_from_a_sending_netcat(processes: Processes, need: Need, tmp_path: Path, peer: str) -> None:
    receiver = processes.listen("--raw", "-o", str(tmp_path / "f"), f"{HERE}:0", command="recv")
    other = processes.spawn(*_argv(need(peer), SENDING[peer], receiver.port))
    other.finish(DATA)
    assert receiver.wait().code == 0
    assert (tmp_path / "f").read_bytes() == DATA


def test_stdin_to_stdout(processes: Processes) -> None:
    receiver = processes.listen("--raw", f"{HERE}:0", command="recv")
    sender = processes.pync("send", "--raw", f"{HERE}:{receiver.port}")
    assert sender.finish(DATA).code == 0
    done = receiver.wait()
    assert (done.code, done.out) == (0, DATA)


def test_both_roles_reversed(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA)
    words = ("--raw", "--listen", f"{HERE}:0", str(path))
    sender = processes.listen(*words, command="send", stdin=subprocess.DEVNULL)
    receiver = processes.pync("recv", "--raw", "--connect", f"{HERE}:{sender.port}", stdin=subprocess.DEVNULL)
    done = receiver.wait()
    assert (done.code, done.out) == (0, DATA)
    assert sender.wait().code == 0


def _abort(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def test_reset_while_receiving_is_1_with_what_arrived_written(processes: Processes, tmp_path: Path) -> None:
    receiver = processes.listen("--raw", f"{HERE}:0", command="recv")
    sock = socket.create_connection((HERE, receiver.port), timeout=PATIENCE)
    sock.sendall(b"half")
    receiver.until(lambda: receiver.out == b"half", "the bytes")
    _abort(sock)
    done = receiver.wait()
    assert done.code == 1
    assert "reset" in done.err
    assert "4 bytes" in done.err
    assert done.out == b"half"


def test_reset_while_sending_is_1(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(pattern(30_000_000))
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        sender = processes.pync("send", "--raw", f"{HERE}:{port}", str(path), stdin=subprocess.DEVNULL)
        sock, _ = server.accept()
        sock.recv(1000)
        _abort(sock)
        assert sender.wait().code == 1


def test_interrupted_sender_resets_so_that_the_other_end_knows(processes: Processes) -> None:
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        sender = processes.pync("send", "--raw", f"{HERE}:{port}")
        sock, _ = server.accept()
        with sock:
            sender.write(b"half")
            sock.settimeout(PATIENCE)
            assert sock.recv(100) == b"half"
            sender.popen.terminate()
            sender.wait()
            with pytest.raises(ConnectionResetError):
                sock.recv(100)


def test_several_files_have_no_names_on_the_way(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    done = processes.pync("send", "--raw", f"{HERE}:1", str(path), str(path)).wait()
    assert done.code == 2


@pytest.mark.parametrize("peer", ["nc.openbsd", "ncat", "socat"])
def test_framed_sender_tells_a_netcat_from_a_receiver(
    processes: Processes, need: Need, tmp_path: Path, peer: str
) -> None:
    """A netcat that answers with something is known at once; one that only listens, after a while."""
    path, port = tmp_path / "f", free_port()
    path.write_bytes(b"x")
    words = {
        "nc.openbsd": ("-l", HERE, "PORT"),
        "ncat": ("-l", HERE, "PORT"),
        "socat": (f"TCP-LISTEN:PORT,bind={HERE},reuseaddr", "STDIO"),
    }[peer]
    other = processes.spawn(*_argv(need(peer), words, port))
    other.write(b"hello from a netcat\n")
    sent = processes.pync("send", f"{HERE}:{port}", str(path), stdin=subprocess.DEVNULL).wait()
    assert sent.code == 1
    assert "use --raw" in sent.err


def test_netcat_that_only_listens_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pync.transfer.wire import Limits
    from tests.transfer.rig import call_alone

    monkeypatch.setattr(Limits, "greeting", 0.2)
    path = tmp_path / "f"
    path.write_bytes(b"x")
    with socket.create_server((HERE, 0)) as server:
        code, message = call_alone(server.getsockname()[1], path)
    assert code == 1
    assert message == "the peer says nothing: it does not speak pync transfer; use --raw"


@pytest.mark.parametrize(
    ("options", "code", "left", "others"),
    [
        ((), 2, b"old", {}),
        (("--overwrite",), 0, DATA, {}),
        (("--rename",), 0, b"old", {"f-1.txt": DATA}),
        (("--skip",), 0, b"old", {}),
    ],
)
def test_a_file_that_exists_is_not_written_over_unless_asked(
    processes: Processes,
    out: Path,
    options: tuple[str, ...],
    code: int,
    left: bytes,
    others: dict[str, bytes],
) -> None:
    path = out / "f.txt"
    path.write_bytes(b"old")
    words = ("--raw", *options, "-o", str(path), f"{HERE}:0")
    if code:
        done = processes.run("recv", *words)
        assert done.code == code
        assert f"pync: {path}: it exists already\n" in done.err
    else:
        receiver = processes.listen(*words, command="recv")
        sender = processes.pync("send", "--raw", f"{HERE}:{receiver.port}")
        assert (sender.finish(DATA).code, receiver.wait().code) == (0, 0)
    assert {one.name: one.read_bytes() for one in out.iterdir()} == {"f.txt": left, **others}


def test_a_device_is_no_file_that_exists(processes: Processes) -> None:
    receiver = processes.listen("--raw", "-o", "/dev/null", f"{HERE}:0", command="recv")
    sender = processes.pync("send", "--raw", f"{HERE}:{receiver.port}")
    assert (sender.finish(DATA).code, receiver.wait().code) == (0, 0)


def test_max_size_holds_for_plain_bytes_too_and_the_sender_learns_of_it(
    processes: Processes, tmp_path: Path
) -> None:
    receiver = processes.listen(
        "--raw", "-o", str(tmp_path / "f"), "--max-size", "1M", f"{HERE}:0", command="recv"
    )
    sender = processes.pync("send", "--raw", f"{HERE}:{receiver.port}")
    sent = sender.finish(pattern(30_000_000))
    done = receiver.wait()
    assert done.code == 2
    assert done.err.endswith("pync: receive: larger than --max-size (1048576 bytes)\n")
    assert sent.code == 1
    assert (tmp_path / "f").stat().st_size <= 1 << 20


def test_exactly_max_size_is_not_too_much(processes: Processes) -> None:
    receiver = processes.listen("--raw", "--max-size", str(len(DATA)), f"{HERE}:0", command="recv")
    sender = processes.pync("send", "--raw", f"{HERE}:{receiver.port}")
    assert sender.finish(DATA).code == 0
    assert receiver.wait()[:2] == (0, DATA)


def test_a_directory_has_no_plain_bytes(processes: Processes, tmp_path: Path) -> None:
    done = processes.run("send", "--raw", f"{HERE}:9", str(tmp_path))
    assert done.code == 2
    assert done.err.startswith(f"pync: {tmp_path}: is a directory\n")


@pytest.mark.parametrize("raw", [(), ("--raw",)], ids=["framed", "raw"])
def test_the_command_that_a_tls_listener_prints_is_all_the_other_end_needs(
    processes: Processes, tmp_path: Path, raw: tuple[str, ...]
) -> None:
    path, got = tmp_path / "f", tmp_path / "got"
    path.write_bytes(DATA)
    said = r"^at the other end: pync (.*)$"
    receiver = processes.listen("--tls", *raw, "-o", str(got), f"{HERE}:0", command="recv")
    words = receiver.expect(said)[1].decode().split()
    assert words[-1] == "PATH..."
    assert processes.run(*words[:-1], str(path)).code == 0
    assert receiver.wait().code == 0
    assert got.read_bytes() == DATA
    got.unlink()
    sender = processes.listen("--listen", "--tls", *raw, f"{HERE}:0", str(path), command="send")
    words = sender.expect(said)[1].decode().split()
    assert processes.run(*words, "-o", str(got)).code == 0
    assert sender.wait().code == 0
    assert got.read_bytes() == DATA


@pytest.mark.parametrize("policy", [(), ("--overwrite",), ("--rename",), ("--skip",)])
def test_no_file_is_made_or_emptied_before_somebody_comes(
    processes: Processes, tmp_path: Path, policy: tuple[str, ...]
) -> None:
    path = tmp_path / "f"
    if policy:
        path.write_bytes(b"before")
    done = processes.run("recv", "--raw", "-o", str(path), *policy, "-w", "100ms", f"{HERE}:0")
    assert done.code == 3
    assert [one.read_bytes() for one in tmp_path.iterdir()] == ([b"before"] if policy else [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("there", "it exists already"),
        ("link", "it exists already"),
        ("", "is a directory"),
        ("no/f", "no such file"),
    ],
)
def test_a_file_that_cannot_be_made_is_said_before_anybody_is_waited_for(
    processes: Processes, tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "there").touch()
    (tmp_path / "link").symlink_to("nowhere")
    done = processes.run("recv", "--raw", "-o", f"{tmp_path}/{name}", f"{HERE}:0")
    assert done.code == 2
    assert f"pync: {tmp_path}/{name}: {words}" in done.err
    assert "listening" not in done.err


def test_a_file_that_appears_while_nobody_comes_is_not_touched(processes: Processes, tmp_path: Path) -> None:
    receiver = processes.listen("--raw", "-o", str(tmp_path / "f"), f"{HERE}:0", command="recv")
    (tmp_path / "f").write_bytes(b"theirs")
    with contextlib.suppress(ConnectionResetError):  # it may be quicker than our connect
        socket.create_connection((HERE, receiver.port), timeout=PATIENCE).close()
    done = receiver.wait()
    assert (done.code, "it exists already" in done.err) == (2, True)
    assert (tmp_path / "f").read_bytes() == b"theirs"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_with_the_name_of_the_file(processes: Processes) -> None:
    receiver = processes.listen("--raw", "-o", "/dev/full", f"{HERE}:0", command="recv")
    with socket.create_connection((HERE, receiver.port), timeout=PATIENCE) as sock:
        sock.sendall(b"data")
        done = receiver.wait()
    assert (done.code, "/dev/full: no space left" in done.err, "stdout" in done.err) == (2, True, False)
