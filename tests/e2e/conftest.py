"""Sessions for both roles and both ways of moving bytes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.sessions import Sessions
from tests.harness import Processes


@pytest.fixture
def sessions(processes: Processes, tmp_path: Path) -> Iterator[Sessions]:
    """Opens sessions; what the test holds of them is closed at its end."""
    with contextlib.ExitStack() as stack:
        yield Sessions(processes, tmp_path, stack)


@pytest.fixture(params=["connect", "listen"])
def role(request: pytest.FixtureRequest) -> str:
    """Each test that takes it runs in both roles."""
    return str(request.param)


@pytest.fixture(params=["fast", "copy"])
def mover(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test that takes it runs with the movers chosen by themselves, and with the portable one."""
    if request.param == "copy":
        monkeypatch.setenv("PYNC_MOVER", "copy")
    return str(request.param)
