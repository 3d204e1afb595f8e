"""Results of a scan, in every format."""

from __future__ import annotations

import csv
import io
import os
import re
import threading
from typing import Any

import pytest

from pync.cli.scan_view import ScanView, banner
from pync.cli.stdout import write
from pync.commands.options import ScanOptions
from pync.errors import Interrupted, LocalError

SSH: dict[str, Any] = {
    "target": "db",
    "address": "10.0.0.1",
    "port": 22,
    "proto": "tcp",
    "state": "open",
    "reason": "syn-ack",
    "rtt": 0.0012,
    "service": "ssh",
    "banner": {"text": 'SSH-2.0-x\x1b[31m,"y"'},
}
DNS: dict[str, Any] = {
    "target": "::1",
    "address": "::1",
    "port": 53,
    "proto": "udp",
    "state": "open|filtered",
    "reason": "no answer",
    "rtt": None,
    "service": None,
    "banner": None,
}


def shown(options: ScanOptions, *ports: dict[str, Any], terminal: bool = False) -> str:
    """What the view writes to stdout."""
    reader, writer = os.openpty() if terminal else os.pipe()
    saved = os.dup(1)
    os.dup2(writer, 1)
    try:
        view = ScanView(options)
        for port in ports:
            view.port(port)
        view.finish()
        view.finish()
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(writer)
    data = bytearray()
    try:
        while chunk := os.read(reader, 65536):
            data += chunk
    except OSError:  # the end, as a terminal tells it
        pass
    os.close(reader)
    return data.decode()


def test_plain_lines_as_found() -> None:
    assert shown(ScanOptions(), SSH, DNS) == (
        '10.0.0.1:22 tcp open ssh SSH-2.0-x\\x1b[31m,"y"\n[::1]:53 udp open|filtered -\n'
    )


def test_all_gives_the_reason() -> None:
    assert shown(ScanOptions(all=True), DNS) == "[::1]:53 udp open|filtered - (no answer)\n"


def test_grepable_is_address_and_port() -> None:
    assert shown(ScanOptions(grepable=True), SSH, DNS) == "10.0.0.1:22\n[::1]:53\n"


def test_csv_has_a_header_and_is_read_back() -> None:
    head, first, second = csv.reader(io.StringIO(shown(ScanOptions(csv=True), SSH, DNS), newline=""))
    assert head == ["target", "address", "port", "proto", "state", "reason", "rtt", "service", "banner"]
    assert first[:8] == ["db", "10.0.0.1", "22", "tcp", "open", "syn-ack", "0.001200", "ssh"]
    assert first[8] == 'SSH-2.0-x\\x1b[31m,"y"'
    assert second[-2:] == ["", ""]


def test_csv_lines_end_as_lines_of_text_do() -> None:
    assert "\r" not in shown(ScanOptions(csv=True), SSH, DNS)


@pytest.mark.parametrize("banner", ["=cmd()", "+1", "-1", "@x"])
def test_csv_cells_are_no_formulas(banner: str) -> None:
    text = shown(ScanOptions(csv=True), {**SSH, "banner": banner})
    assert text.endswith(f",'{banner}\n")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"protocol": "ssh", "text": "SSH-2.0-x"}, "SSH-2.0-x"),
        ({"protocol": "http", "text": "HTTP/1.1 301", "status": 301, "server": "nginx", "title": "Moved",
          "location": "https://x/"}, "HTTP 301, nginx, 'Moved', to https://x/"),
        ({"protocol": "tls", "tls": {"subject": "CN=a", "sans": ["DNS:a", "DNS:b"], "expires": "2030-01-01"}},
         "TLS DNS:a, DNS:b until 2030-01-01"),
        ({"protocol": "mysql"}, "mysql"),
        ("plain", "plain"),
        (None, ""),
    ],
)  # fmt: skip
def test_banner_on_one_line(said: object, words: str) -> None:
    assert banner({"banner": said}) == words


def test_a_terminal_gets_a_table_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = shown(ScanOptions(), DNS, SSH, terminal=True).splitlines()
    assert lines[0].split() == ["ADDRESS", "PORT", "STATE", "SERVICE", "BANNER"]
    assert lines[1].split()[:4] == ["10.0.0.1", "22/tcp", "open", "ssh"]
    assert lines[2].split()[:3] == ["::1", "53/udp", "open|filtered"]


@pytest.mark.parametrize(
    ("targets", "more", "addressed"),
    [
        (("10.0.0.1",), {}, False),
        (("10.0.0.1:22", "10.0.0.1:80"), {}, False),
        (("10.0.0.1", "22"), {}, False),
        (("10.0.0.1/32",), {}, False),
        (("db",), {}, False),
        (("db",), {"all_addresses": True}, True),
        (("db",), {"all": True}, True),
        (("10.0.0.0/28",), {}, True),
        (("10.0.0.1", "10.0.0.2"), {}, True),
        (("@hosts",), {}, True),
        (("-",), {}, True),
        (("unix:/run/x", "unix:/run/y"), {}, True),
    ],
)
def test_the_table_says_the_address_unless_the_command_line_does(
    targets: tuple[str, ...], more: dict[str, Any], addressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    table = shown(ScanOptions(targets=targets, **more), SSH, terminal=True)
    assert ("10.0.0.1" in table) is addressed


def test_colour_on_a_terminal_unless_it_is_dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert re.search(r"\x1b\[32m", shown(ScanOptions(), SSH, terminal=True))
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown(ScanOptions(), SSH, terminal=True)


def test_a_reader_that_left_ends_the_scan_as_sigpipe_would() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    saved = os.dup(1)
    os.dup2(writer, 1)
    try:
        with pytest.raises(Interrupted):
            ScanView(ScanOptions(grepable=True)).port(SSH)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(writer)


def test_a_full_disk_is_a_local_error() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    full, saved = os.open("/dev/full", os.O_WRONLY), os.dup(1)
    os.dup2(full, 1)
    try:
        with pytest.raises(LocalError, match="no space left"):
            ScanView(ScanOptions(grepable=True)).port(SSH)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(full)


def test_more_than_a_pipe_holds_arrives_whole() -> None:
    reader, writer = os.pipe()
    received = bytearray()

    def read() -> None:
        while chunk := os.read(reader, 4096):
            received.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    saved = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        ScanView(ScanOptions()).port({**SSH, "banner": "x" * 300_000})
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    thread.join()
    os.close(reader)
    assert len(received) > 300_000


def test_a_pipe_that_is_non_blocking_and_slow_gets_everything() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    saved = os.dup(1)
    os.dup2(writer, 1)
    got = bytearray()

    def read() -> None:
        while chunk := os.read(reader, 4096):
            got.extend(chunk)

    thread = threading.Thread(target=read)
    text = "".join(f"{number}\n" for number in range(100_000))  # more than a pipe holds
    try:
        filled = 0
        try:
            while True:
                filled += os.write(writer, b".")
        except BlockingIOError:
            thread.start()
        write(text)
        assert not os.get_blocking(1), "the descriptor is not ours to change"
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(writer)
    thread.join(20)
    os.close(reader)
    assert got[filled:].decode() == text
