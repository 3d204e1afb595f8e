"""Who may connect: the rules of `--allow` and `--deny`, and the list that decides by them.

A rule is one of
  10.0.0.1  2001:db8::1  fe80::1%eth0        an address (with a zone: only on that interface)
  10.0.0.0/8  10.0.0.0/255.0.0.0  fe80::/10  a network, host bits ignored
  10.0.0-3.1-20  10.*.0.1                    a range or everything in any octet
  10.0.0.1-10.0.0.20  ::1-::ff               from one address to another
  *                                          everybody, Unix peers included
  db.example  db.example/24                  a name, which the caller resolves (and the network around it)
Commas or spaces separate rules; in a file `#` starts a remark.

An IPv4 peer on an IPv6 socket (::ffff:10.0.0.1) is the IPv4 peer it is, in rules as well as in addresses.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range
from typing import NamedTuple

from pync.errors import UsageError
from pync.proto.escape import printable

_BITS = {4: 32, 6: 128}
_MAPPED_PREFIX = 96  # ::ffff:0:0/96, the IPv4 addresses inside IPv6
_OCTET_RANGES = re.compile(r"(?:\d+(?:-\d+)?|\*)(?:\.(?:\d+(?:-\d+)?|\*)){3}")
_NAME = re.compile(r"(?=.{1,253}$)(?!-)[\w-]{1,63}(?<!-)(?:\.(?!-)[\w-]{1,63}(?<!-))*\.?")


class Network(NamedTuple):
    """The addresses of `version` (4 or 6) whose first `prefix` bits are `bits`; version 0 is everybody."""

    version: int
    bits: int
    prefix: int
    zone: str = ""


class Octets(NamedTuple):
    """IPv4 addresses with each octet between two bounds, both included."""

    bounds: tuple[tuple[int, int], ...]


class Name(NamedTuple):
    """A rule to be resolved; `prefix` widens each address to its network."""

    host: str
    prefix: int | None = None

    def rules(self, addresses: Iterable[str]) -> list["Network"]:
        """The rules it stands for, given the addresses it resolved to."""
        found = []
        for text in addresses:
            version, value, zone = _address(text)
            prefix = _BITS[version] if self.prefix is None else min(self.prefix, _BITS[version])
            found.append(_network(version, value, prefix, zone))
        return found


Rule = Network | Octets
EVERYBODY = Network(0, 0, 0)


def parse(text: str) -> list[Rule | Name]:
    """The rules of a list such as `10.0.0.0/8,db.example`. Raises UsageError for the first bad one."""
    return [rule for word in text.replace(",", " ").split() for rule in _rules(word)]


def parse_file(text: str, *, name: str = "access file") -> list[Rule | Name]:
    """The rules in the text of a file; a UsageError tells `name` and the line."""
    rules: list[Rule | Name] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            rules += parse(line.partition("#")[0])
        except UsageError as error:
            raise UsageError(f"{name}:{number}: {error.message}", hint=error.hint) from None
    return rules


def _rules(word: str) -> Sequence[Rule | Name]:
    try:
        if word == "*":
            return [EVERYBODY]
        base, slash, length = word.partition("/")
        if slash:
            return [_sized(base, length)]
        if _OCTET_RANGES.fullmatch(word):
            return _octet_ranges(word)
        first, dash, last = word.partition("-")
        if dash and _looks_numeric(first) and _looks_numeric(last):
            return _address_range(first, last)
        return [_address_or_name(word, None)]
    except ValueError as error:
        raise UsageError(f"bad access rule '{printable(word)}': {error}") from None


def _sized(base: str, length: str) -> Network | Name:
    rule = _address_or_name(base, None)
    if isinstance(rule, Name):
        return Name(rule.host, _prefix(length, 6))
    if "." in length:
        return _network(rule.version, rule.bits, _netmask(rule, length), rule.zone)
    # A mapped network counts its prefix from the start of the IPv6 address.
    if rule.version == 4 and ":" in base:
        prefix = _prefix(length, 6) - _MAPPED_PREFIX
        if prefix < 0:
            raise ValueError("a network of IPv4-mapped addresses has a prefix from 96 to 128")
    else:
        prefix = _prefix(length, rule.version)
    return _network(rule.version, rule.bits, prefix, rule.zone)


def _prefix(text: str, version: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= _BITS[version]):
        raise ValueError(f"the prefix after / is a number from 0 to {_BITS[version]}")
    return int(text)


def _netmask(rule: Network, text: str) -> int:
    mask = int(IPv4Address(text))
    inverted = mask ^ 0xFFFFFFFF
    if rule.version != 4 or inverted & (inverted + 1):
        raise ValueError("that is not an IPv4 netmask")
    return 32 - inverted.bit_length()


def _octet_ranges(word: str) -> Sequence[Rule]:
    bounds = tuple(_bounds(octet) for octet in word.split("."))
    ranged = [index for index, (low, high) in enumerate(bounds) if low != high]
    # One range followed by whole octets is one run of addresses: networks, which are looked up, not searched.
    if not ranged or all(bounds[index] == (0, 255) for index in range(ranged[0] + 1, 4)):
        first, last = (".".join(str(bound[end]) for bound in bounds) for end in (0, 1))
        return _address_range(first, last)
    return [Octets(bounds)]


def _bounds(octet: str) -> tuple[int, int]:
    if octet == "*":
        return 0, 255
    low, _, high = octet.partition("-")
    numbers = int(low), int(high or low)
    if max(numbers) > 255:
        raise ValueError(f"octet {octet} is not between 0 and 255")
    return min(numbers), max(numbers)


def _address_range(first: str, last: str) -> list[Network]:
    ends = [_address(text) for text in (first, last)]
    if ends[0][0] != ends[1][0]:
        raise ValueError("a range is between two addresses of the same family")
    if ends[0][2] or ends[1][2]:
        raise ValueError("a range has no zone")
    make = IPv4Address if ends[0][0] == 4 else IPv6Address
    low, high = sorted(make(end[1]) for end in ends)
    return [
        _network(found.version, int(found.network_address), found.prefixlen)
        for found in summarize_address_range(low, high)
    ]


def _looks_numeric(word: str) -> bool:
    return ":" in word or word.replace(".", "").isdecimal()


def _address_or_name(word: str, prefix: int | None) -> Network | Name:
    try:
        version, value, zone = _address(word)
    except ValueError:
        if _looks_numeric(word.rpartition(".")[2] or word) or not _NAME.fullmatch(word):
            raise ValueError("not an address, a network, a range or a name") from None
        return Name(word, prefix)
    return _network(version, value, _BITS[version], zone)


def _address(text: str) -> tuple[int, int, str]:
    """(4 or 6, the address as a number, the zone or ""). Raises ValueError."""
    parsed = ip_address(text)
    if isinstance(parsed, IPv4Address):
        return 4, int(parsed), ""
    if parsed.ipv4_mapped is not None:
        return 4, int(parsed.ipv4_mapped), ""
    return 6, int(parsed), parsed.scope_id or ""


def _network(version: int, value: int, prefix: int, zone: str = "") -> Network:
    return Network(version, value >> _BITS[version] - prefix, prefix, zone)


class _Matcher:
    """One list, ready for look-ups: a set of networks for each prefix length, the few odd rules in turn."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.everybody = False
        self._networks: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        self._octets: list[Octets] = []
        self._zoned: list[Network] = []
        for rule in rules:
            if isinstance(rule, Octets):
                self._octets.append(rule)
            elif rule.zone:
                self._zoned.append(rule)
            elif rule.version:
                self._networks[rule.version].setdefault(rule.prefix, set()).add(rule.bits)
            else:
                self.everybody = True

    def matches(self, version: int, value: int, zone: str, *, when_zone_unknown: bool) -> bool:
        bits = _BITS[version]
        if any(value >> bits - prefix in known for prefix, known in self._networks[version].items()):
            return True
        if version == 4:
            octets = value.to_bytes(4, "big")
            return any(
                all(low <= octet <= high for octet, (low, high) in zip(octets, rule.bounds, strict=True))
                for rule in self._octets
            )
        return any(
            value >> bits - rule.prefix == rule.bits and (zone == rule.zone if zone else when_zone_unknown)
            for rule in self._zoned
        )


class AccessList:
    """Decides about peers: deny beats allow, and with an allow list whoever it does not name is denied.

    `allow` None means there is no such list; an empty one (a file of nothing but remarks) admits nobody.
    A peer without an address (a Unix socket) is matched by `*` alone. A rule with a zone, met by an address
    whose zone is not known, denies but does not allow.
    """

    def __init__(self, allow: Iterable[Rule] | None, deny: Iterable[Rule] = ()) -> None:
        self._allow = None if allow is None else _Matcher(allow)
        self._deny = _Matcher(deny)

    def admits(self, address: str) -> bool:
        """Whether the peer at `address` (numeric; anything else is a Unix peer) may stay."""
        if self._deny.everybody:
            return False
        allow = self._allow
        try:
            version, value, zone = _address(address)
        except ValueError:
            return allow is None or allow.everybody
        if self._deny.matches(version, value, zone, when_zone_unknown=True):
            return False
        if allow is None or allow.everybody:
            return True
        return allow.matches(version, value, zone, when_zone_unknown=False)
