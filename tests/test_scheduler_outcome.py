"""Tests for L{socialrelay.scheduler.outcome}, L{socialrelay.scheduler.backoff} and L{socialrelay.scheduler.moment}."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.backoff import HOST_STEPS, HOUR, Backoff
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.outcome import Answer, Effect, NoAnswer, Trouble, judge

TABLE = {
    Effect.DELIVERED: [200, 201, 202, 204, 299],
    Effect.BOUNCED: [401, 403, 413, 415, 422],
    Effect.POST_LATER: [400, 402, 406, 409, 411, 414, 418, 451],
    Effect.HOST_FAILED: [408, 425, 429, 500, 502, 503, 504, 599],
    Effect.NO_RECEIVER: [300, 301, 302, 303, 307, 308, 404, 405],
    Effect.GONE: [410],
}


class JudgeTests(SynchronousTestCase):
    """What a reply means."""

    def test_table(self) -> None:
        """Each status has its effect."""
        for effect, statuses in TABLE.items():
            for status in statuses:
                self.assertIs(judge(Answer(status)).effect, effect, status)

    def test_no_answer(self) -> None:
        """Without an answer the host failed, whatever the trouble, and the reason names it."""
        for trouble in Trouble:
            judgement = judge(NoAnswer(trouble, "detail"))
            self.assertEqual((judgement.effect, judgement.answered), (Effect.HOST_FAILED, False))
            self.assertEqual(judgement.reason, f"{trouble.value}: detail")

    def test_where_it_moved(self) -> None:
        """The operator is told where a redirect points."""
        self.assertIn("https://new.example/", judge(Answer(308, location="https://new.example/")).reason)

    @given(st.integers(100, 599), st.one_of(st.none(), st.floats(allow_nan=False)))
    def test_any_status(self, status: int, wait: float | None) -> None:
        """Every status has an effect, and nobody makes the relay wait for more than a day."""
        judgement = judge(Answer(status, wait))
        self.assertTrue(judgement.wait is None or 0 <= judgement.wait <= 86400)


class BackoffTests(SynchronousTestCase):
    """How long a failing host is left alone."""

    def test_steps(self) -> None:
        """Twenty seconds first, half a day in the end."""
        backoff = Backoff(HOST_STEPS, lambda: 0.5)
        self.assertEqual([backoff.delay(n) for n in (1, 3, 4, 11, 100)], [20.0, 20.0, 120.0, 12 * HOUR, 12 * HOUR])

    @given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
    def test_spread(self, failures: int, chance: float) -> None:
        """Each wait differs from its step by a fifth at most."""
        exact = Backoff(HOST_STEPS, lambda: 0.5).delay(failures)
        varied = Backoff(HOST_STEPS, lambda: chance).delay(failures)
        self.assertLessEqual(abs(varied - exact), 0.2 * exact + 1e-9)


class MomentTests(SynchronousTestCase):
    """Now, on both clocks."""

    def test_stored_time_is_clamped(self) -> None:
        """A time that a wrong clock stored makes nobody wait for years, and none in the past is waited for."""
        now = Moment(100.0, datetime(2026, 1, 1, tzinfo=UTC))
        self.assertEqual(now.seconds_at(now.wall + timedelta(days=4000), 3600.0), 3700.0)
        self.assertEqual(now.seconds_at(now.wall - timedelta(days=4000), 3600.0), 100.0)

    def test_there_and_back(self) -> None:
        """What is stored of a time is that time."""
        now = Moment(100.0, datetime(2026, 1, 1, tzinfo=UTC))
        self.assertEqual(now.seconds_at(now.wall_at(160.0), 3600.0), 160.0)
