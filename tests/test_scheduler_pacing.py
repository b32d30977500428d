"""Posts that go out over a while."""

from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import LogEntry
from socialrelay.scheduler.pacing import AT_ONCE, SLOWEST, Pacer
from tests.scheduling import EPOCH


def entry(position: int) -> LogEntry:
    return LogEntry(position, "ada@pod.example", EPOCH, 100)


class PacerTests(SynchronousTestCase):
    """When it is whose turn."""

    def setUp(self) -> None:
        self.pacer = Pacer(30.0, lambda numbers: None)

    def released(self, seconds: float) -> int:
        """How many go out at once when it is asked at that time."""
        return sum(len(numbers) for _, numbers in self.pacer.due(seconds))

    def test_few(self) -> None:
        """A post for ten or fewer goes out at once."""
        self.assertEqual(self.pacer.admit(entry(1), range(AT_ONCE), 0.0), (list(range(AT_ONCE)), []))
        self.assertEqual((self.pacer.next, self.pacer.floor), (None, inf))

    def test_off(self) -> None:
        """Without a spread every post goes out at once."""
        self.assertEqual(Pacer(0.0, lambda numbers: None).admit(entry(1), range(1000), 0.0), (list(range(1000)), []))

    def test_spread(self) -> None:
        """The first ten go at once, the others evenly over the spread."""
        at_once, _ = self.pacer.admit(entry(1), range(310), 0.0)
        self.assertEqual(len(at_once), AT_ONCE)
        self.assertEqual(self.released(15.0), 155)
        self.assertEqual(self.released(29.0), 144)
        self.assertEqual(self.released(30.0), 1)
        self.assertEqual((self.pacer.next, self.pacer.floor), (None, inf))

    def test_slowest(self) -> None:
        """A post for few goes out at five a second, not drawn out over the whole spread."""
        self.pacer.admit(entry(1), range(AT_ONCE + 10), 0.0)
        self.assertEqual(self.released(1.0), SLOWEST)
        self.assertEqual(self.released(2.0), SLOWEST)
        self.assertEqual(len(self.pacer), 0)

    def test_one_holds_back_no_other(self) -> None:
        """Each post is paced by itself."""
        self.pacer.admit(entry(1), range(310), 0.0)
        self.assertEqual(len(self.pacer.admit(entry(2), range(310), 1.0)[0]), AT_ONCE)
        self.assertEqual([(found.position, len(numbers)) for found, numbers in self.pacer.due(3.0)], [(1, 31), (2, 20)])

    def test_floor(self) -> None:
        """The lowest position that has still to go out to somebody is known."""
        self.pacer.admit(entry(1), range(310), 0.0)
        self.pacer.admit(entry(2), range(310), 1.0)
        self.assertEqual(self.pacer.floor, 1)
        self.pacer.due(29.5)
        self.assertEqual(self.pacer.floor, 2)

    def test_dropped(self) -> None:
        """A post that is wanted no more goes out to nobody else."""
        at_once, _ = self.pacer.admit(entry(1), range(310), 0.0)
        self.assertEqual(set(self.pacer.drop(1)) | set(at_once), set(range(310)))
        self.assertEqual((self.released(60.0), self.pacer.drop(1)), (0, []))

    def test_too_many(self) -> None:
        """When too many are paced, the rest of the oldest goes out at once, and that is counted."""
        for position in range(1, self.pacer.limit + 1):
            self.assertEqual(self.pacer.admit(entry(position), range(20), 0.0)[1], [])
        [(oldest, numbers)] = self.pacer.admit(entry(self.pacer.limit + 1), range(20), 0.0)[1]
        self.assertEqual((oldest.position, len(numbers), self.pacer.rushed, len(self.pacer)), (1, 10, 1, self.pacer.limit))

    @settings(deadline=None)
    @given(st.integers(0, 400), st.floats(0.1, 100), st.lists(st.floats(0, 40), max_size=30))
    def test_everybody_once(self, recipients: int, spread: float, pauses: list[float]) -> None:
        """Everybody gets it once, nobody before its time, and everybody within the spread or at five a second."""
        pacer = Pacer(spread, lambda numbers: numbers.reverse())
        got = list(pacer.admit(entry(1), range(recipients), 0.0)[0])
        rate = max(SLOWEST, recipients / spread)
        now = 0.0
        for pause in [*pauses, spread, recipients / SLOWEST]:
            now += pause
            for _, numbers in pacer.due(now):
                got += numbers
            self.assertLessEqual(len(got), AT_ONCE + now * rate + 0.001)
        self.assertEqual(sorted(got), list(range(recipients)))
