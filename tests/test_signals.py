"""What whoever started the relay says to it, and hears from it: signals, systemd's socket, and the metrics of a real process."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests import daemon
from tests.daemon import Daemon


class SignalTests(TestCase):
    timeout = 120

    async def test_life(self) -> None:
        """
        A relay under systemd says when it is ready, takes over a changed file, refuses a wrong one, opens its log anew, and says that it stops.
        """
        relay = self.relay = Daemon(reactor)
        self.addCleanup(relay.remove)
        heard = self.listen()
        log = relay.folder / "relay.log"
        await relay.start("--logfile", str(log))
        assert relay.process is not None
        self.assertIn("READY=1", heard())
        for child in (*relay.children("postgres"), *relay.children("valkey")):
            with open(f"/proc/{child}/environ", "rb") as environ:
                self.assertNotIn(b"NOTIFY_SOCKET", environ.read())

        self.configure("log_level = 'debug'\n[delivery]\norigin_spread = 10\n[postgres]\nconnections = 3\n")
        relay.process.send_signal(signal.SIGHUP)
        await self.logged(log, "The configuration was read again: 2 changes, and 1 that need a restart.")
        await self.logged(log, "Configuration: delivery.origin_spread: 30.0 → 10.0.")
        await self.logged(log, "Configuration: postgres.connections: 4 → 3 needs a restart.")
        self.configure("[delivery]\nwindow = 9\n")
        relay.process.send_signal(signal.SIGHUP)
        await self.logged(log, "delivery.window: must be from 1 to 5, not 9.")
        said = heard()
        self.assertEqual(said.count("RELOADING=1"), 2)
        self.assertIn("STATUS=The configuration was refused", said)

        os.rename(log, relay.folder / "relay.log.1")
        relay.process.send_signal(signal.SIGUSR1)
        await relay.eventually(self.exists(log), bool)
        relay.process.send_signal(signal.SIGHUP)
        await self.logged(log, "delivery.window: must be from 1 to 5, not 9.")

        answer = await relay.ask(relay.state / "run" / "admin.sock", "GET", "/metrics")
        self.assertIn(b"socialrelay_ready 1.0\n", answer.body)
        self.assertIn(b"socialrelay_database_bytes ", answer.body)
        self.assertEqual((await relay.request("GET", "/metrics")).code, 404)
        self.assertEqual(await relay.terminate(), 0)
        self.assertIn("STOPPING=1", heard())

    def listen(self) -> Any:
        """Be systemd; what it hears."""
        path = self.relay.folder / "notify"
        systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(systemd.close)
        systemd.bind(str(path))
        systemd.setblocking(False)
        path.chmod(0o777)
        environment = daemon.environment
        self.patch(daemon, "environment", lambda: environment() | {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "10000000"})

        def heard() -> str:
            said = []
            while True:
                try:
                    said.append(systemd.recv(4096).decode())
                except BlockingIOError:
                    return "\n".join(said)

        return heard

    def configure(self, text: str) -> None:
        (self.relay.folder / "relay.toml").write_text(text)

    def exists(self, path: Any) -> Any:
        async def ask() -> bool:
            return bool(path.exists())

        return ask

    async def logged(self, path: Any, text: str) -> None:
        async def ask() -> str:
            return path.read_text() if path.exists() else ""

        await self.relay.eventually(ask, lambda log: text in log)
