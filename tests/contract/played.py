"""A loop without a machine: the test moves its time, and nothing waits."""

import heapq
from collections import deque
from collections.abc import Callable

from pync.loop import Timer

# No test needs more rounds: what goes on for longer goes on for ever.
_ROUNDS = 20_000


class PlayedLoop:
    """What channels, pumps and relays need of a loop. Only `settle` and `forward` call anybody back."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.errors: dict[int, Callable[[], None]] = {}  # who watches which descriptor for its end
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[Timer] = []

    def now(self) -> float:
        return self.time

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(when, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.time + delay, callback)

    def watch_error(self, fd: int, callback: Callable[[], None] | None) -> None:
        self.errors.pop(fd, None)
        if callback is not None:
            self.errors[fd] = callback

    @property
    def timers(self) -> list[float]:
        """In how many seconds something will be called, the next first."""
        return sorted(timer.when - self.time for timer in self._timers if timer.callback is not None)

    @property
    def due(self) -> int:
        """How many calls are to be made now."""
        return len(self._soon)

    def settle(self) -> None:
        """Do what is to be done now."""
        for _ in range(_ROUNDS):
            while self._timers and self._timers[0].when <= self.time:
                callback = heapq.heappop(self._timers).callback
                if callback is not None:
                    self._soon.append(callback)
            if not self._soon:
                return
            self._soon.popleft()()
        raise AssertionError("it does not come to rest")

    def forward(self, seconds: float) -> None:
        """Let so much time pass; timers run when they are due."""
        end = self.time + seconds
        self.settle()
        while self._timers and self._timers[0].when <= end:
            self.time = max(self.time, self._timers[0].when)
            self.settle()
        self.time = end
        self.settle()
