"""Node lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Document, FetchFailed, NodeRecord, Unavailable
from socialrelay.config import NodeList, Polling
from socialrelay.nodes.directory import FORGET_AFTER, MAX_LIST, RETRY_FAILED, NodeDirectory
from socialrelay.nodes.sources import DEFAULT_LISTS
from socialrelay.storage.memory import MemoryTables, memory_storage
from socialrelay.storage.memory_cache import MemoryCache
from tests.fetching import MemoryWeb

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE, TWO = NodeList("one", "https://one.example/pods.json"), NodeList("two", "https://two.example/graphql", "{ nodes { domain } }")


def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return maybeDeferred(function, *args)


def hosts(*names: str) -> bytes:
    return json.dumps(names).encode()


class DirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.web = MemoryWeb()
        self.tables = MemoryTables()
        self.cache = MemoryCache(self.clock)
        self.chances = [0.5]
        self.config = Polling(lists=(ONE, TWO))
        self.directory = self.make()

    def make(self, **changes: Any) -> NodeDirectory:
        self.config = evolve(self.config, **changes)
        self.directory = NodeDirectory(
            self.web, memory_storage(self.tables).nodes, self.cache, self.now, self.config, "relay.example", self.chance, in_thread
        )
        return self.directory

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def chance(self) -> float:
        return self.chances.pop(0) if len(self.chances) > 1 else self.chances[0]

    def fetch(self) -> dict[str, str]:
        return self.successResultOf(self.directory.fetch())

    def round(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.directory.round()))

    def test_merged(self) -> None:
        """The hosts of all lists become known, each once, with the lists that name it."""
        self.web.pages = {ONE.url: hosts("a.example", "B.example."), TWO.url: b'{"data": {"nodes": [{"domain": "b.example"}]}}'}
        self.assertEqual(self.fetch(), {"one": "2 hosts, 2 new", "two": "1 host, 0 new"})
        self.assertEqual(
            {host: node.sources for host, node in self.tables.nodes.items()}, {"a.example": ("one",), "b.example": ("one", "two")}
        )

    def test_queries_are_posted(self) -> None:
        """A list with a query is asked by POST, another by GET."""
        self.fetch()
        self.assertEqual([request.document for request in self.web.requests], [None, {"query": TWO.query}])

    def test_first_polls_are_spread(self) -> None:
        """New hosts are polled first at times spread over the interval of candidates."""
        self.chances = [0.0, 0.5, 1.0]
        self.web.pages = {ONE.url: hosts("a.example", "b.example", "c.example")}
        self.fetch()
        self.assertEqual([node.next_poll - START for node in self.tables.nodes.values()], [timedelta(hours=hours) for hours in (0, 12, 24)])

    def test_failures_change_nothing(self) -> None:
        """A list that fails, is empty or no list changes nothing, and is told of."""
        self.web.pages = {ONE.url: hosts("a.example")}
        self.fetch()
        before = dict(self.tables.nodes)
        for page in (FetchFailed("timed out"), b"[]", b"<html>", b"{", b'{"errors": []}'):
            self.web.pages[ONE.url] = page
            self.assertTrue(self.fetch()["one"].startswith("failed, what it named before stays: "))
        self.assertEqual(self.tables.nodes, before)

    def test_bounded(self) -> None:
        """No more nodes become known than may be, and one list cannot take the room of all."""
        self.make(max_nodes=10)
        self.web.pages = {
            ONE.url: hosts(*(f"host{number}.one.example" for number in range(100))),
            TWO.url: hosts(*(f"host{number}.two.example" for number in range(3))),
        }
        told = self.fetch()
        self.assertEqual(told["one"], "5 hosts, 5 new; entries passed over: 90; new hosts left out: 5, because polling.max_nodes is 10")
        self.assertEqual(told["two"], "3 hosts, 3 new")
        self.assertIn("left out", self.fetch()["one"])
        self.assertLessEqual(len(self.tables.nodes), 10)

    def test_relay_itself(self) -> None:
        """The relay does not become a node of its own."""
        self.web.pages = {ONE.url: hosts("relay.example", "a.example")}
        self.fetch()
        self.assertEqual(list(self.tables.nodes), ["a.example"])

    def test_forgotten(self) -> None:
        """A host that no list names any more and that does not answer is forgotten after 30 days, if any list could be read."""
        self.tables.nodes["old.example"] = NodeRecord("old.example", ("one",), START, START, last_listed=START)
        self.clock.advance(FORGET_AFTER.total_seconds() + 1)
        self.fetch()
        self.assertIn("old.example", self.tables.nodes)
        self.web.pages = {ONE.url: hosts("a.example")}
        self.fetch()
        self.assertEqual(list(self.tables.nodes), ["a.example"])

    def test_local_file(self) -> None:
        """A file with one host per line is a list; a missing or huge one is told of."""
        path = Path(self.mktemp())
        self.make(lists=(NodeList("mine", str(path)),))
        self.assertIn("No such file", self.fetch()["mine"])
        path.write_text("# friends\na.example\n")
        self.assertEqual(self.fetch()["mine"], "1 host, 1 new")
        path.write_bytes(b"a" * (MAX_LIST + 1))
        self.assertIn("longer than", self.fetch()["mine"])
        self.assertEqual(self.web.urls, [])

    def test_rounds(self) -> None:
        """A list that was read is left alone for a day, one that failed for six hours; a restart does not change that."""
        self.web.pages = {ONE.url: hosts("a.example")}
        self.round()
        self.make()
        self.round()
        self.assertEqual(self.web.urls, [ONE.url, TWO.url])
        self.clock.advance(RETRY_FAILED)
        self.round()
        self.assertEqual(self.web.urls, [ONE.url, TWO.url, TWO.url])
        self.clock.advance(86400 - RETRY_FAILED)
        self.round()
        self.assertEqual(self.web.urls[3:], [ONE.url, TWO.url])

    def test_standing(self) -> None:
        """It is known how it stands with each list; an operator is told of one that has failed for three days, until it can be read."""
        self.web.pages = {ONE.url: hosts("a.example", "b.example"), TWO.url: FetchFailed("timed out")}
        self.fetch()
        standing = self.directory.standing
        self.assertEqual((standing["one"].hosts, standing["one"].fault), (2, ""))
        self.assertEqual(standing["two"].failing_since, START)
        condition = self.directory.condition()
        self.assertTrue(condition.well)
        self.assertEqual(condition.detail, f"1 list read; two was not read: {standing['two'].fault}")
        self.clock.advance(3 * 86400.0 + 1)
        self.fetch()
        condition = self.directory.condition()
        self.assertEqual((condition.well, condition.essential), (False, False))
        self.assertIn("two has failed for days: failed", condition.detail)
        self.web.pages[TWO.url] = hosts("c.example")
        self.fetch()
        self.assertTrue(self.directory.condition().well)

    def test_adjusted(self) -> None:
        """Other lists are fetched from now on, and those that are no more are forgotten."""
        self.web.pages = {ONE.url: hosts("a.example"), TWO.url: hosts("b.example")}
        self.fetch()
        self.directory.adjust(evolve(self.config, lists=(TWO,)))
        self.assertEqual(list(self.directory.standing), ["two"])
        self.assertEqual(list(self.fetch()), ["two"])

    def test_joined(self) -> None:
        """Who asks while lists are being fetched gets the same answer."""
        page: Deferred[Document] = Deferred()
        self.web.pages = {ONE.url: page}
        answers = [self.directory.fetch(), self.directory.fetch()]
        page.callback(Document(ONE.url, 200, {}, hosts("a.example")))
        self.assertEqual(self.successResultOf(answers[0]), self.successResultOf(answers[1]))
        self.assertEqual(len(self.web.requests), 2)

    def test_storage_away(self) -> None:
        """While storage is away nothing is entered, and who asked is told."""
        self.web.pages = {ONE.url: hosts("a.example")}
        self.tables.go_away()
        self.failureResultOf(self.directory.fetch(), Unavailable)

    def test_stop(self) -> None:
        """Stopping gives up fetches and waits for the end."""
        self.web.pages = {ONE.url: Deferred()}
        answer = self.directory.fetch()
        self.successResultOf(self.directory.stop())
        self.assertIn("stopping", self.successResultOf(answer)["one"])

    def test_defaults(self) -> None:
        """Without configured lists the known ones are read, each over https and under a name of its own; an empty list means none."""
        self.make(lists=None)
        self.fetch()
        self.assertEqual(self.web.urls, [source.url for source in DEFAULT_LISTS])
        self.assertEqual(len({source.name for source in DEFAULT_LISTS}), len(DEFAULT_LISTS))
        self.assertTrue(all(source.url.startswith("https://") for source in DEFAULT_LISTS))
        self.make(lists=())
        self.assertEqual(self.fetch(), {})
