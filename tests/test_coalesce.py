"""Shared work."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.coalesce import Coalescing, Crowded, Lasting


class CoalescingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.gate: Deferred[int] = Deferred()
        self.begun = 0
        self.shared: Coalescing[int] = Coalescing(works=2, waiters=3)

    async def work(self) -> int:
        self.begun += 1
        return await self.gate

    def test_one_work_for_all(self) -> None:
        """All who ask for a key while it is under way get the one result."""
        answers = [self.shared.ask("a", self.work) for _ in range(3)]
        self.gate.callback(7)
        self.assertEqual([self.successResultOf(answer) for answer in answers], [7, 7, 7])
        self.assertEqual((self.begun, len(self.shared)), (1, 0))

    def test_one_failure_for_all(self) -> None:
        """All who wait for work that fails get its failure."""
        answers = [self.shared.ask("a", self.work) for _ in range(2)]
        self.gate.errback(ValueError("no"))
        for answer in answers:
            self.failureResultOf(answer, ValueError)

    def test_anew_after_the_end(self) -> None:
        """Who asks after the end begins anew."""
        self.gate.callback(7)
        self.successResultOf(self.shared.ask("a", self.work))
        self.gate = Deferred()
        self.assertNoResult(self.shared.ask("a", self.work))
        self.assertEqual(self.begun, 2)

    def test_bounds(self) -> None:
        """No more keys than allowed are under way, and no more than allowed wait."""
        self.shared.ask("a", self.work)
        self.shared.ask("b", self.work)
        self.failureResultOf(self.shared.ask("c", self.work), Crowded)
        self.shared.ask("a", self.work)
        self.failureResultOf(self.shared.ask("a", self.work), Crowded)
        self.gate.callback(1)

    def test_cancelling_leaves(self) -> None:
        """Who cancels stops waiting; the work goes on for the others."""
        one, other = self.shared.ask("a", self.work), self.shared.ask("a", self.work)
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.gate.callback(7)
        self.assertEqual(self.successResultOf(other), 7)

    def test_idle(self) -> None:
        """It tells when nothing is under way any more."""
        self.successResultOf(self.shared.idle())
        answer = self.shared.ask("a", self.work)
        idle = self.shared.idle()
        self.assertNoResult(idle)
        self.gate.callback(7)
        self.successResultOf(answer)
        self.successResultOf(idle)


class LastingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.seconds = 0.0
        self.made = 0
        self.answers: Lasting[int] = Lasting(lambda: self.seconds, works=2, waiters=3, kept=2)

    async def work(self) -> int:
        self.made += 1
        return self.made

    async def fail(self) -> int:
        raise ValueError

    def ask(self, key: str = "a", lifetime: float = 5.0) -> int:
        return self.successResultOf(self.answers.ask(key, self.work, lifetime))

    def test_given_again(self) -> None:
        """An answer is given again until its time is over."""
        found = []
        for self.seconds in (0.0, 4.9, 5.0, 9.9):
            found.append(self.ask())
        self.assertEqual(found, [1, 1, 2, 2])

    def test_bounded(self) -> None:
        """The answers that were not asked for longest are forgotten."""
        self.assertEqual([self.ask(key) for key in "abacab"], [1, 2, 1, 3, 1, 4])

    def test_failures(self) -> None:
        """A failure is not given again, and does not take away what was known."""
        self.failureResultOf(self.answers.ask("a", self.fail, 5.0), ValueError)
        self.assertEqual(self.ask(), 1)
        self.seconds = 5.0
        self.failureResultOf(self.answers.ask("a", self.fail, 5.0), ValueError)
        self.assertEqual(self.ask(), 2)
