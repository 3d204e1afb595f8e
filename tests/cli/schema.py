"""Events against the JSON Schema that is shipped: as much of JSON Schema as ours uses, without a library.

It is stricter than the schema in one thing: a fact that is not described is an error. The schema lets it
pass, so that programs which check what they read go on with the next version of pync.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pync

SCHEMA: dict[str, Any] = json.loads((Path(pync.__file__).parent / "cli" / "events.schema.json").read_text())
# What `_check` understands, or need not.
KEYWORDS = {"type", "enum", "required", "properties", "items", "minimum", "description"}
_TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def check_lines(text: str, *, whole: bool = True) -> list[dict[str, Any]]:
    """The events of a run with `--json`; fails for a line that is none, or is not as documented.

    Not `whole`: the process was killed, perhaps in the middle of a line.
    """
    *lines, rest = text.split("\n")
    assert rest == "" or not whole, f"half an event: {rest!r}"
    records = []
    for line in lines:
        try:
            record = json.loads(line, parse_constant=_no_json)
        except ValueError as error:
            raise AssertionError(f"no JSON ({error}): {line!r}") from None
        check_event(record)
        records.append(record)
    return records


def check_event(record: Any) -> None:
    """Fails for an unknown event, for one that lacks a fact, and for a fact that is not documented."""
    assert isinstance(record, dict), f"{record!r} is no object"
    kind = SCHEMA["$defs"].get(record.get("event"))
    assert kind is not None, f"{record!r} is no event"
    required = [*SCHEMA["required"], *kind.get("required", ())]
    properties = {**SCHEMA["properties"], **kind["properties"]}
    _check(record, {"required": required, "properties": properties}, record["event"])


def _no_json(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _check(value: Any, schema: dict[str, Any], where: str) -> None:
    if "enum" in schema:
        assert value in schema["enum"], f"{where} is {value!r}"
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(_is(value, name) for name in types), f"{where} is {value!r}, not {types}"
    if "minimum" in schema and value is not None:
        assert value >= schema["minimum"], f"{where} is {value!r}"
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            assert name in value, f"{where} lacks {name}"
        for name, part in value.items():
            assert name in schema["properties"], f"{where} has the undocumented fact {name}"
            _check(part, schema["properties"][name], f"{where}.{name}")
    if isinstance(value, list):
        for item in value:
            _check(item, schema["items"], f"{where}[]")


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
