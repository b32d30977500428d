"""Retention in PostgreSQL: what is old goes, a few thousand rows at a time."""

from __future__ import annotations

from datetime import datetime

from socialrelay.config import Retention
from socialrelay.storage.queries import Queries
from socialrelay.storage.retention import BATCH, Horizons
from socialrelay.storage.rows import LAZY, REACHED

# A body that every destination is past, or that none waits for any longer; a retraction's names go with its body.  The bound comes first:
# else each step would search all bodies for what is not there.
_BODIES = (
    LAZY
    + f"""
    WITH bound AS (
        SELECT coalesce((SELECT position FROM post WHERE published_at < %(bodies)s
                          ORDER BY published_at DESC, position DESC LIMIT 1), 0) AS old,
               least(coalesce((SELECT position FROM post WHERE published_at < %(settled)s
                                ORDER BY published_at DESC, position DESC LIMIT 1), 0),
                     (SELECT min({REACHED}) FROM destination, log_state WHERE subscribed)) AS settled
    ), doomed AS (
        SELECT position
          FROM post_body, bound
         WHERE position <= greatest(bound.old, bound.settled)
           AND (position <= bound.old OR NOT EXISTS (SELECT FROM deferred_delivery tried WHERE tried.position = post_body.position))
         ORDER BY position
         LIMIT %(batch)s
    ), gone AS (
        DELETE FROM post_body WHERE position = ANY(ARRAY(SELECT position FROM doomed)) RETURNING position
    ), nameless AS (
        UPDATE post
           SET author = '', author_host = '', guid = '', tags = '{{}}'
         WHERE position = ANY(ARRAY(SELECT position FROM gone)) AND retraction
    ), noted AS (
        UPDATE log_state SET bodies_removed = greatest(bodies_removed, (SELECT max(position) FROM gone)) WHERE EXISTS (SELECT FROM gone)
    )
    SELECT count(*) FROM gone
"""
)

# The table never shrinks by itself, so its size is only a bound: while it holds, nothing need be counted.
_BYTES = """
    SELECT CASE WHEN pg_total_relation_size('post_body') <= %(most)s THEN 0
                ELSE (SELECT coalesce(sum(size), 0) FROM post, log_state WHERE position > bodies_removed AND recipient_count > 0)
            END
"""

# The oldest go until the rest fits.
_EXCESS = (
    LAZY
    + """
    WITH doomed AS (
        SELECT position, sum(octet_length(body)) OVER (ORDER BY position) - octet_length(body) AS before
          FROM (SELECT position, body FROM post_body ORDER BY position LIMIT %(batch)s) AS first
    ), gone AS (
        DELETE FROM post_body WHERE position = ANY(ARRAY(SELECT position FROM doomed WHERE before < %(excess)s)) RETURNING position
    ), nameless AS (
        UPDATE post
           SET author = '', author_host = '', guid = '', tags = '{}'
         WHERE position = ANY(ARRAY(SELECT position FROM gone)) AND retraction
    ), noted AS (
        UPDATE log_state SET bodies_removed = greatest(bodies_removed, (SELECT max(position) FROM gone)) WHERE EXISTS (SELECT FROM gone)
    )
    SELECT count(*) FROM gone
"""
)

# The last post stays: by it the log knows its end.  So does what waits for somebody: the queue gives it up long before, and counts it.
_POSTS = (
    LAZY
    + f"""
    WITH doomed AS (
        SELECT position
          FROM post
         WHERE published_at < %(posts)s
           AND position < (SELECT max(position) FROM post)
           AND position <= coalesce((SELECT min({REACHED}) FROM destination, log_state WHERE subscribed OR cursor < begin), position)
           AND NOT EXISTS (SELECT FROM deferred_delivery tried WHERE tried.position = post.position)
         ORDER BY published_at, position
         LIMIT %(batch)s
    ), bodies AS (
        DELETE FROM post_body WHERE position = ANY(ARRAY(SELECT position FROM doomed))
    ), gone AS (
        DELETE FROM post WHERE position = ANY(ARRAY(SELECT position FROM doomed)) RETURNING position
    ), noted AS (
        UPDATE log_state
           SET bodies_removed = greatest(bodies_removed, (SELECT max(position) FROM gone)),
               forgotten = greatest(forgotten, (SELECT max(position) FROM gone))
         WHERE EXISTS (SELECT FROM gone)
    )
    SELECT count(*) FROM gone
"""
)

_OTHERS = tuple(
    LAZY
    + f"""
    WITH gone AS (
        DELETE FROM {table}
         WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {column} < %({horizon})s ORDER BY {column} LIMIT %(batch)s))
     RETURNING 1
    )
    SELECT count(*) FROM gone
"""
    for table, column, horizon in (
        ("identity", "seen_at", "identities"),
        ("rejected", "rejected_at", "rejections"),
        ("quarantine", "quarantined_at", "rejections"),
        ("statistic", "hour", "statistics"),
        ("statistic_hour", "hour", "statistics"),
        ("gap", "made_at", "posts"),
        ("bounce", "bounced_at", "rejections"),
    )
)


async def prune(database: Queries, now: datetime, retention: Retention) -> int:
    """One small step of each kind; how many rows went."""
    horizons = Horizons.at(now, retention)
    parameters: dict[str, object] = {
        "bodies": horizons.bodies,
        "settled": horizons.settled_bodies,
        "posts": horizons.posts,
        "identities": horizons.identities,
        "rejections": horizons.rejections,
        "statistics": horizons.statistics,
        "batch": BATCH,
    }
    gone = 0
    for statement in (_BODIES, _POSTS, *_OTHERS):
        gone += (await database.query(statement, parameters, idempotent=True))[0][0]
    [(held,)] = await database.query(_BYTES, {"most": retention.bodies_max_bytes}, idempotent=True)
    excess = held - retention.bodies_max_bytes
    if excess > 0:
        gone += (await database.query(_EXCESS, {"batch": BATCH, "excess": int(excess)}, idempotent=True))[0][0]
    return gone
