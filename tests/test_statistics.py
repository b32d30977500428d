"""Tests for L{socialrelay.statistics}."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Rejection, Unavailable
from socialrelay.config import Memory
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


class BoundTests(SynchronousTestCase):
    """What cannot be written waits, in bounded memory."""

    def test_hanging(self) -> None:
        """
        However often the database takes long to say no, and whatever comes meanwhile, no more waits than may.
        """
        answers: list[Deferred[None]] = []

        def hang(*arguments: object) -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        stores: Any = SimpleNamespace(add=hang, record=hang)
        clock = [datetime(2026, 3, 1, tzinfo=UTC)]
        tally = Tally(stores, stores, lambda: clock[0], Memory(counts=10, rejections=5))
        for number in range(50):
            for event in ("accepted", "duplicate"):
                for host in range(20):
                    tally.count(event, f"pod-{number}-{host}.example")
                    tally.rejected(Rejection(clock[0], "bad-signature", "ada@pod.example", "", ""))
            if answers:
                answers.pop().errback(Failure(Unavailable("it hangs")))
                while answers:
                    answers.pop().errback(Failure(Unavailable("it hangs")))
            clock[0] += timedelta(hours=1)
            self.assertEqual([bound.entries() <= bound.limit() for bound in tally.bounds], [True, True])
            tally.flush()
        self.assertEqual(tally.totals, {"accepted": 1000, "duplicate": 1000})
        self.assertEqual([bound.entries() <= bound.limit() for bound in tally.bounds], [True, True])
