"""What became of each post at each destination: settled, counted, and noted to be written down."""

from __future__ import annotations

from datetime import timedelta

from socialrelay.scheduler.alarms import Alarms
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.journal import Journal
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Settled
from socialrelay.scheduler.pacing import Pacer
from socialrelay.scheduler.record import DeferredDelivery


class Ledger:
    """
    @ivar end: the log's end: the greatest position that was admitted.
    @ivar settlements: what was settled, for whoever drives the queue manager to take away.
    """

    def __init__(self, journal: Journal, alarms: Alarms, pacer: Pacer, end: int) -> None:
        self.end = end
        self.settlements: list[Settled] = []
        self.journal = journal
        self._alarms = alarms
        self._pacer = pacer

    def count(self, destination: Destination, position: int, outcome: str, reason: str, posts: int = 1, digest: str = "") -> None:
        """
        Posts are over at a destination.

        @param position: the last of them.
        @param outcome: delivered, bounced, expired or cancelled.
        @param digest: as in L{Settled}.
        """
        setattr(destination, outcome, getattr(destination, outcome) + posts)
        if outcome == "bounced":
            destination.last_bounce = reason
            self.journal.bounced(destination, position, reason)
        self.journal.changed(destination)
        self.settlements.append(Settled(outcome, destination.host.name, position, reason, posts, digest=digest))

    def delivered(
        self, destination: Destination, position: int, reason: str, now: Moment, delay: float | None = None, digest: str = ""
    ) -> None:
        """
        It took a post.

        @param delay: as in L{Settled}, and so is C{digest}.
        """
        self.journal.unwritten(destination)
        if position in destination.deferred:
            self.end_deferred(destination, position, "delivered", reason, digest)
            return
        if destination.missed:
            self.journal.changed(destination)
        destination.settle(position, self.end, self._pacer.floor)
        destination.delivered += 1
        self.journal.delivered(destination, position, now.seconds)
        self.settlements.append(Settled("delivered", destination.host.name, position, reason, 1, delay, digest))

    def finish(self, destination: Destination, position: int, outcome: str, reason: str, digest: str = "") -> None:
        """A post is over, whether it was next in the log or tried on its own."""
        if position in destination.deferred:
            self.end_deferred(destination, position, outcome, reason, digest)
        else:
            destination.settle(position, self.end, self._pacer.floor)
            self.count(destination, position, outcome, reason, digest=digest)

    def end_deferred(self, destination: Destination, position: int, outcome: str, reason: str, digest: str = "") -> None:
        """A post that was tried on its own is over."""
        del destination.deferred[position]
        if destination.lapsed:
            destination.lapsed = tuple(other for other in destination.lapsed if other != position)
        self.journal.over(destination, position)
        self.count(destination, position, outcome, reason, digest=digest)

    def defer_post(self, destination: Destination, position: int, attempts: int, delay: float, reason: str, now: Moment) -> None:
        """The post is tried on its own after C{delay} seconds: settled for the cursor."""
        entry = DeferredDelivery(destination.number, position, attempts, now.wall + timedelta(seconds=delay), reason)
        known = position in destination.deferred
        destination.deferred[position] = entry
        self.journal.deferred(entry)
        self.journal.changed(destination)
        self._alarms.put(now.seconds + delay, destination.number, position)
        if not known:
            destination.settle(position, self.end, self._pacer.floor)

    def lapse(self, destination: Destination, position: int, reason: str, now: Moment) -> None:
        """A post is given up while it is under way: from now on it is on its own, so that this attempt, its last, is accounted for."""
        entry = destination.deferred[position] = DeferredDelivery(destination.number, position, 0, now.wall, reason)
        destination.lapsed = (*destination.lapsed, position)
        self.journal.deferred(entry)

    def requeue(self, destination: Destination, position: int, reason: str, now: Moment) -> None:
        """A post that had bounced is tried once more, on its own."""
        destination.requeued += 1
        entry = destination.deferred[position] = DeferredDelivery(destination.number, position, 0, now.wall, reason)
        self.journal.requeued(entry)
        self.journal.changed(destination)
        self._alarms.put(now.seconds, destination.number, position)

    def advance(self, destination: Destination) -> None:
        """Move its cursor as far as it may."""
        before = destination.cursor
        destination.advance(self.end, self._pacer.floor)
        if destination.cursor > before and not (destination.joined and destination.following):
            self.journal.changed(destination)
