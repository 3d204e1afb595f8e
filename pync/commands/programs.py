"""Programs on a connection, in both roles: found, given the socket itself or a relay, waited for, ended."""

from __future__ import annotations

import os

from pync.commands.options import StreamOptions
from pync.commands.wiring import Copies, run_relay
from pync.errors import LocalError, NetworkError, PyncError, reason
from pync.loop import Flag, Loop
from pync.relay.confirm import Confirmation
from pync.relay.policy import Outcome
from pync.relay.relay import Relay
from pync.transport.channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.transport.child import Child

# What is thrown away in one go of what a program left unread, before others get their turn.
_DISCARD = 1 << 20


def program_of(options: StreamOptions) -> list[str]:
    """The argv of --exec or --sh-exec; raises LocalError for a program that is not there."""
    from shutil import which

    from pync.transport.child import command_words

    words = command_words(options.exec_command, options.sh_exec)
    if which(words[0]) is None:
        why = "not a program that may be run" if os.path.exists(words[0]) else "no such program"
        raise LocalError(f"--exec {words[0]!r}: {why}")
    return words


def wants_relay(options: StreamOptions, channel: Channel, copies: Copies) -> bool:
    """False when a child may have the socket itself: nothing of ours has to see or count the bytes."""
    return bool(
        not channel.plain
        or not getattr(channel, "tcp", False)
        or copies.wanted
        or options.crlf
        or options.delay
        or options.rate
        or options.idle_timeout
        or options.max_bytes
        or options.max_packets
        or options.send_only
        or options.recv_only
        or options.no_shutdown
        or getattr(options, "telnet", False)
    )


async def run_direct(loop: Loop, channel: Any, words: list[str], grace: float) -> Outcome:
    """Give a plain TCP socket to a child as its stdin and stdout, and wait for its end."""
    from pync.transport.child import Process, environment_for

    started, before = loop.now(), channel.totals()[0]
    channel.sock.setblocking(True)
    fd = channel.sock.fileno()
    try:
        process = Process(loop, words, environment_for(channel.facts(), dict(os.environ)), {0: fd, 1: fd})
    except PyncError:
        channel.close()
        raise
    broken: list[PyncError] = []
    ends = 0, 0

    def look() -> None:
        """The child may not be looking at its socket: it is ended when the connection broke."""
        loop.watch_error(fd, None)
        try:
            channel.unacknowledged()
        except OSError as error:
            broken.append(NetworkError(f"{channel.peer}: {reason(error)}"))
            process.ended.set()

    loop.watch_error(fd, look)
    try:
        await process.ended.wait()
    except BaseException:
        channel.detach(loop)
        await process.stop(grace)
        channel.reset()
        raise
    channel.detach(loop)
    try:
        if broken:
            process.ended.clear()
            await process.stop(grace)
        elif not process.left_others():
            ends = await _deliver(loop, channel, broken)
    except BaseException:
        channel.reset()
        raise
    sent, received = channel.totals()
    channel.close()
    failure = broken[0] if broken else child_failure(words, process.status)
    # After a reset the end was not one of the bytes.
    sent, received = max(0, sent - before - ends[0]), max(0, received - ends[1])
    return Outcome("exec", sent, received, loop.now() - started, failure)


async def _deliver(loop: Loop, channel: Any, broken: list[PyncError]) -> tuple[int, int]:
    """The program is gone, its output is on its way: come back when the peer's system has all of it. Gives
    how many of the bytes that the kernel counts out and in were ends.

    A close while something it did not read is still there would reset the connection, and with it throw away
    what has not arrived. So that is read, for nobody.
    """
    view = memoryview(bytearray(1 << 16))
    over = loop.flag()
    ended = False
    failures: list[PyncError] = []

    def left() -> int:
        nonlocal ended
        ended = _discard(channel, view)
        return int(channel.unacknowledged())

    def confirmed(left: int) -> None:
        if left:
            failures.append(NetworkError(f"{channel.peer}: the last {left} bytes were not acknowledged"))
        over.set()

    def broke(error: OSError) -> None:
        failures.append(NetworkError(f"{channel.peer}: {reason(error)}"))
        over.set()

    channel.send_eof()
    confirmation = Confirmation(loop, left, confirmed, broke)
    try:
        await over.wait()
    finally:
        confirmation.cancel()
    broken.extend(failures)
    return int(not failures), int(ended)


def _discard(channel: Channel, view: memoryview) -> bool:
    """Whether the peer has ended."""
    taken: int = 0
    count: int | None = 0
    while taken < _DISCARD and (count := channel.read_into(view)) is not None and count > 0:
        taken += count
    return count is None


def child_failure(words: list[str], status: int | None) -> PyncError | None:
    """A program's exit status as an error; None for success."""
    if not status:
        return None
    said = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
    return NetworkError(f"{words[0]}: {said}")


async def run_with_child(relay: Relay, ended: Flag, child: Child, words: list[str], grace: float) -> Outcome:
    """Run `relay` with a program at its local end. A good end waits for the program's own, however long it
    works on what it got; after any other it has `grace` seconds."""

    async def conclude() -> None:
        await child.process.ended.wait()
        relay.conclude()

    relay.loop.spawn(conclude())
    try:
        outcome = await run_relay(relay, ended)
        if outcome.error is None:
            await child.process.ended.wait()
    finally:
        await child.process.stop(grace)
    return outcome._replace(error=outcome.error or child_failure(words, child.process.status))
