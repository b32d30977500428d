"""Nodes, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from sys import intern
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred, succeed

from socialrelay.boundaries import NodeRecord, Nodes, PollNote
from socialrelay.boundaries.nodes import POLLS_KEPT
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.storage.queries import Queries
from socialrelay.storage.rows import rows

_COLUMNS = """
    host, sources, first_seen, next_poll, scope, tags, receive_url, dropped_tags, last_listed, last_poll, last_answer, poll_failures,
    poll_error, missing_since
"""

_GET = f"SELECT {_COLUMNS} FROM node WHERE host = %(host)s"

_NAMED = f"SELECT {_COLUMNS} FROM node WHERE host = ANY(%(hosts)s::text[])"

_LISTED = """
    WITH listed AS (
        SELECT host, first_poll FROM json_to_recordset(%(hosts)s) AS listed (host text, first_poll timestamptz)
    ), known AS (
        UPDATE node
           SET sources = CASE WHEN %(source)s = ANY(sources) THEN sources ELSE sources || %(source)s::text END, last_listed = %(now)s
          FROM listed
         WHERE node.host = listed.host
    ), new AS (
        INSERT INTO node (host, sources, first_seen, last_listed, next_poll)
        SELECT host, ARRAY[%(source)s::text], %(now)s, %(now)s, first_poll FROM listed
            ON CONFLICT (host) DO NOTHING
     RETURNING 1
    )
    SELECT count(*) FROM new
"""

# A poll that is written twice is remembered once.
_SAVE = f"""
    INSERT INTO node (host, sources, first_seen, next_poll, scope, tags, receive_url, dropped_tags, last_listed, last_poll, last_answer,
                      poll_failures, poll_error, missing_since, polls)
    VALUES (%(host)s, %(sources)s::text[], %(first_seen)s, %(next_poll)s, %(scope)s, %(tags)s::text[], %(receive_url)s, %(dropped_tags)s,
            %(last_listed)s, %(last_poll)s, %(last_answer)s, %(poll_failures)s, %(poll_error)s, %(missing_since)s, %(polls)s)
        ON CONFLICT (host) DO UPDATE
       SET sources = excluded.sources, first_seen = excluded.first_seen, next_poll = excluded.next_poll, scope = excluded.scope,
           tags = excluded.tags, receive_url = excluded.receive_url, dropped_tags = excluded.dropped_tags,
           last_listed = excluded.last_listed, last_poll = excluded.last_poll, last_answer = excluded.last_answer,
           poll_failures = excluded.poll_failures, poll_error = excluded.poll_error, missing_since = excluded.missing_since,
           polls = CASE WHEN excluded.polls -> 0 ->> 'at' = node.polls -> 0 ->> 'at' THEN node.polls
                        ELSE jsonb_path_query_array(excluded.polls || node.polls, '$[0 to {POLLS_KEPT - 1}]')
                    END
"""

_POLLS = "SELECT polls FROM node WHERE host = %(host)s"

_DUE = f"SELECT {_COLUMNS} FROM node WHERE next_poll <= %(now)s ORDER BY next_poll, host LIMIT %(limit)s"

_SUBSCRIBERS = f"SELECT {_COLUMNS} FROM node WHERE scope IS NOT NULL ORDER BY host"

_PAGE = f"SELECT {_COLUMNS} FROM node WHERE host > %(after)s ORDER BY host LIMIT %(limit)s"

_COUNT = "SELECT count(*) FROM node"

_FORGET = """
    WITH gone AS (
        DELETE FROM node
         WHERE scope IS NULL
           AND first_seen < %(since)s
           AND coalesce(last_listed < %(since)s, true)
           AND coalesce(last_answer < %(since)s, true)
           AND NOT EXISTS (SELECT FROM subscription WHERE subscription.host = node.host)
     RETURNING 1
    )
    SELECT count(*) FROM gone
"""


class PostgresNodes:
    """See L{Nodes}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def get(self, host: str) -> Deferred[NodeRecord | None]:
        """See L{Nodes.get}."""
        return self._records(_GET, {"host": host}).addCallback(lambda found: found[0] if found else None)

    def named(self, hosts: Collection[str]) -> Deferred[list[NodeRecord]]:
        """See L{Nodes.named}."""
        return self._records(_NAMED, {"hosts": list(hosts)})

    def listed(self, source: str, hosts: Mapping[str, datetime], now: datetime) -> Deferred[int]:
        """See L{Nodes.listed}."""
        if not hosts:
            return succeed(0)
        entries = rows({"host": host, "first_poll": first_poll} for host, first_poll in hosts.items())
        query = self._database.query(_LISTED, {"hosts": entries, "source": source, "now": now}, idempotent=True)
        return query.addCallback(lambda found: int(found[0][0]))

    def save(self, node: NodeRecord, poll: PollNote | None = None) -> Deferred[None]:
        """See L{Nodes.save}."""
        parameters = {**_parameters(node), "polls": rows([asdict(poll)] if poll is not None else [])}
        return self._database.query(_SAVE, parameters, idempotent=True).addCallback(_nothing)

    def polls(self, host: str) -> Deferred[list[PollNote]]:
        """See L{Nodes.polls}."""
        query = self._database.query(_POLLS, {"host": host}, idempotent=True)
        return query.addCallback(lambda found: [_poll(**each) for each in found[0][0]] if found else [])

    def due(self, now: datetime, limit: int) -> Deferred[list[NodeRecord]]:
        """See L{Nodes.due}."""
        return self._records(_DUE, {"now": now, "limit": limit})

    def subscribers(self) -> Deferred[list[NodeRecord]]:
        """See L{Nodes.subscribers}."""
        return self._records(_SUBSCRIBERS, {})

    def page(self, after: str, limit: int) -> Deferred[list[NodeRecord]]:
        """See L{Nodes.page}."""
        return self._records(_PAGE, {"after": after, "limit": limit})

    def count(self) -> Deferred[int]:
        """See L{Nodes.count}."""
        return self._database.query(_COUNT, idempotent=True).addCallback(lambda found: int(found[0][0]))

    def forget(self, unlisted_since: datetime) -> Deferred[int]:
        """See L{Nodes.forget}."""
        return self._database.query(_FORGET, {"since": unlisted_since}, idempotent=True).addCallback(lambda found: int(found[0][0]))

    def _records(self, statement: str, parameters: dict[str, object]) -> Deferred[list[NodeRecord]]:
        return self._database.query(statement, parameters, idempotent=True).addCallback(lambda found: [_record(row) for row in found])


def _record(row: tuple[Any, ...]) -> NodeRecord:
    host, sources, first_seen, next_poll, scope, tags, receive_url, dropped_tags, last_listed, *polls = row
    preferences = None if scope is None else Preferences(Scope(scope), frozenset(map(intern, tags)), receive_url, dropped_tags)
    return NodeRecord(host, tuple(sources), first_seen, next_poll, preferences, last_listed, *polls)


def _poll(at: str, **rest: Any) -> PollNote:
    return PollNote(datetime.fromisoformat(at), **rest)


def _parameters(node: NodeRecord) -> dict[str, object]:
    wishes = node.preferences
    return {
        "host": node.host,
        "sources": list(node.sources),
        "first_seen": node.first_seen,
        "next_poll": node.next_poll,
        "scope": wishes.scope.value if wishes else None,
        "tags": sorted(wishes.tags) if wishes else [],
        "receive_url": wishes.receive_url if wishes else "",
        "dropped_tags": wishes.dropped_tags if wishes else 0,
        "last_listed": node.last_listed,
        "last_poll": node.last_poll,
        "last_answer": node.last_answer,
        "poll_failures": node.poll_failures,
        "poll_error": node.poll_error,
        "missing_since": node.missing_since,
    }


def _nothing(_: object) -> None:
    return None


_conforms: type[Nodes] = PostgresNodes
