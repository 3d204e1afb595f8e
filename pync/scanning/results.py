"""What a scan found, counted, and told to whoever listens."""

from __future__ import annotations

from pync.proto.ports import number_of, protocol_of, service_name
from pync.proto.schedule import Host
from pync.report import Event, Report

STATES = ("open", "closed", "filtered", "open|filtered")


class Results:
    """Counts every port, and reports those worth it: the open ones, or all with `show_all`."""

    def __init__(self, report: Report, *, show_all: bool, numeric: bool = False) -> None:
        self._report = report
        self._numeric = numeric
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
            facts: dict[str, object] = {
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
            self._report(Event("port", facts))

    def relayed(self, facts: dict[str, object]) -> None:
        """A verdict of another process, which counts it itself."""
        self._report(Event("port", facts))

    def counted(self, before: dict[str, int], now: dict[str, int]) -> None:
        """The counts of another process went from `before` to `now`."""
        for state, number in now.items():
            self.counts[state] += number - before.get(state, 0)
