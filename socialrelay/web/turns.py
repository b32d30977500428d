"""A site's share of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

SLICE = 0.002
"""Seconds for which requests are handled one after another, before everybody else is heard."""


class Turns:
    """
    Handles requests as they come, until they have taken their slice of this turn of the event loop; the others are handled in the next
    ones, in order.

    A hundred connections may have a request ready at the same time, and one connection hundreds of them.  Each is a matter of a
    millisecond; all of them together would keep everybody else waiting.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Callable[[], None]] = deque()
        self._until: float | None = None

    def __len__(self) -> int:
        """How many wait: at most one of each connection."""
        return len(self._waiting)

    def run(self, work: Callable[[], None]) -> None:
        """Do something, now or soon."""
        now = self._clock.seconds()
        if self._until is None:
            self._until = now + SLICE
            self._clock.callLater(0.0, self._turn)
        elif self._waiting or now >= self._until:
            self._waiting.append(work)
            return
        work()

    def _turn(self) -> None:
        self._until = self._clock.seconds() + SLICE
        try:
            while self._waiting and self._clock.seconds() < self._until:
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._clock.callLater(0.0, self._turn)
            else:
                self._until = None
