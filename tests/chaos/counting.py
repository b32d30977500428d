"""What the nodes say that they got, held against what senders were promised."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection

from attrs import define, field

from benchmarks.sinks import Sinks


@define(eq=False)
class Deliveries:
    """
    Deliveries to nodes that take everything.

    @ivar nodes: how many there are.
    @ivar seen: how often each post came, by its mark, to each node, by its number.
    """

    sinks: Sinks
    nodes: int
    seen: Counter[tuple[int, int]] = field(factory=Counter)

    def look(self) -> int:
        """Read what came; how many deliveries that are in all, each counted once."""
        report = self.sinks.take()
        self.seen.update(zip(report.marks, report.takers, strict=True))
        return len(self.seen)

    def wait(self, posts: Collection[int], patience: float) -> int:
        """
        Until each of these posts is at each node, or for so many seconds.

        @return: how many deliveries are missing.
        """
        deadline = time.monotonic() + patience
        while missing := self._missing(posts):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        self.look()
        return missing

    @property
    def doubled(self) -> int:
        """Deliveries beyond the first of a post at a node."""
        return self.seen.total() - len(self.seen)

    def _missing(self, posts: Collection[int]) -> int:
        # What was not accepted may have come as well: a 503 does not say that it was not kept.
        if self.look() < len(posts) * self.nodes:
            return len(posts) * self.nodes - sum(mark in posts for mark, _ in self.seen)
        return sum((mark, taker) not in self.seen for mark in posts for taker in range(self.nodes))
