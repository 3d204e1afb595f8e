"""The `os` of transfers: the real one, or what plays it where directories have no descriptors."""

from __future__ import annotations

import os as _os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os as os  # noqa: PLC0414 (an export)
    from os import preadv
else:
    os = _os
    if _os.open not in _os.supports_dir_fd:
        from pync.portable import paths as os
    if hasattr(os, "preadv"):
        preadv = os.preadv
    else:
        from pync.portable.files import preadv

__all__ = ["lock", "os", "preadv"]


def lock(fd: int) -> None:
    """Nobody else locks the file before it is closed. Raises BlockingIOError, OSError where it cannot be."""
    if os is not _os:
        from pync.portable.paths import lock as lock_there

        lock_there(fd)
        return
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
