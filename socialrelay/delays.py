"""
How long posts take from acceptance to delivery, pacing included: counted in buckets, since a number kept for each would be too many.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

BOUNDS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip
"""Upper bounds of the buckets, in seconds; one more bucket holds what took longer."""

LABELS = (*map(str, BOUNDS), "inf")
"""The buckets' names, in the same order: subjects of the event L{EVENT}."""

EVENT = "delay"
"""Counted by the hour, one for each post that went out as it came."""


class DelayHistogram:
    """
    Delays since the process was started.

    @ivar counts: one for each of L{LABELS}, not added up.
    @ivar seconds: all delays together.
    """

    __slots__ = ("_told", "counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * len(LABELS)
        self.seconds = 0.0
        self._told = [0] * len(LABELS)

    def observe(self, seconds: float) -> None:
        """One post took so long; less than nothing, when a clock was put back, is nothing."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        if seconds > 0.0:
            self.seconds += seconds

    def news(self) -> dict[str, int]:
        """What came since this was last asked: label -> how many more."""
        before, self._told = self._told, list(self.counts)
        return {label: now - then for label, now, then in zip(LABELS, self.counts, before, strict=True) if now > then}


def quantile(counts: Mapping[str, int], part: float) -> float | None:
    """
    The delay that a part of the posts did not exceed, as far as buckets can tell: between two bounds it is taken to rise evenly, as
    Prometheus does. What is beyond the last bound is said to be that.

    @param counts: label -> how many.
    @param part: between 0 and 1.
    @return: seconds; C{None} if nothing was counted.
    """
    ordered: Sequence[int] = [counts.get(label, 0) for label in LABELS]
    rank = part * sum(ordered)
    if not rank:
        return None
    low, below = 0.0, 0
    for bound, count in zip(BOUNDS, ordered, strict=False):
        if count and below + count >= rank:
            return low + (bound - low) * (rank - below) / count
        low, below = bound, below + count
    return BOUNDS[-1]
