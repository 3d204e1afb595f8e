"""The sending side of one connection: offers entries, sends bodies, believes nothing but confirmations."""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Awaitable, Callable

from pync.errors import LocalError, NetworkError, reason
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable
from pync.proto.transfer_inline import encode_inline
from pync.report import Event, unheard
from pync.transfer import digests
from pync.transfer.body import Body
from pync.transfer.delivery import Delivery, Waiting
from pync.transfer.events import file_event
from pync.transfer.source import OPEN_FILE, Item, changed, open_special, read_small, says_its_size, time_of
from pync.transfer.squeeze import Squeezer
from pync.transfer.system import os
from pync.transfer.wire import Lost, Wire
from pync.transport.stdio import Stdio, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Claim = Callable[[bytes, Wire], Awaitable[None]]


class Outgoing:
    """One connection of a Delivery, after greeting and secret."""

    def __init__(self, delivery: Delivery, wire: Wire) -> None:
        self._of = delivery
        self._wire = wire
        self._terms = delivery.terms
        self._checksum = delivery.terms.checksum
        self._digest_of = digests.one_shot(self._checksum)
        self._squeezer = Squeezer(delivery.terms.compress)
        self._quiet = unheard(delivery.report, "file")
        self._waiting: deque[Waiting] = deque()
        self._number = 0
        self._answer: messages.Answer | None = None
        self._done: messages.Done | None = None
        self._summary: messages.Counts | None = None

    # --- the session ---------------------------------------------------------------------------------

    async def run(self, claim: Claim | None = None) -> None:
        """Deliver everything. Returns when the receiver has confirmed all of it; raises what stopped that.

        `claim` is asked with the receiver's token before anything is sent to it.
        """
        of, wire = self._of, self._wire
        paths, total, name = len(of.walk.paths), of.walk.total(), of.walk.first_name
        begin = messages.Begin(of.token, self._checksum, paths, total, name, of.receiver, of.confirmed)
        wire.put(proto.BEGIN, messages.pack_begin(begin))
        await wire.flush()
        frame = await wire.frame()
        if frame.kind != proto.READY:
            raise proto.ProtocolError("the peer answered out of turn")
        receiver = messages.parse_ready(frame.payload)
        if claim is not None:
            await claim(receiver, wire)
        of.met(receiver)
        await self._entries()
        counts = messages.Counts(self._number, len(of.unsent), of.sent)
        wire.put(proto.FINISH, messages.pack_counts(counts))
        await wire.flush()
        while self._summary is None:
            self._handle(await wire.frame())
        if self._waiting:
            raise proto.ProtocolError("the peer ended without confirming everything")
        of.tally.overruled(self._summary.failed, self._summary.code)
        wire.put(proto.BYE)
        await wire.end()

    async def _entries(self) -> None:
        of, wire = self._of, self._wire
        for index, item in enumerate(of.walk):
            if index < of.settled and item.kind not in (messages.DIRECTORY, messages.LEAVE):
                if index == of.settled - 1 and item.path != of.settled_path:
                    of.forget()
                    raise Lost("the files changed while they were sent")
                continue
            while len(self._waiting) >= proto.WINDOW:
                await self._reply()
            if item.passed_over or item.problem:
                self._pass_over(index, item)
            elif item.kind != messages.FILE:
                await self._send(index, item)
            elif (work := self._file(index, item)) is not None:
                await work
            if index >= of.seen:
                of.seen = index + 1
            if wire.crowded:
                await wire.flush()
                self._handle_all()

    def _pass_over(self, index: int, item: Item) -> None:
        of = self._of
        if item.problem:
            self._fail(index, item, item.problem)
        elif index >= of.seen:
            facts = {"size": 0, "status": "skipped", "digest": "", "reason": item.passed_over}
            of.report(Event("file", {"name": printable(item.path), **facts}))

    def _fail(self, index: int, item: Item, why: str) -> None:
        """An entry that cannot be read; after a cut it is met once more."""
        of, path, is_file = self._of, item.path, item.kind != messages.DIRECTORY
        if index in of.unsent:
            return
        if of.tally.note(is_file=is_file, status=messages.FAILED, name=path, why=why):
            of.unsent.add(index)
            file_event(of.report, path, 0, messages.FAILED, why=why, peer=self._wire.channel.peer)

    # --- replies -------------------------------------------------------------------------------------

    async def _reply(self) -> None:
        """Wait for one frame of the receiver and act on it."""
        await self._wire.flush()
        self._handle(await self._wire.frame())

    def _handle_all(self) -> None:
        while (frame := self._wire.frame_now()) is not None:
            self._handle(frame)

    def _handle(self, frame: proto.Frame) -> None:
        if frame.kind == proto.CONFIRM:
            self._confirmed(*messages.parse_confirm(frame.payload))
        elif frame.kind == proto.DONE:
            self._settle(messages.parse_done(frame.payload))
        elif frame.kind == proto.ANSWER and self._answer is None:
            self._answer = messages.parse_answer(frame.payload)
        elif frame.kind == proto.SUMMARY and self._summary is None:
            self._summary = messages.parse_counts(frame.payload)
        else:
            raise proto.ProtocolError("the peer answered out of turn")

    def _confirmed(self, first: int, last: int) -> None:
        """Entries `first` to `last` are verified and in place."""
        of, waiting, peer = self._of, self._waiting, self._wire.channel.peer
        files = size = 0
        for number in range(first, min(last, first + proto.WINDOW) + 1):
            if not waiting or waiting[0].number != number:
                raise proto.ProtocolError("the peer confirmed something that was not sent")
            entry = waiting.popleft()
            if entry.kind in (messages.FILE, messages.STREAM) and not entry.digest:
                raise proto.ProtocolError("the peer confirmed a file before it had all of it")
            if entry.kind not in (messages.DIRECTORY, messages.LEAVE):
                files += 1
                size += entry.size
                if not self._quiet:
                    of.tell(entry, messages.OK, peer=peer)
        of.passed(entry, files)
        of.tally.arrived(files, size)

    def _settle(self, done: messages.Done) -> None:
        of = self._of
        if done.status == messages.OK:
            self._confirmed(done.number, done.number)
            return
        if not self._waiting or self._waiting[0].number != done.number:
            raise proto.ProtocolError("the peer confirmed something that was not sent")
        entry = self._waiting.popleft()
        if entry.kind in (messages.FILE, messages.STREAM) and not entry.digest:
            self._done = done  # it wants no more of the body that is on its way
        is_file = entry.kind not in (messages.DIRECTORY, messages.LEAVE)
        of.passed(entry, int(is_file))
        why = done.reason
        new = of.tally.note(is_file=is_file, status=done.status, size=entry.size, name=entry.path, why=why)
        if new and (is_file or done.status not in messages.DELIVERED):
            of.tell(entry, done.status, done.reason, peer=self._wire.channel.peer)

    # --- entries -------------------------------------------------------------------------------------

    def _put_entry(self, index: int, entry: messages.Entry) -> int:
        number = self._number
        self._number += 1
        self._waiting.append(Waiting(number, index, entry.path, entry.kind, entry.size, entry.digest))
        self._wire.put(proto.ENTRY, messages.pack_entry(entry))
        return number

    async def _send(self, index: int, item: Item) -> None:
        if item.kind == messages.STREAM:
            await self._stream(index, item)
            return
        there = item.status
        assert there is not None
        mode, mtime = there.st_mode & messages.DIRECTORY_MODE, time_of(there)
        if item.path or item.kind == messages.SYMLINK:
            self._put_entry(index, messages.Entry(item.kind, item.path, mode, mtime, target=item.target))

    def _file(self, index: int, item: Item) -> Awaitable[None] | None:
        """Queue a file that is small. What is left to do for one that is not."""
        try:
            fd = os.open(item.name, OPEN_FILE, dir_fd=item.parent)
        except OSError as error:
            self._fail(index, item, reason(error))
            return None
        try:
            there = os.fstat(fd)
            if not stat.S_ISREG(there.st_mode):
                self._fail(index, item, "it is no longer a file")
            elif there.st_size <= proto.INLINE_MAX and self._wire.bucket is None:
                return self._inline(index, item, fd, there)
            else:
                opened, fd = fd, -1
                return self._in_time(index, item, opened, there)
        except OSError as error:
            raise LocalError(f"{os.fsdecode(item.path)}: {reason(error)}") from None
        finally:
            if fd >= 0:
                os.close(fd)
        return None

    async def _in_time(self, index: int, item: Item, fd: int, there: os.stat_result) -> None:
        """A file that has to wait for the network, or for its turn. Closes it."""
        try:
            if there.st_size <= proto.INLINE_MAX:
                await self._wire.paced(there.st_size)
                work = self._inline(index, item, fd, there)
                if work is not None:
                    await work
            else:
                await self._large(index, item.path, fd, there, base=0, kind=messages.FILE)
        except OSError as error:
            raise LocalError(f"{os.fsdecode(item.path)}: {reason(error)}") from None
        finally:
            os.close(fd)

    def _inline(self, index: int, item: Item, fd: int, there: os.stat_result) -> Awaitable[None] | None:
        """Queue a small file. What is left to do for one that turns out to be a large one."""
        try:
            data = read_small(fd, there)
        except OSError as error:
            self._fail(index, item, reason(error))
            return None
        if data is None:
            self._fail(index, item, "it changed while it was read")
            return None
        path, size = item.path, len(data)
        if size > proto.INLINE_MAX:
            return self._stream(index, item._replace(status=there))
        digest = self._digest_of(data)
        self._waiting.append(Waiting(self._number, index, path, messages.FILE, size, digest))
        self._number += 1
        self._wire.put_encoded(encode_inline(path, there.st_mode & 0o777, time_of(there), data, digest))
        self._of.sent += size
        self._wire.body_sent += size
        return None

    async def _large(
        self, index: int, path: bytes, fd: int, there: os.stat_result, *, base: int, kind: int
    ) -> None:
        """A file that travels by itself: eager if it is small, else after asking what the receiver has."""
        size = max(0, there.st_size - base)
        flags = messages.EAGER if size <= proto.EAGER_MAX else 0
        if self._terms.no_resume:
            flags |= messages.AFRESH
        mode, mtime = there.st_mode & 0o777, time_of(there)
        number = self._put_entry(index, messages.Entry(kind, path, mode, mtime, size, flags))
        hasher = digests.new(self._checksum)
        offset = 0
        self._done = None
        if not flags & messages.EAGER:
            agreed = await self._agree_on_offset(number, fd, base, size, hasher)
            if agreed is None:
                return
            offset, hasher = agreed
        body = Body(self._wire, self._squeezer, hasher, self._wants_more)
        self._of.sending(index, offset, self._wire)
        whole = await body.send(fd, base, offset, size)
        self._of.sent += body.done
        why = "it changed while it was sent" if changed(fd, there) or not whole else ""
        await self._end(number, size, hasher, why)

    def _wants_more(self) -> bool:
        self._wire.poll()  # a network that takes everything at once never makes us wait, and look
        self._handle_all()
        return self._done is None

    async def _end(self, number: int, size: int, hasher: Any, why: str) -> None:
        digest = hasher.digest()
        if self._done is not None:
            end = messages.End(messages.STOPPED, 0, b"")
        elif why:
            end = messages.End(messages.BROKEN, 0, b"", why.encode())
        else:
            end = messages.End(messages.WHOLE, size, digest)
        if self._done is None:
            last = self._waiting.pop()
            assert last.number == number
            self._waiting.append(last._replace(digest=digest, size=size))
        self._wire.put(proto.END, messages.pack_end(end))
        await self._wire.flush()

    async def _agree_on_offset(
        self, number: int, fd: int, base: int, size: int, hasher: Any
    ) -> tuple[int, Any] | None:
        """Where the body starts and the digest up to there; None when the receiver wants none."""
        first = await self._next_answer(number)
        if first is None:
            return None
        if not first.offset:
            return 0, hasher
        equal = first.offset <= size
        if equal:
            equal = await self._hash_prefix(hasher, fd, base, first.offset)
        second = first if first.digest else await self._next_answer(number)
        if second is None:
            return None
        equal = equal and second.offset == first.offset and hasher.digest() == second.digest
        self._wire.put(proto.MATCH, messages.pack_match(messages.Match(number, equal)))
        if equal:
            return first.offset, hasher
        if second.whole_follows:
            return 0, digests.new(self._checksum)
        await self._wire.flush()
        while self._done is None:
            await self._reply()
        return None

    async def _next_answer(self, number: int) -> messages.Answer | None:
        """The receiver's ANSWER to this entry; None when it said DONE instead."""
        while self._answer is None and self._done is None:
            await self._reply()
        answer, self._answer = self._answer, None
        if answer is not None and answer.number != number:
            raise proto.ProtocolError("the peer answered out of turn")
        return answer

    async def _hash_prefix(self, hasher: Any, fd: int, base: int, length: int) -> bool:
        done = 0
        while done < length:
            step = min(digests.SLICE, length - done)
            if await self._wire.busy(digests.update_from, hasher, fd, base + done, step) != step:
                return False
            done += step
        return True

    # --- streams -------------------------------------------------------------------------------------

    async def _stream(self, index: int, item: Item) -> None:
        """stdin, a fifo or a device: as it comes, of unknown size; a file on stdin is a file without a
        name.
        """
        if item.parent is None and kind_of(0) == "file":
            there = os.fstat(0)
            if says_its_size(there):
                base = os.lseek(0, 0, os.SEEK_CUR)
                await self._large(index, item.path, 0, there, base=base, kind=messages.STREAM)
                return
        if item.inode in self._of.spent:
            name = printable(item.path) or "stdin"
            raise NetworkError(f"the connection broke, and {name} cannot be read a second time")
        opened = await self._open_special(index, item) if item.parent is not None else 0
        if opened is None:
            return
        source = Stdio(opened, -1)
        try:
            await self._pump(index, item, source)
        finally:
            self._of.loop.forget(opened)
            source.close()
            if opened:
                os.close(opened)

    async def _open_special(self, index: int, item: Item) -> int | None:
        """A fifo's open waits for its writer, which may take its time: in a thread."""
        await self._wire.flush()
        try:
            return int(await self._wire.busy(open_special, item))
        except OSError as error:
            self._fail(index, item, reason(error))
            return None

    async def _pump(self, index: int, item: Item, source: Stdio) -> None:
        wire = self._wire
        there = item.status
        mode = there.st_mode & 0o666 if there is not None else 0o666
        from time import time_ns

        entry = messages.Entry(messages.STREAM, item.path, mode, time_ns(), messages.UNKNOWN_SIZE)
        number = self._put_entry(index, entry)
        self._done = None
        await wire.flush()
        hasher = digests.new(self._checksum)
        body = Body(wire, self._squeezer, hasher, self._wants_more)

        def spent() -> None:
            if there is None or stat.S_ISFIFO(there.st_mode):
                self._of.spent.add(item.inode)

        self._of.sending(index, 0, wire)
        await body.pump(source, spent)
        self._of.sent += body.done
        await self._end(number, body.done, hasher, "")
