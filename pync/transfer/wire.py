"""One connection of a transfer: frames and bodies over a link.

The reading side is one buffer, filled from the channel (or with what a record opened to) and parsed in
place. The writing side collects frames and pushes them out together; bodies go straight from file to socket
where nothing has to see them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pync.errors import ExitCode, LocalError, PyncError, reason
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable
from pync.proto.pacing import TokenBucket
from pync.transfer import digests
from pync.transfer.link import Limits, Link, Lost, Silent
from pync.transfer.system import os, preadv
from pync.transport.channel import WANT_READ, Channel, aligned_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from pync.proto.secret import Opener
    from pync.relay.kernel import KernelMover
else:
    from pync.lean import NamedTuple

# Frames are pushed out once that much is waiting; a record holds them all.
OUT_SIZE = 256 << 10
# One write of plain bytes, to a channel that encrypts them itself; and a record where one takes longer than
# QUICK seconds, since the other end has nothing of a record before it has all of it.
PLAIN_STEP = 128 << 10
QUICK = 0.1
INBOX_MAX = 4 * proto.WINDOW


class PeerBusy(Lost):
    """The other end serves somebody else, perhaps not for long."""

    def __init__(self) -> None:
        super().__init__("the other end is busy with another one")


class PeerAborted(PyncError):
    """The peer gave up and said why."""

    def __init__(self, abort: messages.Abort) -> None:
        super().__init__(f"the other end gave up: {printable(abort.reason)}")
        known = abort.code in (1, 2, 3, 4, 5)
        self.code = ExitCode(abort.code) if known else ExitCode.NETWORK


class Record(NamedTuple):
    """A sealed record of a body, whole, for somebody else to open."""

    opener: Opener
    number: int
    memory: memoryview
    plain: int  # bytes it opens to

    def open_into(self, out: memoryview) -> int:
        """See `Opener.open_as`."""
        return self.opener.open_as(self.number, self.memory[: self.plain + 4 + 16], out)


class Wire(Link):
    """See the module. `duplex`: this end may write a lot, so it reads while it waits for room."""

    def __init__(
        self, loop: Loop, channel: Channel, *, duplex: bool, limits: Limits, idle: float | None = None
    ) -> None:
        super().__init__(loop, channel, duplex=duplex, limits=limits, idle=idle)
        self.body_sent = 0
        self.body_received = 0
        self.unpacked = 0  # bytes that compression saved
        self.bucket: TokenBucket | None = None
        # No word of ours may come in between: true during the handshake and inside a run of raw bytes.
        self.quiet = True
        self._inbox: deque[proto.Frame] = deque()
        self._spare: memoryview | None = None
        self._plain: memoryview = memoryview(b"")
        self._step = PLAIN_STEP

    def keepalive(self) -> None:
        """Say that we are busy, not dead, if that can be said without waiting."""
        if not self.quiet and not self._backlog and not self._out:
            self.put(proto.KEEPALIVE)
        self.push()

    def _parse(self) -> proto.Frame | None:
        while True:
            start, view = self._start, self._in
            held = self._end - start
            if held < proto.HEADER_SIZE:
                return None
            size = proto.frame_size(view, start)
            if held < size:
                return None
            self._start = start + size
            frame = proto.decode(view[start : start + size])
            if frame.kind == proto.ABORT:
                abort = messages.parse_abort(frame.payload)
                # a sender that was killed and started again is early: the old one has not been given up yet
                raise PeerBusy if abort.code == messages.BUSY else PeerAborted(abort)
            if frame.kind < proto.SKIPPABLE:
                return frame

    def frame_now(self) -> proto.Frame | None:
        """The next frame that already arrived, without asking the channel."""
        if self._inbox:
            return self._inbox.popleft()
        return self._parse()

    def ahead(self) -> memoryview:
        """What arrived and is not parsed yet, to be read in place: valid until somebody waits for more."""
        return self._in[self._start : self._start if self._inbox else self._end]

    def pass_over(self, count: int) -> None:
        """The first `count` bytes of `ahead` are parsed."""
        self._start += count

    async def frame(self, until: float | None = None) -> proto.Frame:
        """The next frame. What we have to say goes out first; raises TimeoutError at `until`."""
        while (frame := self.frame_now()) is None:
            await self.more(until)
        return frame

    async def more(self, until: float | None = None) -> None:
        """Wait for more bytes. What we have to say goes out first; raises TimeoutError at `until`."""
        self.push()
        await self.fill(until)

    def poll(self) -> None:
        """Take in frames that are there, for `frame_now`; never waits."""
        try:
            while self.fill_now() >= 0:
                self._collect()
        finally:
            self._collect()

    def _collect(self) -> None:
        while (frame := self._parse()) is not None:
            self._inbox.append(frame)
        if len(self._inbox) > INBOX_MAX:
            raise proto.ProtocolError("the peer sent more answers than there were questions")

    async def take(self, most: int) -> memoryview:
        """At least one and at most `most` bytes of a body; the view is valid until the next call."""
        if self._start == self._end:
            self.push()
            if self.bucket is not None:
                await self._pace()
            await self.fill()
        count = min(most, self._end - self._start)
        view = self._in[self._start : self._start + count]
        self._start += count
        self.body_received += count
        if self.bucket is not None:
            self.bucket.spend(count, self.loop.now())
        return view

    @property
    def carries(self) -> bool:
        """Whether the next bytes of a body are on the plain descriptor, for a kernel mover to take."""
        return self._sealer is None and self.channel.plain and self._start == self._end

    async def record(self, least: int, most: int, spare: Callable[[], memoryview]) -> Record | None:
        """The next record as it is, in memory that is the caller's now; `spare` gives other memory for it.

        None, and it waits for `take`, when its plain bytes are fewer than `least`, or more than `most` of a
        body, or when there is something before it.
        """
        if self._opener is None or self._start != self._end:
            return None
        self.push()
        if self.bucket is not None:
            await self._pace()
        while (size := self._record_now()) < 0:
            await self.pause(read=size == WANT_READ, write=size != WANT_READ or bool(self._backlog))
            if self._backlog:
                self.push()
        record, plain = self._sealed_in, size - 4 - 16
        if not least <= plain <= most or self._sealed_end != size or self._opener.is_last(record):
            return None
        self._sealed_in, self._sealed_end = spare(), 0
        self.body_received += plain
        if self.bucket is not None:
            self.bucket.spend(plain, self.loop.now())
        return Record(self._opener, self._opener.pass_on(), record, plain)

    async def carry(self, mover: KernelMover, most: int) -> int:
        """At least one and at most `most` bytes of a body, carried by `mover`, past our memory.

        Raises Lost, and what the mover raises because of its sink.
        """
        self.push()
        if self.bucket is not None:
            await self._pace()
            most = min(most, max(1, self.bucket.allowance(self.loop.now())))
        while (count := self._carried(mover, most)) <= 0:
            await self.pause(read=True, write=bool(self._backlog))
            if self._backlog:
                self.push()
        self._alive = self.loop.now()
        self.body_received += count
        if self.bucket is not None:
            self.bucket.spend(count, self.loop.now())
        return count

    def _carried(self, mover: KernelMover, most: int) -> int:
        try:
            count = mover.fill(most)
        except ConnectionError as error:
            raise Lost(f"receive: {reason(error)}") from None
        if count is None:
            raise Lost("the other end closed the connection before the transfer was complete")
        return count

    def flip(self) -> bool:
        """Read into other memory from now on, so that the view `take` gave stays. False while bytes are left
        in this one: then the view is valid only until the next `take`."""
        if self._start != self._end:
            return False
        if self._spare is None or len(self._spare) < len(self._in):
            self._spare = aligned_buffer(len(self._in))
        self._in, self._spare = self._spare, self._in
        self._start = self._end = 0
        return True

    async def greeting(self, mine: proto.Greeting) -> tuple[proto.Greeting, bytes]:
        """Exchange greetings; the peer's and its bytes. Raises NotFramed, Lost, or what `agree` raises."""
        until = self.loop.now() + self.limits.greeting
        self._out.append(mine.encode())
        self.push()
        while True:
            parsed = proto.parse_greeting(self._in[self._start : self._end])
            if parsed is not None:
                raw = bytes(self._in[self._start : self._start + parsed[1]])
                self._start += parsed[1]
                proto.agree(mine, parsed[0])
                return parsed[0], raw
            try:
                await self.fill(until)
            except TimeoutError:
                raise Silent from None

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

    def abort(self, code: int, why: str) -> None:
        """Tell the peer why this is over, if it still listens."""
        try:
            self.put(proto.ABORT, messages.pack_abort(messages.Abort(code, why)))
            self.push()
        except (PyncError, OSError, ValueError):
            pass

    async def send_bytes(self, data: memoryview | bytes) -> None:
        """A piece of body from memory, raw (its RUN or PACKED frame is queued already)."""
        self.quiet = True
        if self.bucket is not None:
            await self._pace()
            self.bucket.spend(len(data), self.loop.now())
        self._out.append(bytes(data))
        await self.flush()
        self.quiet = False
        self.body_sent += len(data)

    async def send_file(self, fd: int, offset: int, count: int, hasher: Any) -> int:
        """`count` raw bytes of a file from `offset`, hashed on the way; how many the file still had.

        The rest is made up with zeros: the length was promised. The caller ends such a body as broken.
        """
        direct = self._sealer is None and self.channel.plain and hasattr(os, "sendfile")
        send = self._sendfile if direct else self._send_read
        self.quiet = True
        await self.flush()
        done = 0
        while done < count:
            step = count - done
            if self.bucket is not None:
                await self._pace()
                step = min(step, max(1, self.bucket.allowance(self.loop.now())))
            sent = await send(fd, offset + done, step, hasher)
            if self.bucket is not None:
                self.bucket.spend(sent, self.loop.now())
            if sent < step:
                done += sent
                break
            done += sent
        missing = count - done
        while missing > 0:
            self._out.append(bytes(min(missing, digests.STEP)))
            await self.flush()
            missing -= digests.STEP
        self.quiet = False
        return done

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


__all__ = ["Limits", "Lost", "PeerAborted", "PeerBusy", "Silent", "Wire", "read_fully"]
