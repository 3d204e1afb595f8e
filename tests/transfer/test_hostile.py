"""A sender that means harm, its frames made by hand: nothing outside the directory, no waiting for ever."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pync.commands import recv
from pync.commands.options import RecvOptions
from pync.endpoint import Endpoint
from pync.errors import PyncError
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.report import Event
from pync.transfer import digests
from tests.harness import pattern

INLINE, EAGER = messages.INLINE, messages.EAGER


class Sender:
    """A socket that speaks frames. They stay open until recv has ended, then `receive` closes them."""

    opened: list[socket.socket] = []

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        Sender.opened.append(self.sock)
        self.data = bytearray()
        self.entries = 0

    def greet(self) -> None:
        self.sock.sendall(proto.Greeting(proto.SENDS, 0).encode())
        while (parsed := proto.parse_greeting(bytes(self.data))) is None:
            self._more()
        del self.data[: parsed[1]]

    def begin(self) -> None:
        self.greet()
        self.say(proto.BEGIN, messages.pack_begin(messages.Begin(os.urandom(16), "xxh3", 1, 5)))
        assert self.hear().kind == proto.READY

    def say(self, kind: int, payload: bytes = b"") -> None:
        self.sock.sendall(proto.encode(kind, payload))

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def entry(self, entry: messages.Entry) -> None:
        self.entries += 1
        self.say(proto.ENTRY, messages.pack_entry(entry))

    def small(self, path: bytes, body: bytes = b"harm", digest: bytes | None = None, **more: Any) -> None:
        digest = digests.one_shot("xxh3")(body) if digest is None else digest
        values = {"mode": 0o644, "size": len(body), **more}
        self.entry(messages.Entry(messages.FILE, path, flags=INLINE, body=body, digest=digest, **values))

    def finish(self) -> dict[int, messages.Done]:
        """The fate of every entry that was not simply confirmed."""
        self.say(proto.FINISH, messages.pack_counts(messages.Counts(self.entries, 0, 0)))
        fates = {}
        while (frame := self.hear()).kind != proto.SUMMARY:
            if frame.kind == proto.DONE:
                done = messages.parse_done(frame.payload)
                fates[done.number] = done
        self.say(proto.BYE)
        return fates

    def hear(self) -> proto.Frame:
        while True:
            if len(self.data) >= 4:
                with memoryview(self.data) as view:
                    size = proto.frame_size(view)
                    frame = proto.decode(view[:size]) if len(view) >= size else None
                if frame is not None:
                    del self.data[:size]
                    if frame.kind != proto.KEEPALIVE:
                        return frame
            self._more()

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.data += data


class Ended(Exception):
    """What the hostile end wanted to know came true."""


def receive(out: Path, attack: Callable[[Sender], None], **values: Any) -> tuple[int, list[Event]]:
    """Run recv against `attack`, which runs in a thread; exit status and events."""
    events: list[Event] = []
    failures: list[BaseException] = []
    threads: list[threading.Thread] = []

    def work(port: int) -> None:
        try:
            attack(Sender(port))
        except (EOFError, ConnectionError, TimeoutError):
            pass
        except BaseException as error:
            failures.append(error)

    def report(event: Event) -> None:
        events.append(event)
        if event.kind == "listening":
            thread = threading.Thread(target=work, args=(event.facts["port"],))
            threads.append(thread)
            thread.start()

    given = {"retry_for": 0.0, "output": f"{out}/", "timeout": 5.0, **values}
    options = RecvOptions(endpoint=Endpoint("tcp", "127.0.0.1", 0), **given)
    try:
        with Loop() as loop:
            code = int(loop.run(recv.run(loop, options, report)))
    except PyncError as error:
        events.append(Event("error", {"message": error.message}))
        code = int(error.code)
    for sock in Sender.opened:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    for thread in threads:
        thread.join(10)
    while Sender.opened:
        Sender.opened.pop().close()
    if failures:
        raise failures[0]
    return code, events


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What must stay as it is: everything beside the output directory."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "victim").write_bytes(b"untouched")
    return path


def _untouched(outside: Path) -> None:
    assert [p.name for p in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_bytes() == b"untouched"


BAD_PATHS = [
    b"../outside/victim",
    b"/tmp/pync-absolute",
    b"a/../../outside/victim",
    b"..",
    b".",
    b"",
    b"a//b",
    b"x\0y",
    b"n" * 300,
    b"d/" * 2000 + b"x",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda p: repr(p[:20]))
@pytest.mark.parametrize("way", ["inline", "eager", "asked", "directory", "link", "leave"])
def test_no_path_leads_out(out: Path, outside: Path, path: bytes, way: str) -> None:
    fates: dict[int, messages.Done] = {}

    def attack(sender: Sender) -> None:
        sender.begin()
        if way == "inline":
            sender.small(path)
        elif way == "eager":
            sender.entry(messages.Entry(messages.FILE, path, 0o644, size=4, flags=EAGER))
            sender.say(proto.RUN, messages.pack_run(4))
            sender.raw(b"harm")
            end = messages.End(messages.WHOLE, 4, digests.one_shot("xxh3")(b"harm"))
            sender.say(proto.END, messages.pack_end(end))
        else:
            kinds = {
                "asked": messages.FILE,
                "directory": messages.DIRECTORY,
                "link": messages.SYMLINK,
                "leave": messages.LEAVE,
            }
            sender.entry(messages.Entry(kinds[way], path, 0o777, size=4, target=b"/etc"))
        fates.update(sender.finish())

    code, _ = receive(out, attack)
    if way == "leave" and (not path or path.startswith(b"d/")):
        return  # leaving the top is nothing, nor is what is not open
    assert code in (2, 5)
    assert fates[0].status in (messages.REFUSED, messages.FAILED)
    assert list(out.iterdir()) == []
    assert not Path("/tmp/pync-absolute").exists()
    _untouched(outside)


@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_file_is_not_written_through_a_link_the_sender_just_made(
    out: Path, outside: Path, target: str
) -> None:
    where = os.fsencode(outside) if target == "absolute" else b"../outside"

    def attack(sender: Sender) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.SYMLINK, b"door", target=where))
        sender.small(b"door/new")
        sender.entry(messages.Entry(messages.DIRECTORY, b"door", 0o777))
        sender.entry(messages.Entry(messages.DIRECTORY, b"door/sub", 0o777))
        sender.entry(messages.Entry(messages.LEAVE, b"door", 0o777))
        sender.entry(messages.Entry(messages.SYMLINK, b"file", target=where + b"/victim"))
        sender.entry(messages.Entry(messages.SYMLINK, b"file.part", target=where + b"/victim"))
        sender.small(b"file", size=4)
        sender.entry(messages.Entry(messages.FILE, b"file.part", 0o644, size=4, flags=EAGER))
        sender.say(proto.RUN, messages.pack_run(4))
        sender.raw(b"harm")
        sender.say(
            proto.END, messages.pack_end(messages.End(messages.WHOLE, 4, digests.one_shot("xxh3")(b"harm")))
        )
        fates.update(sender.finish())

    for policy in ({}, {"overwrite": True}, {"rename": True}):
        fates: dict[int, messages.Done] = {}
        receive(out, attack, **policy)
        assert fates[1].status == messages.REFUSED
        assert fates[2].status == messages.REFUSED
        _untouched(outside)


def test_links_and_fifos_that_were_there_are_neither_followed_nor_waited_for(
    out: Path, outside: Path
) -> None:
    (out / "door").symlink_to(outside)
    (out / "a.part").symlink_to(outside / "victim")
    (out / "b").symlink_to(outside / "victim")
    os.mkfifo(out / "c")
    os.mkfifo(out / "d.part")
    os.link(outside / "victim", out / "e.part")  # writing into it would change the other name too
    big = pattern(100_000)

    def attack(sender: Sender) -> None:
        sender.begin()
        sender.small(b"door/x")
        for name in (b"a", b"b", b"c", b"d", b"e"):
            sender.entry(messages.Entry(messages.FILE, name, 0o644, size=len(big), flags=EAGER))
            sender.say(proto.RUN, messages.pack_run(len(big)))
            sender.raw(big)
            end = messages.End(messages.WHOLE, len(big), digests.one_shot("xxh3")(big))
            sender.say(proto.END, messages.pack_end(end))
        fates.update(sender.finish())

    fates: dict[int, messages.Done] = {}
    code, _ = receive(out, attack, overwrite=True)
    assert code == 5
    assert set(fates) == {0}
    for name in "abcde":
        assert (out / name).read_bytes() == big
        assert not (out / name).is_symlink()
    (out / "e.part").unlink()
    _untouched(outside)


ODD = [
    b"new\nline",
    b"\x1b[31mred\x1b[0m",
    b"\xff\xfe\x80",
    b"-rf",
    b"CON",
    b"n" * 255,
    "x\u202egpj.exe".encode(),
]


def test_odd_names_are_files_here_and_harmless_words_on_the_way(out: Path) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        for name in ODD:
            sender.small(name)
        assert sender.finish() == {}

    code, events = receive(out, attack)
    assert code == 0
    assert sorted(os.fsencode(p.name) for p in out.iterdir()) == sorted(ODD)
    said = [event.facts["name"] for event in events if event.kind == "file"]
    assert len(said) == len(ODD)
    assert all(name.isprintable() for name in said)


def test_twins_that_differ_in_case_or_not_at_all(out: Path) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.DIRECTORY, b"d", 0o755))
        sender.small(b"d/README", b"one")
        sender.small(b"d/readme", b"two")
        sender.small(b"d/README", b"three")
        sender.entry(messages.Entry(messages.DIRECTORY, b"d/readme", 0o755))
        sender.entry(messages.Entry(messages.SYMLINK, b"d/README", target=b"/etc"))
        fates.update(sender.finish())

    fates: dict[int, messages.Done] = {}
    assert receive(out, attack)[0] == 5
    assert set(fates) == {3, 4, 5}
    assert (out / "d" / "README").read_bytes() == b"one"
    assert (out / "d" / "readme").read_bytes() == b"two"


def _body(sender: Sender, size: int, data: bytes, end: messages.End, flags: int = EAGER) -> None:
    sender.entry(messages.Entry(messages.FILE, b"f", 0o644, size=size, flags=flags))
    sender.say(proto.RUN, messages.pack_run(len(data)))
    sender.raw(data)
    sender.say(proto.END, messages.pack_end(end))


def test_more_than_was_announced_ends_the_session_with_4(out: Path) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        _body(sender, 10, b"x" * 20, messages.End(messages.WHOLE, 20, digests.one_shot("xxh3")(b"x" * 20)))
        sender.finish()

    code, events = receive(out, attack)
    assert code == 4
    assert "more than it announced" in events[-1].facts["message"]
    assert not (out / "f").exists()


def test_less_than_was_announced_ends_the_session_with_4(out: Path) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        _body(sender, 10, b"x" * 5, messages.End(messages.WHOLE, 5, digests.one_shot("xxh3")(b"x" * 5)))
        sender.finish()

    code, _ = receive(out, attack)
    assert code == 4
    assert not (out / "f").exists()


@pytest.mark.parametrize("way", ["inline", "eager"])
def test_digest_that_lies_is_4_and_nothing_is_kept(out: Path, way: str) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        if way == "inline":
            sender.small(b"f", b"data", digest=bytes(16))
        else:
            _body(sender, 4, b"data", messages.End(messages.WHOLE, 4, bytes(16)))
        sender.small(b"other")
        assert sender.finish()[0].status == messages.DAMAGED

    code, _ = receive(out, attack)
    assert code == 4
    assert [p.name for p in out.iterdir()] == ["other"]


@pytest.mark.parametrize(
    "after", ["nothing", "greeting", "half a greeting", "begin", "half a frame", "half a body"]
)
def test_sender_that_stalls_for_ever_is_given_up(out: Path, after: str) -> None:
    def attack(sender: Sender) -> None:
        if after == "half a greeting":
            sender.raw(proto.MAGIC)
        elif after == "greeting":
            sender.greet()
        elif after != "nothing":
            sender.begin()
        if after == "half a frame":
            sender.raw(proto.encode(proto.BYE)[:6])
        elif after == "half a body":
            sender.entry(messages.Entry(messages.FILE, b"f", 0o644, size=100_000, flags=EAGER))
            sender.say(proto.RUN, messages.pack_run(100_000))
            sender.raw(b"x" * 50_000)

    code, _ = receive(out, attack, timeout=2.5)
    assert code in (1, 3)


@pytest.mark.parametrize("kind", sorted(proto.KNOWN - {proto.BEGIN, proto.FINISH, proto.KEEPALIVE}))
def test_frames_out_of_turn_end_the_session(out: Path, kind: int) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        sender.say(kind, bytes(40))
        while True:
            sender.hear()

    code, _ = receive(out, attack)
    assert code in (1, 4)
    assert list(out.iterdir()) == []


def test_huge_announcements_cost_no_memory_and_no_disk(out: Path) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.FILE, b"f", 0o644, size=1 << 42))
        sender.say(proto.RUN, messages.pack_run(proto.RUN_MAX))
        sender.raw(b"x" * 100_000)
        sender.sock.close()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, _ = receive(out, attack)
    assert code == 1
    assert (out / "f.part").stat().st_blocks * 512 < 1 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_file_larger_than_the_file_system_allows_is_refused_at_once(out: Path) -> None:
    with (out / "probe").open("wb") as probe:
        try:
            os.lseek(probe.fileno(), 1 << 62, os.SEEK_SET)
        except OSError:
            pass
        else:
            pytest.skip("this file system allows all sizes")
    (out / "probe").unlink()

    def attack(sender: Sender) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.FILE, b"f", 0o644, size=1 << 62))
        fates.update(sender.finish())

    fates: dict[int, messages.Done] = {}
    assert receive(out, attack)[0] == 2
    assert fates[0].reason == "larger than the file system allows"
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(("last", "code"), [("nothing", 1), ("end", 1), ("abort", 3)])
def test_a_huge_hole_ends_with_its_sender(
    out: Path, monkeypatch: pytest.MonkeyPatch, last: str, code: int
) -> None:
    gone = threading.Event()
    hashed: list[int] = []

    def hash_zeros(hasher: Any, count: int) -> None:
        hashed.append(count)
        gone.wait(10)

    monkeypatch.setattr(digests, "update_zeros", hash_zeros)

    def attack(sender: Sender) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.FILE, b"f", 0o644, size=1 << 42))
        sender.say(proto.HOLE, messages.pack_hole(1 << 42))
        if last == "end":
            sender.say(proto.END, messages.pack_end(messages.End(messages.WHOLE, 1 << 42, bytes(16))))
        elif last == "abort":
            sender.say(proto.ABORT, messages.pack_abort(messages.Abort(3, "too late")))
        sender.sock.shutdown(socket.SHUT_WR)
        gone.set()

    found, events = receive(out, attack)
    assert found == code
    assert len(hashed) < 100
    assert ("too late" in events[-1].facts["message"]) == (last == "abort")


def test_packed_block_larger_than_it_says_is_refused(out: Path) -> None:
    from zstandard import ZstdCompressor

    bomb = ZstdCompressor(level=19).compress(bytes(64 << 20))

    def attack(sender: Sender) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.FILE, b"f", 0o644, size=1 << 20, flags=EAGER))
        sender.say(proto.PACKED, messages.pack_packed(1 << 20, len(bomb)))
        sender.raw(bomb)
        sender.finish()

    code, _ = receive(out, attack)
    assert code == 4
    assert not (out / "f").exists()


def test_setuid_bits_do_not_arrive(out: Path) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        sender.small(b"f", mode=0o6755)
        sender.entry(messages.Entry(messages.DIRECTORY, b"d", 0o7777))
        sender.entry(messages.Entry(messages.LEAVE, b"d", 0o7777))
        assert sender.finish() == {}

    assert receive(out, attack)[0] == 0
    assert (out / "f").stat().st_mode & 0o7777 == 0o755
    assert (out / "d").stat().st_mode & 0o7777 == 0o1777, "the sticky bit makes it safer"


@pytest.mark.parametrize(("policy", "mode"), [({}, 0o700), ({"overwrite": True}, 0o777)])
def test_a_private_directory_that_was_there_is_not_opened_to_others(
    out: Path, policy: dict[str, bool], mode: int
) -> None:
    for name in ("entered", "only-left"):
        (out / name).mkdir(0o700)

    def attack(sender: Sender) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.LEAVE, b"only-left", 0o777))
        sender.entry(messages.Entry(messages.DIRECTORY, b"entered", 0o777))
        sender.entry(messages.Entry(messages.LEAVE, b"entered", 0o777))
        assert sender.finish() == {}

    assert receive(out, attack, **policy)[0] == 0
    assert (out / "entered").stat().st_mode & 0o7777 == mode
    assert (out / "only-left").stat().st_mode & 0o7777 == 0o700


def test_leave_needs_no_path(out: Path) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        sender.entry(messages.Entry(messages.DIRECTORY, b"d", 0o750))
        sender.small(b"d/f")
        sender.entry(messages.Entry(messages.LEAVE, b"", 0o750))
        assert sender.finish() == {}

    assert receive(out, attack)[0] == 0
    assert (out / "d").stat().st_mode & 0o7777 == 0o750


UNFRAMED = "the peer does not speak pync transfer; use --raw"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", UNFRAMED),
        (b"\x16\x03\x01\x02\x00", "the peer speaks TLS, this end does not"),
        (b"SSH-2.0-x\r\n", UNFRAMED),
    ],
)
def test_unframed_peer_is_named(out: Path, said: bytes, message: str) -> None:
    code, events = receive(out, lambda sender: sender.raw(said))
    assert code == 1
    assert events[-1].facts["message"] == message


def test_somebody_who_only_knocks_does_not_end_the_wait(out: Path) -> None:
    def attack(sender: Sender) -> None:
        port = sender.sock.getpeername()[1]
        sender.sock.close()
        second = Sender(port)
        second.begin()
        second.small(b"f")
        second.finish()

    assert receive(out, attack)[0] == 0
    assert (out / "f").exists()


def test_second_sender_is_turned_away_while_one_is_served(out: Path) -> None:
    def attack(sender: Sender) -> None:
        sender.begin()
        second = Sender(sender.sock.getpeername()[1])
        second.greet()
        second.say(proto.BEGIN, messages.pack_begin(messages.Begin(bytes(16), "xxh3", 1, 5)))
        frame = second.hear()
        assert frame.kind == proto.ABORT
        assert "busy" in messages.parse_abort(frame.payload).reason
        sender.small(b"f")
        sender.finish()

    assert receive(out, attack)[0] == 0


def test_fuzz_corpus(out: Path) -> None:
    """Every file of the corpus is what a sender says after its greeting; see tests/transfer/fuzz.py."""
    from tests.transfer import fuzz

    assert len(list(fuzz.CORPUS.iterdir())) >= 10
    for path in sorted(fuzz.CORPUS.iterdir()):
        fuzz.feed(path.read_bytes(), out)
