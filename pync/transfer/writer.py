"""Large bodies are hashed and written by a second thread, while the first receives the next piece.

Both release the interpreter lock for as long as they take, so two processors are used. One piece is in the
thread's hands at a time: it is finished before its memory is used again.
"""

from __future__ import annotations

from _queue import SimpleQueue
from typing import Any

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
