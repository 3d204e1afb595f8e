"""`--banner`: listen to an open port, nudge it when it is silent, and describe what came."""

from __future__ import annotations

import socket

from pync.endpoint import Endpoint
from pync.errors import PyncError
from pync.loop import Loop
from pync.proto import banner
from pync.proto.ports import number_of
from pync.proto.schedule import Host
from pync.report import silent
from pync.transport.channel import Channel, read_some, write_all
from pync.transport.dial import DialSettings, dial
from pync.transport.settings import SocketSettings
from pync.transport.stream import StreamSocket

PATIENCE = 1.0  # seconds a service has to speak first
LONGEST = 4.0  # seconds for an answer to our nudge
_HTTPS_PORTS = frozenset({443, 2376, 6443, 8443, 9443, 10250})
_ENDED = (OSError, PyncError)  # TimeoutError is an OSError


def longest_wait(timeout: float | None) -> float:
    """Seconds that one answer may take when the user's `--timeout` is `timeout`."""
    return min(timeout or LONGEST, LONGEST)


async def grab(
    loop: Loop, sock: socket.socket, host: Host, code: int, settings: SocketSettings, longest: float
) -> banner.Facts | None:
    """What the service behind an open connection says; None when it says nothing. Closes `sock`.

    No single answer is waited for longer than `longest` seconds.
    """
    port = number_of(code)
    place = Endpoint("tcp", host.address, port)
    channel = StreamSocket(sock)
    try:
        if port in banner.TLS_PORTS:
            return await _in_tls(loop, channel, host, port, longest) or None
        facts = await listen_and_ask(loop, channel, host, port, longest)
    finally:
        channel.detach(loop)
        channel.close()
    if facts is None or facts["protocol"] == "tls":
        return await _tls_anew(loop, place, host, settings, longest) or facts
    return facts


async def listen_and_ask(
    loop: Loop, channel: Channel, host: Host, port: int | str, longest: float
) -> banner.Facts | None:
    """What a service says by itself, or when asked in HTTP; None for nothing. Leaves the channel open.

    No single answer is waited for longer than `longest` seconds.
    """
    data = await _listen(loop, channel, min(longest, PATIENCE if port not in banner.HTTP_PORTS else 0.05))
    if not data:
        data = await _ask(loop, channel, host, longest)
    if banner.wants_tls(data):
        return {"protocol": "tls"}
    return banner.describe(data) or None


async def _listen(loop: Loop, channel: Channel, seconds: float) -> bytes:
    """What comes until it is enough, the end, or the time is up."""
    data = bytearray()
    view = memoryview(bytearray(banner.MOST))
    deadline = loop.now() + seconds
    try:
        while len(data) < banner.MOST and not (data and banner.complete(bytes(data))):
            count = await read_some(loop, channel, view, deadline)
            if count is None:
                break
            data += view[:count]
    except _ENDED:
        pass
    return bytes(data)


async def _ask(loop: Loop, channel: Channel, host: Host, longest: float) -> bytes:
    try:
        await write_all(loop, channel, banner.request(host.label), loop.now() + longest)
    except _ENDED:
        return b""
    return await _listen(loop, channel, longest)


async def _tls_anew(
    loop: Loop, place: Endpoint, host: Host, settings: SocketSettings, longest: float
) -> banner.Facts:
    """A second connection, for a service that answered to nothing else."""
    try:
        channel = await dial(loop, place, DialSettings(settings), silent, loop.now() + longest)
    except _ENDED:
        return {}
    try:
        return await _in_tls(loop, channel, host, place.port, longest)
    finally:
        channel.detach(loop)
        channel.close()


async def _in_tls(loop: Loop, channel: Channel, host: Host, port: int | str, longest: float) -> banner.Facts:
    """A handshake for the certificate, then the same questions inside; {} when it is not TLS."""
    from pync.transport.tls import start_tls
    from pync.transport.tls_settings import TlsSettings

    trusting = TlsSettings(insecure=True, allow_truncation=True)
    deadline = loop.now() + longest
    try:
        secured = await start_tls(loop, channel, trusting, server=False, name=host.label, deadline=deadline)
    except _ENDED:
        return {}
    try:
        facts: banner.Facts = {"protocol": "tls", "tls": banner.certificate(secured.secured())}
        inside = await _listen(loop, secured, min(longest, 0.05 if port in _HTTPS_PORTS else PATIENCE))
        if not inside:
            inside = await _ask(loop, secured, host, longest)
        return facts | banner.describe(inside)
    finally:
        secured.detach(loop)
        secured.close()
