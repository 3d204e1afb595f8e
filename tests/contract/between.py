"""A pump between two channels in memory, in time that the test moves."""

from pync.relay.movers import CopyMover
from pync.relay.pump import Pump
from tests.contract.memory import Memory
from tests.contract.played import PlayedLoop


class Notes:
    """The owner: what it was told, in order."""

    def __init__(self):
        self.last_activity = 0.0
        self.told = []

    def ended(self, pump):
        self.told.append("ended")

    def failed(self, pump, error, *, filling):
        self.told.append((error, filling))
        pump.stop()

    def limit_reached(self, pump):
        self.told.append("limit")


class Counting(Memory):
    """Counts its reads."""

    reads = 0
    inside = 0

    @property
    def buffered(self):
        return self.inside

    def read_into(self, view):
        self.reads += 1
        return super().read_into(view)


class Between:
    """A pump from `source` to `sink`, started."""

    def __init__(self, *, boundaries=False, mover=None, **limits):
        self.loop = PlayedLoop()
        self.source = Counting(self.loop, boundaries=boundaries)
        self.sink = Memory(self.loop, boundaries=boundaries)
        self.owner = Notes()
        self.mover = mover or CopyMover(self.source, self.sink)
        self.pump = Pump(self.loop, self.owner, self.source, self.sink, self.mover, **limits)
        self.pump.start()
        self.loop.settle()
        self.source.reads = 0

    def give(self, *pieces):
        self.source.incoming.extend(pieces)
        self.loop.call_soon(self.source._wake_reader)
        self.loop.settle()

    def end(self):
        self.source.incoming_ended = True
        self.loop.call_soon(self.source._wake_reader)
        self.loop.settle()

    def take(self, capacity=1 << 30):
        """The sink takes more from now on."""
        self.sink.capacity = capacity
        self.loop.call_soon(self.sink._wake_writer)
        self.loop.settle()

    @property
    def counted(self):
        return self.pump.taken, self.pump.moved
