"""What operators' views and acts look into, and how somebody is told that something makes no sense."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from attrs import frozen

from socialrelay import __version__
from socialrelay.boundaries import (
    Destinations,
    Incoming,
    Membership,
    Nodes,
    PostLog,
    Rejections,
    Rules,
    Statistics,
    Subscriptions,
)
from socialrelay.boundaries.aside import Aside
from socialrelay.boundaries.node_table import NodeTable
from socialrelay.config import Config
from socialrelay.identity import RelayIdentity
from socialrelay.routing.hosts import node_host


class ActError(Exception):
    """
    The act was not done, or there is nothing to show.

    @ivar code: C{bad-request}, C{bad-host}, C{bad-tags}, C{bad-list}, C{refused}, C{unknown-node}, C{not-subscribed}, C{no-rule},
        C{no-list}, C{not-fetched} or C{unavailable}.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Stores(Protocol):
    """What operators look into and change."""

    @property
    def log(self) -> PostLog: ...

    @property
    def nodes(self) -> Nodes: ...

    @property
    def node_table(self) -> NodeTable: ...

    @property
    def destinations(self) -> Destinations: ...

    @property
    def subscriptions(self) -> Subscriptions: ...

    @property
    def rules(self) -> Rules: ...

    @property
    def incoming(self) -> Incoming: ...

    @property
    def aside(self) -> Aside: ...

    @property
    def rejections(self) -> Rejections: ...

    @property
    def statistics(self) -> Statistics: ...


@frozen(kw_only=True)
class About:
    """
    The running relay, as told to its operator.

    @ivar host: its public name; empty in development mode.
    @ivar key_fingerprint: SHA-256 of the public key (SubjectPublicKeyInfo, DER), in hexadecimal.
    @ivar provisional: the identity is not bound yet.
    """

    version: str
    host: str
    production: bool
    handle: str
    guid: str
    key_fingerprint: str
    provisional: bool
    started_at: datetime
    pid: int
    state_dir: str
    listen: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, identity: RelayIdentity, *, started_at: datetime, pid: int) -> About:
        """What configuration and identity say."""
        return cls(
            version=__version__,
            host=config.host,
            production=config.production,
            handle=identity.handle,
            guid=identity.guid,
            key_fingerprint=identity.key_hash.hex(),
            provisional=identity.provisional,
            started_at=started_at,
            pid=pid,
            state_dir=str(config.state_dir),
            listen=config.listen,
        )


def checked_host(text: str) -> str:
    """
    A node's host as the relay writes it.

    @raise ActError: C{bad-host}.
    """
    try:
        return node_host(text)
    except ValueError as error:
        raise ActError("bad-host", f"{text[:253]!r} is no host of a node. {error}") from error


def served_by(membership: Membership) -> Callable[[str], bool]:
    """Whether a host is among those that are served though it is not subscribed: it would be, if it did not answer 410 Gone."""
    return lambda host: membership.effective(host).until is not None
