"""Lists of the configuration, and what becomes of a list that is taken over."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Document, FetchFailed, RuleSet, Unavailable
from socialrelay.config import Moderation, RuleList
from socialrelay.moderation.formats import MAX_LIST
from socialrelay.moderation.importing import Importer
from socialrelay.moderation.lists import RETRY, Fetched, RuleLists
from socialrelay.storage.memory import MemoryTables, memory_storage
from tests.fetching import MemoryWeb

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE = RuleList("one", "https://one.example/blocks.csv")
TWO = RuleList("two", "https://two.example/list.txt", "limit")
T = TypeVar("T")


def at_once(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return maybeDeferred(function, *args)


def hosts(count: int, name: str = "pod") -> bytes:
    return b"".join(b"%s%d.example\n" % (name.encode(), number) for number in range(count))


class RuleListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.web = MemoryWeb()
        self.tables = MemoryTables()
        self.acted = 0
        self.lists = self.make(ONE, TWO)
        self.web.pages = {ONE.url: hosts(10), TWO.url: hosts(2, "loud")}

    def make(self, *lists: RuleList) -> RuleLists:
        rules = memory_storage(self.tables).rules
        importer = Importer(rules, self.act, own_host="relay.example", tag_key=str.lower, in_thread=at_once, now=self.now)
        return RuleLists(Moderation(lists), self.web, rules, importer, self.now, at_once)

    def act(self) -> Deferred[None]:
        self.acted += 1
        return succeed(None)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        result: T = self.successResultOf(Deferred.fromCoroutine(work))
        return result

    def round(self) -> list[str]:
        """What a round asks for."""
        self.web.requests.clear()
        self.do(self.lists.round())
        return self.web.urls

    def fetch(self, name: str = "", anyway: bool = False) -> dict[str, Fetched]:
        return {each.name: each for each in self.successResultOf(self.lists.fetch(name, who="ada", anyway=anyway))}

    def held(self, name: str = "one") -> set[str]:
        return {rule.subject for rule in self.tables.rules.values() if rule.list == name}

    def test_round(self) -> None:
        """Lists are taken over at start and then once in an interval, with the action that the configuration gives them."""
        self.assertEqual(self.round(), [ONE.url, TWO.url])
        self.assertEqual({rule.action for rule in self.tables.rules.values() if rule.list == "two"}, {"limit"})
        self.assertEqual((len(self.held()), self.tables.rule_lists["one"].fetched_by, self.acted), (10, "the relay", 2))
        self.clock.advance(86399)
        self.assertEqual(self.round(), [])
        self.clock.advance(1)
        self.assertEqual(self.round(), [ONE.url, TWO.url])

    def test_failure(self) -> None:
        """A list that fails leaves its rules as they were, says why, and is asked again soon; the others do not mind."""
        self.round()
        self.clock.advance(86400)
        for page, why in (
            (FetchFailed("HTTP 500", 500), "HTTP 500"),
            (b"<html>", "it is a web page"),
            (b"Not Found\n", "it names nobody who could be blocked"),
        ):
            self.web.pages[ONE.url] = page
            with capturedLogs() as logs:
                asked = self.round()
            self.assertIn(ONE.url, asked)
            self.assertIn(why, [event.get("reason") for event in logs])
            self.assertEqual((len(self.held()), self.tables.rule_lists["one"].error), (10, why))
            self.assertEqual(self.tables.rule_lists["one"].fetched_at, START)
            self.clock.advance(RETRY.total_seconds())

    def test_shrunk(self) -> None:
        """A list that has lost more than half of its entries, or all, is taken over at the operator's word alone."""
        self.round()
        for body, left in ((hosts(4), 4), (b"", 0), (b"# nobody any more\n", 0)):
            self.web.pages[ONE.url] = hosts(10)
            self.fetch("one")
            self.web.pages[ONE.url] = body
            fetched = self.fetch("one")["one"]
            self.assertTrue(fetched.shrunk)
            self.assertEqual(fetched.fault, f"it had 10 entries and has {left} now; `socialrelay rules fetch one --anyway` takes it over")
            self.assertEqual((len(self.held()), self.tables.rule_lists["one"].error), (10, fetched.fault))
            self.assertEqual(self.fetch("one", anyway=True)["one"].fault, "")
            self.assertEqual((len(self.held()), self.tables.rule_lists["one"].error), (left, ""))

    def test_half_is_not_much(self) -> None:
        """A list may lose half of its entries, and grow by as many as it likes."""
        self.round()
        for count in (5, 500):
            self.web.pages[ONE.url] = hosts(count)
            self.assertEqual(self.fetch("one")["one"].fault, "")
            self.assertEqual(len(self.held()), count)

    def test_one_by_name(self) -> None:
        """A list is fetched by its name, whether it is due or not."""
        self.assertEqual(list(self.fetch("two")), ["two"])
        self.assertEqual(self.web.urls, [TWO.url])
        self.assertEqual(self.tables.rule_lists["two"].fetched_by, "ada")

    def test_file(self) -> None:
        """A list may be a file of the relay's machine; one that cannot be read is a list that fails."""
        path = Path(self.mktemp()).absolute()
        self.lists = self.make(RuleList("file", str(path)))
        self.assertIn("No such file", self.fetch()["file"].fault)
        path.write_bytes(hosts(3))
        self.fetch()
        self.assertEqual(len(self.held("file")), 3)
        path.write_bytes(b"x" * (MAX_LIST + 1))
        self.assertIn("longer than", self.fetch()["file"].fault)

    def test_other_configuration(self) -> None:
        """With another configuration other lists are fetched, all of them at the next round; of one that is gone it is said that it stays."""
        self.round()
        self.lists.adjust(Moderation((TWO,)))
        self.lists.fetch_soon()
        with capturedLogs() as logs:
            self.assertEqual(self.round(), [TWO.url])
        self.assertEqual([event["name"] for event in logs if "not in moderation.lists" in event["log_format"]], ["one"])
        self.assertEqual(len(self.held("one")), 10)

    def test_imported_by_hand(self) -> None:
        """A list that somebody imported is no list that the configuration has lost."""
        self.tables.rule_lists["friends"] = RuleSet("friends", "", "block", START, "ada", START)
        with capturedLogs() as logs:
            self.round()
        self.assertNotIn("friends", [event.get("name") for event in logs])

    def test_storage_away(self) -> None:
        """While storage is away nothing is taken over, and it is tried again."""
        self.tables.go_away()
        self.round()
        self.assertEqual(self.tables.rules, {})
        self.failureResultOf(self.lists.fetch(who="ada"), Unavailable)
        self.tables.come_back()
        self.clock.advance(RETRY.total_seconds())
        self.assertEqual(self.round(), [ONE.url, TWO.url])

    def test_stop(self) -> None:
        """A stop ends the fetch that is under way, and waits for it."""
        waiting: Deferred[Document] = Deferred()
        self.web.pages[ONE.url] = waiting
        Deferred.fromCoroutine(self.lists.round())
        self.successResultOf(self.lists.stop())
        self.assertTrue(waiting.called)
        self.assertNotIn("one", self.tables.rule_lists)

    def test_one_after_the_other(self) -> None:
        """Who fetches a list while it is being fetched gets the same answer."""
        waiting: Deferred[Document] = Deferred()
        self.web.pages[ONE.url] = waiting
        answers = [self.lists.fetch("one", who="ada") for _ in range(2)]
        waiting.callback(Document(ONE.url, 200, {}, hosts(3)))
        self.assertEqual([self.successResultOf(answer)[0].taken.changes.new for answer in answers], [3, 3])
        self.assertEqual(self.web.urls, [ONE.url])
