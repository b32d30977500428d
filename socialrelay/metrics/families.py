"""Short ways to write a family of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

PREFIX = "socialrelay_"
VALUES_MAX = 60
"""Different values of one label, at most; the rest is counted as L{OTHER}."""
OTHER = "other"

_NAME = re.compile(r"[a-z0-9][a-z0-9 _./-]{0,39}")


def counter(name: str, what: str, value: float) -> Metric:
    """A count that only grows. C{_total} is added to its name."""
    return CounterMetricFamily(PREFIX + name, what, value=value)


def counters(name: str, what: str, label: str, values: Mapping[str, float], known: Iterable[str] = ()) -> Metric:
    """
    One for each value of a label; names that are none of ours are added up as L{OTHER}.

    @param known: values that are shown also while there is nothing to count, so that the first one is seen as an increase.
    """
    family = CounterMetricFamily(PREFIX + name, what, labels=[label])
    for key, value in sorted(bounded(dict.fromkeys(known, 0.0) | dict(values)).items()):
        family.add_metric([key], value)
    return family


def gauge(name: str, what: str, value: float) -> Metric:
    """A number that goes up and down."""
    return GaugeMetricFamily(PREFIX + name, what, value=value)


def gauges(name: str, what: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    """One for each combination of values of labels."""
    family = GaugeMetricFamily(PREFIX + name, what, labels=list(labels))
    for keys, value in values:
        family.add_metric(list(keys), value)
    return family


def histogram(name: str, what: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    """
    How values are spread.

    @param counts: one for each bound, and one for what is above all; not added up.
    @param total: the sum of all values.
    """
    so_far, buckets = 0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        so_far += count
        buckets.append((bound, so_far))
    return HistogramMetricFamily(PREFIX + name, what, buckets=buckets, sum_value=total)


def bounded(values: Mapping[str, float]) -> dict[str, float]:
    """The same, with what does not look like a name of ours, and what is too much, added up."""
    found: dict[str, float] = {}
    for key, value in sorted(values.items(), key=lambda item: -item[1]):
        name = key if _NAME.fullmatch(key) and len(found) < VALUES_MAX else OTHER
        found[name] = found.get(name, 0) + value
    return found
