"""The one directory that receiving may write below, and nothing outside of it.

Everything goes through an open descriptor of that directory. Each further directory is opened name by name
from its parent with O_NOFOLLOW, so no `..`, no absolute path and no symbolic link - one that was there, or
one the sender has just made - leads anywhere else. Existing files are only ever read, or replaced whole by
a rename.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator

from pync.errors import LocalError, reason
from pync.proto import transfer_messages as messages
from pync.transfer.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a fifo that lies there under the name must not hold us.
OPEN_EXISTING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
DEPTH_MAX = 256  # each open directory costs a descriptor, on both ends
KNOWN_MAX = 10_000
# On a directory of ours until it is left and gets its mode, so that another run knows it again after a cut.
UNFINISHED = stat.S_ISVTX | 0o700


class Refused(Exception):
    """One entry cannot be taken; the others can."""

    def __init__(self, why: str, *, status: int = messages.REFUSED, code: int = 2) -> None:
        super().__init__(why)
        self.why = why
        self.status = status
        self.code = code


def failed(error: OSError) -> Refused:
    """The Refused for a system call that failed."""
    return Refused(reason(error), status=messages.FAILED)


def _checked(path: bytes) -> tuple[bytes, ...]:
    try:
        return messages.split_path(path)
    except ValueError as error:
        raise Refused(str(error)) from None


class _Level:
    """A directory on the way down.

    `known`: the names in it, if we made it and they are not too many. `announced`: by a DIRECTORY, so that
    a LEAVE may close it. `ours`: made by us, now or in a run that was cut. `before`: its mode, if it had to
    be opened up, and `mtime`: both of a directory that was there, and is to stay as it was.
    """

    __slots__ = ("announced", "before", "fd", "known", "mtime", "name", "ours")

    def __init__(self, name: bytes, fd: int, known: set[bytes] | None, *, announced: bool) -> None:
        self.name = name
        self.fd = fd
        self.known = known
        self.announced = announced
        there = os.fstat(fd)
        mode = stat.S_IMODE(there.st_mode)
        self.mtime = there.st_mtime_ns
        self.ours = known is not None or mode & messages.DIRECTORY_MODE == UNFINISHED
        self.before: int | None = None
        wanted = mode | (UNFINISHED if self.ours else 0o700)
        if mode == wanted:
            return
        try:  # made without the mark, as some systems do; or of an earlier run, read-only, with more to come
            os.fchmod(fd, wanted)
        except OSError:
            return  # then creating something in it says why not
        if not self.ours:
            self.before = mode

    def close(self) -> None:
        """Let go of it; one that was opened up is as it was before."""
        try:
            if self.before is not None:
                os.fchmod(self.fd, self.before)
        except OSError:
            pass
        finally:
            os.close(self.fd)

    def is_new(self, name: bytes) -> bool:
        """Whether `name` is certainly not there yet; from now on it counts as there."""
        known = self.known
        if known is None or name in known:
            return False
        known.add(name)
        if len(known) > KNOWN_MAX:
            self.known = None  # memory stays flat; the system is asked from here on
        return True


class Root:
    """See the module.

    Directories are entered as the sender walks them, and stay open on the way down only.
    """

    def __init__(self, path: str | bytes, settled_parts: set[tuple[int, bytes]] | None = None) -> None:
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise LocalError(f"{os.fsdecode(path)}: {reason(error)}") from None
        self._levels: list[_Level] = []
        self._current = b""  # path of the innermost level
        # delivered files (directory, name) whose names end in .part: they are nobody's partial file
        self.settled_parts = set() if settled_parts is None else settled_parts

    def close(self) -> None:
        """Give the descriptors back; idempotent."""
        self._pop_to(0)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def locate(self, path: bytes) -> tuple[int, bytes, bool]:
        """Directory descriptor, last name, and whether that is certainly free. Raises Refused."""
        parent, _, name = path.rpartition(b"/")
        if parent != self._current or not 0 < len(name) <= messages.NAME_MAX or b"\0" in path:
            self._enter(_checked(path)[:-1])
        elif name in (b".", b"..") or (not parent and path[:1] == b"/"):
            raise Refused("its path is absolute or leaves the directory")
        elif len(path) > messages.PATH_MAX:
            raise Refused("its path is too long")
        if not self._levels:
            return self.fd, name, False
        level = self._levels[-1]
        return level.fd, name, level.is_new(name)

    def _enter(self, parts: tuple[bytes, ...]) -> None:
        if len(parts) > DEPTH_MAX:
            raise Refused("its path is too deep")
        same = 0
        for level, name in zip(self._levels, parts, strict=False):
            if level.name != name:
                break
            same += 1
        self._pop_to(same)
        for name in parts[same:]:
            self._push(name, None, "its directory is a symbolic link or no directory here")

    def _push(
        self, name: bytes, known: set[bytes] | None, no_directory: str, *, announced: bool = False
    ) -> None:
        parent = self._levels[-1].fd if self._levels else self.fd
        try:
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refused(no_directory) from None
            raise failed(error) from None
        self._levels.append(_Level(name, fd, known, announced=announced))
        self._current = self._current + b"/" + name if self._current else name

    def _pop_to(self, depth: int) -> None:
        while len(self._levels) > depth:
            self._levels.pop().close()
        self._current = b"/".join(level.name for level in self._levels)

    def make_directory(self, path: bytes) -> None:
        """Create and enter a directory; one that exists is entered. Raises Refused."""
        parent, name, _ = self.locate(path)
        if len(self._levels) >= DEPTH_MAX:
            raise Refused("its path is too deep")
        known: set[bytes] | None = set()
        try:
            os.mkdir(name, UNFINISHED, dir_fd=parent)
        except FileExistsError:
            known = None
        except OSError as error:
            raise failed(error) from None
        self._push(name, known, "it exists already, as a file or a symbolic link", announced=True)

    def leave(self, path: bytes, mode: int, mtime: int, *, overwrite: bool, fsync: bool) -> None:
        """Close a directory that was announced, the innermost for b"", giving it its mode and times at last.

        One that was there before keeps its own, but for `overwrite`. What closes nothing is ignored. Raises
        Refused.
        """
        depth = self._depth_of(path)
        if not depth:
            return
        level = self._levels[depth - 1]
        try:
            if level.ours or overwrite:
                level.before = None
                os.fchmod(level.fd, mode & messages.DIRECTORY_MODE)
            # one that an earlier run has finished may have got what was missing in it then
            if level.ours or overwrite or level.mtime == mtime:
                set_times(level.fd, mtime)
            if fsync:
                os.fsync(level.fd)
        except OSError as error:
            raise failed(error) from None
        finally:
            self._pop_to(depth - 1)

    def _depth_of(self, path: bytes) -> int:
        """Of an announced directory that is open, the innermost for b""; 0 for none. Raises Refused."""
        if path and not (self._current + b"/").startswith(path + b"/"):
            _checked(path)
            return 0
        depth = path.count(b"/") + 1 if path else len(self._levels)
        while not path and depth and not self._levels[depth - 1].announced:
            depth -= 1
        return depth if depth and self._levels[depth - 1].announced else 0

    def sync(self) -> None:
        """Make the renames in the top directory durable."""
        try:
            os.fsync(self.fd)
        except OSError:
            pass  # some file systems cannot; the files themselves were synced

    def make_link(self, path: bytes, entry: messages.Entry, policy: str) -> int:
        """Create a symbolic link as a link, wherever it points. The status; raises Refused."""
        parent, name, _ = self.locate(path)
        if not entry.target or b"\0" in entry.target:
            raise Refused("its target is empty or contains a NUL")
        if look(parent, name) is not None:
            if _link_target(parent, name) == entry.target:
                return messages.IDENTICAL
            if policy == "skip":
                return messages.SKIPPED
            if policy == "rename":
                name = free_name(parent, name)
            elif policy != "overwrite":
                raise Refused("it exists already")
        temporary = part_name(name)
        try:
            _replace_link(parent, temporary, name, entry.target)
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            raise failed(error) from None
        except OverflowError:
            pass
        return messages.OK


def _link_target(parent: int, name: bytes) -> bytes | None:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return None


def _replace_link(parent: int, temporary: bytes, name: bytes, target: bytes) -> None:
    try:
        os.symlink(target, name, dir_fd=parent)
        return
    except FileExistsError:
        pass
    os.symlink(target, temporary, dir_fd=parent)
    try:
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        os.unlink(temporary, dir_fd=parent)
        raise


def look(parent: int, name: bytes) -> os.stat_result | None:
    """What lies under a name, itself and not what it points at; None for nothing. Raises Refused."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed(error) from None


def open_existing(parent: int, name: bytes) -> int | None:
    """A descriptor to read a regular file that is already there; None if it is something else."""
    try:
        fd = os.open(name, OPEN_EXISTING, dir_fd=parent)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def creation_mask() -> int:
    """The umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def set_times(fd: int, mtime: int) -> None:
    """Give an open file its modification time; a time this system cannot hold is left out."""
    try:
        os.utime(fd, ns=(mtime, mtime))
    except OverflowError:
        pass


def part_name(name: bytes, attempt: int = 0) -> bytes:
    """The name under which `name` is written until it is whole, shortened where it would be too long."""
    suffix = b".part" if not attempt else b".%d.part" % attempt
    if len(name) + len(suffix) <= messages.NAME_MAX:
        return name + suffix
    from hashlib import sha256

    # Two long names that differ only at their ends must not share a partial file.
    mark = b"~" + sha256(name).hexdigest()[:8].encode() + suffix
    kept = name[: messages.NAME_MAX - len(mark)]
    while kept and kept[-1] & 0xC0 == 0x80 and name[len(kept)] & 0xC0 == 0x80:
        kept = kept[:-1]  # not in the middle of a UTF-8 character, which some file systems refuse
    return kept + mark


def other_names(name: bytes) -> Iterator[bytes]:
    """`report-1.pdf`, `report-2.pdf`, ..."""
    stem, dot, extension = name.rpartition(b".")
    if not stem:
        stem, dot, extension = name, b"", b""
    for number in range(1, 10_000):
        yield stem + b"-%d" % number + dot + extension


def free_name(parent: int, name: bytes) -> bytes:
    """The first of the other names that is free. Raises Refused."""
    for candidate in other_names(name):
        if len(candidate) <= messages.NAME_MAX and look(parent, candidate) is None:
            return candidate
    raise Refused("it exists already, and so do all the other names tried")
