"""A loop for each test."""

from collections.abc import Iterator

import pytest

from pync.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Closed with the test."""
    made = Loop()
    yield made
    made.close()
