"""The operators' site, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen
from prometheus_client.metrics_core import Metric

from socialrelay.metrics.families import counters
from socialrelay.web.admin.login import RESULTS
from socialrelay.web.admin.site import AdminSite


@frozen(eq=False)
class OperatorMetrics:
    """Who tries to get in."""

    admin: AdminSite

    def collect(self) -> Iterator[Metric]:
        """As L{prometheus_client.registry.Collector}."""
        yield counters("operator_logins", "Tries to log in to the operators' site, by result.", "result", self.admin.logins, RESULTS)
