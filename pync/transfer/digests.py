"""Digests of files: one hasher a name, and a whole file read through it."""

from __future__ import annotations

from collections.abc import Callable

from pync.transfer.system import preadv
from pync.transport.channel import scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# One read: fits a core's second-level cache together with what else is hot, large enough to hide the call.
STEP = 256 << 10
# Between two looks at the clock while a thread hashes: under a second even from a slow disk.
SLICE = 64 << 20


def new(name: str) -> Any:
    """A hasher with `update`, `digest` and `hexdigest`: xxh3 (128 bits), blake3 or sha256."""
    if name == "xxh3":
        from xxhash import xxh3_128

        return xxh3_128()
    if name == "blake3":
        from blake3 import blake3

        return blake3()
    from hashlib import sha256

    return sha256()


def one_shot(name: str) -> Callable[[Any], bytes]:
    """A function from bytes to their digest, without an object in between where the library has that."""
    if name == "xxh3":
        from xxhash import xxh3_128_digest

        return xxh3_128_digest

    def digest(data: Any) -> bytes:
        hasher = new(name)
        hasher.update(data)
        value: bytes = hasher.digest()
        return value

    return digest


def update_from(hasher: Any, fd: int, offset: int, count: int) -> int:
    """Hash up to `count` bytes of a file from `offset`; how many there were. The file's position stays."""
    view = scratch()
    done = 0
    while done < count:
        got = preadv(fd, [view[: count - done]], offset + done)
        if not got:
            break
        hasher.update(view[:got])
        done += got
    return done


_ZEROS = bytes(STEP)


def update_zeros(hasher: Any, count: int) -> None:
    """Hash `count` zero bytes."""
    while count > 0:
        hasher.update(memoryview(_ZEROS)[:count] if count < STEP else _ZEROS)
        count -= STEP
