"""What becomes of the subscription of a host whose endpoint says that it is gone."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve
from twisted.internet.defer import fail
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Unavailable
from socialrelay.routing.subscription import Effective, Scope
from socialrelay.scheduler.orders import What
from socialrelay.scheduler.outcome import Answer
from socialrelay.scheduler.record import DestinationRecord, State
from tests.envelopes import Author
from tests.relays import WholeRelay

ALICE = Author("alice@pod-a.example")
HOUR, DAY = 3600.0, 86400.0


class RetiredTests(SynchronousTestCase):
    """A node that answers 410 Gone to deliveries is left alone for a week."""

    def setUp(self) -> None:
        self.relay = self.started()
        self.relay.subscribe("one.example")
        self.relay.transport.reply = lambda url: Answer(410)

    def started(self) -> WholeRelay:
        relay = WholeRelay(self.relay.tables if hasattr(self, "relay") else None)
        if hasattr(self, "relay"):
            relay.clock.advance(self.relay.clock.seconds() - relay.clock.seconds())
        relay.start()
        relay.keyring.hold(ALICE)
        return relay

    def post(self) -> None:
        """There is news about cats."""
        self.successResultOf(self.relay.relay.accept(ALICE.post("#cats"), "192.0.2.1"))
        self.relay.run()

    def pass_days(self, days: float, *, posts: bool = False) -> None:
        """Time goes by."""
        for _ in range(round(days * 24)):
            self.relay.run(HOUR)
            if posts:
                self.post()

    def until_gone(self) -> None:
        """Its endpoint says for more than a day that it is gone."""
        self.post()
        while not any(event.what is What.GONE for event in self.relay.events):
            self.pass_days(0.1)

    def effective(self) -> Effective:
        return self.relay.subscribers.effective("one.example")

    def row(self) -> DestinationRecord:
        [row] = self.successResultOf(self.relay.storage.destinations.load())
        return row

    def recipients(self) -> frozenset[int]:
        return self.relay.subscribers.recipients(frozenset({"cats"}), "pod-a.example")

    def test_retired(self) -> None:
        """Its subscription ends, new posts do not name it, and what is so is kept with its destination."""
        self.until_gone()
        self.relay.run()
        self.assertEqual((self.effective().scope, self.effective().why), (Scope.NONE, "it answers 410 Gone to deliveries"))
        self.assertEqual(self.recipients(), frozenset())
        self.assertEqual((self.row().state, self.row().subscribed), (State.GONE, False))

    def test_signs_of_life(self) -> None:
        """Neither a poll that is answered nor a post that comes from it takes it up before its time."""
        self.until_gone()
        self.relay.transport.sent.clear()
        self.relay.subscribe("one.example")
        self.relay.dispatcher.alive("one.example")
        self.post()
        self.assertEqual((self.relay.transport.sent, self.row().state), ([], State.GONE))

    def test_restart(self) -> None:
        """After a restart it is still retired, and the operator still sees it."""
        self.until_gone()
        self.relay.run()
        until = self.effective().until
        self.relay = self.started()
        self.assertIsNotNone(self.effective().until)
        self.assertLess(abs((self.effective().until - until).total_seconds()), DAY)
        self.assertEqual(self.recipients(), frozenset())
        self.assertIs(self.relay.dispatcher.destination("one.example").record.state, State.GONE)

    def test_crash(self) -> None:
        """A relay that died before it ended the subscription ends it when it starts."""
        self.until_gone()
        self.relay.run()
        self.relay.tables.destinations[0] = evolve(self.row(), subscribed=True)
        self.relay = self.started()
        self.assertEqual((self.recipients(), self.row().subscribed), (frozenset(), False))

    def test_week_is_over(self) -> None:
        """After a week the next poll takes it up again, also after a restart, and it gets what is posted from then on."""
        for again in (False, True):
            self.relay.transport.reply = lambda url: Answer(410)
            self.relay.events.clear()
            self.until_gone()
            if again:
                self.relay = self.started()
            self.pass_days(8.1)
            self.relay.subscribe("one.example")
            self.relay.transport.sent.clear()
            self.relay.transport.reply = lambda url: Answer(202)
            self.post()
            self.assertEqual(self.relay.transport.hosts(), ["one.example"])
            self.assertEqual((self.row().subscribed, self.row().gone_since), (True, None))

    def test_few_attempts(self) -> None:
        """However much is posted, and however often it is polled, it is sent to at most 25 times in any week."""
        times: list[datetime] = []
        self.relay.transport.reply = lambda url: times.append(self.relay.now()) or Answer(410)
        for _ in range(40):
            self.pass_days(0.5, posts=True)
            self.relay.subscribe("one.example")
        self.assertGreater(len(times), 12)
        for first in times:
            self.assertLessEqual(sum(0 <= (each - first).total_seconds() < 7 * DAY for each in times), 25)

    def test_taken_up(self) -> None:
        """When it is to be taken up, it gets what is posted from then on."""
        self.until_gone()
        self.relay.transport.reply = lambda url: Answer(202)
        self.relay.transport.sent.clear()
        self.assertIs(self.successResultOf(self.relay.subscribers.take_up("one.example")).scope, Scope.ALL)
        self.assertEqual(self.relay.transport.sent, [])
        self.post()
        self.assertEqual(self.relay.transport.hosts(), ["one.example"])

    def test_refusal_counts_first(self) -> None:
        """Of a node that has published a refusal meanwhile, the refusal is the reason."""
        self.until_gone()
        self.relay.subscribe("one.example", scope=Scope.NONE)
        self.assertEqual(self.effective().why, "the node publishes that it wants nothing")

    def test_storage_away(self) -> None:
        """If its subscription cannot be ended now, the next poll ends it."""
        self.post()
        destinations = self.relay.subscribers._destinations
        self.relay.subscribers._destinations = type("Away", (), {"close": lambda *_: fail(Unavailable("away"))})()
        with capturedLogs() as logs:
            self.assertIsNone(self.successResultOf(self.relay.subscribers.retire("one.example")))
        self.assertEqual([event["log_level"] for event in logs if event.get("host") == "one.example"], [LogLevel.debug])
        self.relay.subscribers._destinations = destinations
        self.relay.subscribe("one.example")
        self.assertEqual((self.recipients(), self.row().subscribed), (frozenset(), False))

    def test_bug(self) -> None:
        """An error of ours is logged as one."""
        self.relay.subscribers._destinations = None
        self.successResultOf(self.relay.subscribers.retire("one.example"))
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
