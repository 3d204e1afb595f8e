"""Results of a scan on stdout: plain lines, JSON, CSV, ADDRESS:PORT, or a table on a terminal."""

from __future__ import annotations

import os

from pync.cli.stdout import write
from pync.proto.escape import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pync.commands.options import ScanOptions

    Facts = dict[str, Any]

_COLUMNS = ("target", "address", "port", "proto", "state", "reason", "rtt", "service", "banner")


class ScanView:
    """Takes `port` events; a table waits for `finish`, everything else is written as found."""

    def __init__(self, options: ScanOptions) -> None:
        self._options = options
        self._rows: list[Facts] = []
        self._table = not (options.json or options.csv or options.grepable) and _is_terminal(1)
        self._format = _plain
        if options.csv:
            self._format = _csv
            write(",".join(_COLUMNS) + "\n")
        elif options.grepable:
            self._format = _grepable
        elif options.all:
            self._format = _plain_with_reason

    def port(self, facts: Facts) -> None:
        if self._table:
            self._rows.append(facts)
        else:
            write(self._format(facts))

    def finish(self) -> None:
        """Prints the table, once."""
        rows, self._rows = self._rows, []
        if rows:
            plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
            width = max(os.get_terminal_size(1).columns or 80, 40)
            addressed = self._options.all or not _asks_one_address(self._options)
            write(table(rows, detailed=self._options.all, addressed=addressed, width=width, plain=plain))


def address(facts: Facts) -> str:
    """`ADDRESS:PORT`, `[v6]:PORT`, or the path of a Unix socket."""
    host = printable(str(facts.get("address") or facts.get("target") or ""))
    if facts.get("port") is None:
        return host
    return f"[{host}]:{facts['port']}" if ":" in host else f"{host}:{facts['port']}"


def _words(facts: Facts) -> list[str]:
    words = [
        address(facts),
        facts.get("proto") or "tcp",
        facts.get("state") or "",
        facts.get("service") or "-",
    ]
    return [printable(str(word)) for word in words]


def _plain(facts: Facts) -> str:
    words = _words(facts)
    if facts.get("banner"):
        words.append(banner(facts))
    return " ".join(words) + "\n"


def _plain_with_reason(facts: Facts) -> str:
    words = [*_words(facts), f"({printable(str(facts.get('reason') or ''))})"]
    if facts.get("banner"):
        words.append(banner(facts))
    return " ".join(words) + "\n"


def banner(facts: Facts) -> str:
    """What the service said, on one line."""
    value = facts.get("banner")
    if isinstance(value, dict):
        value = ", ".join(_banner_parts(value)) or value.get("protocol")
    return printable(str(value)) if value else ""


def _banner_parts(said: Facts) -> Iterator[str]:
    """`HTTP 200, nginx, 'Welcome', TLS CN=example.org until 2030-01-01`."""
    if said.get("status"):
        yield f"HTTP {said['status']}"
        if said.get("server"):
            yield str(said["server"])
        if said.get("title"):
            yield f"'{said['title']}'"
        if said.get("location"):
            yield f"to {said['location']}"
    elif said.get("text"):
        yield str(said["text"])
    tls = said.get("tls")
    if isinstance(tls, dict):
        names = ", ".join(str(name) for name in tls.get("sans") or ()) or tls.get("subject") or ""
        yield f"TLS {names}{' until ' + str(tls['expires'])[:10] if tls.get('expires') else ''}"


def _grepable(facts: Facts) -> str:
    return address(facts) + "\n"


def _csv(facts: Facts) -> str:
    cells = [banner(facts) if name == "banner" else _cell(facts.get(name)) for name in _COLUMNS]
    return ",".join(_quoted(cell) for cell in cells) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else printable(str(value))


def _quoted(cell: str) -> str:
    if any(mark in cell for mark in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    # A spreadsheet would run a cell that begins so, and banners are a stranger's words.
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell


def _asks_one_address(options: ScanOptions) -> bool:
    """Whether every result is of an address that the command line names, so that none need repeat it."""
    from pync.proto import targets
    from pync.scanning.words import pair_words

    asked: set[object] = set()
    for word in pair_words(list(options.targets)):
        if word == "-" or word.startswith("@"):
            return False  # what is in there is not on the screen
        if word.startswith(("unix:", "unix-dgram:")):
            asked.add(word)
            continue
        for target in targets.parse(word, udp=options.udp, numeric=options.numeric):
            where = target.where
            asked.add(where)
            several = where.size > 1 if isinstance(where, targets.Block) else options.all_addresses
            if several or len(asked) > 1:
                return False
    return len(asked) == 1


def table(rows: list[Facts], *, detailed: bool, addressed: bool, width: int, plain: bool = False) -> str:
    """A rich table, by host and port, with ADDRESS when `addressed`; empty columns are left out."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    heads = ["ADDRESS"] if addressed else []
    heads += ["PORT", "STATE", "SERVICE"]
    heads += ["REASON"] if detailed else []
    heads += ["BANNER"] if any(row.get("banner") for row in rows) else []
    for head in heads:
        shown.add_column(head, overflow="fold", no_wrap=head in ("PORT", "STATE"))
    for row in sorted(rows, key=_order):
        cells = {
            "ADDRESS": str(row.get("address") or row.get("target") or ""),
            "PORT": f"{row.get('port') or ''}/{row.get('proto') or 'tcp'}",
            "STATE": str(row.get("state") or ""),
            "SERVICE": str(row.get("service") or ""),
            "REASON": str(row.get("reason") or ""),
            "BANNER": banner(row),
        }
        style = {"open": "green", "closed": "red"}.get(cells["STATE"], "yellow")
        texts = [Text(printable(cells[head]), style=style if head == "STATE" else "") for head in heads]
        shown.add_row(*texts)
    page = StringIO()
    console = Console(file=page, force_terminal=not plain, no_color=plain, width=width, highlight=False)
    console.print(shown)
    return page.getvalue()


def _order(row: Facts) -> tuple[int, bytes, int, str]:
    """Hosts by number, then ports."""
    import socket

    text = str(row.get("address") or "").partition("%")[0]
    for rank, family in enumerate((socket.AF_INET, socket.AF_INET6)):
        try:
            return rank, socket.inet_pton(family, text), int(row.get("port") or 0), str(row.get("proto"))
        except (OSError, ValueError):
            continue
    return 2, text.encode("utf-8", "replace"), int(row.get("port") or 0), str(row.get("proto"))


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False
