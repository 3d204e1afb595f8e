"""How many descriptors a scan may hold: the limit is raised as far as allowed, and never exceeded."""

from __future__ import annotations

import os

# For name look-ups, pipes to workers, files of the view: what opens descriptors besides probes.
SPARE = 24
LEAST = 4


def raise_descriptor_limit() -> tuple[int, int] | None:
    """Raise the soft limit to the hard one; what it was, for `restore_descriptor_limit`."""
    try:
        import resource
    except ImportError:
        return None
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[0] == before[1]:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    except (OSError, ValueError):  # some systems have an unlimited hard limit and refuse it as a soft one
        return None
    return before


def restore_descriptor_limit(before: tuple[int, int] | None) -> None:
    """Programs started later may use select(): give them the limit we were given."""
    if before is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def probes_at_once(wanted: int | None, workers: int = 1) -> int:
    """How many sockets one of `workers` processes may hold; `wanted` is for all together."""
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except ImportError:
        soft = 256
    try:
        in_use = len(os.listdir("/proc/self/fd"))
    except OSError:
        in_use = 16
    free = max(LEAST, soft - in_use - SPARE) if soft > 0 else 1 << 16
    free = min(free, 1 << 16)
    if wanted is not None:
        free = min(free, max(1, wanted // workers))
    return free
