"""Tests for L{socialrelay.scheduler.missed}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import LogEntry
from socialrelay.scheduler.missed import Stretch
from tests.scheduling import EPOCH


def entry(position: int) -> LogEntry:
    return LogEntry(position, "ada@pod.example", EPOCH, 100)


class StretchTests(SynchronousTestCase):
    """What of a stretch is settled."""

    def setUp(self) -> None:
        self.stretch = Stretch(10, 20, [18])

    def test_from_its_end(self) -> None:
        """It is worked off from its end, and over when all that was read of it is settled and nothing is left to read."""
        self.stretch.read(15, [entry(16), entry(17)], ())
        self.assertEqual([each.position for each in self.stretch.waiting], [17, 16])
        self.stretch.settle(16)
        self.assertEqual((self.stretch.upto, self.stretch.pending(16), self.stretch.pending(17)), (20, False, True))
        self.stretch.settle(17)
        self.assertEqual((self.stretch.upto, self.stretch.done, self.stretch.over), (15, set(), False))
        self.stretch.read(10, [], ())
        self.assertTrue(self.stretch.over)

    def test_under_way(self) -> None:
        """What was begun before it was read again is not settled, although it is not among what was read."""
        self.stretch.read(15, [], {17})
        self.assertTrue(self.stretch.pending(17))
        self.stretch.settle(17)
        self.assertEqual(self.stretch.upto, 15)

    def test_forgotten(self) -> None:
        """When nothing of it is in memory any more it is read again from its end; what was settled stays so."""
        self.stretch.read(15, [entry(16), entry(17)], ())
        self.stretch.settle(16)
        self.stretch.forget()
        self.assertEqual(
            (self.stretch.low, self.stretch.waiting, self.stretch.pending(16), self.stretch.pending(18)), (20, [], False, False)
        )

    def test_given_up(self) -> None:
        """What is given up is over, wherever it was, and nothing above it."""
        self.stretch.read(10, [entry(12), entry(17)], ())
        self.stretch.give_up(15)
        self.assertEqual([each.position for each in self.stretch.waiting], [17])
        self.assertEqual((self.stretch.pending(12), self.stretch.pending(17), self.stretch.over), (False, True, False))
        self.stretch.give_up(30)
        self.assertTrue(self.stretch.over)
