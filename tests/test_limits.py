"""Tests for L{socialrelay.running.limits}."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.running.limits import in_flight_budget, raise_descriptor_limit


class LimitsTests(SynchronousTestCase):
    """Descriptors."""

    def test_raise(self) -> None:
        """The soft limit becomes the hard one."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
        self.assertEqual((raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]), (before[1], before[1]))

    def test_budget(self) -> None:
        """Deliveries take at most half of the descriptors, and never none."""
        budgets = [in_flight_budget(1024, limit) for limit in (100_000, 1024, 1, resource.RLIM_INFINITY)]
        self.assertEqual(budgets, [1024, 512, 1, 1024])
