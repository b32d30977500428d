"""A hundred nodes come back after ten thousand posts, while others follow."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.bed import Bed, Database
from benchmarks.cases.running import KEPT, PATIENCE, costs, delays
from benchmarks.figures import Figures, table
from benchmarks.load import Sent
from benchmarks.posts import SIZE
from benchmarks.sinks import names

RETURNING, LIVE = 100, 10
OFFERED = 5.0
LONGEST = 300.0

_LOG = """
    INSERT INTO post (received_at, published_at, protocol, kind, author, author_host, guid, tags, recipients, recipient_count, size,
                      publication)
    SELECT now(), now(), 'diaspora', 'status_message', 'author' || n %% 500 || '@home' || n %% 500 || '.example',
           'home' || n %% 500 || '.example', md5(n::text), ARRAY['everyone', 't' || n %% 15], %(recipients)s, %(count)s, %(size)s, n
      FROM generate_series(1, %(posts)s) AS n
"""
_BODIES = """
    INSERT INTO post_body (position, body)
    SELECT n, convert_to(repeat(md5(n::text), %(size)s / 32), 'UTF8') FROM generate_series(%(after)s + 1, %(posts)s) AS n
"""


def fill(database: Database, posts: int, recipients: bytes, count: int, *, bodies: int) -> None:
    """
    Put posts into the log, as if they had come before the relay started.

    @param count: how many bits of C{recipients} are set.
    @param bodies: how many of the newest still have theirs.
    """
    database.run(_LOG, {"posts": posts, "recipients": recipients, "count": count, "size": SIZE})
    database.run(_BODIES, {"posts": posts, "after": posts - bodies, "size": SIZE})
    database.run(
        "UPDATE log_state SET bodies_removed = %s; SELECT setval(pg_get_serial_sequence('post', 'position'), %s)", (posts - bodies, posts)
    )
    database.run("ANALYZE")


def rows_read(database: Database, table: str) -> float:
    """
    How many rows of a table have been read up to now, through indexes and otherwise.

    Each connection of PostgreSQL adds what it read when it ends, if not before: the relay must have stopped.
    """
    database.run("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
    [(read,)] = database.run(
        """
        SELECT (SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE relname = %(table)s)
             + (SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables WHERE relname = %(table)s)
        """,
        {"table": table},
    )
    return float(read)


def everyone(count: int) -> bytes:
    """The bitmap of the destinations from 0."""
    return ((1 << count) - 1).to_bytes((count + 7) // 8, "little")


def catchup(bed: Bed, told: Callable[[str, Figures], None]) -> Figures:
    """How long it takes, and how long a new post takes meanwhile to nodes that have all the others."""
    posts = bed.size(10000, 300)
    new = bed.posts.first(bed.size(1500, 300))
    with bed.database() as database:
        database.subscribe(names("n", RETURNING), state="deferred")
        database.run("UPDATE destination SET next_attempt = now() + interval '8 seconds'")
        live = names("live", LIVE)
        database.subscribe(live, cursor=posts)
        fill(database, posts, everyone(RETURNING), RETURNING, bodies=posts)
        at_first = {table: rows_read(database, table) for table in ("post", "post_body")}
        with bed.relay(database, KEPT) as relay, relay.door(8) as door:
            before, base, started = relay.cost(), bed.sinks.total, time.monotonic()
            backlog = posts * RETURNING
            quiet = door.drive(new[:20], rate=OFFERED, until=started + 4)
            sent: list[Sent] = []
            while bed.sinks.total - base < backlog and time.monotonic() < started + LONGEST:
                sent += door.drive(new[20 + len(sent) :][: int(OFFERED)], rate=OFFERED)
            expected = backlog + (len(sent) + len(quiet)) * (RETURNING + LIVE)
            complete = bed.sinks.wait(base + expected, PATIENCE)
            arrivals = bed.sinks.report()
            time.sleep(1.2)
            cost, peak = relay.cost() - before, relay.peak
        read = {table: rows_read(database, table) - at_first[table] for table in at_first}
    returned = [each.at for each in arrivals if not each.host.startswith("live")]
    drained = max(returned) - min(returned)
    figures = {
        "posts": float(posts),
        "seconds": drained,
        "rate": len(returned) / drained,
        **costs(cost, len(arrivals)),
        "peak_mb": peak,
        "lost": 0.0 if complete else float(expected - (bed.sinks.total - base)),
        "rows_read": read["post"],
        "bodies_read": read["post_body"],
        **_renamed("live", live_delay := delays(new[20:], sent, arrivals, lambda host: host.startswith("live"))),
        **_renamed("before", delay_before := delays(new, quiet, arrivals, lambda host: host.startswith("live"))),
        "live_p99_ratio": live_delay["delay_p99_ms"] / max(delay_before["delay_p99_ms"], 0.001),
    }
    told("catch-up", figures)
    print(table({"catch-up": figures}))
    return {f"catchup.{name}": value for name, value in figures.items()}


def _renamed(prefix: str, figures: Figures) -> Figures:
    return {f"{prefix}_{name}": value for name, value in figures.items()}
