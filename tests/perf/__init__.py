"""Measurements: `python -m tests.perf [ROW...]` prints ratio, range, goal and verdict of every row.

    python -m tests.perf                    all rows (2 GiB on tmpfs; give --size 256M for a quick look)
    python -m tests.perf --list             the names
    python -m tests.perf 'relay.*' scan.tcp only these; names or shell patterns
    python -m tests.perf --runs 7 --markdown

How a row is measured: its candidate and its references run in turn (A B C, A B C, ...) in one session, so
that a machine that speeds up or slows down does so for all; the ratio is that of the medians, the range that
of the rounds. When there are several references the best one counts. Exit status 1 when a goal is missed.

How to add rows: a module in this folder with a list `ROWS` of `Row`; nothing to register.

    from tests.perf import Bench, Row

    def ours(bench: Bench) -> float:                       # one run -> one number in the row's unit
        server = bench.listen("127.0.0.1:0", stdout=bench.null)   # a harness.Process, ready, with .port
        with bench.source().open("rb") as stdin:           # `bench.size` bytes on tmpfs, made once
            begin = bench.now()
            bench.pync("connect", "127.0.0.1", str(server.port), stdin=stdin).wait(within=300)
        bench.check(server)                                # its exit must be 0
        return bench.size / (bench.now() - begin)

    ROWS = [
        Row("relay.file-null", "file -> null", ours, {"nc": theirs}, goal=2.5, needs=("nc.openbsd",)),
    ]

`Bench.spawn` starts other programs, `Bench.scratch` is a folder on tmpfs, `Bench.c(NAME)` builds
tests/perf/NAME.c and gives its path. All processes of a run end with it. A missing program in `needs` (or
`"cc"`) skips the row, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.perf.bench import Bench

__all__ = ["Bench", "Measure", "Row"]

Measure = Callable[["Bench"], float]


class Row(NamedTuple):
    """One line of the table.

    With references, `goal` is a ratio (ours / the best of theirs); without, a value in `unit`.
    """

    name: str  # module.subject, what the command line takes
    what: str
    measure: Measure
    references: Mapping[str, Measure] = {}
    goal: float = 1.0
    at_least: bool = True  # throughput; False: at most (time, memory)
    unit: str = "B/s"  # B/s, /s, s, MiB: how values are printed
    runs: int = 5
    needs: tuple[str, ...] = ()  # programs; "cc", "root", "ipv6"; "magic-wormhole" is installed


def __getattr__(name: str) -> object:
    if name == "Bench":
        from tests.perf.bench import Bench

        return Bench
    raise AttributeError(name)
