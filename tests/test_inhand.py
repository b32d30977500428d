"""What is being done with posts."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Full
from socialrelay.inhand import InHand


class InHandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.in_hand = InHand()
        self.order: list[str] = []

    def idle(self, hash: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(self.in_hand.idle(hash))

    def turn(self, name: str, until: Deferred[None]) -> Deferred[None]:
        """Wait for the post, and then be busy with it until something happens."""

        async def busy() -> None:
            await self.in_hand.idle(b"a")
            with self.in_hand.doing(b"a"):
                self.order.append(name)
                await until
                self.order.append(f"{name} ends")

        return Deferred.fromCoroutine(busy())

    def test_idle(self) -> None:
        """Nobody waits for a post with which nothing is done."""
        with self.in_hand.doing(b"b", b"c"):
            self.successResultOf(self.idle(b"a"))
        self.successResultOf(self.idle(b"b"))

    def test_until_the_last(self) -> None:
        """Who waits waits until nothing at all is done with the post, also if that ends with an error."""
        with self.in_hand.doing(b"a"):
            with self.in_hand.doing(b"b", b"a"):
                waiting = self.idle(b"a")
            self.assertNoResult(waiting)
        self.successResultOf(waiting)
        with self.assertRaises(ZeroDivisionError), self.in_hand.doing(b"a"):
            waiting = self.idle(b"a")
            raise ZeroDivisionError
        self.successResultOf(waiting)

    def test_one_after_the_other(self) -> None:
        """Of several who wait only one goes on at a time, in their order."""
        ends: list[Deferred[None]] = [Deferred() for _ in range(3)]
        turns = [self.turn(name, end) for name, end in zip("xyz", ends, strict=True)]
        for end in ends:
            end.callback(None)
        for turn in turns:
            self.successResultOf(turn)
        self.assertEqual(self.order, ["x", "x ends", "y", "y ends", "z", "z ends"])
        self.assertEqual((self.in_hand._busy, self.in_hand._waiting, self.in_hand.waiters), ({}, {}, 0))

    def test_bounded(self) -> None:
        """Only so many may wait."""
        self.in_hand = InHand(limit=2)
        with self.in_hand.doing(b"a"):
            waiting = [self.idle(b"a") for _ in range(2)]
            self.failureResultOf(self.idle(b"a"), Full)
        for each in waiting:
            self.successResultOf(each)
