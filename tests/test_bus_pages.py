"""Tests for L{socialrelay.bus.pages}."""

from __future__ import annotations

import json

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.pages import page_text
from socialrelay.bus.replay import plain_page
from socialrelay.unhurried import SLICE, Unhurried
from tests.test_bus_ingest import page


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = self.each = 0.0
        self.pauses: list[Deferred[None]] = []
        self.unhurried = Unhurried(self._seconds, self._pause)

    def _seconds(self) -> float:
        self.now += self.each
        return self.now

    def _pause(self) -> Deferred[None]:
        self.pauses.append(Deferred())
        return self.pauses[-1]

    def test_same(self) -> None:
        """
        It is the page as JSON, whatever is in it.
        """
        many = page(1, 2, 3)
        odd = evolve(many, messages=[evolve(message, body='{"msg": "ä\\u0000\\"\U0001f600"}'.encode()) for message in many.messages])
        for each in (page(), many, odd):
            text = self.successResultOf(Deferred.fromCoroutine(page_text(each, self.unhurried)))
            self.assertEqual(json.loads(text), plain_page(each))
            self.assertEqual(text.index(b"\n"), len(text) - 1)

    def test_others_have_their_turn(self) -> None:
        """
        While a page is made whose messages take their time, others have their turn again and again.
        """
        self.each = SLICE
        making = Deferred.fromCoroutine(page_text(page(*[1000] * 20), self.unhurried))
        for number in range(20):
            self.assertNoResult(making)
            self.pauses[number].callback(None)
        self.assertEqual(len(json.loads(self.successResultOf(making))["messages"]), 20)
