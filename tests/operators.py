"""A relay as its operator meets it: real views and acts over stores in memory, with deliveries and nodes that tests script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred, succeed

from socialrelay.boundaries import DestinationStatus, Outcome, PollReport, Unavailable
from socialrelay.config import Moderation
from socialrelay.diaspora.hashtags import is_tag, match_key
from socialrelay.erasure import Erased
from socialrelay.health import Health, Phase
from socialrelay.moderation.importing import Importer
from socialrelay.moderation.lists import RuleLists
from socialrelay.operators.backlog import Backlog
from socialrelay.operators.history import History
from socialrelay.operators.operations import Operations
from socialrelay.operators.overview import NodeCheck, RelayOverview
from socialrelay.operators.posting import Posting
from socialrelay.operators.repairs import Repairs
from socialrelay.operators.rule_views import RuleViews
from socialrelay.operators.rules import RuleActs
from socialrelay.operators.terms import About
from socialrelay.operators.views import Views
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, State
from socialrelay.storage.memory import MemoryTables, memory_storage
from socialrelay.subscriber_news import SubscriberNews
from socialrelay.subscribers import Subscribers
from socialrelay.unhurried import Unhurried
from socialrelay.web.receive import ACCEPTED, Answer
from tests.fetching import MemoryWeb

NOW = datetime(2026, 11, 21, 21, 30, tzinfo=UTC)
HOST = "relay.example"
MAX_BODY = 10_000


class ScriptedQueue:
    """Destinations without deliveries: a test says in which state each is."""

    def __init__(self) -> None:
        self.statuses: dict[str, DestinationStatus] = {}
        self.unwilling: dict[int, str] = {}
        self.ended: dict[str, list[Outcome]] = {}
        self.asked: list[tuple[str, str]] = []
        self.cancelled: list[tuple[list[int], str]] = []

    def open(self, record: DestinationRecord, deferred: Iterable[DeferredDelivery] = ()) -> None:
        self.statuses[record.host] = DestinationStatus(record, following=True, behind=0, waiting=0, in_flight=0, deferred_posts=0)

    def moved(self, number: int, url: str) -> None:
        self._change(number, url=url)

    def close(self, number: int, reason: str) -> None:
        self._change(number, subscribed=False)

    def cancel(self, positions: list[int], reason: str, recipients: Iterable[int] | None = None) -> None:
        self.cancelled.append((positions, reason))

    def becomes(self, host: str, state: State, *, behind: int = 0, **changes: Any) -> None:
        status = self.statuses[host]
        record = evolve(status.record, state=state, **changes)
        self.statuses[host] = evolve(status, record=record, behind=behind, following=not behind)

    def _change(self, number: int, **changes: Any) -> None:
        for host, status in self.statuses.items():
            if status.record.number == number:
                self.statuses[host] = evolve(status, record=evolve(status.record, **changes))

    def _act(self, act: str, host: str, state: State) -> bool:
        self.asked.append((act, host))
        if host in self.statuses:
            self.becomes(host, state)
        return host in self.statuses

    def wake(self, host: str) -> bool:
        return self._act("wake", host, State.DEFERRED)

    def suspend(self, host: str) -> bool:
        return self._act("suspend", host, State.SUSPENDED)

    def resume(self, host: str) -> bool:
        return self._act("resume", host, State.ACTIVE)

    def requeue(self, host: str, position: int) -> str:
        self.asked.append((f"requeue {position}", host))
        return self.unwilling.get(position, "")

    paced = 0

    def destination(self, host: str) -> DestinationStatus | None:
        return self.statuses.get(host)

    def outcomes(self, host: str) -> Sequence[Outcome]:
        return self.ended.get(host, ())

    def summary(self, served: Callable[[str], bool]) -> dict[str, int]:
        found = self._served(served)
        states = Counter(each.record.state.value for each in found)
        counts = {"destinations": len(found), **{state.value: states[state.value] for state in State}}
        return counts | {"behind": sum(each.behind > 0 for each in found), "waiting": 0, "in_flight": 0, "deferred_posts": 0}

    def worst(self, state: State | None, limit: int, served: Callable[[str], bool]) -> tuple[list[DestinationStatus], int]:
        chosen = [each for each in self._served(served) if (each.record.state is state if state else self._troubled(each))]
        chosen.sort(key=lambda each: (-each.behind, each.record.host))
        return chosen[:limit], max(len(chosen) - limit, 0)

    def _troubled(self, status: DestinationStatus) -> bool:
        return status.record.state is not State.ACTIVE or status.behind > 0

    def _served(self, served: Callable[[str], bool]) -> list[DestinationStatus]:
        return [each for each in self.statuses.values() if each.record.subscribed or served(each.record.host)]


class ScriptedPoller:
    """Nodes publish what a test says, others nothing."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.published: dict[str, Preferences] = {}
        self.asked: list[tuple[str, str]] = []
        self.waiting: Deferred[None] | None = None

    def poll(self, host: str, source: str) -> Deferred[PollReport]:
        return Deferred.fromCoroutine(self._poll(host, source))

    async def _poll(self, host: str, source: str) -> PollReport:
        self.asked.append((host, source))
        if self.waiting is not None:
            await self.waiting
        url = f"https://{host}/.well-known/x-social-relay"
        preferences = self.published.get(host)
        if preferences is None:
            return PollReport(host, url, NOW, None, ("It answered HTTP 404.",))
        await self.relay.publishes(host, preferences)
        return PollReport(host, url, NOW, preferences)


class ScriptedEraser:
    """Knows of somebody what a test says."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.known = Erased()
        self.away = False

    async def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Erased:
        if self.away:
            raise Unavailable
        self.asked.append({"author": author, "guid": guid, "host": host})
        return self.known


class ScriptedKeys:
    """Keys of authors, of whom a test says."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    def forget(self, handle: str) -> Deferred[int]:
        known = handle in self.held
        self.held.discard(handle)
        return succeed(int(known))


class ScriptedLists:
    """Node lists with what came of them."""

    def __init__(self) -> None:
        self.results: dict[str, str] = {}

    def fetch(self) -> Deferred[dict[str, str]]:
        return succeed(self.results)


class Relay:
    """All of it put together."""

    def __init__(self, *, allow_list: bool = False, moderation: Moderation = Moderation()) -> None:
        self.tables = MemoryTables()
        self.stores = memory_storage(self.tables)
        self.queue = ScriptedQueue()
        self.poller = ScriptedPoller(self)
        self.lists = ScriptedLists()
        self.eraser = ScriptedEraser()
        self.health = Health(Phase.RUNNING)
        self.keyring = ScriptedKeys()
        self.poked: list[None] = []
        self.handed_in: list[bytes] = []
        self.answers = ACCEPTED
        self.seconds = 0.0
        self.pauses = 0
        self.membership = Subscribers(
            protocol="diaspora",
            default_url=lambda host: f"https://{host}/receive/public",
            own_host=HOST,
            allow_list=allow_list,
            max_entries=1000,
            nodes=self.stores.nodes,
            subscriptions=self.stores.subscriptions,
            rules=self.stores.rules,
            destinations=self.stores.destinations,
            log=self.stores.log,
            served=self.queue,
            now=lambda: NOW,
            unhurried=Unhurried(lambda: 0.0, lambda: succeed(None)),
            news=SubscriberNews("diaspora"),
        )
        about = About(
            version="0.1.0",
            host=HOST,
            production=True,
            handle=f"relay@{HOST}",
            guid="0" * 32,
            key_fingerprint="ab" * 32,
            provisional=False,
            started_at=NOW - timedelta(hours=3),
            pid=4711,
            state_dir="/var/lib/socialrelay",
            listen=("tcp:8080:interface=127.0.0.1",),
        )
        self.overview = RelayOverview(
            nodes=self.stores.nodes,
            profiles=self.stores.profiles,
            statistics=self.stores.statistics,
            membership=self.membership,
            queue=self.queue,
            now=lambda: NOW,
            seconds=lambda: self.seconds,
            pause=self._paused,
        )
        self.check = NodeCheck(poller=self.poller, membership=self.membership, queue=self.queue)

        def tag_key(tag: str) -> str:
            return match_key(tag) if is_tag(tag) else ""

        def at_once(work: Any, *args: Any) -> Deferred[Any]:
            return maybeDeferred(work, *args)

        self.web = MemoryWeb()
        importer = Importer(
            self.stores.rules, self.membership.rules_changed, own_host=HOST, tag_key=tag_key, in_thread=at_once, now=lambda: NOW
        )
        self.rule_lists = RuleLists(moderation, self.web, self.stores.rules, importer, lambda: NOW, at_once)
        self.rule_views = RuleViews(
            rules=self.stores.rules,
            subscriptions=self.stores.subscriptions,
            configured=lambda: self.rule_lists.configured,
            now=lambda: NOW,
        )
        self.rules = RuleActs(
            own_host=HOST,
            allow_list=lambda: self.membership.allow_list,
            rules=self.stores.rules,
            nodes=self.stores.nodes,
            membership=self.membership,
            importer=importer,
            lists=self.rule_lists,
            now=lambda: NOW,
            tag_key=tag_key,
        )
        backlog = Backlog(stores=self.stores, queue=self.queue)
        self.views = Views(
            about=about,
            stores=self.stores,
            membership=self.membership,
            queue=self.queue,
            health=self.health,
            overview=self.overview,
            rules=self.rule_views,
            backlog=backlog,
            history=History(stores=self.stores, queue=self.queue, backlog=backlog),
            allow_list=lambda: self.membership.allow_list,
            now=lambda: NOW,
        )
        self.operations = Operations(
            about=about,
            stores=self.stores,
            membership=self.membership,
            queue=self.queue,
            poller=self.poller,
            lists=self.lists,
            eraser=self.eraser,
            rules=self.rules,
            repairs=Repairs(
                stores=self.stores, queue=self.queue, keyring=self.keyring, on_kept=lambda: self.poked.append(None), now=lambda: NOW
            ),
            now=lambda: NOW,
            tag_key=tag_key,
            max_tags=lambda: 2000,
            posting=Posting(self._hand_in, lambda: MAX_BODY),
        )

    def _hand_in(self, body: bytes, client: str) -> Deferred[Answer]:
        self.handed_in.append(body)
        return succeed(self.answers)

    def _paused(self) -> Deferred[None]:
        self.pauses += 1
        return succeed(None)

    async def publishes(self, host: str, preferences: Preferences) -> None:
        """A node's preferences were read."""
        await self.stores.nodes.listed("list", {host: NOW}, NOW)
        known = await self.stores.nodes.get(host)
        assert known is not None
        await self.stores.nodes.save(evolve(known, preferences=preferences, last_poll=NOW, last_answer=NOW))
        await self.membership.update(host)


REFUSAL = Preferences(Scope.NONE)
EVERYTHING = Preferences(Scope.ALL, receive_url="https://pod.example/receive/public")
