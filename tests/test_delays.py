"""Tests for L{socialrelay.delays}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.delays import BOUNDS, LABELS, DelayHistogram, quantile
from socialrelay.delivery.news import DeliveryNews
from socialrelay.scheduler.orders import Settled
from socialrelay.scheduler.outcome import Answer
from socialrelay.statistics import Tally
from socialrelay.storage.memory import MemoryTables, memory_storage
from tests.scheduling import EPOCH, OK, REFUSED, World


class HistogramTests(SynchronousTestCase):
    def test_buckets(self) -> None:
        """
        A delay belongs to the first bucket whose bound it does not exceed; the last holds what is beyond all bounds.
        """
        delays = DelayHistogram()
        for seconds in (0.001, 0.0011, 3600.0, 3601.0, -5.0):
            delays.observe(seconds)
        self.assertEqual(delays.news(), {"0.001": 2, "0.002": 1, "3600.0": 1, "inf": 1})
        self.assertEqual((LABELS[-2:], sum(delays.counts[:-1]), sum(delays.counts)), (("3600.0", "inf"), 4, 5))
        self.assertAlmostEqual(delays.seconds, 7201.0021)

    def test_news(self) -> None:
        """
        What was told is not told again, and still counts since the start.
        """
        delays = DelayHistogram()
        delays.observe(0.3)
        self.assertEqual((delays.news(), delays.news()), ({"0.5": 1}, {}))
        delays.observe(0.3)
        self.assertEqual((delays.news(), sum(delays.counts)), ({"0.5": 1}, 2))


class QuantileTests(SynchronousTestCase):
    def test_interpolation(self) -> None:
        """
        Between two bounds delays are taken to rise evenly.
        """
        self.assertEqual(quantile({"1.0": 10, "2.0": 10}, 0.5), 1.0)
        self.assertEqual(quantile({"1.0": 10, "2.0": 10}, 0.75), 1.5)
        self.assertEqual(quantile({"1.0": 10, "inf": 10}, 0.99), BOUNDS[-1])
        self.assertIsNone(quantile({}, 0.5))
        self.assertIsNone(quantile({"other": 5}, 0.5))

    @given(st.dictionaries(st.sampled_from(LABELS), st.integers(1, 10**9), min_size=1), st.floats(0.01, 1.0))
    def test_in_its_bucket(self, counts: dict[str, int], part: float) -> None:
        """
        It lies in the bucket in which that part of the posts is reached.
        """
        found = quantile(counts, part)
        assert found is not None
        within = sum(count for label, count in counts.items() if label != "inf" and float(label) < found)
        upto = next((bound for bound in BOUNDS if found <= bound), BOUNDS[-1])
        reached = sum(count for label, count in counts.items() if float(label) <= upto) if upto < BOUNDS[-1] else sum(counts.values())
        self.assertLessEqual(within, part * sum(counts.values()) * (1 + 1e-9))
        self.assertGreaterEqual(reached, part * sum(counts.values()) * (1 - 1e-9))


class AsTheyCameTests(SynchronousTestCase):
    """Whose delay is counted."""

    def delays(self, world: World) -> list[tuple[str, float | None]]:
        return [(each.host[5], each.delay) for each in world.settled if each.outcome == "delivered"]

    def test_first_attempt(self) -> None:
        """
        It is counted from acceptance, for each node that takes a new post at its first attempt.
        """
        world = World()
        world.subscribe(0, 1)
        world.post([0, 1])
        attempts = world.begin()
        world.now = world.now.later(1.5)
        world.answer(attempts[0])
        world.now = world.now.later(1.0)
        world.answer(attempts[1])
        self.assertEqual(sorted(self.delays(world)), [("0", 1.5), ("1", 2.5)])

    def test_paced(self) -> None:
        """
        That a post is spread over time is in it: people wait for that, too.
        """
        world = World(spread=20.0, at_once=1)
        world.subscribe(0, 1)
        world.post([0, 1])
        world.run()
        world.wait(20.0)
        delays = sorted(delay for _, delay in self.delays(world) if delay is not None)
        self.assertEqual((len(delays), delays[0]), (2, 0.0))
        self.assertGreater(delays[1], 0.0)

    def test_not_what_failed_before(self) -> None:
        """
        What waited for a node that failed, or was refused at first, or was put back, says nothing of the relay's speed.
        """
        answers = iter([Answer(400), OK, REFUSED, OK, OK, Answer(403), OK, OK])
        world = World(lambda host, position: next(answers))
        world.subscribe(0)
        for _ in range(4):
            world.post([0])
            world.wait(3600.0)
        world.save()
        world.requeue(0, 4)
        world.run()
        self.assertEqual(self.delays(world), [("0", None)] * 2 + [("0", 0.0)] + [("0", None)])
        world.post([0])
        world.run()
        self.assertEqual(self.delays(world)[-1], ("0", 0.0))

    def test_not_what_was_missed(self) -> None:
        """
        A node that was held back gets what it missed without a word on how long that took; what comes then counts again.
        """
        world = World()
        world.subscribe(0)
        world.manager.suspend("node-0.example")
        for _ in range(3):
            world.post([0])
        world.run()
        world.manager.resume("node-0.example", world.now)
        world.run()
        world.post([0])
        world.run()
        self.assertEqual(self.delays(world), [("0", None)] * 3 + [("0", 0.0)])

    def test_counted(self) -> None:
        """
        They are counted by the hour with everything else, and told to metrics since the start.
        """
        tables = MemoryTables()
        storage = memory_storage(tables)
        tally = Tally(storage.statistics, storage.rejections, lambda: EPOCH)
        news = DeliveryNews(tally, lambda host: None, log_each=False)
        for delay in (0.3, None, 0.4, 7.0):
            news.settled(Settled("delivered", "one.example", 1, delay=delay))
        self.successResultOf(tally.flush())
        self.assertEqual(self.successResultOf(storage.statistics.of_event("delay", [EPOCH])), {"0.5": 2, "10.0": 1})
        self.assertEqual(sum(tally.delays.counts), 3)
