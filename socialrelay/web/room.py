"""How many bytes of bodies are in memory at a time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

SHARE = 4
"""
A body is taken while it is at most one of so many parts of what is left: the fuller it gets, the smaller a body must be, so that large ones
are turned away first and posts, which are small, last.
"""

QUIET = 60.0
"""Seconds between two lines of the log that say the same."""


class Room:
    """
    The bound of all bodies that the site holds: those that arrive, and those that have arrived and are judged or wait for the disk.

    The former can give way at any time, the latter cannot.  What counts is what was received, not what was announced: else whoever
    announces much and sends nothing would take the room away.

    @ivar limit: bytes; at least C{SHARE} of the largest body.
    @ivar receiving: bytes of bodies that arrive.
    @ivar kept: bytes of bodies that have arrived and are not settled.
    @ivar refused: bodies that were turned away for want of room.
    """

    _log = Logger()

    def __init__(self, limit: int, clock: IReactorTime, tell: Callable[[], None] = lambda: None) -> None:
        """
        @param tell: called for each body that is turned away.
        """
        self.limit = limit
        self.receiving = 0
        self.kept = 0
        self.refused = 0
        self._clock = clock
        self._tell = tell
        self._quiet_until = 0.0

    def fits(self, size: int) -> bool:
        """Whether a body of this size would be kept, if it were here."""
        return size * SHARE <= self.limit - self.kept

    def keep(self, size: int) -> bool:
        """
        Keep a body that has arrived, if there is room.

        @return: whether it is kept, and C{release} to be called when it is settled.
        """
        if not self.fits(size):
            return False
        self.kept += size
        return True

    def release(self, size: int) -> None:
        """A body that was kept is settled."""
        self.kept -= size

    def turn_away(self) -> None:
        """Count a body for which there was no room."""
        self.refused += 1
        self._tell()
        now = self._clock.seconds()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET
            self._log.warn(
                "Senders are told to come again: bodies in hand are {held} bytes, of the {limit} that receive.bytes_in_hand allows.",
                held=self.receiving + self.kept,
                limit=self.limit,
            )

    @property
    def over(self) -> bool:
        """Whether there is more than there may be, so that something that arrives must give way."""
        return self.receiving + self.kept > self.limit
