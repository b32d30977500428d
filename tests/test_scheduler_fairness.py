"""Who goes first, and who waits: fairness between hosts, between posts that are new and posts that were missed, and pacing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.backoff import DAY
from socialrelay.scheduler.manager import LATE_AT_ONCE
from socialrelay.scheduler.orders import Limits
from socialrelay.scheduler.outcome import Answer, NoAnswer, Trouble
from socialrelay.scheduler.reader import LOADS, STRETCHES_MAX
from tests.scheduling import OK, REFUSED, World, record


def hosts(world: World) -> list[int]:
    """How much is under way to each host that has anything under way, ascending."""
    counts: dict[str, int] = {}
    for attempt in world.under_way:
        counts[attempt.destination.host.name] = counts.get(attempt.destination.host.name, 0) + 1
    return sorted(counts.values())


class SharingTests(SynchronousTestCase):
    """What there is in all is shared evenly."""

    def test_one_each(self) -> None:
        """When not everybody can have all, nobody gets a second delivery before everybody has one."""
        world = World(limits=Limits(in_flight=12))
        world.subscribe(*range(10))
        for _ in range(5):
            world.post(range(10))
        world.ask()
        self.assertEqual(hosts(world), [1] * 8 + [2] * 2)

    def test_least_first(self) -> None:
        """Who has nothing under way goes before those who have."""
        world = World(limits=Limits(in_flight=4))
        world.subscribe(0, 1, 2)
        for _ in range(4):
            world.post([0, 1])
        world.ask()
        world.post([2])
        world.answer(world.under_way[0])
        self.assertEqual([attempt.destination.number for attempt in world.ask()], [2])

    def test_bytes(self) -> None:
        """The bodies under way are bounded in bytes, but one may always be, to however many."""
        world = World(limits=Limits(body_bytes=250))
        world.subscribe(0, 1, 2)
        for _ in range(3):
            world.post([0, 1, 2])
        self.assertEqual({attempt.entry.position for attempt in world.ask()}, {1, 2})
        small = World(limits=Limits(body_bytes=10))
        small.subscribe(0, 1, 2)
        small.post([0, 1, 2])
        small.post([0, 1, 2])
        self.assertEqual([attempt.entry.position for attempt in small.ask()], [1, 1, 1])
        small.run()
        self.assertEqual(len(small.arrived), 6)

    def test_bytes_are_waited_for_once(self) -> None:
        """Those for whose next body there is no room are looked at again when there is more, and not before."""
        world = World(limits=Limits(body_bytes=150))
        world.subscribe(*range(50))
        world.post([0])
        world.post(range(1, 50))
        [first] = world.ask()
        begin, looked_at = world.manager._begin, []

        def looking(destination, now):  # type: ignore[no-untyped-def]
            looked_at.append(destination)
            return begin(destination, now)

        self.patch(world.manager, "_begin", looking)
        world.ask()
        self.assertEqual(looked_at, [])
        world.answer(first)
        self.assertEqual(len(world.ask()), 49)

    def test_window_grows(self) -> None:
        """A host that has much to take, and takes it, is given more at a time, up to the most."""
        world = World(limits=Limits(window=4))
        world.subscribe(0)
        for _ in range(60):
            world.post([0])
        width = []
        while world.begin() or world.under_way:
            width.append(len(world.under_way))
            world.answer(world.under_way[0])
        self.assertEqual((max(width), sorted(set(width[:-4]))), (4, [2, 3, 4]))

    def test_relay_is_the_limit(self) -> None:
        """While the relay has all hands full, no window grows: it is not the hosts that hold back."""
        world = World(limits=Limits(window=5, in_flight=4))
        world.subscribe(0, 1)
        for _ in range(40):
            world.post([0, 1])
        world.run()
        self.assertEqual({found.host.feedback.width for found in world.manager.all()}, {2})

    def test_patience(self) -> None:
        """A delivery to a host that is known to be quick is given less time, and all of it after it ran out of time."""
        world = World()
        world.subscribe(0)
        for _ in range(25):
            world.post([0])
            world.run()
        world.post([0])
        [attempt] = world.ask()
        self.assertEqual(attempt.timeout, 3.0)
        world.now = world.now.later(3.0)
        world.answer(attempt, NoAnswer(Trouble.TIMEOUT))
        world.now = world.now.later(60.0)
        self.assertEqual([attempt.timeout for attempt in world.begin()], [12.0])


class CatchingUpTests(SynchronousTestCase):
    """Posts that were missed."""

    def returned(self, nodes: int, posts: int, limits: Limits) -> World:
        """Some nodes come back after so many posts; node 0 was there all the time."""
        world = World(limits=limits)
        for number in range(nodes + 1):
            world.stored[number] = record(number)
        world.now = world.now.later(1.0)
        for _ in range(posts):
            world.post(range(1, nodes + 1), told=False)
        world.manager.extend(posts, world.now)
        for number in range(nodes + 1):
            world.manager.open(world.stored[number], world.now)
        world.begin()
        return world

    def test_share(self) -> None:
        """They never take more than their share of what may be under way."""
        world = self.returned(30, 20, Limits(in_flight=40, late=10))
        self.assertEqual(len(world.under_way), 10)
        world.post([0])
        self.assertEqual([attempt.destination.number for attempt in world.begin()], [0])
        world.run()
        self.assertEqual(len(world.arrived), 30 * 20 + 1)

    def test_new_first(self) -> None:
        """What is new is begun before what was missed, whoever was ready first."""
        world = self.returned(30, 3, Limits(late=1))
        world.post([0])
        world.answer(world.under_way[0])
        self.assertEqual(world.ask()[0].destination.number, 0)

    def test_as_much_as_there_is(self) -> None:
        """However much was missed and read, only some of it is begun, and the rest after a look at what is new."""
        world = World(limits=Limits(late=1000))
        world.subscribe(*range(60))
        for number in range(60):
            world.manager.suspend(f"node-{number}.example")
        world.post(range(60))
        for number in range(60):
            world.manager.resume(f"node-{number}.example", world.now)
        while world.reading or world.rows < 60:
            world.reading += world.manager.loads(world.now)
            world.read()
        self.assertEqual((len(world.manager.take(world.now)), world.manager.more), (LATE_AT_ONCE, True))
        self.assertEqual((len(world.manager.take(world.now)), world.manager.more), (60 - LATE_AT_ONCE, False))

    def test_few_read(self) -> None:
        """The log is read for only so many at a time, and for a probe no further than to its post."""
        world = World(reply=lambda host, position: REFUSED)
        world.subscribe(*range(20))
        for _ in range(5):
            world.post(range(20))
        world.run()
        for destination in world.manager.all():
            destination.reach = 1
        world.now = world.now.later(35.0)
        world.ask()
        self.assertEqual(len(world.reading), LOADS)
        rows = world.rows
        world.begin()
        self.assertEqual((world.rows - rows, len(world.under_way)), (20, 20))

    def test_few_hold(self) -> None:
        """Only so many who are behind hold posts in memory, whether they are well or fail."""
        world = self.returned(10, 100, Limits(catching_up=3, late=2))
        self.assertEqual(len(world.manager._reader._holding), 3)
        failing = World(limits=Limits(probes=2), reply=lambda host, position: REFUSED)
        failing.subscribe(*range(10))
        for _ in range(100):
            failing.post(range(10))
        failing.run()
        failing.now = failing.now.later(35.0)
        failing.begin()
        self.assertEqual(len(failing.manager._reader._holding), 2)

    def test_the_dead_hold_no_place(self) -> None:
        """However many hosts that fail are due and hang, who is well and fell behind reads the log at once."""
        world = World(limits=Limits(catching_up=3, probes=2), reply=lambda host, position: REFUSED)
        world.subscribe(*range(20))
        for _ in range(2):
            world.post(range(1, 20))
        world.run()
        world.now = world.now.later(35.0)
        world.begin()
        world.manager.suspend("node-0.example")
        last = world.post([0])
        world.manager.resume("node-0.example", world.now)
        begun = {(attempt.destination.number, attempt.entry.position) for attempt in world.begin()}
        self.assertEqual(begun, {(0, last)})

    def test_the_dead_are_not_stepped_over(self) -> None:
        """What one turn costs does not grow with the number of hosts that wait to be probed."""
        world = World(limits=Limits(probes=2), reply=lambda host, position: REFUSED)
        world.subscribe(*range(50))
        world.post(range(50))
        world.run()
        world.now = world.now.later(35.0)
        world.begin()
        self.assertEqual(len(world.under_way), 2)
        looked_at = []
        self.patch(world.manager, "_begin", lambda destination, now: looked_at.append(destination))
        world.ask()
        self.assertEqual(looked_at, [])

    def test_a_few_at_once(self) -> None:
        """Between two looks at what is new only some of what was missed is begun."""
        world = World()
        for number in range(60):
            world.stored[number] = record(number)
        world.post(range(60), told=False)
        world.manager.extend(1, world.now)
        for number in range(60):
            world.manager.open(world.stored[number], world.now)
        begun = []
        while world.reading or not begun:
            world.ask()
            world.read()
            begun.append(len(world.manager.take(world.now)))
        self.assertLessEqual(max(begun), LATE_AT_ONCE)


class NewestFirstTests(SynchronousTestCase):
    """The operator wants what is new to go before what was missed."""

    def setUp(self) -> None:
        self.world = World(limits=Limits(window=1, newest_beyond=20))
        self.world.subscribe(0)
        self.world.manager.suspend("node-0.example")
        self.missed = [self.world.post([0]) for _ in range(100)]
        self.world.manager.resume("node-0.example", self.world.now)

    def positions(self) -> list[int]:
        return [position for _, position in self.world.arrived]

    def test_backwards(self) -> None:
        """What was missed comes from the newest to the oldest, each post once."""
        self.world.run()
        self.assertEqual(self.positions(), self.missed[::-1])
        self.assertEqual((self.world.at(0).cursor, self.world.at(0).missed, self.world.at(0).delivered), (100, (), 100))

    def test_new_at_once(self) -> None:
        """What is new meanwhile goes before all that was missed."""
        self.world.begin()
        self.world.answer(self.world.under_way[0])
        new = self.world.post([0])
        self.world.run()
        self.assertEqual(self.positions()[:3], [100, new, 99])

    def test_little(self) -> None:
        """Who missed little gets it in order, and what is new after it."""
        world = World(limits=Limits(newest_beyond=20))
        world.subscribe(0)
        world.manager.suspend("node-0.example")
        missed = [world.post([0]) for _ in range(20)]
        world.manager.resume("node-0.example", world.now)
        world.run()
        self.assertEqual([position for _, position in world.arrived], missed)

    def test_crash(self) -> None:
        """After a crash it goes on where it was written that it had come."""
        for _ in range(10):
            self.world.begin()
            self.world.answer(self.world.under_way[0])
        self.world.save()
        self.world.crash()
        self.world.run()
        self.assertEqual(self.positions(), self.missed[::-1])

    def test_after_an_outage(self) -> None:
        """Who was down is probed with the oldest of what it missed, and then gets the newest first, each post once."""
        up: list[int] = []
        world = World(limits=Limits(newest_beyond=20), reply=lambda host, position: OK if up else REFUSED)
        world.subscribe(0)
        world.post([0])
        world.run()
        for _ in range(300):
            world.post([0])
        world.run()
        up.append(1)
        world.wait(40.0)
        order = [position for _, position in world.arrived]
        self.assertEqual((order[:3], sorted(order)), ([1, 301, 300], list(range(1, 302))))
        self.assertEqual((world.at(0).delivered, world.at(0).cursor, world.at(0).missed), (301, 301, ()))

    def test_away_again(self) -> None:
        """Who is away again before that is over gets the newer stretch first, then the rest of the older one."""
        for _ in range(10):
            self.world.begin()
            self.world.answer(self.world.under_way[0])
        self.world.manager.suspend("node-0.example")
        newer = [self.world.post([0]) for _ in range(50)]
        self.world.answer(self.world.under_way[0]) if self.world.under_way else None
        self.world.manager.resume("node-0.example", self.world.now)
        self.world.run()
        self.assertEqual(self.positions(), [*self.missed[:-11:-1], *newer[::-1], *self.missed[-11::-1]])

    def test_taken_back(self) -> None:
        """A post that was missed and is taken back meanwhile is cancelled, and its retraction does not concern who never had it."""
        self.world.begin()
        self.assertEqual(self.world.manager.hold(50, frozenset({0})), frozenset())
        self.world.cancel(50)
        self.world.run()
        self.assertNotIn(50, self.positions())
        self.assertEqual((self.world.at(0).delivered, self.world.at(0).cancelled), (99, 1))

    def test_away_over_and_over(self) -> None:
        """However often one is away, there are only so many stretches that it misses; then all is read in order, and nothing is lost."""
        for _ in range(20):
            self.world.begin()
            self.world.manager.suspend("node-0.example")
            for attempt in list(self.world.under_way):
                self.world.answer(attempt)
            for _ in range(30):
                self.world.post([0])
            self.world.manager.resume("node-0.example", self.world.now)
            self.assertLessEqual(len(self.world.at(0).missed), STRETCHES_MAX)
        self.world.run()
        self.assertEqual(sorted(self.positions()), list(range(1, 701)))

    def test_given_up(self) -> None:
        """What was missed is given up when its destination is subscribed no more, or when it is too old."""
        self.world.begin()
        self.world.manager.expire(40)
        self.world.begin()
        self.assertEqual(self.world.at(0).expired, 40)
        self.world.unsubscribe(0)
        self.world.run()
        self.assertEqual(self.world.at(0).expired + self.world.at(0).cancelled + self.world.at(0).delivered, 100)


class PacingTests(SynchronousTestCase):
    """A post with many recipients."""

    def setUp(self) -> None:
        self.world = World(spread=30.0)
        self.world.subscribe(*range(310))

    def test_over_time(self) -> None:
        """The first ten get it at once, all have it after the spread."""
        self.world.post(range(310))
        self.world.run()
        self.assertEqual(len(self.world.arrived), 10)
        self.world.wait(15.0)
        self.assertTrue(150 <= len(self.world.arrived) <= 175)
        self.world.wait(15.5)
        self.assertEqual(len(set(self.world.arrived)), 310)

    def test_holds_back_no_other(self) -> None:
        """A post that comes after it overtakes it where it has not yet come."""
        self.world.post(range(310))
        self.world.post([0])
        self.world.run()
        self.assertIn(("node-0.example", 2), self.world.arrived)

    def test_crash(self) -> None:
        """What has not gone out when the process dies goes out afterwards, and nothing of it twice."""
        self.world.post(range(310))
        self.world.wait(10.0)
        self.world.save()
        self.world.crash()
        self.world.wait(60.0)
        self.assertEqual((len(self.world.arrived), len(set(self.world.arrived))), (310, 310))

    def test_cancelled(self) -> None:
        """What has not gone out when it is taken back goes to nobody else, and is counted."""
        self.world.post(range(310))
        self.world.run()
        self.world.cancel(1)
        self.world.wait(60.0)
        cancelled = sum(found.cancelled for found in self.world.manager.all())
        self.assertEqual((len(self.world.arrived), cancelled), (10, 300))

    def test_cancelled_where_it_was_read(self) -> None:
        """Who has taken it from the log meanwhile does not lose it when it is taken back, and counts it once."""
        self.world.post(range(310))
        late = next(
            number
            for number in range(310)
            if (f"node-{number}.example", 1) not in self.world.tried + [(attempt.destination.host.name, 1) for attempt in self.world.ask()]
        )
        self.world.manager.suspend(f"node-{late}.example")
        self.world.manager.resume(f"node-{late}.example", self.world.now)
        self.world.run()
        self.assertIn((f"node-{late}.example", 1), self.world.arrived)
        self.world.cancel(1)
        self.assertEqual((self.world.at(late).delivered, self.world.at(late).cancelled), (1, 0))

    def test_missed_posts_are_not_paced(self) -> None:
        """Those who catch up get what they missed as fast as they take it."""
        for number in range(310):
            self.world.manager.suspend(f"node-{number}.example")
        self.world.post(range(310))
        for number in range(310):
            self.world.manager.resume(f"node-{number}.example", self.world.now)
        self.world.run()
        self.assertEqual(len(self.world.arrived), 310)


class TakenBackTests(SynchronousTestCase):
    """Who was sent a post, or may have been."""

    def may_have(self, world: World, position: int = 1) -> set[int]:
        return set(world.manager.hold(position, world.log[position - 1][1]))

    def test_delivered_or_under_way(self) -> None:
        """Those who took it, and those to whom it is under way, but not those for whom it waits."""
        world = World(limits=Limits(in_flight=2))
        world.subscribe(0, 1, 2)
        world.post([0, 1, 2])
        [first, second] = world.ask()
        world.answer(first)
        self.assertEqual(self.may_have(world), {first.destination.number, second.destination.number})
        self.assertEqual(world.ask(), [])

    def test_released(self) -> None:
        """Once it is not taken back after all, it goes out."""
        world = World()
        world.subscribe(0)
        world.post([])
        world.manager.hold(2, frozenset({0}))
        world.post([0])
        world.run()
        self.assertEqual(world.arrived, [])
        world.manager.release(2, world.now)
        world.run()
        self.assertEqual(world.arrived, [("node-0.example", 2)])

    def test_refused_connection(self) -> None:
        """A host that was never connected to cannot have it; one that gave no answer may have it."""
        for reply, expected in ((REFUSED, set()), (NoAnswer(Trouble.TIMEOUT), {0})):
            world = World(reply=lambda host, position, reply=reply: reply)  # type: ignore[misc]
            world.subscribe(0)
            world.post([0])
            world.run()
            self.assertEqual(self.may_have(world), expected)

    def test_after_a_crash(self) -> None:
        """After a crash those who were well may have been sent everything, those who were deferred nothing that was never begun."""
        world = World(reply=lambda host, position: OK if host == "node-0.example" else REFUSED)
        world.subscribe(0, 1)
        world.post([0, 1])
        world.run()
        world.post([0, 1])
        world.save()
        world.crash()
        self.assertEqual(self.may_have(world, 2), {0})
        self.assertEqual(self.may_have(world, 1), {0, 1})

    def test_suspended(self) -> None:
        """A host that was suspended before never had it."""
        world = World()
        world.subscribe(0, 1)
        world.manager.suspend("node-1.example")
        world.post([0, 1])
        world.run()
        self.assertEqual(self.may_have(world), {0})


class ExpiryTests(SynchronousTestCase):
    """Posts that became too old while nobody could take them."""

    def test_suspended(self) -> None:
        """What is older than the queue lifetime is expired and counted at a suspended destination, too."""
        world = World()
        world.subscribe(0, 1)
        world.manager.suspend("node-0.example")
        for _ in range(5):
            world.post([0, 1])
        world.wait(8 * DAY)
        world.manager.expire(3)
        world.begin()
        self.assertEqual((world.at(0).expired, world.at(0).cursor, world.at(1).expired), (3, 3, 0))

    def test_tried_on_its_own(self) -> None:
        """So is what was tried on its own, but not what is newer."""
        world = World(reply=lambda host, position: Answer(400))
        world.subscribe(0)
        for _ in range(2):
            world.post([0])
        [first, second] = world.begin()
        world.answer(second)
        world.manager.suspend("node-0.example")
        world.answer(first, REFUSED)
        [destination] = world.manager.all()
        for upto, deferred in ((1, [2]), (2, [])):
            world.manager.expire(upto)
            world.begin()
            self.assertEqual((destination.expired, list(destination.deferred)), (upto, deferred))


class IndifferenceTests(SynchronousTestCase):
    """A live destination does not notice how many others are dead."""

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 60), st.lists(st.floats(0.5, 900.0), min_size=1, max_size=25))
    def test_delay(self, dead: int, pauses: list[float]) -> None:
        """Whatever number of hosts is dead or hangs: each post is begun for the live one in the moment in which it comes."""
        world = World(limits=Limits(in_flight=16, probes=4), reply=lambda host, position: OK if host == "node-0.example" else REFUSED)
        world.subscribe(*range(dead + 1))
        for _ in range(6):  # hosts fail, and are found out
            world.post(range(dead + 1))
            world.run()
        for pause in pauses:
            world.wait(pause)
            position = world.post(range(dead + 1))
            self.assertIn((0, position), [(attempt.destination.number, attempt.entry.position) for attempt in world.ask()])
            for attempt in list(world.under_way):  # those that hang have not answered yet
                if attempt.destination.number == 0:
                    world.answer(attempt)


class ConnectionTests(SynchronousTestCase):
    """Deliveries to one host at the same time need a connection each."""

    def setUp(self) -> None:
        self.world = World()
        self.world.subscribe(0)
        for _ in range(25):
            self.world.post([0])
            self.world.run()

    def test_quick(self) -> None:
        """A host that answers at once is sent one post after the other, as long as few wait."""
        for _ in range(4):
            self.world.post([0])
        self.assertEqual(len(self.world.begin()), 1)
        self.world.post([0])
        self.assertEqual(len(self.world.begin()), 1)
        self.world.run()
        self.assertEqual(len(self.world.arrived), 30)

    def held_up(self, answers: int) -> None:
        for _ in range(answers):
            self.world.post([0])
            [attempt] = self.world.begin()
            self.world.now = self.world.now.later(0.2)
            self.world.answer(attempt)

    def test_held_up(self) -> None:
        """One answer that is late does not make a quick host slow."""
        self.held_up(1)
        for _ in range(3):
            self.world.post([0])
        self.assertEqual(len(self.world.begin()), 1)

    def test_slow(self) -> None:
        """A host that lets one wait time and again is sent two at a time."""
        self.held_up(8)
        for _ in range(3):
            self.world.post([0])
        self.assertEqual(len(self.world.begin()), 2)
