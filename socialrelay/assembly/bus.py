"""The message bus, where there is one, and what it adds to what operators see."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from attrs import frozen
from twisted.web.resource import IResource

from socialrelay.assembly.given import Surroundings
from socialrelay.bounds import Bound
from socialrelay.config import Config
from socialrelay.metrics.bus import BusMetrics
from socialrelay.operators.bus import BusView
from socialrelay.running.reloading import Commit
from socialrelay.storage.stores import Storage

# ZeroMQ is loaded only where there is a bus.
if TYPE_CHECKING:
    from socialrelay.bus.bridge import Bridge

STOP_SHARE, STOP_SHARE_ALONE = 0.5, 0.7
"""Of the time that the daemon has to stop, beside a relay of posts and without."""


@frozen(kw_only=True, eq=False)
class BusParts:
    """
    @ivar bounds: what is in memory.
    @ivar bridge: the last to start, and the first to stop: what the others do meanwhile is announced to nobody.
    @ivar pages: for C{/bus/} of the operators' site.
    """

    bridge: Bridge
    view: BusView
    pages: IResource
    metrics: BusMetrics
    bounds: tuple[Bound, ...]


def make_bus(given: Surroundings, storage: Storage) -> BusParts | None:
    """Make it, and let it be reloaded; C{None} where it is off."""
    config = given.config
    if not config.bus.enabled:
        return None
    from socialrelay.bus.bridge import Bridge
    from socialrelay.web.bus import BusPages

    alone = not config.federation.enabled
    share = STOP_SHARE_ALONE if alone else STOP_SHARE
    bridge = Bridge(
        given.reactor,
        storage.bus,
        config.bus,
        given.now,
        essential=alone,
        stop_timeout=share * config.stop_timeout,
        host=config.host,
    )
    pages = BusPages(bridge.ingest, bridge.replay, bridge.topics, config.bus, given.now, uuid4, given.reactor, config.memory.login_clients)
    storage.health.watch(lambda healthy: bridge.wake() if healthy else None)

    def kept(config: Config) -> Commit:
        return lambda: bridge.adjust(config.bus)

    def tokens(config: Config) -> Commit:
        return lambda: pages.adjust(config.bus)

    given.reloader.register(("bus.keep_days", "bus.keep_bytes"), kept)
    given.reloader.register(("bus.tokens",), tokens)
    view = BusView(
        figures=bridge.figures,
        condition=bridge.condition,
        store=storage.bus,
        topics=f"{config.bus.topic_prefix}.{config.bus.environment}",
        store_legacy=config.bus.store_legacy,
    )
    return BusParts(
        bridge=bridge,
        view=view,
        pages=pages.app.resource(),
        metrics=BusMetrics(bridge.figures, lambda: pages.counters),
        bounds=(*bridge.bounds, *pages.tokens.bounds),
    )
