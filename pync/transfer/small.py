"""Small files, each here whole and verified before it is written.

The steps of a large one (partial name, sync, rename) without what only matters when writing takes long:
nobody can meet it half written, so it needs neither a lock nor a mark.

A disk that really writes makes each sync cost milliseconds. Where that is so, files are collected and synced
by many threads at the same time, which the kernel and the disk merge into a few flushes: five times as fast
on an SSD. Until then they keep their partial names, and nothing of them is confirmed.
"""

from __future__ import annotations

from time import perf_counter

from pync.proto import transfer_messages as messages
from pync.proto.transfer_inline import InlineFile
from pync.transfer.root import Refused, creation_mask, failed, part_name
from pync.transfer.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from pync.lean import NamedTuple

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
SLOW_SYNC = 0.0004  # seconds; memory and battery-backed disks stay far below
SLOW_SYNCS = 12  # so many in a row, since a few may only have been interrupted
BATCH_MAX = 128  # open files
LONG = messages.NAME_MAX - len(b".part")
THREADS = 16


class Pending(NamedTuple):
    """A file that is written and waits for its sync and its name."""

    number: int
    path: bytes
    size: int
    digest: bytes
    parent: int
    part: bytes
    name: bytes
    fd: int


class SmallFiles:
    """The small files of one connection. `umask` is the process's: it saves a system call a file."""

    def __init__(self, *, fsync: bool) -> None:
        self._umask = creation_mask()
        self._fsync = fsync
        self._slow = 0
        self.pending: list[Pending] = []

    def write(self, parent: int, name: bytes, file: InlineFile, number: int) -> bool:
        """Put a verified file in place, its name known to be free; or leave it in `pending`.

        False: it cannot be done, or something of its partial name is in the way; nothing is left behind.
        """
        path, mode, mtime, body, digest = file
        part = name + b".part" if len(name) <= LONG else part_name(name)
        mode &= 0o777
        try:
            fd = os.open(part, _CREATE, mode or 0o600, dir_fd=parent)
        except OSError:
            return False
        try:
            if os.write(fd, body) != len(body):
                _write_rest(fd, body)
            if mode & self._umask or not mode:
                os.fchmod(fd, mode)
            try:
                os.utime(fd, ns=(mtime, mtime))
            except OverflowError:
                pass  # a time this system cannot hold
            if self._slow >= SLOW_SYNCS:
                self.pending.append(Pending(number, path, len(body), digest, parent, part, name, fd))
                fd = -1
                return True
            if self._fsync:
                begin = perf_counter()
                os.fsync(fd)
                self._slow = self._slow + 1 if perf_counter() - begin > SLOW_SYNC else 0
            os.rename(part, name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError:
            _unlink(parent, part)
            return False
        finally:
            if fd >= 0:
                os.close(fd)
        return True

    def sync_all(self) -> list[OSError | None]:
        """Sync what is pending, all at once; the failure of each. Blocks: call it in a thread."""
        files = [pending.fd for pending in self.pending]
        for fd in files:
            try:  # starts the writing of all before anybody waits for one
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            except (AttributeError, OSError):
                break
        if len(files) == 1:
            return [_sync(files[0])]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(THREADS, len(files))) as pool:
            return list(pool.map(_sync, files))

    def settle(self, outcomes: list[OSError | None]) -> list[tuple[Pending, Refused | None]]:
        """Give the synced files their names. The fate of each, in order."""
        fates: list[tuple[Pending, Refused | None]] = []
        for one, error in zip(self.pending, outcomes, strict=True):
            refused = failed(error) if error is not None else None
            try:
                if refused is None:
                    os.rename(one.part, one.name, src_dir_fd=one.parent, dst_dir_fd=one.parent)
            except OSError as failure:
                refused = failed(failure)
            if refused is not None:
                _unlink(one.parent, one.part)
            os.close(one.fd)
            fates.append((one, refused))
        self.pending.clear()
        return fates

    def drop(self) -> None:
        """The connection is over: what was not synced was not confirmed either. Idempotent."""
        for one in self.pending:
            _unlink(one.parent, one.part)
            os.close(one.fd)
        self.pending.clear()


def _sync(fd: int) -> OSError | None:
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    return None


def _unlink(parent: int, part: bytes) -> None:
    try:
        os.unlink(part, dir_fd=parent)
    except OSError:
        pass


def _write_rest(fd: int, body: memoryview) -> None:
    """A file system that takes less than it was given says why when it is asked again."""
    at = os.fstat(fd).st_size
    while at < len(body):
        at += os.write(fd, body[at:])
