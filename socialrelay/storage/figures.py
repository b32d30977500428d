"""How the database fares, in numbers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred

from socialrelay.storage.commit import GroupCommit
from socialrelay.storage.database import Database
from socialrelay.storage.stores import AtHand, Figures, Stored
from socialrelay.storage.usage import Usage

# What of the log still has bodies is at its end; sizes are in the rows, so that no body is read.
_MEASURE = """
    SELECT (SELECT count(*) FROM quarantine),
           (SELECT coalesce(sum(size), 0) FROM post, log_state WHERE position > bodies_removed AND recipient_count > 0),
           pg_database_size(current_database()),
           (SELECT count(*) FROM node WHERE next_poll <= %(now)s)
"""

_LAST_WRITTEN = """
    SELECT greatest((SELECT published_at FROM post ORDER BY position DESC LIMIT 1),
                    (SELECT max(last_poll) FROM node),
                    (SELECT received_at FROM bus_message ORDER BY seq DESC LIMIT 1))
"""


class PostgresFigures:
    """See L{Figures}."""

    def __init__(
        self,
        database: Database,
        usage: Usage,
        publishing: GroupCommit[Any, Any],
        keeping: GroupCommit[Any, Any],
        load: Callable[[], Deferred[Any]],
    ) -> None:
        """
        @param publishing: the posts that are about to be written.
        @param keeping: the bodies that are to wait.
        @param load: has the usage counted, if it is not known.
        """
        self._database = database
        self._usage = usage
        self._publishing = publishing
        self._keeping = keeping
        self._load = load

    def at_hand(self) -> AtHand:
        """See L{Figures.at_hand}."""
        database = self._database
        return AtHand(
            connections=database.up,
            connections_limit=database.limits.connections,
            busy=database.busy,
            statements=database.statements,
            statements_waiting=database.waiting,
            statements_waiting_limit=database.limits.waiting,
            connections_lost=database.losses,
            to_be_published=self._publishing.waiting,
            to_be_kept=self._keeping.waiting,
            to_be_written_limit=self._publishing.limit,
            incoming_rows=self._usage.rows,
            incoming_bytes=self._usage.bytes,
        )

    def measure(self, now: datetime) -> Deferred[Stored]:
        """See L{Figures.measure}."""
        measured = self._load().addCallback(lambda _: self._database.query(_MEASURE, {"now": now}, idempotent=True))
        return measured.addCallback(lambda found: Stored(*map(int, found[0])))

    def last_written(self) -> Deferred[datetime | None]:
        """See L{Figures.last_written}."""
        return self._database.query(_LAST_WRITTEN, idempotent=True).addCallback(lambda found: found[0][0])


_conforms: type[Figures] = PostgresFigures
