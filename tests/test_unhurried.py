"""Long work, a few milliseconds at a time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.unhurried import SLICE, Unhurried


class UnhurriedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.done: list[int] = []
        self.pauses: list[Deferred[None]] = []
        self.work = Unhurried(self.clock.seconds, self.pause)

    def pause(self) -> Deferred[None]:
        self.pauses.append(Deferred())
        return self.pauses[-1]

    async def do(self, each: float) -> None:
        async for item in self.work.over(range(10)):
            self.done.append(item)
            self.clock.rightNow += each

    def test_pauses(self) -> None:
        """Others have their turn whenever a slice of time has gone by, and every item is done once."""
        over = Deferred.fromCoroutine(self.do(SLICE / 2.5))
        self.assertEqual(self.done, [0, 1, 2])
        self.pauses[0].callback(None)
        self.assertEqual(self.done, [0, 1, 2, 3, 4, 5])
        for pause in self.pauses[1:]:
            self.assertNoResult(over)
            pause.callback(None)
        self.pauses[-1].callback(None)
        self.successResultOf(over)
        self.assertEqual(self.done, list(range(10)))

    def test_quick(self) -> None:
        """What takes no time needs no pause."""
        self.successResultOf(Deferred.fromCoroutine(self.do(0.0)))
        self.assertEqual((len(self.done), self.pauses), (10, []))
