"""What operators see of the message bus."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import frozen

from socialrelay.boundaries import BusStore, Condition, Extent, Unavailable
from socialrelay.bus.figures import BusFigures
from socialrelay.operators.plain import Plain, plain_condition, plain_time
from socialrelay.operators.terms import ActError


@frozen(kw_only=True, eq=False)
class BusView:
    """
    @ivar topics: what the topics of this bus begin with: C{org.example.prod}.
    @ivar store_legacy: what comes in without acknowledgement is kept, too.
    """

    figures: Callable[[], BusFigures]
    condition: Callable[[], Condition]
    store: BusStore
    topics: str
    store_legacy: bool

    async def all(self) -> Plain:
        """
        The bus in numbers.

        Where it is: C{inbound}, C{outbound}, C{ingest} (addresses), C{topics}, C{store_legacy}; C{condition}, of its probe.  Counts since
        the daemon was started: C{received}, C{kept}, C{published}, C{duplicates}, C{refused} (by source), C{invalid} (by reason),
        C{own_dropped} (by event), C{overflows}, C{commits}, C{commit_seconds}.  Now: C{subscriptions}, C{readers}, C{readers_limit},
        C{waiting} (C{messages}, C{bytes}, C{bytes_limit}, C{unacknowledged}, C{unacknowledged_limit}, C{announcements}).  What is kept:
        C{last_seq}, C{published_seq}, C{keep_days}, C{bytes_limit}; and C{oldest_seq}, C{oldest_own_seq}, C{bytes}, C{oldest_at} and
        C{last_at} (when the first and the last message came), which are C{None} while storage is away.
        """
        found = self.figures()
        counts = found.counts
        return {
            "inbound": list(found.inbound),
            "outbound": list(found.outbound),
            "ingest": list(found.ingest),
            "topics": self.topics,
            "store_legacy": self.store_legacy,
            "condition": plain_condition(self.condition()),
            "received": dict(counts.received),
            "kept": dict(counts.kept),
            "published": dict(counts.published),
            "duplicates": dict(counts.duplicates),
            "refused": dict(counts.refused),
            "invalid": dict(counts.invalid),
            "own_dropped": dict(found.own_dropped),
            "overflows": found.overflows,
            "commits": found.commits,
            "commit_seconds": round(found.commit_seconds, 3),
            "subscriptions": found.subscriptions,
            "waiting": {
                "messages": found.waiting,
                "bytes": found.waiting_bytes,
                "bytes_limit": found.waiting_bytes_limit,
                "unacknowledged": found.unacknowledged,
                "unacknowledged_limit": found.unacknowledged_limit,
                "announcements": found.announcements,
            },
            "readers": found.readers,
            "readers_limit": found.readers_limit,
            "last_seq": found.last_seq,
            "published_seq": found.published_seq,
            "keep_days": found.keep_days,
            "bytes_limit": found.bytes_limit,
            **await self._stored(),
        }

    def short(self) -> Plain:
        """For the relay's status: C{well}, C{detail}, C{inbound}, C{outbound}, C{ingest}, C{last_seq}, C{waiting}, C{subscriptions}."""
        found, condition = self.figures(), self.condition()
        return {
            "well": condition.well,
            "detail": condition.detail,
            "inbound": list(found.inbound),
            "outbound": list(found.outbound),
            "ingest": list(found.ingest),
            "last_seq": found.last_seq,
            "waiting": found.waiting,
            "subscriptions": found.subscriptions,
        }

    async def _stored(self) -> Plain:
        try:
            extent = await self.store.extent()
            times = [await self._came(extent, seq) for seq in (min(extent.oldest_seq, extent.oldest_own_seq), extent.last_seq)]
        except Unavailable:
            return dict.fromkeys(("oldest_seq", "oldest_own_seq", "bytes", "oldest_at", "last_at"))
        return {
            "oldest_seq": extent.oldest_seq,
            "oldest_own_seq": extent.oldest_own_seq,
            "bytes": extent.size,
            "oldest_at": plain_time(times[0]),
            "last_at": plain_time(times[1]),
        }

    async def _came(self, extent: Extent, seq: int) -> datetime | None:
        """When the first message from this one on came."""
        if not 0 < seq <= extent.last_seq:
            return None
        messages, _ = await self.store.read(seq - 1, "", 1)
        return messages[0].received_at if messages else None


async def no_bus() -> Plain:
    """
    For who asks where there is none.

    @raise ActError: always.
    """
    raise ActError("refused", "The message bus is off on this relay: set bus.enabled in its configuration, and restart it.")
