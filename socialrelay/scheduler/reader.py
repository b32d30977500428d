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

from socialrelay.routing.recipients import Recipients
from socialrelay.scheduler.alarms import Alarms
from socialrelay.scheduler.destination import RANGE, Destination
from socialrelay.scheduler.entry import Entry
from socialrelay.scheduler.ledger import Ledger
from socialrelay.scheduler.missed import Stretch
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
STRETCHES_MAX = 8
"""Times that a destination may fall behind and go on with what is new, before it has what it missed."""
PAUSE = 5.0
"""Seconds until what storage, or the relay itself, cut short is tried again."""


class Reader:
    """
    @ivar behind: those who were found not to follow when a post came, and do not since.
    @ivar _holding: destinations that hold posts which were read from the log, by number.
    @ivar _to_load: who is to read next.
    @ivar _to_probe: the same for those whose host fails: however many these are, the others do not wait for them.
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
        self.limits = limits
        self._ledger = ledger
        self._journal = ledger.journal
        self._alarms = alarms
        self._pacer = pacer
        self._consider = consider
        self.behind = Recipients()
        self._to_load: deque[Destination] = deque()
        self._to_probe: deque[Destination] = deque()
        self._singles: deque[Load] = deque()
        self._loading = 0
        self._holding: dict[int, Destination] = {}
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
            self._holding.pop(destination.number, None)
            self._journal.changed(destination)

    # Reading

    def consider(self, destination: Destination, now: Moment) -> None:
        """See whether a destination needs to read."""
        if destination.loading or destination.abandoning or not destination.subscribed:
            return
        if destination.waits_in is not None and destination.waits_in is self._line_of(destination):
            return
        if destination.host.waits(now):
            return
        if destination.following:
            self._consider_missed(destination)
        else:
            self._consider_next(destination)

    def _consider_next(self, destination: Destination) -> None:
        if self._ledger.end - destination.read > self.limits.newest_beyond and self._may_leap(destination):
            destination.leap(self._ledger.end)
            self._holding.pop(destination.number, None)
            self._journal.changed(destination)
        if destination.read >= destination.limit or len(destination.queue) >= QUEUE_MAX or self._probed_enough(destination):
            return
        if destination.read >= self._ledger.end:
            self._follow(destination)
            self._consider_missed(destination)
        else:
            self._want_load(destination)

    def _consider_missed(self, destination: Destination) -> None:
        if destination.holding:
            return
        self._holding.pop(destination.number, None)
        if destination.missed and not self._probed_enough(destination):
            self._want_load(destination)

    def _probed_enough(self, destination: Destination) -> bool:
        """Its host is tried with one post at a time, and it has one under way, or one waiting which was not answered with an error."""
        if not destination.host.probing:
            return False
        return bool(destination.in_flight) or any(entry.position not in destination.suspects for entry in destination.queue)

    def _may_leap(self, destination: Destination) -> bool:
        return not destination.host.probing and len(destination.missed) < STRETCHES_MAX

    def _want_load(self, destination: Destination) -> None:
        destination.waits_in = line = self._line_of(destination)
        if destination.number in self._holding:
            line.appendleft(destination)
        else:
            line.append(destination)

    def _line_of(self, destination: Destination) -> deque[Destination]:
        return self._to_probe if destination.host.probing else self._to_load

    def _tell(self, destination: Destination) -> None:
        """From now on it is told what comes."""
        destination.following = True
        if destination.number in self.behind:
            self.behind -= Recipients.of([destination.number])

    def _follow(self, destination: Destination) -> None:
        self._tell(destination)
        if not destination.holding:
            self._holding.pop(destination.number, None)
        if destination.queue or destination.in_flight:
            self._journal.busy(destination)
        self._ledger.advance(destination)
        if not destination.joined:
            self._journal.changed(destination)

    def single(self, destination: Destination, position: int) -> None:
        """Read one post that is tried on its own."""
        self._singles.append(Load(destination, position - 1, position, single=True))

    def loads(self, now: Moment) -> list[Load]:
        """Which stretches of the log to read now."""
        found: list[Load] = []
        while self._loading < LOADS and self._singles:
            found.append(self._singles.popleft())
            self._loading += 1
        if self._to_load or self._to_probe:
            probing = sum(destination.host.probing for destination in self._holding.values())
            well = len(self._holding) - probing
            found += self._loads_of(self._to_load, self.limits.catching_up - well, now)
            places = self.limits.catching_up + self.limits.probes - len(self._holding)
            found += self._loads_of(self._to_probe, min(self.limits.probes - probing, places), now)
        return found

    def _loads_of(self, line: deque[Destination], places: int, now: Moment) -> list[Load]:
        """C{places}: how many more may hold something, besides those that do."""
        found: list[Load] = []
        for _ in range(len(line)):
            if self._loading >= LOADS:
                break
            destination = line.popleft()
            if destination.waits_in is not line:
                continue
            if places <= 0 and destination.number not in self._holding:
                line.appendleft(destination)
                break
            destination.waits_in = None
            if destination.abandoning or destination.loading or destination.host.waits(now):
                continue
            if destination.following and (not destination.missed or destination.holding):
                continue
            destination.loading = True
            destination.stale = False
            places -= destination.number not in self._holding
            self._holding[destination.number] = destination
            self._loading += 1
            found.append(self._next_load(destination))
        return found

    def _next_load(self, destination: Destination) -> Load:
        if not destination.following:
            return Load(destination, destination.read, min(destination.read + destination.reach, self._ledger.end))
        stretch = destination.missed[-1]
        return Load(destination, max(stretch.low - destination.reach, stretch.after), stretch.low, missed=stretch)

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
        if load.missed is not None:
            as_asked = load.missed in destination.missed and load.missed.low == load.upto and not destination.holding
        else:
            as_asked = destination.read == load.after
        if as_asked and not destination.abandoning and not destination.stale and not destination.host.waits(now):
            if load.missed is not None:
                self._take_in_missed(destination, load.missed, load, entries, now)
            else:
                self._take_in_next(destination, load, entries, now)
        if not destination.holding:
            self._holding.pop(destination.number, None)
        self._consider(destination, now)

    def _take_in_next(self, destination: Destination, load: Load, entries: Sequence[Entry], now: Moment) -> None:
        self._take_in(destination, load, entries, now)
        if destination.read >= self._ledger.end:
            self._follow(destination)
        self._ledger.advance(destination)

    def _take_in_missed(self, destination: Destination, stretch: Stretch, load: Load, entries: Sequence[Entry], now: Moment) -> None:
        pending = [entry for entry in entries if not destination.knows(entry.position) and entry.position not in destination.deferred]
        outlived = [(entry.position, over) for entry in pending if (over := self._outlived(entry, now))]
        gone = {position for position, _ in outlived}
        wanted = [entry for entry in pending if entry.position not in gone]
        low, excess = load.after, len(wanted) - CATCH_UP
        destination.reach = min(2 * destination.reach, RANGE)
        if excess > 0:
            low = wanted[excess - 1].position
            destination.reach = min(max(load.upto - low, CATCH_UP), RANGE)
        for position, (outcome, reason) in outlived:
            if position > low:
                self._ledger.finish(destination, position, outcome, reason)
        stretch.read(low, wanted[max(excess, 0) :], destination.in_flight)
        destination.missed = tuple(each for each in destination.missed if not each.over)
        self._journal.changed(destination)

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
                destination.reach = min(max(read - load.after, CATCH_UP), RANGE)
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
        if now.wall - entry.published_at > timedelta(seconds=self.limits.lifetime):
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
        """
        Give up what is pending: what is tried on its own at once, or with the attempt that is under way; the stretch of the log up to
        C{upto} when it has been counted.
        """
        destination.drop_queue()
        self._holding.pop(destination.number, None)
        self._journal.changed(destination)
        for position in [p for p in destination.deferred if p <= upto]:
            if position not in destination.in_flight:
                self._ledger.end_deferred(destination, position, outcome, reason)
            elif position not in destination.lapsed:
                destination.lapsed = (*destination.lapsed, position)
        destination.retries = tuple(entry for entry in destination.retries if entry.position > upto)
        if destination.abandoning:
            return
        for stretch in destination.missed:
            if stretch.after < upto:
                self._abandons.append(Abandon(destination, stretch.after, min(stretch.upto, upto), outcome, reason, stretch))
                destination.abandoning += 1
        if upto > destination.cursor:
            self._abandons.append(Abandon(destination, destination.cursor, upto, outcome, reason))
            destination.abandoning += 1
        if not destination.abandoning and not destination.wanted:
            self._tell(destination)

    def abandon_the_past(self, destination: Destination, outcome: str, reason: str) -> None:
        """Give up what there was before it was subscribed, or all of it if it takes nothing."""
        if not destination.wanted:
            self.abandon(destination, self._ledger.end, outcome, reason)
        elif (
            destination.cursor < destination.begin
            or any(stretch.after < destination.begin for stretch in destination.missed)
            or any(position <= destination.begin and position not in destination.in_flight for position in destination.deferred)
        ):
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
        destination, settled = abandon.destination, abandon.destination.ahead if abandon.missed is None else abandon.missed.done
        destination.abandoning -= 1
        self._counting -= 1
        known = sum(abandon.after < p <= abandon.upto for p in settled)
        for position in [p for p in destination.in_flight if abandon.after < p <= abandon.upto and p not in destination.deferred]:
            self._ledger.lapse(destination, position, abandon.reason, now)
            known += 1
        if abandon.missed is None:
            destination.give_up(abandon.upto)
        else:
            abandon.missed.give_up(abandon.upto)
            destination.missed = tuple(each for each in destination.missed if not each.over)
        self._journal.changed(destination)
        lost = max(posts - known, 0)
        if lost:
            self._ledger.count(destination, abandon.upto, abandon.outcome, abandon.reason, lost)
            self._journal.gap(Gap(destination.number, abandon.after, abandon.upto, lost, abandon.outcome, abandon.reason))
        if not destination.abandoning:
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
