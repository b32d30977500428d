"""
Where the relay meets the world: protocols and the values that cross them, no logic.

Each is implemented twice at least: for real and in memory, and both are held to one contract test.  Methods return Deferreds; the memory
versions return ones that have fired.

No caller may cancel or time out a Deferred of a store: abandoning a query is safe, cancelling it is not (psycopg2's cancel blocks).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import Protocol

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.internet.defer import Deferred

from socialrelay.federation import DeliveryRequest
from socialrelay.routing.subscription import Effective, Preferences, Subscription
from socialrelay.scheduler.outcome import Reply
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, Progress

# Errors


class Unavailable(Exception):
    """Storage cannot be reached now; nothing was kept. The sender is told 503 and comes again."""


class Full(Exception):
    """A bound was reached; nothing was kept. The sender is told 503 and comes again."""


class HostFull(Full):
    """The bound is that of one host."""


class FetchFailed(Exception):
    """
    A document could not be fetched; the message says why in one line.

    @ivar status: the HTTP status, if there was an answer.
    @ivar retry_after: seconds that the other side asked us to wait, if it did.
    """

    def __init__(self, reason: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


class KeyUnavailable(Exception):
    """
    An author's key cannot be had now; the message says why in one line.

    @ivar retry_at: when asking again may help.
    @ivar hopeless: the author's node was reached, and answered that there is no such author or no usable key.
    """

    def __init__(self, reason: str, retry_at: datetime, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.retry_at = retry_at
        self.hopeless = hopeless


# The log


@frozen
class Publication:
    """
    A verified post on its way into the log.

    @ivar recipients: destination numbers.
    @ivar identities: SHA-256 hashes; if any of them is taken the post is a duplicate.
    @ivar incoming: the row of C{incoming} that it was; deleted in the same statement.
    """

    received_at: datetime
    published_at: datetime
    protocol: str
    kind: str
    author: str
    author_host: str
    guid: str
    tags: frozenset[str]
    recipients: frozenset[int]
    identities: tuple[bytes, ...]
    body: bytes
    incoming: int | None = None


@frozen
class LogEntry:
    """A post of the log as a destination reads it."""

    position: int
    author: str
    published_at: datetime
    size: int
    cancelled: bool = False


class PostLog(Protocol):
    """Verified posts, in the order in which they became visible."""

    def publish(self, publication: Publication) -> Deferred[int | None]:
        """
        Write a post, together with others that arrive in the same few milliseconds.

        Deferreds fire in the order of the positions: whoever admits posts to the queue as they fire, admits them in order.
        While storage is away one may stay unanswered: as long as it is not known whether the post was written.

        @return: its position, when it is durable; C{None} if it is a duplicate.
        @raise Unavailable: it was not written.
        @raise Full: more is waiting to be written than there may be.
        """

    def end(self) -> Deferred[int]:
        """The greatest position so far; 0 for an empty log."""

    def read(self, destination: int, after: int, upto: int) -> Deferred[list[LogEntry]]:
        """Posts that name the destination, C{after} < position <= C{upto}, in order. At most 5000 positions are asked for."""

    def bodies(self, positions: Collection[int]) -> Deferred[dict[int, bytes]]:
        """The bodies that are still kept."""

    def pending(self, destination: int, after: int, upto: int) -> Deferred[int]:
        """How many posts in C{after} < position <= C{upto} name the destination."""

    def cancel(self, *, author: str = "", host: str = "") -> Deferred[list[int]]:
        """
        Mark an author's posts, or those of all authors of a host and its subdomains, as cancelled.

        @return: their positions, of the last 7 days.
        """

    def oldest(self, lifetime_start: datetime) -> Deferred[int]:
        """The greatest position that is older than C{lifetime_start} or has lost its body; 0 if none."""

    def prune(self, now: datetime) -> Deferred[int]:
        """Forget what retention says, in one small batch; how many rows went."""


# Acknowledged and not yet judged


@frozen
class Arrival:
    """
    A body to be acknowledged, that could not be judged at once.

    @ivar sender: the handle in it; empty for a private message.
    @ivar sender_host: whose share of the room it takes: the handle's host, or L{socialrelay.quota.place_of} the client.
    """

    received_at: datetime
    protocol: str
    private: bool
    sender: str
    sender_host: str
    body: bytes


@frozen
class Waiting:
    """A row of C{incoming}, claimed for judging."""

    id: int
    received_at: datetime
    protocol: str
    private: bool
    sender: str
    body: bytes
    attempts: int


class Incoming(Protocol):
    """Bodies that were acknowledged and wait to be judged."""

    def keep(self, arrival: Arrival) -> Deferred[int | None]:
        """
        Make it durable, in a group commit.

        @return: its number; C{None} if the same bytes wait already.
        @raise HostFull: its sender's host holds what it may.
        @raise Full: all together do.
        @raise Unavailable: it was not written.
        """

    def give_way(self, host: str, size: int) -> Deferred[dict[int, str]]:
        """
        Remove hopeless rows of a full host, the oldest first: as many as a body of C{size} needs, none if they are too few.

        @return: number -> sender, of those removed.
        """

    def claim(self, now: datetime, until: datetime, limit: int) -> Deferred[list[Waiting]]:
        """Take rows that are due, count an attempt for each, and hide them until C{until}: all in one statement."""

    def recover(self, now: datetime) -> Deferred[None]:
        """Whoever hid rows before is no more: all are due."""

    def postpone(self, id: int, until: datetime, hopeless: bool = False) -> Deferred[bool]:
        """
        Its key is not to be had now: it is due again later, and this was no failed attempt.

        @param hopeless: see L{KeyUnavailable}; a row stays so.
        @return: whether it waits at all.
        """

    def finish(self, ids: Iterable[int]) -> Deferred[None]:
        """They are judged and not relayed (what is relayed is removed by the publishing statement)."""

    def quarantine(self, id: int, reason: str, now: datetime) -> Deferred[None]:
        """Judging it failed too often. The body of a private message is not kept."""

    def next_due(self) -> Deferred[datetime | None]:
        """When the next row is due; C{None} if there is none."""

    def usage(self) -> Deferred[tuple[int, int]]:
        """Rows and bytes."""


@frozen
class Rejection:
    """Why a body was not relayed."""

    rejected_at: datetime
    reason: str
    author: str = ""
    guid: str = ""
    kind: str = ""


class Rejections(Protocol):
    """What was refused lately, for the operator."""

    def record(self, rejections: Sequence[Rejection]) -> Deferred[None]:
        """Keep them for a week."""

    def recent(self, limit: int) -> Deferred[list[Rejection]]:
        """The newest first."""


# Destinations


class Destinations(Protocol):
    """The destinations and how far each has come."""

    def load(self) -> Deferred[list[DestinationRecord]]:
        """All of them."""

    def deferred(self, destination: int | None = None) -> Deferred[list[DeferredDelivery]]:
        """Posts that are tried on their own; of all destinations if none is named. At most 100 000."""

    def open(self, host: str, protocol: str, url: str, now: datetime) -> Deferred[DestinationRecord]:
        """
        Subscribe a host: a new row, or its old one with a new url.

        The cursor of a new or formerly closed one is the log's end, taken in the same statement under the log's lock.
        """

    def close(self, number: int) -> Deferred[None]:
        """It is no longer subscribed. What was pending is the scheduler's to cancel, with L{save}."""

    def save(self, progress: Progress) -> Deferred[None]:
        """Write what changed, in one transaction. A cursor never goes back."""


# Nodes and the operator's wishes


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


class Nodes(Protocol):
    """Servers that the relay has heard of."""

    def get(self, host: str) -> Deferred[NodeRecord | None]: ...

    def listed(self, source: str, hosts: Mapping[str, datetime], now: datetime) -> Deferred[int]:
        """A list named these hosts; a new one is polled first at the time given for it. How many are new."""

    def save(self, node: NodeRecord) -> Deferred[None]:
        """Insert or replace."""

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


@frozen
class Rule:
    """
    @ivar action: C{"block"}, C{"allow"} or C{"forward"}.
    @ivar subject: a host or a handle.
    """

    action: str
    subject: str
    reason: str
    created_at: datetime
    created_by: str


class Rules(Protocol):
    """The operator's rules."""

    def all(self) -> Deferred[list[Rule]]: ...

    def put(self, rule: Rule) -> Deferred[None]: ...

    def remove(self, action: str, subject: str) -> Deferred[bool]: ...


class Contacts(Protocol):
    """Authors who said whether they wish to be relayed."""

    def all(self) -> Deferred[dict[str, bool]]: ...

    def put(self, handle: str, wishes: bool, now: datetime) -> Deferred[None]: ...

    def remove(self, handle: str) -> Deferred[None]: ...


# Keys


@frozen
class HeldKey:
    """An author's public key and when it was read from the author's node."""

    key: RSAPublicKey
    fetched_at: datetime


class Profiles(Protocol):
    """Authors' keys, as discovered."""

    def get(self, handle: str) -> Deferred[tuple[str, datetime] | None]:
        """PEM (SubjectPublicKeyInfo) and when it was fetched."""

    def put(self, handle: str, pem: str, now: datetime) -> Deferred[None]: ...

    def used(self, handles: Collection[str], day: date) -> Deferred[None]: ...

    def remove(self, handle: str) -> Deferred[None]: ...

    def prune(self, unused_since: date) -> Deferred[int]: ...


class Keyring(Protocol):
    """Public keys of authors."""

    def at_hand(self, handle: str) -> HeldKey | None:
        """The key, if it is in memory."""

    def key(self, handle: str) -> Deferred[HeldKey]:
        """
        From memory, storage, or the author's node; all who ask meanwhile share one look-up.

        @raise KeyUnavailable: and when to ask again.
        """

    def refresh(self, handle: str) -> Deferred[HeldKey]:
        """
        The key as the author's node shows it now; at most once per author and hour, else the held one.

        @raise KeyUnavailable: and when to ask again.
        """

    def forget(self, handle: str) -> Deferred[None]: ...


# Statistics, identity


class Statistics(Protocol):
    """Hourly counts."""

    def add(self, counts: Mapping[tuple[datetime, str, str], int]) -> Deferred[None]:
        """(start of the hour, event, subject) -> how many more."""

    def totals(self, since: datetime | None = None) -> Deferred[dict[str, int]]:
        """Per event, all subjects together."""

    def of_subject(self, subject: str, since: datetime) -> Deferred[dict[str, int]]:
        """Per event, one subject."""


@frozen
class BoundIdentity:
    """Who the relay is, for good."""

    host: str
    username: str
    guid: str
    key_hash: bytes


class IdentityStore(Protocol):
    """The one row that binds the relay to its name."""

    def get(self) -> Deferred[BoundIdentity | None]: ...

    def bind(self, identity: BoundIdentity, now: datetime) -> Deferred[BoundIdentity]:
        """Bind it if nothing is bound; in any case the one that is bound now."""


# What makes it quick and may vanish


class Cache(Protocol):
    """
    Redis, or its twin in memory. May forget anything at any moment, never fails and never waits longer than a second.
    """

    def get(self, key: str) -> Deferred[bytes | None]: ...

    def set(self, key: str, value: bytes, seconds: float) -> Deferred[None]: ...

    def delete(self, key: str) -> Deferred[None]: ...

    def count(self, key: str, seconds: float) -> Deferred[int]:
        """One more; how many in the window that began with the first, which lasts C{seconds}."""


# HTTP


class Transport(Protocol):
    """Sends deliveries."""

    def send(self, request: DeliveryRequest, timeout: float) -> Deferred[Reply]:
        """
        POST it; never fails, whatever the other side does.  Cancelling it ends the transfer; the Deferred then fails with CancelledError.

        @param timeout: seconds for the whole.
        """

    def close(self) -> Deferred[None]:
        """End what is left and free everything."""


@frozen
class Document:
    """
    A fetched document.

    @ivar url: where it was found in the end.
    @ivar headers: names in lower case, the first value of each.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetcher(Protocol):
    """Gets documents: https only, vetted at every hop, bounded in size and time."""

    def get(
        self,
        url: str,
        *,
        accept: str,
        max_body: int,
        headers: Mapping[str, str] = MappingProxyType({}),
        same_host: bool = False,
        ok: Collection[int] = (200,),
    ) -> Deferred[Document]:
        """
        @param same_host: follow redirects only to the same host or C{www.} of it.
        @param ok: statuses that are an answer.
        @raise FetchFailed: for anything else.
        """

    def post_json(self, url: str, document: object, *, max_body: int) -> Deferred[Document]:
        """@raise FetchFailed: for any answer but 200. Redirects are not followed."""


# What the parts of the relay offer each other


class Intake(Protocol):
    """The front door, for HTTP and for scripts."""

    def accept(self, body: bytes, client: str) -> Deferred[None]:
        """
        Take a public envelope; fires when it is durable, or known to need no keeping.

        @param client: the client's address, for limits only.
        @raise NotAnEnvelope: answer 400.
        @raise Full: answer 503.
        @raise Unavailable: answer 503.
        """

    def accept_private(self, body: bytes, client: str) -> Deferred[None]:
        """Take a message to the relay itself; what is in it is judged later. Raises as L{accept}, but for NotAnEnvelope."""


@frozen
class PollReport:
    """
    What one poll of a node's preferences came to.

    @ivar preferences: as read now; C{None} if they could not be read.
    @ivar faults: sentences for the node's administrator, the worst first.
    """

    host: str
    url: str
    at: datetime
    preferences: Preferences | None
    faults: tuple[str, ...] = ()


class Poller(Protocol):
    """Reads nodes' preferences."""

    def poll(self, host: str, source: str) -> Deferred[PollReport]:
        """
        Poll a node now, and act on what it says. A node that was not known becomes known if it publishes C{subscribe: true}.

        @param source: who asks: C{"check"} or C{"operator"}.
        """


LIST_FAILED = "failed"


class Lists(Protocol):
    """Fetches node lists."""

    def fetch(self) -> Deferred[dict[str, str]]:
        """Fetch all of them now: name -> what came of it, in one line, which begins with L{LIST_FAILED} if it could not be read."""


class Membership(Protocol):
    """Who is subscribed to what."""

    def effective(self, host: str) -> Effective:
        """As it is now."""

    def update(self, host: str) -> Deferred[Effective]:
        """Work it out anew from what is stored, and act on it: open, change or close its destination."""

    def rules_changed(self) -> Deferred[None]:
        """Read the operator's rules anew and act on them, also on what is queued."""

    def subscribed(self) -> Mapping[str, Effective]:
        """All hosts with a subscription."""


@frozen
class DestinationStatus:
    """
    A destination as it is at this moment.

    @ivar following: it is sent posts as they come; else it reads the log behind it.
    @ivar behind: positions of the log that it has not come to.
    @ivar waiting: posts for it in memory.
    @ivar deferred_posts: posts that are tried on their own.
    """

    record: DestinationRecord
    following: bool
    behind: int
    waiting: int
    in_flight: int
    deferred_posts: int


class Queue(Protocol):
    """The queue manager, as operators meet it. Each act returns whether there was such a destination."""

    def wake(self, host: str) -> bool:
        """Try it now. At most once a minute, unless C{suspended}."""

    def suspend(self, host: str) -> bool: ...

    def resume(self, host: str) -> bool: ...

    def destination(self, host: str) -> DestinationStatus | None: ...

    def destinations(self) -> Sequence[DestinationStatus]: ...


class Overview(Protocol):
    """The relay in numbers, for its first page and C{/stats.json}."""

    def stats(self) -> Deferred[dict[str, object]]: ...


class SelfService(Protocol):
    """For a node's administrator: C{/check}."""

    def check(self, host: str) -> Deferred[dict[str, object]]:
        """
        Poll the node now and say what was read and what follows.  Keys: C{host}, C{url}, C{at} (ISO 8601), C{faults} (list of sentences),
        C{preferences} (C{scope}, C{tags}, C{receive_url}, C{dropped_tags}; or None), C{subscription} (C{scope}, C{tags}, C{why}),
        C{deliveries} (C{state}, C{delivered}, C{last_success}, C{last_reason}, C{next_attempt}, C{behind}; or None).

        @raise ValueError: that is no host name of a node; the message says why.
        """


@frozen
class Condition:
    """
    @ivar essential: without it the relay is not ready; else it is merely degraded.
    @ivar detail: one line for the operator.
    """

    name: str
    well: bool
    essential: bool
    detail: str = ""
