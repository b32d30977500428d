"""How long to wait for a host that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

HOST_STEPS = (30.0, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR)
"""After the first failure, the second …; the last one repeats."""

POST_STEPS = (10 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR)
"""The same for one post that keeps failing at a host that takes others."""

DEAD_PROBE = 7 * DAY


@frozen
class Backoff:
    """
    @ivar steps: seconds.
    @ivar chance: returns a float in [0, 1).
    @ivar spread: each step is varied by this part of itself, up or down.
    """

    steps: Sequence[float]
    chance: Callable[[], float]
    spread: float = 0.2

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, 1 or more."""
        return self.vary(self.steps[min(failures, len(self.steps)) - 1])

    def vary(self, seconds: float) -> float:
        """The same, give or take."""
        return seconds * (1 + self.spread * (2 * self.chance() - 1))
