"""Where the hosts of a scan come from: words, files and stdin, read no faster than they are asked.

Words on the command line are read at once, so that a typing error ends the scan before it began and the
number of probes is known. Files and stdin are read while the scan runs: their bad lines are reported and
counted, and a line that has not come yet holds nobody up. Names are looked up in parallel.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from os import urandom

from pync.endpoint import Endpoint, resolve
from pync.errors import ExitCode, LimitReached, LocalError, PyncError, UsageError
from pync.loop import Loop
from pync.proto import ports as portspec
from pync.proto import targets
from pync.proto.escape import printable
from pync.proto.ports import Ports
from pync.proto.schedule import Host
from pync.proto.targets import Block, Cover, Name, Permutation, Shards, Target, mix
from pync.report import Event, Report
from pync.scanning.limits import LOOKUPS, lookups_at_once
from pync.scanning.sockets import is_ours
from pync.scanning.words import Lines, pair_words
from pync.threads import call  # at once: where a look-up starts, there may be no descriptor for a module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.commands.options import ScanOptions

_LOCAL_WORTH = 64  # ports from which on it pays to find out whether an address is our own


async def excluded_blocks(loop: Loop, options: ScanOptions) -> list[Block]:
    """What --exclude names, its names resolved to all their addresses. Raises UsageError and NetworkError."""
    blocks: list[Block] = []
    for word in (word for item in options.exclude for word in item.replace(",", " ").split()):
        for target in targets.parse(word, numeric=options.numeric):
            if target.ports is not None:
                raise UsageError(
                    f"--exclude {word!r}: addresses only", hint="leave ports out with -p '!PORT'"
                )
            if isinstance(target.where, Block):
                blocks.append(target.where)
                continue
            for address in await loop.call_in_thread(resolve, Endpoint("tcp", target.where.host, 0)):
                number = targets.address_number(address.sockaddr[0])
                if number is not None:
                    blocks.append(Block(number[0], number[1], 1))
    return blocks


class Source(Iterator["Host | None"]):
    """Hosts one after another; None when the next one is not there yet. Raises UsageError at once."""

    def __init__(
        self,
        loop: Loop,
        options: ScanOptions,
        report: Report,
        *,
        excluded: list[Block],
    ) -> None:
        self._loop = loop
        self._options = options
        self._report = report
        self.worker = (0, 1)  # which of how many processes: each asks every so-manieth port of a host
        self.lent: range | None = (
            None  # ports the system lends; those of our own addresses are for one worker
        )
        self._apart: dict[int, tuple[Ports, Ports, Ports]] = {}  # by identity, as in Cover
        self._served = 0
        self._udp, self._numeric = options.udp, options.numeric
        self._family = 4 if options.ipv4 else 6 if options.ipv6 else 0
        self._ports = portspec.parse(options.ports or portspec.DEFAULT, udp=self._udp, numeric=self._numeric)
        shard = options.shard
        self._seed = options.seed if options.seed is not None else 0
        # A seed alone is a wish for an order; with --shard it says which parts there are.
        self._randomize = options.randomize or (options.seed is not None and shard is None)
        if self._randomize and options.seed is None and shard is None:
            self._seed = int.from_bytes(urandom(6), "big")
        self._shards = Shards(*shard, seed=options.seed or 0) if shard and shard[1] > 1 else None
        self._cover = Cover()
        for block in excluded:
            self._cover.exclude(block)
        self._blocks: deque[tuple[Block, Ports, str]] = deque()
        self._names: deque[tuple[str, Ports]] = deque()
        self._far: deque[tuple[str, Ports]] = deque()  # names that a proxy looks up
        self._hosts: Iterator[Host] = iter(())
        self._asked_names: set[tuple[str, int]] = set()
        self._looking = 0
        self._lookups = LOOKUPS  # at most so many at once
        self._lines: deque[Lines] = deque()
        self.changed = loop.flag()  # set when a name was resolved
        self.failed = 0  # targets that could not be scanned
        self.failure = ExitCode.NETWORK  # the status of a scan of which all failed
        self.targets = 0
        self.ranges = False  # whether a word on the command line is more than one address
        self.total = 0  # probes known so far
        self._read_words(list(options.targets))

    # --- what is known at once -----------------------------------------------------------------------

    def _read_words(self, words: list[str]) -> None:
        lazily: list[str] = []
        for word in pair_words(words):
            if word == "-" or word.startswith("@"):
                lazily.append(word)
                self._lines.append(Lines(word if word == "-" else word[1:]))
            else:
                self._add(word)
        if lazily.count("-") > 1:
            raise UsageError("stdin can be read once: - is given twice")
        if not self.targets and not self._lines:
            raise UsageError("scan needs a target", hint="pync scan HOST -p 22,80,8000-8100")
        if self._randomize:
            order = Permutation(len(self._blocks), self._seed)
            self._blocks = deque(self._blocks[order[index]] for index in range(len(order)))

    def _add(self, word: str) -> None:
        if word.startswith(("unix:", "unix-dgram:")):
            raise UsageError(f"{word}: a Unix socket has no ports", hint="it can be waited for: --wait D")
        for target in targets.parse(word, udp=self._udp, numeric=self._numeric):
            self.targets += 1
            ports = target.ports or self._ports
            if isinstance(target.where, Block):
                if self._family and target.where.version != self._family:
                    raise UsageError(f"{word}: not an IPv{self._family} address")
                self._add_block(target, ports)
            else:
                self._add_name(target.where, ports)

    def _add_block(self, target: Target, ports: Ports) -> None:
        assert isinstance(target.where, Block)
        self.ranges = self.ranges or target.where.size > 1
        for block, left in self._cover.fresh(target.where, ports):
            self._blocks.append((block, left, target.label))
            self.total += block.size * len(left) // (self._shards.parts if self._shards else 1)

    def _add_name(self, name: Name, ports: Ports) -> None:
        far = bool(self._options.proxy) and self._is_far(name.host, ports)
        if self._numeric and not far:
            raise UsageError(f"{name.host!r} is not an address, and --numeric forbids look-ups")
        key = name.host.lower(), id(ports)
        if key not in self._asked_names:
            self._asked_names.add(key)
            (self._far if far else self._names).append((name.host, ports))
            self.total += len(ports)

    def _is_far(self, host: str, ports: Ports) -> bool:
        """Whether a proxy is to look the name up; raises UsageError for what that rules out."""
        from pync.scanning.proxied import takes_names

        if not takes_names(self._options, host, ports[0]):
            return False
        if self._options.exclude:
            raise UsageError(
                f"--exclude cannot be kept for {host}: the proxy looks it up", hint="write its address"
            )
        if self._options.all_addresses:
            raise UsageError(f"--all-addresses: the proxy looks {host} up, and tells none of them")
        return True

    # --- names -----------------------------------------------------------------------------------------

    def start_lookups(self) -> bool:
        """Resolve waiting names; True while some are on their way."""
        while self._names and self._looking < min(self._lookups, lookups_at_once()):
            host, ports = self._names.popleft()
            self._loop.spawn(self._look_up(host, ports))
        return self._looking > 0

    async def resolve_all(self) -> None:
        """Look up every name there is; what is left are addresses."""
        while self.start_lookups() or self._names:
            self.changed.clear()
            await self.changed.wait()

    async def wait_for_more(self) -> None:
        """Wait until the next host may be there, after a None."""
        fd = self.waiting_fd
        self.changed.clear()
        if fd is not None:
            self._loop.watch_read(fd, self.changed.set)
        try:
            await self.changed.wait()
        finally:
            if fd is not None:
                self._loop.forget(fd)

    def moved_to(self, loop: Loop) -> None:
        """Go on in a forked process, with its loop."""
        self._loop = loop
        self.changed = loop.flag()

    async def _look_up(self, host: str, ports: Ports) -> None:
        self._looking += 1
        try:
            endpoint = Endpoint("tcp", host, 0)
            addresses = await call(self._loop, lambda: resolve(endpoint, family=self._family), (), None)
        except LimitReached as error:
            if self._looking == 1:
                self._not_found(error, ports)
            else:  # looked up when another one is over
                self._lookups = self._looking - 1
                self._names.append((host, ports))
            return
        except PyncError as error:
            self._not_found(error, ports)
            return
        finally:
            self._looking -= 1
            self.changed.set()
        if not self._options.all_addresses:
            # IPv4 first: a name with both is most often asked for the service that listens there.
            addresses = sorted(addresses, key=lambda found: found.family != socket.AF_INET)[:1]
        self.total -= len(ports)
        for address in addresses:
            version, number, _ = targets.address_number(address.sockaddr[0]) or (0, 0, "")
            zone = str(address.sockaddr[3]) if version == 6 and address.sockaddr[3] else ""
            self._add_block(Target(host, Block(version, number, 1, zone), ports), ports)

    def _not_found(self, error: PyncError, ports: Ports) -> None:
        self.fail(error)
        self.total -= len(ports)

    def fail(self, error: PyncError) -> None:
        """A target that could not be scanned: said, counted, and the others go on."""
        self.failed += 1
        if isinstance(error, LocalError):
            self.failure = error.code
        self._report(Event("error", {"code": int(ExitCode(error.code)), "message": error.message}))

    # --- hosts -----------------------------------------------------------------------------------------

    @property
    def lazily_read(self) -> bool:
        """Whether targets come from files or stdin, so that their number is not known."""
        return bool(self._lines)

    @property
    def waiting_fd(self) -> int | None:
        """stdin, when the next host is to come from there."""
        return self._lines[0].waiting_fd if self._lines else None

    def __next__(self) -> Host | None:
        while True:
            for host in self._hosts:
                if host.left:
                    return host
            looking = self.start_lookups()
            if self._far:
                self._hosts = self._host_named(*self._far.popleft())
                continue
            if self._blocks:
                self._hosts = self._hosts_of(*self._blocks.popleft())
                continue
            if self._lines:
                if len(self._names) + self._looking >= self._lookups or not self._read_line():
                    return None
                continue
            if looking or self._names:
                return None
            raise StopIteration

    def _read_line(self) -> bool:
        """Take one word from the first file; False when none is there yet."""
        lines = self._lines[0]
        word = lines.next()
        if word is None:
            if not lines.over:
                return False
            self._lines.popleft()
            return True
        try:
            self._add(word)
        except UsageError as error:
            self.targets += 1
            self.fail(UsageError(f"{lines.name}: {printable(error.message)}"))
        return True

    def _hosts_of(self, block: Block, ports: Ports, label: str) -> Iterator[Host]:
        order = Permutation(block.size, self._seed) if self._randomize and block.size > 1 else None
        tail = self._scope(block)
        if tail is None:
            return
        for index in range(block.size):
            place = order[index] if order is not None else index
            number = block.first + place
            own = ports if self._shards is None else self._shards.own(number, ports)
            if not own:
                continue
            self._served += 1
            address = block.address(place)
            local = len(own) >= _LOCAL_WORTH and is_ours(address)
            own, start, step = self._share(address, own)
            shuffled = Permutation(len(own), self._seed ^ mix(number)) if self._randomize else None
            host = Host(label, address, own, order=shuffled, start=start, step=step)
            host.sockaddr = tail
            host.local = local
            yield host

    def _host_named(self, name: str, ports: Ports) -> Iterator[Host]:
        """A host that only the proxy knows by address; its shard goes by its name."""
        number = int.from_bytes(name.lower().encode(), "big")
        own = ports if self._shards is None else self._shards.own(number, ports)
        if own:
            shuffled = Permutation(len(own), self._seed ^ mix(number)) if self._randomize else None
            yield Host(name, name, own, order=shuffled)

    def _share(self, address: str, ports: Ports) -> tuple[Ports, int, int]:
        """This worker's part of the ports of a host: every `step`-th of these from `start` on.

        Two workers that ask an address of this machine could meet: the port that one asks is lent to the
        other's socket, which asks just then the port lent to the first (RFC 793, simultaneous open), and
        both would call it open. So there the ports that are ever lent are asked by one worker alone.
        """
        part, parts = self.worker
        start = (part + self._served) % parts
        if parts == 1 or self.lent is None:
            return ports, start, parts
        entry = self._apart.get(id(ports))
        if entry is None:
            if len(self._apart) > 64:
                self._apart.clear()
            entry = self._apart[id(ports)] = (ports, *_set_apart(ports, self.lent, len(ports) // parts))
        _, for_one, for_others = entry
        if not for_one or not is_ours(address):
            return ports, start, parts
        return (for_one, 0, 1) if start == 0 else (for_others, start - 1, parts - 1)

    def _scope(self, block: Block) -> tuple[int, ...] | None:
        """What goes behind (address, port) in the sockaddr; None when the zone does not exist."""
        if not block.zone:
            return ()
        try:
            index = int(block.zone) if block.zone.isdigit() else socket.if_nametoindex(block.zone)
        except OSError:
            self.fail(UsageError(f"{block}: no interface {block.zone!r} here"))
            return None
        return 0, index

    def close(self) -> None:
        """Give the files back."""
        for lines in self._lines:
            lines.close()


def _set_apart(ports: Ports, lent: range, fair: int) -> tuple[Ports, Ports]:
    """All lent ports, with others up to a `fair` share, and the rest; () and all where no two can meet."""
    inside = sum(code in lent for code in ports)
    if inside < 2:
        return (), ports
    others = max(0, fair - inside)
    for_one: list[int] = []
    rest: list[int] = []
    for code in ports:
        if code in lent:
            for_one.append(code)
        elif others > 0:
            others -= 1
            for_one.append(code)
        else:
            rest.append(code)
    return tuple(for_one), tuple(rest)
