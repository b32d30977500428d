"""What waits to be judged, and what could not be, in memory."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve, frozen

from socialrelay.boundaries.aside import NOT_KEPT, NOT_THERE, WAITS_ALREADY, Aside, Backlogged, PutAside, Share
from socialrelay.routing.hosts import host_of
from socialrelay.storage.memory.tables import Kept, MemoryTables, answering


@frozen
class MemoryAside:
    """An L{Aside} over what is in memory."""

    _tables: MemoryTables

    @answering
    def waiting(self, hosts: int) -> Backlogged:
        """See L{Aside.waiting}."""
        arrivals = [row.arrival for row in self._tables.incoming.values()]
        shares = []
        for host in {arrival.sender_host for arrival in arrivals}:
            theirs = [arrival for arrival in arrivals if arrival.sender_host == host]
            shares.append(Share(host, len(theirs), sum(len(each.body) for each in theirs), min(each.received_at for each in theirs)))
        shares.sort(key=lambda share: (-share.rows, -share.bytes, share.host))
        oldest = min((arrival.received_at for arrival in arrivals), default=None)
        size = sum(len(arrival.body) for arrival in arrivals)
        return Backlogged(len(arrivals), size, oldest, tuple(shares[:hosts]), len(self._tables.quarantine))

    @answering
    def quarantined(self, limit: int) -> tuple[list[PutAside], int]:
        """See L{Aside.quarantined}."""
        rows = sorted(self._tables.quarantine.items(), key=lambda row: (row[1].at, row[0]), reverse=True)
        found = [
            PutAside(id, each.arrival.received_at, each.at, each.arrival.sender, each.arrival.private, len(each.arrival.body), each.reason)
            for id, each in rows[:limit]
        ]
        return found, len(rows)

    @answering
    def retry(self, id: int, now: datetime) -> str:
        """See L{Aside.retry}."""
        tables = self._tables
        if id not in tables.quarantine:
            return NOT_THERE
        arrival = tables.quarantine[id].arrival
        if arrival.private:
            return NOT_KEPT
        if any(row.arrival.body == arrival.body for row in tables.incoming.values()):
            return WAITS_ALREADY
        del tables.quarantine[id]
        tables.arrivals += 1
        tables.incoming[tables.arrivals] = Kept(evolve(arrival, received_at=now, sender_host=host_of(arrival.sender)), 0, now)
        return ""

    @answering
    def drop(self, id: int) -> bool:
        """See L{Aside.drop}."""
        return self._tables.quarantine.pop(id, None) is not None


_conforms: type[Aside] = MemoryAside
