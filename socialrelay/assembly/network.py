"""How the relay reaches others: names, documents, deliveries."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network

from attrs import frozen
from twisted.logger import Logger

from socialrelay import __version__
from socialrelay.assembly.given import Given
from socialrelay.bounds import Bound
from socialrelay.delivery.transport import CurlTransport
from socialrelay.network.fetch import TreqFetcher
from socialrelay.network.overrides import Overrides
from socialrelay.network.resolver import Resolver, SystemLookup
from socialrelay.network.trust import load_trust
from socialrelay.running.limits import LISTS, Descriptors, descriptors_wanted, raise_descriptor_limit, share_descriptors

LIST_TIMEOUT = 60.0
"""Seconds for a list of rules, which may have 4 MiB."""

FEW_DESCRIPTORS = (
    "The system allows {limit} open files: enough for {deliveries} connections to nodes, in use and kept, and {intake} to the public site, "
    "fewer than delivery.in_flight, delivery.kept_connections and receive.connections say. Raise LimitNOFILE, or `ulimit -n`, to {wanted}."
)

_log = Logger()


@frozen(kw_only=True, eq=False)
class Network:
    """
    @ivar descriptors: who may take how many.
    @ivar of_authors: fetches authors' keys; C{of_nodes}: preferences and node lists; C{of_lists}: lists of rules.
    """

    descriptors: Descriptors
    user_agent: str
    names: SystemLookup
    resolver: Resolver
    of_authors: TreqFetcher
    of_nodes: TreqFetcher
    of_lists: TreqFetcher
    transport: CurlTransport

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        fetchers = (self.of_authors, self.of_nodes, self.of_lists)
        return (
            *self.resolver.bounds,
            *self.transport.bounds,
            Bound(
                "documents",
                lambda: sum(each.under_way for each in fetchers),
                lambda: sum(each.limit for each in fetchers),
                lambda: sum(each.turned_away for each in fetchers),
            ),
        )

    async def close(self) -> None:
        """End what is left."""
        await self.transport.close()
        for fetcher in (self.of_authors, self.of_nodes, self.of_lists):
            await fetcher.close()
        self.names.close()


def make_network(given: Given) -> Network:
    """
    @raise NoTrustRoot: the system has no trusted certificates.
    @raise OSError: C{network.ca_file} cannot be read.
    """
    config, reactor = given.config, given.reactor
    descriptors = share_descriptors(config, raise_descriptor_limit())
    if descriptors.limit < (wanted := descriptors_wanted(config)):
        _log.warn(FEW_DESCRIPTORS, limit=descriptors.limit, deliveries=descriptors.deliveries, intake=descriptors.intake, wanted=wanted)
    user_agent = f"socialrelay/{__version__} (+https://{given.identity.host}/)"
    allow = tuple(ip_network(cidr) for cidr in config.network.allow_addresses)
    trust = load_trust(config.network.ca_file, config.state_dir)
    names = SystemLookup(reactor, threads=config.dns.threads, suspect_threads=config.dns.suspect_threads)
    overrides = Overrides(config.network.connect_to)
    resolver = Resolver(reactor, names, timeout=config.dns.timeout, overrides=overrides, allow=allow, max_names=config.memory.names)
    fetcher = partial(
        TreqFetcher, reactor, resolver, trust, user_agent=user_agent, max_waiting=config.memory.documents, allow=allow, now=given.now
    )
    authors = fetcher(timeout=config.discovery.timeout, concurrency=config.discovery.concurrency, ports=config.discovery.ports)
    nodes = fetcher(timeout=config.polling.timeout, concurrency=config.polling.concurrency)
    transport = CurlTransport(
        reactor,
        resolver,
        trust,
        user_agent=user_agent,
        max_connections=descriptors.deliveries,
        kept_connections=descriptors.kept,
        max_answer=config.delivery.max_answer,
        connect_timeout=config.delivery.connect_timeout,
        http2=config.delivery.http2,
        allow=allow,
        now=given.now,
        memory=config.memory,
    )
    return Network(
        descriptors=descriptors,
        user_agent=user_agent,
        names=names,
        resolver=resolver,
        of_authors=authors,
        of_nodes=nodes,
        of_lists=fetcher(timeout=LIST_TIMEOUT, concurrency=LISTS),
        transport=transport,
    )
