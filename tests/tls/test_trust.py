"""Who is trusted: the zoo against a verifying client, pins, client certificates."""

import datetime
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pync.errors import ExitCode, IntegrityError, LocalError, NetworkError, PyncError, UsageError
from pync.loop import Loop
from pync.transport.channel import read_some
from pync.transport.tls import start_tls
from tests.tls import zoo
from tests.tls.pairs import (
    TlsChannel,
    TlsSettings,
    both,
    drop,
    read_to_end,
    say_eof,
    shake,
    sockets,
    version_of,
)
from tests.tls.zoo import DAY, NOW, Authority, Identity


def meet(loop: Loop, client: TlsSettings, server: TlsSettings, name: str | None = "localhost") -> list[Any]:
    """Both sides' channel or exception; channels are closed already."""
    results: list[Any] = loop.run(shake(loop, client, server, name=name))
    drop(loop, *results)
    return results


def animal(authority: Authority, kind: str) -> Identity:
    below = Authority("zoo intermediate", authority)
    lower = Authority("zoo lower intermediate", below)
    makers: dict[str, Callable[[], Identity]] = {
        "good": lambda: authority.issue("localhost"),
        "wildcard": lambda: authority.issue("*.zoo.example"),
        "ip": lambda: authority.issue("127.0.0.1", "::1"),
        "expired": lambda: authority.issue("localhost", ends=NOW - datetime.timedelta(hours=1)),
        "not yet valid": lambda: authority.issue("localhost", begins=NOW + DAY),
        "other name": lambda: authority.issue("elsewhere.example"),
        "self-signed": lambda: zoo.self_signed("localhost"),
        "other authority": lambda: Authority("zoo impostor").issue("localhost"),
        "intermediate": lambda: below.issue("localhost"),
        "missing intermediate": lambda: below.issue("localhost").without_chain(),
        "two intermediates": lambda: lower.issue("localhost"),
        "chain in the wrong order": lambda: lower.issue("localhost").reversed_chain(),
        "for clients": lambda: authority.issue("localhost", client=True),
        "name in the subject only": lambda: authority.issue(subject="localhost"),
    }
    return makers[kind]()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("good", "localhost"),
        ("good", "LOCALHOST"),
        ("good", "localhost."),
        ("wildcard", "a.zoo.example"),
        ("ip", "127.0.0.1"),
        ("ip", "::1"),
        ("intermediate", "localhost"),
        ("two intermediates", "localhost"),
        ("chain in the wrong order", "localhost"),
        ("name in the subject only", "localhost"),
    ],
)
def test_trusted(loop: Loop, authority: Authority, trust: str, tmp_path: Path, kind: str, name: str) -> None:
    server = TlsSettings(cert=animal(authority, kind).write(tmp_path / "server.pem"))
    for result in meet(loop, TlsSettings(ca=trust), server, name):
        assert isinstance(result, TlsChannel), result


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("expired", "localhost", "expired"),
        ("not yet valid", "localhost", "not yet valid"),
        ("other name", "localhost", "mismatch"),
        ("wildcard", "a.b.zoo.example", "mismatch"),
        ("wildcard", "zoo.example", "mismatch"),
        ("ip", "127.0.0.2", "mismatch"),
        ("ip", "localhost", "mismatch"),
        ("good", "127.0.0.1", "mismatch"),
        ("self-signed", "localhost", "self.signed"),
        ("other authority", "localhost", "issuer"),
        ("missing intermediate", "localhost", "issuer"),
        ("for clients", "localhost", "purpose"),
    ],
)
def test_not_trusted(
    loop: Loop, authority: Authority, trust: str, tmp_path: Path, kind: str, name: str, words: str
) -> None:
    server = TlsSettings(cert=animal(authority, kind).write(tmp_path / "server.pem"))
    mine, theirs = meet(loop, TlsSettings(ca=trust), server, name)
    assert isinstance(mine, IntegrityError)
    assert re.search(words, mine.message)
    assert "\n" not in mine.message
    assert isinstance(theirs, IntegrityError)  # a listener is told that its certificate was refused
    assert "does not accept our certificate" in theirs.message


def test_hints_say_what_to_do(loop: Loop, authority: Authority, trust: str, tmp_path: Path) -> None:
    for kind, option in (
        ("self-signed", "--tls-fingerprint"),
        ("other authority", "--tls-ca"),
        ("other name", "--tls-name"),
    ):
        server = TlsSettings(cert=animal(authority, kind).write(tmp_path / "server.pem"))
        mine, _ = meet(loop, TlsSettings(ca=trust), server)
        assert option in (mine.hint or "")


def test_the_system_does_not_trust_the_zoo(loop: Loop, authority: Authority, tmp_path: Path) -> None:
    server = TlsSettings(cert=animal(authority, "good").write(tmp_path / "server.pem"))
    assert isinstance(meet(loop, TlsSettings(), server)[0], IntegrityError)


def test_a_weak_key_is_refused(loop: Loop, authority: Authority, trust: str, tmp_path: Path) -> None:
    weak = authority.issue("localhost", key=zoo.weak_key())
    server = TlsSettings(cert=weak.write(tmp_path / "weak.pem"))
    with pytest.raises(LocalError, match="too small"):
        server.context(server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(str(tmp_path / "weak.pem"))
    server._contexts[True] = context
    mine, _ = meet(loop, TlsSettings(ca=trust), server)
    assert isinstance(mine, IntegrityError)


def test_a_server_certificate_or_an_intermediate_can_be_the_trust(loop: Loop, tmp_path: Path) -> None:
    hermit = zoo.self_signed("localhost")
    below = Authority("zoo intermediate", Authority())
    leaf = below.issue("localhost")
    for identity, anchor in (
        (hermit, hermit.certificates()),
        (leaf, leaf.certificates()),
        (leaf, leaf.chain),
    ):
        path = tmp_path / "trust.pem"
        if isinstance(anchor, bytes):
            path.write_bytes(anchor)
        else:
            below.write(path)
        server = TlsSettings(cert=identity.write(tmp_path / "server.pem"))
        assert isinstance(meet(loop, TlsSettings(ca=str(path)), server)[0], TlsChannel)


# --- pins ----------------------------------------------------------------------------------------------


def test_a_pin_is_all_the_trust_there_is(loop: Loop, authority: Authority, tmp_path: Path) -> None:
    for kind in ("self-signed", "expired", "other name"):
        identity = animal(authority, kind)
        server = TlsSettings(cert=identity.write(tmp_path / "server.pem"))
        assert isinstance(meet(loop, TlsSettings(fingerprint=identity.fingerprint), server)[0], TlsChannel)


def test_another_certificate_than_the_pinned_one(loop: Loop, authority: Authority, tmp_path: Path) -> None:
    identity = animal(authority, "good")
    server = TlsSettings(cert=identity.write(tmp_path / "server.pem"))
    mine, _ = meet(loop, TlsSettings(fingerprint="sha256:" + "0" * 64), server)
    assert isinstance(mine, IntegrityError)
    assert identity.fingerprint in mine.message
    assert "0" * 64 in (mine.hint or "")


def test_a_pin_with_a_ca_needs_both(loop: Loop, authority: Authority, trust: str, tmp_path: Path) -> None:
    identity = animal(authority, "self-signed")
    server = TlsSettings(cert=identity.write(tmp_path / "server.pem"))
    mine, _ = meet(loop, TlsSettings(ca=trust, fingerprint=identity.fingerprint), server)
    assert isinstance(mine, IntegrityError)


@pytest.mark.parametrize(
    "text", ["AB" * 32, "sha256:" + "ab" * 32, "SHA256:" + ":".join(["AB"] * 32), "ab:" * 31 + "ab"]
)
def test_fingerprints_as_other_tools_print_them(text: str) -> None:
    assert TlsSettings(fingerprint=text).pin == "sha256:" + "ab" * 32


@pytest.mark.parametrize("text", ["", "sha256:", "md5:" + "ab" * 16, "ab" * 20, "sha256:" + "zz" * 32])
def test_fingerprints_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        TlsSettings(fingerprint=text)


def test_a_listener_without_a_certificate_makes_one(loop: Loop) -> None:
    server = TlsSettings()
    facts = server.listener_facts("127.0.0.1", 9000)
    assert facts["command"] == f"pync connect --tls 127.0.0.1 9000 --tls-fingerprint {facts['fingerprint']}"
    mine, theirs = meet(loop, TlsSettings(fingerprint=facts["fingerprint"]), server, "anything")
    assert isinstance(mine, TlsChannel)
    assert isinstance(theirs, TlsChannel)
    command = TlsSettings().listener_facts("", 0, "/run/x")["command"]
    assert command.startswith("pync connect --tls unix:/run/x --tls-fingerprint sha256:")
    anywhere = TlsSettings().listener_facts("0.0.0.0", 1)
    assert "0.0.0.0" not in anywhere["command"]


@pytest.mark.parametrize("versions", ["1.2", "1.3"])
@pytest.mark.parametrize("asks", [False, True])
def test_a_listener_knows_its_own_certificate(
    authority: Authority, trust: str, tmp_path: Path, versions: str, asks: bool
) -> None:
    whole = Authority("between", authority).issue("localhost")
    server = TlsSettings(cert=whole.write(tmp_path / "server.pem"), client_ca=trust if asks else None)
    assert server.listener_facts("127.0.0.1", 1) == {}
    if versions == "1.2":
        server.context(server=True).maximum_version = ssl.TLSVersion.TLSv1_2
    unknown = asks and versions == "1.2"  # there a client shows its own before the handshake is done
    assert server.own_fingerprint() == ("" if unknown else whole.fingerprint)


def test_two_listeners_make_two_certificates() -> None:
    first, second = (TlsSettings().listener_facts("127.0.0.1", 1) for _ in range(2))
    assert first["fingerprint"] != second["fingerprint"]


# --- client certificates -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("good", ""),
        ("absent", "requires a client certificate"),
        ("other authority", "does not accept our certificate"),
        ("expired", "does not accept our certificate"),
    ],
)
def test_client_certificates(
    loop: Loop,
    authority: Authority,
    trust: str,
    tmp_path: Path,
    kind: str,
    words: str,
    version: ssl.TLSVersion,
) -> None:
    issuer = Authority("impostor") if kind == "other authority" else authority
    ends = NOW - datetime.timedelta(hours=1) if kind == "expired" else NOW + DAY
    client = issuer.issue("me", client=True, ends=ends).write(tmp_path / "client.pem")
    server = TlsSettings(cert=animal(authority, "good").write(tmp_path / "server.pem"), client_ca=trust)
    settings = TlsSettings(ca=trust, cert=None if kind == "absent" else client)
    size = 100_000 if words else 5  # left unread by a server that refuses
    mine, theirs = loop.run(_meet_and_read(loop, settings, version_of(server, version, server=True), size))
    if not words:
        assert mine == b"welcome"
        assert isinstance(theirs, TlsChannel)
        return
    # In TLS 1.3 the client learns it with its first read, after its own handshake was over.
    assert isinstance(mine, IntegrityError), mine
    assert words in mine.message
    assert "--tls-cert" in (mine.hint or "")
    assert isinstance(theirs, IntegrityError), theirs
    assert "client" in theirs.message


async def _meet_and_read(loop: Loop, client: TlsSettings, server: TlsSettings, size: int) -> list[Any]:
    """What the client, which sends `size` first, reads or raises, and the server's channel or exception."""
    near, far = sockets()
    deadline = loop.now() + 10

    async def talk() -> bytes:
        channel = await start_tls(loop, near, client, server=False, name="localhost", deadline=deadline)
        try:
            channel.write(memoryview(b"x" * size))
            return await read_to_end(loop, channel)
        finally:
            drop(loop, channel)

    async def serve() -> Any:
        channel = await start_tls(loop, far, server, server=True, name=None, deadline=deadline)
        try:
            channel.write(memoryview(b"welcome"))
            await say_eof(loop, channel)
            await read_some(loop, channel, memoryview(bytearray(10)), deadline)
            return channel
        finally:
            drop(loop, channel)

    return await both(loop, talk(), serve())


# --- files and words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "server"),
    [
        ({"ca": "missing"}, False),
        ({"ca": "garbage"}, False),
        ({"cert": "missing"}, True),
        ({"cert": "garbage"}, True),
        ({"cert": "good", "key": "missing"}, True),
        ({"cert": "good", "key": "garbage"}, True),
        ({"cert": "good", "key": "other"}, True),
        ({"cert": "good", "client_ca": "garbage"}, True),
        ({"cert": "root"}, True),
        ({"cert": "."}, True),
    ],
)
def test_unusable_files_are_local_errors_that_name_them(
    authority: Authority, trust: str, tmp_path: Path, options: dict[str, str], server: bool
) -> None:
    del trust  # writes root.pem
    (tmp_path / "garbage").write_bytes(b"-----BEGIN CERTIFICATE-----\nnonsense\n")
    authority.issue("localhost").write(tmp_path / "good")
    authority.issue("localhost").write(tmp_path / "other")
    (tmp_path / "root").write_bytes((tmp_path / "root.pem").read_bytes())
    named = {option: str(tmp_path / file) for option, file in options.items()}
    with pytest.raises(LocalError) as caught:
        TlsSettings(**named).context(server=server)  # type: ignore[arg-type]
    assert caught.value.code == ExitCode.USAGE
    assert str(tmp_path) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(("password", "works"), [("sesame", True), ("wrong", False), ("", False)])
def test_an_encrypted_key_takes_its_password_from_the_environment(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, works: bool
) -> None:
    identity = authority.issue("localhost")
    (tmp_path / "key.pem").write_bytes(identity.private(b"sesame"))
    (tmp_path / "cert.pem").write_bytes(identity.certificates())
    monkeypatch.setenv("PYNC_TLS_PASSWORD", password)
    settings = TlsSettings(cert=str(tmp_path / "cert.pem"), key=str(tmp_path / "key.pem"))
    if works:
        settings.context(server=True)
    else:
        with pytest.raises(LocalError, match="password") as caught:
            settings.context(server=True)
        assert "wrong password" in caught.value.message


@pytest.mark.parametrize(
    "options", [{"key": "k"}, {"minimum": "1.1"}, {"alpn": "é"}, {"alpn": ["x" * 256]}, {"fingerprint": "x"}]
)
def test_bad_words(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TlsSettings(**options)


def test_verifying_needs_a_name(loop: Loop, trust: str) -> None:
    mine, _ = meet(loop, TlsSettings(ca=trust), TlsSettings(), None)
    assert isinstance(mine, UsageError)
    assert "--tls-name" in (mine.hint or "")
    mine, _ = meet(loop, TlsSettings(insecure=True), TlsSettings(), None)
    assert isinstance(mine, TlsChannel)


def test_names_that_are_none(loop: Loop, trust: str) -> None:
    for name in (".", "a..b", "x" * 300, "a\x00b"):
        mine, _ = meet(loop, TlsSettings(ca=trust), TlsSettings(), name)
        assert isinstance(mine, UsageError | IntegrityError), mine


def test_a_pin_makes_no_sense_for_a_listener() -> None:
    with pytest.raises(UsageError):
        TlsSettings(fingerprint="ab" * 32).listener_facts("127.0.0.1", 1)


def test_tls_min(loop: Loop, authority: Authority, trust: str, tmp_path: Path) -> None:
    cert = animal(authority, "good").write(tmp_path / "server.pem")
    old = version_of(TlsSettings(cert=cert), ssl.TLSVersion.TLSv1_2, server=True)
    mine, theirs = meet(loop, TlsSettings(ca=trust, minimum="1.3"), old)
    assert isinstance(mine, NetworkError)
    assert "version" in mine.message
    assert isinstance(theirs, PyncError)
    strict = TlsSettings(cert=cert, minimum="1.3")
    mine, theirs = meet(loop, version_of(TlsSettings(ca=trust), ssl.TLSVersion.TLSv1_2, server=False), strict)
    assert isinstance(mine, NetworkError)
    assert isinstance(theirs, IntegrityError)  # a client whose TLS fails ends a listener with 4


def test_facts(loop: Loop, authority: Authority, trust: str, tmp_path: Path) -> None:
    async def look(client: TlsSettings) -> tuple[dict[str, Any], dict[str, Any]]:
        identity = authority.issue("localhost", "127.0.0.1")
        cert = identity.write(tmp_path / "server.pem")
        server = TlsSettings(cert=cert, alpn="h2,http/1.1")
        mine, theirs = await shake(loop, client, server)
        try:
            facts = mine.secured(), theirs.secured()
            assert facts[0]["fingerprint"] == identity.fingerprint
            return facts
        finally:
            drop(loop, mine, theirs)

    expected = {
        "version": "TLSv1.3",
        "alpn": "http/1.1",
        "subject": "CN=zoo animal",
        "sans": ["DNS:localhost", "IP:127.0.0.1"],
        "expires": (NOW + 7 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    for client, verified in (
        (TlsSettings(ca=trust, alpn=["http/1.1"]), True),
        (TlsSettings(insecure=True, alpn="http/1.1"), False),
    ):
        mine, theirs = loop.run(look(client))
        assert {key: mine[key] for key in expected} == expected
        assert mine["verified"] is verified
        assert ("warning" in mine) is not verified
        assert "subject" not in theirs
        assert "warning" not in theirs
