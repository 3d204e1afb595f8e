"""The flags of scan."""

from __future__ import annotations

from typing import Annotated, Any

from pync.cli import values as of
from pync.cli.declare import ADDRESS, REPORT, SPEED, TARGETS, WAIT, flag
from pync.cli.flags import SharedFlags, Words


class ScanFlags(SharedFlags):
    udp: Annotated[bool, flag(TARGETS, "-u --udp", "UDP ports, asked with real probes")]
    ports: Annotated[
        Words,
        flag(
            TARGETS,
            "-p --ports",
            "22,80,8000-8100,http,-1024,60000-,!8080, all, top100, U:53 (default top100); repeat",
            of.named("PORTS"),
        ),
    ]
    exclude: Annotated[
        Words, flag(TARGETS, "--exclude", "Never these hosts or networks; repeat", of.named("LIST"))
    ]
    all_addresses: Annotated[bool, flag(TARGETS, "--all-addresses", "Every address of a name, not the first")]
    shard: Annotated[Any, flag(TARGETS, "--shard", "The K-th of N disjoint parts of this scan", of.SHARD)]
    banner: Annotated[bool, flag(REPORT, "--banner", "What the service says, TLS names, HTTP title")]
    all: Annotated[bool, flag(REPORT, "--all/--open", "Closed and filtered ports too, or only open ones")]
    json: Annotated[bool, flag(REPORT, "--json", "One JSON object a line on stdout")]
    csv: Annotated[bool, flag(REPORT, "--csv", "CSV with a header on stdout")]
    grepable: Annotated[bool, flag(REPORT, "--grepable", "ADDRESS:PORT, one a line, on stdout")]
    progress: Annotated[bool, flag(REPORT, "--progress/--no-progress", "A live bar on a terminal")]
    timeout: Annotated[
        float, flag(SPEED, "-w --timeout", "Longest wait for one answer (default: from the RTT)", of.DURATION)
    ]
    deadline: Annotated[float, flag(SPEED, "--deadline", "End the whole scan after D (exit 3)", of.DURATION)]
    retries: Annotated[int, flag(SPEED, "--retries", "Ask a silent port N more times", of.number(0, 100))]
    concurrency: Annotated[
        int, flag(SPEED, "--concurrency", "At most N probes at a time", of.number(1, 1_000_000))
    ]
    rate: Annotated[float, flag(SPEED, "--rate", "At most N probes a second", of.PER_SECOND)]
    randomize: Annotated[bool, flag(SPEED, "--randomize", "Hosts and ports in random order")]
    seed: Annotated[int, flag(SPEED, "--seed", "The same random order again", of.number(0))]
    wait: Annotated[
        float, flag(WAIT, "--wait", "Ask again for D until it holds, then exit 0 or run CMD", of.DURATION)
    ]
    until: Annotated[
        str, flag(WAIT, "--until", "Wait for open (default), or closed: refused", of.one_of("open", "closed"))
    ]
    require: Annotated[
        str, flag(WAIT, "--require", "All ports or any (default all with --wait)", of.one_of("all", "any"))
    ]
    interval: Annotated[float, flag(WAIT, "--interval", "Between two rounds (default 200ms)", of.DURATION)]
    expect: Annotated[str, flag(WAIT, "--expect", "The first bytes must match too", of.named("REGEX"))]
    source: Annotated[str, flag(ADDRESS, "-s --source", "Local address", of.named("ADDR"))]
