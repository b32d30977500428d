"""How late the event loop is: the time for which nobody is answered because something else is being done."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from socialrelay.histogram import Histogram

EVERY = 0.1
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG = 1.0
"""Seconds from which on it is told."""
QUIET = 60.0
"""Seconds between two lines of the log."""
SLOT = 5.0
SLOTS = 12
"""The greatest lateness is kept for each of so many slots: together the last minute."""


class LoopLag(Service):
    """
    Measures by how much a call that is due every tenth of a second comes too late.

    @ivar histogram: of the latenesses, in seconds.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        """@param clock: of a time that does not jump."""
        self.histogram = Histogram(BOUNDS)
        self._clock = clock
        self._due = 0.0
        self._call: IDelayedCall | None = None
        self._slots: dict[int, float] = {}
        self._quiet_until = 0.0

    def startService(self) -> None:
        """Begin to measure."""
        super().startService()
        self._again()

    def stopService(self) -> None:
        """Measure no more."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    @property
    def longest(self) -> float:
        """The greatest lateness in the last minute, in seconds; one that lasts until now included."""
        now = self._clock.seconds()
        lasting = now - self._due if self._call is not None else 0.0
        return max(lasting, 0.0, *(late for slot, late in self._slots.items() if slot > now // SLOT - SLOTS))

    def _again(self) -> None:
        self._due = self._clock.seconds() + EVERY
        self._call = self._clock.callLater(EVERY, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        late = max(0.0, now - self._due)
        self.histogram.observe(late)
        slot = int(now // SLOT)
        if slot not in self._slots:
            self._slots = {each: most for each, most in self._slots.items() if each > slot - SLOTS}
        self._slots[slot] = max(self._slots.get(slot, 0.0), late)
        if late >= LONG and now >= self._quiet_until:
            self._quiet_until = now + QUIET
            self._log.warn(
                "The event loop stood still for {delay} s: nothing was answered or delivered meanwhile. The machine is overloaded, or was "
                "suspended.",
                delay=round(late, 1),
            )
        self._again()
