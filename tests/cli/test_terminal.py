"""What is seen on a real terminal."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.harness import PATIENCE, environment

PYNC = f"{shlex.quote(sys.executable)} -m pync"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[pexpect.spawn]:
    """`pync listen` on a terminal of 60 columns, its data in a file."""
    child = pexpect.spawn(
        "sh", ["-c", f"exec {PYNC} listen 127.0.0.1 0 > {tmp_path}/out"],
        encoding="utf-8", timeout=PATIENCE, dimensions=(24, 60), env=environment({"TERM": "xterm"}),
    )  # fmt: skip
    yield child
    child.close(force=True)


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
    child = pexpect.spawn(
        "sh", ["-c", f"exec {PYNC} listen --progress 127.0.0.1 0 > {tmp_path}/out"],
        encoding="utf-8", timeout=PATIENCE, env=environment({"TERM": "dumb"}),
    )  # fmt: skip
    try:
        with connect(child) as peer:
            peer.sendall(b"x" * 3000)
        child.expect(pexpect.EOF)
        assert "\x1b" not in child.before
        assert "2.9 KiB" in child.before
    finally:
        child.close(force=True)


@pytest.mark.parametrize("words", ["--no-progress", "-q"])
def test_no_live_line_where_it_is_not_wanted(words: str, tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    command = f"exec {PYNC} listen {words} --port-file {port_file} 127.0.0.1 0 > {tmp_path}/out"
    child = pexpect.spawn(
        "sh", ["-c", command], encoding="utf-8", timeout=PATIENCE, env=environment({"TERM": "xterm"})
    )
    try:
        end = time.monotonic() + PATIENCE
        while not port_file.exists():
            assert time.monotonic() < end
            os.sched_yield()
        with socket.create_connection(("127.0.0.1", int(port_file.read_text()))) as peer:
            peer.sendall(b"x" * 1000)
        child.expect(pexpect.EOF)
        assert "\x1b" not in child.before
        assert "B/s" not in child.before
    finally:
        child.close(force=True)


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
