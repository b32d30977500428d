"""Tests for L{socialrelay.routing.index} and L{socialrelay.routing.rules}."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.routing.index import SubscriptionIndex
from socialrelay.routing.rules import RuleBook, effective
from socialrelay.routing.subscription import Effective, Preferences, Scope, Subscription

_tags = st.frozensets(st.sampled_from("abcdef"), max_size=4)
_change = st.tuples(st.integers(0, 5), st.sampled_from(list(Scope)), _tags)


class IndexTests(SynchronousTestCase):
    """Who wants a post."""

    @given(st.lists(_change, max_size=30), _tags)
    def test_as_last_said(self, changes: list[tuple[int, Scope, frozenset[str]]], post: frozenset[str]) -> None:
        """Whatever destinations said before, what they said last counts, and nothing else is held."""
        index, last = SubscriptionIndex(), {}
        for number, scope, tags in changes:
            index.put(number, scope, tags)
            last[number] = (scope, tags)
        wanted = {n for n, (scope, tags) in last.items() if scope is Scope.ALL or (scope is Scope.TAGS and tags & post)}
        self.assertEqual(index.recipients(post), wanted)
        held = [tags for scope, tags in last.values() if scope is Scope.TAGS]
        self.assertEqual((index.entries, index.tags), (sum(map(len, held)), len(frozenset().union(*held))))


class RuleBookTests(SynchronousTestCase):
    """The operator's rules."""

    def test_subdomains(self) -> None:
        """A block of a host holds for what is below it, and for nothing else."""
        rules = RuleBook.of({"block": ["bad.example"]})
        self.assertEqual(
            [rules.refuses_host(host) for host in ("bad.example", "a.b.bad.example", "notbad.example")], ["blocked", "blocked", ""]
        )

    def test_author(self) -> None:
        """An author is refused by name, or with the host, whatever the port."""
        rules = RuleBook.of({"block": ["eve@pod.example", "bad.example"]})
        refused = [rules.refuses_author(author) for author in ("eve@pod.example", "ada@pod.example", "ada@bad.example:8443")]
        self.assertEqual(refused, ["blocked", "", "blocked"])

    def test_tags(self) -> None:
        """A post with one blocked tag is refused; nobody else minds that there are such tags."""
        rules = RuleBook.of({"block": ["#spam", "bad.example"]})
        self.assertEqual([rules.refuses_tags(frozenset(tags)) for tags in (["cats", "spam"], ["bad.example"], [])], ["blocked-tag", "", ""])
        self.assertEqual((rules.refuses_host("spam"), rules.refuses_author("#spam@pod.example")), ("", ""))

    def test_limits(self) -> None:
        """Limited are an author, all of a host and what is below it, and posts with a tag."""
        rules = RuleBook.of({"limit": ["eve@pod.example", "loud.example", "#loud"]})
        for author, tags, limited in (
            ("eve@pod.example", [], True),
            ("ada@pod.example", ["cats"], False),
            ("ada@a.loud.example:8443", [], True),
            ("ada@pod.example", ["cats", "loud"], True),
        ):
            self.assertIs(rules.limits(author, frozenset(tags)), limited, author)
        self.assertEqual((rules.refuses_host("loud.example"), rules.refuses_author("eve@pod.example")), ("", ""))
        self.assertFalse(RuleBook().limits("eve@pod.example", frozenset({"loud"})))

    def test_lists(self) -> None:
        """What lists say counts like what was decided by hand; who is allowed by hand is taken out of them, and of nothing else."""
        of_lists = {"block": ["bad.example", "good.example", "worse.example"], "limit": ["good.example", "#loud"]}
        rules = RuleBook.of({"allow": ["good.example", "worse.example"], "block": ["worse.example"]}, of_lists)
        refused = [rules.refuses_host(host) for host in ("bad.example", "good.example", "worse.example")]
        self.assertEqual(refused, ["blocked", "", "blocked"])
        self.assertEqual((rules.limits("a@good.example", frozenset()), rules.limited_tags, rules.allowed), (False, {"loud"}, None))

    def test_decides_anew(self) -> None:
        """It is known which hosts other rules may concern."""
        before = RuleBook.of({"block": ["old.example", "same.example"], "forward": ["archive.example"]})
        after = RuleBook.of({"block": ["new.example", "same.example"], "limit": ["old.example"]})
        hosts = ("a.old.example", "new.example", "same.example", "archive.example", "other.example")
        self.assertEqual([after.decides_anew(host, before) for host in hosts], [True, True, False, True, False])
        self.assertTrue(RuleBook.of({"allow": ["other.example"]}, allow_list=True).decides_anew("other.example", before))

    def test_allow_list(self) -> None:
        """With the allow list on, whoever is not on it is refused, and a block counts before it."""
        rules = RuleBook.of({"allow": ["good.example", "ada@bad.example"], "block": ["x.good.example"]}, allow_list=True)
        authors = ("a@good.example", "a@other.example", "ada@bad.example", "a@x.good.example")
        self.assertEqual([rules.refuses_author(author) for author in authors], ["", "not-allowed", "", "blocked"])


class EffectiveTests(SynchronousTestCase):
    """What a host is subscribed to, everything considered."""

    no = Preferences(Scope.NONE)
    cats = Preferences(Scope.TAGS, frozenset({"cats"}), "https://a.example/receive/public/")
    everything = Subscription(Scope.ALL)

    def scope(self, rules: RuleBook, published: Preferences | None, manual: Subscription | None) -> Scope:
        return effective("a.example", rules, published, manual, "https://a.example/receive/public").scope

    def test_who_counts(self) -> None:
        """A block, then the node's refusal, then C{forward}, then the operator's word, then the node's."""
        blocked = RuleBook.of({"block": ["a.example"], "forward": ["a.example"]})
        forward = RuleBook.of({"forward": ["a.example"]})
        plain = RuleBook()
        self.assertIs(self.scope(blocked, self.cats, self.everything), Scope.NONE)
        self.assertIs(self.scope(forward, self.no, self.everything), Scope.NONE)
        self.assertIs(self.scope(forward, self.cats, None), Scope.ALL)
        self.assertIs(self.scope(plain, self.cats, self.everything), Scope.ALL)
        self.assertIs(self.scope(plain, self.cats, None), Scope.TAGS)
        self.assertIs(self.scope(plain, None, None), Scope.NONE)

    def test_gone(self) -> None:
        """Whoever answered 410 Gone to deliveries gets nothing until then, also what the operator wanted for it; and it is said until when."""
        until = datetime(2026, 3, 8, tzinfo=UTC)
        forward = RuleBook.of({"forward": ["a.example"]})
        for rules, published, manual in ((forward, None, None), (RuleBook(), None, self.everything), (RuleBook(), self.cats, None)):
            found = effective("a.example", rules, published, manual, "https://a.example/receive/public", until)
            self.assertEqual(found, Effective(Scope.NONE, why="it answers 410 Gone to deliveries", until=until))

    def test_gone_and_nothing_wanted(self) -> None:
        """Where nobody asks for posts, that is the reason why there are none."""
        until = datetime(2026, 3, 8, tzinfo=UTC)
        for published in (None, self.no):
            found = effective("a.example", RuleBook(), published, None, "https://a.example/receive/public", until)
            self.assertEqual((found.until, "410" in found.why), (None, False))

    def test_url(self) -> None:
        """It is sent to where it says, or else to where such nodes usually receive."""
        by_hand = effective("a.example", RuleBook(), None, self.everything, "https://a.example/receive/public")
        published = effective("a.example", RuleBook(), self.cats, None, "https://a.example/receive/public")
        self.assertEqual((by_hand.url, published.url), ("https://a.example/receive/public", "https://a.example/receive/public/"))
