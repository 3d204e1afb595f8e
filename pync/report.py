"""Events: what the core tells whoever listens. Facts only; words, colours and JSON are the view's."""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from pync.lean import NamedTuple


class Event(NamedTuple):
    """One thing that happened. `kind` and the names in `facts` are those of the `--json` schema."""

    kind: str
    facts: dict[str, Any]


Report = Callable[[Event], None]


def unheard(report: Report, kind: str) -> bool:
    """Whether nobody looks at events of that kind that bring good news: then they need not even be made."""
    return kind in getattr(report, "unheard", ())


def silent(event: Event) -> None:
    """A Report that says nothing."""
