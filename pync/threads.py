"""Threads, and a blocking call in one of its own, awaited like anything else."""

from __future__ import annotations

from _thread import start_new_thread
from collections.abc import Callable
from socket import socketpair  # every poller takes it, where some take no pipe

from pync.errors import LimitReached, translate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.loop import Loop


def start(work: Callable[..., None], *args: Any) -> None:
    """Run `work(*args)`, which must not raise, in a new thread. Raises LimitReached."""
    try:
        start_new_thread(work, args)
    except RuntimeError:  # for want of threads or of memory: nobody tells which
        raise LimitReached("start a thread: the system gives no more") from None


async def call(
    loop: Loop, function: Callable[..., Any], args: tuple[Any, ...], deadline: float | None
) -> Any:
    """See `Loop.call_in_thread`."""
    outcome: list[Any] = []
    # The thread may outlive the loop, so it has a socket of its own, and closing it says "done".
    try:
        done, writer = socketpair()
    except OSError as error:
        raise translate(error, "start a thread") from None

    def work() -> None:
        try:
            outcome.extend((function(*args), None))
        except BaseException as error:
            outcome.extend((None, error))
        finally:
            writer.close()

    try:
        start(work)
    except LimitReached:
        done.close()
        writer.close()
        raise
    try:
        if not await loop.wait(done.fileno(), 1, deadline):  # READ
            raise TimeoutError
    finally:
        loop.forget(done.fileno())
        done.close()
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
