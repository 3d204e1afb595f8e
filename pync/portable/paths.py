"""The part of `os` that transfers use, for systems whose directories have no descriptors.

The names and meanings are those of POSIX. A directory that is opened becomes a number of ours, that stands
for its path and for what was found there; each use looks again, all the way up, whether the same directory
is still in its place and no link took it. That is weaker than a descriptor: between the look and the use
somebody with access to the directory may still put a link there. Names that mean something else to Windows
are refused.

An open file cannot be renamed there, and its times change when it is closed. So a rename lets go of the file
first (its descriptor leads nowhere from then on), and modes and times are set when it is let go of.
"""

from __future__ import annotations

import errno
import os
import sys
from _thread import allocate_lock
from collections.abc import Iterator
from contextlib import contextmanager
from stat import S_ISDIR, S_ISLNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from pync.lean import NamedTuple

F_OK, R_OK, W_OK, X_OK = os.F_OK, os.R_OK, os.W_OK, os.X_OK
O_RDONLY, O_WRONLY, O_RDWR, O_CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT
O_EXCL, O_TRUNC = os.O_EXCL, os.O_TRUNC
# Bits of ours, beyond those of any system; they do not get to it.
O_DIRECTORY, O_NOFOLLOW = 1 << 40, 1 << 41
O_NONBLOCK = O_CLOEXEC = 0
_OURS = O_DIRECTORY | O_NOFOLLOW
_BINARY = getattr(os, "O_BINARY", 0)
_REPARSE_POINT = 0x400  # FILE_ATTRIBUTE_REPARSE_POINT: symbolic links, junctions, mounted volumes
_LOCK_AT = 1 << 62  # beyond every byte, since what is locked cannot be read by others
_FIRST = 1 << 30  # numbers of directories, beyond those of descriptors
_WINDOWS = sys.platform == "win32"
_FORBIDDEN = frozenset(b'<>:"/\\|?*') | frozenset(range(32))
_DEVICES = frozenset(
    (b"CON", b"PRN", b"AUX", b"NUL", *(b"%s%d" % (kind, n) for kind in (b"COM", b"LPT") for n in range(10)))
)


class _Directory(NamedTuple):
    path: bytes
    device: int
    inode: int
    parent: _Directory | None


class _File:
    """What an open file gets when it is let go of."""

    __slots__ = ("mode", "path", "times")

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.mode: int | None = None
        self.times: tuple[int, int] | None = None


_directories: dict[int, _Directory] = {}
_files: dict[int, _File] = {}
_numbers = iter(range(_FIRST, 1 << 62))
_position = allocate_lock()  # of all files: reading at an offset moves it


def __getattr__(name: str) -> Any:
    return getattr(os, name)


def _is_link(there: os.stat_result) -> bool:
    return S_ISLNK(there.st_mode) or bool(getattr(there, "st_file_attributes", 0) & _REPARSE_POINT)


def _check_in_place(directory: _Directory | None) -> None:
    while directory is not None:
        there = os.lstat(directory.path) if directory.parent is not None else os.stat(directory.path)
        if (there.st_dev, there.st_ino) != (directory.device, directory.inode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        directory = directory.parent


def _check_name(name: bytes) -> None:
    stem = name.partition(b".")[0].rstrip(b" ").upper()
    if not _FORBIDDEN.isdisjoint(name) or name[-1:] in (b".", b" ") or stem in _DEVICES:
        raise OSError("this system has no such names")


def _at(name: Any, dir_fd: int | None) -> bytes:
    """The path of `name` in a directory of ours, which is still where it was."""
    path = os.fsencode(name)
    if dir_fd is None:
        return path
    directory = _directories[dir_fd]
    _check_in_place(directory)
    if path == b".":
        return directory.path
    if _WINDOWS:
        _check_name(path)
    return os.path.join(directory.path, path)


def open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """A descriptor, or a number of ours for a directory."""
    where = _at(path, dir_fd)
    if flags & O_DIRECTORY:
        return _open_directory(where, dir_fd, follow=not flags & O_NOFOLLOW)
    if flags & O_NOFOLLOW:
        try:
            if _is_link(os.lstat(where)):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        except FileNotFoundError:
            pass
    fd = os.open(where, flags & ~_OURS | _BINARY, mode)
    if flags & O_NOFOLLOW and not _same(os.lstat(where), os.fstat(fd)):
        os.close(fd)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if flags & (O_WRONLY | O_RDWR):
        _files[fd] = _File(where)
    return fd


def _same(one: os.stat_result, other: Any) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _open_directory(path: bytes, parent: int | None, *, follow: bool) -> int:
    there = os.stat(path) if follow else os.lstat(path)
    if not follow and _is_link(there):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not S_ISDIR(there.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    number = next(_numbers)
    # Followed on purpose, it is wherever the link leads: only that is looked at again.
    path = os.path.realpath(path) if follow else path
    above = None if follow or parent is None else _directories[parent]
    _directories[number] = _Directory(path, there.st_dev, there.st_ino, above)
    return number


def close(fd: int) -> None:
    if _directories.pop(fd, None) is not None:
        return
    file = _files.pop(fd, None)
    os.close(fd)
    if file is not None:
        _settle(file)


def _settle(file: _File) -> None:
    if file.times is not None:
        os.utime(file.path, ns=file.times)
    if file.mode is not None:
        os.chmod(file.path, file.mode)


def _let_go(path: bytes) -> list[_File]:
    """Close what is open at `path`. The descriptors stay taken, so that nobody else gets them."""
    found = [fd for fd, file in _files.items() if file.path == path]
    for fd in found:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, fd, inheritable=False)
        os.close(null)
    return [_files.pop(fd) for fd in found]


def rename(source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    """Replaces what is there, as on POSIX."""
    before, after = _at(source, src_dir_fd), _at(target, dst_dir_fd)
    for file in _let_go(before):
        _settle(file)
    os.replace(before, after)


def unlink(path: Any, *, dir_fd: int | None = None) -> None:
    where = _at(path, dir_fd)
    _let_go(where)
    os.unlink(where)


def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    os.mkdir(_at(path, dir_fd), mode)


def symlink(target: Any, path: Any, *, dir_fd: int | None = None) -> None:
    os.symlink(target, _at(path, dir_fd))


def readlink(path: Any, *, dir_fd: int | None = None) -> Any:
    return os.readlink(_at(path, dir_fd))


def access(path: Any, mode: int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> bool:
    try:
        where = _at(path, dir_fd)
        if follow_symlinks:
            return os.access(where, mode)
        os.lstat(where)
    except OSError:
        return False
    return True


def fstat(fd: int) -> os.stat_result:
    directory = _directories.get(fd)
    return os.fstat(fd) if directory is None else os.stat(directory.path)


def stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    where: Any = path if isinstance(path, int) else _at(path, dir_fd)
    return os.stat(where) if follow_symlinks else os.lstat(where)


def scandir(path: Any) -> Any:
    directory = _directories.get(path) if isinstance(path, int) else None
    return os.scandir(path if directory is None else os.fsdecode(directory.path))


def fsync(fd: int) -> None:
    if fd in _files:  # what was let go of, or only read, and directories have nothing to wait for
        os.fsync(fd)


def fchmod(fd: int, mode: int) -> None:
    if fd in _directories:
        os.chmod(_directories[fd].path, mode)
    elif fd in _files:
        _files[fd].mode = mode


def utime(path: Any, *, ns: tuple[int, int], dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
    if isinstance(path, int):
        if path in _directories:
            os.utime(_directories[path].path, ns=ns)
        elif path in _files:
            _files[path].times = ns
    elif follow_symlinks:
        os.utime(_at(path, dir_fd), ns=ns)
    # the times of a link cannot be set


@contextmanager
def _at_offset(fd: int, offset: int) -> Iterator[None]:
    """Meanwhile the file's position is `offset`, for nobody else."""
    with _position:
        before = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.lseek(fd, offset, os.SEEK_SET)
            yield
        finally:
            os.lseek(fd, before, os.SEEK_SET)


def pread(fd: int, count: int, offset: int) -> bytes:
    with _at_offset(fd, offset):
        return os.read(fd, count)


def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
    view = buffers[0]
    data = pread(fd, len(view), offset)
    view[: len(data)] = data
    return len(data)


def pwrite(fd: int, data: Any, offset: int) -> int:
    with _at_offset(fd, offset):
        return os.write(fd, data)


def lock(fd: int) -> None:
    """Nobody else locks it before it is closed. Raises BlockingIOError where somebody has."""
    if not _WINDOWS:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    try:
        with _at_offset(fd, _LOCK_AT):
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except PermissionError:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
