"""The check of events that each process of a test undergoes: it knows the whole schema, and it does fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.schema import KEYWORDS, SCHEMA, check_lines
from tests.harness import Processes

GOOD = '{"event": "error", "time": 1.5, "code": 1, "message": "no"}'


def _schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for part in schema.get("properties", {}).values():
        yield from _schemas(part)
    if "items" in schema:
        yield from _schemas(schema["items"])


def test_the_check_understands_every_word_of_the_schema() -> None:
    for schema in (*SCHEMA["$defs"].values(), SCHEMA["properties"]["time"]):
        for part in _schemas(schema):
            assert set(part) <= KEYWORDS
            if "object" in part.get("type", ()):
                assert "properties" in part
            if "array" in part.get("type", ()):
                assert "items" in part


def test_the_schema_itself_tells_kinds_apart_as_the_check_does() -> None:
    """A library reads the list of conditions, our check takes the short way."""
    told = {}
    for rule in SCHEMA["allOf"]:
        told[rule["if"]["properties"]["event"]["const"]] = rule["then"]["$ref"]
    assert told == {kind: f"#/$defs/{kind}" for kind in SCHEMA["properties"]["event"]["enum"]}


def test_events_as_documented_pass() -> None:
    text = f'{GOOD}\n{{"event": "eof", "time": 2, "direction": "sent"}}\n'
    assert [record["event"] for record in check_lines(text)] == ["error", "eof"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listening on 127.0.0.1:1", "no JSON"),
        ("[]", "no object"),
        ('{"event": "wonder", "time": 1}', "no event"),
        ('{"time": 1}', "no event"),
        (GOOD.replace('"time": 1.5, ', ""), "lacks time"),
        (GOOD.replace('"code": 1, ', ""), "lacks code"),
        (GOOD.replace("}", ', "colour": 1}'), "undocumented fact colour"),
        (GOOD.replace('"code": 1', '"code": "1"'), "not ['integer']"),
        (GOOD.replace('"code": 1', '"code": true'), "not ['integer']"),
        (GOOD.replace('"code": 1', '"code": null'), "not ['integer']"),
        (GOOD.replace('"time": 1.5', '"time": NaN'), "NaN is no JSON"),
        ('{"event": "eof", "time": 2, "direction": "up"}', "eof.direction is 'up'"),
        ('{"event": "progress", "time": 2, "sent": -1}', "progress.sent is -1"),
        ('{"event": "secured", "time": 2, "sans": ["a", 1]}', "secured.sans[] is 1"),
    ],
)
def test_anything_else_fails(text: str, words: str) -> None:
    with pytest.raises(AssertionError) as failure:
        check_lines(text + "\n")
    assert words in str(failure.value)


@pytest.mark.parametrize("stream", [1, 2])
def test_a_process_that_says_something_else_fails_its_test(processes: Processes, stream: int) -> None:
    """Whatever its test looks at. Here a shell takes the part of pync."""
    script = f"echo '{GOOD}' >&{stream}; echo '{{}}' >&{stream}"
    command = "scan" if stream == 1 else "connect"
    process = processes.spawn("sh", "-c", script, "pync", command, "--json")
    with pytest.raises(AssertionError, match="no event"):
        process.wait()


def test_a_process_that_is_still_running_is_looked_at_when_it_is_ended(processes: Processes) -> None:
    words = ("pync", "connect", "--json")
    process = processes.spawn("sh", "-c", "echo no event >&2; printf '{\"ev' >&2; exec sleep 60", *words)
    process.expect('"ev')
    with pytest.raises(AssertionError, match="no JSON"):
        processes.close()


def test_half_a_line_is_no_event(processes: Processes) -> None:
    process = processes.spawn("sh", "-c", f"printf '{GOOD}' >&2", "pync", "connect", "--json")
    with pytest.raises(AssertionError, match="half an event"):
        process.wait()


def test_what_the_program_of_a_scan_says_is_its_own(processes: Processes) -> None:
    words = ("pync", "scan", "--wait", "1s", "--", "echo", "--json")
    assert processes.spawn("sh", "-c", "echo hello", *words).wait().out == b"hello\n"
