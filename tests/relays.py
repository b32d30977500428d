"""A whole relay over stores in memory: real parts, with a clock, a network and a keyring that tests script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from socialrelay.afterwards import Afterwards
from socialrelay.authors import Authors
from socialrelay.boundaries import HeldKey, KeyUnavailable, NodeRecord
from socialrelay.bus.own import OwnMessages
from socialrelay.bus.topics import Topics
from socialrelay.config import Policy, Receive
from socialrelay.delivery.announcing import DeliveryAnnouncements
from socialrelay.delivery.bodies import BodyCache
from socialrelay.delivery.dispatcher import Dispatcher
from socialrelay.diaspora.inbox import PrivateMessages
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.erasure import Erasure
from socialrelay.federation import DeliveryRequest
from socialrelay.intake_news import IntakeNews
from socialrelay.judging import Judge
from socialrelay.moderation.hourly import HourlyLimits
from socialrelay.quota import ClientQuota
from socialrelay.relay import Relay
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.scheduler.backoff import HOST_STEPS, POST_STEPS, Backoff
from socialrelay.scheduler.manager import QueueManager
from socialrelay.scheduler.orders import Event, Limits, Settled, What
from socialrelay.scheduler.outcome import Answer, Reply
from socialrelay.statistics import Tally
from socialrelay.storage.memory import MemoryTables, memory_storage
from socialrelay.subscriber_news import SubscriberNews
from socialrelay.subscribers import Subscribers
from socialrelay.unhurried import Unhurried
from tests.envelopes import Author, private_key

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
HANDLE = "relay@relay.example"


class ScriptedTransport:
    """
    Answers as it is told.

    @ivar sent: (url, body), in the order in which they were sent.
    @ivar reply: what a URL answers; C{None} leaves the sender waiting, in C{hanging}.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.reply: Callable[[str], Reply | None] = lambda url: Answer(202)
        self.hanging: list[Deferred[Reply]] = []

    def send(self, request: DeliveryRequest, timeout: float) -> Deferred[Reply]:
        self.sent.append((request.url, request.body))
        reply = self.reply(request.url)
        if reply is not None:
            return succeed(reply)
        self.hanging.append(Deferred())
        return self.hanging[-1]

    def close(self) -> Deferred[None]:
        return succeed(None)

    def hosts(self) -> list[str]:
        """Whom it sent to."""
        return [url.split("/")[2] for url, _ in self.sent]


class ScriptedKeyring:
    """
    Knows the keys that it was given.

    @ivar at_once: these need no look-up.
    @ivar published: these are found, and are what a refresh finds.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.at_once: dict[str, HeldKey] = {}
        self.published: dict[str, RSAPublicKey] = {}
        self.asked: list[str] = []
        self.forgotten: list[str] = []

    def hold(self, author: Author, fetched_at: datetime | None = None) -> None:
        self.at_once[author.handle] = HeldKey(author.public_key, fetched_at or self._now())

    def at_hand(self, handle: str) -> HeldKey | None:
        return self.at_once.get(handle)

    def key(self, handle: str) -> Deferred[HeldKey]:
        held = self.at_once.get(handle)
        return succeed(held) if held else self.refresh(handle)

    def refresh(self, handle: str) -> Deferred[HeldKey]:
        self.asked.append(handle)
        if handle not in self.published:
            return fail(KeyUnavailable("no such author", self._now() + timedelta(hours=1), hopeless=True))
        self.at_once[handle] = HeldKey(self.published[handle], self._now())
        return succeed(self.at_once[handle])

    def forget(self, handle: str) -> Deferred[int]:
        self.forgotten.append(handle)
        return succeed(0 if self.at_once.pop(handle, None) is None else 1)

    def forget_host(self, host: str) -> Deferred[int]:
        gone = [handle for handle in self.at_once if handle.endswith(f"@{host}")]
        for handle in gone:
            self.forget(handle)
        return succeed(len(gone))


class WholeRelay:
    """
    The way of a post, from the front door to the transport.

    @ivar tables: what is stored; a second relay over the same tables is the next process.
    @ivar announced: what the bus heard: event and members.
    """

    def __init__(self, tables: MemoryTables | None = None, policy: Policy = Policy(), receive: Receive = Receive()) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.tables = tables or MemoryTables()
        self.storage = memory_storage(self.tables, receive=receive)
        self.transport = ScriptedTransport()
        self.keyring = ScriptedKeyring(self.now)
        self.events: list[Event] = []
        self.settled: list[Settled] = []
        self.announced: list[tuple[str, dict[str, object]]] = []
        self._own = OwnMessages(Topics("org.example", "dev"), uuid4)
        self.announcements = DeliveryAnnouncements(self._announce, False, lambda host: self.subscribers.effective(host).url)
        protocol = Diaspora("test")
        chance = lambda: 0.5  # noqa: E731
        manager = QueueManager(Limits(), Backoff(HOST_STEPS, chance), Backoff(POST_STEPS, chance), self.tables.end)
        self.dispatcher = Dispatcher(
            clock=self.clock,
            now=self.now,
            manager=manager,
            log=self.storage.log,
            destinations=self.storage.destinations,
            transport=self.transport,
            protocols={"diaspora": protocol},
            bodies=BodyCache(1 << 20),
            lifetime=7 * 86400.0,
            on_event=self._happened,
            on_settled=self._is_settled,
            on_queued=self.announcements.queued,
            on_failed=self.announcements.failed,
        )
        self.subscribers = Subscribers(
            protocol="diaspora",
            default_url=lambda host: f"https://{host}/receive/public",
            own_host="relay.example",
            allow_list=policy.allow_list,
            max_entries=1000,
            nodes=self.storage.nodes,
            subscriptions=self.storage.subscriptions,
            rules=self.storage.rules,
            destinations=self.storage.destinations,
            log=self.storage.log,
            served=self.dispatcher,
            now=self.now,
            unhurried=Unhurried(lambda: 0.0, lambda: succeed(None)),
            news=SubscriberNews(protocol.name, self._announce),
        )
        self.authors = Authors(self.storage.contacts, policy, lambda: self.subscribers.rules, self.now)
        self.tally = Tally(self.storage.statistics, self.storage.rejections, self.now)
        self.quota = ClientQuota(receive.waiting_rows_per_address, receive.waiting_bytes_per_address)
        self.afterwards = Afterwards(self.storage.bus, self.clock)
        self.erasure = Erasure(
            posts=self.storage.log,
            incoming=self.storage.incoming,
            rejections=self.storage.rejections,
            statistics=self.storage.statistics,
            keyring=self.keyring,
            authors=self.authors,
            quota=self.quota,
            bus=self.storage.bus,
            afterwards=self.afterwards,
            cancel=self.dispatcher.cancel,
            flush=self.tally.flush,
        )
        self.relay = Relay(
            protocol=protocol,
            keyring=self.keyring,
            log=self.storage.log,
            incoming=self.storage.incoming,
            queue=self.dispatcher,
            authors=self.authors,
            recipients=self.subscribers.recipients,
            erasure=self.erasure,
            tally=self.tally,
            news=IntakeNews(protocol=protocol.name, tally=self.tally, clock=self.clock, now=self.now, announce=self._announce),
            quota=self.quota,
            hourly=HourlyLimits(policy, self.clock.seconds),
            in_thread=lambda work, *args: succeed(work(*args)),
            now=self.now,
        )
        self.judge = Judge(
            clock=self.clock,
            now=self.now,
            incoming=self.storage.incoming,
            keyring=self.keyring,
            relay=self.relay,
            protocol=protocol,
            private=PrivateMessages(HANDLE, private_key(HANDLE)),
            authors=self.authors,
            log=self.storage.log,
            quota=self.quota,
            on_cancelled=self.dispatcher.cancel,
        )
        self.relay.on_kept = self.judge.poke

    def _is_settled(self, settled: Settled) -> None:
        self.settled.append(settled)
        self.announcements.settled(settled)

    def _happened(self, event: Event) -> None:
        self.events.append(event)
        self.announcements.event(event)
        if event.what is What.GONE:
            self.subscribers.retire(event.host)

    def _announce(self, event: str, members: Mapping[str, object]) -> None:
        self.announced.append((event, dict(members)))
        self.storage.bus.add([self._own.kept(event, members, self.now())], self.now(), 0).addErrback(lambda failure: None)

    def said(self) -> list[tuple[str, dict[str, object]]]:
        """What the bus keeps of it: event and members, without its number."""
        kept = [(each.topic.partition(".socialrelay.")[2], json.loads(each.body)["msg"]) for each in self.tables.bus.values()]
        return [(event, {key: value for key, value in members.items() if key != "seq"}) for event, members in kept]

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock.seconds())

    def start(self) -> WholeRelay:
        """As the daemon starts it."""
        Deferred.fromCoroutine(self.authors.load())
        Deferred.fromCoroutine(self.subscribers.load())
        self.dispatcher.start()
        self.judge.start()
        self.clock.advance(0)
        return self

    def subscribe(self, host: str, *tags: str, scope: Scope | None = None) -> None:
        """A node publishes what it wants: tags, or everything if there are none."""
        preferences = Preferences(scope or (Scope.TAGS if tags else Scope.ALL), frozenset(tags), f"https://{host}/receive/public")
        self.storage.nodes.save(NodeRecord(host, ("test",), self.now(), self.now(), preferences))
        self.subscribers.update(host)
        self.run()

    def run(self, seconds: float = 1.0) -> None:
        """Let things happen."""
        for _ in range(10):
            self.clock.advance(seconds / 10)
