"""What operators decide about hosts, authors and tags, and what they are told of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import evolve
from twisted.logger import capturedLogs

from socialrelay.boundaries import FetchFailed, ListedRule, Rule, RuleSet
from socialrelay.config import Moderation, RuleList
from socialrelay.moderation.formats import COLUMNS
from socialrelay.operators.plain import Plain
from tests.operators import EVERYTHING, HOST, NOW, REFUSAL, Relay
from tests.storing import publication
from tests.test_operations import OperatorTestCase

LIST = ",".join(COLUMNS) + "\nspam.example,suspend,false,false,sends spam,false\nloud.example,silence,false,false,,false\n"
URL = "https://lists.example/blocks.csv"


class RulesTestCase(OperatorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.rules = self.relay.rules
        self.seen = self.relay.rule_views

    def imported(self, text: str = LIST, **fields: Any) -> Plain:
        return self.now(self.rules.rules_import("friends", text=text, who="ada", **fields))

    def subjects(self, **asked: Any) -> list[str]:
        return [rule["subject"] for rule in self.now(self.seen.overview(**asked))["rules"]]


class RuleTests(RulesTestCase):
    def test_block_host(self) -> None:
        """
        A blocked host loses its subscription, its subdomains too.
        """
        for host in ("pod.example", "sub.pod.example", "other.example"):
            self.now(self.relay.publishes(host, EVERYTHING))
        self.now(self.rules.block("pod.example", who="ada", reason="spam"))
        self.assertEqual(list(self.relay.membership.subscribed()), ["other.example"])
        self.assertEqual(self.relay.tables.rules["block", "pod.example", ""], Rule("block", "pod.example", "spam", NOW, "ada"))

    def test_block_handle(self) -> None:
        """
        An author is blocked by handle, with the port if there is one, and what waits of it is cancelled.
        """
        posts = [publication(author=f"{name}@pod.example:8443", identities=(name.encode(),), published_at=NOW) for name in ("eve", "bob")]
        position, _ = [self.successResultOf(self.relay.stores.log.publish(post)) for post in posts]
        answer = self.now(self.rules.block("@Eve@Pod.example:8443", who="ada"))
        self.assertIn("eve@pod.example:8443", answer["message"])
        self.assertEqual(self.relay.queue.cancelled, [([position], "blocked by the operator")])

    def test_block_tag(self) -> None:
        """
        A tag is blocked as tags are compared.
        """
        answer = self.now(self.rules.block("#Straße", who="ada"))
        self.assertEqual(answer["message"], "No post with #strasse is relayed any more, and what was waiting of them is cancelled.")
        self.assertEqual(self.relay.membership.rules.blocked_tags, {"strasse"})

    def test_limit(self) -> None:
        """
        What is limited is not blocked, and keeps its subscription; who limits what is blocked learns so.
        """
        self.now(self.relay.publishes("pod.example", EVERYTHING))
        answer = self.now(self.rules.limit("pod.example", who="ada", until="7d"))
        self.assertIn("kept and not relayed, until 2026-11-28 21:30 UTC; it is sent posts as before.", answer["message"])
        self.assertEqual(list(self.relay.membership.subscribed()), ["pod.example"])
        self.assertTrue(self.relay.membership.rules.limits("eve@a.pod.example", frozenset()))
        self.now(self.rules.block("pod.example", who="ada"))
        self.assertIn("still blocked by the rule for pod.example", self.now(self.rules.limit("a.pod.example", who="ada"))["message"])

    def test_bad_subjects(self) -> None:
        """
        What is neither a host, nor a handle, nor a tag is not blocked.
        """
        subjects = (
            "@pod.example",
            "eve@",
            "eve@pod.example:",
            "eve@pod.example:x",
            "a b@pod.example",
            "eve@localhost",
            "*",
            "",
            "#",
            "#a b",
        )
        for subject in subjects:
            error = self.refused(self.rules.block(subject, who="ada"))
            self.assertEqual(error.code, "bad-tags" if subject.startswith("#") else "bad-host", subject)
            self.assertIn(repr(subject), str(error))
        self.assertEqual(self.relay.tables.rules, {})

    def test_itself(self) -> None:
        """
        The relay does not block or limit itself, by whatever name.
        """
        for subject in (HOST, f"relay@{HOST}", f"sub.{HOST}"):
            for act in (self.rules.block, self.rules.limit):
                self.assertIn("this relay itself", str(self.refused(act(subject, who="ada"))))

    def test_reasons(self) -> None:
        """
        A reason that is too long is refused; of any other one line is kept.
        """
        self.assertEqual(self.refused(self.rules.block("pod.example", who="ada", reason="x" * 501)).code, "bad-request")
        self.now(self.rules.block("pod.example", who="ada", reason=" much\n\x00 spam\ud800 "))
        self.assertEqual(self.relay.tables.rules["block", "pod.example", ""].reason, "much spam")

    def test_bad_ends(self) -> None:
        """
        A rule cannot end in the past, or at no time.
        """
        for until in ("yesterday", "0d", "2026-11-21T21:30Z"):
            self.assertEqual(self.refused(self.rules.block("pod.example", who="ada", until=until)).code, "bad-request", until)
        self.assertEqual(self.relay.tables.rules, {})

    def test_allow_says_if_unused(self) -> None:
        """
        Who allows somebody learns whether the allow list is in use, and of rules that win over it.
        """
        self.now(self.rules.block("pod.example", who="ada"))
        answer = self.now(self.rules.allow("eve@sub.pod.example", who="ada"))
        self.assertIn("The list is not in use", answer["message"])
        self.assertIn("still blocked by the rule for pod.example", answer["message"])

    def test_allow_list(self) -> None:
        """
        With the allow list in use, a node is served when it is on it.
        """
        self.relay = Relay(allow_list=True)
        self.now(self.relay.membership.load())
        self.now(self.relay.publishes("pod.example", EVERYTHING))
        self.assertEqual(self.relay.membership.subscribed(), {})
        answer = self.now(self.relay.rules.allow("pod.example", who="ada"))
        self.assertEqual(answer["message"], "pod.example is on the allow list.")
        self.assertEqual(list(self.relay.membership.subscribed()), ["pod.example"])

    def test_tags_are_not_allowed(self) -> None:
        """
        There is no allow list of tags.
        """
        self.assertEqual(self.refused(self.rules.allow("#cats", who="ada")).code, "bad-host")

    def test_unblock_undoes_all(self) -> None:
        """
        Block, limit and allow rules go together, and the node is served again.
        """
        self.now(self.relay.publishes("pod.example", EVERYTHING))
        for act in (self.rules.block, self.rules.allow, self.rules.limit):
            self.now(act("pod.example", who="ada"))
        answer = self.now(self.rules.unblock("pod.example", who="ada"))
        self.assertEqual(answer["message"], "The block rule and the limit rule and the allow rule for pod.example are removed.")
        self.assertEqual(list(self.relay.membership.subscribed()), ["pod.example"])

    def test_unblock_below_a_blocked_domain(self) -> None:
        """
        Who unblocks a host below a blocked domain learns that it is still blocked.
        """
        self.now(self.rules.block("pod.example", who="ada"))
        self.now(self.rules.block("sub.pod.example", who="ada"))
        answer = self.now(self.rules.unblock("sub.pod.example", who="ada"))
        self.assertEqual(
            answer["message"], "The block rule for sub.pod.example is removed. It is still blocked by the rule for pod.example."
        )

    def test_unblock_nothing(self) -> None:
        """
        Without a rule there is nothing to undo.
        """
        self.assertEqual(self.refused(self.rules.unblock("pod.example", who="ada")).code, "no-rule")

    def test_forward(self) -> None:
        """
        A host is forwarded to, and no longer.
        """
        answer = self.now(self.rules.forward("pod.example", who="ada"))
        self.assertEqual(answer["message"], "pod.example is sent every post, from now on, at https://pod.example/receive/public.")
        answer = self.now(self.rules.forward("pod.example", off=True, who="ada"))
        self.assertEqual(answer["message"], "The forward rule is removed; pod.example gets nothing now.")
        self.assertEqual(self.refused(self.rules.forward("pod.example", off=True, who="ada")).code, "no-rule")

    def test_forward_refused(self) -> None:
        """
        Nothing is forwarded to a node that publishes that it wants nothing.
        """
        self.now(self.relay.publishes("pod.example", REFUSAL))
        self.assertEqual(self.refused(self.rules.forward("pod.example", who="ada")).code, "refused")
        self.assertEqual(self.relay.tables.rules, {})

    def test_logged(self) -> None:
        """
        Each act is logged with who did it.
        """
        with capturedLogs() as events:
            self.now(self.rules.block("pod.example", who="ada"))
        [event] = [event for event in events if "who" in event]
        self.assertEqual((event["who"], event["act"], event["subject"]), ("ada", "block", "pod.example"))


class ListTests(RulesTestCase):
    """Lists that others keep."""

    def test_import(self) -> None:
        """
        A list is in force at once, and says what it brought and what it could not.
        """
        self.now(self.relay.publishes("a.spam.example", EVERYTHING))
        text = LIST + f"ev*l.example,suspend,,,,true\nquiet.example,noop,,,,\n{HOST},suspend,,,,\nlocalhost,suspend,,,,\n"
        answer = self.imported(text)
        self.assertEqual(
            answer["message"],
            "The list friends is in force: 2 new, 0 removed, 0 unchanged; 1 obfuscated; 1 without effect (noop); 1 about the relay itself; "
            "1 unusable (localhost).",
        )
        self.assertEqual((answer["new"], answer["skipped"]["own"], answer["unusable"]), (2, 1, ["localhost"]))
        self.assertEqual(self.relay.membership.effective("a.spam.example").why, "blocked by the operator")
        self.assertTrue(self.relay.membership.rules.limits("eve@loud.example", frozenset()))

    def test_again(self) -> None:
        """
        To import a list again makes it what the document says now.
        """
        self.imported()
        self.assertIn("0 new, 0 removed, 2 unchanged", self.imported()["message"])
        self.assertIn("1 new, 1 removed, 1 unchanged", self.imported(LIST.replace("loud", "shrill"))["message"])
        self.assertEqual(self.subjects(list="friends"), ["spam.example", "shrill.example"])

    def test_dry_run(self) -> None:
        """
        A dry run says what would be, and changes nothing.
        """
        answer = self.imported(dry_run=True)
        self.assertEqual((answer["new"], answer["dry_run"]), (2, True))
        self.assertIn("Nothing was changed. The list would come to: 2 new", answer["message"])
        self.assertEqual((self.relay.tables.rules, self.relay.tables.rule_lists), ({}, {}))

    def test_from_the_web(self) -> None:
        """
        A list is fetched from an https URL, and remembers it; whatever is wrong with it is said, and nothing changes.
        """
        self.relay.web.pages[URL] = b"spam.example\n"
        self.now(self.rules.rules_import("friends", url=URL, action="limit", who="ada"))
        self.assertEqual(self.relay.tables.rule_lists["friends"].source, URL)
        self.relay.web.pages[URL] = b"<html>"
        for url, code in (
            (URL, "bad-list"),
            (f"{URL}?", "not-fetched"),
            ("http://lists.example/", "bad-request"),
            ("/etc/passwd", "bad-request"),
        ):
            self.assertEqual(self.refused(self.rules.rules_import("friends", url=url, who="ada")).code, code, url)
        self.assertEqual(self.subjects(action="limit"), ["spam.example"])

    def test_nonsense(self) -> None:
        """
        A list has a name, an action, and a text or a URL; an empty one is refused.
        """
        for name, fields in (
            ("Friends", {"text": LIST}),
            ("-", {"text": LIST}),
            ("friends", {}),
            ("friends", {"text": LIST, "url": URL}),
            ("friends", {"text": LIST, "action": "allow"}),
        ):
            self.assertEqual(self.refused(self.rules.rules_import(name, who="ada", **fields)).code, "bad-request", (name, fields))
        self.assertEqual(self.refused(self.rules.rules_import("friends", text="# nobody\n", who="ada")).code, "bad-list")

    def test_configured_lists_are_the_configurations(self) -> None:
        """
        A list that the configuration keeps is neither imported nor removed by hand.
        """
        self.relay = Relay(moderation=Moderation((RuleList("friends", URL),)))
        for act in (self.relay.rules.rules_import("friends", text=LIST, who="ada"), self.relay.rules.rules_remove("friends", who="ada")):
            self.assertEqual(self.refused(act).code, "refused")

    def test_remove(self) -> None:
        """
        A list goes as a whole; what other lists and operators say stays, and who was blocked by it alone is served again.
        """
        for host in ("spam.example", "loud.example", "x.example"):
            self.now(self.relay.publishes(host, EVERYTHING))
        self.imported("spam.example\nloud.example\nx.example\n")
        self.now(self.rules.rules_import("others", text="loud.example\n", who="ada"))
        self.now(self.rules.block("x.example", who="ada"))
        answer = self.now(self.rules.rules_remove("friends", who="ada"))
        self.assertEqual(answer["message"], "The list friends is removed, with 3 rules.")
        self.assertEqual(list(self.relay.membership.subscribed()), ["spam.example"])
        self.assertEqual(self.refused(self.rules.rules_remove("friends", who="ada")).code, "no-list")

    def test_allowed_by_hand(self) -> None:
        """
        Who is allowed by hand is taken out of lists, and of nothing else.
        """
        self.now(self.relay.publishes("spam.example", EVERYTHING))
        self.imported()
        error = self.refused(self.rules.unblock("spam.example", who="ada"))
        self.assertIn("It is on the list friends; `socialrelay allow spam.example` takes it out of the lists.", str(error))
        answer = self.now(self.rules.allow("spam.example", who="ada"))
        self.assertIn("Lists neither block nor limit it any more.", answer["message"])
        self.assertEqual(list(self.relay.membership.subscribed()), ["spam.example"])
        self.now(self.rules.block("spam.example", who="ada"))
        self.assertEqual(self.relay.membership.subscribed(), {})

    def test_fetch(self) -> None:
        """
        The lists of the configuration are fetched at the operator's word; each says what came of it.
        """
        self.relay = Relay(moderation=Moderation((RuleList("one", URL), RuleList("two", "https://two.example/"))))
        self.relay.web.pages = {URL: LIST.encode(), "https://two.example/": FetchFailed("HTTP 500", 500)}
        answer = self.now(self.relay.rules.rules_fetch(who="ada"))
        self.assertEqual(answer["message"], "2 lists of rules were asked.")
        self.assertEqual(answer["lists"]["one"], "2 new, 0 removed, 0 unchanged")
        self.assertEqual(answer["lists"]["two"], "not taken over, its rules stay: HTTP 500")
        self.assertEqual(answer["failed"], ["two"])
        self.assertEqual(self.refused(self.relay.rules.rules_fetch(name="three", who="ada")).code, "no-list")

    def test_fetch_nothing(self) -> None:
        """
        Without lists in the configuration there is nothing to fetch.
        """
        self.assertEqual(self.now(self.rules.rules_fetch(who="ada"))["lists"], {})


class ViewTests(RulesTestCase):
    def test_overview(self) -> None:
        """
        Rules, lists and manual subscriptions are shown together.
        """
        self.now(self.acts.subscribe("pod.example", tags=["cats"], who="ada"))
        self.now(self.rules.block("eve@pod.example", who="bob", until="1d"))
        self.imported(source="blocks.csv")
        answer = self.now(self.seen.overview())
        self.assertEqual([(each["host"], each["tags"]) for each in answer["subscriptions"]], [("pod.example", ["cats"])])
        self.assertEqual(answer["total"], 3)
        by_hand = answer["rules"][0]
        self.assertEqual((by_hand["subject"], by_hand["created_by"], by_hand["list"]), ("eve@pod.example", "bob", ""))
        self.assertEqual((by_hand["ends_at"], by_hand["ended"]), ("2026-11-22T21:30:00+00:00", False))
        [friends] = answer["lists"]
        self.assertEqual((friends["name"], friends["count"], friends["url"], friends["configured"]), ("friends", 2, "blocks.csv", False))
        self.assertEqual((friends["fetched_at"], friends["fetched_by"], friends["error"]), ("2026-11-21T21:30:00+00:00", "ada", ""))

    def test_chosen(self) -> None:
        """
        Rules are chosen by text, action and list, a page at a time.
        """
        self.imported()
        self.now(self.rules.block("#spam", who="ada"))
        self.assertEqual(self.subjects(), ["#spam", "spam.example", "loud.example"])
        self.assertEqual(self.subjects(text=" SPAM "), ["#spam", "spam.example"])
        self.assertEqual(self.subjects(list="-"), ["#spam"])
        self.assertEqual(self.subjects(list="friends", action="limit"), ["loud.example"])
        self.assertEqual(self.subjects(offset=1, limit=1), ["spam.example"])
        self.assertEqual(self.refused(self.seen.overview(action="ban")).code, "bad-request")

    def test_configured(self) -> None:
        """
        A list of the configuration is shown before it was ever fetched, and with what went wrong.
        """
        self.relay = Relay(moderation=Moderation((RuleList("one", URL, "limit"),)))
        [one] = self.now(self.relay.rule_views.overview())["lists"]
        self.assertEqual((one["url"], one["action"], one["configured"], one["fetched_at"]), (URL, "limit", True, None))
        self.now(self.relay.rules.rules_fetch(who="ada"))
        [one] = self.now(self.relay.rule_views.overview())["lists"]
        self.assertEqual((one["error"], one["fetched_at"], one["tried_at"]), ("HTTP 404", None, "2026-11-21T21:30:00+00:00"))

    def test_ended(self) -> None:
        """
        A rule that has ended is shown as such, and not exported.
        """
        self.relay.tables.rules["block", "x.example", ""] = Rule("block", "x.example", "", NOW, "ada", ends_at=NOW)
        [rule] = self.now(self.seen.overview())["rules"]
        self.assertTrue(rule["ended"])
        self.assertEqual(self.now(self.seen.export())["count"], 0)

    def test_of_a_node(self) -> None:
        """
        A node's page names the rules about it, about a domain above it, and about its authors, with list and end.
        """
        self.imported("spam.example # sends spam\n")
        for subject in ("eve@a.spam.example", "b.spam.example", "eve@spam.example", "#a.spam.example"):
            self.relay.tables.rules["block", subject, ""] = Rule("block", subject, "", NOW, "ada", ends_at=NOW + timedelta(days=1))
        answer = self.now(self.views.node("a.spam.example"))
        found = [(each["subject"], each["list"], each["reason"], each["ends_at"] is not None) for each in answer["rules"]]
        self.assertEqual(found, [("eve@a.spam.example", "", "", True), ("spam.example", "friends", "sends spam", False)])

    def test_check_keeps_reasons(self) -> None:
        """
        The administrator of a blocked node learns that it is blocked, and neither why nor by which list.
        """
        self.imported()
        self.relay.poller.published["spam.example"] = EVERYTHING
        answer = self.successResultOf(self.relay.check.check("spam.example"))
        self.assertEqual(answer["subscription"]["why"], "blocked by the operator")
        self.assertNotIn("friends", repr(answer))
        self.assertNotIn("sends spam", repr(answer))

    def test_export_csv(self) -> None:
        """
        Hosts that are blocked or limited are exported as Mastodon's CSV; who is there twice is exported once, and others are counted.
        """
        self.imported()
        self.now(self.rules.block("spam.example", who="ada", reason="sends spam"))
        for subject in ("#spam", "eve@pod.example"):
            self.now(self.rules.block(subject, who="ada"))
        self.assertEqual(self.now(self.seen.export()), {"text": LIST, "format": "csv", "count": 2, "left_out": 2})
        self.assertEqual(self.now(self.seen.export(list="friends"))["text"], LIST)

    def test_export_plain(self) -> None:
        """
        A plain list has all subjects of one action, blocked ones if none is named, with their reasons.
        """
        self.imported()
        self.now(self.rules.block("#spam", who="ada"))
        self.assertEqual(self.now(self.seen.export(format="plain"))["text"], "#spam\nspam.example # sends spam\n")
        self.assertEqual(self.now(self.seen.export(format="plain", action="limit"))["text"], "loud.example\n")
        self.assertEqual(self.now(self.seen.export(format="plain", list="-"))["text"], "#spam\n")

    def test_export_many(self) -> None:
        """
        However many rules there are, all are exported.
        """
        entries = [ListedRule("block", f"pod{number}.example") for number in range(4500)]
        self.successResultOf(self.relay.stores.rules.replace(RuleSet("big", "", "block", NOW, "ada", NOW), entries))
        self.assertEqual(self.now(self.seen.export())["text"].count("\n"), 4501)

    def test_export_nonsense(self) -> None:
        """
        There must be such a format, action and list.
        """
        for fields, code in (({"format": "xml"}, "bad-request"), ({"action": "ban"}, "bad-request"), ({"list": "nobody"}, "no-list")):
            self.assertEqual(self.refused(self.seen.export(**fields)).code, code)

    def test_round_trip(self) -> None:
        """
        What was exported can be imported again, and changes nothing.
        """
        self.imported()
        exported = self.now(self.seen.export(list="friends"))["text"]
        self.assertIn("0 new, 0 removed, 2 unchanged", self.imported(exported)["message"])
        self.assertEqual(evolve(self.relay.tables.rules["block", "spam.example", "friends"], created_by="ada").reason, "sends spam")
