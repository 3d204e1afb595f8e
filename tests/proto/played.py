"""Plays the other side of a handshake: bytes that arrive in given pieces, then the end of the connection."""

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from pync.proto.handshake import Handshake, PeerClosed, Write, wanted


class Played(NamedTuple):
    """What a handshake returned, all it sent, and what of the other side's bytes it left alone."""

    result: Any
    sent: bytes
    left: bytes


def play(handshake: Handshake[Any], answers: Iterable[bytes]) -> Played:
    """Run `handshake`; raises what it raises. Empty pieces are dropped: a read of nothing is no read."""
    pieces = deque(piece for piece in answers if piece)
    sent = bytearray()
    try:
        step = next(handshake)
        while True:
            if isinstance(step, Write):
                sent += step.data
                step = handshake.send(b"")
                continue
            data = bytearray()
            while size := wanted(step, data):
                if not pieces:
                    step = handshake.throw(PeerClosed("it closed the connection"))
                    break
                piece = pieces.popleft()
                data += piece[:size]
                if piece[size:]:
                    pieces.appendleft(piece[size:])
            else:
                step = handshake.send(bytes(data))
    except StopIteration as stop:
        return Played(stop.value, bytes(sent), b"".join(pieces))


def singly(data: bytes) -> list[bytes]:
    """Every byte in a read of its own."""
    return [data[at : at + 1] for at in range(len(data))]
