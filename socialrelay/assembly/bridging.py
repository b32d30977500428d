"""The bridge of the message bus alone, without a relay of posts: no identity, no keys, no polls, no deliveries, no public site."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable

from attrs import frozen
from twisted.application.service import IService

from socialrelay.assembly.bus import make_bus
from socialrelay.assembly.given import Surroundings
from socialrelay.assembly.ways import Part, events_for, heard_at, process_metrics, watch_basics
from socialrelay.metrics import storage as stored
from socialrelay.metrics.memory import MemoryMetrics
from socialrelay.metrics.operators import OperatorMetrics
from socialrelay.metrics.page import MetricsPage
from socialrelay.metrics.registry import relay_registry
from socialrelay.metrics.storage import StorageMetrics
from socialrelay.operators.alone import AloneViews
from socialrelay.operators.offers import Offer, bus_offers
from socialrelay.rounds import Rounds
from socialrelay.running import disk
from socialrelay.running.limits import raise_descriptor_limit, share_descriptors
from socialrelay.services import Periodic
from socialrelay.storage.stores import Storage
from socialrelay.web.admin.events import LiveLog
from socialrelay.web.admin.site import AdminSite, admin_site
from socialrelay.web.live import LiveStreams

WHY_ABSENT = (
    "This relay runs the bridge of the message bus alone (federation.enabled = false): it knows no posts and no servers. "
    "There are `socialrelay status` and `socialrelay bus`."
)


@frozen
class Titled:
    """Who a bridge is to its operators: it has no name of its own among servers."""

    name: str = "Message bus"


def bridge_alone(given: Surroundings, storage: Storage) -> tuple[tuple[tuple[str, IService], ...], AdminSite, IService]:
    """
    Make it.

    @return: (name, service) in the order in which they start; the operators' site; the bridge, which starts after them and stops before.
    """
    config, reactor, health, now = given.config, given.reactor, given.health, given.now
    tasks: list[Rounds] = []

    def periodic(name: str, work: Callable[[], Awaitable[object]], every: float, first: float) -> Periodic:
        task = Periodic(work, every, reactor, name=name, first=first, jitter=lambda: 0.9 + 0.2 * given.chance())
        tasks.append(task)
        return task

    counters: Counter[str] = Counter()
    streams = LiveStreams(reactor, most=config.dashboard.streams, per_client=config.dashboard.streams_per_address, counters=counters)
    space = watch_basics(given, storage)
    bus = make_bus(given, storage)
    assert bus is not None  # the configuration was held to that
    tasks.extend(bus.bridge.periodic)
    health.watch("bus", bus.bridge.condition)
    views = AloneViews(health=health, config=config, started_at=now(), pid=os.getpid(), now=now, bus=bus.view.short)
    offers = {"status": Offer(views.status), "health": Offer(views.conditions), **bus_offers(bus.view)}
    stored_metrics = StorageMetrics(storage.figures, given.cache, lambda: given.reloader.config)
    process = process_metrics(given, space, streams, tasks)
    registry = relay_registry([stored_metrics, process, bus.metrics])
    seen = LiveLog(config.memory.events)
    admin = admin_site(
        views=offers,
        acts={},
        health=health,
        identity=Titled(),
        config=config,
        clock=reactor,
        in_thread=given.in_thread,
        log=seen,
        streams=streams,
        to_reactor=reactor.callFromThread,
        connections=share_descriptors(config, raise_descriptor_limit()).operators,
        parts={b"metrics": MetricsPage(registry), b"bus": bus.pages},
    )
    registry.register(OperatorMetrics(admin))
    registry.register(MemoryMetrics.of(admin.bounds, given.cache.bounds, bus.bounds))
    given.reloader.register(("admin.",), admin.prepare)
    return (
        (
            events_for(seen),
            ("free disk space", periodic("free disk space", space.look, disk.EVERY, 0.0)),
            ("metrics", periodic("metrics", lambda: stored_metrics.measure(now()), stored.EVERY, 5.0)),
            *heard_at(given, admin, offers, {}, WHY_ABSENT),
            ("live pages", Part(lambda: None, streams.stop)),
        ),
        admin,
        bus.bridge,
    )
