"""Hypothesis strategies for a stream that arrives in pieces."""

from hypothesis import strategies as st


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` cut at `places` (any numbers), in order; empty pieces stay, as reads may be empty."""
    bounds = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *bounds], [*bounds, len(data)], strict=True)]


# A few places, or nearly all: what goes wrong between two bytes must not depend on luck.
places = st.one_of(st.lists(st.integers(0, 1 << 16), max_size=12), st.just(list(range(100))))


def of_bytes(alphabet: bytes, max_size: int = 80) -> st.SearchStrategy[bytes]:
    """Byte strings of a few interesting bytes, so that rare sequences are common."""
    return st.lists(st.sampled_from(sorted(set(alphabet))), max_size=max_size).map(bytes)
