"""Tests for L{socialrelay.web.charts}."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.web.charts import DELIVERIES, FRAME, POSTS, Chart, ceiling, chart, short

NAMES = ("received", "posts", "rejected", "ignored", "deliveries", "failed", "bounced", "expired")
END = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


def points(count: int, *, days: bool = False, **counts: int) -> list[dict[str, object]]:
    """So many spans up to a moment, all alike."""
    step = timedelta(days=1) if days else timedelta(hours=1)
    values = dict.fromkeys(NAMES, 0) | {"posts": 7, "deliveries": 70} | counts
    return [{"at": (END - step * (count - 1 - index)).isoformat(), **values} for index in range(count)]


class ChartTests(SynchronousTestCase):
    """Counts as bars."""

    def test_bars(self) -> None:
        """
        Bars stand side by side, as high as their count; failures hang below the base line; the last one is not over.
        """
        series = points(4, posts=0)
        series[1] |= {"posts": 8, "rejected": 2}
        series[2] |= {"posts": 4, "rejected": 1}
        series[3] |= {"posts": 2}
        drawn = chart(POSTS, series, "24h")
        self.assertEqual([bar.went for bar in drawn.bars], [0.0, 120.0, 60.0, 30.0])
        self.assertEqual([bar.failed for bar in drawn.bars], [0.0, 36.0, 18.0, 0.0])
        self.assertEqual(drawn.went, "M1.11 128v-120h0.78v120zM2.11 128v-60h0.78v60z")
        self.assertEqual((drawn.failed, drawn.last), ("M1.11 130v36h0.78v-36zM2.11 130v18h0.78v-18z", ("M3.11 128v-30h0.78v30z", "")))
        self.assertEqual((drawn.most, drawn.worst, drawn.sums), ((("8", 8), ("4", 68.0)), "2", (14, 3)))

    def test_failures_together(self) -> None:
        """
        Failures of all kinds are one bar, and columns of the table each.
        """
        drawn = chart(DELIVERIES, points(1, deliveries=5, failed=1, bounced=2, expired=3), "24h")
        self.assertEqual((drawn.sums[1], drawn.rows[0].counts), (6, [5, 1, 2, 3]))

    def test_words(self) -> None:
        """
        A chart says in words what it shows, and each bar what it stands for.
        """
        drawn = chart(POSTS, points(24, rejected=1), "24h")
        self.assertEqual(
            drawn.description,
            "Posts per hour in the last 24 hours, in UTC: 168 relayed, at most 7 in one hour (21 Nov, 05:00); 24 rejected. "
            "The last hour is not over.",
        )
        self.assertEqual(drawn.bars[-1].text, "22 Nov, 04:00: 7 relayed, 1 rejected")

    def test_nothing(self) -> None:
        """
        Where nothing happened there is an empty chart.
        """
        drawn = chart(POSTS, points(24, posts=0), "24h")
        self.assertEqual((drawn.most, drawn.worst, drawn.went), ((("1", 8),), "", ""))
        self.assertEqual(chart(POSTS, [], "7d").bars, ())

    def test_table(self) -> None:
        """
        The table begins with the latest.
        """
        rows = chart(POSTS, points(168), "7d").rows
        self.assertEqual((len(rows), rows[0][:2]), (168, ("2026-11-22T04:00:00+00:00", "22 Nov, 04:00")))

    def test_labels(self) -> None:
        """
        Times stand below: hours of a day, days of a week, every fifth day of a month.
        """

        def labels(drawn: Chart) -> list[str]:
            return [label.text for label in drawn.labels]

        self.assertEqual(labels(chart(POSTS, points(24), "24h")), ["06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "22 Nov", "03:00"])
        week = chart(POSTS, points(168), "7d")
        self.assertEqual(labels(week), ["Mon 16", "Tue 17", "Wed 18", "Thu 19", "Fri 20", "Sat 21", "Sun 22"])
        self.assertEqual([label.minor for label in week.labels], [False, True, False, True, False, True, False])
        self.assertEqual(labels(chart(POSTS, points(30, days=True), "30d")), ["28 Oct", "2 Nov", "7 Nov", "12 Nov", "17 Nov", "22 Nov"])

    def test_short(self) -> None:
        """
        Large numbers are short on the scale.
        """
        numbers = [0, 999, 2000, 9999, 20_000, 120_000, 2_000_000, 40_000_000]
        self.assertEqual([short(each) for each in numbers], ["0", "999", "2\u202f000", "9\u202f999", "20k", "120k", "2M", "40M"])

    @given(st.integers(0, 10**9))
    def test_ceiling(self, greatest: int) -> None:
        """
        The upper line is above all bars, and at most twice the greatest away.
        """
        top = ceiling(greatest)
        self.assertTrue(greatest <= top <= max(2 * greatest, 1))

    @given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=168))
    def test_frame(self, counts: list[tuple[int, int]]) -> None:
        """
        Whatever was counted, each bar is where it belongs, and what is not nothing can be seen.
        """
        series = points(len(counts))
        for point, (posts, rejected) in zip(series, counts, strict=True):
            point |= {"posts": posts, "rejected": rejected}
        for bar, (posts, rejected) in zip(chart(POSTS, series, "7d").bars, counts, strict=True):
            self.assertTrue(0 <= bar.went <= FRAME.base - FRAME.top)
            self.assertTrue(0 <= bar.failed < FRAME.bottom - FRAME.base)
            self.assertEqual((bar.went > 0, bar.failed > 0), (posts > 0, rejected > 0))
