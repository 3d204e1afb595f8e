"""Runs the rows and prints the table. See tests/perf/__init__.py."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import shutil
import statistics
import sys
import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import tests.perf
from tests.harness import ROOT
from tests.perf import Row
from tests.perf.bench import Bench, missing


class Result(NamedTuple):
    row: Row
    value: float = 0.0
    against: str = ""
    reference: float = 0.0
    ratio: float = 0.0
    low: float = 0.0
    high: float = 0.0
    verdict: str = ""


def rows() -> list[Row]:
    """Every row of every module in this folder."""
    found: list[Row] = []
    for info in pkgutil.iter_modules(tests.perf.__path__):
        if info.name not in ("__main__", "bench"):
            found += getattr(importlib.import_module(f"tests.perf.{info.name}"), "ROWS", [])
    return found


def measure(row: Row, bench: Bench, runs: int) -> Result:
    """Candidate and references in turn, `runs` times."""
    for name in row.needs:
        if reason := missing(name):
            return Result(row, verdict=f"skipped: {reason}")
    measures = {"": row.measure, **row.references}
    values: dict[str, list[float]] = {name: [] for name in measures}
    try:
        for _ in range(runs):
            for name, run in measures.items():
                try:
                    values[name].append(run(bench))
                finally:
                    bench.end_run()
    except (AssertionError, OSError) as error:
        return Result(row, verdict=f"FAILED: {error}")
    return judge(row, values)


def judge(row: Row, values: dict[str, list[float]]) -> Result:
    medians = {name: statistics.median(seen) for name, seen in values.items()}
    ours = medians.pop("")
    if not medians:
        good = ours >= row.goal if row.at_least else ours <= row.goal
        low, high = min(values[""]), max(values[""])
        return Result(row, ours, ratio=ours, low=low, high=high, verdict="ok" if good else "MISSED")
    best = (max if row.at_least else min)(medians, key=lambda name: medians[name])
    ratios = [a / b for a, b in zip(values[""], values[best], strict=True)]
    ratio = ours / medians[best]
    good = ratio >= row.goal if row.at_least else ratio <= row.goal
    verdict = "ok" if good else "MISSED"
    return Result(row, ours, best, medians[best], ratio, min(ratios), max(ratios), verdict)


def amount(value: float, unit: str) -> str:
    if unit == "B/s":
        return f"{value / 1e9:.2f} GB/s"
    if unit == "s":
        return f"{value * 1e3:.1f} ms"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"


def cells(result: Result) -> tuple[str, ...]:
    row = result.row
    sign = ">=" if row.at_least else "<="
    if not result.value:
        return (row.name, row.what, "", "", "", "", "", result.verdict)
    if result.against:
        theirs = f"{result.against} {amount(result.reference, row.unit)}"
        ratio, spread = f"{result.ratio:.2f}x", f"{result.low:.2f}-{result.high:.2f}"
        goal = f"{sign} {row.goal:g}x"
    else:
        theirs, ratio, goal = "", amount(result.value, row.unit), f"{sign} {row.goal:g} {row.unit}"
        spread = f"{result.low:.4g}-{result.high:.4g}"
    return (row.name, row.what, amount(result.value, row.unit), theirs, ratio, spread, goal, result.verdict)


HEAD = ("row", "what", "pync", "against", "ratio", "range", "goal", "verdict")


def as_markdown(table: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    return "\n".join(lines + ["| " + " | ".join(line) + " |" for line in table])


def write_readme(table: list[tuple[str, ...]]) -> None:
    """Puts the table, the command that makes it and its date between the README's `<!-- perf -->` markers.

    A row that was not measured this time keeps its line.
    """
    path = ROOT / "README.md"
    begin, end = "<!-- perf -->", "<!-- /perf -->"
    before, _, rest = path.read_text().partition(begin)
    old, _, after = rest.partition(end)
    kept = (tuple(line[2:-2].split(" | ")) for line in old.splitlines() if line.startswith("| "))
    lines = {line[0]: line for line in (*kept, *table)}
    shown = [lines[row.name] for row in rows() if row.name in lines]
    when = "row by row, last on " if len(shown) > len(table) else ""
    machine = (
        f"{os.cpu_count()} cores, Linux {os.uname().release.split('-')[0]}, Python {sys.version.split()[0]}"
    )
    made = f"`python -m tests.perf`, {when}{time.strftime('%Y-%m-%d')}, {machine}:"
    path.write_text(f"{before}{begin}\n{made}\n\n{as_markdown(shown)}\n{end}{after}")


def parse_size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)(?:iB)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"not a size: {text}")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.perf", description="Measure pync against its peers."
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names or shell patterns; default: all")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    parser.add_argument(
        "--size", type=parse_size, default=2 << 30, help="bytes moved by bulk rows (default 2G)"
    )
    parser.add_argument("--runs", type=int, help="rounds of each row (default: as the row says)")
    parser.add_argument("--markdown", action="store_true", help="end with the table for the README")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--scratch", type=Path, help="a folder on tmpfs (default: one in /dev/shm)")
    return parser.parse_args()


def chosen(patterns: list[str]) -> list[Row]:
    every = rows()
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in every):
            sys.exit(f"tests.perf: no row is called {pattern}; --list shows them")
    return [row for row in every if not patterns or any(fnmatchcase(row.name, p) for p in patterns)]


def main() -> int:
    options = arguments()
    selected = chosen(options.rows)
    if options.list:
        print("\n".join(f"{row.name:24} {row.what}" for row in selected))
        return 0
    parent = options.scratch or (Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    scratch = Path(tempfile.mkdtemp(prefix="pync-perf-", dir=parent))
    bench = Bench(scratch, options.size)
    table, failed = [], False
    try:
        for row in selected:
            begin = time.monotonic()
            result = measure(row, bench, options.runs or row.runs)
            line = cells(result)
            table.append(line)
            failed |= not (result.verdict == "ok" or result.verdict.startswith("skipped"))
            print(
                " | ".join(cell for cell in line if cell), f"({time.monotonic() - begin:.0f} s)", flush=True
            )
    finally:
        bench.close()
        shutil.rmtree(scratch, ignore_errors=True)
    if options.markdown:
        print("\n" + as_markdown(table))
    if options.readme:
        write_readme(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
