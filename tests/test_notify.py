"""Tests for L{socialrelay.running.notify}."""

from __future__ import annotations

import os
import socket
import tempfile

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.running.notify import Notifier, Supervision


class SupervisionTests(SynchronousTestCase):
    def test_taken(self) -> None:
        """What systemd says is read once, and is no longer there for processes that the relay starts."""
        environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "PATH": "/bin"}
        self.assertEqual(Supervision.take(environ, 7), Supervision("/run/notify", 30.0))
        self.assertEqual(environ, {"PATH": "/bin"})

    def test_watchdog_of_another(self) -> None:
        """A watchdog that is meant for another process is not fed."""
        self.assertEqual(Supervision.take({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "8"}, 7), Supervision("@x"))

    def test_nonsense(self) -> None:
        """What is no address of a socket, and no number, is as if it were not there."""
        self.assertEqual(Supervision.take({"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "soon"}, 7), Supervision())


class NotifierTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "notify")
        self.clock = Clock()
        self.clock.advance(12.5)

    def make(self, address: str, watchdog: float = 0.0) -> Notifier:
        systemd = self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(systemd.close)
        systemd.bind("\0" + address[1:] if address.startswith("@") else address)
        systemd.setblocking(False)
        notifier = Notifier(Supervision(address, watchdog), self.clock)
        self.addCleanup(notifier.close)
        notifier.line = lambda: "Ready:\nall is well."
        return notifier

    def heard(self) -> list[str]:
        said = []
        while True:
            try:
                said.append(self.systemd.recv(4096).decode())
            except BlockingIOError:
                return said

    def test_life(self) -> None:
        """A start that lasts asks for time; then it is ready and says how it is, in one line; and then it stops."""
        notifier = self.make(self.path)
        notifier.starting()
        self.clock.advance(20)
        self.assertEqual(self.heard(), ["EXTEND_TIMEOUT_USEC=60000000"] * 2)
        notifier.ready()
        self.assertEqual(self.heard(), ["READY=1", "STATUS=Ready: all is well."])
        self.clock.advance(60)
        self.assertEqual(self.heard(), ["STATUS=Ready: all is well."])
        notifier.stopping(20.0)
        self.assertEqual(self.heard(), ["STOPPING=1\nSTATUS=Stopping.\nEXTEND_TIMEOUT_USEC=20000000"])
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abstract(self) -> None:
        """A socket may be in no folder."""
        self.make(f"@socialrelay-test-{os.getpid()}").ready()
        self.assertEqual(self.heard()[0], "READY=1")

    def test_watchdog(self) -> None:
        """A sign of life comes twice as often as it is awaited, until the very end."""
        notifier = self.make(self.path, watchdog=30.0)
        notifier.ready()
        notifier.stopping(20.0)
        self.heard()
        for _ in range(2):
            self.clock.advance(15)
            self.assertEqual(self.heard(), ["WATCHDOG=1"])

    def test_reload(self) -> None:
        """A reload says when it began, and afterwards that the relay is ready and what came of it."""
        notifier = self.make(self.path)
        notifier.reloading()
        notifier.reloaded("It was refused:\nno.")
        self.assertEqual(self.heard(), ["RELOADING=1\nMONOTONIC_USEC=12500000", "READY=1\nSTATUS=It was refused: no."])

    def test_failed(self) -> None:
        """A start that fails says why."""
        notifier = self.make(self.path)
        notifier.starting()
        self.heard()
        notifier.failed("The relay cannot start.")
        self.assertEqual(self.heard(), ["STATUS=The relay cannot start."])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_reads(self) -> None:
        """A socket that is full, or gone, holds up nothing."""
        notifier = self.make(self.path)
        for _ in range(5000):
            notifier.reloading()
        self.systemd.close()
        os.unlink(self.path)
        notifier.ready()

    def test_nobody_there(self) -> None:
        """Without systemd nothing is said, and no timer runs."""
        notifier = Notifier(Supervision(), self.clock)
        notifier.starting()
        notifier.ready()
        notifier.reloading()
        notifier.reloaded("")
        notifier.stopping(1.0)
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
