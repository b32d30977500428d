"""
What a destination missed while it was away, when it gets what is new first: a stretch of the log, worked off from its end to its beginning.

A stretch lies below the destination's cursor: it is the exception to "everything up to the cursor is settled".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from socialrelay.scheduler.entry import Entry


class Stretch:
    """
    Positions after C{after} up to and with C{upto}.  Those above C{low} were read: they are settled, under way, or waiting.

    @ivar done: positions in it that are settled.
    @ivar out: positions that were read and are not settled.
    @ivar waiting: of these, what is not under way, the newest first.
    """

    __slots__ = ("after", "done", "low", "out", "upto", "waiting")

    def __init__(self, after: int, upto: int, done: Iterable[int] = ()) -> None:
        self.after = after
        self.upto = self.low = upto
        self.done = set(done)
        self.out: set[int] = set()
        self.waiting: list[Entry] = []

    def __contains__(self, position: int) -> bool:
        return self.after < position <= self.upto

    def pending(self, position: int) -> bool:
        """It lies in here and is not settled."""
        return position in self and position not in self.done

    def read(self, low: int, entries: list[Entry], under_way: Collection[int]) -> None:
        """
        The part down to C{low} was read.

        @param entries: what names the destination and is neither settled nor under way, in the order of the log.
        @param under_way: positions that were begun before.
        """
        self.waiting = entries[::-1]
        self.out = {entry.position for entry in entries} | {position for position in under_way if low < position <= self.upto}
        self.low = low
        self._shrink()

    def settle(self, position: int) -> None:
        """A post in it is settled."""
        self.done.add(position)
        self.out.discard(position)
        self.waiting = [entry for entry in self.waiting if entry.position != position]
        self._shrink()

    def forget(self) -> None:
        """Nothing of it is held in memory; what is under way still may be settled."""
        self.waiting = []
        self.out.clear()
        self.low = self.upto

    def give_up(self, upto: int) -> None:
        """What lies up to there is settled."""
        self.after = max(self.after, upto)
        self.waiting = [entry for entry in self.waiting if entry.position > upto]
        self.out = {position for position in self.out if position > upto}
        self.low = max(self.low, self.after)
        self._shrink()

    def _shrink(self) -> None:
        if not self.out:
            self.upto = self.low
        self.done = {position for position in self.done if position in self}

    @property
    def over(self) -> bool:
        """Nothing is left of it."""
        return self.upto <= self.after
