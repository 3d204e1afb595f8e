"""What is counted when something fails, the exit status that follows, and that both ends agree."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pync.errors import ExitCode
from pync.proto import transfer_messages as messages
from pync.transfer.events import Tally
from tests.transfer.rig import Fault, Result, transfer

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with two files, one of them deeper."""
    path = tmp_path / "top"
    (path / "sub").mkdir(parents=True)
    (path / "a").write_bytes(b"a")
    (path / "sub" / "b").write_bytes(b"b")
    return path


def _lock(monkeypatch: pytest.MonkeyPatch, *names: bytes) -> None:
    """These cannot be opened (permissions would not stop root)."""
    real = os.open

    def call(path: Any, *more: Any, **by_name: Any) -> int:
        if path in names:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *more, **by_name)

    monkeypatch.setattr(os, "open", call)


def _summaries(result: Result) -> list[tuple[int, int]]:
    """(delivered, failed) as the sender and the receiver say it."""
    events = [*result.send_events, *result.recv_events]
    return [(e.facts["files"], e.facts["failed"]) for e in events if e.kind == "summary"]


def test_an_unreadable_directory_counts_at_both_ends(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lock(monkeypatch, b"sub")
    result = transfer([top], out)
    assert result.codes == (5, 5)
    assert _summaries(result) == [(1, 1)] * 2
    assert "1 of 2 files failed; the first: top/sub: permission denied" in result.errors()
    assert "1 of 2 files failed; the first: a file: the sender could not read it" in result.errors()


def test_several_that_cannot_be_read_are_counted_one_by_one(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "c").write_bytes(b"c")
    _lock(monkeypatch, b"sub", b"c")
    result = transfer([top], out)
    assert result.codes == (5, 5)
    assert _summaries(result) == [(1, 2)] * 2
    assert "2 of 3 files failed; the first: 2 files: the sender could not read them" in result.errors()


def test_a_directory_in_the_way_of_nothing_else_is_one_failure_of_several(top: Path, out: Path) -> None:
    (top / "sub" / "b").unlink()
    (out / "top").mkdir()
    (out / "top" / "sub").write_bytes(b"in the way")
    result = transfer([top], out)
    assert result.codes == (5, 5)
    assert _summaries(result) == [(1, 1)] * 2


@pytest.mark.parametrize("way", ["file", "link", "output"])
def test_a_directory_that_cannot_be_made_is_told_once_and_fails_alone(top: Path, out: Path, way: str) -> None:
    why = "it exists already, as a file or a symbolic link"
    if way == "file":
        (out / "top").write_bytes(b"in the way")
    elif way == "link":
        (out / "elsewhere").mkdir()
        (out / "top").symlink_to("elsewhere")
    else:
        out, why = out / "name", "-o names one file; end it in / for a directory"
    result = transfer([top], out)
    assert result.codes == (2, 2)
    theirs = "name" if way == "output" else "top"  # what the user of that end calls it
    assert result.errors() == [f"top: {why}", f"{theirs}: {why}"]
    for events, name in ((result.send_events, "top"), (result.recv_events, theirs)):
        assert [e.facts["name"] for e in events if e.kind == "file"] == [name]


def test_the_rest_is_delivered_beside_a_directory_that_cannot_be_made(
    top: Path, tmp_path: Path, out: Path
) -> None:
    (out / "top").write_bytes(b"in the way")
    (tmp_path / "other").write_bytes(b"x")
    result = transfer([top, tmp_path / "other"], out)
    assert result.codes == (5, 5)
    assert _summaries(result) == [(1, 1)] * 2
    assert (out / "other").read_bytes() == b"x"


def test_wrong_bytes_below_a_directory_that_failed_are_still_wrong_bytes() -> None:
    tally = Tally()
    assert tally.note(is_file=False, status=messages.REFUSED, name=b"d", why="no")
    assert not tally.note(is_file=True, status=messages.REFUSED, name=b"d/e/f", why="no")
    assert tally.note(is_file=True, status=messages.REFUSED, name=b"de", why="no")
    assert (tally.files, tally.failed, tally.code) == (2, 2, ExitCode.PARTIAL)
    assert tally.note(is_file=True, status=messages.DAMAGED, name=b"d/g", why="no")
    assert tally.code == ExitCode.INTEGRITY


def test_what_the_sender_could_not_read_counts_once_however_often_it_says_so() -> None:
    tally = Tally()
    for count in (2, 2, 3):
        tally.unsent(count)
    assert (tally.files, tally.failed) == (3, 3)
    tally.unsent((1 << 64) - 1)
    messages.pack_counts(messages.Counts(0, tally.failed, 0, int(tally.code)))


def test_an_unreadable_file_is_counted_once_over_two_connections(
    top: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "z").write_bytes(os.urandom(900_000))
    _lock(monkeypatch, b"a")
    result = transfer([top], out, fault=Fault("cut", 500_000))
    assert result.connections == 2
    assert result.codes == (5, 5)
    assert [failed for _, failed in _summaries(result)] == [1, 1]
