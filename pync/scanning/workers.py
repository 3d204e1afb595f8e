"""More processes for more cores: each takes every so-manieth port of every host.

The children are forked, which costs a millisecond, and write what they find down a pipe. They share nothing
else: each has its own loop, sockets and timers. A process with threads is never forked.
"""

from __future__ import annotations

import marshal
import os
import signal

from pync.errors import Interrupted, LocalError, PyncError
from pync.loop import Loop
from pync.report import Event
from pync.scanning.engine import Engine
from pync.scanning.limits import probes_at_once
from pync.scanning.results import Results
from pync.scanning.sockets import lent_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.commands.options import ScanOptions
    from pync.scanning.source import Source

WORTH = 16_384  # probes below which a second process costs more than it brings
MOST = 8
FLUSH_EVERY = 0.1
_HEADER = 4


async def share(loop: Loop, options: ScanOptions, source: Source, results: Results) -> None:
    """Run the scan in as many processes as it is worth."""
    number = await _workers(loop, options, source)
    children: list[Child] = []
    source.lent = lent_ports() if number > 1 else None
    try:
        for part in range(1, number):
            child = Child(loop, options, source, results, (part, number))
            children.append(child)
        source.worker = (0, number)
        ceiling = probes_at_once(options.concurrency, number)
        engine = Engine(loop, options, source, results, ceiling=ceiling)
        try:
            await engine.run()
        finally:
            engine.close()
        for child in children:
            await child.ended()
    except (Interrupted, PyncError):
        for child in children:
            child.break_off()
        raise
    finally:
        for child in children:
            child.close()


async def _workers(loop: Loop, options: ScanOptions, source: Source) -> int:
    wanted = os.environ.get("PYNC_SCAN_WORKERS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    number = min(int(wanted), 64) if wanted.isdigit() else min(cores, MOST)
    slow = options.rate is not None and options.rate < WORTH
    if number < 2 or source.lazily_read or source.total < WORTH or slow or not hasattr(os, "fork"):
        return 1
    if options.udp or (options.concurrency is not None and options.concurrency < number):
        return 1
    await source.resolve_all()
    return number if _single_threaded() else 1


def _single_threaded() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


class Child:
    """One forked process and the pipe from it."""

    def __init__(
        self, loop: Loop, options: ScanOptions, source: Source, results: Results, part: tuple[int, int]
    ) -> None:
        self._loop = loop
        self._results = results
        self._held = bytearray()
        self._over = loop.flag()
        self._counted: dict[str, int] = {}
        self._complete = False
        self._fd, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._fd)
            _work(writer, options, source, part)
        os.close(writer)
        os.set_blocking(self._fd, False)
        loop.watch_read(self._fd, self._read)

    def _read(self) -> None:
        self._took_in()

    def _took_in(self) -> bool:
        """Whether there was something to read; what it says is told."""
        try:
            data = os.read(self._fd, 1 << 18)
        except BlockingIOError:
            return False
        if not data:
            self._loop.forget(self._fd)
            self._over.set()
            return False
        self._held += data
        while len(self._held) >= _HEADER:
            size = int.from_bytes(self._held[:_HEADER], "big")
            if len(self._held) < _HEADER + size:
                break
            kind, value = marshal.loads(bytes(self._held[_HEADER : _HEADER + size]))
            del self._held[: _HEADER + size]
            self._take(kind, value)
        return True

    def _take(self, kind: str, value: Any) -> None:
        if kind == "port":
            self._results.relayed(value)
        elif kind == "open":
            self._results.awaits(value)
        else:
            self._results.counted(self._counted, value)
            self._counted = value
            self._complete = self._complete or kind == "end"

    async def ended(self) -> None:
        """Wait for its last word; raises LocalError when it died without one."""
        await self._over.wait()
        if not self._complete:
            raise LocalError("scan: a worker process died, ports are missing from the result")

    def break_off(self) -> None:
        """The scan ends early: take in what it has still told."""
        os.kill(self._pid, signal.SIGKILL)
        while self._took_in():
            pass

    def close(self) -> None:
        """End and reap it; idempotent."""
        if self._pid:
            self._loop.forget(self._fd)
            os.close(self._fd)
            try:
                os.kill(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.waitpid(self._pid, 0)
            self._pid = 0


def _work(writer: int, options: ScanOptions, source: Source, part: tuple[int, int]) -> None:
    """The child: scan one part, write what is found, and leave without any clean-up of the parent's."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup it stays ignored
                signal.signal(number, signal.SIG_DFL)
        with Loop() as loop:
            loop.run(_work_in(loop, writer, options, source, part))
        code = 0
    finally:
        os._exit(code)


async def _work_in(
    loop: Loop, writer: int, options: ScanOptions, source: Source, part: tuple[int, int]
) -> None:
    pending = bytearray()

    def put(kind: str, value: Any) -> None:
        add(kind, value)
        if len(pending) >= 1 << 16:
            flush()

    def add(kind: str, value: Any) -> None:
        data = marshal.dumps((kind, value))
        pending.extend(len(data).to_bytes(_HEADER, "big") + data)

    def flush() -> None:
        add("counts", results.counts)  # what is told is always counted, whenever we are ended
        while pending:
            del pending[: os.write(writer, pending)]  # the parent is gone: SIGPIPE's error ends us

    def tell(event: Event) -> None:
        put("port", event.facts)

    def tick() -> None:
        flush()
        loop.call_later(FLUSH_EVERY, tick)

    def opened(facts: dict[str, Any]) -> None:
        put("open", facts)

    results = Results(tell, show_all=options.all, numeric=options.numeric, opened=opened)
    source.worker = part
    source.moved_to(loop)
    loop.call_later(FLUSH_EVERY, tick)
    engine = Engine(loop, options, source, results, ceiling=probes_at_once(options.concurrency, part[1]))
    await engine.run()
    put("end", results.counts)
    flush()
