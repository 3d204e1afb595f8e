"""Events in words: one line each, and from which verbosity on it is said."""

from __future__ import annotations

from pync.cli.escape import printable
from pync.proto.units import say_duration, say_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Facts = dict[str, Any]

# Said by default, with -v, with -vv. Errors are always said, progress and ports have views of their own.
_LEVEL = {
    "listening": 0,
    "waiting": 0,
    "connecting": 2,
    "connected": 1,
    "secured": 1,
    "eof": 2,
    "closed": 1,
    "file": 1,
    "summary": 1,
}


def level(command: str, kind: str, facts: Facts) -> int:
    """The verbosity at which the event is said."""
    if kind == "file" and facts.get("status") in _FAILED:
        return 0
    if kind == "waiting" and command == "connect":
        return 1  # --retry was asked for; the others wait for somebody who should know
    return _LEVEL.get(kind, 1)


_FAILED = frozenset({"failed", "refused", "skipped"})


def say(kind: str, facts: Facts) -> list[str]:
    """The lines for an event; none for one that has no words."""
    lines = _SAY[kind](facts) if kind in _SAY else ""
    return [printable(line) for line in (lines, *facts.get("notes", ())) if line]


def _listening(facts: Facts) -> str:
    return f"listening on {_place(facts)}"


def _connecting(facts: Facts) -> str:
    return f"connecting to {_place(facts)}"


def _connected(facts: Facts) -> str:
    proto = facts.get("proto")
    through = f" ({proto})" if proto and proto != "tcp" else ""
    if facts.get("incoming"):
        return f"connection from {_place(facts)}{through}"
    return f"connected to {_place(facts)}{through}"


def _secured(facts: Facts) -> str:
    parts = [str(facts.get("version") or "TLS"), str(facts.get("cipher") or "")]
    if facts.get("alpn"):
        parts.append(f"ALPN {facts['alpn']}")
    line = "secured: " + ", ".join(part for part in parts if part)
    if facts.get("subject") or facts.get("fingerprint"):
        trust = "" if facts.get("verified") else " (not verified)"
        sans = facts.get("sans") or ()
        names = f", for {', '.join(str(name) for name in sans)}" if sans else ""
        until = f", expires {facts['expires']}" if facts.get("expires") else ""
        line += f"; peer {facts.get('subject') or ''}{trust}{names}{until} {facts.get('fingerprint') or ''}"
    return line.rstrip()


def _eof(facts: Facts) -> str:
    return "our input ended" if facts.get("direction") == "sent" else "the peer ended"


def _closed(facts: Facts) -> str:
    place = _place(facts)
    why = f": {facts['reason']}" if facts.get("reason") else ""
    return f"closed{' ' + place if place else ''}{why}; {amounts(facts)}"


def amounts(facts: Facts) -> str:
    """`sent 1.2 GiB, received 0 B in 3.1 s, 396 MiB/s`."""
    sent, received = int(facts.get("sent") or 0), int(facts.get("received") or 0)
    seconds = float(facts.get("seconds") or 0)
    line = f"sent {say_size(sent)}, received {say_size(received)} in {say_duration(seconds)}"
    # Below a tenth of a second the average says more about the clock than about the link.
    if seconds >= 0.1 and max(sent, received):
        line += f", {say_size(max(sent, received) / seconds)}/s"
    return line


def _file(facts: Facts) -> str:
    size, saved = facts.get("size"), facts.get("saved_as")
    parts = [
        facts.get("status"),
        say_size(size) if size is not None else None,
        facts.get("reason"),
        facts.get("digest"),
        f"saved as {saved}" if saved else None,
    ]
    return f"{facts.get('name') or '(stdin)'}: {', '.join(str(part) for part in parts if part)}"


def _waiting(facts: Facts) -> str:
    return f"waiting: {facts.get('reason') or 'for the other end'}"


def _summary(facts: Facts) -> str:
    if facts.get("text"):
        return str(facts["text"])
    if "sent" in facts or "received" in facts:
        return amounts(facts)
    return ", ".join(
        f"{name} {_value(name, value)}" for name, value in facts.items() if value not in (None, "")
    )


def _value(name: str, value: object) -> str:
    if name == "seconds" and isinstance(value, int | float):
        return say_duration(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _place(facts: Facts) -> str:
    """`10.0.0.1:80`, `[::1]:80`, `unix:/run/x`, `fd:3`."""
    if facts.get("path"):
        path = str(facts["path"])
        return path if path.startswith(("unix:", "unix-dgram:")) else f"unix:{path}"
    address = str(facts.get("address") or "")
    if facts.get("port") is None or facts.get("port") == "":
        return address if address or facts.get("fd") is None else f"fd:{facts['fd']}"
    return f"[{address}]:{facts['port']}" if ":" in address else f"{address}:{facts['port']}"


_SAY: dict[str, Callable[[Facts], str]] = {
    "listening": _listening,
    "connecting": _connecting,
    "connected": _connected,
    "secured": _secured,
    "eof": _eof,
    "closed": _closed,
    "file": _file,
    "waiting": _waiting,
    "summary": _summary,
}
