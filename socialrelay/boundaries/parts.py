"""What the parts of the relay offer each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from socialrelay.routing.subscription import Effective, Preferences
from socialrelay.scheduler.record import DestinationRecord, State


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

    def take_up(self, host: str) -> Deferred[Effective]:
        """The same, and forget that it answered 410 Gone to deliveries."""

    def rules_changed(self) -> Deferred[None]:
        """Read the operator's rules anew and act on them, also on what is queued."""

    def subscribed(self) -> Mapping[str, Effective]:
        """All hosts with a subscription."""

    def count(self) -> SubscriberCounts:
        """How many there are; quickly, however many they are."""

    def tags(self) -> Sequence[str]:
        """The distinct tags that are wanted, in no order."""

    def wanting(self, tag: str) -> int:
        """How many nodes want a tag, besides those that want all posts."""


@frozen
class SubscriberCounts:
    """
    @ivar everything: nodes that want all posts.
    @ivar tagged: nodes that want tags.
    @ivar tags: distinct tags.
    """

    everything: int
    tagged: int
    tags: int


@frozen
class DestinationStatus:
    """
    A destination as it is at this moment.

    @ivar following: it is sent posts as they come; else it reads the log behind it.
    @ivar behind: positions of the log that it has not come to.
    @ivar waiting: posts for it in memory.
    @ivar deferred_posts: posts that are tried on their own.
    @ivar window: deliveries that may be under way to its host, as things stand.
    @ivar timeout: seconds that one of them may take.
    """

    record: DestinationRecord
    following: bool
    behind: int
    waiting: int
    in_flight: int
    deferred_posts: int
    window: int = 2
    timeout: float = 15.0


@frozen
class Outcome:
    """
    How an attempt to deliver ended.

    @ivar outcome: C{delivered}, C{bounced}, C{post later}, C{host failed}, C{no receiver} or C{gone}.
    @ivar position: of the post; C{None} if it is not known any more.
    """

    at: datetime
    outcome: str
    reason: str
    position: int | None = None


class Queue(Protocol):
    """The queue manager, as operators meet it. Each act returns whether there was such a destination."""

    def wake(self, host: str) -> bool:
        """Try it now. At most once a minute, unless C{suspended}."""

    def suspend(self, host: str) -> bool: ...

    def resume(self, host: str) -> bool: ...

    def requeue(self, host: str, position: int) -> str:
        """
        Try a post once more that is stored as bounced at this host.

        @return: why not, as a part of a sentence; empty if so.
        """

    def destination(self, host: str) -> DestinationStatus | None: ...

    def outcomes(self, host: str) -> Sequence[Outcome]:
        """The last attempts that did not end with a delivery, the latest first: at most ten, since the process was started."""

    def summary(self, served: Callable[[str], bool]) -> dict[str, int]:
        """
        All destinations in numbers: C{destinations}, one count for each state, C{behind} (those that read the log behind its end),
        C{waiting}, C{in_flight}, C{deferred_posts}.

        @param served: whether a host counts that is not subscribed; those count in any case for which something is under way or waits.
        """

    def worst(self, state: State | None, limit: int, served: Callable[[str], bool]) -> tuple[list[DestinationStatus], int]:
        """
        Those of a state, or if none is named those that do not follow the log happily; those with most behind them first.

        @param served: as for L{summary}.
        @return: so many of them, and how many more there are.
        """

    @property
    def paced(self) -> int:
        """Deliveries of new posts that wait for their time, so that the origin is not overrun."""


class Overview(Protocol):
    """The relay in numbers, for its pages and C{/stats.json}. Raises L{Unavailable} while storage is away or too many ask."""

    def stats(self) -> Deferred[dict[str, object]]:
        """
        How it stands.  Keys: C{at} (ISO 8601); counts, each for C{24h}, C{7d}, C{30d} and C{total}: C{received} (taken in), C{posts}
        (accepted and relayed), C{rejected}, C{ignored}, C{deliveries}, C{failed} (times that a node was deferred), C{bounced}, C{expired},
        C{cancelled}; C{subscribers} (C{total}, C{all}, C{tags}), C{tags} (distinct), C{nodes} (known), C{authors} (whose profile is known),
        C{delay} (seconds from acceptance to delivery, of posts that went out as they came: C{24h} -> C{p50}, C{p99}; or C{None} if there
        were none), C{queue} (C{destinations}, one count for each state, C{behind}, C{waiting}, C{in_flight}, C{deferred_posts}, C{paced}).
        """

    def series(self, period: str) -> Deferred[list[dict[str, object]]]:
        """
        The counts over time, the oldest first, every span present: C{at} (its start, ISO 8601), C{received}, C{posts}, C{rejected},
        C{ignored}, C{deliveries}, C{failed}, C{bounced}, C{expired}.

        @param period: C{24h} or C{7d}: by the hour; C{30d}: by the day. The last span is not over.
        @raise ValueError: there is no such period.
        """

    def tags(self, text: str, offset: int, limit: int) -> Deferred[dict[str, object]]:
        """
        Tags that at least two nodes want, those most wanted first: C{tags} (each C{tag}, C{nodes}), C{total}: how many there are.

        @param text: a part of the tag, in any case, with or without C{#}.
        @param limit: at most 200.
        """

    def subscribed(self, offset: int, limit: int) -> Deferred[dict[str, object]]:
        """
        Names of subscribed nodes, for relays that show them: C{nodes} (each C{host}, C{scope}, C{tags}: how many), C{total}.

        @param limit: at most 200.
        """


class SelfService(Protocol):
    """For a node's administrator: C{/check}."""

    def check(self, host: str) -> Deferred[dict[str, object]]:
        """
        Poll the node now and say what was read and what follows.  Keys: C{host}, C{url}, C{at} (ISO 8601), C{faults} (list of sentences),
        C{preferences} (C{scope}, C{tags}, C{receive_url}, C{dropped_tags}; or None), C{subscription} (C{scope}, C{tags}, C{why}),
        C{deliveries} (C{state}, C{delivered}, C{last_success}, C{last_reason}, C{next_attempt}, C{behind}; or None).

        @raise ValueError: that is no host name of a node; the message says why.
        """


class Stream(Protocol):
    """One page that is kept up to date (server-sent events)."""

    def send(self, event: str, data: str) -> None:
        """
        Tell it something; nothing happens if it has ended. One that does not read is ended.

        @param event: the event's name.
        @param data: of any number of lines.
        """

    def end(self) -> None:
        """End it, if it has not ended."""


class Streams(Protocol):
    """The live streams of both sites: bounded in all and per client."""

    def open(self, request: object, client: str, ended: Callable[[], None], *, operator: bool = False) -> Stream | None:
        """
        Answer a request with a stream; C{None} if there are too many: then the caller answers 503 with C{Retry-After}, and the page asks
        again now and then instead.

        @param client: what its streams are counted under.
        @param ended: called once, when the page has gone, or is ended.
        @param operator: it is a page of the operators, for whom some places are kept.
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
