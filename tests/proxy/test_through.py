"""Dialing through proxies: every kind, chains, credentials, IPv6, TLS on either side, hostile ones."""

import contextlib
import ssl
import time
from collections.abc import Iterator

import pytest
import trustme

from pync.endpoint import parse
from pync.errors import ExitCode, IntegrityError, NetworkError, PyncError, TimedOut
from pync.loop import Loop
from pync.report import Event
from pync.transport import proxy as proxy_module
from pync.transport.channel import Channel, read_some, write_all
from pync.transport.dial import DialSettings, dial
from pync.transport.tls_settings import TlsSettings
from tests.proxy.servers import HttpProxy, Server, SocksProxy, drips, echo, says


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as made:
        yield made


async def reach(
    loop: Loop, target: str, settings: DialSettings, events: list[Event], seconds: float | None
) -> bytes:
    """What the echo at `target` gives back."""
    deadline = None if seconds is None else loop.now() + seconds
    channel: Channel = await dial(loop, parse(target), settings, events.append, deadline)
    try:
        await write_all(loop, channel, b"hello", deadline)
        view = memoryview(bytearray(100))
        got = 0
        while got < 5:
            count = await read_some(loop, channel, view[got:], loop.now() + 10)
            assert count is not None
            got += count
        return bytes(view[:got])
    finally:
        channel.detach(loop)
        channel.close()


def talk(
    loop: Loop,
    target: str,
    *proxies: str,
    tls: TlsSettings | None = None,
    events: list[Event] | None = None,
    seconds: float | None = 10.0,
) -> bytes:
    settings = DialSettings(proxies=proxies, tls=tls)
    answer = loop.run(reach(loop, target, settings, [] if events is None else events, seconds))
    assert isinstance(answer, bytes)
    return answer


def failure(loop: Loop, target: str, *proxies: str, seconds: float | None = 10.0) -> PyncError:
    with pytest.raises(PyncError) as caught:
        talk(loop, target, *proxies, seconds=seconds)
    assert "\n" not in caught.value.message
    assert "secret" not in caught.value.message + (caught.value.hint or "")
    return caught.value


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h", "http"])
def test_every_kind_by_address(loop: Loop, scheme: str) -> None:
    handler = HttpProxy() if scheme == "http" else SocksProxy()
    with Server(echo) as target, Server(handler) as proxy:
        assert talk(loop, target.place, f"{scheme}://{proxy.place}") == b"hello"


@pytest.mark.parametrize(("scheme", "remote"), [("socks4", 0), ("socks4a", 1), ("socks5", 0), ("socks5h", 1)])
def test_who_looks_the_name_up(loop: Loop, scheme: str, remote: bool) -> None:
    handler = SocksProxy()
    with Server(echo) as target, Server(handler) as proxy:
        # "localhost" may be ::1 first, where nobody listens: every address has to be tried
        assert talk(loop, f"localhost:{target.port}", f"{scheme}://{proxy.place}") == b"hello"
    assert ("localhost" in handler.seen) == bool(remote)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "http"])
@pytest.mark.usefixtures("ipv6")
def test_over_and_to_ipv6(loop: Loop, scheme: str) -> None:
    handler = HttpProxy() if scheme == "http" else SocksProxy()
    with Server(echo, "::1") as target, Server(handler, "::1") as proxy:
        assert talk(loop, target.place, f"{scheme}://{proxy.place}") == b"hello"


def test_a_tunnel_is_the_plain_descriptor_of_the_first_hop(loop: Loop) -> None:
    async def look(target: str, url: str) -> bool:
        channel = await dial(loop, parse(target), DialSettings(proxies=(url,)), lambda event: None)
        try:
            return channel.plain and channel.buffered == 0
        finally:
            channel.detach(loop)
            channel.close()

    with Server(echo) as target, Server(HttpProxy()) as proxy:
        assert loop.run(look(target.place, f"http://{proxy.place}"))


def test_bytes_right_behind_the_reply_are_not_lost(loop: Loop) -> None:
    with Server(says(b"HTTP/1.1 200 OK\r\n\r\nhello", hold=True)) as proxy:
        assert talk(loop, "192.0.2.1:9", f"http://{proxy.place}") == b"hello"
    with Server(says(b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6) + b"hello", hold=True)) as proxy:
        assert talk(loop, "192.0.2.1:9", f"socks5://{proxy.place}") == b"hello"


def test_a_chain(loop: Loop) -> None:
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(Server(echo))
        first, second = SocksProxy(), HttpProxy("digest", lasting=False)
        third = SocksProxy((b"u", b"p"))
        servers = [stack.enter_context(Server(handler)) for handler in (first, second, third)]
        urls = [
            f"{kind}://{server.place}"
            for kind, server in zip(("socks4", "http", "socks5h"), servers, strict=True)
        ]
        urls[1] = urls[1].replace("//", "//u:p@")
        urls[2] = urls[2].replace("//", "//u:p@")
        assert talk(loop, target.place, *urls) == b"hello"
        assert servers[0].accepted == 2  # once more for the one that closes after its 407


@pytest.mark.parametrize("scheme", ["basic", "digest", "digest-rfc2069"])
@pytest.mark.parametrize("lasting", [True, False])
def test_challenges_are_answered(loop: Loop, scheme: str, lasting: bool) -> None:
    handler = HttpProxy(scheme, lasting=lasting)
    with Server(echo) as target, Server(handler) as proxy:
        assert talk(loop, target.place, f"http://u:p@{proxy.place}") == b"hello"
        assert proxy.accepted == (1 if lasting else 2)
    assert b"Authorization" not in handler.heads[0]


def test_credentials_of_the_environment(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNC_PROXY_AUTH", "u:p")
    with Server(echo) as target, Server(HttpProxy("digest")) as proxy:
        assert talk(loop, target.place, f"http://{proxy.place}") == b"hello"


def test_the_proxy_of_the_environment(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = SocksProxy()
    with Server(echo) as target, Server(handler) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.place}")
        assert talk(loop, target.place, "env") == b"hello"
        assert len(handler.seen) == 1
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        assert talk(loop, target.place, "env") == b"hello"
        assert len(handler.seen) == 1


@pytest.mark.parametrize("userinfo", ["u:secret@", ""])
def test_refused_and_missing_credentials_are_exit_4(loop: Loop, userinfo: str) -> None:
    for handler, kind in (
        (HttpProxy("basic"), "http"),
        (HttpProxy("digest"), "http"),
        (SocksProxy((b"u", b"p")), "socks5"),
    ):
        with Server(handler) as proxy:
            assert (
                failure(loop, "192.0.2.1:9", f"{kind}://{userinfo}{proxy.place}").code == ExitCode.INTEGRITY
            )


def test_a_target_that_refuses_is_named(loop: Loop) -> None:
    with Server(SocksProxy()) as proxy:
        error = failure(loop, "127.0.0.1:1", f"socks5://u:secret@{proxy.place}")
    assert isinstance(error, NetworkError)
    assert "127.0.0.1:1" in error.message
    assert proxy.place in error.message
    assert "refused" in error.message


def test_a_proxy_that_refuses_is_exit_1(loop: Loop) -> None:
    with Server(echo) as gone:
        pass
    assert failure(loop, "192.0.2.1:9", f"socks5://{gone.place}").code == ExitCode.NETWORK


def test_events_name_the_proxy_without_its_credential(loop: Loop) -> None:
    events: list[Event] = []
    with Server(echo) as target, Server(SocksProxy((b"u", b"secret"))) as proxy:
        talk(loop, target.place, f"socks5://u:secret@{proxy.place}", events=events)
    assert any(event.facts.get("proxy") == f"socks5://{proxy.place}" for event in events)
    assert "secret" not in repr(events)


def test_datagrams_are_not_carried(loop: Loop) -> None:
    assert failure(loop, "udp://127.0.0.1:9", "socks5://127.0.0.1:9").code == ExitCode.USAGE


# --- TLS on either side --------------------------------------------------------------------------------


def test_tls_inside_and_https_outside(loop: Loop, tmp_path: "pytest.TempPathFactory") -> None:
    authority = trustme.CA()
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = f"{tmp_path}/ca.pem"
    authority.cert_pem.write_to_path(trust)
    with Server(echo, tls=context) as target, Server(HttpProxy("digest"), tls=context) as proxy:
        url = f"https://u:p@{proxy.place}"
        assert talk(loop, f"tls://{target.place}", url, tls=TlsSettings(ca=trust)) == b"hello"
        with pytest.raises(IntegrityError):
            talk(loop, f"tls://{target.place}", url, tls=TlsSettings())


def test_errors_behind_a_proxy_name_the_target_and_not_the_proxy(loop: Loop) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Server(echo, tls=context) as target, Server(HttpProxy()) as first, Server(SocksProxy()) as second:
        chain = (f"http://{first.place}", f"socks5://{second.place}")
        for proxies in (chain[:1], chain):
            with pytest.raises(IntegrityError, match=f"^tls {target.place}: the certificate is not trusted"):
                talk(loop, f"tls://{target.place}", *proxies, tls=TlsSettings())


def test_a_plain_proxy_called_https_is_no_tls(loop: Loop) -> None:
    with Server(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as proxy:
        error = failure(loop, "192.0.2.1:9", f"https://{proxy.place}")
    assert isinstance(error, NetworkError)
    assert "TLS" in error.message


# --- hostile ones --------------------------------------------------------------------------------------

HOSTILE = {
    "closes": says(),
    "closes after the request": says(b""),
    "endless head": says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, hold=True),
    "endless interim answers": says(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, hold=True),
    "another protocol": says(b"SSH-2.0-OpenSSH\r\n", hold=True),
    "half an answer": says(b"HTTP/1.1 200 O"),
    "socks half an answer": says(b"\x05"),
    "noise": says(b"\xff" * 500, hold=True),
    "nothing but lines": says(b"\n" * 5000, hold=True),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("scheme", ["http", "socks4", "socks5"])
def test_hostile_proxies_end_in_one_line_and_exit_1(loop: Loop, name: str, scheme: str) -> None:
    with Server(HOSTILE[name]) as proxy:
        assert failure(loop, "192.0.2.1:9", f"{scheme}://u:secret@{proxy.place}").code == ExitCode.NETWORK


@pytest.mark.parametrize(
    "handler", [says(hold=True), drips(b"HTTP/1.1 100 Continue\r\n\r\n")], ids=["mute", "drips"]
)
def test_slow_proxies_end_at_the_deadline(
    loop: Loop, handler: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(handler) as proxy:  # type: ignore[arg-type]
        begin = time.monotonic()
        assert isinstance(failure(loop, "192.0.2.1:9", f"http://{proxy.place}", seconds=0.2), TimedOut)
        monkeypatch.setattr(proxy_module, "HANDSHAKE_SECONDS", 0.2)
        assert failure(loop, "192.0.2.1:9", f"http://{proxy.place}", seconds=None).code == ExitCode.NETWORK
        assert time.monotonic() - begin < 5


def test_a_proxy_that_asks_for_ever_is_left(loop: Loop) -> None:
    stale = b'HTTP/1.1 407 A\r\nProxy-Authenticate: Digest nonce="n", stale=true\r\nConnection: close\r\n\r\n'
    with Server(says(stale)) as proxy:
        failure(loop, "192.0.2.1:9", f"http://u:secret@{proxy.place}")
        assert proxy.accepted < 10
