"""Tests for L{socialrelay.bus.pages}."""

from __future__ import annotations

import json

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.pages import PageTexts
from socialrelay.bus.replay import plain_page
from socialrelay.unhurried import SLICE
from tests.test_bus_ingest import page


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = self.each = 0.0
        self.pauses: list[Deferred[None]] = []
        self.texts = PageTexts(self._seconds, self._pause)

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
            text = self.successResultOf(Deferred.fromCoroutine(self.texts.of(each)))
            self.assertEqual(json.loads(text), plain_page(each))
            self.assertEqual(text.index(b"\n"), len(text) - 1)

    def test_others_have_their_turn(self) -> None:
        """
        While a page is made whose messages take their time, others have their turn again and again.
        """
        self.each = SLICE
        making = Deferred.fromCoroutine(self.texts.of(page(*[1000] * 20)))
        for number in range(20):
            self.assertNoResult(making)
            self.pauses[number].callback(None)
        self.assertEqual(len(json.loads(self.successResultOf(making))["messages"]), 20)

    def go_on(self) -> None:
        """Let the reactor's turns pass until nothing more is to be done."""
        while self.pauses:
            self.pauses.pop(0).callback(None)

    def test_one_after_the_other(self) -> None:
        """
        Of several pages the next is begun when the one before is done or given up, and only if it is still wanted; however many wait.
        """
        self.each = SLICE
        first, second = (Deferred.fromCoroutine(self.texts.of(page(1000))) for _ in range(2))
        unwanted = [Deferred.fromCoroutine(self.texts.of(page(1), lambda: False)) for _ in range(500)]
        last = Deferred.fromCoroutine(self.texts.of(page(1000)))
        self.assertEqual(len(self.pauses), 1)
        for given_up in (second, first):
            given_up.cancel()
            self.failureResultOf(given_up, CancelledError)
        self.pauses.pop(0)
        self.go_on()
        self.assertEqual({self.successResultOf(each) for each in unwanted}, {b""})
        self.assertEqual(len(json.loads(self.successResultOf(last))["messages"]), 1)
