"""Directories without descriptors (pync/portable/paths.py): the same verbs and refusals, in this process."""

import errno
import fcntl
import os
import stat
import sys
from types import SimpleNamespace

import pytest

from pync.portable import paths

OLD = (1_000_000_000_000_000_000, 1_100_000_000_000_000_000)
NEW_FILE = paths.O_WRONLY | paths.O_CREAT | paths.O_NOFOLLOW


@pytest.fixture
def root(tmp_path):
    """A folder of the test (a path); `folder` is its number."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def folder(root):
    number = paths.open(root, paths.O_RDONLY | paths.O_DIRECTORY)
    yield number
    paths.close(number)
    assert not paths._files, "a file was left open"


def refused(number):
    return pytest.raises(OSError, match=rf"\[Errno {number}\]")


def put(folder, name, data):
    fd = paths.open(name, NEW_FILE, 0o600, dir_fd=folder)
    paths.pwrite(fd, data, 0)
    return fd


class TestDirectories:
    def test_a_number_is_no_descriptor(self, folder, root):
        with refused(errno.EBADF):
            os.fstat(folder)
        assert os.path.samestat(paths.fstat(folder), os.stat(root))

    def test_what_is_no_directory(self, folder, root):
        (root / "file").write_bytes(b"")
        with pytest.raises(NotADirectoryError):
            paths.open("file", paths.O_DIRECTORY, dir_fd=folder)
        with pytest.raises(FileNotFoundError):
            paths.open("none", paths.O_DIRECTORY, dir_fd=folder)

    def test_a_link_is_followed_on_request_only(self, folder, root, tmp_path):
        (tmp_path / "outside").mkdir()
        (root / "link").symlink_to(tmp_path / "outside")
        with refused(errno.ELOOP):
            paths.open("link", paths.O_DIRECTORY | paths.O_NOFOLLOW, dir_fd=folder)
        followed = paths.open("link", paths.O_DIRECTORY, dir_fd=folder)
        (root / "link").unlink()  # it is where the link led, wherever the link leads now
        paths.mkdir("made", dir_fd=followed)
        assert (tmp_path / "outside" / "made").is_dir()
        paths.close(followed)

    @pytest.mark.parametrize("instead", ["link", "directory", "nothing"])
    def test_one_that_was_replaced_is_not_used(self, folder, root, tmp_path, instead):
        (root / "a").mkdir()
        (root / "a" / "b").mkdir()
        upper = paths.open("a", paths.O_DIRECTORY | paths.O_NOFOLLOW, dir_fd=folder)
        lower = paths.open("b", paths.O_DIRECTORY | paths.O_NOFOLLOW, dir_fd=upper)
        (root / "a").rename(tmp_path / "moved")
        if instead == "link":
            (root / "a").symlink_to(tmp_path / "moved")
        elif instead == "directory":
            (root / "a" / "b").mkdir(parents=True)
        for number in (upper, lower):
            with refused(errno.ENOENT if instead == "nothing" else errno.ELOOP):
                paths.open("new", NEW_FILE, dir_fd=number)
            assert not paths.access("b", paths.F_OK, dir_fd=number)
            paths.close(number)
        assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(
            {"link": ["root", "a", "moved", "b"], "directory": ["root", "a", "b", "moved", "b"]}.get(
                instead, ["root", "moved", "b"]
            )
        )

    def test_its_names_modes_and_times(self, folder, root):
        (root / "one").write_bytes(b"")
        paths.mkdir("two", 0o700, dir_fd=folder)
        assert sorted(entry.name for entry in paths.scandir(folder)) == ["one", "two"]
        assert sorted(entry.name for entry in paths.scandir(root)) == ["one", "two"]
        paths.fchmod(folder, 0o750)
        paths.utime(folder, ns=OLD)
        there = os.stat(root)
        assert (stat.S_IMODE(there.st_mode), there.st_atime_ns, there.st_mtime_ns) == (0o750, *OLD)
        assert os.path.samestat(paths.stat(".", dir_fd=folder), there)
        paths.fsync(folder)


class TestNames:
    @pytest.fixture(autouse=True)
    def _windows(self, monkeypatch):
        monkeypatch.setattr(paths, "_WINDOWS", True)

    @pytest.mark.parametrize(
        "name",
        [
            *("..", "../x", "a/b", "a\\b", "..\\x", "C:", "C:x", "file:stream", "a<b", "a>b", 'a"b', "a|b"),
            *("a?", "a*", "a\0b", "a\nb", "\x1f", "end.", "end ", "con", "NUL", "Aux.txt", "prn .x", "COM0"),
            *("com9.tar.gz", "LPT1", "lpt3."),
        ],
    )
    def test_those_that_mean_something_else_are_refused(self, folder, root, name):
        for use in (
            lambda: paths.open(name, NEW_FILE, dir_fd=folder),
            lambda: paths.mkdir(name, dir_fd=folder),
            lambda: paths.symlink("x", name, dir_fd=folder),
            lambda: paths.stat(name, dir_fd=folder),
        ):
            with pytest.raises(OSError, match="no such names"):
                use()
        assert not paths.access(name, paths.F_OK, dir_fd=folder)
        assert list(root.iterdir()) == []

    @pytest.mark.parametrize("name", ["console", "nul-x", "com", "com10", "a.con", ".hidden", "été", "a b"])
    def test_others_are_not(self, folder, root, name):
        paths.mkdir(name, dir_fd=folder)
        assert (root / name).is_dir()

    def test_a_path_of_the_user_is_the_users(self, root):
        paths.mkdir(os.fspath(root / "x"))
        assert (root / "x").is_dir()


class TestFiles:
    def test_no_link_is_followed(self, folder, root, tmp_path):
        (tmp_path / "secret").write_bytes(b"secret")
        (root / "link").symlink_to(tmp_path / "secret")
        for flags in (paths.O_RDONLY | paths.O_NOFOLLOW, NEW_FILE | paths.O_TRUNC):
            with refused(errno.ELOOP):
                paths.open("link", flags, dir_fd=folder)
        assert (tmp_path / "secret").read_bytes() == b"secret"
        fd = paths.open("link", paths.O_RDONLY, dir_fd=folder)
        assert paths.pread(fd, 10, 0) == b"secret"
        paths.close(fd)

    def test_nor_one_that_came_at_the_last_moment(self, folder, root, tmp_path, monkeypatch):
        (tmp_path / "secret").write_bytes(b"secret")
        opened = []
        real = os.open

        def late(path, flags, mode):
            os.symlink(tmp_path / "secret", path)
            opened.append(real(path, flags, mode))
            return opened[0]

        monkeypatch.setattr(os, "open", late)
        with refused(errno.ELOOP):
            paths.open("new", NEW_FILE, dir_fd=folder)
        monkeypatch.undo()
        with refused(errno.EBADF):
            os.fstat(opened[0])

    def test_what_a_reparse_point_is(self):
        junction = SimpleNamespace(st_mode=stat.S_IFDIR | 0o755, st_file_attributes=0x410)
        plain = SimpleNamespace(st_mode=stat.S_IFDIR | 0o755, st_file_attributes=0x10)
        assert paths._is_link(junction)
        assert not paths._is_link(plain)

    def test_modes_and_times_are_set_when_it_is_closed(self, folder, root):
        fd = put(folder, "file", b"data")
        paths.fchmod(fd, 0o640)
        paths.utime(fd, ns=OLD)
        paths.pwrite(fd, b"more", 4)
        paths.close(fd)
        there = os.stat(root / "file")
        assert (stat.S_IMODE(there.st_mode), there.st_mtime_ns) == (0o640, OLD[1])
        assert (root / "file").read_bytes() == b"datamore"

    def test_one_that_is_only_read_keeps_them(self, folder, root):
        (root / "file").write_bytes(b"x")
        os.chmod(root / "file", 0o600)
        os.utime(root / "file", ns=OLD)
        fd = paths.open("file", paths.O_RDONLY | paths.O_NOFOLLOW, dir_fd=folder)
        paths.fchmod(fd, 0o777)
        paths.utime(fd, ns=(1, 1))
        paths.fsync(fd)
        paths.close(fd)
        there = os.stat(root / "file")
        assert (stat.S_IMODE(there.st_mode), there.st_mtime_ns) == (0o600, OLD[1])

    def test_a_rename_replaces_and_lets_go(self, folder, root):
        (root / "target").write_bytes(b"old")
        fd = put(folder, "part", b"new")
        paths.fsync(fd)
        paths.fchmod(fd, 0o604)
        paths.utime(fd, ns=OLD)
        paths.rename("part", "target", src_dir_fd=folder, dst_dir_fd=folder)
        os.write(fd, b"leads nowhere")
        paths.fsync(fd)
        there = os.stat(root / "target")
        assert (stat.S_IMODE(there.st_mode), there.st_mtime_ns) == (0o604, OLD[1])
        assert (root / "target").read_bytes() == b"new"
        assert [entry.name for entry in root.iterdir()] == ["target"]
        assert not os.get_inheritable(fd)
        os.chmod(root / "target", 0o600)
        paths.close(fd)
        assert stat.S_IMODE(os.stat(root / "target").st_mode) == 0o600  # nothing more is done to it

    def test_a_removed_one_leads_nowhere(self, folder, root):
        fd = put(folder, "file", b"x")
        paths.unlink("file", dir_fd=folder)
        paths.pwrite(fd, b"y", 0)
        assert list(root.iterdir()) == []
        paths.close(fd)

    def test_links_and_their_times(self, folder, root):
        (root / "file").write_bytes(b"x")
        paths.symlink("file", "link", dir_fd=folder)
        paths.symlink("none", "dangling", dir_fd=folder)
        assert paths.readlink("link", dir_fd=folder) == b"file"
        assert paths.access("link", paths.R_OK, dir_fd=folder)
        assert not paths.access("dangling", paths.F_OK, dir_fd=folder)
        assert paths.access("dangling", paths.F_OK, dir_fd=folder, follow_symlinks=False)
        assert not paths.access("none", paths.F_OK, dir_fd=folder, follow_symlinks=False)
        assert stat.S_ISREG(paths.stat("link", dir_fd=folder).st_mode)
        assert stat.S_ISLNK(paths.stat("link", dir_fd=folder, follow_symlinks=False).st_mode)
        before = os.stat(root / "file").st_mtime_ns
        paths.utime("link", ns=OLD, dir_fd=folder, follow_symlinks=False)
        assert os.stat(root / "file").st_mtime_ns == before
        paths.utime("link", ns=OLD, dir_fd=folder)
        assert os.stat(root / "file").st_mtime_ns == OLD[1]

    def test_offsets_leave_the_position_alone(self, root):
        (root / "file").write_bytes(b"0123456789")
        fd = os.open(root / "file", os.O_RDWR)
        os.lseek(fd, 3, os.SEEK_SET)
        buffer = bytearray(4)
        assert paths.pread(fd, 2, 7) == b"78"
        assert paths.preadv(fd, [memoryview(buffer)], 8) == 2
        assert bytes(buffer) == b"89\0\0"
        assert paths.pwrite(fd, b"ab", 0) == 2
        assert os.read(fd, 3) == b"345"
        os.close(fd)
        assert (root / "file").read_bytes() == b"ab23456789"

    def test_so_do_failures(self, root):
        (root / "file").write_bytes(b"0123456789")
        for flags, fail in (
            (os.O_WRONLY, lambda fd: paths.pread(fd, 2, 7)),
            (os.O_RDONLY, lambda fd: paths.pwrite(fd, b"x", 7)),
        ):
            fd = os.open(root / "file", flags)
            with refused(errno.EBADF):
                fail(fd)
            assert os.lseek(fd, 0, os.SEEK_CUR) == 0
            os.close(fd)

    def test_what_is_not_played_is_the_systems(self):
        assert paths.getpid is os.getpid
        assert not hasattr(paths, "no_such_call")


class TestLock:
    @pytest.fixture
    def two(self, root):
        (root / "file").write_bytes(b"0123456789")
        fds = [os.open(root / "file", os.O_RDWR) for _ in range(2)]
        yield fds
        for fd in fds:
            os.close(fd)

    def test_one_holder_until_it_is_closed(self, two, root):
        first = os.open(root / "file", os.O_RDWR)
        paths.lock(first)
        with pytest.raises(BlockingIOError):
            paths.lock(two[1])
        os.close(first)
        paths.lock(two[1])
        with pytest.raises(BlockingIOError):
            paths.lock(two[0])

    def test_on_windows_beyond_every_byte(self, two, monkeypatch):
        seen = []

        def locking(fd, mode, count):
            seen.append((os.lseek(fd, 0, os.SEEK_CUR), mode, count))
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PermissionError(errno.EACCES, "") from None

        monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
        monkeypatch.setattr(paths, "_WINDOWS", True)
        monkeypatch.setattr(paths, "_LOCK_AT", 1 << 40)
        os.lseek(two[1], 5, os.SEEK_SET)
        paths.lock(two[0])
        with pytest.raises(BlockingIOError):
            paths.lock(two[1])
        assert seen == [(1 << 40, 2, 1)] * 2
        assert [os.lseek(fd, 0, os.SEEK_CUR) for fd in two] == [0, 5]
