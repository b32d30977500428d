"""What was acknowledged and is not yet judged, and what was refused."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred


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


QUARANTINED = 200
"""Bodies in quarantine, at most: whoever finds out what breaks the relay must not fill its disk with it."""


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

    def claim(self, now: datetime, until: datetime, limit: int, tried: int = 0) -> Deferred[list[Waiting]]:
        """
        Take rows that are due, count an attempt for each, and hide them until C{until}: all in one statement.

        @param limit: at most so many that were never tried.
        @param tried: and so many more of which an attempt was begun that came to no end.
        """

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
        """Judging it failed too often. The body of a private message is not kept, and of all only the latest L{QUARANTINED}."""

    def erase(self, *, author: str = "", host: str = "") -> Deferred[list[int]]:
        """
        Remove what waits or was put into quarantine of an author, or of all authors of a host and of its subdomains.

        A private message does not show its author as long as it waits.

        @return: the numbers of what was removed.
        """

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


SEARCHED = 20_000


class Rejections(Protocol):
    """What was refused lately, for the operator."""

    def record(self, rejections: Sequence[Rejection]) -> Deferred[None]:
        """Keep them for a week."""

    def recent(self, limit: int) -> Deferred[list[Rejection]]:
        """The newest first."""

    def reasons(self, host: str) -> Deferred[dict[str, int]]:
        """
        Reason -> how many of the last L{SEARCHED} name an author of this host, whether that author signed them or not; the most frequent
        first.
        """

    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Deferred[int]:
        """
        Remove those that name an author, a guid, or any author of a host and of its subdomains.

        @return: how many they were.
        """
