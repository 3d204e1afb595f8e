"""What is seldom said: rare facts of an event, rare command lines."""

from __future__ import annotations

import os
from typing import Any

import pytest
import typer

from pync.cli import parse as parsing
from pync.cli import quick, scan_view, values, words
from pync.cli.stderr import Stderr
from pync.commands.options import ScanOptions
from pync.errors import UsageError

PORT: dict[str, Any] = {
    "target": "db",
    "address": "10.0.0.1",
    "port": 22,
    "proto": "tcp",
    "state": "open",
    "reason": "syn-ack",
    "service": "ssh",
    "banner": None,
}


# --- command lines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("-i 2 -w 3 h 80", "pync connect --delay 2 -w 3 h 80"),
        ("-e cat -l 80", "pync listen -e cat 80"),
        ("-l h 80 -p 90", "pync listen h 80"),
        ("-z h 20-30", "pync scan h -p 20-30"),
    ],
)
def test_letters_of_other_netcats_are_put_in_our_words(line: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsing.parse(line.split())
    assert caught.value.hint == f"did you mean: {meant}"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("-sT h", "needs no option"),
        ("-sS -p 22 h", "needs no option"),
        ("-sU h", "write -u"),
        ("h -sV", "--banner"),
        ("-sSV h", "--banner"),
        ("-sn 10.0.0.0/30", "no ping"),
        ("-F h", "-p top100"),
        ("-iL hosts", "@FILE"),
        ("-iLhosts", "@FILE"),
        ("-Pn h", "no ping"),
        ("-T4 h", "--rate"),
        ("-oG - h", "--grepable"),
    ],
)
def test_what_nmap_calls_it(line: str, hint: str) -> None:
    assert quick.parse(["scan", *line.split()]) is None
    with pytest.raises(UsageError) as refused:
        parsing.parse(["scan", *line.split()])
    assert line.split(maxsplit=1)[0][:2] in refused.value.message or "-sV" in refused.value.message
    assert hint in str(refused.value.hint)


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("-s127.0.0.1 h", "127.0.0.1"),
        ("-s 127.0.0.1 h", "127.0.0.1"),
        ("-s::1 h", "::1"),
        ("-slocalhost h", "localhost"),
        ("h --wait 1s -- nmap -sT h", None),
    ],
)
def test_what_is_a_source_address_stays_one(line: str, source: str | None) -> None:
    parsed = quick.parse(["scan", *line.split()]) or parsing.parse(["scan", *line.split()])
    assert isinstance(parsed, tuple)
    assert isinstance(parsed[1], ScanOptions)
    assert parsed[1].source == source


def test_an_option_that_pync_itself_does_not_have() -> None:
    with pytest.raises(UsageError, match=r"^no such option: --nope$") as caught:
        parsing.parse(["--install-completion", "--nope"])
    assert caught.value.hint == "see pync --help"


def test_ctrl_c_while_the_command_line_is_read_is_a_death_by_sigint(monkeypatch: pytest.MonkeyPatch) -> None:
    class Program:
        commands: dict[str, Any] = {}

        def main(self, *_: object, **__: object) -> None:
            raise typer.Abort

    monkeypatch.setattr(parsing, "_program", Program)
    with pytest.raises(KeyboardInterrupt):
        parsing.parse(["connect", "h", "80"])


@pytest.mark.parametrize("line", ["connect h 80 -w", "connect h 80 --timeout"])
def test_a_value_that_is_missing_is_no_matter_for_the_quick_parser(line: str) -> None:
    assert quick.parse(line.split()) is None


def test_a_nul_byte_is_in_no_value() -> None:
    with pytest.raises(ValueError, match="NUL"):
        values.text("a\0b")


# --- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "facts", "line"),
    [
        ("secured", {"version": "TLSv1.3", "cipher": "X", "alpn": "h2"}, "secured: TLSv1.3, X, ALPN h2"),
        ("summary", {"sent": 2048, "received": 0, "seconds": 0.01}, "sent 2.0 KiB, received 0 B in 0.01 s"),
        ("summary", {"targets": 1, "done": 3, "closed": 3, "seconds": 0.0}, "3 closed; 3 ports in 0 s"),
        ("listening", {"address": None, "port": None, "fd": 3}, "listening on fd:3"),
        ("waiting", {"reason": None}, "waiting: for the other end"),
    ],
)
def test_words_of_rare_facts(kind: str, facts: dict[str, Any], line: str) -> None:
    (said,) = words.say("connect", kind, facts)
    assert said.replace("0.00 s", "0 s") == line


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"status": 404}, "HTTP 404"),
        ({"status": 200, "title": "Hi"}, "HTTP 200, 'Hi'"),
        ({"status": 301, "server": "x", "location": "/there"}, "HTTP 301, x, to /there"),
        ({"protocol": "tls"}, "tls"),
        ({"protocol": "tls", "tls": {"subject": "CN=a"}}, "TLS CN=a"),
        ({}, ""),
        ("old", "old"),
    ],
)
def test_banners_on_one_line(facts: object, text: str) -> None:
    assert scan_view.banner({"banner": facts}) == text


def test_a_scanned_unix_socket_has_no_port() -> None:
    assert scan_view.address({"address": "/run/x", "port": None}) == "/run/x"


def test_all_shows_the_reason_and_the_banner(capfd: pytest.CaptureFixture[str]) -> None:
    scan_view.ScanView(ScanOptions(all=True)).port({**PORT, "banner": {"text": "hello"}})
    assert capfd.readouterr().out == "10.0.0.1:22 tcp open ssh (syn-ack) hello\n"


def test_a_table_sorts_addresses_by_number_and_what_is_none_last() -> None:
    places = ("db.internal", "10.0.0.10", "::1", "10.0.0.9")
    table = scan_view.table(
        [{**PORT, "address": place} for place in places],
        detailed=True,
        addressed=True,
        width=100,
        plain=True,
    )
    shown = [line.split()[0] for line in table.splitlines()[1:]]
    assert shown == ["10.0.0.9", "10.0.0.10", "::1", "db.internal"]


def test_a_stdout_that_is_closed_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def isatty(fd: int) -> bool:
        raise OSError(9, "bad file descriptor")

    monkeypatch.setattr(os, "isatty", isatty)
    assert not scan_view._is_terminal(1)


# --- stderr ------------------------------------------------------------------------------------------------


def test_where_nothing_tells_whether_stderr_is_ready_a_full_one_keeps_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows has no poll."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        monkeypatch.delattr("select.poll")
        stderr = Stderr(writer)
        line = "x" * 4095
        for _ in range(100):
            stderr.line(line)
        taken = os.read(reader, 1 << 20)
        assert set(taken.decode().splitlines()) == {line}
        stderr.line("the last")
        stderr.finish()
        os.set_blocking(reader, False)
        rest = bytearray(taken)
        while len(rest) < 100 * 4096:
            rest += os.read(reader, 1 << 20)
            stderr.finish()
        assert rest.decode().splitlines() == [line] * 100 + ["the last"]
    finally:
        os.close(reader)
        os.close(writer)
