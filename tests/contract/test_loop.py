"""The loop: readiness, time, coroutines, threads and signals; with epoll, with poll and with select."""

import os
import select
import signal
import socket
import struct
import threading
import time

import pytest

from pync import threads
from pync.errors import Interrupted, LimitReached
from pync.loop import READ, WRITE, Loop
from pync.portable import poller
from tests.harness import PATIENCE


@pytest.fixture(params=["epoll", "poll", "select"])
def loop(request, monkeypatch):
    lacking = {"epoll": [], "poll": ["epoll"], "select": ["epoll", "poll"]}[request.param]
    for name in lacking:
        monkeypatch.delattr(select, name)
    # What lives with select only keeps its descriptors below the end of a set: not this whole process.
    monkeypatch.setattr(poller, "_keep_descriptors_below", lambda most: None)
    made = Loop()
    monkeypatch.undo()
    yield made
    made.close()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def soon(loop):
    return loop.now() + PATIENCE


# descriptors


def test_wait_tells_what_is_ready(loop, pair):
    ours, theirs = pair
    assert loop.run(loop.wait(ours.fileno(), WRITE, soon(loop))) == WRITE
    theirs.send(b"x")
    assert loop.run(loop.wait(ours.fileno(), READ, soon(loop))) == READ


def test_wait_is_0_at_the_deadline(loop, pair):
    start = time.monotonic()
    assert loop.run(loop.wait(pair[0].fileno(), READ, loop.now() + 0.05)) == 0
    assert time.monotonic() - start >= 0.05


def test_the_end_of_the_other_side_is_readable(loop, pair):
    ours, theirs = pair
    theirs.close()
    assert loop.run(loop.wait(ours.fileno(), READ, soon(loop))) == READ


def test_wait_any_gives_the_ready_one(loop, pair):
    ours, theirs = pair
    other, _ = others = socket.socketpair()
    with others[0], others[1]:
        theirs.send(b"x")
        assert loop.run(loop.wait_any([(other.fileno(), READ), (ours.fileno(), READ)], soon(loop))) == [
            (ours.fileno(), READ)
        ]
        assert loop.run(loop.wait_any([(other.fileno(), READ)], loop.now())) == []


def test_callbacks_are_level_triggered_until_stopped(loop, pair):
    ours, theirs = pair
    theirs.send(b"abc")
    done = loop.flag()
    seen = []

    def readable():
        seen.append(ours.recv(1))
        if len(seen) == 3:
            loop.watch_read(ours.fileno(), None)
            done.set()

    loop.watch_read(ours.fileno(), readable)
    assert loop.run(done.wait(soon(loop)))
    theirs.send(b"d")
    loop.run(loop.sleep_until(loop.now() + 0.02))
    assert seen == [b"a", b"b", b"c"]


def test_both_directions_of_one_descriptor(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    read, written = loop.flag(), loop.flag()
    loop.watch_read(ours.fileno(), lambda: (read.set(), loop.watch_read(ours.fileno(), None)))
    loop.watch_write(ours.fileno(), lambda: (written.set(), loop.watch_write(ours.fileno(), None)))
    assert loop.run(read.wait(soon(loop)))
    assert loop.run(written.wait(soon(loop)))


def test_regular_files_and_dev_null_are_always_ready(loop, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", "/dev/null"):
        fd = os.open(path, os.O_RDWR)
        assert loop.run(loop.wait(fd, READ, soon(loop))) == READ
        assert loop.run(loop.wait(fd, WRITE, soon(loop))) == WRITE
        loop.forget(fd)
        os.close(fd)


def test_a_callback_may_forget_another_ready_descriptor(loop, pair):
    ours, theirs = pair
    other, others = socket.socketpair()
    with other, others:
        theirs.send(b"x")
        others.send(b"x")
        called = []

        def first(mine, its):
            called.append(mine)
            loop.forget(its)
            loop.forget(mine)

        loop.watch_read(ours.fileno(), lambda: first(ours.fileno(), other.fileno()))
        loop.watch_read(other.fileno(), lambda: first(other.fileno(), ours.fileno()))
        loop.run(loop.sleep_until(loop.now() + 0.05))
        assert len(called) == 1


def test_a_descriptor_number_can_be_used_again(loop):
    for _ in range(3):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"x")
            assert loop.run(loop.wait(ours.fileno(), READ, soon(loop))) == READ
            loop.forget(ours.fileno())


def test_errors_are_told_without_interest_in_bytes(loop, pair):
    if type(loop._poller) is poller.SelectPoll:
        pytest.skip("select does not tell of an end behind unread bytes")
    ours, theirs = pair
    broken = loop.flag()
    loop.watch_error(ours.fileno(), broken.set)
    theirs.send(b"data is no error")
    assert not loop.run(broken.wait(loop.now() + 0.05))
    theirs.close()
    assert loop.run(broken.wait(soon(loop)))
    loop.forget(ours.fileno())


def test_a_reset_is_told_without_interest_in_bytes(loop):
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs = server.accept()[0]
    with ours, theirs:
        broken = loop.flag()
        loop.watch_error(ours.fileno(), broken.set)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        assert loop.run(broken.wait(soon(loop)))
        loop.forget(ours.fileno())


# time


def test_timers_fire_in_order_and_not_early(loop):
    fired = []
    start = loop.now()
    for delay in (0.03, 0.01, 0.02):
        loop.call_later(delay, lambda delay=delay: fired.append((delay, loop.now() - start)))
    loop.run(loop.sleep_until(start + 0.05))
    assert [delay for delay, _ in fired] == [0.01, 0.02, 0.03]
    assert all(at >= delay for delay, at in fired)


def test_a_cancelled_timer_does_not_fire(loop):
    fired = []
    loop.call_later(0.01, lambda: fired.append("kept"))
    timer = loop.call_later(0.005, lambda: fired.append("cancelled"))
    timer.cancel()
    timer.cancel()
    loop.run(loop.sleep_until(loop.now() + 0.02))
    assert fired == ["kept"]


def test_soon_is_before_any_waiting_and_in_order(loop):
    called, over = [], loop.flag()
    loop.call_soon(lambda: (called.append(1), loop.call_soon(lambda: (called.append(3), over.set()))))
    loop.call_soon(lambda: called.append(2))
    loop.run(over.wait(loop.now() + PATIENCE))
    assert called == [1, 2, 3]


# coroutines


def test_the_result_and_the_error_of_a_coroutine(loop):
    async def gives():
        await loop.sleep_until(loop.now())
        return 42

    async def fails():
        await loop.sleep_until(loop.now())
        raise KeyError("mine")

    assert loop.run(gives()) == 42
    with pytest.raises(KeyError):
        loop.run(fails())


def test_a_task_can_be_joined_by_several(loop):
    async def slow():
        await loop.sleep_until(loop.now() + 0.01)
        return "done"

    async def main():
        task = loop.spawn(slow())
        joins = [loop.spawn(join(task)) for _ in range(3)]
        return [await one for one in joins] + [await task]

    async def join(task):
        return await task

    assert loop.run(main()) == ["done"] * 4


def test_a_cancelled_task_cleans_up_and_waits_no_more(loop, pair):
    ours, theirs = pair
    steps = []

    async def waits():
        try:
            await loop.wait(ours.fileno(), READ)
        finally:
            steps.append("cleaned up")

    async def main():
        task = loop.spawn(waits())
        task.on_done(lambda _: None)  # somebody looks at its failure
        task.cancel(TimeoutError())
        assert task.done
        with pytest.raises(TimeoutError):
            task.result()
        theirs.send(b"x")
        await loop.sleep_until(loop.now() + 0.02)

    loop.run(main())
    assert steps == ["cleaned up"]


def test_a_failure_nobody_looks_at_ends_the_run(loop):
    async def fails():
        raise KeyError("lost")

    async def main():
        loop.spawn(fails())
        await loop.sleep_until(soon(loop))

    with pytest.raises(KeyError):
        loop.run(main())


def test_a_failure_nobody_looks_at_ends_the_run_that_ends_by_itself_at_the_same_time(loop):
    flag = loop.flag()

    async def fails():
        await loop.sleep_until(loop.now())
        flag.set()  # the main coroutine ends in this very turn
        raise KeyError("lost")

    async def main():
        loop.spawn(fails())
        await flag.wait()

    with pytest.raises(KeyError):
        loop.run(main())


def test_the_failure_of_the_coroutine_itself_counts_first(loop):
    flag = loop.flag()

    async def fails():
        await loop.sleep_until(loop.now())
        flag.set()
        raise KeyError("lost")

    async def main():
        loop.spawn(fails())
        await flag.wait()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run(main())
    loop.run(loop.sleep_until(loop.now()))  # and the other is not told to a later run


def test_a_failing_callback_is_raised_in_the_coroutine(loop):
    cleaned = []

    async def main():
        try:
            await loop.sleep_until(soon(loop))
        finally:
            cleaned.append(True)

    def boom():
        raise ZeroDivisionError

    loop.call_soon(boom)
    with pytest.raises(ZeroDivisionError):
        loop.run(main())
    assert cleaned


def test_a_flag_wakes_everybody_and_stays_set(loop):
    flag = loop.flag()
    loop.call_later(0.01, flag.set)

    async def main():
        waits = [loop.spawn(flag.wait(soon(loop))) for _ in range(3)]
        return [await one for one in waits] + [await flag.wait()]

    assert loop.run(main()) == [True] * 4


# threads


def test_a_call_in_a_thread_does_not_stop_the_loop(loop):
    release = threading.Event()
    loop.call_later(0.02, release.set)
    assert (
        loop.run(loop.call_in_thread(lambda: release.wait(PATIENCE) and "answer", deadline=soon(loop)))
        == "answer"
    )


def test_a_call_in_a_thread_raises_what_it_raised(loop):
    with pytest.raises(OSError, match="look-up"):
        loop.run(loop.call_in_thread(raises, OSError("look-up failed")))


def raises(error):
    raise error


def test_a_call_in_a_thread_has_a_deadline(loop):
    release = threading.Event()
    with pytest.raises(TimeoutError):
        loop.run(loop.call_in_thread(release.wait, deadline=loop.now() + 0.02))
    release.set()


def test_a_thread_that_cannot_be_started_is_told_and_leaves_nothing_open(loop, monkeypatch):
    def fail(*_):
        raise RuntimeError("can't start new thread")

    pair = socket.socketpair()
    monkeypatch.setattr(threads, "start_new_thread", fail)
    monkeypatch.setattr(threads, "socketpair", lambda: pair)
    with pytest.raises(LimitReached, match="start a thread"):
        loop.run(loop.call_in_thread(int))
    assert [end.fileno() for end in pair] == [-1, -1]


# signals


def test_a_caught_signal_is_raised_where_the_coroutine_waits(loop):
    cleaned = []

    async def main():
        try:
            await loop.sleep_until(soon(loop))
        finally:
            cleaned.append(True)

    loop.on_signal(signal.SIGUSR1)
    loop.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(Interrupted) as caught:
        loop.run(main())
    assert caught.value.signum == signal.SIGUSR1
    assert cleaned


def test_a_signal_with_an_action_calls_it_from_the_loop(loop):
    flag = loop.flag()
    loop.on_signal(signal.SIGUSR1, flag.set)
    loop.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert loop.run(flag.wait(soon(loop)))


def test_an_ignored_signal_stays_ignored(loop):
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        loop.on_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGUSR1)
        loop.run(loop.sleep_until(loop.now() + 0.01))
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_closing_gives_handlers_and_descriptors_back():
    before = signal.getsignal(signal.SIGUSR1)
    open_before = len(os.listdir("/proc/self/fd"))
    made = Loop()
    made.on_signal(signal.SIGUSR1)
    made.run(made.call_in_thread(int))
    made.close()
    assert signal.getsignal(signal.SIGUSR1) is before
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_ten_thousand_idle_watches_cost_a_wake_up_nothing():
    """O(ready): the time of a thousand wake-ups does not depend on how many others are watched."""

    def thousand(idle):
        loop = Loop()
        reader, writer = os.pipe()
        for fd in idle:
            loop.watch_read(fd, lambda: None)

        async def main():
            for _ in range(1000):
                os.write(writer, b"x")
                await loop.wait(reader, READ)
                os.read(reader, 1)

        start = time.process_time()
        loop.run(main())
        spent = time.process_time() - start
        for fd in idle:
            loop.forget(fd)
        loop.close()
        os.close(reader)
        os.close(writer)
        return spent

    base, other = os.pipe()
    many = [os.dup(base) for _ in range(900)]
    try:
        few = min(thousand([]) for _ in range(3))
        assert min(thousand(many) for _ in range(3)) < few * 3 + 0.05
    finally:
        for fd in (base, other, *many):
            os.close(fd)
