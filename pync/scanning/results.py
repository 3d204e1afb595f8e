"""What a scan found, counted, and told to whoever listens."""

from __future__ import annotations

from pync.proto.ports import number_of, protocol_of, service_name
from pync.proto.schedule import Host
from pync.report import Event, Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Facts = dict[str, Any]

STATES = ("open", "closed", "filtered", "open|filtered")


class Results:
    """Counts every port, and reports those worth it: the open ones, or all with `show_all`."""

    def __init__(
        self,
        report: Report,
        *,
        show_all: bool,
        numeric: bool = False,
        opened: Callable[[Facts], None] | None = None,
    ) -> None:
        self._report = report
        self._numeric = numeric
        self._opened = opened or self.awaits
        self._awaited: dict[tuple[str, int, str], Facts] = {}  # known to be open, banner to come
        self.show_all = show_all
        self.counts = dict.fromkeys(STATES, 0)

    @property
    def done(self) -> int:
        """Ports with a verdict."""
        return sum(self.counts.values())

    def refused(self, host: Host, codes: list[int]) -> None:
        """Closed ports, the common case, counted in bulk."""
        if self.show_all:
            for code in codes:
                self.found(host, code, "closed", "refused")
        else:
            self.counts["closed"] += len(codes)

    def found(
        self,
        host: Host,
        code: int,
        state: str,
        reason: str,
        *,
        rtt: float | None = None,
        banner: dict[str, object] | None = None,
    ) -> None:
        """One verdict."""
        self.counts[state] += 1
        if state == "open" or self.show_all:
            self.relayed(self._facts(host, code, state, reason, rtt, banner))

    def opened(self, host: Host, code: int, reason: str, *, rtt: float) -> None:
        """Open for certain, but its verdict waits for the banner; see `cut_off`."""
        self._opened(self._facts(host, code, "open", reason, rtt, None))

    def awaits(self, facts: Facts) -> None:
        """The same, of another process."""
        self._awaited[_key(facts)] = facts

    def cut_off(self) -> None:
        """No more banners will come: the ports that were being read are open all the same."""
        awaited, self._awaited = self._awaited, {}
        for facts in awaited.values():
            self.counts["open"] += 1
            self._report(Event("port", facts))

    def _facts(
        self,
        host: Host,
        code: int,
        state: str,
        reason: str,
        rtt: float | None,
        banner: dict[str, object] | None,
    ) -> Facts:
        return {
            "target": host.label,
            "address": host.address,
            "port": number_of(code),
            "proto": protocol_of(code),
            "state": state,
            "reason": reason,
            "rtt": None if rtt is None else round(rtt, 6),
            "service": "" if self._numeric else service_name(code),
            "banner": banner,
        }

    def relayed(self, facts: Facts) -> None:
        """A verdict of another process, which counts it itself."""
        if self._awaited:
            self._awaited.pop(_key(facts), None)
        self._report(Event("port", facts))

    def counted(self, before: dict[str, int], now: dict[str, int]) -> None:
        """The counts of another process went from `before` to `now`."""
        for state, number in now.items():
            self.counts[state] += number - before.get(state, 0)


def _key(facts: Facts) -> tuple[str, int, str]:
    return facts["address"], facts["port"], facts["proto"]
