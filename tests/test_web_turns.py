"""Tests for L{socialrelay.web.turns}."""

from __future__ import annotations

from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.web.turns import SLICE, Turns


class TurnsTests(SynchronousTestCase):
    """Whose turn it is."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.done: list[int] = []

    def work(self, number: int, seconds: float = SLICE) -> None:
        """Something that takes its time."""
        self.done.append(number)
        self.clock.rightNow += seconds

    def test_in_slices(self) -> None:
        """
        What takes longer than a slice is spread over several turns of the event loop, in order.
        """
        seen = []
        for number in range(6):
            self.turns.run(partial(self.work, number, SLICE / 2))
        while len(self.turns):
            seen.append(len(self.done))
            [turn] = self.clock.getDelayedCalls()
            call = turn.func
            turn.cancel()
            call()
        self.assertEqual((seen, self.done), ([2, 4], [0, 1, 2, 3, 4, 5]))
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_overtakes(self) -> None:
        """
        Who comes while others wait comes after them, also in the next turn.
        """
        self.turns.run(partial(self.work, 0))
        self.turns.run(partial(self.work, 1))
        self.turns.run(lambda: self.turns.run(partial(self.work, 3)))
        self.turns.run(partial(self.work, 2))
        self.clock.advance(0)
        self.assertEqual(self.done, [0, 1, 2, 3])

    def test_at_once(self) -> None:
        """
        While there is little to do, everything is done at once.
        """
        for number in range(3):
            self.turns.run(partial(self.work, number, 0.0))
            self.assertEqual(len(self.done), number + 1)
            self.clock.advance(0)

    def test_failure(self) -> None:
        """
        Who fails does not keep others from their turns.
        """
        self.turns.run(partial(self.work, 0))
        self.turns.run(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
        self.turns.run(partial(self.work, 1))
        self.assertRaises(ZeroDivisionError, self.clock.advance, 0)
        self.clock.advance(0)
        self.assertEqual(self.done, [0, 1])
