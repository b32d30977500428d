"""What is kept of a destination between two runs of the relay."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from attrs import frozen


class State(Enum):
    """What the relay thinks of a destination."""

    ACTIVE = "active"
    DEFERRED = "deferred"
    """Its host failed: it waits for its next attempt."""
    DEAD = "dead"
    """No success for the queue lifetime: its queue is expired, it is probed once a week."""
    GONE = "gone"
    """It said 410 for at least a day."""
    SUSPENDED = "suspended"
    """The operator holds its deliveries back."""


@frozen
class DestinationRecord:
    """
    A row of C{destination}.

    @ivar number: its bit in the recipients of a post; never used again.
    @ivar cursor: every post up to this position that names the destination is settled.
    @ivar ahead: settled positions above the cursor, at most 1024.
    @ivar failures: failed attempts in a row.
    @ivar last_bounce: why it refused the last post that it refused for itself.
    @ivar following: since this was written nothing was heard of it but that it took what named it: up to L{Progress.followed} it has come.
    @ivar missed: stretches below the cursor that are not settled, ascending: after, up to, and what in them is settled all the same.
    @ivar tried: no post above this position was ever begun to be sent to it.
    @ivar begin: the log's end when it was last subscribed anew, or closed: what it is named in up to here and is not settled is given up.
    @ivar bounced: how often a post bounced; of these C{requeued} were put back, and became of them what the other counts and the queue say.
    """

    number: int
    host: str
    protocol: str
    url: str
    cursor: int
    subscribed: bool = True
    state: State = State.ACTIVE
    ahead: tuple[int, ...] = ()
    failures: int = 0
    failing_since: datetime | None = None
    next_attempt: datetime | None = None
    last_success: datetime | None = None
    last_reason: str = ""
    gone_answers: int = 0
    gone_since: datetime | None = None
    delivered: int = 0
    bounced: int = 0
    expired: int = 0
    cancelled: int = 0
    last_bounce: str = ""
    following: bool = False
    tried: int = 0
    missed: tuple[tuple[int, int, tuple[int, ...]], ...] = ()
    requeued: int = 0
    begin: int = 0


@frozen
class Bounce:
    """A post that a destination refused for itself."""

    destination: int
    position: int
    reason: str
    bounced_at: datetime


@frozen
class DeferredDelivery:
    """A post that is tried on its own at one destination."""

    destination: int
    position: int
    attempts: int
    next_attempt: datetime
    reason: str


@frozen
class Gap:
    """
    A stretch of the log, after C{after} up to and with C{upto}, that a destination was never sent.

    @ivar outcome: C{"expired"} or C{"cancelled"}.
    """

    destination: int
    after: int
    upto: int
    posts: int
    outcome: str
    reason: str


@frozen
class Progress:
    """
    What changed, to be written in one transaction.

    @ivar settled: (destination, position) of deferred deliveries that are over.
    @ivar bounces: posts that were refused.
    @ivar requeued: (destination, position) of such as are tried once more.
    @ivar number: grows; what comes after one with a greater number changes nothing. 0: none.
    @ivar followed: the shared position: all destinations whose row says C{following} after this was written are settled up to here.
    @ivar taken: positions above that, ascending, each with whom of these took it: bit C{n} stands for destination C{n}. C{None}: that is as
        it was written last.
    """

    destinations: tuple[DestinationRecord, ...] = ()
    deferred: tuple[DeferredDelivery, ...] = ()
    settled: tuple[tuple[int, int], ...] = ()
    gaps: tuple[Gap, ...] = ()
    followed: int = 0
    bounces: tuple[Bounce, ...] = ()
    requeued: tuple[tuple[int, int], ...] = ()
    number: int = 0
    taken: tuple[tuple[int, int], ...] | None = None
