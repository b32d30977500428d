"""How many bodies are taken in hand at a time: as many as are settled within a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from socialrelay.boundaries import Condition

PROMPT = 0.3
"""Seconds within which a body is to be settled."""

AT_FIRST = 128
FEWEST = 16
MOST = 2000

RELIEF = 0.75
"""Once one was refused, others are until no more than this part of the limit is in hand."""

AT_ONCE = 16
"""
Bodies that are taken in one turn of the event loop, in an overload: to read one costs as much as to refuse ten, and those who are refused
are to learn it soon.
"""

LATELY = 1.0
"""Seconds from when as many were in hand as may be, for which that is an overload."""

QUIET = 10.0
"""Seconds without a refusal after which an overload is over."""


class Admission:
    """
    Refuses while what is in hand would take too long, whatever the reason is: signatures, the database, or the event loop itself.

    What counts is how long bodies take.  While they take longer than L{PROMPT} and enough are in hand for that to be the reason, fewer are
    taken at a time; while they take half as long and there could be more, more are.

    @ivar in_hand: bodies that are not settled.
    @ivar limit: how many there may be, as found out so far.
    @ivar refused: bodies that were refused for this.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, tell: Callable[[], None] = lambda: None) -> None:
        """@param tell: called for each body that is refused."""
        self.in_hand = 0
        self.limit = AT_FIRST
        self.refused = 0
        self._clock = clock
        self._tell = tell
        self._refusing = False
        self._lowered = float("-inf")
        self._last_refusal = float("-inf")
        self._before = 0
        """Refusals before this overload."""
        self._watching = False
        self._full_at = float("-inf")
        """When one was refused because as many were in hand as may be."""
        self._taken = 0
        """Bodies taken in this turn, while refusals are watched."""

    @property
    def has_place(self) -> bool:
        """Whether one more may be taken in hand."""
        return not self._full and (self._taken < AT_ONCE or self._clock.seconds() >= self._full_at + LATELY)

    @property
    def _full(self) -> bool:
        return self.in_hand >= (self.limit * RELIEF if self._refusing else self.limit)

    def take(self) -> float | None:
        """
        Take one more in hand, if that will do.

        @return: what L{settled} wants to know; C{None}: its sender is to come again.
        """
        if not self.has_place:
            self.refuse()
            return None
        self._refusing = False
        self.in_hand += 1
        if self._watching:
            if not self._taken:
                self._clock.callLater(0.0, self._next_turn)
            self._taken += 1
        return self._clock.seconds()

    def settled(self, since: float) -> None:
        """A body is no longer in hand."""
        now = self._clock.seconds()
        waited = now - since
        if waited > PROMPT and since >= self._lowered and self.in_hand * 2 >= self.limit:
            self._lowered = now
            self.limit = max(FEWEST, self.limit * 3 // 4)
        elif waited < PROMPT / 2 and self.in_hand >= self.limit * RELIEF:
            self.limit = min(MOST, self.limit + 1)
        self.in_hand -= 1

    def condition(self) -> Condition:
        """For operators: not well while posts are refused."""
        if not self._watching:
            return Condition("intake", well=True, essential=False, detail="posts are taken as they come")
        many = self.refused - self._before
        return Condition("intake", well=False, essential=False, detail=f"more posts come than can be taken; {many} were told to come again")

    def refuse(self) -> None:
        """One was refused."""
        self.refused += 1
        self._last_refusal = self._clock.seconds()
        if self._full:  # those who came with too many others do not make an overload last
            self._refusing = True
            self._full_at = self._last_refusal
        self._tell()
        if not self._watching:
            self._watching = True
            self._before = self.refused - 1
            self._log.warn(
                "More posts come than can be taken, and senders are told to come again: {in_hand} are in hand, which is as much as is "
                "settled promptly.",
                in_hand=self.in_hand,
            )
            self._clock.callLater(QUIET, self._look)

    def _next_turn(self) -> None:
        self._taken = 0

    def _look(self) -> None:
        left = self._last_refusal + QUIET - self._clock.seconds()
        if left > 0.001:
            self._clock.callLater(left, self._look)
            return
        self._watching = False
        self._log.info("Posts are taken as they come again; {refused} were refused.", refused=self.refused - self._before)
