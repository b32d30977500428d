"""Tests of C{.ci/audit.py}: what a run of pip-audit means."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

AUDIT = runpy.run_path(str(Path(__file__).parent.parent / ".ci" / "audit.py"))
GOOD = {"name": "treq", "version": "1.0", "vulns": []}
BAD = {"name": "klein", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": ["CVE-1"]}]}
UNKNOWN = {"name": "attrs", "skip_reason": "Dependency not found on PyPI and could not be audited: attrs (26.1.0)"}


def verdict(*packages: dict[str, Any]) -> Any:
    return AUDIT["verdict"](json.dumps({"dependencies": packages, "fixes": []}), "")


class VerdictTests(SynchronousTestCase):
    def test_nothing_known(self) -> None:
        """Only if every package is known there, and nothing bad of any, all is well."""
        self.assertEqual(verdict(GOOD, GOOD), (0, "No vulnerability is known of 2 packages."))

    def test_vulnerable(self) -> None:
        """A vulnerability is told with the version that has it no longer, whatever else could not be asked."""
        status, said = verdict(GOOD, BAD, UNKNOWN)
        self.assertEqual(status, 1)
        self.assertIn("klein 2.0: PYSEC-1, mended in 2.1\n", said)
        self.assertIn("need not have brought them", said)

    def test_accepted(self) -> None:
        """One that does not concern the relay is left out, by any of its names."""
        for name in ("PYSEC-1", "CVE-1"):
            AUDIT["ACCEPTED"][name] = "it concerns Windows alone"
            status, _ = verdict(BAD)
            del AUDIT["ACCEPTED"][name]
            self.assertEqual(status, 0)

    def test_not_asked(self) -> None:
        """A database that could not be asked, or not about every package, is not taken for good news."""
        broken = "Traceback (most recent call last):\nConnectionError: no route to pypi.org\n"
        for status, said in (verdict(GOOD, UNKNOWN), verdict(), AUDIT["verdict"]("", broken), AUDIT["verdict"]("[]", "")):
            self.assertEqual(status, 3)
            self.assertIn("NOT DONE", said)
        self.assertIn("no route to pypi.org", AUDIT["verdict"]("", broken)[1])

    def test_reasons(self) -> None:
        """Whatever is accepted has its reason."""
        self.assertEqual([name for name, reason in AUDIT["ACCEPTED"].items() if len(reason) < 20], [])
