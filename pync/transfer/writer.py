"""Large bodies are hashed and written by a second thread, while the first receives the next piece.

Both release the interpreter lock for as long as they take, so two processors are used. One piece is in the
thread's hands at a time: it is finished before its memory is used again.
"""

from __future__ import annotations

from _queue import SimpleQueue

from pync.threads import start
from pync.transfer import digests
from pync.transfer.link import record_buffer
from pync.transfer.part import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.transfer.wire import Record


class Writer:
    """One body on its way to a Part. `close` must be called, whatever happens."""

    def __init__(self, part: Part, hasher: Any) -> None:
        self._jobs: SimpleQueue[memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._pending = False
        start(_work, part, hasher, self._jobs, self._done)

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


class Unsealing:
    """Sealed records on their way to a Part: opened, hashed and written, each before the next one is.

    `close` must be called, whatever happens.
    """

    _AHEAD = 4  # records that may wait: the thread must not run dry while others have the processor

    def __init__(self, part: Part, hasher: Any) -> None:
        self._jobs: SimpleQueue[Record | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[memoryview, BaseException | None]] = SimpleQueue()
        self._pending = 0
        self._error: BaseException | None = None
        self._free: list[memoryview] = []
        start(_unseal, part, hasher, self._jobs, self._done)

    def put(self, record: Record) -> None:
        """Hand over a record and its memory."""
        self._jobs.put(record)
        self._pending += 1

    def check(self) -> None:
        """Raises what went wrong with an earlier record: Refused, ProtocolError."""
        if self._error is not None:
            raise self._error

    def spare(self) -> memoryview:
        """Memory for one more record, perhaps after a wait."""
        while self._pending and (self._pending >= self._AHEAD or not self._done.empty()):
            self._settle()
        return self._free.pop() if self._free else record_buffer()

    def wait(self) -> None:
        """Until everything is written. Raises as `check`."""
        while self._pending:
            self._settle()
        self.check()

    def _settle(self) -> None:
        memory, error = self._done.get()
        self._pending -= 1
        self._free.append(memory)
        self._error = self._error or error

    def close(self) -> None:
        """End the thread, once it is done with what it has. Idempotent."""
        while self._pending:
            self._settle()
        self._jobs.put(None)


class Behind:
    """Hashes what was written to a file, a little behind whoever writes it. `close` must be called."""

    _AHEAD = 4  # pieces that may wait: more would be out of the processor's cache when their turn comes

    def __init__(self, fd: int, hasher: Any) -> None:
        self._jobs: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._done: SimpleQueue[OSError | None] = SimpleQueue()
        self._pending = 0
        start(_hash, fd, hasher, self._jobs, self._done)

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


def _unseal(part: Part, hasher: Any, jobs: SimpleQueue[Any], done: SimpleQueue[Any]) -> None:
    plain = record_buffer()
    failed = False  # what follows a record that is lost must not be written in its place
    while (record := jobs.get()) is not None:
        error: BaseException | None = None
        if not failed:
            try:
                view = plain[: record.open_into(plain)]
                hasher.update(view)
                part.write(view)
            except BaseException as failure:  # Refused, when the disk is full; ProtocolError
                error, failed = failure, True
        done.put((record.memory, error))


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
