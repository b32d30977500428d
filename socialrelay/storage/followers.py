"""
What destinations that follow the log were delivered between their row and the shared position.

Counted for all of them at once: the bitmaps of the posts are added like binary numbers on paper, a column for each destination.  Adding a
post costs two or three operations on numbers as long as a bitmap, however many destinations there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from attrs import frozen


@frozen
class Follower:
    """
    A row that says C{following}.

    @ivar cursor, ahead: as in L{socialrelay.scheduler.record.DestinationRecord}.
    """

    number: int
    cursor: int
    ahead: Collection[int] = ()


class FollowersTally:
    """
    Counts the posts that name each follower, but for those up to its cursor and those that it had settled ahead.

    @ivar after: no post up to this position matters.
    """

    def __init__(self, followers: Iterable[Follower]) -> None:
        self._followers = sorted(followers, key=lambda follower: follower.cursor, reverse=True)
        self._ahead: defaultdict[int, int] = defaultdict(int)
        for follower in self._followers:
            for position in follower.ahead:
                self._ahead[position] |= 1 << follower.number
        self.after = self._followers[-1].cursor if self._followers else 0
        self._waiting = list(self._followers)
        self._counting = 0
        self._columns: list[int] = []
        self._taken: list[tuple[int, bytes]] = []

    def add(self, position: int, recipients: bytes | memoryview) -> None:
        """One more post; they are told in the order of their positions."""
        while self._waiting and self._waiting[-1].cursor < position:
            self._counting |= 1 << self._waiting.pop().number
        carry = int.from_bytes(recipients, "little") & self._counting & ~self._ahead.get(position, 0)
        for place, column in enumerate(self._columns):
            if not carry:
                return
            self._columns[place], carry = column ^ carry, column & carry
        if carry:
            self._columns.append(carry)

    def add_taken(self, position: int, takers: bytes | memoryview) -> None:
        """
        A post above the shared position, of which only some of them are settled.

        @param takers: those who took it.
        """
        self.add(position, takers)
        self._taken.append((position, bytes(takers)))

    def settled(self, upto: int) -> list[dict[str, Any]]:
        """
        What is to be written: C{number}, C{ahead} above the shared position, and how many more were C{delivered}.

        @param upto: the shared position.
        """
        size = max((follower.number for follower in self._followers), default=0) // 8 + 1
        columns = [column.to_bytes(size, "little") for column in self._columns]
        return [
            {
                "number": follower.number,
                "delivered": sum((column[follower.number >> 3] >> (follower.number & 7) & 1) << n for n, column in enumerate(columns)),
                "ahead": self._ahead_of(follower, upto),
            }
            for follower in self._followers
        ]

    def _ahead_of(self, follower: Follower, upto: int) -> list[int]:
        place, bit = follower.number >> 3, 1 << (follower.number & 7)
        new = [position for position, takers in self._taken if place < len(takers) and takers[place] & bit]
        taken = {position for position in new if position > max(upto, follower.cursor)}
        return sorted(taken.union(position for position in follower.ahead if position > upto))
