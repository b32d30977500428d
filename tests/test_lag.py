"""Tests for L{socialrelay.running.lag} and L{socialrelay.histogram}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.histogram import Histogram
from socialrelay.running.lag import EVERY, LoopLag


class HistogramTests(SynchronousTestCase):
    def test_buckets(self) -> None:
        """A value is counted below the first bound that it does not exceed, or above all."""
        histogram = Histogram((0.1, 1.0))
        for value in (0.0, 0.1, 0.2, 1.0, 5.0):
            histogram.observe(value)
        self.assertEqual((histogram.counts, histogram.count), ([2, 2, 1], 5))
        self.assertAlmostEqual(histogram.total, 6.3)


class LoopLagTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lag = LoopLag(self.clock)
        self.lag.startService()

    def stand_still(self, seconds: float) -> None:
        """Nothing is called for so long beyond the time at which the next measurement is due."""
        self.clock.rightNow += EVERY + seconds
        self.clock.advance(0)

    def test_on_time(self) -> None:
        """A loop that is on time is not late at all."""
        self.clock.pump([EVERY] * 10)
        self.assertEqual(self.lag.histogram.count, 10)
        self.assertAlmostEqual(self.lag.longest, 0.0)

    def test_late(self) -> None:
        """The time by which it was late is counted, and the greatest is remembered for a minute."""
        self.stand_still(0.3)
        self.stand_still(0.2)
        self.assertAlmostEqual(self.lag.longest, 0.3)
        self.assertAlmostEqual(self.lag.histogram.total, 0.5)
        self.clock.pump([EVERY] * 500)
        self.assertAlmostEqual(self.lag.longest, 0.3)
        self.clock.pump([EVERY] * 120)
        self.assertAlmostEqual(self.lag.longest, 0.0)

    def test_standing_still_now(self) -> None:
        """Who asks while the measurement is overdue learns for how long."""
        self.clock.rightNow += EVERY + 7.0
        self.assertAlmostEqual(self.lag.longest, 7.0)

    def test_told(self) -> None:
        """From a second on it is told, at most once a minute."""
        with capturedLogs() as events:
            self.stand_still(0.9)
            self.stand_still(1.2)
            self.stand_still(3.0)
            self.clock.pump([EVERY] * 600)
            self.stand_still(2.0)
        self.assertEqual([event["delay"] for event in events], [1.2, 2.0])

    def test_stop(self) -> None:
        """It leaves nothing behind."""
        self.lag.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.lag.longest, 0.0)
