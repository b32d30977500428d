"""What an operator may do, and what is so afterwards."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import LIST_FAILED, Condition, Rejection, Rule, Unavailable
from socialrelay.config import Config
from socialrelay.erasure import Erased
from socialrelay.identity import RelayIdentity
from socialrelay.operators.terms import About, ActError
from socialrelay.routing.rules import RuleBook
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.scheduler.record import Gap, Progress, State
from tests.operators import EVERYTHING, HOST, NOW, REFUSAL, Relay
from tests.storing import publication

T = TypeVar("T")


class OperatorTestCase(SynchronousTestCase):
    """A relay, and a way to wait for what it says."""

    def setUp(self) -> None:
        self.relay = Relay()
        self.acts = self.relay.operations
        self.views = self.relay.views

    def now(self, work: Coroutine[Any, Any, T]) -> T:
        result: T = self.successResultOf(Deferred.fromCoroutine(work))
        return result

    def refused(self, work: Coroutine[Any, Any, object]) -> ActError:
        error = self.failureResultOf(Deferred.fromCoroutine(work), ActError).value
        assert isinstance(error, ActError)
        return error


class SubscribeTests(OperatorTestCase):
    def test_tags(self) -> None:
        """
        A node subscribed by hand gets posts with the tags, whatever the case in which they are written.
        """
        answer = self.now(self.acts.subscribe("Pod.Example", tags=["#Cats", "DOGS"], who="ada"))
        self.assertEqual(
            answer["message"], "pod.example is subscribed to the tags cats, dogs, from now on, at https://pod.example/receive/public."
        )
        self.assertEqual(self.relay.membership.effective("pod.example").tags, {"cats", "dogs"})

    def test_becomes_known(self) -> None:
        """
        A node subscribed by hand is polled at once, so that its own word is heard.
        """
        self.now(self.acts.subscribe("pod.example", everything=True, who="ada"))
        [node] = self.successResultOf(self.relay.stores.nodes.due(NOW, 10))
        self.assertEqual((node.host, node.sources), ("pod.example", ("operator",)))

    def test_refusal_decides(self) -> None:
        """
        A node that publishes that it wants nothing is not subscribed by anybody.
        """
        self.now(self.relay.publishes("pod.example", REFUSAL))
        error = self.refused(self.acts.subscribe("pod.example", everything=True, who="ada"))
        self.assertEqual(error.code, "refused")
        self.assertIn("publishes that it wants nothing", str(error))
        self.assertEqual(self.relay.tables.subscriptions, {})

    def test_blocked(self) -> None:
        """
        A subscription that another rule keeps from having effect is kept, and it is said that nothing is sent.
        """
        self.now(self.acts.rules.block("pod.example", who="ada"))
        answer = self.now(self.acts.subscribe("pod.example", everything=True, who="ada"))
        self.assertEqual(
            answer["message"],
            "The subscription of pod.example to all public posts is kept, but nothing is sent: blocked by the operator.",
        )

    def test_nonsense(self) -> None:
        """
        Hosts, tags and scopes that make no sense are refused, and nothing is kept.
        """
        cases: list[tuple[str, dict[str, Any], str]] = [
            ("https://pod.example/", {"everything": True}, "bad-host"),
            ("127.0.0.1", {"everything": True}, "bad-host"),
            ("localhost", {"everything": True}, "bad-host"),
            (HOST, {"everything": True}, "bad-host"),
            ("pod.example", {}, "bad-tags"),
            ("pod.example", {"tags": ["a"], "everything": True}, "bad-tags"),
            ("pod.example", {"tags": ["a b"]}, "bad-tags"),
            ("pod.example", {"tags": [f"t{n}" for n in range(2001)]}, "bad-tags"),
        ]
        for host, fields, code in cases:
            error = self.refused(self.acts.subscribe(host, who="ada", **fields))
            self.assertEqual(error.code, code, host)
        self.assertEqual((self.relay.tables.subscriptions, self.relay.tables.nodes), ({}, {}))

    def test_logged(self) -> None:
        """
        Each act is logged with who did it.
        """
        with capturedLogs() as events:
            self.now(self.acts.subscribe("pod.example", everything=True, who="ada"))
        [event] = [event for event in events if "who" in event]
        self.assertEqual((event["who"], event["act"], event["subject"]), ("ada", "subscribe", "pod.example"))


class UnsubscribeTests(OperatorTestCase):
    def test_manual(self) -> None:
        """
        A subscription made by hand is gone, and so is its destination.
        """
        self.now(self.acts.subscribe("pod.example", everything=True, who="ada"))
        answer = self.now(self.acts.unsubscribe("pod.example", who="ada"))
        self.assertEqual(answer["message"], "pod.example is no longer subscribed, and what was waiting for it is cancelled.")
        self.assertEqual(self.relay.membership.subscribed(), {})

    def test_own_wish_stays(self) -> None:
        """
        What a node publishes about itself stays in force when the manual subscription goes.
        """
        self.now(self.relay.publishes("pod.example", Preferences(Scope.TAGS, frozenset({"cats"}), "https://pod.example/r")))
        self.now(self.acts.subscribe("pod.example", everything=True, who="ada"))
        answer = self.now(self.acts.unsubscribe("pod.example", who="ada"))
        self.assertIn("pod.example still gets the tag cats: the node publishes it.", answer["message"])

    def test_own_wish_alone(self) -> None:
        """
        A node that subscribed itself is not unsubscribed by hand; the operator learns what would do it.
        """
        self.now(self.relay.publishes("pod.example", EVERYTHING))
        error = self.refused(self.acts.unsubscribe("pod.example", who="ada"))
        self.assertEqual(error.code, "not-subscribed")
        self.assertIn("`socialrelay block pod.example`", str(error))

    def test_forwarded(self) -> None:
        """
        A node that is forwarded to is not unsubscribed; the operator learns what would do it.
        """
        self.now(self.acts.rules.forward("pod.example", who="ada"))
        self.assertIn("`socialrelay forward pod.example --off`", str(self.refused(self.acts.unsubscribe("pod.example", who="ada"))))

    def test_none(self) -> None:
        """
        Without any subscription there is nothing to end.
        """
        self.assertEqual(str(self.refused(self.acts.unsubscribe("pod.example", who="ada"))), "pod.example has no subscription.")


class EraseTests(OperatorTestCase):
    def test_author(self) -> None:
        """
        What was removed is named, and what is not done by it; the relay's log does not say whom it was about.
        """
        self.relay.eraser.known = Erased(posts=2, waiting=1, keys=1)
        with capturedLogs() as logs:
            answer = self.now(self.acts.erase(who="root", handle="Ada@Pod.Example"))
        self.assertEqual(self.relay.eraser.asked, [{"author": "ada@pod.example", "guid": "", "host": ""}])
        self.assertEqual(
            answer["message"], "What the relay knew of ada@pod.example is erased: 2 posts, 1 body that waited to be judged, 1 key."
        )
        self.assertEqual(answer["erased"]["posts"], 2)
        self.assertEqual(len(answer["notes"]), 3)
        self.assertIn("`socialrelay block ada@pod.example`", answer["notes"][2])
        self.assertEqual([(event["who"], event["kind"], event["count"]) for event in logs], [("root", "author", 2)])
        self.assertNotIn("ada@", repr(logs))

    def test_host(self) -> None:
        """
        All of a host is erased; that a rule keeps its new posts out is said.
        """
        self.now(self.acts.rules.block("example.org", who="root"))
        answer = self.now(self.acts.erase(who="root", host="pod.example.org"))
        self.assertEqual(self.relay.eraser.asked, [{"author": "", "guid": "", "host": "pod.example.org"}])
        self.assertEqual(answer["message"], "The relay knows nothing of the authors of pod.example.org and its subdomains.")
        self.assertEqual(answer["notes"], ["New posts stay out: there is a block rule for example.org."])

    def test_guid(self) -> None:
        """
        Posts with a guid are erased; a rule against them there is none.
        """
        self.relay.eraser.known = Erased(posts=1)
        answer = self.now(self.acts.erase(who="root", guid="F00d-4711"))
        self.assertEqual(self.relay.eraser.asked, [{"author": "", "guid": "F00d-4711", "host": ""}])
        self.assertEqual(len(answer["notes"]), 2)

    def test_nonsense(self) -> None:
        """
        Exactly one of the three is wanted, and one that can be.
        """
        for fields, code in (
            ({}, "bad-request"),
            ({"handle": "ada@pod.example", "host": "pod.example"}, "bad-request"),
            ({"handle": "pod.example"}, "bad-host"),
            ({"handle": "ada@localhost"}, "bad-host"),
            ({"host": "ada@pod.example"}, "bad-host"),
            ({"host": HOST}, "bad-host"),
            ({"guid": "f00 d"}, "bad-request"),
        ):
            self.assertEqual(self.refused(self.acts.erase(who="root", **fields)).code, code, fields)
        self.assertEqual(self.relay.eraser.asked, [])

    def test_storage_away(self) -> None:
        """
        If storage goes away in the middle, the operator learns that a part may be done.
        """
        self.relay.eraser.away = True
        error = self.refused(self.acts.erase(who="root", host="pod.example"))
        self.assertEqual(error.code, "unavailable")
        self.assertIn("again", str(error))


class NodeTests(OperatorTestCase):
    def test_poll(self) -> None:
        """
        A poll says what the node wants and what it gets.
        """
        self.relay.poller.published["pod.example"] = EVERYTHING
        answer = self.now(self.acts.poll("pod.example", who="ada"))
        self.assertEqual(answer["message"], "pod.example wants all public posts and gets all public posts.")
        self.assertEqual(self.relay.poller.asked, [("pod.example", "operator")])

    def test_poll_fails(self) -> None:
        """
        A poll that reads nothing says why.
        """
        answer = self.now(self.acts.poll("pod.example", who="ada"))
        self.assertEqual(answer["message"], "The preferences of pod.example could not be read. It answered HTTP 404.")

    def test_lists(self) -> None:
        """
        Each list is named with what came of it, and which could not be read.
        """
        self.assertIn("No node list is configured", str(self.now(self.acts.lists_fetch(who="ada"))["message"]))
        self.relay.lists.results = {"the-federation": "1200 hosts, 3 of them new"}
        answer = self.now(self.acts.lists_fetch(who="ada"))
        self.assertEqual(
            (answer["message"], answer["lists"]), ("The node list was asked.", {"the-federation": "1200 hosts, 3 of them new"})
        )
        self.relay.lists.results["mine"] = f"{LIST_FAILED}, what it named before stays: HTTP 500"
        self.assertEqual(self.now(self.acts.lists_fetch(who="ada"))["failed"], ["mine"])


class DeliveryTests(OperatorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now(self.relay.publishes("pod.example", EVERYTHING))

    def test_wake(self) -> None:
        """
        A deferred host is woken.
        """
        self.relay.queue.becomes("pod.example", State.DEFERRED)
        answer = self.now(self.acts.wake("pod.example", who="ada"))
        self.assertEqual(answer["message"], "pod.example was deferred and is tried again (at most once a minute).")
        self.assertEqual(self.relay.queue.asked, [("wake", "pod.example")])

    def test_wake_active(self) -> None:
        """
        A host that is well is left alone.
        """
        answer = self.now(self.acts.wake("pod.example", who="ada"))
        self.assertIn("is not waiting", str(answer["message"]))
        self.assertEqual(self.relay.queue.asked, [])

    def test_suspend_and_resume(self) -> None:
        """
        A suspended host is not woken, but resumed; and only a suspended one is.
        """
        self.assertEqual(self.refused(self.acts.resume("pod.example", who="ada")).code, "refused")
        self.now(self.acts.suspend("pod.example", who="ada"))
        self.assertIn("`socialrelay resume pod.example`", str(self.refused(self.acts.wake("pod.example", who="ada"))))
        self.now(self.acts.resume("pod.example", who="ada"))
        self.assertEqual(self.relay.queue.asked, [("suspend", "pod.example"), ("resume", "pod.example")])

    def test_suspended_in_vain(self) -> None:
        """
        While it cannot be written down nobody is suspended, nor resumed: it would be forgotten in a crash.
        """
        self.relay.tables.go_away()
        self.failureResultOf(Deferred.fromCoroutine(self.acts.suspend("pod.example", who="ada")), Unavailable)
        self.relay.queue.becomes("pod.example", State.SUSPENDED)
        self.failureResultOf(Deferred.fromCoroutine(self.acts.resume("pod.example", who="ada")), Unavailable)
        self.assertEqual(self.relay.queue.asked, [])

    def gone(self) -> None:
        """It said 410 for days."""
        self.relay.queue.becomes("pod.example", State.GONE, gone_since=NOW)
        self.successResultOf(self.relay.membership.retire("pod.example"))

    def test_taken_up(self) -> None:
        """
        Of a host that is gone the operator sees until when it is left alone, and takes it up again by whatever act says so.
        """
        for act in (
            lambda: self.acts.wake("pod.example", who="ada"),
            lambda: self.acts.resume("pod.example", who="ada"),
            lambda: self.acts.subscribe("pod.example", who="ada", everything=True),
            lambda: self.acts.rules.forward("pod.example", who="ada"),
        ):
            self.gone()
            seen = self.now(self.relay.views.node("pod.example"))["subscription"]
            self.assertEqual((seen["scope"], seen["why"]), ("none", "it answers 410 Gone to deliveries"))
            self.assertEqual(seen["until"], "2026-11-28T21:30:00+00:00")
            self.assertEqual(self.now(self.relay.views.queued(state="gone"))["states"]["gone"], 1)
            self.assertEqual(self.successResultOf(self.relay.overview.stats())["queue"]["gone"], 1)
            self.assertIn("pod.example", self.now(act())["message"])
            self.assertIsNone(self.relay.membership.effective("pod.example").until)
            self.assertTrue(self.relay.queue.destination("pod.example").record.subscribed)
            self.relay.seconds += 100.0

    def test_taken_up_before_it_was_retired(self) -> None:
        """
        A host that is gone, and whose subscription could not be ended, is tried again if the operator says so.
        """
        self.relay.queue.becomes("pod.example", State.GONE)
        self.now(self.acts.wake("pod.example", who="ada"))
        self.assertEqual(self.relay.queue.asked, [("wake", "pod.example")])

    def test_suspend_what_is_gone(self) -> None:
        """
        There is nothing to hold back for a host that is gone.
        """
        self.gone()
        self.assertIn("410 Gone", str(self.refused(self.acts.suspend("pod.example", who="ada"))))

    def test_taken_up_in_vain(self) -> None:
        """
        A host that is gone and was blocked meanwhile is not sent anything, and the operator is told why.
        """
        self.gone()
        self.relay.tables.rules["block", "pod.example", ""] = Rule("block", "pod.example", "", NOW, "ada")
        self.relay.membership.rules = RuleBook.of({"block": ["pod.example"]})
        self.assertIn("nothing is sent: blocked by the operator", self.now(self.acts.wake("pod.example", who="ada"))["message"])

    def test_unknown(self) -> None:
        """
        A host without deliveries is named as such.
        """
        for act in (self.acts.wake, self.acts.suspend, self.acts.resume):
            self.assertEqual(self.refused(act("other.example", who="ada")).code, "unknown-node")


class ViewTests(OperatorTestCase):
    def test_status(self) -> None:
        """
        The status names mode, conditions and counts.
        """
        self.now(self.relay.publishes("pod.example", EVERYTHING))
        answer = self.now(self.views.status())
        self.assertEqual((answer["mode"], answer["ready"], answer["degraded"], answer["uptime"]), ("production", True, False, 3 * 3600))
        self.assertEqual(answer["incoming"], {"rows": 0, "bytes": 0})
        self.assertEqual(answer["stats"]["subscribers"], {"total": 1, "all": 1, "tags": 0})

    def test_status_without_storage(self) -> None:
        """
        While storage is away the status is answered all the same, without counts.
        """
        self.relay.tables.go_away()
        answer = self.now(self.views.status())
        self.assertEqual((answer["incoming"], answer["stats"]), (None, None))

    def test_status_finds_out(self) -> None:
        """
        That storage is away is also said when it is found out by asking it for the status.
        """
        asked: list[object] = []

        class Asked:
            def stats(self) -> Deferred[dict[str, object]]:
                asked.append(self)
                return fail(Unavailable())

        self.views.overview = Asked()
        self.relay.health.watch("postgres", lambda: Condition("postgres", well=not asked, essential=True))
        self.assertFalse(self.now(self.views.status())["ready"])

    def test_nodes(self) -> None:
        """
        Nodes are listed by host, chosen by a part of it and by what they are.
        """
        self.now(self.relay.publishes("a.example", EVERYTHING))
        self.now(self.relay.publishes("b.example", REFUSAL))
        self.successResultOf(self.relay.stores.nodes.listed("list", {"c.example": NOW, "d.test": NOW}, NOW))

        def hosts(**fields: Any) -> list[str]:
            return [node["host"] for node in self.now(self.views.nodes(**fields))["nodes"]]

        self.assertEqual(hosts(), ["a.example", "b.example", "c.example", "d.test"])
        self.assertEqual(hosts(text="EXAMPLE"), ["a.example", "b.example", "c.example"])
        self.assertEqual(hosts(which="subscribed"), ["a.example"])
        self.assertEqual(hosts(which="refusing"), ["b.example"])
        self.assertEqual(hosts(which="failing"), [])
        self.assertEqual(self.refused(self.views.nodes(which="bad")).code, "bad-request")

    def test_pages(self) -> None:
        """
        Nodes come in pages, sorted as it is wished; how many there are is said with each.
        """
        self.successResultOf(self.relay.stores.nodes.listed("list", {f"{name}.example": NOW for name in "abc"}, NOW))
        pages = [self.now(self.views.nodes(sort="host", descending=True, offset=offset, limit=2)) for offset in (0, 2, 4)]
        self.assertEqual([[node["host"] for node in page["nodes"]] for page in pages], [["c.example", "b.example"], ["a.example"], []])
        self.assertEqual([(page["total"], page["offset"]) for page in pages], [(3, 0), (3, 2), (3, 4)])
        self.assertEqual(self.refused(self.views.nodes(sort="beauty")).code, "bad-request")

    def test_node(self) -> None:
        """
        One node is shown with its preferences, the rules that concern it, and its deliveries.
        """
        self.now(self.relay.publishes("pod.example", EVERYTHING))
        self.now(self.acts.rules.block("eve@pod.example", who="ada"))
        self.now(self.acts.rules.block("other.example", who="ada"))
        answer = self.now(self.views.node("pod.example"))
        self.assertEqual(answer["subscription"]["why"], "the node publishes it")
        self.assertEqual([rule["subject"] for rule in answer["rules"]], ["eve@pod.example"])
        self.assertEqual(answer["deliveries"]["state"], "active")

    def test_development(self) -> None:
        """
        In development nobody makes the next poll, so none is shown.
        """
        self.now(self.relay.publishes("pod.example", EVERYTHING))
        self.assertIsNotNone(self.now(self.views.node("pod.example"))["known"]["next_poll"])
        self.views.about = evolve(self.views.about, production=False)
        self.assertIsNone(self.now(self.views.node("pod.example"))["known"]["next_poll"])
        self.assertIsNone(self.now(self.views.nodes())["nodes"][0]["next_poll"])

    def test_gaps(self) -> None:
        """
        What a node was never sent is shown with it.
        """
        self.now(self.relay.publishes("pod.example", EVERYTHING))
        for hours in (3, 2, 1):
            self.successResultOf(self.relay.stores.log.publish(publication(published_at=NOW - timedelta(hours=hours))))
        gap = Gap(0, 0, 2, 2, "expired", "the node is dead")
        self.successResultOf(self.relay.stores.destinations.save(Progress(gaps=(gap,))))
        [shown] = self.now(self.views.node("pod.example"))["gaps"]
        self.assertEqual((shown["since"], shown["until"]), ("2026-11-21T18:30:00+00:00", "2026-11-21T19:30:00+00:00"))
        self.assertEqual((shown["posts"], shown["outcome"], shown["reason"]), (2, "expired", "the node is dead"))

    def test_unknown_node(self) -> None:
        """
        A host of which nothing is known is an error that says what to do.
        """
        error = self.refused(self.views.node("pod.example"))
        self.assertEqual((error.code, "`socialrelay poll pod.example`" in str(error)), ("unknown-node", True))

    def test_queue(self) -> None:
        """
        The queue shows who is not served as wished, those with most behind them first, and counts all.
        """
        for name in "abcd":
            self.now(self.relay.publishes(f"{name}.example", EVERYTHING))
        self.relay.queue.becomes("b.example", State.DEFERRED, behind=5)
        self.relay.queue.becomes("c.example", State.DEAD)
        self.relay.queue.becomes("d.example", State.ACTIVE, behind=70)
        answer = self.now(self.views.queued())
        self.assertEqual([each["host"] for each in answer["destinations"]], ["d.example", "b.example", "c.example"])
        self.assertEqual(answer["states"], {"active": 2, "deferred": 1, "dead": 1, "gone": 0, "suspended": 0})
        active = self.now(self.views.queued(state="active", limit=1))
        self.assertEqual((len(active["destinations"]), active["left_out"]), (1, 1))
        self.assertEqual(self.refused(self.views.queued(state="lost")).code, "bad-request")

    def test_rejected(self) -> None:
        """
        Rejections are shown, the newest first, and counted by reason.
        """
        self.successResultOf(
            self.relay.stores.rejections.record([Rejection(NOW, "bad-signature", "eve@pod.example"), Rejection(NOW, "unknown-key")])
        )
        answer = self.now(self.views.rejected())
        self.assertEqual(answer["reasons"], {"unknown-key": 1, "bad-signature": 1})
        self.assertEqual([each["reason"] for each in answer["rejected"]], ["unknown-key", "bad-signature"])

    def test_about(self) -> None:
        """
        What the relay tells of itself follows from its configuration and its identity.
        """
        key = generate_private_key(public_exponent=65537, key_size=2048)
        identity = RelayIdentity("localhost", "relay", "f00d" * 8, "Relay", key.public_key(), key, provisional=True)
        about = About.of(Config(Path("/data")), identity, started_at=NOW, pid=1)
        self.assertEqual((about.handle, about.production, about.provisional), ("relay@localhost", False, True))
        self.assertEqual(len(about.key_fingerprint), 64)

    def test_identity(self) -> None:
        """
        The identity names handle, guid and the key's fingerprint.
        """
        answer = self.now(self.views.identity())
        self.assertEqual((answer["handle"], answer["provisional"]), ("relay@relay.example", False))

    def test_allow_list(self) -> None:
        """
        Whether the allow list is in use is told as it is now, not as it was at the start.
        """
        for used in (True, False):
            self.relay.membership.allow_list = used
            self.assertIs(self.now(self.views.identity())["allow_list"], used)


class CheckTests(OperatorTestCase):
    def test_check(self) -> None:
        """
        A node's administrator sees what was read, and the subscription and deliveries that follow.
        """
        self.relay.poller.published["pod.example"] = EVERYTHING
        answer = self.successResultOf(self.relay.check.check("POD.example"))
        self.assertEqual(self.relay.poller.asked, [("pod.example", "check")])
        self.assertEqual(sorted(answer), ["at", "deliveries", "faults", "host", "preferences", "subscription", "url"])
        self.assertEqual(answer["subscription"], {"scope": "all", "tags": [], "why": "the node publishes it"})
        self.assertEqual(sorted(answer["deliveries"]), ["behind", "delivered", "last_reason", "last_success", "next_attempt", "state"])

    def test_faults(self) -> None:
        """
        A node that publishes nothing is told so.
        """
        answer = self.successResultOf(self.relay.check.check("pod.example"))
        self.assertEqual((answer["preferences"], answer["faults"], answer["deliveries"]), (None, ["It answered HTTP 404."], None))

    def test_gone(self) -> None:
        """
        The administrator of a node that is gone reads what its endpoint answers, and when it is taken up again.
        """
        self.relay.poller.published["pod.example"] = EVERYTHING
        self.successResultOf(self.relay.check.check("pod.example"))
        self.relay.queue.becomes("pod.example", State.GONE)
        self.successResultOf(self.relay.membership.retire("pod.example"))
        [fault] = self.successResultOf(self.relay.check.check("pod.example"))["faults"]
        self.assertIn("410 Gone", fault)
        self.assertIn("2026-11-28 21:30 UTC", fault)

    def test_no_host(self) -> None:
        """
        What is no host is refused before anything is asked.
        """
        self.failureResultOf(self.relay.check.check("10.0.0.1"), ValueError)
        self.assertEqual(self.relay.poller.asked, [])

    def test_too_many(self) -> None:
        """
        When too many nodes are being asked, one more has to come again.
        """
        self.relay.poller.waiting = Deferred()
        for number in range(32):
            self.assertNoResult(self.relay.check.check(f"pod{number}.example"))
        self.failureResultOf(self.relay.check.check("one-more.example"), Unavailable)
        self.relay.poller.waiting.callback(None)

    def test_shared(self) -> None:
        """
        Several who ask for one host share one poll, and it goes on when one of them hangs up.
        """
        self.relay.poller.waiting = Deferred()
        first, second = self.relay.check.check("pod.example"), self.relay.check.check("pod.example")
        first.addErrback(lambda failure: None)
        first.cancel()
        self.relay.poller.waiting.callback(None)
        self.assertEqual(self.successResultOf(second)["host"], "pod.example")
        self.assertEqual(len(self.relay.poller.asked), 1)
