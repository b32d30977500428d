"""How long to wait for a host that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from socialrelay.scheduler.outcome import RETRY_AFTER_MAX
from socialrelay.scheduler.record import DestinationRecord, State

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

HOST_STEPS = (20.0, 20.0, 20.0, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR)
"""
After the first failure, the second …; the last one repeats.  The first three find each node that is down for half a minute and then up for
half a minute as soon as it is up: one that was tried after 30 seconds, and then after two minutes, was missed again and again.
"""

POST_STEPS = (10 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR)
"""The same for one post that keeps failing at a host that takes others."""

DEAD_PROBE = 7 * DAY

SPREAD = 0.2


@frozen
class Backoff:
    """
    @ivar steps: seconds.
    @ivar chance: returns a float in [0, 1).
    @ivar spread: each step is varied by this part of itself, up or down.
    """

    steps: Sequence[float]
    chance: Callable[[], float]
    spread: float = SPREAD

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, 1 or more."""
        return self.vary(self.steps[min(failures, len(self.steps)) - 1])

    def vary(self, seconds: float) -> float:
        """The same, give or take."""
        return seconds * (1 + self.spread * (2 * self.chance() - 1))


def longest_wait(record: DestinationRecord) -> float:
    """Seconds that a host may have to wait at most after what is stored of it: whatever is stored, it may come from a wrong clock."""
    if record.state is State.DEAD:
        return DEAD_PROBE * (1 + SPREAD)
    step = HOST_STEPS[min(max(record.failures, 1), len(HOST_STEPS)) - 1] * (1 + SPREAD)
    return max(step, RETRY_AFTER_MAX) if record.last_reason.startswith("HTTP") else step  # it may have asked for it
