"""When a sender compresses: what `auto`, `zstd` and `none` make of fast and slow networks."""

from __future__ import annotations

import os

import pytest
from zstandard import ZstdDecompressor

from pync.transfer.squeeze import ASK_AGAIN, BLOCK, SAMPLE, SAMPLE_SECONDS, TRIAL, Squeezer

SHRINKS = memoryview(b"the same again, " * (TRIAL // 16))
NOISE = memoryview(os.urandom(TRIAL))


def auto(seconds: float) -> Squeezer:
    """`auto`, once it knows a network that takes SAMPLE bytes in so many seconds."""
    squeezer = Squeezer("auto")
    squeezer.went(SAMPLE, seconds, SAMPLE)
    return squeezer


def test_auto_asks_once_it_knows_the_network() -> None:
    squeezer = Squeezer("auto")
    assert not squeezer.wanted
    squeezer.went(SAMPLE - 1, 0.001, SAMPLE - 1)
    assert not squeezer.wanted
    squeezer.went(1, 0.001, 1)
    assert squeezer.wanted


def test_auto_need_not_see_much_of_a_slow_network() -> None:
    squeezer = Squeezer("auto")
    squeezer.went(0, SAMPLE_SECONDS, 0)
    assert not squeezer.wanted
    squeezer.went(1, SAMPLE_SECONDS, 1)
    assert squeezer.wanted


def test_a_slow_network_gets_long_compressed_blocks_after_a_short_one() -> None:
    squeezer = auto(seconds=10.0)
    assert squeezer.block == TRIAL
    packed = squeezer.squeeze(SHRINKS)
    assert packed is not None
    assert ZstdDecompressor().decompress(packed) == SHRINKS
    assert squeezer.saved == len(SHRINKS) - len(packed)
    assert (squeezer.wanted, squeezer.block) == (True, BLOCK)


@pytest.mark.parametrize(
    ("seconds", "data"),
    [pytest.param(10.0, NOISE, id="noise"), pytest.param(1e-9, SHRINKS, id="a fast network")],
)
def test_what_does_not_pay_is_asked_again_after_a_while(seconds: float, data: memoryview) -> None:
    squeezer = auto(seconds)
    assert squeezer.squeeze(data) is None
    squeezer.went(TRIAL, seconds, TRIAL)
    squeezer.went(ASK_AGAIN - TRIAL - 1, seconds, ASK_AGAIN - TRIAL - 1)
    assert not squeezer.wanted
    squeezer.went(1, seconds, 1)
    assert (squeezer.wanted, squeezer.block) == (True, TRIAL)
    assert squeezer.saved == 0


def test_blocks_that_stop_shrinking_end_it() -> None:
    squeezer = auto(seconds=10.0)
    assert squeezer.squeeze(SHRINKS) is not None
    assert squeezer.squeeze(NOISE) is None
    assert not squeezer.wanted


def test_zstd_offers_every_block_and_sends_noise_as_it_is() -> None:
    squeezer = Squeezer("zstd")
    for _ in range(2):
        assert (squeezer.wanted, squeezer.block) == (True, BLOCK)
        assert squeezer.squeeze(NOISE) is None
        assert squeezer.squeeze(SHRINKS) is not None


def test_none_never_asks() -> None:
    squeezer = Squeezer("none")
    squeezer.went(SAMPLE, 10.0, SAMPLE)
    assert not squeezer.wanted
