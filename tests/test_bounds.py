"""
Tests that all that is held in memory is bounded: one line for each thing, which fills it past its bound, in a relay that is put together as
the daemon does it, with small bounds.

The metrics tell what there is: what they name and this table does not, fails.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pycurl
from attrs import evolve, frozen
from prometheus_client.parser import text_string_to_metric_families
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import LogLevel
from twisted.trial.unittest import TestCase

from socialrelay import assembly
from socialrelay.boundaries import LogEntry, ManualSubscription, NodeRecord, Rejection
from socialrelay.bus.message import read_topic
from socialrelay.config import Bus, Delivery, Discovery, Memory, Policy, Polling
from socialrelay.delivery.transport import is_permitted
from socialrelay.diaspora.keys import pem_of
from socialrelay.discovery.lookup import NoKey
from socialrelay.network.addresses import vet_url
from socialrelay.network.resolver import NotFound
from socialrelay.routing.subscription import Scope, Subscription
from socialrelay.scheduler.outcome import Effect, Judgement
from socialrelay.web import bus as bus_pages
from socialrelay.web.addresses import read_address
from tests.assembled import KEY, Assembled, assembled
from tests.storing import NOW

FEW = 7
MANY = 100
"""Of each thing there may be L{FEW}, and L{MANY} come."""

OPTIONS = tuple(each.name for each in attrs.fields(Memory))
SMALL: dict[str, Any] = {
    "memory": Memory(**dict.fromkeys(OPTIONS, FEW) | {"key_waiters": 2 * FEW, "poll_waiters": 30, "cache_bytes": 1_000_000}),
    "discovery": Discovery(keys_in_memory=FEW, concurrency=1),
    "polling": Polling(concurrency=1, max_nodes=FEW, max_tags=FEW),
    "delivery": Delivery(kept_connections=FEW),
    "policy": Policy(posts_per_author=1, posts_per_host=1),
    "bus": Bus(enabled=True, announcements=FEW, remembered=FEW),
}
HOSTS = [f"pod-{number}.example" for number in range(MANY)]
HANDLES = [f"ada@{host}" for host in HOSTS]

Fill = Callable[["BoundsTests"], Awaitable[object] | None]


def never(*arguments: Any, **options: Any) -> Deferred[Any]:
    return Deferred()


def ignored(asked: Deferred[Any]) -> None:
    """How it ends is of no interest here."""
    asked.addErrback(lambda failure: None)


# Keys


async def known_authors(case: BoundsTests) -> None:
    for handle in HANDLES:
        await case.relay.storage.profiles.put(handle, pem_of(KEY.public_key()), case.given.now())
        await case.engine.keyring.key(handle)


def authors_without_keys(case: BoundsTests) -> None:
    case.patch(case.engine.lookup, "find", lambda handle: fail(NoKey("there is none")))
    for handle in HANDLES:
        ignored(case.engine.keyring.key(handle))


def authors_of_silent_hosts(case: BoundsTests) -> None:
    case.patch(case.engine.lookup, "find", never)
    for handle in HANDLES:
        ignored(case.engine.keyring.key(handle))
        ignored(case.engine.keyring.refresh(handle))


def many_for_few_keys(case: BoundsTests) -> None:
    case.patch(case.engine.lookup, "find", never)
    for handle in HANDLES[:2] * MANY:
        ignored(case.engine.keyring.key(handle))
        ignored(case.engine.keyring.refresh(handle))


# Names and nodes


def names(case: BoundsTests) -> None:
    case.patch(case.engine.network.resolver, "_lookup", SimpleNamespace(look_up=lambda host, proven, done: done(NotFound("", final=True))))
    for host in HOSTS:
        ignored(case.engine.network.resolver.resolve(host, 443))


def silent_names(case: BoundsTests) -> None:
    case.patch(case.engine.network.resolver, "_lookup", SimpleNamespace(look_up=lambda host, proven, done: None))
    for host in HOSTS:
        waiting = case.engine.network.resolver.resolve(host, 443)
        case.addCleanup(waiting.cancel)
        ignored(waiting)


def overrides(case: BoundsTests) -> None:
    for number in range(5000):
        case.engine.network.resolver.at_hand(f"pod-{number}.example", 443)


def documents(case: BoundsTests) -> None:
    network = case.engine.network
    case.patch(network.resolver, "resolve", never)
    for fetcher in (network.of_authors, network.of_nodes, network.of_lists):
        for host in HOSTS:
            ignored(fetcher.get(f"https://{host}/", accept="*/*", max_body=10))
        case.addCleanup(fetcher.close)


def polls(case: BoundsTests) -> None:
    case.patch(case.engine.network.of_nodes, "get", never)
    for host in HOSTS:
        ignored(case.engine.poller.poll(host, "check"))


def many_for_one_poll(case: BoundsTests) -> None:
    case.patch(case.engine.network.of_nodes, "get", never)
    for _ in range(MANY):
        ignored(case.engine.poller.poll("pod.example", "check"))


async def nodes_that_meet_bugs(case: BoundsTests) -> None:
    case.patch(case.engine.network.of_nodes, "get", lambda *a, **options: fail(ZeroDivisionError()))
    for host in HOSTS:
        due = NodeRecord(host, ("list",), NOW, NOW)
        await case.relay.storage.nodes.save(due)
        await case.engine.poller.round()
        await case.relay.storage.nodes.save(evolve(due, next_poll=NOW.replace(year=3000)))
    case.assertEqual(len(case.flushLoggedErrors(ZeroDivisionError)), MANY)


async def nodes_that_want_nothing(case: BoundsTests) -> None:
    for host in HOSTS:
        await case.engine.subscribers.update(host)


async def nodes_with_many_tags(case: BoundsTests) -> None:
    for host in HOSTS[:20]:
        wanted = Subscription(Scope.TAGS, frozenset({f"of-{host}", "art", "music"}))
        await case.relay.storage.subscriptions.put(ManualSubscription(host, wanted, NOW, "ada"))
        await case.engine.subscribers.update(host)


# Posts and authors


async def contacts(case: BoundsTests) -> None:
    for handle in HANDLES:
        await case.engine.authors.wish(handle, False)


def paced_posts(case: BoundsTests) -> None:
    for position in range(1, MANY):
        case.engine.pacer.admit(LogEntry(position, "ada@pod.example", NOW, 100), range(50), 0.0)


def posts_of_many(case: BoundsTests) -> None:
    for handle in HANDLES:
        case.engine.hourly.take(handle)


def retractions(case: BoundsTests) -> None:
    case.doing = case.engine.relay.publishing.doing(b"post")
    case.doing.__enter__()
    for _ in range(MANY):
        ignored(Deferred.fromCoroutine(case.engine.relay.publishing.idle(b"post")))
    case.addCleanup(case.doing.__exit__, None, None, None)


def erasures(case: BoundsTests) -> None:
    for handle in HANDLES:
        case.engine.afterwards.erase(author=handle)
    case.addCleanup(lambda: Deferred.fromCoroutine(case.engine.afterwards.stop()))


def failures_of_hosts(case: BoundsTests) -> None:
    for host in HOSTS:
        case.engine.dispatcher._outcomes.note(host, 1, Judgement(Effect.HOST_FAILED, "HTTP 500"), NOW)


# Connections


def connections(case: BoundsTests) -> None:
    transport = case.engine.network.transport
    for host in HOSTS:
        transport._places.keep(host, 0, 0.0)
        transport._sessions.of(host)
        transport._learn(SimpleNamespace(host=host, curl=SimpleNamespace(getinfo=lambda what: pycurl.CURL_HTTP_VERSION_2_0)))  # type: ignore[arg-type]


def handles(case: BoundsTests) -> None:
    transport = case.engine.network.transport
    for handle in [transport._handle((host, 0)) for host in HOSTS]:
        transport._put_back(handle)


def operators_connections(case: BoundsTests) -> None:
    site = case.surface.admin.site
    for number in range(300):
        site.buildProtocol(IPv4Address("TCP", f"192.0.2.{number % 250}", 80))


# What is counted, kept beside, shown


def counts(case: BoundsTests) -> None:
    for host in HOSTS:
        case.engine.tally.count("accepted", host)
        case.engine.tally.rejected(Rejection(NOW, "bad-signature", "ada@pod.example", "", ""))


async def cached(case: BoundsTests) -> None:
    for host in HOSTS:
        await case.given.cache.set(f"key:{host}", b"1", 60.0)


def logged(case: BoundsTests) -> None:
    for _ in range(MANY + 200):
        case.surface.seen({"log_level": LogLevel.warn, "log_format": "Something.", "log_time": 0.0})


def logged_in(case: BoundsTests) -> None:
    for host in HOSTS:
        case.surface.admin.sessions.begin(host, "password")


def wrong_passwords(case: BoundsTests) -> None:
    for number, host in enumerate(HOSTS):
        case.surface.admin.throttle.begin(host, 60.0 * number)


def wrong_tokens(case: BoundsTests) -> None:
    for number, host in enumerate(HOSTS):
        case.tokens._throttle.begin(host, 60.0 * number)


# The bus


def announcements(case: BoundsTests) -> None:
    for host in HOSTS:
        case.bus.bridge.announce("subscriber.added", {"host": host})


def messages(case: BoundsTests) -> None:
    for host in HOSTS:
        case.bus.bridge._journal.publication.recent.add(host)


def answers(case: BoundsTests) -> None:
    for number in range(5000):
        vet_url(f"https://pod-{number}.example/")
        is_permitted(f"192.0.{number % 256}.{number // 256}", ())
        read_address(f"192.0.{number % 256}.{number // 256}")
        read_topic(b"org.example.%d" % number)


@frozen
class Case:
    """
    @ivar what: by its name in the metrics.
    @ivar limit: how many there may be, in the relay of these tests.
    @ivar fill: brings more.
    @ivar full: it is counted that there was no room.
    @ivar least: so many are there then.
    """

    what: str
    limit: int
    fill: Fill
    full: bool = True
    least: int = -1


CASES = (
    Case("keys", FEW, known_authors),
    Case("key-uses", FEW, known_authors),
    Case("key-attempts", FEW, authors_without_keys),
    Case("key-refusals", FEW, authors_without_keys),
    Case("key-hosts", FEW, authors_without_keys),
    Case("key-lookups", 2 * FEW, authors_of_silent_hosts),
    Case("key-waiters", 4 * FEW, many_for_few_keys),
    Case("names", FEW, names),
    Case("names-looked-up", FEW, silent_names),
    Case("documents", 3 * FEW + 4, documents),
    Case("polls", 21, polls, least=20),
    Case("poll-waiters", 30, many_for_one_poll),
    Case("nodes-left-alone", FEW, nodes_that_meet_bugs),
    Case("nodes-not-served", FEW, nodes_that_want_nothing),
    Case("tags", FEW, nodes_with_many_tags),
    Case("contacts", FEW, contacts),
    Case("posts-paced", FEW, paced_posts),
    Case("outcomes", FEW, failures_of_hosts),
    Case("tls-sessions", FEW, connections),
    Case("http2-hosts", FEW, connections, least=1),
    Case("connections-kept", FEW, connections),
    Case("connections-counted", 4 * FEW, connections),
    Case("handles", 64, handles),
    Case("counted-authors", FEW, posts_of_many),
    Case("counted-hosts", FEW, posts_of_many),
    Case("counts", FEW, counts, least=FEW),
    Case("rejections", FEW, counts),
    Case("retractions", FEW, retractions),
    Case("erasures", FEW, erasures),
    Case("cache", FEW, cached),
    Case("cache-out-of-date", FEW, cached),
    Case("sessions", FEW, logged_in),
    Case("login-clients", FEW, wrong_passwords),
    Case("token-clients", FEW, wrong_tokens),
    Case("events", FEW + 200, logged, full=False),
    Case("operators-connections", 200, operators_connections),
    Case("announcements", FEW, announcements),
    Case("messages-remembered", 2 * FEW, messages, least=FEW),
    Case("overrides", 4096, overrides, full=False),
    Case("urls-vetted", 4096, answers, full=False),
    Case("addresses-vetted", 4096, answers, full=False),
    Case("addresses-read", 1024, answers, full=False),
    Case("topics", 4096, answers, full=False),
)

ELSEWHERE = {"cache_bytes", "statements"}
"""Options of what has metrics of its own."""


class BoundsTests(TestCase):
    timeout = 60

    def put_together(self, **tables: Any) -> Assembled:
        """A relay; what it is made of is remembered."""
        for name in ("make_engine", "make_surface", "make_bus"):
            self.patch(assembly, name, self._noting(name.removeprefix("make_"), getattr(assembly, name)))
        self.patch(bus_pages, "Tokens", self._noting("tokens", bus_pages.Tokens))
        self.relay = assembled(self, **tables)
        return self.relay

    def _noting(self, name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any) -> Any:
            made = make(*arguments)
            setattr(self, name, made)
            if name == "engine":
                self.given = arguments[0]
            return made

        return noting

    async def memory(self) -> dict[str, dict[str, float]]:
        """What the metrics say: family -> what -> value."""
        treq: Any = StubTreq(self.relay.assembly.admin.parts[b"metrics"])
        told: list[bytes] = []
        treq.get("http://relay/metrics").addCallback(treq.content).addCallback(told.append)
        while not told:
            await deferLater(reactor, 0.0)
            treq.flush()
        families = {family.name: family for family in text_string_to_metric_families(told[0].decode())}
        return {
            name: {sample.labels["what"]: sample.value for sample in families[f"socialrelay_memory_{name}"].samples}
            for name in ("entries", "entries_limit", "full")
        }

    async def check(self, case: Case) -> None:
        self.put_together(**SMALL)
        filled = case.fill(self)
        if filled is not None:
            await filled
        found = await self.memory()
        entries, limit = found["entries"][case.what], found["entries_limit"][case.what]
        self.assertEqual(limit, case.limit, case.what)
        self.assertLessEqual(entries, limit, case.what)
        self.assertGreaterEqual(entries, limit if case.least < 0 else case.least, case.what)
        if case.full:
            self.assertGreater(found["full"][case.what], 0, case.what)

    async def test_all_named(self) -> None:
        """All that is held is in this table, and in the operators' documentation."""
        self.put_together(**SMALL)
        found = await self.memory()
        self.assertEqual(sorted(found["entries"]), sorted(case.what for case in CASES))
        self.assertEqual(found["entries"].keys(), found["entries_limit"].keys())
        section = re.search(r"\n## Memory\n(.*?)\n## ", (Path(__file__).parent.parent / "docs" / "operators.md").read_text(), re.DOTALL)
        assert section is not None
        rows = [line.split(" | ") for line in section[1].splitlines() if line.startswith("| `")]
        self.assertEqual(sorted(found["entries"]), sorted(re.findall(r"`([^`]+)`", "".join(row[0] for row in rows[1:]))))
        self.assertLessEqual(set(OPTIONS) - ELSEWHERE, set(re.findall(r"`memory\.(\w+)`", "".join(row[1] for row in rows))))

    async def test_all_obeyed(self) -> None:
        """Each option of the table C{[memory]} bounds something."""
        self.put_together(**SMALL)
        before = (await self.memory())["entries_limit"]
        for option in OPTIONS:
            if option not in ELSEWHERE:
                self.put_together(**SMALL | {"memory": evolve(SMALL["memory"], **{option: 1013})})
                self.assertNotEqual((await self.memory())["entries_limit"], before, option)


def _test_of(case: Case) -> Callable[[BoundsTests], Awaitable[None]]:
    async def test(self: BoundsTests) -> None:
        await self.check(case)

    test.__doc__ = f"Of C{{{case.what}}} there are no more than there may be, whatever comes."
    return test


for _case in CASES:
    setattr(BoundsTests, f"test_{_case.what.replace('-', '_')}", _test_of(_case))
