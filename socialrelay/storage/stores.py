"""All stores of a relay together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from socialrelay.boundaries import (
    Accounts,
    BusStore,
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
from socialrelay.boundaries.aside import Aside
from socialrelay.boundaries.node_table import NodeTable
from socialrelay.config import Receive, Retention


class Health(Protocol):
    """How the storage fares."""

    @property
    def healthy(self) -> bool:
        """Statements can be run now; while it is false they fail at once with L{Unavailable<socialrelay.boundaries.Unavailable>}."""

    @property
    def answering(self) -> bool:
        """C{healthy}, and it answers; while it does not, nothing is published or kept, and whatever else is asked waits."""

    @property
    def full(self) -> bool:
        """It said a moment ago that its disk is full."""

    @property
    def detail(self) -> str:
        """One line for the operator."""

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Call this each time C{healthy} changes, with its new value."""

    def on_silence(self, told: Callable[[], None]) -> None:
        """Call this each time that C{answering} ends."""


@frozen
class AtHand:
    """
    What the stores know of themselves without asking the database.

    @ivar connections: that are up.
    @ivar busy: connections that are waited for.
    @ivar statements: that were begun.
    @ivar connections_lost: how often one was lost or could not be opened.
    @ivar to_be_published: posts that wait to be written.
    @ivar to_be_kept: bodies that wait to be written, to be judged later.
    @ivar to_be_written_limit: how many may wait, of each kind.
    @ivar incoming_rows: bodies that wait to be judged.
    """

    connections: int = 0
    connections_limit: int = 0
    busy: int = 0
    statements: int = 0
    statements_waiting: int = 0
    statements_waiting_limit: int = 0
    connections_lost: int = 0
    to_be_published: int = 0
    to_be_kept: int = 0
    to_be_written_limit: int = 0
    incoming_rows: int = 0
    incoming_bytes: int = 0


@frozen
class Stored:
    """
    What only the database knows.

    @ivar quarantine_rows: bodies that could not be judged.
    @ivar body_bytes: of the posts whose bodies are kept.
    @ivar database_bytes: that the database takes on its disk.
    @ivar polls_due: nodes whose poll is due.
    """

    quarantine_rows: int
    body_bytes: int
    database_bytes: int
    polls_due: int


class Figures(Protocol):
    """How the storage fares, in numbers."""

    def at_hand(self) -> AtHand:
        """What is known in the process."""

    def measure(self, now: datetime) -> Deferred[Stored]:
        """
        Ask the database; it may take a second.

        @raise Unavailable: it is away.
        """

    def last_written(self) -> Deferred[datetime | None]:
        """The time that the latest post, poll or message of the bus was stored with; C{None} if there is none."""


@frozen
class Storage:
    """
    What the relay keeps.

    @ivar health: tells whether it can be reached.
    @ivar adjust: take other bounds, from now on.
    @ivar close: let what is under way finish, and close it; nothing may be asked of it afterwards.
    """

    log: PostLog
    incoming: Incoming
    aside: Aside
    rejections: Rejections
    destinations: Destinations
    accounts: Accounts
    nodes: Nodes
    node_table: NodeTable
    subscriptions: Subscriptions
    rules: Rules
    contacts: Contacts
    profiles: Profiles
    statistics: Statistics
    identity: IdentityStore
    bus: BusStore
    health: Health
    figures: Figures
    adjust: Callable[[Receive, Retention], object]
    close: Callable[[], Deferred[None]]
