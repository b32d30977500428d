"""Limits on what one host or client may ask for, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """
    A mapping that forgets what was not used for longest when it would hold more than it may.

    @ivar limit: how many entries it may hold.
    @ivar forgotten: how many it has forgotten for want of room.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a bound must be at least 1, not {limit}")
        self.limit = limit
        self.forgotten = 0
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; C{None} if there is none."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self.limit:
            self._entries.popitem(last=False)
            self.forgotten += 1

    def discard(self, key: K) -> V | None:
        """Remove an entry, if there is one, and return its value."""
        return self._entries.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        """The keys, the one not used for longest first."""
        return iter(self._entries)


class TokenBuckets:
    """
    One token bucket for each key: C{burst} at once, then C{rate} a second.

    A bucket that nobody asked for lately may be forgotten, which fills it: so C{limit} should be larger than the number of keys that a
    stranger can use within C{burst / rate} seconds.
    """

    def __init__(self, rate: float, burst: float, limit: int = 10_000) -> None:
        """
        @param rate: tokens a second.
        @param burst: how many a full bucket holds, at least 1.
        @param limit: how many buckets are kept.
        """
        if rate <= 0 or burst < 1:
            raise ValueError("a token bucket needs a rate above 0 and a burst of at least 1")
        self._rate = rate
        self._burst = burst
        self._buckets: Lru[str, tuple[float, float]] = Lru(limit)

    def __len__(self) -> int:
        return len(self._buckets)

    @property
    def limit(self) -> int:
        """How many buckets there may be."""
        return self._buckets.limit

    @property
    def forgotten(self) -> int:
        """How many were forgotten for want of room."""
        return self._buckets.forgotten

    def take(self, key: str, now: float) -> float:
        """
        Take a token, if there is one.

        @param now: seconds of a clock that does not go back.
        @return: 0.0 if there was one; else seconds until there is, and nothing is taken.
        """
        tokens, since = self._buckets.get(key) or (self._burst, now)
        tokens = min(self._burst, tokens + max(0.0, now - since) * self._rate)
        if tokens < 1.0:
            self._buckets[key] = (tokens, now)
            return (1.0 - tokens) / self._rate
        self._buckets[key] = (tokens - 1.0, now)
        return 0.0

    def give_back(self, key: str) -> None:
        """What a token was taken for did not happen."""
        if (held := self._buckets.get(key)) is not None:
            tokens, since = held
            self._buckets[key] = (min(self._burst, tokens + 1.0), since)
