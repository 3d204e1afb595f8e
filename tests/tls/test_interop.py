"""TLS with programs that others wrote, in both roles."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.harness import PATIENCE, Process, Processes
from tests.tls.zoo import Authority

Need = Callable[[str], str]
DATA = bytes(range(256)) * 4000
VERSIONS = ("tls1_2", "tls1_3")


@pytest.fixture
def certificate(authority: Authority, tmp_path: Path) -> str:
    return authority.issue("localhost", "127.0.0.1").write(tmp_path / "server.pem")


def serve(processes: Processes, certificate: str, *words: str) -> Process:
    return processes.listen("--tls", "--tls-cert", certificate, *words, "127.0.0.1", "0")


def client_words(trust: str, port: int) -> tuple[str, ...]:
    return ("connect", "--tls", "--tls-ca", trust, "127.0.0.1", str(port))


# --- they connect --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client_sends(processes: Processes, need: Need, certificate: str, trust: str, version: str) -> None:
    listener = serve(processes, certificate)
    words = ("-connect", f"127.0.0.1:{listener.port}", f"-{version}", "-quiet", "-CAfile", trust)
    client = processes.spawn(need("openssl"), "s_client", *words, "-verify_return_error", "-no_ign_eof")
    client.write(DATA)
    listener.expect_bytes(len(DATA))  # s_client leaves at our end, whatever it still has to send
    client.close_stdin()
    assert listener.finish()[:2] == (0, DATA)


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client_hears(processes: Processes, need: Need, certificate: str, trust: str, version: str) -> None:
    # In TLS 1.2 our end would take the peer's right to answer, so it is said only when nobody waits any more.
    listener = serve(processes, certificate, *(("--quit-after", "200ms") if version == "tls1_2" else ()))
    words = ("-connect", f"127.0.0.1:{listener.port}", f"-{version}", "-quiet", "-CAfile", trust)
    client = processes.spawn(need("openssl"), "s_client", *words)
    done = listener.finish(DATA)
    assert done.code == 0, done.err
    assert client.wait().out == DATA


def test_ncat_connects(processes: Processes, need: Need, certificate: str, trust: str) -> None:
    listener = serve(processes, certificate, "--echo")
    words = ("--ssl-verify", "--ssl-trustfile", trust, "localhost", str(listener.port))
    client = processes.spawn(need("ncat"), *words)
    # ncat 7.93 forgets the second half of a record longer than its buffer until something else arrives.
    client.write(DATA[:8000])
    client.expect_bytes(8000)
    client.close_stdin()
    listener.wait()
    assert client.out == DATA[:8000]


def test_socat_sends(processes: Processes, need: Need, certificate: str, trust: str) -> None:
    listener = serve(processes, certificate)
    address = f"OPENSSL:localhost:{listener.port},cafile={trust}"
    client = processes.spawn(need("socat"), "-u", "STDIN", address)
    listener.close_stdin()
    assert client.finish(DATA).code == 0
    assert listener.wait()[:2] == (0, DATA)


def test_curl_fetches(processes: Processes, need: Need, certificate: str, trust: str) -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(DATA) + DATA
    listener = serve(processes, certificate)
    words = ("-sS", "--cacert", trust, "--max-time", "15", f"https://localhost:{listener.port}/")
    client = processes.spawn(need("curl"), *words)
    listener.write(reply)
    listener.close_stdin()
    done = client.wait()
    assert (done.code, done.out) == (0, DATA), done.err
    assert listener.wait().out.startswith(b"GET / HTTP/1.1\r\n")


# --- we connect ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_s_server(processes: Processes, need: Need, certificate: str, trust: str, version: str) -> None:
    words = ("-accept", "0", "-cert", certificate, f"-{version}", "-quiet", "-naccept", "1", "-4")
    server = processes.spawn(need("openssl"), "s_server", *words)
    port = server.bound()
    client = processes.pync(*client_words(trust, port))
    client.write(DATA)
    assert server.expect_bytes(len(DATA)) == DATA
    server.write(b"a reply\n")
    assert client.expect_bytes(8) == b"a reply\n"
    client.close_stdin()
    server.close_stdin()
    assert client.wait().code in (0, 4)  # s_server may leave without a close_notify


@pytest.mark.parametrize("version", VERSIONS)
def test_s_server_wants_a_certificate(
    processes: Processes, need: Need, certificate: str, trust: str, version: str
) -> None:
    words = (
        "-accept",
        "0",
        "-cert",
        certificate,
        f"-{version}",
        "-Verify",
        "1",
        "-verify_return_error",
        "-4",
    )
    server = processes.spawn(need("openssl"), "s_server", *words, "-CAfile", trust)
    client = processes.pync(*client_words(trust, server.bound()))
    done = client.wait()
    assert done.code == 4, done.err
    assert "requires a client certificate" in done.err


def test_ncat_listens(processes: Processes, need: Need, certificate: str, trust: str) -> None:
    words = ("-4", "-l", "--ssl", "--ssl-cert", certificate, "--ssl-key", certificate, "127.0.0.1", "0")
    server = processes.spawn(need("ncat"), *words)
    client = processes.pync(*client_words(trust, server.bound()))
    client.write(DATA)
    assert server.expect_bytes(len(DATA)) == DATA
    server.write(DATA)
    assert client.expect_bytes(len(DATA)) == DATA
    client.close_stdin()
    server.close_stdin()
    assert client.wait().code in (0, 4)


def test_socat_listens(processes: Processes, need: Need, certificate: str, trust: str) -> None:
    address = f"OPENSSL-LISTEN:0,bind=127.0.0.1,cert={certificate},verify=0"
    server = processes.spawn(need("socat"), "-u", address, "STDOUT")
    done = processes.run(*client_words(trust, server.bound()), input=DATA)
    assert server.wait().out == DATA
    assert done.code in (0, 4), done.err


@pytest.mark.parametrize("notified", [True, False])
def test_pythons_http_server(processes: Processes, certificate: str, trust: str, notified: bool) -> None:
    # It closes without having read our close_notify: that is a reset, which a long page would not survive.
    page = DATA[:20_000]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)
            if notified:
                self.wfile.flush()
                try:
                    self.connection.unwrap()  # type: ignore[attr-defined]
                except OSError:
                    pass

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = PATIENCE
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = processes.run(*client_words(trust, server.server_port), input=b"GET / HTTP/1.0\r\n\r\n")
        thread.join()
    assert done.out.endswith(page)
    assert done.code == (0 if notified else 4), done.err


def test_curl_through_our_forward(processes: Processes, need: Need, certificate: str, trust: str) -> None:
    """curl speaks plain HTTP to a listener that forwards into TLS."""
    backend = serve(processes, certificate)
    backend.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    backend.close_stdin()
    front = processes.listen(
        "--tls-ca", trust, "--forward", f"tls://localhost:{backend.port}", "127.0.0.1", "0"
    )
    done = processes.spawn(need("curl"), "-sS", "--max-time", "15", f"http://127.0.0.1:{front.port}/").wait()
    assert (done.code, done.out) == (0, b"hello"), done.err
