"""What a Loop runs: timers, and coroutines, plain `async def` functions driven without a framework.

A coroutine waits by awaiting a Suspension; its Task goes on when the resume function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.loop import Loop

Callback = Callable[[], None]


class Timer:
    """A callback at a moment; `cancel` is idempotent."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callback | None) -> None:
        self.when = when
        self.callback = callback

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """The callback will not be called."""
        self.callback = None


class Suspension:
    """What a coroutine awaits: `start` is called with a resume function, which takes the result."""

    __slots__ = ("start",)

    def __init__(self, start: Callable[[Callable[[Any], None]], Callback]) -> None:
        self.start = start

    def __await__(self) -> Generator[Suspension, Any, Any]:
        return (yield self)


class Task:
    """A coroutine being driven. Awaiting it gives its result or raises its exception."""

    def __init__(self, loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._undo: Callback | None = None
        self._waiters: list[Callable[[Any], None]] = []
        self.done = False
        self._value: Any = None
        self._error: BaseException | None = None

    def result(self) -> Any:
        """The coroutine's value; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._value

    def cancel(self, error: BaseException) -> bool:
        """Raise `error` inside the coroutine where it waits, now; False for a finished task, left alone."""
        if self.done:
            return False
        self._drop_wait()
        self._step(None, error)
        return True

    def on_done(self, callback: Callable[[Task], None]) -> None:
        """Call `callback(task)` once the task is done (soon, if it already is)."""
        if self.done:
            self._loop.call_soon(lambda: callback(self))
        else:
            self._waiters.append(lambda _value: callback(self))

    def _drop_wait(self) -> None:
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def _step(self, value: Any, error: BaseException | None = None) -> None:
        try:
            if error is not None:
                suspension = self._coroutine.throw(error)
            else:
                suspension = self._coroutine.send(value)
        except StopIteration as stop:
            self._finish(stop.value, None)
        except BaseException as failure:
            self._finish(None, failure)
        else:
            resumed = False

            def resume(result: Any) -> None:
                nonlocal resumed
                if not resumed and not self.done:
                    resumed = True
                    self._drop_wait()
                    self._step(result)

            def undo() -> None:
                nonlocal resumed
                resumed = True
                cleanup()

            cleanup = suspension.start(resume)
            if not resumed:
                self._undo = undo

    def _finish(self, value: Any, error: BaseException | None) -> None:
        self.done, self._value, self._error = True, value, error
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            self._loop.call_soon(lambda waiter=waiter: waiter(None))  # type: ignore[misc]
        if error is not None and not waiters and self is not self._loop.main:
            self._loop.fail(error)

    def __await__(self) -> Generator[Suspension, Any, Any]:
        if not self.done:

            def start(resume: Callable[[Any], None]) -> Callback:
                self._waiters.append(resume)
                return lambda: self._waiters.remove(resume) if resume in self._waiters else None

            yield Suspension(start)
        return self.result()


class Flag:
    """Set once; coroutines may wait for it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiters: list[Callable[[Any], None]] = []
        self.is_set = False

    def set(self) -> None:
        """Wake every waiter; idempotent."""
        self.is_set = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            self._loop.call_soon(lambda waiter=waiter: waiter(True))  # type: ignore[misc]

    def clear(self) -> None:
        """Make it wait again."""
        self.is_set = False

    async def wait(self, deadline: float | None = None) -> bool:
        """True once set; False when `deadline` (monotonic seconds) came first."""
        if self.is_set:
            return True

        def start(resume: Callable[[Any], None]) -> Callback:
            self._waiters.append(resume)
            timer = self._loop.call_at(deadline, lambda: resume(False)) if deadline is not None else None

            def undo() -> None:
                if resume in self._waiters:
                    self._waiters.remove(resume)
                if timer is not None:
                    timer.cancel()

            return undo

        return bool(await Suspension(start))
