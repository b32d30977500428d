"""Keys, counts and the relay's own name, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime

from attrs import frozen

from socialrelay.boundaries import BoundIdentity, IdentityStore, Profiles, Statistics
from socialrelay.routing.hosts import host_of, within
from socialrelay.storage.memory.tables import MemoryTables, answering


@frozen
class MemoryProfiles:
    """L{Profiles} that are forgotten when the process ends."""

    _tables: MemoryTables

    @answering
    def get(self, handle: str) -> tuple[str, datetime] | None:
        """See L{Profiles.get}."""
        row = self._tables.profiles.get(handle)
        return None if row is None else row[:2]

    @answering
    def put(self, handle: str, pem: str, now: datetime) -> None:
        """See L{Profiles.put}."""
        self._tables.profiles[handle] = (pem, now, now.date())

    @answering
    def used(self, handles: Collection[str], day: date) -> None:
        """See L{Profiles.used}."""
        for handle in handles:
            if handle in self._tables.profiles:
                pem, fetched_at, used_on = self._tables.profiles[handle]
                self._tables.profiles[handle] = (pem, fetched_at, max(day, used_on))

    @answering
    def remove(self, handle: str) -> int:
        """See L{Profiles.remove}."""
        return 0 if self._tables.profiles.pop(handle, None) is None else 1

    @answering
    def remove_host(self, host: str) -> int:
        """See L{Profiles.remove_host}."""
        gone = [handle for handle in self._tables.profiles if within(host_of(handle), host)]
        for handle in gone:
            del self._tables.profiles[handle]
        return len(gone)

    @answering
    def count(self) -> int:
        """See L{Profiles.count}."""
        return len(self._tables.profiles)

    @answering
    def prune(self, unused_since: date) -> int:
        """See L{Profiles.prune}."""
        unused = [handle for handle, row in self._tables.profiles.items() if row[2] < unused_since]
        for handle in unused:
            del self._tables.profiles[handle]
        return len(unused)


@frozen
class MemoryStatistics:
    """L{Statistics} that are forgotten when the process ends."""

    _tables: MemoryTables

    @answering
    def add(self, counts: Mapping[tuple[datetime, str, str], int]) -> None:
        """See L{Statistics.add}."""
        for key, count in counts.items():
            self._tables.counts[key] = self._tables.counts.get(key, 0) + count
            self._tables.totals[key[1]] = self._tables.totals.get(key[1], 0) + count
            self._tables.hours[key[:2]] = self._tables.hours.get(key[:2], 0) + count

    @answering
    def totals(self, since: datetime | None = None) -> dict[str, int]:
        """See L{Statistics.totals}."""
        if since is None:
            return dict(self._tables.totals)
        sums: Counter[str] = Counter()
        for (hour, event), count in self._tables.hours.items():
            sums[event] += count if hour >= since else 0
        return {event: count for event, count in sums.items() if count}

    @answering
    def series(self, span: str, since: datetime) -> dict[tuple[datetime, str], int]:
        """See L{Statistics.series}."""
        sums: Counter[tuple[datetime, str]] = Counter()
        for (hour, event), count in self._tables.hours.items():
            if hour >= since:
                at = hour.astimezone(UTC)
                sums[at.replace(hour=0) if span == "day" else at, event] += count
        return dict(sums)

    @answering
    def of_event(self, event: str, hours: Sequence[datetime]) -> dict[str, int]:
        """See L{Statistics.of_event}."""
        sums: Counter[str] = Counter()
        for (hour, what, subject), count in self._tables.counts.items():
            if what == event and hour in hours:
                sums[subject] += count
        return dict(sums)

    @answering
    def of_subject(self, subject: str, since: datetime) -> dict[str, int]:
        """See L{Statistics.of_subject}."""
        sums: Counter[str] = Counter()
        for (hour, event, whose), count in self._tables.counts.items():
            if hour >= since and whose == subject:
                sums[event] += count
        return dict(sums)

    @answering
    def last(self, event: str, subject: str) -> datetime | None:
        """See L{Statistics.last}."""
        return max((hour for hour, what, whose in self._tables.counts if (what, whose) == (event, subject)), default=None)

    @answering
    def erase(self, host: str) -> int:
        """See L{Statistics.erase}."""
        gone = [key for key in self._tables.counts if within(key[2], host)]
        for key in gone:
            del self._tables.counts[key]
        return len(gone)


@frozen
class MemoryIdentity:
    """An L{IdentityStore} that forgets when the process ends."""

    _tables: MemoryTables

    @answering
    def get(self) -> BoundIdentity | None:
        """See L{IdentityStore.get}."""
        return self._tables.identity

    @answering
    def bind(self, identity: BoundIdentity, now: datetime) -> BoundIdentity:
        """See L{IdentityStore.bind}."""
        if self._tables.identity is None:
            self._tables.identity = identity
        return self._tables.identity


_conforms_profiles: type[Profiles] = MemoryProfiles
_conforms_statistics: type[Statistics] = MemoryStatistics
_conforms_identity: type[IdentityStore] = MemoryIdentity
