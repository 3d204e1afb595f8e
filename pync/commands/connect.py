"""connect: open a connection and pipe it."""

import os

from pync.commands.options import ConnectOptions
from pync.commands.wiring import (
    Copies,
    Progress,
    Totals,
    closed_event,
    code_of,
    dial_settings,
    filters_of,
    policy_of,
    relay_between,
    run_relay,
    runs_program,
)
from pync.errors import ExitCode, NetworkError, PyncError, TimedOut, reason
from pync.loop import READ, Loop
from pync.relay.policy import Outcome
from pync.report import Event, Report
from pync.transport.channel import Channel
from pync.transport.dial import DialSettings, dial
from pync.transport.stdio import Stdio

_RETRY_DELAY, _RETRY_DELAY_MAX = 0.1, 2.0
_LAST_TRY = 0.05  # seconds kept for one more try at the very end of --retry-for
_CHILD_GRACE = 2.0
_PROBE_SECONDS = 1.0  # how long a UDP probe waits for somebody to say that nobody is there


async def run(loop: Loop, options: ConnectOptions, report: Report) -> ExitCode:
    """Connect, relay, end by the EOF law; raises what went wrong."""
    words = None
    if runs_program(options):
        from pync.commands.programs import program_of  # nobody else pays for it at start-up

        words = program_of(options)
    copies = Copies(options)
    try:
        # Opened first: a directory as stdin must fail before anybody was called.
        local = Stdio(-1 if options.recv_only else 0, -1 if options.send_only else 1)
        channel = await dial_retrying(loop, options, report)
        facts = channel.facts()
        report(Event("connected", facts))
        if options.zero:
            _leave(channel)
            return ExitCode.OK
        if words is not None:
            outcome = await _run_program(loop, options, channel, copies, words, report)
        else:
            outcome = await _run_stdio(loop, options, channel, copies, local, report)
        report(closed_event(facts, outcome))
        return code_of(outcome)
    finally:
        copies.close()


async def dial_retrying(loop: Loop, options: ConnectOptions, report: Report) -> Channel:
    """Dial; with --retry or --retry-for again, while the network says no, at growing intervals."""
    settings = dial_settings(options, options.endpoint)
    started = loop.now()
    give_up = started + options.retry_for if options.retry_for is not None else None
    tries_left = options.retry if options.retry is not None else (1 << 62 if give_up is not None else 0)
    pause = options.retry_delay if options.retry_delay is not None else _RETRY_DELAY
    last: NetworkError | TimedOut | None = None
    while True:
        try:
            return await _dial_once(loop, options, settings, report, give_up)
        except (NetworkError, TimedOut) as error:
            if tries_left <= 0:
                raise
            if last is None or isinstance(error, NetworkError):
                last = error  # a try that our own limit cut short says less than the one before
            if give_up is not None and loop.now() >= give_up:
                raise NetworkError(f"{last.message} (tried for {options.retry_for:g} s)") from None
            report(Event("waiting", {"reason": error.message, "seconds": loop.now() - started}))
        tries_left -= 1
        wake = loop.now() + pause
        await loop.sleep_until(wake if give_up is None else min(wake, give_up - _LAST_TRY))
        pause = min(pause * 2, max(_RETRY_DELAY_MAX, options.retry_delay or 0))


async def _dial_once(
    loop: Loop, options: ConnectOptions, settings: DialSettings, report: Report, give_up: float | None
) -> Channel:
    deadline = loop.now() + options.timeout if options.timeout is not None else None
    if give_up is not None:
        deadline = min(deadline or give_up, max(give_up, loop.now() + _LAST_TRY))
    channel = await dial(loop, options.endpoint, settings, report, deadline)
    if options.zero and channel.boundaries:
        await _probe(loop, options, channel)
    return channel


def _leave(channel: Channel) -> None:
    """Go without disturbing: TLS is ended, and a greeting nobody read would make our end a reset."""
    try:
        if not channel.boundaries:
            channel.send_eof()
            channel.read_into(memoryview(bytearray(65_536)))
    except (OSError, PyncError):
        pass  # connected it was
    channel.close()


async def _probe(loop: Loop, options: ConnectOptions, channel: Channel) -> None:
    """--zero of datagrams: one of them must ask, to learn that nobody is there. Raises NetworkError then."""
    seconds = options.timeout if options.timeout is not None else _PROBE_SECONDS
    try:
        channel.write(memoryview(b"\0"))
        if await loop.wait(channel.read_fd, READ, loop.now() + seconds):
            channel.read_into(memoryview(bytearray(65_536)))
    except OSError as error:
        channel.close()
        raise NetworkError(f"connect {channel.peer}: {reason(error)}") from None
    except BaseException:
        channel.close()
        raise


async def _run_stdio(
    loop: Loop, options: ConnectOptions, channel: Channel, copies: Copies, local: Stdio, report: Report
) -> Outcome:
    policy = policy_of(options, interactive=local.interactive)
    relay, ended = relay_between(loop, channel, local, policy, filters_of(options, copies), report)
    progress = None
    if options.progress:
        progress = Progress(loop, report, lambda: Totals(relay.sent, relay.received), local.size)
    try:
        if options.raw_tty and local.interactive:
            from pync.transport.terminal import RawTerminal

            with RawTerminal(loop, local.read_fd):
                return await run_relay(relay, ended)
        return await run_relay(relay, ended)
    finally:
        if progress is not None:
            progress.stop()


async def _run_program(
    loop: Loop, options: ConnectOptions, channel: Channel, copies: Copies, words: list[str], report: Report
) -> Outcome:
    from pync.commands.programs import run_direct, run_with_child, wants_relay

    if not wants_relay(options, channel, copies):
        return await run_direct(loop, channel, words, _CHILD_GRACE)
    from pync.transport.child import Child, environment_for

    environment = environment_for(channel.facts(), dict(os.environ))
    child = Child(loop, words, environment, mute=options.recv_only)
    policy = policy_of(options, interactive=False)
    relay, ended = relay_between(loop, channel, child, policy, filters_of(options, copies), report)
    return await run_with_child(relay, ended, child, words, _CHILD_GRACE)
