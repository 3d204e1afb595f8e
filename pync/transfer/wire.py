"""One connection of a transfer: frames and bodies over a channel, plain or sealed, with nobody waiting for
ever.

The reading side is one buffer, filled from the channel (or with what a record opened to) and parsed in
place. The writing side collects frames and pushes them out together. Whoever waits also watches the other
direction: a sender keeps reading confirmations while its bytes are stuck, so the two ends cannot block each
other.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any

from pync.errors import ExitCode, IntegrityError, LocalError, NetworkError, PyncError, TimedOut, reason
from pync.loop import Flag, Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable
from pync.proto.pacing import TokenBucket
from pync.transfer import digests
from pync.transport.channel import WANT_READ, Channel

if TYPE_CHECKING:
    from pync.proto.secret import Opener, Sealer

IN_SIZE = 1 << 20
# Frames are pushed out once that much is waiting; a record holds them all.
OUT_SIZE = 256 << 10
# One read of plain bytes: handed to another thread, larger ones pay.
READ_STEP = 256 << 10
# One record of ours: plain and sealed together must fit a core's second-level cache (512 KiB and up), else
# encrypting drops to half its speed.
SEAL_STEP = 128 << 10
# A write of a few bytes only fills our own system's buffer; one this large shows that the peer reads.
SIGN_OF_LIFE = 4096
INBOX_MAX = 4 * proto.WINDOW


class Limits:
    """How long to wait, in seconds. Class attributes are the defaults; tests shorten them."""

    greeting = 15.0  # for the first bytes and the key exchange
    stall = 30.0  # without a byte from the peer, nor one taken by it
    keepalive = 5.0  # after that long in a wait we say that we live


class Lost(NetworkError):
    """The connection broke or ended early: worth another try."""


class Silent(Lost):
    """Connected, and not a word: most likely a netcat that listens."""

    def __init__(self) -> None:
        super().__init__("the peer says nothing: it does not speak pync transfer; use --raw")


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


class Wire:
    """See the module. `duplex`: this end may write a lot, so it reads while it waits for room."""

    def __init__(
        self, loop: Loop, channel: Channel, *, duplex: bool, limits: Limits, idle: float | None = None
    ) -> None:
        self.loop = loop
        self.channel = channel
        self.body_sent = 0
        self.body_received = 0
        self.unpacked = 0  # bytes that compression saved
        self.blocked = 0.0  # seconds spent waiting for the network to take bytes
        self.bucket: TokenBucket | None = None
        self._duplex = duplex
        self.limits = limits
        self._idle = idle
        self._in = memoryview(bytearray(IN_SIZE))
        self._spare: memoryview | None = None
        self._start = self._end = 0
        self._inbox: deque[proto.Frame] = deque()
        self._out: list[bytes] = []
        self._out_size = 0
        self._backlog: memoryview = memoryview(b"")
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._sealed_in: memoryview = memoryview(b"")
        self._sealed_end = 0
        self._plain: memoryview = memoryview(b"")
        self._seal_out: memoryview = memoryview(b"")
        self._ready: Flag = loop.flag()
        self._doomed: PyncError | None = None
        # No word of ours may come in between: true during the handshake and inside a run of raw bytes.
        self.quiet = True
        self._alive = loop.now()
        self._last_wait = loop.now()

    # --- waiting -------------------------------------------------------------------------------------

    def doom(self, error: PyncError) -> None:
        """Whoever waits here, now or next, raises `error`: the other end is back on a new connection."""
        self._doomed = error
        self._ready.set()

    async def pause(
        self,
        *,
        read: bool,
        write: bool,
        until: float | None = None,
        source: Channel | None = None,
        sink: Channel | None = None,
        patient: bool = False,
    ) -> bool:
        """Wait until the channel (or a readable `source`, a writable `sink`) may have moved; False at
        `until`.

        Says that we live now and then. Raises Lost when the peer has been silent too long (unless `patient`:
        we are waiting for somebody else and do not listen), TimedOut for -i.
        """
        loop, channel, ready = self.loop, self.channel, self._ready
        if self._doomed is not None:
            raise self._doomed
        now = loop.now()
        if now - self._last_wait > 1.0:
            self._alive = now  # we were busy and did not listen: that silence is ours
        keepalive = now + self.limits.keepalive
        readers = [one for one in (channel if read else None, source) if one is not None]
        writers = [one for one in (channel if write else None, sink) if one is not None]
        for one in readers:
            one.watch_read(loop, ready.set)
        for one in writers:
            one.watch_write(loop, ready.set)
        try:
            while True:
                dead = self._alive + self.limits.stall
                idle = self._alive + self._idle if self._idle is not None else dead + 1
                due = min(dead, idle, keepalive, until if until is not None else dead)
                if await ready.wait(due):
                    if self._doomed is not None:
                        raise self._doomed
                    return True
                now = loop.now()
                if until is not None and now >= until:
                    return False
                if patient:
                    self._alive = now
                else:
                    self._check_silence(now, dead, idle)
                if now >= keepalive:
                    keepalive = now + self.limits.keepalive
                    self.keepalive()
        finally:
            for one in readers:
                one.watch_read(loop, None)
            for one in writers:
                one.watch_write(loop, None)
            ready.clear()
            self._last_wait = loop.now()

    def _check_silence(self, now: float, dead: float, idle: float) -> None:
        if now >= idle:
            raise TimedOut(f"idle for {self._idle:g}s")
        if now >= dead:
            raise Lost(f"the other end has been silent for {self.limits.stall:g}s")

    def keepalive(self) -> None:
        """Say that we are busy, not dead, if that can be said without waiting."""
        if not self.quiet and not self._backlog and not self._out:
            self.put(proto.KEEPALIVE)
        self.push()

    async def busy(self, function: Any, *args: Any) -> Any:
        """`function(*args)` in a thread, while we keep telling the peer that we live."""
        outcome: list[Any] = []
        done = self.loop.flag()

        async def work() -> None:
            try:
                outcome.append(await self.loop.call_in_thread(function, *args))
            except Exception as error:
                outcome.append(error)
            done.set()

        self.loop.spawn(work())
        while not await done.wait(self.loop.now() + self.limits.keepalive):
            self.keepalive()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    # --- reading -------------------------------------------------------------------------------------

    def seal_with(self, sealer: Sealer, opener: Opener) -> None:
        """From here on both directions travel in records. Everything before must have been flushed."""
        from pync.proto import secret

        self._sealer, self._opener = sealer, opener
        size = secret.RECORD_MAX + secret.HEADER.size + secret.TAG_SIZE
        self._sealed_in = memoryview(bytearray(size))
        self._seal_out = memoryview(bytearray(size))
        rest = self._in[self._start : self._end]  # records that came right behind the last plain frame
        self._sealed_end = len(rest)
        self._sealed_in[: len(rest)] = rest
        self._start = self._end = 0

    def _read(self, view: memoryview) -> int:
        """Bytes read, or a WANT_*; raises Lost at the end of the stream."""
        try:
            count = self.channel.read_into(view)
        except OSError as error:
            raise Lost(f"receive: {reason(error)}") from None
        if count is None:
            raise Lost("the other end closed the connection before the transfer was complete")
        if count > 0:
            self._alive = self.loop.now()
        return count

    def fill_now(self) -> int:
        """Read what is there: bytes that became available, or a WANT_*."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._in) or self._end - self._start < (4 << 10) < self._start:
            self._in[: self._end - self._start] = bytes(self._in[self._start : self._end])
            self._start, self._end = 0, self._end - self._start
        if self._opener is not None:
            return self._fill_sealed()
        count = self._read(self._in[self._end : self._end + READ_STEP])
        if count > 0:
            self._end += count
        return count

    def _fill_sealed(self) -> int:
        opener = self._opener
        assert opener is not None
        record = self._sealed_in
        size = opener.record_size(record[:4]) if self._sealed_end >= 4 else 4
        while self._sealed_end < size:
            # reading on past this record would mean moving the surplus: one exact read more is cheaper
            count = self._read(record[self._sealed_end : size])
            if count < 0:
                return count
            self._sealed_end += count
            if size == 4 and self._sealed_end == 4:
                size = opener.record_size(record[:4])
        plain = size - 4 - 16
        if plain > len(self._in) - self._end:
            held = self._end - self._start
            if plain > len(self._in) - held:
                grown = memoryview(bytearray(held + plain))
                grown[:held] = self._in[self._start : self._end]
                self._in = grown
            else:
                self._in[:held] = bytes(self._in[self._start : self._end])
            self._start, self._end = 0, held
        opened = opener.open_into(record[:size], self._in[self._end :])
        surplus = self._sealed_end - size
        if surplus:  # only right after the key exchange
            record[:surplus] = bytes(record[size : self._sealed_end])
        self._sealed_end = surplus
        self._end += opened
        return opened

    async def fill(self, until: float | None = None) -> None:
        """Wait until more bytes are there; raises TimeoutError at `until`."""
        while (count := self.fill_now()) <= 0:
            if count == 0:
                continue  # an empty record
            if not await self.pause(
                read=count == WANT_READ, write=count != WANT_READ or bool(self._backlog), until=until
            ):
                raise TimeoutError
            if self._backlog:
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

    async def frame(self, until: float | None = None) -> proto.Frame:
        """The next frame. What we have to say goes out first; raises TimeoutError at `until`."""
        while (frame := self.frame_now()) is None:
            self.push()
            await self.fill(until)
        return frame

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

    def flip(self) -> bool:
        """Read into other memory from now on, so that the view `take` gave stays. False while bytes are left
        in this one: then the view is valid only until the next `take`."""
        if self._start != self._end:
            return False
        if self._spare is None or len(self._spare) < len(self._in):
            self._spare = memoryview(bytearray(len(self._in)))
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

    # --- writing -------------------------------------------------------------------------------------

    def put(self, kind: int, payload: bytes = b"") -> None:
        """Queue one frame."""
        data = proto.encode(kind, payload)
        self._out.append(data)
        self._out_size += len(data)

    @property
    def crowded(self) -> bool:
        """Whether enough is queued to be worth a flush."""
        return self._out_size >= OUT_SIZE

    def _write(self, view: memoryview) -> int:
        try:
            count = self.channel.write(view)
        except OSError as error:
            # what the peer said before it broke off explains more than "broken pipe"
            self._last_words()
            raise Lost(f"send: {reason(error)}") from None
        if count >= SIGN_OF_LIFE:
            self._alive = self.loop.now()
        return count

    def _last_words(self) -> None:
        try:
            self.poll()
        except (Lost, OSError):
            pass

    def push(self) -> bool:
        """Write what is queued as far as the network takes it; True when all of it went."""
        while True:
            while self._backlog:
                count = self._write(self._backlog)
                if count < 0:
                    return False
                self._backlog = self._backlog[count:]
            if not self._out:
                return True
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self._backlog = memoryview(data if self._sealer is None else self._seal(data))

    def _seal(self, data: bytes) -> bytes:
        from pync.proto.secret import RECORD_MAX

        assert self._sealer is not None
        return b"".join(
            self._sealer.seal(memoryview(data)[at : at + RECORD_MAX])
            for at in range(0, len(data), RECORD_MAX)
        )

    async def flush(self) -> None:
        """Write everything that is queued."""
        while not self.push():
            await self._room()

    async def _room(self) -> None:
        begin = self.loop.now()
        await self.pause(read=self._duplex, write=True)
        self.blocked += self.loop.now() - begin
        if self._duplex:
            self.poll()

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

    # --- bodies --------------------------------------------------------------------------------------

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
        send = self._sendfile if self._sealer is None and self.channel.plain else self._send_read
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
            self.body_sent += sent
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
        return done

    async def _send_read(self, fd: int, offset: int, count: int, hasher: Any) -> int:
        if not self._plain:
            self._plain = memoryview(bytearray(SEAL_STEP))
        plain = self._plain
        done = 0
        while done < count:
            got = read_fully(fd, plain[: min(len(plain), count - done)], offset + done)
            if not got:
                break
            hasher.update(plain[:got])
            if self._sealer is not None:
                size = self._sealer.seal_into(plain[:got], self._seal_out)
                self._backlog = self._seal_out[:size]
            else:
                self._backlog = plain[:got]
            await self.flush()
            done += got
        return done

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
            got = os.preadv(fd, [view[done:]], offset + done)
        except OSError as error:
            raise LocalError(f"read: {reason(error)}") from None
        if not got:
            break
        done += got
    return done


__all__ = ["IntegrityError", "Limits", "Lost", "PeerAborted", "Silent", "Wire", "read_fully"]
