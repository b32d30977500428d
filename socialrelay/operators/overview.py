"""What the public may see: the relay in numbers, and a node's administrator checking the own node."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from unicodedata import normalize

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from socialrelay import delays
from socialrelay.boundaries import Full, Membership, Nodes, Overview, Poller, Profiles, Queue, SelfService, Statistics, Unavailable
from socialrelay.coalesce import Coalescing, Crowded, Lasting
from socialrelay.operators.plain import Plain, plain_effective, plain_poll, plain_time
from socialrelay.operators.taglist import shared_tags
from socialrelay.operators.terms import served_by
from socialrelay.routing.hosts import node_host

PERIODS = ("24h", "7d", "30d", "total")

_EVENTS = {
    "received": "received",
    "posts": "accepted",
    "rejected": "rejected",
    "ignored": "ignored",
    "deliveries": "delivered",
    "failed": "failed",
    "bounced": "bounced",
    "expired": "expired",
    "cancelled": "cancelled",
}
"""What is counted -> the name of the event that is counted."""

_IN_SERIES = tuple(name for name in _EVENTS if name != "cancelled")

_SERIES = {"24h": ("hour", 24), "7d": ("hour", 7 * 24), "30d": ("day", 30)}
"""Period -> what one span is, and how many there are, the one that is not over among them: counts of a period are the sums of its chart."""

_SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}

MOST = 200
"""Rows of a list that are given at a time."""

SLOWLY = 60.0
"""Seconds that an answer is given again which costs more, or changes less."""


@define(kw_only=True, eq=False)
class RelayOverview:
    """
    The relay in numbers. One computation answers all who ask meanwhile and for C{lifetime} after it.

    @ivar seconds: a clock for durations.
    @ivar pause: lets others have their turn.
    @ivar lifetime: seconds that an answer is given again.
    """

    nodes: Nodes
    profiles: Profiles
    statistics: Statistics
    membership: Membership
    queue: Queue
    now: Callable[[], datetime]
    seconds: Callable[[], float]
    pause: Callable[[], Deferred[None]]
    lifetime: float = 5.0
    _answers: Lasting[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._answers = Lasting(self.seconds, works=10, waiters=1000, kept=10)

    def stats(self) -> Deferred[Plain]:
        """See L{Overview.stats}; C{queue} is L{Queue.summary} and C{paced}."""
        return self._ask("stats", self._stats, self.lifetime)

    def series(self, period: str) -> Deferred[list[Plain]]:
        """See L{Overview.series}."""
        if period not in _SERIES:
            return fail(ValueError(f"there is no period {period!r}; there are: {', '.join(_SERIES)}"))
        return self._ask(f"series {period}", lambda: self._series(*_SERIES[period]), self.lifetime)

    def tags(self, text: str, offset: int, limit: int) -> Deferred[Plain]:
        """See L{Overview.tags}. The list is made anew once a minute at most, and holds the L{LISTED} that are wanted most."""
        return self._ask("tags", lambda: shared_tags(self.membership, self.pause), SLOWLY).addCallback(_tags_page, text, offset, limit)

    def subscribed(self, offset: int, limit: int) -> Deferred[Plain]:
        """See L{Overview.subscribed}."""
        return self._ask("subscribed", self._subscribed, self.lifetime).addCallback(_page, "nodes", offset, limit)

    def _ask(self, key: str, work: Callable[[], Coroutine[Any, Any, Any]], lifetime: float) -> Deferred[Any]:
        return self._answers.ask(key, work, lifetime).addErrback(_later)

    async def _stats(self) -> Plain:
        now = self.now()
        events: Plain = {name: {} for name in _EVENTS}
        for period in PERIODS:
            totals = await self.statistics.totals(_starts(now, *_SERIES[period])[0] if period in _SERIES else None)
            for name, event in _EVENTS.items():
                events[name][period] = totals.get(event, 0)
        found = self.membership.count()
        return {
            "at": plain_time(now),
            **events,
            "subscribers": {"total": found.everything + found.tagged, "all": found.everything, "tags": found.tagged},
            "tags": found.tags,
            "nodes": await self.nodes.count(),
            "authors": await self._answers.ask("authors", self._authors, SLOWLY),
            "delay": {"24h": await self._delay(now)},
            "queue": {**self.queue.summary(served_by(self.membership)), "paced": self.queue.paced},
        }

    async def _authors(self) -> int:
        return await self.profiles.count()

    async def _delay(self, now: datetime) -> Plain | None:
        """The buckets of the last 24 hours, as far as they are over, and of this one."""
        this = _start(now, "hour")
        counts = await self.statistics.of_event(delays.EVENT, [this - timedelta(hours=n) for n in range(24)])
        median, most = delays.quantile(counts, 0.5), delays.quantile(counts, 0.99)
        return None if median is None or most is None else {"p50": round(median, 4), "p99": round(most, 4)}

    async def _series(self, span: str, many: int) -> list[Plain]:
        starts = _starts(self.now(), span, many)
        found = await self.statistics.series(span, starts[0])
        return [{"at": plain_time(at), **{name: found.get((at, _EVENTS[name]), 0) for name in _IN_SERIES}} for at in starts]

    async def _subscribed(self) -> list[Plain]:
        found = sorted(self.membership.subscribed().items())
        return [{"host": host, "scope": each.scope.value, "tags": len(each.tags)} for host, each in found]


def _start(moment: datetime, span: str) -> datetime:
    """Of the hour or the day, in UTC, in which a moment is."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour.replace(hour=0) if span == "day" else hour


def _starts(moment: datetime, span: str, many: int) -> list[datetime]:
    """Of so many spans, the oldest first; the last is the one in which the moment is."""
    last = _start(moment, span)
    return [last - n * _SPANS[span] for n in reversed(range(many))]


def _page(rows: list[Plain], name: str, offset: int, limit: int) -> Plain:
    offset = max(offset, 0)
    return {name: rows[offset : offset + min(max(limit, 1), MOST)], "total": len(rows)}


def _tags_page(found: list[tuple[str, int]], text: str, offset: int, limit: int) -> Plain:
    part = normalize("NFC", text.strip().removeprefix("#").casefold())
    chosen = [each for each in found if part in each[0]] if part else found
    offset = max(offset, 0)
    rows = chosen[offset : offset + min(max(limit, 1), MOST)]
    return {"tags": [{"tag": tag, "nodes": nodes} for tag, nodes in rows], "total": len(chosen)}


@define(kw_only=True, eq=False)
class NodeCheck:
    """A node's administrator asks: what does the relay read from my node, and what follows from it?"""

    poller: Poller
    membership: Membership
    queue: Queue
    _running: Coalescing[Plain] = field(init=False, factory=lambda: Coalescing(works=32, waiters=1000))

    def check(self, host: str) -> Deferred[Plain]:
        """
        As L{SelfService.check}; who asks for the same host meanwhile gets the same answer.

        @raise Unavailable: storage is away, or too many nodes are being asked.
        """
        try:
            wanted = node_host(host)
        except ValueError:
            return fail()
        return self._running.ask(wanted, lambda: self._check(wanted)).addErrback(_later)

    async def _check(self, host: str) -> Plain:
        report = await self.poller.poll(host, "check")
        subscription = self.membership.effective(host)
        if subscription.until is not None:
            report = evolve(report, faults=(_GONE.format(until=subscription.until), *report.faults))
        effective = plain_effective(subscription)
        return {
            **plain_poll(report),
            "subscription": {name: effective[name] for name in ("scope", "tags", "why")},
            "deliveries": self._deliveries(host),
        }

    def _deliveries(self, host: str) -> Plain | None:
        status = self.queue.destination(host)
        if status is None:
            return None
        record = status.record
        return {
            "state": record.state.value,
            "delivered": record.delivered,
            "last_success": plain_time(record.last_success),
            "last_reason": record.last_reason,
            "next_attempt": plain_time(record.next_attempt),
            "behind": status.behind,
        }


_GONE = (
    "For more than a day it has answered 410 Gone to the posts that the relay sent, so nothing is sent any more. The first poll after "
    "{until:%Y-%m-%d %H:%M} UTC takes it up again, if it still asks for posts; the relay's operator can do so at once."
)


def _later(failure: Failure) -> NoReturn:
    failure.trap(Crowded, Full)
    raise Unavailable(str(failure.value))


_overview: type[Overview] = RelayOverview
_self_service: type[SelfService] = NodeCheck
