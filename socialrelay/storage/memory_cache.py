"""A cache in memory: Redis' twin, and what serves while Redis is away."""

from __future__ import annotations

from collections import OrderedDict

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from socialrelay.boundaries import Cache
from socialrelay.bounds import Bound
from socialrelay.config import Memory

_OVERHEAD = 200


@define
class _Entry:
    value: bytes
    expires: float
    count: int = 0


class MemoryCache(Service):
    """
    Bounded in entries and in bytes; what was used least lately goes first.

    @ivar healthy: always.
    @ivar detail: one line for the operator.
    @ivar bytes: what it holds, overhead included.
    @ivar max_entries: how many it may hold.
    @ivar max_bytes: likewise.
    @ivar forgotten: how many entries gave way.
    """

    healthy = True

    def __init__(self, clock: IReactorTime, max_entries: int = Memory().cache, max_bytes: int = Memory().cache_bytes) -> None:
        self.detail = "Redis is off, the cache is in memory"
        self.bytes = 0
        self.forgotten = 0
        self._clock = clock
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (Bound("cache", lambda: len(self), lambda: self.max_entries, lambda: self.forgotten),)

    def get(self, key: str) -> Deferred[bytes | None]:
        entry = self._find(key)
        if entry is None:
            return succeed(None)
        return succeed(str(entry.count).encode() if entry.count else entry.value)

    def set(self, key: str, value: bytes, seconds: float) -> Deferred[None]:
        self._forget(key)
        if seconds > 0:
            self._keep(key, _Entry(value, self._clock.seconds() + seconds))
        return succeed(None)

    def delete(self, key: str) -> Deferred[None]:
        self._forget(key)
        return succeed(None)

    def count(self, key: str, seconds: float) -> Deferred[int]:
        entry = self._find(key)
        if entry is None:
            entry = _Entry(b"", self._clock.seconds() + seconds)
            self._keep(key, entry)
        entry.count += 1
        return succeed(entry.count)

    def _find(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= self._clock.seconds():
            self._forget(key)
            return None
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def _keep(self, key: str, entry: _Entry) -> None:
        self._entries[key] = entry
        self.bytes += _size(key, entry)
        while len(self._entries) > self.max_entries or self.bytes > self.max_bytes:
            self._forget(next(iter(self._entries)))
            self.forgotten += 1

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= _size(key, entry)


def _size(key: str, entry: _Entry) -> int:
    return len(key) + len(entry.value) + _OVERHEAD


_conforms: type[Cache] = MemoryCache
