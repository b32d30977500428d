"""The alerting rules, as Prometheus' own tool sees them."""

from __future__ import annotations

import subprocess
from unittest import TestCase

from tests.deploy.tools import ETC, found


class AlertTests(TestCase):
    def promtool(self, *arguments: str) -> None:
        done = subprocess.run([found("promtool"), *arguments], cwd=ETC, capture_output=True, text=True, timeout=300, check=False)
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
