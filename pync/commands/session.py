"""Running a command: its loop, the signals that end it, the deadline of the whole run."""

from __future__ import annotations

import signal
from collections.abc import Coroutine
from importlib import import_module

from pync.commands.options import Shared
from pync.errors import ExitCode, Interrupted, PyncError, TimedOut
from pync.loop import Loop
from pync.report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Signals that end a run after its clean-up; the process then really dies of them.
# SIGBREAK is Ctrl-Break, and the closing of the console, on Windows.
_ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


class _Expired(PyncError):
    """The deadline, on its way out. No TimedOut yet: whoever tries again after one must not swallow this."""

    code = ExitCode.TIMEOUT


def execute(command: str, options: Shared, report: Report, *, signals: bool = True) -> ExitCode:
    """Run `command` (a module of this package) to its end; its exit status.

    Raises PyncError, and Interrupted after a signal when `signals` (main thread only) is true.
    """
    module = import_module(f"pync.commands.{command}")
    with Loop() as loop:
        if signals:
            for signum in _ENDING:
                loop.on_signal(signum)
        return ExitCode(loop.run(within(loop, options.deadline, module.run(loop, options, report))))


async def within(loop: Loop, seconds: float | None, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`, which is broken off after `seconds`; raises TimedOut then."""
    if seconds is None:
        return await work

    def expire() -> None:
        raise _Expired(f"the deadline of {seconds:g} s has passed")

    timer = loop.call_later(seconds, expire)
    try:
        return await work
    except _Expired as error:
        raise TimedOut(error.message) from None
    finally:
        timer.cancel()


def output_closed() -> Interrupted:
    """The quiet end when the reader of our stdout is gone: death of SIGPIPE, as a C program would die."""
    return Interrupted(getattr(signal, "SIGPIPE", 13))
