"""What the file system refuses: each refusal is one entry's fate, leaves nothing behind, and says why."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xxhash import xxh3_128_digest

from pync.errors import LocalError
from pync.portable import paths
from pync.proto import transfer_messages as messages
from pync.proto.transfer_inline import InlineFile
from pync.transfer import root as rooted
from pync.transfer.part import ATTEMPTS, MARK, Part, open_part
from pync.transfer.root import DEPTH_MAX, KNOWN_MAX, UNFINISHED, Refused, Root, free_name, look, part_name
from pync.transfer.small import SmallFiles
from tests.transfer.rig import transfer

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
TOO_LATE = 1 << 80  # nanoseconds no system can hold


@pytest.fixture
def root(out: Path) -> Iterator[Root]:
    with Root(str(out)) as one:
        yield one


def _refuse(monkeypatch: pytest.MonkeyPatch, name: str, when: Callable[..., bool] = lambda *a: True) -> None:
    """os.`name` fails for a full disk when `when` says so of its arguments."""
    real: Callable[..., Any] = getattr(os, name)

    def call(*args: Any, **more: Any) -> Any:
        if when(*args):
            raise NO_SPACE
        return real(*args, **more)

    monkeypatch.setattr(os, name, call)


def _names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


# --- the directory -----------------------------------------------------------------------------------


def test_a_root_that_is_no_directory_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalError, match="file: not a directory"):
        Root(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"/top", "absolute or leaves"),
        (b"/top/f", "absolute or leaves"),
        (b"", "its path is empty"),
        (b".", "absolute or leaves"),
        (b"..", "absolute or leaves"),
        (b"n" * 256, "name is too long"),
        (b"a\0b", "contains a NUL"),
        (b"d/" * DEPTH_MAX + b"d/f", "too deep"),
    ],
)
def test_a_path_that_cannot_be(root: Root, out: Path, path: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        root.locate(path)
    assert _names(out) == []


def test_a_path_whose_directories_are_open_is_held_to_its_length_too(root: Root) -> None:
    path = b""
    while len(path) < messages.PATH_MAX - 100:
        path = path + b"/" + b"d" * 99 if path else b"d" * 99
        root.make_directory(path)
    root.locate(path + b"/" + b"f" * (messages.PATH_MAX - len(path) - 1))
    with pytest.raises(Refused, match="too long"):
        root.locate(path + b"/" + b"f" * (messages.PATH_MAX - len(path)))


def test_directories_nested_as_deep_as_may_be_and_one_more(root: Root) -> None:
    path = b"d"
    for _ in range(DEPTH_MAX):
        root.make_directory(path)
        path += b"/d"
    with pytest.raises(Refused, match="too deep"):
        root.make_directory(path)


def test_names_in_a_new_directory_are_known_until_they_are_too_many(root: Root) -> None:
    root.make_directory(b"d")
    assert [root.locate(b"d/f")[2] for _ in range(2)] == [True, False], "the second time it is taken"
    free = [root.locate(b"d/%d" % index)[2] for index in range(KNOWN_MAX + 5)]
    assert free == [True] * KNOWN_MAX + [False] * 5


def test_a_directory_in_one_that_is_not_there(root: Root, out: Path) -> None:
    with pytest.raises(Refused, match="no such file") as caught:
        root.make_directory(b"none/d")
    assert caught.value.status == messages.FAILED
    assert _names(out) == []


def test_a_directory_that_cannot_be_made(root: Root, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, "mkdir")
    with pytest.raises(Refused, match="no space"):
        root.make_directory(b"d")
    assert _names(out) == []


def test_a_directory_whose_mode_cannot_be_set_is_told_and_left(
    root: Root, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.make_directory(b"d")
    with monkeypatch.context() as patch:
        _refuse(patch, "fchmod")
        with pytest.raises(Refused, match="no space"):
            root.leave(b"d", 0o755, 0, overwrite=False, fsync=False)
    assert root.locate(b"after")[0] == root.fd, "the next one is beside it, not in it"
    root.make_directory(b"d")
    root.leave(b"d", 0o750, TOO_LATE, overwrite=False, fsync=True)
    assert stat.S_IMODE((out / "d").stat().st_mode) == 0o750


def test_leaving_an_impossible_path_is_refused_and_the_top_is_nothing(root: Root) -> None:
    root.leave(b"", 0o700, 0, overwrite=False, fsync=False)
    with pytest.raises(Refused):
        root.leave(b"../d", 0o700, 0, overwrite=False, fsync=False)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("before", [0o700, 0o500])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_directory_that_was_there_keeps_its_mode_and_time_unless_it_may_be_overwritten(
    root: Root, out: Path, before: int, overwrite: bool
) -> None:
    own = out / "own"
    own.mkdir()
    own.chmod(before)
    os.utime(own, ns=(1, 10**18))
    root.make_directory(b"own")
    root.leave(b"own", 0o777, 5, overwrite=overwrite, fsync=False)
    assert (_mode(own), own.stat().st_mtime_ns) == ((0o777, 5) if overwrite else (before, 10**18))


def test_a_directory_that_had_to_be_opened_up_is_as_before_when_the_connection_breaks(out: Path) -> None:
    (out / "own").mkdir()
    (out / "own").chmod(0o500)
    with Root(str(out)) as root:
        root.make_directory(b"own")
        assert _mode(out / "own") == 0o700
    assert _mode(out / "own") == 0o500


def test_a_directory_of_a_run_that_was_cut_is_finished_by_the_next(out: Path) -> None:
    with Root(str(out)) as cut:
        cut.make_directory(b"d")
    with Root(str(out)) as root:
        root.make_directory(b"d")
        root.leave(b"d", 0o1777, 5, overwrite=False, fsync=False)
    assert (_mode(out / "d"), (out / "d").stat().st_mtime_ns) == (0o1777, 5)


def test_a_delivered_directory_that_gets_a_missing_file_has_its_time_again(root: Root, out: Path) -> None:
    for missing in ("one", "two"):
        root.make_directory(b"d")
        (out / "d" / missing).touch()
        root.leave(b"d", 0o755, 5, overwrite=False, fsync=False)
        assert (out / "d").stat().st_mtime_ns == 5


def test_what_leaves_no_announced_directory_is_ignored(root: Root, out: Path) -> None:
    (out / "own").mkdir(0o700)
    (out / "own" / "sub").mkdir(0o700)
    for path in (b"own", b"own/sub", b"none", b""):
        root.locate(b"own/sub/f")  # opened on the way, not by a DIRECTORY
        root.leave(path, 0o777, 5, overwrite=True, fsync=False)
    assert (_mode(out / "own"), _mode(out / "own" / "sub")) == (0o700, 0o700)


def test_leaving_without_a_path_closes_the_innermost_directory(root: Root, out: Path) -> None:
    root.make_directory(b"a")
    root.make_directory(b"a/b")
    (out / "a" / "b" / "c").mkdir()
    root.locate(b"a/b/c/f")
    root.leave(b"", 0o751, 5, overwrite=False, fsync=False)
    assert (_mode(out / "a" / "b"), _mode(out / "a")) == (0o751, UNFINISHED)
    root.leave(b"", 0o750, 5, overwrite=False, fsync=False)
    assert _mode(out / "a") == 0o750


@pytest.mark.parametrize("allowed", [True, False])
def test_a_read_only_directory_of_an_earlier_run_is_opened_up_if_that_can_be(
    root: Root, out: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    (out / "d").mkdir()
    (out / "d").chmod(0o500)
    if not allowed:
        _refuse(monkeypatch, "fchmod")
    root.make_directory(b"d")
    assert stat.S_IMODE((out / "d").stat().st_mode) == (0o700 if allowed else 0o500)
    assert root.locate(b"d/f")[1:] == (b"f", False), "a directory that was there is asked"


def test_a_top_directory_that_cannot_be_synced_is_no_failure(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse(monkeypatch, "fsync", lambda fd: stat.S_ISDIR(os.fstat(fd).st_mode))
    (tmp_path / "f").write_bytes(b"x")
    assert transfer([tmp_path / "f"], out).codes == (0, 0)
    assert (out / "f").read_bytes() == b"x"


# --- links -------------------------------------------------------------------------------------------


def _link(target: bytes = b"new", mtime: int = 10**18) -> messages.Entry:
    return messages.Entry(messages.SYMLINK, b"l", mtime=mtime, target=target)


@pytest.mark.parametrize("target", [b"", b"a\0b"])
def test_a_link_to_nothing_is_refused(root: Root, out: Path, target: bytes) -> None:
    with pytest.raises(Refused, match="its target"):
        root.make_link(b"l", _link(target), "overwrite")
    assert _names(out) == []


@pytest.mark.parametrize(
    ("policy", "there"),
    [("skip", {"l": "old"}), ("rename", {"l": "old", "l-1": "new"}), ("overwrite", {"l": "new"})],
)
def test_a_link_whose_name_is_taken(root: Root, out: Path, policy: str, there: dict[str, str]) -> None:
    (out / "l").symlink_to("old")
    expected = messages.SKIPPED if policy == "skip" else messages.OK
    assert root.make_link(b"l", _link(), policy) == expected
    assert {one.name: os.readlink(one) for one in out.iterdir()} == there


def test_a_link_that_is_there_already_is_identical_and_a_file_of_its_name_stays(
    root: Root, out: Path
) -> None:
    (out / "l").symlink_to("new")
    assert root.make_link(b"l", _link(), "refuse") == messages.IDENTICAL
    (out / "l").unlink()
    (out / "l").write_bytes(b"mine")
    with pytest.raises(Refused, match="exists already"):
        root.make_link(b"l", _link(), "refuse")
    assert (out / "l").read_bytes() == b"mine"


def test_a_link_never_replaces_a_directory_and_leaves_nothing_beside_it(root: Root, out: Path) -> None:
    (out / "l").mkdir()
    with pytest.raises(Refused, match="directory"):
        root.make_link(b"l", _link(), "overwrite")
    assert _names(out) == ["l"]
    assert (out / "l").is_dir()


def test_a_link_with_an_impossible_time_is_made_without_it(root: Root, out: Path) -> None:
    assert root.make_link(b"l", _link(mtime=TOO_LATE), "refuse") == messages.OK
    assert os.readlink(out / "l") == "new"


# --- names -------------------------------------------------------------------------------------------


def test_what_cannot_be_looked_at_is_not_taken_for_free(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, "stat")
    with pytest.raises(Refused, match="no space") as caught:
        look(root.fd, b"f")
    assert caught.value.status == messages.FAILED


def test_when_all_other_names_are_taken_nothing_is_replaced(
    root: Root, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooted, "other_names", lambda name: iter([b"n" * 300, b"f-1"]))
    (out / "f-1").write_bytes(b"mine")
    with pytest.raises(Refused, match="all the other names"):
        free_name(root.fd, b"f")
    assert (out / "f-1").read_bytes() == b"mine"


def test_a_long_name_is_not_cut_inside_a_character() -> None:
    name = ("x" + "\u00e9" * 127).encode()
    assert len(name) == messages.NAME_MAX
    parts = {part_name(name[:-cut] + b"z" * cut) for cut in range(0, 6, 2)}
    assert len(parts) == 3, "names that differ at their ends have parts of their own"
    for part in parts:
        assert len(part) <= messages.NAME_MAX
        part.decode()


# --- partial files -----------------------------------------------------------------------------------


def test_partial_names_that_are_taken_are_passed_over_until_none_is_left(root: Root, out: Path) -> None:
    (out / "f.part").mkdir()
    (out / "f.1.part").symlink_to("elsewhere")
    (out / "victim").write_bytes(b"mine")
    os.link(out / "victim", out / "f.2.part")
    part = open_part(root, root.fd, b"f")
    part.close()
    assert part.part == b"f.3.part"
    for attempt in range(3, ATTEMPTS):
        (out / os.fsdecode(part_name(b"f", attempt))).unlink(missing_ok=True)
        (out / os.fsdecode(part_name(b"f", attempt))).mkdir()
    with pytest.raises(Refused, match="all names"):
        open_part(root, root.fd, b"f")
    assert (out / "victim").read_bytes() == b"mine"
    assert not (out / "elsewhere").exists()


def test_a_partial_file_that_cannot_be_made_is_told(root: Root, out: Path) -> None:
    gone = out / "gone"
    gone.mkdir()
    fd = os.open(gone, os.O_RDONLY)
    gone.rmdir()
    with pytest.raises(Refused, match="no such file"):
        open_part(root, fd, b"f")
    os.close(fd)


def test_a_partial_file_renamed_between_opening_and_locking_is_not_written(
    root: Root, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pync.transfer import part as parts

    def lock(fd: int) -> None:
        if (out / "f.part").exists():
            (out / "f.part").rename(out / "theirs")

    monkeypatch.setattr(parts, "lock", lock)
    part = open_part(root, root.fd, b"f")
    part.close()
    assert part.part == b"f.1.part"
    assert (out / "theirs").stat().st_size == 0


def test_a_file_system_without_locks_takes_files(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pync.transfer import part as parts

    def lock(_fd: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(parts, "lock", lock)
    (tmp_path / "f").write_bytes(b"x" * 100_000)
    assert transfer([tmp_path / "f"], out).codes == (0, 0)
    assert (out / "f").read_bytes() == b"x" * 100_000


def test_an_empty_partial_file_without_our_mark_is_ours(root: Root, out: Path) -> None:
    (out / "f.part").write_bytes(b"")
    part = open_part(root, root.fd, b"f")
    part.close()
    assert (part.part, part.ours) == (b"f.part", True)
    assert (out / "f.part").stat().st_mode & MARK


@pytest.mark.parametrize(
    ("call", "name"), [("finish", "ftruncate"), ("write", "pwrite"), ("settle", "rename")]
)
def test_a_full_disk_ends_a_partial_file_at_every_step(
    root: Root, out: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str
) -> None:
    part = open_part(root, root.fd, b"f")
    part.start_at(0)
    part.write(memoryview(b"begun"))
    _refuse(monkeypatch, name)
    more: dict[str, tuple[Any, ...]] = {
        "finish": (),
        "write": (memoryview(b"more"),),
        "settle": (_link(), "refuse", set()),
    }
    with pytest.raises(Refused, match="no space"):
        getattr(part, call)(*more[call])
    part.close()
    part.close()
    assert (out / "f.part").read_bytes() == b"begun", "it stays for a later resume"
    assert not (out / "f").exists()


def test_removing_a_partial_file_that_is_gone_is_nothing(root: Root, out: Path) -> None:
    part: Part = open_part(root, root.fd, b"f")
    part.remove()
    part.remove()
    part.close()
    assert _names(out) == []


# --- small files -------------------------------------------------------------------------------------


def _small(body: bytes = b"body", mtime: int = 10**18, mode: int = 0o644) -> InlineFile:
    return (b"f", mode, mtime, memoryview(body), xxh3_128_digest(body))


@pytest.mark.parametrize("name", ["open", "write", "fsync", "rename"])
def test_a_small_file_that_cannot_be_written_leaves_nothing(
    root: Root, out: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = SmallFiles(fsync=True)
    with monkeypatch.context() as patch:
        _refuse(patch, name)
        assert not files.write(root.fd, b"f", _small(), 0)
    assert _names(out) == []
    assert files.write(root.fd, b"f", _small(), 0)
    assert (out / "f").read_bytes() == b"body"


def test_a_small_file_written_in_pieces_and_with_an_impossible_time(
    root: Root, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    body = bytes(range(100))
    assert SmallFiles(fsync=False).write(root.fd, b"f", _small(body, TOO_LATE), 0)
    assert (out / "f").read_bytes() == body


@pytest.fixture
def pending(monkeypatch: pytest.MonkeyPatch) -> SmallFiles:
    """Small files on a slow disk: they wait for their sync."""
    from pync.transfer import small

    monkeypatch.setattr(small, "SLOW_SYNCS", 0)
    return SmallFiles(fsync=True)


@pytest.mark.parametrize("count", [1, 3])
def test_a_sync_that_fails_is_the_fate_of_that_file_alone(
    root: Root, out: Path, pending: SmallFiles, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    for index in range(count):
        assert pending.write(root.fd, b"%d" % index, _small(), index)
    bad = pending.pending[0].fd
    _refuse(monkeypatch, "fsync", lambda fd: fd == bad)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    fates = pending.settle(pending.sync_all())
    assert [refused and refused.why for _, refused in fates] == [
        "no space left on device",
        *[None] * (count - 1),
    ]
    assert _names(out) == [str(index) for index in range(1, count)]
    assert not pending.pending


def test_a_name_that_cannot_be_given_is_told_and_nothing_is_left(
    root: Root, out: Path, pending: SmallFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending.write(root.fd, b"f", _small(), 0)
    _refuse(monkeypatch, "rename")
    ((one, refused),) = pending.settle(pending.sync_all())
    assert refused is not None
    assert (one.name, refused.status, refused.why) == (b"f", messages.FAILED, "no space left on device")
    assert _names(out) == []


@pytest.mark.parametrize("gone", [False, True])
def test_what_waits_when_the_connection_ends_is_taken_away(
    root: Root, out: Path, pending: SmallFiles, gone: bool
) -> None:
    pending.write(root.fd, b"f", _small(), 0)
    assert _names(out) == ["f.part"]
    if gone:
        (out / "f.part").unlink()
    pending.drop()
    assert (_names(out), pending.pending) == ([], [])


def _entry(kind: int) -> messages.Entry:
    return messages.Entry(kind, b"f", 0o644, 0, 4)


@pytest.mark.parametrize("swap", ["file", "link", "nothing"])
def test_a_partial_file_that_somebody_replaced_is_not_taken_for_ours(
    root: Root, out: Path, swap: str
) -> None:
    part = open_part(root, root.fd, b"f")
    part.start_at(0)
    part.write(memoryview(b"ours"))
    alien = out / "f.part"
    alien.unlink()
    if swap == "file":
        alien.write_bytes(b"alien")
    elif swap == "link":
        alien.symlink_to("elsewhere")
    with pytest.raises(Refused, match="replaced"):
        part.settle(_entry(messages.FILE), "refuse", set())
    part.remove()
    part.close()
    assert [path.name for path in out.iterdir()] == ([] if swap == "nothing" else ["f.part"])


def test_a_partial_file_that_cannot_be_renamed_goes_where_renaming_lets_go_of_it_first(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("root", "part"):
        monkeypatch.setattr(f"pync.transfer.{module}.os", paths)
    with Root(str(out)) as root:
        part = open_part(root, root.fd, b"f")
        part.start_at(0)
        _refuse(monkeypatch, "replace")
        with pytest.raises(Refused, match="no space"):
            part.settle(_entry(messages.FILE), "refuse", set())
        part.remove()
        part.close()
    assert _names(out) == []


@pytest.mark.parametrize(("kind", "mode"), [(messages.STREAM, 0o600), (messages.FILE, 0o644)])
def test_a_stream_gets_what_the_umask_leaves(root: Root, out: Path, kind: int, mode: int) -> None:
    part = open_part(root, root.fd, b"f")
    part.start_at(0)
    part.write(memoryview(b"ours"))
    before = os.umask(0o077)
    try:
        part.settle(_entry(kind), "refuse", set())
    finally:
        os.umask(before)
    part.close()
    assert stat.S_IMODE((out / "f").stat().st_mode) == mode
