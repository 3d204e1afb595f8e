"""A sender that breaks off, comes back with something else, or says what does not fit."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.report import Event
from pync.transfer import digests
from tests.harness import PATIENCE
from tests.transfer.test_hostile import Sender, receive

EAGER = messages.EAGER
TOKEN = bytes(range(16))
BODY = b"0123456789" * 5
DIGEST = digests.one_shot("xxh3")(BODY)
TURN = "out of turn"
ELSEWHERE = "the output has the beginning of something else, which cannot be taken back"


pytestmark = pytest.mark.usefixtures("patient")


class Returning(Sender):
    """One that is known by its token when it comes again."""

    def begin(self) -> None:
        self.greet()
        self.say(proto.BEGIN, messages.pack_begin(messages.Begin(TOKEN, "xxh3", 1, 5)))
        assert self.hear().kind == proto.READY

    def body(self, data: bytes = BODY, status: int = messages.WHOLE, why: bytes = b"") -> None:
        self.say(proto.RUN, messages.pack_run(len(data)))
        self.raw(data)
        digest = digests.one_shot("xxh3")(data)
        self.say(proto.END, messages.pack_end(messages.End(status, len(data), digest, why)))

    def file(
        self, path: bytes = b"f", size: int = len(BODY), flags: int = 0, kind: int = messages.FILE
    ) -> None:
        self.entry(messages.Entry(kind, path, 0o644, size=size, flags=flags))

    def answer(self) -> messages.Answer:
        frame = self.hear()
        assert frame.kind == proto.ANSWER
        return messages.parse_answer(frame.payload)

    def match(self, number: int, *, equal: bool) -> None:
        self.say(proto.MATCH, messages.pack_match(messages.Match(number, equal)))

    def until_gone(self) -> None:
        while True:
            self.hear()


def meet(out: Path, *scripts: Callable[[Returning], None], **values: Any) -> tuple[int, list[Event]]:
    """recv against one script a connection."""

    def attack(first: Sender) -> None:
        address = first.sock.getpeername()
        first.sock.close()
        for script in scripts:
            sender = Returning(address[1])
            sender.sock.settimeout(PATIENCE)
            script(sender)
            if script is not scripts[-1]:
                sender.sock.shutdown(socket.SHUT_RDWR)

    return receive(out, attack, **values)


def _message(events: list[Event]) -> str:
    return str(events[-1].facts.get("message"))


def _names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


# --- out of turn -------------------------------------------------------------------------------------


def _counts(sender: Returning) -> None:
    sender.small(b"f")
    sender.entries = 7
    sender.finish()


def _no_bye(sender: Returning) -> None:
    sender.say(proto.FINISH, messages.pack_counts(messages.Counts(0, 0, 0)))
    assert sender.hear().kind == proto.SUMMARY
    sender.say(proto.FINISH, messages.pack_counts(messages.Counts(0, 0, 0)))
    sender.until_gone()


def _in_a_body(sender: Returning) -> None:
    sender.file(flags=EAGER)
    sender.say(proto.BYE)
    sender.until_gone()


def _in_a_refused_body(sender: Returning) -> None:
    sender.file(path=b"..", flags=EAGER)
    sender.say(proto.BYE)
    sender.until_gone()


def _stopped(sender: Returning) -> None:
    sender.file(flags=EAGER)
    sender.body(status=messages.STOPPED)
    sender.until_gone()


def _less(sender: Returning) -> None:
    sender.file(size=len(BODY) + 1, flags=EAGER)
    sender.body()
    sender.until_gone()


LIES: dict[str, tuple[Callable[[Returning], None], str]] = {
    "other counts": (_counts, "counted differently"),
    "no bye": (_no_bye, TURN),
    "in a body": (_in_a_body, TURN),
    "in a refused body": (_in_a_refused_body, TURN),
    "stopped": (_stopped, "stopped without being asked"),
    "less": (_less, "less than it announced"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_does_not_fit_ends_the_session_with_4(out: Path, lie: str) -> None:
    script, why = LIES[lie]

    def attack(sender: Returning) -> None:
        sender.begin()
        script(sender)

    code, events = meet(out, attack)
    assert code == 4
    assert why in _message(events)
    assert not (out / "f").exists() or lie == "other counts"
    assert not (out.parent / "f").exists()


@pytest.mark.parametrize("reply", ["another kind", "another number"])
@pytest.mark.parametrize("there", ["f", "f.part"])
def test_a_comparison_that_is_not_answered_is_4(out: Path, reply: str, there: str) -> None:
    (out / there).write_bytes(BODY)

    def attack(sender: Returning) -> None:
        sender.begin()
        sender.file()
        assert sender.answer().offset == len(BODY)
        assert sender.answer().digest == DIGEST
        if reply == "another kind":
            sender.say(proto.BYE)
        else:
            sender.match(5, equal=True)
        sender.until_gone()

    code, events = meet(out, attack)
    assert (code, TURN in _message(events)) == (4, True)
    assert _names(out) == [there]
    assert (out / there).read_bytes() == BODY


def test_a_body_nobody_wants_is_thrown_away_whatever_it_is_made_of(out: Path) -> None:
    from zstandard import ZstdCompressor

    packed = ZstdCompressor().compress(bytes(1000))

    def attack(sender: Returning) -> None:
        sender.begin()
        sender.file(b"large", size=1_000_000, flags=EAGER)
        sender.say(proto.RUN, messages.pack_run(5))
        sender.raw(b"bytes")
        sender.say(proto.HOLE, messages.pack_hole(998_995))
        sender.say(proto.PACKED, messages.pack_packed(1000, len(packed)))
        sender.raw(packed)
        sender.say(proto.END, messages.pack_end(messages.End(messages.WHOLE, 1_000_000, bytes(16))))
        sender.small(b"other")
        fates = sender.finish()
        assert {number: done.status for number, done in fates.items()} == {0: messages.REFUSED}

    code, events = meet(out, attack, max_size=1000)
    assert code == 5
    assert _names(out) == ["other"]
    assert {e.facts["name"]: e.facts["status"] for e in events if e.kind == "file"} == {
        "large": "refused",
        "other": "ok",
    }


@pytest.mark.parametrize("policy", ["refuse", "skip", "overwrite", "rename"])
def test_a_stream_whose_name_is_taken(out: Path, policy: str) -> None:
    (out / "f").write_bytes(b"mine")

    def attack(sender: Returning) -> None:
        sender.begin()
        sender.file(size=messages.UNKNOWN_SIZE, kind=messages.STREAM)
        sender.body()
        sender.finish()

    chosen = {} if policy == "refuse" else {policy: True}
    code, events = meet(out, attack, **chosen)
    found = {one.name: one.read_bytes() for one in out.iterdir()}
    mine = {"f": b"mine"}
    assert found == {"overwrite": {"f": BODY}, "rename": {**mine, "f-1": BODY}}.get(policy, mine)
    assert code == (2 if policy == "refuse" else 0)
    status = {"refuse": "refused", "skip": "skipped"}.get(policy, "ok")
    assert [e.facts["status"] for e in events if e.kind == "file"] == [status]


# --- to a pipe ---------------------------------------------------------------------------------------


def _to_pipe(out: Path, *scripts: Callable[[Returning], None]) -> tuple[int, list[Event]]:
    return meet(out, *scripts, output=str(out / "fifo"), retry_for=PATIENCE)


def _cut(pipe: int) -> Callable[[Returning], None]:
    """Half of a body, and not gone before that half is in the pipe."""

    def script(sender: Returning) -> None:
        sender.begin()
        sender.file()
        assert sender.answer() == messages.Answer(0, 0, b"", True)
        sender.say(proto.RUN, messages.pack_run(20))
        sender.raw(BODY[:20])
        assert select.select([pipe], [], [], PATIENCE)[0]

    return script


@pytest.mark.parametrize("equal", [True, False])
def test_a_stream_that_was_cut_goes_on_if_it_is_the_same(out: Path, pipe: int, equal: bool) -> None:
    def again(sender: Returning) -> None:
        sender.begin()
        sender.file()
        assert sender.answer() == messages.Answer(0, 20, digests.one_shot("xxh3")(BODY[:20]), False)
        sender.match(0, equal=equal)
        if equal:
            sender.say(proto.RUN, messages.pack_run(len(BODY) - 20))
            sender.raw(BODY[20:])
            sender.say(proto.END, messages.pack_end(messages.End(messages.WHOLE, len(BODY), DIGEST)))
        sender.finish()

    code, events = _to_pipe(out, _cut(pipe), again)
    assert os.read(pipe, 1000) == (BODY if equal else BODY[:20]), "no byte twice, none left out"
    (told,) = (event.facts for event in events if event.kind == "file")
    assert (code, told["status"]) == ((0, "ok") if equal else (4, "damaged"))
    if not equal:
        assert told["reason"] == ELSEWHERE


@pytest.mark.parametrize("what", ["inline", "eager"])
def test_a_stream_that_was_cut_goes_on_although_nobody_asks_where(out: Path, pipe: int, what: str) -> None:
    """What is there already arrives again and is left out."""

    def again(sender: Returning) -> None:
        sender.begin()
        if what == "inline":
            sender.small(b"f", BODY)
        else:
            sender.file(flags=EAGER)
            for part in (BODY[:7], BODY[7:33], BODY[33:]):
                sender.say(proto.RUN, messages.pack_run(len(part)))
                sender.raw(part)
            sender.say(proto.END, messages.pack_end(messages.End(messages.WHOLE, len(BODY), DIGEST)))
        sender.finish()

    code, _ = _to_pipe(out, _cut(pipe), again)
    assert (code, os.read(pipe, 1000)) == (0, BODY)


@pytest.mark.parametrize("what", ["inline", "eager", "unknown", "hole", "another", "shorter"])
def test_nothing_else_goes_into_a_stream_that_was_cut(out: Path, pipe: int, what: str) -> None:
    def again(sender: Returning) -> None:
        sender.begin()
        if what == "inline":
            sender.small(b"f", b"harm")
        elif what == "eager":
            sender.file(flags=EAGER)
            sender.body(BODY[::-1])
        elif what == "unknown":  # the same as far as it goes, which is not far enough
            sender.file(size=messages.UNKNOWN_SIZE, kind=messages.STREAM)
            sender.body(BODY[:19])
        elif what == "hole":
            sender.file(flags=EAGER)
            sender.say(proto.HOLE, messages.pack_hole(len(BODY)))
            digest = digests.one_shot("xxh3")(bytes(len(BODY)))
            sender.say(proto.END, messages.pack_end(messages.End(messages.WHOLE, len(BODY), digest)))
        elif what == "another":
            sender.file(b"g")
            sender.answer()
            sender.match(0, equal=False)
        else:
            sender.file(size=10)
        sender.finish()

    code, events = _to_pipe(out, _cut(pipe), again)
    assert os.read(pipe, 1000) == BODY[:20]
    (told,) = (event.facts for event in events if event.kind == "file")
    assert told["reason"] == ELSEWHERE
    assert (code, told["status"]) == (4, "damaged")


def test_a_stream_that_was_cut_is_not_taken_up_without_a_match(out: Path, pipe: int) -> None:
    def again(sender: Returning) -> None:
        sender.begin()
        sender.file()
        sender.answer()
        sender.match(3, equal=True)
        sender.until_gone()

    code, events = _to_pipe(out, _cut(pipe), again)
    assert (code, TURN in _message(events)) == (4, True)
    assert os.read(pipe, 1000) == BODY[:20]


def test_holes_are_zeros_in_a_pipe_and_links_and_directories_nothing(out: Path, pipe: int) -> None:
    whole = b"x" + bytes(5000)

    def attack(sender: Returning) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.DIRECTORY, b"d", 0o755))
        sender.entry(messages.Entry(messages.SYMLINK, b"l", target=b"/etc"))
        sender.file(size=len(whole), flags=EAGER)
        sender.say(proto.RUN, messages.pack_run(1))
        sender.raw(b"x")
        sender.say(proto.HOLE, messages.pack_hole(5000))
        end = messages.End(messages.WHOLE, len(whole), digests.one_shot("xxh3")(whole))
        sender.say(proto.END, messages.pack_end(end))
        sender.small(b"s", b"small")
        sender.finish()

    code, _ = _to_pipe(out, attack)
    assert code == 0
    assert os.read(pipe, 10_000) == whole + b"small"
    assert _names(out) == ["fifo"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_device_that_takes_nothing_is_told(out: Path) -> None:
    def attack(sender: Returning) -> None:
        sender.begin()
        sender.file(flags=EAGER)
        sender.body()
        fates = sender.finish()
        assert (fates[0].status, "no space" in fates[0].reason) == (messages.FAILED, True)

    code, events = meet(out, attack, output="/dev/full")
    assert code == 2
    (told,) = (event.facts for event in events if event.kind == "file")
    assert (told["status"], "no space" in told["reason"]) == ("failed", True)
