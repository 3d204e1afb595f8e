"""Targets of `scan`, as blocks of addresses that cost no memory however large they are.

One word is one of
  10.0.0.1  ::1  fe80::1%eth0              an address
  10.0.0.0/8  2001:db8::/64                a network, host bits ignored
  10.0.0.1-20  10.0.0.1-10.0.3.20          a range, either way round
  10.0-3.0.1-20                            a range in any octet of IPv4
  db.example                               a name, to be resolved by the caller
any of them with `:PORTS` behind it (IPv6 in brackets: `[::1]:22,80`), or `tcp://` / `udp://` before it. Unix
paths (`unix:PATH`) are left to the caller, as are `@FILE` and `-`.

`Cover` subtracts what was seen or is excluded, on whole blocks, so that overlapping targets are asked once
and a probe costs no look-up. `Shards` splits by address and port alone: whatever order machines scan in,
however they read their targets, each pair belongs to exactly one.
"""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from pync.errors import UsageError
from pync.proto import ports as portspec
from pync.proto.ports import Ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from pync.lean import NamedTuple

_BITS = {4: 32, 6: 128}
_MAPPED = 0xFFFF << 32  # ::ffff:0:0, where IPv6 has the addresses of IPv4
MAX_WORD = 4096  # longer than any name with any list of ports; a line of a file may be anything


class Block(NamedTuple):
    """`size` addresses of `version` (4 or 6) from the number `first` on; `zone` for link-local."""

    version: int
    first: int
    size: int
    zone: str = ""

    def address(self, index: int) -> str:
        """The text of one address."""
        return address_text(self.version, self.first + index, self.zone)

    def __str__(self) -> str:
        last = f"-{self.address(self.size - 1)}" if self.size > 1 else ""
        return self.address(0) + last


class Name(NamedTuple):
    """A host name, resolved by the caller."""

    host: str


class Target(NamedTuple):
    """One word: `label` is what the user wrote for the host, `ports` None means the scan's own."""

    label: str
    where: Block | Name
    ports: Ports | None


def address_text(version: int, number: int, zone: str = "") -> str:
    """The usual text of an address."""
    if version == 4:
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    text = socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))
    return f"{text}%{zone}" if zone else text


def address_number(text: str) -> tuple[int, int, str] | None:
    """Version, number and zone of an address in its usual text, or None."""
    text, _, zone = text.partition("%")
    for version, family in ((6, socket.AF_INET6),) if ":" in text else ((4, socket.AF_INET),):
        try:
            return version, int.from_bytes(socket.inet_pton(family, text), "big"), zone
        except (OSError, ValueError):
            continue
    return None


def parse(word: str, *, udp: bool = False, numeric: bool = False) -> Iterator[Target]:
    """What one word names. Raises UsageError; no look-up of host names is made."""
    if len(word) > MAX_WORD:
        raise UsageError(f"a target of {len(word)} characters: {word[:40]!r}...")
    scheme, separator, rest = word.partition("://")
    if separator:
        if scheme not in ("tcp", "udp"):
            raise UsageError(f"{word!r}: scan knows tcp://, udp:// and unix:")
        udp, rest = scheme == "udp", rest.removesuffix("/")
    else:
        rest = word
    host, spec = _split(rest, word)
    ports = portspec.parse(spec, udp=udp, numeric=numeric) if spec is not None else None
    if separator and ports is None:
        raise UsageError(f"{word!r} has no port", hint=f"write {scheme}://{rest}:PORT")
    for where in _where(host, word):
        label = host if isinstance(where, Name) or where.size == 1 else ""
        yield Target(label, where, ports)


def _split(text: str, word: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, after = text[1:].partition("]")
        if not bracket or (after and (not after.startswith(":") or not after[1:])):
            raise UsageError(f"{word!r} is not [ADDRESS]:PORTS", hint="write [::1]:22,80")
        return host, after[1:] if after else None
    head = text.partition("/")[0].partition("%")[0]
    first = head.partition("-")[0]
    if first.count(":") >= 2 and all(c in "0123456789abcdefABCDEF:." for c in first):
        return text, None  # a bare IPv6 address, network or range
    host, colon, spec = text.partition(":")
    if colon and not spec:
        raise UsageError(f"{word!r} names no port after the colon")
    return host, spec if colon else None


def _where(host: str, word: str) -> Iterator[Block | Name]:
    if not host or host.startswith("-"):
        raise UsageError(f"{word!r} names no host")
    plain = address_number(host)
    if plain is not None:
        yield Block(plain[0], plain[1], 1, plain[2])
    elif "/" in host:
        yield _network(host, word)
    elif "-" in host and (ranges := _ranges(host)) is not None:
        yield from ranges
    else:
        yield _name(host, word)


def _network(host: str, word: str) -> Block:
    base, _, length = host.partition("/")
    parsed = address_number(base)
    if parsed is None:
        raise UsageError(f"{word!r}: {base!r} is not an address")
    version, number, zone = parsed
    bits = _BITS[version]
    if not (length.isascii() and length.isdigit() and len(length) < 4 and int(length) <= bits):
        raise UsageError(f"{word!r}: a network prefix is 0 to {bits}")
    size = 1 << bits - int(length)
    return Block(version, number & -size, size, zone)


def _ranges(host: str) -> Iterator[Block] | None:
    """Blocks of a range, or None when it is not one (a name may have dashes)."""
    low, _, high = host.partition("-")
    first, last = address_number(low), address_number(high)
    if first is not None and last is not None and first[0] == last[0]:
        numbers = sorted((first[1], last[1]))
        return iter((Block(first[0], numbers[0], numbers[1] - numbers[0] + 1, first[2]),))
    octets = host.split(".")
    if len(octets) != 4:
        return None
    bounds = []
    for octet in octets:
        edges = octet.split("-")
        if len(edges) > 2 or not all(e.isascii() and e.isdigit() and len(e) < 4 for e in edges):
            return None
        if not all(int(e) <= 255 for e in edges):
            return None
        bounds.append((min(map(int, edges)), max(map(int, edges))))
    return _octet_blocks(bounds)


def _octet_blocks(bounds: list[tuple[int, int]]) -> Iterator[Block]:
    (a0, a1), (b0, b1), (c0, c1), (d0, d1) = bounds
    for a in range(a0, a1 + 1):
        for b in range(b0, b1 + 1):
            for c in range(c0, c1 + 1):
                yield Block(4, a << 24 | b << 16 | c << 8 | d0, d1 - d0 + 1)


def _name(host: str, word: str) -> Name:
    bad = not all(c.isalnum() or c in "-_." for c in host) or len(host) > 253
    if bad or all(c.isdigit() or c == "." for c in host):
        raise UsageError(f"{word!r} is not a host, address, network or range")
    return Name(host)


class Intervals:
    """A set of address numbers as sorted, disjoint intervals: as small as the targets are regular."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []  # exclusive

    def add(self, start: int, end: int) -> None:
        """Add `start` to `end`, the end not included."""
        low = bisect_right(self._ends, start - 1)
        high = bisect_right(self._starts, end)
        if low < high:
            start, end = min(start, self._starts[low]), max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def split(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """The pieces of `start`..`end` in order, each with whether it is in the set."""
        index = bisect_right(self._ends, start)
        while start < end:
            if index == len(self._starts) or self._starts[index] >= end:
                yield start, end, False
                return
            if self._starts[index] > start:
                yield start, self._starts[index], False
                start = self._starts[index]
            stop = min(end, self._ends[index])
            yield start, stop, True
            start = stop
            index += 1


class Cover:
    """What was asked already: gives back of each block only what is new."""

    def __init__(self) -> None:
        self._excluded: dict[tuple[int, str], Intervals] = {}
        # By the identity of the port list (parsing gives the same one for the same text): hashing 65,535
        # ports for each line of a file would cost more than scanning them.
        self._seen: dict[tuple[int, str], dict[int, tuple[Ports, Intervals]]] = {}

    def exclude(self, block: Block) -> None:
        """Never give these addresses, on whichever interface, in neither of the two ways to write IPv4."""
        for same in (block, _otherwise(block)):
            if same is not None:
                self._excluded.setdefault((same.version, same.zone), Intervals()).add(
                    same.first, same.first + same.size
                )

    def fresh(self, block: Block, ports: Ports) -> Iterator[tuple[Block, Ports]]:
        """The parts of `block` neither excluded nor asked before, with the ports left to ask there."""
        pieces = [(start, end, ports) for start, end in self._allowed(block)]
        seen = self._seen.setdefault((block.version, block.zone), {})
        for earlier, intervals in seen.values():
            pieces = list(_without(pieces, earlier, intervals))
        seen.setdefault(id(ports), (ports, Intervals()))[1].add(block.first, block.first + block.size)
        for start, end, left in pieces:
            yield Block(block.version, start, end - start, block.zone), left

    def allowed(self, block: Block) -> list[Block]:
        """The parts of `block` that are not excluded, asked before or not."""
        return [Block(block.version, start, end - start, block.zone) for start, end in self._allowed(block)]

    def _allowed(self, block: Block) -> list[tuple[int, int]]:
        pieces = [(block.first, block.first + block.size)]
        for zone in {"", block.zone}:
            excluded = self._excluded.get((block.version, zone))
            if excluded is not None:
                pieces = [
                    (low, high)
                    for start, end in pieces
                    for low, high, hit in excluded.split(start, end)
                    if not hit
                ]
        return pieces


def _otherwise(block: Block) -> Block | None:
    """The same IPv4 addresses as `::ffff:10.0.0.1` (RFC 4291, 2.5.5.2), or the other way round."""
    if block.version == 4:
        return Block(6, _MAPPED + block.first, block.size)
    if block.first >= _MAPPED and block.first + block.size <= _MAPPED + (1 << 32):
        return Block(4, block.first - _MAPPED, block.size)
    return None


def _without(
    pieces: Iterable[tuple[int, int, Ports]], earlier: Ports, intervals: Intervals
) -> Iterator[tuple[int, int, Ports]]:
    for start, end, left in pieces:
        for low, high, hit in intervals.split(start, end):
            if not hit:
                yield low, high, left
            elif left != earlier:
                asked = set(earlier)
                rest = tuple(code for code in left if code not in asked)
                if rest:
                    yield low, high, rest


def mix(number: int) -> int:
    """64 well-spread bits of a number (the finaliser of SplitMix64)."""
    number = (number ^ number >> 64) * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ number >> 31


class Shards:
    """Part `part` (from 1) of `parts`: every (address, port) belongs to one part, spread pseudo-randomly.

    Each port has a fixed place on a ring, each address turns the ring by its own angle. So the ports of a
    part are known per angle, and an address costs one hash, not one for each of its ports.
    """

    def __init__(self, part: int, parts: int, *, seed: int = 0) -> None:
        self._part = part - 1
        self.parts = parts
        self._seed = mix(seed)
        self._rings: dict[int, tuple[Ports, dict[int, Ports]]] = {}  # by identity, as in Cover

    def own(self, number: int, ports: Ports) -> Ports:
        """Those of `ports` that this part asks at the address `number`."""
        entry = self._rings.get(id(ports))
        if entry is None:
            if len(self._rings) > 64:
                self._rings.clear()
            entry = self._rings[id(ports)] = (ports, self._ring(ports))
        angle = (self._part - mix(self._seed + number)) % self.parts
        return entry[1].get(angle, ())

    def _ring(self, ports: Ports) -> dict[int, Ports]:
        places: dict[int, list[int]] = {}
        for code in ports:
            places.setdefault(mix(self._seed ^ code) % self.parts, []).append(code)
        return {place: tuple(codes) for place, codes in places.items()}


class Permutation:
    """A pseudo-random order of 0..size-1 without a list: a Feistel network, walked until inside.

    Four rounds spread well; the square it permutes is less than four times `size`, so that walking back
    inside takes few steps.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1
        self._keys = [mix(seed + round_number) for round_number in range(1, 5)]

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self._size:
            raise IndexError(index)
        half, mask = self._half, self._mask
        while True:
            left, right = index >> half, index & mask
            for key in self._keys:
                left, right = right, left ^ (mix(key ^ right) & mask)
            index = left << half | right
            if index < self._size:
                return index
