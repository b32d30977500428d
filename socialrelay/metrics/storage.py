"""The database and the cache, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from attrs import define, field
from prometheus_client.metrics_core import Metric

from socialrelay.config import Config
from socialrelay.metrics.families import counter, gauge, gauges
from socialrelay.storage.cache import FallbackCache
from socialrelay.storage.memory_cache import MemoryCache
from socialrelay.storage.stores import AtHand, Figures, Stored

EVERY = 300.0
"""Seconds between two questions to the database."""


@define(eq=False)
class StorageMetrics:
    """
    What is kept, and how well.

    @ivar config: asked for the configuration as it is now.
    """

    figures: Figures
    cache: FallbackCache | MemoryCache
    config: Callable[[], Config]
    _stored: Stored | None = field(init=False, default=None)

    async def measure(self, now: datetime) -> None:
        """Ask the database; what it says is shown until it is asked again."""
        self._stored = await self.figures.measure(now)

    def collect(self) -> Iterator[Metric]:
        """As L{prometheus_client.registry.Collector}."""
        found = self.figures.at_hand()
        yield from self._pool(found)
        yield gauge("incoming_rows", "Bodies that wait to be judged.", found.incoming_rows)
        yield gauge("incoming_rows_limit", "How many there may be (receive.waiting_rows).", self.config().receive.waiting_rows)
        yield gauge("incoming_bytes", "Bytes of them.", found.incoming_bytes)
        yield gauge("incoming_limit_bytes", "How many there may be (receive.waiting_bytes).", self.config().receive.waiting_bytes)
        waiting = (("posts",), found.to_be_published), (("incoming",), found.to_be_kept)
        yield gauges("writes_waiting", "Posts, and bodies to be judged later, that wait for the next group commit.", ["what"], waiting)
        yield gauge("writes_waiting_limit", "How many may wait, of each kind (receive.commit_queue).", found.to_be_written_limit)
        yield from self._stored_figures()
        yield from self._cache()

    def _pool(self, found: AtHand) -> Iterator[Metric]:
        yield gauge("postgres_connections", "Connections to PostgreSQL that are up.", found.connections)
        yield gauge("postgres_connections_limit", "How many there are when all are up (postgres.connections).", found.connections_limit)
        yield gauge("postgres_connections_busy", "Connections that wait for an answer.", found.busy)
        yield gauge("postgres_statements_waiting", "Statements that wait for a connection.", found.statements_waiting)
        yield gauge("postgres_statements_waiting_limit", "How many there may be (memory.statements).", found.statements_waiting_limit)
        yield counter("postgres_statements", "Statements that were begun.", found.statements)
        yield counter("postgres_connections_lost", "Connections that were lost or could not be opened.", found.connections_lost)

    def _stored_figures(self) -> Iterator[Metric]:
        """Nothing at all until they are known: a zero would end an alert."""
        yield gauge(
            "bodies_limit_bytes",
            "How many bytes of bodies are kept (retention.bodies_max_bytes).",
            self.config().retention.bodies_max_bytes,
        )
        stored = self._stored
        for name, what, value in (
            ("bodies_bytes", "Bytes of the bodies that are kept.", None if stored is None else stored.body_bytes),
            ("quarantine_rows", "Bodies that could not be judged.", None if stored is None else stored.quarantine_rows),
            ("database_bytes", "Bytes that the database takes on its disk.", None if stored is None else stored.database_bytes),
            ("polls_due", "Nodes whose poll is due.", None if stored is None else stored.polls_due),
        ):
            yield gauges(name, what, [], [] if value is None else [((), value)])

    def _cache(self) -> Iterator[Metric]:
        cache = self.cache
        memory = cache.memory if isinstance(cache, FallbackCache) else cache
        in_redis = isinstance(cache, FallbackCache) and cache.healthy
        yield gauge("cache_in_redis", "Whether the cache is in Redis now, and not in memory.", float(in_redis))
        fallbacks = cache.fallbacks if isinstance(cache, FallbackCache) else 0
        yield counter("cache_fallbacks", "Times that memory was asked in place of Redis.", fallbacks)
        yield gauge("memory_cache_bytes", "Bytes of the cache in memory.", memory.bytes)
        yield gauge("memory_cache_limit_bytes", "How many there may be (memory.cache_bytes).", memory.max_bytes)
