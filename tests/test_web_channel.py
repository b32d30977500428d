"""Tests for L{socialrelay.web.channel}; what needs a site is in L{tests.test_web_site}."""

from __future__ import annotations

import socket

from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.web.channel import Channel


class WriteNowTests(SynchronousTestCase):
    """Answers that do not wait for the next turn of the event loop."""

    def setUp(self) -> None:
        ours, self.far = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.far.close)
        ours.setblocking(False)
        self.far.settimeout(5.0)
        self.reactor = MemoryReactor()
        self.channel = Channel()
        self.connection = Connection(ours, self.channel, self.reactor)  # type: ignore[arg-type]
        self.connection.connected = True
        self.channel.transport = self.connection

    def test_at_once(self) -> None:
        """
        What the system takes is on its way at once, and the event loop has nothing to do for it.
        """
        self.channel.write_now(b"answer")
        self.assertEqual((self.far.recv(100), self.reactor.getWriters()), (b"answer", []))

    def test_in_order(self) -> None:
        """
        It does not overtake what is still to be written.
        """
        self.channel.transport.write(b"first ")
        self.channel.write_now(b"second")
        self.connection.doWrite()
        self.assertEqual(self.far.recv(100), b"first second")

    def test_the_rest(self) -> None:
        """
        What the system does not take is written when it does.
        """
        many = bytes(range(256)) * 8192
        self.channel.write_now(many)
        self.assertEqual(self.reactor.getWriters(), [self.connection])
        received = b""
        while len(received) < len(many):
            received += self.far.recv(65536)
            self.connection.doWrite()
        self.assertEqual(received, many)

    def test_broken(self) -> None:
        """
        A connection that is broken ends the way Twisted ends one.
        """
        self.far.close()
        self.channel.write_now(b"answer")
        self.assertEqual(self.reactor.getWriters(), [self.connection])
        self.assertIsInstance(self.connection.doWrite(), Exception)

    def test_other_transports(self) -> None:
        """
        Where bytes do not go straight to a socket they are written as ever.
        """
        self.channel.transport = StringTransport()
        self.channel.write_now(b"answer")
        self.assertEqual(self.channel.transport.value(), b"answer")
