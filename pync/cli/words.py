"""Events in words: one line each, and from which verbosity on it is said."""

from __future__ import annotations

from pync.proto.escape import printable, shortened
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
    if kind == "waiting" and facts.get("code"):
        return -1  # a code made here and not shown could not be used
    if facts.get("warning") or facts.get("command"):
        return 0
    if kind == "file" and (facts.get("status") in _FAILED or _passed_over(facts)):
        return 0
    if kind == "waiting" and command == "connect":
        return 1  # --retry was asked for; the others wait for somebody who should know
    return _LEVEL.get(kind, 1)


_FAILED = frozenset({"failed", "refused", "damaged"})


def _passed_over(facts: Facts) -> bool:
    """Whether nobody asked for that file to be left out: there is a reason, such as that it is a fifo."""
    return facts.get("status") == "skipped" and bool(facts.get("reason"))


def say(command: str, kind: str, facts: Facts) -> list[str]:
    """The lines for an event; none for one that has no words."""
    if kind == "connected" and command in ("listen", "recv"):
        facts = {"incoming": True, **facts}
    lines = [_SAY[kind](facts)] if kind in _SAY else []
    if facts.get("warning"):
        lines.insert(0, f"warning: {facts['warning']}")
    if facts.get("command"):
        lines.append(f"at the other end: {facts['command']}")
    return [printable(line) for line in lines if line]


def _listening(facts: Facts) -> str:
    return f"listening on {_place(facts)}"


def _connecting(facts: Facts) -> str:
    return f"connecting to {_place(facts)}"


def _connected(facts: Facts) -> str:
    proto, place = facts.get("proto"), _place(facts)
    said = proto in (None, "", "tcp") or place.startswith(f"{proto}:")
    through = "" if said else f" ({proto})"
    return f"{'connection from' if facts.get('incoming') else 'connected to'} {place}{through}"


def _secured(facts: Facts) -> str:
    if facts.get("listener"):
        return f"certificate {facts.get('fingerprint')}"
    parts = [str(facts.get("version") or "TLS"), str(facts.get("cipher") or "")]
    if facts.get("alpn"):
        parts.append(f"ALPN {facts['alpn']}")
    what = f"proxy {facts['proxy']} secured: " if facts.get("proxy") else "secured: "
    line = what + ", ".join(part for part in parts if part)
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
    # An end that both sides wanted needs no reason.
    why = f": {facts['reason']}" if facts.get("reason") not in (None, "", "eof") else ""
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
    status, size, saved = facts.get("status"), facts.get("size"), facts.get("saved_as")
    name = shortened(str(facts.get("name") or "(stdin)"))
    if status in _FAILED and facts.get("reason"):
        return f"pync: {name}: {facts['reason']}"  # as an error says it
    parts = [
        status,
        say_size(size) if size or (size == 0 and status in ("ok", "identical")) else None,
        facts.get("reason"),
        facts.get("digest"),
        f"saved as {saved}" if saved else None,
    ]
    return f"{name}: {', '.join(str(part) for part in parts if part)}"


def _waiting(facts: Facts) -> str:
    if facts.get("missing"):
        return _missing(facts)
    return f"waiting: {facts.get('message') or facts.get('reason') or 'for the other end'}"


def _missing(facts: Facts) -> str:
    """`waiting for db:5432 to be open: connection refused; 12 s left`."""
    first, *others = facts["missing"]
    more = f" and {len(others)} more" if others else ""
    why = f": {facts['reason']}" if facts.get("reason") else ""
    left = f"; {say_duration(float(facts['remaining']))} left" if facts.get("remaining") else ""
    return f"waiting for {first}{more} to be {facts.get('until') or 'open'}{why}{left}"


def _summary(facts: Facts) -> str:
    if "ready" in facts:
        seconds = say_duration(float(facts.get("seconds") or 0))
        return f"{facts['ready']} of {facts.get('total')} {facts.get('until') or 'open'} after {seconds}"
    if "targets" in facts:
        return _scan_summary(facts)
    if "files" in facts:
        return _transfer_summary(facts)
    return amounts(facts)


def _scan_summary(facts: Facts) -> str:
    """`2 open, 98 closed; 100 ports in 0.21 s, 480/s`."""
    states = [f"{facts[name]:,} {name.replace('open_', 'open|')}" for name in _STATES if facts.get(name)]
    line = f"{', '.join(states) or 'nothing'}; {facts.get('done', 0):,} ports in "
    line += say_duration(float(facts.get("seconds") or 0))
    if facts.get("rate"):
        line += f", {facts['rate']:,}/s"
    return line + (f"; {facts['failed']:,} targets could not be scanned" if facts.get("failed") else "")


_STATES = ("open", "closed", "filtered", "open_filtered")


def _transfer_summary(facts: Facts) -> str:
    """`3 files, 1.2 GiB in 3.1 s, 396 MiB/s; 1 failed`; of one of several peers, with its name before it.

    Where less had to be moved, because the rest was there already, that is said.
    """
    files, size, seconds = facts["files"], int(facts.get("bytes") or 0), float(facts.get("seconds") or 0)
    moved = max(int(facts.get("sent") or 0), int(facts.get("received") or 0))
    line = f"{facts['peer']}: " if facts.get("peer") else ""
    line += f"{files:,} file{'' if files == 1 else 's'}, {say_size(size)}"
    if moved != size:
        line += f" ({say_size(moved)} moved)"
    if seconds:
        line += f" in {say_duration(seconds)}"
    if seconds >= 0.1 and moved:
        line += f", {say_size(moved / seconds)}/s"
    if facts.get("digest"):
        line += f", {facts['digest']}"
    return line + (f"; {facts['failed']:,} failed" if facts.get("failed") else "")


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
