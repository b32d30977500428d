"""
What time it is, for all that is stored, shown and compared with what was stored.

The system's clock may be put forward or back by years while the relay runs: by an operator, by a time server that is wrong, or by one
that is right at last.  Whoever compared what is stored with such a time would take all for old and remove it, or wait for years.  So a
great step is not followed at once: time goes on as it went, by a clock that only counts, and the operator is told.  If the system's clock
comes back nothing has happened; if it stays where it is for a day, it is believed.

Durations are measured by C{reactor.seconds()}, which never steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from twisted.logger import Logger

from socialrelay.boundaries import Condition

AHEAD = timedelta(hours=1)
"""A step forward of so much is followed at once: the machine was stopped for a while, or its clock corrected."""
BACK = timedelta(minutes=5)
"""The same for a step back, by which all that was planned is put off."""
BELIEVED = timedelta(days=1)
"""A step that lasts for so long is taken for the truth."""
ABSENT = timedelta(days=3)
"""A relay that was stopped is not taken to have been so for longer, before the system's clock has said so for a while."""
ABSENT_BELIEVED = timedelta(hours=1)
"""That while: mostly it was, and what corrects the clock of a machine that was just started needs no longer."""


def system_time() -> datetime:
    """What the system's clock shows."""
    return datetime.now(UTC)


def uptime() -> float:
    """Seconds that only grow, as time passes, also while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Calendar:
    """
    The relay's time.

    @ivar steps: how often the system's clock stepped too far to be followed at once.
    @ivar on_step: called each time the relay's own time steps, which is when a step is believed.
    """

    _log = Logger()

    def __init__(self, wall: Callable[[], datetime] = system_time, steady: Callable[[], float] = uptime) -> None:
        """
        @param wall: the system's clock.
        @param steady: seconds, of a clock that only counts.
        """
        self.steps = 0
        self.on_step: list[Callable[[], object]] = []
        self._wall = wall
        self._steady = steady
        self._time = wall()
        self._at = steady()
        self._off = timedelta()
        self._since: float | None = None
        """When the system's clock was first seen to be off by that; C{None} while it is followed."""
        self._ahead = AHEAD
        self._believed = BELIEVED

    def begin(self, last: datetime | None) -> None:
        """
        The relay starts.

        @param last: when it last wrote something down. If that is long ago, or is still to come, it is doubted that now is now.
        """
        if last is not None and not -BACK <= (off := self._wall() - last) <= ABSENT:
            self._time, self._at, self._ahead = last, self._steady(), ABSENT
            self._believed = ABSENT_BELIEVED if off > ABSENT else BELIEVED
            self.now()

    def now(self) -> datetime:
        """The time, in UTC."""
        wall, steady = self._wall(), self._steady()
        own = self._time + timedelta(seconds=steady - self._at)
        off = wall - own
        if -BACK <= off <= self._ahead:
            if self._since is not None:
                self._log.info("The system's clock is right again.")
            self._follow(wall, steady)
            return wall
        if self._since is None or not -BACK <= off - self._off <= AHEAD:
            self._off, self._since = off, steady
            self.steps += 1
            self._log.warn("{what}.", what=self._said())
        elif steady - self._since >= self._believed.total_seconds():
            shown = "%Y-%m-%d %H:%M:%S"
            before, after = own.strftime(shown), wall.strftime(shown)
            self._log.warn("The system's clock is believed: the relay's time goes from {before} to {after}.", before=before, after=after)
            self._follow(wall, steady)
            for tell in self.on_step:
                tell()
            return wall
        return own

    def _follow(self, wall: datetime, steady: float) -> None:
        self._time, self._at, self._off, self._since = wall, steady, timedelta(), None
        self._ahead, self._believed = AHEAD, BELIEVED

    @property
    def off(self) -> float:
        """Seconds by which the system's clock is ahead of the relay's time; 0 while it is followed."""
        self.now()
        return self._off.total_seconds()

    def condition(self) -> Condition:
        """Whether the system's clock is followed."""
        self.now()
        if self._since is None:
            return Condition("clock", well=True, essential=False, detail="the system's clock is followed")
        return Condition("clock", well=False, essential=False, detail=self._said())

    def _said(self) -> str:
        assert self._since is not None
        left = self._believed - timedelta(seconds=self._steady() - self._since)
        way = "ahead of" if self._off > timedelta() else "behind"
        return (
            f"the system's clock is {_span(abs(self._off))} {way} what it was or what was written down last: the relay goes on counting, "
            f"from {self._time:%Y-%m-%d %H:%M} UTC. Put the clock right, or leave it: it is believed in {_span(left)}"
        )


def _span(span: timedelta) -> str:
    """Roughly how long."""
    for unit, length in (("year", timedelta(days=365)), ("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        if span >= 2 * length:
            return f"{span / length:.0f} {unit}s"
    return f"{max(span / timedelta(minutes=1), 0):.0f} minutes"
