"""
The relay's parts, made and introduced to one another once storage and identity are there.

L{assemble} is one long list on purpose: whoever wants to know which part knows which reads it here and nowhere else.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import globalLogPublisher

from socialrelay import __version__
from socialrelay.adjusting import Adjustable
from socialrelay.authors import Authors
from socialrelay.boundaries import Condition
from socialrelay.config import Config, Delivery
from socialrelay.delivery.bodies import BodyCache
from socialrelay.delivery.dispatcher import Dispatcher
from socialrelay.delivery.news import DeliveryNews
from socialrelay.delivery.transport import CurlTransport
from socialrelay.diaspora.hashtags import is_tag, match_key
from socialrelay.diaspora.inbox import PrivateMessages
from socialrelay.diaspora.preferences import RECEIVE_PATH
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.discovery import keyring as keyrings
from socialrelay.discovery.lookup import KeyLookup
from socialrelay.discovery.provided import read_author_keys
from socialrelay.erasure import Erasure
from socialrelay.health import Health
from socialrelay.identity import RelayIdentity
from socialrelay.judging import Judge
from socialrelay.metrics import storage as stored
from socialrelay.metrics.asking import AskingMetrics
from socialrelay.metrics.intake import IntakeMetrics
from socialrelay.metrics.outgoing import DeliveryMetrics
from socialrelay.metrics.page import MetricsPage
from socialrelay.metrics.process import LogCounts, ProcessMetrics
from socialrelay.metrics.registry import relay_registry
from socialrelay.metrics.storage import StorageMetrics
from socialrelay.moderation import lists as rule_list
from socialrelay.moderation.hourly import HourlyLimits
from socialrelay.moderation.importing import Importer
from socialrelay.network.fetch import TreqFetcher
from socialrelay.network.overrides import Overrides
from socialrelay.network.resolver import Resolver, SystemLookup
from socialrelay.network.trust import load_trust
from socialrelay.nodes import directory as directories
from socialrelay.nodes import poller as pollers
from socialrelay.operators.backlog import Backlog
from socialrelay.operators.history import History
from socialrelay.operators.offers import act_offers, view_offers
from socialrelay.operators.operations import Operations
from socialrelay.operators.overview import NodeCheck, RelayOverview
from socialrelay.operators.repairs import Repairs
from socialrelay.operators.rule_views import RuleViews
from socialrelay.operators.rules import RuleActs
from socialrelay.operators.terms import About
from socialrelay.operators.views import Views
from socialrelay.quota import ClientQuota
from socialrelay.relay import Relay
from socialrelay.running import disk
from socialrelay.running.finishing import Finishing
from socialrelay.running.lag import LoopLag
from socialrelay.running.limits import in_flight_budget, raise_descriptor_limit
from socialrelay.running.listening import local_port
from socialrelay.running.logs import Quiet
from socialrelay.running.reloading import Reloader
from socialrelay.scheduler.backoff import HOST_STEPS, POST_STEPS, Backoff
from socialrelay.scheduler.manager import QueueManager
from socialrelay.scheduler.orders import Limits
from socialrelay.scheduler.pacing import Pacer
from socialrelay.scheduler.record import State
from socialrelay.services import Periodic, within
from socialrelay.statistics import Tally
from socialrelay.storage.cache import FallbackCache
from socialrelay.storage.embedded import runtime_directory
from socialrelay.storage.embedded.supervisor import Supervisor
from socialrelay.storage.memory_cache import MemoryCache
from socialrelay.storage.stores import Storage
from socialrelay.subscribers import Subscribers
from socialrelay.unhurried import Unhurried
from socialrelay.web.admin.events import LiveLog
from socialrelay.web.admin.places import SOCKET_NAME as ADMIN_SOCKET
from socialrelay.web.admin.places import AdminSocket, Places, login_offer
from socialrelay.web.admin.site import AdminSite, admin_site
from socialrelay.web.control import SOCKET_NAME, ControlService, user_name
from socialrelay.web.live import LiveStreams
from socialrelay.web.public import PublicSite, public_site

T = TypeVar("T")

TALLY_EVERY = 5.0
LAPSE_EVERY = 10.0
LIST_TIMEOUT = 60.0
"""Seconds for a list of rules, which may have 4 MiB."""
FORGET_EVERY = 60.0
FORGET_STEPS = 50
"""Small steps of a round, at most."""
FORGET_WORTH = 1000
"""A step that removes fewer rows is the round's last."""
ENDED = timedelta(days=30)
"""A rule is shown for so long after its end."""
UNLISTED = timedelta(days=30)
"""A node that no list names and that does not answer for so long is forgotten."""
NEWEST_BEYOND = 100
"""Positions of the log: a node that is behind no further is sent all in order, also where the newest are to come first."""
DRAIN = 5.0
IN_FLIGHT_GRACE = 10.0


class Part(Service):
    """A part that starts and stops with a coroutine of its own."""

    def __init__(self, start: Callable[[], Awaitable[object] | object], stop: Callable[[], Awaitable[object] | object]) -> None:
        self._start = start
        self._stop = stop

    def startService(self) -> Deferred[object]:
        """@return: fires when it runs."""
        super().startService()
        return maybeDeferred(self._start)

    def stopService(self) -> Deferred[object]:
        """@return: fires when it has ended."""
        super().stopService()
        return maybeDeferred(self._stop)


@frozen
class Surroundings:
    """
    What is there before the parts.

    @ivar reloader: brings a changed configuration to those who can take it.
    @ivar lag: how late the event loop is.
    @ivar logged: what was logged, counted.
    @ivar embedded: the servers that the daemon brought along, by name.
    """

    reloader: Reloader
    lag: LoopLag
    logged: LogCounts
    embedded: Mapping[str, Supervisor]


@frozen
class Assembly:
    """
    @ivar parts: (name, service), in the order in which they start.
    @ivar public: the public site.
    @ivar admin: the operators' site.
    """

    parts: tuple[tuple[str, IService], ...]
    public: PublicSite
    admin: AdminSite


def assemble(
    config: Config,
    reactor: Any,
    storage: Storage,
    cache: FallbackCache | MemoryCache,
    identity: RelayIdentity,
    health: Health,
    log_end: int,
    operators_at: Sequence[str],
    *,
    surroundings: Surroundings,
) -> Assembly:
    """
    Make all parts over storage that is open.

    @param log_end: the log's end at this moment; nobody writes to it before the parts are started.
    @param operators_at: endpoints at which the operators' site is listened.
    @raise NoTrustRoot: the system has no trusted certificates.
    @raise OSError: C{network.ca_file} cannot be read.
    """

    def now() -> datetime:
        return datetime.now(UTC)

    chance = random.random

    def tag_key(tag: str) -> str:
        return match_key(tag) if is_tag(tag) else ""

    def in_thread(work: Callable[..., T], *args: object) -> Deferred[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work, *args)

    budget = in_flight_budget(config.delivery.in_flight, raise_descriptor_limit())

    # The network
    user_agent = f"socialrelay/{__version__} (+https://{identity.host}/)"
    allow = tuple(ip_network(cidr) for cidr in config.network.allow_addresses)
    trust = load_trust(config.network.ca_file, config.state_dir)
    names = SystemLookup(reactor, threads=config.dns.threads, suspect_threads=config.dns.suspect_threads)
    resolver = Resolver(reactor, names, timeout=config.dns.timeout, overrides=Overrides(config.network.connect_to), allow=allow)
    fetcher = partial(TreqFetcher, reactor, resolver, trust, user_agent=user_agent, allow=allow, now=now)
    of_authors = fetcher(timeout=config.discovery.timeout, concurrency=config.discovery.concurrency, ports=config.discovery.ports)
    of_nodes = fetcher(timeout=config.polling.timeout, concurrency=config.polling.concurrency)
    transport = CurlTransport(
        reactor,
        resolver,
        trust,
        user_agent=user_agent,
        max_connections=budget,
        kept_connections=min(config.delivery.kept_connections, budget),
        max_answer=config.delivery.max_answer,
        connect_timeout=config.delivery.connect_timeout,
        http2=config.delivery.http2,
        allow=allow,
        now=now,
    )

    # The way of a post
    diaspora = Diaspora(user_agent, reshares=config.policy.reshares)
    tally = Tally(storage.statistics, storage.rejections, now)
    news = DeliveryNews(
        tally,
        lambda host: _poll_because_of_answers(poller, host, config.production),
        config.delivery.log_each,
        lambda host: subscribers.retire(host),  # noqa: PLW0108 (they are made below)
    )
    pacer = Pacer(config.delivery.origin_spread, random.shuffle)
    manager = QueueManager(limits(config.delivery, budget), Backoff(HOST_STEPS, chance), Backoff(POST_STEPS, chance), log_end, pacer)
    bodies = BodyCache(config.delivery.body_cache)
    dispatcher = Dispatcher(
        clock=reactor,
        now=now,
        manager=manager,
        log=storage.log,
        destinations=storage.destinations,
        transport=transport,
        protocols={diaspora.name: diaspora},
        bodies=bodies,
        lifetime=config.delivery.queue_lifetime,
        on_event=news.event,
        on_settled=news.settled,
    )
    subscribers = Subscribers(
        protocol=diaspora.name,
        default_url=lambda host: f"https://{host}{RECEIVE_PATH}",
        own_host=identity.host,
        allow_list=config.policy.allow_list,
        max_entries=config.polling.max_tags,
        nodes=storage.nodes,
        subscriptions=storage.subscriptions,
        rules=storage.rules,
        destinations=storage.destinations,
        log=storage.log,
        served=dispatcher,
        now=now,
        unhurried=Unhurried(reactor.seconds, lambda: deferLater(reactor, 0.0)),
    )
    hourly = HourlyLimits(config.policy, reactor.seconds)
    authors = Authors(storage.contacts, config.policy, lambda: subscribers.rules, now)
    lookup = KeyLookup(of_authors, config.discovery.concurrency, in_thread)
    keyring = keyrings.DiscoveringKeyring(
        lookup, storage.profiles, cache, reactor, now, config.discovery, lambda host: bool(subscribers.rules.refuses_host(host))
    )
    quota = ClientQuota(config.receive.waiting_rows_per_address, config.receive.waiting_bytes_per_address)
    erasure = Erasure(
        posts=storage.log,
        incoming=storage.incoming,
        rejections=storage.rejections,
        statistics=storage.statistics,
        keyring=keyring,
        authors=authors,
        quota=quota,
        cancel=dispatcher.cancel,
        flush=tally.flush,
    )
    relay = Relay(
        protocol=diaspora,
        keyring=keyring,
        log=storage.log,
        incoming=storage.incoming,
        queue=dispatcher,
        authors=authors,
        recipients=subscribers.recipients,
        erasure=erasure,
        tally=tally,
        quota=quota,
        hourly=hourly,
        in_thread=in_thread,
        clock=reactor,
        now=now,
    )
    judge = Judge(
        clock=reactor,
        now=now,
        incoming=storage.incoming,
        keyring=keyring,
        relay=relay,
        protocol=diaspora,
        private=PrivateMessages(identity.handle, identity.private_key),
        authors=authors,
        log=storage.log,
        quota=quota,
        on_cancelled=dispatcher.cancel,
    )
    relay.on_kept = judge.poke

    # The nodes
    poller = pollers.NodePoller(
        of_nodes,
        storage.nodes,
        subscribers,
        cache,
        reactor,
        now,
        config.polling,
        chance,
        dispatcher.alive,
        in_thread,
    )
    directory = directories.NodeDirectory(of_nodes, storage.nodes, cache, now, config.polling, identity.host, chance, in_thread)

    # What operators decide
    of_lists = fetcher(timeout=LIST_TIMEOUT, concurrency=2)
    importer = Importer(storage.rules, subscribers.rules_changed, own_host=identity.host, tag_key=tag_key, in_thread=in_thread, now=now)
    rule_lists = rule_list.RuleLists(config.moderation, of_lists, storage.rules, importer, now, in_thread)
    rule_views = RuleViews(rules=storage.rules, subscriptions=storage.subscriptions, configured=lambda: rule_lists.configured, now=now)
    rule_acts = RuleActs(
        own_host=identity.host,
        allow_list=lambda: subscribers.allow_list,
        rules=storage.rules,
        nodes=storage.nodes,
        membership=subscribers,
        importer=importer,
        lists=rule_lists,
        now=now,
        tag_key=tag_key,
    )

    # What people see and do
    about = About.of(config, identity, started_at=now(), pid=os.getpid())
    overview = RelayOverview(
        nodes=storage.nodes,
        profiles=storage.profiles,
        statistics=storage.statistics,
        membership=subscribers,
        queue=dispatcher,
        now=now,
        seconds=reactor.seconds,
        pause=lambda: deferLater(reactor, 0.0),
    )
    check = NodeCheck(poller=poller, membership=subscribers, queue=dispatcher)
    backlog = Backlog(stores=storage, queue=dispatcher)
    views = Views(
        about=about,
        stores=storage,
        membership=subscribers,
        queue=dispatcher,
        health=health,
        overview=overview,
        rules=rule_views,
        backlog=backlog,
        history=History(stores=storage, queue=dispatcher, backlog=backlog),
        now=now,
    )
    operations = Operations(
        about=about,
        stores=storage,
        membership=subscribers,
        queue=dispatcher,
        poller=poller,
        lists=directory,
        eraser=erasure,
        rules=rule_acts,
        repairs=Repairs(stores=storage, queue=dispatcher, keyring=keyring, on_kept=judge.poke, now=now),
        now=now,
        tag_key=tag_key,
        max_tags=config.polling.max_tags_per_node,
    )
    counters: Counter[str] = Counter()
    streams = LiveStreams(reactor, most=config.dashboard.streams, per_client=config.dashboard.streams_per_address, counters=counters)
    public = public_site(
        intake=relay,
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
        turned_away=lambda: tally.count("refused", "too many bytes in hand"),
    )
    health.watch("postgres", lambda: Condition("postgres", storage.health.healthy, essential=True, detail=storage.health.detail))
    space = disk.DiskSpace(config.state_dir, in_thread)
    health.watch("disk", space.condition)
    health.watch("node lists", directory.condition)
    health.watch("redis", lambda: Condition("redis", cache.healthy, essential=False, detail=cache.detail))

    # How it is seen and steered while it runs
    reloader = surroundings.reloader
    stored_metrics = StorageMetrics(storage.figures, cache, lambda: reloader.config)
    delivered = DeliveryMetrics(
        dispatcher=dispatcher,
        manager=manager,
        pacer=pacer,
        transport=transport,
        bodies=bodies,
        tally=tally,
        served=lambda host: subscribers.effective(host).until is not None,
        clock=reactor,
    )
    process = ProcessMetrics(
        health=health,
        lag=surroundings.lag,
        disk=space,
        logged=surroundings.logged,
        embedded=surroundings.embedded,
        streams=streams,
        tasks=lambda: tasks,
        now=reactor.seconds,
    )
    asking = AskingMetrics(poller, directory, keyring, resolver, subscribers, rule_lists)
    registry = relay_registry([IntakeMetrics(public, relay, tally), delivered, asking, stored_metrics, process])
    seen = LiveLog()
    shown_views, acts = view_offers(views), act_offers(operations)
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
        parts={b"metrics": MetricsPage(registry, delivered.prepare)},
    )
    runtime = runtime_directory(config.state_dir)
    own_socket = None if config.admin_listen else runtime / ADMIN_SOCKET
    login = login_offer(admin.links, Places.of(operators_at, own_socket), config.host)
    control = ControlService(reactor, runtime / SOCKET_NAME, shown_views, {**acts, "login": login}, lambda uid: in_thread(user_name, uid))
    Adjustable(
        public=public,
        admin=admin,
        streams=streams,
        quota=quota,
        storage=storage,
        authors=authors,
        hourly=hourly,
        subscribers=subscribers,
        rule_lists=rule_lists,
        protocol=diaspora,
        dispatcher=dispatcher,
        manager=manager,
        pacer=pacer,
        bodies=bodies,
        news=news,
        limits=lambda delivery: limits(delivery, budget),
        poller=poller,
        directory=directory,
        keyring=keyring,
    ).register(reloader)

    async def take_up() -> None:
        if config.network.author_keys:
            keyring.provide(await in_thread(read_author_keys, Path(config.network.author_keys)))
        await authors.load()
        await subscribers.load()
        statuses = dispatcher.destinations()
        resolver.trust(status.record.host for status in statuses if status.record.state is State.ACTIVE and status.record.last_success)

    async def forget() -> None:
        for _ in range(FORGET_STEPS):
            if await storage.log.prune(now()) < FORGET_WORTH:
                break
        await storage.nodes.forget(now() - UNLISTED)
        await storage.rules.forget(now() - ENDED)
        await storage.profiles.prune((now() - timedelta(days=reloader.config.retention.keys)).date())

    async def end_network() -> None:
        await transport.close()
        await of_authors.close()
        await of_nodes.close()
        await of_lists.close()
        names.close()

    def periodic(name: str, work: Callable[[], Awaitable[object]], every: float, first: float) -> Periodic:
        tasks.append(Periodic(work, every, reactor, name=name, first=first, jitter=lambda: 0.9 + 0.2 * chance()))
        return tasks[-1]

    tasks: list[Periodic] = []

    async def end_keyring() -> None:
        lookup.cancel()
        await keyring.stop()

    rounds = config.production
    log = Quiet(seen, "info")
    parts: list[tuple[str, IService]] = [
        ("events for operators", Part(lambda: globalLogPublisher.addObserver(log), lambda: globalLogPublisher.removeObserver(log))),
        ("the network", Part(lambda: None, end_network)),
        ("counts", Finishing(periodic("counts", tally.flush, TALLY_EVERY, TALLY_EVERY), tally.flush)),
        ("retention", periodic("retention", forget, FORGET_EVERY, FORGET_EVERY)),
        ("free disk space", periodic("free disk space", space.look, disk.EVERY, 0.0)),
        ("metrics", periodic("metrics", lambda: stored_metrics.measure(now()), stored.EVERY, 5.0)),
        ("subscriptions", Part(take_up, lambda: None)),
        ("keys", Finishing(periodic("keys", keyring.flush, keyrings.FLUSH, keyrings.FLUSH), end_keyring)),
        ("deliveries", Part(dispatcher.start, lambda: dispatcher.stop(IN_FLIGHT_GRACE))),
        ("the judge", Part(judge.start, judge.stop)),
        ("polls", Finishing(periodic("polls", poller.round, pollers.ROUND, 1.0) if rounds else None, poller.stop)),
        ("node lists", Finishing(periodic("node lists", directory.round, directories.ROUND, 0.0) if rounds else None, directory.stop)),
        ("rules that end", periodic("rules that end", subscribers.lapse, LAPSE_EVERY, LAPSE_EVERY)),
        ("lists of rules", Finishing(periodic("lists of rules", rule_lists.round, rule_list.ROUND, 0.0), rule_lists.stop)),
        ("the control socket", control),
        *([("the operators' socket", AdminSocket(reactor, own_socket, admin.site))] if own_socket is not None else []),
        ("live pages", Part(lambda: None, streams.stop)),
        ("requests in hand", Part(lambda: None, lambda: within(public.reception.drain(), DRAIN, reactor))),
    ]
    return Assembly(tuple(parts), public, admin)


def limits(delivery: Delivery, budget: int) -> Limits:
    """
    What the queue manager may have under way.

    @param budget: deliveries that the system has descriptors for.
    """
    return Limits(
        window=delivery.window,
        in_flight=budget,
        probes=min(delivery.probes, budget),
        late=max(1, int(budget * delivery.catch_up_share)),
        body_bytes=delivery.bodies_in_flight,
        timeout=delivery.timeout,
        lifetime=delivery.queue_lifetime,
        newest_beyond=NEWEST_BEYOND if delivery.catch_up_order == "newest" else inf,
    )


def base_url(config: Config) -> str:
    """Where the relay is reached: in development by whoever sits at this machine."""
    if config.production:
        return f"https://{config.host}"
    port = local_port(config.listen)
    return f"http://localhost:{port}" if port else "http://localhost"


def _poll_because_of_answers(poller: pollers.NodePoller, host: str, production: bool) -> None:
    """A node's answers to deliveries make its preferences doubtful. In development the relay polls nobody by itself."""
    if production:
        poller.poll(host, "delivery").addErrback(lambda failure: None)
