"""The relay in numbers, as its pages show them."""

from __future__ import annotations

from datetime import timedelta

from twisted.internet.defer import Deferred

from socialrelay.boundaries import Unavailable
from socialrelay.operators.taglist import AT_ONCE, LISTED
from socialrelay.routing.subscription import Preferences, Scope
from tests.operators import EVERYTHING, NOW
from tests.test_operations import OperatorTestCase

HOUR = timedelta(hours=1)
THIS_HOUR = NOW.replace(minute=0)


class StatsTests(OperatorTestCase):
    def test_counts(self) -> None:
        """
        Posts and deliveries are counted for periods, subscribers by what they want.
        """
        self.successResultOf(self.relay.stores.statistics.add({(NOW, "accepted", "a.example"): 2, (NOW, "delivered", "b.example"): 7}))
        events = ("received", "rejected", "ignored", "failed", "bounced", "expired", "cancelled")
        self.successResultOf(self.relay.stores.statistics.add({(NOW, event, "b.example"): 1 for event in events}))
        self.now(self.relay.publishes("a.example", EVERYTHING))
        self.now(self.relay.publishes("b.example", Preferences(Scope.TAGS, frozenset({"cats", "dogs"}), "https://b.example/r")))
        self.successResultOf(self.relay.stores.profiles.put("ada@pod.example", "PEM", NOW))
        stats = self.successResultOf(self.relay.overview.stats())
        self.assertEqual(stats["posts"], {"24h": 2, "7d": 2, "30d": 2, "total": 2})
        self.assertEqual(stats["deliveries"], {"24h": 7, "7d": 7, "30d": 7, "total": 7})
        self.assertEqual([stats[event]["total"] for event in events], [1] * len(events))
        self.assertEqual((stats["subscribers"], stats["tags"], stats["nodes"]), ({"total": 2, "all": 1, "tags": 1}, 2, 2))
        self.assertEqual((stats["queue"]["destinations"], stats["queue"]["active"], stats["queue"]["paced"]), (2, 2, 0))
        self.assertEqual((stats["authors"], stats["delay"]), (1, {"24h": None}))

    def test_delay(self) -> None:
        """
        Half of the posts and 99 of a hundred went out within so many seconds, as the buckets of the last day tell.
        """
        counts = {(THIS_HOUR, "delay", "0.5"): 50, (THIS_HOUR - 23 * HOUR, "delay", "1.0"): 50, (THIS_HOUR - 24 * HOUR, "delay", "inf"): 9}
        self.successResultOf(self.relay.stores.statistics.add(counts))
        stats = self.successResultOf(self.relay.overview.stats())
        self.assertEqual(stats["delay"], {"24h": {"p50": 0.5, "p99": 0.99}})

    def test_held(self) -> None:
        """
        An answer is given again for some seconds, then made anew.
        """
        first = self.successResultOf(self.relay.overview.stats())
        self.assertIs(self.successResultOf(self.relay.overview.stats()), first)
        self.relay.seconds = 5.0
        self.assertIsNot(self.successResultOf(self.relay.overview.stats()), first)

    def test_storage_away(self) -> None:
        """
        While storage is away the numbers cannot be had, and afterwards they can.
        """
        overview = self.relay.overview
        self.relay.tables.go_away()
        for asked in (overview.stats(), overview.series("7d")):
            self.failureResultOf(asked, Unavailable)
        self.relay.tables.come_back()
        self.successResultOf(overview.stats())


class SeriesTests(OperatorTestCase):
    def series(self, period: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self.successResultOf(self.relay.overview.series(period))
        return found

    def test_hours(self) -> None:
        """
        A day and a week are shown by the hour, the oldest first, also the hours in which there was nothing.
        """
        counts = {
            (THIS_HOUR, "accepted", "a.example"): 2,
            (THIS_HOUR - 23 * HOUR, "delivered", "b.example"): 7,
            (THIS_HOUR - 24 * HOUR, "delivered", "b.example"): 9,
        }
        self.successResultOf(self.relay.stores.statistics.add(counts))
        day, week = self.series("24h"), self.series("7d")
        self.assertEqual((len(day), len(week)), (24, 168))
        self.assertEqual((day[0]["at"], day[0]["deliveries"]), ("2026-11-20T22:00:00+00:00", 7))
        self.assertEqual((day[-1]["at"], day[-1]["posts"]), ("2026-11-21T21:00:00+00:00", 2))
        self.assertEqual(week[-24:], day)
        self.assertEqual([span["at"] for span in week if span["deliveries"]], ["2026-11-20T21:00:00+00:00", "2026-11-20T22:00:00+00:00"])
        names = {"at", "received", "posts", "rejected", "ignored", "deliveries", "failed", "bounced", "expired"}
        self.assertEqual({frozenset(span) for span in day}, {frozenset(names)})

    def test_days(self) -> None:
        """
        A month is shown by the day, each of them whole but the last.
        """
        first = NOW.replace(hour=0, minute=0) - timedelta(days=29)
        counts = {
            (first - HOUR, "accepted", "x"): 100,
            (first, "accepted", "x"): 1,
            (first + 23 * HOUR, "accepted", "y"): 2,
            (THIS_HOUR, "accepted", "x"): 4,
        }
        self.successResultOf(self.relay.stores.statistics.add(counts))
        month = self.series("30d")
        self.assertEqual((len(month), month[0]["at"], month[0]["posts"]), (30, "2026-10-23T00:00:00+00:00", 3))
        self.assertEqual((month[-1]["at"], month[-1]["posts"]), ("2026-11-21T00:00:00+00:00", 4))

    def test_as_counted(self) -> None:
        """
        Counts of a period are the sums of its chart, so that one page does not say two numbers of the same.
        """
        spans = (23, 24, 7 * 24 - 1, 7 * 24, 29 * 24 + 21, 29 * 24 + 22, 30 * 24)
        counts = {(THIS_HOUR - back * HOUR, "accepted", "x"): 10**place for place, back in enumerate(spans)}
        self.successResultOf(self.relay.stores.statistics.add(counts))
        posts = self.successResultOf(self.relay.overview.stats())["posts"]
        self.assertEqual(posts, {"24h": 1, "7d": 111, "30d": 11_111, "total": 1_111_111})
        for period in ("24h", "7d", "30d"):
            self.assertEqual(sum(span["posts"] for span in self.series(period)), posts[period], period)

    def test_no_such_period(self) -> None:
        """
        Other periods are refused.
        """
        self.failureResultOf(self.relay.overview.series("1y"), ValueError)


class TagsTests(OperatorTestCase):
    def wanted(self, *nodes: set[str]) -> None:
        for number, tags in enumerate(nodes):
            self.now(self.relay.publishes(f"n{number}.example", Preferences(Scope.TAGS, frozenset(tags))))

    def tags(self, text: str = "", offset: int = 0, limit: int = 100) -> tuple[list[tuple[str, int]], int]:
        found = self.successResultOf(self.relay.overview.tags(text, offset, limit))
        return [(each["tag"], each["nodes"]) for each in found["tags"]], found["total"]

    def test_shared(self) -> None:
        """
        Tags that at least two nodes want are listed, those most wanted first; nobody learns what a single node wants.
        """
        self.wanted({"cats", "dogs", "secret"}, {"cats", "birds"}, {"cats", "dogs", "birds", "straße"}, {"straße"})
        self.assertEqual(self.tags(), ([("cats", 3), ("birds", 2), ("dogs", 2), ("straße", 2)], 4))
        self.assertEqual(self.tags(offset=1, limit=2), ([("birds", 2), ("dogs", 2)], 4))
        self.assertEqual(self.tags(offset=9), ([], 4))

    def test_search(self) -> None:
        """
        A part of a tag finds it, in any case, with or without #.
        """
        self.wanted(*[{"cats", "concats", "dogs"}] * 2)
        for text in ("#CAT", " cat ", "Cat"):
            self.assertEqual(self.tags(text), ([("cats", 2), ("concats", 2)], 2))
        self.assertEqual(self.tags("nothing"), ([], 0))

    def test_many(self) -> None:
        """
        However many tags there are, a few are looked at at a time, and the list ends with those most wanted.
        """
        names = [f"tag{number:05}" for number in range(LISTED + AT_ONCE)]
        index = self.relay.membership.index
        for number, most in ((1, names), (2, names), (3, names[-5:])):
            index.put(number, Scope.TAGS, frozenset(most))
        found, total = self.tags(limit=6)
        self.assertEqual(([tag for tag, nodes in found if nodes == 3], total), (names[-5:], LISTED))
        self.assertGreaterEqual(self.relay.pauses, (LISTED + AT_ONCE) // AT_ONCE)


class SubscribedTests(OperatorTestCase):
    def test_page(self) -> None:
        """
        Subscribed nodes are listed by host, with what they want.
        """
        self.now(self.relay.publishes("b.example", Preferences(Scope.TAGS, frozenset({"cats", "dogs"}))))
        self.now(self.relay.publishes("a.example", EVERYTHING))
        self.now(self.relay.publishes("c.example", Preferences(Scope.NONE)))
        a, b = {"host": "a.example", "scope": "all", "tags": 0}, {"host": "b.example", "scope": "tags", "tags": 2}
        self.assertEqual(self.successResultOf(self.relay.overview.subscribed(0, 10)), {"nodes": [a, b], "total": 2})
        self.assertEqual(self.successResultOf(self.relay.overview.subscribed(1, 10)), {"nodes": [b], "total": 2})


class ManyWhoAskTests(OperatorTestCase):
    def test_shared(self) -> None:
        """
        Whoever asks while an answer is being made waits for the same one.
        """
        waiting: Deferred[None] = Deferred()
        self.relay.overview.pause = lambda: waiting
        index = self.relay.membership.index
        for number in (1, 2):
            index.put(number, Scope.TAGS, frozenset(f"tag{each}" for each in range(AT_ONCE + 1)))
        asked = [self.relay.overview.tags("tag7", 0, 1) for _ in range(3)]
        for each in asked:
            self.assertNoResult(each)
        waiting.callback(None)
        self.assertEqual({self.successResultOf(each)["total"] for each in asked}, {sum("tag7" in f"tag{n}" for n in range(AT_ONCE + 1))})
