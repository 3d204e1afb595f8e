"""The writing half of a Wire: frames are collected and pushed out together, the bytes of bodies follow raw.

A RUN that was announced is owed: until all of its bytes are written, whatever else is said would be taken for
contents. So runs are short enough to be finished by an end that has to stop, and where that fails it says
nothing any more.
"""

from __future__ import annotations

from pync.errors import LocalError, PyncError, reason
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.pacing import TokenBucket
from pync.transfer import digests
from pync.transfer.link import Limits, Link, Lost, PeerAborted
from pync.transfer.system import os, preadv
from pync.transport.channel import Channel, aligned_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Frames are pushed out once that much is waiting; a record holds them all.
OUT_SIZE = 256 << 10
# One write of plain bytes, to a channel that encrypts them itself; and a record where one takes longer than
# QUICK seconds, since the other end has nothing of a record before it has all of it.
PLAIN_STEP = 128 << 10
QUICK = 0.1
# The length of a run follows the network (or --rate) between the first of these and RUN_MAX: one that is
# QUICK is followed by a longer one, one that took LONG seconds by a shorter one.
RUN_LEAST, RUN_FIRST = 64 << 10, 256 << 10
LONG = 0.25


class Outward(Link):
    """See the module. `duplex`: this end may write a lot, so it reads while it waits for room."""

    def __init__(
        self, loop: Loop, channel: Channel, *, duplex: bool, limits: Limits, idle: float | None = None
    ) -> None:
        super().__init__(loop, channel, duplex=duplex, limits=limits, idle=idle)
        self.body_sent = 0
        self.bucket: TokenBucket | None = None
        # No word of ours may come in between: true during the handshake and inside a run of raw bytes.
        self.quiet = True
        self.run_size = RUN_FIRST  # how long the next run of a file should be
        self._owed = 0  # bytes of a run that was announced and is not all written yet
        self._plain: memoryview = memoryview(b"")
        self._step = PLAIN_STEP

    def keepalive(self) -> None:
        """Say that we are busy, not dead, if that can be said without waiting."""
        if not self.quiet and not self._backlog and not self._out:
            self.put(proto.KEEPALIVE)
        self.push()

    def put(self, kind: int, payload: bytes = b"") -> None:
        """Queue one frame."""
        self.put_encoded(proto.encode(kind, payload))

    def put_encoded(self, frame: bytes) -> None:
        """Queue one frame as it is on the wire."""
        self._out.append(frame)
        self._out_size += len(frame)

    @property
    def crowded(self) -> bool:
        """Whether enough is queued to be worth a flush."""
        return self._out_size >= OUT_SIZE

    async def end(self) -> None:
        """The last words of our direction; best effort, nothing depends on their arrival."""
        try:
            await self.flush()
            if self._sealer is not None:
                self._backlog = memoryview(self._sealer.seal(b"", last=True))
                await self.flush()
            self.channel.send_eof()
        except (PyncError, OSError):
            pass

    def hurry(self) -> None:
        """This end gives up: what it still has to say is said now, whatever --rate says, or not at all."""
        self.bucket = None
        self._by = min(self._by, self.loop.now() + self.limits.last_words)

    async def abort(self, code: int, why: str) -> None:
        """Tell the peer why this is over, if it still listens, and wait a moment for it to hear it.

        Nothing is said inside a run that could not be finished.
        """
        if self._owed:
            return
        try:
            self.put(proto.ABORT, messages.pack_abort(messages.Abort(code, why)))
            if self.quiet:  # in the handshake: no stranger keeps us waiting
                self.push()
                return
            self.hurry()
            await self.end()
            while True:  # what is left unread when a connection is closed takes back what was said last
                self._start = self._end = 0
                await self.fill()
        except (PyncError, OSError, ValueError):
            pass

    async def send_piece(self, kind: int, payload: bytes, data: memoryview | bytes) -> None:
        """A piece of body from memory, raw, behind the frame that announces it."""
        await self.paced(len(data))
        self.put(kind, payload)
        self._out.append(bytes(data))
        await self.flush()
        self.body_sent += len(data)

    async def send_run(self, fd: int, offset: int, count: int, hasher: Any) -> int:
        """A run of `count` bytes of a file from `offset`, hashed on the way; how many the file still had.

        The rest is made up with zeros: the length was promised. The caller ends such a body as broken. What
        stops this end in the middle of a run is raised once the run is finished, if that takes no time.
        """
        self.put(proto.RUN, messages.pack_run(count))
        self.quiet, self._owed = True, count
        begin = self.loop.now()
        try:
            await self._run(fd, offset + count, hasher)
            done = count - self._owed
            await self._made_up()
        except (Lost, PeerAborted):
            raise
        except BaseException:
            self.hurry()
            try:
                await self._run(fd, offset + count, hasher)
            except PyncError:
                pass  # then the rest stays owed
            self.quiet = bool(self._owed)
            raise
        self.quiet = False
        self._fit(self.loop.now() - begin, count)
        return done

    async def _run(self, fd: int, end: int, hasher: Any) -> None:
        """What is owed of a run up to `end`, as far as the file has it."""
        direct = self._sealer is None and self.channel.plain and hasattr(os, "sendfile")
        send = self._sendfile if direct else self._send_read
        await self.flush()
        while self._owed:
            step = self._owed
            if self.bucket is not None:
                await self._pace()
                step = min(step, max(1, self.bucket.allowance(self.loop.now())))
            sent = await send(fd, end - self._owed, step, hasher)
            if self.bucket is not None:
                self.bucket.spend(sent, self.loop.now())
            if sent < step:
                return

    async def _made_up(self) -> None:
        missing = self._owed
        while missing > 0:
            self._out.append(bytes(min(missing, digests.STEP)))
            await self.flush()
            missing -= digests.STEP
        self._owed = 0

    def _fit(self, seconds: float, count: int) -> None:
        if seconds > LONG:
            self.run_size = max(RUN_LEAST, self.run_size // 2)
        elif seconds < QUICK and count == self.run_size:
            self.run_size = min(2 * self.run_size, proto.RUN_MAX)

    async def _sendfile(self, fd: int, offset: int, count: int, hasher: Any) -> int:
        done = 0
        while done < count:
            try:
                sent = os.sendfile(self.channel.write_fd, fd, offset + done, count - done)
            except BlockingIOError:
                await self._room()
                continue
            except OSError as error:
                self._last_words()
                raise Lost(f"send: {reason(error)}") from None
            if not sent:
                break
            self._alive = self.loop.now()
            digests.update_from(hasher, fd, offset + done, sent)
            done += sent
            self._owed -= sent
            self.body_sent += sent
        return done

    async def _send_read(self, fd: int, offset: int, count: int, hasher: Any) -> int:
        if not self._plain:
            self._plain = aligned_buffer(PLAIN_STEP if self._sealer is None else self._sealer.most)
        done = 0
        while done < count:
            plain = self._plain[: min(self._step, count - done)]
            got = read_fully(fd, plain, offset + done)
            if not got:
                break
            hasher.update(plain[:got])
            begin = self.loop.now()
            if self._sealer is not None:
                size = self._sealer.seal_into(plain[:got], self._seal_out)
                self._backlog = self._seal_out[:size]
            else:
                self._backlog = plain[:got]
            self._owed -= got
            await self.flush()
            quick = self.loop.now() - begin < QUICK
            self._step = min(2 * self._step, len(self._plain)) if quick else max(self._step // 2, PLAIN_STEP)
            done += got
            self.body_sent += got
        return done

    async def paced(self, count: int) -> None:
        """Wait until `count` bytes that are about to be queued may go."""
        if self.bucket is not None and count:
            await self.flush()
            await self._pace()
            self.bucket.spend(count, self.loop.now())

    async def _pace(self) -> None:
        bucket, loop = self.bucket, self.loop
        assert bucket is not None
        while bucket.allowance(loop.now()) <= 0:
            if self._duplex:
                if await self.pause(read=True, write=bool(self._backlog), until=bucket.ready_at(loop.now())):
                    self.poll()
            else:
                await loop.sleep_until(bucket.ready_at(loop.now()))


def read_fully(fd: int, view: memoryview, offset: int) -> int:
    """Fill `view` from a file; fewer bytes only at its end. Raises LocalError."""
    done = 0
    while done < len(view):
        try:
            got = preadv(fd, [view[done:]], offset + done)
        except OSError as error:
            raise LocalError(f"read: {reason(error)}") from None
        if not got:
            break
        done += got
    return done
