"""How the stores in memory fare, in numbers."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from socialrelay.storage.memory.tables import MemoryTables, answering
from socialrelay.storage.stores import AtHand, Figures, Stored


@frozen
class MemoryFigures:
    """L{Figures} of tables that need no connections."""

    _tables: MemoryTables

    def at_hand(self) -> AtHand:
        """See L{Figures.at_hand}."""
        waiting = [len(row.arrival.body) for row in self._tables.incoming.values()]
        return AtHand(incoming_rows=len(waiting), incoming_bytes=sum(waiting))

    @answering
    def measure(self, now: datetime) -> Stored:
        """See L{Figures.measure}."""
        tables = self._tables
        return Stored(
            quarantine_rows=len(tables.quarantine),
            body_bytes=sum(map(len, tables.bodies.values())),
            database_bytes=0,
            polls_due=sum(node.next_poll <= now for node in tables.nodes.values()),
        )

    @answering
    def last_written(self) -> datetime | None:
        """See L{Figures.last_written}."""
        tables = self._tables
        written = [node.last_poll for node in tables.nodes.values() if node.last_poll is not None]
        if tables.posts:
            written.append(tables.posts[max(tables.posts)].published_at)
        if tables.bus:
            written.append(tables.bus[max(tables.bus)].received_at)
        return max(written, default=None)


_conforms: type[Figures] = MemoryFigures
