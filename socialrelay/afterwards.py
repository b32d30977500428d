"""
What is erased once more, a while after it was asked for: what was on its way to the bus then is kept by now.

Posts that are taken back are erased there only so: nothing that has to do with posts waits for the bus.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from socialrelay.boundaries import BusStore, Unavailable
from socialrelay.bounds import Bound
from socialrelay.config import Memory

AFTER = 60.0
"""Seconds: what is announced is kept within a moment."""

AGAIN = 30.0
"""Seconds until it is tried again when the database was away."""


class Afterwards:
    """
    Erases names from what the bus keeps, one after another.

    @ivar most: names that may wait.
    @ivar dropped: names that were too many.
    """

    _log = Logger()

    def __init__(self, bus: BusStore, clock: IReactorTime, most: int = Memory().erasures) -> None:
        """@param most: names that may wait; of more than these what the bus keeps stays for as long as all else there."""
        self._bus = bus
        self._clock = clock
        self._waiting: deque[tuple[float, Mapping[str, str]]] = deque()
        self._timer: IDelayedCall | None = None
        self._erasing: Deferred[None] | None = None
        self.most = most
        self.dropped = 0

    def erase(self, **names: str) -> None:
        """What names them is blanked, in a while (L{BusStore.erase})."""
        if len(self._waiting) >= self.most:
            self.dropped += 1
            return
        self._waiting.append((self._clock.seconds() + AFTER, names))
        if self._timer is None and self._erasing is None:
            self._timer = self._clock.callLater(AFTER, self._begin)

    @property
    def waiting(self) -> int:
        """Names that wait."""
        return len(self._waiting)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (Bound("erasures", lambda: self.waiting, lambda: self.most, lambda: self.dropped),)

    async def stop(self) -> None:
        """Do now what waits, as far as the database is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._erasing is not None:
            await self._erasing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._erase_until(self._clock.seconds() + AFTER)

    def _begin(self) -> None:
        self._timer = None
        self._erasing = Deferred.fromCoroutine(self._erase_until(self._clock.seconds()))
        self._erasing.addBoth(self._over)

    def _over(self, _: object) -> None:
        self._erasing = None
        if self._waiting:
            due = self._waiting[0][0] - self._clock.seconds()
            self._timer = self._clock.callLater(due if due > 0 else AGAIN, self._begin)

    async def _erase_until(self, until: float) -> None:
        while self._waiting and self._waiting[0][0] <= until:
            try:
                await self._bus.erase(**self._waiting[0][1])
            except Unavailable:
                return
            except Exception:
                self._log.failure("What the bus keeps of somebody could not be erased")
            self._waiting.popleft()
