"""A loop for each test, one authority for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pync.loop import Loop
from tests.tls.zoo import Authority


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as made:
        yield made


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def trust(authority: Authority, tmp_path: Path) -> str:
    """The authority's certificate as a file."""
    return authority.write(tmp_path / "root.pem")
