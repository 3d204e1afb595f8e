"""What is counted when something fails, the exit status that follows, and that both ends agree."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pync.errors import ExitCode
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.report import Event
from pync.transfer.events import Tally, WalkTally
from tests.harness import PATIENCE, pattern
from tests.transfer.rig import Fault, Result, transfer
from tests.transfer.test_sender_out_of_turn import BODY, TOKEN, Returning, meet

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


# --- connections -------------------------------------------------------------------------------------


def _closed(events: list[Event], kind: str = "closed") -> list[tuple[int, int, str]]:
    """(sent, received, reason) of each connection."""
    facts = [event.facts for event in events if event.kind == kind]
    return [(one["sent"], one["received"], one.get("reason", "")) for one in facts]


@pytest.mark.parametrize("options", [{}, {"secret": "a b"}, {"tls": True}], ids=["plain", "secret", "tls"])
@pytest.mark.parametrize("reverse", [False, True], ids=["recv-listens", "send-listens"])
def test_a_connection_that_is_over_says_how_much_went_over_it(
    top: Path, out: Path, options: dict[str, Any], reverse: bool
) -> None:
    (top / "c").write_bytes(pattern(1_100_000))
    caller = {**options, "tls_insecure": True} if "tls" in options else options
    theirs = (options, caller) if reverse else (caller, options)
    result = transfer([top], out, send_with=theirs[0], recv_with=theirs[1], reverse=reverse)
    assert result.codes == (0, 0)
    assert _closed(result.send_events) == [(1_100_002, 0, "")]
    assert _closed(result.recv_events) == [(0, 1_100_002, "")]


@pytest.mark.parametrize("reverse", [False, True], ids=["recv-listens", "send-listens"])
def test_what_went_over_all_connections_is_the_whole(top: Path, out: Path, reverse: bool) -> None:
    (top / "c").write_bytes(pattern(3_000_000))
    result = transfer([top], out, fault=Fault("cut", 1_500_000, not reverse), reverse=reverse)
    assert result.codes == (0, 0)
    for events in (result.send_events, result.recv_events):
        (cut, clean), ((sent, received, _),) = _closed(events), _closed(events, "summary")
        assert (cut[0] + clean[0], cut[1] + clean[1]) == (sent, received)
        assert cut[0] + cut[1] > 1_000_000
        assert (bool(cut[2]), clean[2]) == (True, "")


# --- entries that come once more after a cut ---------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True], ids=["recv-listens", "send-listens"])
@pytest.mark.parametrize("upwards", [False, True], ids=["words of recv", "words of send"])
def test_each_file_counts_once_wherever_the_connection_breaks(
    top: Path, out: Path, upwards: bool, reverse: bool
) -> None:
    (top / "c").write_bytes(pattern(1_100_000))
    (top / "d").write_bytes(pattern(90_000))
    (top / "link").symlink_to("a")
    places = [900, 800_000, 1_190_400] if upwards else [*range(30, 230, 20)]
    for number, place in enumerate(places):
        here = out / str(number)
        here.mkdir()
        fault = Fault("cut", place, upwards != reverse)  # to the rig, up is whatever the one who called says
        result = transfer([top], here, fault=fault, reverse=reverse)
        assert (result.codes, _summaries(result)) == ((0, 0), [(5, 0)] * 2), place
        assert [e.facts["bytes"] for e in result.recv_events if e.kind == "summary"] == [1_190_002], place


def _back(settled: int, receiver: bytes) -> Callable[[Returning], None]:
    """The sender is here again, and knows of so many entries that they are settled."""

    def script(sender: Returning) -> None:
        sender.greet()
        begin = messages.Begin(TOKEN, "xxh3", 1, 5, b"", receiver, settled)
        sender.say(proto.BEGIN, messages.pack_begin(begin))
        assert sender.hear().kind == proto.READY

    return script


def _fate(sender: Returning) -> messages.Done:
    frame = sender.hear()
    assert frame.kind == proto.DONE
    return messages.parse_done(frame.payload)


def _counted(events: list[Event]) -> tuple[int, int]:
    """(delivered, failed) in the last words of a receiver."""
    (facts,) = (event.facts for event in events if event.kind == "summary")
    return facts["files"], facts["failed"]


def test_a_refusal_the_sender_knows_of_is_counted_when_the_connection_breaks_in_the_middle_of_it(
    out: Path,
) -> None:
    tokens: list[bytes] = []

    def cut(sender: Returning) -> None:
        sender.greet()
        sender.say(proto.BEGIN, messages.pack_begin(messages.Begin(TOKEN, "xxh3", 1, 5)))
        tokens.append(sender.hear().payload)
        sender.file(b"..", flags=messages.EAGER)
        assert _fate(sender).status == messages.REFUSED

    def again(sender: Returning) -> None:
        _back(1, tokens[0])(sender)
        sender.small(b"other")
        sender.finish()

    code, events = meet(out, cut, again, retry_for=PATIENCE)
    assert (code, _counted(events)) == (5, (1, 1))


@pytest.mark.parametrize("first", ["in the way", "damaged"])
def test_a_file_counts_as_what_it_comes_to_in_the_end(out: Path, first: str) -> None:
    def cut(sender: Returning) -> None:
        sender.begin()
        if first == "in the way":
            (out / "f").write_bytes(b"mine")
            sender.small(b"f", BODY)
            assert _fate(sender).status == messages.REFUSED
            (out / "f").unlink()
        else:
            sender.small(b"f", BODY, digest=bytes(16))
            assert _fate(sender).status == messages.DAMAGED

    def again(sender: Returning) -> None:
        sender.begin()
        sender.small(b"f", BODY)
        sender.finish()

    code, events = meet(out, cut, again, retry_for=PATIENCE)
    assert (code, _counted(events)) == (0, (1, 0))
    assert (out / "f").read_bytes() == BODY


def test_a_failure_is_not_forgotten_with_a_sender_that_does_not_come_to_its_end_twice(out: Path) -> None:
    (out / "f").write_bytes(b"mine")

    def no_goodbye(sender: Returning) -> None:
        sender.begin()
        sender.small(b"f", BODY)
        sender.say(proto.FINISH, messages.pack_counts(messages.Counts(1, 0, 0)))
        while sender.hear().kind != proto.SUMMARY:
            pass

    def nothing(sender: Returning) -> None:
        sender.begin()
        sender.sock.shutdown(socket.SHUT_RDWR)

    code, events = meet(out, no_goodbye, nothing, retry_for=0.2)
    assert (code, events[-1].facts["message"]) == (2, "f: it exists already")
    assert _counted(events) == (0, 1), "there are last figures, although nobody said goodbye"


def test_a_tally_forgets_what_comes_again_and_nothing_else() -> None:
    tally = WalkTally()
    tally.note_new([1, 10])
    tally.note(is_file=False, status=messages.REFUSED, name=b"d", why="no")
    tally.note(is_file=True, status=messages.REFUSED, name=b"d/e", why="no")
    tally.note(is_file=True, status=messages.DAMAGED, size=5, name=b"f", why="wrong")
    tally.note(is_file=True, status=messages.IDENTICAL, size=100)
    whole = (tally.files, tally.delivered, tally.failed, tally.damaged, tally.size)
    assert whole == (5, 3, 2, 1, 111)
    kept = [tally.up_to(settled) for settled in range(7)]
    assert [one.files for one in kept] == [0, 2, 3, 3, 4, 5, 5]
    assert [one.failed for one in kept] == [0, 1, 1, 1, 2, 2, 2]
    assert [one.damaged for one in kept] == [0, 0, 0, 0, 1, 1, 1]
    assert [one.size for one in kept] == [0, 1, 11, 11, 11, 111, 111]
    assert (tally.files, tally.delivered, tally.failed, tally.damaged, tally.size) == whole
    again = kept[4]
    again.note(is_file=True, status=messages.OK, size=100)
    assert (again.files, again.size, again.up_to(4).files) == (5, 111, 4)
