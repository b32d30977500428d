"""
Store, then publish: what the bus takes in gets a number, is committed, and only then leaves.

One batch is being committed while the one before it is told: its senders are answered, its messages are published.  Publication goes in
the order of the numbers and leaves none out: C{published} grows by one at a time.  What is not next after it stays until what lies between
has been read from the store, as it is at start, and after a commit of which nobody knows whether it took effect:

    =====================  ============================================================================
    the store says         then
    =====================  ============================================================================
    its numbers            senders are answered; what is new is published
    it is away             senders are told to come again; the rest stays, in order, and is tried again,
                           after what the store has and was not published has been published
    it refuses the batch   its messages are tried one by one; the one that is refused alone is given up
    =====================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.boundaries import Answer, BusMessage, BusStore, Kept, Unavailable
from socialrelay.boundaries.bus import OWN
from socialrelay.bus.counts import Counts
from socialrelay.bus.publication import Publication
from socialrelay.bus.queue import ROWS, Answered, Batch, Queue
from socialrelay.config import Bus
from socialrelay.sparing import Sparing
from socialrelay.unhurried import Unhurried

BACKOFF = (0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts while the store is away."""

TURN = 0.002
"""Seconds of telling; the next batch leaves meanwhile, a socket's buffer a turn of the reactor."""

IDLE = 1.0
"""Seconds after which it is noted up to where all is published, if no further batch did it."""

NO_ROOM = "too much waits to be kept"
AWAY = "the relay's database cannot be reached now"
"""For senders, anywhere; what the database said is the operator's."""

Watcher = Callable[[Collection[str] | None], None]


class Journal:
    """
    @ivar last_seq: the greatest number that is known to be given.
    @ivar queue: what is not committed yet.
    @ivar away: why the store takes nothing; empty while it may.
    @ivar commits: batches that were committed.
    @ivar commit_seconds: that their commits took, in all.
    @ivar last_batch: messages of the latest one.
    @ivar publication: for what is published without being kept.
    """

    _log = Logger()

    def __init__(
        self,
        store: BusStore,
        publish: Callable[[str, bytes], object],
        clock: IReactorTime,
        now: Callable[[], datetime],
        queue_bytes: int,
        unacknowledged: int,
        counts: Counts,
        remembered: int = Bus().remembered,
    ) -> None:
        """
        @param publish: given topic and body; returns at once.
        @param queue_bytes: that all that waits may take.
        @param unacknowledged: messages for whose answer somebody waits, at most.
        @param remembered: messages that are known again without the store, at least.
        """
        self.queue = Queue(queue_bytes, unacknowledged)
        self.last_seq = 0
        self.away = ""
        self.commits = self.last_batch = 0
        self.commit_seconds = 0.0
        self.publication = Publication(publish, counts, remembered)
        self._store = store
        self._clock = clock
        self._now = now
        self._counts = counts
        self._unhurried = Unhurried(clock.seconds, lambda: deferLater(clock, 0.0), TURN)
        self._sparing = Sparing(clock, lambda hidden: self._log.error("{count} more messages were refused by the database.", count=hidden))
        self._watchers: list[Watcher] = []
        self._drains: list[Deferred[None]] = []
        self._noted = 0
        self._failures = 0
        self._behind = False  # the store has what was not published and is not in hand
        self._running = self._working = self._stopped = False
        self._pause: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    @property
    def published(self) -> int:
        """Up to this number everything is published."""
        return self.publication.reached

    def keep(self, message: BusMessage, answered: Answered | None = None) -> bool:
        """
        Take a message in, to be stored and then published.

        @param answered: told what came of it, unless it is not taken.
        @return: false: it is not taken; there is no room, or somebody waits for an answer and the store is away.
        """
        if (self.away and answered is not None) or not self.queue.offer(message, answered):
            if message.source != OWN:  # the relay's own wait, and are offered again
                self._counts.refused[message.source] += 1
            return False
        if not self._working and self._running:
            self._begin()
        return True

    def watch(self, committed: Watcher) -> None:
        """
        Call this each time messages were committed.

        @param committed: given their topics; C{None}: they are not known.
        """
        self._watchers.append(committed)

    async def start(self) -> None:
        """
        Publish what is stored and was not published, and begin with what was taken in meanwhile.  A L{stop} ends it.

        @raise Unavailable: the store is away.
        """
        await self._catch_up()
        if self._stopped:
            return
        self._running = True
        if self.queue or self.published > self._noted:
            self._begin()

    def stop(self) -> None:
        """Begin nothing more; what waits is lost, but for what was told to come again."""
        self._running, self._stopped = False, True
        self._cancel_timer()
        self.wake()

    def wake(self) -> None:
        """The store may be back: try it now."""
        if self._pause is not None:
            self._cancel_timer()
            pause, self._pause = self._pause, None
            pause.callback(None)

    async def drain(self) -> None:
        """Ends when all that was taken in is stored and published, and that is noted; not before the store is back."""
        if self._working or self.queue:
            drained: Deferred[None] = Deferred()
            self._drains.append(drained)
            await drained
        await self._note()

    def _begin(self) -> None:
        # Not in this turn: what the reader of a socket has at hand is one batch.
        self._working = True
        self._cancel_timer()
        self._timer = self._clock.callLater(0, lambda: Deferred.fromCoroutine(self._work()).addErrback(self._broken))

    def _broken(self, failure: Failure) -> None:
        self._log.failure("The journal of the bus has failed; it goes on with what the store has.", failure)
        self._working, self._behind = False, True

    async def _work(self) -> None:
        told: Batch | None = None
        while told is not None or (self._running and (self.queue or self._behind)):
            if self._behind and told is None and not await self._caught_up():
                continue
            batch = self.queue.take() if self._running and not self._behind else None
            adding = self._add(batch) if batch is not None else None
            if told is not None:
                await self._tell(told)
                told = None
            if batch is not None and adding is not None:
                told = await self._committed(batch, adding)
        self._working = False
        if self._running:
            if self.published > self._noted:
                self._timer = self._clock.callLater(IDLE, lambda: Deferred.fromCoroutine(self._note()))
            drains, self._drains = self._drains, []
            for drained in drains:
                drained.callback(None)

    def _add(self, batch: Batch) -> Deferred[list[Kept]]:
        batch.began = self._clock.seconds()
        batch.noting = self.published
        return maybeDeferred(self._store.add, batch.messages, self._now(), batch.noting).addCallback(self._timed, batch)

    def _timed(self, kept: list[Kept], batch: Batch) -> list[Kept]:
        self.commits += 1
        self.commit_seconds += self._clock.seconds() - batch.began
        self.last_batch = len(batch.messages)
        return kept

    async def _committed(self, batch: Batch, adding: Deferred[list[Kept]]) -> Batch | None:
        """@return: the batch, if there is something to tell of it."""
        try:
            batch.kept = await adding
        except Unavailable as error:
            self.queue.put_back(batch)
            await self._turn_away(str(error))
            return None
        except Exception:
            self._refused(batch)
            return None
        self.last_seq = max(self.last_seq, *(kept.seq for kept in batch.kept))
        self._noted = max(self._noted, batch.noting)
        self.queue.leave(batch.entries)
        if self._failures:
            self._log.info("The bus stores messages again; {count} wait.", count=self.queue.waiting)
        self.away, self._failures = "", 0
        self._spread({message.topic for message in batch.messages})
        return batch

    async def _tell(self, batch: Batch) -> None:
        counts, before, seen = self._counts, self.published, 0
        async for (message, answered), place in self._unhurried.over(zip(batch.entries, batch.places, strict=True)):
            kept = batch.kept[place]
            first = place == seen
            seen += first
            # A number after what is published was given by an attempt whose answer was lost; what it has there may be another's.
            found = first and kept.duplicate and kept.seq > before
            new = first and (not kept.duplicate or found)
            (counts.kept if new else counts.duplicates)[message.source] += 1
            if answered is not None:
                self._answer(answered, Answer("ok" if new else "dup", kept.seq))
            if first and not self._behind:
                self._behind = found or not self.publication.offer(kept.seq, message.msg_id, message.topic, message.body, message.source)

    async def _turn_away(self, reason: str) -> None:
        """The store is away, and whether it took what it was given last is not known."""
        if not self._failures:
            told = reason.rstrip(".")
            self._log.warn("The bus cannot store messages: {reason}. {count} wait.", reason=told, count=self.queue.waiting)
        self.away, self._behind = AWAY, True
        async for message, answered in self._unhurried.over(self.queue.turn_away()):
            self._counts.refused[message.source] += 1
            self._answer(answered, Answer("busy", detail=AWAY))
        await self._wait()

    def _refused(self, batch: Batch) -> None:
        """The store refuses it for what one of its messages says."""
        if len(batch.entries) > 1:
            self.queue.put_back(batch, singly=True)
            return
        [(message, answered)] = batch.entries
        self._counts.invalid["not-stored"] += 1
        if self._sparing.shows():
            self._log.failure(
                "The database refuses the message {msg_id} on {topic}, which is given up.", msg_id=message.msg_id, topic=message.topic
            )
        self.queue.leave(batch.entries)
        self._answer(answered, Answer("bad", detail="the database refuses it"))

    async def _caught_up(self) -> bool:
        try:
            await self._catch_up()
        except Unavailable as error:
            await self._turn_away(str(error))
        except Exception:
            self._log.failure("The bus cannot read what is to be published; it tries again.")
            await self._wait()
        return not self._behind

    async def _catch_up(self) -> None:
        """Publish what is stored and was not published."""
        publication = self.publication
        extent = await self._store.extent()
        end = extent.last_seq
        self.last_seq = max(self.last_seq, end)
        self._noted = max(self._noted, extent.published)
        publication.reached = max(publication.reached, extent.published)
        while publication.reached < end and not self._stopped:
            found, looked = await self._store.read(publication.reached, "", ROWS)
            async for stored in self._unhurried.over(found):
                publication.reached = stored.seq - 1  # what is not there any more cannot be published
                publication.offer(stored.seq, stored.msg_id, stored.topic, stored.body, stored.source)
            progress = max(publication.reached, min(looked, end))
            publication.reached = progress if found or progress > publication.reached else end
        self._behind = False
        if not self.queue:
            self.away = ""  # a store that can be read may still take nothing: the next message, or the first that waits, will tell
        self._spread(None)

    async def _wait(self) -> None:
        if self._running:
            delay = BACKOFF[min(self._failures, len(BACKOFF) - 1)]
            self._failures += 1
            self._pause = Deferred()
            self._timer = self._clock.callLater(delay, self.wake)
            await self._pause

    async def _note(self) -> None:
        reached = self.published
        if reached > self._noted:
            try:
                await self._store.mark_published(reached)
            except Unavailable:
                return  # the next batch notes it
            self._noted = max(self._noted, reached)

    def _answer(self, answered: Answered | None, answer: Answer) -> None:
        try:
            if answered is not None:
                answered(answer)
        except Exception:
            self._log.failure("A sender could not be answered.")

    def _spread(self, topics: Collection[str] | None) -> None:
        for watcher in self._watchers:
            watcher(topics)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
