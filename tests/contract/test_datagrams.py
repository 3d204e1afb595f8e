"""Datagram channels where the kernel says no: full queues, refused segments, what ICMP says."""

import errno
import os
import socket
from types import SimpleNamespace

import pytest

from pync.transport import datagram
from pync.transport.channel import WANT_READ, WANT_WRITE
from pync.transport.datagram import DatagramSocket, gro_size, receiver_of, sender_of
from tests.contract.scripted import GRO_OF_2, NOT_NOW, REFUSED, TOO_LARGE, Scripted, arriving, queued, read
from tests.harness import PATIENCE


@pytest.fixture
def udp():
    """(our scripted socket, the other one), connected to each other."""
    ours = Scripted(socket.AF_INET, socket.SOCK_DGRAM)
    theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ours, theirs:
        for sock in (ours, theirs):
            sock.bind(("127.0.0.1", 0))
        ours.connect(theirs.getsockname())
        theirs.connect(ours.getsockname())
        theirs.settimeout(PATIENCE)
        yield ours, theirs


class TestOnePeer:
    @pytest.mark.parametrize("number", ["EINVAL", "EIO", "EOPNOTSUPP", "ENOPROTOOPT", "EMSGSIZE"])
    def test_segments_that_are_refused_are_not_tried_again(self, udp, number):
        ours, theirs = udp
        channel = DatagramSocket(ours)
        ours.script["sendmsg"] = [OSError(getattr(errno, number), "")]
        assert channel.write_batch(memoryview(b"aabb"), 2) == 2
        assert channel.write_batch(memoryview(b"bb"), 2) == 2
        assert channel.write_batch(memoryview(b"ccdd"), 2) == 2
        assert [theirs.recv(10) for _ in range(3)] == [b"aa", b"bb", b"cc"]
        assert ours.calls.count("sendmsg") == 1

    def test_other_refusals_are_errors(self, udp):
        channel = DatagramSocket(udp[0])
        udp[0].script["sendmsg"] = [OSError(errno.ENOBUFS, "no room")]
        with pytest.raises(OSError, match="no room"):
            channel.write_batch(memoryview(b"aabb"), 2)

    @pytest.mark.parametrize("target", [False, True])
    def test_a_full_queue_is_not_now(self, udp, target):
        ours, theirs = udp
        channel = DatagramSocket(ours, target=theirs.getsockname() if target else None)
        for name in ("send", "sendto", "sendmsg"):
            ours.script[name] = [NOT_NOW]
        assert channel.write(memoryview(b"one")) == WANT_WRITE
        assert channel.write_batch(memoryview(b"aabb"), 2) == WANT_WRITE
        assert channel.write(memoryview(b"one")) == 3
        assert theirs.recv(10) == b"one"
        assert channel.write_batch(memoryview(b"aabb"), 2) == 4
        assert [theirs.recv(10), theirs.recv(10)] == [b"aa", b"bb"]

    def test_a_batch_is_read_one_by_one(self, udp):
        channel = DatagramSocket(udp[0])
        channel._gro = True
        udp[0].script["recvmsg_into"] = [arriving(b"aabbc", GRO_OF_2)]
        assert read(channel) == b"aa"
        assert channel.buffered == 3
        assert [read(channel), read(channel)] == [b"bb", b"c"]
        assert channel.buffered == 0
        assert read(channel) == WANT_READ

    def test_the_rest_of_a_batch_is_a_batch(self, udp):
        channel = DatagramSocket(udp[0])
        channel._gro = True
        udp[0].script["recvmsg_into"] = [arriving(b"aabbc", GRO_OF_2)]
        assert read(channel) == b"aa"
        batch, size = channel.take_batch(memoryview(bytearray(100)))
        assert (bytes(batch), size) == (b"bbc", 2)
        assert channel.take_batch(memoryview(bytearray(100))) is None

    def test_a_kernel_without_offload(self, udp, monkeypatch):
        monkeypatch.setattr(datagram, "_UDP_GRO", 9999)
        ours, theirs = udp
        channel = DatagramSocket(ours)
        assert read(channel) == WANT_READ
        theirs.send(b"one")
        assert read(channel) == b"one"
        assert "recvmsg_into" not in ours.calls

    def test_news_of_a_smaller_link_is_no_error(self, udp):
        ours, theirs = udp
        channel = DatagramSocket(ours)
        for name in ("send", "sendmsg", "recvmsg_into"):
            ours.script[name] = [TOO_LARGE]
        ours.script["recvmsg"] = [queued(), NOT_NOW] * 3
        assert channel.write(memoryview(b"one")) == 3
        assert theirs.recv(10) == b"one"
        assert channel._sendmsg(memoryview(b"two"), []) == 3
        assert theirs.recv(10) == b"two"
        assert channel.take_batch(memoryview(bytearray(10))) is None

    @pytest.mark.parametrize(("error", "queue"), [(TOO_LARGE, []), (REFUSED, [queued()])])
    def test_what_is_no_news_is_raised(self, udp, error, queue):
        ours, _ = udp
        channel = DatagramSocket(ours)
        for name in ("send", "sendmsg", "recvmsg_into"):
            ours.script[name] = [error]
        for call in (
            lambda: channel.write(memoryview(b"x")),
            lambda: channel._sendmsg(memoryview(b"x"), []),
            lambda: channel.take_batch(memoryview(bytearray(10))),
        ):
            ours.script["recvmsg"] = [*queue, NOT_NOW]
            with pytest.raises(OSError, match=str(error.strerror)):
                call()
            assert not ours.script["recvmsg"], "the queue of errors was not emptied"

    def test_the_path_it_was_bound_to_goes_with_it(self, tmp_path):
        for there in (True, False):
            path = str(tmp_path / "sock")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(path)
            if not there:
                os.unlink(path)
            channel = DatagramSocket(sock, made=path)
            channel.close()
            assert not os.path.lexists(path)
            (tmp_path / "sock").touch()  # somebody else's since
            channel.close()
            assert os.path.lexists(path)
            os.unlink(path)


def test_sockets_without_ancillary_data(udp):
    ours, theirs = udp
    bare = SimpleNamespace(recvfrom_into=ours.recvfrom_into, sendto=theirs.sendto)
    assert sender_of(bare)([memoryview(b"data")], [], 0, ours.getsockname()) == 4
    buffer = bytearray(10)
    got = receiver_of(bare)([memoryview(buffer)], 128, 0)
    assert got == (4, (), 0, theirs.getsockname())
    assert buffer[:4] == b"data"


def test_the_size_of_segments_among_other_news():
    assert gro_size([(0, 8, bytes(12)), *GRO_OF_2]) == 2
    assert gro_size([(0, 8, bytes(12)), (17, 103, b"\2\0")]) == 0
