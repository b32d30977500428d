"""Tests for L{socialrelay.digest}."""

from __future__ import annotations

import subprocess

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.digest import digest_of


class DigestTests(SynchronousTestCase):
    def test_digest(self) -> None:
        """It is the beginning of what sha256sum says of the body."""
        body = "<me:env>…</me:env>".encode()
        said = subprocess.run(["sha256sum"], input=body, capture_output=True, check=True).stdout.decode()
        self.assertEqual(digest_of(body), said[:12])
