"""Through proxies: SOCKS4, 4a, 5, 5h, HTTP and HTTPS CONNECT, one behind the other.

How dial uses this (and nothing else here):

    proxies = proxy.wanted_proxies(options.proxy, endpoint)          # [] : dial directly
    channel = await proxy.connect_through(
        loop, proxies, endpoint, dial_tcp, deadline, report, tls=tls_settings, family=..., numeric=...
    )
    channel = await start_tls(loop, channel, settings, server=False, name=host, deadline=...)  # --tls

`dial_tcp(host, port, deadline) -> Channel` connects a plain TCP channel to the first proxy, with `--source`
and the like; it may be called several times, because a proxy may close after asking for credentials and
because every address of a target is tried where we look the name up. What comes back is the innermost channel
itself: handshakes never read past their end (proto/handshake), so nothing is left over and movers may use its
descriptor.

Every function that takes a channel owns it: it is closed when the function raises.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from pync.endpoint import Endpoint, is_literal, port_number, resolve
from pync.errors import NetworkError, PyncError, TimedOut, UsageError, translate
from pync.loop import Loop
from pync.proto.handshake import Handshake, PeerClosed, Read, Refused, Result, Step, Write, wanted
from pync.proto.http_connect import Again, ClientNonce, Login, connect
from pync.proto.proxy_url import Proxy, authority, chain
from pync.proto.socks import socks4, socks5
from pync.report import Event, Report
from pync.transport.channel import Channel, read_some, sooner, write_all

if TYPE_CHECKING:
    from pync.transport.tls import TlsSettings

DialTcp = Callable[[str, int | str, float | None], Awaitable[Channel]]

# For a proxy that accepts and then says nothing, when the user set no time-out.
HANDSHAKE_SECONDS = 30.0
_RECONNECTS = 6  # per proxy; the challenges themselves are limited by Login


def wanted_proxies(urls: Sequence[str], endpoint: Endpoint) -> list[Proxy]:
    """The proxies for `endpoint`, the nearest first, [] for none; raises UsageError.

    Passwords in `urls` disappear from the process list.
    """
    if not urls:
        return []
    for url in urls:
        userinfo, at, _ = url.rpartition("@")
        if at:
            hide_argument(userinfo.rpartition("://")[2])
    if endpoint.scheme not in ("tcp", "tls"):
        raise UsageError(f"--proxy cannot carry {endpoint.scheme}", hint="proxies carry TCP and TLS only")
    return chain(urls, endpoint.host, endpoint.port, os.environ)


def takes_names(proxy: Proxy) -> bool:
    """Whether `proxy` looks names up itself; for SOCKS 4 and 5 as such we do."""
    return proxy.scheme not in ("socks4", "socks5")


def hide_argument(secret: str) -> None:
    """Overwrite `secret` in our own command line as other users see it (Linux; elsewhere nothing happens)."""
    if not secret:
        return
    needle = os.fsencode(secret)
    try:
        with open("/proc/self/stat", "rb") as stat:
            # Fields 48 and 49 of proc(5), counted behind the program's name, which may hold anything.
            start, end = (int(word) for word in stat.read().rpartition(b")")[2].split()[45:47])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            at = arguments.find(needle)
            while at >= 0:
                memory.seek(start + at)
                memory.write(b"*" * len(needle))
                at = arguments.find(needle, at + len(needle))
    except (OSError, ValueError):
        pass


async def connect_through(
    loop: Loop,
    proxies: Sequence[Proxy],
    endpoint: Endpoint,
    dial_tcp: DialTcp,
    deadline: float | None,
    report: Report,
    *,
    tls: "TlsSettings | None" = None,
    family: int = 0,
    numeric: bool = False,
    idle: float | None = None,
) -> Channel:
    """A channel to `endpoint` through all of `proxies`.

    `tls` are the user's TLS settings, of which https:// proxies use the trust. `family` and `numeric` are for
    names that we look up for proxies that do not. Raises IntegrityError for refused credentials, TimedOut at
    the deadline and when a proxy is silent for `idle` seconds, else NetworkError.
    """
    route = _Route(loop, proxies, dial_tcp, deadline, report)
    route.tls, route.family, route.numeric, route.idle = tls, family, numeric, idle
    last: Refused | None = None
    for host, port in await route.targets(proxies[-1], endpoint.host, endpoint.port):
        try:
            return await route.through(len(proxies) - 1, host, port)
        except Refused as error:
            last = error
    assert last is not None
    raise last


class _Route:
    """The way through a chain, with what was learnt about each proxy on it."""

    def __init__(
        self,
        loop: Loop,
        proxies: Sequence[Proxy],
        dial_tcp: DialTcp,
        deadline: float | None,
        report: Report,
    ) -> None:
        self.loop = loop
        self.proxies = proxies
        self.dial_tcp = dial_tcp
        self.deadline = deadline
        self.report = report
        self.tls: TlsSettings | None = None
        self.family = 0
        self.numeric = False
        self.idle: float | None = None
        self._logins = [Login(proxy.credential, ClientNonce()) for proxy in proxies]

    async def through(self, index: int, host: str, port: int) -> Channel:
        """A channel to `host`:`port` through the proxies up to that one."""
        proxy = self.proxies[index]
        for _ in range(_RECONNECTS):
            self.report(Event("connecting", {"address": host, "port": port, "proxy": str(proxy)}))
            channel = await self._reach(index)
            login = self._logins[index]
            if await _ask(self.loop, channel, proxy, (host, port), login, self.deadline, self.idle):
                channel.peer = Endpoint("tcp", host, port).address  # whom errors from here on are about
                return channel
        raise NetworkError(f"proxy {proxy}: it closes the connection again and again")

    async def _reach(self, index: int) -> Channel:
        """A channel on which that proxy listens for requests."""
        proxy = self.proxies[index]
        if index == 0:
            try:
                channel: Channel = await self.dial_tcp(proxy.host, proxy.port, self.deadline)
            except (NetworkError, TimedOut) as error:  # its address is not what the user asked for
                raise type(error)(f"proxy {proxy}: {error.message}", hint=error.hint) from None
        else:
            before = self.proxies[index - 1]
            host, port = (await self.targets(before, proxy.host, proxy.port))[0]
            channel = await self.through(index - 1, host, port)
        if proxy.scheme != "https":
            return channel
        from pync.transport.tls import TlsSettings, start_tls

        trust = (self.tls or TlsSettings()).for_proxy()
        limit = _limit(self.loop, self.deadline)
        secured = await start_tls(
            self.loop, channel, trust, server=False, name=proxy.host, deadline=limit, idle=self.idle
        )
        self.report(Event("secured", {**secured.secured(), "proxy": str(proxy)}))
        return secured

    async def targets(self, proxy: Proxy, host: str, port: int | str) -> list[tuple[str, int]]:
        """What to ask `proxy` for: the name, or where it takes none every address of it."""
        import socket

        number = port_number(port, socket.SOCK_STREAM, numeric=self.numeric)
        if is_literal(host) or takes_names(proxy):
            return [(host, number)]
        family = 4 if proxy.scheme == "socks4" else self.family
        endpoint = Endpoint("tcp", host, number)
        try:
            found = await self.loop.call_in_thread(
                lambda: resolve(endpoint, family=family, numeric=self.numeric), deadline=self.deadline
            )
        except TimeoutError:
            raise TimedOut(f"{host}: name look-up took too long") from None
        return [(address.sockaddr[0], number) for address in found]


def _drop(loop: Loop, channel: Channel) -> None:
    channel.detach(loop)
    channel.close()


def _limit(loop: Loop, deadline: float | None) -> float:
    own = loop.now() + HANDSHAKE_SECONDS
    return own if deadline is None else min(own, deadline)


async def _ask(
    loop: Loop,
    channel: Channel,
    proxy: Proxy,
    target: tuple[str, int],
    login: Login,
    deadline: float | None,
    idle: float | None,
) -> bool:
    """Run the handshake of `proxy`. True: the tunnel stands. False: closed, try on a new connection."""
    doing = f"proxy {proxy}"
    limit = _limit(loop, deadline)
    try:
        outcome = await drive(loop, channel, _handshake(proxy, target, login), limit, idle)
    except TimeoutError:
        _drop(loop, channel)
        asked_for = limit == deadline or loop.now() < limit  # else our own limit, not one that the user set
        kind: type[PyncError] = TimedOut if asked_for else NetworkError
        raise kind(f"{doing}: no complete answer in time") from None
    except PyncError as error:
        _drop(loop, channel)
        raise type(error)(_about(doing, target, error), hint=error.hint) from None
    except OSError as error:
        _drop(loop, channel)
        raise translate(error, doing) from None
    except BaseException:
        _drop(loop, channel)
        raise
    if isinstance(outcome, Again):
        _drop(loop, channel)
        return False
    return True


def _about(doing: str, target: tuple[str, int], error: PyncError) -> str:
    if isinstance(error, UsageError):
        return error.message
    return f"{doing}: connect {authority(*target)}: {error.message}"


def _handshake(proxy: Proxy, target: tuple[str, int], login: Login) -> Handshake[Again | None]:
    host, port = target
    if proxy.scheme in ("http", "https"):
        return (yield from connect(host, port, login))
    speak = socks4 if proxy.scheme.startswith("socks4") else socks5
    yield from speak(host, port, proxy.credential)
    return None


async def drive(
    loop: Loop,
    channel: Channel,
    handshake: Handshake[Result],
    deadline: float | None,
    idle: float | None = None,
) -> Result:
    """Run `handshake` over `channel` to its result; raises what it raises, TimeoutError and OSError."""
    try:
        step = next(handshake)
        while True:
            try:
                answer = await _perform(loop, channel, step, deadline, idle)
            except ConnectionError:
                step = handshake.throw(PeerClosed("it reset the connection"))
            except PeerClosed as error:
                step = handshake.throw(error)
            else:
                step = handshake.send(answer)
    except StopIteration as stop:
        result: Result = stop.value
        return result


async def _perform(
    loop: Loop, channel: Channel, step: Step, deadline: float | None, idle: float | None
) -> bytes:
    if isinstance(step, Write):
        await write_all(loop, channel, step.data, sooner(loop, deadline, idle))
        return b""
    return bytes(await _read(loop, channel, step, deadline, idle))


async def _read(
    loop: Loop, channel: Channel, step: Read, deadline: float | None, idle: float | None
) -> bytearray:
    data = bytearray()
    while size := wanted(step, data):
        view = memoryview(bytearray(size))
        count = await read_some(loop, channel, view, sooner(loop, deadline, idle))
        if count is None:
            where = "in the middle of its answer" if data else "before it answered"
            raise PeerClosed(f"it closed the connection {where}")
        data += view[:count]
    return data
