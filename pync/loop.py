"""One thread, descriptors and time: readiness callbacks for hot paths, coroutines for set-up code.

The loop costs O(ready) a wake-up: epoll where there is one, poll elsewhere. Descriptors that the
poller refuses (regular files, /dev/null: EPERM from epoll) are simply always ready. Coroutines are plain
`async def` functions driven here, because importing an event-loop framework costs more than our whole
start-up. Signals arrive through a wake-up descriptor and surface between two callbacks, so that no
relay is ever interrupted half way through its bookkeeping.
"""

from __future__ import annotations

import heapq
import select
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from time import monotonic

from pync.errors import Interrupted
from pync.task import Callback, Flag, Suspension, Task, Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import Any, Self

__all__ = ["READ", "WRITE", "Callback", "Flag", "Loop", "Task", "Timer"]

READ = 1
WRITE = 2

# What epoll and poll say, in the numbers on which all systems with a poll agree (and all pollers of ours).
POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL = 1, 2, 4, 8, 16, 32
_BROKEN = POLLERR | POLLHUP | POLLNVAL


def new_poll() -> Any:
    """A `select.poll`, or what plays one (milliseconds, register, modify, unregister) where there is none."""
    if hasattr(select, "poll"):
        return select.poll()
    from pync.portable.poller import SelectPoll

    return SelectPoll()


class _Watch:
    """The callbacks of one descriptor, and what the poller currently knows of it (-1: nothing)."""

    __slots__ = ("error", "polled", "read", "registered", "write")

    def __init__(self) -> None:
        self.read: Callback | None = None
        self.write: Callback | None = None
        self.error: Callback | None = None
        self.registered = -1
        self.polled = True  # False: the poller refuses this descriptor, it is always ready

    @property
    def wanted(self) -> int:
        """The mask that serves the callbacks; 0 still reports errors and hang-ups, -1 is no interest."""
        mask = (POLLIN if self.read else 0) | (POLLOUT if self.write else 0)
        return mask if mask or self.error else -1


class Loop:
    """See the module. Not thread-safe, except `wake`."""

    def __init__(self) -> None:
        self._epoll = hasattr(select, "epoll")
        self._poller: Any = select.epoll() if self._epoll else new_poll()
        self._watches: dict[int, _Watch] = {}
        self._always: dict[int, _Watch] = {}
        self._timers: list[Timer] = []
        self._soon: deque[Callback] = deque()
        self._failures: deque[BaseException] = deque()
        self._signals: dict[int, Callback | None] = {}
        self._wake: tuple[socket, socket] | None = None
        self._restore: Callback | None = None
        self._previous: dict[int, Any] = {}
        self.main: Task | None = None

    now = staticmethod(monotonic)

    # --- descriptors -------------------------------------------------------------------------------

    def watch_read(self, fd: int, callback: Callback | None) -> None:
        """Call `callback` whenever `fd` is readable, at its end, or broken; None stops that."""
        watch = self._watch(fd, callback)
        if watch is not None:
            watch.read = callback
            self._update(fd, watch)

    def watch_write(self, fd: int, callback: Callback | None) -> None:
        """Call `callback` whenever `fd` takes bytes, or is broken; None stops that."""
        watch = self._watch(fd, callback)
        if watch is not None:
            watch.write = callback
            self._update(fd, watch)

    def watch_error(self, fd: int, callback: Callback | None) -> None:
        """Call `callback` when `fd` is broken or hung up, whatever else is wanted of it; None stops that."""
        watch = self._watch(fd, callback)
        if watch is not None:
            watch.error = callback
            self._update(fd, watch)

    def forget(self, fd: int) -> None:
        """Stop watching `fd` altogether. Must come before it is closed."""
        watch = self._watches.pop(fd, None)
        self._always.pop(fd, None)
        if watch is not None and watch.registered >= 0:
            try:
                self._poller.unregister(fd)
            except (OSError, KeyError, ValueError):
                pass

    def _watch(self, fd: int, callback: Callback | None) -> _Watch | None:
        watch = self._watches.get(fd)
        if watch is None and callback is not None:
            watch = self._watches[fd] = _Watch()
        return watch

    def _update(self, fd: int, watch: _Watch) -> None:
        """Tell the poller. Interest that ended is dropped lazily, when an unwanted event arrives: a relay
        that alternates between its two sides would otherwise pay two system calls a block."""
        wanted = watch.wanted
        if not watch.polled:
            if wanted > 0:
                self._always[fd] = watch
            else:
                self._always.pop(fd, None)
        elif wanted < 0:
            self._register(fd, watch, -1)
        elif watch.registered < 0:
            self._register(fd, watch, wanted)
        elif wanted & ~watch.registered:
            self._register(fd, watch, wanted | watch.registered)

    def _register(self, fd: int, watch: _Watch, mask: int) -> None:
        if mask == watch.registered:
            return
        try:
            if mask < 0:
                self._poller.unregister(fd)
            elif watch.registered >= 0:
                self._poller.modify(fd, mask)
            else:
                self._poller.register(fd, mask)
        except PermissionError:  # epoll refuses regular files and the like: they never block
            watch.polled = False
            self._update(fd, watch)
            return
        watch.registered = mask

    # --- time ----------------------------------------------------------------------------------------

    def call_soon(self, callback: Callback) -> None:
        """Call `callback` in the next round, before waiting."""
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call `callback` at `when` (monotonic seconds)."""
        timer = Timer(when, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Call `callback` after `delay` seconds."""
        return self.call_at(monotonic() + delay, callback)

    # --- coroutines ----------------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Task], None] | None = None) -> Task:
        """Start `coroutine` now; it runs until its first wait before this returns."""
        task = Task(self, coroutine)
        if done is not None:
            task.on_done(done)
        task._step(None)
        return task

    def flag(self) -> Flag:
        """A new Flag of this loop."""
        return Flag(self)

    async def wait(self, fd: int, mask: int, deadline: float | None = None) -> int:
        """Wait until `fd` is ready for `mask`; what it is ready for, 0 when the deadline passed."""
        ready = await self.wait_any([(fd, mask)], deadline)
        return ready[0][1] if ready else 0

    async def wait_any(
        self, wanted: Iterable[tuple[int, int]], deadline: float | None = None
    ) -> list[tuple[int, int]]:
        """Wait until one of the (fd, mask) is ready; the first ready one, [] when the deadline passed.

        Must not be used on a descriptor and direction that something else watches.
        """
        pairs = list(wanted)

        def start(resume: Callable[[Any], None]) -> Callback:
            for fd, mask in pairs:
                if mask & READ:
                    self.watch_read(fd, lambda fd=fd: resume([(fd, READ)]))  # type: ignore[misc]
                if mask & WRITE:
                    self.watch_write(fd, lambda fd=fd: resume([(fd, WRITE)]))  # type: ignore[misc]
            timer = self.call_at(deadline, lambda: resume([])) if deadline is not None else None

            def undo() -> None:
                for fd, mask in pairs:
                    if mask & READ:
                        self.watch_read(fd, None)
                    if mask & WRITE:
                        self.watch_write(fd, None)
                if timer is not None:
                    timer.cancel()

            return undo

        ready: list[tuple[int, int]] = await Suspension(start)
        return ready

    async def sleep_until(self, when: float) -> None:
        """Come back at `when` (monotonic seconds)."""

        def start(resume: Callable[[Any], None]) -> Callback:
            return self.call_at(when, lambda: resume(None)).cancel

        await Suspension(start)

    async def call_in_thread(
        self, function: Callable[..., Any], *args: Any, deadline: float | None = None
    ) -> Any:
        """`function(*args)` in a thread of its own, for calls that block (name look-ups).

        Raises what it raises, and TimeoutError at the deadline; the thread is then left to end by itself.
        """
        from pync.threads import call

        return await call(self, function, args, deadline)

    # --- signals and running -------------------------------------------------------------------------

    def _wake_writer(self) -> int:
        if self._wake is None:
            from socket import socketpair

            self._wake = socketpair()
            for end in self._wake:
                end.setblocking(False)
            self.watch_read(self._wake[0].fileno(), self._on_wake)
        return self._wake[1].fileno()

    def _on_wake(self) -> None:
        assert self._wake is not None
        try:
            numbers = self._wake[0].recv(512)
        except BlockingIOError:
            return
        for number in numbers:
            if number in self._signals:
                action = self._signals[number]
                if action is None:
                    raise Interrupted(number)
                action()

    def on_signal(self, signum: int, action: Callback | None = None) -> None:
        """Call `action` from the loop when the signal arrives; without one, `run` raises Interrupted.

        Main thread only. A signal that was ignored when we started stays ignored (nohup, `&` in sh).
        """
        import signal

        if signal.getsignal(signum) is signal.SIG_IGN and signum not in self._signals:
            return
        if self._restore is None:
            previous_fd = signal.set_wakeup_fd(self._wake_writer(), warn_on_full_buffer=False)

            def restore() -> None:
                signal.set_wakeup_fd(previous_fd)
                for number, handler in self._previous.items():
                    signal.signal(number, handler)

            self._restore = restore
        if signum not in self._signals:
            self._previous[signum] = signal.signal(signum, lambda _signum, _frame: None)
        self._signals[signum] = action

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Drive everything until `coroutine` ends; its result.

        Raises what it raises. An exception of a callback or of a task that nobody awaits, or Interrupted for
        a caught signal, is raised inside the coroutine where it waits, so that its clean-up runs; or from
        here, if the coroutine just ended without a failure of its own.
        """
        task = self.main = Task(self, coroutine)
        task._step(None)
        while not task.done:
            try:
                self._turn()
            except BaseException as error:
                if not task.cancel(error):  # it may go on for a while, cleaning up
                    self._failures.append(error)
        lost = self._failures.popleft() if self._failures else None
        self._failures.clear()  # one is told; a later run has nothing to do with the others
        result = task.result()
        if lost is not None:
            raise lost
        return result

    def fail(self, error: BaseException) -> None:
        """Let `error` end the run: a task failed and nobody awaits it."""
        self._failures.append(error)
        self.call_soon(self._raise_failure)

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures.popleft()

    def _timeout(self) -> float | None:
        if self._soon or self._always:
            return 0.0
        timers = self._timers
        while timers and timers[0].callback is None:
            heapq.heappop(timers)
        if not timers:
            return None
        return max(0.0, timers[0].when - monotonic())

    def _turn(self) -> None:
        timeout = self._timeout()
        if self._epoll:
            # epoll counts milliseconds and CPython rounds up, so a timer is never early
            events = self._poller.poll(-1 if timeout is None else timeout)
        else:
            events = self._poller.poll(None if timeout is None else timeout * 1000)
        always = list(self._always.items()) if self._always else ()
        for fd, event in events:
            self._dispatch(fd, event)
        for fd, watch in always:
            if watch.read is not None and self._watches.get(fd) is watch:
                watch.read()
            if watch.write is not None and self._watches.get(fd) is watch:
                watch.write()
        if self._timers:
            self._fire_timers()
        for _ in range(len(self._soon)):
            self._soon.popleft()()

    def _dispatch(self, fd: int, event: int) -> None:
        watch = self._watches.get(fd)
        if watch is None:
            return
        unwanted = event & watch.registered
        if watch.read is not None and event & ~POLLOUT:
            unwanted &= ~POLLIN
            watch.read()
            if self._watches.get(fd) is not watch:
                return
        if watch.write is not None and event & ~(POLLIN | POLLPRI):
            unwanted &= ~POLLOUT
            watch.write()
            if self._watches.get(fd) is not watch:
                return
        if event & _BROKEN:
            if watch.error is not None:
                watch.error()
            elif watch.read is None and watch.write is None:
                self._register(fd, watch, -1)
        elif unwanted:
            self._register(fd, watch, watch.wanted)

    def _fire_timers(self) -> None:
        now = monotonic()
        timers = self._timers
        while timers and timers[0].when <= now:
            callback = heapq.heappop(timers).callback
            if callback is not None:
                callback()

    def close(self) -> None:
        """Give back the poller, the wake-up sockets and the signal handlers; idempotent."""
        if self._restore is not None:
            self._restore()
            self._restore = None
        if self._wake is not None:
            for end in self._wake:
                end.close()
            self._wake = None
        if self._epoll and not self._poller.closed:
            self._poller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
