"""The hub: who hears whom, what a port is like to its reader, and when ports end."""

import pytest

from pync.relay.hub import Hub
from pync.transport.channel import WANT_READ, WANT_WRITE
from tests.contract.hubs import BUFFER, Follower, bystanders, hear, say
from tests.contract.played import PlayedLoop


@pytest.fixture
def loop():
    return PlayedLoop()


# who hears whom


def test_local_route_joins_clients_to_our_stdio_and_not_to_one_another(loop):
    hub = Hub(loop, "local", buffer=BUFFER)
    local = hub.join_local()
    one, two = bystanders(hub, "one", "two")
    assert say(one, b"from one") == 8
    assert hear(local) == b"from one"
    assert say(local, b"to all") == 6
    assert (hear(one), hear(two), hear(local)) == (b"to all", b"to all", WANT_READ)


@pytest.mark.parametrize(("to_clients", "heard"), [("broadcast", [b"x", b"x"]), ("first", [b"x", WANT_READ])])
def test_who_gets_our_stdin(loop, to_clients, heard):
    hub = Hub(loop, "local", to_clients=to_clients, buffer=BUFFER)
    local = hub.join_local()
    ports = bystanders(hub, "one", "two")
    assert say(local, b"x") == 1
    assert [hear(port) for port in ports] == heard


def test_our_stdin_may_be_for_nobody(loop):
    hub = Hub(loop, "local", to_clients="none", buffer=BUFFER)
    local = hub.join_local()
    (one,) = bystanders(hub, "one")
    assert say(local, b"x") == WANT_WRITE
    assert hear(one) == WANT_READ


def test_the_next_client_becomes_the_first(loop):
    hub = Hub(loop, "local", to_clients="first", buffer=BUFFER)
    local = hub.join_local()
    one, two = bystanders(hub, "one", "two")
    one.close()
    say(local, b"x")
    assert hear(two) == b"x"


@pytest.mark.parametrize("with_local", [True, False])
def test_a_broker_passes_on_to_everybody_else(loop, with_local):
    hub = Hub(loop, "others", buffer=BUFFER)
    ports = bystanders(hub, "one", "two", "three")
    others = [*ports[1:], hub.join_local()] if with_local else ports[1:]
    assert say(ports[0], b"x") == 1
    assert [hear(port) for port in others] == [b"x"] * len(others)
    assert hear(ports[0]) == WANT_READ


def test_what_is_said_to_nobody_is_taken(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    (alone,) = bystanders(hub, "alone")
    assert say(alone, b"x") == 1
    without_stdio = Hub(loop, "local", buffer=BUFFER)
    (one,) = bystanders(without_stdio, "one")
    assert say(one, b"x") == 1


def test_a_chat_room_passes_lines_on_and_says_who_comes_and_goes(loop):
    hub = Hub(loop, "chat", buffer=BUFFER)
    host = hub.join_local()
    assert b"you are host" in hear(host)
    (one,) = bystanders(hub, "one")
    assert b"* user1 joined\n" in hear(host)
    welcome = hear(one)
    assert b"you are user1" in welcome
    assert b"joined" not in welcome
    assert say(one, b"hel") == 3
    assert hear(host) == WANT_READ
    assert say(one, b"lo\n") == 3
    assert hear(host) == b"<user1> hello\n"
    assert hear(one) == WANT_READ
    one.close()
    assert hear(host) == b"* user1 left\n"


def test_a_chat_room_passes_an_unfinished_line_on_at_its_end(loop):
    hub = Hub(loop, "chat", buffer=BUFFER)
    host = hub.join_local()
    (one,) = bystanders(hub, "one")
    hear(host), hear(one)
    for teller, hearer, line in ((host, one, b"<host> two\n"), (one, host, b"<user1> two\n")):
        say(teller, b"two")
        assert hear(hearer) == WANT_READ
        teller.send_eof()
        assert hear(hearer) == line
    one.close()
    assert hear(host) == b"* user1 left\n"


def test_what_was_heard_is_a_copy(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    one, two = bystanders(hub, "one", "two")
    data = bytearray(b"said")
    say(one, data)
    data[:] = b"lost"
    assert hear(two) == b"said"


# ports


def test_a_port_is_read_in_any_portions(loop):
    one, two = bystanders(Hub(loop, "others", buffer=BUFFER), "one", "two")
    for word in (b"abc", b"de", b"f"):
        say(one, word)
    assert two.buffered == 6
    assert (hear(two, 2), hear(two, 3), two.buffered) == (b"ab", b"cde", 1)
    assert (hear(two, 9), hear(two), two.buffered) == (b"f", WANT_READ, 0)


def test_a_datagram_port_gives_message_by_message(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    (one,) = bystanders(hub, "one")
    two = hub.join("two", datagrams=True)
    for word in (b"abc", b"de"):
        say(one, word)
    assert (hear(two), two.buffered, hear(two)) == (b"abc", 3, b"de")


def test_empty_datagrams_are_passed_on_in_their_turn(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    host = hub.join_local()
    one, two = hub.join("one", datagrams=True), hub.join("two", datagrams=True)
    sent = []
    two.direct = lambda view: sent.append(bytes(view)) or len(view)
    for word in (b"", b"x", b""):
        assert say(one, word) == len(word)
    assert two.buffered == 4
    assert [hear(two) for _ in range(4)] == [b"", b"x", b"", WANT_READ]
    assert two.buffered == 0
    assert (hear(host), hear(host)) == (b"x", WANT_READ)
    say(one, b"y")
    assert sent == [b"y"]


def test_a_batch_is_passed_on_as_the_datagrams_in_it(loop):
    hub = Hub(loop, "others", buffer=10)
    one, two = hub.join("one", datagrams=True), hub.join("two", datagrams=True)
    batch = memoryview(b"aabbccd")
    assert one.write_batch(batch, 2) == 4
    assert one.write_batch(batch[4:], 2) == WANT_WRITE
    assert [hear(two), hear(two)] == [b"aa", b"bb"]
    assert one.write_batch(batch[4:], 2) == 3
    assert [hear(two), hear(two)] == [b"cc", b"d"]


def test_ports_know_their_names_and_whether_they_are_datagram_channels(loop):
    hub = Hub(loop, "local", buffer=BUFFER)
    assert (hub.join("a name").name, hub.join_local().name) == ("a name", "local")
    assert hub.join("one", datagrams=True).boundaries
    assert not hub.join("two").boundaries


def test_a_reader_is_told_from_the_loop_until_nothing_is_left(loop):
    one, two = bystanders(Hub(loop, "others", buffer=BUFFER), "one", "two")
    reader = Follower(two, 2)
    loop.settle()
    assert reader.calls == 0
    say(one, b"abc")
    say(one, b"de")
    assert reader.calls == 0
    loop.settle()
    assert (bytes(reader.heard), reader.calls) == (b"abcde", 3)


@pytest.mark.parametrize(("data", "ended"), [(b"x", False), (b"", True), (b"x", True)])
def test_a_reader_who_comes_late_is_told_of_what_waits_and_of_the_end(loop, data, ended):
    one, two = bystanders(Hub(loop, "others", buffer=BUFFER), "one", "two")
    if data:
        say(one, data)
    if ended:
        two.end()
    reader = Follower(two)
    loop.settle()
    assert (bytes(reader.heard), reader.ended) == (data, ended)


def test_a_waiting_reader_is_told_of_the_end(loop):
    (one,) = bystanders(Hub(loop, "others", buffer=BUFFER), "one")
    reader = Follower(one)
    one.end()
    loop.settle()
    assert reader.ended


def test_many_messages_are_one_call(loop):
    one, two, idle = bystanders(Hub(loop, "others", buffer=BUFFER), "one", "two", "idle")
    reader = Follower(two)
    for _ in range(3):
        say(one, b"x")
    assert loop.due == 1  # nothing is called for the idle one
    loop.settle()
    assert reader.calls == 1
    assert idle.buffered == 3


def test_one_who_does_not_listen_is_not_told(loop):
    one, two = bystanders(Hub(loop, "others", buffer=BUFFER), "one", "two")
    reader = Follower(two)
    say(one, b"x")
    two.detach(loop)
    loop.settle()
    assert reader.calls == 0


def test_one_who_read_before_being_told_is_not_told(loop):
    one, two = bystanders(Hub(loop, "others", buffer=BUFFER), "one", "two")
    reader = Follower(two)
    say(one, b"x")
    assert hear(two) == b"x"
    loop.settle()
    assert reader.calls == 0


def test_the_end_comes_after_what_waits_and_nothing_after_it(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    one, two = bystanders(hub, "one", "two")
    reader = Follower(two)
    say(one, b"x")
    hub.end()
    say(one, b"too late")
    loop.settle()
    assert (bytes(reader.heard), reader.ended) == (b"x", True)


def test_the_end_is_for_everybody(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    ports = [*bystanders(hub, "one", "two"), hub.join_local()]
    hub.end()
    assert [hear(port) for port in ports] == [None] * 3


def test_a_closed_port_is_out_and_takes_nothing(loop):
    hub = Hub(loop, "chat", buffer=BUFFER)
    host = hub.join_local()
    one, two = bystanders(hub, "one", "two")
    say(two, b"kept for one\n")
    hear(host)
    one.close()
    one.close()
    assert hear(host).count(b"left") == 1
    assert one.buffered == 0
    say(two, b"x\n")
    one.enqueue(memoryview(b"by hand"))
    assert (hear(one), one.buffered) == (WANT_READ, 0)


def test_our_own_port_is_no_client(loop):
    hub = Hub(loop, "chat", buffer=BUFFER)
    host = hub.join_local()
    (one,) = bystanders(hub, "one")
    hear(one)
    host.close()
    assert hear(one) == WANT_READ


# the end of our stdin


def test_the_end_of_our_stdin_is_for_those_who_hear_it(loop):
    hub = Hub(loop, "local", buffer=BUFFER)
    local = hub.join_local()
    one, two = bystanders(hub, "one", "two")
    say(local, b"last")
    assert local.send_eof() == 0
    assert [hear(one), hear(one), hear(two), hear(two)] == [b"last", None] * 2
    (late,) = bystanders(hub, "late")
    assert hear(late) is None


def test_the_first_is_told_of_the_end_and_so_is_who_comes_after_it(loop):
    hub = Hub(loop, "local", to_clients="first", buffer=BUFFER)
    local = hub.join_local()
    one, two = bystanders(hub, "one", "two")
    local.send_eof()
    assert (hear(one), hear(two)) == (None, WANT_READ)
    one.close()
    assert hear(two) is None


@pytest.mark.parametrize("to_clients", ["broadcast", "first"])
def test_a_clients_end_is_nobody_elses(loop, to_clients):
    hub = Hub(loop, "local", to_clients=to_clients, buffer=BUFFER)
    local = hub.join_local()
    one, two = bystanders(hub, "one", "two")
    one.send_eof()
    assert [hear(port) for port in (local, one, two)] == [WANT_READ] * 3


def test_a_broker_goes_on_after_our_stdin(loop):
    hub = Hub(loop, "others", buffer=BUFFER)
    local = hub.join_local()
    (one,) = bystanders(hub, "one")
    local.send_eof()
    assert hear(one) == WANT_READ
