"""Tests for L{socialrelay.delays}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.delays import BOUNDS, LABELS, DelayHistogram, quantile


class HistogramTests(SynchronousTestCase):
    def test_buckets(self) -> None:
        """
        A delay belongs to the first bucket whose bound it does not exceed; the last holds what is beyond all bounds.
        """
        delays = DelayHistogram()
        for seconds in (0.001, 0.0011, 3600.0, 3601.0, -5.0):
            delays.observe(seconds)
        self.assertEqual(delays.news(), {"0.001": 2, "0.002": 1, "3600.0": 1, "inf": 1})
        self.assertEqual(delays.cumulative()[-2:], [("3600.0", 4), ("inf", 5)])
        self.assertAlmostEqual(delays.seconds, 7201.0021)

    def test_news(self) -> None:
        """
        What was told is not told again, and still counts since the start.
        """
        delays = DelayHistogram()
        delays.observe(0.3)
        self.assertEqual((delays.news(), delays.news()), ({"0.5": 1}, {}))
        delays.observe(0.3)
        self.assertEqual((delays.news(), delays.cumulative()[-1]), ({"0.5": 1}, ("inf", 2)))


class QuantileTests(SynchronousTestCase):
    def test_interpolation(self) -> None:
        """
        Between two bounds delays are taken to rise evenly.
        """
        self.assertEqual(quantile({"1.0": 10, "2.0": 10}, 0.5), 1.0)
        self.assertEqual(quantile({"1.0": 10, "2.0": 10}, 0.75), 1.5)
        self.assertEqual(quantile({"1.0": 10, "inf": 10}, 0.99), BOUNDS[-1])
        self.assertIsNone(quantile({}, 0.5))
        self.assertIsNone(quantile({"other": 5}, 0.5))

    @given(st.dictionaries(st.sampled_from(LABELS), st.integers(1, 10**9), min_size=1), st.floats(0.01, 1.0))
    def test_in_its_bucket(self, counts: dict[str, int], part: float) -> None:
        """
        It lies in the bucket in which that part of the posts is reached.
        """
        found = quantile(counts, part)
        assert found is not None
        within = sum(count for label, count in counts.items() if label != "inf" and float(label) < found)
        upto = next((bound for bound in BOUNDS if found <= bound), BOUNDS[-1])
        reached = sum(count for label, count in counts.items() if float(label) <= upto) if upto < BOUNDS[-1] else sum(counts.values())
        self.assertLessEqual(within, part * sum(counts.values()) * (1 + 1e-9))
        self.assertGreaterEqual(reached, part * sum(counts.values()) * (1 - 1e-9))
