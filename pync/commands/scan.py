"""`pync scan`: what is open there; with `--wait`, come back once it is."""

from __future__ import annotations

from os import isatty
from time import monotonic

from pync.errors import ExitCode, Interrupted, NetworkError, PyncError, UsageError
from pync.loop import Loop
from pync.report import Event, Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.commands.options import ScanOptions
    from pync.scanning.results import Results
    from pync.scanning.source import Source

PROGRESS_EVERY = 0.1


async def run(loop: Loop, options: ScanOptions, report: Report) -> ExitCode:
    """Scan or wait, reporting `port`, `progress`, `waiting`, `error` and a `summary` event.

    Raises UsageError before anything is sent; TimedOut when `--wait` ran out.
    """
    if options.ipv4 and options.ipv6:
        raise UsageError("-4 and -6 exclude each other")
    if options.wait is not None:
        from pync.scanning import waiting

        return await waiting.run(loop, options, report)
    for name in ("expect", "command"):
        if getattr(options, name):
            raise UsageError(f"{'--expect' if name == 'expect' else '-- CMD'} goes with --wait")
    return await _scan(loop, options, report)


async def _scan(loop: Loop, options: ScanOptions, report: Report) -> ExitCode:
    from pync.scanning.limits import raise_descriptor_limit, restore_descriptor_limit
    from pync.scanning.results import Results
    from pync.scanning.source import Source, excluded_blocks

    started = monotonic()
    results = Results(report, show_all=options.all, numeric=options.numeric)
    source = Source(loop, options, report, excluded=await excluded_blocks(loop, options))
    _say_how_to_limit(options, source, report)
    before = raise_descriptor_limit()
    ticker = _Ticker(loop, report, results, source, started)
    try:
        if options.proxy:
            from pync.scanning.proxied import scan

            await scan(loop, options, source, results, report)
        else:
            from pync.scanning.workers import share

            await share(loop, options, source, results)
    except (Interrupted, PyncError):
        # Ctrl-C, the deadline, a failure: what is known by then is told all the same.
        results.cut_off()
        report(Event("summary", _facts(results, source, started)))
        raise
    finally:
        ticker.stop()
        source.close()
        restore_descriptor_limit(before)
    report(Event("summary", _facts(results, source, started)))
    if not results.done and not source.failed and options.shard is None:  # a shard may well be empty
        raise NetworkError("scan: no targets" + (": all are excluded" if source.targets else ""))
    return _exit_code(options, results, source)


def _say_how_to_limit(options: ScanOptions, source: Source, report: Report) -> None:
    """Whoever watches a scan of a network is told once how to go easy on it."""
    watched = options.verbose > 0 or isatty(2)
    if source.ranges and options.rate is None and watched and not options.json:
        words = f"no pause between {source.total:,} probes; --rate N limits them to N a second"
        report(Event("waiting", {"reason": "no --rate", "message": words}))


def _facts(results: Results, source: Source, started: float) -> dict[str, object]:
    seconds = monotonic() - started
    return {
        "targets": source.targets,
        "failed": source.failed,
        "done": results.done,
        **{state.replace("|", "_"): number for state, number in results.counts.items()},
        "seconds": round(seconds, 3),
        "rate": round(results.done / seconds) if seconds > 0 else 0,
    }


def _exit_code(options: ScanOptions, results: Results, source: Source) -> ExitCode:
    """Of several targets some could not be scanned: 5; else whether what was asked for is open."""
    if source.failed:
        return ExitCode.PARTIAL if source.targets > source.failed else source.failure
    opened = results.counts["open"]
    wanted = results.done if options.require == "all" else 1
    return ExitCode.OK if opened and opened >= wanted else ExitCode.NETWORK


class _Ticker:
    """Reports progress every tenth of a second: counters are read, nothing is paid for each port."""

    def __init__(self, loop: Loop, report: Report, results: Results, source: Source, started: float) -> None:
        self._loop = loop
        self._report = report
        self._results = results
        self._source = source
        self._started = started
        self._timer = loop.call_later(PROGRESS_EVERY, self._tick)

    def _tick(self) -> None:
        seconds = monotonic() - self._started
        done = self._results.done
        facts = {
            "done": done,
            "total": None if self._source.lazily_read else max(done, self._source.total),
            "open": self._results.counts["open"],
            "rate": round(done / seconds),
            "seconds": round(seconds, 3),
        }
        self._report(Event("progress", facts))
        self._timer = self._loop.call_later(PROGRESS_EVERY, self._tick)

    def stop(self) -> None:
        """No more ticks."""
        self._timer.cancel()
