"""Log lines of which strangers can cause thousands a second."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from socialrelay.ratelimit import TokenBuckets

SHOWN = 10
"""A second."""
SUMMARY = 60.0


class Sparing:
    """Decides which of them are shown, and tells once in a while how many were not."""

    def __init__(self, clock: IReactorTime, tell: Callable[[int], None]) -> None:
        """@param tell: given how many were not shown within the last L{SUMMARY} seconds, if any."""
        self._clock = clock
        self._tell = tell
        self._bucket = TokenBuckets(SHOWN, SHOWN, 1)
        self._hidden = 0

    def shows(self) -> bool:
        """One more came: whether it is shown."""
        if not self._bucket.take("", self._clock.seconds()):
            return True
        if not self._hidden:
            self._clock.callLater(SUMMARY, self._summary)
        self._hidden += 1
        return False

    def _summary(self) -> None:
        hidden, self._hidden = self._hidden, 0
        self._tell(hidden)
