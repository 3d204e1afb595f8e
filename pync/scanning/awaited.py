"""Which endpoints `scan --wait` looks after: the words of the command line, of files and of stdin."""

from __future__ import annotations

from collections.abc import Iterator

from pync.endpoint import Endpoint, is_literal, parse
from pync.errors import UsageError
from pync.loop import READ, Loop
from pync.proto import ports as portspec
from pync.proto import targets
from pync.proto.targets import Block, Cover
from pync.scanning.words import Lines, pair_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.commands.options import ScanOptions

MOST = 4096  # endpoints


async def endpoints(loop: Loop, options: ScanOptions, cover: Cover) -> list[Endpoint]:
    """Each endpoint that `cover` allows, once; raises UsageError when there is none, or too many."""
    found: dict[Endpoint, None] = {}
    for word in await _all_words(loop, options):
        for endpoint in _endpoints_of(word, options, cover):
            found[endpoint] = None
            if len(found) > MOST:
                raise UsageError(f"--wait looks after at most {MOST} endpoints")
    if not found:
        if options.exclude and options.targets:
            raise UsageError("--exclude leaves nothing to wait for")
        raise UsageError("--wait needs an endpoint", hint="pync scan --wait 30s HOST:PORT")
    if options.exclude and options.proxy:
        _check_that_all_are_addresses(found)
    return list(found)


def _check_that_all_are_addresses(found: dict[Endpoint, None]) -> None:
    """The proxy may look a name up, so that nobody here knows which address it will ask."""
    for endpoint in found:
        if endpoint.host and not is_literal(endpoint.host):
            raise UsageError(
                f"--exclude cannot be kept for {endpoint.host} behind --proxy", hint="write its address"
            )


async def _all_words(loop: Loop, options: ScanOptions) -> list[str]:
    words: list[str] = []
    for word in pair_words(list(options.targets)):
        if word != "-" and not word.startswith("@"):
            words.append(word)
            continue
        lines = Lines(word if word == "-" else word[1:])
        try:
            while not lines.over and len(words) <= MOST:
                line = lines.next()
                if line is not None:
                    words.append(line)
                elif lines.waiting_fd is not None:
                    await loop.wait(lines.waiting_fd, READ)
        finally:
            lines.close()
    return words


def _endpoints_of(word: str, options: ScanOptions, cover: Cover) -> Iterator[Endpoint]:
    if word.startswith(("unix:", "unix-dgram:")):
        yield parse(word)
        return
    for target in targets.parse(word, udp=options.udp, numeric=options.numeric):
        codes = target.ports
        if codes is None:
            if options.ports is None:
                raise UsageError(f"--wait: {word} has no port", hint=f"write {word}:PORT, or -p PORTS")
            codes = portspec.parse(options.ports, udp=options.udp, numeric=options.numeric)
        hosts: Iterator[str] = iter((target.label,))
        if isinstance(target.where, Block):
            blocks = cover.allowed(target.where)
            hosts = (block.address(index) for block in blocks for index in range(block.size))
        for host in hosts:
            for code in codes:
                yield Endpoint(portspec.protocol_of(code), host, portspec.number_of(code))
