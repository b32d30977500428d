"""Tests for L{socialrelay.scheduler.destination}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.destination import DOUBTS_MAX, Destination
from socialrelay.scheduler.host import Host
from tests.scheduling import record


class DoubtTests(SynchronousTestCase):
    """Posts of which nobody knows whether they arrived."""

    def test_one(self) -> None:
        """A post that was begun may have arrived, and no other."""
        destination = Destination(record(0), Host("node-0.example", 2))
        destination.doubt(5)
        self.assertEqual([destination.may_have(position) for position in (4, 5, 6)], [False, True, False])

    def test_many(self) -> None:
        """Few are known one by one; when there are more, all up to the last of them may have arrived."""
        destination = Destination(record(0), Host("node-0.example", 2))
        for position in range(2, 2 * DOUBTS_MAX + 4, 2):
            destination.doubt(position)
            self.assertLessEqual(len(destination.doubtful), DOUBTS_MAX)
            self.assertTrue(all(destination.may_have(each) for each in range(2, position + 2, 2)))
        self.assertFalse(destination.may_have(2 * DOUBTS_MAX + 4))
