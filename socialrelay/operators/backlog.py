"""What waits, what was put aside, and what nodes refused, for whoever operates the relay."""

from __future__ import annotations

from attrs import define

from socialrelay.boundaries import Queue
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import Stores, checked_host

MOST = 500
"""Rows of a list that are given at a time."""


@define(kw_only=True, eq=False)
class Backlog:
    """Views of the queues."""

    stores: Stores
    queue: Queue

    async def bounced(self, *, host: str, limit: int = 100) -> Plain:
        """
        Posts that a node refused for themselves, the latest first, as far as they are kept (the last 100, for as long as rejections are).

        Keys: C{host}, C{total} (bounced in all, also those that are not listed any more), C{bounced}: each C{position}, C{bounced_at},
        C{reason}, C{author}, C{guid}, C{published_at} (empty, or C{None}, if they are not kept any more) and C{why_not}: a sentence why
        L{Repairs.requeue} would refuse it; empty if it would not.
        """
        return {"host": checked_host(host), "total": 0, "bounced": []}

    async def waiting(self) -> Plain:
        """
        What was acknowledged and waits to be judged: C{rows}, C{bytes}, C{oldest} (when it was acknowledged, or C{None}), C{hosts}: the ten
        that have most waiting, each C{host}, C{rows}, C{bytes}, C{oldest}; C{quarantine}: how many bodies could not be judged.
        """
        return {"rows": 0, "bytes": 0, "oldest": None, "hosts": [], "quarantine": 0}

    async def quarantine(self, *, limit: int = 100) -> Plain:
        """
        Bodies that could not be judged three times, the latest first: C{quarantine}, each C{id}, C{quarantined_at}, C{received_at},
        C{sender} (empty of a private message), C{private}, C{size} (bytes; 0: the body is not kept, and it cannot be tried again),
        C{reason}; C{total}: how many there are.
        """
        return {"quarantine": [], "total": 0}

    async def deferred(self, *, limit: int = 100) -> Plain:
        """
        Posts that are tried on their own at nodes which take others, the next to be tried first: C{deferred}, each C{host}, C{position},
        C{attempts}, C{next_attempt}, C{reason}, C{author}, C{guid}; C{total}: how many there are.
        """
        return {"deferred": [], "total": 0}
