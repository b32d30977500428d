"""The destinations, as they are kept."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from socialrelay.scheduler.record import Bounce, DeferredDelivery, DestinationRecord, Gap, Progress

BOUNCES_KEPT = 100
"""Of each destination."""

COUNTED = 100_000
"""Positions of the log that are counted at a time."""


@frozen
class BouncedPost:
    """
    A bounce as it is looked up.

    @ivar author, guid: as far as the log still knows them.
    @ivar published_at: C{None} if the log does not reach back so far.
    @ivar kept: its body is kept.
    @ivar cancelled: it is not wanted any more.
    """

    bounce: Bounce
    author: str
    guid: str
    published_at: datetime | None
    kept: bool
    cancelled: bool


@frozen
class SinglePost:
    """A post that is tried on its own, as it is looked up. C{author} and C{guid} as in L{BouncedPost}."""

    host: str
    delivery: DeferredDelivery
    author: str
    guid: str


@frozen
class DatedGap:
    """
    A gap as it is looked up.

    @ivar since, until: when the first and the last post of the stretch were published, as far as the log still reaches.
    """

    gap: Gap
    since: datetime | None
    until: datetime | None


class Destinations(Protocol):
    """The destinations and how far each has come."""

    def settle_followers(self) -> Deferred[None]:
        """
        Bring rows that say C{following} up to the shared position (L{Progress.followed}), before they are loaded.

        Whatever names such a destination between its cursor and that position, and is not in C{ahead}, was delivered, and is counted so.
        Afterwards no row says C{following}.
        """

    def load(self) -> Deferred[list[DestinationRecord]]:
        """All of them."""

    def deferred(self, destination: int | None = None) -> Deferred[list[DeferredDelivery]]:
        """Posts that are tried on their own; of all destinations if none is named. At most 100 000."""

    def bounced(self, destination: int, limit: int, position: int | None = None) -> Deferred[list[BouncedPost]]:
        """
        Posts that it refused for themselves, the latest first; only one if its position is given.

        The last L{BOUNCES_KEPT} are kept, for as long as rejections are.
        """

    def singles(self, limit: int) -> Deferred[tuple[list[SinglePost], int]]:
        """Posts that are tried on their own, the next to be tried first; and how many there are."""

    def backlog(self, destination: int, after: int) -> Deferred[tuple[int, datetime | None]]:
        """
        How many posts after a position name a destination, of the L{COUNTED} positions that follow, and when the first of them was
        published.
        """

    def gaps(self, destination: int, limit: int) -> Deferred[list[DatedGap]]:
        """The stretches of the log that it was never sent, the latest first."""

    def open(self, host: str, protocol: str, url: str, now: datetime) -> Deferred[DestinationRecord]:
        """
        Subscribe a host: a new row, or its old one with a new url.

        The cursor of a new one, and C{begin} of one that was closed, are the log's end, taken in the same statement under the log's lock.
        What was pending for the latter is the scheduler's to cancel, with L{save}.
        """

    def open_all(self, urls: Mapping[str, str], protocol: str, now: datetime) -> Deferred[list[DestinationRecord]]:
        """
        Several at once, as L{open}.

        @param urls: host -> where it wants to be sent to.
        @return: by number.
        """

    def close(self, *numbers: int) -> Deferred[None]:
        """They are no longer subscribed; C{begin} is the log's end. What was pending is the scheduler's to cancel, with L{save}."""

    def suspend(self, number: int) -> Deferred[None]:
        """Its deliveries are held back. For the operator to rely on it is written at once; the scheduler learns of it when that is done."""

    def resume(self, number: int) -> Deferred[None]:
        """They are held back no longer."""

    def save(self, progress: Progress) -> Deferred[None]:
        """
        Write what changed, in one transaction. Neither a cursor nor the shared position ever goes back.

        If nobody knows whether it was written, the next one holds all of it; what then comes late, from this run of the relay or the one
        before, fails and changes nothing.
        """
