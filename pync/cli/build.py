"""From the values of a parsed command line to the Options of its command.

Both parsers end here, so an endpoint or a contradiction is judged once.
"""

from __future__ import annotations

from pync.commands import checks, options
from pync.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPTIONS: dict[str, type[options.Shared]] = {
    "connect": options.ConnectOptions,
    "listen": options.ListenOptions,
    "send": options.SendOptions,
    "recv": options.RecvOptions,
    "scan": options.ScanOptions,
}

USAGE = {
    "connect": "pync connect HOST PORT",
    "listen": "pync listen PORT",
    "send": "pync send HOST PORT [PATH]...",
    "recv": "pync recv PORT",
    "scan": "pync scan HOST -p 22,80,443",
}


def build(command: str, words: list[str], values: dict[str, Any]) -> options.Shared:
    """The Options of `command`; `values` holds only what was given. Raises UsageError."""
    if not words:
        wanted = "TARGET" if command == "scan" else "ENDPOINT"
        raise UsageError(f"{command} needs {_article(wanted)} {wanted}", hint=f"write {USAGE[command]}")
    if command == "scan":
        values["targets"] = tuple(words)
        lists = values.pop("ports", None)  # `-p` may be given several times, each adds to one list
        if lists:
            values["ports"] = ",".join(lists)
        rest = []
    else:
        rest = _endpoint(command, words, values)
    if command == "send":
        values["paths"] = tuple(rest)
    elif rest:
        raise UsageError(
            f"unexpected argument {rest[0]!r} after the endpoint {values['endpoint']}",
            hint=f"write {USAGE[command]}",
        )
    made = OPTIONS[command](**values)
    checks.check(made)
    return made


def _article(word: str) -> str:
    return "an" if word[0] in "AEIOU" else "a"


def _endpoint(command: str, words: list[str], values: dict[str, Any]) -> list[str]:
    """Sets `endpoint` from the first one or two words, returns those after it."""
    from pync.endpoint import take

    listening = {
        "connect": False,
        "listen": True,
        "send": bool(values.get("listen")),
        "recv": not values.get("connect"),
    }[command]
    if command == "send" and listening and words[0].isdigit():
        # `send --listen 9000 a.txt`: a port alone, and not the host 9000 with the port a.txt.
        values["endpoint"], rest = take(words[:1], listen=True, default=default_scheme(values))
        return words[1:]
    values["endpoint"], rest = take(words, listen=listening, default=default_scheme(values))
    return rest


def default_scheme(values: dict[str, Any]) -> str:
    """What an endpoint without a scheme means under -u and -U."""
    if values.get("unix"):
        return "unix-dgram" if values.get("udp") else "unix"
    return "udp" if values.get("udp") else "tcp"
