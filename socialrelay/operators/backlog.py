"""What waits, what was put aside, and what nodes refused, for whoever operates the relay."""

from __future__ import annotations

from attrs import define

from socialrelay.boundaries import BouncedPost, DestinationStatus, Queue
from socialrelay.operators.plain import Plain, plain_time
from socialrelay.operators.terms import ActError, Stores, checked_host
from socialrelay.scheduler.record import State

MOST = 500
"""Rows of a list that are given at a time."""

HOSTS = 10
"""Of so many hosts it is said what waits of them."""


@define(kw_only=True, eq=False)
class Backlog:
    """Views of the queues."""

    stores: Stores
    queue: Queue

    async def bounced(self, *, host: str, limit: int = 100) -> Plain:
        """
        Posts that a node refused for themselves, the latest first, as far as they are kept (the last 100, for as long as rejections are).

        Keys: C{host}, C{total} (bounced in all and not tried once more, also those that are not listed any more), C{bounced}: each
        C{position}, C{bounced_at}, C{reason}, C{author}, C{guid}, C{published_at} (empty, or C{None}, if they are not kept any more) and
        C{why_not}: a sentence why L{Repairs<socialrelay.operators.repairs.Repairs>} would not requeue it; empty if it would.
        """
        status = destination_of(self.queue, host)
        found = await self.stores.destinations.bounced(status.record.number, _within(limit))
        return {
            "host": status.record.host,
            "total": status.record.bounced - status.record.requeued,
            "bounced": [_bounced(each, status) for each in found],
        }

    async def waiting(self) -> Plain:
        """
        What was acknowledged and waits to be judged: C{rows}, C{bytes}, C{oldest} (when it was acknowledged, or C{None}), C{hosts}: the ten
        of which most waits, each C{host}, C{rows}, C{bytes}, C{oldest}; C{quarantine}: how many bodies could not be judged.
        """
        found = await self.stores.aside.waiting(HOSTS)
        return {
            "rows": found.rows,
            "bytes": found.bytes,
            "oldest": plain_time(found.oldest),
            "hosts": [
                {"host": share.host, "rows": share.rows, "bytes": share.bytes, "oldest": plain_time(share.oldest)} for share in found.hosts
            ],
            "quarantine": found.quarantine,
        }

    async def quarantine(self, *, limit: int = 100) -> Plain:
        """
        Bodies that could not be judged three times, the latest first: C{quarantine}, each C{id}, C{quarantined_at}, C{received_at},
        C{sender} (empty of a private message), C{private}, C{size} (bytes; 0: the body is not kept, and it cannot be tried again),
        C{reason}; C{total}: how many there are.
        """
        found, total = await self.stores.aside.quarantined(_within(limit))
        rows = [
            {
                "id": each.id,
                "quarantined_at": plain_time(each.quarantined_at),
                "received_at": plain_time(each.received_at),
                "sender": each.sender,
                "private": each.private,
                "size": each.size,
                "reason": each.reason,
            }
            for each in found
        ]
        return {"quarantine": rows, "total": total}

    async def deferred(self, *, limit: int = 100) -> Plain:
        """
        Posts that are tried on their own at nodes which take others, the next to be tried first: C{deferred}, each C{host}, C{position},
        C{attempts}, C{next_attempt}, C{reason}, C{author}, C{guid}; C{total}: how many there are.
        """
        found, total = await self.stores.destinations.singles(_within(limit))
        rows = [
            {
                "host": each.host,
                "position": each.delivery.position,
                "attempts": each.delivery.attempts,
                "next_attempt": plain_time(each.delivery.next_attempt),
                "reason": each.delivery.reason,
                "author": each.author,
                "guid": each.guid,
            }
            for each in found
        ]
        return {"deferred": rows, "total": total}


def destination_of(queue: Queue, host: str) -> DestinationStatus:
    """
    How deliveries to a host stand.

    @raise ActError: C{bad-host}, or C{unknown-node}: nothing was ever delivered to it.
    """
    host = checked_host(host)
    status = queue.destination(host)
    if status is None:
        raise ActError("unknown-node", f"Nothing was ever delivered to {host}: it has no subscription.")
    return status


def why_not(post: BouncedPost, status: DestinationStatus) -> str:
    """Why a post that bounced cannot be tried once more, as a sentence; empty if it can."""
    if not status.record.subscribed or status.record.state is State.GONE:
        return f"{status.record.host} is not subscribed."
    if post.cancelled:
        return "It was taken back, or is not wanted any more."
    if not post.kept:
        return "Its body is not kept any more."
    return ""


def _bounced(post: BouncedPost, status: DestinationStatus) -> Plain:
    return {
        "position": post.bounce.position,
        "bounced_at": plain_time(post.bounce.bounced_at),
        "reason": post.bounce.reason,
        "author": post.author,
        "guid": post.guid,
        "published_at": plain_time(post.published_at),
        "why_not": why_not(post, status),
    }


def _within(limit: int) -> int:
    return min(max(limit, 1), MOST)
