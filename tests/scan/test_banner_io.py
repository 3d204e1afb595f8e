"""`--banner` against services that speak first, answer HTTP, speak TLS, say nothing, or are hostile."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import trustme

from pync.scanning import banner
from tests.scan.engine import listening, run

Serve = Callable[[Any], None]


@pytest.fixture
def service() -> Iterator[Callable[[Serve], int]]:
    """`service(talk)`: a port where `talk(connection)` serves every client."""
    with ExitStack() as stack:

        def start(talk: Serve) -> int:
            sock = stack.enter_context(listening())
            stack.callback(sock.shutdown, 2)

            def accept() -> None:
                with suppress(OSError):
                    while True:
                        client, _ = sock.accept()
                        client.settimeout(10)
                        with client, suppress(OSError):
                            talk(client)

            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            return int(sock.getsockname()[1])

        yield start


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banner, "PATIENCE", 0.2)
    monkeypatch.setattr(banner, "LONGEST", 2.0)


def said(port: int) -> dict[str, Any] | None:
    (facts,) = run("127.0.0.1", ports=str(port), banner=True).ports
    assert facts["state"] == "open"
    found: dict[str, Any] | None = facts["banner"]
    return found


def test_a_service_that_speaks_first(service: Any) -> None:
    port = service(lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.7 \x1b[31mred\r\n"))
    assert said(port) == {"protocol": "ssh", "text": "SSH-2.0-OpenSSH_9.7 \\x1b[31mred"}


def http(client: Any) -> None:
    if b"\r\n\r\n" in client.recv(4096):
        client.sendall(b"HTTP/1.0 404 Not\r\nServer: demo/1\r\n\r\n<html><TITLE>\n Hello &amp; bye\n</title>")


def test_http_is_asked(service: Any) -> None:
    found = said(service(http))
    assert found is not None
    assert (found["protocol"], found["status"], found["server"]) == ("http", 404, "demo/1")
    assert found["title"] == "Hello & bye"


def test_a_silent_service_has_no_banner(service: Any) -> None:
    def talk(client: Any) -> None:
        while client.recv(4096):
            pass

    assert said(service(talk)) is None


def test_tls_names_and_what_is_inside(service: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("db.example", "127.0.0.1").configure_cert(context)

    def talk(client: Any) -> None:
        with context.wrap_socket(client, server_side=True) as inner:
            http(inner)

    found = said(service(talk))
    assert found is not None
    assert found["tls"]["sans"] == ["DNS:db.example", "IP:127.0.0.1"]
    assert found["tls"]["expires"]
    assert (found["protocol"], found["status"]) == ("http", 404)


def test_endless_talk_is_cut(service: Any) -> None:
    def talk(client: Any) -> None:
        while True:
            client.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 65_536)

    found = said(service(talk))
    assert found is not None
    assert len(found["text"]) <= 200


def test_a_service_that_resets(service: Any) -> None:
    import socket
    import struct

    def talk(client: Any) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert said(service(talk)) is None
