"""Streams to stdout: after a cut, from a sender that was started again, and from several at once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import PATIENCE, Process, Processes, pattern
from tests.transfer.rig import Fault, piped, transfer

HERE = "127.0.0.1"
SECRET = ("--secret=7-otter-violin",)
SIZE = 6_000_000
# Slow enough that the first sender is in the middle when it is killed.
SLOW = ("--rate", "2M")


def _send(processes: Processes, port: int, *words: str | Path, **options: Any) -> Process:
    options.setdefault("stdin", subprocess.DEVNULL)
    return processes.pync("send", f"{HERE}:{port}", *map(str, words), **options)


def _kill(sender: Process, receiver: Process) -> None:
    """Once a part of its stream is on stdout."""
    receiver.until(lambda: len(receiver.out) > 1_000_000, "a part of the stream")
    sender.popen.send_signal(signal.SIGKILL)
    sender.ends(10)


def _beginning(out: bytes, data: bytes) -> bool:
    return 0 < len(out) < len(data) and data.startswith(out)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(pattern(SIZE))
    return path


@pytest.mark.parametrize("options", [(), SECRET], ids=["plain", "secret"])
@pytest.mark.parametrize("source", ["file", "stdin", "pipe"])
def test_a_sender_that_is_started_again_goes_on_with_its_stream(
    processes: Processes, path: Path, options: tuple[str, ...], source: str
) -> None:
    receiver = processes.listen("-o", "-", *options, f"{HERE}:0", command="recv")
    _kill(_send(processes, receiver.port, path, *SLOW, *options), receiver)
    if source == "file":
        assert _send(processes, receiver.port, path, *options).wait().code == 0
    elif source == "stdin":
        with path.open("rb") as stdin:
            assert _send(processes, receiver.port, *options, stdin=stdin).wait().code == 0
    else:
        sender = processes.pync("send", *options, f"{HERE}:{receiver.port}")
        assert sender.finish(path.read_bytes()).code == 0
    done = receiver.wait()
    assert done.code == 0
    assert done.out == path.read_bytes(), "no byte twice, none left out"


@pytest.mark.parametrize("source", ["file", "pipe"])
@pytest.mark.parametrize("change", [False, True], ids=["as it was", "other"])
def test_a_stream_goes_on_although_its_sender_uses_another_digest_now(
    processes: Processes, path: Path, source: str, change: bool
) -> None:
    whole = path.read_bytes()
    receiver = processes.listen("-o", "-", f"{HERE}:0", command="recv")
    for checksum in ("sha256", "xxh3"):  # twice: what is there is known by the digest of the last one
        sender = _send(processes, receiver.port, path, "--checksum", checksum, *SLOW)
        there = len(receiver.out)
        receiver.until(lambda there=there: len(receiver.out) > there + 500_000, "a part of the stream")
        sender.popen.send_signal(signal.SIGKILL)
        sender.ends(10)
    if change:
        path.write_bytes(whole[:1000] + bytes(1000) + whole[2000:])
    words = ("--checksum", "blake3")
    if source == "file":
        sent = _send(processes, receiver.port, path, *words).wait()
    else:
        sent = processes.pync("send", f"{HERE}:{receiver.port}", *words).finish(path.read_bytes())
    received = receiver.wait()
    assert (sent.code, received.code) == ((4, 4) if change else (0, 0))
    assert _beginning(received.out, whole) if change else received.out == whole


def test_a_listening_sender_that_is_started_again_goes_on_with_its_stream(
    processes: Processes, tmp_path: Path, path: Path
) -> None:
    socket = f"unix:{tmp_path}/socket"
    words = ("send", "--listen", socket, str(path))
    first = processes.pync(*words, *SLOW, stdin=subprocess.DEVNULL)
    receiver = processes.pync("recv", "--connect", "-o", "-", socket, stdin=subprocess.DEVNULL)
    _kill(first, receiver)
    (tmp_path / "socket").unlink(missing_ok=True)
    assert processes.pync(*words, stdin=subprocess.DEVNULL).wait().code == 0
    done = receiver.wait()
    assert (done.code, done.out == path.read_bytes()) == (0, True)


@pytest.mark.parametrize("source", ["file", "pipe"])
def test_another_stream_is_not_appended_to_half_of_one(
    processes: Processes, tmp_path: Path, path: Path, source: str
) -> None:
    receiver = processes.listen("-o", "-", f"{HERE}:0", command="recv")
    _kill(_send(processes, receiver.port, path, *SLOW), receiver)
    other = tmp_path / "other"
    other.write_bytes(pattern(SIZE, 2))
    if source == "file":
        sent = _send(processes, receiver.port, other).wait()
    else:
        sent = processes.pync("send", f"{HERE}:{receiver.port}").finish(other.read_bytes())
    received = receiver.wait()
    assert (sent.code, received.code) == (4, 4)
    assert "cannot be taken back" in sent.err
    assert _beginning(received.out, path.read_bytes())


def test_half_a_stream_is_not_forgotten_for_a_file_that_comes_after_it(
    processes: Processes, path: Path, out: Path
) -> None:
    receiver = processes.listen(f"{HERE}:0", command="recv", cwd=out)
    with path.open("rb") as stdin:
        _kill(_send(processes, receiver.port, *SLOW, stdin=stdin), receiver)
    assert _send(processes, receiver.port, path).wait().code == 0
    done = receiver.wait()
    assert done.code == 4
    assert "in the middle of a stream" in done.err
    assert (out / "file").read_bytes() == path.read_bytes()
    assert _beginning(done.out, path.read_bytes())


@pytest.mark.parametrize("options", [("-k", "--count", "2"), ("--count", "3")])
def test_streams_that_come_at_once_are_written_one_after_the_other(
    processes: Processes, tmp_path: Path, options: tuple[str, ...]
) -> None:
    receiver = processes.listen("-o", "-", *options, f"{HERE}:0", command="recv")
    bodies, senders = [], []
    for seed in range(int(options[-1])):
        path = tmp_path / f"f{seed}"
        path.write_bytes(pattern(2_000_000, seed + 1))
        bodies.append(path.read_bytes())
        senders.append(_send(processes, receiver.port, path, "--rate", "4M"))
    assert [sender.wait().code for sender in senders] == [0] * len(senders)
    done = receiver.wait()
    assert done.code == 0
    there = sorted(bodies, key=done.out.find)
    assert done.out == b"".join(there)


def _into_fifo(
    out: Path, paths: list[Path | str], fault: Fault, **values: Any
) -> tuple[tuple[int, int], bytes]:
    """What comes out of a fifo that recv writes to, and both exit statuses."""
    fifo = out / "fifo"
    os.mkfifo(fifo)
    taken: list[bytes] = []

    def read() -> None:
        with fifo.open("rb") as stream:
            taken.append(stream.read())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        result = transfer(paths, fifo, fault=fault, **values)
    finally:
        os.close(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))  # whoever still waits for a writer has had one
        reader.join(PATIENCE)
        fifo.unlink()
    return result.codes, taken[0]


@pytest.mark.parametrize("options", [(), SECRET], ids=["plain", "secret"])
@pytest.mark.parametrize("source", ["file", "pipe"])
@pytest.mark.parametrize("again", ["the same", "another", "nobody"])
def test_a_fifo_whose_sender_is_killed_gets_the_whole_stream_or_the_beginning_and_no_0(
    processes: Processes, tmp_path: Path, path: Path, options: tuple[str, ...], source: str, again: str
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    whole = path.read_bytes()
    reader = processes.spawn("cat", str(fifo))
    patience = ("--retry-for", "200ms") if again == "nobody" else ()
    receiver = processes.listen("-o", str(fifo), *options, *patience, f"{HERE}:0", command="recv")

    def sends(*more: str) -> Process:
        if source == "file":
            return _send(processes, receiver.port, path, *options, *more)
        with piped(path.read_bytes()) as stdin:
            return _send(processes, receiver.port, *options, *more, stdin=stdin)

    doomed = sends(*SLOW)
    reader.expect_bytes(1_000_000)
    doomed.popen.send_signal(signal.SIGKILL)
    doomed.ends(10)
    if again == "another":
        path.write_bytes(pattern(SIZE, 2))
    sent = sends().wait() if again != "nobody" else None
    received, read = receiver.wait(), reader.wait()
    if again == "the same":
        assert (sent.code, received.code, read.code) == (0, 0, 0)
        assert read.out == whole
    else:
        assert received.code == (4 if sent else 1)
        assert sent is None or (sent.code, "cannot be taken back" in sent.err) == (4, True)
        assert _beginning(read.out, whole)


def _files(tmp_path: Path, sizes: Iterable[int]) -> list[Path | str]:
    paths: list[Path | str] = []
    for number, size in enumerate(sizes):
        path = tmp_path / f"f{number}"
        path.write_bytes(b"same here!" if size == 10 else pattern(size, number))
        paths.append(path)
    return paths


def _all(paths: list[Path | str]) -> bytes:
    return b"".join(Path(path).read_bytes() for path in paths)


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_entries_that_nobody_could_confirm_are_not_written_twice(
    tmp_path: Path, out: Path, compress: str
) -> None:
    """The words of either end are cut: entries that are written, but not known to be, come again."""
    paths = _files(tmp_path, (10, 0, 70_000, 1_100_000, 10, 1_200_000, 10))
    places = [(at, False) for at in range(20, 260, 20)] + [(at * 300_000, True) for at in range(1, 8)]
    for place, upwards in places:
        fault = Fault("cut", place, upwards)
        codes, taken = _into_fifo(out, paths, fault, send_with={"compress": compress})
        assert (codes, taken == _all(paths)) == ((0, 0), True), (place, upwards)


def test_entries_that_are_confirmed_do_not_come_again_and_are_not_missed(tmp_path: Path, out: Path) -> None:
    """So many that the first were confirmed before the cut."""
    paths = _files(tmp_path, (*range(11, 311), 1_100_000, 10, 1_200_000))
    for place in (900_000, 1_000_000, 1_900_000):
        codes, taken = _into_fifo(out, paths, Fault("cut", place))
        assert (codes, taken == _all(paths)) == ((0, 0), True), place


def _as_it_was(path: Path) -> None:
    pass


def _grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _other(path: Path) -> None:
    path.write_bytes(pattern(path.stat().st_size, 9))


@pytest.mark.parametrize(
    ("change", "codes"),
    [(_as_it_was, (0, 0)), (_grown, (4, 4)), (_other, (4, 4))],
    ids=["as it was", "grown", "other"],
)
@pytest.mark.parametrize("size", [1000, 90_000, 1_500_000], ids=["inline", "eager", "asked"])
@pytest.mark.parametrize("again", [(), ("--checksum", "blake3")], ids=["same digest", "another digest"])
def test_several_files_to_stdout_from_a_sender_that_is_started_again(
    processes: Processes,
    tmp_path: Path,
    path: Path,
    size: int,
    change: Callable[[Path], None],
    codes: tuple[int, int],
    again: tuple[str, ...],
) -> None:
    first = tmp_path / "first"
    first.write_bytes(pattern(size, 5))
    whole = first.read_bytes() + path.read_bytes()
    receiver = processes.listen("-o", "-", f"{HERE}:0", command="recv")
    sender = _send(processes, receiver.port, first, path, *SLOW)
    receiver.until(lambda: len(receiver.out) > size + 1_000_000, "a part of the second file")
    sender.popen.send_signal(signal.SIGKILL)
    sender.ends(10)
    change(first)
    sent = _send(processes, receiver.port, first, path, *again).wait()
    received = receiver.wait()
    assert (sent.code, received.code) == codes
    assert received.out == whole if codes == (0, 0) else _beginning(received.out, whole)
