"""How many descriptors this process may open, and who may take how many of them."""

from __future__ import annotations

import resource

from attrs import frozen

from socialrelay.config import Config

OWN = 64
"""What the process itself needs: files, pipes, listening sockets, the control socket's connections."""

FOR_A_MOMENT = 100
"""Connections that are being ended, and those that are accepted in one turn of the reactor before they are."""

OPERATORS = 200
"""Connections to the operators' site, at most; of few descriptors a sixteenth."""

LISTENERS = 8
"""Publishers and listeners of the bus take descriptors as they come; one in so many is left for them where there is a bus."""

LISTS = 2
"""Lists of rules that are fetched at a time."""


def raise_descriptor_limit() -> int:
    """
    Raise the soft limit of open descriptors to the hard one.

    @return: the limit that holds now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # some systems report a hard limit that they do not grant
            return soft
    return hard


@frozen
class Descriptors:
    """
    Who may take how many, so that all of them together never meet the system's limit: a connection that is refused comes again, and a
    process that can open nothing any more does nothing well.

    @ivar limit: how many there are.
    @ivar own: for the process itself: databases, names, documents, files.
    @ivar operators: connections to the operators' site.
    @ivar listeners: for who connects to the bus.
    @ivar deliveries: connections to nodes, of which L{kept} may be idle.
    @ivar intake: connections to the public site.
    """

    limit: int
    own: int
    operators: int
    listeners: int
    deliveries: int
    kept: int
    intake: int

    @property
    def in_flight(self) -> int:
        """Deliveries that may be in flight without closing what is kept."""
        return self.deliveries - self.kept


def share_descriptors(config: Config, limit: int) -> Descriptors:
    """
    Share them.

    Deliveries get what is asked for, and the public site all that is left; if that is too few for both, each gets half.

    @param limit: how many there are.
    """
    if limit == resource.RLIM_INFINITY:
        limit = 2**31
    own = _own(config)
    operators = min(OPERATORS, limit // 16)
    listeners = limit // LISTENERS if config.bus.enabled else 0
    left = max(limit - own - operators - listeners, 2)
    deliveries = min(_for_deliveries(config), left // 2)
    # If there are not enough for both, those that are kept must not take the places of those under way, nor these close all that are kept.
    kept = min(config.delivery.kept_connections, max(deliveries - config.delivery.in_flight, deliveries // 2))
    return Descriptors(limit, own, operators, listeners, deliveries, kept, left - deliveries)


def descriptors_wanted(config: Config) -> int:
    """How many must be allowed so that everybody has what the configuration says."""
    deliveries = _for_deliveries(config)
    wanted = _own(config) + OPERATORS + deliveries + max(deliveries, config.receive.connections)
    return -(-wanted * LISTENERS // (LISTENERS - 1)) if config.bus.enabled else wanted


def _own(config: Config) -> int:
    own = OWN + FOR_A_MOMENT + config.postgres.connections + config.dns.threads + config.dns.suspect_threads
    return own + config.discovery.concurrency + config.polling.concurrency + LISTS


def _for_deliveries(config: Config) -> int:
    """A connection that is kept for later is one besides those that are used."""
    return config.delivery.in_flight + config.delivery.kept_connections
