"""The table of all nodes, in PostgreSQL: chosen, sorted and cut there, since ten thousand rows would hold up the reactor."""

from __future__ import annotations

from typing import Any

from attrs import fields
from twisted.internet.defer import Deferred

from socialrelay.boundaries.node_table import KINDS, ORDERS, NodeQuery, NodeRow, NodeTable
from socialrelay.storage.queries import Queries

_COLUMNS = tuple(field.name for field in fields(NodeRow))

# Of those that have joined the row tells nothing of where they stand: they are not behind.
_ROWS = """
    SELECT node.host, node.sources, node.first_seen, node.last_poll, node.last_answer, node.next_poll, node.poll_failures, node.poll_error,
           node.scope, node.tag_count AS tags,
           CASE WHEN destination.subscribed OR destination.state = 'gone' THEN destination.state END AS state,
           CASE WHEN destination.subscribed AND NOT destination.following
                THEN greatest((SELECT coalesce(max(position), 0) FROM post) - destination.cursor, 0)
                ELSE 0
            END AS behind,
           coalesce(destination.delivered, 0) AS delivered, destination.last_success,
           coalesce(destination.last_reason, '') AS last_reason, destination.next_attempt
      FROM node
      LEFT JOIN destination ON destination.host = node.host
     WHERE position(%(text)s in node.host) > 0
"""

_CHOSEN = {
    "all": "",
    "subscribed": "AND destination.subscribed",
    "refusing": "AND node.scope = 'none'",
    "failing": "AND node.poll_failures > 0",
    **{state: f"AND destination.state = '{state}' AND (destination.subscribed OR destination.state = 'gone')" for state in KINDS[4:]},
}

_STATEMENTS = {
    (which, sort, descending): f"""
    WITH chosen AS ({_ROWS} {_CHOSEN[which]})
    SELECT {", ".join(_COLUMNS)}, count(*) OVER () FROM chosen
     ORDER BY {sort} {"DESC" if descending else "ASC"} NULLS LAST, host
    OFFSET %(offset)s LIMIT %(limit)s
"""
    for which in KINDS
    for sort in ORDERS
    for descending in (False, True)
}


class PostgresNodeTable:
    """See L{NodeTable}."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    def page(self, query: NodeQuery) -> Deferred[tuple[list[NodeRow], int]]:
        """See L{NodeTable.page}."""
        return Deferred.fromCoroutine(self._page(query))

    async def _page(self, query: NodeQuery) -> tuple[list[NodeRow], int]:
        statement = _STATEMENTS[query.which, query.sort, query.descending]
        span: dict[str, object] = {"text": query.text.lower(), "offset": query.offset, "limit": query.limit}
        found = await self._database.query(statement, span, idempotent=True)
        if not found and query.offset:  # beyond the last of them nobody counts
            first = await self._database.query(statement, span | {"offset": 0, "limit": 1}, idempotent=True)
            return [], first[0][-1] if first else 0
        return [_row(row) for row in found], found[0][-1] if found else 0


def _row(found: tuple[Any, ...]) -> NodeRow:
    values = dict(zip(_COLUMNS, found, strict=False))
    return NodeRow(**{**values, "sources": tuple(values["sources"])})


_conforms: type[NodeTable] = PostgresNodeTable
