"""What goes out, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field
from prometheus_client.metrics_core import Metric
from twisted.internet.defer import Deferred

from socialrelay import delays
from socialrelay.accounts import Auditor
from socialrelay.delivery.bodies import BodyCache
from socialrelay.delivery.dispatcher import Dispatcher
from socialrelay.delivery.transport import CurlTransport
from socialrelay.metrics import census
from socialrelay.metrics.families import counter, counters, gauge, gauges, histogram
from socialrelay.scheduler.manager import QueueManager
from socialrelay.scheduler.outcome import Trouble
from socialrelay.scheduler.pacing import Pacer
from socialrelay.scheduler.record import State
from socialrelay.statistics import Tally

RESULTS = ("2xx", "3xx", "4xx", "5xx", *(trouble.name.lower() for trouble in Trouble))
OUTCOMES = ("delivered", "bounced", "expired", "cancelled")


@define(eq=False)
class DeliveryMetrics:
    """The queue manager, the dispatcher and the transport."""

    dispatcher: Dispatcher
    manager: QueueManager
    pacer: Pacer
    transport: CurlTransport
    bodies: BodyCache
    tally: Tally
    auditor: Auditor
    served: Callable[[str], bool]
    clock: Any
    _census: census.Census = field(init=False, factory=census.Census)

    def prepare(self) -> Deferred[None]:
        """Count the destinations anew."""

        def taken(found: census.Census) -> None:
            self._census = found

        destinations = lambda: list(self.manager.all())  # noqa: E731
        return census.take(destinations, lambda: self.manager.end, self.served, self.clock).addCallback(taken)

    def collect(self) -> Iterator[Metric]:
        """As L{prometheus_client.registry.Collector}."""
        yield from self._destinations()
        yield from self._queue()
        yield from self._came_of()
        yield from self._connections()

    def _destinations(self) -> Iterator[Metric]:
        found = self._census
        states = [((state.value,), state) for state in State]
        yield gauges("destinations", "Destinations by state.", ["state"], ((key, found.states[state]) for key, state in states))
        yield gauges(
            "destinations_behind",
            "Destinations that have not come to the end of the log, by state.",
            ["state"],
            ((key, found.behind[state]) for key, state in states),
        )
        yield gauges(
            "positions_behind",
            "Positions of the log that destinations have not come to, all together, by state.",
            ["state"],
            ((key, found.positions[state]) for key, state in states),
        )
        widths = range(1, max([self.manager.limits.window, *found.windows], default=1) + 1)
        yield gauges(
            "destinations_by_window",
            "Destinations by the deliveries that they may be sent at a time.",
            ["window"],
            (((str(width),), found.windows[width]) for width in widths),
        )

    def _queue(self) -> Iterator[Metric]:
        limits = self.manager.limits
        yield gauge("log_end", "The greatest position of the log.", self.manager.end)
        yield gauge("deliveries_waiting", "Deliveries that wait in memory.", self._census.waiting)
        yield gauge("posts_deferred", "Posts that are tried on their own at a destination.", self._census.deferred_posts)
        yield gauge("deliveries_in_flight", "Deliveries under way.", self.manager.in_flight)
        yield gauge("deliveries_in_flight_limit", "How many there may be (delivery.in_flight).", limits.in_flight)
        yield gauge("probes_in_flight", "Of these, to hosts that are deferred or dead.", self.manager.probes)
        yield gauge("probes_in_flight_limit", "How many there may be (delivery.probes).", limits.probes)
        yield gauge("late_in_flight", "Of these, to destinations that catch up.", self.manager.late)
        yield gauge("late_in_flight_limit", "How many there may be (delivery.catch_up_share).", limits.late)
        yield gauge("body_bytes_in_flight", "Bytes of the different bodies under way.", self.manager.body_bytes)
        yield gauge("body_bytes_in_flight_limit", "How many there may be (delivery.bodies_in_flight).", limits.body_bytes)
        yield gauge("body_cache_bytes", "Bytes of bodies that are kept at hand.", self.bodies.size)
        yield gauge("body_cache_limit_bytes", "How many there may be (delivery.body_cache).", self.bodies.limit)
        yield gauge("deliveries_paced", "Deliveries of new posts that wait for their time.", self.pacer.deliveries)
        yield counter("posts_rushed", "Posts that went out faster than they should, since too many were paced.", self.pacer.rushed)

    def _came_of(self) -> Iterator[Metric]:
        totals, delayed = self.tally.totals, self.tally.delays
        yield counter("deliveries_wanted", "Pairs of a new post and a destination.", self.dispatcher.wanted)
        settled = {outcome: totals[outcome] for outcome in OUTCOMES}
        yield counters("deliveries", "Pairs of a post and a destination that are settled, by outcome.", "outcome", settled)
        yield from self._accounts()
        yield counter("hosts_deferred", "Times that a host that was well failed.", totals["failed"])
        attempts = dict(self.dispatcher.results)
        yield counters(
            "delivery_attempts", "Attempts by what came back: class of status, or why nothing came.", "result", attempts, RESULTS
        )
        took = self.dispatcher.durations
        yield histogram("delivery_duration_seconds", "How long an attempt took.", took.bounds, took.counts, took.total)
        what = "From acceptance to delivery, of posts that went out as they came."
        yield histogram("delivery_delay_seconds", what, delays.BOUNDS, delayed.counts, delayed.seconds)

    def _accounts(self) -> Iterator[Metric]:
        """No imbalance at all before all accounts were looked at: a zero would end an alert."""
        auditor, what = self.auditor, "Posts that have no outcome at a destination and do not wait there either, or have one too many."
        whole = auditor.whole
        known = whole is not None or auditor.imbalance
        yield gauges("ledger_imbalance", what, [], [((), auditor.imbalance)] if known else [])
        yield counter("ledger_examined", "Looks at the account of one destination.", auditor.examined)
        when = [] if whole is None else [((), whole.timestamp())]
        yield gauges("ledger_whole_timestamp_seconds", "When all accounts had last been looked at.", [], when)

    def _connections(self) -> Iterator[Metric]:
        transport = self.transport
        yield gauge("transfers_under_way", "Transfers that libcurl is in, look-ups of names included.", transport.under_way)
        yield counter("transfers", "Transfers that were begun.", transport.counts.transfers)
        yield counter("connections_opened", "Connections that were opened for them.", transport.counts.opened)
        yield counter(
            "connections_not_kept", "Transfers after which the connection was closed: there was no place for it.", transport.counts.not_kept
        )
        yield counter("connections_cut_off", "Connections at which something came without end.", transport.floods.cut_off)
