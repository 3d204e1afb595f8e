"""Scans and waits through a proxy: what it says of a port is a verdict, what fails before it is an error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from pync.endpoint import Endpoint
from pync.errors import ExitCode, IntegrityError, NetworkError, TimedOut, UsageError
from pync.scanning import banner, proxied, source
from pync.transport.channel import Channel
from pync.transport.stream import StreamSocket
from tests.harness import Processes
from tests.scan.engine import listening, run
from tests.scan.test_waiting import wait


def socks5(client: socket.socket) -> None:
    """One CONNECT to an IPv4 address, really made; code 5 when it was refused."""
    count = client.recv(2)[1]
    client.recv(count)
    client.sendall(b"\x05\0")
    request = client.recv(10, socket.MSG_WAITALL)
    target = socket.inet_ntoa(request[4:8]), int.from_bytes(request[8:10], "big")
    try:
        with socket.create_connection(target, 5):
            client.sendall(b"\x05\0\0\x01" + bytes(6))
            while client.recv(4096):  # the target says nothing
                pass
    except OSError:
        client.sendall(b"\x05\x05\0\x01" + bytes(6))


@pytest.fixture
def proxy() -> Iterator[str]:
    with ExitStack() as stack:
        sock = stack.enter_context(listening())
        stack.callback(sock.shutdown, socket.SHUT_RDWR)

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError, IndexError):
                client.settimeout(10)
                socks5(client)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(sock.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"socks5://127.0.0.1:{sock.getsockname()[1]}"


def test_verdicts_through_a_proxy(proxy: str) -> None:
    with listening() as sock, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        opened, closed = sock.getsockname()[1], bound.getsockname()[1]
        done = run("127.0.0.1", ports=f"{opened},{closed}", proxy=(proxy,), all=True)
    assert done.states() == {opened: "open", closed: "closed"}
    assert done.code == ExitCode.OK


def test_the_time_for_an_answer_holds_for_what_a_service_says(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banner, "PATIENCE", 60.0)
    with listening() as silent:
        port = silent.getsockname()[1]
        done = run("127.0.0.1", ports=str(port), proxy=(proxy,), banner=True, timeout=1.0)
    assert done.states() == {port: "open"}
    assert done.summary["seconds"] < 6  # with no time set it takes eight


def test_an_open_port_is_told_when_the_deadline_cuts_its_banner_off(proxy: str, processes: Processes) -> None:
    with listening() as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        words = ("--proxy", proxy, "--banner", "--grepable", "--deadline", "2s")
        cut = processes.run("scan", where, *words)
    assert (cut.code, cut.out.decode()) == (3, f"{where}\n")


def test_a_proxy_that_is_not_there_is_an_error_not_a_verdict() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        gone = f"socks5://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(NetworkError, match="refused"):
            run("127.0.0.1", ports="1-3", proxy=(gone,))


def test_waiting_through_a_proxy(proxy: str) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        word = f"127.0.0.1:{sock.getsockname()[1]}"
        assert wait(word, proxy=(proxy,), until="closed")[0] == ExitCode.OK
        sock.listen()
        assert wait(word, proxy=(proxy,))[0] == ExitCode.OK


def test_a_dead_proxy_does_not_make_a_port_closed() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(TimedOut, match=rf"127\.0\.0\.1:1 \(proxy {gone}: connection refused\)"):
            wait("127.0.0.1:1", proxy=(gone,), until="closed", wait=0.3)


def test_refused_credentials_end_the_scan() -> None:
    with ExitStack() as stack:
        sock = stack.enter_context(listening())
        stack.callback(sock.shutdown, socket.SHUT_RDWR)
        challenge = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"

        def accept() -> None:
            with suppress(OSError):
                while True:
                    with sock.accept()[0] as client:
                        client.recv(4096)
                        client.sendall(challenge)

        threading.Thread(target=accept, daemon=True).start()
        with pytest.raises(IntegrityError):
            run("127.0.0.1", ports="1", proxy=(f"http://127.0.0.1:{sock.getsockname()[1]}",))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Endpoint]:
    """What scans ask proxies for from here on; every port of it is open. A look-up here fails the test."""
    found: list[Endpoint] = []

    async def dial(_loop: object, endpoint: Endpoint, *_: object) -> Channel:
        found.append(endpoint)
        return StreamSocket(socket.socket())

    monkeypatch.setattr(proxied, "dial", dial)
    monkeypatch.setattr(source, "resolve", lambda endpoint, **_: pytest.fail(f"looked up {endpoint}"))
    return found


@pytest.mark.parametrize("scheme", ["socks5h", "socks4a", "http", "https"])
def test_names_are_for_a_proxy_that_looks_them_up(scheme: str, asked: list[Endpoint]) -> None:
    done = run("internal.invalid", "127.0.0.1", ports="1,2", proxy=(f"{scheme}://127.0.0.1:9",))
    assert {(place.host, place.port) for place in asked} == {
        (host, port) for host in ("internal.invalid", "127.0.0.1") for port in (1, 2)
    }
    assert {(facts["target"], facts["address"]) for facts in done.ports} == {
        ("internal.invalid", "internal.invalid"),
        ("127.0.0.1", "127.0.0.1"),
    }
    assert done.summary["done"] == 4


@pytest.mark.parametrize("scheme", ["socks5", "socks4"])
def test_names_are_looked_up_here_for_a_proxy_that_does_not(scheme: str) -> None:
    done = run("internal.invalid", ports="1", proxy=(f"{scheme}://127.0.0.1:9",))
    assert (done.code, done.summary["failed"]) == (ExitCode.NETWORK, 1)


def test_what_the_environment_keeps_from_the_proxy_is_looked_up_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "invalid")
    assert run("internal.invalid", ports="1", proxy=("env",)).summary["failed"] == 1


def test_shards_of_names_that_a_proxy_looks_up_are_the_whole(asked: list[Endpoint]) -> None:
    for part in (1, 2, 3):
        run("a.invalid", "b.invalid", ports="1-9", shard=(part, 3), proxy=("socks5h://127.0.0.1:9",))
    assert len(asked) == len(set(asked)) == 18


@pytest.mark.parametrize("option", [{"exclude": ("10.0.0.0/8",)}, {"all_addresses": True}])
def test_what_needs_the_address_of_a_name_that_a_proxy_looks_up(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"proxy looks (it|internal\.invalid) up"):
        run("internal.invalid", ports="1", proxy=("socks5h://127.0.0.1:9",), **option)
