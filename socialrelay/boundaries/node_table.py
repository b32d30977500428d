"""The table of all nodes, as operators look through it."""

from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

KINDS = ("all", "subscribed", "refusing", "failing", "active", "deferred", "dead", "gone", "suspended")
"""
Which nodes: C{refusing} publish that they want nothing, of C{failing} the last poll failed; from C{active} on, by the state of deliveries.
"""

ORDERS = ("host", "scope", "tags", "state", "behind", "delivered", "last_success", "last_poll", "last_answer", "first_seen")
"""By what they may be sorted."""


@frozen(kw_only=True)
class NodeQuery:
    """
    @ivar text: a part of the host.
    @ivar which: one of L{KINDS}.
    @ivar sort: one of L{ORDERS}; equals are sorted by host, and who has no such value comes last.
    """

    text: str = ""
    which: str = "all"
    sort: str = "host"
    descending: bool = False
    offset: int = 0
    limit: int = 100


@frozen(kw_only=True)
class NodeRow:
    """
    A row of the table, as it was last written down: counts of deliveries may be a minute old.

    @ivar scope: what it publishes: C{all}, C{tags} or C{none}; C{None} if nothing.
    @ivar tags: how many tags it publishes.
    @ivar state: of deliveries to it; C{None} if it is neither subscribed nor gone.
    @ivar behind: positions of the log that it has not come to.
    """

    host: str
    sources: tuple[str, ...]
    first_seen: datetime
    last_poll: datetime | None = None
    last_answer: datetime | None = None
    next_poll: datetime
    poll_failures: int = 0
    poll_error: str = ""
    scope: str | None = None
    tags: int = 0
    state: str | None = None
    behind: int = 0
    delivered: int = 0
    last_success: datetime | None = None
    last_reason: str = ""
    next_attempt: datetime | None = None


class NodeTable(Protocol):
    """Nodes and how deliveries to them stand, together."""

    def page(self, query: NodeQuery) -> Deferred[tuple[list[NodeRow], int]]:
        """@return: the rows asked for, and how many there are without C{offset} and C{limit}."""
