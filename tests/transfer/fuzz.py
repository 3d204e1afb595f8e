"""A fuzz target: bytes as a sender would say them after its greeting. `python -m tests.transfer.fuzz
[SECONDS]`.

Each input of the corpus is fed to a real receiver in one loop over a socket pair; whatever it says, the
receiver ends with a PyncError or a result, in time, and writes nothing outside its directory. New inputs
are made by changing those of the corpus; one that raises anything else is kept beside it as `crash-...`.
"""

from __future__ import annotations

import random
import socket
import sys
import tempfile
import time
from pathlib import Path

from pync.errors import PyncError
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.report import silent
from pync.transfer.filing import ReceiveTerms
from pync.transfer.handshake import Secret, shake
from pync.transfer.place import Place
from pync.transfer.receiver import Incoming, Reception
from pync.transfer.wire import Limits, Wire
from pync.transport.stream import StreamSocket

CORPUS = Path(__file__).parent / "corpus"
SIZE_MAX = 64 << 10  # fits the socket's buffer, so that one thread can write it all before the receiver runs


class _Quick(Limits):
    greeting = stall = 0.5
    keepalive = 5.0


def feed(data: bytes, out: Path) -> None:
    """One input through a receiver into `out`. Raises only for a bug."""
    ours, theirs = socket.socketpair()
    with Loop() as loop, theirs:
        theirs.sendall(proto.Greeting(proto.SENDS, 0).encode() + data[:SIZE_MAX])
        theirs.shutdown(socket.SHUT_WR)
        channel = StreamSocket(ours)
        try:
            loop.run(_receive(loop, channel, out))
        except PyncError:
            pass
        finally:
            channel.close()


async def _receive(loop: Loop, channel: StreamSocket, out: Path) -> None:
    wire = Wire(loop, channel, duplex=False, limits=_Quick())
    try:
        await shake(wire, proto.RECEIVES, Secret(None))
        begin = messages.parse_begin((await wire.frame()).payload)
        place = Place(f"{out}/")
        await Incoming(Reception(loop, ReceiveTerms(), silent, place), wire, begin).run()
    finally:
        channel.detach(loop)


def _reseal(data: bytes) -> bytes:
    """Make the checks of changed frames right again, or nothing but the check would ever be tested."""
    out, at = bytearray(), 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at + 1 : at + 4], "big")
        if length > proto.FRAME_MAX or at + 4 + length + 8 > len(data):
            break
        out += proto.encode(data[at], data[at + 4 : at + 4 + length])
        at += 4 + length + 8
        if data[at - 12 - length] == proto.RUN and length >= 4:
            run = int.from_bytes(data[at - 8 - length : at - 4 - length], "big")
            out += data[at : at + run]
            at += run
    return bytes(out + data[at:])


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A neighbour of `data`."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        choice = rng.randrange(4)
        if choice == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif choice == 1:
            changed[at:at] = rng.randbytes(rng.randint(1, 9))
        elif choice == 2:
            del changed[at : at + rng.randint(1, 9)]
        elif changed:
            start = rng.randrange(len(changed))
            changed[at:at] = changed[start : start + rng.randint(1, 60)]
    return _reseal(bytes(changed)) if rng.random() < 0.8 else bytes(changed)


def main(seconds: float) -> int:
    """Mutate the corpus for so long; the number of crashes."""
    rng = random.Random()
    inputs = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    until = time.monotonic() + seconds
    runs = crashes = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            data = mutate(rng.choice(inputs), rng)
            runs += 1
            try:
                feed(data, Path(folder))
            except Exception as error:
                crashes += 1
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                (CORPUS / f"crash-{runs}").write_bytes(data)
    print(f"{runs} inputs, {crashes} crashes")
    return crashes


if __name__ == "__main__":
    sys.exit(1 if main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0) else 0)
