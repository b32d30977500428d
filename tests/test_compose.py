"""Tests for L{socialrelay.compose}: what is bound before the relay leaves its terminal. The rest is seen in the relay itself."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from typing import Any

import trustme
from OpenSSL.crypto import FILETYPE_PEM, X509, PKey, load_certificate, load_privatekey
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from socialrelay.compose import LateSite, operators_listener
from socialrelay.running.listening import CannotListen
from tests.daemon import ROOT
from tests.web_requests import config

reactor: Any = installed_reactor


class LateSiteTests(TestCase):
    """What listens before there is a site."""

    async def test_tls(self) -> None:
        """
        Over TLS it speaks with clients that offer a choice of protocols, as nearly all do.
        """
        authority = trustme.CA()
        late = LateSite()
        late.site = Factory.forProtocol(Protocol)
        context = CertificateOptions(*_key_and_certificate(authority))
        port = await SSL4ServerEndpoint(reactor, 0, context, interface="127.0.0.1").listen(late)
        self.addCleanup(port.stopListening)

        def chosen() -> str | None:
            trusting = ssl.create_default_context()
            authority.configure_trust(trusting)
            trusting.set_alpn_protocols(["h2", "http/1.1"])
            with (
                socket.create_connection(("127.0.0.1", port.getHost().port), 10) as plain,
                trusting.wrap_socket(plain, server_hostname="relay.example") as secure,
            ):
                return secure.selected_alpn_protocol()

        self.assertEqual(await deferToThread(chosen), "http/1.1")


def _key_and_certificate(authority: trustme.CA) -> tuple[PKey, X509]:
    pem = authority.issue_cert("relay.example").private_key_and_cert_chain_pem.bytes()
    return load_privatekey(FILETYPE_PEM, pem), load_certificate(FILETYPE_PEM, pem)


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
