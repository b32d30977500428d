"""Periodic work that has something to finish."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.running.finishing import Finishing
from socialrelay.services import Periodic


class FinishingTests(SynchronousTestCase):
    def test_a_round_that_only_finishing_ends(self) -> None:
        """It stops when its round and what is to be finished have ended, even if the round waits for the finishing; no timer is left."""
        clock = Clock()
        gate: Deferred[None] = Deferred()
        ends: Deferred[None] = Deferred()

        def finish() -> Deferred[None]:
            gate.callback(None)
            return ends

        service = Finishing(Periodic(lambda: gate, 10, clock, name="rounds"), finish)
        service.startService()
        clock.advance(0)
        stopped = service.stopService()
        self.assertNoResult(stopped)
        ends.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_without_rounds(self) -> None:
        """Without periodic work it only finishes."""
        ends: Deferred[None] = Deferred()
        service = Finishing(None, lambda: ends)
        service.startService()
        stopped = service.stopService()
        self.assertNoResult(stopped)
        ends.callback(None)
        self.successResultOf(stopped)
