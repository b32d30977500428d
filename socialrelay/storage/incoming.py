"""What waits to be judged, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from socialrelay.boundaries import Arrival, Full, Incoming, Unavailable, Waiting
from socialrelay.boundaries.incoming import QUARANTINED
from socialrelay.config import Receive
from socialrelay.ratelimit import Lru
from socialrelay.storage.commit import GroupCommit
from socialrelay.storage.queries import OutcomeUnknown, Queries, Rows
from socialrelay.storage.rows import LAZY, host_in, of_host, rows_with_body
from socialrelay.storage.usage import Usage

_KEEP = """
    INSERT INTO incoming (received_at, protocol, private, sender, sender_host, body, body_hash, next_attempt)
    SELECT received_at, protocol, private, sender, sender_host, body, body_hash, received_at
      FROM json_to_recordset(%(arrivals)s) AS arrival (
           n integer, received_at timestamptz, protocol text, private boolean, sender text, sender_host text, body bytea, body_hash bytea)
     ORDER BY n
        ON CONFLICT (body_hash) DO NOTHING
 RETURNING body_hash, id
"""

_USAGE = "SELECT sender_host, count(*), coalesce(sum(octet_length(body)), 0) FROM incoming GROUP BY sender_host"

# Counted before each try, and that survives the process: a body that kills it is counted.
_CLAIM = (
    LAZY
    + """
    WITH untried AS (
        SELECT id, next_attempt
          FROM incoming
         WHERE next_attempt <= %(now)s AND attempts = 0
         ORDER BY next_attempt, id
         LIMIT %(limit)s
           FOR UPDATE SKIP LOCKED
    ), tried AS (
        SELECT id, next_attempt
          FROM incoming
         WHERE next_attempt <= %(now)s AND attempts > 0
         ORDER BY next_attempt, id
         LIMIT %(tried)s
           FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT * FROM untried UNION ALL SELECT * FROM tried
    ), claimed AS (
        UPDATE incoming
           SET attempts = attempts + 1, next_attempt = %(until)s
          FROM due
         WHERE incoming.id = due.id
     RETURNING due.next_attempt AS was_due, incoming.id, received_at, protocol, private, sender, body, attempts
    )
    SELECT id, received_at, protocol, private, sender, body, attempts FROM claimed ORDER BY was_due, id
"""
)

_RECOVER = "UPDATE incoming SET next_attempt = %(now)s WHERE next_attempt > %(now)s"

_POSTPONE = """
    UPDATE incoming
       SET next_attempt = %(until)s, attempts = greatest(attempts - 1, 0), hopeless = hopeless OR %(hopeless)s
     WHERE id = %(id)s
 RETURNING id
"""

# What is claimed at this moment is left alone: publishing may hold it, and wait for us in turn.
_GIVE_WAY = """
    WITH candidate AS (
        SELECT id, octet_length(body) AS size FROM incoming WHERE sender_host = %(host)s AND hopeless ORDER BY id FOR UPDATE SKIP LOCKED
    ), counted AS (
        SELECT id, size, row_number() OVER so_far - 1 AS rows_before, sum(size) OVER so_far - size AS bytes_before,
               count(*) OVER () AS rows, sum(size) OVER () AS bytes
          FROM candidate
        WINDOW so_far AS (ORDER BY id)
    )
    DELETE FROM incoming
     USING counted
     WHERE incoming.id = counted.id
       AND (rows_before < %(rows)s OR bytes_before < %(bytes)s)
       AND rows >= %(rows)s AND bytes >= %(bytes)s
 RETURNING incoming.id, sender, size
"""

_FINISH = "DELETE FROM incoming WHERE id = ANY(%(ids)s::bigint[]) RETURNING sender_host, octet_length(body)"

_QUARANTINE = """
    WITH gone AS (
        DELETE FROM incoming WHERE id = %(id)s RETURNING *
    ), kept AS (
        INSERT INTO quarantine (id, received_at, quarantined_at, protocol, private, sender, body, reason)
        SELECT id, received_at, %(now)s, protocol, private, sender, CASE WHEN private THEN '' ELSE body END, %(reason)s FROM gone
    ), forgotten AS (
        DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine ORDER BY quarantined_at DESC, id DESC OFFSET %(before)s)
    )
    SELECT sender_host, octet_length(body) FROM gone
"""

# As above: what another statement holds at this moment is left alone.
_ERASE_WAITING = f"""
    WITH doomed AS (
        SELECT id
          FROM incoming
         WHERE (%(author)s <> '' AND sender = %(author)s) OR {of_host("sender_host")}
         ORDER BY id
           FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM incoming USING doomed WHERE incoming.id = doomed.id RETURNING incoming.id, sender_host, octet_length(body) AS size
    ), aside AS (
        DELETE FROM quarantine WHERE (%(author)s <> '' AND sender = %(author)s) OR {of_host(host_in("sender"))} RETURNING id
    )
    SELECT id, sender_host, size FROM gone
     UNION ALL
    SELECT id, NULL, NULL FROM aside
"""

_IN_VAIN = 1000

_NEXT_DUE = "SELECT min(next_attempt) FROM incoming"


@frozen
class _Hashed:
    arrival: Arrival
    digest: bytes


class PostgresIncoming:
    """
    L{Incoming} in PostgreSQL.

    @ivar commits: what is about to be kept.
    """

    def __init__(self, clock: IReactorTime, database: Queries, usage: Usage, receive: Receive) -> None:
        """
        @param usage: shared with the log, which removes what it publishes.
        @param receive: how many arrivals may wait to be written, and bytes of them.
        """
        self._database = database
        self._usage = usage
        self.commits: GroupCommit[_Hashed, int | None] = GroupCommit(
            self._write, clock, waiting=receive.commit_queue, waiting_bytes=receive.bytes_in_hand
        )
        database.on_silence(lambda: self.commits.refuse_waiting("the database is away"))
        self._loading: list[Deferred[None]] = []
        self._hopeless = 0
        """How many were postponed as such: while it stands still, nobody has more to give than before."""
        self._in_vain: Lru[str, tuple[int, int]] = Lru(_IN_VAIN)
        """Host -> rows and bytes that it was asked for and did not have."""

    def keep(self, arrival: Arrival) -> Deferred[int | None]:
        """See L{Incoming.keep}."""
        if not self._database.answering:
            return fail(Unavailable("the database is away"))
        if not self._usage.known:
            return self._known().addCallback(lambda _: self._keep(arrival))
        return self._keep(arrival)

    def _keep(self, arrival: Arrival) -> Deferred[int | None]:
        size = len(arrival.body)
        try:
            self._usage.reserve(arrival.sender_host, size)
        except Full:
            return fail()
        hashed = _Hashed(arrival, sha256(arrival.body).digest())

        def kept(id: int | None) -> int | None:
            if id is None:
                self._usage.release(arrival.sender_host, size)
            return id

        def failed(failure: Failure) -> Failure:
            self._usage.release(arrival.sender_host, size)
            if failure.check(OutcomeUnknown):
                self._usage.forget()
            return failure

        return self.commits.submit(hashed, size, (hashed.digest,)).addCallbacks(kept, failed)

    def _write(self, batch: list[_Hashed]) -> Deferred[list[int | None]]:
        arrivals = rows_with_body(
            {
                "n": n,
                "received_at": item.arrival.received_at.isoformat(),
                "protocol": item.arrival.protocol,
                "private": item.arrival.private,
                "sender": item.arrival.sender,
                "sender_host": item.arrival.sender_host,
                "body": item.arrival.body,
                "body_hash": item.digest,
            }
            for n, item in enumerate(batch)
        )

        def numbers(found: Rows) -> list[int | None]:
            ids = {bytes(digest): id for digest, id in found}
            return [ids.get(item.digest) for item in batch]

        return self._database.query(_KEEP, {"arrivals": arrivals}).addCallback(numbers)

    def _known(self) -> Deferred[None]:
        """Load the usage; all who ask meanwhile share one query."""
        waiter: Deferred[None] = Deferred()
        self._loading.append(waiter)
        if len(self._loading) == 1:
            loaded = self._database.query(_USAGE, idempotent=True)
            loaded.addCallback(lambda found: self._usage.load((host, rows, int(size)) for host, rows, size in found))
            loaded.addBoth(self._loaded)
        return waiter

    def _loaded(self, result: Any) -> None:
        waiters, self._loading = self._loading, []
        for waiter in waiters:
            waiter.callback(result)

    def claim(self, now: datetime, until: datetime, limit: int, tried: int = 0) -> Deferred[list[Waiting]]:
        """See L{Incoming.claim}."""
        query = self._database.query(_CLAIM, {"now": now, "until": until, "limit": limit, "tried": tried})
        return query.addCallback(
            lambda found: [
                Waiting(id, received_at, protocol, private, sender, bytes(body), attempts)
                for id, received_at, protocol, private, sender, body, attempts in found
            ]
        )

    def recover(self, now: datetime) -> Deferred[None]:
        """See L{Incoming.recover}."""
        return self._database.query(LAZY + _RECOVER, {"now": now}).addCallback(_nothing)

    def give_way(self, host: str, size: int) -> Deferred[dict[int, str]]:
        """See L{Incoming.give_way}."""
        return ensureDeferred(self._give_way(host, size))

    async def _give_way(self, host: str, size: int) -> dict[int, str]:
        if not self._usage.known:
            await self._known()
        rows, lacking = self._usage.lacking(host, size)
        tried = self._in_vain.get(host)
        if not (rows or lacking) or (tried is not None and rows >= tried[0] and lacking >= tried[1]):
            return {}
        before = self._hopeless
        try:
            found = await self._database.query(_GIVE_WAY, {"host": host, "rows": rows, "bytes": lacking})
        except OutcomeUnknown:
            self._usage.forget()
            raise
        for _, _, gone in found:
            self._usage.release(host, gone)
        if not found and before == self._hopeless:
            self._in_vain[host] = rows, lacking
        return {id: sender for id, sender, _ in sorted(found)}

    def postpone(self, id: int, until: datetime, hopeless: bool = False) -> Deferred[bool]:
        """See L{Incoming.postpone}."""

        def postponed(found: Rows) -> bool:
            if hopeless:
                self._hopeless += 1
                self._in_vain = Lru(_IN_VAIN)
            return bool(found)

        return self._database.query(LAZY + _POSTPONE, {"id": id, "until": until, "hopeless": hopeless}).addCallback(postponed)

    def finish(self, ids: Iterable[int]) -> Deferred[None]:
        """See L{Incoming.finish}."""
        ids = list(ids)
        return self._removed(_FINISH, {"ids": ids}) if ids else succeed(None)

    def quarantine(self, id: int, reason: str, now: datetime) -> Deferred[None]:
        """See L{Incoming.quarantine}."""
        return self._removed(_QUARANTINE, {"id": id, "reason": reason, "now": now, "before": QUARANTINED - 1})

    def erase(self, *, author: str = "", host: str = "") -> Deferred[list[int]]:
        """See L{Incoming.erase}."""

        def erased(found: Rows) -> list[int]:
            self._released((place, size) for _, place, size in found if place is not None)
            return sorted(id for id, _, _ in found)

        return self._database.query(_ERASE_WAITING, {"author": author, "host": host}).addCallbacks(erased, self._perhaps_removed)

    def _removed(self, statement: str, parameters: dict[str, object]) -> Deferred[None]:
        return self._database.query(statement, parameters).addCallbacks(self._released, self._perhaps_removed)

    def _released(self, found: Iterable[tuple[Any, ...]]) -> None:
        for host, size in found:
            self._usage.release(host, size)

    def _perhaps_removed(self, failure: Failure) -> Failure:
        if failure.check(OutcomeUnknown):
            self._usage.forget()
        return failure

    def next_due(self) -> Deferred[datetime | None]:
        """See L{Incoming.next_due}."""
        return self._database.query(_NEXT_DUE, idempotent=True).addCallback(lambda found: found[0][0])

    def usage(self) -> Deferred[tuple[int, int]]:
        """See L{Incoming.usage}."""
        return ensureDeferred(self._usage_now())

    async def _usage_now(self) -> tuple[int, int]:
        if not self._usage.known:
            await self._known()
        return self._usage.rows, self._usage.bytes


def _nothing(_: object) -> None:
    return None


_conforms: type[Incoming] = PostgresIncoming
