"""Sockets whose calls a test can make fail, for tests of datagrams."""

import errno
import socket

from pync.transport.channel import WANT_READ

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
TOO_LARGE = OSError(errno.EMSGSIZE, "too large")
NOT_NOW = BlockingIOError(errno.EAGAIN, "not now")
GRO_OF_2 = [(17, 104, b"\2\0\0\0")]


class Scripted(socket.socket):
    """A socket whose calls first do what `script` says: raise an error, or call what stands there."""

    def __init__(self, *words):
        super().__init__(*words)
        self.script = {}
        self.calls = []


def _scripted(name):
    def call(self, *words):
        self.calls.append(name)
        planned = self.script.get(name)
        if not planned:
            return getattr(socket.socket, name)(self, *words)
        step = planned.pop(0)
        if isinstance(step, OSError):
            raise step
        return step(*words)

    return call


for _name in ("send", "sendto", "sendmsg", "recvmsg", "recvmsg_into", "recv_into"):
    setattr(Scripted, _name, _scripted(_name))


def arriving(data, ancillary, address=None):
    """A step of the script: `data` is received."""

    def receive(buffers, *_):
        buffers[0][: len(data)] = data
        return len(data), ancillary, 0, address

    return receive


def queued(address=None):
    """A step of the script: the error queue has an entry about `address`."""
    return lambda *_: (b"", [], 0, address)


def read(channel):
    buffer = memoryview(bytearray(100))
    count = channel.read_into(buffer)
    return count if count in (None, WANT_READ) else bytes(buffer[:count])
