"""The keyword arguments of the Python API: the options of the command line, as values instead of words.

What an option may hold is declared once, for the command line, where `cli.values` reads its words; here a
value must be of the type that comes out there, and within the same limits. What a function cannot honour it
refuses by name: an option that is taken and does nothing is worse than one that is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, TypeVar

from pync.cli import values as words
from pync.cli.quick_table import COMMANDS, ROWS
from pync.errors import UsageError
from pync.proto.units import LONGEST

_Value = TypeVar("_Value")

# `connect` and `listen` give an object: they take what opens it, while the rest of their commands' options is
# about what the command does on the connection.
_OPENS = (
    "ipv4 ipv6 numeric udp unix source source_port interface timeout "
    "nodelay keepalive dscp ttl sndbuf rcvbuf broadcast multicast "
    "tls tls_cert tls_key tls_alpn tls_min tls_allow_truncation "
)
_TAKEN = {
    "connect": _OPENS + "proxy retry retry_for retry_delay tls_ca tls_fingerprint tls_insecure tls_name",
    "listen": _OPENS + "allow deny allow_file deny_file port_file ready_fd backlog reuse_port tls_client_ca",
}
_REFUSED = {
    **dict.fromkeys(("progress", "json", "verbose", "quiet", "csv", "grepable"), "nothing is printed here"),
    "command": "it would take the place of this program",
}
_WHY = {
    "connect": {"tls_client_ca": "it is for a listener"},
    "listen": {
        "proxy": "it is for connections going out",
        **dict.fromkeys(("tls_ca", "tls_fingerprint", "tls_insecure", "tls_name"), "it is for a client"),
    },
}


def read(command: str, given: dict[str, Any]) -> dict[str, Any]:
    """The values of `given` for the Options of `command`; None is the same as left out.

    Raises UsageError for what `command` does not take here and for a value that the command line would not
    take. Names that are no options at all are left to the Options.
    """
    kinds = {ROWS[number][0]: ROWS[number] for number in COMMANDS[command]}
    values: dict[str, Any] = {}
    for name, value in given.items():
        known = name in kinds
        if known and value is None:
            continue
        why = _refusal(command, name, known=known)
        if why is not None:
            raise UsageError(f"{command}() does not take {name}: {why}")
        if not known:
            values[name] = value
        else:
            _, action, _, kind, limits = kinds[name]
            values[name] = _checked(f"{command}(): {name}", _reader(name, action, kind), value, *limits)
    return values


def several(what: str, value: object) -> tuple[str, ...]:
    """Texts and paths, of which a single one is one item. Raises UsageError about `what`."""
    return _checked(what, _several, value)


def seconds(what: str, value: object) -> float:
    """A duration. Raises UsageError about `what`."""
    return _checked(what, _seconds, value)


def _checked(what: str, reader: Callable[..., _Value], value: object, *limits: Any) -> _Value:
    try:
        return reader(value, *limits)
    except (ValueError, UsageError) as error:
        raise UsageError(f"{what}: {error}") from None


def _refusal(command: str, name: str, *, known: bool) -> str | None:
    if name in _REFUSED:
        return _REFUSED[name]
    if not known or command not in _TAKEN or name in _TAKEN[command].split():
        return None
    return _WHY[command].get(name, "what happens on a connection is up to the program")


def _reader(name: str, action: str, kind: str) -> Callable[..., Any]:
    if name == "ports":  # one port may be a number
        return _ports
    return _several if action == "append" else _READERS[kind]


# --- readers, which raise ValueError --------------------------------------------------------------------


def _several(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, os.PathLike)):
        return (_text(value),)
    if not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray)):
        raise ValueError(f"a str or several are wanted, not {_a(value)}")
    return tuple(_text(item) for item in value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST:
        raise ValueError(f"seconds are a number from 0 to {LONGEST:.0f}, not {value!r}")
    return float(value)


def _a(value: object) -> str:
    """Its type, and not the value, which may be a secret."""
    return f"a value of type {type(value).__name__}"


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"True or False is wanted, not {_a(value)}")
    return value


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a str is wanted, not {_a(value)}")
    return value


def _text(value: object) -> str:
    return words.text(_str(os.fspath(value) if isinstance(value, os.PathLike) else value))


def _whole(value: object, low: int, high: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not an int")
    return words.whole(str(value), low, high)


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
        raise ValueError(f"{value!r} is not a number above 0")
    return float(value)


def _port(value: object) -> int | str:
    return words.port(value if isinstance(value, str) else str(_whole(value, 0, 65_535)))


def _ports(value: object) -> str:
    return _text(value) if isinstance(value, str) else str(_whole(value, 0, 65_535))


def _protocols(value: object) -> tuple[str, ...]:
    return words.commas(value) if isinstance(value, str) else _several(value)


def _shard(value: object) -> tuple[int, int]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"{value!r} is not (K, N), such as (1, 4)")
    return words.shard("/".join(str(part) for part in value))


# By the kind of value that the flag has; a switch has none.
_READERS: dict[str, Callable[..., Any]] = {
    "": _switch,
    "text": _text,
    "secret": _str,
    "duration": _seconds,
    "rate": _rate,
    "per_second": _rate,
    "size": lambda value: _whole(value, 0),
    "bytes_above_zero": lambda value: _whole(value, 1),
    "whole": _whole,
    "choice": lambda value, *allowed: words.choice(_str(value), *allowed),
    "port": _port,
    "commas": _protocols,
    "fingerprint": lambda value: words.fingerprint(_str(value)),
    "shard": _shard,
}
