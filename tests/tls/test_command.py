"""--tls of connect and listen: exit codes, lines, events, the EOF law, handshakes that hang."""

import json
import re
import socket
import ssl
import sys
from pathlib import Path
from typing import Any, Self

import pexpect
import pytest

from tests.harness import PATIENCE, Finished, Process, Processes, environment
from tests.tls.zoo import Authority

DATA = bytes(range(256)) * 10_000


@pytest.fixture
def certificate(authority: Authority, tmp_path: Path) -> str:
    """A good certificate for localhost and 127.0.0.1, with its key."""
    return authority.issue("localhost", "127.0.0.1").write(tmp_path / "server.pem")


def pinned(listener: Process) -> list[str]:
    """The words that the listener says to type at the other end, without the program's name."""
    words = (
        listener.expect(r"(pync connect --tls .*--tls-fingerprint sha256:[0-9a-f]{64})$")[1].decode().split()
    )
    return words[1:]


def last_line(done: Finished) -> str:
    lines = [line for line in done.err.splitlines() if line.startswith("pync: ")]
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    return lines[0]


def test_the_line_a_listener_prints_is_all_it_takes(processes: Processes) -> None:
    listener = processes.listen("--tls", "127.0.0.1", "0")
    client = processes.pync(*pinned(listener))
    client.write(DATA)
    client.close_stdin()
    listener.write(b"reply")
    assert listener.finish()[:2] == (0, DATA)
    assert client.wait()[:2] == (0, b"reply")


@pytest.mark.parametrize("versions", ["1.2", "1.3"])
def test_both_directions_and_events(
    processes: Processes, certificate: str, trust: str, versions: str
) -> None:
    listener = processes.listen("--tls", "--tls-cert", certificate, "--echo", "--json", "127.0.0.1", "0")
    words = ["--tls", "--tls-ca", trust, "--tls-min", versions, "--tls-alpn", "echo", "--json"]
    done = processes.run("connect", *words, "localhost", str(listener.port), input=DATA)
    assert (done.code, done.out) == (0, DATA), done.err
    assert listener.wait().code == 0
    (secured,) = (event for event in map(json.loads, done.err.splitlines()) if event["event"] == "secured")
    assert secured["verified"] is True
    assert secured["version"] == "TLSv1.3"
    assert "DNS:localhost" in secured["sans"]


def test_the_reply_comes_after_our_end(processes: Processes, certificate: str, trust: str) -> None:
    command = "wc -c; echo done"
    listener = processes.listen("--tls", "--tls-cert", certificate, "-c", command, "127.0.0.1", "0")
    done = processes.run("connect", "--tls-ca", trust, f"tls://localhost:{listener.port}", input=DATA)
    assert done[:2] == (0, b"%d\ndone\n" % len(DATA)), done.err


def test_untrusted_pinned_wrong_and_insecure(processes: Processes, certificate: str) -> None:
    listener = processes.listen("-k", "--tls", "--tls-cert", certificate, "--echo", "127.0.0.1", "0")
    to = ("127.0.0.1", str(listener.port))
    done = processes.run("connect", "--tls", *to)
    assert done.code == 4
    assert "not trusted" in last_line(done)
    done = processes.run("connect", "--tls", "--tls-fingerprint", "sha256:" + "0" * 64, *to)
    assert done.code == 4
    assert "another one" in last_line(done)
    done = processes.run("connect", "--tls", "--tls-insecure", *to, input=b"x")
    assert done[:2] == (0, b"x")
    assert "--tls-insecure" in done.err
    assert processes.run("connect", "--tls", "--tls-insecure", "-q", *to, input=b"x").err == ""


def test_a_one_shot_listener_ends_with_4_for_a_client_that_does_not_trust_it(processes: Processes) -> None:
    listener = processes.listen("--tls", "127.0.0.1", "0")
    assert processes.run("connect", "--tls", "127.0.0.1", str(listener.port)).code == 4
    done = listener.wait()
    assert done.code == 4
    assert "certificate" in last_line(done)


def test_a_client_that_speaks_no_tls(processes: Processes) -> None:
    listener = processes.listen("--tls", "127.0.0.1", "0")
    with socket.create_connection(("127.0.0.1", listener.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        done = listener.wait()
    assert done.code == 1
    assert "TLS" in last_line(done)


def test_a_server_that_speaks_no_tls(processes: Processes) -> None:
    listener = processes.listen("-c", "echo hello", "127.0.0.1", "0")
    done = processes.run("connect", "--tls", "127.0.0.1", str(listener.port))
    assert done.code == 1
    assert "does not speak TLS" in last_line(done)


def test_client_certificates(
    processes: Processes, authority: Authority, certificate: str, trust: str, tmp_path: Path
) -> None:
    words = ("--tls", "--tls-cert", certificate, "--tls-client-ca", trust, "--echo", "-k")
    listener = processes.listen(*words, "127.0.0.1", "0")
    to = ("--tls", "--tls-ca", trust, "localhost", str(listener.port))
    client = authority.issue("me", client=True).write(tmp_path / "client.pem")
    assert processes.run("connect", "--tls-cert", client, *to, input=DATA)[:2] == (0, DATA)
    done = processes.run("connect", *to, input=DATA)
    assert done.code == 4
    assert "requires a client certificate" in last_line(done)
    impostor = Authority("impostor").issue("me", client=True).write(tmp_path / "impostor.pem")
    done = processes.run("connect", "--tls-cert", impostor, *to, input=DATA)
    assert done.code == 4
    assert "does not accept our certificate" in last_line(done)


def test_a_client_stuck_in_its_handshake_delays_nobody(
    processes: Processes, certificate: str, trust: str
) -> None:
    listener = processes.listen("-k", "--tls", "--tls-cert", certificate, "--echo", "-v", "127.0.0.1", "0")
    with socket.create_connection(("127.0.0.1", listener.port)) as stuck:
        stuck.sendall(b"\x16\x03")
        words = ("--tls", "--tls-ca", trust, "localhost", str(listener.port))
        for _ in range(2):
            assert processes.run("connect", *words, input=b"x")[:2] == (0, b"x")


def test_a_handshake_has_a_deadline(processes: Processes) -> None:
    listener = processes.listen("--tls", "-w", "300ms", "127.0.0.1", "0")
    with socket.create_connection(("127.0.0.1", listener.port)):
        done = listener.wait()
    assert done.code in (3, 4)
    assert "handshake" in last_line(done)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        done = processes.run("connect", "--tls", "-w", "300ms", "127.0.0.1", str(mute.getsockname()[1]))
    assert done.code == 3
    assert "handshake" in last_line(done)


def test_a_silent_handshake_is_idle(processes: Processes) -> None:
    """--idle-timeout counts from the first moment of a connection."""
    idle = ("--tls", "--tls-insecure", "-q", "-i", "300ms")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        done = processes.run("connect", *idle, "127.0.0.1", str(mute.getsockname()[1]))
        target = f"tls://127.0.0.1:{mute.getsockname()[1]}"
        forward = processes.listen("-i", "300ms", "--tls-insecure", "--forward", target, "127.0.0.1", "0")
        with socket.create_connection(("127.0.0.1", forward.port)):
            through = forward.wait()
    listener = processes.listen("--tls", "-i", "300ms", "127.0.0.1", "0")
    with socket.create_connection(("127.0.0.1", listener.port)):
        served = listener.wait()
    for ended in (done, through, served):
        assert ended.code == 3
        assert "handshake" in last_line(ended)


def test_a_silent_handshake_gives_its_place_back(processes: Processes) -> None:
    listener = processes.listen("--tls", "-k", "-m", "1", "-i", "300ms", "-v", "127.0.0.1", "0")
    with socket.create_connection(("127.0.0.1", listener.port)) as silent:
        silent.settimeout(5)  # our own limit is longer
        assert silent.recv(1) == b""
    listener.expect("closed .*handshake was not finished in time")


class Wrapped:
    """A TLS server of Python's own ssl that the test plays by hand."""

    def __init__(self, certificate: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.port = self.listener.getsockname()[1]

    def accept(self) -> ssl.SSLSocket:
        client, _ = self.listener.accept()
        client.settimeout(PATIENCE)
        return self._context.wrap_socket(client, server_side=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()


@pytest.mark.parametrize("allowed", [False, True])
def test_truncation(processes: Processes, certificate: str, trust: str, allowed: bool) -> None:
    with Wrapped(certificate) as server:
        words = ["--tls-allow-truncation"] if allowed else []
        process = processes.pync("connect", "--tls", "--tls-ca", trust, *words, "localhost", str(server.port))
        with server.accept() as peer:
            peer.sendall(DATA)
            process.expect_bytes(len(DATA))
            # a FIN, but no close_notify
            socket.socket(fileno=socket.dup(peer.fileno())).close()
            peer.shutdown(socket.SHUT_WR)
            process.close_stdin()
            done = process.wait()
    assert done.out == DATA
    if allowed:
        assert done.code == 0, done.err
    else:
        assert done.code == 4, done.err
        assert "truncated" in last_line(done)
        assert "--tls-allow-truncation" in done.err


def test_stdout_ends_with_the_peer(processes: Processes, certificate: str) -> None:
    """`pync listen --tls | tar x`: what reads our stdout sees its end when the peer ended."""
    listener = processes.listen("--tls", "--tls-cert", certificate, "127.0.0.1", "0")
    client = processes.pync("connect", "--tls", "--tls-insecure", "127.0.0.1", str(listener.port))
    client.write(b"abc")
    client.close_stdin()
    listener.until(lambda: listener._out.ended, "the end of stdout")
    assert listener.finish()[:2] == (0, b"abc")
    assert client.wait().code == 0


def test_forward_with_tls_on_either_side(processes: Processes, certificate: str, trust: str) -> None:
    echo = processes.listen("-k", "--tls", "--tls-cert", certificate, "--echo", "127.0.0.1", "0")
    inside = processes.listen(
        "-k", "--tls-ca", trust, "--forward", f"tls://localhost:{echo.port}", "127.0.0.1", "0"
    )
    outside = processes.listen(
        "-k", "--tls", "--tls-cert", certificate, "--forward", f"127.0.0.1:{inside.port}", "127.0.0.1", "0"
    )
    assert processes.run("connect", "127.0.0.1", str(inside.port), input=DATA)[:2] == (0, DATA)
    done = processes.run("connect", "--tls", "--tls-ca", trust, "localhost", str(outside.port), input=DATA)
    assert done[:2] == (0, DATA), done.err


def test_a_broker_over_tls(processes: Processes, certificate: str, trust: str) -> None:
    broker = processes.listen("--broker", "--tls", "--tls-cert", certificate, "-v", "127.0.0.1", "0")
    to = ("connect", "--tls", "--tls-ca", trust, "-v", "localhost", str(broker.port))
    first, second = processes.pync(*to), processes.pync(*to)
    for client in (first, second):
        client.expect("connected")
    broker.expect(r"(connection from.*){2}")
    first.write(DATA)
    assert second.expect_bytes(len(DATA)) == DATA
    second.write(b"back")
    assert first.expect_bytes(4) == b"back"


def test_over_a_unix_socket(processes: Processes, certificate: str, trust: str, tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/tls.sock"
    processes.listen("--tls", "--tls-cert", certificate, "--echo", path)
    done = processes.run("connect", "--tls", "--tls-ca", trust, "--tls-name", "localhost", path, input=DATA)
    assert done[:2] == (0, DATA), done.err


@pytest.mark.parametrize("role", ["connect", "listen"])
def test_unusable_files_are_exit_2_before_anything_happens(
    processes: Processes, tmp_path: Path, role: str
) -> None:
    words = [
        role,
        "--tls",
        "--tls-cert",
        str(tmp_path / "missing.pem"),
        "127.0.0.1",
        "1" if role == "connect" else "0",
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        if role == "connect":
            words[-1] = str(server.getsockname()[1])
        done = processes.run(*words)
    assert done.code == 2, done.err
    assert "missing.pem" in done.err


def test_dtls_is_a_clear_error(processes: Processes) -> None:
    done = processes.run("connect", "-u", "--tls", "127.0.0.1", "9")
    assert done.code == 2
    assert re.search("DTLS|datagram", done.err)


def test_plain_connect_does_not_import_ssl(processes: Processes) -> None:
    listener = processes.listen("--echo", "127.0.0.1", "0")
    words = (sys.executable, "-X", "importtime", "-m", "pync", "connect", "127.0.0.1", str(listener.port))
    env = {"COVERAGE_PROCESS_CONFIG": None}  # which imports some of them to measure
    done = processes.spawn(*words, env=env).finish(b"x")
    assert (done.code, done.out) == (0, b"x")
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
    assert "pync.transport.dial" in imported
    assert not imported & {
        "ssl",
        "_ssl",
        "cryptography",
        "hashlib",
        "pync.transport.tls",
        "pync.transport.proxy",
    }


def test_an_encrypted_key_asks_on_the_terminal(authority: Authority, tmp_path: Path) -> None:
    identity = authority.issue("localhost")
    (tmp_path / "key.pem").write_bytes(identity.private(b"sesame"))
    (tmp_path / "cert.pem").write_bytes(identity.certificates())
    words = [
        "listen",
        "--tls",
        "--tls-cert",
        str(tmp_path / "cert.pem"),
        "--tls-key",
        str(tmp_path / "key.pem"),
    ]
    arguments = ["-m", "pync", *words, "127.0.0.1:0"]
    child = pexpect.spawn(sys.executable, arguments, env=environment(), timeout=PATIENCE, encoding="utf-8")
    try:
        child.expect("Password for .*key.pem: ")
        child.sendline("sesame")
        child.expect("listening on 127.0.0.1:")
        assert "sesame" not in child.before
    finally:
        child.close(force=True)


def test_an_encrypted_key_without_a_terminal_is_exit_2(
    processes: Processes, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "both.pem").write_bytes(
        authority.issue("x").private(b"sesame") + authority.issue("x").certificates()
    )
    done = processes.run(
        "listen",
        "--tls",
        "--tls-cert",
        str(tmp_path / "both.pem"),
        "127.0.0.1:0",
        start_new_session=True,
        process_group=None,
    )
    assert done.code == 2
    assert "encrypted" in last_line(done)
    assert "PYNC_TLS_PASSWORD" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("connect", "--tls-ca", "ca.pem"),
        ("connect", "--tls-insecure"),
        ("connect", "--tls-fingerprint", "sha256:" + "0" * 64),
        ("connect", "--tls-cert", "cert.pem"),
        ("connect", "--tls-name", "x"),
        ("connect", "--tls-min", "1.3"),
        ("send", "--tls-insecure"),
        ("listen", "--tls-cert", "cert.pem"),
        ("listen", "--tls-client-ca", "ca.pem"),
        ("listen", "--forward", "127.0.0.1:9", "--tls-insecure"),
        ("recv", "--tls-alpn", "h2"),
        ("connect", "--tls-insecure", "--proxy", "http://127.0.0.1:9"),
        ("connect", "--tls-fingerprint", "sha256:" + "0" * 64, "--proxy", "https://127.0.0.1:9"),
        ("connect", "--tls-name", "x", "--proxy", "https://127.0.0.1:9"),
    ],
)
def test_what_is_said_about_tls_is_never_said_in_vain(processes: Processes, words: tuple[str, ...]) -> None:
    option = next(word for word in words if word.startswith("--tls"))
    done = processes.run(*words, "127.0.0.1", "9", within=10)
    assert (done.code, done.out) == (2, b"")
    assert done.err == f"pync: {option} needs --tls\nhint: add --tls, or write tls://HOST:PORT\n"


def test_tls_options_may_be_about_the_target_or_the_proxy(processes: Processes, trust: str) -> None:
    listener = processes.listen("--forward", "tls://127.0.0.1:9", "--tls-ca", trust, "127.0.0.1", "0")
    assert listener.port
    done = processes.run("connect", "--proxy", "https://127.0.0.1:9", "--tls-ca", trust, "127.0.0.1", "9")
    assert done.code == 1
    assert "connection refused" in done.err


def test_a_server_without_our_protocol_is_named(
    processes: Processes, need: Any, certificate: str, trust: str
) -> None:
    words = ("-accept", "127.0.0.1:0", "-cert", certificate, "-key", certificate, "-alpn", "h2", "-quiet")
    server = processes.spawn(need("openssl"), "s_server", *words)
    port = str(server.bound())
    done = processes.run("connect", "--tls", "--tls-ca", trust, "--tls-alpn", "other", "127.0.0.1", port)
    assert done.code == 1
    assert last_line(done).endswith("the peer gave up the connection (no ALPN protocol in common)")


def test_an_address_that_the_certificate_lacks(
    processes: Processes, authority: Authority, tmp_path: Path, trust: str
) -> None:
    other = authority.issue("other.example").write(tmp_path / "other.pem")
    listener = processes.listen("--tls", "--tls-cert", other, "127.0.0.1", "0")
    done = processes.run("connect", "--tls", "--tls-ca", trust, "127.0.0.1", str(listener.port))
    assert done.code == 4
    assert "not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'" in last_line(done)
