"""What was said on the bus, page by page, and what comes next for those who wait for it."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from socialrelay.boundaries import BusPage, BusStore, Extent, Full, Replay, StoredMessage, TooOld
from socialrelay.bus.journal import Journal
from socialrelay.bus.topics import Topics
from socialrelay.bus.wire import MAX_PAGE, MAX_WAIT
from socialrelay.coalesce import Coalescing, Crowded

READS = 2
"""Pages that are read from the database at a time."""

AT_ONCE = 100
"""Different pages that may be asked for at a time by those who do not wait for what comes next."""

ASKING = 1000
"""Questions that may wait for pages to be read."""

_Look = tuple[list[StoredMessage], int, Extent]


@define(eq=False)
class _Reader:
    """
    Waits for what comes next.

    @ivar since: up to here there is nothing for it.
    @ivar news: fires when there may be something, or the time is over.
    """

    topic: str
    since: int
    news: Deferred[None]


class Replayer:
    """
    See L{Replay}.

    Those who ask for the same page at the same time share one look at the database.  Who waits looks again only when a message on one of
    its topics was committed, and at the end of its time.
    """

    def __init__(self, store: BusStore, journal: Journal, topics: Topics, clock: IReactorTime, waiting_readers: int) -> None:
        """@param waiting_readers: how many may wait for what comes next."""
        self.waiting_readers = waiting_readers
        self._store = store
        self._journal = journal
        self._own = topics.own("")
        self._clock = clock
        self._reads = DeferredSemaphore(READS)
        self._looks: Coalescing[_Look] = Coalescing(waiting_readers + AT_ONCE, waiting_readers + ASKING)
        self._readers: dict[_Reader, None] = {}
        self._stopped = False
        journal.watch(self._committed)

    @property
    def waiting(self) -> int:
        """How many wait for what comes next."""
        return len(self._readers)

    def page(self, since: int | None, topic: str = "", limit: int = MAX_PAGE, wait: float = 0.0) -> Deferred[BusPage]:
        """See L{Replay.page}."""
        return Deferred.fromCoroutine(self._page(since, topic, min(max(limit, 1), MAX_PAGE), min(max(wait, 0.0), MAX_WAIT)))

    def stop(self) -> None:
        """Let nobody wait any more: who does is told that there was nothing."""
        self._stopped = True
        for reader in [*self._readers]:
            self._wake(reader)

    async def _page(self, since: int | None, topic: str, limit: int, wait: float) -> BusPage:
        start = self._journal.last_seq if since is None else since
        found, looked, extent = await self._look(start, topic, limit)
        if start > extent.last_seq:
            raise ValueError(f"the last message has the number {extent.last_seq}, and {start} is beyond it: that is another relay's number")
        oldest = extent.oldest_own_seq if topic.startswith(self._own) else extent.oldest_seq
        if start + 1 < oldest:
            raise TooOld(oldest)
        looked = max(looked, start)
        if not found and wait > 0 and looked >= self._journal.last_seq:
            looked = await self._next(looked, topic, wait)
            found, further, extent = await self._look(looked, topic, limit)
            looked = max(looked, further)
        return BusPage(found, looked, max(extent.last_seq, looked), extent.oldest_seq, extent.oldest_own_seq)

    async def _next(self, since: int, topic: str, wait: float) -> int:
        """Wait for a message on these topics; up to where there is none."""
        if len(self._readers) >= self.waiting_readers:
            raise Full(f"{self.waiting_readers} readers wait already")
        if self._stopped:
            return since
        reader = _Reader(topic, since, Deferred())
        self._readers[reader] = None
        timer = self._clock.callLater(wait, self._wake, reader)
        try:
            await reader.news
        finally:
            self._readers.pop(reader, None)
            if timer.active():
                timer.cancel()
        return reader.since

    def _committed(self, topics: Collection[str] | None) -> None:
        for reader in [*self._readers]:
            if topics is None or any(topic.startswith(reader.topic) for topic in topics):
                self._wake(reader)
            else:
                reader.since = max(reader.since, self._journal.last_seq)

    def _wake(self, reader: _Reader) -> None:
        if self._readers.pop(reader, self) is None:
            reader.news.callback(None)

    async def _look(self, since: int, topic: str, limit: int) -> _Look:
        try:
            return await self._looks.ask(f"{since} {limit} {topic}", partial(self._read, since, topic, limit))
        except Crowded as crowded:
            raise Full(f"too many ask for what was said on the bus: {crowded}") from None

    async def _read(self, since: int, topic: str, limit: int) -> _Look:
        await self._reads.acquire()
        try:
            found, looked = await self._store.read(since, topic, limit)
            # Only afterwards: what is there then was there when it was read.
            return found, looked, await self._store.extent()
        finally:
            self._reads.release()


def plain_page(page: BusPage) -> dict[str, Any]:
    """A page as JSON says it, over HTTP and over the acknowledging socket."""
    return {
        "messages": [plain_message(message) for message in page.messages],
        "next": page.next,
        "last_seq": page.last_seq,
        "oldest_seq": page.oldest_seq,
        "oldest_own_seq": page.oldest_own_seq,
    }


def plain_message(message: StoredMessage) -> dict[str, Any]:
    """A message of a page."""
    return {
        "seq": message.seq,
        "msg_id": message.msg_id,
        "topic": message.topic,
        "body": message.body.decode("utf-8"),
        "received_at": message.received_at.isoformat(),
        "source": message.source,
    }


_conforms: type[Replay] = Replayer
