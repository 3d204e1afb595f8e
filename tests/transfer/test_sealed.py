"""Sealed bodies that a second thread opens: what is damaged, or has no room, ends the file at that record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from xxhash import xxh3_128

from pync.proto import secret
from pync.proto.transfer import ProtocolError
from pync.transfer import outward, sink
from pync.transfer.link import record_buffer
from pync.transfer.part import Part
from pync.transfer.root import Refused
from pync.transfer.wire import Record
from pync.transfer.writer import Unsealing
from tests.harness import pattern
from tests.transfer.rig import CLEAN, Fault, Result, transfer

SIZE = 70_000
SECRET = {"secret": "7-otter-violin"}


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    fd = os.open(tmp_path / "f.part", os.O_RDWR | os.O_CREAT)
    one = Part(-1, b"f", b"f.part", fd, 0, True)
    yield one
    one.close()


def _records(count: int) -> Iterator[Record]:
    a, b = secret.Exchange("7-otter-violin", sender=True), secret.Exchange("7-otter-violin", sender=False)
    a.finish(b.message, sender_greeting=b"s", receiver_greeting=b"r")
    b.finish(a.message, sender_greeting=b"s", receiver_greeting=b"r")
    sealer, opener = a.streams(aes=True)[0], b.streams(aes=True)[1]
    for index in range(count):
        memory = record_buffer()
        sealer.seal_into(memoryview(pattern(SIZE, index)), memory)
        yield Record(opener, opener.pass_on(), memory, SIZE)


def test_records_are_written_in_order_and_hashed(part: Part, tmp_path: Path) -> None:
    hasher = xxh3_128()
    unsealing = Unsealing(part, hasher)
    for record in _records(9):
        unsealing.spare()
        unsealing.put(record)
    unsealing.wait()
    unsealing.close()
    whole = b"".join(pattern(SIZE, index) for index in range(9))
    assert (tmp_path / "f.part").read_bytes() == whole
    assert hasher.digest() == xxh3_128(whole).digest()
    assert part.at == len(whole)


def test_no_more_memory_than_records_that_may_wait(part: Part) -> None:
    unsealing = Unsealing(part, xxh3_128())
    seen = set()
    for record in _records(20):
        memory = unsealing.spare()
        memory[: len(record.memory)] = record.memory
        seen.add(id(memory.obj))
        unsealing.put(record._replace(memory=memory))
    unsealing.wait()
    unsealing.close()
    assert len(seen) <= 4


@pytest.mark.parametrize("damaged", [0, 3, 8])
def test_nothing_is_written_from_a_damaged_record_on(part: Part, tmp_path: Path, damaged: int) -> None:
    unsealing = Unsealing(part, xxh3_128())
    for index, record in enumerate(_records(9)):
        if index == damaged:
            record.memory[1_000] ^= 4
        unsealing.put(record)
    with pytest.raises(ProtocolError, match="damaged or changed"):
        unsealing.wait()
    with pytest.raises(ProtocolError):
        unsealing.check()
    unsealing.close()
    assert (tmp_path / "f.part").read_bytes() == b"".join(pattern(SIZE, index) for index in range(damaged))


def test_records_that_change_places_do_not_open(part: Part, tmp_path: Path) -> None:
    first, second = _records(2)
    unsealing = Unsealing(part, xxh3_128())
    unsealing.put(first._replace(memory=second.memory))
    unsealing.put(second._replace(memory=first.memory))
    with pytest.raises(ProtocolError):
        unsealing.wait()
    unsealing.close()
    assert not (tmp_path / "f.part").read_bytes()


def test_a_full_disk_is_told_and_what_follows_is_left_out(part: Part, tmp_path: Path) -> None:
    class Full(Part):
        def write(self, view: memoryview) -> None:
            if self.at == 2 * SIZE:
                self.at += 1  # some of it may be there
                raise Refused("no space left on device")
            super().write(view)

    unsealing = Unsealing(Full(-1, b"f", b"f.part", part.fd, 0, True), xxh3_128())
    for record in _records(6):
        unsealing.put(record)
    with pytest.raises(Refused, match="no space"):
        unsealing.wait()
    unsealing.close()
    assert (tmp_path / "f.part").stat().st_size == 2 * SIZE


@pytest.fixture(params=["a second thread", "one thread"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "CPUS", 1 if request.param == "a second thread" else 1 << 20)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(pattern(9_500_000))
    return path


def _run(path: Path, out: Path, fault: Fault = CLEAN, retry_for: float = 5.0) -> Result:
    with_both = {**SECRET, "retry_for": retry_for}
    send_with = {**with_both, "compress": "none"}
    return transfer([path], out, fault=fault, send_with=send_with, recv_with={**with_both, "timeout": 3.0})


@pytest.mark.usefixtures("threads")
def test_large_file_with_a_secret(large: Path, out: Path) -> None:
    result = _run(large, out)
    assert result.codes == (0, 0), result.errors()
    assert (out / "large").read_bytes() == large.read_bytes()


@pytest.mark.parametrize(("quick", "largest"), [(1e9, 2 << 20), (0.0, 128 << 10)])
def test_records_grow_while_the_network_takes_them_at_once(
    large: Path, out: Path, monkeypatch: pytest.MonkeyPatch, quick: float, largest: int
) -> None:
    sizes = []
    seal_into = secret.Sealer.seal_into

    def spy(self: secret.Sealer, plain: memoryview, out: memoryview, *, last: bool = False) -> int:
        sizes.append(len(plain))
        return seal_into(self, plain, out, last=last)

    monkeypatch.setattr(secret.Sealer, "seal_into", spy)
    monkeypatch.setattr(outward, "QUICK", quick)
    assert _run(large, out).codes == (0, 0)
    body = [size for size in sizes if size >= 128 << 10]
    assert (body[0], max(body)) == (128 << 10, largest)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("kind", ["flip", "cut"])
def test_faults_in_a_large_sealed_body(large: Path, out: Path, kind: str) -> None:
    for at in (1_200_000, 4_800_003, 9_400_000):
        shutil.rmtree(out)
        out.mkdir()
        result = _run(large, out, Fault(kind, at, True, bit=at % 8), retry_for=0.0)
        assert result.sent != 0, at
        assert not (out / "large").exists()
        left = (out / "large.part").read_bytes()
        assert left == large.read_bytes()[: len(left)], "what is kept is what was sent"
        again = _run(large, out)
        assert again.codes == (0, 0), (at, again.errors())
        assert again.bytes_up < len(large.read_bytes()) - len(left) + (1 << 20)
        assert (out / "large").read_bytes() == large.read_bytes()
        assert [one.name for one in out.iterdir()] == ["large"]
