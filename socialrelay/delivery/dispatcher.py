"""
The service that drives the queue manager: tells it the time, sends what it says, reads what it asks for, writes down what it settles.

One alarm and one write are under way at most; storage that fails is asked again.  Everything that happens ends in a I{turn}: sends, reads
and the next alarm, all of them asked of the manager; turns that are asked for in one reactor iteration are one turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.boundaries import Destinations, DestinationStatus, LogEntry, Outcome, PostLog, Transport, Unavailable
from socialrelay.bounds import Bound, bound_of
from socialrelay.config import Memory
from socialrelay.delivery import standing
from socialrelay.delivery.announcing import Failed, result_of
from socialrelay.delivery.bodies import BodyCache
from socialrelay.delivery.outcomes import RecentOutcomes
from socialrelay.federation import FederationProtocol
from socialrelay.histogram import Histogram
from socialrelay.rounds import Rounds
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.manager import QueueManager
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Abandon, Attempt, Event, Load, Settled
from socialrelay.scheduler.outcome import Effect, Reply, judge
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, Progress, State
from socialrelay.services import reason_of

DURATIONS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
"""Bounds of the histogram of attempts, in seconds."""
AT_ONCE = 64
"""Deliveries begun before the reactor has its turn."""
FEW = 16
"""
The same while answers come faster than they are taken in: else those under way become more and more, and so do connections and memory.
"""
SAVE_PAUSE = 0.25
"""Seconds from a change until it is written, if nobody waits for that."""
SAVE_RETRY = 2.0
EXPIRE_EVERY = 600.0
"""Seconds between looking for what became too old while its destination could not take it."""
REFRESH_EVERY = 3600.0
"""Seconds between writing the rows of destinations that nothing happens to."""
RESYNC_EVERY = 30.0
RESYNC_SOON = 1.0
AFTER_A_BUG = 1.0
"""Seconds after which a turn that broke is tried again."""
COUNTED = 100_000
"""Positions of the log that are counted by one query."""
STOP_STORAGE = 2.0
"""Seconds that a stop waits for what storage is still asked."""


class Dispatcher:
    """
    Delivers what is in the log to those whom it names.

    @ivar on_event: told what the queue manager reports.
    @ivar on_settled: told of each post that is over at a destination.
    @ivar on_queued: told of each new post, and of how many want it.
    @ivar on_failed: told of each attempt that did not end with a delivery.
    @ivar wanted: pairs of a new post and a destination, since the start.
    @ivar looks: how often it looks for the log's end.
    @ivar saves: how often it is written down how far everybody has come, or found that all is.
    @ivar durations: how long attempts took, in seconds.
    @ivar results: what came back, and how often: C{2xx}, or the name of a trouble.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], datetime],
        manager: QueueManager,
        log: PostLog,
        destinations: Destinations,
        transport: Transport,
        protocols: Mapping[str, FederationProtocol],
        bodies: BodyCache,
        lifetime: float,
        on_event: Callable[[Event], None],
        on_settled: Callable[[Settled], None],
        on_queued: Callable[[LogEntry, int], None] = lambda entry, wanted: None,
        on_failed: Callable[[Failed, Moment], None] = lambda failed, now: None,
        behind: Callable[[], bool] = lambda: False,
        outcomes: int = Memory().outcomes,
    ) -> None:
        """
        @param behind: whether answers come faster than they are taken in.
        @param outcomes: hosts whose latest failures are kept.
        """
        self._clock = clock
        self._now = now
        self._manager = manager
        self._posts = log
        self._destinations = destinations
        self._transport = transport
        self._protocols = protocols
        self._bodies = bodies
        self._lifetime = timedelta(seconds=lifetime)
        self._on_event = on_event
        self._on_settled = on_settled
        self._on_queued = on_queued
        self._on_failed = on_failed
        self._behind = behind
        self.wanted = 0
        self.looks = Rounds("looking for the log's end", RESYNC_EVERY, clock.seconds)
        self.saves = Rounds("writing the progress of deliveries", RESYNC_EVERY, clock.seconds)
        self.durations = Histogram(DURATIONS)
        self.results: Counter[str] = Counter()
        self._outcomes = RecentOutcomes(outcomes)
        self._running = False
        self._turn: IDelayedCall | None = None
        self._alarm: IDelayedCall | None = None
        self._save: IDelayedCall | None = None
        self._save_from = 0.0
        self._work: set[Deferred[object]] = set()
        self._sending: dict[Attempt, Deferred[None]] = {}
        self._saving: Deferred[bool | None] | None = None
        self._expire_at = self._refresh_at = 0.0
        self._resync_at = 0.0
        self._seen = 0

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (bound_of("outcomes", lambda: self._outcomes.hosts),)

    def adjust(self, lifetime: float) -> None:
        """Posts that are older than so many seconds are given up from now on."""
        self._lifetime = timedelta(seconds=lifetime)
        self._expire_at = self._clock.seconds()
        self._soon()

    # Life

    def start(self) -> None:
        """Begin to deliver."""
        self._running = True
        self.looks.begun()
        self.saves.begun()
        self._expire_at = self._clock.seconds()
        self._refresh_at = self._clock.seconds() + REFRESH_EVERY
        self._resync_at = self._clock.seconds() + RESYNC_EVERY
        self._soon()

    async def stop(self, grace: float) -> None:
        """
        Begin nothing new, let what is under way end, write down how far everybody has come.

        @param grace: seconds after which what is under way is cut off; it is unsettled then, and sent again after the next start.
        """
        self._running = False
        self.looks.stopped()
        self.saves.stopped()
        for call in (self._turn, self._alarm, self._save):
            if call is not None and call.active():
                call.cancel()
        await self._end_all(list(self._sending.values()), grace)
        for sending in list(self._sending.values()):
            sending.cancel()
        await self._end_all([*self._work, *filter(None, [self._saving])], STOP_STORAGE)
        self._manager_turn_is_over()
        if self._saving is None:
            await self._write(everything=True)
        else:  # of two at a time the one that is done first could say more than is true without the other
            self._log.warn("What was delivered last could not be written down: after the next start it is sent again.")

    async def _end_all(self, under_way: Sequence[Deferred[Any]], grace: float) -> None:
        """Wait for them, at most so many seconds; none of them is cancelled."""
        if not under_way:
            return
        over: Deferred[None] = Deferred()
        left = len(under_way)

        def one_ended(result: object) -> object:
            nonlocal left
            left -= 1
            if not left and not over.called:
                over.callback(None)
            return result

        for deferred in under_way:
            deferred.addBoth(one_ended)
        timer = self._clock.callLater(grace, lambda: None if over.called else over.callback(None))
        await over
        if timer.active():
            timer.cancel()

    # What others tell it

    def published(self, entry: LogEntry, recipients: Collection[int], body: bytes) -> None:
        """A post got its position; they are told in the order of the positions."""
        self.wanted += len(recipients)
        self._bodies.put(entry.position, body)
        self._manager.admit(entry, recipients, self._moment())
        self._on_queued(entry, len(recipients))
        self._soon()

    def uncertain(self) -> None:
        """A post may have got a position without our knowing: look how long the log is."""
        self._resync_soon()
        self._soon()

    def open(self, record: DestinationRecord, deferred: Iterable[DeferredDelivery] = ()) -> None:
        """Serve a destination from now on."""
        self._manager.open(record, self._moment(), deferred)
        self._soon()

    def moved(self, number: int, url: str) -> None:
        """It wants to be sent to elsewhere."""
        self._manager.moved(number, url)

    def close(self, number: int, reason: str) -> None:
        """Serve it no longer; what is pending is cancelled."""
        self._manager.close(number, reason)
        self._soon()

    def hold(self, position: int, recipients: frozenset[int]) -> frozenset[int]:
        """
        A post is about to be taken back: nobody is begun with it from now on, until L{release} or L{cancel}.

        @param recipients: whom the post names.
        @return: those of them that were sent it, or may have been, and are still served.
        """
        return self._manager.hold(position, recipients)

    def release(self, position: int) -> None:
        """It may go out again."""
        self._manager.release(position, self._moment())
        self._soon()

    def cancel(self, positions: Sequence[int], reason: str, recipients: Iterable[int] | None = None) -> None:
        """
        These posts are wanted no more.

        @param recipients: whom they name, if that is known; it saves looking at everybody.
        """
        for position in positions:
            self._bodies.discard(position)
        self._manager.cancel(positions, reason, self._moment(), recipients)
        self._soon()

    def alive(self, host: str, reopen: bool = False) -> None:
        """A sign of life."""
        if self._manager.wake(host, self._moment(), reopen):
            self._soon()

    # The operator's side: boundaries.Queue

    def wake(self, host: str) -> bool:
        """Try it now."""
        known = self._manager.wake(host, self._moment(), reopen=True)
        self._soon()
        return known

    def suspend(self, host: str) -> bool:
        """Hold back what is for it."""
        known = self._manager.suspend(host)
        self._soon()
        return known

    def resume(self, host: str) -> bool:
        """Send to it again."""
        known = self._manager.resume(host, self._moment())
        self._soon()
        return known

    def requeue(self, host: str, position: int) -> str:
        """Try a post that bounced once more."""
        found = self._manager.of_host(host)
        refused = self._manager.requeue(found[0], position, self._moment()) if found else "nothing was ever delivered to it"
        self._soon()
        return refused

    def destination(self, host: str) -> DestinationStatus | None:
        """How it stands with a host."""
        found = self._manager.of_host(host)
        return self._status(found[0]) if found else None

    def destinations(self) -> list[DestinationStatus]:
        """How it stands with all; thousands take a while."""
        return [self._status(destination) for destination in self._manager.all()]

    def outcomes(self, host: str) -> Sequence[Outcome]:
        """How the last attempts ended that did not end well."""
        return self._outcomes.of(host)

    def summary(self, served: Callable[[str], bool]) -> dict[str, int]:
        """All in numbers."""
        return standing.summary(self._manager.all(), self._manager.end, served)

    def worst(self, state: State | None, limit: int, served: Callable[[str], bool]) -> tuple[list[DestinationStatus], int]:
        """Those of a state, or in trouble."""
        chosen, left_out = standing.worst(self._manager.all(), self._manager.end, state, limit, served)
        return [self._status(destination) for destination in chosen], left_out

    def _status(self, destination: Destination) -> DestinationStatus:
        return standing.status_of(destination, self._manager.end, self._manager.longest, self._moment())

    @property
    def paced(self) -> int:
        """Deliveries of new posts that wait for their time."""
        return self._manager.paced

    @property
    def in_flight(self) -> int:
        """Deliveries under way."""
        return self._manager.in_flight

    # A turn

    def _moment(self) -> Moment:
        return Moment(self._clock.seconds(), self._now())

    def _soon(self) -> None:
        if self._running and self._turn is None:
            self._turn = self._clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        now = self._moment()
        try:
            self._do_what_is_due(now)
        except Exception:  # a bug: without another turn nothing would ever be delivered again
            self._log.failure("A turn of the delivery failed; the next one comes.")
            self._set_alarm(AFTER_A_BUG)

    def _do_what_is_due(self, now: Moment) -> None:
        self._look_after_the_log(now)
        self._send(self._manager.take(now, FEW if self._behind() else AT_ONCE))
        if self._manager.more:
            self._soon()
        for load in self._manager.loads(now):
            self._keep(self._load(load))
        for abandon in self._manager.abandons():
            self._keep(self._abandon(abandon))
        self._set_alarm(self._until_something_is_due(now))
        self._save_soon()
        self._manager_turn_is_over()

    def _manager_turn_is_over(self) -> None:
        events, settlements = self._manager.news()
        for event in events:
            self._on_event(event)
        for settled in settlements:
            self._on_settled(settled)

    def _until_something_is_due(self, now: Moment) -> float:
        times = [self._expire_at, self._resync_at]
        if (wake := self._manager.next_wake()) is not None:
            times.append(wake)
        return max(min(times) - now.seconds, 0.0)

    def _set_alarm(self, seconds: float) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = self._clock.callLater(seconds, self._soon)

    def _keep(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run it on its own; what it raises is a bug of ours."""
        work: Deferred[object] = Deferred.fromCoroutine(coroutine)
        self._work.add(work)

        def over(result: object) -> None:
            self._work.discard(work)
            if isinstance(result, Failure):
                self._log.failure("A step of the delivery failed", failure=result)
            self._soon()

        work.addBoth(over)

    # Sending

    def _send(self, attempts: Sequence[Attempt]) -> None:
        missing: list[Attempt] = []
        for attempt in attempts:
            body = self._bodies.get(attempt.entry.position)
            if body is None:
                missing.append(attempt)
            else:
                self._transfer(attempt, body)
        if missing:
            self._keep(self._fetch_and_send(missing))

    async def _fetch_and_send(self, attempts: Sequence[Attempt]) -> None:
        try:
            bodies = await self._posts.bodies({attempt.entry.position for attempt in attempts})
        except Exception as error:
            for attempt in attempts:
                self._manager.aborted(attempt, self._moment())
            _raise_a_bug(error)
            return
        for position, body in bodies.items():
            self._bodies.put(position, body)
        for attempt in attempts:
            found = bodies.get(attempt.entry.position)
            if found is None:
                self._manager.expired(attempt, "its body is not kept any more", self._moment())
            elif self._running:
                self._transfer(attempt, found)
            else:
                self._manager.aborted(attempt, self._moment())

    def _transfer(self, attempt: Attempt, body: bytes) -> None:
        transfer = maybeDeferred(self._begin_transfer, attempt, body)
        over: Deferred[None] = Deferred(lambda _: transfer.cancel())
        self._sending[attempt] = over
        transfer.addCallbacks(self._replied, self._cut_off, callbackArgs=(attempt,), errbackArgs=(attempt,))
        transfer.addBoth(self._sent, attempt, over)

    def _begin_transfer(self, attempt: Attempt, body: bytes) -> Deferred[Reply]:
        request = self._protocols[attempt.destination.protocol].delivery(attempt.destination.url, body)
        return self._transport.send(request, attempt.timeout)

    def _replied(self, reply: Reply, attempt: Attempt) -> None:
        now = self._moment()
        self.durations.observe(now.seconds - attempt.begun)
        self.results[result_of(reply)] += 1
        judgement = judge(reply)
        if judgement.effect is Effect.DELIVERED:
            self._manager.ended(attempt, judgement, now)
            return
        self._outcomes.note(attempt.destination.host.name, attempt.entry.position, judgement, now.wall)
        failed = Failed.of(attempt, reply, judgement)
        self._manager.ended(attempt, judgement, now)
        self._on_failed(failed, now)

    def _cut_off(self, failure: Failure, attempt: Attempt) -> None:
        if self._running:
            self._log.failure("A transfer to {host} failed", failure=failure, host=attempt.destination.host.name)
        self._manager.aborted(attempt, self._moment())

    def _sent(self, result: object, attempt: Attempt, over: Deferred[None]) -> None:
        if isinstance(result, Failure):
            self._log.failure("What came of a delivery to {host} was lost", failure=result, host=attempt.destination.host.name)
        self._sending.pop(attempt, None)
        if not over.called:
            over.callback(None)
        self._soon()

    # Reading the log

    async def _load(self, load: Load) -> None:
        try:
            entries = await self._posts.read(load.destination.number, load.after, load.upto)
        except Exception as error:
            self._manager.load_failed(load, self._moment())
            _raise_a_bug(error)
        else:
            self._manager.loaded(load, entries, self._moment())

    async def _abandon(self, abandon: Abandon) -> None:
        posts = 0
        try:
            for after in range(abandon.after, abandon.upto, COUNTED):
                posts += await self._posts.pending(abandon.destination.number, after, min(after + COUNTED, abandon.upto))
        except Exception as error:
            self._manager.abandon_failed(abandon, self._moment())
            _raise_a_bug(error)
        else:
            self._manager.abandoned(abandon, posts, self._moment())

    def _look_after_the_log(self, now: Moment) -> None:
        if now.seconds >= self._resync_at:
            self._resync_at = now.seconds + RESYNC_EVERY
            self._keep(self._resync())
            if not self._manager.unsaved:
                self.saves.went_well()
        if now.seconds >= self._expire_at:
            self._expire_at = now.seconds + EXPIRE_EVERY
            self._keep(self._expire())
        if now.seconds >= self._refresh_at:
            self._refresh_at = now.seconds + REFRESH_EVERY
            self._manager.refresh()

    async def _expire(self) -> None:
        """Give up what is too old, also for those that nobody reads the log for; later, and the rows that say how much it is are gone."""
        try:
            upto = await self._posts.oldest(self._now() - self._lifetime)
        except Unavailable:
            return
        self._manager.expire(upto)

    def _resync_soon(self) -> None:
        self._resync_at = min(self._resync_at, self._clock.seconds() + RESYNC_SOON)

    async def _resync(self) -> None:
        """Read how long the log is. What was there the last time already, and we have not been told of meanwhile, we never will be."""
        try:
            end = await self._posts.end()
        except Exception as error:
            self.looks.went_wrong(reason_of(error))
            self._resync_soon()
            _raise_a_bug(error)
            return
        self.looks.went_well()
        self._manager.extend(self._seen, self._moment())
        self._seen = end
        if end > self._manager.end:
            self._resync_soon()

    # Writing down

    def _save_soon(self) -> None:
        if not self._running or self._saving is not None or not self._manager.unsaved:
            return
        now = self._clock.seconds()
        at = max(now if self._manager.pressing else now + SAVE_PAUSE, self._save_from)
        if self._save is None:
            self._save = self._clock.callLater(at - now, self._begin_save)
        elif at < self._save.getTime():
            self._save.reset(at - now)

    def _begin_save(self) -> None:
        self._save = None
        self._saving = Deferred.fromCoroutine(self._write())
        self._saving.addErrback(lambda failure: self._log.failure("Progress could not be written", failure=failure))
        self._saving.addBoth(self._saved)

    def _saved(self, written: bool | None) -> None:
        self._saving = None
        if not written:
            self._save_from = self._clock.seconds() + SAVE_RETRY
        self._save_soon()

    async def _write(self, everything: bool = False) -> bool:
        """Write what changed; whether it is written."""
        progress: Progress = self._manager.changes(self._moment(), everything)
        try:
            await self._destinations.save(progress)
        except Exception as error:
            self._manager.restore(progress)
            self.saves.went_wrong(reason_of(error))
            _raise_a_bug(error)
            self._log.debug("Progress is not written now: {reason}", reason=str(error))
            return False
        self.saves.went_well()
        self._manager.written(self._moment())
        self._soon()
        return True


def _raise_a_bug(error: Exception) -> None:
    """That storage is away now belongs to life; whatever else was raised is to be seen in the log."""
    if not isinstance(error, Unavailable):
        raise error
