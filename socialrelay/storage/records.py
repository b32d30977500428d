"""Keys, counts and the relay's own name, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

from twisted.internet.defer import Deferred, ensureDeferred, succeed

from socialrelay.boundaries import BoundIdentity, IdentityStore, Profiles, Statistics
from socialrelay.storage.queries import Queries, Rows
from socialrelay.storage.retention import BATCH
from socialrelay.storage.rows import LAZY, host_in, of_host, rows

_PROFILE = "SELECT public_key, fetched_at FROM profile WHERE handle = %(handle)s"

_PUT_PROFILE = (
    LAZY
    + """
    INSERT INTO profile (handle, public_key, fetched_at, used_on)
    VALUES (%(handle)s, %(pem)s, %(now)s, %(day)s)
        ON CONFLICT (handle) DO UPDATE
       SET public_key = excluded.public_key, fetched_at = excluded.fetched_at, used_on = excluded.used_on
"""
)

_USED = LAZY + "UPDATE profile SET used_on = %(day)s WHERE handle = ANY(%(handles)s::text[]) AND used_on < %(day)s"

_REMOVE_PROFILE = "DELETE FROM profile WHERE handle = %(handle)s RETURNING 1"

_PROFILES_OF_HOST = f"DELETE FROM profile WHERE {of_host(host_in('handle'))} RETURNING 1"

_COUNT_PROFILES = "SELECT count(*) FROM profile"

_PRUNE_PROFILES = """
    WITH gone AS (DELETE FROM profile WHERE used_on < %(since)s RETURNING 1) SELECT count(*) FROM gone
"""


class PostgresProfiles:
    """See L{Profiles}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def get(self, handle: str) -> Deferred[tuple[str, datetime] | None]:
        """See L{Profiles.get}."""
        return self._database.query(_PROFILE, {"handle": handle}, idempotent=True).addCallback(lambda found: found[0] if found else None)

    def put(self, handle: str, pem: str, now: datetime) -> Deferred[None]:
        """See L{Profiles.put}."""
        parameters = {"handle": handle, "pem": pem, "now": now, "day": now.date()}
        return self._database.query(_PUT_PROFILE, parameters, idempotent=True).addCallback(_nothing)

    def used(self, handles: Collection[str], day: date) -> Deferred[None]:
        """See L{Profiles.used}."""
        if not handles:
            return succeed(None)
        return self._database.query(_USED, {"handles": list(handles), "day": day}, idempotent=True).addCallback(_nothing)

    def remove(self, handle: str) -> Deferred[int]:
        """See L{Profiles.remove}."""
        return self._database.query(_REMOVE_PROFILE, {"handle": handle}, idempotent=True).addCallback(len)

    def remove_host(self, host: str) -> Deferred[int]:
        """See L{Profiles.remove_host}."""
        return self._database.query(_PROFILES_OF_HOST, {"host": host}, idempotent=True).addCallback(len)

    def count(self) -> Deferred[int]:
        """See L{Profiles.count}."""
        return self._database.query(_COUNT_PROFILES, idempotent=True).addCallback(lambda found: int(found[0][0]))

    def prune(self, unused_since: date) -> Deferred[int]:
        """See L{Profiles.prune}."""
        query = self._database.query(_PRUNE_PROFILES, {"since": unused_since}, idempotent=True)
        return query.addCallback(lambda found: int(found[0][0]))


# In the order of the key, so that two that add at once wait for each other and do not lock each other out.
_ADD = (
    LAZY
    + """
    WITH added AS (
        SELECT hour, event, subject, count
          FROM json_to_recordset(%(counts)s) AS added (hour timestamptz, event text, subject text, count bigint)
    ), of_subjects AS (
        INSERT INTO statistic AS old (hour, event, subject, count)
        SELECT hour, event, subject, sum(count) FROM added
         GROUP BY hour, event, subject
         ORDER BY hour, event, subject
            ON CONFLICT (hour, event, subject) DO UPDATE SET count = old.count + excluded.count
    ), of_hours AS (
        INSERT INTO statistic_hour AS old (hour, event, count)
        SELECT hour, event, sum(count) FROM added
         GROUP BY hour, event
         ORDER BY hour, event
            ON CONFLICT (hour, event) DO UPDATE SET count = old.count + excluded.count
    )
    INSERT INTO statistic_total AS old (event, count)
    SELECT event, sum(count) FROM added
     GROUP BY event
     ORDER BY event
        ON CONFLICT (event) DO UPDATE SET count = old.count + excluded.count
"""
)

_ALL_TIME = "SELECT event, count FROM statistic_total"

_TOTALS = "SELECT event, sum(count)::bigint FROM statistic_hour WHERE hour >= %(since)s GROUP BY event"

_SERIES = """
    SELECT date_trunc(%(span)s, hour, 'UTC') AS at, event, sum(count)::bigint
      FROM statistic_hour
     WHERE hour >= %(since)s
     GROUP BY at, event
"""

_OF_EVENT = """
    SELECT subject, sum(count)::bigint
      FROM statistic
     WHERE hour = ANY(%(hours)s::timestamptz[]) AND event = %(event)s
     GROUP BY subject
"""

_OF_SUBJECT = "SELECT event, sum(count)::bigint FROM statistic WHERE subject = %(subject)s AND hour >= %(since)s GROUP BY event"

_LAST = """
    SELECT max(hour) FROM statistic WHERE subject = %(subject)s AND event = %(event)s
"""

# From one subject to the next by the index: there are few subjects and many rows.
_SUBJECTS = f"""
    WITH RECURSIVE known AS (
        SELECT min(subject) AS subject FROM statistic
         UNION ALL
        SELECT (SELECT min(subject) FROM statistic WHERE subject > known.subject) FROM known WHERE known.subject IS NOT NULL
    )
    SELECT subject FROM known WHERE {of_host("subject")}
"""

_ERASE_COUNTS = """
    DELETE FROM statistic
     WHERE ctid = ANY(ARRAY(SELECT ctid FROM statistic WHERE subject = %(subject)s LIMIT %(batch)s))
 RETURNING 1
"""


class PostgresStatistics:
    """See L{Statistics}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def add(self, counts: Mapping[tuple[datetime, str, str], int]) -> Deferred[None]:
        """See L{Statistics.add}."""
        if not counts:
            return succeed(None)
        entries = rows({"hour": hour, "event": event, "subject": subject, "count": n} for (hour, event, subject), n in counts.items())
        return self._database.query(_ADD, {"counts": entries}).addCallback(_nothing)

    def totals(self, since: datetime | None = None) -> Deferred[dict[str, int]]:
        """See L{Statistics.totals}."""
        if since is None:
            return self._database.query(_ALL_TIME, idempotent=True).addCallback(_sums)
        return self._database.query(_TOTALS, {"since": since}, idempotent=True).addCallback(_sums)

    def series(self, span: str, since: datetime) -> Deferred[dict[tuple[datetime, str], int]]:
        """See L{Statistics.series}."""
        query = self._database.query(_SERIES, {"span": span, "since": since}, idempotent=True)
        return query.addCallback(lambda found: {(at, event): count for at, event, count in found})

    def of_event(self, event: str, hours: Sequence[datetime]) -> Deferred[dict[str, int]]:
        """See L{Statistics.of_event}."""
        return self._database.query(_OF_EVENT, {"event": event, "hours": list(hours)}, idempotent=True).addCallback(_sums)

    def of_subject(self, subject: str, since: datetime) -> Deferred[dict[str, int]]:
        """See L{Statistics.of_subject}."""
        return self._database.query(_OF_SUBJECT, {"subject": subject, "since": since}, idempotent=True).addCallback(_sums)

    def last(self, event: str, subject: str) -> Deferred[datetime | None]:
        """See L{Statistics.last}."""
        return self._database.query(_LAST, {"event": event, "subject": subject}, idempotent=True).addCallback(lambda found: found[0][0])

    def erase(self, host: str) -> Deferred[int]:
        """See L{Statistics.erase}."""
        return ensureDeferred(self._erase(host))

    async def _erase(self, host: str) -> int:
        erased = 0
        for (subject,) in await self._database.query(_SUBJECTS, {"host": host}, idempotent=True):
            gone = BATCH
            while gone == BATCH:
                gone = len(await self._database.query(_ERASE_COUNTS, {"subject": subject, "batch": BATCH}, idempotent=True))
                erased += gone
        return erased


_IDENTITY = "SELECT host, username, guid, key_hash FROM relay_identity"

_BIND = f"""
    INSERT INTO relay_identity (host, username, guid, key_hash, created_at)
    VALUES (%(host)s, %(username)s, %(guid)s, %(key_hash)s, %(now)s)
        ON CONFLICT (id) DO NOTHING;
    {_IDENTITY}
"""


class PostgresIdentity:
    """See L{IdentityStore}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def get(self) -> Deferred[BoundIdentity | None]:
        """See L{IdentityStore.get}."""
        return self._database.query(_IDENTITY, idempotent=True).addCallback(lambda found: _bound(found) if found else None)

    def bind(self, identity: BoundIdentity, now: datetime) -> Deferred[BoundIdentity]:
        """See L{IdentityStore.bind}."""
        parameters = {
            "host": identity.host,
            "username": identity.username,
            "guid": identity.guid,
            "key_hash": identity.key_hash,
            "now": now,
        }
        return self._database.query(_BIND, parameters, idempotent=True).addCallback(_bound)


def _bound(found: Rows) -> BoundIdentity:
    [(host, username, guid, key_hash)] = found
    return BoundIdentity(host, username, guid, bytes(key_hash))


def _sums(found: Rows) -> dict[str, int]:
    return dict(found)


def _nothing(_: object) -> None:
    return None


_conforms_profiles: type[Profiles] = PostgresProfiles
_conforms_statistics: type[Statistics] = PostgresStatistics
_conforms_identity: type[IdentityStore] = PostgresIdentity
