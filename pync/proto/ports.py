"""Port specifications of `scan`: `22,80,8000-8100,http,-1024,60000-,!8080,U:53,top100,all`.

An item counts for the protocol asked for (TCP, or UDP with `--udp`) unless it says `U:` or `T:`, and that
for itself alone. The order written is the order asked; a port named twice is asked once.
"""

from __future__ import annotations

import socket
from functools import lru_cache

from pync.errors import UsageError

HIGHEST = 65_535
DEFAULT = "top100"
# Ports travel through the engine as one number: this bit says UDP.
UDP = 1 << 16

Ports = tuple[int, ...]

_HINT = "ports look like 22,80,8000-8100,http,top100"


def number_of(code: int) -> int:
    """The port of a code in Ports."""
    return code & HIGHEST


def protocol_of(code: int) -> str:
    """`tcp` or `udp` of a code in Ports."""
    return "udp" if code & UDP else "tcp"


@lru_cache(maxsize=256)
def parse(text: str, *, udp: bool = False, numeric: bool = False) -> Ports:
    """The port codes that `text` names. Raises UsageError."""
    wanted: dict[int, None] = {}
    refused: set[int] = set()
    positive = False
    for item in text.split(","):
        item = item.strip()
        negative = item.startswith("!")
        body, protocols = _protocols(item[negative:], udp, negative)
        if not body:
            raise UsageError(f"{text!r} has an empty item", hint=_HINT)
        for protocol in protocols:
            codes = _codes(body, protocol, numeric)
            if negative:
                refused.update(codes)
            else:
                positive = True
                wanted.update(dict.fromkeys(codes))
    if not positive:
        wanted = dict.fromkeys(parse(DEFAULT, udp=udp))
    left = tuple(code for code in wanted if code not in refused) if refused else tuple(wanted)
    if not left:
        raise UsageError(f"{text!r} leaves no port")
    return left


def _protocols(item: str, udp: bool, negative: bool) -> tuple[str, tuple[str, ...]]:
    prefix = item[:2].upper()
    if prefix == "U:":
        return item[2:], ("udp",)
    if prefix == "T:":
        return item[2:], ("tcp",)
    if negative:
        return item, ("tcp", "udp")  # !8080: not that port, whatever the protocol
    return item, ("udp" if udp else "tcp",)


def _codes(body: str, protocol: str, numeric: bool) -> Ports | range:
    flag = UDP if protocol == "udp" else 0
    if body in ("all", "-"):
        return range(1 | flag, (HIGHEST | flag) + 1)
    if body.startswith("top") and _digits(body[3:]):
        return top(int(body[3:]), protocol)
    low, high = _bounds(body, protocol, numeric)
    if low > high:
        low, high = high, low
    return range(low | flag, (high | flag) + 1)


def _bounds(body: str, protocol: str, numeric: bool) -> tuple[int, int]:
    if "-" not in body:
        port = _port(body, protocol, numeric)
        return port, port
    left, _, right = body.partition("-")
    if (not left or _digits(left)) and (not right or _digits(right)):
        return (_port(left, protocol, numeric) if left else 1), (
            _port(right, protocol, numeric) if right else HIGHEST
        )
    # Service names have dashes of their own: the whole word first, then each place to cut it.
    whole = service_port(body, protocol)
    if whole is not None and not numeric:
        return whole, whole
    for cut in (index for index, letter in enumerate(body) if letter == "-"):
        try:
            return _port(body[:cut], protocol, numeric), _port(body[cut + 1 :], protocol, numeric)
        except UsageError:
            continue
    raise _unknown(body, protocol)


def _port(word: str, protocol: str, numeric: bool) -> int:
    if _digits(word):
        if len(word) > 9 or int(word) > HIGHEST:
            raise UsageError(f"port {word} is not in 0-{HIGHEST}")
        return int(word)
    if numeric:
        raise UsageError(f"{word!r} is a service name, and --numeric forbids look-ups")
    port = service_port(word, protocol)
    if port is None:
        raise _unknown(word, protocol)
    return port


def _unknown(word: str, protocol: str) -> UsageError:
    return UsageError(f"unknown {protocol} service {word!r}", hint=_HINT)


def _digits(word: str) -> bool:
    return word.isascii() and word.isdigit()


def top(count: int, protocol: str = "tcp") -> Ports:
    """Codes of the `count` ports most worth asking. Raises UsageError for more than the table has."""
    ranked = _ranked(protocol)
    if not 1 <= count <= len(ranked):
        raise UsageError(f"top{count}: the table has the top 1 to {len(ranked)} {protocol} ports")
    flag = UDP if protocol == "udp" else 0
    return tuple(port | flag for port in ranked[:count])


@lru_cache(maxsize=2)
def _ranked(protocol: str) -> Ports:
    from pync.proto import ports_table

    text = ports_table.TCP if protocol == "tcp" else ports_table.UDP + ports_table.TCP
    ranked: dict[int, None] = {}
    for word in text.split():
        low, _, high = word.partition("-")
        ranked.update(dict.fromkeys(range(int(low), int(high or low) + 1)))
    return tuple(ranked)[:1000]


@lru_cache(maxsize=1)
def _built_in() -> dict[int, str]:
    from pync.proto import ports_table

    words = ports_table.NAMES.split()
    return dict(zip(map(int, words[::2]), words[1::2], strict=True))


def service_port(name: str, protocol: str) -> int | None:
    """The port of a service: the system's file first, then our table."""
    if name.isascii() and name.isprintable() and name:
        try:
            return socket.getservbyname(name, protocol)
        except (OSError, ValueError):
            pass
    return next((port for port, known in _built_in().items() if known == name), None)


@lru_cache(maxsize=4096)
def service_name(code: int) -> str:
    """What usually listens on a port: the system's file first, then our table, else an empty string."""
    port = number_of(code)
    try:
        return socket.getservbyport(port, protocol_of(code))
    except (OSError, OverflowError):
        return _built_in().get(port, "")
