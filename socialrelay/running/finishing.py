"""A service around periodic work that has something to finish when it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from socialrelay.services import Periodic


class Finishing(Service):
    """
    Runs periodic work, and finishes after its last round.

    @ivar periodic: the work; C{None} if there is only something to finish.
    """

    def __init__(self, periodic: Periodic | None, finish: Callable[[], Awaitable[object]]) -> None:
        """@param finish: ends what is under way and fires when nothing is."""
        self.periodic = periodic
        self._finish = finish

    def startService(self) -> None:
        """Begin the rounds."""
        super().startService()
        if self.periodic is not None:
            self.periodic.startService()

    def stopService(self) -> Deferred[None]:
        """@return: fires when no round is in hand and all is finished."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        # A round may wait for what is only ended by finishing, so neither comes first.
        ended = self.periodic.stopService() if self.periodic is not None else None
        await self._finish()
        if ended is not None:
            await ended
