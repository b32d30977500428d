"""Tests for L{socialrelay.afterwards}."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.afterwards import AFTER, AGAIN, Afterwards
from socialrelay.boundaries import Unavailable


class ScriptedBus:
    """Erases as it is told."""

    def __init__(self) -> None:
        self.erased: list[dict[str, str]] = []
        self.answers: list[Deferred[int]] = []

    def erase(self, **names: str) -> Deferred[int]:
        self.erased.append(names)
        return self.answers.pop(0) if self.answers else succeed(1)


class AfterwardsTests(SynchronousTestCase):
    """What was on its way when it was asked for."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bus = ScriptedBus()
        self.afterwards = Afterwards(self.bus, self.clock)  # type: ignore[arg-type]

    def guids(self) -> list[str]:
        return [names["guid"] for names in self.bus.erased]

    def test_later(self) -> None:
        """Each name is erased when its time has come, and then nothing is left to do."""
        self.afterwards.erase(author="ada@pod.example", guid="one")
        self.clock.advance(AFTER / 2)
        self.afterwards.erase(guid="two")
        self.clock.advance(AFTER / 2)
        self.assertEqual(self.bus.erased, [{"author": "ada@pod.example", "guid": "one"}])
        self.clock.advance(AFTER / 2)
        self.assertEqual(self.guids(), ["one", "two"])
        self.assertEqual((self.clock.getDelayedCalls(), self.afterwards.waiting), ([], 0))

    def test_one_at_a_time(self) -> None:
        """The next is begun when the one before it is done."""
        first: Deferred[int] = Deferred()
        self.bus.answers.append(first)
        self.afterwards.erase(guid="one")
        self.afterwards.erase(guid="two")
        self.clock.advance(AFTER)
        self.afterwards.erase(guid="three")
        self.assertEqual(self.guids(), ["one"])
        first.callback(1)
        self.assertEqual(self.guids(), ["one", "two"])
        self.clock.advance(AFTER)
        self.assertEqual(self.guids(), ["one", "two", "three"])

    def test_database_away(self) -> None:
        """While the database is away it is tried again."""
        self.bus.answers.append(fail(Unavailable("away")))
        self.afterwards.erase(guid="one")
        self.clock.advance(AFTER)
        self.assertEqual(self.afterwards.waiting, 1)
        self.clock.advance(AGAIN)
        self.assertEqual((self.guids(), self.afterwards.waiting), (["one", "one"], 0))

    def test_bug(self) -> None:
        """An error of ours is logged, and keeps nobody else back."""
        self.bus.answers.append(fail(KeyError("ours")))
        self.afterwards.erase(guid="one")
        self.afterwards.erase(guid="two")
        self.clock.advance(AFTER)
        self.assertEqual((self.guids(), self.afterwards.waiting), (["one", "two"], 0))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_bounded(self) -> None:
        """Names that are too many are dropped and counted."""
        self.afterwards.most = 1
        self.afterwards.erase(guid="one")
        self.afterwards.erase(guid="two")
        self.assertEqual((self.afterwards.waiting, self.afterwards.dropped), (1, 1))

    def test_stop(self) -> None:
        """A stop waits for what is under way, does what waits at once, and leaves nothing behind."""
        under_way: Deferred[int] = Deferred()
        self.bus.answers.append(under_way)
        self.afterwards.erase(guid="one")
        self.clock.advance(AFTER)
        self.afterwards.erase(guid="two")
        stopped = Deferred.fromCoroutine(self.afterwards.stop())
        self.assertNoResult(stopped)
        under_way.callback(1)
        self.successResultOf(stopped)
        self.assertEqual((self.guids(), self.clock.getDelayedCalls()), (["one", "two"], []))

    def test_stop_while_the_database_is_away(self) -> None:
        """A stop does not wait for a database that is away."""
        self.bus.answers.append(fail(Unavailable("away")))
        self.afterwards.erase(guid="one")
        self.successResultOf(Deferred.fromCoroutine(self.afterwards.stop()))
        self.assertEqual((self.afterwards.waiting, self.clock.getDelayedCalls()), (1, []))
