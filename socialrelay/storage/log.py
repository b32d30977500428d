"""
The log, in PostgreSQL.

Positions become visible in order: the publishing statement runs under one advisory lock, which it holds until its rows can be seen, and
nothing else draws positions.  So whoever has read up to a position has missed nothing before it.

A publication is answered only when its fate is known.  If the connection is lost after the statement was sent, the batch stays
I{in doubt}: it is sent again when the database is back, and each post carries a number by which the statement knows it from before.
Meanwhile nothing else is published.  (To say "not written" of a post that stands in the log would be worse than to say it late: those
destinations that follow the log as it grows would never come to it.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from secrets import randbits
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socialrelay.boundaries import LogEntry, PostLog, Publication, Target, Unavailable
from socialrelay.config import Receive, Retention
from socialrelay.routing.bitmap import pack
from socialrelay.routing.recipients import Recipients
from socialrelay.storage.commit import GroupCommit
from socialrelay.storage.prune import prune
from socialrelay.storage.queries import OutcomeUnknown, Queries, Rows
from socialrelay.storage.retention import check_range
from socialrelay.storage.rows import LOG_LOCK, REACHED, array, of_host, rows, rows_with_body
from socialrelay.storage.usage import Usage

_CANCEL_RANGE = 20_000
_ERASE_BATCH = 1000
_AGAIN = 0.25

_NAMELESS = "SET author = '', author_host = '', guid = '', tags = '{}', size = 0, cancelled = true"

# What is withdrawn is so in any case: a retraction that is a duplicate leaves its target no more than the first one did.
_WITHDRAW = f"""
    ), forestalled AS (
        SELECT * FROM json_to_recordset(%(forestalled)s) AS forestalled (publication bigint, hash bytea)
    ), taken AS (
        INSERT INTO identity AS old (hash, seen_at)
        SELECT forestalled.hash, fresh.published_at FROM forestalled JOIN fresh USING (publication)
            ON CONFLICT (hash) DO UPDATE SET seen_at = greatest(old.seen_at, excluded.seen_at)
    ), withdrawn AS (
        SELECT position FROM post WHERE position = ANY(%(withdrawn)s::bigint[]) AND NOT retraction ORDER BY position FOR UPDATE
    ), emptied AS (
        DELETE FROM post_body WHERE position IN (SELECT position FROM withdrawn)
    ), nameless AS (
        UPDATE post {_NAMELESS} WHERE position IN (SELECT position FROM withdrawn)
"""

# Most batches hold no retraction, and a longer statement takes longer to plan.
_PUBLISH, _PUBLISH_AND_WITHDRAW = (
    f"""
    SELECT pg_advisory_xact_lock(%(lock)s);
    WITH input AS MATERIALIZED (
        SELECT *
          FROM json_to_recordset(%(posts)s) AS input (
               n integer, publication bigint, received_at timestamptz, published_at timestamptz, protocol text, kind text, author text,
               author_host text, guid text, tags text[], recipients bytea, recipient_count integer, size integer, body bytea,
               retraction boolean, digest bytea)
    ), claim AS (
        SELECT * FROM json_to_recordset(%(claims)s) AS claim (publication bigint, hash bytea)
    ), known AS MATERIALIZED (
        SELECT publication, position
          FROM post
         WHERE position > %(floor)s
           AND publication IN (SELECT publication FROM input)
    ), fresh AS MATERIALIZED (
        SELECT *
          FROM input
         WHERE publication NOT IN (SELECT publication FROM known)
           AND publication NOT IN (SELECT claim.publication FROM claim JOIN identity USING (hash))
    ), claimed AS (
        INSERT INTO identity (hash, seen_at)
        SELECT claim.hash, fresh.published_at FROM claim JOIN fresh USING (publication)
    ), published AS (
        INSERT INTO post (received_at, published_at, protocol, kind, author, author_host, guid, tags, recipients, recipient_count, size,
                          publication, retraction, digest)
        SELECT received_at, published_at, protocol, kind, author, author_host, guid, tags, recipients, recipient_count, size, publication,
               retraction, digest
          FROM fresh
         ORDER BY n
     RETURNING publication, position
    ), kept AS (
        INSERT INTO post_body (position, body)
        SELECT published.position, fresh.body
          FROM published JOIN fresh USING (publication)
         WHERE fresh.recipient_count > 0
    ), freed AS (
        DELETE FROM incoming WHERE id = ANY(%(incoming)s::bigint[]) RETURNING sender_host, octet_length(body) AS size{withdraw}
    )
    SELECT publication, position, NULL::text, NULL::integer FROM published
     UNION ALL
    SELECT publication, position, NULL::text, NULL::integer FROM known
     UNION ALL
    SELECT NULL::bigint, NULL::bigint, sender_host, size FROM freed
"""
    for withdraw in ("", _WITHDRAW.rstrip())
)

_END = "SELECT coalesce(max(position), 0) FROM post"

_READ = """
    SELECT position, author, published_at, size, cancelled, encode(digest, 'hex')
      FROM post
     WHERE position > %(after)s
       AND position <= %(upto)s
       AND CASE WHEN octet_length(recipients) > %(byte)s THEN get_bit(recipients, %(bit)s) = 1 ELSE false END
     ORDER BY position
"""

_PENDING = """
    SELECT count(*)
      FROM post
     WHERE position > %(after)s
       AND position <= %(upto)s
       AND CASE WHEN octet_length(recipients) > %(byte)s THEN get_bit(recipients, %(bit)s) = 1 ELSE false END
"""

_BODIES = "SELECT position, body FROM post_body WHERE position = ANY(%(positions)s::bigint[])"

# The last week of the log, by its own time.
_WEEK = """
    SELECT coalesce(min(position), 0) - 1, (SELECT coalesce(max(position), 0) FROM post)
      FROM post
     WHERE published_at >= (SELECT published_at FROM post ORDER BY position DESC LIMIT 1) - interval '7 days'
"""

# Never one that is nameless already. An author's are found by the index, whatever the range.
_NAMED = f"""((%(author)s <> '' AND author = %(author)s) OR (%(guid)s <> '' AND guid = %(guid)s) OR {of_host("author_host")})"""

# There may be thousands of names. As a constant of the statement they become a hash table (as a subquery they would not: each row would
# be compared with each of them), and an author's posts are found by the index.
_NAMES = "%(names)s::text[]"

# Of a host every domain above it is looked for among the names; of those hosts only that posts come from.
_HOSTS = f"""author_host IN (
               SELECT known.host
                 FROM (SELECT DISTINCT author_host AS host FROM post WHERE position > %(after)s AND position <= %(upto)s) AS known,
                      LATERAL (SELECT string_to_array(known.host, '.') AS labels) AS split,
                      generate_subscripts(labels, 1) AS first
                WHERE array_to_string(labels[first:], '.') = ANY({_NAMES}))"""

_CANCEL = {
    kind: f"""
    WITH found AS (
        SELECT position, cancelled
          FROM post
         WHERE position > %(after)s
           AND position <= %(upto)s
           AND NOT retraction
           AND {clause}
    ), marked AS (
        UPDATE post SET cancelled = true FROM found WHERE post.position = found.position AND NOT found.cancelled
    )
    SELECT position FROM found ORDER BY position
"""
    for kind, clause in (
        ("authors", f"author = ANY({_NAMES})"),
        ("guids", f"guid = ANY({_NAMES})"),
        ("hosts", _HOSTS),
        ("tags", f"EXISTS (SELECT FROM unnest(tags) AS tag WHERE tag = ANY({_NAMES}))"),
    )
}

_FIND = """
    SELECT position, recipients
      FROM post
     WHERE author = %(author)s AND guid = %(guid)s AND NOT retraction
     ORDER BY position DESC
     LIMIT 1
"""

_ENDS = "SELECT coalesce(min(position), 1) - 1, coalesce(max(position), 0) FROM post"

_NAMES_IT = "CASE WHEN octet_length(recipients) > number >> 3 THEN get_bit(recipients, number) = 1 ELSE false END"

# A retraction is settled when all whom it names are past it and none has still to try it.  Those who follow are so together; they are asked
# one by one only for what is newer than that.
_ERASE = f"""
    WITH straggler AS MATERIALIZED (
        SELECT number, {REACHED} AS cursor FROM destination, log_state WHERE subscribed AND (NOT following OR missed <> '[]')
    ), doomed AS (
        SELECT position
          FROM post
         WHERE position > %(after)s
           AND position <= %(upto)s
           AND {_NAMED}
           AND CASE
               WHEN NOT retraction THEN true
               WHEN EXISTS (SELECT FROM straggler WHERE cursor < post.position AND {_NAMES_IT}) THEN false
               WHEN EXISTS (SELECT FROM deferred_delivery tried WHERE tried.position = post.position) THEN false
               WHEN post.position <= (SELECT followed FROM log_state) THEN true
               ELSE NOT EXISTS (SELECT FROM destination WHERE subscribed AND following AND cursor < post.position AND {_NAMES_IT})
               END
         ORDER BY position
         LIMIT %(batch)s
           FOR UPDATE
    ), emptied AS (
        DELETE FROM post_body WHERE position IN (SELECT position FROM doomed)
    ), nameless AS (
        UPDATE post {_NAMELESS} WHERE position IN (SELECT position FROM doomed)
    )
    SELECT position FROM doomed ORDER BY position
"""

_OLDEST = """
    SELECT greatest(
        (SELECT bodies_removed FROM log_state),
        (SELECT position FROM post WHERE published_at < %(start)s ORDER BY published_at DESC, position DESC LIMIT 1))
"""


@frozen
class _Numbered:
    number: int
    publication: Publication


class PostgresLog:
    """
    L{PostLog} in PostgreSQL.

    @ivar commits: what is about to be published.
    @ivar retention: what is forgotten when.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, database: Queries, usage: Usage, retention: Retention, receive: Receive, end: int) -> None:
        """
        @param usage: what C{incoming} holds; told what publishing removes from it.
        @param receive: how many publications may wait to be written, and bytes of them.
        @param end: the log's end now.
        """
        self._clock = clock
        self._database = database
        self._usage = usage
        self.retention = retention
        self._end = end
        self._number = randbits(62)
        self.commits: GroupCommit[_Numbered, int | None] = GroupCommit(
            self._write, clock, waiting=receive.commit_queue, waiting_bytes=receive.bytes_in_hand
        )
        self._retry: Callable[[], None] | None = None
        self._alarm: Any = None
        self._closed = False
        database.watch(self._changed)
        database.on_silence(lambda: self.commits.refuse_waiting("the database is away"))

    def publish(self, publication: Publication) -> Deferred[int | None]:
        """See L{PostLog.publish}."""
        if self._retry is not None or not self._database.answering:
            return fail(Unavailable("the database is away"))
        self._number += 1
        keys = (*publication.identities, *publication.forestalls)
        return self.commits.submit(_Numbered(self._number, publication), len(publication.body), keys)

    def close(self) -> None:
        """Give up what is in doubt: the next start reads the log."""
        self._closed = True
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        retry, self._retry = self._retry, None
        if retry is not None:
            retry()

    def _write(self, batch: list[_Numbered]) -> Deferred[list[int | None]]:
        answer: Deferred[list[int | None]] = Deferred()
        parameters = _parameters(batch, self._end)
        self._send(batch, parameters, answer)
        return answer

    def _send(self, batch: list[_Numbered], parameters: dict[str, object], answer: Deferred[list[int | None]]) -> None:
        retractions = any(entry.publication.retraction for entry in batch)
        sent = self._database.query(_PUBLISH_AND_WITHDRAW if retractions else _PUBLISH, parameters)
        sent.addCallbacks(
            self._written,
            self._failed,
            callbackArgs=(batch, answer),
            errbackArgs=(batch, parameters, answer),
        )

    def _written(self, found: Rows, batch: list[_Numbered], answer: Deferred[list[int | None]]) -> None:
        positions = {number: position for number, position, _, _ in found if number is not None}
        self._end = max(self._end, *positions.values()) if positions else self._end
        for number, _, host, size in found:
            if number is None:
                self._usage.release(host, size)
        answer.callback([positions.get(entry.number) for entry in batch])

    def _failed(self, failure: Failure, batch: list[_Numbered], parameters: dict[str, object], answer: Deferred[list[int | None]]) -> None:
        doubtful = failure.check(OutcomeUnknown) or (parameters.get("again") and failure.check(Unavailable))
        if not doubtful or self._closed:
            answer.errback(failure)
            return
        reason = failure.getErrorMessage()
        if "again" not in parameters:
            self._log.warn("Posts that are in doubt until the database is back: {count}. {reason}", count=len(batch), reason=reason)
        self._usage.forget()
        parameters["again"] = True
        self.commits.refuse_waiting(reason)

        def retry() -> None:
            if self._database.healthy:
                self._send(batch, parameters, answer)
            else:
                answer.errback(failure)

        self._retry = retry
        if self._database.healthy:
            self._alarm = self._clock.callLater(_AGAIN, self._changed, True)

    def _changed(self, healthy: bool) -> None:
        if healthy and self._database.healthy and self._retry is not None:
            retry, self._retry = self._retry, None
            retry()

    def end(self) -> Deferred[int]:
        """See L{PostLog.end}."""
        return self._database.query(_END, idempotent=True).addCallback(lambda found: int(found[0][0]))

    def read(self, destination: int, after: int, upto: int) -> Deferred[list[LogEntry]]:
        """See L{PostLog.read}."""
        try:
            check_range(after, upto)
        except ValueError:
            return fail()
        query = self._database.query(_READ, _range(destination, after, upto), idempotent=True)
        return query.addCallback(lambda found: [LogEntry(*row) for row in found])

    def pending(self, destination: int, after: int, upto: int) -> Deferred[int]:
        """See L{PostLog.pending}."""
        query = self._database.query(_PENDING, _range(destination, after, upto), idempotent=True)
        return query.addCallback(lambda found: int(found[0][0]))

    def bodies(self, positions: Collection[int]) -> Deferred[dict[int, bytes]]:
        """See L{PostLog.bodies}."""
        if not positions:
            return succeed({})
        query = self._database.query(_BODIES, {"positions": list(positions)}, idempotent=True)
        return query.addCallback(lambda found: {position: bytes(body) for position, body in found})

    def cancel(
        self,
        *,
        authors: Collection[str] = (),
        guids: Collection[str] = (),
        hosts: Collection[str] = (),
        tags: Collection[str] = (),
    ) -> Deferred[list[int]]:
        """See L{PostLog.cancel}."""
        return ensureDeferred(self._cancel({"authors": authors, "guids": guids, "hosts": hosts, "tags": tags}))

    async def _cancel(self, named: dict[str, Collection[str]]) -> list[int]:
        await self._published()
        [(start, end)] = await self._database.query(_WEEK, idempotent=True)
        positions: set[int] = set()
        for kind, names in named.items():
            text = array(names)
            for after, upto in _steps(start, end, whole=kind == "authors") if names else ():
                span = {"names": text, "after": after, "upto": upto}
                positions.update(position for (position,) in await self._database.query(_CANCEL[kind], span, idempotent=True))
        return sorted(positions)

    async def _published(self) -> None:
        """Wait for the posts that are on their way into the log: they were let through before those names were unwanted."""
        if self._retry is not None:
            raise Unavailable("posts are in doubt until the database is back")
        await self.commits.settled()

    def find(self, author: str, guid: str) -> Deferred[Target | None]:
        """See L{PostLog.find}."""
        query = self._database.query(_FIND, {"author": author, "guid": guid}, idempotent=True)
        return query.addCallback(lambda found: Target(found[0][0], Recipients.unpacked(found[0][1])) if found else None)

    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Deferred[list[int]]:
        """See L{PostLog.erase}."""
        return ensureDeferred(self._erase({"author": author, "guid": guid, "host": host}))

    async def _erase(self, names: dict[str, str]) -> list[int]:
        await self._published()
        [(start, end)] = await self._database.query(_ENDS, idempotent=True)
        positions: list[int] = []
        for after, upto in _steps(start, end, whole=bool(names["author"])):
            span = {**names, "after": after, "upto": upto, "batch": _ERASE_BATCH}
            found: Rows = [()] * _ERASE_BATCH
            while len(found) == _ERASE_BATCH:  # what is erased is not found again
                found = await self._database.query(_ERASE, span, idempotent=True)
                positions += [position for (position,) in found]
        return positions

    def oldest(self, lifetime_start: datetime) -> Deferred[int]:
        """See L{PostLog.oldest}."""
        return self._database.query(_OLDEST, {"start": lifetime_start}, idempotent=True).addCallback(lambda found: int(found[0][0]))

    def prune(self, now: datetime) -> Deferred[int]:
        """See L{PostLog.prune}."""
        return ensureDeferred(prune(self._database, now, self.retention))


def _steps(start: int, end: int, *, whole: bool) -> list[tuple[int, int]]:
    """(after, upto): the stretches of the log that are searched at a time; all of it where there is an index, as for authors."""
    most = end - start if whole else _CANCEL_RANGE
    return [(after, min(after + most, end)) for after in range(start, end, max(most, 1))]


def _range(destination: int, after: int, upto: int) -> dict[str, object]:
    return {"after": after, "upto": upto, "byte": destination >> 3, "bit": destination}


def _parameters(batch: list[_Numbered], floor: int) -> dict[str, object]:
    return {
        "lock": LOG_LOCK,
        "floor": floor,
        "posts": rows_with_body(_row(n, entry) for n, entry in enumerate(batch)),
        "claims": _hashes((entry.number, entry.publication.identities) for entry in batch),
        "forestalled": _hashes((entry.number, entry.publication.forestalls) for entry in batch),
        "withdrawn": [entry.publication.withdraws for entry in batch if entry.publication.withdraws is not None],
        "incoming": [entry.publication.incoming for entry in batch if entry.publication.incoming is not None],
    }


def _hashes(entries: Iterable[tuple[int, tuple[bytes, ...]]]) -> str:
    return rows({"publication": number, "hash": each} for number, hashes in entries for each in set(hashes))


def _row(n: int, entry: _Numbered) -> dict[str, object]:
    post = entry.publication
    named = bool(post.recipients) or not post.retraction
    return {
        "n": n,
        "publication": entry.number,
        "received_at": post.received_at.isoformat(),
        "published_at": post.published_at.isoformat(),
        "protocol": post.protocol,
        "kind": post.kind,
        "author": post.author if named else "",
        "author_host": post.author_host if named else "",
        "guid": post.guid if named else "",
        "tags": list(post.tags) if named else [],
        "recipients": pack(post.recipients),
        "recipient_count": len(post.recipients),
        "size": len(post.body),
        "body": post.body if post.recipients else None,
        "retraction": post.retraction,
        "digest": "\\x" + post.digest,
    }


_conforms: type[PostLog] = PostgresLog
