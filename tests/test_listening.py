"""Tests for L{socialrelay.running.listening}, on the real reactor."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from socialrelay.running.listening import AT_ONCE, Listener


class Counting(Factory):
    """Counts who came in each turn of the event loop."""

    noisy = False

    def __init__(self) -> None:
        self.turn = 0
        self.came: Counter[int] = Counter()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self.came[self.turn] += 1
        return Protocol()


class ListenerTests(TestCase):
    timeout = 30.0

    async def test_crowd(self) -> None:
        """A crowd that waits when it begins to listen is taken in over several turns of the event loop."""
        many = 5 * AT_ONCE
        factory = Counting()
        listener = Listener(reactor, ["tcp:0:interface=127.0.0.1"], factory)
        listener.bind()
        self.addCleanup(listener.stopService)
        [address] = listener.addresses
        clients = [self.client(address) for _ in range(many)]
        listener.startService()
        while factory.came.total() < many:
            await deferLater(reactor, 0.0)
            factory.turn += 1
        self.assertLessEqual(max(factory.came.values()), AT_ONCE)
        for each in clients:
            each.close()

    def client(self, address: Any) -> socket.socket:
        client = socket.create_connection((address.host, address.port))
        self.addCleanup(client.close)
        return client
