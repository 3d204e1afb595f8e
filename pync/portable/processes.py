"""Children where there is no posix_spawn: by `subprocess`, which is heavy to import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Spawned:
    """A child in a process group of its own, with the names that `os` has for the rest."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], fds: dict[int, int]) -> None:
        """`fds`: the child's 0 and 1 -> ours. Raises OSError, ValueError."""
        group: dict[str, Any] = {"process_group": 0}
        if sys.platform == "win32":
            group = {"creationflags": 0x200}  # CREATE_NEW_PROCESS_GROUP
        self._popen = subprocess.Popen(words, env=environment, stdin=fds[0], stdout=fds[1], **group)
        self.pid = self._popen.pid

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self._popen.poll()

    def end(self) -> None:
        """It has no say in it."""
        self._popen.kill()
