"""What people and their tools see of the engine, and how they steer it: both sites, the control socket, metrics, reload."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.task import deferLater
from twisted.web.resource import IResource

from socialrelay.assembly.adjusting import Adjustable
from socialrelay.assembly.bus import BusParts
from socialrelay.assembly.engine import Engine, tag_key
from socialrelay.assembly.given import Given
from socialrelay.assembly.ways import heard_at, process_metrics, watch_basics
from socialrelay.boundaries import Condition
from socialrelay.bounds import bound_of_answers
from socialrelay.config import Config
from socialrelay.delivery.transport import is_permitted
from socialrelay.metrics.asking import AskingMetrics
from socialrelay.metrics.intake import IntakeMetrics
from socialrelay.metrics.memory import MemoryMetrics
from socialrelay.metrics.operators import OperatorMetrics
from socialrelay.metrics.outgoing import DeliveryMetrics
from socialrelay.metrics.page import MetricsPage
from socialrelay.metrics.registry import relay_registry
from socialrelay.metrics.storage import StorageMetrics
from socialrelay.network.addresses import vet_url
from socialrelay.operators.backlog import Backlog
from socialrelay.operators.history import History
from socialrelay.operators.offers import act_offers, bus_offers, view_offers
from socialrelay.operators.operations import Operations
from socialrelay.operators.overview import NodeCheck, RelayOverview
from socialrelay.operators.posting import Posting
from socialrelay.operators.repairs import Repairs
from socialrelay.operators.terms import About
from socialrelay.operators.views import Views
from socialrelay.rounds import Rounds
from socialrelay.running.disk import DiskSpace
from socialrelay.running.listening import local_port
from socialrelay.web.addresses import read_address
from socialrelay.web.admin.events import LiveLog
from socialrelay.web.admin.site import AdminSite, admin_site
from socialrelay.web.live import LiveStreams
from socialrelay.web.public import PublicSite, public_site

ANSWERS = (
    bound_of_answers("urls-vetted", [vet_url]),
    bound_of_answers("addresses-vetted", [is_permitted]),
    bound_of_answers("addresses-read", [read_address]),
)
"""What functions of the code remember of what they answered."""


@frozen(kw_only=True, eq=False)
class Surface:
    """
    @ivar seen: the latest events, for the operators' pages.
    @ivar space: how much room there is on the disk.
    @ivar stored: what storage holds, measured now and then.
    @ivar sockets: (name, service): where operators are heard.
    """

    public: PublicSite
    admin: AdminSite
    streams: LiveStreams
    seen: LiveLog
    space: DiskSpace
    stored: StorageMetrics
    sockets: tuple[tuple[str, IService], ...]


def make_surface(given: Given, engine: Engine, bus: BusParts | None, tasks: Sequence[Rounds]) -> Surface:
    """
    Make it.

    @param bus: if there is one.
    @param tasks: the periodic work; it may be added to until the parts are started.
    """
    config, reactor, storage, cache, identity = given.config, given.reactor, given.storage, given.cache, given.identity
    health, now, in_thread = given.health, given.now, given.in_thread

    # What people see and do
    about = About.of(config, identity, started_at=now(), pid=os.getpid())
    overview = RelayOverview(
        nodes=storage.nodes,
        profiles=storage.profiles,
        statistics=storage.statistics,
        membership=engine.subscribers,
        queue=engine.dispatcher,
        now=now,
        seconds=reactor.seconds,
        pause=lambda: deferLater(reactor, 0.0),
    )
    check = NodeCheck(poller=engine.poller, membership=engine.subscribers, queue=engine.dispatcher)
    backlog = Backlog(stores=storage, queue=engine.dispatcher)
    views = Views(
        about=about,
        stores=storage,
        membership=engine.subscribers,
        queue=engine.dispatcher,
        health=health,
        overview=overview,
        rules=engine.rule_views,
        backlog=backlog,
        history=History(stores=storage, queue=engine.dispatcher, backlog=backlog),
        allow_list=lambda: engine.subscribers.allow_list,
        now=now,
        bus=lambda: None if bus is None else bus.view.short(),
    )
    counters: Counter[str] = Counter()
    streams = LiveStreams(reactor, most=config.dashboard.streams, per_client=config.dashboard.streams_per_address, counters=counters)
    public = public_site(
        intake=engine.relay,
        overview=overview,
        self_service=check,
        health=health,
        identity=identity,
        cache=cache,
        streams=streams,
        counters=counters,
        config=config,
        clock=reactor,
        started_at=about.started_at,
        base_url=base_url(config),
        turned_away=lambda: engine.tally.count("refused", "too many bytes in hand"),
        too_many=lambda: engine.tally.count("refused", "too many at once"),
        connections=min(config.receive.connections, engine.network.descriptors.intake),
    )
    storage.health.on_silence(public.reception.away)
    operations = Operations(
        about=about,
        stores=storage,
        membership=engine.subscribers,
        queue=engine.dispatcher,
        poller=engine.poller,
        lists=engine.directory,
        eraser=engine.erasure,
        rules=engine.rule_acts,
        repairs=Repairs(stores=storage, queue=engine.dispatcher, keyring=engine.keyring, on_kept=engine.judge.poke, now=now),
        posting=Posting(public.reception.hand_in, lambda: public.site.max_body),
        now=now,
        tag_key=tag_key,
        max_tags=lambda: engine.poller.config.max_tags_per_node,
    )
    space = watch_basics(given, storage)
    health.watch("intake", public.admission.condition)
    health.watch("node lists", engine.directory.condition)
    health.watch("redis", lambda: Condition("redis", cache.healthy, essential=False, detail=cache.detail))
    if bus is not None:
        health.watch("bus", bus.bridge.condition)

    # How it is seen and steered while it runs
    stored_metrics = StorageMetrics(storage.figures, cache, lambda: given.reloader.config)
    delivered = DeliveryMetrics(
        dispatcher=engine.dispatcher,
        manager=engine.manager,
        pacer=engine.pacer,
        transport=engine.network.transport,
        bodies=engine.bodies,
        tally=engine.tally,
        auditor=engine.auditor,
        served=lambda host: engine.subscribers.effective(host).until is not None,
        clock=reactor,
    )
    process = process_metrics(given, space, streams, tasks)
    asking = AskingMetrics(engine.poller, engine.directory, engine.keyring, engine.network.resolver, engine.subscribers, engine.rule_lists)
    registry = relay_registry([IntakeMetrics(public, engine.relay, engine.tally), delivered, asking, stored_metrics, process])
    parts: dict[bytes, IResource] = {b"metrics": MetricsPage(registry, delivered.prepare)}
    seen = LiveLog(config.memory.events)
    shown_views, acts = view_offers(views), act_offers(operations)
    if bus is not None:
        registry.register(bus.metrics)
        parts[b"bus"] = bus.pages
        shown_views |= bus_offers(bus.view)
    admin = admin_site(
        views=shown_views,
        acts=acts,
        health=health,
        identity=identity,
        config=config,
        clock=reactor,
        in_thread=in_thread,
        log=seen,
        streams=streams,
        to_reactor=reactor.callFromThread,
        connections=engine.network.descriptors.operators,
        parts=parts,
    )
    registry.register(OperatorMetrics(admin))
    registry.register(MemoryMetrics.of(engine.bounds, admin.bounds, cache.bounds, ANSWERS, bus.bounds if bus is not None else ()))
    Adjustable(engine=engine, storage=storage, public=public, admin=admin, streams=streams).register(given.reloader)
    sockets = heard_at(given, admin, {**shown_views, **bus_offers(None if bus is None else bus.view)}, acts)
    return Surface(public=public, admin=admin, streams=streams, seen=seen, space=space, stored=stored_metrics, sockets=sockets)


def base_url(config: Config) -> str:
    """Where the relay is reached: in development by whoever sits at this machine."""
    if config.production:
        return f"https://{config.host}"
    port = local_port(config.listen)
    return f"http://localhost:{port}" if port else "http://localhost"
