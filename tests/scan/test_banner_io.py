"""`--banner` against services that speak first, answer HTTP, speak TLS, say nothing, or are hostile."""

from __future__ import annotations

import json
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import trustme

from pync.scanning import banner
from tests.harness import PATIENCE, Processes
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


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where connections are taken and nothing is said."""
    with listening() as sock:
        yield int(sock.getsockname()[1])


def test_the_time_for_an_answer_holds_for_what_a_service_says(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banner, "PATIENCE", 60.0)
    monkeypatch.setattr(banner, "LONGEST", 120.0)
    done = run("127.0.0.1", ports=str(silent_port), banner=True, timeout=0.1)
    assert done.ports[0]["state"] == "open"
    assert done.summary["seconds"] < 20  # 0.1 for each of five questions, on however loaded a machine


def test_an_open_port_is_told_when_the_deadline_cuts_its_banner_off(
    silent_port: int, processes: Processes
) -> None:
    cut = processes.run("scan", "127.0.0.1", "-p", f"{silent_port}", "--banner", "--json", "--deadline", "2s")
    assert cut.code == 3
    told = [json.loads(line) for line in cut.out.splitlines()]
    events = [event for event in told if event["event"] != "progress"]
    assert [event["event"] for event in events] == ["port", "summary"]
    assert (events[0]["state"], events[0]["banner"]) == ("open", None)
    assert events[1]["open"] == events[1]["done"] == 1


def test_each_open_port_is_told_once_when_ctrl_c_cuts_banners_off(service: Any, processes: Processes) -> None:
    asked, over = threading.Event(), threading.Event()

    def hear(client: Any) -> None:
        client.recv(1)  # the nudge for a service that does not speak first
        asked.set()
        over.wait(PATIENCE)

    mute = service(hear)
    speaking = service(lambda client: client.sendall(b"SSH-2.0-x\r\n"))
    scan = processes.pync("scan", "127.0.0.1", "-p", f"{mute},{speaking}", "--banner")
    scan.expect_out("SSH-2.0-x")
    assert asked.wait(PATIENCE)
    scan.signal(signal.SIGINT)
    cut = scan.wait()
    over.set()
    assert cut.code == -signal.SIGINT
    ports = sorted(line.split()[0] for line in cut.out.splitlines() if b" open " in line)
    assert ports == sorted(b"127.0.0.1:%d" % port for port in (mute, speaking)), cut
