"""What was said on the message bus, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from attrs import evolve, frozen

from socialrelay.boundaries import BusMessage, BusStore, Extent, Kept, StoredMessage
from socialrelay.boundaries.bus import BATCH_BYTES, OWN, READ_BYTES, READ_MESSAGES, READ_RANGE, SEQUENCE_MARK
from socialrelay.bus.erasing import blanked, names
from socialrelay.storage.memory.tables import MemoryTables, answering
from socialrelay.storage.retention import BATCH


@frozen
class MemoryBus:
    """A L{BusStore} over what is in memory."""

    _tables: MemoryTables

    @answering
    def add(self, messages: Sequence[BusMessage], now: datetime, published: int) -> list[Kept]:
        """See L{BusStore.add}."""
        size = sum(len(message.body) for message in messages)
        if size > BATCH_BYTES:
            raise ValueError(f"a batch of {size} bytes: at most {BATCH_BYTES} are written at a time")
        kept = [self._keep(message, now) for message in messages]
        self._published(published)
        return kept

    def _keep(self, message: BusMessage, now: datetime) -> Kept:
        tables = self._tables
        if message.msg_id in tables.bus_ids:
            return Kept(tables.bus_ids[message.msg_id], True)
        seq = tables.bus_end = tables.bus_end + 1
        body = message.body.replace(SEQUENCE_MARK.encode(), b"%d" % seq) if message.source == OWN else message.body
        tables.bus[seq] = StoredMessage(seq, message.msg_id, message.topic, body, message.source, now)
        tables.bus_ids[message.msg_id] = seq
        return Kept(seq, False)

    @answering
    def read(self, after: int, topic: str, limit: int) -> tuple[list[StoredMessage], int]:
        """See L{BusStore.read}."""
        limit = min(limit, READ_MESSAGES)
        found: list[StoredMessage] = []
        size = 0
        later = [message for message in self._tables.bus.values() if message.seq > after][:READ_RANGE]
        for message in later:
            if message.topic.startswith(topic):
                size += len(message.body)
                if found and (len(found) == limit or size > READ_BYTES):
                    return found, found[-1].seq
                found.append(message)
        upto = found[-1] if len(found) == limit else later[-1] if len(later) == READ_RANGE else None
        return found, self._tables.bus_end if upto is None else upto.seq

    @answering
    def extent(self) -> Extent:
        """See L{BusStore.extent}."""
        tables = self._tables
        oldest_own = max(tables.bus_pruned, tables.bus_pruned_own) + 1
        return Extent(tables.bus_end, tables.bus_pruned + 1, oldest_own, tables.bus_published, _bytes(tables.bus.values()))

    @answering
    def mark_published(self, seq: int) -> None:
        """See L{BusStore.mark_published}."""
        self._published(seq)

    def _published(self, seq: int) -> None:
        self._tables.bus_published = max(self._tables.bus_published, seq)

    @answering
    def prune(self, before: datetime, most: int, most_own: int) -> int:
        """See L{BusStore.prune}."""
        tables = self._tables
        own = [message for message in tables.bus.values() if message.source == OWN]
        gone = self._forget(own, _bytes(own) - most_own, lambda message: False)
        tables.bus_pruned_own = max([tables.bus_pruned_own, *gone])
        first = [*tables.bus.values()][:BATCH]
        oldest = max((message.seq for message in first if message.received_at < before), default=0)
        both = self._forget(first, _bytes(tables.bus.values()) - most, lambda message: message.seq <= oldest)
        tables.bus_pruned = max([tables.bus_pruned, *both])
        return len(gone) + len(both)

    def _forget(self, messages: Iterable[StoredMessage], excess: int, goes: Callable[[StoredMessage], bool]) -> list[int]:
        gone: list[int] = []
        for message in [*messages][:BATCH]:
            if message.seq > self._tables.bus_published or not (excess > 0 or goes(message)):
                break
            excess -= len(message.body)
            del self._tables.bus[message.seq], self._tables.bus_ids[message.msg_id]
            gone.append(message.seq)
        return gone

    @answering
    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> int:
        """See L{BusStore.erase}."""
        own = [message for message in self._tables.bus.values() if message.source == OWN]
        named = [message for message in own if names(message.body, author=author, guid=guid, host=host)]
        for message in named:
            self._tables.bus[message.seq] = evolve(message, body=blanked(message.body, message.seq))
        return len(named)


def _bytes(messages: Iterable[StoredMessage]) -> int:
    return sum(len(message.body) for message in messages)


_conforms: type[BusStore] = MemoryBus
