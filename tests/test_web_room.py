"""Tests for L{socialrelay.web.room}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.web.room import QUIET, SHARE, Room


class RoomTests(SynchronousTestCase):
    """What still fits."""

    def test_large_ones_first(self) -> None:
        """
        The fuller it is, the smaller a body must be; what is kept never is more than the limit.
        """
        room = Room(1000, Clock())
        sizes = [size for size in (251, 250, 188, 187, 141, 140, 1, 1000, 0) if room.keep(size)]
        self.assertEqual((sizes, room.kept), ([250, 187, 140, 1, 0], 578))
        while room.keep(1):
            pass
        self.assertEqual(room.kept, 1000 - SHARE + 1)
        for size in sizes:
            room.release(size)
        self.assertTrue(room.fits(100))

    def test_over(self) -> None:
        """
        Both kinds count together.
        """
        room = Room(1000, Clock())
        room.keep(250)
        room.receiving = 750
        self.assertFalse(room.over)
        room.receiving += 1
        self.assertTrue(room.over)

    def test_told(self) -> None:
        """
        Each body that is turned away is counted and told; the log says it once in a while.
        """
        clock, told = Clock(), [0]

        def tell() -> None:
            told[0] += 1

        room = Room(1000, clock, tell)
        with capturedLogs() as events:
            for _ in range(3):
                room.turn_away()
            clock.advance(QUIET)
            room.turn_away()
        self.assertEqual((room.refused, told, [event["log_level"] for event in events]), (4, [4], [LogLevel.warn] * 2))
