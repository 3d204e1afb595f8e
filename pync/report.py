"""Events: what the core tells whoever listens. Facts only; words, colours and JSON are the view's."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One thing that happened. `kind` and the names in `facts` are those of the `--json` schema."""

    kind: str
    facts: dict[str, Any]


Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """A Report that says nothing."""
