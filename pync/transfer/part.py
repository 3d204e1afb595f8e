"""A file on its way in: written as `NAME.part`, verified, synced, then renamed. See `pync.transfer.root`.

A partial file of ours carries the sticky bit, which means nothing on a file and never arrives on one (modes
are cut to 0o777). So an interrupted `report.part` is told from a file that somebody called `report.part`:
the latter is only taken over if it turns out to be the beginning of the very file that comes.
"""

from __future__ import annotations

import errno
import stat

from pync.proto import transfer_messages as messages
from pync.transfer.root import Refused, Root, creation_mask, failed, free_name, look, part_name, set_times
from pync.transfer.system import lock, os

MARK = stat.S_ISVTX
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
ATTEMPTS = 16


class Part:
    """An open partial file. `size` bytes of it are there; `ours` tells whether it may be emptied."""

    def __init__(self, parent: int, name: bytes, part: bytes, fd: int, size: int, ours: bool) -> None:
        self.parent = parent
        self.name = name
        self.part = part
        self.fd = fd
        self.size = size
        self.ours = ours
        self.at = 0
        there = os.fstat(fd)
        self._file = there.st_dev, there.st_ino  # asked once: a rename that fails may have let go of `fd`

    def claim(self) -> None:
        """It is ours now: mark it."""
        if not self.ours:
            os.fchmod(self.fd, MARK | 0o600)
            self.ours = True

    def check_room_for(self, size: int) -> None:
        """Raises Refused for a file larger than any that the file system can hold."""
        try:
            os.lseek(self.fd, size, os.SEEK_SET)
        except (OSError, OverflowError):
            raise Refused("larger than the file system allows", status=messages.FAILED, code=2) from None

    def start_at(self, offset: int) -> None:
        """Drop what follows `offset` and write on from there."""
        self.claim()
        if self.size != offset:
            os.ftruncate(self.fd, offset)
            self.size = offset
        self.at = offset

    def write(self, view: memoryview) -> None:
        """Append. Raises Refused (no space left, say); what was written stays for a later resume."""
        try:
            while view:
                count = os.pwrite(self.fd, view, self.at)
                self.at += count
                view = view[count:]
        except OSError as error:
            raise failed(error) from None

    def skip(self, count: int) -> None:
        """Leave a hole."""
        self.at += count

    def finish(self) -> None:
        """The file ends here, be it in a hole. Raises Refused."""
        try:
            os.ftruncate(self.fd, self.at)
        except OSError as error:
            raise failed(error) from None

    def settle(self, entry: messages.Entry, policy: str, settled: set[tuple[int, bytes]]) -> bytes:
        """Mode, times and its final name, in one rename; the name it got. The contents are synced by now."""
        name, mode = self.name, entry.mode & 0o777
        if entry.kind == messages.STREAM:
            mode &= ~creation_mask()  # bytes from a pipe have no mode of their own
        try:
            if not self.is_there():
                raise Refused("its partial file was replaced meanwhile", status=messages.FAILED)
            os.fchmod(self.fd, mode)
            set_times(self.fd, entry.mtime)
            if look(self.parent, name) is not None:
                name = taken(self.parent, name, policy)
            os.rename(self.part, name, src_dir_fd=self.parent, dst_dir_fd=self.parent)
        except OSError as error:
            raise failed(error) from None
        if name.endswith(b".part"):
            settled.add((os.fstat(self.parent).st_ino, name))
        return name

    def is_there(self) -> bool:
        """Whether its name still stands for what is open here."""
        there = look(self.parent, self.part)
        return there is not None and (there.st_dev, there.st_ino) == self._file

    def remove(self) -> None:
        """It is of no use to anybody. What somebody else put in its place stays."""
        try:
            if self.is_there():
                os.unlink(self.part, dir_fd=self.parent)
        except (OSError, Refused):
            pass

    def close(self) -> None:
        """Idempotent; what is on disk stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def taken(parent: int, name: bytes, policy: str) -> bytes:
    """The name to use although `name` is taken, by the user's choice. Raises Refused."""
    if policy == "rename":
        return free_name(parent, name)
    there = look(parent, name)
    if there is not None and policy != "overwrite":
        raise Refused("it exists already")
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise Refused("a directory of that name exists")
    return name


def open_part(root: Root, parent: int, name: bytes, *, after: Part | None = None) -> Part:
    """The partial file for `name`, new or from an earlier run; `after` one that must not be touched.

    Raises Refused when another transfer is writing it, or when it cannot be created.
    """
    start = 0
    if after is not None:
        while part_name(name, start) != after.part:
            start += 1
        start += 1
    for attempt in range(start, ATTEMPTS):
        candidate = part_name(name, attempt)
        if root.settled_parts and (os.fstat(parent).st_ino, candidate) in root.settled_parts:
            continue
        try:
            fd = os.open(candidate, _OPEN, MARK | 0o600, dir_fd=parent)
        except OSError as error:
            in_the_way = error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES)
            if in_the_way and look(parent, candidate) is not None:
                continue
            raise failed(error) from None
        part = _adopt(parent, name, candidate, fd)
        if part is not None:
            return part
        os.close(fd)
    raise Refused("all names for its partial file are taken")


def remove_stale(root: Root, parent: int, name: bytes) -> None:
    """The file is here whole: what a transfer that was cut left of it goes, unless somebody is writing it."""
    there = look(parent, part_name(name))
    if there is None or not stat.S_ISREG(there.st_mode) or not there.st_mode & MARK:
        return
    try:
        stale = open_part(root, parent, name)
    except Refused:
        return
    if stale.ours:
        stale.remove()
    stale.close()


def _adopt(parent: int, name: bytes, candidate: bytes, fd: int) -> Part | None:
    """Lock what was opened and see whether it may be used; None for the next name."""
    there = os.fstat(fd)
    if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
        return None  # written through a second name it would change a file elsewhere
    try:
        lock(fd)
    except BlockingIOError:
        os.close(fd)
        raise Refused("another transfer is writing it right now") from None
    except OSError:
        pass  # a file system without locks
    size = os.fstat(fd).st_size
    ours = bool(there.st_mode & MARK) or not size
    part = Part(parent, name, candidate, fd, size, ours=ours)
    if not part.is_there():
        return None  # whoever held it renamed it between our open and our lock
    if ours and not there.st_mode & MARK:
        part.ours = False
        part.claim()
    return part
