"""What is held in memory, as metrics: the same three for each thing that has a bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

from socialrelay.bounds import Bound
from socialrelay.metrics.families import PREFIX, gauges


@frozen(eq=False)
class MemoryMetrics:
    """@ivar bounds: of all that is counted in entries."""

    bounds: tuple[Bound, ...]

    @classmethod
    def of(cls, *bounds: Iterable[Bound]) -> MemoryMetrics:
        """
        Of several parts.

        @raise ValueError: two things have the same name.
        """
        found = tuple(bound for each in bounds for bound in each)
        names = [bound.what for bound in found]
        if len(set(names)) < len(names):
            raise ValueError(f"not each has a name of its own: {', '.join(sorted(names))}")
        return cls(found)

    def collect(self) -> Iterator[Metric]:
        """As L{prometheus_client.registry.Collector}."""
        there = (((each.what,), each.entries()) for each in self.bounds)
        yield gauges("memory_entries", "Entries that are held in memory, by what they are.", ["what"], there)
        most = (((each.what,), each.limit()) for each in self.bounds)
        yield gauges("memory_entries_limit", "How many there may be.", ["what"], most)
        full = CounterMetricFamily(
            PREFIX + "memory_full", "Entries that gave way, or were not taken, because there was no room.", labels=["what"]
        )
        for each in self.bounds:
            if each.full is not None:
                full.add_metric([each.what], each.full())
        yield full
