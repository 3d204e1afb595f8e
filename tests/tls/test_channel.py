"""The laws of a channel under TLS: short reads and writes, the end, truncation, damage, TLS in TLS."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pync.errors import IntegrityError, NetworkError, TimedOut
from pync.loop import Loop
from pync.transport.channel import WANT_READ, WANT_WRITE, Channel, read_some, ready, write_all
from pync.transport.stream import StreamSocket
from pync.transport.tls import start_tls
from tests.tls.pairs import (
    TlsChannel,
    TlsSettings,
    both,
    drop,
    read_to_end,
    say_eof,
    shake,
    sockets,
    version_of,
)

TRUSTING = TlsSettings(insecure=True)
SERVER = TlsSettings()
Pair = tuple[TlsChannel, TlsChannel]


class Narrow(Channel):
    """Another channel through a slit: so many bytes a call, and some of them wrong if asked for."""

    def __init__(self, inner: Channel, most: int) -> None:
        self.inner, self.most = inner, most
        self.read_fd, self.write_fd = inner.read_fd, inner.write_fd
        self.damage = False
        self.full = False

    def read_into(self, view: memoryview) -> int | None:
        count = self.inner.read_into(view[: self.most])
        if self.damage and count is not None and count > 0:
            view[count - 1] ^= 1
        return count

    def write(self, view: memoryview) -> int:
        return WANT_WRITE if self.full else self.inner.write(view[: self.most])

    def send_eof(self) -> int:
        return self.inner.send_eof()

    def close(self) -> None:
        self.inner.close()

    def reset(self) -> None:
        self.inner.reset()


def run(
    loop: Loop,
    body: Callable[[TlsChannel, TlsChannel], Awaitable[Any]],
    *,
    over: tuple[Channel, Channel] | None = None,
    client: TlsSettings = TRUSTING,
    server: TlsSettings = SERVER,
) -> Any:
    """`body(client, server)` with a fresh pair."""

    async def inside() -> Any:
        mine, theirs = await shake(loop, client, server, over=over)
        assert isinstance(mine, TlsChannel), mine
        assert isinstance(theirs, TlsChannel), theirs
        try:
            return await body(mine, theirs)
        finally:
            drop(loop, mine, theirs)

    return loop.run(inside())


async def send(loop: Loop, channel: Channel, data: bytes) -> None:
    await write_all(loop, channel, data, loop.now() + 10)
    await say_eof(loop, channel)


@pytest.mark.parametrize("most", [1, 8, 1000, 1 << 20])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_directions_through_a_slit(loop: Loop, most: int, version: ssl.TLSVersion) -> None:
    data = bytes(range(256)) * (40 if most < 100 else 4000)
    near, far = sockets()

    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        sent = await both(
            loop,
            write_all(loop, mine, data, loop.now() + 20),
            write_all(loop, theirs, data[::-1], loop.now() + 20),
            _read(loop, mine, len(data)),
            _read(loop, theirs, len(data)),
        )
        assert sent == [None, None, data[::-1], data]

    server = version_of(TlsSettings(), version, server=True)
    run(loop, body, over=(Narrow(near, most), Narrow(far, most)), server=server)


async def _read(loop: Loop, channel: Channel, size: int) -> bytes:
    data = bytearray()
    view = memoryview(bytearray(10_000))
    while len(data) < size:
        count = await read_some(loop, channel, view[: size - len(data)], loop.now() + 20)
        assert count, "it ended early"
        data += view[:count]
    return bytes(data)


def test_tls_1_3_goes_on_after_our_end(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        assert mine.half_close
        await write_all(loop, theirs, b"early ")  # on the wire when our end is said
        await send(loop, mine, b"request")
        assert await read_to_end(loop, theirs) == b"request"
        await send(loop, theirs, b"reply" * 100_000)
        assert await read_to_end(loop, mine) == b"early " + b"reply" * 100_000

    run(loop, body)


def test_an_end_with_unread_data_of_the_peer_loses_nothing(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        data = bytes(range(256)) * 3000
        task = loop.spawn(send(loop, theirs, data))
        await read_some(loop, mine, memoryview(bytearray(1)))
        await say_eof(loop, mine)
        assert data.endswith(await read_to_end(loop, mine))
        await task
        assert await read_to_end(loop, theirs) == b""

    run(loop, body)


def test_tls_1_2_says_that_it_cannot(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        assert not mine.half_close
        assert not theirs.half_close
        await send(loop, mine, b"all")
        assert await read_to_end(loop, theirs) == b"all"
        await say_eof(loop, theirs)
        assert await read_to_end(loop, mine) == b""

    run(loop, body, server=version_of(TlsSettings(), ssl.TLSVersion.TLSv1_2, server=True))


def test_send_eof_is_idempotent(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        for _ in range(3):
            await say_eof(loop, mine)
        assert await read_to_end(loop, theirs) == b""
        assert theirs.read_into(memoryview(bytearray(5))) is None
        drop(loop, theirs)
        assert mine.send_eof() == 0

    run(loop, body)


def test_an_end_that_waits_for_room_is_not_acknowledged(loop: Loop) -> None:
    near, far = sockets()
    slit = Narrow(near, 1 << 20)

    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        slit.full = True
        assert mine.send_eof() == WANT_WRITE
        assert mine.unacknowledged() > 0
        slit.full = False
        assert mine.send_eof() == 0
        assert mine.unacknowledged() == 0
        assert await read_to_end(loop, theirs) == b""

    run(loop, body, over=(slit, far))


def test_a_stream_that_was_cut_is_truncated(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        await write_all(loop, theirs, b"half of it")
        drop(loop, theirs)
        view = memoryview(bytearray(100))
        assert await read_some(loop, mine, view) == 10
        for _ in range(2):
            with pytest.raises(IntegrityError, match="truncated") as caught:
                await read_some(loop, mine, view)
            assert "--tls-allow-truncation" in (caught.value.hint or "")

    run(loop, body)


def test_truncation_can_be_allowed(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        await write_all(loop, theirs, b"half of it")
        drop(loop, theirs)
        assert await read_to_end(loop, mine) == b"half of it"

    run(loop, body, client=TlsSettings(insecure=True, allow_truncation=True))


def test_a_reset_is_a_reset(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        theirs.detach(loop)
        theirs.reset()
        theirs.reset()
        with pytest.raises(ConnectionResetError):
            await read_to_end(loop, mine)

    run(loop, body)


def test_damaged_records_are_wrong_bytes(loop: Loop) -> None:
    near, far = sockets()
    slit = Narrow(near, 1 << 20)

    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        await write_all(loop, theirs, b"good")
        assert await _read(loop, mine, 4) == b"good"
        slit.damage = True
        await write_all(loop, theirs, b"bad")
        with pytest.raises(IntegrityError, match="wrong bytes"):
            await read_to_end(loop, mine)

    run(loop, body, over=(slit, far))


def test_garbage_instead_of_a_record_is_wrong_bytes(loop: Loop) -> None:
    near, far = sockets()

    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        await write_all(loop, far, b"GET / HTTP/1.0\r\n\r\n" * 10)
        with pytest.raises(IntegrityError, match="wrong bytes"):
            await read_to_end(loop, mine)

    run(loop, body, over=(near, far))


def test_buffered_tells_of_bytes_and_of_an_end_that_no_poll_sees(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        await send(loop, theirs, b"x" * 1000)
        await ready(loop, mine, WANT_READ)
        view = memoryview(bytearray(999))
        assert mine.read_into(view) == 999
        assert mine.buffered
        assert mine.read_into(view) == 1
        while (count := mine.read_into(view)) == WANT_READ:
            await ready(loop, mine, WANT_READ)
        assert count is None
        assert mine.buffered == 0

    run(loop, body)


def test_an_end_right_behind_the_data_is_buffered(loop: Loop) -> None:
    near, far = sockets()
    hold = Narrow(far, 1 << 20)

    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        hold.full = True  # data and close_notify leave together
        assert theirs.write(memoryview(b"data")) == WANT_WRITE
        hold.full = False
        assert theirs.write(memoryview(b"data")) == 4
        await say_eof(loop, theirs)
        await ready(loop, mine, WANT_READ)
        view = memoryview(bytearray(100))
        assert await read_some(loop, mine, view) == 4
        if mine.buffered:
            assert mine.read_into(view) is None
        else:
            assert await read_some(loop, mine, view) is None

    run(loop, body, over=(near, hold))


@given(st.lists(st.integers(200, 50_000), min_size=1, max_size=6), st.integers(0, 3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_write_that_had_to_wait_counts_each_byte_once(loop: Loop, sizes: list[int], refusals: int) -> None:
    """The caller offers the same bytes again, but may cut them anew each time, as a rate limit does."""
    data = bytes(i % 251 for i in range(120_000))
    near, far = sockets()
    slit = Narrow(near, 1 << 20)

    async def write() -> None:
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            slit.full = turn % (refusals + 1) != 0
            count = mine_box[0].write(memoryview(data)[at : at + size])
            slit.full = False
            turn += 1
            if count >= 0:
                assert 0 < count <= size
                at += count
            else:
                await ready(loop, mine_box[0], count, loop.now() + 10)
        await say_eof(loop, mine_box[0])

    mine_box: list[TlsChannel] = []

    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        mine_box.append(mine)
        written, read = await both(loop, write(), read_to_end(loop, theirs))
        assert written is None, written
        assert read == data

    run(loop, body, over=(slit, far))


def test_backpressure_reaches_the_writer(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        block = memoryview(bytearray(1 << 18))
        sent = 0
        while (count := mine.write(block)) >= 0:
            sent += count
        assert count == WANT_WRITE
        assert 0 < sent < 64 << 20
        reader = loop.spawn(read_to_end(loop, theirs))
        await write_all(loop, mine, block)
        await say_eof(loop, mine)
        assert len(await reader) == sent + len(block)

    run(loop, body)


def test_tls_inside_tls(loop: Loop) -> None:
    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        inner, outer = await shake(loop, TRUSTING, SERVER, over=(mine, theirs))
        assert isinstance(inner, TlsChannel)
        data = bytes(range(256)) * 5000
        results = await both(loop, send(loop, inner, data), read_to_end(loop, outer))
        assert results == [None, data]
        await send(loop, outer, b"back")
        assert await read_to_end(loop, inner) == b"back"

    run(loop, body)


def test_an_alert_that_comes_while_we_write_is_the_reason(loop: Loop) -> None:
    """The peer refuses and closes while we send: not "broken pipe", but what it said."""

    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        theirs._tls.write(b"x")
        record = bytearray(theirs._outgoing.read())
        record[-1] ^= 1  # mine refuses this one with an alert
        await write_all(loop, theirs._inner, bytes(record))
        with pytest.raises(IntegrityError):
            await read_to_end(loop, mine)
        drop(loop, mine)
        with pytest.raises((NetworkError, IntegrityError)):
            await write_all(loop, theirs, bytes(64 << 20), loop.now() + 5)

    run(loop, body)


def test_small_records_are_not_held_back(loop: Loop) -> None:
    """With Nagle's algorithm a client's first record waits 40 ms for a delayed acknowledgement."""
    near, far = sockets()

    async def body(mine: TlsChannel, theirs: TlsChannel) -> None:
        for sock in (near.sock, far.sock):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(loop, body, over=(near, far))


# --- handshakes that fail ------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x00", b"\n" * 50_000])
def test_a_peer_that_speaks_no_tls(loop: Loop, server: bool, words: bytes) -> None:
    near, far = sockets()

    async def body() -> None:
        await write_all(loop, far, words)
        with pytest.raises(NetworkError, match="does not speak TLS"):
            await start_tls(
                loop, near, SERVER if server else TRUSTING, server=server, name="x", deadline=loop.now() + 5
            )

    loop.run(body())
    assert near.sock.fileno() == -1
    drop(loop, far)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("words", [b"", b"\x16\x03\x01"])
def test_a_peer_that_leaves_during_the_handshake(loop: Loop, server: bool, words: bytes) -> None:
    near, far = sockets()

    async def body() -> None:
        await write_all(loop, far, words)
        far.send_eof()
        with pytest.raises(NetworkError, match="closed the connection"):
            await start_tls(
                loop, near, SERVER if server else TRUSTING, server=server, name="x", deadline=loop.now() + 5
            )

    loop.run(body())
    drop(loop, far)


def test_noise_that_begins_like_tls(loop: Loop) -> None:
    for noise in (
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x16" + b"\xff" * 100,
        b"\x15\x03\x03\x00\x02\x02\x28",
    ):
        near, far = sockets()

        async def body(near: StreamSocket = near, far: StreamSocket = far, noise: bytes = noise) -> None:
            await write_all(loop, far, noise)
            with pytest.raises(NetworkError) as caught:
                await start_tls(loop, near, TRUSTING, server=False, name="x", deadline=loop.now() + 5)
            assert "\n" not in caught.value.message

        loop.run(body())
        drop(loop, far)


@pytest.mark.parametrize("server", [False, True])
def test_a_mute_peer_is_left_at_the_deadline(loop: Loop, server: bool) -> None:
    near, far = sockets()

    async def body() -> None:
        with pytest.raises(TimedOut, match="handshake"):
            await start_tls(
                loop, near, SERVER if server else TRUSTING, server=server, name="x", deadline=loop.now() + 0.1
            )

    loop.run(body())
    assert near.sock.fileno() == -1
    drop(loop, far)
