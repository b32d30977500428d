"""What changed since it was last written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.record import Bounce, DeferredDelivery, Gap, Progress, State

LAZY_EVERY = 60.0
"""Seconds until the counts of a destination that just takes what it is sent are written down."""
PRESSING = 3
"""Posts that one of them took since the last time, after which it is time to write: at L{UNWRITTEN_MAX} it has to wait."""
TAKEN_MAX = 512
"""Posts above the shared position of which it is kept together who took them; of the others each row says it."""
SLICE = 500
"""Rows that are written at a time, as far as they can wait: ten thousand at once would hold up the reactor."""


class Journal:
    """
    Gathers what is to be written in one transaction.  What is taken counts as written, unless it comes back.

    A destination that changes often is written once, as it is then.  One that follows the log and takes all that names it has I{joined}: it
    is not written at all, but for its counts now and then; where it stands is the shared position, up to which all that have joined are
    settled, and what lies between its row and that position was delivered.  Of each post above the position that only some of them took
    there is one number that says who.

    @ivar followed: the shared position, as it was last taken.
    @ivar pressing: somebody took so much that is not written that it may soon have to wait for that.
    @ivar _taken: position -> who took it of those who had joined then.
    @ivar _told: the same, as it was last taken; C{None} if that may be not written.
    @ivar _unwritten: who took something since the last time.
    @ivar _writing: who took something that is in what was last taken, and how much.
    @ivar _left: who had joined, and in what was last taken does not any more: until that is written, their rows say that they do.
    """

    def __init__(self, followed: int = 0) -> None:
        self.followed = followed
        self._changed: dict[int, Destination] = {}
        self._taken: dict[int, int] = {}
        self._told: tuple[tuple[int, int], ...] | None = None
        self._unwritten: dict[int, Destination] = {}
        self._writing: list[tuple[Destination, int]] = []
        self.pressing = False
        self._lazy: dict[int, Destination] = {}
        self._lazy_since = 0.0
        self._due: dict[int, Destination] = {}
        self._busy: dict[int, Destination] = {}
        self._deferred: dict[tuple[int, int], DeferredDelivery] = {}
        self._over: set[tuple[int, int]] = set()
        self._gaps: list[Gap] = []
        self._bounces: dict[tuple[int, int], Bounce | str | None] = {}
        """As they are to be written, or only the reason; C{None}: it is tried once more."""
        self._requeueing: frozenset[tuple[int, int]] = frozenset()
        """Of what was last taken, and may be not written yet: posts that are tried once more."""
        self._moved = False
        self._number = 0
        self._left: frozenset[int] = frozenset()
        self._refreshed = followed

    def __bool__(self) -> bool:
        return bool(self._moved or self._changed or self._due or self._deferred or self._over or self._gaps or self._bounces)

    def moved(self) -> None:
        """The log grew, or somebody who has joined took something: the shared position may be further on."""
        self._moved = True

    def busy(self, destination: Destination) -> None:
        """It follows, and holds something that is not settled."""
        self._busy[destination.number] = destination

    def changed(self, destination: Destination) -> None:
        """It is not as it was written."""
        self._changed[destination.number] = destination

    def unwritten(self, destination: Destination) -> None:
        """It took a post: until that is written, the post is sent again if the relay is killed."""
        destination.unwritten += 1
        self._unwritten[destination.number] = destination
        if destination.unwritten >= PRESSING:
            self.pressing = True

    def delivered(self, destination: Destination, position: int, now: float) -> None:
        """It took a post, and nothing else happened to it."""
        self._moved = True
        if not (destination.joined and destination.following):
            self.changed(destination)
            return
        if not self._lazy:
            self._lazy_since = now
        self._lazy[destination.number] = destination
        others = self._taken.get(position, 0)
        if others or len(self._taken) < TAKEN_MAX:
            self._taken[position] = others | 1 << destination.number
        else:
            self.changed(destination)

    def refresh(self, destinations: Iterable[Destination]) -> None:
        """
        Write the rows of those that have joined and did not change since the last time: else the next start had to look at all that was
        published since then.
        """
        for destination in destinations:
            if destination.joined and destination.cursor < self._refreshed:
                self._due[destination.number] = destination
        self._refreshed = self.followed

    def deferred(self, entry: DeferredDelivery) -> None:
        """A post is tried on its own."""
        key = entry.destination, entry.position
        self._deferred[key] = entry
        self._over.discard(key)

    def over(self, destination: Destination, position: int) -> None:
        """It is no more."""
        key = destination.number, position
        self._deferred.pop(key, None)
        self._over.add(key)

    def bounced(self, destination: Destination, position: int, reason: str) -> None:
        """A post was refused."""
        key = destination.number, position
        self._bounces[key] = reason
        self._requeueing -= {key}

    def requeued(self, entry: DeferredDelivery) -> None:
        """A post that had been refused is tried once more."""
        self._bounces[entry.destination, entry.position] = None
        self.deferred(entry)

    def requeueing(self, number: int, position: int) -> bool:
        """That a post is tried once more may be not written yet: what is stored still says that it was refused."""
        key = number, position
        return key in self._requeueing or (key in self._bounces and self._bounces[key] is None)

    def gap(self, gap: Gap) -> None:
        """A stretch of the log was given up."""
        self._gaps.append(gap)

    def take(self, now: Moment, end: int, floor: float, everything: bool = False) -> Progress:
        """
        All of it; the journal is empty then.

        @param end: the log's end.
        @param floor: the lowest position that those who follow may still get.
        @param everything: also counts that would have time.
        """
        self._make_due(now.seconds, everything)
        self.followed = max(self.followed, self._settled_by_all(end, floor))
        chosen = self._choose(inf if everything else SLICE)
        had_joined = {destination.number for destination in chosen if destination.joined}
        for destination in chosen:
            destination.advance(end, floor)
            destination.joined = self._joins(destination, end, floor)
        self._left = frozenset(each.number for each in chosen if not each.joined and each.number in had_joined)
        self._requeueing = frozenset(key for key, bounce in self._bounces.items() if bounce is None)
        self._number += 1
        self._taken = {position: takers for position, takers in self._taken.items() if position > self.followed}
        self._begin_to_write()
        told, self._told = self._told, tuple(sorted(self._taken.items()))
        progress = Progress(
            tuple(destination.record(now) for destination in chosen),
            tuple(self._deferred.values()),
            tuple(self._over),
            tuple(self._gaps),
            self.followed,
            tuple(_dated(key, bounce, now) for key, bounce in self._bounces.items() if bounce is not None),
            tuple(self._requeueing),
            self._number,
            None if self._told == told else self._told,
        )
        self._deferred, self._over, self._gaps, self._bounces, self._moved = {}, set(), [], {}, False
        return progress

    def _begin_to_write(self) -> None:
        left = {number: each for number, each in self._unwritten.items() if number in self._changed}
        self._writing = [(each, each.unwritten) for number, each in self._unwritten.items() if number not in left]
        self._unwritten = left
        self.pressing = False

    def written(self) -> list[Destination]:
        """
        What was last taken is written.

        @return: who took some of that.
        """
        written, self._writing = self._writing, []
        for destination, posts in written:
            destination.unwritten -= posts
        return [destination for destination, _ in written]

    def _make_due(self, now: float, everything: bool) -> None:
        if not self._due and self._lazy and (everything or now - self._lazy_since >= LAZY_EVERY):
            self._due, self._lazy = self._lazy, {}
        if everything:
            self._due |= self._lazy
            self._lazy = {}

    def _choose(self, most: float) -> list[Destination]:
        """
        Whom to write now; they are out of the journal.

        Whoever had joined must be written, else the shared position would count for it (but for those that are not subscribed any more:
        the position counts for none of them, and rules may end thousands at once); so must those of whom something else is written.
        """
        tied = {number for keys in (self._deferred, self._over, self._bounces) for number, _ in keys}
        tied |= {gap.destination for gap in self._gaps}
        chosen = {number: each for number, each in self._changed.items() if (each.joined and each.subscribed) or number in tied}
        for rest in (self._changed, self._due):
            for number, destination in list(rest.items()):
                if number not in chosen and len(chosen) >= most:
                    break
                chosen[number] = destination
        for number in chosen:
            for kept in (self._changed, self._due, self._lazy):
                kept.pop(number, None)
        return [chosen[number] for number in sorted(chosen)]

    def _settled_by_all(self, end: int, floor: float) -> int:
        """Up to where all are settled that have joined, or could: one that is merely busy is not left behind."""
        shared = min(end, floor - 1)
        for number, destination in list(self._busy.items()):
            if not destination.following or not (destination.queue or destination.in_flight):
                del self._busy[number]
            elif destination.host.state is State.ACTIVE:
                upto = destination.upto(end, floor)
                if upto >= self.followed:
                    shared = min(shared, upto)
        return int(shared)

    def _joins(self, destination: Destination, end: int, floor: float) -> bool:
        if not destination.following or not destination.subscribed or destination.host.state is not State.ACTIVE:
            return False
        return destination.upto(end, floor) >= self.followed

    def put_back(self, progress: Progress, destinations: Mapping[int, Destination]) -> None:
        """
        It could not be written, or nobody knows whether it was: it belongs to what is taken next, as far as nothing newer is known.

        @param destinations: by number, as they are now.
        """
        for record in progress.destinations:
            destination = self._changed[record.number] = destinations[record.number]
            destination.joined = destination.joined or record.number in self._left
        for entry in progress.deferred:
            if entry.position in destinations[entry.destination].deferred:
                self._deferred.setdefault((entry.destination, entry.position), entry)
        self._over.update(key for key in progress.settled if key[1] not in destinations[key[0]].deferred)
        self._gaps[:0] = progress.gaps
        for bounce in progress.bounces:
            self._bounces.setdefault((bounce.destination, bounce.position), bounce)
        for key in progress.requeued:
            self._bounces.setdefault(key, None)
        self._unwritten.update((destination.number, destination) for destination, _ in self._writing)
        self._writing = []
        self._told = None
        self._moved = True


def _dated(key: tuple[int, int], bounce: Bounce | str, now: Moment) -> Bounce:
    return Bounce(*key, bounce, now.wall) if isinstance(bounce, str) else bounce
