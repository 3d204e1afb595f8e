"""What is seen on a real terminal."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.harness import PATIENCE, Process, Processes, environment, pattern

PYNC = f"{shlex.quote(sys.executable)} -m pync"


@contextlib.contextmanager
def on_terminal(line: str, *, columns: int = 80, **env: str) -> Iterator[pexpect.spawn]:
    """A shell's line on a terminal of its own; what still runs at the end is killed."""
    child = pexpect.spawn(
        "sh", ["-c", line], encoding="utf-8", timeout=PATIENCE, dimensions=(24, columns),
        env=environment({"TERM": "xterm", **env}),
    )  # fmt: skip
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[pexpect.spawn]:
    """`pync listen` on a terminal of 60 columns, its data in a file."""
    with on_terminal(f"exec {PYNC} listen 127.0.0.1 0 > {tmp_path}/out", columns=60) as child:
        yield child


def connect(child: pexpect.spawn) -> socket.socket:
    child.expect(r"listening on 127\.0\.0\.1:(\d+)\r\n")
    return socket.create_connection(("127.0.0.1", int(child.match[1])))


def feed(child: pexpect.spawn, peer: socket.socket, pattern: str) -> None:
    """Sends until the terminal shows `pattern`."""
    end = time.monotonic() + PATIENCE
    while child.expect([pattern, pexpect.TIMEOUT], timeout=0.02):
        assert time.monotonic() < end, child.before
        peer.sendall(b"x" * 1000)


def test_a_live_line_is_drawn_follows_the_width_and_gives_way_to_the_summary(listener: pexpect.spawn) -> None:
    with connect(listener) as peer:
        feed(listener, peer, r"\r\x1b\[K[\d.]+ KiB  [\d.]+ [KM]?i?B/s  avg [^\r]*\d:\d\d")
        listener.setwinsize(24, 12)
        feed(listener, peer, r"\r(\x1b\[A)*\x1b\[[JK][\d.]+ KiB\r")
        listener.setwinsize(24, 60)
    listener.expect(r"\r\x1b\[Kclosed 127\.0\.0\.1:\d+; sent 0 B, received [^\r]*\r\n")
    listener.expect(pexpect.EOF)


def test_a_dumb_terminal_gets_no_codes(tmp_path: Path) -> None:
    with on_terminal(f"exec {PYNC} listen --progress 127.0.0.1 0 > {tmp_path}/out", TERM="dumb") as child:
        with connect(child) as peer:
            peer.sendall(b"x" * 3000)
        child.expect(pexpect.EOF)
        assert "\x1b" not in child.before
        assert "2.9 KiB" in child.before


@pytest.mark.parametrize("words", ["--no-progress", "-q"])
def test_no_live_line_where_it_is_not_wanted(words: str, tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    command = f"exec {PYNC} listen {words} --port-file {port_file} 127.0.0.1 0 > {tmp_path}/out"
    with on_terminal(command) as child:
        end = time.monotonic() + PATIENCE
        while not port_file.exists():
            assert time.monotonic() < end
            os.sched_yield()
        with socket.create_connection(("127.0.0.1", int(port_file.read_text()))) as peer:
            peer.sendall(b"x" * 1000)
        child.expect(pexpect.EOF)
        assert "\x1b" not in child.before
        assert "B/s" not in child.before


def test_help_has_colour_on_a_terminal_only_where_wanted() -> None:
    for extra, coloured in (
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ):
        shown, status = pexpect.run(
            f"{PYNC} connect --help",
            env=environment(extra),
            withexitstatus=True,
            encoding="utf-8",
            timeout=PATIENCE,
        )
        assert status == 0
        assert ("\x1b[" in shown) == coloured


def receivers(processes: Processes, port: str, count: int, tmp_path: Path) -> list[Process]:
    """So many `pync recv`, each into a directory of its own."""
    started = []
    for number in range(count):
        (tmp_path / str(number)).mkdir()
        words = ("recv", "--connect", f"127.0.0.1:{port}", "-o", f"{tmp_path}/{number}/", "-v")
        started.append(processes.pync(*words))
    return started


def test_several_receivers_have_a_line_each(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(pattern(20_000_000))
    command = f"exec {PYNC} send --listen 127.0.0.1:0 --to 2 --rate 500K {tmp_path}/big"
    with on_terminal(command) as child:
        child.expect(r"listening on 127\.0\.0\.1:(\d+)\r\n")
        receivers(processes, child.match[1], 2, tmp_path)
        line = r"127\.0\.0\.1:\d+ + \d+ %  [^\r]*MiB of 19\.1 MiB  [^\r]*\r\n"
        child.expect(rf"\x1b\[A\x1b\[A\x1b\[J{line}{line}all +\d+ %  [^\r]*MiB of 38\.1 MiB")
        child.setwinsize(24, 50)
        child.expect(r"\r(\x1b\[A){2,}\x1b\[J127[^\r]{,46}\r\n127[^\r]{,46}\r\nall[^\r]{,46}")
        child.sendintr()
        child.expect(pexpect.EOF)
        assert child.before.count("\n") <= 3  # nothing of the lines is left
        child.wait()
    assert child.signalstatus == signal.SIGINT


def test_each_receiver_has_its_final_figures(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pattern(3_000_000))
    with on_terminal(f"exec {PYNC} send --listen 127.0.0.1:0 --to 2 {tmp_path}/file", columns=200) as child:
        child.expect(r"listening on 127\.0\.0\.1:(\d+)\r\n")
        for receiver in receivers(processes, child.match[1], 2, tmp_path):
            digest = receiver.expect(r"^file: ok, 2\.9 MiB, (xxh3:\w{32})$")[1].decode()
            child.expect(rf"127\.0\.0\.1:\d+: 1 file, 2\.9 MiB in [\d.]+ s, [^\r]*{digest}\r\n")
            assert receiver.wait().code == 0
        child.expect(pexpect.EOF)
        child.wait()
    assert child.exitstatus == 0


def test_a_live_line_of_a_transfer_gives_way_to_its_summary_alone(
    processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(pattern(3_000_000))
    receiver = processes.listen("127.0.0.1:0", "-o", f"{tmp_path}/copy", command="recv")
    command = f"exec {PYNC} send --rate 5M 127.0.0.1:{receiver.port} {tmp_path}/file"
    with on_terminal(command, columns=200) as child:
        child.expect(r" \d+ %  ")
        child.expect(pexpect.EOF)
        child.wait()
        assert "closed" not in child.before
        assert "1 file, 2.9 MiB" in child.before
    assert (child.exitstatus, receiver.wait().code) == (0, 0)


def test_a_transfer_in_the_background_draws_nothing(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pattern(3_000_000))
    receiver = processes.listen("127.0.0.1:0", "-o", f"{tmp_path}/copy", command="recv")
    command = f"set -m; {PYNC} send 127.0.0.1:{receiver.port} {tmp_path}/file & wait $!; echo status $?"
    with on_terminal(command, columns=200) as child:
        child.expect(r"status 0\r\n")
        assert "\x1b" not in child.before
        assert "1 file, 2.9 MiB" in child.before
    assert receiver.wait().code == 0


def test_a_terminal_without_utf8_gets_ascii(processes: Processes, tmp_path: Path) -> None:
    name = "m\u00fcsli"
    (tmp_path / name).write_bytes(b"x" * 3000)
    receiver = processes.listen("127.0.0.1:0", "-o", f"{tmp_path}/copy", command="recv")
    command = f"exec {PYNC} send -v 127.0.0.1:{receiver.port} {shlex.quote(str(tmp_path / name))}"
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with on_terminal(command, columns=200, **ascii_only) as child:
        child.expect(r"m[^\r]*sli: ok, 2\.9 KiB, xxh3:\w+\r\n")
        child.expect(pexpect.EOF)
        assert child.before.isascii()
        assert child.match is pexpect.EOF
    assert receiver.wait().code == 0


def test_figures_do_not_run_through_data_on_the_same_terminal(processes: Processes) -> None:
    with on_terminal(f"exec {PYNC} recv --yes 127.0.0.1:0") as child:
        child.expect(r"listening on 127\.0\.0\.1:(\d+)\r\n")
        sender = processes.pync("send", f"127.0.0.1:{child.match[1]}")
        sender.write(b"first line\n")
        child.expect(r"first line\r\n")
        assert sender.finish(b"no end").code == 0
        child.expect(pexpect.EOF)
        assert child.before == "no end"
