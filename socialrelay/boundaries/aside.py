"""What waits to be judged, and what could not be: as operators see it, and what they may do with it."""

from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred


@frozen
class Share:
    """What waits of one host; C{oldest} is when the first of it was acknowledged."""

    host: str
    rows: int
    bytes: int
    oldest: datetime


@frozen
class Backlogged:
    """
    What waits in all.

    @ivar hosts: those with most rows, most first.
    @ivar quarantine: bodies that could not be judged.
    """

    rows: int
    bytes: int
    oldest: datetime | None
    hosts: tuple[Share, ...]
    quarantine: int


@frozen
class PutAside:
    """
    A row of C{quarantine}.

    @ivar size: bytes of the body; 0 for a private message, whose body is not kept.
    """

    id: int
    received_at: datetime
    quarantined_at: datetime
    sender: str
    private: bool
    size: int
    reason: str


class Aside(Protocol):
    """The queue before the judge, and the quarantine."""

    def waiting(self, hosts: int) -> Deferred[Backlogged]:
        """@param hosts: so many of them are told apart."""

    def quarantined(self, limit: int) -> Deferred[tuple[list[PutAside], int]]:
        """The latest first, and how many there are."""

    def retry(self, id: int, now: datetime) -> Deferred[str]:
        """
        Move a body from quarantine to what waits, as if it had come now.

        @return: why not, as a sentence; empty if so.
        """

    def drop(self, id: int) -> Deferred[bool]:
        """Remove a body from quarantine; whether it was there."""


NOT_THERE = "There is no such body in quarantine."
NOT_KEPT = "It was a private message, and their bodies are not kept."
WAITS_ALREADY = "The same body has come again and waits to be judged already."
