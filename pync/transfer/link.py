"""The lower half of a Wire: bytes in and out of a channel, plain or sealed in records, and waiting for them.

Whoever waits also watches the other direction: a sender keeps reading confirmations while its bytes are
stuck, so the two ends cannot block each other. Nobody waits for ever: a peer that is silent too long is
given up, and whoever waits says now and then that it lives.
"""

from __future__ import annotations

from math import inf

from pync.errors import ExitCode, IntegrityError, NetworkError, PyncError, TimedOut, reason
from pync.loop import Flag, Loop
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable
from pync.transport.channel import WANT_READ, Channel, aligned_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.proto.secret import Opener, Sealer

IN_SIZE = 1 << 20
# One read of plain bytes: handed to another thread, larger ones pay.
READ_STEP = 256 << 10
# A write of a few bytes only fills our own system's buffer; one this large shows that the peer reads.
SIGN_OF_LIFE = 4096


class Limits:
    """How long to wait, in seconds. Class attributes are the defaults; tests shorten them."""

    greeting = 8.0  # for the first bytes and the key exchange
    stall = 30.0  # without a byte from the peer, nor one taken by it
    keepalive = 5.0  # after that long in a wait we say that we live
    last_words = 1.0  # for an end that gives up to say why


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


def record_buffer() -> memoryview:
    """Room for one sealed record."""
    from pync.proto import secret

    # What follows a record's header is read in one call: that is what must lie on a cache line.
    before = 64 - secret.HEADER.size
    return aligned_buffer(before + secret.HEADER.size + secret.RECORD_MAX + secret.TAG_SIZE)[before:]


class Link:
    """See the module. `duplex`: this end may write a lot, so it reads while it waits for room."""

    def __init__(
        self, loop: Loop, channel: Channel, *, duplex: bool, limits: Limits, idle: float | None = None
    ) -> None:
        self.loop = loop
        self.channel = channel
        self.blocked = 0.0  # seconds spent waiting for the network to take bytes
        self._duplex = duplex
        self.limits = limits
        self._idle = idle
        self._in = aligned_buffer(IN_SIZE)
        self._start = self._end = 0
        self._out: list[bytes] = []
        self._out_size = 0
        self._backlog: memoryview = memoryview(b"")
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._sealed_in: memoryview = memoryview(b"")
        self._sealed_end = 0
        self._seal_out: memoryview = memoryview(b"")
        self._ready: Flag = loop.flag()
        self._doomed: PyncError | None = None
        self._alive = loop.now()
        self._last_wait = loop.now()
        self._by = inf  # when this end waits for nothing any more

    @property
    def sealed(self) -> bool:
        """Whether bytes travel in encrypted records."""
        return self._sealer is not None

    def doom(self, error: PyncError) -> None:
        """Whoever waits here, now or next, raises `error`: the other end is back on a new connection."""
        self._doomed = error
        self.wake()

    def wake(self) -> None:
        """Whoever waits here looks again at what it waits for."""
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
                dead = min(self._alive + self.limits.stall, self._by)
                idle = self._alive + self._idle if self._idle is not None else inf
                due = min(dead, idle, keepalive, until if until is not None else dead)
                if await ready.wait(due) or ready.is_set:
                    if self._doomed is not None:
                        raise self._doomed
                    return True
                now = loop.now()
                if until is not None and now >= until:
                    return False
                stopped = now - due > 1.0  # we were, or the machine slept: that silence is ours, too
                if (patient or stopped) and now < self._by:
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

    def seal_with(self, sealer: Sealer, opener: Opener) -> None:
        """From here on both directions travel in records. Everything before must have been flushed."""
        self._sealer, self._opener = sealer, opener
        self._sealed_in, self._seal_out = record_buffer(), record_buffer()
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

    def look(self) -> None:
        """Whoever has work that takes long looks whether the other end is still there; raises Lost.

        Reads on as far as there is room and parses nothing.
        """
        held = self._end - self._start
        if held == 0 or (self._opener is None and held < len(self._in) // 2):
            self.fill_now()

    def _record_now(self) -> int:
        """Read the next record: its length once it is whole, or a WANT_*."""
        opener, record = self._opener, self._sealed_in
        assert opener is not None
        size = opener.record_size(record[:4]) if self._sealed_end >= 4 else 4
        while self._sealed_end < size:
            # reading on past this record would mean moving the surplus: one exact read more is cheaper
            count = self._read(record[self._sealed_end : size])
            if count < 0:
                return count
            self._sealed_end += count
            if size == 4 and self._sealed_end == 4:
                size = opener.record_size(record[:4])
        return size

    def _fill_sealed(self) -> int:
        opener, record = self._opener, self._sealed_in
        assert opener is not None
        size = self._record_now()
        if size < 0:
            return size
        plain = size - 4 - 16
        if plain > len(self._in) - self._end:
            held = self._end - self._start
            if plain > len(self._in) - held:
                grown = aligned_buffer(held + plain)
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
        except (Lost, OSError, IntegrityError):  # perhaps it is not words that come next
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
        sealer = self._sealer
        assert sealer is not None
        return b"".join(
            sealer.seal(memoryview(data)[at : at + sealer.most]) for at in range(0, len(data), sealer.most)
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

    def keepalive(self) -> None:
        """Say that we are busy, not dead, if that can be said without waiting."""
        raise NotImplementedError

    def poll(self) -> None:
        """Take in what is there; never waits."""
        raise NotImplementedError
