"""A receiver that answers what nobody asked, too early, or not at all: `send` believes none of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pync.commands import send
from pync.commands.options import SendOptions
from pync.endpoint import Endpoint
from pync.errors import PyncError
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.report import Event
from pync.transfer import digests
from pync.transfer.wire import Wire
from tests.harness import PATIENCE, pattern
from tests.transfer.test_hostile import Sender

TOKEN = bytes(range(16))
ASKED = 1_200_000  # too large to be sent before the receiver said what it has


pytestmark = pytest.mark.usefixtures("patient")


class Receiver(Sender):
    """The other end of one connection, its frames made by hand."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.counts = messages.Counts(0, 0, 0)
        self.data = bytearray()

    def greet(self) -> None:
        self.sock.sendall(proto.Greeting(proto.RECEIVES, 0).encode())
        while (parsed := proto.parse_greeting(bytes(self.data))) is None:
            self._more()
        del self.data[: parsed[1]]
        assert self.hear().kind == proto.BEGIN

    def ready(self) -> None:
        self.greet()
        self.say(proto.READY, TOKEN)

    def expect(self, kind: int) -> bytes:
        frame = self.hear()
        assert frame.kind == kind, frame
        return frame.payload

    def answer(self, number: int = 0, offset: int = 0, digest: bytes = b"", *, whole: bool = True) -> None:
        self.say(proto.ANSWER, messages.pack_answer(messages.Answer(number, offset, digest, whole)))

    def confirm(self, first: int, last: int) -> None:
        self.say(proto.CONFIRM, messages.pack_confirm(first, last))

    def done(self, number: int, status: int, why: str = "", code: int = 0) -> None:
        self.say(proto.DONE, messages.pack_done(messages.Done(number, status, why, code)))

    def body(self) -> tuple[bytes, messages.End]:
        """A body up to its END."""
        found = bytearray()
        while (frame := self.hear()).kind != proto.END:
            if frame.kind == proto.HOLE:
                found += bytes(messages.parse_hole(frame.payload))
                continue
            assert frame.kind == proto.RUN
            size = messages.parse_run(frame.payload)
            while len(self.data) < size:
                self._more()
            found += self.data[:size]
            del self.data[:size]
        return bytes(found), messages.parse_end(frame.payload)

    def goodbye(self, *, delivered: int = 1) -> None:
        """The end of a session in which nothing is left to be confirmed."""
        self.counts = messages.parse_counts(self.expect(proto.FINISH))
        self.say(proto.SUMMARY, messages.pack_counts(messages.Counts(delivered, 0, 0)))
        self.expect(proto.BYE)

    def gone(self) -> None:
        """Until the sender has hung up."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except ConnectionError:
            pass


def deliver(
    paths: list[Path], *scripts: Callable[[Receiver], None], **values: Any
) -> tuple[int, list[Event]]:
    """Run send against one script a connection, in a thread; exit status and events."""
    events: list[Event] = []
    failures: list[BaseException] = []

    def work(server: socket.socket) -> None:
        try:
            for script in scripts:
                client, _ = server.accept()
                with client:
                    receiver = Receiver(client)
                    script(receiver)
                    receiver.gone()
        except BaseException as error:
            failures.append(error)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        given = {"retry_for": 0.0, "compress": "none", "paths": tuple(map(str, paths)), **values}
        options = SendOptions(endpoint=Endpoint("tcp", "127.0.0.1", server.getsockname()[1]), **given)
        thread = threading.Thread(target=work, args=(server,))
        thread.start()
        try:
            with Loop() as loop:
                code = int(loop.run(send.run(loop, options, events.append)))
        except PyncError as error:
            events.append(Event("error", {"message": error.message}))
            code = int(error.code)
        thread.join(PATIENCE)
    if failures:
        raise failures[0]
    return code, events


def _message(events: list[Event]) -> str:
    return str(events[-1].facts.get("message"))


def _files(events: list[Event]) -> dict[str, tuple[str, str]]:
    """What was said of each file."""
    facts = [event.facts for event in events if event.kind == "file"]
    return {one["name"]: (one["status"], one.get("reason", "")) for one in facts}


@pytest.fixture
def little(tmp_path: Path) -> Path:
    path = tmp_path / "little"
    path.write_bytes(b"some words")
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(pattern(ASKED))
    return path


def _twice(receiver: Receiver) -> None:
    receiver.answer()
    receiver.answer()


OUT_OF_TURN = "answered out of turn"
NOT_SENT = "confirmed something that was not sent"
LIES: dict[str, tuple[Callable[[Receiver], None], str]] = {
    "a confirmation of more": (lambda peer: peer.confirm(0, 1), NOT_SENT),
    "a confirmation of another": (lambda peer: peer.confirm(7, 7), NOT_SENT),
    "the refusal of another": (lambda peer: peer.done(7, messages.REFUSED, "no"), NOT_SENT),
    "two answers": (_twice, OUT_OF_TURN),
    "ready again": (lambda peer: peer.say(proto.READY, TOKEN), OUT_OF_TURN),
    "nothing confirmed": (
        lambda peer: peer.say(proto.SUMMARY, messages.pack_counts(messages.Counts(1, 0, 10))),
        "without confirming everything",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_small_file_is_4(little: Path, lie: str) -> None:
    say, why = LIES[lie]

    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        peer.expect(proto.FINISH)
        say(peer)

    code, events = deliver([little], script)
    assert code == 4
    assert why in _message(events)
    if lie != "a confirmation of more":
        assert _files(events) == {}


def test_anything_but_ready_after_begin_is_4(little: Path) -> None:
    def script(peer: Receiver) -> None:
        peer.greet()
        peer.confirm(0, 0)

    code, events = deliver([little], script)
    assert (code, OUT_OF_TURN in _message(events)) == (4, True)


def test_done_with_ok_is_a_confirmation(little: Path) -> None:
    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        peer.done(0, messages.OK)
        peer.goodbye()

    code, events = deliver([little], script)
    assert (code, _files(events)) == (0, {"little": ("ok", "")})


def test_a_file_confirmed_before_it_was_sent_is_4(large: Path) -> None:
    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        peer.confirm(0, 0)

    code, events = deliver([large], script)
    assert (code, "before it had all of it" in _message(events)) == (4, True)
    assert _files(events) == {}


def test_an_answer_to_another_question_is_4(large: Path) -> None:
    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        peer.answer(number=3)

    code, events = deliver([large], script)
    assert (code, OUT_OF_TURN in _message(events)) == (4, True)


@pytest.mark.parametrize("when", ["instead of an answer", "after the hint", "after the match"])
def test_a_refusal_in_the_middle_of_the_questions_is_the_files_fate(large: Path, when: str) -> None:
    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        if when == "after the hint":
            peer.answer(offset=ASKED, whole=False)
        elif when == "after the match":
            peer.answer(offset=ASKED, digest=bytes(16), whole=False)
            assert not messages.parse_match(peer.expect(proto.MATCH)).equal
        peer.done(0, messages.REFUSED, "it exists already", 2)
        peer.goodbye(delivered=0)

    code, events = deliver([large], script)
    assert code == 2
    assert _files(events) == {"large": ("refused", "it exists already")}


def test_a_receiver_that_has_more_than_the_file_gets_all_of_it(large: Path) -> None:
    whole = pattern(ASKED)

    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        peer.answer(offset=ASKED + 5, digest=digests.one_shot("xxh3")(whole))
        assert not messages.parse_match(peer.expect(proto.MATCH)).equal
        body, end = peer.body()
        assert body == whole
        assert end == messages.End(messages.WHOLE, ASKED, digests.one_shot("xxh3")(whole))
        peer.confirm(0, 0)
        peer.goodbye()

    code, events = deliver([large], script)
    assert (code, _files(events)) == (0, {"large": ("ok", "")})


def test_a_file_that_shrinks_while_both_ends_read_it_does_not_match(large: Path) -> None:
    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        large.write_bytes(b"short now")
        peer.answer(offset=ASKED, digest=digests.one_shot("xxh3")(pattern(ASKED)))
        assert not messages.parse_match(peer.expect(proto.MATCH)).equal
        body, end = peer.body()
        assert (len(body), body[:9]) == (ASKED, b"short now"), "the length was promised"
        assert body.count(0, 9) == ASKED - 9
        assert (end.status, end.reason) == (messages.BROKEN, b"it changed while it was sent")
        peer.done(0, messages.FAILED, "at the sender: it changed while it was sent", 2)
        peer.goodbye(delivered=0)

    code, events = deliver([large], script)
    assert code == 2
    assert _files(events)["large"][0] == "failed"


LONG = 33 << 20  # three runs: each is more than the system keeps between two ends


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "long"
    path.write_bytes(b"x" * LONG)
    return path


def test_a_body_nobody_wants_any_more_is_ended_after_the_run(long: Path) -> None:
    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        peer.answer()
        peer.done(0, messages.FAILED, "no space left on device", 2)
        body, end = peer.body()
        assert end.status == messages.STOPPED
        assert len(body) < LONG
        peer.goodbye(delivered=0)

    code, events = deliver([long], script)
    assert code == 2
    assert _files(events) == {"long": ("failed", "no space left on device")}


def test_a_sender_that_never_has_to_wait_looks_for_answers_too(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def without_looking(self: Wire) -> None:
        await self.pause(read=False, write=True)

    monkeypatch.setattr(Wire, "_room", without_looking)
    test_a_body_nobody_wants_any_more_is_ended_after_the_run(long)


def test_answers_without_end_are_not_collected(long: Path) -> None:
    """It depends on how many are read at once which of the two is noticed first."""

    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        peer.answer()
        peer.hear()
        peer.raw(proto.encode(proto.READY, TOKEN) * (5 * proto.WINDOW))

    code, events = deliver([long], script)
    assert code == 4
    assert any(why in _message(events) for why in ("more answers than there were questions", OUT_OF_TURN))


def test_files_that_changed_between_two_connections_are_begun_again(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "a").write_bytes(b"a")

    def cut(peer: Receiver) -> None:
        peer.ready()
        assert messages.parse_entry(peer.expect(proto.ENTRY)).path == b"top"
        assert messages.parse_entry(peer.expect(proto.ENTRY)).path == b"top/a"
        (top / "a").rename(top / "b")
        peer.confirm(0, 1)
        peer.sock.shutdown(socket.SHUT_WR)

    def noticed(peer: Receiver) -> None:
        peer.ready()

    def again(peer: Receiver) -> None:
        peer.ready()
        paths = [messages.parse_entry(peer.expect(proto.ENTRY)).path for _ in range(3)]
        assert paths == [b"top", b"top/b", b"top"]
        peer.confirm(0, 2)
        peer.goodbye()

    code, events = deliver([top], cut, noticed, again, retry_for=PATIENCE)
    assert code == 0
    assert "the files changed while they were sent" in [e.facts.get("reason") for e in events]
    assert list(_files(events)) == ["top/a", "top/b"]


def test_what_cannot_be_sent_is_told_once_however_often_the_connection_breaks(
    tmp_path: Path, little: Path
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(top / "socket"))

    def cut(peer: Receiver) -> None:
        peer.ready()
        while peer.hear().kind != proto.FINISH:
            pass
        peer.confirm(0, 1)
        peer.sock.shutdown(socket.SHUT_WR)

    def again(peer: Receiver) -> None:
        peer.ready()
        entries = 0
        while peer.hear().kind != proto.FINISH:
            entries += 1
        peer.confirm(0, entries - 1)
        peer.say(proto.SUMMARY, messages.pack_counts(messages.Counts(1, 0, 0)))
        peer.expect(proto.BYE)

    code, events = deliver([top, little], cut, again, retry_for=PATIENCE)
    assert code == 0
    told = [event.facts["name"] for event in events if event.kind == "file"]
    assert sorted(told) == ["little", "top/socket"]


def test_holes_count_among_the_bytes_of_the_whole(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.write(pattern(70_000))
        file.truncate(900_000)
    seen: list[messages.Counts] = []

    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        assert peer.body()[0] == pattern(70_000) + bytes(830_000)
        peer.confirm(0, 0)
        peer.goodbye()
        seen.append(peer.counts)

    assert deliver([sparse], script)[0] == 0
    assert seen == [messages.Counts(1, 0, 900_000)]


def test_small_files_with_a_pace_are_sent_one_by_one(little: Path) -> None:
    def script(peer: Receiver) -> None:
        peer.ready()
        entry = messages.parse_entry(peer.expect(proto.ENTRY))
        assert (entry.body, entry.digest) == (b"some words", digests.one_shot("xxh3")(b"some words"))
        peer.confirm(0, 0)
        peer.goodbye()

    assert deliver([little], script, rate=10_000_000)[0] == 0


@pytest.mark.parametrize(
    ("failed", "code", "expected"), [(1, 5, 5), (1, 0, 4), (0, 2, 2), (0, 4, 4), (7, 77, 4)]
)
def test_a_receiver_that_confirms_everything_and_sums_up_failures_is_no_0(
    little: Path, failed: int, code: int, expected: int
) -> None:
    def script(peer: Receiver) -> None:
        peer.ready()
        peer.expect(proto.ENTRY)
        peer.confirm(0, 0)
        peer.expect(proto.FINISH)
        peer.say(proto.SUMMARY, messages.pack_counts(messages.Counts(1, failed, 0, code)))
        peer.expect(proto.BYE)

    found, events = deliver([little], script)
    assert found == expected
    assert "the other end says that" in _message(events)
    assert [e.facts["failed"] for e in events if e.kind == "summary"] == [1]
