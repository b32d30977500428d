"""Tests for L{socialrelay.running.calendar}."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.running.calendar import ABSENT, ABSENT_BELIEVED, AHEAD, BACK, BELIEVED, Calendar

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
YEARS = timedelta(days=3650)


class CalendarTests(SynchronousTestCase):
    """Both clocks of the system are in the test's hands."""

    def setUp(self) -> None:
        self.wall, self.steady = START, 50.0
        self.calendar = Calendar(lambda: self.wall, lambda: self.steady)
        self.stepped: list[datetime] = []
        self.calendar.on_step.append(lambda: self.stepped.append(self.calendar.now()))

    def pass_time(self, span: timedelta) -> None:
        """Let time pass, an hour at a time."""
        while span > timedelta():
            some = min(span, timedelta(hours=1))
            self.wall, self.steady, span = self.wall + some, self.steady + some.total_seconds(), span - some
            self.calendar.now()

    def test_small_steps(self) -> None:
        """What corrects a clock a little is followed at once, and nothing is said of it."""
        for step in (SECOND, -SECOND, -BACK, AHEAD):
            self.wall += step
            self.assertEqual(self.calendar.now(), self.wall)
        self.assertEqual((self.calendar.steps, self.calendar.condition().well, self.stepped), (0, True, []))

    def test_jump_and_back(self) -> None:
        """A clock that is wrong for a while changes nothing, however wrong it is; operators are told as long as it is."""
        for jump in (DAY, -DAY, YEARS, -YEARS, -BACK - SECOND, AHEAD + SECOND):
            before = self.wall
            with capturedLogs() as events:
                self.wall += jump
                self.pass_time(BELIEVED / 2)
                self.assertEqual(self.calendar.now(), before + BELIEVED / 2)
                self.assertEqual((self.calendar.condition().well, self.calendar.off), (False, jump.total_seconds()))
                self.wall -= jump
                self.pass_time(SECOND)
            self.assertEqual((self.calendar.now(), self.calendar.condition().well), (before + BELIEVED / 2 + SECOND, True))
            self.assertEqual([each["log_level"] for each in events], [LogLevel.warn, LogLevel.info])
        self.assertEqual(self.stepped, [])

    def test_believed(self) -> None:
        """A clock that stays where it is for a day is believed, and who has planned by the old time is told."""
        for jump in (YEARS, -YEARS):
            self.stepped.clear()
            self.wall += jump
            self.calendar.now()
            self.pass_time(BELIEVED)
            self.assertEqual((self.stepped, self.calendar.now(), self.calendar.condition().well), ([self.wall], self.wall, True))

    def test_another_jump(self) -> None:
        """A clock that jumps about is believed when it has come to rest for a day."""
        for jump in (YEARS, -DAY, YEARS):
            self.wall += jump
            self.calendar.now()
            self.pass_time(BELIEVED - SECOND)
        self.assertEqual((self.stepped, self.calendar.steps), ([], 3))
        self.pass_time(SECOND)
        self.assertEqual(self.stepped, [self.wall])

    def test_start_after_a_while(self) -> None:
        """A relay that was stopped for a day, or never ran, starts with the system's time."""
        for last in (None, START - DAY, START - ABSENT, START + BACK):
            self.calendar.begin(last)
            self.assertEqual((self.calendar.now(), self.calendar.condition().well), (START, True))

    def test_start_in_the_future(self) -> None:
        """A clock that is years ahead of what was written down last is not believed at once: it may yet be corrected."""
        last = START - YEARS
        self.calendar.begin(last)
        self.assertEqual((self.calendar.now(), self.calendar.condition().well), (last, False))
        self.pass_time(ABSENT_BELIEVED)
        self.assertEqual((self.calendar.now(), self.stepped), (self.wall, [self.wall]))

    def test_start_in_the_past(self) -> None:
        """Time goes on from what was written down last if the clock is behind it, until it is corrected, or believed after a day."""
        last = self.wall + YEARS
        self.calendar.begin(last)
        self.assertEqual((self.calendar.now(), self.calendar.condition().well), (last, False))
        self.wall += YEARS + DAY  # a machine that was off for a day, and started without a clock
        self.assertEqual((self.calendar.now(), self.calendar.condition().well), (self.wall, True))
        self.calendar.begin(self.wall + YEARS)
        self.pass_time(BELIEVED)
        self.assertEqual(self.stepped, [self.wall])

    def test_said(self) -> None:
        """The condition says what has happened, what the relay does, and what can be done."""
        self.wall += YEARS
        self.calendar.now()
        self.pass_time(timedelta(hours=2))
        self.assertEqual(
            self.calendar.condition().detail,
            "the system's clock is 10 years ahead of what it was or what was written down last: the relay goes on counting, from "
            "2026-03-01 00:00 UTC. Put the clock right, or leave it: it is believed in 22 hours",
        )
        with capturedLogs() as events:
            self.pass_time(BELIEVED)
        self.assertIn("from 2026-03-02 00:00:00 to 2036-02-28 00:00:00", formatEvent(events[0]))
