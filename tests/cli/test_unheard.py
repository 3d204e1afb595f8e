"""What a view never shows need not be made; what it may show must be."""

from __future__ import annotations

from typing import Any

import pytest

from pync.cli import views
from pync.commands import options as opt
from pync.errors import LocalError
from pync.report import Event, silent, unheard

FILE = {"name": "a.txt", "size": 5, "status": "ok", "digest": "xxh3:00"}


@pytest.mark.parametrize("command", ["send", "recv"])
@pytest.mark.parametrize("values", [{}, {"quiet": True}, {"verbose": 1}, {"json": True}, {"progress": True}])
def test_a_view_that_wants_no_file_events_shows_none(
    command: str, values: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    made: type[opt.Shared] = opt.SendOptions if command == "send" else opt.RecvOptions
    view = views.View(command, made(**values))
    view(Event("file", FILE))
    view.finish()
    shown = "a.txt" in capfd.readouterr().err
    assert not (unheard(view, "file") and shown)
    assert unheard(view, "file") == (not values or "quiet" in values)


def test_bad_news_is_shown_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    view = views.View("recv", opt.RecvOptions())
    assert unheard(view, "file")
    view(Event("file", {**FILE, "status": "refused", "reason": "it exists already"}))
    view.finish()
    assert "it exists already" in capfd.readouterr().err


def test_a_failure_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Of a file that was alone it is also that of the run; of another one it is not."""
    view = views.View("recv", opt.RecvOptions())
    view(Event("file", {**FILE, "status": "refused", "reason": "it exists already"}))
    view.fail(LocalError("a.txt: it exists already", hint="--overwrite"))
    view.fail(LocalError("b.txt: it exists already"))
    view.finish()
    once, hint, other = capfd.readouterr().err.splitlines()
    assert (once, hint) == ("pync: a.txt: it exists already", "hint: --overwrite")
    assert other == "pync: b.txt: it exists already"


def test_everybody_else_hears_everything() -> None:
    assert not unheard(silent, "file")
