"""Transfers inside TLS, what becomes of strangers at the door, and plain ones: slowed, stuck, impossible."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.harness import PATIENCE, Processes, pattern

HERE = "127.0.0.1:0"


def test_files_are_delivered_inside_tls_and_a_stranger_changes_nothing(
    processes: Processes, tmp_path: Path
) -> None:
    source = tmp_path / "file"
    source.write_bytes(pattern(700_000))
    receiver = processes.listen("-v", "-o", f"{tmp_path}/to/", "--tls", HERE, command="recv")
    pin = receiver.expect(r"sha256:[0-9a-f]{64}")[0].decode()  # said after that it listens
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=PATIENCE) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" * 20)
        while stranger.recv(1 << 16):
            pass
    receiver.expect("closed")
    words = ("--tls", "--tls-fingerprint", pin, f"127.0.0.1:{receiver.port}", str(source))
    assert processes.run("send", *words).code == 0
    assert receiver.wait().code == 0
    assert (tmp_path / "to" / "file").read_bytes() == source.read_bytes()


def test_a_sender_that_does_not_trust_the_certificate_is_4(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    receiver = processes.listen("-o", f"{tmp_path}/to/", "--tls", HERE, command="recv")
    done = processes.run("send", "--tls", f"127.0.0.1:{receiver.port}", f"{tmp_path}/file")
    assert done.code == 4
    assert not (tmp_path / "to" / "file").exists()


@pytest.mark.parametrize(
    "words", [("recv",), ("recv", "--raw"), ("send", "--listen")], ids=["recv", "raw", "send"]
)
def test_a_client_that_is_silent_in_the_handshake_is_let_go_after_the_idle_time(
    processes: Processes, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    paths = [f"{tmp_path}/file"] if words[0] == "send" else []
    process = processes.listen(*words[1:], "--tls", "-i", "200ms", "-v", HERE, *paths, command=words[0])
    with socket.create_connection(("127.0.0.1", process.port), timeout=PATIENCE) as silent:
        process.expect("closed .*handshake", within=10)  # without an idle time it is 15 seconds
        assert silent.recv(1) == b""


def test_a_certificate_that_cannot_be_read_is_told_before_anybody_hears_of_the_port(
    processes: Processes, tmp_path: Path
) -> None:
    words = ("--tls", "--tls-cert", f"{tmp_path}/none.pem", HERE)
    done = processes.run("recv", "-o", f"{tmp_path}/to/", *words)
    assert done.code == 2
    assert "listening" not in done.err


def test_plain_bytes_at_a_rate(processes: Processes, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(pattern(300_000))
    receiver = processes.listen("--raw", "-o", f"{tmp_path}/got", HERE, command="recv")
    words = ("--raw", "--rate", "1M", f"127.0.0.1:{receiver.port}", str(source))
    assert processes.run("send", *words).code == 0
    assert receiver.wait().code == 0
    assert (tmp_path / "got").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("side", ["send", "recv"])
def test_plain_bytes_that_stop_are_3_with_an_idle_time(
    processes: Processes, tmp_path: Path, side: str
) -> None:
    if side == "recv":
        process = processes.listen("--raw", "-i", "200ms", "-o", f"{tmp_path}/got", HERE, command="recv")
        with socket.create_connection(("127.0.0.1", process.port), timeout=PATIENCE) as peer:
            peer.sendall(b"some")
            assert process.wait().code == 3
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        process = processes.pync("send", "--raw", "-i", "200ms", where, "-")
        client, _ = server.accept()
        with client:
            process.write(b"some")
            assert process.wait().code == 3


def test_a_plain_file_that_cannot_be_opened_is_2(processes: Processes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        done = processes.run("send", "--raw", where, f"{tmp_path}/none")
    assert (done.code, "no such file" in done.err) == (2, True)
    done = processes.run("recv", "--raw", "-o", f"{tmp_path}/no/such/folder/file", HERE)
    assert (done.code, "no such file" in done.err) == (2, True)


# --- one end with TLS, the other without -------------------------------------------------------------------


def test_a_plain_sender_at_a_tls_receiver_is_named_at_both_ends(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    receiver = processes.listen("-o", f"{tmp_path}/to/", "--tls", HERE, command="recv")
    done = processes.run("send", f"127.0.0.1:{receiver.port}", f"{tmp_path}/file")
    assert (done.code, done.err.splitlines()) == (
        1,
        ["pync: the peer speaks TLS, this end does not", "hint: --tls at both ends, or at none"],
    )
    receiver.expect(r"waiting: 127\.0\.0\.1:\d+: the peer does not speak TLS")


def test_a_tls_sender_at_a_plain_receiver_is_named_at_both_ends(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    receiver = processes.listen("-o", f"{tmp_path}/to/", HERE, command="recv")
    done = processes.run("send", "--tls", f"127.0.0.1:{receiver.port}", f"{tmp_path}/file")
    assert done.code == 1
    assert "the peer does not speak TLS" in done.err
    received = receiver.wait()
    assert received.code == 1
    assert "the peer speaks TLS, this end does not" in received.err


def test_a_client_that_refuses_our_certificate_is_told_without_v(
    processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    receiver = processes.listen("-o", f"{tmp_path}/to/", "--tls", HERE, command="recv")
    assert processes.run("send", "--tls", f"127.0.0.1:{receiver.port}", f"{tmp_path}/file").code == 4
    receiver.expect(r"waiting: .*the client does not accept our certificate")


def test_strangers_at_a_receiver_that_stays_are_told_once_a_reason(
    processes: Processes, tmp_path: Path
) -> None:
    receiver = processes.listen("-k", "-o", f"{tmp_path}/to/", HERE, command="recv")
    for words in (b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-x\r\n", b""):
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=PATIENCE) as stranger:
            stranger.sendall(words)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(1 << 16):
                pass
    receiver.expect(r"waiting: 127\.0\.0\.1:\d+: the peer does not speak pync transfer; use --raw")
    receiver.signal(signal.SIGINT)
    assert receiver.wait().err.count("waiting:") == 1
