"""What rules do to posts and nodes: from the front door to the transport."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import ListedRule, Rule, RuleSet, Unavailable
from socialrelay.config import Policy
from socialrelay.routing.subscription import Scope
from socialrelay.scheduler.outcome import Answer, NoAnswer, Trouble
from socialrelay.subscribers import NODES_AT_ONCE, TOLD
from tests.envelopes import Author
from tests.relays import WholeRelay

ALICE, BOB, EVE = Author("alice@pod-a.example"), Author("bob@pod-a.example"), Author("eve@pod-b.example")


class RulesTestCase(SynchronousTestCase):
    policy = Policy()

    def setUp(self) -> None:
        self.relay = WholeRelay(policy=self.policy).start()
        for author in (ALICE, BOB, EVE):
            self.relay.keyring.hold(author)

    def send(self, body: bytes) -> None:
        self.successResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run()

    def rule(self, action: str, subject: str, **changes: Any) -> None:
        """An operator made a rule."""
        self.relay.storage.rules.put(Rule(action, subject, "", self.relay.now(), "root", **changes))
        self.successResultOf(self.relay.subscribers.rules_changed())
        self.relay.run()

    def undo(self, action: str, subject: str) -> None:
        self.relay.storage.rules.remove(action, subject)
        self.successResultOf(self.relay.subscribers.rules_changed())

    def take_over(self, *subjects: str, name: str = "friends") -> None:
        """A list is what it is now."""
        taken = RuleSet(name, "", "block", self.relay.now(), "root", self.relay.now())
        self.relay.storage.rules.replace(taken, [ListedRule("block", subject) for subject in subjects])
        self.successResultOf(self.relay.subscribers.rules_changed())

    def lapse(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.relay.subscribers.lapse()))

    def delivered(self, body: bytes) -> list[str]:
        """Whom a post is sent to."""
        self.relay.transport.sent.clear()
        self.send(body)
        return self.relay.transport.hosts()

    def rejections(self) -> list[tuple[str, str]]:
        self.successResultOf(self.relay.tally.flush())
        return [(each.reason, each.author) for each in self.relay.tables.rejected]

    def hosts(self) -> list[str]:
        return sorted(self.relay.subscribers.subscribed())


class PostTests(RulesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.relay.subscribe("all.example")

    def test_blocked_tag(self) -> None:
        """No post with a blocked tag is relayed, in whatever case it is written, and what waits of them is cancelled."""
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.send(ALICE.post("#Spam first"))
        self.send(ALICE.post("#cats first"))
        self.rule("block", "#spam")
        self.relay.transport.reply = lambda url: Answer(202)
        self.relay.transport.sent.clear()
        self.relay.run(300.0)
        self.assertEqual(len(self.relay.transport.sent), 1)
        self.assertEqual(self.relay.dispatcher.destination("all.example").record.cancelled, 1)
        self.assertEqual(self.delivered(EVE.post("more #SPAM and #cats")), [])
        self.assertEqual(self.rejections(), [("blocked-tag", EVE.handle)])
        self.assertEqual(self.delivered(EVE.post("#spammer")), ["all.example"])

    def test_limited(self) -> None:
        """What is limited is kept in the log, with its identity, is sent to nobody, and is told of and counted as such."""
        for subject, body in (("pod-a.example", ALICE.post("1")), (EVE.handle, EVE.post("2")), ("#loud", BOB.post("#Loud"))):
            self.rule("limit", subject)
            before = self.relay.tables.end
            self.assertEqual(self.delivered(body), [])
            self.assertEqual(self.relay.tables.end, before + 1)
            self.assertEqual(self.relay.tables.posts[before + 1].recipients, frozenset())
            self.send(body)
            self.assertEqual(self.relay.tables.end, before + 1)
            self.undo("limit", subject)
            self.assertEqual(self.delivered(body), [])
        self.assertEqual(self.rejections(), [("limited", author.handle) for author in (ALICE, EVE, BOB)])
        totals = self.relay.tally.totals
        self.assertEqual((totals["limited"], totals["duplicate"], totals["accepted"], totals["ignored"]), (3, 6, 0, 0))

    def test_limited_host_receives(self) -> None:
        """A limited node is sent posts as before."""
        self.rule("limit", "all.example")
        self.assertEqual(self.delivered(ALICE.post("1")), ["all.example"])

    def test_limit_cancels_nothing(self) -> None:
        """What waited when its author was limited is sent all the same."""
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.send(ALICE.post("First"))
        self.rule("limit", ALICE.handle)
        self.relay.transport.reply = lambda url: Answer(202)
        self.relay.transport.sent.clear()
        self.relay.run(300.0)
        self.assertEqual(self.relay.transport.hosts(), ["all.example"])

    def test_retraction_of_what_is_limited(self) -> None:
        """A post that nobody was sent is taken back without telling anybody."""
        self.rule("limit", ALICE.handle)
        self.send(ALICE.post("First", guid="0123456789abcdef"))
        self.assertEqual(self.delivered(ALICE.retraction("0123456789abcdef")), [])

    def test_block_counts_before_limit(self) -> None:
        """What is blocked and limited is blocked."""
        self.rule("limit", ALICE.handle)
        self.rule("block", "pod-a.example")
        self.send(ALICE.post("1"))
        self.assertEqual((self.relay.tables.end, self.rejections()), (0, [("blocked", ALICE.handle)]))


class HourlyTests(RulesTestCase):
    policy = Policy(posts_per_author=2, posts_per_host=3)

    def setUp(self) -> None:
        super().setUp()
        self.relay.subscribe("all.example")

    def test_too_many(self) -> None:
        """What an author, or all of a host, post too much of is acknowledged, dropped and counted, with the reason."""
        sent = [self.delivered(author.post(str(number))) for number, author in enumerate((ALICE, ALICE, ALICE, BOB, BOB, EVE))]
        self.assertEqual([bool(hosts) for hosts in sent], [True, True, False, True, False, True])
        self.assertEqual(self.rejections(), [("too-many-by-author", ALICE.handle), ("too-many-by-host", BOB.handle)])
        self.assertEqual(self.relay.tally.totals["ignored"], 2)

    def test_duplicates(self) -> None:
        """The same post, however often it comes, is one."""
        body = ALICE.post("1")
        for _ in range(5):
            self.send(body)
        self.assertEqual(self.delivered(ALICE.post("2")), ["all.example"])

    def test_storage_away(self) -> None:
        """A post that could not be written, and that is sent again, is one."""
        publish, body = self.relay.storage.log.publish, ALICE.post("1")
        self.relay.relay._posts = type("Away", (), {"publish": lambda *_: fail(Unavailable("gone"))})()
        for _ in range(5):
            self.failureResultOf(self.relay.relay.accept(body, "192.0.2.1"), Unavailable)
        self.relay.relay._posts.publish = publish
        self.assertEqual([self.delivered(ALICE.post(str(number))) for number in range(3)], [["all.example"], ["all.example"], []])

    def test_retractions(self) -> None:
        """Retractions are never too many."""
        for number in range(2):
            self.send(ALICE.post(str(number), guid=f"0123456789abcde{number}"))
        self.assertEqual(self.delivered(ALICE.retraction("0123456789abcde0")), ["all.example"])
        self.assertEqual(self.delivered(ALICE.retraction("0123456789abcde1")), ["all.example"])


class NodeTests(RulesTestCase):
    def test_blocked_and_back(self) -> None:
        """Who is not blocked any more is subscribed again to what it publishes, and gets what is posted from then on."""
        self.relay.subscribe("one.example", "cats")
        self.rule("block", "one.example")
        self.assertEqual((self.hosts(), self.delivered(ALICE.post("#cats"))), ([], []))
        self.assertEqual(self.relay.subscribers.effective("one.example").why, "blocked by the operator")
        self.undo("block", "one.example")
        self.assertEqual(self.relay.transport.sent, [])
        self.assertEqual((self.delivered(ALICE.post("#cats!")), self.delivered(ALICE.post("#dogs"))), (["one.example"], []))

    def test_ends_by_itself(self) -> None:
        """A rule lapses when its time has come, without a restart, and what it ended comes back."""
        self.relay.subscribe("one.example")
        self.rule("block", "one.example", ends_at=self.relay.now() + timedelta(hours=2))
        self.rule("block", ALICE.handle, ends_at=self.relay.now() + timedelta(hours=1))
        self.relay.clock.advance(3000)
        self.lapse()
        self.assertEqual((self.hosts(), self.relay.authors.refuses(ALICE.handle)), ([], "blocked"))
        self.relay.clock.advance(601)
        self.lapse()
        self.assertEqual((self.hosts(), self.relay.authors.refuses(ALICE.handle)), ([], ""))
        self.relay.clock.advance(3600)
        self.lapse()
        self.assertEqual(self.delivered(ALICE.post("1")), ["one.example"])

    def test_ended_while_stopped(self) -> None:
        """A rule that ended while the relay was stopped does not count when it starts."""
        self.relay.subscribe("one.example")
        self.rule("block", "one.example", ends_at=self.relay.now() + timedelta(hours=1))
        relay = WholeRelay(self.relay.tables)
        relay.clock.advance(self.relay.clock.seconds() + 3601 - relay.clock.seconds())
        relay.start()
        self.assertEqual(list(relay.subscribers.subscribed()), ["one.example"])

    def test_forward_ends(self) -> None:
        """So does a rule that forwards."""
        self.rule("forward", "archive.example", ends_at=self.relay.now() + timedelta(hours=1))
        self.assertEqual(self.hosts(), ["archive.example"])
        self.relay.clock.advance(3601)
        self.lapse()
        self.assertEqual(self.hosts(), [])

    def test_nothing_to_do(self) -> None:
        """As long as no rule ends, storage is left alone."""
        self.rule("block", "one.example", ends_at=self.relay.now() + timedelta(hours=1))
        self.relay.tables.go_away()
        self.lapse()

    def test_storage_away(self) -> None:
        """Rules that could not be acted upon when they changed are so when storage is back."""
        self.relay.subscribe("one.example")
        self.relay.storage.rules.put(Rule("block", "one.example", "", self.relay.now(), "root"))
        self.relay.tables.go_away()
        self.failureResultOf(self.relay.subscribers.rules_changed(), Unavailable)
        self.lapse()
        self.relay.tables.come_back()
        self.lapse()
        self.assertEqual(self.hosts(), [])

    def test_large_list(self) -> None:
        """A list that names many nodes ends their subscriptions, its removal brings them back, and the log has a line for it, not hundreds."""
        names = [f"pod{number}.example" for number in range(max(TOLD, NODES_AT_ONCE) + 50)]
        for name in names:
            self.relay.subscribe(name, "cats")
        self.relay.subscribe("other.example")
        with capturedLogs() as logs:
            self.take_over(*names)
            self.assertEqual(self.hosts(), ["other.example"])
            self.assertEqual(self.delivered(ALICE.post("#cats")), ["other.example"])
            self.take_over()
        self.assertEqual(self.hosts(), sorted([*names, "other.example"]))
        self.assertLess(sum("ubscri" in event["log_format"] for event in logs), 5)
        self.assertEqual(sorted(self.delivered(ALICE.post("#cats!"))), sorted([*names, "other.example"]))
        rows = self.successResultOf(self.relay.storage.destinations.load())
        self.assertEqual(({row.subscribed for row in rows}, len(rows)), ({True}, len(names) + 1))

    def test_half_done(self) -> None:
        """If storage goes away while many subscriptions are ended, no post names them meanwhile, and the rest is done later."""
        for number in range(5):
            self.relay.subscribe(f"pod{number}.example")
        destinations = self.relay.subscribers._destinations
        self.relay.subscribers._destinations = type("Away", (), {"close": lambda *_: fail(Unavailable("gone"))})()
        self.relay.storage.rules.put(Rule("block", "example", "", self.relay.now(), "root"))
        self.failureResultOf(self.relay.subscribers.rules_changed(), Unavailable)
        self.assertEqual(self.relay.subscribers.recipients(frozenset(), "x.test"), frozenset())
        self.relay.subscribers._destinations = destinations
        self.lapse()
        self.assertEqual((self.hosts(), {row.subscribed for row in self.successResultOf(destinations.load())}), ([], {False}))

    def test_taken_back_before_it_was_done(self) -> None:
        """Whoever was blocked while that could not be stored, and is not blocked any more, gets posts again."""
        self.relay.subscribe("one.example")
        destinations = self.relay.subscribers._destinations
        self.relay.subscribers._destinations = type("Away", (), {"close": lambda *_: fail(Unavailable("gone"))})()
        self.relay.storage.rules.put(Rule("block", "one.example", "", self.relay.now(), "root"))
        self.failureResultOf(self.relay.subscribers.rules_changed(), Unavailable)
        self.relay.subscribers._destinations = destinations
        self.undo("block", "one.example")
        self.assertEqual((self.hosts(), self.delivered(ALICE.post("1"))), (["one.example"], ["one.example"]))

    def test_died_before_it_was_done(self) -> None:
        """What waits by whom was blocked is not sent, also if the relay died when the rule was stored and nothing was done yet."""
        for subject in (ALICE.handle, "pod-a.example", "#cats"):
            self.setUp()
            self.relay.subscribe("one.example")
            self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
            self.send(ALICE.post("#cats"))
            self.relay.storage.rules.put(Rule("block", subject, "", self.relay.now(), "root"))
            relay = WholeRelay(self.relay.tables)
            relay.clock.advance(self.relay.clock.seconds() - relay.clock.seconds())
            relay.start()
            relay.run(4000.0)
            self.assertEqual(relay.transport.sent, [])
            status = relay.dispatcher.destination("one.example")
            self.assertEqual((status.record.cancelled, status.record.delivered, status.behind), (1, 0, 0))

    def test_only_what_changed(self) -> None:
        """Rules that concern none of the nodes leave their rows alone."""
        self.relay.subscribe("one.example")
        self.relay.subscribers._nodes = self.relay.subscribers._destinations = None
        self.take_over("spam.example", "eve@one.example", "#one.example")
        self.assertEqual(self.hosts(), ["one.example"])

    def test_refusal_counts_first(self) -> None:
        """Who published a refusal while it was blocked stays away when it is not."""
        self.relay.subscribe("one.example")
        self.rule("block", "one.example")
        self.relay.subscribe("one.example", scope=Scope.NONE)
        self.undo("block", "one.example")
        self.assertEqual(self.hosts(), [])

    def test_other_allow_list(self) -> None:
        """The allow list can be put to use, and out of it, while the relay runs."""
        self.relay.subscribe("one.example")
        self.relay.subscribe("two.example")
        self.rule("allow", "two.example")
        for allow_list, hosts in ((True, ["two.example"]), (False, ["one.example", "two.example"])):
            self.relay.subscribers.allow_list = allow_list
            self.successResultOf(self.relay.subscribers.rules_changed())
            self.assertEqual(self.hosts(), hosts)
