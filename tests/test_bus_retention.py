"""Tests for L{socialrelay.bus.retention}."""

from __future__ import annotations

from datetime import timedelta

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import BusMessage, BusStore, Extent
from socialrelay.boundaries.bus import LEGACY, OWN
from socialrelay.bus.retention import forget, forget_without_bus
from socialrelay.config import Bus
from socialrelay.storage.memory import memory_storage
from socialrelay.storage.retention import BATCH
from tests.storing import NOW


class RetentionTests(SynchronousTestCase):
    """What was said is forgotten in its time."""

    def setUp(self) -> None:
        self.store: BusStore = memory_storage().bus
        self.config = Bus(keep_days=7, keep_bytes=100_000)

    def add(self, many: int, days: float = 0.0, source: str = LEGACY, published: int = 10**9) -> None:
        messages = [BusMessage(f"{source} {days} {n}", "a.b", b'"23456789"', source) for n in range(many)]
        self.successResultOf(self.store.add(messages, NOW - timedelta(days=days), published))

    def left(self) -> Extent:
        return self.successResultOf(self.store.extent())

    def test_all_steps(self) -> None:
        """
        However many small steps it takes, all that is too old goes in one round.
        """
        self.add(BATCH + 10, days=7.1)
        self.add(5, days=6.9)
        self.successResultOf(Deferred.fromCoroutine(forget(self.store, self.config, NOW)))
        self.assertEqual((self.left().oldest_seq, self.left().size), (BATCH + 11, 50))

    def test_share(self) -> None:
        """
        The relay's own messages may take a quarter of the room, and all together the room.
        """
        self.add(4000, source=OWN)
        self.add(4000)
        self.successResultOf(Deferred.fromCoroutine(forget(self.store, self.config, NOW)))
        self.assertEqual((self.left().size, self.left().oldest_own_seq), (65_000, 1501))
        self.add(4000, days=0.1)
        self.successResultOf(Deferred.fromCoroutine(forget(self.store, self.config, NOW)))
        self.assertEqual(self.left().size, 100_000)

    def test_without_bus(self) -> None:
        """
        When the bus was switched off, what it kept goes in its time, published or not.
        """
        self.successResultOf(Deferred.fromCoroutine(forget_without_bus(self.store, self.config, NOW)))
        self.add(3, days=7.1, published=1)
        self.add(3, published=1)
        self.successResultOf(Deferred.fromCoroutine(forget(self.store, self.config, NOW)))
        self.assertEqual(self.left().oldest_seq, 2)
        self.successResultOf(Deferred.fromCoroutine(forget_without_bus(self.store, self.config, NOW)))
        self.assertEqual((self.left().oldest_seq, self.left().published), (4, 6))
