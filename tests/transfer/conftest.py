"""Short waits, and a tree with one of everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pync.transfer.wire import Limits
from tests.harness import pattern


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "stall", 1.0)
    monkeypatch.setattr(Limits, "keepalive", 0.2)
    monkeypatch.setattr(Limits, "greeting", 2.0)
    monkeypatch.setattr(Limits, "last_words", 0.3)
    monkeypatch.delenv("PYNC_SECRET", raising=False)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine too, nobody is given up."""
    monkeypatch.setattr(Limits, "stall", 25.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory `tree` with one of everything."""
    top = tmp_path / "from" / "tree"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "small.txt").write_bytes(b"hello\n")
    (top / "nothing").write_bytes(b"")
    (top / "sub" / "inline").write_bytes(pattern(60_000))
    (top / "sub" / "eager").write_bytes(pattern(200_000, 2))
    (top / "sub" / "deep" / "asked").write_bytes(pattern(1_200_000, 3))
    (top / "link").symlink_to("small.txt")
    (top / "dangling").symlink_to("../nowhere")
    os.chmod(top / "small.txt", 0o600)
    os.chmod(top / "sub" / "eager", 0o755)
    for name in ("small.txt", "sub/deep/asked", "empty", "sub"):
        os.utime(top / name, ns=(10**18, 10**18 + 123_456_789))
    return top


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where it arrives."""
    path = tmp_path / "to"
    path.mkdir()
    return path


@pytest.fixture
def pipe(out: Path) -> Iterator[int]:
    """A fifo at `out/fifo`, as the output: what arrived can be read here."""
    os.mkfifo(out / "fifo")
    fd = os.open(out / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    yield fd
    os.close(fd)
