"""Who is subscribed to what: the nodes' own words, the operator's, and the rules, brought together and acted upon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.blocked_posts import BlockedPosts
from socialrelay.boundaries import Destinations, NodeRecord, Nodes, PostLog, Rules, SubscriberCounts, Subscriptions, Unavailable
from socialrelay.bounds import Bound, bound_of
from socialrelay.config import Polling
from socialrelay.ratelimit import Lru
from socialrelay.routing.hosts import within
from socialrelay.routing.index import SubscriptionIndex
from socialrelay.routing.recipients import Recipients
from socialrelay.routing.rules import RuleBook, effective
from socialrelay.routing.subscription import Effective, Scope, Subscription
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, State
from socialrelay.subscriber_news import SubscriberNews
from socialrelay.unhurried import Unhurried
from socialrelay.words import counted

_NOTHING = Effective(Scope.NONE, why="neither it nor the operator asks for posts")

REST = timedelta(days=7)
"""A host that answered 410 Gone to deliveries is left alone for so long."""
UNTIL_GONE = timedelta(days=1)
"""At least so long it answered so before it was left alone."""
NODES_AT_ONCE = 200
"""Rows of nodes that are read by one statement when rules change."""
LATE = 1000
"""Positions of the log after a subscription's end among which a post may still name it: its recipients were determined before."""
TOLD = 20
"""When rules change what more nodes get, they are not named one by one in the log."""


class Served(Protocol):
    """The destinations that are being served (L{socialrelay.delivery.dispatcher.Dispatcher})."""

    def open(self, record: DestinationRecord, deferred: Iterable[DeferredDelivery] = ()) -> None: ...
    def moved(self, number: int, url: str) -> None: ...
    def close(self, number: int, reason: str) -> None: ...
    def cancel(self, positions: list[int], reason: str, recipients: Iterable[int] | None = None) -> None: ...


class Subscribers:
    """
    Keeps the subscription index and the destinations in step with what is stored.

    One change is made at a time, so that two polls of a node cannot overtake each other.

    @ivar allow_list: only who is allowed is served. Who changes it calls L{rules_changed}.
    @ivar rules: the operator's rules as they are now.
    @ivar next_end: when one of them ends.
    @ivar _acted_upon: the rules that subscriptions are in step with, and of whose subjects what was queued is cancelled.
    @ivar _rules_pending: the rules have changed, and may not have been acted upon.
    @ivar _half_done: hosts of which that was begun, and may not have come to its end.
    @ivar _gone: hosts that answered 410 Gone to deliveries, and until when each is left alone.
    @ivar _effective: what hosts with a subscription get.
    @ivar _unserved: why others get nothing, as far as that was asked for; those longest ago are forgotten first.
    @ivar index: destination numbers by what they want.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        protocol: str,
        default_url: Callable[[str], str],
        own_host: str,
        allow_list: bool,
        max_entries: int,
        max_nodes: int = Polling().max_nodes,
        nodes: Nodes,
        subscriptions: Subscriptions,
        rules: Rules,
        destinations: Destinations,
        log: PostLog,
        served: Served,
        now: Callable[[], datetime],
        unhurried: Unhurried,
        news: SubscriberNews,
    ) -> None:
        self._protocol = protocol
        self._default_url = default_url
        self._own_host = own_host
        self.allow_list = allow_list
        self._max_entries = max_entries
        self._tags_left_out = 0
        self._nodes = nodes
        self._subscriptions = subscriptions
        self._rules = rules
        self._destinations = destinations
        self._posts = log
        self._served = served
        self._blocked_posts = BlockedPosts(log, served.cancel, unhurried)
        self._now = now
        self._unhurried = unhurried
        self._news = news
        self._one_at_a_time = DeferredLock()
        self._effective: dict[str, Effective] = {}
        self._unserved: Lru[str, Effective] = Lru(max_nodes)
        self._numbers: dict[str, int] = {}
        self._urls: dict[str, str] = {}
        self._gone: dict[str, datetime] = {}
        self.rules = RuleBook()
        self._acted_upon = self.rules
        self._rules_pending = False
        self._half_done: set[str] = set()
        self.next_end: datetime | None = None
        self.index = SubscriptionIndex()

    def adjust(self, max_nodes: int) -> None:
        """Remember why so many get nothing, at most, from now on."""
        self._unserved.limit = max_nodes

    # Asked by others

    def effective(self, host: str) -> Effective:
        """What a host is subscribed to."""
        return self._effective.get(host) or self._unserved.get(host) or _NOTHING

    def subscribed(self) -> Mapping[str, Effective]:
        """All hosts with a subscription."""
        return dict(self._effective)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (
            bound_of("nodes-not-served", lambda: self._unserved),
            Bound("tags", lambda: self.index.entries, lambda: self._max_entries, lambda: self._tags_left_out),
        )

    def count(self) -> SubscriberCounts:
        """How many there are."""
        return SubscriberCounts(self.index.everything, self.index.tagged, self.index.tags)

    def tags(self) -> list[str]:
        """The distinct tags that are wanted."""
        return self.index.names()

    def wanting(self, tag: str) -> int:
        """How many nodes want a tag."""
        return self.index.wanting(tag)

    def recipients(self, tags: frozenset[str], author_host: str) -> Recipients:
        """The destinations of a post: whoever wants it, but for its author's host."""
        return self.index.recipients(tags, but=self._numbers.get(author_host))

    # Changes

    async def load(self) -> None:
        """Take up what is stored; once, at start."""
        self.rules = await self._read_rules()
        self._acted_upon = self.rules
        # The relay may have died between the storing of a rule and what it does: what is marked in the log is not sent.
        await self._blocked_posts.mark(self.rules, RuleBook())
        await self._destinations.settle_followers()
        end = await self._posts.end()
        records = [record for record in await self._destinations.load() if record.protocol == self._protocol]
        deferred: dict[int, list[DeferredDelivery]] = {}
        for entry in await self._destinations.deferred():
            deferred.setdefault(entry.destination, []).append(entry)
        records.reverse()
        while records:
            record = records.pop()  # each is let go of when its destination is made: together they take as much
            gone = record.state is State.GONE
            if gone:
                self._gone[record.host] = (record.gone_since or self._now()) + UNTIL_GONE + REST
            if record.subscribed:
                self._numbers[record.host], self._urls[record.host] = record.number, record.url
            waiting = deferred.get(record.number, ())
            # Of what is gone the operator still wants to know how it stands.
            if record.subscribed or gone or waiting or waits_to_be_closed(record, end):
                self._served.open(record, waiting)
        async for host, wish in self._unhurried.over((await self._wishes()).items()):
            await self._apply(host, wish)
        for host in [host for host in self._numbers if host not in self._effective]:
            await self._apply(host, _NOTHING)

    def update(self, host: str) -> Deferred[Effective]:
        """Work it out anew and act on it."""
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._update(host)))

    def take_up(self, host: str) -> Deferred[Effective]:
        """The same, and forget that it answered 410 Gone to deliveries."""
        self._gone.pop(host, None)
        return self.update(host)

    def retire(self, host: str) -> Deferred[None]:
        """
        Its endpoint has said for days that it is gone: its subscription ends, whoever made it.

        When a while has passed, the next poll takes it up again if it still asks for posts. It is retired after a restart, too, by the
        state of its destination.
        """
        now = self._now()
        self._gone = {other: until for other, until in self._gone.items() if until > now}
        self._gone[host] = now + REST
        return self.update(host).addCallbacks(lambda _: None, self._not_retired, errbackArgs=(host,))

    def _not_retired(self, failure: Failure, host: str) -> None:
        # What names it until the next poll is cancelled.
        if failure.check(Unavailable):
            self._log.debug("The subscription of {host}, which is gone, could not be ended: {reason}", host=host, reason=str(failure.value))
        else:
            self._log.failure("The subscription of {host}, which is gone, could not be ended", failure, host=host)

    def rules_changed(self) -> Deferred[None]:
        """Read the operator's rules anew and act on them."""
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._act_upon_rules()))

    async def _update(self, host: str) -> Effective:
        manual = {entry.host: entry.subscription for entry in await self._subscriptions.all()}
        wish = self._wish(host, await self._nodes.get(host), manual.get(host))
        before = self.effective(host)
        await self._apply(host, wish)
        self._news.changed(host, before, wish)
        return wish

    async def lapse(self) -> None:
        """If a rule has ended, or the rules could not be acted upon when they changed, do so now."""
        if self._rules_pending or (self.next_end is not None and self.next_end <= self._now()):
            self._log.info("The rules are worked out anew: one has ended, or they could not be acted upon before.")
            try:
                await self.rules_changed()
            except Unavailable as reason:
                self._log.debug("The rules cannot be read now: {reason}", reason=str(reason))

    async def _act_upon_rules(self) -> None:
        self._rules_pending = True
        before, self.rules = self._acted_upon, await self._read_rules()
        refused: list[str] = []
        served: list[str] = []
        async for host in self._unhurried.over({*self._effective, *self._unserved, *self.rules.forward, *before.forward}):
            if host in self._half_done or self.rules.decides_anew(host, before):
                (refused if self.rules.refuses_host(host) else served).append(host)
        self._half_done = {*refused, *served}
        await self._end(sorted(refused))
        await self._take_up(sorted(served))
        await self._blocked_posts.cancel(self.rules, before, self._numbers.values())
        self._news.blocked(self.rules.blocked - before.blocked)
        self._acted_upon = self.rules
        self._half_done = set()
        self._rules_pending = False

    async def _end(self, hosts: list[str]) -> None:
        """The rules refuse these hosts: all of them at once, since there may be thousands."""
        open_ones = [host for host in hosts if host in self._numbers]
        async for host in self._unhurried.over(open_ones):
            self.index.remove(self._numbers[host])  # from now on no post names it
        if open_ones:
            await self._destinations.close(*(self._numbers[host] for host in open_ones))
        few = len(hosts) <= TOLD
        async for host in self._unhurried.over(hosts):
            wish = self._wish(host, None, None)
            before = self.effective(host)
            self._remember(host, wish)
            if host in self._numbers:
                del self._urls[host]
                self._served.close(self._numbers.pop(host), wish.why)
            self._news.changed(host, before, wish, one_of_many=not few)
        if not few:
            self._news.many_ended(len(open_ones))

    async def _take_up(self, hosts: list[str]) -> None:
        """The rules refuse these hosts no longer, or decide otherwise what they get."""
        if not hosts:
            return
        manual = {entry.host: entry.subscription for entry in await self._subscriptions.all()}
        few = len(hosts) <= TOLD
        for start in range(0, len(hosts), NODES_AT_ONCE):
            some = hosts[start : start + NODES_AT_ONCE]
            known = {node.host: node for node in await self._nodes.named(some)}
            wishes = {host: self._wish(host, known.get(host), manual.get(host)) for host in some if host not in self._numbers}
            urls = {host: wish.url for host, wish in wishes.items() if wish.wanted}
            opened = {row.host: row for row in await self._destinations.open_all(urls, self._protocol, self._now())} if urls else {}
            async for host in self._unhurried.over(some):
                before, wish = self.effective(host), self._wish(host, known.get(host), manual.get(host))
                await self._apply(host, wish, opened.get(host))
                self._news.changed(host, before, wish, one_of_many=not few)
        if not few:
            self._news.many_worked_out(len(hosts))

    async def _read_rules(self) -> RuleBook:
        found = await self._rules.in_force(self._now())
        self.next_end = found.next_end
        return RuleBook.of(found.by_hand, found.of_lists, allow_list=self.allow_list)

    async def _wishes(self) -> dict[str, Effective]:
        """What all hosts that may have a subscription, or had one, are subscribed to."""
        published = {node.host: node for node in await self._nodes.subscribers()}
        manual = {entry.host: entry.subscription for entry in await self._subscriptions.all()}
        hosts = {*published, *manual, *self.rules.forward, *self._effective}
        return {host: self._wish(host, published.get(host), manual.get(host)) for host in sorted(hosts)}

    def _wish(self, host: str, node: NodeRecord | None, manual: Subscription | None) -> Effective:
        if within(host, self._own_host):
            return Effective(Scope.NONE, why="that is the relay itself")
        published = node.preferences if node is not None else None
        until = self._gone.get(host)
        if until is not None and until <= self._now():
            del self._gone[host]
            until = None
        default_url = self._default_url(host)
        if (stored := self._urls.get(host)) == default_url:
            default_url = stored  # one string for both
        return self._bounded(host, effective(host, self.rules, published, manual, default_url, until))

    def _bounded(self, host: str, wish: Effective) -> Effective:
        """All nodes together hold a bounded number of tags."""
        number = self._numbers.get(host)
        room = self._max_entries - self.index.entries + (0 if number is None else self.index.entries_of(number))
        if len(wish.tags) <= room:
            return wish
        self._tags_left_out += len(wish.tags) - max(room, 0)
        self._log.warn(
            "{host} asks for {tags} and there is room for {room}.",
            host=host,
            tags=counted(len(wish.tags), "tag"),
            room=max(room, 0),
        )
        return Effective(wish.scope, frozenset(sorted(wish.tags)[: max(room, 0)]), wish.url, wish.why)

    async def _apply(self, host: str, wish: Effective, opened: DestinationRecord | None = None) -> None:
        """@param opened: its destination, if that is stored already."""
        number = self._numbers.get(host)
        if wish.wanted and number is None:
            record = opened or await self._destinations.open(host, self._protocol, wish.url, self._now())
            number = self._numbers[host] = record.number
            self._urls[host] = wish.url
            self._served.open(record)
        elif wish.wanted and number is not None and self._urls[host] != wish.url:
            await self._destinations.open(host, self._protocol, wish.url, self._now())
            self._urls[host] = wish.url
            self._served.moved(number, wish.url)
        if wish.wanted and number is not None:
            self.index.put(number, wish.scope, wish.tags)
        elif number is not None:
            await self._destinations.close(number)
            del self._numbers[host], self._urls[host]
            self.index.remove(number)
            self._served.close(number, wish.why)
        self._remember(host, wish)

    def _remember(self, host: str, wish: Effective) -> None:
        self._effective.pop(host, None)
        self._unserved.discard(host)
        if wish.wanted:
            self._effective[host] = wish
        elif wish is not _NOTHING:
            self._unserved[host] = wish


def waits_to_be_closed(record: DestinationRecord, end: int) -> bool:
    """What was pending when it was closed may not be cancelled yet."""
    if record.cursor >= end:
        return bool(record.missed)
    return bool(record.missed) or record.cursor < record.begin or end - max(record.begin, record.cursor) < LATE
