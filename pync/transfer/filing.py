"""Puts one entry where it belongs: what exists is compared, the rest is written beside it, verified and
renamed.
"""

from __future__ import annotations

from pync.proto import transfer as proto
from pync.proto import transfer_messages as messages
from pync.proto.transfer_inline import InlineFile
from pync.transfer import digests
from pync.transfer.intake import Intake
from pync.transfer.part import Part, open_part, remove_stale, taken
from pync.transfer.root import Refused, Root, failed, look, open_existing
from pync.transfer.sink import Sink, sink_for
from pync.transfer.small import BATCH_MAX, SmallFiles
from pync.transfer.system import os
from pync.transfer.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from pync.lean import NamedTuple

FSYNC_INLINE = 8 << 20  # above this much written, waiting for the disk is done in a thread


class ReceiveTerms(NamedTuple):
    """How to receive."""

    policy: str = "refuse"  # or overwrite, rename, skip: when a name exists
    max_size: int | None = None
    fsync: bool = True


class Filed(NamedTuple):
    """What became of a file."""

    status: int
    size: int
    digest: bytes
    path: bytes  # under which it was filed
    restarted: bool = False  # an earlier part was of no use


class Filing:
    """Files for one connection. `intake.due` tells after a Refused whether a body is still on its way."""

    def __init__(self, wire: Wire, terms: ReceiveTerms, checksum: str, intake: Intake) -> None:
        self._wire = wire
        self._terms = terms
        self._checksum = checksum
        self._intake = intake
        self.small_files = SmallFiles(fsync=terms.fsync)

    def check_size(self, size: int) -> None:
        """Raises Refused for what is larger than the user allows."""
        most = self._terms.max_size
        if most is not None and size > most and size != messages.UNKNOWN_SIZE:
            raise Refused(f"larger than --max-size ({most} bytes)")

    # --- small files, here whole ---------------------------------------------------------------------

    def brand_new(self, root: Root, files: list[InlineFile], first: int) -> int:
        """Put verified files in place (or among the pending ones), from the first on, as long as their names
        are free and nothing else is the matter with them; how many of them. `first`: the number of the first.
        """
        small_files, most = self.small_files, self._terms.max_size
        locate, write, pending = root.locate, small_files.write, small_files.pending
        number = first
        for file in files:
            try:
                parent, name, new = locate(file[0])
            except Refused:
                break
            if not new and os.access(name, os.F_OK, dir_fd=parent, follow_symlinks=False):
                break
            if (most is not None and len(file[3]) > most) or not write(parent, name, file, number):
                break
            if name.endswith(b".part"):
                root.settled_parts.add((os.fstat(parent).st_ino, name))
            number += 1
            if len(pending) >= BATCH_MAX:
                break
        return number - first

    def small(self, root: Root, path: bytes, entry: messages.Entry) -> Filed:
        """A verified INLINE file whose name, or partial name, may be taken. Raises Refused."""
        parent, name, _ = root.locate(path)
        free = not os.access(name, os.F_OK, dir_fd=parent, follow_symlinks=False)
        if not free:
            status = self._compare_small(parent, name, entry)
            if status is not None:
                return Filed(status, entry.size, entry.digest, path)
            taken(parent, name, self._terms.policy)
        part = self._part_for_small(root, parent, name, entry)
        try:
            part.start_at(0)
            part.write(memoryview(entry.body))
            if self._terms.fsync:
                os.fsync(part.fd)
            saved = part.settle(entry, self._terms.policy, root.settled_parts)
        except OSError as error:
            part.remove()
            raise failed(error) from None
        except Refused:
            part.remove()  # the next try begins anew anyway
            raise
        finally:
            part.close()
        return Filed(messages.OK, entry.size, entry.digest, _beside(path, saved))

    def _compare_small(self, parent: int, name: bytes, entry: messages.Entry) -> int | None:
        fd = open_existing(parent, name)
        if fd is not None:
            try:
                if os.fstat(fd).st_size == entry.size and os.pread(fd, entry.size, 0) == entry.body:
                    return messages.IDENTICAL
            finally:
                os.close(fd)
        return messages.SKIPPED if self._terms.policy == "skip" else None

    def _part_for_small(self, root: Root, parent: int, name: bytes, entry: messages.Entry) -> Part:
        part = open_part(root, parent, name)
        while not part.ours:
            # left by a kill between two system calls, or somebody's own file of that name?
            if part.size <= entry.size and os.pread(part.fd, part.size, 0) == entry.body[: part.size]:
                break
            part = _next_part(root, part)
        return part

    # --- files with a body of their own --------------------------------------------------------------

    async def large(self, root: Root, path: bytes, entry: messages.Entry) -> Filed:
        """A file whose body follows, at once or after an ANSWER. Raises Refused."""
        parent, name, _ = root.locate(path)
        if look(parent, name) is None:
            return await self._receive(root, path, entry, existing=False)
        if self._terms.policy == "skip":
            raise Refused("", status=messages.SKIPPED)
        if self._intake.due:
            there = look(parent, name)
            if there is None or there.st_size != entry.size:
                taken(parent, name, self._terms.policy)
            return await self._receive(root, path, entry, existing=True)
        compared = await self._compare(parent, name, entry)
        if compared is not None:
            remove_stale(root, parent, name)
            return compared._replace(path=path)
        return await self._receive(root, path, entry, existing=True)

    async def _compare(self, parent: int, name: bytes, entry: messages.Entry) -> Filed | None:
        """Offer the file that is there: the Filed if it is the same. None when a whole body is to follow."""
        taken_anyway = self._terms.policy in ("overwrite", "rename")
        fd = open_existing(parent, name)
        try:
            if fd is None or os.fstat(fd).st_size != entry.size:
                taken(parent, name, self._terms.policy)
                return None
            hasher = digests.new(self._checksum)
            equal = await self._offer(fd, entry.size, hasher, whole_follows=taken_anyway)
        finally:
            if fd is not None:
                os.close(fd)
        if not equal:
            self._intake.due = taken_anyway
            taken(parent, name, self._terms.policy)
            return None
        self._intake.due = True
        end = await self._intake.read(Sink(hasher), entry.size, entry.size)
        return Filed(messages.IDENTICAL, end.size, end.digest, b"")

    async def _offer(self, fd: int, size: int, hasher: Any, *, whole_follows: bool) -> bool:
        """Tell the sender what we have; both ends read that much at the same time. Whether they are equal."""
        wire, number = self._wire, self.number
        hint = messages.Answer(number, size, b"", whole_follows)
        wire.put(proto.ANSWER, messages.pack_answer(hint))
        wire.push()
        done = 0
        while done < size:
            step = min(digests.SLICE, size - done)
            try:
                got = await wire.busy(digests.update_from, hasher, fd, done, step)
            except OSError as error:
                raise failed(error) from None
            if got != step:
                raise Refused("it shrank while it was read", status=messages.FAILED)
            done += step
        wire.put(proto.ANSWER, messages.pack_answer(hint._replace(digest=hasher.digest())))
        frame = await wire.frame()
        if frame.kind != proto.MATCH:
            raise proto.ProtocolError("the peer sent something out of turn")
        match = messages.parse_match(frame.payload)
        if match.number != number:
            raise proto.ProtocolError("the peer sent something out of turn")
        return match.equal

    number = 0  # of the current entry

    async def _receive(self, root: Root, path: bytes, entry: messages.Entry, *, existing: bool) -> Filed:
        parent, name, _ = root.locate(path)
        part = open_part(root, parent, name)
        restarted = False
        try:
            if entry.size != messages.UNKNOWN_SIZE:
                part.check_room_for(entry.size)
            hasher, offset = digests.new(self._checksum), 0
            if self._intake.due or not part.size or entry.flags & messages.AFRESH:
                part = self._emptied(root, part)
                self._ask_for_all()
            else:
                kept = min(part.size, entry.size)
                if await self._offer(part.fd, kept, hasher, whole_follows=True):
                    offset = kept
                    part.start_at(offset)
                else:
                    hasher, restarted = digests.new(self._checksum), True
                    part = self._emptied(root, part)
                self._intake.due = True
            end = await self._body(part, hasher, offset, entry)
            if existing and await self._same_as(parent, name, end):
                part.remove()
                return Filed(messages.IDENTICAL, end.size, end.digest, path)
            part.finish()
            await self._sync(part, end.size - offset)
            saved = part.settle(entry, self._terms.policy, root.settled_parts)
        except Refused:
            if not os.fstat(part.fd).st_size:
                part.remove()  # nothing of it could be written
            raise
        finally:
            part.close()
        return Filed(messages.OK, end.size, end.digest, _beside(path, saved), restarted)

    def _ask_for_all(self) -> None:
        if not self._intake.due:
            answer = messages.Answer(self.number, 0, b"", True)
            self._wire.put(proto.ANSWER, messages.pack_answer(answer))
            self._intake.due = True

    def _emptied(self, root: Root, part: Part) -> Part:
        """A partial file without contents: this one if it is ours, else another."""
        while not part.ours:
            part = _next_part(root, part)
        part.start_at(0)
        return part

    async def _body(self, part: Part, hasher: Any, offset: int, entry: messages.Entry) -> messages.End:
        sink = sink_for(part, hasher, entry.size - offset, self._wire)
        try:
            return await self._intake.read(sink, offset, entry.size)
        except Refused as refused:
            if refused.status == messages.DAMAGED:
                part.remove()  # nobody knows which of its bytes are wrong
            raise
        finally:
            sink.close()

    async def _same_as(self, parent: int, name: bytes, end: messages.End) -> bool:
        """Whether the existing file is what just arrived."""
        fd = open_existing(parent, name)
        if fd is None:
            return False
        try:
            if os.fstat(fd).st_size != end.size:
                return False
            hasher = digests.new(self._checksum)
            await self._wire.busy(digests.update_from, hasher, fd, 0, end.size)
            same: bool = hasher.digest() == end.digest
            return same
        finally:
            os.close(fd)

    async def _sync(self, part: Part, written: int) -> None:
        if not self._terms.fsync:
            return
        try:
            if written > FSYNC_INLINE:
                await self._wire.busy(os.fsync, part.fd)
            else:
                os.fsync(part.fd)
        except OSError as error:
            raise failed(error) from None


def _next_part(root: Root, part: Part) -> Part:
    try:
        return open_part(root, part.parent, part.name, after=part)
    finally:
        part.close()


def _beside(path: bytes, name: bytes) -> bytes:
    """`path` with another last name."""
    parent, slash, _ = path.rpartition(b"/")
    return parent + slash + name
