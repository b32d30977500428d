"""Tests for L{tests.demo}: it ends well, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT, environment

DEADLINE = 90.0


class DemoTests(SynchronousTestCase):
    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-m", "tests.demo", *options]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.kill)
        return process

    def left(self, process: subprocess.Popen[str]) -> list[Path]:
        """What is left of its relay."""
        return list(Path("/tmp").glob(f"socialrelay-demo-{process.pid}-*"))

    def test_well(self) -> None:
        """It shows that each node got exactly what it asked for, and ends with 0."""
        process = self.start("--seconds", "3", "--rate", "8")
        said, _ = process.communicate(timeout=DEADLINE)
        self.assertEqual(process.returncode, 0, said)
        self.assertRegex(said, r"(?m)^✓ 25 posts, 6 nodes that can be reached: each got exactly what it asked for, once, unchanged\.$")
        self.assertNotIn("Traceback", said)
        self.assertEqual(self.left(process), [])

    def test_interrupted(self) -> None:
        """Ctrl-C ends it at once, and takes everything away."""
        process = self.start()
        assert process.stdout is not None
        for line in process.stdout:
            if "Mallory" in line:
                break
        self.assertEqual(len(self.left(process)), 1)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=DEADLINE)
        self.assertEqual((process.returncode, said), (130, "Stopping …\n"))
        self.assertEqual(self.left(process), [])
