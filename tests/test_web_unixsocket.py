"""Tests for L{socialrelay.web.unixsocket}; what listens there is tested where it is made."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.services import StartFailed
from socialrelay.web.unixsocket import SocketService, remove_stale
from tests.test_control import short_directory

reactor: Any = installed_reactor


class StaleSocketTests(SynchronousTestCase):
    def test_dead(self) -> None:
        """
        The socket of a daemon that is dead is removed.
        """
        path = short_directory(self) / "relay.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(str(path))
        remove_stale(path)
        self.assertFalse(path.exists())

    def test_none(self) -> None:
        """
        Where nothing is, nothing has to be removed.
        """
        remove_stale(short_directory(self) / "relay.sock")

    def test_file(self) -> None:
        """
        A file of that name is left alone, and the start fails with the reason.
        """
        path = short_directory(self) / "relay.sock"
        path.write_text("mine")
        service = SocketService(reactor, path, Factory(), "socket for tests")
        self.assertIn("something else of this name", str(self.assertRaises(StartFailed, service.startService)))
        self.assertEqual(path.read_text(), "mine")
