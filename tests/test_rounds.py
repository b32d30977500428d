"""Tests for L{socialrelay.rounds}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.rounds import PATIENCE, PERIODS, Rounds, tasks_condition

INTERVAL = 60.0
LONGEST = PERIODS * INTERVAL + PATIENCE


class RoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rounds = Rounds("sweeping", INTERVAL, self.clock.seconds)

    def test_expected(self) -> None:
        """Before its start and after its stop no work is overdue."""
        self.clock.advance(2 * LONGEST)
        self.assertEqual((self.rounds.age, self.rounds.trouble), (None, ""))
        self.rounds.begun()
        self.rounds.went_wrong("no")
        self.rounds.stopped()
        self.clock.advance(2 * LONGEST)
        self.assertEqual((self.rounds.age, self.rounds.success_age, self.rounds.trouble), (None, None, ""))

    def test_ages(self) -> None:
        """How long ago it was done, and done well, is counted from the start as long as it was not."""
        self.rounds.begun()
        self.clock.advance(10)
        self.assertEqual((self.rounds.age, self.rounds.success_age), (10.0, 10.0))
        self.rounds.went_well()
        self.clock.advance(5)
        self.rounds.went_wrong("no")
        self.clock.advance(1)
        self.assertEqual((self.rounds.age, self.rounds.success_age, self.rounds.last_error, self.rounds.failures), (1.0, 6.0, "no", 1))
        self.rounds.went_well()
        self.assertEqual((self.rounds.age, self.rounds.success_age, self.rounds.last_error, self.rounds.failures), (0.0, 0.0, "", 1))

    def test_overdue(self) -> None:
        """Work that was not done for several of its periods is named to operators, until it is done."""
        self.rounds.begun()
        self.clock.advance(LONGEST)
        self.assertTrue(tasks_condition([self.rounds]).well)
        self.clock.advance(1)
        found = tasks_condition([self.rounds])
        self.assertEqual((found.well, found.essential), (False, False))
        self.assertEqual(found.detail, "sweeping: not done for 781 s, which should be every 60 s")
        self.rounds.went_well()
        self.assertEqual(tasks_condition([self.rounds, self.rounds]).detail, "2 of them, each done when it was due")

    def test_failing(self) -> None:
        """Work that fails again and again is named, with its error."""
        self.rounds.begun()
        for _ in range(int(LONGEST / INTERVAL) + 1):
            self.assertEqual(self.rounds.trouble, "")
            self.clock.advance(INTERVAL)
            self.rounds.went_wrong("ZeroDivisionError: division by zero")
        self.assertEqual(tasks_condition([self.rounds]).detail, "sweeping: failing for 840 s: ZeroDivisionError: division by zero")
