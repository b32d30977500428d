"""What waits to be judged, and what could not be, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from socialrelay.boundaries.aside import NOT_KEPT, NOT_THERE, WAITS_ALREADY, Aside, Backlogged, PutAside, Share
from socialrelay.storage.queries import OutcomeUnknown, Queries, Rows
from socialrelay.storage.rows import host_in
from socialrelay.storage.usage import Usage

_WAITING = """
    WITH share AS (
        SELECT sender_host, count(*) AS rows, sum(octet_length(body))::bigint AS bytes, min(received_at) AS oldest
          FROM incoming
         GROUP BY sender_host
    )
    SELECT sender_host, rows, bytes, oldest FROM share ORDER BY rows DESC, bytes DESC, sender_host LIMIT %(hosts)s
"""

_IN_ALL = """
    SELECT count(*), coalesce(sum(octet_length(body)), 0)::bigint, min(received_at), (SELECT count(*) FROM quarantine) FROM incoming
"""

_QUARANTINED = """
    SELECT id, received_at, quarantined_at, sender, private, octet_length(body), reason, (SELECT count(*) FROM quarantine)
      FROM quarantine
     ORDER BY quarantined_at DESC, id DESC
     LIMIT %(limit)s
"""

_RETRY = f"""
    WITH chosen AS (
        SELECT protocol, private, sender, body FROM quarantine WHERE id = %(id)s FOR UPDATE
    ), kept AS (
        INSERT INTO incoming (received_at, protocol, private, sender, sender_host, body, body_hash, next_attempt)
        SELECT %(now)s, protocol, private, sender, {host_in("sender")}, body, sha256(body), %(now)s FROM chosen WHERE NOT private
            ON CONFLICT (body_hash) DO NOTHING
     RETURNING id
    ), gone AS (
        DELETE FROM quarantine WHERE id = %(id)s AND EXISTS (SELECT FROM kept)
    )
    SELECT private, EXISTS (SELECT FROM kept) FROM chosen
"""

_DROP = "DELETE FROM quarantine WHERE id = %(id)s RETURNING 1"


class PostgresAside:
    """See L{Aside}."""

    def __init__(self, database: Queries, usage: Usage) -> None:
        """@param usage: what C{incoming} holds; it is counted anew when something was put there from here."""
        self._database = database
        self._usage = usage

    def waiting(self, hosts: int) -> Deferred[Backlogged]:
        """See L{Aside.waiting}."""
        return Deferred.fromCoroutine(self._waiting(hosts))

    async def _waiting(self, hosts: int) -> Backlogged:
        found = await self._database.query(_WAITING, {"hosts": hosts}, idempotent=True)
        [(rows, size, oldest, quarantine)] = await self._database.query(_IN_ALL, idempotent=True)
        return Backlogged(rows, size, oldest, tuple(Share(*row) for row in found), quarantine)

    def quarantined(self, limit: int) -> Deferred[tuple[list[PutAside], int]]:
        """See L{Aside.quarantined}."""

        def listed(found: Rows) -> tuple[list[PutAside], int]:
            return [PutAside(*row[:-1]) for row in found], found[0][-1] if found else 0

        return self._database.query(_QUARANTINED, {"limit": limit}, idempotent=True).addCallback(listed)

    def retry(self, id: int, now: datetime) -> Deferred[str]:
        """See L{Aside.retry}."""

        def told(found: Rows) -> str:
            self._usage.forget()
            if not found:
                return NOT_THERE
            private, kept = found[0]
            return "" if kept else NOT_KEPT if private else WAITS_ALREADY

        return self._database.query(_RETRY, {"id": id, "now": now}).addCallbacks(told, self._perhaps)

    def _perhaps(self, failure: Failure) -> Failure:
        if failure.check(OutcomeUnknown):
            self._usage.forget()
        return failure

    def drop(self, id: int) -> Deferred[bool]:
        """See L{Aside.drop}."""
        return self._database.query(_DROP, {"id": id}, idempotent=True).addCallback(bool)


_conforms: type[Aside] = PostgresAside
