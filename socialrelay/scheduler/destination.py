"""
A destination: its place in the log, and what of the log it holds in memory.

Everything up to C{read} that names the destination is settled or in memory; everything up to C{cursor} is settled.  A destination that
I{follows} is pushed each new post, so C{read} is the log's end without being written down; one that is I{behind} reads ranges of the log.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from datetime import datetime
from math import inf
from typing import Protocol

from socialrelay.scheduler.host import Host
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, State

AHEAD_MAX = 1024

RANGE = 5000
"""Positions of the log that are read at a time, at most."""


class Entry(Protocol):
    """A post as the scheduler sees it (L{socialrelay.boundaries.LogEntry})."""

    @property
    def position(self) -> int: ...
    @property
    def author(self) -> str: ...
    @property
    def published_at(self) -> datetime: ...
    @property
    def cancelled(self) -> bool: ...


class Destination:
    """
    @ivar begin: the log's end when it was subscribed: what it is named in up to there and did not get is given up.
    @ivar queue: waiting, in the order of the log.
    @ivar retries: posts that are tried on their own and are due.
    @ivar in_flight: position -> what is being sent.
    @ivar ahead: settled positions above the cursor, ascending.
    @ivar deferred: position -> a post that is tried on its own.
    @ivar suspects: positions that got a 5xx answer since the host began to fail: the next probe takes another post.
    @ivar alarm: monotonic seconds at which it is thought of again.
    @ivar reach: positions to read the next time: few where many name it, so that what is read is also taken.
    @ivar stale: posts were cancelled since the stretch of the log that is on its way was asked for.
    """

    __slots__ = (
        "abandoning", "ahead", "alarm", "begin", "bounced", "cancelled", "cursor", "deferred", "delivered", "dirty", "expired",
        "following", "host", "in_flight", "last_bounce", "loading", "number", "protocol", "queue", "reach", "read", "ready", "retries",
        "stale", "subscribed", "suspects", "url", "wants_load",
    )  # fmt: skip

    def __init__(self, record: DestinationRecord, host: Host) -> None:
        self.number = record.number
        self.host = host
        self.protocol = record.protocol
        self.in_flight: dict[int, Entry] = {}
        self.deferred: dict[int, DeferredDelivery] = {}
        self.url = record.url
        self.subscribed = record.subscribed
        self.begin = self.cursor = self.read = record.cursor
        self.ahead = list(record.ahead)
        self.delivered, self.bounced = record.delivered, record.bounced
        self.expired, self.cancelled = record.expired, record.cancelled
        self.last_bounce = record.last_bounce
        # Lists, since they are short and mostly empty: ten thousand pairs of empty deques take 15 MB.
        self.queue: list[Entry] = []
        self.retries: list[Entry] = []
        self.suspects: list[int] = []
        self.alarm = inf
        self.reach = RANGE
        self.following = False
        self.loading = self.stale = self.wants_load = self.ready = self.abandoning = self.dirty = False

    def reopen(self, record: DestinationRecord) -> None:
        """It is subscribed anew. It counts on, and what it was not sent until now is not sent any more."""
        self.url = record.url
        self.subscribed = True
        self.begin = record.cursor
        self.drop_queue()

    @property
    def limit(self) -> float:
        """Nothing above is begun: when much is settled above the cursor, what is below that comes first."""
        return self.ahead[-1] if len(self.ahead) >= AHEAD_MAX else inf

    def next_entry(self) -> Entry | None:
        """
        What may be sent now: the first post whose author has none under way, so that each author's posts arrive in order.

        While the host is probed, a post that failed before is passed over if there is another.
        """
        busy = {entry.author for entry in self.in_flight.values()}
        limit = self.limit
        retry = next((entry for entry in self.retries if entry.author not in busy), None)
        if retry is not None and not self.host.probing:
            return retry
        passed_over = retry
        for entry in self.queue:
            if entry.position > limit:
                break
            if entry.author in busy:
                continue
            if entry.position not in self.suspects:
                return entry
            passed_over = passed_over or entry
        return passed_over if not self.in_flight else None

    def take(self, entry: Entry) -> None:
        """It is under way."""
        if self.retries and entry in self.retries:
            self.retries.remove(entry)
        else:
            self.queue.remove(entry)
        self.in_flight[entry.position] = entry

    def drop_queue(self) -> None:
        """Forget what waits in memory; the log has it."""
        self.queue.clear()
        self.following = False
        self.read = self.cursor

    def settle(self, position: int, end: int) -> None:
        """
        A post is settled: the cursor moves as far as it may.

        @param end: the log's end.
        """
        self.in_flight.pop(position, None)
        self.dirty = True
        if position > self.cursor:
            insort(self.ahead, position)
        self.advance(end)

    def advance(self, end: int) -> None:
        """Move the cursor to below the first unsettled post, or to where the destination has read if there is none."""
        read = max(end, self.read) if self.following else self.read
        upto = min([read, *(p - 1 for p in self.in_flight if p not in self.deferred), *(e.position - 1 for e in self._first())])
        if upto > self.cursor:
            self.cursor = upto
            self.dirty = True
            if self.ahead and self.ahead[0] <= upto:
                self.ahead = [p for p in self.ahead if p > upto]

    def _first(self) -> Iterable[Entry]:
        return (self.queue[0],) if self.queue else ()

    def knows(self, position: int) -> bool:
        """The post is settled or under way: reading the log again must not send it twice."""
        return position <= self.cursor or position in self.in_flight or position in self.ahead

    def record(self, now: Moment) -> DestinationRecord:
        """As it is to be stored."""
        host = self.host
        return DestinationRecord(
            number=self.number,
            host=host.name,
            protocol=self.protocol,
            url=self.url,
            cursor=self.cursor,
            subscribed=self.subscribed,
            state=host.state,
            ahead=tuple(self.ahead),
            failures=host.failures,
            failing_since=host.failing_since,
            next_attempt=now.wall_at(host.next_attempt) if host.state in (State.DEFERRED, State.DEAD) else None,
            last_success=host.last_success,
            last_reason=host.last_reason,
            gone_answers=host.gone_answers,
            gone_since=host.gone_since,
            delivered=self.delivered,
            bounced=self.bounced,
            expired=self.expired,
            cancelled=self.cancelled,
            last_bounce=self.last_bounce,
        )
