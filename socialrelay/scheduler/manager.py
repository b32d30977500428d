"""
The queue manager: which post goes to which destination, when.

It holds no timer and does no I/O. Whoever drives it says what happened and what time it is, and asks what is to be done::

    admit, loaded, ended, wake …   ->   take: what to send now
                                        loads: which stretch of the log to read
                                        abandons: which stretch to count and give up
                                        next_wake: when to ask again
                                        changes: what to write down

A destination follows the log until something keeps it from taking a post at once: then it is I{behind}, holds nothing in memory that the
log does not hold, and reads ranges of it when it can go on (L{Reader}). So a dead node costs one row and one timer, whatever the traffic.
What an answer means is in L{Reckoning}, what state a host is in in L{Breaker}, whose turn it is in L{Turns}.

The model is Postfix's queue manager (postfix:/postfix/README_FILES/SCHEDULER_README).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from math import inf

from socialrelay.routing.recipients import Recipients
from socialrelay.scheduler.alarms import WHOLE, Alarms
from socialrelay.scheduler.backoff import Backoff
from socialrelay.scheduler.breaker import POST_RETRY, Breaker
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.entry import Entry
from socialrelay.scheduler.journal import Journal
from socialrelay.scheduler.ledger import Ledger
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Abandon, Attempt, Event, Limits, Load, Settled
from socialrelay.scheduler.outcome import RETRY_AFTER_MAX, Judgement
from socialrelay.scheduler.pacing import Pacer
from socialrelay.scheduler.reader import QUEUE_MAX, Reader
from socialrelay.scheduler.reckoning import DEFERRED_POSTS_MAX, Reckoning
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, Progress, State
from socialrelay.scheduler.roster import Roster
from socialrelay.scheduler.turns import Turns

LATE_AT_ONCE = 32
"""Posts that were missed, and probes, begun between two looks at what is new."""
_OUTLIVED = "older than the queue lifetime, or than what is kept"
A_SECOND = timedelta(seconds=1)
NOT_BUSY = 0.5
"""Part of what may be under way in all: above it, what holds deliveries back is the relay and not the host's window."""


class QueueManager:
    """
    @ivar more: the last L{take} left some for the next.
    @ivar in_flight: deliveries under way.
    """

    def __init__(self, limits: Limits, backoff: Backoff, post_backoff: Backoff, end: int, pacer: Pacer | None = None) -> None:
        """
        @param backoff: for hosts.
        @param post_backoff: for single posts.
        @param end: the log's end.
        @param pacer: spreads what is new over time; without one it all goes out at once.
        """
        self.in_flight = 0
        self.more = False
        self._limits = limits
        self._pacer = Pacer(0.0, lambda numbers: None) if pacer is None else pacer
        self._roster = Roster(limits.window)
        self._alarms = Alarms()
        self._turns = Turns()
        self._journal = Journal(followed=end)
        self._ledger = Ledger(self._journal, self._alarms, self._pacer, end)
        self._reader = Reader(limits, self._ledger, self._alarms, self._pacer, self._consider)
        self._breaker = Breaker(limits.lifetime, backoff, self._roster, self._ledger, self._reader, self._alarms, self._consider)
        self._reckoning = Reckoning(limits.window, post_backoff, self._ledger, self._reader, self._breaker, self._alarms)
        self._probes = 0
        self._late = 0
        self._held: set[int] = set()
        self._bodies: dict[int, int] = {}
        self._body_bytes = 0
        self._too_big: dict[int, Destination] = {}
        """Who waits until there is room for the body of its next post."""
        self._bytes_freed = False

    @property
    def limits(self) -> Limits:
        """What there may be."""
        return self._limits

    @property
    def probes(self) -> int:
        """Deliveries under way to hosts that are deferred or dead."""
        return self._probes

    @property
    def late(self) -> int:
        """Deliveries under way of posts that were missed."""
        return self._late

    @property
    def body_bytes(self) -> int:
        """Bytes of the different posts that are under way."""
        return self._body_bytes

    @property
    def longest(self) -> float:
        """Seconds that a delivery may take, at most."""
        return self._limits.timeout

    @property
    def paced(self) -> int:
        """Deliveries of new posts that wait for their time."""
        return self._pacer.deliveries

    @property
    def end(self) -> int:
        """The greatest position that was admitted."""
        return self._ledger.end

    def adjust(self, limits: Limits) -> None:
        """Other limits hold from now on; what is under way goes on."""
        self._limits = self._reader.limits = limits
        self._breaker.lifetime = limits.lifetime
        self._roster.window = self._reckoning.window = limits.window
        for destination in self._roster.all():
            feedback = destination.host.feedback
            feedback.width = min(feedback.width, limits.window)

    # Destinations come and go

    def open(self, record: DestinationRecord, now: Moment, deferred: Iterable[DeferredDelivery] = ()) -> None:
        """
        A destination begins to be served, or is subscribed anew.

        @param deferred: what of it is tried on its own.
        """
        destination = self._roster.at.get(record.number)
        if destination is None:
            destination = self._roster.add(record, now)
            if record.next_attempt is not None and now.wall_at(destination.host.next_attempt) < record.next_attempt - A_SECOND:
                self._journal.changed(destination)  # it was stored by a clock that was ahead, and would be so again after the next start
            destination.unsure = self.end if _was_being_tried(record, now) else record.tried
            destination.tried = max(destination.tried, destination.unsure)
        else:
            destination.reopen(record)
            destination.unsure = self.end
            if destination.host.state is not State.SUSPENDED:
                destination.host.recovered()
            self._journal.changed(destination)
        for entry in deferred:
            destination.deferred[entry.position] = entry
            self._alarms.put(now.seconds_at(entry.next_attempt, RETRY_AFTER_MAX), record.number, entry.position)
        self._reader.abandon_the_past(destination, "cancelled", "it takes nothing any more")
        self._consider(destination, now)

    def moved(self, number: int, url: str) -> None:
        """It wants to be sent to elsewhere."""
        self._roster.at[number].url = url

    def close(self, number: int, reason: str) -> None:
        """It is subscribed no more: what is pending is cancelled."""
        destination = self._roster.at[number]
        destination.subscribed = False
        self._reader.abandon(destination, self.end, "cancelled", reason)

    # Posts come in

    def admit(self, entry: Entry, recipients: Iterable[int], now: Moment) -> None:
        """A post was published. One that is not newer than the log's end is left to those who read the log."""
        if entry.position <= self.end:
            return
        if entry.position > self.end + 1:
            self.extend(entry.position - 1, now)
        following, behind = [], []
        # With thousands of dead destinations, to pass over each of them for each post was a seventh of what a delivery cost.
        everybody = recipients if isinstance(recipients, Recipients) else Recipients.of(recipients)
        for number in everybody - self._reader.behind:
            destination = self._roster.at.get(number)
            if destination is None or not destination.following:
                behind.append(number)  # it will read it in the log
            elif destination.wanted:
                following.append(number)
            else:
                self._cancel_new(destination, entry)
        if behind:
            self._reader.behind |= Recipients.of(behind)
        at_once, rushed = self._pacer.admit(entry, following, now.seconds)
        for older, numbers in rushed:
            self._release_to(older, numbers, now)
        fallen = self._push(entry, at_once)
        self._ledger.end = entry.position
        self._journal.moved()
        for destination in fallen:
            self._consider(destination, now)

    def _release_to(self, entry: Entry, numbers: Iterable[int], now: Moment) -> None:
        """A post that was paced goes out to some more, as far as they have not come to it by reading the log."""
        for destination in self._push(entry, [n for n in numbers if not self._roster.at[n].holds(entry.position)]):
            self._consider(destination, now)

    def _push(self, entry: Entry, numbers: Iterable[int]) -> list[Destination]:
        """It goes out to these now if they still follow the log; those that can take no more, and fall behind."""
        fallen = []
        for number in numbers:
            destination = self._roster.at[number]
            if not destination.following or not destination.wanted:
                continue
            if len(destination.queue) < QUEUE_MAX:
                destination.add(entry)
                self._journal.busy(destination)
                if destination.has_room():
                    self._turns.add(destination)
            else:
                self._reader.fall_behind(destination, entry.position)
                fallen.append(destination)
        return fallen

    def _cancel_new(self, destination: Destination, entry: Entry) -> None:
        """It follows, and takes nothing any more: a post that was already addressed to it is cancelled."""
        destination.cursor = destination.read = entry.position
        self._ledger.count(destination, entry.position, "cancelled", "it takes nothing any more")

    def extend(self, end: int, now: Moment) -> None:
        """
        The log is longer than what was admitted: somebody else wrote to it, or the answer to a commit was lost.

        Everybody reads what they were not told.
        """
        if end <= self.end:
            return
        for destination in self._roster.all():
            if destination.following:
                self._reader.fall_behind(destination)
        self._ledger.end = end
        for destination in self._roster.all():
            self._reader.abandon_the_past(destination, "cancelled", "it takes nothing any more")
            self._consider(destination, now)

    # Posts are taken back

    def hold(self, position: int, recipients: Iterable[int]) -> frozenset[int]:
        """
        Nobody is begun with this post from now on, until L{release} or L{cancel}.

        @param recipients: whom the post names.
        @return: those of them that were sent it, or may have been, and are still to be sent to.
        """
        self._held.add(position)
        destinations = filter(None, map(self._roster.at.get, recipients))
        return frozenset(each.number for each in destinations if each.wanted and each.may_have(position))

    def release(self, position: int, now: Moment) -> None:
        """It may be begun again."""
        self._held.discard(position)
        for destination in self._roster.all():
            self._consider(destination, now)

    def cancel(self, positions: Collection[int], reason: str, now: Moment, recipients: Iterable[int] | None = None) -> None:
        """
        These posts are wanted no more; what is under way goes on.

        @param recipients: whom they name, if that is known: else everybody is looked at, and an author may take back post after post.
        """
        gone = frozenset(positions)
        self._held -= gone
        for position in gone:
            for number in self._pacer.drop(position):
                destination = self._roster.at[number]
                if destination.following and not destination.holds(position):
                    self._ledger.finish(destination, position, "cancelled", reason)
        for destination in self._roster.all() if recipients is None else filter(None, map(self._roster.at.get, recipients)):
            destination.stale = destination.loading
            waiting = destination.withdraw(gone)
            for position in waiting:
                self._ledger.finish(destination, position, "cancelled", reason)
            for position in [p for p in destination.deferred if p in gone and p not in destination.in_flight]:
                self._ledger.end_deferred(destination, position, "cancelled", reason)
            if waiting:
                self._consider(destination, now)

    def expire(self, upto: int) -> None:
        """What of the log is too old up to a position, or not kept any more, is given up for those who have not come to it."""
        for destination in self._roster.all():
            outlived = not destination.following and destination.cursor < upto
            outlived = outlived or any(stretch.after < upto for stretch in destination.missed)
            if destination.wanted and outlived:
                self._reader.abandon(destination, upto, "expired", _OUTLIVED)
            for position in [p for p in destination.deferred if p <= upto and p not in destination.in_flight]:
                self._ledger.end_deferred(destination, position, "expired", _OUTLIVED)

    # What is to be done

    def take(self, now: Moment, most: float = inf) -> list[Attempt]:
        """
        What to send now; it counts as under way.

        @param most: when it is so many, the others are left for the next time.
        """
        self._ring(now)
        for entry, numbers in self._pacer.due(now.seconds):
            self._release_to(entry, numbers, now)
        self._look_at_bodies()
        attempts: list[Attempt] = []
        late = 0
        while self.in_flight < self._limits.in_flight and len(attempts) < most:
            rest = late < LATE_AT_ONCE
            destination = self._turns.next(rest and self._late < self._limits.late, rest and self._probes < self._limits.probes)
            if destination is None:
                break
            attempt = self._begin(destination, now)
            if attempt is not None:
                attempts.append(attempt)
                late += attempt.late or attempt.probe
        self.more = len(attempts) >= most or late >= LATE_AT_ONCE
        return attempts

    def _look_at_bodies(self) -> None:
        """Those that waited for room for a body have their turn when there is more than there was."""
        if self._bytes_freed and self._too_big:
            for destination in self._too_big.values():
                self._turns.add(destination)
            self._too_big.clear()
        self._bytes_freed = False

    def _begin(self, destination: Destination, now: Moment) -> Attempt | None:
        """Begin with its next post, if it may have one; it has another turn after the others."""
        host = destination.host
        if not destination.has_room() or host.waits(now):
            return None
        entry = destination.next_entry(self._held)
        if entry is None:
            self._reader.consider(destination, now)
            return None
        if not self._has_bytes(entry):
            self._too_big[destination.number] = destination
            return None
        attempt = Attempt(
            destination,
            entry,
            host.cohort,
            host.probing,
            destination.has_its_turn_late and not host.probing,
            now.seconds,
            host.feedback.patience(self._limits.timeout),
        )
        destination.take(entry)
        self._count(attempt, 1)
        if attempt.probe:
            self._journal.changed(destination)  # that it was tried must be known, should this be the relay's last act
        if destination.sendable and destination.has_room():
            self._turns.add(destination)
        if not destination.following or destination.missed:
            self._reader.consider(destination, now)
        return attempt

    def _has_bytes(self, entry: Entry) -> bool:
        return not self._bodies or entry.position in self._bodies or self._body_bytes + entry.size <= self._limits.body_bytes

    def _count(self, attempt: Attempt, by: int) -> None:
        """One more is under way, or one less."""
        position, size = attempt.entry.position, attempt.entry.size
        self.in_flight += by
        self._probes += by * attempt.probe
        self._late += by * attempt.late
        attempt.destination.host.in_flight += by
        using = self._bodies.get(position, 0) + by
        if using == 0:
            del self._bodies[position]
            self._body_bytes -= size
            self._bytes_freed = True
        else:
            self._bodies[position] = using
            self._body_bytes += size if using == by else 0

    def loads(self, now: Moment) -> list[Load]:
        """Which stretches of the log to read now."""
        return self._reader.loads(now)

    def abandons(self) -> list[Abandon]:
        """Which stretches of the log to count and give up."""
        return self._reader.abandons()

    def next_wake(self) -> float | None:
        """Monotonic seconds at which to ask again, if nothing happens before."""
        times = [time for time in (self._alarms.next, self._pacer.next) if time is not None]
        return min(times, default=None)

    # What came of it

    def loaded(self, load: Load, entries: Sequence[Entry], now: Moment) -> None:
        """
        A stretch was read.

        @param entries: the posts in it that name the destination, in order.
        """
        self._reader.loaded(load, entries, now)

    def load_failed(self, load: Load, now: Moment) -> None:
        """Storage could not be read: asked again in a while."""
        again = self._reader.load_failed(load, now)
        if again is not None:
            self._breaker.remember(load.destination, again)

    def abandoned(self, abandon: Abandon, posts: int, now: Moment) -> None:
        """
        A stretch was counted.

        @param posts: how many posts in it name the destination.
        """
        self._reader.abandoned(abandon, posts, now)

    def abandon_failed(self, abandon: Abandon, now: Moment) -> None:
        """Storage could not count it: asked again in a while."""
        self._reader.abandon_failed(abandon, now)

    def expired(self, attempt: Attempt, reason: str, now: Moment) -> None:
        """The post is not kept any more, or too old: it was not sent."""
        self._landed(attempt)
        self._reckoning.expired(attempt, reason)
        self._breaker.consider_host(attempt.destination.host, now)

    def aborted(self, attempt: Attempt, now: Moment) -> None:
        """It was not sent, or cut off by ourselves: nothing is known. It is read from the log again in a while."""
        self._landed(attempt)
        waits = self._reckoning.aborted(attempt, now)
        for destination in self._roster.of_host(attempt.destination.host.name):
            if destination is not attempt.destination or not waits:
                self._consider(destination, now)

    def ended(self, attempt: Attempt, judgement: Judgement, now: Moment) -> None:
        """An attempt came to its end."""
        host = attempt.destination.host
        full = host.in_flight >= host.feedback.width and self.in_flight < NOT_BUSY * self._limits.in_flight
        self._landed(attempt)
        self._reckoning.ended(attempt, judgement, full, now)
        self._breaker.consider_host(host, now)

    def _landed(self, attempt: Attempt) -> None:
        self._count(attempt, -1)
        attempt.destination.in_flight.pop(attempt.entry.position, None)

    # Operators and signs of life

    def wake(self, host: str, now: Moment, reopen: bool = False) -> bool:
        """See L{Breaker.wake}."""
        return self._breaker.wake(host, now, reopen)

    def suspend(self, host: str) -> bool:
        """See L{Breaker.suspend}."""
        return self._breaker.suspend(host)

    def resume(self, host: str, now: Moment) -> bool:
        """See L{Breaker.resume}."""
        return self._breaker.resume(host, now)

    def requeue(self, destination: Destination, position: int, now: Moment) -> str:
        """
        A post that bounced is tried once more, on its own, from now on.

        @param position: of a post that is stored as bounced there.
        @return: why not, as a part of a sentence; empty if so.
        """
        if not destination.wanted:
            return "it takes nothing now"
        if position in destination.deferred or destination.pending(position) or self._journal.requeueing(destination.number, position):
            return "it is to be tried already"
        if len(destination.deferred) >= DEFERRED_POSTS_MAX:
            return f"{DEFERRED_POSTS_MAX} posts are tried on their own there, which is as many as may be"
        self._ledger.requeue(destination, position, "requeued by the operator", now)
        return ""

    def of_host(self, host: str) -> Sequence[Destination]:
        """Its destinations."""
        return self._roster.of_host(host)

    def all(self) -> Iterable[Destination]:
        """All destinations."""
        return self._roster.all()

    # What to tell and to write down

    def news(self) -> tuple[list[Event], list[Settled]]:
        """What happened, and what was settled, since this was last asked."""
        news = self._breaker.events, self._ledger.settlements
        self._breaker.events, self._ledger.settlements = [], []
        return news

    def changes(self, now: Moment, everything: bool = False) -> Progress:
        """
        What is to be written now, in one transaction. Either L{written} or L{restore} is called before the next.

        @param everything: also counts that would have time.
        """
        return self._journal.take(now, self.end, self._pacer.floor, everything)

    def refresh(self) -> None:
        """The rows of those that nothing happened to are to be written, too: to be asked for once an hour or so."""
        self._journal.refresh(self._roster.all())

    def written(self, now: Moment) -> None:
        """The last changes are written: whoever had to wait for that goes on."""
        for destination in self._journal.written():
            if destination.sendable:
                self._consider(destination, now)

    def restore(self, progress: Progress) -> None:
        """It could not be written: it belongs to the next changes."""
        self._journal.put_back(progress, self._roster.at)

    @property
    def unsaved(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._journal)

    @property
    def pressing(self) -> bool:
        """Whether it is to be written at once: else destinations may have to wait."""
        return self._journal.pressing

    # Within

    def _ring(self, now: Moment) -> None:
        for at, number, position in self._alarms.ringing(now.seconds):
            destination = self._roster.at[number]
            if position == WHOLE:
                if at >= destination.alarm:
                    destination.alarm = inf
                self._reader.count_again()
                self._consider(destination, now)
            elif position in destination.deferred and position not in destination.in_flight:
                if not destination.host.waits(now):
                    self._reader.single(destination, position)
                else:
                    self._alarms.put(max(destination.host.next_attempt, now.seconds) + POST_RETRY, number, position)

    def _consider(self, destination: Destination, now: Moment) -> None:
        """See what a destination needs: to send, or to read."""
        host = destination.host
        if host.probing and host.waits(now):
            self._breaker.remember(destination, host.next_attempt)
        if host.waits(now) or destination.abandoning:
            return
        if destination.sendable and destination.has_room():
            self._turns.add(destination)
        self._reader.consider(destination, now)


def _was_being_tried(record: DestinationRecord, now: Moment) -> bool:
    """When the relay died it may have been sending more to this destination than had been written down."""
    if record.state in (State.DEFERRED, State.DEAD):
        return record.next_attempt is None or record.next_attempt <= now.wall
    return record.state is State.ACTIVE
