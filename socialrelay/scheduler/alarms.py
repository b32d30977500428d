"""When to think of what again."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

WHOLE = -1
"""In place of a position: the destination as a whole."""


class Alarms:
    """Monotonic times at which a destination, or one post at it, is to be thought of."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, at: float, number: int, position: int = WHOLE) -> None:
        """
        @param number: the destination's.
        @param position: of one of its posts that is tried on its own.
        """
        heapq.heappush(self._heap, (at, number, position))

    def ringing(self, now: float) -> Iterator[tuple[float, int, int]]:
        """Those that are due, each once; what is put meanwhile is among them if it is due."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)

    @property
    def next(self) -> float | None:
        """When the first is due."""
        return self._heap[0][0] if self._heap else None
