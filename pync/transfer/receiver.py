"""The receiving side of one transfer: one entry after the other, verified, in place, then confirmed.

A Reception is what one sender delivers, across as many connections as it takes; an Incoming is one
connection of it. Whatever happens to one entry is that entry's fate and the next one is taken; only damage
to the stream itself ends the connection.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from pync.errors import LocalError
from pync.loop import Loop
from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable
from pync.proto.transfer_inline import InlineFile, entry_of, inline_files
from pync.report import Event, Report, unheard
from pync.transfer import digests
from pync.transfer.calls import Headway
from pync.transfer.events import Tally, WalkTally, file_event
from pync.transfer.filing import Filed, Filing, ReceiveTerms
from pync.transfer.intake import Intake
from pync.transfer.place import Place
from pync.transfer.root import Refused, Root, look
from pync.transfer.sink import Output, OutputClosed
from pync.transfer.small import BATCH_MAX
from pync.transfer.streamed import Log, Streamed
from pync.transfer.wire import Wire

Ask = Callable[[Wire, messages.Begin], Awaitable[bool]]
CONFIRM_EVERY = 256


class Reception(Headway):
    """What one sender delivers here."""

    def __init__(
        self, loop: Loop, terms: ReceiveTerms, report: Report, place: Place, *, ask: Ask | None = None
    ) -> None:
        super().__init__()
        self.loop = loop
        self.terms = terms
        self.report = report
        self.place = place
        self.ask = ask
        self.token = os.urandom(16)
        self.sender = b""
        self.tally = WalkTally()
        self.total: int | None = None
        self.finished: Tally | None = None  # once everything was in place and the summary on its way
        self.log: Log | None = None  # what stdout or a device got of it


class Incoming:
    """One connection of a Reception, after greeting and secret."""

    def __init__(self, reception: Reception, wire: Wire, begin: messages.Begin) -> None:
        self._of = reception
        self._wire = wire
        self._begin = begin
        self._checksum = begin.checksum
        self._digest_of = digests.one_shot(begin.checksum)
        self.intake = Intake(wire, reception.terms.max_size)
        self._filing = Filing(wire, reception.terms, begin.checksum, self.intake)
        self._pending = self._filing.small_files.pending
        self._quiet = unheard(reception.report, "file")
        self._number = 0
        self._confirmed = 0  # entries before this one are confirmed or DONE
        self._root: Root | None = None
        # entries of all connections that are settled, directories left out
        self._in_walk = begin.settled if begin.receiver == reception.token else 0
        reception.tally = reception.tally.up_to(self._in_walk)
        shared = reception.place.shared
        self._streamed = Streamed(shared, wire, self.intake, begin, reception.log, self._in_walk)

    # --- the session ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take everything. Returns once the sender knows (BYE); raises what stopped that."""
        of, wire = self._of, self._wire
        of.progressed = False
        of.got_to(0, 0)
        of.place.refuse_several(self._begin)
        if of.ask is not None:
            if not await of.ask(wire, self._begin):
                raise LocalError("refused: the question was answered with no")
            of.ask = None
        if self._begin.size != messages.UNKNOWN_SIZE:
            of.total = self._begin.size
        wire.put(proto.READY, of.token)
        self._root = of.place.new_root() if of.place.makes_files else None
        try:
            await self._entries()
        finally:
            of.got_to(self._in_walk, self.intake.total - self.intake.unwritten)
            of.place.shared.leave(wire)
            self._filing.small_files.drop()
            if self._root is not None:
                self._root.close()

    async def _entries(self) -> None:
        wire = self._wire
        while True:
            await self._small_files()
            frame = wire.frame_now()
            if frame is None:
                await self._settle()
                self._confirm()
                await wire.more()
            elif frame.kind == proto.ENTRY:
                entry = messages.parse_entry(frame.payload)
                if entry.flags & messages.INLINE:
                    await wire.paced(entry.size)
                    wire.body_received += entry.size
                await self._settle()
                await self._entry(entry)
            elif frame.kind == proto.FINISH:
                await self._finish(messages.parse_counts(frame.payload))
                return
            else:
                raise proto.ProtocolError("the peer sent something out of turn")

    async def _small_files(self) -> None:
        """Take the small files that are here: most are new and only need to be written."""
        wire, root = self._wire, self._root
        if root is None or not self._of.place.by_name:
            return
        while True:
            files, end = inline_files(wire.ahead(), self._digest_of)
            if not files:
                return
            wire.pass_over(end)
            size = sum(len(file[3]) for file in files)
            await wire.paced(size)
            wire.body_received += size
            while files:
                count = self._brand_new(root, files)
                del files[:count]
                if files or len(self._pending) >= BATCH_MAX:
                    await self._settle()
                if files and not count:
                    await self._entry(entry_of(files.pop(0)))

    def _brand_new(self, root: Root, files: list[InlineFile]) -> int:
        """Those at the start of `files` that are new; how many were taken."""
        of, before = self._of, len(self._pending)
        count = self._filing.brand_new(root, files, self._number)
        settled = files[: count - len(self._pending) + before]
        if count:
            self._number += count
            self._in_walk += count
            of.progressed = True
        of.tally.note_new([len(file[3]) for file in settled])
        if not self._quiet:
            for path, _, _, body, digest in settled:
                self._tell(path, Filed(messages.OK, len(body), digest, path), "")
        if self._number - self._confirmed >= CONFIRM_EVERY:
            self._confirm()
            self._wire.push()
        return count

    async def _finish(self, counts: messages.Counts) -> None:
        of, wire = self._of, self._wire
        await self._settle()
        if counts.entries != self._number:
            raise proto.ProtocolError("the peer counted differently")
        self._streamed.finish()
        tally = of.tally
        tally.unsent(counts.failed)
        if self._root is not None and of.terms.fsync:
            self._root.sync()
        of.place.finish()
        self._confirm()
        summary = messages.Counts(tally.delivered, tally.failed, tally.size, int(tally.code))
        wire.put(proto.SUMMARY, messages.pack_counts(summary))
        of.finished = tally
        await wire.flush()
        frame = await wire.frame()
        if frame.kind != proto.BYE:
            raise proto.ProtocolError("the peer sent something out of turn")
        await wire.end()

    async def _settle(self) -> None:
        """Sync and name the small files that wait for it, and say what became of them."""
        small_files = self._filing.small_files
        if not small_files.pending:
            return
        for one, refused in small_files.settle(await self._wire.busy(small_files.sync_all)):
            why = ""
            if refused is not None:
                why = refused.why
                self._done(refused.status, why, refused.code, number=one.number)
            status = messages.OK if refused is None else refused.status
            entry = messages.Entry(messages.FILE, one.path, size=one.size)
            self._report(entry, Filed(status, one.size, one.digest, one.path), why)

    def _confirm(self) -> None:
        """Confirm what is settled: all before the current entry, except what is still pending."""
        if self._pending:
            return
        if self._confirmed < self._number:
            self._wire.put(proto.CONFIRM, messages.pack_confirm(self._confirmed, self._number - 1))
            self._confirmed = self._number

    def _done(self, status: int, why: str = "", code: int = 0, *, number: int | None = None) -> None:
        """Say what became of an entry (the current one). Those that are OK are confirmed in bulk instead."""
        number = self._number if number is None else number
        if self._confirmed < number:
            self._wire.put(proto.CONFIRM, messages.pack_confirm(self._confirmed, number - 1))
        done = messages.Done(number, status, why, code)
        self._wire.put(proto.DONE, messages.pack_done(done))
        self._wire.push()
        self._confirmed = number + 1

    # --- entries -------------------------------------------------------------------------------------

    async def _entry(self, entry: messages.Entry) -> None:
        intake = self.intake
        intake.due = bool(entry.flags & messages.EAGER) or entry.size == messages.UNKNOWN_SIZE
        intake.total = 0
        self._filing.number = self._number
        why = ""
        filed = Filed(messages.OK, 0, b"", entry.path)
        try:
            filed = await self._file(entry)
            if filed.status != messages.OK:
                self._done(filed.status)
        except Refused as refused:
            why = refused.why
            filed = filed._replace(status=refused.status, size=_announced(entry, intake.total))
            self._done(refused.status, why, refused.code)
        self._number += 1
        if entry.kind not in (messages.DIRECTORY, messages.LEAVE):
            self._in_walk += 1
        self._of.progressed = True
        self._report(entry, filed, why)
        if self._number - self._confirmed >= CONFIRM_EVERY:
            self._confirm()
            self._wire.push()
        if intake.due:  # counted before that: the sender may know its fate when the connection breaks here
            await intake.drain()

    def _report(self, entry: messages.Entry, filed: Filed, why: str) -> None:
        of = self._of
        is_file = entry.kind not in (messages.DIRECTORY, messages.LEAVE)
        if not is_file and filed.status in messages.DELIVERED:
            return
        name = of.place.called(entry.path) if why else entry.path
        status, size = filed.status, filed.size
        if not of.tally.note(is_file=is_file, status=status, size=size, name=name, why=why):
            return
        peer = self._wire.channel.peer
        if filed.restarted:
            reason = "the part from before is not of this file; it started over"
            facts = {"reason": "restarted", "name": printable(entry.path), "message": reason, "peer": peer}
            of.report(Event("waiting", facts))
        self._tell(name, filed, why)

    def _tell(self, path: bytes, filed: Filed, why: str) -> None:
        file_event(
            self._of.report,
            path,
            filed.size,
            filed.status,
            digest=filed.digest,
            checksum=self._checksum,
            why=why,
            peer=self._wire.channel.peer,
            saved_as=filed.path,
        )

    async def _file(self, entry: messages.Entry) -> Filed:
        """Take one entry, whatever it is. Raises Refused."""
        terms, place = self._of.terms, self._of.place
        inline = entry.kind == messages.FILE and bool(entry.flags & messages.INLINE)
        if inline and self._digest_of(entry.body) != entry.digest:
            raise Refused("its bytes were damaged on the way", status=messages.DAMAGED, code=4)
        if entry.kind in (messages.FILE, messages.STREAM):
            self._filing.check_size(entry.size)
        output = await place.stream_for(self._wire, entry)
        if output is not None:
            return await self._to_stream(output, entry, inline=inline)
        path, root = place.path_for(entry), self._root
        if root is None:
            raise Refused("there is no directory for it")
        if entry.kind == messages.DIRECTORY:
            root.make_directory(path)
        elif entry.kind == messages.LEAVE:
            overwrite = terms.policy == "overwrite"
            root.leave(path, entry.mode, entry.mtime, overwrite=overwrite, fsync=terms.fsync)
        elif entry.kind == messages.SYMLINK:
            return Filed(root.make_link(path, entry, terms.policy), 0, b"", path)
        elif inline:
            return self._filing.small(root, path, entry)
        else:
            if entry.size == messages.UNKNOWN_SIZE:
                self._refuse_existing(root.locate(path))
            return await self._filing.large(root, path, entry)
        return Filed(messages.OK, 0, b"", path)

    def _refuse_existing(self, where: tuple[int, bytes, bool]) -> None:
        """A stream cannot be compared before it is all here. Raises Refused now if it may not be taken."""
        if look(where[0], where[1]) is None or self._of.terms.policy in ("overwrite", "rename"):
            return
        if self._of.terms.policy == "skip":
            raise Refused("", status=messages.SKIPPED)
        raise Refused("it exists already")

    async def _to_stream(self, output: Output, entry: messages.Entry, *, inline: bool) -> Filed:
        """To stdout or a device: verified at the end only. A cut one goes on where it was cut."""
        if entry.kind not in (messages.FILE, messages.STREAM):
            return Filed(
                messages.SKIPPED if entry.kind == messages.SYMLINK else messages.OK, 0, b"", entry.path
            )
        streamed = self._streamed
        try:
            written = await streamed.take(output, entry, self._number, self._in_walk, inline=inline)
        except OutputClosed:
            self._done(messages.FAILED, "its stdout was closed", 2)
            raise
        finally:
            self._of.log = streamed.log or self._of.log
        return Filed(messages.OK, written.size, written.digest, entry.path)


def _announced(entry: messages.Entry, seen: int) -> int:
    return entry.size if entry.size != messages.UNKNOWN_SIZE else seen
