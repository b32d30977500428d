"""The daemon as systemd watches it: signs of life for as long as its event loop turns, and no longer."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import environment

WITHIN = 0.4
"""Seconds within which a sign of life is awaited; it comes twice as often."""
LONG = 10 * WITHIN
PATIENCE = 60.0

_PROGRAM = """
import os, signal, sys, threading, time
from twisted.internet import reactor
from socialrelay.running.lag import LoopLag
from socialrelay.running.notify import Notifier, Supervision

reactor.seconds = time.monotonic
notifier = Notifier(Supervision.take(os.environ, os.getpid()), reactor)
lag = LoopLag(reactor)
blocked = threading.Event()

def block():  # in the reactor's thread, as a bug would; the interpreter's other threads go on
    sys.stdout.write("blocked\\n")
    sys.stdout.flush()
    sys.stdin.readline()
    reactor.callLater(1.0, lambda: sys.stdout.write(f"late by {lag.longest:.1f}\\n") or sys.stdout.flush())

reactor.callWhenRunning(notifier.ready)
reactor.callWhenRunning(lag.startService)
signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(block))
reactor.run(installSignalHandlers=False)
"""


class WatchdogTests(SynchronousTestCase):
    """A real socket, a real event loop, real time."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "notify")
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.systemd.close)
        self.systemd.bind(path)
        environ = environment() | {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": str(int(WITHIN * 1e6))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], cwd=Path(__file__).parent.parent, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.addCleanup(self.process.communicate)
        self.addCleanup(self.process.kill)

    def hear(self, seconds: float) -> str:
        """The next word; empty if none comes in time."""
        ready, _, _ = select.select([self.systemd], [], [], seconds)
        return self.systemd.recv(4096).decode() if ready else ""

    def hear_of(self, word: str) -> None:
        """Until that word comes."""
        deadline = time.monotonic() + PATIENCE
        while (heard := self.hear(PATIENCE)) != word:
            self.assertTrue(heard and time.monotonic() < deadline, f"no {word}")

    def test_blocked(self) -> None:
        """Signs of life come until the event loop stands still, and come again when it turns again; how long it stood is measured."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.hear_of("READY=1")
        for _ in range(3):
            self.hear_of("WATCHDOG=1")
        self.process.send_signal(signal.SIGUSR1)
        self.assertEqual(self.process.stdout.readline(), b"blocked\n")
        while self.hear(0.0):
            pass  # what was said before
        self.assertEqual(self.hear(LONG), "")
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self.hear_of("WATCHDOG=1")
        self.assertGreaterEqual(float(self.process.stdout.readline().rpartition(b" ")[2]), LONG - 0.2)
