"""Proxy URLs, the environment's proxy and its exceptions: which proxies stand between us and a target.

`user:pass@` is percent-decoded and otherwise sent as written: `u@` is `u`, `u:@` is `u:`, `@` is the empty
credential, no `@` is no credential. `PYNC_PROXY_AUTH` holds the same, not percent-encoded, for every proxy
whose URL has none: unlike a URL it is not in the process list.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pync import endpoint
from pync.errors import UsageError

# As nc and ncat have it: the well-known port of the proxy's kind.
DEFAULT_PORTS = {"http": 3128, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_ALIASES = {"socks": "socks5"}
_KNOWN = "http, https, socks4, socks4a, socks5 and socks5h"


class Credential:
    """What stands before the `@`. Its repr tells nothing: reprs end up in tracebacks."""

    __slots__ = ("password", "userinfo", "username")

    def __init__(self, userinfo: bytes, username: bytes, password: bytes) -> None:
        self.userinfo = userinfo  # everything, as Basic and SOCKS4 send it
        self.username = username
        self.password = password

    def __repr__(self) -> str:
        return "Credential(<hidden>)"


class Proxy(NamedTuple):
    """One proxy. `str` prints it without its credential."""

    scheme: str
    host: str
    port: int | str
    credential: Credential | None = None

    def __str__(self) -> str:
        return f"{self.scheme}://{authority(self.host, self.port)}"


def authority(host: str, port: int | str) -> str:
    """`HOST:PORT`, IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def chain(urls: Sequence[str], host: str, port: int | str, environ: Mapping[str, str]) -> list[Proxy]:
    """The proxies to go through to reach `host`, the nearest first; [] for none.

    "env" among `urls` stands for what the environment says for that host. Raises UsageError, never naming a
    secret.
    """
    found: list[Proxy] = []
    for url in urls:
        if url == "env":
            found += _from_environment(host, port, environ)
        else:
            found.append(parse(url))
    words = environ.get("PYNC_PROXY_AUTH")
    if not words:
        return found
    spare = _credential(words, decode=False)
    return [proxy if proxy.credential is not None else proxy._replace(credential=spare) for proxy in found]


def parse(url: str) -> Proxy:
    """The proxy that `url` names; a missing scheme is http, as curl has it. Raises UsageError."""
    before, separator, rest = url.partition("://")
    scheme = before.lower() if separator else "http"
    scheme = _ALIASES.get(scheme, scheme)
    if not separator:
        rest = url
    userinfo, at, place = rest.rpartition("@")  # passwords with a bare "@" are common; hosts have none
    if scheme not in DEFAULT_PORTS:
        shown = f"{before!r}" if separator and before.isalnum() else "that URL"
        raise UsageError(f"--proxy: unknown scheme in {shown}", hint=f"pync knows {_KNOWN}, and the word env")
    credential = _credential(userinfo) if at else None
    host, port = _place(place, scheme)
    return Proxy(scheme, host, port, credential)


def _credential(text: str, *, decode: bool = True) -> Credential:
    # Split before decoding, so that %3A may stand in a user name.
    username, _, password = text.partition(":")

    def plain(part: str) -> bytes:
        return unquote_to_bytes(part) if decode else part.encode(errors="surrogateescape")

    return Credential(plain(text), plain(username), plain(password))


def _place(text: str, scheme: str) -> tuple[str, int | str]:
    for separator in "/?#":
        text, _, rest = text.partition(separator)
        if rest:
            raise UsageError("--proxy: nothing may follow the port", hint="write http://HOST:PORT")
    default = DEFAULT_PORTS[scheme]
    if text.startswith("["):
        host, bracket, after = text[1:].partition("]")
        if not bracket or not endpoint.is_literal(host) or (after and not after.startswith(":")):
            raise UsageError("--proxy: that is not [ADDRESS]:PORT", hint="write socks5://[::1]:1080")
        port = after[1:]
    elif text.count(":") > 1:
        raise UsageError("--proxy: an IPv6 address needs brackets", hint="write socks5://[::1]:1080")
    else:
        host, _, port = text.partition(":")
    if not host or not host.isprintable() or " " in host:
        raise UsageError("--proxy: the URL names no host", hint=f"write {scheme}://HOST:PORT")
    try:
        return host, endpoint.parse_port(port) if port else default
    except UsageError:
        # Without its text: in NAME:PASSWORD with the @HOST forgotten that would be the password.
        raise UsageError(
            "--proxy: what follows the colon is not a port", hint="write http://HOST:PORT"
        ) from None


def _from_environment(host: str, port: int | str, environ: Mapping[str, str]) -> list[Proxy]:
    """ALL_PROXY, unless NO_PROXY has the host. Upper case first, as the contract names it."""
    url = environ.get("ALL_PROXY") or environ.get("all_proxy") or ""
    exceptions = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    if not url.strip() or bypassed(host, port, exceptions):
        return []
    return [parse(url.strip())]


def bypassed(host: str, port: int | str, exceptions: str) -> bool:
    """Does a NO_PROXY list have this host?

    Entries are separated by commas or spaces: `*`, a name (with or without a leading dot; its subdomains as
    well), an address, a CIDR block, each with an optional `:PORT`.
    """
    name = host.rstrip(".").lower()
    return any(_covers(entry.lower(), name, port) for entry in exceptions.replace(",", " ").split())


def _covers(entry: str, name: str, port: int | str) -> bool:
    if entry == "*":
        return True
    literal = endpoint.is_literal(name)
    block, wanted = _entry_port(entry)
    if wanted and wanted != str(port):
        return False
    if literal:
        return _in_block(name, block)
    domain = block.removeprefix("*").strip(".")
    return bool(domain) and (name == domain or name.endswith("." + domain))


def _entry_port(entry: str) -> tuple[str, str]:
    """The entry and its port, "" when it has none; a bare IPv6 address or block has none."""
    if entry.startswith("["):
        block, _, after = entry[1:].partition("]")
        return block + ("" if after.startswith(":") else after), after[1:] if after.startswith(":") else ""
    if entry.count(":") == 1:
        block, _, wanted = entry.partition(":")
        return block, wanted
    return entry, ""


def _in_block(name: str, block: str) -> bool:
    import ipaddress

    try:
        address = ipaddress.ip_address(name.partition("%")[0])
        network = ipaddress.ip_network(block, strict=False)
    except ValueError:
        return False
    return address in network
