"""`send --raw` and `recv --raw`, from meeting the other end to the verdict."""

from __future__ import annotations

from pync.commands.options import RecvOptions, SendOptions
from pync.errors import LocalError, NetworkError, PyncError, TimedOut, UsageError
from pync.loop import Loop
from pync.report import Event, Report
from pync.transfer.calls import Dial, Patience
from pync.transfer.events import Progress
from pync.transfer.host import open_host
from pync.transfer.raw import RawPipe, check_output, close, open_input, open_output
from pync.transport.channel import Channel
from pync.transport.settings import SocketSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


async def send_raw(
    loop: Loop, options: SendOptions, report: Report, reach: Dial, settings: SocketSettings, tls: Any
) -> None:
    """The bytes of one file or of stdin, then our end."""
    if len(options.paths) > 1:
        raise UsageError("--raw sends one file: bytes have no names")
    source = open_input(options.paths[0] if options.paths else "-")
    try:
        channel = await _meet(loop, options, report, reach, settings, tls, listens=options.listen)
        try:
            pipe = RawPipe(loop, channel, idle=options.idle_timeout, rate=options.rate)
            await _watched(loop, options, report, channel, pipe, "sent", source.size, _send(pipe, source))
            channel.detach(loop)
            channel.close()
        except BaseException:
            channel.detach(loop)
            channel.reset()  # what arrived is not whole: the other end must not take it for the end
            raise
    finally:
        close(source, loop)


async def _send(pipe: RawPipe, source: Channel) -> None:
    await pipe.send(source)
    await pipe.finish_sending()


async def recv_raw(
    loop: Loop, options: RecvOptions, report: Report, reach: Dial, settings: SocketSettings, tls: Any
) -> None:
    """Whatever comes until the peer's end, to stdout or one file."""
    policy = next((name for name in ("overwrite", "rename", "skip") if getattr(options, name)), "refuse")
    check_output(options.output, policy)
    channel = await _meet(loop, options, report, reach, settings, tls, listens=not options.connect)
    try:
        sink = open_output(options.output, policy)  # not before somebody came
    except LocalError:
        channel.detach(loop)
        channel.reset()
        raise
    try:
        try:
            channel.probe()
            pipe = RawPipe(loop, channel, idle=options.idle_timeout, rate=options.rate)
            receiving = pipe.receive(sink, options.max_size)
            await _watched(loop, options, report, channel, pipe, "received", None, receiving)
            channel.send_eof()
            channel.detach(loop)
            channel.close()
        except BaseException:
            channel.detach(loop)
            channel.reset()
            raise
        if sink.write_fd == 1:
            sink.send_eof()
    finally:
        close(sink, loop)


async def _meet(
    loop: Loop,
    options: Any,
    report: Report,
    reach: Dial,
    settings: SocketSettings,
    tls: Any,
    *,
    listens: bool,
) -> Channel:
    """The one connection. Dialing goes on for --retry-for; after that nothing can be repeated."""
    if listens:
        return await _accept_one(loop, options, report, settings, tls)
    patience = Patience(loop, options, report)
    while True:
        try:
            return await reach(patience.dial_by)
        except (NetworkError, TimedOut) as error:
            await patience.wait(error)


async def _accept_one(
    loop: Loop, options: Any, report: Report, settings: SocketSettings, tls: Any
) -> Channel:
    came: list[Channel] = []
    flag = loop.flag()
    failures: list[BaseException] = []

    class First:
        """Takes the first client and lets the Host keep nothing."""

        async def client(self, channel: Channel) -> None:
            came.append(channel)
            flag.set()
            await over.wait()

        def fail(self, error: BaseException) -> None:
            failures.append(error)
            flag.set()

    over = loop.flag()
    host = open_host(loop, options, report, settings, tls, First(), keep=True)
    try:
        until = loop.now() + options.timeout if options.timeout is not None else None
        if not await flag.wait(until):
            raise TimedOut(f"nobody came within {options.timeout:g}s")
    finally:
        host.stop_accepting()
        over.set()
    if failures:
        raise failures[0]
    return came[0]


async def _watched(
    loop: Loop,
    options: Any,
    report: Report,
    channel: Channel,
    pipe: RawPipe,
    word: str,
    total: int | None,
    work: Any,
) -> None:
    """`work` on the one connection, with its events and a summary."""
    begin = loop.now()
    why = "stopped"
    report(Event("connected", channel.facts()))

    def counters() -> dict[str, Any]:
        return {"sent": 0, "received": 0, "total": total, word: pipe.moved}

    progress = Progress(loop, report, counters)
    if options.progress:
        progress.start()
    try:
        await work
        why = ""
    except PyncError as error:
        why = error.message
        raise
    finally:
        progress.stop()
        facts = {"sent": 0, "received": 0, word: pipe.moved, "seconds": round(loop.now() - begin, 3)}
        report(Event("closed", {**channel.facts(), **facts, "reason": why}))
    report(Event("summary", {**counters(), "seconds": round(loop.now() - begin, 3)}))
