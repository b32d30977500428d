"""Tests for L{socialrelay.running.limits}."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.config import Bus, Config, Delivery, Discovery, Dns, Postgres
from socialrelay.running.limits import OPERATORS, Descriptors, descriptors_wanted, raise_descriptor_limit, share_descriptors


class LimitsTests(SynchronousTestCase):
    """Descriptors."""

    def test_raise(self) -> None:
        """The soft limit becomes the hard one."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
        self.assertEqual((raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]), (before[1], before[1]))

    def shared(self, limit: int, **tables: Any) -> Descriptors:
        return share_descriptors(evolve(Config(Path("/nonexistent")), **tables), limit)

    def test_enough(self) -> None:
        """Where there are enough of them, deliveries have what the configuration says, and the public site more."""
        for limit in (16384, 2**20, resource.RLIM_INFINITY):
            found = self.shared(limit)
            self.assertEqual((found.deliveries, found.kept, found.operators), (1024 + 256, 256, OPERATORS))
            self.assertGreaterEqual(found.intake, 1000)

    def test_wanted(self) -> None:
        """What is said to be wanted is enough for all that the configuration says, and clearly less is not."""
        for bus in (False, True):
            for many in (1, 5000):
                tables = {"bus": Bus(enabled=bus), "delivery": Delivery(kept_connections=many)}
                wanted = descriptors_wanted(evolve(Config(Path("/nonexistent")), **tables))
                found, less = self.shared(wanted, **tables), self.shared(wanted - OPERATORS, **tables)
                self.assertEqual((found.deliveries, found.kept), (1024 + many, many))
                self.assertGreaterEqual(found.intake, 1000)
                self.assertTrue(less.deliveries < found.deliveries or less.intake < 1000)

    def test_kept(self) -> None:
        """Where there are too few, those that are kept leave half to those under way."""
        found = self.shared(1024, delivery=Delivery(kept_connections=5000))
        self.assertEqual(found.kept, found.deliveries // 2)

    def test_never_more(self) -> None:
        """However few there are, all together take no more than there are, and what is left is for deliveries and the public site alike."""
        for limit in (400, 512, 1024, 2048, 4096):
            for bus in (False, True):
                found = self.shared(limit, bus=Bus(enabled=bus))
                together = found.own + found.operators + found.listeners + found.deliveries + found.intake
                self.assertEqual(together, limit)
                self.assertEqual(bool(found.listeners), bus)
                self.assertGreaterEqual(found.intake, found.deliveries)
                self.assertGreater(found.deliveries, 0)

    def test_1024(self) -> None:
        """The usual limit is enough for some hundreds of both, and for all that the relay asks at a time."""
        found = self.shared(1024)
        self.assertGreater(min(found.deliveries, found.intake), 300)
        more = self.shared(1024, dns=Dns(threads=50), discovery=Discovery(concurrency=82), postgres=Postgres(connections=14))
        self.assertEqual(more.own - found.own, 34 + 50 + 10)

    def test_too_few(self) -> None:
        """Where there are hardly any, there is one of each nevertheless."""
        found = self.shared(50)
        self.assertEqual((found.deliveries, found.intake), (1, 1))
