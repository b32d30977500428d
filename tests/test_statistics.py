"""Tests for L{socialrelay.statistics}."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.statistics import Tally
from socialrelay.storage.memory import MemoryTables, memory_storage


class HourTests(SynchronousTestCase):
    """Counts belong to the hour in which something happened."""

    def test_hours(self) -> None:
        """
        Each is counted in its own hour, also when the clock is put back.
        """
        tables = MemoryTables()
        storage = memory_storage(tables)
        clock = [datetime(2026, 3, 1, 12, 59, 59, 999999, tzinfo=UTC)]
        tally = Tally(storage.statistics, storage.rejections, lambda: clock[0])
        for minutes in (0, 0, 1, 60, -61):
            clock[0] += timedelta(minutes=minutes)
            tally.count("accepted", "pod.example")
        self.assertEqual(
            {hour.hour: count for (hour, _, _), count in tally._counts.items()},
            {12: 3, 13: 1, 14: 1},
        )
        self.assertTrue(all((hour.minute, hour.second, hour.microsecond) == (0, 0, 0) for hour, _, _ in tally._counts))
