"""Many small files: taken by the dozen, each with a fate of its own."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pync.loop import Loop
from pync.proto import transfer_messages as messages
from pync.report import silent
from pync.transfer import small
from pync.transfer.delivery import Delivery, SendTerms, Waiting
from pync.transfer.filing import Filing
from pync.transfer.source import Walk
from tests.harness import Processes, pattern
from tests.transfer.rig import transfer, tree

HERE = "127.0.0.1"
NUMBER = 700  # more than are parsed, confirmed or synced at a time


pytestmark = pytest.mark.usefixtures("patient")  # after a new connection some would be `identical`


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Small files of all sizes in two directories, one larger one in between."""
    top = tmp_path / "from" / "many"
    for name in ("a", "b"):
        (top / name).mkdir(parents=True)
    for index in range(NUMBER):
        path = top / "ab"[index % 2] / f"f{index}"
        path.write_bytes(pattern(index * 37 % 3000, index))
        os.utime(path, ns=(10**18, 10**18 + index))
    (top / "a" / "large").write_bytes(pattern(100_000))
    os.chmod(top / "a" / "f2", 0o666)
    os.chmod(top / "a" / "f4", 0o400)
    os.chmod(top / "b" / "f1", 0)
    return top


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sync counts as slow: after the first few, files wait for theirs and are confirmed later."""
    monkeypatch.setattr(small, "SLOW_SYNC", -1.0)


WAYS: dict[str, Any] = {
    "plain": {},
    "secret": {"send_with": {"secret": "w"}, "recv_with": {"secret": "w"}},
    "no-fsync": {"recv_with": {"no_fsync": True}},
    "sha256": {"send_with": {"checksum": "sha256"}},
    "rate": {"recv_with": {"rate": 20e6}},
}


def _readable(path: Path) -> Path:
    os.chmod(path / "b" / "f1", 0o600)
    return path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("disk", ["fast", "slow"])
def test_all_arrive_and_each_is_told_at_both_ends(
    many: Path, out: Path, way: str, disk: str, request: pytest.FixtureRequest
) -> None:
    if disk == "slow":
        request.getfixturevalue("slow_disk")
    if os.geteuid():
        _readable(many)
    result = transfer([many], out, **WAYS[way])
    assert result.codes == (0, 0), result.errors()
    mode = (many / "b" / "f1").stat().st_mode
    assert stat.S_IMODE((out / "many" / "b" / "f1").stat().st_mode) == stat.S_IMODE(mode)
    assert tree(_readable(out / "many")) == tree(_readable(many))
    names = {f"many/{'ab'[index % 2]}/f{index}" for index in range(NUMBER)} | {"many/a/large"}
    assert result.files("send") == result.files("recv") == dict.fromkeys(names, "ok")


@pytest.mark.parametrize("disk", ["fast", "slow"])
def test_names_that_are_taken_are_met_one_by_one(
    many: Path, out: Path, disk: str, request: pytest.FixtureRequest
) -> None:
    if disk == "slow":
        request.getfixturevalue("slow_disk")
    there = out / "many" / "a"
    there.mkdir(parents=True)
    taken = {}
    for index in range(0, NUMBER, 14):
        name = f"f{index}"
        if index % 3 == 0:  # the same already
            (there / name).write_bytes((many / "a" / name).read_bytes())
            taken[f"many/a/{name}"] = "identical"
        elif index % 3 == 1:
            (there / name).write_bytes(b"mine")
            taken[f"many/a/{name}"] = "refused"
        else:  # somebody's own file under the name of the partial one
            (there / f"{name}.part").write_bytes(b"mine, too")
    result = transfer([many], out)
    assert result.codes == (5, 5)
    assert result.files("send") == result.files("recv")
    told = {name: status for name, status in result.files("recv").items() if status != "ok"}
    assert told == taken
    for name, status in taken.items():
        if status == "refused":
            assert (out / name).read_bytes() == b"mine"
            (out / name).unlink()
    for part in there.glob("*.part"):
        assert part.read_bytes() == b"mine, too"
        part.unlink()
    assert transfer([many], out).codes == (0, 0)
    assert {
        entry: values[3] for entry, values in tree(_readable(out / "many")).items() if len(values) == 4
    } == {entry: values[3] for entry, values in tree(_readable(many)).items() if len(values) == 4}


def test_same_name_twice_in_one_batch_is_refused_the_second_time(tmp_path: Path, out: Path) -> None:
    paths = []
    for index in range(3):
        path = tmp_path / f"from{index}" / "d" / "same"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"first" if index != 1 else b"other")
        paths.append(path.parent)
    result = transfer(list(paths), out)
    assert result.codes == (5, 5)
    statuses = [event.facts["status"] for event in result.recv_events if event.kind == "file"]
    assert statuses == ["ok", "refused", "identical"]
    assert (out / "d" / "same").read_bytes() == b"first"


def test_progress_counts_their_bytes(many: Path, out: Path) -> None:
    result = transfer([many], out, send_with={"progress": True}, recv_with={"progress": True})
    size = sum(path.stat().st_size for path in many.rglob("f*"))
    size += (many / "a" / "large").stat().st_size
    last = [
        [e.facts for e in events if e.kind == "progress"][-1]
        for events in (result.send_events, result.recv_events)
    ]
    assert (last[0]["sent"], last[1]["received"]) == (size, size)


def test_without_v_only_what_went_wrong_is_said(processes: Processes, many: Path, out: Path) -> None:
    (out / "many" / "a").mkdir(parents=True)
    (out / "many" / "a" / "f0").write_bytes(b"mine")
    receiver = processes.listen("-o", f"{out}/", f"{HERE}:0", command="recv", stdin=subprocess.DEVNULL)
    sender = processes.pync("send", f"{HERE}:{receiver.port}", str(many), stdin=subprocess.DEVNULL)
    for process in (sender, receiver):
        done = process.wait()
        assert done.code == 5
        assert "many/a/f0" in done.err
        assert "f2" not in done.err
        assert f"1 of {NUMBER + 1} files failed" in done.err


def test_directories_that_come_again_after_a_cut_do_not_move_the_mark(tmp_path: Path) -> None:
    with Loop() as loop:
        delivery = Delivery(loop, SendTerms(), silent, Walk([str(tmp_path)]))
        delivery.passed(Waiting(6, 5, b"d/f", messages.FILE, 1, b"digest"), 4)
        delivery.passed(Waiting(0, 0, b"d", messages.DIRECTORY, 0, b""), 0)
        assert (delivery.settled, delivery.settled_path) == (6, b"d/f")
        delivery.passed(Waiting(7, 6, b"d/g", messages.FILE, 1, b"digest"), 1)
        assert (delivery.settled, delivery.settled_path, delivery.confirmed) == (7, b"d/g", 5)


def test_none_that_is_new_goes_the_long_way(many: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(*_: Any) -> None:
        raise AssertionError("taken alone")

    monkeypatch.setattr(Filing, "small", small)
    assert transfer([many], out).codes == (0, 0)
    assert tree(_readable(out / "many")) == tree(_readable(many))
