"""Fixtures: processes that end with the test, peers that skip by name, two hosts on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import harness

if "COVERAGE_PROCESS_CONFIG" in os.environ:
    import tests.told.sitecustomize  # noqa: F401


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: tests of sockets wait more than they compute, so two share a core."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[harness.Processes]:
    """Start `pync` and its peers; what still runs at the end of the test is killed."""
    with harness.Processes(tmp_path) as started:
        yield started


def _need(name: str) -> str:
    path = harness.find_peer(name)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"peer missing: {name}")
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """`need("ncat")`: its path; skips the test by name where it is missing, fails it in CI."""
    return _need


@pytest.fixture
def hosts() -> Iterator[tuple[harness.Host, harness.Host]]:
    """Two network namespaces joined by a wire; needs root and iproute2."""
    _need("ip")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    pair = harness.two_hosts()
    try:
        both = pair.__enter__()
    except OSError as error:
        pytest.skip(f"no network namespaces here: {error}")
    try:
        yield both
    finally:
        pair.__exit__(None, None, None)


@pytest.fixture
def ipv6() -> None:
    """Skips where the machine has no IPv6 loopback."""
    if not harness.has_ipv6():
        pytest.skip("no IPv6 loopback here")


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that refuses connections."""
    return harness.free_port()
