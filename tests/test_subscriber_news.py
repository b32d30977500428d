"""Tests for L{socialrelay.subscriber_news}: what the bus hears of nodes, from a whole relay over stores in memory."""

from __future__ import annotations

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Rule
from socialrelay.routing.subscription import Scope
from socialrelay.subscriber_news import MOST_BLOCKED
from socialrelay.subscribers import TOLD
from tests.relays import WholeRelay

PUBLISHED = "the node publishes it"


class SubscriberNewsTests(SynchronousTestCase):
    """Changes are announced, each of them; what stays is not."""

    def setUp(self) -> None:
        self.relay = WholeRelay().start()

    def rule(self, *subjects: str) -> None:
        """These are blocked."""
        for subject in subjects:
            self.relay.storage.rules.put(Rule("block", subject, "", self.relay.now(), "root"))
        self.successResultOf(self.relay.subscribers.rules_changed())

    def heard(self) -> list[tuple[str, dict[str, object]]]:
        """What was announced since the last time, without what all of it has."""
        found = self.relay.announced[:]
        self.relay.announced.clear()
        for _, members in found:
            self.assertEqual(members.pop("protocol"), "diaspora")
        return found

    def test_subscribed(self) -> None:
        """That a node subscribes, to what, and that it does no longer, is announced with the reason."""
        self.relay.subscribe("one.example")
        self.relay.subscribe("one.example", "cats", "dogs")
        self.relay.subscribe("one.example", scope=Scope.NONE)
        self.assertEqual(
            self.heard(),
            [
                ("node.subscribed", {"node": "one.example", "reason": PUBLISHED, "selector": "all", "tags": 0}),
                ("node.subscribed", {"node": "one.example", "reason": PUBLISHED, "selector": "tags", "tags": 2}),
                ("node.unsubscribed", {"node": "one.example", "reason": "the node publishes that it wants nothing"}),
            ],
        )

    def test_no_change(self) -> None:
        """A poll that finds all as it was, and the next start of the relay, announce nothing."""
        self.relay.subscribe("one.example", "cats")
        self.heard()
        self.relay.subscribe("one.example", "cats")
        self.relay.subscribe("two.example", scope=Scope.NONE)
        again = WholeRelay(self.relay.tables).start()
        self.assertEqual((self.heard(), again.announced), ([], []))
        self.assertEqual(len(again.subscribers.subscribed()), 1)

    def test_blocked(self) -> None:
        """A host that is blocked is announced once, known or not, and its subscription ends; of authors nothing is said."""
        self.relay.subscribe("one.example")
        self.heard()
        self.rule("one.example", "two.example", "ada@three.example")
        self.rule()
        heard = self.heard()
        self.assertEqual(heard[0], ("node.unsubscribed", {"node": "one.example", "reason": "blocked by the operator"}))
        self.assertCountEqual(heard[1:], [("node.blocked", {"node": f"{name}.example", "reason": "blocked"}) for name in ("one", "two")])

    def test_many(self) -> None:
        """When rules end many subscriptions each of them is announced, though the log only says how many."""
        hosts = [f"pod-{number}.example" for number in range(TOLD + 1)]
        for host in hosts:
            self.relay.subscribe(host)
        self.heard()
        with capturedLogs() as logs:
            self.rule(*hosts)
        self.assertEqual([event["count"] for event in logs if "count" in event], [len(hosts)])
        self.assertEqual(len([event for event, _ in self.heard() if event == "node.unsubscribed"]), len(hosts))

    def test_long_list(self) -> None:
        """Of a list without end only the beginning is announced."""
        self.rule(*(f"pod-{number}.example" for number in range(MOST_BLOCKED + 1)))
        self.assertEqual(len(self.heard()), MOST_BLOCKED)
