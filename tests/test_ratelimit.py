"""Token buckets and the bounded mapping under them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.ratelimit import Lru, TokenBuckets


class LruTests(SynchronousTestCase):
    def test_forgets_the_one_not_used_for_longest(self) -> None:
        """A full mapping makes room by forgetting the entry that was not used for longest."""
        lru: Lru[str, int] = Lru(2)
        lru["a"], lru["b"] = 1, 2
        lru.get("a")
        lru["c"] = 3
        self.assertEqual(list(lru), ["a", "c"])
        self.assertEqual(lru.forgotten, 1)

    def test_discard(self) -> None:
        """A discarded entry is returned once and then gone."""
        lru: Lru[str, int] = Lru(2)
        lru["a"] = 1
        self.assertEqual((lru.discard("a"), lru.discard("a"), "a" in lru), (1, None, False))

    def test_needs_room(self) -> None:
        """A mapping that could hold nothing is refused."""
        self.assertRaises(ValueError, Lru, 0)


class TokenBucketsTests(SynchronousTestCase):
    def test_burst_then_rate(self) -> None:
        """A burst passes at once; then one passes each second."""
        buckets = TokenBuckets(rate=1.0, burst=10)
        self.assertEqual([buckets.take("pod.example", 100.0) for _ in range(11)], [0.0] * 10 + [1.0])
        self.assertEqual(buckets.take("pod.example", 101.0), 0.0)
        self.assertEqual(buckets.take("pod.example", 101.5), 0.5)

    def test_given_back(self) -> None:
        """A token that is given back can be taken again; a bucket never holds more than a burst."""
        buckets = TokenBuckets(rate=1.0, burst=2)
        for _ in range(2):
            buckets.take("a", 0.0)
        buckets.give_back("a")
        self.assertEqual([buckets.take("a", 0.0) for _ in range(2)], [0.0, 1.0])
        for _ in range(5):
            buckets.give_back("a")
        buckets.give_back("nobody")
        self.assertEqual([buckets.take("a", 0.0) for _ in range(3)], [0.0, 0.0, 1.0])

    def test_keys_are_apart(self) -> None:
        """What one key used up does not concern another."""
        buckets = TokenBuckets(rate=1.0, burst=1)
        buckets.take("a", 0.0)
        self.assertEqual(buckets.take("b", 0.0), 0.0)

    def test_bounded(self) -> None:
        """However many keys come, no more buckets than allowed are kept."""
        buckets = TokenBuckets(rate=1.0, burst=1, limit=3)
        for number in range(100):
            buckets.take(str(number), 0.0)
        self.assertEqual(len(buckets), 3)

    def test_clock_that_goes_back(self) -> None:
        """A clock that goes back takes no token away and gives none."""
        buckets = TokenBuckets(rate=1.0, burst=2)
        buckets.take("a", 50.0)
        self.assertEqual(buckets.take("a", 10.0), 0.0)
        self.assertEqual(buckets.take("a", 10.0), 1.0)

    @given(st.lists(st.floats(0, 5), max_size=60))
    def test_never_more_than_burst_and_rate(self, gaps: list[float]) -> None:
        """Within any time, no more pass than the burst and the rate allow together."""
        buckets, now, passed = TokenBuckets(rate=2.0, burst=5), 0.0, 0
        for gap in gaps:
            now += gap
            passed += buckets.take("a", now) == 0.0
        self.assertLessEqual(passed, 5 + 2.0 * now + 1e-6)
