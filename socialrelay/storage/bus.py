"""
What was said on the message bus, in PostgreSQL.

Numbers are dense and become visible in order: whoever gives them holds the row of C{bus_state} until they can be seen.  That row, and not
the log's lock, so that no post waits for messages.

A batch travels as four texts, split by the database at a character that can stand in none of them; a batch of a thousand messages costs
the process less than a millisecond that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from twisted.internet.defer import Deferred, fail, succeed

from socialrelay.boundaries import BusMessage, BusStore, Extent, Kept, StoredMessage
from socialrelay.boundaries.bus import BATCH_BYTES, READ_BYTES, READ_MESSAGES, READ_RANGE
from socialrelay.bus.erasing import blanked
from socialrelay.storage.queries import Queries, Rows
from socialrelay.storage.retention import BATCH
from socialrelay.storage.rows import LAZY, Literal, of_host

_SEPARATOR = b"\x1e"
"""No control character stands in an identifier, a topic, or JSON."""

# Each identifier is looked up by itself: joined, a table that is not large yet would be read as a whole for each batch.  A number out of
# step with the others would leave nulls, which no column takes.
_ADD = """
    SELECT FROM bus_state FOR UPDATE;
    WITH input AS MATERIALIZED (
        SELECT n, msg_id, topic, source, body, (SELECT seq FROM bus_message WHERE bus_message.msg_id = input.msg_id) AS known
          FROM unnest(string_to_array(%(ids)s, chr(30)), string_to_array(%(topics)s, chr(30)),
                      string_to_array(%(sources)s, chr(30)), string_to_array(%(bodies)s, chr(30)))
               WITH ORDINALITY AS input (msg_id, topic, source, body, n)
    ), fresh AS (
        SELECT last_seq + row_number() OVER (ORDER BY n) AS seq, msg_id, topic, source, body FROM input, bus_state WHERE known IS NULL
    ), kept AS (
        INSERT INTO bus_message (seq, msg_id, topic, body, source, received_at)
        SELECT seq, msg_id, topic, CASE WHEN source = 'own' THEN replace(body, chr(31), seq::text) ELSE body END, source, %(now)s
          FROM fresh
         ORDER BY seq
     RETURNING source, octet_length(body) AS size
    ), more AS (
        SELECT count(*) AS messages, coalesce(sum(size), 0) AS bytes, coalesce(sum(size) FILTER (WHERE source = 'own'), 0) AS bytes_own
          FROM kept
    )
    UPDATE bus_state
       SET last_seq = last_seq + more.messages,
           bytes = bus_state.bytes + more.bytes,
           bytes_own = bus_state.bytes_own + more.bytes_own,
           published = greatest(published, %(published)s)
      FROM more
 RETURNING last_seq - more.messages, ARRAY(SELECT n FROM input WHERE known IS NOT NULL ORDER BY n),
           ARRAY(SELECT known FROM input WHERE known IS NOT NULL ORDER BY n)
"""

# Looked through are messages, not numbers: after a restore there is a great hole.
_READ = """
    WITH reach AS MATERIALIZED (
        SELECT coalesce((SELECT seq FROM bus_message WHERE seq > %(after)s ORDER BY seq OFFSET %(range)s - 1 LIMIT 1), last_seq) AS upto
          FROM bus_state
    ), found AS (
        SELECT seq, msg_id, topic, body, source, received_at, row_number() OVER before AS n, sum(octet_length(body)) OVER before AS size
          FROM (SELECT *
                  FROM (SELECT * FROM bus_message WHERE seq > %(after)s ORDER BY seq LIMIT %(range)s) AS next
                 WHERE starts_with(topic, %(topic)s)
                 ORDER BY seq
                 LIMIT %(limit)s) AS matching
        WINDOW before AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)
    )
    SELECT upto, (SELECT count(*) FROM found), seq, msg_id, topic, body, source, received_at
      FROM reach LEFT JOIN found ON n = 1 OR size <= %(bytes)s
     ORDER BY seq
"""

_EXTENT = "SELECT last_seq, pruned + 1, greatest(pruned, pruned_own) + 1, published, bytes FROM bus_state"

_PUBLISHED = LAZY + "UPDATE bus_state SET published = %(seq)s WHERE published < %(seq)s"

# The oldest go, up to the first that may stay.  None is younger than one with a greater number, whatever the clock said when it came: a
# message of a clock that was ahead holds up none.  Sums are made of what was deleted: what another step took meanwhile is not taken twice.
# The bound above stands apart: of two whose values it does not know the planner takes all between for few, and sorts them.
_PRUNE_OWN, _PRUNE = (
    LAZY
    + f"""
    WITH oldest AS (
        SELECT seq, min(received_at) OVER since AS received_at, sum(size) OVER before - size AS before
          FROM (SELECT seq, received_at, octet_length(body) AS size
                  FROM bus_message
                 WHERE seq > (SELECT {mark} FROM bus_state){whose}
                 ORDER BY seq
                 LIMIT %(batch)s) AS first
        WINDOW before AS (ORDER BY seq ROWS UNBOUNDED PRECEDING),
               since AS (ORDER BY seq ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
    ), doomed AS MATERIALIZED (
        SELECT seq
          FROM (SELECT seq, bool_and(seq <= published AND oldest.before < %(step)s AND ({goes})) OVER until AS goes
                  FROM oldest, bus_state
                WINDOW until AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)) AS judged
         WHERE goes
    ), gone AS (
        DELETE FROM bus_message WHERE seq = ANY(ARRAY(SELECT seq FROM doomed)) RETURNING octet_length(body) AS size, source
    )
    UPDATE bus_state
       SET {mark} = greatest({mark}, (SELECT max(seq) FROM doomed)),
           bytes = bytes - (SELECT coalesce(sum(size), 0) FROM gone),
           bytes_own = bytes_own - (SELECT coalesce(sum(size), 0) FROM gone WHERE source = 'own')
     WHERE EXISTS (SELECT FROM doomed)
 RETURNING (SELECT count(*) FROM gone)
"""
    for mark, whose, goes in (
        ("pruned_own", " AND source = 'own'", "oldest.before < bytes_own - %(most_own)s"),
        ("pruned", "", "received_at < %(before)s OR oldest.before < bytes - %(most)s"),
    )
)
_STEP_BYTES = 32 * 1024 * 1024

# An author's are found by the index; for others all are looked through.
_NAMING, _NAMING_AUTHOR = (
    f"""
    WITH theirs AS {how} (
        SELECT seq, body FROM bus_message WHERE source = 'own'{whose}
    ), said AS MATERIALIZED (
        SELECT seq, body FROM theirs WHERE seq > %(after)s ORDER BY seq LIMIT %(batch)s
    ), naming AS (
        SELECT seq, body
          FROM (SELECT seq, body, body::jsonb -> 'msg' AS msg FROM said) AS parsed
         WHERE (%(author)s = '' OR msg ->> 'actor' = %(author)s)
           AND (%(guid)s = '' OR msg ->> 'activity_id' = %(guid)s)
           AND (%(host)s = '' OR {of_host("msg ->> 'node'")})
    )
    SELECT upto, naming.seq, naming.body FROM (SELECT max(seq) AS upto FROM said) AS reach LEFT JOIN naming ON true
"""
    for how, whose in (("NOT MATERIALIZED", ""), ("MATERIALIZED", " AND body::jsonb -> 'msg' ->> 'actor' = %(author)s"))
)

_BLANK = """
    WITH blank AS (
        SELECT seq, given.body, octet_length(held.body) AS before
          FROM unnest(%(seqs)s::bigint[], string_to_array(%(bodies)s, chr(30))) AS given (seq, body) JOIN bus_message AS held USING (seq)
         ORDER BY seq
           FOR UPDATE OF held
    ), changed AS (
        UPDATE bus_message SET body = blank.body FROM blank WHERE bus_message.seq = blank.seq
     RETURNING octet_length(bus_message.body) - before AS more
    )
    UPDATE bus_state
       SET bytes = bytes + (SELECT coalesce(sum(more), 0) FROM changed),
           bytes_own = bytes_own + (SELECT coalesce(sum(more), 0) FROM changed)
 RETURNING (SELECT count(*) FROM changed)
"""


class PostgresBus:
    """See L{BusStore}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def add(self, messages: Sequence[BusMessage], now: datetime, published: int) -> Deferred[list[Kept]]:
        """See L{BusStore.add}."""
        if not messages:
            return succeed([])
        bodies = [message.body for message in messages]
        if (size := sum(map(len, bodies))) > BATCH_BYTES:
            return fail(ValueError(f"a batch of {size} bytes: at most {BATCH_BYTES} are written at a time"))
        parameters = {
            "ids": Literal(_joined(message.msg_id for message in messages)),
            "topics": Literal(_joined(message.topic for message in messages)),
            "sources": Literal(_joined(message.source for message in messages)),
            "bodies": Literal(_SEPARATOR.join(bodies)),
            "now": now,
            "published": published,
        }
        return self._database.query(_ADD, parameters, idempotent=True).addCallback(_kept, len(messages))

    def read(self, after: int, topic: str, limit: int) -> Deferred[tuple[list[StoredMessage], int]]:
        """See L{BusStore.read}."""
        limit = min(limit, READ_MESSAGES)
        bounds = {"after": after, "topic": topic, "limit": limit, "range": READ_RANGE, "bytes": READ_BYTES}
        return self._database.query(_READ, bounds, idempotent=True).addCallback(_read, limit)

    def extent(self) -> Deferred[Extent]:
        """See L{BusStore.extent}."""
        return self._database.query(_EXTENT, idempotent=True).addCallback(lambda found: Extent(*found[0]))

    def mark_published(self, seq: int) -> Deferred[None]:
        """See L{BusStore.mark_published}."""
        return self._database.query(_PUBLISHED, {"seq": seq}, idempotent=True).addCallback(_nothing)

    def prune(self, before: datetime, most: int, most_own: int) -> Deferred[int]:
        """See L{BusStore.prune}."""
        return Deferred.fromCoroutine(self._prune(before, most, most_own))

    async def _prune(self, before: datetime, most: int, most_own: int) -> int:
        parameters = {"before": before, "most": most, "most_own": most_own, "batch": BATCH, "step": _STEP_BYTES}
        gone = 0
        for statement in (_PRUNE_OWN, _PRUNE):
            found = await self._database.query(statement, parameters, idempotent=True)
            gone += found[0][0] if found else 0
        return gone

    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Deferred[int]:
        """See L{BusStore.erase}."""
        if not (author or guid or host):
            return succeed(0)
        return Deferred.fromCoroutine(self._erase({"author": author, "guid": guid, "host": host}))

    async def _erase(self, names: dict[str, object]) -> int:
        erased = 0
        after: int | None = 0
        while after is not None:
            found = await self._database.query(
                _NAMING_AUTHOR if names["author"] else _NAMING, names | {"after": after, "batch": BATCH}, idempotent=True
            )
            after = found[0][0]
            if named := [(seq, body) for _, seq, body in found if seq is not None]:
                bodies = Literal(_SEPARATOR.join(blanked(body.encode(), seq) for seq, body in named))
                [(many,)] = await self._database.query(_BLANK, {"seqs": [seq for seq, _ in named], "bodies": bodies}, idempotent=True)
                erased += many
        return erased


def _joined(texts: Iterable[str]) -> bytes:
    return "\x1e".join(texts).encode()


def _kept(found: Rows, many: int) -> list[Kept]:
    [(last, places, numbers)] = found
    if not places:
        return [Kept(seq, False) for seq in range(last + 1, last + 1 + many)]
    known = dict(zip(places, numbers, strict=True))
    kept = []
    for place in range(1, many + 1):
        if place in known:
            kept.append(Kept(known[place], True))
        else:
            last += 1
            kept.append(Kept(last, False))
    return kept


def _read(found: Rows, limit: int) -> tuple[list[StoredMessage], int]:
    upto, matching = found[0][:2]
    messages = [
        StoredMessage(seq, msg_id, topic, body.encode(), source, received_at)
        for _, _, seq, msg_id, topic, body, source, received_at in found
        if seq is not None
    ]
    if messages and (len(messages) == limit or len(messages) < matching):
        return messages, messages[-1].seq
    return messages, upto


def _nothing(_: object) -> None:
    return None


_conforms: type[BusStore] = PostgresBus
