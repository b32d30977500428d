"""The table of all nodes, in memory."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from socialrelay.boundaries import NodeRecord
from socialrelay.boundaries.node_table import NodeQuery, NodeRow, NodeTable
from socialrelay.scheduler.record import DestinationRecord, State
from socialrelay.storage.memory.tables import MemoryTables, answering


@frozen
class MemoryNodeTable:
    """A L{NodeTable} over what is in memory."""

    _tables: MemoryTables

    @answering
    def page(self, query: NodeQuery) -> tuple[list[NodeRow], int]:
        """See L{NodeTable.page}."""
        destinations = {record.host: record for record in self._tables.destinations.values()}
        rows = [
            self._row(node, destinations.get(host))
            for host, node in sorted(self._tables.nodes.items())
            if query.text.lower() in host and _is(query.which, node, destinations.get(host))
        ]
        known = [row for row in rows if getattr(row, query.sort) is not None]
        known.sort(key=lambda row: getattr(row, query.sort), reverse=query.descending)
        rows = known + [row for row in rows if getattr(row, query.sort) is None]
        return rows[query.offset : query.offset + query.limit], len(rows)

    def _row(self, node: NodeRecord, record: DestinationRecord | None) -> NodeRow:
        wishes = node.preferences
        return NodeRow(
            host=node.host,
            sources=node.sources,
            first_seen=node.first_seen,
            last_poll=node.last_poll,
            last_answer=node.last_answer,
            next_poll=node.next_poll,
            poll_failures=node.poll_failures,
            poll_error=node.poll_error,
            scope=wishes.scope.value if wishes else None,
            tags=len(wishes.tags) if wishes else 0,
            **({} if record is None else self._deliveries(record)),
        )

    def _deliveries(self, record: DestinationRecord) -> dict[str, Any]:
        late = record.subscribed and not record.following
        return {
            "state": record.state.value if record.subscribed or record.state is State.GONE else None,
            "behind": max(self._tables.end - record.cursor, 0) if late else 0,
            "delivered": record.delivered,
            "last_success": record.last_success,
            "last_reason": record.last_reason,
            "next_attempt": record.next_attempt,
        }


def _is(which: str, node: NodeRecord, record: DestinationRecord | None) -> bool:
    if which == "all":
        return True
    if which == "refusing":
        return node.preferences is not None and node.preferences.scope.value == "none"
    if which == "failing":
        return node.poll_failures > 0
    if record is None:
        return False
    if which == "subscribed":
        return record.subscribed
    return record.state.value == which and (record.subscribed or record.state is State.GONE)


_conforms: type[NodeTable] = MemoryNodeTable
