"""What a poll means, and when the next one is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import NodeRecord
from socialrelay.config import Polling
from socialrelay.nodes.plan import (
    FAILURES_AT_LEAST,
    MISSING_APART,
    NOTHING,
    Answer,
    Conclusion,
    Failed,
    Gone,
    Missing,
    Published,
    Turn,
    Unreadable,
    bounds,
    conclude,
    recalled,
    wants_posts,
)
from socialrelay.routing.subscription import Preferences, Scope

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EVERYTHING = Preferences(Scope.ALL, receive_url="https://pod.example/receive/public")
POLLING = Polling()

failures = st.one_of(
    st.builds(Failed, st.just("timed out"), st.none() | st.floats(-10, 1e6)),
    st.builds(Unreadable, st.just("no JSON")),
    st.just(Missing("404")),
)
published = st.builds(Published, st.sampled_from([EVERYTHING, NOTHING]), st.none() | st.floats(0, 1e6))
answers = st.one_of(failures, published, st.just(Gone()))
chances = st.floats(0, 1)


def node(**changes: object) -> NodeRecord:
    """A node that subscribed and answered just now."""
    return evolve(NodeRecord("pod.example", ("list",), NOW, NOW, EVERYTHING, last_answer=NOW), **changes)  # type: ignore[arg-type]


def after(subject: NodeRecord, answer: Answer, minutes: float = 0, **kind: bool) -> Conclusion:
    return conclude(subject, answer, NOW + timedelta(minutes=minutes), POLLING, 0.5, **kind)


class ConcludeTests(SynchronousTestCase):
    def test_published(self) -> None:
        """What a node publishes is kept, ends all trouble, and is asked for again after the interval."""
        troubled = node(preferences=None, poll_failures=3, poll_error="timed out", missing_since=NOW)
        found = after(troubled, Published(EVERYTHING), minutes=5).node
        self.assertEqual((found.preferences, found.poll_failures, found.poll_error, found.missing_since), (EVERYTHING, 0, "", None))
        self.assertEqual(found.next_poll - NOW, timedelta(minutes=65))

    def test_cache_control(self) -> None:
        """An answer that holds longer than the interval is asked for again when it no longer holds, after a day at most."""
        self.assertEqual(after(node(), Published(EVERYTHING, 7200)).node.next_poll, NOW + timedelta(hours=2))
        self.assertEqual(after(node(), Published(EVERYTHING, 60)).node.next_poll, NOW + timedelta(hours=1))
        self.assertEqual(after(node(), Published(EVERYTHING, 1e9)).node.next_poll, NOW + timedelta(hours=24))

    def test_gone(self) -> None:
        """410 is a no."""
        self.assertEqual(after(node(), Gone()).node.preferences, NOTHING)
        self.assertEqual(after(node(preferences=None), Gone()).node.preferences, NOTHING)

    def test_missing_twice(self) -> None:
        """A missing file ends a subscription when it is missing again an hour later, not before."""
        first = after(node(), Missing("404"))
        self.assertTrue(wants_posts(first.node.preferences))
        soon = after(first.node, Missing("404"), minutes=59, asked=True)
        self.assertTrue(wants_posts(soon.node.preferences))
        later = after(soon.node, Missing("404"), minutes=60)
        self.assertEqual((later.node.preferences, later.turn), (None, Turn.WITHDRAWN))

    def test_missing_is_asked_again_after_an_hour(self) -> None:
        """After a missing file the next poll is at least the hour away that must lie between two, and not a day."""
        for chance in (0.0, 1.0):
            delay = conclude(node(), Missing("404"), NOW, POLLING, chance).node.next_poll - NOW
            self.assertGreaterEqual(delay, MISSING_APART)
            self.assertLess(delay, timedelta(hours=2))

    def test_missing_between_other_trouble(self) -> None:
        """Time-outs between two missing files change nothing; a file that cannot be read shows that there is one."""
        once = after(node(), Missing("404")).node
        self.assertIsNone(after(after(once, Failed("timed out")).node, Missing("404"), minutes=70).node.preferences)
        self.assertTrue(wants_posts(after(after(once, Unreadable("no JSON")).node, Missing("404"), minutes=70).node.preferences))

    def test_back_off(self) -> None:
        """A failing node is asked again after 5 minutes, then after twice as long each time, at most a day."""
        found, delays = node(), []
        for _ in range(11):
            found = after(found, Failed("timed out")).node
            delays.append((found.next_poll - NOW).total_seconds() / 60)
        self.assertEqual(delays, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440])

    def test_retry_after(self) -> None:
        """A node that asks for time gets it, up to a day."""
        self.assertEqual(after(node(), Failed("503", 7200)).node.next_poll, NOW + timedelta(hours=2))
        self.assertEqual(after(node(), Failed("503", 1e9)).node.next_poll, NOW + timedelta(hours=24))
        self.assertEqual(after(node(next_poll=NOW), Failed("503", 600), asked=True).node.next_poll, NOW + timedelta(minutes=10))

    def test_grace(self) -> None:
        """A node that fails throughout the grace period loses its subscription when it is over."""
        found, at = node(), NOW
        turns: list[Turn | None] = []
        while found.preferences is not None:
            at = found.next_poll
            done = conclude(found, Failed("timed out"), at, POLLING, 0.5)
            found, turns = done.node, [*turns, done.turn]
        self.assertEqual((turns[0], turns[-1]), (Turn.FAILING, Turn.GRACE_OVER))
        self.assertEqual(set(turns[1:-1]), {None})
        self.assertLess(timedelta(days=7), at - NOW)
        self.assertLess(at - NOW, timedelta(days=9))

    def test_relay_was_switched_off(self) -> None:
        """A relay that was off for longer than the grace period drops nobody for the first failed poll."""
        self.assertTrue(wants_posts(conclude(node(), Failed("timed out"), NOW + timedelta(days=30), POLLING, 0.5).node.preferences))

    def test_candidates(self) -> None:
        """A candidate is asked once a day, whether it fails, has no file or wants nothing."""
        candidate = node(preferences=None, last_answer=None)
        for answer in (Failed("timed out"), Missing("404"), Unreadable("HTML"), Published(NOTHING), Gone()):
            found = after(candidate, answer)
            self.assertEqual((found.node.next_poll - NOW, found.turn), (timedelta(days=1), None))

    def test_a_no_outlasts_trouble(self) -> None:
        """A published no is not forgotten because the node fails or removes its file: else a subscription made by hand would come back."""
        found = node(preferences=NOTHING, poll_failures=50)
        for answer in (Failed("timed out"), Missing("404"), Unreadable("HTML"), Missing("404")):
            found = conclude(found, answer, NOW + timedelta(days=60), POLLING, 0.5).node
            self.assertEqual(found.preferences, NOTHING)

    def test_asked_for(self) -> None:
        """A poll that somebody asked for and that fails is not counted and puts no later poll off."""
        found = after(node(next_poll=NOW + timedelta(minutes=1)), Failed("timed out"), asked=True).node
        self.assertEqual((found.poll_failures, found.next_poll), (0, NOW + timedelta(minutes=1)))

    def test_clock_that_was_ahead(self) -> None:
        """What a clock that was years ahead wrote down is brought back to what can be; other nodes stay as they are."""
        ahead = NOW + timedelta(days=3650)
        found = recalled(node(next_poll=ahead, last_answer=ahead, missing_since=ahead), NOW, POLLING, 0.5)
        assert found is not None
        self.assertEqual((found.next_poll, found.last_answer, found.missing_since), (NOW + timedelta(hours=12), NOW, NOW))
        polled = recalled(node(last_poll=ahead), NOW, POLLING, 0.5)
        assert polled is not None
        self.assertEqual(polled.last_poll, NOW, "else the next start would take that for the time")
        latest = NOW + timedelta(seconds=bounds(POLLING)[1])
        self.assertIsNone(recalled(node(next_poll=latest, missing_since=None), NOW, POLLING, 0.5))

    @given(st.lists(st.tuples(failures, st.booleans(), st.floats(0, 86400), chances), max_size=40))
    @settings(max_examples=150)
    def test_failing_keeps_its_subscription(self, polls: list[tuple[Answer, bool, float, float]]) -> None:
        """Whatever fails in whatever order: before the grace period is over only two missing files an hour apart end a subscription."""
        found, now, counted, missing = node(), NOW, 0, []
        for answer, asked, gap, chance in polls:
            now += timedelta(seconds=gap)
            counted += not asked
            missing += [now] * isinstance(answer, Missing)
            done = conclude(found, answer, now, POLLING, chance, asked=asked)
            found = done.node
            if found.preferences is None:
                over = now - NOW >= timedelta(seconds=POLLING.grace) and counted >= FAILURES_AT_LEAST
                self.assertTrue(over or missing[-1] - missing[0] >= MISSING_APART)
                self.assertIn(done.turn, (Turn.GRACE_OVER, Turn.WITHDRAWN))
                break

    @given(st.lists(st.tuples(answers, chances), max_size=12), st.sampled_from([Published(NOTHING), Gone()]), chances, st.booleans())
    @settings(max_examples=100)
    def test_a_no_ends_at_once(self, polls: list[tuple[Answer, float]], no: Answer, chance: float, asked: bool) -> None:
        """After whatever came before, a published no or 410 holds at once."""
        found = node()
        for answer, other in polls:
            found = conclude(found, answer, NOW, POLLING, other).node
        self.assertEqual(conclude(found, no, NOW, POLLING, chance, asked=asked).node.preferences, NOTHING)

    @given(st.lists(st.tuples(answers, chances), min_size=1, max_size=15), st.floats(60, 1e6), st.floats(60, 1e6))
    @settings(max_examples=150)
    def test_next_poll_within_bounds(self, polls: list[tuple[Answer, float]], interval: float, candidates: float) -> None:
        """The next poll is never at once and never later than the longest interval or a day, and a fifth."""
        polling = Polling(interval=interval, candidate_interval=candidates)
        least, most = bounds(polling)
        found = node()
        for answer, chance in polls:
            found = conclude(found, answer, NOW, polling, chance).node
            delay = (found.next_poll - NOW).total_seconds()
            self.assertTrue(least - 1 <= delay <= most + 1, delay)
