"""How many descriptors a scan may hold: the limit is raised as far as allowed, and never exceeded."""

from __future__ import annotations

import os

# For pipes to workers, files of the view: what opens descriptors besides probes and look-ups.
SPARE = 24
LEAST = 4
LOOKUPS = 32  # names being resolved at once
LOOKUP_COST = 4  # descriptors: a pair to hear from its thread, a socket to ask with, a file of the resolver


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


def _soft_limit() -> int:
    """The descriptors this process may have; 0 or less: as many as it likes."""
    try:
        import resource
    except ImportError:
        return 256
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def lookups_at_once() -> int:
    """How many names may be looked up at once: an eighth of the descriptors are for that."""
    soft = _soft_limit()
    return min(LOOKUPS, max(1, soft // 8 // LOOKUP_COST)) if soft > 0 else LOOKUPS


def dials_at_once(most: int, *, look_ups: bool) -> int:
    """How many connections may be dialed at once, up to `most`, each with a look-up of its own or without."""
    free = probes_at_once(None)
    return max(1, min(most, free // LOOKUP_COST if look_ups else free))


def probes_at_once(wanted: int | None, workers: int = 1) -> int:
    """How many sockets one of `workers` processes may hold; `wanted` is for all together."""
    soft = _soft_limit()
    try:
        in_use = len(os.listdir("/proc/self/fd"))
    except OSError:
        in_use = 16
    spare = SPARE + LOOKUP_COST * lookups_at_once()
    free = max(LEAST, soft - in_use - spare) if soft > 0 else 1 << 16
    free = min(free, 1 << 16)
    if wanted is not None:
        free = min(free, max(1, wanted // workers))
    return free
