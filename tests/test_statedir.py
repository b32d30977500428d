"""Tests for L{socialrelay.running.statedir}."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.running.statedir import StateDirError, sign, take


class TakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / "deep" / "state"

    def test_made(self) -> None:
        """The folder is made with those above it, and nobody else may look into it."""
        taken = take(self.path)
        self.addCleanup(taken.release)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o750)

    def test_one_at_a_time(self) -> None:
        """A second daemon is refused, and told which process holds it; released, it may have it."""
        taken = take(self.path)
        error = self.assertRaises(StateDirError, take, self.path)
        self.assertIn(f"Another relay is running in {self.path} (process {os.getpid()}).", str(error))
        taken.release()
        take(self.path).release()

    def test_lock_elsewhere(self) -> None:
        """A lock that leads to another file is refused, and that file is left as it is."""
        self.path.mkdir(parents=True)
        other = self.path.parent / "other"
        other.write_text("mine")
        (self.path / "lock").symlink_to(other)
        with self.assertRaisesRegex(StateDirError, "cannot be used: Too many levels of symbolic links"):
            take(self.path)
        self.assertEqual(other.read_text(), "mine")

    def test_dead_holder(self) -> None:
        """What a killed daemon leaves behind holds nobody up."""
        code = (
            "import os, sys; from pathlib import Path; from socialrelay.running.statedir import take; take(Path(sys.argv[1])); os.abort()"
        )
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        subprocess.run([sys.executable, "-c", code, str(self.path)], env=environ, check=False, stderr=subprocess.DEVNULL)
        self.assertTrue((self.path / "lock").exists())
        take(self.path).release()

    def test_lock_survives_a_fork(self) -> None:
        """A child goes on holding the folder when its parent ends, and signs for it."""
        read, write = os.pipe()
        taken = take(self.path)
        if not os.fork():
            try:
                sign(taken)
                os.read(read, 1)
            finally:
                os._exit(0)
        taken.release()
        error = self.assertRaises(StateDirError, take, self.path)
        self.assertIn("Another relay is running", str(error))
        os.write(write, b".")
        os.wait()
        take(self.path).release()

    def test_not_a_folder(self) -> None:
        """A file in its place is refused, in one line."""
        self.path.parent.mkdir(parents=True)
        self.path.write_text("")
        error = self.assertRaises(StateDirError, take, self.path)
        self.assertIn(f"The state directory {self.path} cannot be used: Not a directory", str(error))
        self.assertNotIn("\n", str(error))

    def test_foreign_folder(self) -> None:
        """A folder that the user whom the daemon becomes may not write is refused before it becomes that user."""
        self.path.mkdir(parents=True, mode=0o755)
        error = self.assertRaises(StateDirError, take, self.path, uid=os.getuid() + 4242)
        self.assertIn("Not writable for user", str(error))
