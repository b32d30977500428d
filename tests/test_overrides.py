"""Tests for L{socialrelay.network.overrides}."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.network.overrides import Override, Overrides


class OverridesTests(SynchronousTestCase):
    """The C{connect_to} table."""

    def test_exact(self) -> None:
        """An entry holds for its host and port only."""
        overrides = Overrides({"Pod.example:443": "127.0.0.1:8443"})
        self.assertEqual(overrides.find("pod.example", 443), Override(ip_address("127.0.0.1"), 8443))
        self.assertEqual([overrides.find("pod.example", 8443), overrides.find("x.pod.example", 443)], [None, None])

    def test_below(self) -> None:
        """A starred entry holds for all names below its domain, and not for the domain."""
        overrides = Overrides({"*.bench.example:443": "[::1]:9"})
        found = [overrides.find(host, 443) for host in ("a.bench.example", "b.a.bench.example", "bench.example", "xbench.example")]
        self.assertEqual(found, [Override(ip_address("::1"), 9)] * 2 + [None, None])

    def test_closest(self) -> None:
        """The exact entry wins over starred ones, and among these the longest."""
        overrides = Overrides({"*.example:443": "127.0.0.1:1", "*.b.example:443": "127.0.0.1:2", "a.b.example:443": "127.0.0.1:3"})
        found = [overrides.find(host, 443) for host in ("x.example", "x.b.example", "a.b.example")]
        self.assertEqual([override.port for override in found if override], [1, 2, 3])

    def test_malformed(self) -> None:
        """An entry that cannot be read is named."""
        for name, where in (("pod.example", "127.0.0.1:1"), ("pod.example:443", "localhost:1"), ("p.example:1", "127.0.0.1:70000")):
            with self.subTest(name):
                self.assertRaises(ValueError, Overrides, {name: where})
