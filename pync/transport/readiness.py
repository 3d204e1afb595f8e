"""Telling whoever started a listener that it is bound: `--port-file` and `--ready-fd`."""

from __future__ import annotations

import os

from pync.errors import LocalError, reason
from pync.transport.listen import Bound


def tell(bound: Bound, port_file: str | None, ready_fd: int | None) -> None:
    """In all the ways that were asked for; raises LocalError."""
    if port_file is not None:
        _write_port_file(port_file, bound)
    if ready_fd is not None:
        _write_newline(ready_fd)


def _write_port_file(path: str, bound: Bound) -> None:
    """The port alone on a line (a Unix listener: its path), whole at once, by rename."""
    text = str(bound.port or bound.facts()[0].get("path", 0))
    draft = f"{path}.{os.getpid()}"
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(draft, path)
    except OSError as error:
        raise LocalError(f"--port-file {path}: {reason(error)}") from None


def _write_newline(fd: int) -> None:
    """Then the descriptor is closed, so that a reader sees the end as well."""
    try:
        os.write(fd, b"\n")
        if fd > 2:
            os.close(fd)
    except OSError as error:
        raise LocalError(f"--ready-fd {fd}: {reason(error)}") from None
