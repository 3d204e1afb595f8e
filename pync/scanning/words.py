"""Target words as they come: from the command line, from files, from stdin."""

from __future__ import annotations

import os
import stat
import sys
from collections import deque

from pync.errors import LocalError, UsageError, reason
from pync.loop import POLLIN, new_poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.portable.streams import Reader

MAX_LINE = 64 * 1024
_WINDOWS = sys.platform == "win32"
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def pair_words(words: list[str]) -> list[str]:
    """`HOST PORTS` as two words, as every netcat has it, made one."""
    paired: list[str] = []
    for word in words:
        is_ports = bool(word) and all(c in "0123456789,-" for c in word) and word[0] != "-"
        if (
            not is_ports
            or not paired
            or paired[-1] == "-"
            or paired[-1].startswith(("@", "unix", "tcp:", "udp:"))
        ):
            paired.append(word)
        elif ":" not in paired[-1]:
            paired[-1] += f":{word}"
        elif paired[-1].count(":") > 1 and not paired[-1].startswith("["):
            paired[-1] = f"[{paired[-1]}]:{word}"
        elif paired[-1].endswith("]"):
            paired[-1] += f":{word}"
        else:
            paired[-1] += f",{word}"
    return paired


class Lines:
    """Words of a file or of stdin, as they come: None means that none is there yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "-":
            self.fd, self._owned = 0, False
        else:
            try:
                # A FIFO nobody has opened for writing yet must not hold up the loop.
                self.fd, self._owned = os.open(name, _FLAGS), True
            except OSError as error:
                raise LocalError(f"read {name}: {reason(error)}") from None
        self._reader = _reader_of(self.fd)
        self._held = b""
        self._ended = False
        self._words: deque[str] = deque()

    def next(self) -> str | None:
        """The next word; None when there is none (yet): wait for `waiting_fd`, unless it is `over`."""
        while not self._words and not self._ended and self._readable():
            self._read()
        return self._words.popleft() if self._words else None

    @property
    def waiting_fd(self) -> int | None:
        """What the next word is read from; never a regular file once `next` gave None."""
        return None if self._ended else self.fd if self._reader is None else self._reader.fileno()

    @property
    def over(self) -> bool:
        """Nothing is left and nothing will come."""
        return self._ended and not self._words

    def _read(self) -> None:
        try:
            data = self._some()
        except BlockingIOError:
            return
        except OSError as error:
            raise LocalError(f"read {self.name}: {reason(error)}") from None
        *lines, self._held = (self._held + data).split(b"\n")
        if not data:
            lines, self._held = [self._held], b""
            self.close()
        elif len(self._held) > MAX_LINE:
            raise UsageError(f"{self.name}: a line of more than {MAX_LINE} bytes is no list of targets")
        for line in lines:
            # The mark that some editors of Windows begin a file with; joined files have it inside.
            line = line.removeprefix(b"\xef\xbb\xbf")
            text = line.decode("utf-8", "backslashreplace").partition("#")[0]
            self._words.extend(pair_words(text.split()))

    def _some(self) -> bytes:
        if self._reader is None:
            return os.read(self.fd, 65_536)
        view = memoryview(bytearray(65_536))
        return bytes(view[: self._reader.recv_into(view)])

    def _readable(self) -> bool:
        """Whether reading would not wait."""
        if self._reader is not None or _WINDOWS:
            return self._reader is None or self._reader.ready()  # without one it is a file
        poll = new_poll()
        poll.register(self.fd, POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Give the descriptor back; stdin is borrowed. Idempotent."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._owned and not self._ended:
            os.close(self.fd)
        self._ended = True


def _reader_of(fd: int) -> Reader | None:
    """A thread that waits for what no poller takes: the pipes and the console of Windows."""
    if not _WINDOWS or stat.S_ISREG(os.fstat(fd).st_mode):
        return None
    from pync.portable.streams import Reader

    reader = Reader(fd)
    reader.start()
    return reader
