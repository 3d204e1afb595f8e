"""Two TLS channels of pync over a socket pair, or one of ours against Python's own."""

import socket
import ssl
from collections.abc import Coroutine
from typing import Any

from pync.loop import Loop
from pync.transport.channel import CHUNK, Channel, read_some, ready
from pync.transport.stream import StreamSocket
from pync.transport.tls import TlsChannel, TlsSettings, start_tls

SECONDS = 10.0


def sockets() -> tuple[StreamSocket, StreamSocket]:
    """Connected over TCP, as `reset` needs it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return StreamSocket(near), StreamSocket(far)


async def both(loop: Loop, *coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run them at the same time; results, or the exceptions they raised."""
    tasks = [loop.spawn(coroutine, done=lambda task: None) for coroutine in coroutines]
    results: list[Any] = []
    for task in tasks:
        try:
            results.append(await task)
        except Exception as error:
            results.append(error)
    return results


async def shake(
    loop: Loop,
    client: TlsSettings,
    server: TlsSettings,
    *,
    name: str | None = "localhost",
    over: tuple[Channel, Channel] | None = None,
) -> list[Any]:
    """The two channels, or what each side raised instead."""
    near, far = over or sockets()
    deadline = loop.now() + SECONDS
    return await both(
        loop,
        start_tls(loop, near, client, server=False, name=name, deadline=deadline),
        start_tls(loop, far, server, server=True, name=None, deadline=deadline),
    )


async def read_to_end(loop: Loop, channel: Channel, size: int = CHUNK) -> bytes:
    """Everything until the end."""
    data = bytearray()
    view = memoryview(bytearray(size))
    while (count := await read_some(loop, channel, view, loop.now() + SECONDS)) is not None:
        data += view[:count]
    return bytes(data)


async def say_eof(loop: Loop, channel: Channel) -> None:
    while want := channel.send_eof():
        await ready(loop, channel, want, loop.now() + SECONDS)


def drop(loop: Loop, *channels: Any) -> None:
    """Close those that are channels."""
    for channel in channels:
        if isinstance(channel, Channel):
            channel.detach(loop)
            channel.close()


def version_of(settings: TlsSettings, version: ssl.TLSVersion, *, server: bool) -> TlsSettings:
    """`settings` that go no higher than `version`."""
    settings.context(server=server).maximum_version = version
    return settings


__all__ = [
    "TlsChannel",
    "TlsSettings",
    "both",
    "drop",
    "read_to_end",
    "say_eof",
    "shake",
    "sockets",
    "version_of",
]
