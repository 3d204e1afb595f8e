"""Events against the JSON Schema that is shipped: as much of JSON Schema as ours uses, without a library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pync

SCHEMA: dict[str, Any] = json.loads((Path(pync.__file__).parent / "cli" / "events.schema.json").read_text())
_TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}


def check_event(record: dict[str, Any], *, strict: bool = False) -> None:
    """Fails for an event that is not as documented; `strict` also for facts that are not documented."""
    _check(record, SCHEMA, "event")
    kind = SCHEMA["$defs"][record["event"]]
    _check(record, kind, record["event"])
    if strict:
        unknown = set(record) - set(SCHEMA["properties"]) - set(kind["properties"])
        assert not unknown, f"{record['event']} has undocumented facts {sorted(unknown)}"


def _check(value: Any, schema: dict[str, Any], where: str) -> None:
    if "enum" in schema:
        assert value in schema["enum"], f"{where} is {value!r}"
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        fits = any(value is None if name == "null" else isinstance(value, _TYPES[name]) for name in types)
        assert fits, f"{where} is {value!r}, not {types}"
    for name in schema.get("required", ()):
        assert name in value, f"{where} lacks {name}"
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                _check(value[name], part, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for item in value:
            _check(item, schema["items"], f"{where}[]")
    if "minimum" in schema and value is not None:
        assert value >= schema["minimum"], where
