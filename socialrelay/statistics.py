"""Counts, gathered in memory and written by the hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from socialrelay import delays
from socialrelay.boundaries import Rejection, Rejections, Statistics, Unavailable
from socialrelay.bounds import Bound
from socialrelay.config import Memory

OTHER = "other"
"""The subject of what has none that is known to be true, and of what would be one more than there may be."""

NAMED = 0.9
"""Which part of the counts may have subjects of their own; the rest is for L{OTHER}."""

REASONED = frozenset({"rejected", "ignored", "refused"})
"""Events whose subjects are reasons: names that stand in the code, so that there are only some."""

REJECTIONS_PER_FLUSH = 10
"""
Reasons that are kept with each flush, beside as many as there may be at once: they stay for days, and whoever sends rubbish makes two
thousand a second.
"""


class Tally:
    """
    What happened since the last flush.

    @ivar delays: how long posts took that went out as they came, since the start of the process; what is new is written with the counts.
    @ivar totals: event -> count since the start of the process.
    @ivar reasons: (event, reason) -> likewise, of the events whose subjects are L{REASONED}.
    @ivar forgotten: rejections whose reasons were not kept because too many came at once.
    """

    _log = Logger()

    def __init__(self, statistics: Statistics, rejections: Rejections, now: Callable[[], datetime], memory: Memory = Memory()) -> None:
        """@param memory: how many counts, and rejections, are gathered at a time."""
        self._statistics = statistics
        self._rejections = rejections
        self._now = now
        self._counts: Counter[tuple[datetime, str, str]] = Counter()
        self._hour = self._next_hour = datetime.min.replace(tzinfo=UTC)
        self._rejected: list[Rejection] = []
        self._room = self._most_rejected = memory.rejections
        self.delays = delays.DelayHistogram()
        self._limit = memory.counts
        self._nameless = 0
        self.totals: Counter[str] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.forgotten = 0

    def count(self, event: str, subject: str, many: int = 1) -> None:
        """Something happened C{many} times."""
        now = self._now()
        if not self._hour <= now < self._next_hour:
            self._hour = now.replace(minute=0, second=0, microsecond=0)
            self._next_hour = self._hour + timedelta(hours=1)
        self._add((self._hour, event, subject), many)
        self.totals[event] += many
        if event in REASONED:
            self.reasons[event, subject] += many

    def _add(self, key: tuple[datetime, str, str], many: int) -> None:
        if key not in self._counts and len(self._counts) >= self._limit * NAMED:
            hour, event, _ = key
            key = (hour, event, OTHER)
            self._nameless += 1
            if key not in self._counts and len(self._counts) >= self._limit:
                return
        self._counts[key] += many

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory, and not written yet."""
        return (
            Bound("counts", lambda: len(self._counts), lambda: self._limit, lambda: self._nameless),
            Bound("rejections", lambda: len(self._rejected), lambda: self._most_rejected, lambda: self.forgotten),
        )

    def rejected(self, rejection: Rejection) -> None:
        """Keep why something was not relayed."""
        if self._room and len(self._rejected) < self._most_rejected:
            self._room -= 1
            self._rejected.append(rejection)
        else:
            self.forgotten += 1

    def flush(self) -> Deferred[None]:
        """Write what was gathered; what cannot be written stays for the next time."""
        self._room = min(self._most_rejected, self._room + REJECTIONS_PER_FLUSH)
        for bucket, many in self.delays.news().items():
            self.count(delays.EVENT, bucket, many)
        if not self._counts and not self._rejected:
            return succeed(None)
        return Deferred.fromCoroutine(self._flush())

    async def _flush(self) -> None:
        counts, self._counts = self._counts, Counter()
        rejected, self._rejected = self._rejected, []
        try:
            if rejected:
                await self._rejections.record(rejected)
                rejected = []
            if counts:
                await self._statistics.add(counts)
                counts = Counter()
        except Unavailable as reason:
            self._log.debug("Counts are not written now: {reason}", reason=str(reason))
        finally:
            for key, many in counts.items():
                self._add(key, many)
            self._rejected[:0] = rejected[: self._most_rejected - len(self._rejected)]
