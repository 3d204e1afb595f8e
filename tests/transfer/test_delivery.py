"""What arrives, and what both ends say of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.harness import pattern
from tests.transfer.rig import Result, transfer, tree

WAYS = [
    pytest.param({}, {}, id="plain"),
    pytest.param({"secret": "7-otter-violin"}, {"secret": "7 Otter Violin"}, id="secret"),
    pytest.param({"compress": "zstd"}, {}, id="zstd"),
    pytest.param({"checksum": "blake3", "compress": "none"}, {"no_fsync": True}, id="blake3"),
    pytest.param({"checksum": "sha256"}, {}, id="sha256"),
]


@pytest.mark.parametrize(("send_with", "recv_with"), WAYS)
@pytest.mark.parametrize("reverse", [False, True], ids=["recv-listens", "send-listens"])
def test_tree_arrives_with_modes_times_links_and_empty_entries(
    source: Path, out: Path, send_with: dict[str, Any], recv_with: dict[str, Any], reverse: bool
) -> None:
    result = transfer([source], out, send_with=send_with, recv_with=recv_with, reverse=reverse)
    assert result.codes == (0, 0), result.errors()
    assert tree(out / "tree") == tree(source)
    assert set(result.files().values()) == {"ok"}
    assert result.files("send") == result.files()


def test_a_directory_for_everybody_keeps_its_sticky_bit(source: Path, out: Path) -> None:
    (source / "empty").chmod(0o1777)
    assert transfer([source], out).codes == (0, 0)
    assert stat.S_IMODE((out / "tree" / "empty").stat().st_mode) == 0o1777


def test_same_command_again_finds_everything_identical(source: Path, out: Path) -> None:
    assert transfer([source], out).codes == (0, 0)
    before = tree(out)
    again = transfer([source], out)
    assert again.codes == (0, 0)
    assert set(again.files().values()) == {"identical"}
    assert tree(out) == before
    # the file that is large enough to be asked about does not travel twice
    assert again.bytes_up < 400_000


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 5_000_000])
@pytest.mark.parametrize("secret", [None, "a b c"], ids=["plain", "secret"])
def test_sizes_around_the_limits_of_each_way_to_travel(
    tmp_path: Path, out: Path, size: int, secret: str | None
) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(size))
    result = transfer([path], out, send_with={"secret": secret}, recv_with={"secret": secret})
    assert result.codes == (0, 0), result.errors()
    assert (out / "file").read_bytes() == path.read_bytes()
    assert list(out.iterdir()) == [out / "file"]


def test_a_refused_file_is_called_by_the_name_it_would_have_had_here(tmp_path: Path, out: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    (out / "mine").write_bytes(b"mine")
    result = transfer([tmp_path / "theirs"], out / "mine")
    assert result.codes == (2, 2)
    assert result.errors() == ["theirs: it exists already", "mine: it exists already"]
    assert (result.files("send"), result.files()) == ({"theirs": "refused"}, {"mine": "refused"})


@pytest.mark.parametrize("size", [10, 300_000, 3_000_000])
def test_existing_file_is_refused_alone_with_2_among_several_with_5(
    tmp_path: Path, out: Path, size: int
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(pattern(size))
    two.write_bytes(b"2")
    (out / "one").write_bytes(b"mine")
    alone = transfer([one], out)
    assert alone.codes == (2, 2)
    assert "one: it exists already" in alone.errors()
    both = transfer([one, two], out)
    assert both.codes == (5, 5)
    assert both.files() == {"one": "refused", "two": "ok"}
    assert (out / "one").read_bytes() == b"mine"
    assert sorted(p.name for p in out.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("size", [10, 300_000, 3_000_000])
@pytest.mark.parametrize("choice", ["overwrite", "rename", "skip"])
def test_choice_for_names_that_exist(tmp_path: Path, out: Path, size: int, choice: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(pattern(size))
    mine = pattern(size, 9)  # the same size: it has to be compared
    (out / "a.txt").write_bytes(mine)
    result = transfer([path], out, recv_with={choice: True})
    assert result.codes == (0, 0), result.errors()
    new, old = path.read_bytes(), mine
    expected = {
        "overwrite": {"a.txt": new},
        "rename": {"a.txt": old, "a-1.txt": new},
        "skip": {"a.txt": old},
    }[choice]
    assert {p.name: p.read_bytes() for p in out.iterdir()} == expected


def test_output_names_one_file(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(pattern(2_000_000))
    assert transfer([path], out / "b").codes == (0, 0)
    assert (out / "b").read_bytes() == path.read_bytes()
    several = transfer([path, path], out / "c")
    assert several.received == 2
    assert not (out / "c").exists()


def test_output_directory_is_made(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    assert transfer([path], f"{out}/new/er/").codes == (0, 0)
    assert (out / "new" / "er" / "a").read_bytes() == b"x"


def test_device_as_output_is_written_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(pattern(3_000_000))
    before = os.stat("/dev/null")
    assert transfer([path], "/dev/null").codes == (0, 0)
    assert os.stat("/dev/null").st_rdev == before.st_rdev


def test_max_size(tmp_path: Path, out: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(pattern(3_000_000))
    small.write_bytes(b"s")
    alone = transfer([large], out, recv_with={"max_size": 1_000_000})
    assert alone.codes == (2, 2)
    assert alone.bytes_up < 100_000  # it never travelled
    both = transfer([large, small], out, recv_with={"max_size": 1_000_000})
    assert both.codes == (5, 5)
    assert [p.name for p in out.iterdir()] == ["small"]


def test_exclude_and_follow(source: Path, out: Path) -> None:
    (source / "dangling").unlink()
    result = transfer([source], out, send_with={"exclude": ("*.txt", "tree/sub/deep"), "follow": True})
    assert result.codes == (0, 0), result.errors()
    names = set(tree(out / "tree"))
    assert "small.txt" not in names
    assert "sub/deep" not in names
    assert (out / "tree" / "link").read_bytes() == b"hello\n"
    assert not (out / "tree" / "link").is_symlink()


@pytest.mark.parametrize(
    ("glob", "gone"),
    [
        ("tree/sub/inline", {"sub/inline"}),
        ("sub/in*", {"sub/inline"}),
        ("*/deep/asked", {"sub/deep/asked"}),
        ("/small.txt", {"small.txt"}),
        ("/sub/deep", {"sub/deep", "sub/deep/asked"}),
        ("/inline", set()),
        ("ub/inline", set()),
        ("deep/", {"sub/deep", "sub/deep/asked"}),
    ],
)
def test_exclude_with_a_slash_means_the_end_of_the_path_or_the_top(
    source: Path, out: Path, glob: str, gone: set[str]
) -> None:
    before = set(tree(source))
    assert transfer([source], out, send_with={"exclude": (glob,)}).codes == (0, 0)
    assert before - set(tree(out / "tree")) == gone


def test_loop_of_links_is_told_not_followed_for_ever(source: Path, out: Path) -> None:
    (source / "dangling").unlink()
    (source / "sub" / "up").symlink_to("..")
    result = transfer([source], out, send_with={"follow": True})
    assert result.codes == (5, 5)


def test_fifo_inside_a_directory_is_passed_over_with_a_word(source: Path, out: Path) -> None:
    os.mkfifo(source / "pipe")
    result = transfer([source], out)
    assert result.codes == (0, 0)
    assert result.files("send")["tree/pipe"] == "skipped"
    assert not (out / "tree" / "pipe").exists()


def test_holes_stay_holes(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(200 << 20)
        file.seek(50 << 20)
        file.write(b"in the middle")
    result = transfer([path], out)
    assert result.codes == (0, 0)
    there = (out / "sparse").stat()
    assert there.st_size == 200 << 20
    assert there.st_blocks * 512 <= path.stat().st_blocks * 512 + 4096
    assert result.bytes_up < 1 << 20
    with (out / "sparse").open("rb") as file:
        file.seek(50 << 20)
        assert file.read(13) == b"in the middle"


def test_unreadable_names_among_others_give_5_at_both_ends(tmp_path: Path, out: Path) -> None:
    top = tmp_path / "d"
    top.mkdir()
    (top / "a").write_bytes(b"a")
    (top / "broken").symlink_to("nowhere")
    result = transfer([top], out, send_with={"follow": True})
    assert result.codes == (5, 5)
    assert (out / "d" / "a").read_bytes() == b"a"


def test_missing_path_fails_before_anybody_is_called(tmp_path: Path, out: Path) -> None:
    result = transfer([tmp_path / "missing"], out, reverse=True)
    assert result.sent == 2
    assert "no such file" in result.errors()[0]


def test_an_empty_path_is_told_as_one(out: Path) -> None:
    result = transfer([""], out, reverse=True)
    assert (result.sent, result.errors()[0]) == (2, "'': no such file")


def test_a_working_directory_that_was_removed_fails_before_anybody_is_called(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = transfer(["."], out, reverse=True)
    assert (result.sent, result.errors()[0]) == (2, ".: no such file")


@pytest.mark.parametrize("seconds", [1 << 34, -(1 << 34)])
def test_a_time_the_protocol_cannot_say_arrives_as_near_as_it_can(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    top = tmp_path / "d"
    top.mkdir()
    for name, size in (("small", 1), ("large", 2_000_000)):
        (top / name).write_bytes(pattern(size))
    real = os.fstat

    class Odd:  # few file systems can hold such a time
        def __init__(self, there: os.stat_result) -> None:
            self.there = there

        def __getattr__(self, name: str) -> Any:
            return seconds * 10**9 if name == "st_mtime_ns" else getattr(self.there, name)

    monkeypatch.setattr(os, "fstat", lambda fd: Odd(real(fd)))
    assert transfer([top], out).codes == (0, 0)


@pytest.mark.parametrize("own", [True, False])
def test_what_was_left_of_a_cut_transfer_goes_when_the_file_is_there(
    tmp_path: Path, out: Path, own: bool
) -> None:
    path = tmp_path / "f"
    path.write_bytes(pattern(2_000_000))
    (out / "f").write_bytes(path.read_bytes())
    (out / "f.part").write_bytes(b"left")
    if own:
        (out / "f.part").chmod(stat.S_ISVTX | 0o600)
    result = transfer([path], out)
    assert (result.codes, result.files()) == ((0, 0), {"f": "identical"})
    assert (out / "f.part").exists() is not own


def test_a_name_that_is_no_text_can_be_told_to_the_other_end(tmp_path: Path, out: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
    result = transfer([tmp_path / "a", tmp_path / "b"], os.fsdecode(os.fsencode(out) + b"/\xff"))
    assert result.codes == (2, 2)
    assert all("several files arrive for one name" in error for error in result.errors())


def test_zstd_sends_less_where_it_helps(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"the same line again\n" * 200_000)
    result = transfer([path], out, send_with={"compress": "zstd"})
    assert result.codes == (0, 0)
    assert result.bytes_up < 200_000
    assert (out / "text").read_bytes() == path.read_bytes()


def test_name_too_long_for_part_gets_a_shortened_one(tmp_path: Path, out: Path) -> None:
    path = tmp_path / ("n" * 253)
    path.write_bytes(pattern(2_000_000))
    assert transfer([path], out).codes == (0, 0)
    assert [p.name for p in out.iterdir()] == [path.name]


def test_a_file_called_like_a_partial_file_survives(tmp_path: Path, out: Path) -> None:
    top = tmp_path / "d"
    top.mkdir()
    (top / "x").write_bytes(pattern(2_000_000))
    (top / "x.part").write_bytes(pattern(2_000_000, 5))
    (top / "y").write_bytes(b"yy")
    (top / "y.part").write_bytes(b"y")
    for _ in range(2):
        assert transfer([top], out).codes == (0, 0)
        assert tree(out / "d") == tree(top)
    (top / "x").write_bytes(pattern(2_500_000, 7))
    (top / "y").write_bytes(b"zzz")
    assert transfer([top], out, recv_with={"overwrite": True}).codes == (0, 0)
    assert tree(out / "d") == tree(top)


def test_one_side_with_and_one_without_a_secret_never_exchange_payload(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "confidential"
    path.write_bytes(pattern(2_000_000))
    for mine, theirs in (("w", None), (None, "w")):
        result = transfer([path], out, send_with={"secret": mine}, recv_with={"secret": theirs})
        assert result.codes == (4, 4)
        assert result.bytes_up < 200
        assert "nothing was transferred" in " ".join(result.errors())
    assert list(out.iterdir()) == []


def test_wrong_secret_is_4_at_both_ends(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "confidential"
    path.write_bytes(b"x")
    result = transfer([path], out, send_with={"secret": "a"}, recv_with={"secret": "b", "tries": 1})
    assert result.codes == (4, 4)
    assert result.bytes_up < 200
    later = transfer([path], out, send_with={"secret": "a"}, recv_with={"secret": "b", "retry_for": 0.1})
    assert later.codes == (4, 4)  # three tries were allowed, nobody came back


def _digests(result: Result) -> set[str]:
    return {e.facts["digest"] for e in result.send_events + result.recv_events if e.kind == "file"}


def test_both_ends_tell_the_digest_that_sha256sum_would(tmp_path: Path, out: Path) -> None:
    from hashlib import sha256

    path = tmp_path / "f"
    path.write_bytes(pattern(3_000_000))
    result = transfer([path], out, send_with={"checksum": "sha256"})
    assert _digests(result) == {f"sha256:{sha256(path.read_bytes()).hexdigest()}"}


@pytest.mark.parametrize("side", ["send", "recv"])
@pytest.mark.parametrize("size", [40_000, 600_000])
def test_rate_is_kept_for_small_and_large_files(tmp_path: Path, out: Path, side: str, size: int) -> None:
    import time

    top = tmp_path / "d"
    top.mkdir()
    for number in range(600_000 // size):
        (top / f"f{number}").write_bytes(pattern(size, number))
    limited: dict[str, Any] = {"rate": 1_000_000.0}
    begin = time.monotonic()
    result = transfer([top], out, **{f"{side}_with": limited})
    assert result.codes == (0, 0), result.errors()
    # a fifth of a second may be saved up in advance
    assert time.monotonic() - begin > 0.3
