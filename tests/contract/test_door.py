"""One client more than there may be: it has a moment, in case that a place is about to be free."""

import signal
import socket

import pytest

from pync.commands import listen
from pync.commands.options import ListenOptions
from pync.endpoint import Endpoint
from pync.errors import ExitCode, Interrupted
from pync.loop import Loop
from tests.harness import PATIENCE


class House:
    """A listener for one echo at a time, and what it said."""

    def __init__(self, loop, **options):
        self.loop = loop
        self.said = loop.flag()
        self.events = []
        endpoint = Endpoint("tcp", "127.0.0.1", 0)
        wanted = ListenOptions(endpoint=endpoint, keep_open=True, echo=True, max_conns=1, **options)
        self.task = loop.spawn(listen.run(loop, wanted, self.note))
        self.port = self.events[0].facts["port"]
        self.clients = []

    def note(self, event):
        self.events.append(event)
        self.said.set()

    def come(self):
        self.clients.append(socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE))

    async def hear(self, kind, count, reason=None):
        """Wait until it was said so often."""
        while self.times(kind, reason) < count:
            self.said.clear()
            assert await self.said.wait(self.loop.now() + PATIENCE), self.events

    def times(self, kind, reason):
        facts = [event.facts for event in self.events if event.kind == kind]
        return sum(reason is None or told["reason"] == reason for told in facts)

    async def fill(self):
        """Somebody is in, somebody waits, somebody was turned away."""
        self.come()
        await self.hear("connected", 1)
        self.come()
        self.come()
        await self.hear("closed", 1, "too many clients")


@pytest.fixture
def loop():
    with Loop() as made:
        yield made


def test_whoever_waits_is_next(loop, monkeypatch):
    monkeypatch.setattr(listen, "_MOMENT", 10 * PATIENCE)

    async def main():
        house = House(loop, count=2)
        await house.fill()
        for number, client in enumerate(house.clients[:2], start=1):
            await house.hear("connected", number)
            client.close()
        assert await house.task == ExitCode.OK
        house.clients[2].close()

    loop.run(main())


def test_nobody_waits_for_ever(loop, monkeypatch):
    monkeypatch.setattr(listen, "_MOMENT", 0.01)

    async def main():
        house = House(loop)
        await house.fill()
        await house.hear("closed", 2, "too many clients")
        house.task.cancel(Interrupted(signal.SIGINT))
        with pytest.raises(Interrupted):
            await house.task
        for client in house.clients:
            client.close()

    loop.run(main())


def test_nobody_waits_for_a_listener_that_was_stopped(loop, monkeypatch):
    monkeypatch.setattr(listen, "_MOMENT", 10 * PATIENCE)

    async def main():
        house = House(loop)
        await house.fill()
        house.task.cancel(Interrupted(signal.SIGINT))
        with pytest.raises(Interrupted):
            await house.task
        assert house.times("closed", "too many clients") == 2
        for client in house.clients:
            client.close()

    loop.run(main())
