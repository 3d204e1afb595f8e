"""What a measurement works with: processes, a source of bytes on tmpfs, compiled references."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from tests.harness import ROOT, Process, Processes

LIMIT = 600.0  # seconds for one run: nothing measured here takes that long


def command() -> tuple[str, ...]:
    """How users start pync: the installed command; `python -m pync` where there is none."""
    installed = Path(sys.executable).with_name("pync")
    return (str(installed),) if installed.exists() else (sys.executable, "-m", "pync")


class Bench:
    """One session; `size` and `scratch` are the same for all rows."""

    now = staticmethod(time.perf_counter)

    def __init__(self, scratch: Path, size: int) -> None:
        self.scratch = scratch
        self.size = size
        self.null: IO[bytes] = open("/dev/null", "r+b", buffering=0)  # noqa: SIM115  (closed in close)
        self.processes = Processes(scratch)

    def close(self) -> None:
        self.processes.close()
        self.null.close()

    def end_run(self) -> None:
        """Between two runs: nothing may run on."""
        self.processes.close()
        self.free_memory()

    # processes
    def spawn(self, *argv: str | os.PathLike[str], **options: Any) -> Process:
        """Any program; stdin and stdout are /dev/null unless given, stderr is kept for messages."""
        options.setdefault("stdin", self.null)
        options.setdefault("stdout", self.null)
        return self.processes.spawn(*argv, **options)

    def pync(self, *arguments: str | os.PathLike[str], **options: Any) -> Process:
        return self.spawn(*command(), *arguments, **options)

    def listen(self, *arguments: str | os.PathLike[str], command: str = "listen", **options: Any) -> Process:
        """`pync listen` (or `recv`), ready, with `.port`."""
        options.setdefault("stdin", self.null)
        options.setdefault("stdout", self.null)
        return self.processes.listen(*arguments, command=command, **options)

    def check(self, process: Process, code: int = 0) -> None:
        """Wait for its end; a run that failed is not a measurement."""
        done = process.wait(within=LIMIT)
        if done.code != code:
            raise AssertionError(f"exit {done.code}, not {code}: {process.describe()}")

    # material
    def take_memory(self) -> None:
        """Hold as much memory as one run will fill anew, until `free_memory` just before it starts.

        A virtual machine gives free memory back to its host within seconds. To get a page from there costs
        four times what a page costs that was freed a moment ago, and falls on whoever happens to be next.
        """
        block = bytes(1 << 20)
        with (self.scratch / "held").open("wb", buffering=0) as file:
            for _ in range((self.size + self.size // 4) >> 20):
                file.write(block)

    def free_memory(self) -> None:
        (self.scratch / "held").unlink(missing_ok=True)

    def source(self, size: int | None = None) -> Path:
        """A file of that many (default: `bench.size`) bytes that do not compress, on tmpfs."""
        size = size or self.size
        path = self.scratch / f"source-{size}"
        if not path.exists():
            block = os.urandom(1 << 20)
            with path.open("wb") as file:
                for at in range(0, size, len(block)):
                    file.write(block[: min(len(block), size - at)])
        return path

    def sparse(self, size: int) -> Path:
        """A file of that size without blocks of its own, for runs that only count bytes."""
        path = self.scratch / f"sparse-{size}"
        with path.open("wb") as file:
            file.truncate(size)
        return path

    def sink(self, name: str = "sink", *, new: bool = False) -> IO[bytes]:
        """A file on tmpfs, open for writing; the caller closes it.

        It has `size` bytes and is overwritten in place, as `1<>file` does, unless it shall be new: to find
        and clear new pages costs the kernel three times the copy, which would hide what is measured.
        """
        path = self.scratch / name
        if new:
            path.unlink(missing_ok=True)
            self.take_memory()
            return path.open("wb", buffering=0)
        if not path.exists() or path.stat().st_size != self.size:
            shutil.copyfile(self.source(), path)
        return path.open("r+b", buffering=0)

    def c(self, name: str) -> str:
        """The program built from tests/perf/NAME.c with -O2."""
        source = ROOT / "tests" / "perf" / f"{name}.c"
        program = self.scratch / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["cc", "-O2", "-Wall", "-o", program, source], check=True)
        return str(program)


def missing(name: str) -> str | None:
    """Why a row that needs this cannot run here; None when it can."""
    if name == "root":
        return None if os.geteuid() == 0 else "needs root"
    if name == "ipv6":
        from tests.harness import has_ipv6

        return None if has_ipv6() else "no IPv6 here"
    if name == "magic-wormhole":
        from tests.perf import wormhole

        return wormhole.missing()
    return None if shutil.which(name) else f"{name} is not installed"


def peak_memory(process: Process) -> float:
    """Wait for its end; its largest resident size in MiB.

    VmHWM is read while it runs: the rusage of wait4 starts from its parent's size, which is kept over exec.
    """
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    while not process.ends(0.005):
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]))
    return peak / 1024
