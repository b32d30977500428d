"""The message bus: where messages are kept, how they come in, and who hears of what the relay does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

LEGACY, INGEST, HTTP, OWN = "legacy", "ingest", "http", "own"
"""Where a message came from: the compatible socket, the acknowledging one, HTTP, the relay itself."""

SEQUENCE_MARK = "\x1f"
"""Stands in the body of one of the relay's own messages where its sequence number goes, which no JSON text can hold."""

ERASED = "erased"
"""The member of C{msg}, true, of those of the relay's own messages that had named somebody who was erased."""

BATCH_BYTES = 32 * 1024 * 1024
"""Of the bodies that are committed together."""

READ_RANGE, READ_MESSAGES, READ_BYTES = 5000, 1000, 4 * 1024 * 1024
"""Messages that are looked through, messages that are read, and bytes of their bodies, at a time: some milliseconds of the reactor."""


@frozen
class BusMessage:
    """
    A message that is to be kept.

    @ivar msg_id: two with the same are one.
    @ivar body: UTF-8, JSON but for L{SEQUENCE_MARK}.
    @ivar source: L{LEGACY}, L{INGEST}, L{HTTP} or L{OWN}.
    """

    msg_id: str
    topic: str
    body: bytes
    source: str


@frozen
class Kept:
    """
    @ivar seq: its sequence number.
    @ivar duplicate: it was there before.
    """

    seq: int
    duplicate: bool


@frozen
class StoredMessage:
    """@ivar body: as it was published, sequence number and all."""

    seq: int
    msg_id: str
    topic: str
    body: bytes
    source: str
    received_at: datetime


@frozen
class Extent:
    """
    What the store holds.

    @ivar last_seq: the last number that was given; 0 before the first.
    @ivar oldest_seq: from here on everything is there, but for the relay's own; C{last_seq + 1} if all was forgotten.
    @ivar oldest_own_seq: from here on the relay's own are there, too.
    @ivar published: up to here all is known to have been published.
    @ivar size: bytes of all bodies.
    """

    last_seq: int
    oldest_seq: int
    oldest_own_seq: int
    published: int
    size: int


class BusStore(Protocol):
    """
    Keeps messages in the order of their sequence numbers, which have no holes when they are given and become visible in order.

    Raises L{Unavailable<socialrelay.boundaries.Unavailable>} while the database is away.
    """

    def add(self, messages: Sequence[BusMessage], now: datetime, published: int) -> Deferred[list[Kept]]:
        """
        Commit them, in one transaction; no two have the same C{msg_id}.  May be repeated after it failed: what is there by then is a
        duplicate.  Called by one at a time.

        @param published: up to where all is published by now; noted along the way.
        @raise ValueError: they have more than L{BATCH_BYTES} together.
        """

    def read(self, after: int, topic: str, limit: int) -> Deferred[tuple[list[StoredMessage], int]]:
        """
        Messages after a sequence number, in order; bounded in number (L{READ_MESSAGES}), in bytes (L{READ_BYTES}, but one at least), and
        in how far is looked (L{READ_RANGE}).

        @param topic: what their topics begin with, byte by byte; empty for all.
        @return: they, and up to where was looked.
        """

    def extent(self) -> Deferred[Extent]:
        """What it holds."""

    def mark_published(self, seq: int) -> Deferred[None]:
        """Note up to where all is published; never goes back."""

    def prune(self, before: datetime, most: int, most_own: int) -> Deferred[int]:
        """
        One small step of forgetting, the oldest first.

        @param before: what is older goes, but for what is not published yet.
        @param most: bytes of bodies that may stay, C{most_own} of the relay's own.
        @return: how many messages went.
        """

    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Deferred[int]:
        """
        Blank those of the relay's own messages that name somebody: C{msg} says L{ERASED} and its C{seq} then, and nothing else.  Number,
        C{msg_id} and topic stay, so that nobody who reads on finds a gap.  Where several are given, all must fit.  To do it again does no
        harm.

        @param author: a handle, which is C{msg.actor}.
        @param guid: of a post, which is C{msg.activity_id}.
        @param host: C{msg.node} is this one, or below it.
        @return: how many messages were blanked.
        """


@frozen
class Answer:
    """
    What came of a message.

    @ivar status: C{ok}: kept; C{dup}: it was there before; C{bad}: it never will be; C{denied}: not by you; C{busy}: come again.
    @ivar seq: its sequence number, with C{ok} and C{dup}.
    @ivar detail: else the reason, a part of a sentence.
    """

    status: str
    seq: int = 0
    detail: str = ""


class Ingest(Protocol):
    """The acknowledging way in, for the socket and for HTTP."""

    def take(
        self,
        msg_id: str,
        topic: bytes,
        body: bytes,
        source: str,
        answered: Callable[[Answer], None],
        allowed: Callable[[str], bool] = lambda topic: True,
    ) -> None:
        """
        Take a message, and answer when it is committed, or refused: once, in this turn or later.

        @param msg_id: what the sender calls it; the body must not say otherwise.
        @param body: the whole envelope.
        @param allowed: whether this sender may use a topic.
        """


@frozen
class BusPage:
    """
    @ivar next: ask after this number for what follows.
    """

    messages: Sequence[StoredMessage]
    next: int
    last_seq: int
    oldest_seq: int
    oldest_own_seq: int


class TooOld(Exception):
    """
    Messages after this number have been forgotten.

    @ivar oldest_seq: the oldest that is there.
    """

    def __init__(self, oldest_seq: int) -> None:
        super().__init__(f"the oldest message that is kept has the number {oldest_seq}")
        self.oldest_seq = oldest_seq


class Replay(Protocol):
    """What was said on the bus, for whoever was not there."""

    def page(self, since: int | None, topic: str = "", limit: int = 1000, wait: float = 0.0) -> Deferred[BusPage]:
        """
        Messages after a sequence number.  Cancelling it is free.

        @param since: C{None}: from now on.
        @param topic: what their topics begin with.
        @param wait: seconds to wait for one if there is none; bounded.
        @raise TooOld: what is asked for was forgotten in part.
        @raise ValueError: C{since} is beyond the last number: these are another relay's numbers.
        @raise Full: too many wait.
        @raise Unavailable: the database is away.
        """


class Announce(Protocol):
    """Tells the bus what the relay does. Never waits, never fails; does nothing where there is no bus."""

    def __call__(self, event: str, members: Mapping[str, object]) -> None:
        """
        @param event: C{payload.received}.
        @param members: of C{msg}: texts, numbers, true, false, C{None}, and lists and mappings of these.
        """


def silence(event: str, members: Mapping[str, object]) -> None:
    """Where there is no bus."""
