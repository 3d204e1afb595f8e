"""send and recv against what people do without them: nc from file to file, tar through nc, ncat over TLS."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.perf import Bench, Measure, Row
from tests.perf.bench import LIMIT, peak_memory
from tests.perf.relay import bound
from tests.perf.wormhole import deliver

SECRET = ("--secret=7-otter-violin",)
FILES, FILES_SIZES = 20_000, (1 << 10, 8 << 10)
MANY = 100_000


def _fresh(bench: Bench, name: str) -> Path:
    path = bench.scratch / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    bench.take_memory()
    return path


def _deliver(bench: Bench, out: Path, source: Path, *options: str) -> float:
    """Seconds from the sender's start until both ends are done."""
    receiver = bench.listen("-o", f"{out}/", *options, "127.0.0.1:0", command="recv")
    bench.free_memory()
    begin = bench.now()
    sender = bench.pync("send", *options, f"127.0.0.1:{receiver.port}", str(source))
    bench.check(sender)
    bench.check(receiver)
    return bench.now() - begin


def ours(*options: str) -> Measure:
    def measure(bench: Bench) -> float:
        out = _fresh(bench, "delivered")
        seconds = _deliver(bench, out, bench.source(), *options)
        shutil.rmtree(out)
        return bench.size / seconds

    return measure


def _nc_file_to_file(bench: Bench, listen: tuple[str, ...], connect: tuple[str, ...]) -> float:
    with bench.sink("nc-out", new=True) as out, bench.source().open("rb") as source:
        receiver = bound(bench.spawn(*listen, "-l", "127.0.0.1", "0", stdout=out))
        bench.free_memory()
        begin = bench.now()
        sender = bench.spawn(*connect, "127.0.0.1", str(receiver.port), stdin=source)
        bench.check(sender)
        receiver.wait(within=LIMIT)  # `ncat --ssl` ends 1 and loses its last bytes: it gets no close_notify
        seconds = bench.now() - begin
    path = bench.scratch / "nc-out"
    assert path.stat().st_size > bench.size * 0.99, receiver.describe()
    path.unlink()
    return bench.size / seconds


def nc(bench: Bench) -> float:
    return _nc_file_to_file(bench, ("nc.openbsd",), ("nc.openbsd", "-N"))


def ncat_ssl(bench: Bench) -> float:
    return _nc_file_to_file(bench, ("ncat", "--ssl", "--recv-only"), ("ncat", "--ssl", "--send-only"))


def magic_wormhole(bench: Bench) -> float:
    out = _fresh(bench, "delivered")
    seconds = deliver(bench, out, bench.source())
    shutil.rmtree(out)
    return bench.size / seconds


def _small_files(bench: Bench, number: int) -> Path:
    """`number` files in folders of 500, the same ones for every run."""
    import random

    top = bench.scratch / f"files-{number}"
    if not top.exists():
        rng = random.Random(1)
        low, high = FILES_SIZES
        for index in range(number):
            folder = top / f"d{index // 500}"
            if index % 500 == 0:
                folder.mkdir(parents=True)
            (folder / f"f{index}").write_bytes(rng.randbytes(rng.randint(low, high)))
    return top


def ours_files(bench: Bench) -> float:
    out = _fresh(bench, "files-out")
    return FILES / _deliver(bench, out, _small_files(bench, FILES))


def tar_through_nc(bench: Bench) -> float:
    out, source = _fresh(bench, "files-out"), _small_files(bench, FILES)
    reading, writing = os.pipe()
    listener = bound(bench.spawn("nc.openbsd", "-l", "127.0.0.1", "0", stdout=writing))
    os.close(writing)
    unpack = bench.spawn("tar", "x", "-C", str(out), stdin=reading)
    os.close(reading)
    bench.free_memory()
    begin = bench.now()
    reading, writing = os.pipe()
    pack = bench.spawn("tar", "c", "-C", str(source.parent), source.name, stdout=writing)
    os.close(writing)
    sender = bench.spawn("nc.openbsd", "-N", "127.0.0.1", str(listener.port), stdin=reading)
    os.close(reading)
    for process in (pack, sender, listener, unpack):
        bench.check(process)
    return FILES / (bench.now() - begin)


def _resumed(bench: Bench) -> float:
    """Seconds for a file of which the first half is there."""
    out, source = _fresh(bench, "delivered"), bench.source()
    half = bench.size // 2
    with source.open("rb") as full, (out / f"{source.name}.part").open("wb") as part:
        while (left := half - part.tell()) > 0:
            part.write(full.read(min(left, 1 << 20)))
    seconds = _deliver(bench, out, source)
    shutil.rmtree(out)
    return seconds


def _half_alone(bench: Bench) -> float:
    out = _fresh(bench, "delivered")
    seconds = _deliver(bench, out, bench.source(bench.size // 2))
    shutil.rmtree(out)
    return seconds


def memory(number: int) -> Measure:
    """Peak memory of the receiver of `number` files, MiB."""

    def measure(bench: Bench) -> float:
        out, source = _fresh(bench, "files-out"), _small_files(bench, number)
        receiver = bench.listen("-o", f"{out}/", "127.0.0.1:0", command="recv")
        bench.free_memory()
        sender = bench.pync("send", f"127.0.0.1:{receiver.port}", str(source))
        value = peak_memory(receiver)
        bench.check(sender)
        bench.check(receiver)
        return value

    return measure


def extra_memory(bench: Bench) -> float:
    return memory(MANY)(bench) - memory(1)(bench)


ROWS = [
    Row("transfer.file", "send/recv, verified", ours(), {"nc": nc}, goal=1.2, needs=("nc.openbsd",)),
    Row("transfer.secret", "--secret", ours(*SECRET), {"nc": nc}, goal=1.0, needs=("nc.openbsd",)),
    Row(
        "transfer.secret-ssl", "--secret", ours(*SECRET), {"ncat --ssl": ncat_ssl}, goal=2.0, needs=("ncat",)
    ),
    Row(
        "transfer.secret-wormhole",
        "--secret",
        ours(*SECRET),
        {"magic-wormhole": magic_wormhole},
        goal=5.0,
        runs=3,
        needs=("magic-wormhole",),
    ),
    Row(
        "transfer.files",
        f"{FILES} files of 1-8 KiB",
        ours_files,
        {"tar | nc": tar_through_nc},
        goal=0.7,
        unit="/s",
        needs=("nc.openbsd", "tar"),
    ),
    Row(
        "transfer.resume",
        "the missing half",
        _resumed,
        {"half alone": _half_alone},
        goal=1.3,
        at_least=False,
        unit="s",
    ),
    Row(
        "transfer.memory",
        f"{MANY} files over one",
        extra_memory,
        goal=10.0,
        at_least=False,
        unit="MiB",
        runs=1,
    ),
]
