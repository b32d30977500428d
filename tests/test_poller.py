"""Polls of nodes' preferences."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Document, FetchFailed, Full, Membership, NodeRecord, PollReport, Unavailable
from socialrelay.config import Polling
from socialrelay.nodes.plan import NOTHING
from socialrelay.nodes.poller import ASKED_ADDITIONALLY, CHECK, PENALTY, NodePoller
from socialrelay.routing.subscription import Effective, Preferences, Scope
from socialrelay.storage.memory import MemoryTables, memory_storage
from socialrelay.storage.memory_cache import MemoryCache
from tests.fetching import MemoryWeb

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
POD = "pod.example"
CATS = Preferences(Scope.TAGS, frozenset({"cats"}), "https://pod.example/receive/public")


def url(host: str) -> str:
    return f"https://{host}/.well-known/x-social-relay"


def published(host: str = POD, status: int = 200, headers: Mapping[str, str] | None = None, **members: object) -> Document:
    """A node's answer: subscribed to cats, unless it says otherwise."""
    body = json.dumps({"subscribe": True, "scope": "tags", "tags": ["cats"], **members}).encode()
    return Document(url(host), status, headers or {}, body if status == 200 else b"")


class Members:
    """A membership that remembers what it was told."""

    def __init__(self) -> None:
        self.updated: list[str] = []
        self.away = False

    def effective(self, host: str) -> Effective:
        return Effective(Scope.NONE)

    def update(self, host: str) -> Deferred[Effective]:
        self.updated.append(host)
        return fail(Unavailable()) if self.away else succeed(Effective(Scope.NONE))

    def rules_changed(self) -> Deferred[None]:
        return succeed(None)

    def subscribed(self) -> Mapping[str, Effective]:
        return {}


_conforms: type[Membership] = Members


class PollerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.web = MemoryWeb()
        self.tables = MemoryTables()
        self.members = Members()
        self.alive: list[str] = []
        self.threads = 0
        self.poller = self.make()
        self.know(POD)

    def make(self, **changes: Any) -> NodePoller:
        nodes, cache = memory_storage(self.tables).nodes, MemoryCache(self.clock)
        config = Polling(**changes)
        self.poller = NodePoller(
            self.web, nodes, self.members, cache, self.clock, self.now, config, lambda: 0.5, self.alive.append, self.in_thread
        )
        return self.poller

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.threads += 1
        return maybeDeferred(function, *args)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def know(self, host: str, **changes: Any) -> None:
        self.tables.nodes[host] = evolve(NodeRecord(host, ("list",), START, START), **changes)

    def answer(self, page: Document | FetchFailed | bytes | Deferred[Document], host: str = POD) -> None:
        self.web.pages[url(host)] = page

    def poll(self, host: str = POD, source: str = "operator") -> PollReport:
        return self.successResultOf(self.poller.poll(host, source))

    def round(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.poller.round()))

    def node(self, host: str = POD) -> NodeRecord:
        return self.tables.nodes[host]


class PollTests(PollerCase):
    def test_subscribes(self) -> None:
        """What a node publishes is kept and acted upon, and is a sign of life."""
        self.answer(published())
        report = self.poll()
        self.assertEqual((report.preferences, report.faults, report.url, report.at), (CATS, (), url(POD), START))
        self.assertEqual((self.node().preferences, self.node().last_answer), (CATS, START))
        self.assertEqual((self.members.updated, self.alive), ([POD], [POD]))

    def test_remembered(self) -> None:
        """What each poll came to is remembered for the operator, the latest first."""
        answers: list[Document | FetchFailed | bytes] = [published(), FetchFailed("HTTP 404", 404), FetchFailed("timed out"), b"no JSON"]
        for answer in answers:
            self.answer(answer)
            self.poll()
            self.clock.advance(1)
        self.answer(FetchFailed("HTTP 410", 410))
        self.poll()
        found = self.tables.polls[POD]
        self.assertEqual([poll.outcome for poll in found], ["gone", "unreadable", "failed", "missing", "read"])
        self.assertEqual((found[4].scope, found[4].tags, found[4].error), ("tags", len(CATS.tags), ""))
        self.assertEqual((found[2].scope, found[2].tags, found[2].error), (None, 0, "timed out"))

    def test_as_many_as_may_be(self) -> None:
        """A node that strangers name becomes known only as long as there is room; who is known already is not concerned."""
        self.make(max_nodes=1)
        self.answer(published())
        self.answer(published(), "new.example")
        self.assertIn("as many nodes as it may", self.poll("new.example", CHECK).faults[-1])
        self.assertEqual((set(self.tables.nodes), self.members.updated), ({POD}, []))
        self.assertEqual(self.poll(POD, CHECK).faults, ())
        self.make(max_nodes=2)
        self.assertEqual(self.poll("new.example", CHECK).faults, ())
        self.assertIn("new.example", self.tables.nodes)

    def test_stays_on_the_host(self) -> None:
        """Redirects to other hosts are not followed."""
        self.poll()
        self.assertTrue(self.web.requests[0].same_host)

    def test_unsubscribes(self) -> None:
        """A published no is kept, and said to the node's administrator as such."""
        self.know(POD, preferences=CATS)
        self.answer(published(subscribe=False))
        self.assertEqual(self.poll().faults, ("The file says subscribe: false, so nothing is sent.",))
        self.assertEqual((self.node().preferences, self.members.updated), (NOTHING, [POD]))

    def test_gone(self) -> None:
        """410 is a no."""
        self.know(POD, preferences=CATS, last_answer=START)
        self.answer(FetchFailed("HTTP 410", 410))
        self.assertIn("gone for good", self.poll().faults[0])
        self.assertEqual((self.node().preferences, self.alive), (NOTHING, []))

    def test_missing(self) -> None:
        """404 twice, an hour apart, ends what was published; the administrator is told what 404 means."""
        self.know(POD, preferences=CATS, last_answer=START)
        self.assertIn("answered 404: there is no such file.", self.poll().faults[0])
        self.assertEqual(self.node().preferences, CATS)
        self.clock.advance(3600)
        self.poll()
        self.assertIsNone(self.node().preferences)
        self.assertEqual(self.members.updated, [POD, POD])

    def test_unreadable(self) -> None:
        """A document that cannot be understood leaves the last good answer in force."""
        self.know(POD, preferences=CATS, last_answer=START)
        self.answer(b"<html>\x00")
        report = self.poll()
        self.assertEqual((report.preferences, self.node().preferences), (None, CATS))
        self.assertEqual(
            report.faults, (f"{url(POD)}: The document is not JSON in UTF-8. What it published before stays valid for some days.",)
        )
        self.assertIn("not JSON", self.node().poll_error)

    def test_remote_text(self) -> None:
        """What is kept of a failure is one printable line of bounded length."""
        self.answer(FetchFailed("certificate of \x1b[31mevil\r\n\x00" + "x" * 5000))
        self.poll()
        self.assertTrue(self.node().poll_error.isprintable())
        self.assertLessEqual(len(self.node().poll_error), 200)

    def test_retry_after(self) -> None:
        """A node that asks for time is left alone until it is over, and its administrator is told."""
        self.know(POD, preferences=CATS, last_answer=START)
        self.answer(FetchFailed("HTTP 503", 503, retry_after=7200))
        self.round()
        self.assertEqual(self.node().next_poll, START + timedelta(hours=2))
        self.assertIn("7200 seconds", self.poll().faults[0])

    def test_too_many_tags(self) -> None:
        """A node has no more tags than it may have; what is cut off is counted."""
        self.make(max_tags_per_node=2)
        self.answer(published(tags=["a", "b", "c"]))
        report = self.poll()
        assert report.preferences is not None
        self.assertEqual((len(report.preferences.tags), report.preferences.dropped_tags), (2, 1))

    def test_long_document(self) -> None:
        """A long document is read outside the reactor's thread, with the same result."""
        self.answer(published(padding="x" * 50_000))
        self.assertEqual((self.poll().preferences, self.threads), (CATS, 1))
        self.answer(b"[" * 50_000)
        self.assertIsNone(self.poll().preferences)


class UnknownNodeTests(PollerCase):
    def test_check_makes_subscribers_known(self) -> None:
        """A node that nobody knew and that publishes that it wants posts becomes known by being checked."""
        self.answer(published("new.example"), "new.example")
        self.poll("new.example", "check")
        self.assertEqual((self.node("new.example").sources, self.members.updated), (("check",), ["new.example"]))

    def test_check_keeps_nothing_else(self) -> None:
        """A host that wants nothing, fails or has no file does not become known by being checked."""
        for page in (published("new.example", subscribe=False), FetchFailed("timed out"), FetchFailed("HTTP 410", 410), b"hello"):
            self.answer(page, "new.example")
            self.poll("new.example", "check")
        self.assertEqual((list(self.tables.nodes), self.members.updated), ([POD], []))

    def test_operator_makes_any_known(self) -> None:
        """A host that the operator names becomes known in any case, and is a candidate from then on."""
        self.answer(FetchFailed("timed out"), "new.example")
        self.assertEqual(self.poll("new.example", "operator").faults, (f"{url('new.example')} could not be read: timed out.",))
        self.assertEqual(self.node("new.example").next_poll, START + timedelta(days=1))

    def test_operator_is_remembered_as_source(self) -> None:
        """Of a known node it is remembered that the operator named it too, not that somebody checked it."""
        self.answer(published())
        self.poll(source="check")
        self.poll(source="operator")
        self.poll(source="operator")
        self.assertEqual(self.node().sources, ("list", "operator"))

    def test_listed_meanwhile(self) -> None:
        """What a list says of a node while it is being polled is not lost."""
        page: Deferred[Document] = Deferred()
        self.answer(page)
        answer = self.poller.poll(POD, "operator")
        self.know(POD, sources=("list", "other"), last_listed=START)
        page.callback(published())
        self.successResultOf(answer)
        self.assertEqual((self.node().last_listed, self.node().sources), (START, ("list", "other", "operator")))


class ConditionalTests(PollerCase):
    def subscribe(self) -> None:
        self.answer(
            published(headers={"etag": '"one"', "last-modified": "Sun, 01 Mar 2026 00:00:00 GMT", "cache-control": "public, max-age=7200"})
        )
        self.poll()

    def headers(self) -> dict[str, str]:
        """Those of the latest request."""
        return dict(self.web.requests[-1].headers)

    def test_unchanged(self) -> None:
        """A node that published is asked whether anything changed; if not, what is stored holds, and that is a success."""
        self.subscribe()
        self.answer(published(status=304))
        report = self.poll()
        self.assertEqual(self.headers(), {"If-None-Match": '"one"', "If-Modified-Since": "Sun, 01 Mar 2026 00:00:00 GMT"})
        self.assertEqual((report.preferences, report.faults, self.node().poll_failures), (CATS, (), 0))
        self.assertEqual(self.members.updated, [POD, POD])

    def test_max_age(self) -> None:
        """An answer that holds for longer than the interval is not asked for before."""
        self.subscribe()
        self.assertEqual(self.node().next_poll, START + timedelta(hours=2))

    def test_after_410(self) -> None:
        """What was read before a 410 is not confirmed by a 304 after it: the document is asked for as a whole."""
        self.subscribe()
        self.answer(FetchFailed("HTTP 410", 410))
        self.poll()
        self.answer(published())
        self.poll()
        self.assertEqual((self.headers(), self.node().preferences), ({}, CATS))

    def test_nothing_stored(self) -> None:
        """A node of which nothing is stored is asked for the document as a whole, and a 304 is then a fault."""
        self.subscribe()
        self.know(POD)
        self.answer(published(status=304))
        report = self.poll()
        self.assertEqual((self.headers(), report.preferences), ({}, None))
        self.assertIn("304", report.faults[0])

    def test_strange_validators(self) -> None:
        """Validators that are no plain line are not sent back."""
        self.answer(published(headers={"etag": '"a"\r\nX: y', "last-modified": "\xe9" * 10}))
        self.poll()
        self.poll()
        self.assertEqual(self.headers(), {})


class RoundTests(PollerCase):
    def test_due(self) -> None:
        """A round polls the nodes that are due and no others."""
        self.know("later.example", next_poll=START + timedelta(seconds=1))
        self.answer(published())
        self.round()
        self.assertEqual(self.web.urls, [url(POD)])
        self.round()
        self.assertEqual(self.web.urls, [url(POD)])
        self.assertEqual(self.node().next_poll, START + timedelta(hours=1))

    def test_bounded(self) -> None:
        """No more polls than allowed are under way, and a node that is being polled is not polled again."""
        self.make(concurrency=3)
        pages = {f"host{number}.example": Deferred[Document]() for number in range(5)}
        del self.tables.nodes[POD]
        for host, page in pages.items():
            self.know(host)
            self.answer(page, host)
        self.round()
        self.round()
        self.assertEqual(self.web.urls, [url(f"host{number}.example") for number in range(3)])
        pages["host1.example"].callback(published("host1.example"))
        self.round()
        self.assertEqual(self.web.urls[3:], [url("host3.example")])
        self.successResultOf(self.poller.stop())

    def test_joined(self) -> None:
        """Who asks for a node that is being polled gets that poll's report."""
        page: Deferred[Document] = Deferred()
        self.answer(page)
        self.round()
        answers = [self.poller.poll(POD, "check"), self.poller.poll(POD, "operator")]
        page.callback(published())
        self.assertEqual([self.successResultOf(answer).preferences for answer in answers], [CATS, CATS])
        self.assertEqual(len(self.web.requests), 1)

    def test_asked_for_is_bounded_apart(self) -> None:
        """Polls that people ask for are bounded, and take no room from those that are due."""
        hosts = [f"host{number}.example" for number in range(ASKED_ADDITIONALLY)]
        for host in (POD, *hosts):
            self.answer(Deferred(), host)
        answers = [self.poller.poll(host, "check") for host in hosts]
        self.failureResultOf(self.poller.poll("one-more.example", "check"), Full)
        self.round()
        self.assertIn(url(POD), self.web.urls)
        self.successResultOf(self.poller.stop())
        for answer in answers:
            self.failureResultOf(answer, Unavailable)

    def test_trouble_of_ours(self) -> None:
        """A node whose poll ends in trouble of ours is left alone for a while, and polled again then."""
        self.answer(published())
        self.members.away = True
        self.know(POD, next_poll=START - timedelta(days=9))
        self.tables.nodes[POD] = evolve(self.node(), next_poll=START)
        self.round()
        self.know(POD)
        self.round()
        self.assertEqual(len(self.web.requests), 1)
        self.clock.advance(PENALTY)
        self.round()
        self.assertEqual(len(self.web.requests), 2)

    def test_storage_away(self) -> None:
        """While storage is away nobody is polled, and who asks is told."""
        self.tables.go_away()
        self.failureResultOf(Deferred.fromCoroutine(self.poller.round()), Unavailable)
        self.failureResultOf(self.poller.poll(POD, "check"), Unavailable)
        self.assertEqual(self.web.urls, [])

    def test_stop(self) -> None:
        """Stopping gives up what is under way, begins nothing new, and records no failure of the node."""
        self.know(POD, preferences=CATS)
        self.answer(Deferred())
        self.round()
        self.successResultOf(self.poller.stop())
        self.round()
        self.assertEqual((len(self.web.requests), self.node().poll_failures), (1, 0))

    def test_clock_that_was_ahead(self) -> None:
        """Polls that a clock years ahead has put off come back within a day."""
        self.know(POD, next_poll=START + timedelta(days=3650))
        self.answer(published())
        self.round()
        self.assertEqual(self.node().next_poll, START + timedelta(hours=12))
        self.clock.advance(12 * 3600)
        self.round()
        self.assertEqual(self.node().preferences, CATS)

    def test_told_to_the_operator(self) -> None:
        """Of a subscriber that fails the operator hears at the first failure and at the end of the grace period, of a candidate never."""
        self.know(POD, preferences=CATS, last_answer=START)
        self.know("candidate.example")
        for host in (POD, "candidate.example"):
            self.answer(FetchFailed("timed out"), host)
        with capturedLogs() as logs:
            while self.node().preferences is not None:
                self.clock.advance((self.node().next_poll - self.now()).total_seconds())
                self.round()
        told = [(event["host"], event["log_level"]) for event in logs if event["log_level"] != LogLevel.debug]
        self.assertEqual(told, [(POD, LogLevel.info)] * 2)
        self.assertGreater(self.now() - START, timedelta(days=7))
