"""What happened between the relay and one node lately, in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from attrs import define

from socialrelay.boundaries import DestinationStatus, Outcome, PollNote, Queue
from socialrelay.operators.backlog import Backlog
from socialrelay.operators.plain import Plain, plain_time
from socialrelay.operators.terms import Stores

OUTCOMES = 10
"""Attempts that are shown with a node."""

BOUNCES = 10
"""Bounced posts that are shown with a node."""

_RECEIVED = ("received", "accepted", "duplicate")


@define(kw_only=True, eq=False)
class History:
    """Looks one node's history up."""

    stores: Stores
    queue: Queue
    backlog: Backlog

    async def of(self, host: str, destination: DestinationStatus | None, now: datetime) -> Plain:
        """
        C{outcomes}: how the last attempts ended, at most L{OUTCOMES}, the latest first: each C{at}, C{outcome} (C{delivered}, C{bounced},
        C{post later}, C{host failed}, C{no receiver}, C{gone}), C{reason}, C{position} (or C{None}).  Of those that ended with a delivery
        only the last is known; of those before the relay was started only that, too.

        C{polls}: the last ten, the latest first: each C{at}, C{outcome} (C{read}, C{gone}, C{missing}, C{unreadable}, C{failed}), C{scope}
        (C{None} if nothing was read), C{tags} (how many), C{error}.

        C{received}: what came from authors of this host: C{24h} and C{30d}, each C{received} (whose author's key was known when it came),
        C{accepted}, C{duplicate}; C{refused}: reason -> how many lately named such an author, whoever they came from; C{last}: the hour in
        which the last post was accepted, or C{None}.

        C{cursor}: C{position}, C{posts} (that wait for it, of the 100 000 positions that follow), C{since} (when the first of them was
        published); C{None} without deliveries.

        C{bounces}: as L{Backlog.bounced}, the latest L{BOUNCES}; C{None} without deliveries.
        """
        return {
            "outcomes": [_outcome(each) for each in _ended(self.queue.outcomes(host), destination)],
            "polls": [_poll(each) for each in await self.stores.nodes.polls(host)],
            "received": await self._received(host, now),
            "cursor": None if destination is None else await self._cursor(destination),
            "bounces": None if destination is None else await self.backlog.bounced(host=host, limit=BOUNCES),
        }

    async def _received(self, host: str, now: datetime) -> Plain:
        statistics = self.stores.statistics
        return {
            "24h": _counts(await statistics.of_subject(host, now - timedelta(days=1))),
            "30d": _counts(await statistics.of_subject(host, now - timedelta(days=30))),
            "refused": await self.stores.rejections.reasons(host),
            "last": plain_time(await statistics.last("accepted", host)),
        }

    async def _cursor(self, destination: DestinationStatus) -> Plain:
        record = destination.record
        posts, since = (0, None)
        if destination.behind:
            posts, since = await self.stores.destinations.backlog(record.number, record.cursor)
        return {"position": record.cursor, "posts": posts, "since": plain_time(since)}


def _ended(known: Sequence[Outcome], destination: DestinationStatus | None) -> list[Outcome]:
    """With the last delivery in its place."""
    success = destination.record.last_success if destination is not None else None
    found = [*known, *([Outcome(success, "delivered", "")] if success is not None else [])]
    return sorted(found, key=lambda each: each.at, reverse=True)[:OUTCOMES]


def _outcome(outcome: Outcome) -> Plain:
    return {"at": plain_time(outcome.at), "outcome": outcome.outcome, "reason": outcome.reason, "position": outcome.position}


def _poll(poll: PollNote) -> Plain:
    return {"at": plain_time(poll.at), "outcome": poll.outcome, "scope": poll.scope, "tags": poll.tags, "error": poll.error}


def _counts(found: Mapping[str, int]) -> Plain:
    return {event: found.get(event, 0) for event in _RECEIVED}
