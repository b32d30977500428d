"""The log, in memory."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from attrs import evolve, frozen

from socialrelay.boundaries import LogEntry, PostLog, Publication, Target
from socialrelay.config import Retention
from socialrelay.routing.hosts import within
from socialrelay.storage.memory.tables import MemoryTables, answering
from socialrelay.storage.retention import BATCH, Horizons, check_range


@frozen
class MemoryPostLog:
    """A L{PostLog} that forgets everything when the process ends."""

    _tables: MemoryTables
    _retention: Retention = Retention()

    @answering
    def publish(self, publication: Publication) -> int | None:
        """See L{PostLog.publish}."""
        tables = self._tables
        if publication.incoming is not None:
            tables.incoming.pop(publication.incoming, None)
        if publication.withdraws is not None and not tables.posts[publication.withdraws].retraction:
            self._erase(publication.withdraws)
        if any(identity in tables.identities for identity in publication.identities):
            return None
        for identity in (*publication.identities, *publication.forestalls):
            tables.identities[identity] = publication.published_at
        tables.end += 1
        tables.posts[tables.end] = publication if publication.recipients or not publication.retraction else _nameless(publication)
        if publication.recipients:
            tables.bodies[tables.end] = publication.body
        return tables.end

    @answering
    def end(self) -> int:
        """See L{PostLog.end}."""
        return self._tables.end

    @answering
    def read(self, destination: int, after: int, upto: int) -> list[LogEntry]:
        """See L{PostLog.read}."""
        check_range(after, upto)
        posts, cancelled = self._tables.posts, self._tables.cancelled
        return [
            LogEntry(
                position,
                posts[position].author,
                posts[position].published_at,
                len(posts[position].body),
                position in cancelled,
                posts[position].digest,
            )
            for position in self._naming(destination, after, upto)
        ]

    @answering
    def bodies(self, positions: Collection[int]) -> dict[int, bytes]:
        """See L{PostLog.bodies}."""
        return {position: self._tables.bodies[position] for position in positions if position in self._tables.bodies}

    @answering
    def pending(self, destination: int, after: int, upto: int) -> int:
        """See L{PostLog.pending}."""
        return len(self._naming(destination, after, upto))

    @answering
    def cancel(
        self,
        *,
        authors: Collection[str] = (),
        guids: Collection[str] = (),
        hosts: Collection[str] = (),
        tags: Collection[str] = (),
    ) -> list[int]:
        """See L{PostLog.cancel}."""

        def named(post: Publication) -> bool:
            below = any(within(post.author_host, host) for host in hosts)
            return post.author in authors or post.guid in guids or below or not post.tags.isdisjoint(tags)

        posts = self._tables.posts
        if not posts:
            return []
        since = posts[max(posts)].published_at - timedelta(days=7)
        late = (position for position, post in posts.items() if post.published_at >= since and not post.retraction)
        found = [position for position in late if named(posts[position])]
        self._tables.cancelled.update(found)
        return found

    @answering
    def find(self, author: str, guid: str) -> Target | None:
        """See L{PostLog.find}."""
        posts = self._tables.posts
        found = [position for position in self._named(author) if posts[position].guid == guid and not posts[position].retraction]
        return Target(found[-1], posts[found[-1]].recipients) if found else None

    @answering
    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> list[int]:
        """See L{PostLog.erase}."""
        found = [position for position in self._named(author, guid, host) if self._may_go(position)]
        for position in found:
            self._erase(position)
        return found

    def _named(self, author: str = "", guid: str = "", host: str = "") -> list[int]:
        def named(post: Publication) -> bool:
            return bool((author and post.author == author) or (guid and post.guid == guid) or (host and within(post.author_host, host)))

        return [position for position, post in self._tables.posts.items() if named(post)]

    def _may_go(self, position: int) -> bool:
        """It is no retraction, or one that is settled."""
        tables, post = self._tables, self._tables.posts[position]
        rows = (tables.destinations.get(number) for number in post.recipients)
        behind = any(row.subscribed and tables.reached(row) < position for row in rows if row is not None)
        return not post.retraction or not (behind or any(tried == position for _, tried in tables.deferred))

    def _erase(self, position: int) -> None:
        tables = self._tables
        tables.posts[position] = evolve(_nameless(tables.posts[position]), body=b"")
        tables.bodies.pop(position, None)
        tables.cancelled.add(position)

    @answering
    def oldest(self, lifetime_start: datetime) -> int:
        """See L{PostLog.oldest}."""
        old = (position for position, post in self._tables.posts.items() if post.published_at < lifetime_start)
        return max(self._tables.bodies_removed, max(old, default=0))

    @answering
    def prune(self, now: datetime) -> int:
        """See L{PostLog.prune}."""
        horizons = Horizons.at(now, self._retention)
        return self._prune_bodies(horizons) + self._prune_rows(horizons)

    def _naming(self, destination: int, after: int, upto: int) -> list[int]:
        posts = self._tables.posts
        span = range(after + 1, min(upto, self._tables.end) + 1)
        return [position for position in span if position in posts and destination in posts[position].recipients]

    def _prune_bodies(self, horizons: Horizons) -> int:
        tables = self._tables
        settled = min((tables.reached(record) for record in tables.destinations.values() if record.subscribed), default=tables.end)
        tried = {position for _, position in tables.deferred}
        excess = sum(map(len, tables.bodies.values())) - self._retention.bodies_max_bytes
        doomed = []
        for position in sorted(tables.bodies):
            published_at = tables.posts[position].published_at
            done = position <= settled and position not in tried and published_at < horizons.settled_bodies
            if done or published_at < horizons.bodies or excess > 0:
                doomed.append(position)
                excess -= len(tables.bodies[position])
        for position in doomed[:BATCH]:
            del tables.bodies[position]
            tables.bodies_removed = max(tables.bodies_removed, position)
            if tables.posts[position].retraction:
                tables.posts[position] = _nameless(tables.posts[position])
        return len(doomed[:BATCH])

    def _prune_rows(self, horizons: Horizons) -> int:
        tables = self._tables
        waiting = {position for _, position in tables.deferred}
        rows = (row for row in tables.destinations.values() if row.subscribed or row.cursor < row.begin)
        settled = min(map(tables.reached, rows), default=tables.end)
        old = (position for position, post in tables.posts.items() if post.published_at < horizons.posts and position < tables.end)
        posts = [position for position in old if position <= settled and position not in waiting]
        identities = [identity for identity, seen_at in tables.identities.items() if seen_at < horizons.identities]
        quarantined = [number for number, row in tables.quarantine.items() if row.at < horizons.rejections]
        counts = [key for key in tables.counts if key[0] < horizons.statistics]
        sums = [key for key in tables.hours if key[0] < horizons.statistics]
        bounces = [key for key, bounce in tables.bounces.items() if bounce.bounced_at < horizons.rejections]
        rejected = [rejection for rejection in tables.rejected if rejection.rejected_at >= horizons.rejections]
        gone = len(posts) + len(identities) + len(quarantined) + len(counts) + len(sums) + len(bounces)
        gone += len(tables.rejected) - len(rejected)
        for position in posts:
            del tables.posts[position]
            tables.bodies.pop(position, None)
            tables.bodies_removed = max(tables.bodies_removed, position)
            tables.forgotten = max(tables.forgotten, position)
        for identity in identities:
            del tables.identities[identity]
        for number in quarantined:
            del tables.quarantine[number]
        for key in counts:
            del tables.counts[key]
        for bounce in bounces:
            del tables.bounces[bounce]
        for hour in sums:
            del tables.hours[hour]
        tables.rejected = rejected
        return gone


def _nameless(post: Publication) -> Publication:
    return evolve(post, author="", author_host="", guid="", tags=frozenset())


_conforms: type[PostLog] = MemoryPostLog
