"""Events as words and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pync.cli import views
from pync.cli.stderr import Stderr
from pync.commands import options as opt
from pync.errors import IntegrityError
from pync.report import Event
from tests.cli.schema import SCHEMA, check_event

SAMPLES: dict[str, dict[str, Any]] = {
    "listening": {"address": "0.0.0.0", "port": 9000},
    "connecting": {"address": "::1", "port": 80},
    "connected": {"address": "10.0.0.1", "port": 80, "local_address": "::1", "local_port": 5, "proto": "tcp"},
    "secured": {"version": "TLSv1.3", "cipher": "X", "alpn": None, "subject": "CN=a", "sans": ["DNS:a"],
                "expires": "2030-01-01", "fingerprint": "sha256:00", "verified": True},
    "eof": {"direction": "sent"},
    "closed": {"sent": 1, "received": 2048, "seconds": 2.0, "reason": "eof", "address": "h", "port": 80},
    "progress": {"sent": 1, "received": 2, "seconds": 0.1, "total": None, "rate": 5},
    "file": {"name": "a.txt", "size": 5, "status": "ok", "digest": "xxh3:00"},
    "waiting": {"reason": "for a sender"},
    "error": {"code": 1, "message": "connect h:1: connection refused", "hint": "is it up?"},
    "summary": {"files": 3, "failed": 1, "bytes": 4096, "sent": 4096, "code": 5},
}  # fmt: skip


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a view writes to stderr for some events."""

    def run(command: str, options: opt.Shared, *events: Event, fail: Exception | None = None) -> str:
        reader, writer = os.pipe()
        try:
            stderr = Stderr(writer)
            monkeypatch.setattr(views, "Stderr", lambda: stderr)
            view = views.View(command, options)
            for event in events:
                view(event)
            if fail is not None:
                view.fail(fail)  # type: ignore[arg-type]
            view.finish()
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            return stream.read().decode()

    return run


@pytest.mark.parametrize("kind", SAMPLES)
def test_json_events_follow_the_schema(
    kind: str, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_JSON_TICK", 0.0)
    text = said("connect", opt.ConnectOptions(json=True), Event(kind, SAMPLES[kind]))
    (line,) = text.splitlines()
    check_event(json.loads(line))


def test_schema_describes_every_kind() -> None:
    assert set(SCHEMA["$defs"]) == set(SCHEMA["properties"]["event"]["enum"]) == {*SAMPLES, "port"}


def test_json_survives_names_that_are_no_utf8_and_numbers_that_are_no_json(said: Callable[..., str]) -> None:
    facts = {"name": "a\udcffb", "status": "ok", "size": float("inf"), "x": Path("/p")}
    record = json.loads(said("recv", opt.RecvOptions(json=True), Event("file", facts)))
    assert (record["name"], record["size"], record["x"]) == ("a\ufffdb", None, "/p")


def test_json_progress_comes_about_once_a_second(said: Callable[..., str]) -> None:
    ticks = [Event("progress", SAMPLES["progress"])] * 50
    assert said("recv", opt.RecvOptions(json=True), *ticks) == ""
    assert said("recv", opt.RecvOptions(json=True, progress=False), *ticks) == ""


@pytest.mark.parametrize(
    ("verbose", "kinds"),
    [
        (0, ["listening"]),
        (1, ["listening", "connected", "secured", "closed", "file", "summary"]),
        (2, ["listening", "connecting", "connected", "secured", "eof", "closed", "file", "summary"]),
    ],
)
def test_verbosity(verbose: int, kinds: list[str], said: Callable[..., str]) -> None:
    for kind in (kind for kind in SAMPLES if kind not in ("error", "progress", "waiting")):
        text = said("connect", opt.ConnectOptions(verbose=verbose), Event(kind, SAMPLES[kind]))
        assert bool(text) == (kind in kinds), kind


def test_quiet_says_errors_only(said: Callable[..., str]) -> None:
    events = [Event(kind, facts) for kind, facts in SAMPLES.items()]
    text = said("connect", opt.ConnectOptions(quiet=True, verbose=2), *events)
    assert text == "pync: connect h:1: connection refused\nhint: is it up?\n"


@pytest.mark.parametrize(
    ("command", "kind", "facts", "words"),
    [
        ("listen", "listening", {"address": "0.0.0.0", "port": 9000}, "listening on 0.0.0.0:9000"),
        ("listen", "listening", {"address": "::", "port": 9000}, "listening on [::]:9000"),
        ("listen", "listening", {"address": "/x", "port": None, "path": "/x"}, "listening on unix:/x"),
        ("listen", "connected", {"address": "h", "port": 1, "proto": "udp"}, "connection from h:1 (udp)"),
        ("connect", "connected", {"address": "h", "port": 1, "proto": "tcp"}, "connected to h:1"),
        ("connect", "connected", {"path": "/run/x", "proto": "unix"}, "connected to unix:/run/x"),
        ("connect", "closed", SAMPLES["closed"],
         "closed h:80; sent 1 B, received 2.0 KiB in 2.00 s, 1.0 KiB/s"),
        ("connect", "closed", {"sent": 0, "received": 0, "seconds": 0.01, "reason": "reset"},
         "closed: reset; sent 0 B, received 0 B in 0.01 s"),
        ("send", "file", {"name": "a", "size": 5, "status": "refused", "reason": "exists"},
         "pync: a: exists"),
        ("send", "file", {"name": "a", "size": 5, "status": "damaged", "reason": "wrong bytes"},
         "pync: a: wrong bytes"),
        ("send", "file", {"name": "p", "size": 0, "status": "skipped", "reason": "fifo"}, "p: skipped, fifo"),
        ("send", "file", {"name": "e", "size": 0, "status": "ok", "digest": "x:0"}, "e: ok, 0 B, x:0"),
        ("send", "summary", SAMPLES["summary"], "3 files, 4.0 KiB; 1 failed"),
        ("send", "summary",
         {"files": 1, "bytes": 4096, "sent": 4096, "seconds": 2.0, "peer": "h:1", "digest": "x:0"},
         "h:1: 1 file, 4.0 KiB in 2.00 s, 2.0 KiB/s, x:0"),
        ("recv", "summary", {"files": 2, "failed": 0, "bytes": 4096, "received": 1024, "seconds": 1.0},
         "2 files, 4.0 KiB (1.0 KiB moved) in 1.00 s, 1.0 KiB/s"),
        ("scan", "waiting",
         {"missing": ["db:1", "x:2"], "reason": "refused", "until": "open", "remaining": 12},
         "waiting for db:1 and 1 more to be open: refused; 12 s left"),
        ("scan", "summary", {"ready": 2, "total": 2, "until": "open", "seconds": 1.5, "missing": []},
         "2 of 2 open after 1.50 s"),
        ("recv", "waiting", {"reason": "for a sender", "code": "7-a", "command": "pync send x"},
         "waiting: for a sender\nat the other end: pync send x"),
        ("connect", "secured", {"version": "TLSv1.3", "cipher": "C", "warning": "not verified"},
         "warning: not verified\nsecured: TLSv1.3, C"),
        ("connect", "secured", {"version": "TLSv1.3", "cipher": "C", "proxy": "https://p:1"},
         "proxy https://p:1 secured: TLSv1.3, C"),
        ("listen", "secured", {"listener": True, "fingerprint": "sha256:0", "command": "pync connect x"},
         "certificate sha256:0\nat the other end: pync connect x"),
        ("scan", "summary",
         {"targets": 1, "done": 1000, "open": 2, "closed": 998, "seconds": 0.5, "rate": 2000},
         "2 open, 998 closed; 1,000 ports in 0.50 s, 2,000/s"),
    ],
)  # fmt: skip
def test_words(command: str, kind: str, facts: dict[str, Any], words: str, said: Callable[..., str]) -> None:
    options = opt.ScanOptions(verbose=1) if command == "scan" else opt.ConnectOptions(verbose=1)
    assert said(command, options, Event(kind, facts)) == words + "\n"


@pytest.mark.parametrize("status", ["failed", "refused", "damaged"])
def test_files_that_did_not_arrive_are_named_by_default(status: str, said: Callable[..., str]) -> None:
    assert said("recv", opt.RecvOptions(), Event("file", {"name": "a", "status": status})) == f"a: {status}\n"


@pytest.mark.parametrize("status", ["ok", "identical", "skipped"])
def test_files_that_are_in_place_are_named_with_v(status: str, said: Callable[..., str]) -> None:
    event = Event("file", {"name": "a", "status": status})
    assert said("recv", opt.RecvOptions(), event) == ""
    assert said("recv", opt.RecvOptions(verbose=1), event) == f"a: {status}\n"


def test_what_was_passed_over_and_warnings_are_said_by_default(said: Callable[..., str]) -> None:
    fifo = Event("file", {"name": "p", "status": "skipped", "reason": "a fifo"})
    assert said("send", opt.SendOptions(), fifo) == "p: skipped, a fifo\n"
    assert "careful" in said("connect", opt.ConnectOptions(), Event("secured", {"warning": "careful"}))


FILE = {"name": "a", "size": 4096, "status": "ok", "digest": "xxh3:00"}
ONE = {"files": 1, "failed": 0, "bytes": 4096, "sent": 4096, "seconds": 2.0}


@pytest.mark.parametrize(
    ("files", "summary", "words"),
    [
        ([FILE], ONE, ["1 file, 4.0 KiB in 2.00 s, 2.0 KiB/s, xxh3:00"]),
        ([FILE, FILE], {**ONE, "files": 2}, ["2 files, 4.0 KiB in 2.00 s, 2.0 KiB/s"]),
        (
            [{**FILE, "peer": "h:1"}, {**FILE, "peer": "h:2", "digest": "xxh3:11"}],
            {**ONE, "peer": "h:1"},
            ["h:1: 1 file, 4.0 KiB in 2.00 s, 2.0 KiB/s, xxh3:00"],
        ),
        (
            [{**FILE, "status": "damaged"}],
            {**ONE, "files": 0, "failed": 1, "bytes": 0, "sent": 0},
            ["a: damaged, 4.0 KiB, xxh3:00", "0 files, 0 B in 2.00 s; 1 failed"],
        ),
    ],
)
def test_who_watches_progress_gets_bytes_time_rate_and_digest_at_the_end(
    files: list[dict[str, Any]], summary: dict[str, Any], words: list[str], said: Callable[..., str]
) -> None:
    events = [*(Event("file", facts) for facts in files), Event("summary", summary)]
    assert said("send", opt.SendOptions(progress=True), *events).splitlines() == words
    assert said("send", opt.SendOptions(progress=False), *events).splitlines() == words[:-1]


def test_the_digest_is_said_once(said: Callable[..., str]) -> None:
    events = Event("file", FILE), Event("summary", ONE)
    assert said("send", opt.SendOptions(progress=True, verbose=1), *events).count("xxh3:00") == 1


def test_text_from_the_network_is_escaped(said: Callable[..., str]) -> None:
    text = said("recv", opt.RecvOptions(verbose=1), Event("file", {"name": "a\x1b[31m\nb", "status": "ok"}))
    assert text == "a\\x1b[31m: ok\nb".replace(": ok\nb", "\\x0ab: ok") + "\n"


def test_failure_in_words_and_json(said: Callable[..., str]) -> None:
    error = IntegrityError("wrong\x1bsecret", hint="try again")
    assert said("recv", opt.RecvOptions(), fail=error) == "pync: wrong\\x1bsecret\nhint: try again\n"
    record = json.loads(said("recv", opt.RecvOptions(json=True), fail=error))
    assert (record["event"], record["code"], record["hint"]) == ("error", 4, "try again")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (opt.RecvOptions(), False),
        (opt.RecvOptions(progress=True), True),
        (opt.RecvOptions(json=True), True),
        (opt.RecvOptions(json=True, progress=False), False),
        (opt.RecvOptions(quiet=True), False),
    ],
)
def test_progress_is_wanted_only_where_somebody_sees_it(options: opt.Shared, wanted: bool) -> None:
    reader, writer = os.pipe()
    saved = os.dup(2)
    try:
        os.dup2(writer, 2)
        assert views.View("recv", options).wants_progress is wanted
    finally:
        os.dup2(saved, 2)
        for fd in (reader, writer, saved):
            os.close(fd)
