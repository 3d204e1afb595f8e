"""Calls on plain descriptors that only POSIX has."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def readv(fd: int, buffers: Any) -> int:
    """`os.readv` into the first buffer."""
    view = buffers[0]
    data = os.read(fd, len(view))
    view[: len(data)] = data
    return len(data)


def preadv(fd: int, buffers: Any, offset: int) -> int:
    """`os.preadv` into the first buffer."""
    view = buffers[0]
    data = os.pread(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)
