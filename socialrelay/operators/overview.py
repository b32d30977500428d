"""What the public may see: the relay in numbers, and a node's administrator checking the own node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NoReturn

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from socialrelay.boundaries import Full, Membership, Nodes, Overview, Poller, Queue, SelfService, Statistics, Unavailable
from socialrelay.coalesce import Coalescing, Crowded
from socialrelay.operators.plain import Plain, plain_effective, plain_poll, plain_time
from socialrelay.operators.views import counts
from socialrelay.routing.hosts import node_host
from socialrelay.routing.subscription import Scope
from socialrelay.scheduler.record import State

PERIODS = {"24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30), "total": None}

_EVENTS = {"posts": "accepted", "deliveries": "delivered", "bounced": "bounced", "expired": "expired", "cancelled": "cancelled"}
"""What is counted -> the name of the event that is counted."""


@define(kw_only=True, eq=False)
class RelayOverview:
    """
    The relay in numbers. One computation answers all who ask meanwhile and for C{lifetime} after it.

    @ivar seconds: a clock for durations.
    @ivar lifetime: seconds that an answer is given again.
    """

    nodes: Nodes
    statistics: Statistics
    membership: Membership
    queue: Queue
    now: Callable[[], datetime]
    seconds: Callable[[], float]
    lifetime: float = 5.0
    _held: Plain | None = field(init=False, default=None)
    _held_until: float = field(init=False, default=0.0)
    _running: Coalescing[Plain] = field(init=False, factory=lambda: Coalescing(works=1, waiters=1000))

    def stats(self) -> Deferred[Plain]:
        """
        Keys: C{at} (ISO 8601); C{posts}, C{deliveries}, and those that came to nothing, C{bounced}, C{expired}, C{cancelled} (each C{24h},
        C{7d}, C{30d}, C{total}); C{subscribers} (C{total}, C{all}, C{tags}: how many want all posts, how many want tags); C{tags}
        (distinct ones); C{nodes} (known hosts); C{queue}
        (C{destinations}, one count for each state, C{behind}: destinations that read the log behind its end, C{waiting}, C{in_flight},
        C{deferred_posts}).

        @raise Unavailable: storage is away, or too many wait for it.
        """
        if self._held is not None and self.seconds() < self._held_until:
            return succeed(self._held)
        return self._running.ask("stats", self._compute).addErrback(_later)

    async def _compute(self) -> Plain:
        now = self.now()
        events: Plain = {name: {} for name in _EVENTS}
        for period, length in PERIODS.items():
            totals = await self.statistics.totals(None if length is None else now - length)
            for name, event in _EVENTS.items():
                events[name][period] = totals.get(event, 0)
        self._held = {
            "at": plain_time(now),
            **events,
            **self._subscribers(),
            "nodes": await self.nodes.count(),
            "queue": self._queue(),
        }
        self._held_until = self.seconds() + self.lifetime
        return self._held

    def _subscribers(self) -> Plain:
        scopes: Counter[Scope] = Counter()
        tags: set[str] = set()
        for effective in self.membership.subscribed().values():
            scopes[effective.scope] += 1
            tags |= effective.tags
        return {
            "subscribers": {"total": scopes[Scope.ALL] + scopes[Scope.TAGS], "all": scopes[Scope.ALL], "tags": scopes[Scope.TAGS]},
            "tags": len(tags),
        }

    def _queue(self) -> Plain:
        found: Counter[str] = Counter()
        for status in self.queue.destinations():
            if not counts(status, self.membership):
                continue
            found["destinations"] += 1
            found[status.record.state.value] += 1
            found["behind"] += not status.following and status.behind > 0
            found["waiting"] += status.waiting
            found["in_flight"] += status.in_flight
            found["deferred_posts"] += status.deferred_posts
        names = ["destinations", *(state.value for state in State), "behind", "waiting", "in_flight", "deferred_posts"]
        return {name: found[name] for name in names} | {"paced": self.queue.paced}


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
