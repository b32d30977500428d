"""Servers that the relay has heard of, and the operator's and the authors' wishes."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from socialrelay.routing.subscription import Preferences, Subscription


@frozen
class NodeRecord:
    """A row of C{node}."""

    host: str
    sources: tuple[str, ...]
    first_seen: datetime
    next_poll: datetime
    preferences: Preferences | None = None
    last_listed: datetime | None = None
    last_poll: datetime | None = None
    last_answer: datetime | None = None
    poll_failures: int = 0
    poll_error: str = ""
    missing_since: datetime | None = None


@frozen
class PollNote:
    """
    What one poll came to, as it is remembered.

    @ivar outcome: C{read}, C{gone}, C{missing}, C{unreadable} or C{failed}.
    @ivar scope: C{all}, C{tags} or C{none}; C{None} if nothing was read.
    @ivar tags: how many.
    @ivar error: why nothing was read.
    """

    at: datetime
    outcome: str
    scope: str | None = None
    tags: int = 0
    error: str = ""


POLLS_KEPT = 10


class Nodes(Protocol):
    """Servers that the relay has heard of."""

    def get(self, host: str) -> Deferred[NodeRecord | None]: ...

    def named(self, hosts: Collection[str]) -> Deferred[list[NodeRecord]]:
        """Those of them that are known, in no order."""

    def listed(self, source: str, hosts: Mapping[str, datetime], now: datetime) -> Deferred[int]:
        """A list named these hosts; a new one is polled first at the time given for it. How many are new."""

    def save(self, node: NodeRecord, poll: PollNote | None = None) -> Deferred[None]:
        """
        Insert or replace.

        @param poll: is remembered, and the last L{POLLS_KEPT} with it.
        """

    def polls(self, host: str) -> Deferred[list[PollNote]]:
        """The last polls of a node, the latest first."""

    def due(self, now: datetime, limit: int) -> Deferred[list[NodeRecord]]:
        """Those whose poll is due, the longest due first."""

    def subscribers(self) -> Deferred[list[NodeRecord]]:
        """Those that published preferences, C{none} included."""

    def page(self, after: str, limit: int) -> Deferred[list[NodeRecord]]:
        """By host, those after a host."""

    def count(self) -> Deferred[int]: ...

    def forget(self, unlisted_since: datetime) -> Deferred[int]:
        """Remove candidates that no list has named and that have not answered since then; never one with a subscription."""


@frozen
class ManualSubscription:
    """A subscription that the operator made."""

    host: str
    subscription: Subscription
    created_at: datetime
    created_by: str


class Subscriptions(Protocol):
    """Subscriptions that the operator made by hand."""

    def all(self) -> Deferred[list[ManualSubscription]]: ...

    def put(self, entry: ManualSubscription) -> Deferred[None]: ...

    def remove(self, host: str) -> Deferred[bool]: ...


class Contacts(Protocol):
    """Authors who said whether they wish to be relayed."""

    def all(self) -> Deferred[dict[str, bool]]: ...

    def put(self, handle: str, wishes: bool, now: datetime) -> Deferred[None]: ...

    def remove(self, handle: str) -> Deferred[None]: ...
