"""Tests for L{socialrelay.scheduler.manager}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.backoff import DAY, HOUR
from socialrelay.scheduler.manager import CATCH_UP, QUEUE_MAX
from socialrelay.scheduler.orders import Limits, What
from socialrelay.scheduler.outcome import Answer, Reply
from socialrelay.scheduler.record import State
from tests.scheduling import BROKEN, OK, REFUSED, World


class DeliveryTests(SynchronousTestCase):
    """What reaches whom."""

    def test_to_recipients_only(self) -> None:
        """A post goes to those whom it names and to nobody else."""
        world = World()
        world.subscribe(0, 1, 2)
        world.post([0, 2])
        world.run()
        self.assertEqual(sorted(world.arrived), [("node-0.example", 1), ("node-2.example", 1)])

    def test_window(self) -> None:
        """No more deliveries than the window holds are under way to one host."""
        world = World()
        world.subscribe(0)
        for _ in range(5):
            world.post([0])
        self.assertEqual(len(world.begin()), 2)

    def test_one_author_at_a_time(self) -> None:
        """Two posts of one author are never under way to a host at once, and arrive in order."""
        world = World()
        world.subscribe(0)
        for _ in range(3):
            world.post([0], author="ada@pod.example")
        begun = world.begin()
        self.assertEqual([attempt.entry.position for attempt in begun], [1])
        world.run()
        self.assertEqual([position for _, position in world.arrived], [1, 2, 3])

    def test_limit_in_all(self) -> None:
        """No more deliveries are under way in all than there may be, and all come to their turn."""
        world = World(limits=Limits(in_flight=3))
        world.subscribe(*range(10))
        world.post(range(10))
        self.assertEqual(len(world.begin()), 3)
        world.run()
        self.assertEqual(len(world.arrived), 10)

    def test_burst_falls_behind_and_catches_up(self) -> None:
        """A destination that is given more than it can hold reads the rest from the log, in order."""
        world = World()
        world.subscribe(0)
        for _ in range(3 * CATCH_UP):
            world.post([0])
        [destination] = world.manager.all()
        self.assertLessEqual(len(destination.queue), QUEUE_MAX)
        world.run()
        self.assertEqual([position for _, position in world.arrived], list(range(1, 3 * CATCH_UP + 1)))
        self.assertEqual(world.at(0).cursor, 3 * CATCH_UP)

    def test_hole_in_the_log(self) -> None:
        """A post that got its position without the manager being told is found in the log."""
        world = World()
        world.subscribe(0)
        world.post([0])
        entry, recipients = world.log[0]
        silent = type(entry)(2, "bob@pod.example", entry.published_at, 10)
        world.log.append((silent, recipients))
        world.post([0])
        world.run()
        self.assertEqual([position for _, position in world.arrived], [1, 2, 3])


class HostFailureTests(SynchronousTestCase):
    """A host that does not take posts."""

    def _dead(self) -> World:
        world = World(reply=lambda host, position: REFUSED if host == "node-0.example" else OK)
        world.subscribe(0, 1)
        world.post([0, 1])
        world.run()
        return world

    def test_deferred(self) -> None:
        """It is deferred at its first failure, for half a minute, and holds nothing in memory."""
        world = self._dead()
        [destination, _] = world.manager.all()
        self.assertEqual((world.at(0).state, len(destination.queue)), (State.DEFERRED, 0))
        self.assertEqual(world.manager.next_wake(), world.now.seconds + 30.0)
        self.assertEqual([(event.what, event.delay) for event in world.events], [(What.DEFERRED, 30.0)])

    def test_traffic_costs_nothing(self) -> None:
        """While it waits, posts for it cause no attempt, and others get theirs."""
        world = self._dead()
        for _ in range(100):
            world.post([0, 1])
            world.run()
        self.assertEqual(world.tried.count(("node-0.example", 1)), 1)
        self.assertEqual(len([host for host, _ in world.arrived if host == "node-1.example"]), 101)

    def test_intervals_grow(self) -> None:
        """A week of failure takes at most 25 attempts."""
        world = self._dead()
        for _ in range(7 * 24):
            world.post([0, 1])
            world.wait(HOUR)
        self.assertLessEqual(len([host for host, _ in world.tried if host == "node-0.example"]), 25)

    def test_catches_up(self) -> None:
        """When it takes posts again it gets all that it missed, in order, with one probe first."""
        world = self._dead()
        for _ in range(200):
            world.post([0, 1])
        world.run()
        world.reply = lambda host, position: OK
        world.now = world.now.later(31.0)
        self.assertEqual(len(world.begin()), 1)
        world.run()
        mine = [position for host, position in world.arrived if host == "node-0.example"]
        self.assertEqual(mine, list(range(1, 202)))
        self.assertEqual((world.at(0).state, world.at(0).cursor, world.at(0).delivered), (State.ACTIVE, 201, 201))
        self.assertEqual(world.events[-1].what, What.BACK)

    def test_cohort_counts_once(self) -> None:
        """Deliveries that were under way together and fail together are one failure."""
        world = World(reply=lambda host, position: REFUSED)
        world.subscribe(0)
        world.post([0])
        world.post([0])
        first, second = world.begin()
        world.answer(first)
        world.answer(second)
        self.assertEqual(world.at(0).failures, 1)

    def test_sign_of_life(self) -> None:
        """A sign of life has it tried at once, at most once a minute."""
        world = self._dead()
        for _ in range(3):
            world.manager.wake("node-0.example", world.now)
            world.run()
        self.assertEqual(world.tried.count(("node-0.example", 1)), 2)
        world.wait(61.0)
        world.manager.wake("node-0.example", world.now)
        world.run()
        self.assertGreaterEqual(world.tried.count(("node-0.example", 1)), 3)

    def test_retry_after(self) -> None:
        """A wait that the host asks for is kept."""
        world = World(reply=lambda host, position: Answer(429, retry_after=7200.0))
        world.subscribe(0)
        world.post([0])
        world.wait(7100.0)
        self.assertEqual(len(world.tried), 1)
        world.wait(200.0)
        self.assertEqual(len(world.tried), 2)

    def test_dead(self) -> None:
        """After the queue lifetime it is dead: what waited is expired and counted, and it is probed once a week."""
        world = self._dead()
        for _ in range(8 * 24):
            world.post([0, 1])
            world.wait(HOUR)
        self.assertEqual(world.at(0).state, State.DEAD)
        self.assertGreater(world.at(0).expired, 160)
        tried = len(world.tried) - len([1 for host, _ in world.tried if host == "node-1.example"])
        for _ in range(14):
            world.post([0, 1])
            world.wait(DAY)
        now_tried = len(world.tried) - len([1 for host, _ in world.tried if host == "node-1.example"])
        self.assertIn(now_tried - tried, (1, 2, 3))

    def test_no_receiver(self) -> None:
        """A host without a receiver is deferred and its preferences are polled."""
        world = World(reply=lambda host, position: Answer(301, location="https://new.example/"))
        world.subscribe(0)
        world.post([0])
        world.run()
        self.assertEqual([event.what for event in world.events], [What.DEFERRED, What.POLL])
        self.assertIn("https://new.example/", world.at(0).last_reason)

    def test_gone(self) -> None:
        """A host that says 410 for a day is gone, and what was pending is cancelled."""
        world = World(reply=lambda host, position: Answer(410))
        world.subscribe(0)
        for _ in range(72):
            world.post([0])
            world.wait(HOUR)
        self.assertEqual(world.at(0).state, State.GONE)
        self.assertEqual((world.at(0).cancelled, world.at(0).cursor), (72, 72))


class PostFailureTests(SynchronousTestCase):
    """Posts that a host does not take although it is well."""

    def test_bounced(self) -> None:
        """A post that is refused for itself is settled and holds up nothing."""
        world = World(reply=lambda host, position: Answer(413) if position == 1 else OK)
        world.subscribe(0)
        world.post([0])
        world.post([0])
        world.run()
        self.assertEqual((world.at(0).bounced, world.at(0).delivered, world.at(0).cursor), (1, 1, 2))

    def test_tried_twice_more(self) -> None:
        """A post that gets a 400 is tried twice more, ten minutes apart, and then bounced; the next one does not wait."""
        world = World(reply=lambda host, position: Answer(400) if position == 1 else OK)
        world.subscribe(0)
        world.post([0])
        world.post([0])
        world.run()
        self.assertEqual(world.arrived, [("node-0.example", 2)])
        self.assertEqual((world.at(0).cursor, world.at(0).state), (2, State.ACTIVE))
        world.wait(590.0)
        self.assertEqual(world.tried.count(("node-0.example", 1)), 1)
        world.wait(700.0)
        self.assertEqual(world.tried.count(("node-0.example", 1)), 3)
        self.assertEqual(world.at(0).bounced, 1)

    def test_ten_refusals(self) -> None:
        """A host that refuses ten posts in a row is deferred and polled."""
        world = World(reply=lambda host, position: Answer(403))
        world.subscribe(0)
        for _ in range(10):
            world.post([0])
            world.run()
        self.assertEqual(world.at(0).state, State.DEFERRED)
        self.assertIn(What.POLL, [event.what for event in world.events])

    def test_poison(self) -> None:
        """After a 5xx the probe takes the next post; if that is delivered, the first is tried on its own and blocks nobody."""
        world = World(reply=lambda host, position: BROKEN if position == 1 else OK)
        world.subscribe(0)
        for _ in range(4):
            world.post([0])
        [first, second] = world.begin()
        world.answer(first, BROKEN)
        world.answer(second, REFUSED)
        world.wait(31.0)
        self.assertEqual(sorted(position for _, position in world.arrived), [2, 3, 4])
        self.assertEqual((world.at(0).cursor, world.at(0).state), (4, State.ACTIVE))
        world.save()
        self.assertEqual(list(world.deferred), [(0, 1)])
        world.reply = lambda host, position: OK
        world.wait(DAY)
        self.assertIn(("node-0.example", 1), world.arrived)
        world.save()
        self.assertEqual(world.deferred, {})

    def test_deferred_post_survives_restart(self) -> None:
        """A post that is tried on its own is tried on after a restart."""
        world = World(reply=lambda host, position: Answer(400))
        world.subscribe(0)
        world.post([0])
        world.run()
        world.save()
        world.crash()
        world.reply = lambda host, position: OK
        world.wait(700.0)
        self.assertEqual(world.arrived, [("node-0.example", 1)])


class OperatorTests(SynchronousTestCase):
    """What operators and nodes decide."""

    def test_suspend_and_resume(self) -> None:
        """A suspended destination gets nothing, and all of it when it is resumed."""
        world = World()
        world.subscribe(0)
        world.manager.suspend("node-0.example")
        world.post([0])
        world.wait(HOUR)
        self.assertEqual(world.arrived, [])
        world.manager.resume("node-0.example", world.now)
        world.run()
        self.assertEqual(world.arrived, [("node-0.example", 1)])

    def test_unsubscribed(self) -> None:
        """What is pending for a destination that is closed is cancelled and counted."""
        world = World(reply=lambda host, position: REFUSED)
        world.subscribe(0)
        for _ in range(5):
            world.post([0])
        world.run()
        world.manager.close(0, "it wants nothing")
        world.post([0])
        world.wait(DAY)
        self.assertEqual((world.at(0).cancelled, world.at(0).cursor), (6, 6))

    def test_subscribed_again(self) -> None:
        """A destination that comes back gets what is posted from then on."""
        world = World()
        world.subscribe(0)
        world.post([0])
        world.manager.close(0, "it wants nothing")
        world.run()
        world.post([])
        world.subscribe(0)
        world.post([0])
        world.run()
        self.assertEqual(world.arrived, [("node-0.example", 3)])

    def test_cancelled_posts(self) -> None:
        """Posts that are wanted no more are not sent, wherever they wait."""
        world = World()
        world.subscribe(0)
        for _ in range(5):
            world.post([0])
        begun = world.begin()
        world.manager.cancel([3, 4], "blocked")
        world.run()
        self.assertEqual(len(begun), 2)
        self.assertEqual(sorted(position for _, position in world.arrived), [1, 2, 5])
        self.assertEqual((world.at(0).cancelled, world.at(0).cursor), (2, 5))


REPLIES: list[Reply] = [OK, OK, OK, REFUSED, BROKEN, Answer(400), Answer(403), Answer(404), Answer(429, 100.0)]

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.sets(st.integers(0, 3)), st.integers(0, 2)),
        st.tuples(st.just("begin"), st.just(0), st.just(0)),
        st.tuples(st.just("answer"), st.integers(0, 5), st.sampled_from(range(len(REPLIES)))),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 40.0, 700.0, HOUR]), st.just(0)),
        st.tuples(st.just("save"), st.just(0), st.just(0)),
        st.tuples(st.just("crash"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class ConservationTests(SynchronousTestCase):
    """What holds whatever happens."""

    @settings(max_examples=300, deadline=None)
    @given(_steps)
    def test_nothing_is_lost(self, steps: list[tuple[str, object, object]]) -> None:
        """Whatever fails and however often the process dies, in the end each post is delivered, bounced or on its own at each recipient."""
        world = World()
        world.subscribe(0, 1, 2, 3)
        for what, one, two in steps:
            if what == "post":
                world.post(one, author=f"author{two}@pod.example")  # type: ignore[arg-type]
            elif what == "begin":
                world.begin()
            elif what == "answer" and world.under_way:
                world.answer(world.under_way[one % len(world.under_way)], REPLIES[two])  # type: ignore[operator,index]
            elif what == "wait":
                world.now = world.now.later(one)  # type: ignore[arg-type]
            elif what == "save":
                world.save()
            elif what == "crash":
                world.crash()
            for destination in world.manager.all():
                self.assertLessEqual(destination.host.in_flight, 2)
                self.assertLessEqual(len(destination.queue), CATCH_UP + QUEUE_MAX)
                authors = [entry.author for entry in destination.in_flight.values()]
                self.assertEqual(len(authors), len(set(authors)))
        for attempt in list(world.under_way):
            world.answer(attempt, OK)
        world.wait(5 * DAY)
        world.manager.changes(world.now, all_followers=True)
        got = set(world.arrived)
        bounced = {(settled.host, settled.position) for settled in world.settled if settled.outcome in ("bounced", "expired")}
        for number in range(4):
            host = f"node-{number}.example"
            due = {(host, entry.position) for entry, to in world.log if number in to}
            self.assertEqual(due - got - bounced, set())
            self.assertEqual(world.at(number).cursor, len(world.log))

    @settings(max_examples=200, deadline=None)
    @given(_steps)
    def test_ledger(self, steps: list[tuple[str, object, object]]) -> None:
        """Without a crash, what a destination's totals say is what it was named in."""
        world = World()
        world.subscribe(0, 1, 2, 3)
        for what, one, two in steps:
            if what == "post":
                world.post(one, author=f"author{two}@pod.example")  # type: ignore[arg-type]
            elif what == "begin":
                world.begin()
            elif what == "answer" and world.under_way:
                world.answer(world.under_way[one % len(world.under_way)], REPLIES[two])  # type: ignore[operator,index]
            elif what == "wait":
                world.now = world.now.later(one)  # type: ignore[arg-type]
        for attempt in list(world.under_way):
            world.answer(attempt, OK)
        world.wait(5 * DAY)
        for number in range(4):
            at = world.at(number)
            named = sum(number in to for _, to in world.log)
            self.assertEqual(at.delivered + at.bounced + at.expired + at.cancelled, named)
