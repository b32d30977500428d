"""What happened between the relay and one node lately, in both directions."""

from __future__ import annotations

from datetime import datetime

from socialrelay.boundaries import DestinationStatus
from socialrelay.operators.backlog import Backlog
from socialrelay.operators.plain import Plain
from socialrelay.operators.terms import Stores

BOUNCES = 10
"""Bounced posts that are shown with a node."""


async def history_of(host: str, destination: DestinationStatus | None, stores: Stores, backlog: Backlog, now: datetime) -> Plain:
    """
    C{outcomes}: how the last attempts ended, at most ten, the latest first, each C{at}, C{outcome} (C{delivered}, C{bounced}, C{post later},
    C{host failed}, C{no receiver}, C{gone}), C{reason}, C{position}; of deliveries that went well only the last, since the relay was
    started: what came before stands in C{deliveries}.

    C{polls}: the last ten, the latest first, each C{at}, C{outcome} (C{read}, C{gone}, C{missing}, C{unreadable}, C{failed}), C{scope}
    (C{None} if nothing was read), C{tags} (how many), C{error}.

    C{received}: what came from authors of this host: C{24h} and C{30d}, each C{received} (with a key that was known), C{accepted},
    C{duplicate}; C{rejected} and C{ignored} of the last days, by reason, of those that name such an author; C{last}: when the last post
    was accepted, or C{None}.

    C{cursor}: C{position}, C{posts} (that wait for it; at most 100 000 are counted), C{since} (when the first of them was published);
    C{None} without deliveries.

    C{bounces}: as L{Backlog.bounced}, the latest ten; C{None} without deliveries.
    """
    nothing = {"received": 0, "accepted": 0, "duplicate": 0}
    return {
        "outcomes": [],
        "polls": [],
        "received": {"24h": nothing, "30d": nothing, "rejected": {}, "ignored": {}, "last": None},
        "cursor": None,
        "bounces": None if destination is None else await backlog.bounced(host=host, limit=BOUNCES),
    }
