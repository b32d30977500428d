"""
A destination: its place in the log, and what of the log it holds in memory.

Everything up to C{read} that names the destination is settled or in memory; everything up to C{cursor} is settled.  A destination that
I{follows} is pushed each new post, so C{read} is the log's end without being written down; one that is I{behind} reads ranges of the log.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Container
from itertools import chain
from math import inf

from socialrelay.scheduler.entry import Entry
from socialrelay.scheduler.host import Host
from socialrelay.scheduler.missed import Stretch
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, State

AHEAD_MAX = 1024
DOUBTS_MAX = 64
UNWRITTEN_MAX = 5
"""
Posts that a destination may have, or be about to get, without its being written down: what it is sent again if the relay is killed.  Where
its window is wider, as many as that.
"""

RANGE = 5000
"""Positions of the log that are read at a time, at most."""


class Destination:
    """
    @ivar begin: the log's end when it was subscribed anew, or closed: what it is named in up to there and did not get is given up.
    @ivar queue: waiting, in the order of the log.
    @ivar retries: posts that are tried on their own and are due.
    @ivar tried: no post above was ever begun to be sent.
    @ivar unsure: of what is not settled up to here, some may have been sent: it was so when the relay was started.
    @ivar doubtful: positions that were begun since, and nobody knows whether they arrived.
    @ivar missed: stretches below the cursor that it gets after what is new, the oldest first.
    @ivar late: what waits was missed and read from the log, or comes after such.
    @ivar joined: its row says that it follows: what it takes is written down with the shared position.
    @ivar in_flight: position -> what is being sent.
    @ivar ahead: settled positions above the cursor, ascending.
    @ivar deferred: position -> a post that is tried on its own.
    @ivar lapsed: of these, what was given up while it was under way: that attempt is the last.
    @ivar suspects: positions that got a 5xx answer since the host began to fail: the next probe takes another post.
    @ivar abandoning: stretches of the log that are being counted so as to be given up; meanwhile nothing is sent.
    @ivar alarm: monotonic seconds at which it is thought of again.
    @ivar unwritten: posts that it took, which is not known to be written down yet.
    @ivar waits_in: the line of those that are to read the log in which it stands, if it does.
    @ivar reach: positions to read the next time: few where many name it, so that what is read is also taken.
    @ivar stale: posts were cancelled since the stretch of the log that is on its way was asked for.
    """

    __slots__ = (
        "abandoning", "ahead", "alarm", "begin", "bounced", "cancelled", "cursor", "deferred", "delivered", "doubtful", "expired",
        "following", "host", "in_flight", "joined", "lapsed", "last_bounce", "late", "loading", "missed", "number", "protocol", "queue",
        "reach", "read", "ready", "requeued", "retries", "stale", "subscribed", "suspects", "tried", "unsure", "unwritten", "url",
        "waits_in",
    )  # fmt: skip

    def __init__(self, record: DestinationRecord, host: Host) -> None:
        self.number = record.number
        self.host = host
        self.protocol = record.protocol
        self.in_flight: dict[int, Entry] = {}
        self.deferred: dict[int, DeferredDelivery] = {}
        self.url = record.url
        self.subscribed = record.subscribed
        self.begin = record.begin
        self.lapsed: tuple[int, ...] = ()
        self.cursor = self.read = record.cursor
        self.ahead = list(record.ahead)
        self.delivered, self.bounced = record.delivered, record.bounced
        self.expired, self.cancelled = record.expired, record.cancelled
        self.requeued = record.requeued
        self.last_bounce = record.last_bounce
        self.tried = record.tried
        self.unsure = 0
        # A list, since it is short and mostly empty: ten thousand empty deques take 7 MB. An empty tuple is free, for what is rarely there.
        self.queue: list[Entry] = []
        self.retries: tuple[Entry, ...] = ()
        self.suspects: tuple[int, ...] = ()
        self.doubtful: tuple[int, ...] = ()
        self.missed = tuple(Stretch(after, upto, done) for after, upto, done in record.missed)
        self.joined = False
        self.alarm = inf
        self.reach = RANGE
        self.following = False
        self.loading = self.stale = self.ready = self.late = False
        self.unwritten = 0
        self.waits_in: object = None
        self.abandoning = 0

    def reopen(self, record: DestinationRecord) -> None:
        """It is subscribed anew. It counts on, and what it was not sent until now is not sent any more."""
        self.url = record.url
        self.subscribed = True
        self.begin = record.begin
        self.drop_queue()

    @property
    def limit(self) -> float:
        """Nothing above is begun: when much is settled above the cursor, what is below that comes first."""
        return self.ahead[-1] if len(self.ahead) >= AHEAD_MAX else inf

    def has_room(self) -> bool:
        """One more of what waits for it may be under way."""
        if self.unwritten and len(self.in_flight) + self.unwritten >= max(UNWRITTEN_MAX, self.host.feedback.width):
            return False
        return self.host.has_room(len(self.queue) + sum(len(stretch.waiting) for stretch in self.missed))

    @property
    def has_its_turn_late(self) -> bool:
        """What it would be sent next is nothing new."""
        return self.late or not self.queue

    @property
    def sendable(self) -> bool:
        """Something waits for it in memory."""
        return bool(self.queue or self.retries) or any(stretch.waiting for stretch in self.missed)

    @property
    def holding(self) -> bool:
        """It has posts in memory that were read from the log."""
        return any(stretch.out for stretch in self.missed) if self.following else bool(self.queue)

    @property
    def wanted(self) -> bool:
        """It takes posts, now or later."""
        return self.subscribed and self.host.state is not State.GONE

    def next_entry(self, held: Container[int] = ()) -> Entry | None:
        """
        What may be sent now: the first post whose author has none under way, so that each author's posts arrive in order.

        While the host is probed, a post that failed before is passed over if there is another.

        @param held: positions that are not to be begun now.
        """
        busy = {entry.author for entry in self.in_flight.values()}
        limit = self.limit
        retry = next((entry for entry in self.retries if entry.author not in busy and entry.position not in held), None)
        if retry is not None and not self.host.probing:
            return retry
        passed_over = retry
        for entry in chain(self.queue, *(stretch.waiting for stretch in reversed(self.missed))) if self.missed else self.queue:
            if entry.position > limit:
                break
            if entry.author in busy or entry.position in held:
                continue
            if entry.position not in self.suspects:
                return entry
            passed_over = passed_over or entry
        return passed_over if not self.in_flight else None

    def add(self, entry: Entry) -> None:
        """It waits, in the order of the log."""
        if not self.queue or self.queue[-1].position < entry.position:
            self.queue.append(entry)
        else:
            insort(self.queue, entry, key=lambda each: each.position)

    def take(self, entry: Entry) -> None:
        """It is under way."""
        if entry in self.retries:
            self.retries = tuple(other for other in self.retries if other is not entry)
        elif stretch := self.stretch_of(entry.position):
            stretch.waiting.remove(entry)
        else:
            self.queue.remove(entry)
            self.late = self.late and bool(self.queue)
        self.in_flight[entry.position] = entry
        self.tried = max(self.tried, entry.position)

    def withdraw(self, gone: Container[int]) -> list[int]:
        """Posts are wanted no more; those of them that waited, but for those that are tried on their own."""
        waiting = [entry.position for entry in self.queue if entry.position in gone]
        if waiting:
            self.queue = [entry for entry in self.queue if entry.position not in gone]
            self.late = self.late and bool(self.queue)
        if self.retries:
            self.retries = tuple(entry for entry in self.retries if entry.position not in gone)
        return waiting + [entry.position for stretch in self.missed for entry in stretch.waiting if entry.position in gone]

    def doubt(self, position: int) -> None:
        """A post was begun, and may or may not have arrived."""
        self.doubtful = (*(other for other in self.doubtful if other != position), position)
        if len(self.doubtful) > DOUBTS_MAX:
            self.unsure = max(self.unsure, *self.doubtful)
            self.doubtful = ()

    def may_have(self, position: int) -> bool:
        """It was sent a post that names it, or may have been."""
        return self.knows(position) or position in self.deferred or position <= self.unsure or position in self.doubtful

    def drop_queue(self) -> None:
        """Forget what waits in memory; the log has it."""
        self.queue.clear()
        for stretch in self.missed:
            stretch.forget()
        self.following = self.late = False
        self.read = self.cursor

    def settle(self, position: int, end: int, floor: float = inf) -> None:
        """
        A post is settled: the cursor moves as far as it may.

        @param end: the log's end.
        @param floor: the lowest position that those who follow may still get.
        """
        self.in_flight.pop(position, None)
        if self.doubtful:
            self.doubtful = tuple(other for other in self.doubtful if other != position)
        if position > self.cursor:
            insort(self.ahead, position)
        elif stretch := self.stretch_of(position):
            stretch.settle(position)
            self.missed = tuple(each for each in self.missed if not each.over)
        self.advance(end, floor)

    def advance(self, end: int, floor: float = inf) -> None:
        """Move the cursor to below the first unsettled post, or to where the destination has read if there is none."""
        upto = self.upto(end, floor)
        if upto > self.cursor:
            self.cursor = int(upto)
            if self.ahead and self.ahead[0] <= upto:
                self.ahead = [p for p in self.ahead if p > upto]

    def upto(self, end: int, floor: float = inf) -> float:
        """Everything up to here that names it is settled."""
        upto: float = max(min(end, floor - 1), self.read) if self.following else self.read
        for position in self.in_flight:
            if self.cursor < position <= upto and position not in self.deferred:
                upto = position - 1
        if self.queue and self.queue[0].position <= upto:
            upto = self.queue[0].position - 1
        return upto

    def stretch_of(self, position: int) -> Stretch | None:
        """The missed stretch in which a position lies."""
        return next((stretch for stretch in self.missed if position in stretch), None) if self.missed else None

    def knows(self, position: int) -> bool:
        """The post is settled or under way: reading the log again must not send it twice."""
        return position in self.in_flight or not self.pending(position)

    def pending(self, position: int) -> bool:
        """A post that names it is not settled, but for one that is tried on its own."""
        if position > self.cursor:
            return position not in self.ahead
        stretch = self.stretch_of(position)
        return stretch is not None and stretch.pending(position)

    def holds(self, position: int) -> bool:
        """It knows the post, has it waiting, or will come to it in what it missed."""
        return self.knows(position) or position <= self.cursor or any(entry.position == position for entry in self.queue)

    def give_up(self, upto: int) -> None:
        """Everything up to there is settled."""
        self.cursor = self.read = max(upto, self.cursor)
        self.ahead = [position for position in self.ahead if position > self.cursor]
        self.suspects = ()

    def leap(self, end: int) -> None:
        """Go on with what is new: what lies between is missed, and comes later, also what waits; what is under way goes on."""
        self.queue.clear()
        self.late = False
        self.missed = (*self.missed, Stretch(self.cursor, end, self.ahead))
        self.cursor = self.read = end
        self.ahead = []

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
            failing_since=None if host.failing_from is None else now.wall_at(host.failing_from),
            next_attempt=now.wall_at(host.next_attempt) if host.state in (State.DEFERRED, State.DEAD) else None,
            last_success=host.last_success,
            last_reason=host.last_reason,
            gone_answers=host.gone_answers,
            gone_since=None if host.gone_from is None else now.wall_at(host.gone_from),
            delivered=self.delivered,
            bounced=self.bounced,
            expired=self.expired,
            cancelled=self.cancelled,
            last_bounce=self.last_bounce,
            following=self.joined,
            tried=self.tried,
            missed=tuple((each.after, each.upto, tuple(sorted(each.done))) for each in self.missed),
            requeued=self.requeued,
            begin=self.begin,
        )
