"""Files that vanish, change or cannot be read between being found and being sent."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pync.cli.words import say
from pync.errors import LocalError
from pync.proto import transfer_messages as messages
from pync.transfer.source import Item, Walk
from tests.harness import pattern
from tests.transfer.rig import Result, transfer

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with a file that comes to harm, and one that does not."""
    path = tmp_path / "top"
    path.mkdir()
    (path / "harmed").write_bytes(b"some words")
    (path / "other").write_bytes(b"x")
    return path


def _fault(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _at_open(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], int]) -> set[int]:
    """`act` may replace the descriptor of the harmed file once it is open for sending; those it had."""
    real = os.open
    opened: set[int] = set()

    def call(path: Any, flags: int, *more: Any, **by_name: Any) -> int:
        fd = real(path, flags, *more, **by_name)
        opened.discard(fd)  # the number of one that was closed
        if path == b"harmed":
            fd = act(fd)
            opened.add(fd)
        return fd

    monkeypatch.setattr(os, "open", call)
    return opened


def _failing(monkeypatch: pytest.MonkeyPatch, name: str, fds: set[int]) -> None:
    real: Callable[..., Any] = getattr(os, name)

    def call(fd: Any, *more: Any, **by_name: Any) -> Any:
        if fd in fds:
            raise _fault(errno.EIO)
        return real(fd, *more, **by_name)

    monkeypatch.setattr(os, name, call)


def _told(result: Result, why: str, out: Path) -> None:
    """The harmed one alone is failed, at both ends, and the other one is there."""
    assert result.codes == (5, 5), result.errors()
    (failed,) = (e.facts for e in result.send_events if e.kind == "file" and e.facts["status"] == "failed")
    assert (failed["name"], failed["reason"]) == ("top/harmed", why)
    assert (out / "top" / "other").read_bytes() == b"x"
    assert not (out / "top" / "harmed").exists()


# --- between being found and being sent --------------------------------------------------------------


def test_a_file_that_is_gone_when_its_turn_comes(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(fd: int) -> int:
        os.close(fd)
        raise _fault(errno.ENOENT)

    _at_open(monkeypatch, act)
    _told(transfer([top], out), "no such file", out)


def test_a_file_that_is_a_directory_when_its_turn_comes(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def act(fd: int) -> int:
        os.close(fd)
        return real(top, os.O_RDONLY)

    _at_open(monkeypatch, act)
    _told(transfer([top], out), "it is no longer a file", out)


@pytest.mark.parametrize("rate", [None, 10_000_000.0])
def test_a_small_file_that_cannot_be_read(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch, rate: float | None
) -> None:
    _failing(monkeypatch, "read", _at_open(monkeypatch, lambda fd: fd))
    _told(transfer([top], out, send_with={"rate": rate}), "input/output error", out)


def test_a_small_file_that_grows_while_it_is_read(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _at_open(monkeypatch, lambda fd: fd)
    real = os.read

    def read(fd: int, count: int) -> bytes:
        if fd in opened:
            with open(top / "harmed", "ab") as file:
                file.write(b" and more")
        return real(fd, count)

    monkeypatch.setattr(os, "read", read)
    _told(transfer([top], out), "it changed while it was read", out)


@pytest.mark.parametrize(("size", "name"), [(10, "fstat"), (200_000, "lseek")])
def test_a_file_system_that_breaks_down_ends_the_run_with_2(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch, size: int, name: str
) -> None:
    (top / "harmed").write_bytes(pattern(size))
    _failing(monkeypatch, name, _at_open(monkeypatch, lambda fd: fd))
    result = transfer([top], out, recv_with={"retry_for": 0.0})
    assert result.sent == 2
    assert "top/harmed: input/output error" in result.errors()
    assert not (out / "top" / "harmed").exists()


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_a_file_that_shrinks_on_the_way_does_not_arrive(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch, compress: str
) -> None:
    (top / "harmed").write_bytes(pattern(900_000))
    opened = _at_open(monkeypatch, lambda fd: fd)
    real = os.lseek

    def lseek(fd: int, *more: int) -> int:
        if fd in opened:
            os.truncate(top / "harmed", 100_000)
        return real(fd, *more)

    monkeypatch.setattr(os, "lseek", lseek)
    result = transfer([top], out, send_with={"compress": compress})
    assert result.codes == (5, 5), result.errors()
    assert result.files()["top/harmed"] == "failed"
    assert not (out / "top" / "harmed").exists()
    assert (out / "top" / "other").read_bytes() == b"x"


# --- the walk ----------------------------------------------------------------------------------------


def _problems(walk: Walk) -> dict[bytes, str]:
    return {item.path: item.problem for item in walk if item.problem}


def test_paths_that_vanish_after_they_were_checked_are_told_and_the_others_sent(
    top: Path, tmp_path: Path
) -> None:
    walk = Walk([str(top / "harmed"), str(top / "other")])
    (top / "harmed").unlink()
    assert _problems(walk) == {b"harmed": "no such file"}
    assert [item.path for item in walk] == [b"harmed", b"other"]
    assert walk.total() == messages.UNKNOWN_SIZE


def test_stdin_can_be_named_once_and_a_socket_not_at_all(tmp_path: Path) -> None:
    import socket

    with pytest.raises(LocalError, match="only once"):
        Walk(["-", "-"])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        with pytest.raises(LocalError, match="is a socket"):
            Walk([str(tmp_path / "s")])


def test_a_link_is_followed_to_its_directory_with_a_slash_or_when_asked(top: Path, tmp_path: Path) -> None:
    (tmp_path / "l").symlink_to("top")
    kinds = [item.kind for item in Walk([f"{tmp_path}/l"])]
    assert kinds == [messages.SYMLINK]
    followed = [
        sorted(item.path for item in walk)
        for walk in (Walk([f"{tmp_path}/l/"]), Walk([f"{tmp_path}/l"], follow=True))
    ]
    assert followed == [[b"l", b"l", b"l/harmed", b"l/other"]] * 2


def test_the_size_of_files_is_known_and_that_of_directories_measured(top: Path) -> None:
    (top / "link").symlink_to("other")
    assert Walk([str(top / "harmed"), str(top / "other")]).total() == 11
    assert Walk([str(top)]).total() == messages.UNKNOWN_SIZE
    assert Walk([str(top)]).measure() == (2, 11)


def test_the_current_directory_has_its_real_name(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    assert sorted(item.path for item in Walk(["."])) == [b"top", b"top", b"top/harmed", b"top/other"]
    assert Walk([".."]).first_name == os.fsencode(top.parent.name)
    assert [item.path for item in Walk(["other"])] == [b"other"]
    assert Walk(["/"]).first_name == b""


def test_a_link_that_points_at_nothing_is_told_when_links_are_followed(top: Path) -> None:
    (top / "link").symlink_to("nowhere")
    assert _problems(Walk([str(top)], follow=True)) == {b"top/link": "the link points at nothing"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("open", {b"top": "input/output error"}),
        ("scandir", {b"top": "input/output error"}),
        ("readlink", {b"top/link": "input/output error"}),
    ],
)
def test_a_directory_or_link_that_cannot_be_read_is_told(
    top: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: dict[bytes, str]
) -> None:
    (top / "link").symlink_to("other")
    walk = Walk([str(top)])
    real: Callable[..., Any] = getattr(os, name)

    def call(*words: Any, **by_name: Any) -> Any:
        if name != "open" or words[0] == b"top":
            raise _fault(errno.EIO)
        return real(*words, **by_name)

    monkeypatch.setattr(os, name, call)
    assert _problems(walk) == problem


def test_a_path_whose_directory_cannot_be_opened_is_told(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Walk([str(top / "other")])

    def call(*_words: Any, **_by_name: Any) -> int:
        raise _fault(errno.EACCES)

    monkeypatch.setattr(os, "open", call)
    assert list(walk) == [Item(messages.FILE, b"other", problem="permission denied")]


def test_directories_are_followed_as_deep_as_may_be(tmp_path: Path) -> None:
    from pync.transfer.root import DEPTH_MAX

    path = tmp_path / "d"
    for _ in range(DEPTH_MAX + 1):
        path.mkdir()
        path = path / "d"
    (problem,) = _problems(Walk([str(tmp_path / "d")])).items()
    assert problem == (b"/".join([b"d"] * (DEPTH_MAX + 1)), "it is nested too deeply")


def test_a_path_too_long_for_the_protocol_fails_alone(top: Path, out: Path) -> None:
    fd = os.open(top, os.O_RDONLY)
    for _ in range(messages.PATH_MAX // 200 + 1):  # whole paths are too long for the system, too
        os.mkdir("d" * 200, dir_fd=fd)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(fd)
        fd = below
    os.close(fd)
    result = transfer([top], out)
    assert result.codes == (5, 5), result.errors()
    failed = [event.facts for event in result.send_events if event.facts.get("status") == "failed"]
    assert [facts["reason"] for facts in failed] == ["its path has more than 4096 bytes"]
    (told,) = say("send", "file", failed[0])
    assert told.startswith("pync: top/ddd")
    assert told.endswith("ddd: its path has more than 4096 bytes")
    assert len(told) < 1100
    assert (out / "top" / "other").read_bytes() == b"x"
    assert len(result.files()) == messages.PATH_MAX // 200 + 2


def test_a_target_too_long_for_the_protocol_fails_alone(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "harmed").unlink()
    (top / "harmed").symlink_to("other")
    monkeypatch.setattr(os, "readlink", lambda *_where, **_more: b"t" * (messages.PATH_MAX + 1))
    _told(transfer([top], out), "its target has more than 4096 bytes", out)


# --- what a name stands for --------------------------------------------------------------------------


def test_a_link_to_a_fifo_or_device_that_is_named_stands_for_it_and_others_stay_links(
    top: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    targets = {"fifo": "fifo", "device": "/dev/null", "file": "top/other", "directory": "top", "nothing": "x"}
    for name, target in targets.items():
        (tmp_path / f"to-{name}").symlink_to(target)
    kinds = [item.kind for item in Walk([f"{tmp_path}/to-{name}" for name in targets])]
    assert kinds == [messages.STREAM] * 2 + [messages.SYMLINK] * 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_a_link_of_the_system_stands_for_what_is_open(top: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    file = os.open(top / "other", os.O_RDONLY)
    with open(reader, "rb"), open(writer, "wb"), open(file, "rb"):
        names = [f"/dev/fd/{reader}", f"/proc/self/fd/{file}"]
        assert [(item.kind, item.path) for item in Walk(names)] == [
            (messages.STREAM, b"%d" % reader),
            (messages.FILE, b"%d" % file),
        ]


@pytest.mark.parametrize(
    ("glob", "gone"),
    [
        ("*.log", {"c.log", "sub/c.log", "sub/deep/c.log"}),
        ("/*.log", {"c.log"}),
        ("sub/*.log", {"sub/c.log"}),
        ("sub/?eep/c.log", {"sub/deep/c.log"}),
        ("sub?c.log", set()),
        ("sub/**/c.log", {"sub/c.log", "sub/deep/c.log"}),
        ("sub/**", {"sub/c.log", "sub/deep", "sub/deep/c.log", "sub/deep/b.txt"}),
        ("/**/b.txt", {"b.txt", "sub/deep/b.txt"}),
        ("b.txt/", set()),
        ("deep/", {"sub/deep", "sub/deep/c.log", "sub/deep/b.txt"}),
        ("/deep/", set()),
        ("/sub/deep/", {"sub/deep", "sub/deep/c.log", "sub/deep/b.txt"}),
        ("/", set()),
    ],
)
def test_what_is_left_out(tmp_path: Path, glob: str, gone: set[str]) -> None:
    (tmp_path / "t" / "sub" / "deep").mkdir(parents=True)
    for name in ("c.log", "b.txt", "sub/c.log", "sub/deep/c.log", "sub/deep/b.txt"):
        (tmp_path / "t" / name).write_bytes(b"x")

    def names(*exclude: str) -> set[str]:
        items = Walk([f"{tmp_path}/t"], exclude=exclude)
        return {os.fsdecode(item.path).removeprefix("t/") for item in items}

    assert names() - names(glob) == gone


def test_a_followed_link_to_a_fifo_or_device_is_passed_over_with_a_word(top: Path) -> None:
    os.mkfifo(top / "fifo")
    (top / "to-fifo").symlink_to("fifo")
    (top / "to-device").symlink_to("/dev/null")
    words = {item.path: item.passed_over for item in Walk([str(top)], follow=True) if item.passed_over}
    assert words == {b"top/fifo": "a fifo", b"top/to-fifo": "a fifo", b"top/to-device": "a device"}
    assert _problems(Walk([str(top)], follow=True)) == {}


# --- files whose size says nothing -------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no /proc here")
@pytest.mark.parametrize("rate", [None, 10_000_000.0])
@pytest.mark.parametrize("name", ["/proc/version", "/proc/sys/kernel/ostype", "/sys/class/net/lo/mtu"])
def test_what_the_kernel_says_arrives(out: Path, name: str, rate: float | None) -> None:
    if not Path(name).exists():
        pytest.skip(f"no {name} here")
    result = transfer([name], out, send_with={"rate": rate})
    assert result.codes == (0, 0), result.errors()
    assert (out / Path(name).name).read_bytes() == Path(name).read_bytes() != b""


@pytest.mark.skipif(not Path("/proc/kallsyms").exists(), reason="no /proc here")
def test_much_that_the_kernel_says_arrives(out: Path) -> None:
    said = Path("/proc/kallsyms").read_bytes()
    result = transfer(["/proc/kallsyms"], out)
    assert result.codes == (0, 0), result.errors()
    assert (out / "kallsyms").read_bytes() == said


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_file_that_gives_more_than_its_size_says_arrives_whole(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """As in procfs, where the size is always 0."""
    (top / "harmed").write_bytes(pattern(size))
    opened = _at_open(monkeypatch, lambda fd: fd)
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        there = real(fd)
        if fd not in opened:
            return there
        return os.stat_result((*there[:6], 0, *there[7:10]), {"st_mtime_ns": there.st_mtime_ns})

    monkeypatch.setattr(os, "fstat", fstat)
    result = transfer([top], out)
    assert result.codes == (0, 0), result.errors()
    assert (out / "top" / "harmed").read_bytes() == pattern(size)
