"""
Each node that gets a post turns to the post's origin, for the author's profile or a picture (C{docs/protocol.md}, "What a delivery sets
off").  So a post with many recipients goes out over a while: the first few at once, the others evenly.

A post that is paced holds back no other: it is not in the queue of those whose turn has not come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

from socialrelay.bounds import Bound
from socialrelay.config import Memory
from socialrelay.scheduler.entry import Entry

AT_ONCE = 10
SLOWEST = 5.0
"""Deliveries a second, at least."""
STEP = 0.1
"""Seconds between two releases of the same post."""


class _Paced:
    """
    @ivar waiting: destination numbers; the last one is next.
    @ivar rate: of them a second.
    """

    __slots__ = ("begun", "entry", "rate", "recipients", "waiting")

    def __init__(self, entry: Entry, waiting: list[int], rate: float, begun: float) -> None:
        self.entry = entry
        self.waiting = waiting
        self.recipients = len(waiting)
        self.rate = rate
        self.begun = begun

    def take(self, now: float) -> list[int]:
        due = int((now - self.begun) * self.rate + 1e-6) - (self.recipients - len(self.waiting))
        return [self.waiting.pop() for _ in range(min(due, len(self.waiting)))]


class Pacer:
    """
    @ivar spread: seconds over which a post goes out; 0: all at once.
    @ivar limit: posts that are paced at a time; when there is one more, the oldest goes out at once.
    @ivar rushed: posts that went out faster than they should, since too many were paced.
    """

    def __init__(self, spread: float, shuffle: Callable[[list[int]], None], at_once: int = AT_ONCE, limit: int = Memory().paced) -> None:
        """
        @param spread: seconds over which a post goes out; 0: all at once.
        @param shuffle: brings a list into an order by chance, so that it is not always the same nodes that wait.
        @param at_once: how many do not wait.
        @param limit: posts that are paced at a time.
        """
        self.limit = limit
        self.rushed = 0
        self._at_once = at_once
        self.spread = spread
        self._shuffle = shuffle
        self._paced: dict[int, _Paced] = {}
        self._next = inf

    def __len__(self) -> int:
        return len(self._paced)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (Bound("posts-paced", lambda: len(self._paced), lambda: self.limit, lambda: self.rushed),)

    def admit(self, entry: Entry, recipients: Iterable[int], now: float) -> tuple[list[int], list[tuple[Entry, list[int]]]]:
        """
        A new post.

        @return: to whom it goes at once, and what older posts go out now because too many are paced.
        """
        numbers = list(recipients)
        if not self.spread or len(numbers) <= self._at_once:
            return numbers, []
        self._shuffle(numbers)
        rate = max(SLOWEST, len(numbers) / self.spread)
        self._paced[entry.position] = _Paced(entry, numbers[self._at_once :], rate, now)
        self._next = min(self._next, now + STEP)
        rushed = []
        if len(self._paced) > self.limit:
            oldest = self._paced.pop(next(iter(self._paced)))
            self.rushed += 1
            rushed.append((oldest.entry, oldest.waiting))
        return numbers[: self._at_once], rushed

    def due(self, now: float) -> list[tuple[Entry, list[int]]]:
        """Whose turn has come."""
        if now < self._next:
            return []
        found = []
        for position, paced in list(self._paced.items()):
            if numbers := paced.take(now):
                found.append((paced.entry, numbers))
            if not paced.waiting:
                del self._paced[position]
        self._next = now + STEP if self._paced else inf
        return found

    @property
    def deliveries(self) -> int:
        """For how many it is not yet time."""
        return sum(len(paced.waiting) for paced in self._paced.values())

    def drop(self, position: int) -> list[int]:
        """It is wanted no more; for whom it had still to go out."""
        paced = self._paced.pop(position, None)
        return [] if paced is None else paced.waiting

    @property
    def next(self) -> float | None:
        """Monotonic seconds at which to ask again."""
        return self._next if self._paced else None

    @property
    def floor(self) -> float:
        """The lowest position that has still to go out to somebody; infinity if there is none."""
        return next(iter(self._paced), inf)
