"""Counts, and who the relay is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred


class Statistics(Protocol):
    """Hourly counts."""

    def add(self, counts: Mapping[tuple[datetime, str, str], int]) -> Deferred[None]:
        """(start of the hour, event, subject) -> how many more."""

    def totals(self, since: datetime | None = None) -> Deferred[dict[str, int]]:
        """Per event, all subjects together; of all hours that begin at C{since} or later, or of all time."""

    def series(self, span: str, since: datetime) -> Deferred[dict[tuple[datetime, str], int]]:
        """
        The same over time: (start of the span in UTC, event) -> how many, where there were any.

        @param span: C{"hour"} or C{"day"}.
        """

    def of_event(self, event: str, hours: Sequence[datetime]) -> Deferred[dict[str, int]]:
        """
        Per subject, one event.

        @param hours: the starts of the hours; a few at a time, since there may be many subjects in each.
        """

    def of_subject(self, subject: str, since: datetime) -> Deferred[dict[str, int]]:
        """Per event, one subject."""

    def last(self, event: str, subject: str) -> Deferred[datetime | None]:
        """In which hour that was last counted; C{None} if it is not remembered."""

    def erase(self, host: str) -> Deferred[int]:
        """
        Remove the hourly counts of a host and of its subdomains; the sums in which they are, by the hour and of all time, stay as they are.

        @return: how many rows went.
        """


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
