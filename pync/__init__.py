"""pync: connect, listen, send, receive and scan.

`import pync` imports nothing else; the functions of the Python API and the exceptions they raise are
fetched when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.api import Delivery, Port, connect, listen, recv, scan, send
    from pync.connection import Connection, Listener
    from pync.errors import (
        ExitCode,
        IntegrityError,
        LocalError,
        NetworkError,
        PartialError,
        PyncError,
        TimedOut,
        UsageError,
    )

__version__ = "0.1.0"

__all__ = [
    "Connection",
    "Delivery",
    "ExitCode",
    "IntegrityError",
    "Listener",
    "LocalError",
    "NetworkError",
    "PartialError",
    "Port",
    "PyncError",
    "TimedOut",
    "UsageError",
    "__version__",
    "connect",
    "listen",
    "recv",
    "scan",
    "send",
]

# Where each is fetched from; what is not named here is an exception.
_HOMES = {
    **dict.fromkeys(("Delivery", "Port", "connect", "listen", "recv", "scan", "send"), "pync.api"),
    **dict.fromkeys(("Connection", "Listener"), "pync.connection"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'pync' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES.get(name, "pync.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
