"""Real processes for tests: start them, wait for what they say or bind, collect what they leave.

Nothing here sleeps for a fixed time: every wait has a condition and a deadline, and a process that dies early
ends the wait with its output in the message. Used by pytest through tests/conftest.py and by tests/perf.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from tests.network import Host, bound_ports, free_port, has_ipv6, two_hosts, unix_sockets

__all__ = [
    "PATIENCE",
    "PEERS",
    "PYNC",
    "ROOT",
    "Captured",
    "Finished",
    "Host",
    "Process",
    "Processes",
    "environment",
    "find_peer",
    "free_port",
    "has_ipv6",
    "pattern",
    "two_hosts",
    "unix_sockets",
    "wait_ready",
]

ROOT = Path(__file__).resolve().parent.parent
PYNC = (sys.executable, "-m", "pync")
# With PYNC_TEST_EVENTS set every pync tells all its events, also what it shows in words or not at all.
_EVENTS = bool(os.environ.get("PYNC_TEST_EVENTS"))
_MEASURED = "COVERAGE_PROCESS_CONFIG" in os.environ
_TOLD = ROOT / "tests" / "told"  # a sitecustomize for both
PATIENCE = 20.0  # seconds; far beyond what anything here takes, so that a loaded machine fails nothing

PEERS = ("nc.openbsd", "nc.traditional", "ncat", "socat", "busybox")


class Finished(NamedTuple):
    """What a process left: its exit code (negative: died of that signal), stdout and stderr."""

    code: int
    out: bytes
    err: str


def environment(extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Our environment without what changes output, with this checkout first on the path; None removes."""
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    # PYTHONDONTWRITEBYTECODE would compile pync anew in each process: no installation is like that
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYNC_SECRET", "PYTHONDONTWRITEBYTECODE"):
        env.pop(name, None)
    env["PYTHONPATH"] = os.pathsep.join((str(_TOLD), str(ROOT))) if _MEASURED or _EVENTS else str(ROOT)
    for name, value in (extra or {}).items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return env


def _events_file() -> str | None:
    if not _EVENTS:
        return None
    fd, path = tempfile.mkstemp(prefix="pync-events-")
    os.close(fd)
    return path


class Captured:
    """A stream of a process, read by a thread so that the process never blocks on us."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream
        self._data = bytearray()
        self._ended = stream is None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if stream is not None:
            self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
            self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        while True:
            try:
                chunk = os.read(stream.fileno(), 1 << 18)
            except OSError:
                chunk = b""
            with self._changed:
                self._data += chunk
                self._ended = not chunk
                self._changed.notify_all()
            if not chunk:
                return

    @property
    def ended(self) -> bool:
        with self._changed:
            return self._ended

    @property
    def data(self) -> bytes:
        with self._changed:
            return bytes(self._data)

    def wait_for(self, found: Callable[[bytearray], Any], deadline: float) -> Any:
        """The first true value of `found(data)`; None when the stream ended or the deadline passed."""
        with self._changed:
            while not (value := found(self._data)):
                left = deadline - time.monotonic()
                if self._ended or left <= 0 or not self._changed.wait(left):
                    return found(self._data) or None
            return value

    def finish(self, deadline: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        if self._stream is not None and (self._thread is None or not self._thread.is_alive()):
            self._stream.close()


class Process:
    """One running program. `stdin` is a pipe unless given; stdout and stderr are captured unless given."""

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        env: Mapping[str, str | None] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        **popen: Any,
    ) -> None:
        self.argv = [os.fspath(word) for word in argv]
        self._told = _events_file() if "pync" in self.argv else None
        if self._told is not None:
            env = {"PYNC_TEST_EVENTS_FILE": self._told, **(env or {})}
        self.port = 0
        self._checked = False
        self._broken_off = False
        self.popen = subprocess.Popen(
            self.argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment(env),
            cwd=cwd,
            bufsize=0,
            process_group=popen.pop("process_group", 0),
            **popen,
        )
        self._out = Captured(self.popen.stdout)
        self._err = Captured(self.popen.stderr)

    # what it said so far
    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def out(self) -> bytes:
        return self._out.data

    @property
    def err(self) -> str:
        return self._err.data.decode("utf-8", "backslashreplace")

    def describe(self) -> str:
        state = "running" if self.popen.poll() is None else f"exit {self.popen.returncode}"
        out = f"stdout {len(self.out)} bytes ...{self.out[-500:]!r}"
        return f"{' '.join(self.argv)} ({state})\n  {out}\n  stderr {self.err!r}"

    # what we do to it
    def write(self, data: bytes) -> None:
        """Everything to its stdin; raises BrokenPipeError when it no longer reads."""
        assert self.popen.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.popen.stdin.write(view) :]

    def close_stdin(self) -> None:
        if self.popen.stdin is not None:
            self.popen.stdin.close()

    def signal(self, signum: int) -> None:
        self.popen.send_signal(signum)

    # waits
    def expect(self, pattern: str, *, within: float = PATIENCE) -> re.Match[bytes]:
        """The first match of a pattern in stderr; AssertionError when it ends without it."""
        return self._expect(self._err, pattern, within)

    def expect_out(self, pattern: str, *, within: float = PATIENCE) -> re.Match[bytes]:
        """The first match of a pattern in stdout."""
        return self._expect(self._out, pattern, within)

    def _expect(self, stream: Captured, pattern: str, within: float) -> re.Match[bytes]:
        compiled = re.compile(pattern.encode(), re.DOTALL | re.MULTILINE)
        match = stream.wait_for(compiled.search, time.monotonic() + within)
        if not match and stream.ended:
            self.ends(1)  # so that the message has its exit code
        assert match, f"{pattern!r} did not appear: {self.describe()}"
        return match  # type: ignore[no-any-return]

    def expect_bytes(self, count: int, *, within: float = PATIENCE) -> bytes:
        """stdout once at least that many bytes are there."""
        self._out.wait_for(lambda data: len(data) >= count, time.monotonic() + within)
        assert len(self.out) >= count, f"{count} bytes did not arrive: {self.describe()}"
        return self.out

    def wait(self, *, within: float = PATIENCE) -> Finished:
        """Its end. Fails when it is not over at the deadline."""
        deadline = time.monotonic() + within
        assert self.ends(within), f"still running after {within} s: {self.describe()}"
        self._out.finish(deadline)
        self._err.finish(deadline)
        self.check_events()
        return Finished(self.popen.returncode, self.out, self.err)

    def check_events(self) -> None:
        """Fails for an event of `pync` that the schema which is shipped does not describe."""
        if self._checked:
            return
        self._checked = True
        words = self.argv[: self.argv.index("--")] if "--" in self.argv else self.argv
        said = []
        if "--json" in words and "pync" in words and "importtime" not in words:
            said.append(self.err)
            if words[words.index("pync") + 1] == "scan":
                said.append(self.out.decode())
        if self._told is not None:
            said.append(Path(self._told).read_text())
            os.unlink(self._told)
        if any(said):
            from tests.cli.schema import check_lines

            try:
                for text in said:
                    check_lines(text, whole=not self._broken_off and self.popen.returncode != -signal.SIGKILL)
            except AssertionError as error:
                raise AssertionError(f"{error}: {self.describe()}") from None

    def ends(self, within: float) -> bool:
        """Whether it ends within so many seconds. Exact, where Popen.wait(timeout) polls every 50 ms."""
        if self.popen.poll() is None:
            exit_fd = os.pidfd_open(self.pid)
            try:
                poll = select.poll()
                poll.register(exit_fd, select.POLLIN)
                if not poll.poll(within * 1000):
                    return False
            finally:
                os.close(exit_fd)
            self.popen.wait()
        return True

    def finish(self, data: bytes = b"", *, within: float = PATIENCE) -> Finished:
        """Give it its last input, close its stdin, wait for its end."""
        with contextlib.suppress(BrokenPipeError):
            if data:
                self.write(data)
        self.close_stdin()
        return self.wait(within=within)

    def until(self, condition: Callable[[], Any], what: str, *, within: float = PATIENCE) -> Any:
        """Poll for something no event tells of (a socket bound by another program), while it lives."""
        deadline = time.monotonic() + within
        while not (value := condition()):
            if self.ends(0.001):
                value = condition()
                assert value, f"ended before {what}: {self.describe()}"
                return value
            assert time.monotonic() < deadline, f"{what}: not within {within} s: {self.describe()}"
        return value

    def bound(self, kind: str = "tcp", *, within: float = PATIENCE) -> int:
        """The port this process listens on (tcp) or has bound (udp), read from the kernel's tables."""
        self.port = self.until(
            lambda: next(iter(sorted(bound_ports(self.pid, kind))), 0), "binding", within=within
        )
        return self.port

    def bound_path(self, path: str | os.PathLike[str], *, within: float = PATIENCE) -> None:
        """Wait until a Unix socket of this name is bound (`@NAME` for the abstract ones)."""
        self.until(lambda: os.fspath(path) in unix_sockets(), f"binding {path}", within=within)

    def children(self) -> list[int]:
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(word) for word in text.split()]

    def close(self) -> None:
        """Kill it (and what it started) if it still runs; release the pipes."""
        self._broken_off = self.popen.poll() is None
        if _MEASURED and "pync" in self.argv and self.popen.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)  # what it measured would be lost with it
            self.ends(3)
        if self.popen.poll() is None or self.popen.stdin is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(self.pid) == self.pid:
                    os.killpg(self.pid, signal.SIGKILL)
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        with contextlib.suppress(OSError):
            self.close_stdin()
        for stream in (self._out, self._err):
            stream.finish(time.monotonic() + 2)
            stream.close()


class Processes:
    """Starts processes and ends, at the close of its scope, those which still run."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._running: list[Process] = []
        self._number = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        ended = list(self._running)
        while self._running:
            self._running.pop().close()
        for process in ended:
            process.check_events()

    def spawn(self, *argv: str | os.PathLike[str], host: Host | None = None, **options: Any) -> Process:
        """Start any program; `host` starts it inside a network namespace."""
        words = (*host.prefix, *argv) if host else argv
        process = Process(words, **options)
        self._running.append(process)
        return process

    def pync(self, *arguments: str | os.PathLike[str], **options: Any) -> Process:
        """Start `pync ARGUMENTS...`, stdin an open pipe."""
        return self.spawn(*PYNC, *arguments, **options)

    def run(
        self, *arguments: str | os.PathLike[str], input: bytes = b"", within: float = PATIENCE, **options: Any
    ) -> Finished:
        """`pync ARGUMENTS...` from start to end with this input."""
        process = self.pync(*arguments, **options)
        if options.get("stdin", subprocess.PIPE) == subprocess.PIPE:
            return process.finish(input, within=within)
        return process.wait(within=within)

    def listen(self, *arguments: str | os.PathLike[str], command: str = "listen", **options: Any) -> Process:
        """`pync listen ARGUMENTS...` once it is ready; `.port` is its port (0 for Unix sockets).

        Readiness comes through `--ready-fd`, the port through `--port-file`: no polling.
        """
        port_file = self.scratch / f"port-{os.getpid()}-{next(self._number)}"
        reader, writer = os.pipe()
        try:
            words = [command, *arguments]
            split = words.index("--") if "--" in words else len(words)
            words[split:split] = ["--ready-fd", str(writer), "--port-file", os.fspath(port_file)]
            process = self.pync(*words, pass_fds=(writer, *options.pop("pass_fds", ())), **options)
            os.close(writer)
            writer = -1
            wait_ready(process, reader)
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
        with contextlib.suppress(ValueError):  # Unix sockets have none
            process.port = int(port_file.read_text())
        return process


def wait_ready(process: Process, reader: int, *, within: float = PATIENCE) -> None:
    """Wait for the newline of `--ready-fd`; AssertionError with the process's words when it died instead."""
    ready, _, _ = select.select([reader], [], [], within)
    assert ready, f"not ready: {process.describe()}"
    if os.read(reader, 16) != b"\n":
        process.wait(within=within)
        raise AssertionError(f"ended before it was ready: {process.describe()}")


def find_peer(name: str) -> str | None:
    """The path of another program, or None."""
    return shutil.which(name)


def pattern(size: int, seed: int = 1) -> bytes:
    """Bytes that repeat nowhere near, the same for the same seed: lost, doubled or swapped ones show."""
    import random

    return random.Random(seed).randbytes(size)
