"""The message bus, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import frozen
from prometheus_client.metrics_core import Metric

from socialrelay.boundaries.bus import HTTP, INGEST, LEGACY, OWN
from socialrelay.bus.figures import BusFigures
from socialrelay.bus.message import REASONS
from socialrelay.metrics.families import counter, counters, gauge, gauges

FROM_OTHERS = (LEGACY, INGEST, HTTP)
SOURCES = (*FROM_OTHERS, OWN)
INGEST_EVENTS = ("malformed", "queries", "refused-queries", "unsent-full", "unsent-gone")


@frozen(eq=False)
class BusMetrics:
    """
    What comes and goes on the bus, and what is kept of it.

    @ivar figures: asked each time.
    @ivar by_http: what was answered by HTTP, as L{BusPages.counters<socialrelay.web.bus.BusPages>} has it.
    """

    figures: Callable[[], BusFigures]
    by_http: Callable[[], Mapping[str, int]]

    def collect(self) -> Iterator[Metric]:
        """As L{prometheus_client.registry.Collector}."""
        found = self.figures()
        yield from self._messages(found)
        yield from self._waiting(found)
        yield from self._kept(found)
        yield gauge("bus_subscriptions", "Subscriptions of listeners (relay_outbound).", found.subscriptions)
        yield counter("bus_overflows", "Times that a listener was too slow and lost messages.", found.overflows)
        known = dict.fromkeys(INGEST_EVENTS, 0)
        yield counters(
            "bus_ingest_events", "What happened where messages are acknowledged, besides messages.", "event", found.ingest_events, known
        )
        by_http = {name.removeprefix("bus-"): many for name, many in self.by_http().items()}
        yield counters("bus_http_answers", "Requests by HTTP, by method and status.", "answer", by_http)
        age = [] if found.probe_age is None else [((), found.probe_age)]
        yield gauges("bus_probe_age_seconds", "Since a message of the relay's own last went through the bus.", [], age)
        yield counter("bus_probe_failures", "Times that none did in time.", found.probe_failures)

    def _messages(self, found: BusFigures) -> Iterator[Metric]:
        counts = found.counts
        for name, what, values, sources in (
            ("received", "Messages that others sent, by where they came in.", counts.received, FROM_OTHERS),
            ("kept", "Messages that were committed, by source.", counts.kept, SOURCES),
            ("published", "Messages that went out to whoever listens, by source.", counts.published, SOURCES),
            ("duplicate", "Messages that were there before, by source.", counts.duplicates, SOURCES),
            ("refused", "Messages for which there was no room, or no database, by source.", counts.refused, FROM_OTHERS),
        ):
            yield counters(f"bus_messages_{name}", what, "source", values, sources)
        yield counters("bus_messages_invalid", "What is no message, or not allowed, by reason.", "reason", counts.invalid, REASONS)
        yield counters("bus_own_messages_dropped", "Messages of the relay itself that were given up, by event.", "event", found.own_dropped)

    def _waiting(self, found: BusFigures) -> Iterator[Metric]:
        yield gauge("bus_messages_waiting", "Messages that wait to be committed.", found.waiting)
        yield gauge("bus_waiting_bytes", "Bytes of them.", found.waiting_bytes)
        yield gauge("bus_waiting_limit_bytes", "How many there may be (bus.queue_bytes).", found.waiting_bytes_limit)
        yield gauge("bus_unacknowledged", "Messages whose senders wait for an answer.", found.unacknowledged)
        yield gauge("bus_unacknowledged_limit", "How many there may be (bus.unacknowledged).", found.unacknowledged_limit)
        yield gauge(
            "bus_announcements_waiting", "What the relay itself has to say and is not written as a message yet.", found.announcements
        )
        yield gauge("bus_readers_waiting", "Who wait for what comes next.", found.readers)
        yield gauge("bus_readers_waiting_limit", "How many there may be (bus.waiting_readers).", found.readers_limit)

    def _kept(self, found: BusFigures) -> Iterator[Metric]:
        yield gauge("bus_last_seq", "The greatest sequence number that was given.", found.last_seq)
        yield gauge("bus_published_seq", "Up to this sequence number all is published.", found.published_seq)
        yield counter("bus_commits", "Batches of messages that were committed.", found.commits)
        yield counter("bus_commit_seconds", "Seconds that took.", found.commit_seconds)
        yield gauge("bus_stored_limit_bytes", "How many bytes of messages are kept (bus.keep_bytes).", found.bytes_limit)
        extent = found.extent
        for name, what, value in (
            (
                "bus_oldest_seq",
                "From this sequence number on all messages of others are kept.",
                None if extent is None else extent.oldest_seq,
            ),
            ("bus_oldest_own_seq", "From this one on the relay's own are.", None if extent is None else extent.oldest_own_seq),
            ("bus_stored_bytes", "Bytes of the messages that are kept.", None if extent is None else extent.size),
        ):
            yield gauges(name, what, [], [] if value is None else [((), value)])
