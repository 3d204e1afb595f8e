"""SOCKS4, SOCKS4a and SOCKS5 clients as handshakes.

Sources: the SOCKS4 and SOCKS4a memos, RFC 1928 (SOCKS5), RFC 1929 (user name and password).

Not python-socks: its protocol classes are private, drop an empty password, take ASCII only and end in
ValueError for a reply with an unknown address type. Every reply here has a length known before it is read, so
that nothing is ever read past it.
"""

import socket

from pync import endpoint
from pync.errors import IntegrityError, NetworkError, UsageError
from pync.proto.handshake import Exactly, Handshake, Refused, Write
from pync.proto.proxy_url import Credential

_REFUSED_HINT = "write the name and password into the URL (socks5h://NAME:PASSWORD@HOST) or PYNC_PROXY_AUTH"

_SOCKS4_REFUSED = {
    0x5B: "the proxy refused the request or could not connect",
    0x5C: "the proxy could not reach identd on this host",
    0x5D: "the proxy refused the user name (identd says another)",
}
_SOCKS5_REFUSED = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "it knows no CONNECT",
    8: "it does not take that kind of address",
}


def name_bytes(host: str) -> bytes:
    """`host` as a protocol carries it (IDNA for names); raises UsageError for what no protocol could."""
    try:
        name = host.encode("ascii") if host.isascii() else host.encode("idna")
    except UnicodeError:
        raise UsageError(f"{host!r} is not a host name") from None
    if not 1 <= len(name) <= 255 or any(byte <= 0x20 or byte == 0x7F for byte in name):
        raise UsageError(f"{host!r} is not a host name that a proxy can be given")
    return name


def socks4(host: str, port: int, credential: Credential | None) -> Handshake[None]:
    """Ask for `host`:`port`. A name, which the proxy then looks up, makes it SOCKS4a."""
    if ":" in host:
        raise UsageError("SOCKS4 cannot carry IPv6 addresses", hint="use socks5:// or socks5h://")
    user = credential.userinfo if credential else b""
    if b"\0" in user or len(user) > 255:
        raise UsageError("--proxy: SOCKS4 takes no such user name")
    if endpoint.is_literal(host):
        address, name = socket.inet_aton(host), b""
    else:
        address, name = b"\0\0\0\1", name_bytes(host) + b"\0"
    yield Write(b"\x04\x01" + port.to_bytes(2, "big") + address + user + b"\0" + name)
    version, code = (yield Exactly(8))[:2]
    if version != 0:
        raise NetworkError("the proxy does not speak SOCKS4")
    if code in (0x5C, 0x5D):
        raise IntegrityError(_SOCKS4_REFUSED[code])
    if code != 0x5A:
        raise Refused(_SOCKS4_REFUSED.get(code, f"the proxy answered with the unknown code {code}"))


def socks5(host: str, port: int, credential: Credential | None) -> Handshake[None]:
    """Ask for `host`:`port`; a name is looked up by the proxy."""
    request = b"\x05\x01\x00" + _socks5_address(host) + port.to_bytes(2, "big")
    login = _login(credential)
    yield Write(b"\x05\x02\x00\x02" if login else b"\x05\x01\x00")
    version, method = yield Exactly(2)
    if version != 5:
        raise NetworkError("the proxy does not speak SOCKS5")
    if method == 2 and login:
        yield Write(login)
        version, status = yield Exactly(2)
        if version not in (1, 5):  # 5 is wrong, and common
            raise NetworkError("the proxy's answer to the password is not SOCKS5")
        if status != 0:
            raise IntegrityError("the proxy refused the user name or password")
    elif method == 0xFF:
        if login:
            raise IntegrityError("the proxy takes no user name and password")
        raise IntegrityError("the proxy wants a user name and password", hint=_REFUSED_HINT)
    elif method != 0:
        raise NetworkError(f"the proxy chose authentication method {method}, which was not offered")
    yield Write(request)
    yield from _socks5_reply()


def _socks5_address(host: str) -> bytes:
    if not endpoint.is_literal(host):
        name = name_bytes(host)
        return b"\x03" + bytes([len(name)]) + name
    bare = host.partition("%")[0]  # the scope means nothing on another host
    if ":" in bare:
        return b"\x04" + socket.inet_pton(socket.AF_INET6, bare)
    return b"\x01" + socket.inet_pton(socket.AF_INET, bare)


def _login(credential: Credential | None) -> bytes:
    """The RFC 1929 message, b"" without a credential."""
    if credential is None:
        return b""
    name, password = credential.username, credential.password
    if len(name) > 255 or len(password) > 255:
        raise UsageError("--proxy: SOCKS5 takes user names and passwords of up to 255 bytes")
    return b"\x01" + bytes([len(name)]) + name + bytes([len(password)]) + password


def _socks5_reply() -> Handshake[None]:
    # A refusal may be cut short after its code, so that is looked at before the rest is waited for.
    version, code = yield Exactly(2)
    if version != 5:
        raise NetworkError("the proxy's answer is not SOCKS5")
    if code != 0:
        raise Refused(f"the proxy says: {_SOCKS5_REFUSED.get(code, f'unknown code {code}')}")
    _, kind = yield Exactly(2)
    if kind == 3:
        size = (yield Exactly(1))[0]
    elif kind in (1, 4):
        size = 4 if kind == 1 else 16
    else:
        raise NetworkError(f"the proxy's answer has the unknown address type {kind}")
    yield Exactly(size + 2)
