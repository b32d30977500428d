"""The alerting rules of C{etc/}, as Prometheus' own tool sees them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ETC = Path(__file__).parent.parent / "etc"


class PromtoolTests(SynchronousTestCase):
    if shutil.which("promtool") is None:
        skip = "promtool is not installed (on Debian and Ubuntu: apt-get install prometheus)"

    def promtool(self, *arguments: str) -> None:
        done = subprocess.run(["promtool", *arguments], cwd=ETC, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_rules(self) -> None:
        """The rules are rules."""
        self.promtool("check", "rules", "alerts.yml")

    def test_tests(self) -> None:
        """Each alert fires when it should; a relay that is well has none."""
        self.promtool("test", "rules", "alerts_test.yml")

    def test_configuration(self) -> None:
        """What is to be added to a configuration is one."""
        self.promtool("check", "config", "--syntax-only", "prometheus.yml")
