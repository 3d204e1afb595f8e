"""Endpoint: where to connect or listen, as a value with one grammar for every command.

`parse` and `str` round-trip. `resolve` is the one caller of the system's name look-up.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from pync.errors import NetworkError, PyncError, UsageError, translate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from pync.lean import NamedTuple

_INET = ("tcp", "udp", "tls")
_UNIX = ("unix", "unix-dgram")
SCHEMES = (*_INET, *_UNIX, "fd")
DATAGRAM = frozenset({"udp", "unix-dgram"})


class Endpoint(NamedTuple):
    """`scheme` is one of SCHEMES. `port` is a number or a service name; `host` "" means every address.

    `path` is the Unix path ("@NAME" abstract), or the number of an inherited descriptor.
    """

    scheme: str
    host: str = ""
    port: int | str = 0
    path: str = ""

    @property
    def address(self) -> str:
        """What messages show: `HOST:PORT`, or the path with its scheme."""
        if self.scheme in _INET:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"{host or '*'}:{self.port}"
        return f"{self.scheme}:{self.path}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}" if self.scheme in _INET else self.address


class Address(NamedTuple):
    """One socket address: `family` and `kind` (SOCK_*) as in socket(2), `sockaddr` as Python's socket has
    it.
    """

    family: int
    kind: int
    sockaddr: Any

    def __str__(self) -> str:
        return show(self.family, self.sockaddr)


def show(family: int, sockaddr: Any) -> str:
    """A socket address as messages show it; "" is one that is not known."""
    if not sockaddr and family != getattr(socket, "AF_UNIX", -1):
        return "unknown address"
    if family == socket.AF_INET:
        return f"{sockaddr[0]}:{sockaddr[1]}"
    if family == socket.AF_INET6:
        return f"[{host_of(sockaddr)}]:{sockaddr[1]}"
    if isinstance(sockaddr, bytes):
        return "unix:@" + sockaddr[1:].decode(errors="backslashreplace") if sockaddr else "unix:"
    return f"unix:{sockaddr}"


def host_of(sockaddr: Any) -> str:
    """The printable address without the port; scoped IPv6 addresses keep their scope, mapped IPv4 lose
    theirs.
    """
    host = str(sockaddr[0])
    if host.startswith("::ffff:") and "." in host:
        return host[7:]
    if len(sockaddr) == 4 and sockaddr[3] and "%" not in host:
        try:
            return f"{host}%{socket.if_indextoname(sockaddr[3])}"
        except OSError:
            return f"{host}%{sockaddr[3]}"
    return host


def parse(text: str, *, listen: bool = False, default: str = "tcp") -> Endpoint:
    """The endpoint that one word names; raises UsageError."""
    endpoint, rest = take([text], listen=listen, default=default)
    assert not rest
    return endpoint


def take(words: Sequence[str], *, listen: bool = False, default: str = "tcp") -> tuple[Endpoint, list[str]]:
    """The endpoint that the first one or two words name, and the words after it; raises UsageError.

    `default` is the scheme of a word that names none; `listen` allows a port alone.
    """
    if not words:
        raise UsageError("no endpoint given", hint="write HOST PORT, HOST:PORT or unix:PATH")
    first, rest = words[0], list(words[1:])
    scheme, text = _split_scheme(first, default)
    if "\0" in text:
        raise UsageError(f"{first!r} holds a NUL byte")
    if scheme in _UNIX:
        if not text or text == "@":
            raise UsageError(f"{first!r} names no path", hint="write unix:PATH, or unix:@NAME (Linux)")
        return Endpoint(scheme, path=text), rest
    if scheme == "fd":
        if not _is_number(text):
            raise UsageError(f"{first!r} names no descriptor", hint="write fd:3")
        return Endpoint(scheme, path=str(int(text))), rest
    host, port = _split_port(text, first)
    if port is None:
        if rest and (not listen or _looks_like_port(rest[0])):
            port = rest.pop(0)
        elif listen and host and ":" not in host and not is_literal(host):
            host, port = "", host
        else:
            raise _no_port(first, host)
    if host == "*" and listen:
        host = ""
    if not host and not listen:
        raise UsageError(f"{first!r} names no host", hint=f"write localhost:{port}")
    return Endpoint(scheme, host, parse_port(port)), rest


def _no_port(word: str, host: str) -> UsageError:
    if ":" in host:
        return UsageError(f"{word!r} has no port", hint=f"write [{host}]:PORT or {host} PORT")
    return UsageError(f"{word!r} has no port", hint=f"write {host or 'HOST'}:PORT or {host or 'HOST'} PORT")


def _split_scheme(word: str, default: str) -> tuple[str, str]:
    before, separator, after = word.partition("://")
    if separator:
        scheme = before.lower()
        if scheme in _INET:
            return scheme, after.removesuffix("/")
        if scheme not in _UNIX:
            known = ", ".join(f"{name}://" for name in _INET)
            raise UsageError(f"unknown scheme in {word!r}", hint=f"pync knows {known}, unix: and unix-dgram:")
    before, separator, after = word.partition(":")
    if separator and before in ("unix", "unix-dgram", "fd"):
        return before, after
    return default, word


def _split_port(text: str, word: str) -> tuple[str, str | None]:
    """Host and port of `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` or a bare IPv6 address."""
    if text.startswith("["):
        host, bracket, after = text[1:].partition("]")
        if not bracket or (after and not after.startswith(":")) or ":" not in host:
            raise UsageError(f"{word!r} is not [ADDRESS]:PORT", hint="write [::1]:9000")
        return host, after[1:] if after else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None  # a name, or a bare IPv6 address


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _looks_like_port(text: str) -> bool:
    return bool(text) and ":" not in text and "/" not in text


def parse_port(text: str | int) -> int | str:
    """A port number, or a service name to be looked up; raises UsageError."""
    if isinstance(text, int) or _is_number(text):
        number = int(text) if len(str(text)) < 10 else 65_536
        if not 0 <= number <= 65_535:
            raise UsageError(f"port {text} is not in 0-65535")
        return number
    if text and set(text) <= set("0123456789-,"):
        raise UsageError(f"{text!r} is not one port", hint=f"for many ports: pync scan HOST -p {text}")
    if (
        not text
        or not text.isascii()
        or not all(c.isalnum() or c in "-_.+" for c in text)
        or text[0] in "-.+"
    ):
        raise UsageError(f"{text!r} is not a port", hint="a number 0-65535 or a service name such as http")
    return text


def port_number(port: int | str, kind: int, *, numeric: bool = False) -> int:
    """The number of a port or service; `kind` is SOCK_STREAM or SOCK_DGRAM. Raises UsageError."""
    if isinstance(port, int):
        return port
    if numeric:
        raise UsageError(f"{port!r} is a service name, and --numeric forbids look-ups")
    protocol = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    try:
        return socket.getservbyname(port, protocol)
    except OSError:
        hint = "a port is a number 0-65535 or a service name such as http"
        raise UsageError(f"unknown {protocol} service {port!r}", hint=hint) from None


def is_literal(host: str) -> bool:
    """True for an IPv4 or IPv6 address, so that no look-up is needed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def unix_sockaddr(path: str) -> str | bytes:
    """The sockaddr of a Unix path or of an abstract "@NAME"; raises UsageError where it is too long."""
    if path.startswith("@"):
        if sys.platform != "linux":
            raise UsageError("abstract Unix names (unix:@NAME) exist on Linux only", hint="write unix:PATH")
        sockaddr: str | bytes = b"\0" + path[1:].encode(errors="surrogateescape")
    else:
        sockaddr = path
    size = len(sockaddr if isinstance(sockaddr, bytes) else sockaddr.encode(errors="surrogateescape"))
    if size > 107:  # sizeof(sun_path) - 1 on Linux; the BSDs have 103 and say so at bind
        raise UsageError(f"the Unix path is {size} bytes long, 107 are allowed")
    return sockaddr


def resolve(
    endpoint: Endpoint, *, family: int = 0, numeric: bool = False, passive: bool = False
) -> list[Address]:
    """Every address of `endpoint`, in the system's order (RFC 6724). May block.

    `family` is 0 (any), 4 or 6. `passive`: to bind; no host is then every address, IPv4 first.
    Raises NetworkError when the name has none, UsageError for what could never resolve.
    """
    kind = socket.SOCK_DGRAM if endpoint.scheme in DATAGRAM else socket.SOCK_STREAM
    if endpoint.scheme in _UNIX:
        if not hasattr(socket, "AF_UNIX"):
            raise UsageError("this system has no Unix sockets")
        return [Address(socket.AF_UNIX, kind, unix_sockaddr(endpoint.path))]
    port = port_number(endpoint.port, kind, numeric=numeric)
    if is_literal(endpoint.host) and "%" not in endpoint.host:
        return [_literal(endpoint.host, port, kind, family)]
    if passive and not endpoint.host:
        every = [(4, socket.AF_INET, ("0.0.0.0", port)), (6, socket.AF_INET6, ("::", port, 0, 0))]
        return [Address(af, kind, sockaddr) for number, af, sockaddr in every if family in (0, number)]
    wanted = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
    flags = socket.AI_NUMERICHOST if numeric else 0
    host: str | bytes = endpoint.host
    if endpoint.host.isascii():
        host = endpoint.host.encode()  # a str would load the IDNA tables, which only other names need
    try:
        found = socket.getaddrinfo(host, port, wanted, kind, 0, flags)
    except socket.gaierror as error:
        raise _look_up_error(endpoint, error, family, numeric) from None
    except UnicodeError:
        raise UsageError(f"{endpoint.host!r} is not a host name") from None
    except OSError as error:  # about this host, not about the name
        raise translate(error, f"look up {endpoint.host}", local=True) from None
    addresses = [Address(af, kind, sockaddr) for af, _, _, _, sockaddr in found]
    return list(dict.fromkeys(addresses))


def _literal(host: str, port: int, kind: int, family: int) -> Address:
    version, af = (6, socket.AF_INET6) if ":" in host else (4, socket.AF_INET)
    if family not in (0, version):
        raise UsageError(f"{host} is not an IPv{family} address")
    return Address(af, kind, (host, port, 0, 0) if version == 6 else (host, port))


def _look_up_error(endpoint: Endpoint, error: socket.gaierror, family: int, numeric: bool) -> PyncError:
    if is_literal(endpoint.host):
        return UsageError(f"{endpoint.host}: no such interface")
    if numeric:
        return UsageError(f"{endpoint.host!r} is not an address, and --numeric forbids look-ups")
    try:
        for fd in os.pipe():
            os.close(fd)
    except OSError as want:  # of the file and the socket that a resolver needs; it calls that "no such name"
        return translate(want, f"look up {endpoint.host}", local=True)
    if error.errno == socket.EAI_AGAIN:
        return NetworkError(f"{endpoint.host}: name look-up failed (the name server did not answer)")
    wants = {4: "IPv4 ", 6: "IPv6 "}.get(family, "")
    no_address = getattr(socket, "EAI_NODATA", None), getattr(socket, "EAI_ADDRFAMILY", None)
    if error.errno in no_address:
        return NetworkError(f"{endpoint.host}: the name has no {wants}address")
    return NetworkError(f"{endpoint.host}: name not found")
