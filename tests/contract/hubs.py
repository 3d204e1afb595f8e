"""Ports of a hub, used by hand."""

from pync.transport.channel import WANT_READ

BUFFER = 1000  # a client's, in these tests


def say(port, data):
    return port.write(memoryview(data))


def hear(port, most=1 << 20):
    """What a read of `port` gives: bytes, None at the end, or WANT_READ."""
    view = memoryview(bytearray(most))
    count = port.read_into(view)
    return bytes(view[:count]) if count is not None and count >= 0 else count


def bystanders(hub, *names):
    return [hub.join(name) for name in names]


class Follower:
    """Reads whatever its port tells it of, as a relay would."""

    def __init__(self, port, most=1 << 20):
        self.heard = bytearray()
        self.calls = 0
        self.ended = False
        self._port, self._most = port, most
        port.watch_read(port.hub.loop, self._read)

    def _read(self):
        self.calls += 1
        data = hear(self._port, self._most)
        if data is None:
            self.ended = True
            self._port.watch_read(self._port.hub.loop, None)
        elif data != WANT_READ:
            self.heard += data


class Writer:
    """Counts how often its port says that it may go on."""

    def __init__(self, port):
        self.calls = 0
        port.watch_write(port.hub.loop, self._write)

    def _write(self):
        self.calls += 1
