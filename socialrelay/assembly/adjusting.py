"""
What of the configuration can change while the relay runs, and who takes it (L{socialrelay.running.reloading}).

Each registration names keys of C{etc/socialrelay.toml}; keys that nobody names want a restart.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen
from twisted.python.failure import Failure

from socialrelay.assembly.engine import Engine, limits
from socialrelay.boundaries import Unavailable
from socialrelay.config import Config
from socialrelay.running.reloading import Commit, Prepare, Reloader
from socialrelay.storage.stores import Storage
from socialrelay.web.addresses import TrustedProxies
from socialrelay.web.admin.site import AdminSite
from socialrelay.web.live import LiveStreams
from socialrelay.web.public import PublicSite

INTAKE = (
    "receive.max_body",
    "receive.deadline",
    "receive.connections",
    "receive.connections_per_address",
    "receive.bytes_in_hand",
    "receive.waiting_rows_per_host",
    "receive.waiting_bytes_per_host",
    "receive.waiting_rows_per_address",
    "receive.waiting_bytes_per_address",
    "receive.waiting_bytes",
    "receive.trusted_proxies",
)
DELIVERY = (
    "delivery.window",
    "delivery.probes",
    "delivery.catch_up_share",
    "delivery.catch_up_order",
    "delivery.bodies_in_flight",
    "delivery.origin_spread",
    "delivery.timeout",
    "delivery.queue_lifetime",
    "delivery.body_cache",
    "delivery.log_each",
    "bus.delivery_events",
)
PAGES = ("operator.", "dashboard.node_names", "retention.", "bus.keep_days", "polling.max_tags_per_node")
POLLING = (
    "polling.lists",
    "polling.list_interval",
    "polling.interval",
    "polling.candidate_interval",
    "polling.grace",
    "polling.max_nodes",
    "polling.max_tags_per_node",
)


@frozen(kw_only=True, eq=False)
class Adjustable:
    """The parts that can take another configuration."""

    engine: Engine
    storage: Storage
    public: PublicSite
    admin: AdminSite
    streams: LiveStreams

    def register(self, reloader: Reloader) -> None:
        """Say which keys can change."""
        reloader.register(INTAKE, self._intake)
        reloader.register(PAGES, self.public.prepare)
        reloader.register(("operator.", "admin."), self.admin.prepare)
        reloader.register(("dashboard.streams", "dashboard.streams_per_address"), _later(self._streams))
        reloader.register(("policy.",), _later(self._policy))
        reloader.register(("moderation.",), _later(self._moderation))
        reloader.each_time(self.engine.rule_lists.fetch_soon)
        reloader.register(DELIVERY, _later(self._delivery))
        reloader.register(("retention.",), _later(self._bounds))
        reloader.register(POLLING, _later(self._polling))
        reloader.register(("discovery.ports", "discovery.key_lifetime"), _later(self._discovery))

    def _intake(self, config: Config) -> Commit:
        proxies = TrustedProxies.parse(config.receive.trusted_proxies)
        receive, site = config.receive, self.public.site

        def commit() -> None:
            site.max_body, site.deadline = receive.max_body, receive.deadline
            site.max_connections = min(receive.connections, self.engine.network.descriptors.intake)
            site.max_per_address = receive.connections_per_address
            site.proxies, site.room.limit = proxies, receive.bytes_in_hand
            self.admin.site.proxies = proxies
            self.engine.quota.rows, self.engine.quota.bytes = receive.waiting_rows_per_address, receive.waiting_bytes_per_address
            self._bounds(config)

        return commit

    def _bounds(self, config: Config) -> None:
        self.storage.adjust(config.receive, config.retention)

    def _streams(self, config: Config) -> None:
        self.streams.most, self.streams.per_client = config.dashboard.streams, config.dashboard.streams_per_address

    def _policy(self, config: Config) -> None:
        self.engine.authors.policy = config.policy
        self.engine.hourly.adjust(config.policy)
        if self.engine.subscribers.allow_list != config.policy.allow_list:
            self.engine.subscribers.allow_list = config.policy.allow_list
            self.engine.subscribers.rules_changed().addErrback(_not_yet)
        self.engine.diaspora.reshares = config.policy.reshares

    def _moderation(self, config: Config) -> None:
        self.engine.rule_lists.adjust(config.moderation)

    def _delivery(self, config: Config) -> None:
        delivery = config.delivery
        self.engine.manager.adjust(limits(delivery, self.engine.network.descriptors.in_flight))
        self.engine.dispatcher.adjust(delivery.queue_lifetime)
        self.engine.pacer.spread = delivery.origin_spread
        self.engine.bodies.limit = delivery.body_cache
        self.engine.news.log_each = delivery.log_each
        self.engine.announcements.each = config.bus.delivery_events

    def _polling(self, config: Config) -> None:
        # The parts are made for so many at a time, and with one time-out.
        self.engine.poller.config = evolve(
            config.polling, concurrency=self.engine.poller.config.concurrency, timeout=self.engine.poller.config.timeout
        )
        self.engine.directory.adjust(config.polling)
        self.engine.subscribers.adjust(config.polling.max_nodes)

    def _discovery(self, config: Config) -> None:
        self.engine.keyring.config = config.discovery


def _not_yet(failure: Failure) -> None:
    """Rules that cannot be acted upon now are so when storage is back."""
    failure.trap(Unavailable)


def _later(apply: Callable[[Config], object]) -> Prepare:
    """For what cannot fail."""
    return lambda config: lambda: apply(config)
