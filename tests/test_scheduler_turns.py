"""Tests for L{socialrelay.scheduler.turns}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import LogEntry
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.host import Host
from socialrelay.scheduler.record import State
from socialrelay.scheduler.turns import Turns
from tests.scheduling import EPOCH, record


class TurnsTests(SynchronousTestCase):
    """Whose turn it is."""

    def setUp(self) -> None:
        self.turns = Turns()
        self.destination = Destination(record(0), Host("node-0.example", 2))
        self.destination.add(LogEntry(1, "ada@pod.example", EPOCH, 100))

    def test_once(self) -> None:
        """Who is in here already has one turn, not two."""
        self.turns.add(self.destination)
        self.turns.add(self.destination)
        self.assertEqual([self.turns.next(True, True) for _ in range(2)], [self.destination, None])

    def test_begins_to_fail(self) -> None:
        """Who begins to fail while he waits has his turn with those who fail, and when he is well again with the others."""
        self.turns.add(self.destination)
        self.destination.host.state = State.DEFERRED
        self.assertIsNone(self.turns.next(True, False))
        self.destination.host.state = State.ACTIVE
        self.assertIsNone(self.turns.next(False, False))
        self.assertTrue(self.turns)
        self.assertIs(self.turns.next(False, True) or self.turns.next(False, False), self.destination)
