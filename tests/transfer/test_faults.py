"""The fault matrix: whatever happens to the bytes, no 0 without the files, and the next run mends it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.harness import pattern
from tests.transfer.rig import CLEAN, Fault, Result, transfer, tree

SECRET = {"secret": "7-otter-violin"}
WAYS = {"plain": {}, "secret": SECRET, "zstd": {"compress": "zstd"}}


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """One file of each way to travel, small enough to be sent hundreds of times."""
    top = tmp_path / "from" / "few"
    top.mkdir(parents=True)
    (top / "a").write_bytes(pattern(3_000))
    (top / "b").write_bytes(pattern(70_000, 2))
    (top / "c").write_bytes(pattern(1_100_000, 3))
    (top / "d").symlink_to("a")
    return top


def _run(few: Path, out: Path, way: str, fault: Fault = CLEAN, **both: Any) -> Result:
    send_with = {**WAYS[way], **both}
    # a connection that breaks before it said who it is was perhaps none of ours: the receiver goes on waiting
    recv_with = {"timeout": 3.0, **(SECRET if way == "secret" else {}), **both}
    return transfer([few], out, fault=fault, send_with=send_with, recv_with=recv_with)


def _check(few: Path, out: Path, result: Result, way: str) -> None:
    """A 0 means everything is there; and whatever this run left, the next one completes."""
    if 0 in result.codes:
        assert tree(out / "few") == tree(few), result.codes
    again = _run(few, out, way)
    assert again.codes == (0, 0), again.errors()
    assert tree(out / "few") == tree(few)
    assert not list(out.rglob("*.part"))


def _positions(total: int, number: int) -> list[int]:
    """Every byte at the start, where the words are dense, then evenly spread."""
    dense = list(range(1, 90, 9))
    spread = [90 + (total - 90) * i // number for i in range(number)]
    return dense + spread


@pytest.mark.parametrize("way", ["plain", "secret", "zstd"])
@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_connection_that_breaks_is_taken_up_again(few: Path, out: Path, way: str, kind: str) -> None:
    clean = _run(few, out, way)
    assert clean.codes == (0, 0)
    number = {"plain": 50, "secret": 15, "zstd": 10}[way] // (2 if kind == "reset" else 1)
    positions = [(at, True) for at in _positions(clean.bytes_up, number)]
    positions += [(at, False) for at in _positions(clean.bytes_down, 10)[::2]]
    for at, upwards in positions:
        shutil.rmtree(out)
        out.mkdir()
        result = _run(few, out, way, Fault(kind, at, upwards))
        assert result.sent == 0, (at, upwards, result.errors())
        assert result.received == 0, (at, upwards, result.errors())
        assert tree(out / "few") == tree(few), (at, upwards)
        assert not list(out.rglob("*.part"))


@pytest.mark.parametrize("way", ["plain", "secret"])
def test_cut_without_a_second_chance_is_1_and_the_next_run_goes_on(few: Path, out: Path, way: str) -> None:
    clean = _run(few, out, way)
    for at in _positions(clean.bytes_up, 20)[:: 3 if way == "secret" else 1]:
        shutil.rmtree(out)
        out.mkdir()
        result = _run(few, out, way, Fault("cut", at), retry_for=0.0, timeout=0.2)
        assert result.sent == 1, (at, result.errors())
        if result.received != 0:
            _check(few, out, result, way)


@pytest.mark.parametrize("way", ["plain", "secret"])
def test_flipped_bit_is_never_delivered(few: Path, out: Path, way: str) -> None:
    clean = _run(few, out, way)
    number = 10 if way == "secret" else 40
    positions = [(at, True) for at in _positions(clean.bytes_up - 1, number)]
    positions += [(at, False) for at in _positions(clean.bytes_down - 1, 10)[::2]]
    for turn, (at, upwards) in enumerate(positions):
        shutil.rmtree(out)
        out.mkdir()
        result = _run(few, out, way, Fault("flip", at, upwards, bit=turn % 8), retry_for=0.2, timeout=0.2)
        assert result.sent != 0 or tree(out / "few") == tree(few), (at, upwards)
        _check(few, out, result, way)


@pytest.mark.parametrize("way", ["plain", "secret"])
def test_peer_that_stalls_is_given_up_and_found_again(
    few: Path, out: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pync.transfer.wire import Limits

    monkeypatch.setattr(Limits, "stall", 0.15)
    monkeypatch.setattr(Limits, "keepalive", 0.05)
    monkeypatch.setattr(Limits, "greeting", 0.3)
    clean = _run(few, out, way)
    for at in (5, 40, 300, 5_000, 90_000, clean.bytes_up - 20):
        shutil.rmtree(out)
        out.mkdir()
        result = _run(few, out, way, Fault("stall", at), retry_for=4.0)
        if at > 100:
            assert result.codes == (0, 0), (at, result.errors())
        _check(few, out, result, way)


def test_slow_network_only_takes_longer(few: Path, out: Path) -> None:
    (few / "c").write_bytes(pattern(300_000))
    result = _run(few, out, "plain", Fault("throttle"))
    assert result.codes == (0, 0)
    assert tree(out / "few") == tree(few)


@pytest.mark.parametrize("way", ["plain", "secret"])
def test_cut_file_goes_on_where_it_was_cut(tmp_path: Path, out: Path, way: str) -> None:
    path = tmp_path / "few"
    path.write_bytes(pattern(8_000_000))
    first = _run(path, out, way, Fault("cut", 5_000_000), retry_for=0.0)
    assert first.sent == 1
    assert (out / "few.part").stat().st_size > 3_000_000
    second = _run(path, out, way)
    assert second.codes == (0, 0)
    assert second.bytes_up < 5_000_000
    assert (out / "few").read_bytes() == path.read_bytes()
    assert [p.name for p in out.iterdir()] == ["few"]


@pytest.mark.parametrize("reverse", [False, True], ids=["send calls", "recv calls"])
def test_a_cut_that_comes_later_than_the_patience_is_taken_up_too(
    tmp_path: Path, out: Path, reverse: bool
) -> None:
    path = tmp_path / "few"
    path.write_bytes(pattern(1_100_000))
    values = {"retry_for": 1.0}
    result = transfer(
        [path],
        out,
        fault=Fault("reset", 700_000, upwards=not reverse),  # up: what the one that calls says
        send_with={**values, "rate": 500_000},
        recv_with=values,
        reverse=reverse,
    )
    assert result.codes == (0, 0), result.errors()
    assert result.connections == 2
    assert result.bytes_up + result.bytes_down < 1_500_000
    assert (out / "few").read_bytes() == path.read_bytes()


def test_a_silence_that_is_longer_than_the_patience_is_followed_by_tries(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "few"
    path.write_bytes(pattern(1_100_000))
    stalls = Fault("stall", 60, upwards=False)  # the sender hears READY, and nothing after that
    result = _run(path, out, "plain", stalls, retry_for=0.8)
    assert result.codes == (0, 0), result.errors()
    assert (out / "few").read_bytes() == path.read_bytes()


def _half(path: Path, out: Path) -> Path:
    path.write_bytes(pattern(8_000_000))
    assert _run(path, out, "plain", Fault("cut", 5_000_000), retry_for=0.0).sent == 1
    return out / "few.part"


def test_changed_source_is_noticed_and_starts_over(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "few"
    _half(path, out)
    path.write_bytes(pattern(7_000_000, 4))
    second = _run(path, out, "plain")
    assert second.codes == (0, 0)
    assert any(e.kind == "waiting" and e.facts["reason"] == "restarted" for e in second.recv_events)
    assert (out / "few").read_bytes() == path.read_bytes()
    assert [p.name for p in out.iterdir()] == ["few"]


@pytest.mark.parametrize("damage", ["truncated", "changed", "longer", "emptied"])
def test_partial_file_that_a_power_cut_damaged(tmp_path: Path, out: Path, damage: str) -> None:
    path = tmp_path / "few"
    part = _half(path, out)
    data = part.read_bytes()
    with part.open("r+b") as file:
        if damage == "truncated":
            file.truncate(1_000_000)
        elif damage == "changed":
            file.write(b"\0" * 4096)
        elif damage == "longer":
            file.truncate(9_000_000)
        else:
            file.truncate(0)
            file.truncate(len(data))
    second = _run(path, out, "plain")
    assert second.codes == (0, 0)
    assert (out / "few").read_bytes() == path.read_bytes()
    assert [p.name for p in out.iterdir()] == ["few"]


def test_somebody_elses_part_file_is_left_alone(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "few"
    path.write_bytes(pattern(2_000_000))
    (out / "few.part").write_bytes(b"mine, and not the beginning of anything")
    assert _run(path, out, "plain").codes == (0, 0)
    assert (out / "few").read_bytes() == path.read_bytes()
    assert (out / "few.part").read_bytes() == b"mine, and not the beginning of anything"


def test_beginning_left_by_another_program_is_taken_over(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "few"
    path.write_bytes(pattern(4_000_000))
    (out / "few.part").write_bytes(path.read_bytes()[:3_000_000])
    second = _run(path, out, "plain")
    assert second.codes == (0, 0)
    assert second.bytes_up < 1_100_000
    assert [p.name for p in out.iterdir()] == ["few"]


def test_no_resume_starts_over(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "few"
    _half(path, out)
    second = transfer([path], out, send_with={"no_resume": True})
    assert second.codes == (0, 0)
    assert second.bytes_up > 8_000_000


def test_file_that_another_transfer_is_writing_is_refused(tmp_path: Path, out: Path) -> None:
    import fcntl

    path = tmp_path / "few"
    part = _half(path, out)
    with part.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = _run(path, out, "plain")
    assert second.codes == (2, 2)
    assert "another transfer is writing it right now" in second.errors()[0]
    assert _run(path, out, "plain").codes == (0, 0)
