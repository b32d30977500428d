"""Tests for L{socialrelay.web.health} and L{socialrelay.health}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Condition
from socialrelay.health import Health, Phase, Readiness
from socialrelay.web.health import HealthPages
from tests.web_requests import Answer, ask


class HealthTests(SynchronousTestCase):
    """Alive, ready, getting by."""

    def setUp(self) -> None:
        self.health = Health(Phase.RUNNING)
        self.postgres = Condition("x", well=True, essential=True, detail="password=secret")
        self.cache = Condition("y", well=True, essential=False)
        self.health.watch("postgres", lambda: self.postgres)
        self.health.watch("cache", lambda: self.cache)

    def ask(self, path: str) -> Answer:
        return ask(self, HealthPages(self.health).app.resource(), path)

    def test_ready(self) -> None:
        """
        When all is well the relay is ready.
        """
        found = self.ask("/health/ready")
        self.assertEqual((found.code, found.json["status"]), (200, "ready"))
        self.assertEqual(found.json["conditions"], {"daemon": "well", "postgres": "well", "cache": "well"})

    def test_degraded(self) -> None:
        """
        What it can do without makes it degraded and leaves it ready.
        """
        self.cache = Condition("y", well=False, essential=False)
        found = self.ask("/health/ready")
        self.assertEqual((found.code, found.json["status"], found.json["conditions"]["cache"]), (200, "degraded", "not well"))

    def test_not_ready(self) -> None:
        """
        What it cannot do without makes it not ready; why is not told to strangers.
        """
        self.postgres = Condition("x", well=False, essential=True, detail="password=secret")
        found = self.ask("/health/ready")
        self.assertEqual((found.code, found.json["status"]), (503, "not ready"))
        self.assertNotIn("secret", found.text)

    def test_phases(self) -> None:
        """
        It is alive all the time, and ready only between start and stop.
        """
        codes = []
        for phase in Phase:
            self.health.phase = phase
            codes.append((self.ask("/health/live").code, self.ask("/health/ready").code))
        self.assertEqual(codes, [(200, 503), (200, 200), (200, 503)])

    def test_broken_check(self) -> None:
        """
        A check that fails itself is a condition that is not well.
        """
        self.health.watch("disk", lambda: Condition("disk", well=1 // 0 == 0, essential=False))
        self.assertEqual(self.health.readiness(), Readiness.NOT_READY)
        self.assertIn("ZeroDivisionError", self.health.conditions()[-1].detail)
