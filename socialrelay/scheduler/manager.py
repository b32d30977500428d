"""
The queue manager: which post goes to which destination, when.

It holds no timer and does no I/O. Whoever drives it says what happened and what time it is, and asks what is to be done::

    admit, loaded, ended, wake …   ->   take: what to send now
                                        loads: which stretch of the log to read
                                        abandons: which stretch to count and give up
                                        next_wake: when to ask again
                                        changes: what to write down

A destination follows the log until something keeps it from taking a post at once: then it is I{behind}, holds nothing in memory that the
log does not hold, and reads ranges of it when it can go on. So a dead node costs one row and one timer, whatever the traffic.

====================  =================================================================================================
what came back        what follows (L{outcome.judge} tells them apart)
====================  =================================================================================================
delivered             settled; the host is well
bounced               settled, counted; the host is well, but ten different posts refused in a row defer it
post later            two more tries on its own, then bounced; settled for the cursor, so that it holds up nothing
host failed           the host is deferred: nothing waits in memory, the cursor stands, one probe when the back-off is over
no receiver           the same, and its preferences are polled
gone                  the same; three times over at least a day: the host is gone, what was pending is cancelled
====================  =================================================================================================

The model is Postfix's queue manager (postfix:/postfix/README_FILES/SCHEDULER_README).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from math import inf

from socialrelay.scheduler.backoff import DEAD_PROBE, Backoff
from socialrelay.scheduler.destination import RANGE, Destination, Entry
from socialrelay.scheduler.host import Host
from socialrelay.scheduler.journal import Journal
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Abandon, Attempt, Event, Limits, Load, Settled, What
from socialrelay.scheduler.outcome import Effect, Judgement
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, Gap, Progress, State

QUEUE_MAX = 8
"""Posts that may wait in memory for a destination which follows; one more and it is behind."""
CATCH_UP = 32
"""Posts taken from such a range at a time."""
LOADS = 8
"""Ranges read at the same time."""
REFUSED_IN_A_ROW = 10
POST_TRIES = 3
POST_RETRY = 600.0
DEFERRED_POSTS_MAX = 50
WAKE_PAUSE = 60.0
PAUSE = 5.0
"""Seconds until what storage, or the relay itself, cut short is tried again."""
GONE_ANSWERS = 3
GONE_AFTER = timedelta(days=1)


class QueueManager:
    """
    @ivar end: the greatest position that was admitted.
    @ivar more: the last L{take} left some for the next.
    @ivar events: what happened, for whoever drives it to take away.
    @ivar settlements: likewise.
    """

    def __init__(self, limits: Limits, backoff: Backoff, post_backoff: Backoff, end: int) -> None:
        self.end = end
        self.in_flight = 0
        self.more = False
        self.events: list[Event] = []
        self.settlements: list[Settled] = []
        self._limits = limits
        self._backoff = backoff
        self._post_backoff = post_backoff
        self._probes = 0
        self._hosts: dict[str, Host] = {}
        self._at: dict[int, Destination] = {}
        self._of_host: dict[str, list[Destination]] = {}
        self._ready: deque[Destination] = deque()
        self._to_load: deque[Destination] = deque()
        self._singles: deque[Load] = deque()
        self._loading = 0
        self._holding: set[int] = set()
        self._abandons: deque[Abandon] = deque()
        self._counting = 0
        self._uncounted: list[Abandon] = []
        self._alarms: list[tuple[float, int, int]] = []
        self._journal = Journal()

    # Destinations come and go

    def open(self, record: DestinationRecord, now: Moment, deferred: Iterable[DeferredDelivery] = ()) -> None:
        """
        A destination begins to be served, or is subscribed anew.

        @param deferred: what of it is tried on its own.
        """
        host = self._hosts.get(record.host)
        if host is None:
            host = self._hosts[record.host] = Host(record.host, self._limits.window)
            host.restore(record, now, DEAD_PROBE)
        destination = self._at.get(record.number)
        if destination is None:
            destination = self._at[record.number] = Destination(record, host)
            self._of_host.setdefault(record.host, []).append(destination)
        else:
            destination.reopen(record)
            if host.state is not State.SUSPENDED:
                host.recovered()
            self._journal.changed(destination)
        for entry in deferred:
            destination.deferred[entry.position] = entry
            self._alarm(now.seconds_at(entry.next_attempt, DEAD_PROBE), record.number, entry.position)
        self._abandon_the_past(destination, "cancelled", "it takes nothing any more")
        self._consider(destination, now)

    def moved(self, number: int, url: str) -> None:
        """It wants to be sent to elsewhere."""
        self._at[number].url = url

    def close(self, number: int, reason: str) -> None:
        """It is subscribed no more: what is pending is cancelled."""
        destination = self._at[number]
        destination.subscribed = False
        self._abandon(destination, self.end, "cancelled", reason)

    # Posts come in

    def admit(self, entry: Entry, recipients: Iterable[int], now: Moment) -> None:
        """A post was published. One that is not newer than the log's end is left to those who read the log."""
        if entry.position <= self.end:
            return
        if entry.position > self.end + 1:
            self.extend(entry.position - 1, now)
        for number in recipients:
            destination = self._at.get(number)
            if destination is None or not destination.following:
                continue  # whoever is behind will read it in the log
            if not self._wanted(destination):
                self._cancel_new(destination, entry)
            elif len(destination.queue) < QUEUE_MAX:
                destination.queue.append(entry)
                self._consider(destination, now)
            else:
                self._fall_behind(destination)
        self.end = entry.position

    def extend(self, end: int, now: Moment) -> None:
        """
        The log is longer than what was admitted: somebody else wrote to it, or the answer to a commit was lost.

        Everybody reads what they were not told.
        """
        if end <= self.end:
            return
        for destination in self._at.values():
            if destination.following:
                self._fall_behind(destination)
        self.end = end
        for destination in self._at.values():
            self._abandon_the_past(destination, "cancelled", "it takes nothing any more")
            self._consider(destination, now)

    def _wanted(self, destination: Destination) -> bool:
        """It takes posts, now or later."""
        return destination.subscribed and destination.host.state is not State.GONE

    def _fall_behind(self, destination: Destination) -> None:
        destination.read = max(destination.read, self.end)
        destination.following = False

    def _cancel_new(self, destination: Destination, entry: Entry) -> None:
        """It follows, and takes nothing any more: a post that was already addressed to it is cancelled."""
        destination.cursor = destination.read = entry.position
        self._count(destination, entry.position, "cancelled", "it takes nothing any more")

    def cancel(self, positions: Collection[int], reason: str) -> None:
        """These posts are wanted no more; what is under way goes on."""
        gone = frozenset(positions)
        for destination in self._at.values():
            destination.stale = destination.loading
            for entry in [entry for entry in destination.queue if entry.position in gone]:
                destination.queue.remove(entry)
                self._settle(destination, entry.position, "cancelled", reason)
            for position in [p for p in destination.deferred if p in gone and p not in destination.in_flight]:
                self._end_deferred(destination, position, "cancelled", reason)
            for entry in [entry for entry in destination.retries if entry.position in gone]:
                destination.retries.remove(entry)

    # What is to be done

    def take(self, now: Moment, most: float = inf) -> list[Attempt]:
        """
        What to send now; it counts as under way.

        @param most: when it is so many, the others are left for the next time.
        """
        self._ring(now)
        attempts: list[Attempt] = []
        self.more = False
        for _ in range(len(self._ready)):
            if len(attempts) >= most:
                self.more = True
                break
            if self.in_flight >= self._limits.in_flight:
                break
            destination = self._ready.popleft()
            destination.ready = False
            attempts += self._take_from(destination, now)
        return attempts

    def _take_from(self, destination: Destination, now: Moment) -> list[Attempt]:
        host = destination.host
        attempts: list[Attempt] = []
        while host.has_room() and not host.waits(now) and self.in_flight < self._limits.in_flight:
            if host.probing and self._probes >= self._limits.probes:
                self._make_ready(destination)
                break
            entry = destination.next_entry()
            if entry is None:
                break
            destination.take(entry)
            host.in_flight += 1
            self.in_flight += 1
            self._probes += host.probing
            attempts.append(Attempt(destination, entry, host.cohort, host.probing))
        if self.in_flight >= self._limits.in_flight:
            self._make_ready(destination)
        else:
            self._consider_load(destination, now)
        return attempts

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
            found.append(Load(destination, destination.read, min(destination.read + destination.reach, self.end)))
        return found

    def abandons(self) -> list[Abandon]:
        """Which stretches of the log to count and give up."""
        found = [self._abandons.popleft() for _ in range(min(LOADS - self._counting, len(self._abandons)))]
        self._counting += len(found)
        return found

    def next_wake(self) -> float | None:
        """Monotonic seconds at which to ask again, if nothing happens before."""
        return self._alarms[0][0] if self._alarms else None

    # What came of it

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
        read, outlived = load.upto, []
        destination.reach = min(2 * destination.reach, RANGE)
        for entry in entries:
            if destination.knows(entry.position):
                continue
            if over := self._outlived(entry, now):
                outlived.append((entry.position, *over))
            elif len(destination.queue) < CATCH_UP:
                destination.queue.append(entry)
            else:
                read = entry.position - 1
                destination.reach = min(2 * max(read - load.after, CATCH_UP), RANGE)
                break
        destination.read = read
        for position, outcome, reason in outlived:  # after the queue is filled: settling moves the cursor up to it
            self._settle(destination, position, outcome, reason)
        destination.following = destination.read >= self.end
        destination.advance(self.end)
        if destination.dirty:
            self._journal.changed(destination)
        if destination.following or not destination.queue:
            self._holding.discard(destination.number)
        self._consider(destination, now)

    def load_failed(self, load: Load, now: Moment) -> None:
        """Storage could not be read: asked again in a while."""
        self._loading -= 1
        if load.single:
            self._alarm(now.seconds + PAUSE, load.destination.number, load.upto)
        else:
            load.destination.loading = False
            self._remember(load.destination, now.seconds + PAUSE)

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
        destination.suspects.clear()
        self._journal.changed(destination)
        if lost:
            self._count(destination, abandon.upto, abandon.outcome, abandon.reason, lost)
            self._journal.gap(Gap(destination.number, abandon.after, abandon.upto, lost, abandon.outcome, abandon.reason))
        self._abandon_the_past(destination, abandon.outcome, abandon.reason)
        self._consider(destination, now)

    def abandon_failed(self, abandon: Abandon, now: Moment) -> None:
        """Storage could not count it: asked again in a while."""
        self._counting -= 1
        self._uncounted.append(abandon)
        self._alarm(now.seconds + PAUSE, abandon.destination.number)

    def expired(self, attempt: Attempt, reason: str, now: Moment) -> None:
        """The post is not kept any more, or too old: it was not sent."""
        self._landed(attempt)
        self._finish(attempt.destination, attempt.entry.position, "expired", reason)
        self._consider(attempt.destination, now)

    def aborted(self, attempt: Attempt, now: Moment) -> None:
        """It was not sent, or cut off by ourselves: nothing is known. It is read from the log again in a while."""
        self._landed(attempt)
        destination, position = attempt.destination, attempt.entry.position
        if self._lapsed(attempt):
            self._finish(destination, position, "cancelled", "it takes nothing any more")
        elif position in destination.deferred:
            self._alarm(now.seconds + PAUSE, destination.number, position)
        else:
            self._drop(destination)
            self._remember(destination, now.seconds + PAUSE)

    def ended(self, attempt: Attempt, judgement: Judgement, now: Moment) -> None:
        """An attempt came to its end."""
        destination, position = attempt.destination, attempt.entry.position
        self._landed(attempt)
        effect = judgement.effect
        first = position not in destination.deferred
        lapsed = self._lapsed(attempt)
        if lapsed and effect not in (Effect.DELIVERED, Effect.BOUNCED):
            self._finish(destination, position, "cancelled", judgement.reason)
        if effect is Effect.DELIVERED:
            destination.host.refused = 0
            destination.host.last_success = now.wall
            self._well(destination)
            self._finish(destination, position, "delivered", judgement.reason)
            self._release_suspects(destination, judgement, now)
        elif effect is Effect.BOUNCED:
            self._well(destination)
            destination.suspects.clear()
            self._finish(destination, position, "bounced", judgement.reason)
            self._refused(destination, judgement, now, first)
        elif effect is Effect.POST_LATER:
            self._well(destination)
            destination.suspects.clear()
            if not lapsed:
                self._later(destination, position, judgement, now)
            self._refused(destination, judgement, now, first)
        elif position in destination.deferred and judgement.answered and effect is Effect.HOST_FAILED and not attempt.probe:
            self._later(destination, position, judgement, now, forever=True)
        else:
            self._host_failed(attempt, judgement, now)
        self._consider_host(destination.host, now)

    # Operators and signs of life

    def wake(self, host: str, now: Moment, reopen: bool = False) -> bool:
        """
        A sign of life: the host is tried now, at most once a minute.

        @param reopen: also if it had gone.
        @return: whether there is such a host.
        """
        known = self._hosts.get(host)
        if known is None:
            return False
        if known.state is State.GONE and reopen:
            known.state = State.DEFERRED
            known.gone_answers, known.gone_since = 0, None
            known.woken_at = -inf
        if known.probing and now.seconds - known.woken_at >= WAKE_PAUSE:
            known.woken_at = now.seconds
            known.next_attempt = now.seconds
            self._consider_host(known, now)
        return True

    def suspend(self, host: str) -> bool:
        """Send it nothing until it is resumed."""
        known = self._hosts.get(host)
        if known is None:
            return False
        known.state = State.SUSPENDED
        for destination in self._of_host[host]:
            self._drop(destination)
            self._journal.changed(destination)
        return True

    def resume(self, host: str, now: Moment) -> bool:
        """Go on, as with a host that is well."""
        known = self._hosts.get(host)
        if known is None:
            return False
        if known.state is not State.ACTIVE:
            known.recovered()
            for destination in self._of_host[host]:
                self._journal.changed(destination)
        self._consider_host(known, now)
        return True

    def of_host(self, host: str) -> Sequence[Destination]:
        """Its destinations."""
        return self._of_host.get(host, ())

    def all(self) -> Iterable[Destination]:
        """All destinations."""
        return self._at.values()

    # What to write down

    def changes(self, now: Moment, all_followers: bool = False) -> Progress:
        """
        What is to be written now, in one transaction; it counts as written, unless it comes back with L{restore}.

        @param all_followers: also the cursors of those that follow and had nothing to take: they would read the log since then anew after
            a restart.
        """
        if all_followers:
            for destination in self._at.values():
                if destination.following:
                    before = destination.cursor
                    destination.advance(self.end)
                    if destination.cursor > before:
                        self._journal.changed(destination)
        return self._journal.take(now)

    def restore(self, progress: Progress) -> None:
        """It could not be written: it belongs to the next changes."""
        self._journal.put_back(progress, self._at)

    @property
    def unsaved(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._journal)

    # Within

    def _alarm(self, at: float, number: int, position: int = -1) -> None:
        """Think of a destination, or of one of its deferred posts, at a monotonic time."""
        heapq.heappush(self._alarms, (at, number, position))

    def _remember(self, destination: Destination, at: float) -> None:
        """Think of a destination at a monotonic time; once, however often this is asked for."""
        if at < destination.alarm:
            destination.alarm = at
            self._alarm(at, destination.number)

    def _ring(self, now: Moment) -> None:
        while self._alarms and self._alarms[0][0] <= now.seconds:
            at, number, position = heapq.heappop(self._alarms)
            destination = self._at[number]
            if position < 0:
                if at >= destination.alarm:
                    destination.alarm = inf
                self._abandons += self._uncounted
                self._uncounted.clear()
                self._consider(destination, now)
            elif position in destination.deferred and position not in destination.in_flight:
                if not destination.host.waits(now):
                    self._singles.append(Load(destination, position - 1, position, single=True))
                else:
                    self._alarm(max(destination.host.next_attempt, now.seconds) + POST_RETRY, number, position)

    def _consider_host(self, host: Host, now: Moment) -> None:
        for destination in self._of_host[host.name]:
            self._consider(destination, now)

    def _consider(self, destination: Destination, now: Moment) -> None:
        """See what a destination needs: to send, or to read."""
        if destination.host.probing and destination.host.waits(now):
            self._remember(destination, destination.host.next_attempt)
        if destination.host.waits(now) or destination.abandoning:
            return
        if (destination.queue or destination.retries) and destination.host.has_room():
            self._make_ready(destination)
        self._consider_load(destination, now)

    def _make_ready(self, destination: Destination) -> None:
        if not destination.ready:
            destination.ready = True
            self._ready.append(destination)

    def _consider_load(self, destination: Destination, now: Moment) -> None:
        if destination.following or destination.loading or destination.wants_load or destination.abandoning:
            return
        if destination.read >= destination.limit:
            return
        if not destination.subscribed or len(destination.queue) >= QUEUE_MAX or destination.host.waits(now):
            return
        if destination.host.probing and (destination.in_flight or any(e.position not in destination.suspects for e in destination.queue)):
            return
        if destination.read >= self.end:
            destination.following = True
            self._holding.discard(destination.number)
            return
        destination.wants_load = True
        if destination.number in self._holding:
            self._to_load.appendleft(destination)
        else:
            self._to_load.append(destination)

    def _loaded_single(self, load: Load, entries: Sequence[Entry], now: Moment) -> None:
        destination = load.destination
        if load.upto not in destination.deferred:
            return
        over = self._outlived(entries[0], now) if entries else ("expired", "no longer kept")
        if over:
            self._end_deferred(destination, load.upto, *over)
        else:
            destination.retries.append(entries[0])
            self._consider(destination, now)

    def _outlived(self, entry: Entry, now: Moment) -> tuple[str, str] | None:
        """Why a post of the log is not sent any more: outcome and reason."""
        if entry.cancelled:
            return "cancelled", "no longer wanted"
        if (now.wall - entry.published_at).total_seconds() > self._limits.lifetime:
            return "expired", "older than the queue lifetime"
        return None

    def _landed(self, attempt: Attempt) -> None:
        self.in_flight -= 1
        self._probes -= attempt.probe
        attempt.destination.host.in_flight -= 1
        attempt.destination.in_flight.pop(attempt.entry.position, None)

    def _lapsed(self, attempt: Attempt) -> bool:
        """While it was under way the destination was given up, up to this post at least: this was its last attempt."""
        destination, position = attempt.destination, attempt.entry.position
        return not self._wanted(destination) or (position <= destination.cursor and position not in destination.deferred)

    def _drop(self, destination: Destination) -> None:
        """Hold nothing of it in memory, and have it read the log. What takes nothing any more goes on to be told what comes."""
        if self._wanted(destination) or not destination.following:
            destination.drop_queue()
            self._holding.discard(destination.number)

    def _count(self, destination: Destination, position: int, outcome: str, reason: str, posts: int = 1) -> None:
        setattr(destination, outcome, getattr(destination, outcome) + posts)
        if outcome == "bounced":
            destination.last_bounce = reason
        self._journal.changed(destination)
        self.settlements.append(Settled(outcome, destination.host.name, position, reason, posts))

    def _settle(self, destination: Destination, position: int, outcome: str, reason: str) -> None:
        destination.settle(position, self.end)
        self._count(destination, position, outcome, reason)

    def _finish(self, destination: Destination, position: int, outcome: str, reason: str) -> None:
        """A post is over, whether it was next in the log or tried on its own."""
        if position in destination.deferred:
            self._end_deferred(destination, position, outcome, reason)
        else:
            self._settle(destination, position, outcome, reason)

    def _end_deferred(self, destination: Destination, position: int, outcome: str, reason: str) -> None:
        del destination.deferred[position]
        self._journal.over(destination, position)
        self._count(destination, position, outcome, reason)

    def _defer_post(self, destination: Destination, position: int, attempts: int, delay: float, reason: str, now: Moment) -> None:
        entry = DeferredDelivery(destination.number, position, attempts, now.wall + timedelta(seconds=delay), reason)
        known = position in destination.deferred
        destination.deferred[position] = entry
        self._journal.deferred(entry)
        self._alarm(now.seconds + delay, destination.number, position)
        self._journal.changed(destination)
        if not known:
            destination.settle(position, self.end)
            if len(destination.deferred) > DEFERRED_POSTS_MAX and destination.host.state is State.ACTIVE:
                self._defer(destination.host, f"more than {DEFERRED_POSTS_MAX} posts fail on their own", None, now)

    def _later(self, destination: Destination, position: int, judgement: Judgement, now: Moment, forever: bool = False) -> None:
        """
        The post is tried again on its own.

        @param forever: until it is older than the queue lifetime, instead of three times.
        """
        known = destination.deferred.get(position)
        attempts = 1 if known is None else known.attempts + 1
        if attempts >= POST_TRIES and not forever:
            self._finish(destination, position, "bounced", judgement.reason)
            return
        delay = self._post_backoff.delay(attempts) if forever else POST_RETRY
        self._defer_post(destination, position, attempts, max(delay, judgement.wait or 0.0), judgement.reason, now)

    def _refused(self, destination: Destination, judgement: Judgement, now: Moment, first: bool) -> None:
        """C{first}: the post was not refused before."""
        host = destination.host
        host.refused += first
        if host.refused >= REFUSED_IN_A_ROW:
            host.refused = 0
            self._defer(host, f"{REFUSED_IN_A_ROW} posts refused in a row, the last with {judgement.reason}", None, now)
            self.events.append(Event(What.POLL, host.name))

    def _well(self, destination: Destination) -> None:
        host = destination.host
        if host.state is State.SUSPENDED:
            return
        if host.state is not State.ACTIVE:
            self.events.append(Event(What.BACK, host.name, failures=host.failures))
        host.recovered()
        self._journal.changed(destination)

    def _release_suspects(self, destination: Destination, judgement: Judgement, now: Moment) -> None:
        """The host takes posts: those that it answered with an error are tried on their own."""
        suspects, destination.suspects = destination.suspects, []
        for position in suspects:
            if position > destination.cursor and position not in destination.ahead and position not in destination.in_flight:
                waiting = [entry for entry in destination.queue if entry.position == position]
                for entry in waiting:
                    destination.queue.remove(entry)
                self._defer_post(destination, position, 1, self._post_backoff.delay(1), "HTTP 5xx while other posts are taken", now)

    def _host_failed(self, attempt: Attempt, judgement: Judgement, now: Moment) -> None:
        destination, host = attempt.destination, attempt.destination.host
        position = attempt.entry.position
        if position in destination.deferred:
            self._alarm(now.seconds + POST_RETRY, destination.number, position)
        elif judgement.answered and judgement.effect is Effect.HOST_FAILED and position not in destination.suspects:
            destination.suspects = [*destination.suspects[-DEFERRED_POSTS_MAX:], position]
        if attempt.cohort != host.cohort or host.state in (State.SUSPENDED, State.GONE):
            self._drop(destination)
            return
        if judgement.effect is Effect.GONE:
            host.gone_answers += 1
            host.gone_since = host.gone_since or now.wall
            if host.gone_answers >= GONE_ANSWERS and now.wall - host.gone_since >= GONE_AFTER:
                self._gone(host, judgement.reason)
                return
        self._defer(host, judgement.reason, judgement.wait, now)
        if judgement.effect in (Effect.NO_RECEIVER, Effect.GONE):
            self.events.append(Event(What.POLL, host.name))

    def _defer(self, host: Host, reason: str, wait: float | None, now: Moment) -> None:
        """The host failed: nothing for it stays in memory, and it is tried again after a while."""
        if host.state is State.SUSPENDED:
            return
        host.failures += 1
        host.cohort += 1
        host.failing_since = host.failing_since or now.wall
        host.last_reason = reason
        dead = (now.wall - host.failing_since).total_seconds() >= self._limits.lifetime
        delay = self._backoff.vary(DEAD_PROBE) if dead else max(self._backoff.delay(host.failures), wait or 0.0)
        was, host.state = host.state, State.DEAD if dead else State.DEFERRED
        host.next_attempt = now.seconds + delay
        if was is not host.state or host.failures == 1:
            self.events.append(Event(What(host.state.value), host.name, reason, delay, host.failures))
        for destination in self._of_host[host.name]:
            self._drop(destination)
            for entry in destination.retries:
                self._alarm(host.next_attempt + POST_RETRY, destination.number, entry.position)
            destination.retries.clear()
            self._remember(destination, host.next_attempt)
            self._journal.changed(destination)
            if dead and destination.subscribed:
                self._abandon(destination, self.end, "expired", "the node is dead")

    def _gone(self, host: Host, reason: str) -> None:
        host.state = State.GONE
        host.last_reason = reason
        self.events.append(Event(What.GONE, host.name, reason))
        for destination in self._of_host[host.name]:
            self._journal.changed(destination)
            self._abandon(destination, self.end, "cancelled", "the node says that it is gone")

    def _abandon_the_past(self, destination: Destination, outcome: str, reason: str) -> None:
        """Give up what there was before it was subscribed, or all of it if it takes nothing."""
        if not self._wanted(destination):
            self._abandon(destination, self.end, outcome, reason)
        elif destination.cursor < destination.begin:
            self._abandon(destination, destination.begin, outcome, reason)

    def _abandon(self, destination: Destination, upto: int, outcome: str, reason: str) -> None:
        """Give up what is pending: what is tried on its own at once, the stretch of the log up to C{upto} when it has been counted."""
        destination.drop_queue()
        self._holding.discard(destination.number)
        for position in [position for position in destination.deferred if position not in destination.in_flight]:
            self._end_deferred(destination, position, outcome, reason)
        destination.retries.clear()
        if upto > destination.cursor and not destination.abandoning:
            destination.abandoning = True
            self._abandons.append(Abandon(destination, destination.cursor, upto, outcome, reason))
        elif not destination.abandoning and not self._wanted(destination):
            destination.following = True
