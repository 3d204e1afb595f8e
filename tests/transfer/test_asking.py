"""What send and recv ask at the terminal: the secret, without echo, and whether to take what comes."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pexpect
import pytest

from pync.commands import recv, send
from pync.commands.options import RecvOptions, SendOptions
from pync.commands.session import within
from pync.endpoint import Endpoint
from pync.errors import LocalError, UsageError
from pync.loop import Loop
from pync.proto import transfer_messages as messages
from pync.report import Event
from pync.transfer import ask
from tests.harness import PATIENCE, Processes, environment

SECRET = "7-otter-violin"
Typing = Callable[..., pexpect.spawn]


@pytest.fixture
def typing(tmp_path: Path) -> Iterator[Typing]:
    """`typing("send", ...)`: pync at a terminal of its own, in `tmp_path`."""
    with ExitStack() as stack:

        def start(*words: str) -> pexpect.spawn:
            child = pexpect.spawn(
                sys.executable,
                ["-m", "pync", *words],
                env=environment({"TERM": "xterm"}),  # type: ignore[arg-type]
                cwd=str(tmp_path),
                timeout=PATIENCE,
            )
            stack.callback(child.close, force=True)
            return child

        yield start


def ended(child: pexpect.spawn) -> tuple[int | None, str]:
    """Its exit status and what it said since the last `expect`."""
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus, child.before.decode()


def test_a_secret_is_typed_unseen(processes: Processes, typing: Typing, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    receiver = processes.listen("-o", f"{tmp_path}/to/", f"--secret={SECRET}", "127.0.0.1:0", command="recv")
    child = typing("send", "--secret", f"127.0.0.1:{receiver.port}", "file")
    child.expect("secret: ")
    child.sendline(SECRET)
    code, said = ended(child)
    assert (code, receiver.wait().code) == (0, 0)
    assert SECRET not in said
    assert (tmp_path / "to" / "file").read_text() == "hello"


def test_two_senders_at_once_are_asked_about_one_after_the_other(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    both, left = threading.Event(), threading.Event()

    def agreed(text: str) -> bool:
        asked.append(text)
        if len(asked) == 1:
            assert both.wait(PATIENCE)
            left.wait(0.3)  # a second question would come now
            alone.append(len(asked) == 1)
        left.set()
        return True

    def question(begin: messages.Begin, _peer: str) -> str:
        known.add(begin.name)
        if len(known) == 2:
            both.set()
        return begin.name.decode()

    alone: list[bool] = []
    known: set[bytes] = set()
    monkeypatch.setattr(ask, "at_terminal", lambda: True)
    monkeypatch.setattr(ask, "agreed", agreed)
    monkeypatch.setattr(ask, "question", question)
    monkeypatch.chdir(out)
    ports: list[int] = []
    with Loop() as loop:
        listening = loop.flag()

        def report(event: Event) -> None:
            if event.kind == "listening":
                ports.append(event.facts["port"])
                listening.set()

        async def all_of_it() -> list[Any]:
            options = RecvOptions(endpoint=Endpoint("tcp", "127.0.0.1", 0), count=2)
            tasks = [loop.spawn(recv.run(loop, options, report))]
            assert await listening.wait(loop.now() + PATIENCE)
            for name in ("a", "b"):
                (tmp_path / name).write_text(name)
                there = Endpoint("tcp", "127.0.0.1", ports[0])
                sending = SendOptions(endpoint=there, paths=(str(tmp_path / name),))
                tasks.append(loop.spawn(send.run(loop, sending, lambda _event: None)))
            return [await task for task in tasks]

        codes = loop.run(within(loop, PATIENCE, all_of_it()))
    assert codes == [0, 0, 0]
    assert alone == [True]
    assert sorted(asked) == ["a", "b"] == sorted(one.name for one in out.iterdir())


def test_no_secret_typed_is_none(typing: Typing, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    child = typing("send", "--secret", "127.0.0.1:1", "file")
    child.expect("secret: ")
    child.sendline("")
    code, said = ended(child)
    assert code == 2
    assert "no secret was typed" in said


@pytest.mark.parametrize(("answer", "taken"), [("y", True), ("YES", True), ("n", False), ("", False)])
def test_whoever_sits_at_the_terminal_is_asked_before_the_first_file(
    processes: Processes, typing: Typing, tmp_path: Path, answer: str, taken: bool
) -> None:
    source = tmp_path / "from"
    source.mkdir()
    (source / "photo").write_text("x" * 2048)
    child = typing("recv", "127.0.0.1:0", "--port-file", "port", "--retry-for", "0s")
    child.expect("listening")
    port = (tmp_path / "port").read_text().strip() if (tmp_path / "port").exists() else ""
    if not port:
        child.expect(r":(\d+)")
        port = child.match[1].decode()
    sender = processes.pync("send", f"127.0.0.1:{port}", f"{source}/photo", "--retry-for", "0s")
    child.expect(r"sends photo \(2.0 KiB\). Accept\? \[y/N\] ")
    child.sendline(answer)
    code, _ = ended(child)
    sent = sender.wait()
    assert (code == 0, sent.code == 0) == (taken, taken)
    assert (tmp_path / "photo").exists() == taken


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_stream_reaches_the_terminal_only_when_it_is_agreed_to(
    processes: Processes, typing: Typing, answer: str
) -> None:
    child = typing("recv", "127.0.0.1:0", "--retry-for", "0s")
    child.expect(r"listening on 127.0.0.1:(\d+)")
    sender = processes.pync("send", f"127.0.0.1:{child.match[1].decode()}", "--retry-for", "0s")
    sender.write(b"\x1b]0;title\a")
    sender.close_stdin()
    child.expect(r"sends a stream \(of unknown size\). Accept\? \[y/N\] ")
    assert b"title" not in child.before
    child.sendline(answer)
    code, said = ended(child)
    assert ("title" in said, code, sender.wait().code) == ((True, 0, 0) if answer == "y" else (False, 2, 2))


@pytest.mark.parametrize("words", [("--yes",), ("-o", "-")])
def test_a_stream_that_was_asked_for_is_not_asked_about(
    processes: Processes, typing: Typing, words: tuple[str, ...]
) -> None:
    child = typing("recv", "127.0.0.1:0", *words)
    child.expect(r"listening on 127.0.0.1:(\d+)")
    sent = processes.run("send", f"127.0.0.1:{child.match[1].decode()}", input=b"some words")
    code, said = ended(child)
    assert (code, sent.code) == (0, 0)
    assert "some words" in said
    assert "Accept" not in said


@pytest.mark.parametrize("command", ["recv", "send"])
def test_nothing_is_drawn_behind_the_last_figures(
    processes: Processes, typing: Typing, tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    if command == "recv":
        child = typing("recv", "-o", "to/", "127.0.0.1:0")
        child.expect(r"listening on 127.0.0.1:(\d+)")
        port = child.match[1].decode()
        other = processes.pync("send", "--rate", "8M", f"127.0.0.1:{port}", f"{tmp_path}/file")
    else:
        other = processes.listen("-o", f"{tmp_path}/to/", "127.0.0.1:0", command="recv")
        child = typing("send", "--rate", "8M", f"127.0.0.1:{other.port}", "file")
    child.expect(r"\d+ %")  # the line was there
    child.expect("1 file, [^\n]*\n")
    assert ended(child) == (0, "")
    assert other.wait().code == 0


def _echoes(child: pexpect.spawn) -> bool:
    return bool(termios.tcgetattr(child.child_fd)[3] & termios.ECHO)


def _stop(child: pexpect.spawn, how: str) -> None:
    """Ctrl-C, SIGTERM, or nothing: the deadline comes by itself."""
    if how == "ctrl-c":
        child.sendintr()
    elif how == "term":
        child.kill(signal.SIGTERM)


STOPS = [("ctrl-c", -signal.SIGINT), ("term", -signal.SIGTERM), ("deadline", 3)]


@pytest.mark.parametrize(("how", "code"), STOPS)
def test_the_question_for_the_secret_ends_with_the_run(
    typing: Typing, tmp_path: Path, how: str, code: int
) -> None:
    (tmp_path / "file").write_text("hello")
    limit = ("--deadline", "2s") if how == "deadline" else ()
    child = typing("send", "--secret", *limit, "127.0.0.1:1", "file")
    child.expect("secret: ")
    assert not _echoes(child)
    _stop(child, how)
    ended(child)
    assert (child.exitstatus if child.signalstatus is None else -child.signalstatus) == code
    assert _echoes(child)


@pytest.mark.parametrize(("how", "code"), STOPS[:2])
def test_the_question_whether_to_accept_ends_with_the_run(
    processes: Processes, typing: Typing, tmp_path: Path, how: str, code: int
) -> None:
    source = tmp_path / "from"
    source.mkdir()
    (source / "photo").write_text("x")
    child = typing("recv", "127.0.0.1:0")
    child.expect(r"listening on 127.0.0.1:(\d+)")
    port = child.match[1].decode()
    processes.pync("send", f"127.0.0.1:{port}", f"{source}/photo", "--retry-for", "0s")
    child.expect(r"\[y/N\] ")
    _stop(child, how)
    ended(child)
    assert (child.exitstatus if child.signalstatus is None else -child.signalstatus) == code
    assert not (tmp_path / "photo").exists()


def test_where_the_secret_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\nand more\n")
    assert ask.secret_from(None, None, makes=3) == (None, False)
    assert ask.secret_from("words", None, makes=3) == ("words", False)
    assert ask.secret_from(None, str(file), makes=3) == ("from the file", False)
    monkeypatch.setenv("PYNC_SECRET", "from the environment")
    assert ask.secret_from("", None, makes=3) == ("from the environment", False)
    monkeypatch.delenv("PYNC_SECRET")
    made, new = ask.secret_from("", None, makes=3)
    assert new
    assert made is not None
    assert len(made.split("-")) == 4


@pytest.mark.parametrize(
    ("text", "words"), [(None, "no such file"), ("\nsecond\n", "its first line is empty")]
)
def test_a_secret_file_that_holds_none(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text)
    with pytest.raises(LocalError, match=words):
        ask.secret_from(None, str(file), makes=3)


def test_where_there_is_no_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def no_terminal(path: str, *rest: int) -> int:
        if path == "/dev/tty":
            raise OSError(6, "no such device")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", no_terminal)
    with pytest.raises(UsageError, match="nobody can be asked"), Loop() as loop:
        loop.run(ask.secret_typed(loop, "", None))
