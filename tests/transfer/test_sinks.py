"""Large bodies on their way into a file, by each of the ways there are, and what may go wrong there."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pync.transfer import digests, sink
from pync.transfer.writer import Writer
from tests.harness import pattern
from tests.transfer.rig import Result, transfer

BEHIND = pytest.mark.parametrize("behind", [True, False], ids=["a second thread", "one thread"])
SPLICES = pytest.mark.skipif(not hasattr(os, "splice"), reason="no splice here")
SIZE = 5_500_000


pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's way is open whatever runs the tests."""
    monkeypatch.delenv("PYNC_MOVER", raising=False)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(pattern(SIZE))
    return path


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bodies go into their file by a second thread, whatever arrives at a time; the sizes of the pieces it
    was handed."""
    sizes: list[int] = []
    write = Writer.write

    def spy(self: Writer, view: memoryview) -> None:
        sizes.append(len(view))
        write(self, view)

    monkeypatch.setattr(sink, "can_splice", lambda: False)
    monkeypatch.setattr(sink, "CPUS", 1)
    monkeypatch.setattr(sink, "HANDED_OVER", 1)
    monkeypatch.setattr(Writer, "write", spy)
    return sizes


def _delivered(result: Result, large: Path, out: Path) -> None:
    assert result.codes == (0, 0), result.errors()
    assert [one.name for one in out.iterdir()] == ["large"]
    assert (out / "large").read_bytes() == large.read_bytes()


def _failed(result: Result, large: Path, out: Path, why: str) -> None:
    """Both ends say why, and what was written before stays, if anything was, to go on from."""
    assert result.codes == (2, 2), result.errors()
    for events in (result.send_events, result.recv_events):
        (told,) = (event.facts for event in events if event.kind == "file")
        assert (told["status"], told["reason"]) == ("failed", why)
    for one in out.iterdir():
        assert one.name == "large.part"
        kept = one.read_bytes()
        assert kept
        assert kept == large.read_bytes()[: len(kept)]


# --- by a second thread ------------------------------------------------------------------------------


def test_a_second_thread_writes_what_the_first_receives(large: Path, out: Path, threads: list[int]) -> None:
    _delivered(transfer([large], out), large, out)
    assert sum(threads) > SIZE // 2


def test_small_pieces_are_written_where_they_arrive(
    large: Path, out: Path, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "HANDED_OVER", SIZE + 1)
    _delivered(transfer([large], out), large, out)
    assert threads == []


def test_a_second_thread_writes_what_comes_inside_tls(large: Path, out: Path, threads: list[int]) -> None:
    with_tls = {"tls": True, "tls_insecure": True}
    _delivered(transfer([large], out, send_with=with_tls, recv_with={"tls": True}), large, out)
    assert sum(threads) > SIZE // 2


@pytest.mark.parametrize("full_at", [0, 3_000_000])
def test_a_disk_that_is_full_for_the_second_thread(
    large: Path, out: Path, threads: list[int], monkeypatch: pytest.MonkeyPatch, full_at: int
) -> None:
    pwrite = os.pwrite

    def write(fd: int, data: Any, offset: int) -> int:
        if offset >= full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        _failed(transfer([large], out), large, out, "no space left on device")
    assert (out / "large.part").exists() == bool(full_at)
    result = transfer([large], out)
    _delivered(result, large, out)
    assert threads


# --- inside the kernel -------------------------------------------------------------------------------


def _splice(
    monkeypatch: pytest.MonkeyPatch,
    *,
    take: Callable[[int], None] = lambda turn: None,
    give: Callable[[int], int | None] = lambda turn: None,
) -> None:
    """`take` and `give` are asked before each splice from the wire, and into the file: they raise what goes
    wrong with it, or give the most bytes it may move."""
    splice = os.splice
    turns = {True: 0, False: 0}

    def call(source: int, target: int, count: int, *more: Any) -> int:
        gives = stat.S_ISREG(os.fstat(target).st_mode)
        turns[gives] += 1
        if not gives:
            take(turns[gives])
        elif (most := give(turns[gives])) is not None:
            count = min(count, most)
        return splice(source, target, count, *more)

    monkeypatch.setattr(os, "splice", call)


def _raise(number: int) -> None:
    raise OSError(number, os.strerror(number))


@SPLICES
@BEHIND
@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("where", ["wire", "file"])
def test_a_kernel_that_refuses_is_done_without(
    large: Path, out: Path, monkeypatch: pytest.MonkeyPatch, behind: bool, at: int, where: str
) -> None:
    def refuse(turn: int) -> None:
        if turn >= at:
            _raise(errno.EINVAL)

    monkeypatch.setattr(sink, "CPUS", 1 if behind else 1 << 20)
    _splice(monkeypatch, **{"take" if where == "wire" else "give": refuse})
    _delivered(transfer([large], out), large, out)


@SPLICES
@BEHIND
@pytest.mark.parametrize("most", [1, 30_000])
def test_a_file_that_wants_to_be_asked_again_loses_nothing(
    large: Path, out: Path, monkeypatch: pytest.MonkeyPatch, behind: bool, most: int
) -> None:
    def give(turn: int) -> int | None:
        if turn % 3 == 1:
            _raise(errno.EAGAIN)
        return most if turn % 3 == 2 else None

    monkeypatch.setattr(sink, "CPUS", 1 if behind else 1 << 20)
    _splice(monkeypatch, give=give)
    _delivered(transfer([large], out), large, out)


@SPLICES
def test_a_file_that_takes_the_rest_when_it_is_asked_again(
    large: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give(turn: int) -> None:
        if turn % 2:
            _raise(errno.EAGAIN)

    _splice(monkeypatch, give=give)
    _delivered(transfer([large], out), large, out)


@SPLICES
@BEHIND
@pytest.mark.parametrize("at", [1, 4])
def test_a_full_disk_inside_the_kernel(
    large: Path, out: Path, monkeypatch: pytest.MonkeyPatch, behind: bool, at: int
) -> None:
    def give(turn: int) -> None:
        if turn >= at:
            _raise(errno.ENOSPC)

    monkeypatch.setattr(sink, "CPUS", 1 if behind else 1 << 20)
    with monkeypatch.context() as patch:
        _splice(patch, give=give)
        _failed(transfer([large], out), large, out, "no space left on device")
    _delivered(transfer([large], out), large, out)


@SPLICES
def test_a_wire_that_cannot_be_read_by_the_kernel_is_the_files_fate(
    large: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(turn: int) -> None:
        if turn == 2:
            _raise(errno.EIO)

    _splice(monkeypatch, take=take)
    _failed(transfer([large], out), large, out, "input/output error")


@SPLICES
def test_a_connection_reset_under_the_kernel_is_taken_up_again(
    large: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(turn: int) -> None:
        if turn == 2:
            _raise(errno.ECONNRESET)

    _splice(monkeypatch, take=take)
    result = transfer([large], out, send_with={"retry_for": 25.0}, recv_with={"retry_for": 25.0})
    _delivered(result, large, out)
    assert result.connections == 2


@SPLICES
@BEHIND
def test_what_cannot_be_read_back_is_not_taken_for_written(
    large: Path, out: Path, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    update = digests.update_from

    def read(hasher: Any, fd: int, offset: int, count: int) -> int:
        writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        if writable and offset >= 1_000_000:
            _raise(errno.EIO)
        return update(hasher, fd, offset, count)

    monkeypatch.setattr(sink, "CPUS", 1 if behind else 1 << 20)
    monkeypatch.setattr(digests, "update_from", read)
    _failed(transfer([large], out), large, out, "input/output error")
