"""Destinations, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import evolve, frozen

from socialrelay.boundaries import BouncedPost, DatedGap, Destinations, SinglePost
from socialrelay.boundaries.destinations import BOUNCES_KEPT, COUNTED
from socialrelay.scheduler.record import Bounce, DeferredDelivery, DestinationRecord, Gap, Progress, State
from socialrelay.storage.memory.tables import MemoryTables, answering
from socialrelay.storage.queries import StorageError

DEFERRED_MAX = 100_000


@frozen
class MemoryDestinations:
    """L{Destinations} that are forgotten when the process ends."""

    _tables: MemoryTables
    _run: int = 0

    @answering
    def settle_followers(self) -> None:
        """See L{Destinations.settle_followers}."""
        rows = self._tables.destinations
        for number, row in rows.items():
            rows[number] = evolve(self._caught_up(row) if row.subscribed and row.following else row, following=False)
        self._tables.taken = {}

    def _caught_up(self, row: DestinationRecord) -> DestinationRecord:
        followed, posts = self._tables.followed, self._tables.posts
        span = set(range(row.cursor + 1, followed + 1)) - set(row.ahead)
        delivered = sum(1 for position in span if position in posts and row.number in posts[position].recipients)
        cursor = max(row.cursor, followed)
        taken = {position for position, takers in self._tables.taken.items() if takers >> row.number & 1 and position > cursor}
        ahead = {position for position in row.ahead if position > cursor}
        delivered += len(taken - ahead)
        return evolve(row, delivered=row.delivered + delivered, cursor=cursor, ahead=tuple(sorted(taken | ahead)))

    @answering
    def load(self) -> list[DestinationRecord]:
        """See L{Destinations.load}."""
        return [record for _, record in sorted(self._tables.destinations.items())]

    @answering
    def deferred(self, destination: int | None = None) -> list[DeferredDelivery]:
        """See L{Destinations.deferred}."""
        rows = (row for _, row in sorted(self._tables.deferred.items()))
        return [row for row in rows if destination is None or row.destination == destination][:DEFERRED_MAX]

    @answering
    def bounced(self, destination: int, limit: int, position: int | None = None) -> list[BouncedPost]:
        """See L{Destinations.bounced}."""
        found = [each for each in self._tables.bounces.values() if each.destination == destination and position in (None, each.position)]
        found.sort(key=lambda each: (each.bounced_at, each.position), reverse=True)
        return [self._bounced(each) for each in found[:limit]]

    def _bounced(self, bounce: Bounce) -> BouncedPost:
        tables, position = self._tables, bounce.position
        author, guid = self._names(position)
        published_at = tables.posts[position].published_at if position in tables.posts else None
        return BouncedPost(bounce, author, guid, published_at, position in tables.bodies, position in tables.cancelled)

    def _names(self, position: int) -> tuple[str, str]:
        post = self._tables.posts.get(position)
        return ("", "") if post is None else (post.author, post.guid)

    @answering
    def singles(self, limit: int) -> tuple[list[SinglePost], int]:
        """See L{Destinations.singles}."""
        rows = sorted(self._tables.deferred.values(), key=lambda each: (each.next_attempt, each.destination, each.position))
        hosts = self._tables.destinations
        return [SinglePost(hosts[each.destination].host, each, *self._names(each.position)) for each in rows[:limit]], len(rows)

    @answering
    def backlog(self, destination: int, after: int) -> tuple[int, datetime | None]:
        """See L{Destinations.backlog}."""
        found = [
            post.published_at
            for position, post in self._tables.posts.items()
            if after < position <= after + COUNTED and destination in post.recipients
        ]
        return len(found), min(found, default=None)

    @answering
    def gaps(self, destination: int, limit: int) -> list[DatedGap]:
        """See L{Destinations.gaps}."""
        found = [gap for gap in self._tables.gaps.values() if gap.destination == destination]
        found.sort(key=lambda gap: (-gap.after, gap.outcome))
        return [self._dated(gap) for gap in found[:limit]]

    def _dated(self, gap: Gap) -> DatedGap:
        posts = self._tables.posts
        times = [posts[position].published_at for position in sorted(posts) if gap.after < position <= gap.upto]
        whole = bool(times) and min(posts) <= gap.after + 1
        return DatedGap(gap, times[0] if whole else None, times[-1] if times else None)

    @answering
    def open(self, host: str, protocol: str, url: str, now: datetime) -> DestinationRecord:
        """See L{Destinations.open}."""
        return self._open(host, protocol, url)

    @answering
    def open_all(self, urls: Mapping[str, str], protocol: str, now: datetime) -> list[DestinationRecord]:
        """See L{Destinations.open_all}."""
        return sorted((self._open(host, protocol, url) for host, url in urls.items()), key=lambda row: row.number)

    def _open(self, host: str, protocol: str, url: str) -> DestinationRecord:
        rows = self._tables.destinations
        row = next((row for row in rows.values() if (row.host, row.protocol) == (host, protocol)), None)
        if row is None:
            row = DestinationRecord(max(rows, default=-1) + 1, host, protocol, url, self._tables.end)
            self._tables.accounts[row.number] = row.cursor, 0
        elif not row.subscribed:
            row = self._reopened(row)
        rows[row.number] = evolve(row, url=url)
        return rows[row.number]

    def _reopened(self, row: DestinationRecord) -> DestinationRecord:
        state = row.state if row.state is State.SUSPENDED else State.ACTIVE
        end = self._tables.end
        row = evolve(row, subscribed=True, state=state, begin=end, following=False)
        row = evolve(row, tried=max(row.tried, end))
        return evolve(row, failures=0, failing_since=None, next_attempt=None, last_reason="", gone_answers=0, gone_since=None)

    @answering
    def close(self, *numbers: int) -> None:
        """See L{Destinations.close}."""
        for number in self._tables.destinations.keys() & set(numbers):
            row = self._tables.destinations[number]
            self._tables.destinations[number] = evolve(row, subscribed=False, following=False, begin=self._tables.end)

    @answering
    def suspend(self, number: int) -> None:
        """See L{Destinations.suspend}."""
        if number in self._tables.destinations:
            self._tables.destinations[number] = evolve(self._tables.destinations[number], state=State.SUSPENDED)

    @answering
    def resume(self, number: int) -> None:
        """See L{Destinations.resume}."""
        row = self._tables.destinations.get(number)
        if row is not None and row.state is State.SUSPENDED:
            self._tables.destinations[number] = evolve(row, state=State.ACTIVE)

    @answering
    def save(self, progress: Progress) -> None:
        """See L{Destinations.save}."""
        tables = self._tables
        if progress.number and (self._run != tables.run or progress.number < tables.written):
            raise StorageError(f"after {tables.written} this comes too late")
        tables.written = max(tables.written, progress.number)
        for record in progress.destinations:
            if record.number in tables.destinations:
                row = _merged(tables.destinations[record.number], record)
                late = progress.followed < tables.followed
                tables.destinations[record.number] = evolve(row, following=row.following and not late)
        for delivery in progress.deferred:
            if delivery.position in tables.posts:
                tables.deferred[delivery.destination, delivery.position] = delivery
        for key in progress.settled:
            tables.deferred.pop(key, None)
        for gap in progress.gaps:
            tables.gaps[gap.destination, gap.after, gap.outcome] = gap
        for bounce in progress.bounces:
            tables.bounces[bounce.destination, bounce.position] = bounce
        for key in progress.requeued:
            tables.bounces.pop(key, None)
        self._limit_bounces({bounce.destination for bounce in progress.bounces})
        if tables.followed <= progress.followed:
            tables.followed = progress.followed
            if progress.taken is not None:
                tables.taken = dict(progress.taken)

    def _limit_bounces(self, numbers: set[int]) -> None:
        for number in numbers:
            found = [each for each in self._tables.bounces.values() if each.destination == number]
            found.sort(key=lambda each: (each.bounced_at, each.position), reverse=True)
            for each in found[BOUNCES_KEPT:]:
                del self._tables.bounces[number, each.position]


def _merged(row: DestinationRecord, record: DestinationRecord) -> DestinationRecord:
    behind = record.cursor < row.cursor
    return evolve(
        record,
        host=row.host,
        protocol=row.protocol,
        url=row.url,
        subscribed=row.subscribed,
        cursor=max(row.cursor, record.cursor),
        ahead=row.ahead if behind else record.ahead,
        missed=row.missed if behind else record.missed,
        delivered=max(row.delivered, record.delivered),
        bounced=max(row.bounced, record.bounced),
        expired=max(row.expired, record.expired),
        cancelled=max(row.cancelled, record.cancelled),
        tried=max(row.tried, record.tried),
        requeued=max(row.requeued, record.requeued),
        begin=row.begin,
    )


_conforms: type[Destinations] = MemoryDestinations
