"""All stores of a relay together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from socialrelay.boundaries import (
    Contacts,
    Destinations,
    IdentityStore,
    Incoming,
    Nodes,
    PostLog,
    Profiles,
    Rejections,
    Rules,
    Statistics,
    Subscriptions,
)


class Health(Protocol):
    """How the storage fares."""

    @property
    def healthy(self) -> bool:
        """Statements can be run now; while it is false they fail at once with L{Unavailable<socialrelay.boundaries.Unavailable>}."""

    @property
    def detail(self) -> str:
        """One line for the operator."""

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Call this each time C{healthy} changes, with its new value."""


@frozen
class Storage:
    """
    What the relay keeps.

    @ivar health: tells whether it can be reached.
    @ivar close: let what is under way finish, and close it; nothing may be asked of it afterwards.
    """

    log: PostLog
    incoming: Incoming
    rejections: Rejections
    destinations: Destinations
    nodes: Nodes
    subscriptions: Subscriptions
    rules: Rules
    contacts: Contacts
    profiles: Profiles
    statistics: Statistics
    identity: IdentityStore
    health: Health
    close: Callable[[], Deferred[None]]
