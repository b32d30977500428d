"""Tests for L{socialrelay.delivery.floods}: real sockets."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.delivery.floods import EVERY, MOST, Floods


class FloodsTests(SynchronousTestCase):
    def setUp(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer = socket.create_connection(server.getsockname())
            self.ours, _ = server.accept()
        for each in (self.peer, self.ours):
            each.settimeout(5)
            self.addCleanup(each.close)
        self.floods = Floods()

    def comes(self, size: int, now: float = 0.0) -> None:
        """So many bytes come and are read, in as many events as there are between two looks."""
        for _ in range(EVERY):
            left = size // EVERY
            while left:
                left -= self.peer.send(bytes(min(left, 65536)))
                self.ours.setblocking(False)
                try:
                    while self.ours.recv(65536):
                        pass
                except BlockingIOError:
                    pass
            self.floods.arrived(self.ours.fileno(), now)

    def test_cut_off(self) -> None:
        """The connection at which too much arrives within a second ends, for both sides; the descriptor is left to its owner."""
        self.comes(MOST)
        self.comes(MOST * 2)
        self.assertEqual(self.floods.cut_off, 1)
        self.assertEqual(self.peer.recv(1), b"")
        self.assertGreater(self.ours.fileno(), 0)

    def test_as_much_in_more_time(self) -> None:
        """Much that arrives in the course of time is no flood."""
        for second in range(5):
            self.comes(MOST // 2, float(second))
        self.assertEqual(self.floods.cut_off, 0)

    def test_counts_anew(self) -> None:
        """What arrived while a descriptor was watched before does not count."""
        self.comes(MOST // 2)
        self.comes(MOST // 2)
        self.floods.forget(self.ours.fileno())
        self.comes(MOST // 2)
        self.comes(MOST // 2)
        self.assertEqual(self.floods.cut_off, 0)

    def test_no_tcp(self) -> None:
        """A descriptor that is no socket, or closed, is passed over."""
        reading, writing = os.pipe()
        os.close(writing)
        for _ in range(EVERY):
            self.floods.arrived(reading, 0.0)
        os.close(reading)
        for _ in range(EVERY):
            self.floods.arrived(reading, 0.0)
        self.assertEqual(self.floods.cut_off, 0)
