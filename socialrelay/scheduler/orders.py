"""What the queue manager and whoever drives it say to each other."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import NamedTuple

from attrs import frozen

from socialrelay.scheduler.backoff import DAY
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.entry import Entry
from socialrelay.scheduler.missed import Stretch


@frozen
class Limits:
    """
    @ivar window: deliveries under way to one host, at most.
    @ivar in_flight: in all.
    @ivar probes: of these, to hosts that are deferred or dead.
    @ivar late: of these, to destinations that catch up.
    @ivar body_bytes: of the different posts that are under way; one may always be.
    @ivar timeout: seconds that a delivery may take, at most.
    @ivar lifetime: seconds; an older post is expired, a host without success for so long is dead.
    @ivar newest_beyond: a destination that is further behind than so many positions gets what is new first, and then what it missed, the
        newest first.
    @ivar catching_up: destinations that may hold posts read from the log in memory.
    """

    window: int = 5
    in_flight: int = 1024
    probes: int = 64
    late: int = 256
    body_bytes: int = 64 * 1024 * 1024
    timeout: float = 15.0
    lifetime: float = 7 * DAY
    newest_beyond: float = inf
    catching_up: int = 256


@frozen(eq=False)
class Attempt:
    """
    A post to be sent now. Its end is told with C{QueueManager.ended} or C{QueueManager.aborted}.

    @ivar cohort: the host's when it began.
    @ivar probe: the host was deferred or dead.
    @ivar late: the destination was catching up.
    @ivar begun: monotonic seconds.
    @ivar timeout: seconds that it may take.
    """

    destination: Destination
    entry: Entry
    cohort: int
    probe: bool
    late: bool
    begun: float
    timeout: float


@frozen(eq=False)
class Load:
    """
    A stretch of the log to be read: C{after} < position <= C{upto}.

    @ivar single: it is one post that is tried on its own.
    @ivar missed: it is a part of what the destination missed.
    """

    destination: Destination
    after: int
    upto: int
    single: bool = False
    missed: Stretch | None = None


@frozen(eq=False)
class Abandon:
    """
    A stretch of the log to be counted, and then given up with L{QueueManager.abandoned}.

    @ivar missed: it is a part of what the destination missed.
    """

    destination: Destination
    after: int
    upto: int
    outcome: str
    reason: str
    missed: Stretch | None = None


class What(Enum):
    """Something that an operator follows."""

    DEFERRED = "deferred"
    DEAD = "dead"
    GONE = "gone"
    BACK = "back"
    POLL = "poll"
    """Its preferences should be read."""


@frozen
class Event:
    """
    @ivar delay: seconds until the next attempt.
    """

    what: What
    host: str
    reason: str = ""
    delay: float = 0.0
    failures: int = 0


class Settled(NamedTuple):
    """
    A post is over at a destination.  One is made for each delivery, and a tuple costs a quarter of what a frozen class does.

    @ivar outcome: delivered, bounced, expired or cancelled.
    @ivar position: the last, if it is more than one.
    @ivar digest: the post's, if it came to an attempt.
    @ivar delay: seconds from its acceptance, if it was delivered and went out as it came: the first time, to a destination that follows.
    """

    outcome: str
    host: str
    position: int
    reason: str = ""
    posts: int = 1
    delay: float | None = None
    digest: str = ""
