"""What could not be found lately, so that it is not looked for again too soon: in memory, and in the cache for after a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from attrs import frozen

from socialrelay.boundaries import Cache
from socialrelay.config import Memory
from socialrelay.ratelimit import Lru

UNUSABLE = 3600.0
"""Seconds before somebody is asked again who answered, and not with what we look for."""
FAILURE_FIRST = 300.0
FAILURE_MAX = 6 * 3600.0
"""Seconds before the next try after the first failure to reach somebody, doubling to the longest."""

_REASON_MAX = 300


@frozen
class Refusal:
    """
    Why something is not looked for now.

    @ivar until: when it may be looked for again.
    @ivar failures: how often in a row its node was not reached.
    """

    reason: str
    until: datetime
    failures: int = 0

    @property
    def answered(self) -> bool:
        """Its node was reached, and had nothing for us."""
        return not self.failures


class Refusals:
    """
    Remembered by subject: a handle, or a host for all of its handles.

    @ivar memory: those of which the cache need not be asked.
    """

    def __init__(self, cache: Cache, prefix: str, limit: int = Memory().key_refusals) -> None:
        """
        @param prefix: begins the keys in the cache.
        @param limit: how many subjects are remembered in memory.
        """
        self._cache = cache
        self._prefix = prefix
        self.memory: Lru[str, Refusal] = Lru(limit)

    async def standing(self, subject: str, now: datetime) -> Refusal | None:
        """The refusal that holds now."""
        refusal = await self._last(subject)
        if refusal is None or not timedelta(0) < refusal.until - now <= timedelta(seconds=FAILURE_MAX):
            return None  # over; or written by a clock that was ahead
        return refusal

    async def unusable(self, subject: str, reason: str, now: datetime) -> Refusal:
        """It was reached, and had nothing for us."""
        return await self._keep(subject, Refusal(reason[:_REASON_MAX], now + timedelta(seconds=UNUSABLE)), now)

    async def failed(self, subject: str, reason: str, now: datetime, retry_after: float | None = None) -> Refusal:
        """
        It was not reached.

        @param retry_after: seconds that it asks us to wait, if it does.
        """
        before = await self._last(subject)
        failures = 1 + (before.failures if before is not None else 0)
        wait = max(FAILURE_FIRST * 2.0 ** min(failures - 1, 20), retry_after or 0.0)
        until = now + timedelta(seconds=min(wait, FAILURE_MAX))
        return await self._keep(subject, Refusal(reason[:_REASON_MAX], until, failures), now)

    async def clear(self, subject: str) -> None:
        """It was found."""
        if self.memory.discard(subject) is not None:
            await self._cache.delete(self._prefix + subject)

    async def _last(self, subject: str) -> Refusal | None:
        refusal = self.memory.get(subject)
        if refusal is None:
            refusal = _read(await self._cache.get(self._prefix + subject))
            if refusal is not None:
                self.memory[subject] = refusal
        return refusal

    async def _keep(self, subject: str, refusal: Refusal, now: datetime) -> Refusal:
        self.memory[subject] = refusal
        # Longer than it holds: the number of failures decides how long the next one will.
        seconds = (refusal.until - now).total_seconds() + FAILURE_MAX
        value = {"reason": refusal.reason, "until": refusal.until.timestamp(), "failures": refusal.failures}
        await self._cache.set(self._prefix + subject, json.dumps(value).encode(), seconds)
        return refusal


def _read(value: bytes | None) -> Refusal | None:
    """What the cache holds, if it is ours: another version of this relay may have written it."""
    if value is None:
        return None
    try:
        fields = json.loads(value)
        return Refusal(str(fields["reason"]), datetime.fromtimestamp(float(fields["until"]), UTC), int(fields["failures"]))
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None
