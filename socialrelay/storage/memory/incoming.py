"""What waits to be judged and what was refused, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from attrs import evolve, frozen

from socialrelay.boundaries import Arrival, Full, HostFull, Incoming, Rejection, Rejections, Waiting
from socialrelay.boundaries.incoming import QUARANTINED, SEARCHED
from socialrelay.config import Receive
from socialrelay.routing.hosts import host_of, within
from socialrelay.storage.memory.tables import Kept, MemoryTables, Quarantined, answering


@frozen
class MemoryIncoming:
    """An L{Incoming} that forgets everything when the process ends."""

    _tables: MemoryTables
    _bounds: Receive = Receive()

    @answering
    def keep(self, arrival: Arrival) -> int | None:
        """See L{Incoming.keep}."""
        tables = self._tables
        kept = [row.arrival for row in tables.incoming.values()]
        if any(other.body == arrival.body for other in kept):
            return None
        if any(self._lacking(arrival.sender_host, len(arrival.body))):
            raise HostFull("this author's host has as much waiting as it may")
        bounds = self._bounds
        if len(kept) >= bounds.waiting_rows or sum(len(other.body) for other in kept) + len(arrival.body) > bounds.waiting_bytes:
            raise Full("as much is waiting to be judged as may be")
        tables.arrivals += 1
        tables.incoming[tables.arrivals] = Kept(arrival, 0, arrival.received_at)
        return tables.arrivals

    def _lacking(self, host: str, size: int) -> tuple[int, int]:
        """How many rows and bytes of the host must go."""
        sizes = [len(row.arrival.body) for row in self._tables.incoming.values() if row.arrival.sender_host == host]
        return max(len(sizes) + 1 - self._bounds.waiting_rows_per_host, 0), max(sum(sizes) + size - self._bounds.waiting_bytes_per_host, 0)

    @answering
    def give_way(self, host: str, size: int) -> dict[int, str]:
        """See L{Incoming.give_way}."""
        rows, lacking = self._lacking(host, size)
        gone: dict[int, str] = {}
        for id, row in self._tables.incoming.items():
            if row.hopeless and row.arrival.sender_host == host and (rows > 0 or lacking > 0):
                gone[id] = row.arrival.sender
                rows, lacking = rows - 1, lacking - len(row.arrival.body)
        if rows > 0 or lacking > 0:
            return {}
        for id in gone:
            del self._tables.incoming[id]
        return gone

    @answering
    def claim(self, now: datetime, until: datetime, limit: int, tried: int = 0) -> list[Waiting]:
        """See L{Incoming.claim}."""
        rows = self._tables.incoming.items()
        due = sorted((row.next_attempt, id, row.attempts > 0) for id, row in rows if row.next_attempt <= now)
        chosen = [each for each in due if not each[2]][:limit] + [each for each in due if each[2]][:tried]
        return [self._claim(id, until) for _, id, _ in sorted(chosen)]

    def _claim(self, id: int, until: datetime) -> Waiting:
        row = evolve(self._tables.incoming[id], attempts=self._tables.incoming[id].attempts + 1, next_attempt=until)
        self._tables.incoming[id] = row
        arrival = row.arrival
        return Waiting(id, arrival.received_at, arrival.protocol, arrival.private, arrival.sender, arrival.body, row.attempts)

    @answering
    def recover(self, now: datetime) -> None:
        """See L{Incoming.recover}."""
        for id, row in self._tables.incoming.items():
            self._tables.incoming[id] = evolve(row, next_attempt=min(row.next_attempt, now))

    @answering
    def postpone(self, id: int, until: datetime, hopeless: bool = False) -> bool:
        """See L{Incoming.postpone}."""
        row = self._tables.incoming.get(id)
        if row is None:
            return False
        attempts = max(row.attempts - 1, 0)
        self._tables.incoming[id] = evolve(row, attempts=attempts, next_attempt=until, hopeless=row.hopeless or hopeless)
        return True

    @answering
    def finish(self, ids: Iterable[int]) -> None:
        """See L{Incoming.finish}."""
        for id in ids:
            self._tables.incoming.pop(id, None)

    @answering
    def quarantine(self, id: int, reason: str, now: datetime) -> None:
        """See L{Incoming.quarantine}."""
        row = self._tables.incoming.pop(id, None)
        if row is not None:
            arrival = evolve(row.arrival, body=b"") if row.arrival.private else row.arrival
            self._tables.quarantine[id] = Quarantined(arrival, reason, now)
            for oldest in list(self._tables.quarantine)[:-QUARANTINED]:
                del self._tables.quarantine[oldest]

    @answering
    def erase(self, *, author: str = "", host: str = "") -> list[int]:
        """See L{Incoming.erase}."""
        waiting, aside = self._tables.incoming, self._tables.quarantine
        rows = [(id, row.arrival) for table in (waiting, aside) for id, row in table.items()]
        gone = [id for id, arrival in rows if _names(arrival.sender, author, host)]
        for id in gone:
            waiting.pop(id, None)
            aside.pop(id, None)
        return sorted(gone)

    @answering
    def next_due(self) -> datetime | None:
        """See L{Incoming.next_due}."""
        return min((row.next_attempt for row in self._tables.incoming.values()), default=None)

    @answering
    def usage(self) -> tuple[int, int]:
        """See L{Incoming.usage}."""
        return len(self._tables.incoming), sum(len(row.arrival.body) for row in self._tables.incoming.values())


@frozen
class MemoryRejections:
    """L{Rejections} that are forgotten when the process ends."""

    _tables: MemoryTables

    @answering
    def record(self, rejections: Sequence[Rejection]) -> None:
        """See L{Rejections.record}."""
        self._tables.rejected.extend(rejections)

    @answering
    def recent(self, limit: int) -> list[Rejection]:
        """See L{Rejections.recent}."""
        newest_first = sorted(enumerate(self._tables.rejected), key=lambda row: (row[1].rejected_at, row[0]), reverse=True)
        return [rejection for _, rejection in newest_first[:limit]]

    @answering
    def reasons(self, host: str) -> dict[str, int]:
        """See L{Rejections.reasons}."""
        found = Counter(each.reason for each in self._tables.rejected[-SEARCHED:] if host_of(each.author) == host)
        return dict(sorted(found.items(), key=lambda row: (-row[1], row[0])))

    @answering
    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> int:
        """See L{Rejections.erase}."""
        rejected = self._tables.rejected
        kept = [each for each in rejected if not (_names(each.author, author, host) or (guid and each.guid == guid))]
        self._tables.rejected = kept
        return len(rejected) - len(kept)


def _names(handle: str, author: str, host: str) -> bool:
    """Whether a handle is the author's, or of the host or a subdomain of it."""
    return handle == author if author else bool(host) and within(host_of(handle), host)


_conforms: type[Incoming] = MemoryIncoming
_conforms_too: type[Rejections] = MemoryRejections
