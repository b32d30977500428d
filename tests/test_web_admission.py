"""Tests for L{socialrelay.web.admission}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.web.admission import AT_FIRST, AT_ONCE, FEWEST, LATELY, MOST, PROMPT, QUIET, RELIEF, Admission


class AdmissionTests(SynchronousTestCase):
    """How many bodies are taken in hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[None] = []
        self.admission = Admission(self.clock, lambda: self.told.append(None))
        self.logged: list[str] = []
        observer = lambda event: self.logged.append(event["log_level"].name)  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def take(self, count: int) -> list[float]:
        """Take so many, or as many as may be, each in a turn of its own; since when they are in hand."""
        taken = []
        for _ in range(count):
            self.clock.advance(0)
            if (since := self.admission.take()) is not None:
                taken.append(since)
        return taken

    def settle(self, taken: list[float]) -> None:
        """All of them are settled."""
        for since in taken:
            self.admission.settled(since)

    def test_limit(self) -> None:
        """
        When as many are in hand as may be, others are refused until a good part of them is settled.
        """
        taken = self.take(AT_FIRST + 1)
        self.assertEqual((len(taken), self.admission.in_hand, self.admission.refused, len(self.told)), (AT_FIRST, AT_FIRST, 1, 1))
        self.clock.advance(PROMPT * 0.6)
        few = int(AT_FIRST * (1 - RELIEF))
        self.settle(taken[:few])
        self.assertEqual(self.take(1), [])
        self.settle(taken[few : few + 1])
        self.assertEqual(len(self.take(1)), 1)

    def test_few_at_a_time(self) -> None:
        """
        When as many were in hand as may be, few are taken in one turn of the event loop for a while, and the others are refused, though
        there would be place; that does not make it last, and at other times as many are taken as come.
        """
        taken = [self.admission.take() for _ in range(AT_FIRST + 1)]
        self.assertEqual(taken.index(None), AT_FIRST)
        self.settle([since for since in taken if since is not None])
        for _ in range(2):
            self.assertEqual([self.admission.take() is not None for _ in range(AT_ONCE + 2)], [True] * AT_ONCE + [False] * 2)
            self.assertFalse(self.admission.has_place)
            self.clock.advance(LATELY / 3)
        self.assertTrue(self.admission.has_place)
        self.clock.advance(LATELY / 3)
        self.assertEqual([self.admission.take() for _ in range(AT_FIRST // 2)].count(None), 0)

    def test_slow(self) -> None:
        """
        While bodies take too long fewer are taken, step by step, to a floor; one step is for all that were begun before it.
        """
        limits = []
        for _ in range(30):
            taken = self.take(MOST)
            self.clock.advance(PROMPT * 2)
            self.settle(taken)
            limits.append(self.admission.limit)
        self.assertEqual(limits[:2], [AT_FIRST * 3 // 4, AT_FIRST * 3 // 4 * 3 // 4])
        self.assertEqual(limits[-1], FEWEST)

    def test_quick(self) -> None:
        """
        While there could be more, and they are settled in no time, more are taken, up to a bound; while there are few nothing is learned.
        """
        for _ in range(100):
            self.settle(self.take(10))
        self.assertEqual(self.admission.limit, AT_FIRST)
        for _ in range(100):
            self.settle(self.take(MOST))
        self.assertEqual(self.admission.limit, MOST)

    def test_one_that_is_slow(self) -> None:
        """
        A body that takes long while few are in hand says nothing about how many there may be.
        """
        taken = self.take(1)
        self.clock.advance(PROMPT * 10)
        self.settle(taken)
        self.assertEqual(self.admission.limit, AT_FIRST)

    def test_told_once(self) -> None:
        """
        An overload is told when it begins and when it is over, and operators see it as long as it lasts.
        """
        self.assertTrue(self.admission.condition().well)
        for _ in range(3):
            taken = self.take(MOST)
            self.settle(taken)
            self.clock.advance(QUIET / 2)
            self.assertFalse(self.admission.condition().well)
        self.assertEqual(self.logged, ["warn"])
        self.clock.pump([1.0] * int(QUIET))
        self.assertEqual((self.logged, self.admission.condition().well), (["warn", "info"], True))
        self.assertEqual((self.clock.getDelayedCalls(), self.admission.in_hand), ([], 0))
