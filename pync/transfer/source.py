"""What is sent: a lazy walk over the paths the user named, one entry at a time, never a list of them."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Iterator, Sequence

from pync.errors import LocalError, reason
from pync.proto import transfer_messages as messages
from pync.proto.transfer import INLINE_MAX
from pync.transfer.root import DEPTH_MAX
from pync.transfer.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from pync.lean import NamedTuple

_NAMES = sys.getfilesystemencoding()
OPEN_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Item(NamedTuple):
    """One entry to be: `name` in directory `parent` (None: stdin) is sent as `path`."""

    kind: int
    path: bytes
    name: bytes = b""
    parent: int | None = None
    status: os.stat_result | None = None
    target: bytes = b""
    problem: str = ""  # why it cannot be sent, instead
    passed_over: str = ""  # what it is, if it is deliberately not sent

    @property
    def inode(self) -> tuple[int, int]:
        """By which a stream is known; stdin is no file."""
        return (0, 0) if self.status is None else (self.status.st_dev, self.status.st_ino)


class Walk:
    """The entries of `paths`. Iterate it as often as needed (after a cut, for another receiver)."""

    def __init__(self, paths: Sequence[str], *, exclude: Sequence[str] = (), follow: bool = False) -> None:
        self.paths = [path.replace(os.sep, "/") for path in paths] or ["-"]
        self.follow = follow
        self._exclude = _matcher(exclude)
        # Asked once: what `.` is called is not known any more once the working directory is removed.
        self._shown = [self._checked(path) for path in self.paths]
        if self.paths.count("-") > 1:
            raise LocalError("stdin (-) can be sent only once")

    @property
    def uses_stdin(self) -> bool:
        """Whether stdin is among them: it can be read only once, unless it is a file."""
        return "-" in self.paths

    @property
    def first_name(self) -> bytes:
        """The name of the first path as the other end will see it."""
        return self._shown[0]

    def total(self) -> int:
        """Bytes to send, UNKNOWN_SIZE unless only files were named: a walk would cost a second pass."""
        size = 0
        for path in self.paths:
            try:
                there = os.fstat(0) if path == "-" else os.stat(path)
            except OSError:
                return messages.UNKNOWN_SIZE
            if not stat.S_ISREG(there.st_mode):
                return messages.UNKNOWN_SIZE
            size += there.st_size
        return size

    def measure(self) -> tuple[int, int]:
        """Files and bytes below all paths, by a walk over names and sizes only. For the progress line."""
        files = size = 0
        for item in self:
            if item.kind in (messages.FILE, messages.STREAM) and not item.problem and not item.passed_over:
                there = item.status or os.stat(item.name, dir_fd=item.parent, follow_symlinks=self.follow)
                files += 1
                size += there.st_size
        return files, size

    def _look(self, path: bytes) -> os.stat_result:
        """What a path the user typed stands for: a link is a link, but not with a slash behind it, nor where
        it is one more name of what is open (`/dev/stdin`, the `<(command)` of a shell) or of a device.
        """
        there = os.stat(path, follow_symlinks=self.follow or path.endswith(b"/"))
        if not stat.S_ISLNK(there.st_mode):
            return there
        if _is_magic(path):
            return os.stat(path)
        try:
            target = os.stat(path)
        except OSError:
            return there  # it points at nothing, and is sent like that
        return target if _is_special(target.st_mode) else there

    def _checked(self, path: str) -> bytes:
        """The name to show for a path. One that is not there is an error before anybody is called."""
        if path == "-":
            return b""
        try:
            there = self._look(os.fsencode(path))
            if stat.S_ISDIR(there.st_mode):
                os.close(os.open(path, OPEN_FILE | os.O_DIRECTORY))
            elif stat.S_ISREG(there.st_mode):
                os.close(os.open(path, OPEN_FILE))
            shown = _shown_name(path)
        except OSError as error:
            raise LocalError(f"{path or repr(path)}: {reason(error)}") from None
        if stat.S_ISSOCK(there.st_mode):
            raise LocalError(f"{path}: is a socket")
        return shown

    def __iter__(self) -> Iterator[Item]:
        for path, name in zip(self.paths, self._shown, strict=True):
            if path == "-":
                yield Item(messages.STREAM, b"")
                continue
            yield from self._named(os.fsencode(path), name)

    def _named(self, path: bytes, name: bytes) -> Iterator[Item]:
        """A path the user typed. Devices and fifos count here."""
        try:
            there = self._look(path)
        except OSError as error:
            yield Item(messages.FILE, name, problem=reason(error))
            return
        directory, _, last = path.rstrip(b"/").rpartition(b"/")
        if last in (b"", b".", b".."):
            directory, last = path, b"."
        try:
            parent = os.open(
                directory or (b"/" if path.startswith(b"/") else b"."), os.O_RDONLY | os.O_DIRECTORY
            )
        except OSError as error:
            yield Item(messages.FILE, name, problem=reason(error))
            return
        try:
            if stat.S_ISREG(there.st_mode):
                yield Item(messages.FILE, name, last, parent)
            elif stat.S_ISDIR(there.st_mode):
                yield from self._directory(parent, last, name, ())
            elif stat.S_ISLNK(there.st_mode):
                yield self._link(parent, last, name, there)
            else:
                yield Item(messages.STREAM, name, last, parent, there)
        finally:
            os.close(parent)

    def _directory(
        self, parent: int, name: bytes, path: bytes, above: tuple[tuple[int, int], ...]
    ) -> Iterator[Item]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if not self.follow and above:
            flags |= os.O_NOFOLLOW
        try:
            fd = os.open(name, flags, dir_fd=parent)
        except OSError as error:
            yield Item(messages.DIRECTORY, path, problem=reason(error))
            return
        try:
            there = os.fstat(fd)
            here = (there.st_dev, there.st_ino)
            if here in above:
                yield Item(messages.DIRECTORY, path, problem="it contains itself (a loop of links)")
                return
            if len(above) >= DEPTH_MAX:
                yield Item(messages.DIRECTORY, path, problem="it is nested too deeply")
                return
            yield Item(messages.DIRECTORY, path, name, parent, there)
            simple = self._exclude is None and len(path) + 1 + messages.NAME_MAX <= messages.PATH_MAX
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:  # the usual case, without a generator of its own
                        plain = simple and entry.is_file(follow_symlinks=False)
                    except OSError:
                        plain = False
                    if plain:
                        last = entry.name.encode(_NAMES, "surrogateescape")  # what os.fsencode does, slowly
                        yield Item(messages.FILE, path + b"/" + last if path else last, last, fd)
                    else:
                        yield from self._entry(fd, entry, path, (*above, here))
            yield Item(messages.LEAVE, path, name, parent, there)
        except OSError as error:
            yield Item(messages.DIRECTORY, path, problem=reason(error))
        finally:
            os.close(fd)

    def _entry(
        self, fd: int, entry: os.DirEntry[str], above_path: bytes, above: tuple[tuple[int, int], ...]
    ) -> Iterator[Item]:
        name = os.fsencode(entry.name)
        path = above_path + b"/" + name if above_path else name
        try:
            if self._exclude is not None and self._exclude(
                entry.name, path, lambda: entry.is_dir(follow_symlinks=self.follow)
            ):
                return
            if len(path) > messages.PATH_MAX:
                kind = messages.DIRECTORY if entry.is_dir(follow_symlinks=self.follow) else messages.FILE
                yield Item(kind, path, problem=f"its path has more than {messages.PATH_MAX} bytes")
            elif entry.is_file(follow_symlinks=self.follow):
                yield Item(messages.FILE, path, name, fd)
            elif entry.is_dir(follow_symlinks=self.follow):
                yield from self._directory(fd, name, path, above)
            elif entry.is_symlink():
                yield self._link(fd, name, path, entry.stat(follow_symlinks=False))
            else:
                yield Item(messages.FILE, path, passed_over=_what(entry.stat(follow_symlinks=False).st_mode))
        except OSError as error:
            yield Item(messages.FILE, path, problem=reason(error))

    def _link(self, parent: int, name: bytes, path: bytes, there: os.stat_result) -> Item:
        try:
            if self.follow:  # neither to a file nor to a directory
                return Item(messages.FILE, path, passed_over=_what(os.stat(name, dir_fd=parent).st_mode))
        except FileNotFoundError:
            return Item(messages.SYMLINK, path, problem="the link points at nothing")
        except OSError as error:
            return Item(messages.SYMLINK, path, problem=reason(error))
        try:
            target = os.readlink(name, dir_fd=parent)
        except OSError as error:
            return Item(messages.SYMLINK, path, problem=reason(error))
        if len(target) > messages.PATH_MAX:
            return Item(messages.SYMLINK, path, problem=f"its target has more than {messages.PATH_MAX} bytes")
        return Item(messages.SYMLINK, path, name, parent, there, target)


def _shown_name(path: str) -> bytes:
    """The last name of a path; what `.`, `..` or `x/..` really is called, b"" for the root directory."""
    name = os.path.basename(path.rstrip("/"))
    if name in ("", ".", ".."):
        name = os.path.basename(os.path.realpath(path))
    return os.fsencode(name)


def _is_magic(link: bytes) -> bool:
    """Whether a link lies where the system makes them; /dev/shm is for everybody."""
    directory = os.path.realpath(os.path.dirname(link)) + b"/"
    return directory.startswith((b"/dev/", b"/proc/")) and not directory.startswith(b"/dev/shm/")


def _is_special(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _what(mode: int) -> str:
    for test, word in ((stat.S_ISFIFO, "a fifo"), (stat.S_ISSOCK, "a socket")):
        if test(mode):
            return word
    return "a device"


def says_its_size(there: os.stat_result) -> bool:
    """No file of procfs (0) or sysfs (4096) does; they take up no blocks. Nor do those that are all hole."""
    return getattr(there, "st_blocks", 1) > 0 or there.st_size > INLINE_MAX


def time_of(there: os.stat_result) -> int:
    """When it was modified, as near as the protocol can say: it knows the years 1677 to 2262."""
    return max(-messages.TIME_MAX, min(there.st_mtime_ns, messages.TIME_MAX))


def changed(fd: int, there: os.stat_result) -> bool:
    """Whether a file is another one than it was."""
    now = os.fstat(fd)
    return (now.st_size, now.st_mtime_ns) != (there.st_size, there.st_mtime_ns)


def open_special(item: Item) -> int:
    """A descriptor of a fifo or device; blocks until a fifo has a writer."""
    return os.open(item.name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=item.parent)


def read_small(fd: int, there: os.stat_result) -> bytes | None:
    """What a file gives, up to a byte more than INLINE_MAX of it; None if it changed meanwhile."""
    size = there.st_size
    # all at once where the size says nothing: some files of procfs are at their end after one read
    data = os.read(fd, size + 1 if size else INLINE_MAX + 1)
    if len(data) == size:
        return data
    if changed(fd, there):
        return None
    while len(data) <= INLINE_MAX and (more := os.read(fd, INLINE_MAX + 1 - len(data))):
        data += more
    return data


def _matcher(patterns: Sequence[str]) -> Callable[[str, bytes, Callable[[], bool]], bool] | None:
    """Whether an entry (its name, its path, whether it is a directory) is left out.

    A pattern without a slash sees the last name, one with a slash the end of the path (`sub/*.log` leaves out
    `tree/sub/a.log`), one that begins with a slash the path below the directory that was named. No wildcard
    matches a slash, but `**` as a name stands for any number of names. A slash at the end: directories only.
    """
    if not patterns:
        return None
    rules = [(_globs(pattern), pattern.endswith("/")) for pattern in patterns if pattern.strip("/")]

    def matches(name: str, path: bytes, is_directory: Callable[[], bool]) -> bool:
        parts: list[str] = []
        for globs, directories_only in rules:
            if len(globs) == 1:
                fits = bool(globs[0](name))
            else:
                parts = parts or os.fsdecode(path).split("/")
                fits = _fit(globs, parts)
            if fits and (not directories_only or is_directory()):
                return True
        return False

    return matches


def _globs(pattern: str) -> list[Any]:
    """What matches each name of a path, None for `**`; a single one is for the last name, wherever it is."""
    import re
    from fnmatch import translate

    words = [word for word in pattern.split("/") if word]
    if pattern.startswith("/"):
        words.insert(0, "*")
    elif len(words) > 1:
        words.insert(0, "**")
    if len(words) == 1:
        return [re.compile(translate(words[0])).match]
    return [None if word == "**" else re.compile(translate(word)).match for word in words]


def _fit(globs: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether all the names match; `**` at the end stands for one at least."""
    if not globs or not names:
        return not globs and not names
    first, rest = globs[0], globs[1:]
    if first is not None:
        return bool(first(names[0])) and _fit(rest, names[1:])
    return not rest or any(_fit(rest, names[skipped:]) for skipped in range(len(names)))
