"""Tests for L{socialrelay.compose}: what is bound before the relay leaves its terminal. The rest is seen in the relay itself."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.compose import LateSite, operators_listener
from socialrelay.running.listening import CannotListen
from tests.daemon import ROOT
from tests.web_requests import config

reactor: Any = installed_reactor


class OperatorsListenerTests(TestCase):
    """The port of the operators' site."""

    def taken(self) -> int:
        """A port that somebody else has."""
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        return int(holder.getsockname()[1])

    async def test_chosen(self) -> None:
        """
        What the configuration names is bound, and told to those who lead there.
        """
        chosen = ("tcp:0:interface=127.0.0.1",)
        listener, places = operators_listener(config(admin_listen=chosen), reactor, LateSite())
        self.assertEqual((places, len(listener.addresses)), (chosen, 1))
        await listener.stopService()

    def test_taken(self) -> None:
        """
        If what the configuration names is taken, the relay does not start, and says which option it is.
        """
        place = f"tcp:{self.taken()}:interface=127.0.0.1"
        error = self.assertRaises(CannotListen, operators_listener, config(admin_listen=(place,)), reactor, LateSite())
        self.assertIn(f"Cannot listen on {place}", str(error))
        self.assertIn("name another with admin_listen", str(error))

    def test_taken_by_chance(self) -> None:
        """
        If the port is taken that nobody named, the relay does without, and warns.
        """
        public = f"tcp:{self.taken() - 1}:interface=127.0.0.1"
        with capturedLogs() as logs:
            listener, places = operators_listener(config(host="", listen=(public,)), reactor, LateSite())
        self.assertEqual((places, listener.addresses), ((), []))
        self.assertEqual([event["log_level"].name for event in logs], ["warn"])

    def test_none(self) -> None:
        """
        In production no port is opened that nobody named.
        """
        listener, places = operators_listener(config(), reactor, LateSite())
        self.assertEqual((places, listener.addresses), ((), []))


class WithoutBusTests(SynchronousTestCase):
    def test_not_loaded(self) -> None:
        """
        A relay without a bus never loads ZeroMQ.
        """
        script = "import sys, socialrelay.compose, socialrelay.tap; sys.exit('zmq' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode, 0)
