"""
Writes what was taken over.

All of it is one transaction, which a dry run undoes.  Taking over twice gives the same as once, also when the new relay has worked between:
what it has read or counted itself stays, and of counts only what is new is added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from attrs import Factory, define

from socialrelay.config import Config
from socialrelay.diaspora.preferences import PROTOCOL, RECEIVE_PATH
from socialrelay.storage.rows import LOG_LOCK, rows
from socialrelay.takeover.keys import taken_key
from socialrelay.takeover.nodes import Known, usable_host

T = TypeVar("T")

SOURCE = "social-relay"
"""In C{node.sources}, C{rule.created_by}, and the subject of its counts: it did not know which server a post came from."""

_AT_ONCE = 1000
_KEYS_AT_ONCE = 500

# What the new relay has read of a node itself stays.
_NODES = """
    INSERT INTO node AS old (host, sources, first_seen, last_listed, next_poll, scope, tags, receive_url, dropped_tags, last_answer)
    SELECT host, ARRAY[%(source)s::text], least(first_seen, %(now)s), %(now)s, next_poll, scope, tags, receive_url, dropped_tags,
           CASE WHEN scope IS NOT NULL THEN %(now)s::timestamptz END
      FROM json_to_recordset(%(nodes)s) AS taken (
           host text, first_seen timestamptz, next_poll timestamptz, scope text, tags text[], receive_url text, dropped_tags integer)
        ON CONFLICT (host) DO UPDATE
       SET sources = CASE WHEN %(source)s = ANY(old.sources) THEN old.sources ELSE old.sources || %(source)s::text END,
           first_seen = least(old.first_seen, excluded.first_seen),
           scope = CASE WHEN old.last_poll IS NULL THEN excluded.scope ELSE old.scope END,
           tags = CASE WHEN old.last_poll IS NULL THEN excluded.tags ELSE old.tags END,
           receive_url = CASE WHEN old.last_poll IS NULL THEN excluded.receive_url ELSE old.receive_url END,
           dropped_tags = CASE WHEN old.last_poll IS NULL THEN excluded.dropped_tags ELSE old.dropped_tags END
"""

_OLD_NODES = """
    SELECT host, created_at AT TIME ZONE %(zone)s, last_success AT TIME ZONE %(zone)s, coalesce(total_delivered, 0)
      FROM old_node
     WHERE host IS NOT NULL
     ORDER BY host
"""

# They are not subscribed: the daemon does that when it starts, from what the nodes publish.  It opens their accounts anew, too: what was
# delivered by another relay is not in this log.
_DESTINATIONS = """
    SELECT pg_advisory_xact_lock(%(lock)s);
    CREATE TEMPORARY TABLE taken_destination ON COMMIT DROP AS
    SELECT *
      FROM json_to_recordset(%(destinations)s) AS taken (host text, created_at timestamptz, last_success timestamptz, delivered bigint);
    UPDATE destination
       SET delivered = destination.delivered + greatest(taken.delivered - coalesce(takeover.count, 0), 0),
           last_success = greatest(destination.last_success, taken.last_success),
           created_at = least(destination.created_at, taken.created_at)
      FROM taken_destination AS taken
      LEFT JOIN takeover ON takeover.event = 'delivered' AND takeover.subject = taken.host
     WHERE destination.host = taken.host AND destination.protocol = %(protocol)s;
    DELETE FROM account
     USING destination, taken_destination AS taken
     WHERE account.destination = destination.number AND destination.host = taken.host AND destination.protocol = %(protocol)s;
    INSERT INTO destination (number, host, protocol, url, subscribed, cursor, created_at, last_success, delivered)
    SELECT (SELECT coalesce(max(number) + 1, 0) FROM destination) + row_number() OVER (ORDER BY host) - 1,
           host, %(protocol)s, 'https://' || host || %(path)s, false, (SELECT coalesce(max(position), 0) FROM post),
           created_at, last_success, delivered
      FROM taken_destination AS taken
     WHERE NOT EXISTS (SELECT FROM destination WHERE destination.host = taken.host AND protocol = %(protocol)s);
    INSERT INTO takeover (event, subject, count)
    SELECT 'delivered', host, delivered FROM taken_destination
        ON CONFLICT (event, subject) DO UPDATE SET count = greatest(takeover.count, excluded.count);
"""

_HOURS = """
    WITH old AS (
        SELECT hour, event, sum(count) AS count FROM old_statistic WHERE hour BETWEEN %(since)s AND %(now)s GROUP BY hour, event
    ), added AS (
        SELECT old.hour, old.event, old.count - coalesce(statistic.count, 0) AS count
          FROM old
          LEFT JOIN statistic ON statistic.hour = old.hour AND statistic.event = old.event AND statistic.subject = %(source)s
    ), hours AS (
        INSERT INTO statistic_hour (hour, event, count)
        SELECT hour, event, count FROM added WHERE count <> 0
            ON CONFLICT (hour, event) DO UPDATE SET count = statistic_hour.count + excluded.count
    )
    INSERT INTO statistic (hour, event, subject, count)
    SELECT hour, event, %(source)s, count FROM old
        ON CONFLICT (hour, event, subject) DO UPDATE SET count = excluded.count
"""

_TOTALS = """
    WITH old AS (
        SELECT event, sum(count) AS count FROM old_statistic GROUP BY event
    ), added AS (
        SELECT old.event, old.count - coalesce(takeover.count, 0) AS count
          FROM old
          LEFT JOIN takeover ON takeover.event = old.event AND takeover.subject = ''
    ), totals AS (
        INSERT INTO statistic_total (event, count)
        SELECT event, count FROM added WHERE count > 0
            ON CONFLICT (event) DO UPDATE SET count = statistic_total.count + excluded.count
    ), noted AS (
        INSERT INTO takeover (event, subject, count)
        SELECT event, '', count FROM old
            ON CONFLICT (event, subject) DO UPDATE SET count = greatest(takeover.count, excluded.count)
    )
    SELECT event, count FROM old
"""

_OLD_KEYS = "SELECT identifier, public_key, created_at AT TIME ZONE %(zone)s FROM old_profile"

# A key that the new relay has read itself stays.  One that was taken over is more than a day old, so that it is read anew when a signature
# fails, and used today, so that it is kept as long as one that is.
_KEYS = """
    INSERT INTO profile (handle, public_key, fetched_at, used_on)
    SELECT DISTINCT ON (handle) handle, public_key, least(fetched_at, %(now)s - interval '1 day'), %(now)s::date
      FROM json_to_recordset(%(keys)s) AS taken (handle text, public_key text, fetched_at timestamptz)
     ORDER BY handle, fetched_at DESC
        ON CONFLICT (handle) DO NOTHING
"""

_FORWARD = """
    INSERT INTO rule (action, subject, reason, created_at, created_by)
    SELECT 'forward', host, 'ALWAYS_FORWARD_TO_HOSTS of the old relay', %(now)s, %(source)s FROM unnest(%(hosts)s::text[]) AS host
        ON CONFLICT DO NOTHING
"""


@define
class Taken:
    """
    What was, or would be, taken over.

    @ivar nodes: servers that are known now, or were already.
    @ivar subscribers: of these, those that ask for posts.
    @ivar destinations: servers with a history of deliveries.
    @ivar keys: of authors; C{new_keys} of them were not known yet.
    @ivar counts: event -> how many, of all time.
    @ivar hours: hours with counts that are young enough to be kept one by one.
    @ivar left_out: why something was left out -> how many.
    """

    nodes: int = 0
    subscribers: int = 0
    destinations: int = 0
    keys: int = 0
    new_keys: int = 0
    counts: dict[str, int] = Factory(dict)
    hours: int = 0
    forward_to: tuple[str, ...] = ()
    left_out: Counter[str] = Factory(Counter)


def take_nodes(cursor: Any, known: Known, config: Config, *, zone: str, now: datetime, chance: Callable[[], float], taken: Taken) -> None:
    """The nodes, to be polled within the next interval, and how deliveries to them went."""
    cursor.execute(_OLD_NODES, {"zone": zone})
    history: dict[str, dict[str, Any]] = {}
    for name, created_at, last_success, delivered in cursor.fetchall():
        if host := usable_host(name, config.host):
            before = history.get(host, {"created_at": now, "last_success": None, "delivered": 0})
            history[host] = {  # two names in the old table may be one host
                "host": host,
                "created_at": min(created_at or now, before["created_at"]),
                "last_success": max(filter(None, (last_success, before["last_success"])), default=None),
                "delivered": max(delivered, 0) + before["delivered"],
            }
    spread = config.polling.interval
    entries = (
        {
            "host": host,
            "first_seen": history[host]["created_at"] if host in history else now,
            "next_poll": now + timedelta(seconds=spread * chance()),
            "scope": wish.scope.value if wish else None,
            "tags": sorted(wish.tags) if wish else [],
            "receive_url": wish.receive_url if wish else "",
            "dropped_tags": wish.dropped_tags if wish else 0,
        }
        for host, wish in known.nodes.items()
    )
    for batch in _batches(entries, _AT_ONCE):
        cursor.execute(_NODES, {"nodes": rows(batch), "source": SOURCE, "now": now})
    been = [entry for entry in history.values() if entry["delivered"] or entry["last_success"]]
    cursor.execute(
        _DESTINATIONS,
        {"lock": LOG_LOCK, "destinations": rows(been), "protocol": PROTOCOL, "path": RECEIVE_PATH},
    )
    taken.nodes, taken.subscribers, taken.destinations = len(known.nodes), known.wanting(), len(been)
    taken.left_out += known.left_out


def take_counts(cursor: Any, config: Config, *, now: datetime, taken: Taken) -> None:
    """The statistics, summed up by hour."""
    since = now - timedelta(days=config.retention.statistics)
    cursor.execute(_HOURS, {"since": since, "now": now, "source": SOURCE})
    cursor.execute("SELECT count(DISTINCT hour) FROM old_statistic WHERE hour BETWEEN %(since)s AND %(now)s", {"since": since, "now": now})
    taken.hours = cursor.fetchone()[0]
    cursor.execute(_TOTALS)
    taken.counts = {event: int(count) for event, count in sorted(cursor.fetchall())}


def take_keys(cursor: Any, *, zone: str, now: datetime, taken: Taken, tell: Callable[[float], None]) -> None:
    """Keys of authors."""
    cursor.execute("SELECT count(*) FROM old_profile")
    whole = cursor.fetchone()[0] or 1
    seen = 0
    with cursor.connection.cursor("old_keys") as found:
        found.itersize = _KEYS_AT_ONCE
        found.execute(_OLD_KEYS, {"zone": zone})
        for batch in _batches(found, _KEYS_AT_ONCE):
            seen += len(batch)
            keys = []
            for identifier, public_key, fetched_at in batch:
                key = taken_key(identifier, public_key)
                if key is None:
                    taken.left_out["keys of authors that are of no use"] += 1
                else:
                    keys.append({"handle": key[0], "public_key": key[1], "fetched_at": fetched_at or now})
            cursor.execute(_KEYS, {"keys": rows(keys), "now": now})
            taken.keys += len(keys)
            taken.new_keys += cursor.rowcount
            tell(seen / whole)


def take_forwards(cursor: Any, names: Iterable[str], config: Config, *, now: datetime, taken: Taken) -> None:
    """Who is sent everything."""
    hosts = [usable_host(name.rpartition("//")[2].partition("/")[0], config.host) for name in names]
    taken.left_out["hosts to forward to that are the relay itself, or no host names"] += hosts.count("")
    taken.forward_to = tuple(dict.fromkeys(host for host in hosts if host))
    cursor.execute(_FORWARD, {"hosts": list(taken.forward_to), "now": now, "source": SOURCE})


def _batches(items: Iterable[T], size: int) -> Iterable[Sequence[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
