"""Tests for L{socialrelay.delivery.announcing}: what the bus hears of deliveries, from a whole relay over stores in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.digest import digest_of
from socialrelay.routing.subscription import Scope
from socialrelay.scheduler.breaker import POST_RETRY
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble
from tests.envelopes import Author
from tests.relays import WholeRelay

ALICE = Author("alice@pod-a.example")
BOB = Author("bob@pod-b.example")
HOUR, DAY = 3600.0, 86400.0
TARGET = {"target": "https://one.example/receive/public", "node": "one.example"}


class DeliveryAnnouncementTests(SynchronousTestCase):
    """What went wrong at a node, once."""

    def setUp(self) -> None:
        self.relay = WholeRelay().start()
        self.relay.keyring.hold(ALICE)
        self.relay.keyring.hold(BOB)
        self.relay.subscribe("one.example")
        self.relay.announced.clear()

    def answer(self, reply: Reply | None) -> None:
        """From now on the node answers so."""
        self.relay.transport.reply = lambda url: reply

    def post(self, author: Author = ALICE) -> str:
        """A post; its short name."""
        body = author.post("Hello")
        self.successResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run()
        return digest_of(body)

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        """What was announced of deliveries and nodes since the last time."""
        found = [(event, members) for event, members in self.relay.announced if not event.startswith("payload.")]
        self.relay.announced.clear()
        return found

    def seconds_until(self, moment: object) -> float:
        assert isinstance(moment, int)
        return moment - self.relay.now().timestamp()

    def test_well(self) -> None:
        """Deliveries that go well are not announced."""
        self.post()
        self.assertEqual(self.heard(), [])

    def test_host_fails(self) -> None:
        """That a node cannot be reached is announced with the time of the next attempt, and so is each attempt that fails then."""
        self.answer(NoAnswer(Trouble.CONNECT, "stranger's text"))
        post = self.post()
        for attempt, delay in ((1, 20), (2, 20)):
            [(event, members)] = self.heard()
            delay_told = self.seconds_until(members.pop("next_retry"))
            self.assertEqual(event, "delivery.failed")
            self.assertEqual(members, {**TARGET, "post": post, "status": None, "error": "connect", "attempt": attempt})
            self.assertTrue(delay / 2 < delay_told <= delay * 1.5, delay_told)
            self.relay.run(delay_told + 1)
        self.answer(Answer(202))
        self.heard()
        self.relay.run(HOUR)
        self.assertEqual(self.heard(), [("node.back", {"node": "one.example", "failures": 3})])

    def test_several_under_way(self) -> None:
        """Of several that were under way when a node failed only the first is announced."""
        self.answer(None)
        self.post(ALICE)
        self.post(BOB)
        for hanging in self.relay.transport.hanging:
            hanging.callback(Answer(503))
        self.relay.run()
        [(event, members)] = self.heard()
        self.assertEqual((event, members["status"], members["error"]), ("delivery.failed", 503, "5xx"))

    def test_bounced(self) -> None:
        """A post that a node refuses for itself is given up."""
        self.answer(Answer(403))
        post = self.post()
        members = {**TARGET, "post": post, "posts": 1, "status": 403, "error": "4xx", "attempts": 1, "age": 0}
        self.assertEqual(self.heard(), [("delivery.dead", members)])

    def test_post_later(self) -> None:
        """A post that fails by itself is announced with each attempt, and at last as given up, with its age."""
        self.answer(Answer(400))
        post = self.post()
        for attempt in (1, 2):
            [(event, members)] = self.heard()
            self.assertTrue(0 < self.seconds_until(members.pop("next_retry")) <= POST_RETRY)
            self.assertEqual(
                (event, members), ("delivery.failed", {**TARGET, "post": post, "status": 400, "error": "4xx", "attempt": attempt})
            )
            self.relay.run(POST_RETRY)
            self.relay.run(10)
        [(event, members)] = self.heard()
        self.assertEqual((event, members["attempts"]), ("delivery.dead", 3))
        self.assertGreaterEqual(members["age"], 2 * POST_RETRY)

    def test_unsubscribed_meanwhile(self) -> None:
        """What is cancelled while it is under way is neither tried again nor given up."""
        self.answer(None)
        self.post()
        self.relay.subscribe("one.example", scope=Scope.NONE)
        self.heard()
        self.relay.transport.hanging[0].callback(Answer(400))
        self.relay.run()
        self.assertEqual(self.heard(), [])

    def test_dead(self) -> None:
        """A node without success for as long as a post may wait is dead; what waited too long for it was given up, and is counted."""
        self.answer(NoAnswer(Trouble.TIMEOUT))
        for _ in range(16):
            self.post()
            for _ in range(12):
                self.relay.run(HOUR)
        heard = self.heard()
        [(_, dead)] = [each for each in heard if each[0] == "node.dead"]
        self.assertEqual(dead["node"], "one.example")
        given_up = [members for event, members in heard if event == "delivery.dead"]
        self.assertGreater(sum(members.pop("posts") for members in given_up), 13)
        nothing = {"status": None, "attempts": None, "age": None, "post": None}
        self.assertEqual(given_up, [{**TARGET, **nothing, "error": "expired"}] * len(given_up))

    def test_gone(self) -> None:
        """A node that says for a day that it has gone is announced as gone."""
        self.answer(Answer(410))
        self.post()
        for _ in range(30):
            self.relay.run(HOUR)
        heard = self.heard()
        self.assertIn("node.gone", [event for event, _ in heard])
        self.assertEqual({members["error"] for event, members in heard if event == "delivery.failed"}, {"4xx"})

    def test_each(self) -> None:
        """If it is asked for, each post that is queued and each delivery is announced."""
        self.relay.announcements.each = True
        post = self.post()
        heard = self.heard()
        self.assertEqual(heard[0], ("delivery.queued", {"post": post, "targets": 1}))
        [(event, members)] = heard[1:]
        self.assertGreaterEqual(members.pop("delay"), 0)
        self.assertEqual((event, members), ("delivery.succeeded", {**TARGET, "post": post, "status": 202}))

    def test_nobody_wants_it(self) -> None:
        """A post that nobody wants is not queued."""
        self.relay.announcements.each = True
        self.successResultOf(self.relay.relay.accept(Author("carol@one.example").post("Hi"), "192.0.2.1"))
        self.relay.run()
        self.assertEqual(self.heard(), [])
