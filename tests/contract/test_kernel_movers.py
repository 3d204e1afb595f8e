"""Movers that go straight between descriptors, and what they do when the kernel is short, late or refuses."""

import errno
import os
import socket
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pync.errors import LocalError
from pync.loop import Loop
from pync.relay.kernel import LocalFileMover, PipeMover, SpliceMover
from pync.relay.movers import CopyMover, SegmentsMover, choose
from pync.transport.datagram import DatagramSocket
from pync.transport.stdio import OutputClosed, Stdio
from pync.transport.stream import StreamSocket
from tests.contract.pumping import Sink, Source, pump, socket_pair
from tests.harness import pattern

DATA = pattern(3_000_000)
EXPECTED = {
    ("file", "tcp"): LocalFileMover,
    ("file", "unix"): LocalFileMover,
    ("file", "pipe"): CopyMover,
    ("file", "file"): CopyMover,
    ("pipe", "tcp"): PipeMover,
    ("pipe", "unix"): PipeMover,
    ("pipe", "file"): PipeMover,
    ("pipe", "pipe"): PipeMover,
    ("pipe", "append"): CopyMover,
    ("tcp", "pipe"): PipeMover,
    ("tcp", "file"): SpliceMover,
    ("tcp", "append"): CopyMover,
    ("tcp", "tcp"): SpliceMover,
    ("unix", "tcp"): SpliceMover,
    ("tcp", "unix"): SpliceMover,
}
pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="no splice on this system")
pairs = pytest.mark.parametrize(("came_from", "goes_to"), EXPECTED)
fast = pytest.mark.parametrize(
    ("came_from", "goes_to"), [pair for pair in EXPECTED if EXPECTED[pair] != CopyMover]
)


@pytest.fixture(autouse=True)
def chosen_freely(monkeypatch):
    monkeypatch.delenv("PYNC_MOVER", raising=False)


def moved(loop, came_from, goes_to, scratch, data=DATA, **limits):
    """(what arrived, the pump, its owner, the mover chosen first)."""
    source, sink = Source(came_from, data, scratch), Sink(goes_to, scratch)
    mover = choose(source.channel, sink.channel)
    moving, owner = pump(loop, source.channel, sink.channel, mover, **limits)
    sink.channel.detach(loop)
    source.channel.detach(loop)
    received = sink.finish()
    source.close()
    return received, moving, owner, mover


@pairs
def test_every_pair_moves_everything(loop, tmp_path, came_from, goes_to):
    received, moving, owner, mover = moved(loop, came_from, goes_to, str(tmp_path))
    assert owner.error is None
    assert received == DATA
    assert moving.taken == moving.moved == len(DATA)
    assert type(mover) is EXPECTED[came_from, goes_to]


@pairs
def test_every_pair_can_be_copied(loop, tmp_path, monkeypatch, came_from, goes_to):
    monkeypatch.setenv("PYNC_MOVER", "copy")
    received, _, _, mover = moved(loop, came_from, goes_to, str(tmp_path))
    assert type(mover) is CopyMover
    assert received == DATA


@pairs
@pytest.mark.parametrize("limit", [1, 65_537, 1_000_000])
def test_a_limit_is_exact(loop, tmp_path, came_from, goes_to, limit):
    received, moving, owner, _ = moved(loop, came_from, goes_to, str(tmp_path), limit=limit)
    assert received == DATA[:limit]
    assert owner.limited
    assert moving.moved == limit


@pairs
def test_nothing_to_move(loop, tmp_path, came_from, goes_to):
    received, moving, _, _ = moved(loop, came_from, goes_to, str(tmp_path), data=b"")
    assert (received, moving.moved) == (b"", 0)


class Faults:
    """`os.splice` and `os.sendfile` that do what the plan says, call by call: a number moves at most that
    much, the name of an errno is raised, None is what the kernel does."""

    def __init__(self, monkeypatch, plan):
        self._plan = deque(plan)
        self.calls = 0
        self._splice, self._sendfile = os.splice, os.sendfile
        monkeypatch.setattr(os, "splice", self.splice)
        monkeypatch.setattr(os, "sendfile", self.sendfile)

    def _count(self, count):
        self.calls += 1
        step = self._plan.popleft() if self._plan else None
        if isinstance(step, str):
            number = getattr(errno, step)
            raise OSError(number, os.strerror(number))
        return count if step is None else min(count, step)

    def splice(self, source, sink, count, *options):
        return self._splice(source, sink, self._count(count), *options)

    def sendfile(self, sink, source, offset, count):
        return self._sendfile(sink, source, offset, self._count(count))


@fast
@pytest.mark.parametrize("refusal", ["EINVAL", "ENOSYS", "EOPNOTSUPP"])
@pytest.mark.parametrize("call", [0, 1, 5])
def test_a_refusal_at_any_time_falls_back_without_loss(
    loop, tmp_path, monkeypatch, came_from, goes_to, refusal, call
):
    """Short before, so that a splice through our pipe holds something when the kernel changes its mind."""
    faults = Faults(monkeypatch, [10_001] * call + [refusal])
    received, moving, owner, _ = moved(loop, came_from, goes_to, str(tmp_path))
    assert owner.error is None
    assert received == DATA
    assert moving.moved == len(DATA)
    assert faults.calls == call + 1


steps = st.lists(st.one_of(st.integers(1, 70_000), st.sampled_from(["EAGAIN", "EAGAIN", None])), max_size=30)


@fast
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(plan=steps, refuse=st.booleans())
def test_short_and_late_calls_lose_nothing(tmp_path, came_from, goes_to, plan, refuse):
    loop = Loop()
    (tmp_path / "sink").unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        Faults(monkeypatch, [*plan, "EINVAL"] if refuse else plan)
        received, moving, owner, _ = moved(loop, came_from, goes_to, str(tmp_path), data=DATA[:500_000])
    loop.close()
    assert owner.error is None
    assert received == DATA[:500_000]
    assert moving.moved == 500_000


@fast
@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EIO, errno.ENOSPC])
def test_other_errors_are_told(loop, tmp_path, monkeypatch, came_from, goes_to, number):
    Faults(monkeypatch, [1000, 1000, errno.errorcode[number]])
    received, _, owner, _ = moved(loop, came_from, goes_to, str(tmp_path))
    assert isinstance(owner.error, OSError)
    assert owner.error.errno == number
    assert DATA.startswith(received)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("broken", ["source", "sink"])
@pytest.mark.parametrize("before", [0, 10_000])
def test_between_two_connections_the_one_that_was_reset_is_told(loop, kind, broken, before):
    """Filling is the source's failure, draining the sink's."""
    (feeder, source), (sink, reader) = socket_pair(kind), socket_pair(kind)
    channels = StreamSocket(source), StreamSocket(sink)
    feeder.sendall(pattern(before + (broken == "sink")))
    (channels[0] if broken == "source" else channels[1]).write(memoryview(b"unread"))
    (feeder if broken == "source" else reader).close()  # with something unread: a reset
    mover = choose(*channels)
    assert isinstance(mover, SpliceMover)
    moving, owner = pump(loop, *channels, mover)
    assert isinstance(owner.error, ConnectionError)
    assert owner.while_filling == (broken == "source")
    assert not moving.one_call
    for channel in channels:
        channel.detach(loop)
        channel.close()
    for sock in (feeder, reader):
        sock.close()


@pytest.mark.parametrize("came_from", ["pipe", "tcp", "file"])
def test_a_reader_that_left_is_told(loop, tmp_path, came_from):
    source = Source(came_from, DATA, str(tmp_path))
    reader, writer = os.pipe()
    os.close(reader)
    sink = Stdio(-1, writer)
    _, owner = pump(loop, source.channel, sink, choose(source.channel, sink))
    os.close(writer)
    source.channel.detach(loop)
    source.close()
    assert isinstance(owner.error, BrokenPipeError | OutputClosed)


def test_a_full_device_is_told(loop, tmp_path):
    source = Source("tcp", DATA, str(tmp_path))
    full = os.open("/dev/full", os.O_WRONLY)
    sink = Stdio(-1, full)
    _, owner = pump(loop, source.channel, sink, choose(source.channel, sink))
    os.close(full)
    source.channel.detach(loop)
    source.close()
    assert isinstance(owner.error, OSError | LocalError)
    assert "no space left" in str(owner.error).lower()


def test_the_position_of_a_file_moves(loop, tmp_path):
    source, sink = Source("file", DATA, str(tmp_path)), Sink("tcp", str(tmp_path))
    os.lseek(source.channel.read_fd, 1000, os.SEEK_SET)
    pump(loop, source.channel, sink.channel, choose(source.channel, sink.channel), limit=5000)
    assert os.lseek(source.channel.read_fd, 0, os.SEEK_CUR) == 6000
    assert sink.finish() == DATA[1000:6000]
    source.close()


class Ways:
    """A clock that moves with each byte given to `sink_fd`, at a price for each of the two calls."""

    def __init__(self, monkeypatch, sink_fd, sendfile, write):
        self.now, self.last = 0.0, ""
        self._sink_fd = sink_fd
        self._real = {"sendfile": os.sendfile, "write": os.write}
        self._cost = {"sendfile": sendfile, "write": write}
        monkeypatch.setattr(
            os, "sendfile", lambda *words: self._call("sendfile", *words[:3], min(words[3], 7001))
        )
        monkeypatch.setattr(os, "write", lambda fd, data: self._call("write", fd, data[:7001]))

    def _call(self, way, *words):
        count = self._real[way](*words)
        if words[0] == self._sink_fd:
            self.last = way
        self.now += count * self._cost[way]
        return count


@pytest.mark.parametrize(
    ("sendfile", "write", "best", "tried"),
    [
        (2e-9, 1e-9, "write", {"sendfile", "write"}),
        (1e-9, 2e-9, "sendfile", {"sendfile", "write"}),
        (1e-10, 5e-11, "sendfile", {"sendfile"}),  # so fast that nobody copies there
    ],
)
def test_how_to_give_a_file_to_this_host_is_measured(
    loop, tmp_path, monkeypatch, sendfile, write, best, tried
):
    """Whatever wins, and however short the writes: every byte arrives, and the file's position is right."""
    source, sink = Source("file", DATA, str(tmp_path)), Sink("tcp", str(tmp_path))
    ways = Ways(monkeypatch, sink.channel.write_fd, sendfile, write)
    calls = set()

    def clock():
        calls.add(ways.last)
        return ways.now

    mover = LocalFileMover(
        source.channel.read_fd, sink.channel.write_fd, before=200_000, window=100_000, clock=clock
    )
    _, owner = pump(loop, source.channel, sink.channel, mover)
    assert owner.error is None
    assert os.lseek(source.channel.read_fd, 0, os.SEEK_CUR) == len(DATA)
    assert sink.finish() == DATA
    assert ways.last == best
    assert calls == tried
    source.close()


def test_a_file_that_grows_while_it_is_sent(loop, tmp_path):
    """What is there when we come to the end is sent."""
    source, sink = Source("file", DATA[:100_000], str(tmp_path)), Sink("tcp", str(tmp_path))
    with (tmp_path / "source").open("ab") as file:
        file.write(DATA[100_000:200_000])
    pump(loop, source.channel, sink.channel, choose(source.channel, sink.channel))
    assert sink.finish() == DATA[:200_000]
    source.close()


def test_descriptors_of_a_mover_are_given_back(loop, tmp_path):
    before = os.listdir("/proc/self/fd")
    moved(loop, "tcp", "tcp", str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == len(before)


# datagrams


def datagram_pair():
    """(our channel, a socket of the test) with room for what a test sends."""
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock in (ours, theirs):
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        sock.settimeout(20)
    theirs.connect(ours.getsockname())
    ours.connect(theirs.getsockname())
    return DatagramSocket(ours), theirs


SIZES = [1400] * 70 + [1, 0, 1400, 0, 9000, 65_507, 1400, 700, 700, 3]


def test_segments_keep_boundaries_from_one_datagram_channel_to_another(loop):
    (source, sender), (sink, receiver) = datagram_pair(), datagram_pair()
    payloads = [pattern(size, seed) for seed, size in enumerate(SIZES)]
    counted = []
    mover = choose(source, sink, on_datagrams=counted.append)
    assert isinstance(mover, SegmentsMover)
    received = []

    async def run():
        for payload in payloads:
            sender.send(payload)
        while len(received) < len(payloads):
            if not mover.pending:
                mover.fill(1 << 30)
            while mover.pending:
                assert mover.drain() >= 0
            receiver.setblocking(False)
            try:
                while True:
                    received.append(receiver.recv(1 << 17))
            except BlockingIOError:
                pass

    loop.run(run())
    for end in (source, sink, sender, receiver):
        end.close()
    assert received == payloads
    assert sum(counted) == len(payloads)


def test_segments_to_a_stream_are_its_bytes(loop, tmp_path):
    source, sender = datagram_pair()
    sink = Sink("pipe", str(tmp_path))
    payloads = [pattern(size, seed) for seed, size in enumerate(SIZES)]
    for payload in payloads:
        sender.send(payload)
    mover = choose(source, sink.channel, on_datagrams=lambda count: None)
    moving, _ = pump(loop, source, sink.channel, mover, limit=sum(SIZES))
    sink.channel.detach(loop)
    assert sink.finish() == b"".join(payloads)
    assert moving.moved == sum(SIZES)
    source.close()
    sender.close()
