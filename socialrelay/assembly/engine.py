"""The engine: the way of a post, from the sender to the last node that wants it, and who decides about it."""

from __future__ import annotations

import random
from math import inf

from attrs import frozen
from twisted.internet.task import deferLater

from socialrelay.accounts import Auditor
from socialrelay.afterwards import Afterwards
from socialrelay.assembly.given import Given
from socialrelay.assembly.network import Network
from socialrelay.authors import Authors
from socialrelay.boundaries import Announce
from socialrelay.bounds import Bound
from socialrelay.config import Delivery
from socialrelay.delivery.announcing import DeliveryAnnouncements
from socialrelay.delivery.bodies import BodyCache
from socialrelay.delivery.dispatcher import Dispatcher
from socialrelay.delivery.news import DeliveryNews
from socialrelay.diaspora.hashtags import is_tag, match_key
from socialrelay.diaspora.inbox import PrivateMessages
from socialrelay.diaspora.preferences import RECEIVE_PATH
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.discovery.keyring import DiscoveringKeyring
from socialrelay.discovery.lookup import KeyLookup
from socialrelay.erasure import Erasure
from socialrelay.intake_news import IntakeNews
from socialrelay.judging import Judge
from socialrelay.moderation.hourly import HourlyLimits
from socialrelay.moderation.importing import Importer
from socialrelay.moderation.lists import RuleLists
from socialrelay.nodes.directory import NodeDirectory
from socialrelay.nodes.poller import NodePoller
from socialrelay.operators.rule_views import RuleViews
from socialrelay.operators.rules import RuleActs
from socialrelay.quota import ClientQuota
from socialrelay.relay import Relay
from socialrelay.scheduler.backoff import HOST_STEPS, POST_STEPS, Backoff
from socialrelay.scheduler.manager import QueueManager
from socialrelay.scheduler.orders import Limits
from socialrelay.scheduler.pacing import Pacer
from socialrelay.statistics import Tally
from socialrelay.subscriber_news import SubscriberNews
from socialrelay.subscribers import Subscribers
from socialrelay.unhurried import Unhurried

NEWEST_BEYOND = 100
"""Positions of the log: a node that is behind no further is sent all in order, also where the newest are to come first."""


@frozen(kw_only=True, eq=False)
class Engine:
    """The parts that carry posts, and those that say which."""

    network: Network
    diaspora: Diaspora
    tally: Tally
    news: DeliveryNews
    announcements: DeliveryAnnouncements
    pacer: Pacer
    manager: QueueManager
    bodies: BodyCache
    dispatcher: Dispatcher
    auditor: Auditor
    subscribers: Subscribers
    hourly: HourlyLimits
    authors: Authors
    lookup: KeyLookup
    keyring: DiscoveringKeyring
    quota: ClientQuota
    afterwards: Afterwards
    erasure: Erasure
    relay: Relay
    judge: Judge
    poller: NodePoller
    directory: NodeDirectory
    rule_lists: RuleLists
    rule_views: RuleViews
    rule_acts: RuleActs

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory, the network's included."""
        authors, in_hand = self.authors, self.relay.publishing
        return (
            *self.network.bounds,
            *self.keyring.bounds,
            *self.poller.bounds,
            *self.dispatcher.bounds,
            *self.pacer.bounds,
            *self.tally.bounds,
            *self.hourly.bounds,
            *self.afterwards.bounds,
            *self.subscribers.bounds,
            Bound("contacts", lambda: len(authors.wishes), lambda: authors.limit, lambda: authors.turned_away),
            Bound("retractions", lambda: in_hand.waiters, lambda: in_hand.limit, lambda: in_hand.turned_away),
        )


def make_engine(given: Given, network: Network, announce: Announce) -> Engine:
    """
    Make them, and introduce them to one another.

    @param announce: tells the bus what they do.
    """
    config, reactor, storage, cache, identity = given.config, given.reactor, given.storage, given.cache, given.identity
    now, chance, in_thread = given.now, given.chance, given.in_thread

    # The way of a post
    diaspora = Diaspora(network.user_agent, reshares=config.policy.reshares)
    tally = Tally(storage.statistics, storage.rejections, now, config.memory)
    announcements = DeliveryAnnouncements(announce, config.bus.delivery_events, lambda host: subscribers.effective(host).url)
    news = DeliveryNews(
        tally,
        lambda host: _poll_because_of_answers(poller, host, config.production),
        config.delivery.log_each,
        lambda host: subscribers.retire(host),  # noqa: PLW0108 (they are made below)
        announcements,
    )
    pacer = Pacer(config.delivery.origin_spread, random.shuffle, limit=config.memory.paced)
    manager = QueueManager(
        limits(config.delivery, network.descriptors.in_flight),
        Backoff(HOST_STEPS, chance),
        Backoff(POST_STEPS, chance),
        given.log_end,
        pacer,
    )
    bodies = BodyCache(config.delivery.body_cache)
    dispatcher = Dispatcher(
        clock=reactor,
        now=now,
        manager=manager,
        log=storage.log,
        destinations=storage.destinations,
        transport=network.transport,
        protocols={diaspora.name: diaspora},
        bodies=bodies,
        lifetime=config.delivery.queue_lifetime,
        on_event=news.event,
        on_settled=news.settled,
        on_queued=announcements.queued,
        on_failed=announcements.failed,
        behind=lambda: network.transport.behind,
        outcomes=config.memory.outcomes,
    )
    subscribers = Subscribers(
        protocol=diaspora.name,
        default_url=lambda host: f"https://{host}{RECEIVE_PATH}",
        own_host=identity.host,
        allow_list=config.policy.allow_list,
        max_entries=config.polling.max_tags,
        max_nodes=config.polling.max_nodes,
        nodes=storage.nodes,
        subscriptions=storage.subscriptions,
        rules=storage.rules,
        destinations=storage.destinations,
        log=storage.log,
        served=dispatcher,
        now=now,
        unhurried=Unhurried(reactor.seconds, lambda: deferLater(reactor, 0.0)),
        news=SubscriberNews(diaspora.name, announce),
    )
    hourly = HourlyLimits(config.policy, reactor.seconds, config.memory)
    authors = Authors(storage.contacts, config.policy, lambda: subscribers.rules, now, config.memory.contacts)
    lookup = KeyLookup(network.of_authors, config.discovery.concurrency, in_thread)
    keyring = DiscoveringKeyring(
        lookup,
        storage.profiles,
        cache,
        reactor,
        now,
        config.discovery,
        lambda host: bool(subscribers.rules.refuses_host(host)),
        config.memory,
    )
    quota = ClientQuota(config.receive.waiting_rows_per_address, config.receive.waiting_bytes_per_address)
    afterwards = Afterwards(storage.bus, reactor, config.memory.erasures)
    erasure = Erasure(
        posts=storage.log,
        incoming=storage.incoming,
        rejections=storage.rejections,
        statistics=storage.statistics,
        keyring=keyring,
        authors=authors,
        quota=quota,
        bus=storage.bus,
        afterwards=afterwards,
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
        news=IntakeNews(protocol=diaspora.name, tally=tally, clock=reactor, now=now, announce=announce),
        quota=quota,
        hourly=hourly,
        in_thread=in_thread,
        now=now,
        retractions=config.memory.retractions,
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
    poller = NodePoller(
        network.of_nodes,
        storage.nodes,
        subscribers,
        cache,
        reactor,
        now,
        config.polling,
        chance,
        dispatcher.alive,
        in_thread,
        config.memory,
    )
    directory = NodeDirectory(network.of_nodes, storage.nodes, cache, now, config.polling, identity.host, chance, in_thread)

    # What operators decide
    importer = Importer(storage.rules, subscribers.rules_changed, own_host=identity.host, tag_key=tag_key, in_thread=in_thread, now=now)
    rule_lists = RuleLists(config.moderation, network.of_lists, storage.rules, importer, now, in_thread)
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
    return Engine(
        network=network,
        diaspora=diaspora,
        tally=tally,
        news=news,
        announcements=announcements,
        pacer=pacer,
        manager=manager,
        bodies=bodies,
        dispatcher=dispatcher,
        auditor=Auditor(storage.accounts, now),
        subscribers=subscribers,
        hourly=hourly,
        authors=authors,
        lookup=lookup,
        keyring=keyring,
        quota=quota,
        afterwards=afterwards,
        erasure=erasure,
        relay=relay,
        judge=judge,
        poller=poller,
        directory=directory,
        rule_lists=rule_lists,
        rule_views=rule_views,
        rule_acts=rule_acts,
    )


def tag_key(tag: str) -> str:
    """A hashtag without C{#} as subscriptions compare it; empty for what can be none."""
    return match_key(tag) if is_tag(tag) else ""


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


def _poll_because_of_answers(poller: NodePoller, host: str, production: bool) -> None:
    """A node's answers to deliveries make its preferences doubtful. In development the relay polls nobody by itself."""
    if production:
        poller.poll(host, "delivery").addErrback(lambda failure: None)
