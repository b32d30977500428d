"""
The half of the queue manager that has to do with the log: which stretches to read for those that are behind, and which to give up.

A destination follows the log until something keeps it from taking a post at once.  Then it is I{behind}: it holds nothing in memory that
the log does not hold, and reads ranges of it when it can go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import inf

from socialrelay.scheduler.alarms import Alarms
from socialrelay.scheduler.destination import RANGE, Destination, Entry
from socialrelay.scheduler.ledger import Ledger
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Abandon, Limits, Load
from socialrelay.scheduler.pacing import Pacer
from socialrelay.scheduler.record import Gap

QUEUE_MAX = 8
"""Posts that may wait in memory for a destination which follows; one more and it is behind."""
CATCH_UP = 32
"""Posts taken from a range at a time."""
LOADS = 8
"""Ranges read at the same time."""
PAUSE = 5.0
"""Seconds until what storage, or the relay itself, cut short is tried again."""


class Reader:
    """
    @ivar _holding: destinations that hold posts which were read from the log.
    """

    def __init__(
        self,
        limits: Limits,
        ledger: Ledger,
        alarms: Alarms,
        pacer: Pacer,
        consider: Callable[[Destination, Moment], None],
    ) -> None:
        """@param consider: told of a destination that may need something now."""
        self._limits = limits
        self._ledger = ledger
        self._journal = ledger.journal
        self._alarms = alarms
        self._pacer = pacer
        self._consider = consider
        self._to_load: deque[Destination] = deque()
        self._singles: deque[Load] = deque()
        self._loading = 0
        self._holding: set[int] = set()
        self._abandons: deque[Abandon] = deque()
        self._counting = 0
        self._uncounted: list[Abandon] = []

    # Falling behind

    def fall_behind(self, destination: Destination, position: float = inf) -> None:
        """
        It cannot be given what comes now: it will read that in the log.

        @param position: of what it cannot be given.
        """
        if min(position, self._pacer.floor) <= self._ledger.end:
            destination.drop_queue()  # what has still to go out to it lies below the log's end
        else:
            destination.read = max(destination.read, self._ledger.end)
            destination.following = False
        self._journal.changed(destination)

    def drop(self, destination: Destination) -> None:
        """Hold nothing of it in memory, and have it read the log. What takes nothing any more goes on to be told what comes."""
        if destination.wanted or not destination.following:
            destination.drop_queue()
            self._holding.discard(destination.number)
            self._journal.changed(destination)

    # Reading

    def consider(self, destination: Destination, now: Moment) -> None:
        """See whether a destination needs to read."""
        if destination.following or destination.loading or destination.wants_load or destination.abandoning:
            return
        if destination.read >= destination.limit:
            return
        if not destination.subscribed or len(destination.queue) >= QUEUE_MAX or destination.host.waits(now):
            return
        if destination.host.probing and (destination.in_flight or any(e.position not in destination.suspects for e in destination.queue)):
            return
        if destination.read >= self._ledger.end:
            self._follow(destination)
            return
        destination.wants_load = True
        if destination.number in self._holding:
            self._to_load.appendleft(destination)
        else:
            self._to_load.append(destination)

    def _follow(self, destination: Destination) -> None:
        destination.following = True
        self._holding.discard(destination.number)
        if destination.queue or destination.in_flight:
            self._journal.busy(destination)
        self._ledger.advance(destination)

    def single(self, destination: Destination, position: int) -> None:
        """Read one post that is tried on its own."""
        self._singles.append(Load(destination, position - 1, position, single=True))

    def loads(self, now: Moment) -> list[Load]:
        """Which stretches of the log to read now."""
        found: list[Load] = []
        while self._loading < LOADS and self._singles:
            found.append(self._singles.popleft())
            self._loading += 1
        for _ in range(len(self._to_load)):
            if self._loading >= LOADS:
                break
            destination = self._to_load.popleft()
            if len(self._holding) >= self._limits.catching_up and destination.number not in self._holding:
                self._to_load.appendleft(destination)
                break
            destination.wants_load = False
            if destination.abandoning or destination.following or destination.loading or destination.host.waits(now):
                continue
            destination.loading = True
            destination.stale = False
            self._holding.add(destination.number)
            self._loading += 1
            found.append(Load(destination, destination.read, min(destination.read + destination.reach, self._ledger.end)))
        return found

    def loaded(self, load: Load, entries: Sequence[Entry], now: Moment) -> None:
        """
        A stretch was read.

        @param entries: the posts in it that name the destination, in order.
        """
        self._loading -= 1
        destination = load.destination
        if load.single:
            self._loaded_single(load, entries, now)
            return
        destination.loading = False
        if destination.abandoning or destination.stale or destination.read != load.after or destination.host.waits(now):
            self._holding.discard(destination.number)
            self._consider(destination, now)
            return
        self._take_in(destination, load, entries, now)
        if destination.read >= self._ledger.end:
            self._follow(destination)
        elif not destination.queue:
            self._holding.discard(destination.number)
        self._ledger.advance(destination)
        self._consider(destination, now)

    def _take_in(self, destination: Destination, load: Load, entries: Sequence[Entry], now: Moment) -> None:
        read, outlived = load.upto, []
        destination.reach = min(2 * destination.reach, RANGE)
        for entry in entries:
            if destination.knows(entry.position):
                continue
            if over := self._outlived(entry, now):
                outlived.append((entry.position, *over))
            elif len(destination.queue) < CATCH_UP:
                destination.queue.append(entry)
                destination.late = True
            else:
                read = entry.position - 1
                destination.reach = min(2 * max(read - load.after, CATCH_UP), RANGE)
                break
        destination.read = read
        for position, outcome, reason in outlived:  # after the queue is filled: settling moves the cursor up to it
            self._ledger.finish(destination, position, outcome, reason)

    def _loaded_single(self, load: Load, entries: Sequence[Entry], now: Moment) -> None:
        destination = load.destination
        if load.upto not in destination.deferred:
            return
        over = self._outlived(entries[0], now) if entries else ("expired", "no longer kept")
        if over:
            self._ledger.end_deferred(destination, load.upto, *over)
        else:
            destination.retries = (*destination.retries, entries[0])
            self._consider(destination, now)

    def _outlived(self, entry: Entry, now: Moment) -> tuple[str, str] | None:
        """Why a post of the log is not sent any more: outcome and reason."""
        if entry.cancelled:
            return "cancelled", "no longer wanted"
        if now.wall - entry.published_at > timedelta(seconds=self._limits.lifetime):
            return "expired", "older than the queue lifetime"
        return None

    def load_failed(self, load: Load, now: Moment) -> float | None:
        """
        Storage could not be read: asked again in a while.

        @return: when the destination is to be thought of again, if nobody else does that.
        """
        self._loading -= 1
        if load.single:
            self._alarms.put(now.seconds + PAUSE, load.destination.number, load.upto)
            return None
        load.destination.loading = False
        return now.seconds + PAUSE

    # Giving up

    def abandon(self, destination: Destination, upto: int, outcome: str, reason: str) -> None:
        """Give up what is pending: what is tried on its own at once, the stretch of the log up to C{upto} when it has been counted."""
        destination.drop_queue()
        self._holding.discard(destination.number)
        self._journal.changed(destination)
        for position in [p for p in destination.deferred if p <= upto and p not in destination.in_flight]:
            self._ledger.end_deferred(destination, position, outcome, reason)
        destination.retries = tuple(entry for entry in destination.retries if entry.position > upto)
        if upto > destination.cursor and not destination.abandoning:
            destination.abandoning = True
            self._abandons.append(Abandon(destination, destination.cursor, upto, outcome, reason))
        elif not destination.abandoning and not destination.wanted:
            destination.following = True

    def abandon_the_past(self, destination: Destination, outcome: str, reason: str) -> None:
        """Give up what there was before it was subscribed, or all of it if it takes nothing."""
        if not destination.wanted:
            self.abandon(destination, self._ledger.end, outcome, reason)
        elif destination.cursor < destination.begin:
            self.abandon(destination, destination.begin, outcome, reason)

    def abandons(self) -> list[Abandon]:
        """Which stretches of the log to count and give up."""
        found = [self._abandons.popleft() for _ in range(min(LOADS - self._counting, len(self._abandons)))]
        self._counting += len(found)
        return found

    def abandoned(self, abandon: Abandon, posts: int, now: Moment) -> None:
        """
        A stretch was counted.

        @param posts: how many posts in it name the destination.
        """
        destination = abandon.destination
        destination.abandoning = False
        self._counting -= 1
        known = sum(abandon.after < p <= abandon.upto for p in destination.ahead)
        known += sum(abandon.after < p <= abandon.upto for p in destination.in_flight if p not in destination.deferred)
        lost = max(posts - known, 0)
        destination.cursor = destination.read = max(abandon.upto, destination.cursor)
        destination.ahead = [p for p in destination.ahead if p > destination.cursor]
        destination.suspects = ()
        self._journal.changed(destination)
        if lost:
            self._ledger.count(destination, abandon.upto, abandon.outcome, abandon.reason, lost)
            self._journal.gap(Gap(destination.number, abandon.after, abandon.upto, lost, abandon.outcome, abandon.reason))
        self.abandon_the_past(destination, abandon.outcome, abandon.reason)
        self._consider(destination, now)

    def abandon_failed(self, abandon: Abandon, now: Moment) -> None:
        """Storage could not count it: asked again in a while."""
        self._counting -= 1
        self._uncounted.append(abandon)
        self._alarms.put(now.seconds + PAUSE, abandon.destination.number)

    def count_again(self) -> None:
        """What storage could not count is asked for again."""
        self._abandons += self._uncounted
        self._uncounted.clear()
