"""Tests for L{socialrelay.scheduler.journal}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.host import Host
from socialrelay.scheduler.journal import Journal
from socialrelay.scheduler.record import DeferredDelivery, Gap, Progress
from tests.scheduling import EPOCH, START, record


class JournalTests(SynchronousTestCase):
    """What changed since it was last written down."""

    def setUp(self) -> None:
        self.journal = Journal()
        self.destination = Destination(record(0), Host("node-0.example", 2))

    def test_once(self) -> None:
        """A destination is written as it is when it is written, once."""
        self.journal.changed(self.destination)
        self.destination.cursor = 7
        self.journal.changed(self.destination)
        self.assertEqual([found.cursor for found in self.journal.take(START).destinations], [7])
        self.assertFalse(self.journal)
        self.assertEqual(self.journal.take(START), Progress())

    def test_put_back(self) -> None:
        """What could not be written comes again, but for what is newer by then or over."""
        first, second = (DeferredDelivery(0, position, 1, EPOCH, "HTTP 400") for position in (1, 2))
        later = DeferredDelivery(0, 1, 2, EPOCH, "HTTP 400")
        gap = Gap(0, 3, 5, 1, "expired", "the node is dead")
        self.journal.changed(self.destination)
        for entry in (first, second):
            self.journal.deferred(entry)
        self.journal.gap(gap)
        progress = self.journal.take(START)
        self.destination.deferred = {1: later}
        self.journal.deferred(later)
        self.journal.over(self.destination, 2)
        self.journal.put_back(progress, {0: self.destination})
        self.assertEqual(self.journal.take(START), Progress(progress.destinations, (later,), ((0, 2),), (gap,)))
