"""Large bodies are hashed and written by a second thread, while the first receives the next piece.

Both release the interpreter lock for as long as they take, so two processors are used. One piece is in the
thread's hands at a time: it is finished before its memory is used again.
"""

from __future__ import annotations

from _queue import SimpleQueue
from typing import Any

from pync.transfer import digests
from pync.transfer.part import Part


class Writer:
    """One body on its way to a Part. `close` must be called, whatever happens."""

    def __init__(self, part: Part, hasher: Any) -> None:
        from _thread import start_new_thread

        self._jobs: SimpleQueue[memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._pending = False
        start_new_thread(_work, (part, hasher, self._jobs, self._done))

    def write(self, view: memoryview) -> None:
        """Hand over `view`, to stay as it is until the next call. Raises Refused for the piece before."""
        self.wait()
        self._jobs.put(view)
        self._pending = True

    def wait(self) -> None:
        """Until the piece that was handed over is written. Raises Refused."""
        if self._pending:
            self._pending = False
            error = self._done.get()
            if error is not None:
                raise error

    def close(self) -> None:
        """End the thread, once it is done with what it has. Idempotent."""
        if self._pending:
            self._pending = False
            self._done.get()
        self._jobs.put(None)


class Behind:
    """Hashes what was written to a file, a little behind whoever writes it. `close` must be called."""

    _AHEAD = 4  # pieces that may wait: more would be out of the processor's cache when their turn comes

    def __init__(self, fd: int, hasher: Any) -> None:
        from _thread import start_new_thread

        self._jobs: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._done: SimpleQueue[OSError | None] = SimpleQueue()
        self._pending = 0
        start_new_thread(_hash, (fd, hasher, self._jobs, self._done))

    def hash(self, offset: int, count: int) -> None:
        """Hash `count` bytes from `offset`, after those before. Raises OSError for an earlier piece."""
        self._settle(self._AHEAD)
        self._jobs.put((offset, count))
        self._pending += 1

    def wait(self) -> None:
        """Until everything is hashed. Raises OSError."""
        self._settle(0)

    def _settle(self, most: int) -> None:
        while self._pending > most:
            self._pending -= 1
            error = self._done.get()
            if error is not None:
                raise error

    def close(self) -> None:
        """End the thread, once it is done with what it has. Idempotent."""
        while self._pending:
            self._pending -= 1
            self._done.get()
        self._jobs.put(None)


def _hash(fd: int, hasher: Any, jobs: SimpleQueue[Any], done: SimpleQueue[Any]) -> None:
    while (job := jobs.get()) is not None:
        error: OSError | None = None
        try:
            digests.update_from(hasher, fd, *job)
        except OSError as failure:
            error = failure
        done.put(error)


def _work(part: Part, hasher: Any, jobs: SimpleQueue[Any], done: SimpleQueue[Any]) -> None:
    while (view := jobs.get()) is not None:
        error: BaseException | None = None
        try:
            hasher.update(view)
            part.write(view)
        except BaseException as failure:  # Refused, when the disk is full
            error = failure
        del view
        done.put(error)
