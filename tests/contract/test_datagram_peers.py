"""The peers of a bound datagram socket: full inboxes and queues, errors that are other people's."""

import errno
import select
import socket

import pytest

from pync.transport import peers
from pync.transport.channel import WANT_READ, WANT_WRITE
from pync.transport.peers import DatagramListener
from tests.contract.scripted import GRO_OF_2, NOT_NOW, REFUSED, TOO_LARGE, Scripted, arriving, queued, read
from tests.harness import PATIENCE


class Bound:
    """A listener, and clients of it."""

    def __init__(self, loop, family, address, **named):
        self.sock = Scripted(family, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.found = []
        self.clients = []
        self.listener = DatagramListener(loop, self.sock, self._on_peer, **named)

    def _on_peer(self, peer):
        self.found.append(peer)
        return True

    def client(self, name=("127.0.0.1", 0)):
        client = socket.socket(self.sock.family, socket.SOCK_DGRAM)
        self.clients.append(client)
        if name is not None:
            client.bind(name)
        client.settimeout(PATIENCE)
        client.connect(self.sock.getsockname())
        return client

    def meet(self, client):
        """The peer that `client` becomes; its first datagram is read."""
        client.send(b"hello")
        self.arrive()
        assert read(self.found[-1]) == b"hello"
        return self.found[-1]

    def arrive(self):
        """Take in what was sent."""
        assert select.select([self.sock], [], [], PATIENCE)[0]
        self.listener._readable()

    def refuse(self, client, peer):
        """The client goes, and the error that this makes is in the queue."""
        client.close()
        peer.write(memoryview(b"anybody?"))
        poll = select.poll()
        poll.register(self.sock, 0)
        assert poll.poll(PATIENCE * 1000), "no refusal came"


@pytest.fixture
def bind(loop):
    made = []

    def make(family=socket.AF_INET, address=("127.0.0.1", 0), **named):
        made.append(Bound(loop, family, address, **named))
        return made[-1]

    yield make
    for bound in made:
        bound.listener.close()
        bound.listener.close()
        for client in bound.clients:
            client.close()


class TestManyPeers:
    def test_a_full_inbox_loses_that_peers_datagrams_only(self, bind, monkeypatch):
        monkeypatch.setattr(peers, "_INBOX_MAX", 10)
        bound = bind()
        slow, other = bound.client(), bound.client()
        first, second = bound.meet(slow), bound.meet(other)
        for _ in range(4):
            slow.send(b"12345678")
            bound.arrive()
        other.send(b"there")
        bound.arrive()
        assert (bound.listener.lost, first.buffered) == (2, 18)
        assert [read(first) for _ in range(3)] == [b"12345678", b"12345678", WANT_READ]
        assert first.buffered == 0
        assert read(second) == b"there"

    def test_a_lost_batch_counts_its_datagrams(self, bind, monkeypatch):
        monkeypatch.setattr(peers, "_INBOX_MAX", 0)
        bound = bind()
        client = bound.client()
        peer = bound.meet(client)
        pktinfo = [(socket.IPPROTO_IP, 8, bytes(4) + socket.inet_aton("127.0.0.1") * 2)]
        for data in (b"aabbc", b"ddeef"):
            bound.sock.script.setdefault("recvmsg_into", []).append(
                arriving(data, GRO_OF_2 + pktinfo, client.getsockname())
            )
        bound.listener._readable()
        assert bound.listener.lost == 3
        assert [read(peer), read(peer)] == [b"aa", b"bb"]
        batch, size = peer.take_batch(memoryview(b""))
        assert (bytes(batch), size, peer.buffered) == (b"c", 2, 0)
        assert peer.take_batch(memoryview(b"")) is None

    def test_a_refusal_is_told_to_whom_it_is_about(self, bind):
        bound = bind()
        gone, staying = bound.client(), bound.client()
        first, second = bound.meet(gone), bound.meet(staying)
        bound.refuse(gone, first)
        assert second.write(memoryview(b"still here")) == 10
        assert staying.recv(100) == b"still here"
        with pytest.raises(ConnectionRefusedError):
            read(first)
        assert read(first) == WANT_READ  # told once
        assert read(second) == WANT_READ

    @pytest.mark.parametrize(
        "use",
        [
            lambda peer: peer.read_into(memoryview(bytearray(10))),
            lambda peer: peer.take_batch(memoryview(bytearray(10))),
            lambda peer: peer.write(memoryview(b"x")),
        ],
        ids=["read", "batch", "write"],
    )
    def test_a_refusal_comes_with_what_is_read(self, bind, use):
        bound = bind()
        gone, staying = bound.client(), bound.client()
        first, second = bound.meet(gone), bound.meet(staying)
        bound.refuse(gone, first)
        staying.send(b"more")
        bound.arrive()
        assert read(second) == b"more"
        with pytest.raises(ConnectionRefusedError):
            use(first)

    def test_news_of_a_smaller_link_is_nobodys_error(self, bind):
        bound = bind()
        client = bound.client()
        peer = bound.meet(client)
        bound.sock.script["recvmsg_into"] = [TOO_LARGE]
        bound.sock.script["recvmsg"] = [queued(client.getsockname())]
        client.send(b"next")
        bound.arrive()
        assert read(peer) == b"next"

    def test_systems_that_do_not_say_whom_an_error_is_about(self, bind, monkeypatch):
        monkeypatch.setattr(peers, "MESSAGES", False)
        bound = bind()
        client = bound.client()
        peer = bound.meet(client)
        bound.sock.script["recvmsg_into"] = [ConnectionResetError(errno.ECONNRESET, "")]
        client.send(b"next")
        bound.arrive()
        assert read(peer) == b"next"
        assert "recvmsg" not in bound.sock.calls

    def test_refusals_without_end_are_the_senders(self, bind):
        bound = bind()
        peer = bound.meet(bound.client())
        bound.sock.script["sendmsg"] = [REFUSED] * 4
        with pytest.raises(ConnectionRefusedError):
            peer.write(memoryview(b"x"))
        assert not bound.sock.script["sendmsg"]

    def test_all_who_wait_are_told_of_room(self, bind, loop):
        bound = bind()
        told = []
        waiting = [bound.meet(bound.client()) for _ in range(3)]
        bound.sock.script["sendmsg"] = [NOT_NOW]
        assert waiting[0].write(memoryview(b"x")) == WANT_WRITE
        flag = loop.flag()

        def room(index):
            told.append(index)
            for peer in waiting[index:]:
                peer.watch_write(loop, None)  # the second's takes the third's away
            if index == 1:
                flag.set()

        waiting[0].watch_write(loop, lambda: told.append(0) or waiting[0].watch_write(loop, None))
        waiting[1].watch_write(loop, lambda: room(1))
        waiting[2].watch_write(loop, lambda: room(2))
        assert loop.run(flag.wait(loop.now() + PATIENCE))
        assert told == [0, 1]
        assert not bound.listener._writers

    def test_waiting_for_a_closed_listener_is_harmless(self, bind, loop):
        bound = bind()
        peer = bound.meet(bound.client())
        bound.listener.close()
        peer.watch_write(loop, lambda: None)
        peer.watch_write(loop, None)
        assert not bound.listener._writers
        peer.close()
        peer.close()
        assert not bound.listener._peers

    def test_a_peer_that_came_anew_is_not_forgotten_for_the_old_one(self, bind):
        bound = bind()
        client = bound.client()
        old = bound.meet(client)
        old.close()
        new = bound.meet(client)
        assert new is not old
        bound.listener.gone(old)
        client.send(b"mine")
        bound.arrive()
        assert read(new) == b"mine"

    def test_a_full_queue_of_a_unix_socket_is_waited_for(self, bind, loop, tmp_path):
        bound = bind(socket.AF_UNIX, str(tmp_path / "bound"))
        client = bound.client(str(tmp_path / "client"))
        peer = bound.meet(client)
        sent = 0
        while peer.write(memoryview(b"%d" % sent)) != WANT_WRITE:
            sent += 1
        assert sent
        flag = loop.flag()

        def room():
            if peer.write(memoryview(b"%d" % sent)) != WANT_WRITE:
                flag.set()

        peer.watch_write(loop, room)
        assert client.recv(10) == b"0"
        assert loop.run(flag.wait(loop.now() + PATIENCE))
        peer.watch_write(loop, None)
        assert [client.recv(10) for _ in range(sent)] == [b"%d" % n for n in range(1, sent + 1)]

    def test_a_unix_peer_that_went_is_an_error_of_its_own(self, bind, tmp_path):
        bound = bind(socket.AF_UNIX, str(tmp_path / "bound"))
        client = bound.client(str(tmp_path / "client"))
        peer = bound.meet(client)
        client.close()
        with pytest.raises(ConnectionRefusedError):
            peer.write(memoryview(b"x"))

    def test_nobody_answers_to_nowhere(self, bind, tmp_path):
        bound = bind(socket.AF_UNIX, str(tmp_path / "bound"))
        peer = bound.meet(bound.client(None))
        assert peer.peer == "unix-dgram (unnamed)"
        with pytest.raises(OSError, match="no address to answer to"):
            peer.write(memoryview(b"x"))


class TestAlone:
    """With `exclusive`, the first peer reads from the socket itself."""

    def test_what_others_send_is_thrown_away(self, bind):
        bound = bind(exclusive=True)
        mine, other = bound.client(), bound.client()
        peer = bound.meet(mine)
        other.send(b"not for you")
        mine.send(b"one")
        mine.send(b"two")
        assert read(peer) == b"one"
        batch, size = peer.take_batch(memoryview(bytearray(100)))
        assert (bytes(batch), size) == (b"two", 3)
        assert peer.take_batch(memoryview(bytearray(100))) is None
        assert len(bound.found) == 1

    def test_its_own_refusal_and_nobody_elses(self, bind):
        bound = bind(exclusive=True)
        mine = bound.client()
        peer = bound.meet(mine)
        bound.sock.script["recvmsg_into"] = [REFUSED]
        bound.sock.script["recvmsg"] = [queued(("127.0.0.1", 1))]
        mine.send(b"one")
        assert read(peer) == b"one"
        bound.refuse(mine, peer)
        with pytest.raises(ConnectionRefusedError):
            read(peer)
        assert read(peer) == WANT_READ


def test_the_address_to_answer_from():
    v4 = [(socket.IPPROTO_IP, 8, bytes(4) + socket.inet_aton("127.0.0.9") + socket.inet_aton("127.0.0.1"))]
    group = [(socket.IPPROTO_IP, 8, bytes(8) + socket.inet_aton("239.1.2.3"))]
    six = [(socket.IPPROTO_IPV6, 50, socket.inet_pton(socket.AF_INET6, "::9") + b"\7\0\0\0")]
    link = [(socket.IPPROTO_IPV6, 50, socket.inet_pton(socket.AF_INET6, "fe80::9") + b"\7\0\0\0")]
    group6 = [(socket.IPPROTO_IPV6, 50, socket.inet_pton(socket.AF_INET6, "ff02::1") + b"\7\0\0\0")]
    hits = [peers._address_hit(ancillary) for ancillary in (v4, group, six, link, group6, GRO_OF_2)]
    assert hits[0] == bytes(4) + socket.inet_aton("127.0.0.9") + bytes(4)
    assert hits[1] == hits[4] == hits[5] == b""
    assert hits[2][-4:] == bytes(4)  # the route chooses the interface
    assert hits[3][-4:] == b"\7\0\0\0"
    assert [peers._printable(hit) for hit in hits] == ["127.0.0.9", "", "::9", "fe80::9", "", ""]
