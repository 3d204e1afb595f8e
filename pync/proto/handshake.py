"""Handshakes as generators: what one may ask of whoever drives it.

A handshake yields `Write` (bytes for the other side), `Exactly` or `Head` (what it has to read next, and gets
sent back). It never sees a socket or a clock, so it can be tested byte by byte.

`wanted` says how many bytes may be read without any risk of reading past what was asked for. The driver
therefore never holds bytes that belong to the stream behind the handshake: a tunnel through a proxy is the
proxy's own descriptor with nothing left over, and movers may go straight to it. It costs a system call for
every two bytes of an HTTP head, some 0.1 ms for a usual one, which is less than the round trip that it
answers.
"""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

from pync.errors import NetworkError


class Write(NamedTuple):
    """Send these bytes; nothing comes back."""

    data: bytes


class Exactly(NamedTuple):
    """Read that many bytes."""

    size: int


class Head(NamedTuple):
    """Read up to and including an empty line. LF alone ends a line too, as many parsers take it (RFC 9112,
    2.2).
    """

    limit: int  # longer ones are a NetworkError


Read = Exactly | Head
Step = Write | Exactly | Head

Result = TypeVar("Result")
# The bytes read come back from `yield`; b"" after a Write.
Handshake = Generator[Step, bytes, Result]


class PeerClosed(NetworkError):
    """Raised inside a handshake where the other side ended or reset the connection before a step was done."""


class Refused(NetworkError):
    """The proxy works and could not, or would not, connect to the target: another address may do."""


def wanted(step: Read, data: bytearray) -> int:
    """How many more bytes to read, 0 when `data` is what `step` asked for; raises NetworkError past a limit.

    The end of a head is two LF with at most a CR between them, so that two bytes are safe to read, but only
    one after an LF.
    """
    if isinstance(step, Exactly):
        return step.size - len(data)
    if data.endswith((b"\n\n", b"\n\r\n")):
        return 0
    if len(data) >= step.limit:
        raise NetworkError(f"the head of the answer is longer than {step.limit} bytes")
    return 1 if data.endswith((b"\n", b"\n\r")) else 2
