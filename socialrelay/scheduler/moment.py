"""Now, on both clocks."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen


@frozen
class Moment:
    """
    @ivar seconds: monotonic; for durations and timers, so that a jump of the wall clock moves nothing.
    @ivar wall: UTC; for what is stored and shown.
    """

    seconds: float
    wall: datetime

    def wall_at(self, seconds: float) -> datetime:
        """The wall time of another monotonic one, as it looks from here."""
        return self.wall + timedelta(seconds=seconds - self.seconds)

    def seconds_at(self, wall: datetime, longest: float) -> float:
        """The monotonic time of a stored wall time, at most C{longest} from now: a stored time may come from a wrong clock."""
        return self.seconds + min(max((wall - self.wall).total_seconds(), 0.0), longest)

    def later(self, seconds: float) -> Moment:
        """Some seconds on."""
        return Moment(self.seconds + seconds, self.wall + timedelta(seconds=seconds))
