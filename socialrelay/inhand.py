"""What is being done with posts at this moment, so that nobody acts on a post whose fate is being decided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred

from socialrelay.boundaries import Full
from socialrelay.config import Memory


class InHand:
    """
    Hashes of posts with which something is done, how often each, and who waits until nothing is done with one.

    @ivar limit: how many may wait.
    @ivar waiters: how many do.
    @ivar turned_away: how many more would have.
    """

    def __init__(self, limit: int = Memory().retractions) -> None:
        self.limit = limit
        self.turned_away = 0
        self._busy: dict[bytes, int] = {}
        self._waiting: dict[bytes, list[Deferred[None]]] = {}
        self.waiters = 0

    def __contains__(self, hash: object) -> bool:
        return hash in self._busy

    @contextmanager
    def doing(self, *hashes: bytes) -> Iterator[None]:
        """Something is done with these posts meanwhile."""
        for each in hashes:
            self._busy[each] = self._busy.get(each, 0) + 1
        try:
            yield
        finally:
            for each in hashes:
                self._busy[each] -= 1
                if not self._busy[each]:
                    del self._busy[each]
                    self._wake(each)

    def _wake(self, hash: bytes) -> None:
        for waiter in self._waiting.pop(hash, ()):
            self.waiters -= 1
            waiter.callback(None)

    async def idle(self, hash: bytes) -> None:
        """
        Wait until nothing is done with a post.

        @raise Full: too many are waiting.
        """
        while hash in self._busy:
            if self.waiters >= self.limit:
                self.turned_away += 1
                raise Full("too many retractions wait for their posts to be written")
            waiter: Deferred[None] = Deferred()
            self._waiting.setdefault(hash, []).append(waiter)
            self.waiters += 1
            await waiter
