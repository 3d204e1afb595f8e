"""The laws of a channel (pync/transport/channel.py), held by every kind of them."""

import contextlib
import os
import threading

import pytest

from pync.errors import PyncError
from pync.transport.channel import CHUNK, WANT_READ, WANT_WRITE, read_some, ready, sooner, write_all
from tests.contract.kinds import BUSY, DATAGRAMS, HALF_CLOSING, RESETTABLE, STREAMS, THREADED
from tests.contract.played import PlayedLoop
from tests.harness import PATIENCE, has_ipv6, pattern

BULK = pattern(3_000_000)
SIZES = [1, 0, 1400, 1400, 700, 0, 9000, 65_507, 3]


@pytest.fixture
def made(request, loop, tmp_path):
    """(channel, peer) of the kind in the parameter; both closed with the test, no descriptor left."""
    if "6" in request.param and not has_ipv6():
        pytest.skip("no IPv6 loopback here")
    make = (STREAMS | DATAGRAMS)[request.param]
    with make(loop, str(tmp_path)) as (channel, peer):
        yield channel, peer
        channel.detach(loop)
        channel.close()
        peer.close()


streams = pytest.mark.parametrize("made", STREAMS, indirect=True)
threaded = pytest.mark.parametrize("made", THREADED, indirect=True)
datagrams = pytest.mark.parametrize("made", DATAGRAMS, indirect=True)
every = pytest.mark.parametrize("made", [*STREAMS, *DATAGRAMS], indirect=True)


def deadline(loop):
    return loop.now() + PATIENCE


def read(loop, channel, count):
    """`count` bytes, or all until the end."""

    async def reading():
        data = bytearray()
        view = memoryview(bytearray(CHUNK))
        while len(data) < count:
            got = await read_some(loop, channel, view, deadline(loop))
            if got is None:
                break
            data += view[:got]
        return bytes(data)

    return loop.run(reading())


def write(loop, channel, data):
    loop.run(write_all(loop, channel, data, deadline(loop)))


@contextlib.contextmanager
def meanwhile(action, *arguments):
    """`action` in another thread; its result is in the list."""
    result = []
    thread = threading.Thread(target=lambda: result.append(action(*arguments)), daemon=True)
    thread.start()
    yield result
    thread.join(PATIENCE)
    assert result, "the peer did not finish"


# reading


@every
def test_nothing_there_is_not_now(made):
    channel, _ = made
    assert channel.read_into(memoryview(bytearray(10))) == WANT_READ


@every
def test_not_now_tells_the_readiness_that_helps(loop, made):
    channel, peer = made
    assert channel.read_into(memoryview(bytearray(10))) == WANT_READ
    loop.call_later(0.01, lambda: peer.send(b"now"))
    loop.run(ready(loop, channel, WANT_READ, deadline(loop)))
    assert read(loop, channel, 3) == b"now"


@every
def test_waiting_stops_at_the_deadline(loop, made):
    channel, _ = made
    with pytest.raises(TimeoutError):
        loop.run(read_some(loop, channel, memoryview(bytearray(10)), loop.now() + 0.02))


@threaded
def test_bytes_arrive_whole_and_in_order(loop, made):
    channel, peer = made
    with meanwhile(peer.send, BULK):
        assert read(loop, channel, len(BULK)) == BULK


@streams
def test_a_view_of_one_byte_is_enough(loop, made):
    channel, peer = made
    peer.send(BULK[:300])
    view = memoryview(bytearray(1))
    data = bytearray()

    async def reading():
        while len(data) < 300:
            assert await read_some(loop, channel, view, deadline(loop)) == 1
            data.extend(view)

    loop.run(reading())
    assert data == BULK[:300]


@streams
def test_buffered_bytes_are_read_without_waiting(loop, made):
    """After one byte was read, what the channel holds inside must come out without any readiness."""
    channel, peer = made
    peer.send(BULK[:5000])
    data = bytearray(read(loop, channel, 1)[:1]) if channel.buffered else bytearray()
    view = memoryview(bytearray(1))

    async def reading():
        await ready(loop, channel, WANT_READ, deadline(loop))
        while len(data) < 5000:
            count = channel.read_into(view)
            if count == WANT_READ:
                assert channel.buffered == 0
                await ready(loop, channel, WANT_READ, deadline(loop))
            else:
                assert count == 1
                data.extend(view)

    loop.run(reading())
    assert data == BULK[:5000]


@streams
def test_the_end_is_none_again_and_again(loop, made):
    channel, peer = made
    peer.send(b"last")
    peer.end()
    assert read(loop, channel, 1000) == b"last"
    for _ in range(3):
        assert channel.read_into(memoryview(bytearray(10))) is None


# writing


@streams
def test_a_write_takes_something(made):
    channel, peer = made
    view = memoryview(b"abc")
    while view:
        count = channel.write(view)
        assert 0 < count <= len(view)
        view = view[count:]
    assert peer.receive(3) == b"abc"


@threaded
def test_a_peer_that_does_not_read_is_not_now_until_it_does(loop, made):
    channel, peer = made
    block = memoryview(BULK)
    sent = bytearray()
    for _ in range(200):
        at = len(sent) % len(block)
        count = channel.write(block[at : at + 100_000])
        if count == WANT_WRITE:
            break
        assert count > 0
        sent += block[at : at + count]
    else:
        pytest.fail("it never was full")

    async def go_on():
        await ready(loop, channel, WANT_WRITE, deadline(loop))
        at = len(sent) % len(block)
        # TLS has encrypted these bytes already: the same ones are to be offered again
        rest = block[at : at + 100_000]
        await write_all(loop, channel, rest, deadline(loop))
        return bytes(rest)

    total = len(sent) + len(block[len(sent) % len(block) :][:100_000])
    with meanwhile(peer.receive, total) as received:
        sent += loop.run(go_on())
    assert received[0] == sent


@threaded
def test_bulk_is_written_whole(loop, made):
    channel, peer = made
    with meanwhile(peer.receive, len(BULK)) as received:
        write(loop, channel, BULK)
    assert received[0] == BULK


@pytest.mark.parametrize("made", BUSY, indirect=True)
def test_both_directions_at_once(loop, made):
    channel, peer = made

    async def both():
        writing = loop.spawn(write_all(loop, channel, BULK, deadline(loop)))
        data = bytearray()
        view = memoryview(bytearray(CHUNK))
        while len(data) < len(BULK):
            data += view[: await read_some(loop, channel, view, deadline(loop))]
        await writing
        return bytes(data)

    with meanwhile(peer.receive, len(BULK)) as received, meanwhile(peer.send, BULK[::-1]):
        assert loop.run(both()) == BULK[::-1]
    assert received[0] == BULK


# the end


@pytest.mark.parametrize("made", HALF_CLOSING, indirect=True)
def test_our_end_leaves_the_other_direction_open(loop, made):
    channel, peer = made
    write(loop, channel, b"question")
    assert channel.half_close
    while want := channel.send_eof():
        loop.run(ready(loop, channel, want, deadline(loop)))
    assert peer.receive(8) == b"question"
    assert peer.receive(1) == b""
    peer.send(b"answer")
    peer.end()
    assert read(loop, channel, 100) == b"answer"


@streams
def test_our_end_after_the_peers(loop, made, request):
    channel, peer = made
    peer.end()
    assert read(loop, channel, 10) == b""
    if "tls1.2" in request.node.name:
        return  # the peer's close_notify ended both directions
    write(loop, channel, b"rest")
    assert channel.send_eof() == 0
    assert peer.receive(4) == b"rest"


@pytest.mark.parametrize("made", RESETTABLE, indirect=True)
def test_a_reset_is_an_error_after_what_had_arrived(loop, made):
    channel, peer = made
    peer.send(b"arrived")
    assert read(loop, channel, 7) == b"arrived"
    peer.reset()
    with pytest.raises((OSError, PyncError)):
        read(loop, channel, 1)


@pytest.mark.parametrize("made", ["tcp", "tcp6", "unix", "inherited"], indirect=True)
def test_writing_to_a_peer_that_is_gone_is_an_error(loop, made):
    channel, peer = made
    peer.close()
    with pytest.raises(OSError, match=r"."):
        write(loop, channel, b"x" * 1_000_000)


@pytest.mark.parametrize("made", ["tcp", "tcp6"], indirect=True)
def test_reset_tells_the_peer(made):
    channel, peer = made
    channel.write(memoryview(b"part"))
    assert peer.receive(4) == b"part"
    channel.reset()
    with pytest.raises(ConnectionResetError):
        peer.receive(1)


@pytest.mark.parametrize("made", ["tcp", "tcp6"], indirect=True)
def test_close_is_a_clean_end_even_when_guarded(made):
    channel, peer = made
    channel.guard(True)
    channel.close()
    assert peer.receive(1) == b""


@pytest.mark.parametrize("made", ["tcp", "tcp6"], indirect=True)
def test_unacknowledged_and_confirmed_count_what_the_peers_system_has(loop, made):
    channel, peer = made
    write(loop, channel, b"x" * 1000)
    assert peer.receive(1000) == b"x" * 1000

    async def acknowledged():
        while channel.unacknowledged():
            await loop.sleep_until(loop.now() + 0.001)

    loop.run(acknowledged())
    assert channel.confirmed(1000)
    assert not channel.confirmed(1001)


@every
@pytest.mark.parametrize("last", ["close", "reset"])
def test_closing_is_idempotent(loop, made, last):
    channel, _ = made
    channel.detach(loop)
    getattr(channel, last)()
    channel.close()
    channel.reset()


@pytest.mark.parametrize("kind", [*STREAMS, *DATAGRAMS])
def test_no_descriptor_is_left(loop, tmp_path, kind):
    if "6" in kind and not has_ipv6():
        pytest.skip("no IPv6 loopback here")
    before = os.listdir("/proc/self/fd")
    with (STREAMS | DATAGRAMS)[kind](loop, str(tmp_path)) as (channel, peer):
        channel.detach(loop)
        channel.close()
        peer.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


# datagrams


@datagrams
def test_each_read_is_one_datagram(loop, made):
    channel, peer = made
    payloads = [pattern(size, seed) for seed, size in enumerate(SIZES)]
    view = memoryview(bytearray(1 << 16))

    async def reading():
        for payload in payloads:
            peer.sock.send(payload)
            count = await read_some(loop, channel, view, deadline(loop))
            assert view[:count] == payload

    loop.run(reading())


@datagrams
def test_datagrams_that_wait_stay_apart(loop, made):
    """Also those which the kernel joined (GRO)."""
    channel, peer = made
    payloads = [pattern(size, seed) for seed, size in enumerate((1400, 1400, 1400, 20, 1400, 0, 5))]
    for payload in payloads:
        peer.sock.send(payload)
    view = memoryview(bytearray(1 << 16))

    async def reading():
        return [bytes(view[: await read_some(loop, channel, view, deadline(loop))]) for _ in payloads]

    assert loop.run(reading()) == payloads


@datagrams
def test_each_write_is_one_datagram(loop, made):
    channel, peer = made
    for seed, size in enumerate(SIZES):
        payload = pattern(size, seed)

        async def writing(payload=payload):
            while (count := channel.write(memoryview(payload))) == WANT_WRITE:
                await ready(loop, channel, WANT_WRITE, deadline(loop))
            return count

        assert loop.run(writing()) == size
        assert peer.receive(0) == payload


@datagrams
@pytest.mark.parametrize("total", [1000, 4096, 65_507, 65_536])
def test_a_batch_is_cut_into_datagrams_of_a_size(loop, made, total):
    channel, peer = made
    data = pattern(total)
    view = memoryview(data)
    received = []

    async def writing():
        nonlocal view
        while view:
            count = channel.write_batch(view, 1000)
            if count == WANT_WRITE:
                await ready(loop, channel, WANT_WRITE, deadline(loop))
                continue
            assert count % 1000 == 0 or count == len(view)
            view = view[count:]
            received.extend(peer.receive(0) for _ in range(-(-count // 1000)))

    loop.run(writing())
    assert b"".join(received) == data
    assert {len(one) for one in received[:-1]} <= {1000}


@datagrams
def test_boundaries_are_told(made):
    assert made[0].boundaries


@streams
def test_streams_have_no_boundaries(made):
    assert not made[0].boundaries


@pytest.mark.parametrize(
    ("deadline", "idle", "end"),
    [(None, None, None), (5.0, None, 5.0), (None, 2.0, 102.0), (103.0, 2.0, 102.0), (101.0, 2.0, 101.0)],
)
def test_a_wait_in_which_nothing_moves_ends_with_whatever_is_over_first(deadline, idle, end):
    played = PlayedLoop()
    played.time = 100.0
    assert sooner(played, deadline, idle) == end
