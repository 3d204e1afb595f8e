"""Hardly any file descriptors (`ulimit -n`): one line and status 2, wherever the limit meets us."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import harness

resource = pytest.importorskip("resource")

pytestmark = pytest.mark.skipif(harness._MEASURED, reason="measuring takes descriptors of its own")


@pytest.mark.parametrize("limit", range(5, 10))
@pytest.mark.parametrize(
    ("words", "else_"),
    [
        (("connect", "127.0.0.1", "1", "-w", "5s"), 1),
        (("listen", "127.0.0.1:0", "-w", "100ms"), 3),
        (("recv", "127.0.0.1:0", "-w", "100ms"), 3),
        (("scan", "127.0.0.1", "-p", "1"), 1),
        (("connect", "localhost", "1", "-w", "5s"), 1),
        (("scan", "localhost", "-p", "1"), 1),
    ],
    ids=lambda words: "-".join(words[:2]) if isinstance(words, tuple) else "",
)
def test_each_command_ends_with_a_line(words: tuple[str, ...], else_: int, limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pync", *words, "-q"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=harness.PATIENCE,
        check=False,
        env=harness.environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )
    assert done.returncode in (2, else_), done.stderr
    assert "not found" not in done.stderr  # the name is there
    assert "no targets" not in done.stderr
    assert (done.returncode == 2) == ("descriptor limit" in done.stderr)
    if done.returncode == 2:
        assert done.stderr.startswith("pync: ")
        assert done.stderr.endswith("descriptor limit reached\n")
        assert done.stderr.count("\n") == 1


def test_the_least_of_descriptors_is_too_few() -> None:
    """So that the test above is about what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "pync", "connect", "127.0.0.1", "1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=harness.PATIENCE,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5)),
    )
    assert (done.returncode, done.stderr) == (2, b"pync: descriptor limit reached\n")
