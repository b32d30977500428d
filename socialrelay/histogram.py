"""Counts of values by size, cheap enough for what happens a thousand times a second."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """
    How many values there were up to each bound.

    @ivar bounds: the upper bounds, ascending; a value that equals one is below it.
    @ivar counts: for each bound how many values lie between the one before and it; the last is for those above all bounds.
    @ivar total: the sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)
