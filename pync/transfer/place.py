"""Where the user wants things: `-o` as a directory, one file, a device, or stdout."""

from __future__ import annotations

import os
import stat

from pync.errors import IntegrityError, LocalError, reason
from pync.proto import transfer_messages as messages
from pync.transfer.root import Refused, Root
from pync.transfer.sink import Output
from pync.transfer.streamed import Shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.transfer.wire import Wire


class Place:
    """One destination, shared by all senders of a run.

    Opened lazily: nothing is made before somebody comes.
    """

    def __init__(self, output: str | None, *, keep_open: bool = False) -> None:
        self.keep_open = keep_open
        self.shared = Shared(several=keep_open)
        self._settled_parts: set[tuple[int, bytes]] = set()
        self._directory = "."
        self._file = b""  # the one name everything must fit under
        self.output: Output | None = None
        self._device = ""
        self._nameless_to_stdout = output is None
        if output == "-":
            self.output = Output(1, owned=False)
        elif output is not None:
            self._choose(output.replace(os.sep, "/"))

    def _choose(self, output: str) -> None:
        if output.endswith("/") or os.path.isdir(output):
            self._directory = output
            return
        try:
            there = os.stat(output)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LocalError(f"{output}: {reason(error)}") from None
        else:
            if not stat.S_ISREG(there.st_mode):
                self._device = output
                return
        directory, name = os.path.split(output)
        self._directory, self._file = directory or ".", os.fsencode(name)

    @property
    def is_default(self) -> bool:
        """Nothing was said: files land in the current directory."""
        return self._nameless_to_stdout

    @property
    def by_name(self) -> bool:
        """Whether every named entry becomes a file of its own name."""
        return self.makes_files and not self._file

    @property
    def makes_files(self) -> bool:
        """False when everything goes to stdout or a device."""
        return (self.output is None and not self._device) or self._nameless_to_stdout

    def check(self) -> None:
        """Fail early, before anybody is kept waiting. Raises LocalError."""
        if self.output is None and not self._device:
            self.new_root().close()

    def new_root(self) -> Root:
        """The directory, for one connection: each has its own way down. Raises LocalError."""
        if self._directory.endswith("/"):
            try:
                os.makedirs(self._directory, exist_ok=True)
            except OSError as error:
                raise LocalError(f"{self._directory}: {reason(error)}") from None
        root = Root(self._directory, self._settled_parts)
        if not os.access(self._directory, os.W_OK | os.X_OK):
            root.close()
            raise LocalError(f"{self._directory}: permission denied")
        return root

    async def stream_for(self, wire: Wire, entry: messages.Entry) -> Output | None:
        """Where to write this entry straight away, or None if it becomes a file."""
        if self._device and self.output is None:
            await self._open_device(wire)
        if self.output is None and self._nameless_to_stdout and not entry.path:
            self.output = Output(1, owned=False)
            return self.output
        return None if self._nameless_to_stdout and entry.path else self.output

    async def _open_device(self, wire: Wire) -> None:
        """A fifo's open waits for its reader, which may take its time: in a thread. Raises LocalError."""
        try:
            fd = int(await wire.busy(os.open, self._device, os.O_WRONLY | getattr(os, "O_BINARY", 0)))
        except OSError as error:
            raise LocalError(f"{self._device}: {reason(error)}") from None
        if self.output is None:
            self.output = Output(fd, owned=True)
        else:
            os.close(fd)  # another connection waited for the same

    def path_for(self, entry: messages.Entry) -> bytes:
        """The path in the root. Raises Refused."""
        if entry.kind == messages.LEAVE:
            return entry.path  # of a directory that is open, or of none
        if not self._file:
            if not entry.path:
                raise Refused("it has no name; use -o FILE")
            return entry.path
        if entry.kind == messages.DIRECTORY or b"/" in entry.path:
            raise Refused("-o names one file; end it in / for a directory")
        return self._file

    def called(self, path: bytes) -> bytes:
        """What the user here calls an entry: by the name given to `-o`, if that is for one file."""
        return self._file or path

    def refuse_several(self, begin: messages.Begin) -> None:
        """`-o FILE` is for one file. Raises LocalError."""
        if self._file and begin.paths > 1:
            raise LocalError(
                f"{os.fsdecode(self._file)}: several files arrive for one name",
                hint="end the name in / for a directory",
            )

    def finish(self) -> None:
        """Everything of the last sender is here: let the reader of stdout see the end. Raises LocalError."""
        if self.output is not None and not self.keep_open:
            self.output.finish()

    def check_whole(self) -> None:
        """The run is over. Raises IntegrityError when stdout or a device ends in the middle of something."""
        if self.shared.log.torn:
            raise IntegrityError("the output ends in the middle of a stream whose sender never came back")

    def close(self) -> None:
        """Idempotent."""
        if self.output is not None:
            self.output.close()
