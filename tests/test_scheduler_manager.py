"""Tests for L{socialrelay.scheduler.manager}."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler import reader
from socialrelay.scheduler.backoff import DAY, HOUR
from socialrelay.scheduler.destination import AHEAD_MAX, UNWRITTEN_MAX
from socialrelay.scheduler.orders import Limits, What
from socialrelay.scheduler.outcome import Answer, Reply
from socialrelay.scheduler.reader import CATCH_UP, LOADS, QUEUE_MAX
from socialrelay.scheduler.record import State
from tests.scheduling import BROKEN, OK, REFUSED, World, record


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
        """It is deferred at its first failure, for twenty seconds, and holds nothing in memory."""
        world = self._dead()
        [destination, _] = world.manager.all()
        self.assertEqual((world.at(0).state, len(destination.queue)), (State.DEFERRED, 0))
        self.assertEqual(world.manager.next_wake(), world.now.seconds + 20.0)
        self.assertEqual([(event.what, event.delay) for event in world.events], [(What.DEFERRED, 20.0)])

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
        """A post that is refused for itself is settled and holds up nothing, and why it was refused is kept."""
        world = World(reply=lambda host, position: Answer(413) if position == 1 else OK)
        world.subscribe(0)
        world.post([0])
        world.post([0])
        world.run()
        self.assertEqual((world.at(0).bounced, world.at(0).delivered, world.at(0).cursor), (1, 1, 2))
        self.assertEqual((world.at(0).last_bounce, world.at(0).last_reason), ("HTTP 413", ""))

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
        """Posts that are wanted no more are not sent, wherever they wait, whether it is said whom they name or not."""
        for named in (None, [0, 9]):
            world = World()
            world.subscribe(0, 1)
            for _ in range(5):
                world.post([0])
            begun = world.begin()
            world.manager.cancel([3, 4], "blocked", world.now, named)
            world.run()
            self.assertEqual(len(begun), 2)
            self.assertEqual(sorted(position for _, position in world.arrived), [1, 2, 5])
            self.assertEqual((world.at(0).cancelled, world.at(0).cursor), (2, 5))


class PatienceTests(SynchronousTestCase):
    """Whatever a destination went through, it goes on."""

    def test_full(self) -> None:
        """A destination that settled very much above a post that then fails gets that post, and what follows."""
        world = World()
        world.subscribe(0)
        world.post([0])
        [first] = world.begin()
        for _ in range(AHEAD_MAX + 10):
            world.post([0])
        for _ in range(AHEAD_MAX):
            [second] = [attempt for attempt in world.under_way if attempt is not first] or world.begin()
            world.answer(second)
            world.begin()
        self.assertEqual((world.begin(), world.under_way), ([], [first]))
        world.answer(first, REFUSED)
        world.wait(HOUR)
        self.assertEqual(world.at(0).cursor, AHEAD_MAX + 11)
        self.assertEqual(len(world.arrived), AHEAD_MAX + 11)

    def test_full_before_a_restart(self) -> None:
        """So does one that was stored like that."""
        world = World()
        for _ in range(AHEAD_MAX + 10):
            world.post([0])
        world.stored[0] = record(0, ahead=tuple(range(2, AHEAD_MAX + 2)))
        world.manager.open(world.stored[0], world.now)
        world.run()
        self.assertEqual([position for _, position in world.arrived], [1, *range(AHEAD_MAX + 2, AHEAD_MAX + 11)])

    def test_many_poison_posts(self) -> None:
        """A host at which more than fifty posts fail on their own is deferred; when it takes them they are over."""
        world = World(reply=lambda host, position: Answer(400) if position % 2 else OK)
        world.subscribe(0)
        for _ in range(120):
            world.post([0])
        world.run()
        self.assertIn(What.DEFERRED, [event.what for event in world.events])
        world.reply = lambda host, position: OK
        world.wait(DAY)
        [destination] = world.manager.all()
        self.assertEqual((len(world.arrived), len(destination.deferred), world.at(0).state), (120, 0, State.ACTIVE))

    def test_only_a_post_of_its_own_is_left(self) -> None:
        """A deferred host for which nothing else waits is probed with the post that is tried on its own."""
        world = World(reply=lambda host, position: Answer(400))
        world.subscribe(0)
        world.post([0])
        world.run()
        world.reply = lambda host, position: REFUSED
        world.wait(700.0)
        self.assertEqual(world.at(0).state, State.DEFERRED)
        world.reply = lambda host, position: OK
        world.wait(HOUR)
        self.assertEqual(world.at(0).delivered, 1)

    def test_dead_gives_up_all(self) -> None:
        """What was tried on its own is expired as well when a host is dead."""
        world = World(reply=lambda host, position: Answer(400))
        world.subscribe(0)
        world.post([0])
        world.run()
        world.reply = lambda host, position: REFUSED
        while world.at(0).state is not State.DEAD:
            world.post([0])
            world.wait(HOUR)
        self.assertEqual(world.at(0).expired, len(world.log))
        world.save()
        self.assertEqual(world.deferred, {})

    def test_gone_is_named_further(self) -> None:
        """Posts that name a host which has gone are cancelled, each of them counted once, also after a restart."""
        world = World(reply=lambda host, position: Answer(410))
        world.subscribe(0, 1)
        world.post([0])
        world.wait(3 * DAY)
        self.assertEqual(world.at(0).state, State.GONE)
        for _ in range(3):
            world.post([1])
            world.post([0])
        world.run()
        self.assertEqual(world.at(0).cancelled, 4)
        world.save()
        world.post([0])
        world.crash()
        world.post([0])
        world.run()
        self.assertEqual(world.at(0).cancelled, 6)

    def test_gone_and_back_within_a_minute(self) -> None:
        """A sign of life brings back a host that has gone, even if the last sign was a moment ago."""
        world = World(reply=lambda host, position: Answer(410))
        world.subscribe(0)
        world.post([0])
        world.wait(25 * HOUR)
        world.manager.wake("node-0.example", world.now)
        world.run()
        self.assertEqual(world.at(0).state, State.GONE)
        world.reply = lambda host, position: OK
        world.post([0])
        world.manager.wake("node-0.example", world.now, reopen=True)
        world.post([0])
        world.run()
        self.assertEqual(world.at(0).state, State.ACTIVE)

    def test_suspended_stays_suspended(self) -> None:
        """What comes back after the operator suspended a host does not let it go on."""
        world = World(reply=lambda host, position: Answer(403))
        world.subscribe(0)
        for _ in range(9):
            world.post([0])
            world.run()
        world.post([0])
        [attempt] = world.begin()
        world.manager.suspend("node-0.example")
        world.answer(attempt)
        world.wait(DAY)
        self.assertEqual(world.at(0).state, State.SUSPENDED)

    def test_suspended_holds_no_place(self) -> None:
        """A suspended destination keeps nobody else from catching up."""
        world = World(limits=Limits(catching_up=1))
        world.subscribe(0, 1)
        for _ in range(CATCH_UP + QUEUE_MAX):
            world.post([0])
        world.begin()
        world.manager.suspend("node-0.example")
        for _ in range(CATCH_UP):
            world.post([1])
        for attempt in list(world.under_way):
            world.answer(attempt)
        world.run()
        self.assertEqual(world.at(1).delivered, CATCH_UP)

    def test_due_when_the_host_fails(self) -> None:
        """A post of its own that is due and waits when the host fails is tried when the host is well again."""
        world = World(limits=Limits(window=1), reply=lambda host, position: Answer(400) if position == 1 else REFUSED)
        world.subscribe(0)
        world.post([0])
        world.run()
        world.post([0])
        [attempt] = world.begin()
        world.now = world.now.later(700.0)
        world.begin()
        world.answer(attempt)
        world.reply = lambda host, position: OK
        world.wait(HOUR)
        self.assertEqual(world.at(0).delivered, 2)

    def test_suspended_does_not_go(self) -> None:
        """A host that the operator suspends while it says for the last time that it has gone stays suspended."""
        world = World(reply=lambda host, position: Answer(410))
        world.subscribe(0)
        world.post([0])
        world.wait(23 * HOUR)
        [destination] = world.manager.all()
        world.now = world.now.later(12 * HOUR)
        self.assertEqual(len(world.begin()), 1)
        world.manager.suspend("node-0.example")
        world.answer(world.under_way[0])
        self.assertEqual(destination.host.state, State.SUSPENDED)

    def test_read_too_late(self) -> None:
        """What was asked of the log before all was dropped from memory, and comes after it, is not taken for the next part."""
        for newest_beyond in (inf, 5):
            world = World(limits=Limits(window=1, newest_beyond=newest_beyond))
            world.subscribe(0)
            world.manager.suspend("node-0.example")
            for _ in range(3 * CATCH_UP):
                world.post([0])
            world.manager.resume("node-0.example", world.now)
            world.begin()
            while not world.reading:
                world.answer(world.under_way[0])
                world.ask()
            world.manager.suspend("node-0.example")
            world.manager.resume("node-0.example", world.now)
            world.run()
            self.assertEqual(sorted(position for _, position in world.arrived), list(range(1, 3 * CATCH_UP + 1)))

    def test_cancelled_while_all_is_held(self) -> None:
        """When the only post that is read of what was missed is held and then taken back, the rest of it follows."""
        self.patch(reader, "CATCH_UP", 1)
        world = World(limits=Limits(newest_beyond=5))
        world.subscribe(0)
        world.manager.suspend("node-0.example")
        for _ in range(10):
            world.post([0])
        world.manager.hold(10, [0])
        world.manager.resume("node-0.example", world.now)
        world.run()
        self.assertEqual(world.arrived, [])
        world.cancel(10)
        world.run()
        self.assertEqual((len(world.arrived), world.at(0).missed), (9, ()))

    def test_cut_off_on_its_own(self) -> None:
        """When a post that is tried on its own could not be sent, and is then taken back, what waited behind it goes on."""
        world = World(limits=Limits(window=1), reply=lambda host, position: Answer(400) if position == 1 else OK)
        world.subscribe(0)
        world.post([0])
        world.run()
        world.now = world.now.later(700.0)
        [attempt] = world.begin()
        world.post([0])
        world.begin()
        world.under_way.remove(attempt)
        world.manager.aborted(attempt, world.now)
        world.cancel(1)
        world.wait(60.0)
        self.assertEqual(world.arrived, [("node-0.example", 2)])

    def test_cut_off_when_it_came_back(self) -> None:
        """When what was under way to a destination that left and came back could not be sent, what it is named in since goes on."""
        world = World(limits=Limits(window=1))
        world.subscribe(0)
        world.post([0])
        [attempt] = world.begin()
        world.unsubscribe(0)
        world.begin()
        world.subscribe(0)
        world.post([0])
        world.begin()
        world.under_way.remove(attempt)
        world.manager.aborted(attempt, world.now)
        world.wait(60.0)
        self.assertEqual(world.arrived, [("node-0.example", 2)])

    def test_not_missed(self) -> None:
        """Once what a destination had missed is taken back, what is new for it is not late."""
        world = World()
        world.subscribe(0)
        world.manager.suspend("node-0.example")
        world.post([0])
        world.manager.hold(1, [0])
        world.manager.resume("node-0.example", world.now)
        world.run()
        world.cancel(1)
        world.post([0])
        self.assertEqual([attempt.late for attempt in world.ask()], [False])

    def test_the_same_post_again(self) -> None:
        """A post that is refused three times is one post refused."""
        world = World(reply=lambda host, position: Answer(400))
        world.subscribe(0)
        for _ in range(5):
            world.post([0])
        world.wait(HOUR)
        self.assertEqual((world.at(0).bounced, world.at(0).state, world.events), (5, State.ACTIVE, []))

    def test_reads_what_it_takes(self) -> None:
        """A destination that is named in every post does not read the log over and over to catch up."""
        world = World()
        for _ in range(3000):
            world.post([0])
        world.stored[0] = record(0)
        world.manager.open(world.stored[0], world.now)
        world.run()
        self.assertEqual(world.at(0).delivered, 3000)
        self.assertLess(world.rows, 6 * 3000)

    def test_a_few_at_a_time(self) -> None:
        """A post that very many want is begun a few at a time, and nobody is left out."""
        world = World()
        world.subscribe(*range(30))
        world.post(range(30))
        begun = [len(world.manager.take(world.now, 8)) for _ in range(3)]
        self.assertEqual((begun, world.manager.more), ([8, 8, 8], True))
        self.assertEqual((len(world.manager.take(world.now, 8)), world.manager.more), (6, False))

    def test_one_alarm(self) -> None:
        """A dead host that gives a sign of life every minute takes no more memory for that."""
        world = World(reply=lambda host, position: REFUSED)
        world.subscribe(0)
        world.post([0])
        world.wait(8 * DAY)
        for _ in range(100):
            world.post([0])
            world.manager.wake("node-0.example", world.now)
            world.wait(61.0)
        self.assertLess(len(world.manager._alarms), 5)

    def test_counting_is_bounded(self) -> None:
        """When many destinations are given up at once, a few at a time are counted; storage that fails is asked again."""
        world = World(reply=lambda host, position: REFUSED)
        world.subscribe(*range(30))
        world.post(range(30))
        world.run()
        for number in range(30):
            world.unsubscribe(number)
        world.storage = False
        world.ask()
        self.assertLessEqual(len(world.counting), LOADS)
        world.read()
        world.storage = True
        world.wait(60.0)
        self.assertEqual([world.at(number).cancelled for number in range(30)], [1] * 30)


class LeavingTests(SynchronousTestCase):
    """What is under way when a destination is closed."""

    def _closed(self, reply: Reply) -> World:
        world = World(reply=lambda host, position: reply)
        world.subscribe(0)
        world.post([0])
        world.begin()
        world.unsubscribe(0)
        world.run()
        world.wait(DAY)
        return world

    def test_nothing_more_is_tried(self) -> None:
        """Whatever comes of it, it was the last attempt, and is counted once."""
        for reply in (Answer(400), BROKEN, REFUSED, Answer(404)):
            world = self._closed(reply)
            self.assertEqual((len(world.tried), world.at(0).cancelled), (1, 1))
            world.save()
            self.assertEqual(world.deferred, {})

    def test_delivered_all_the_same(self) -> None:
        """If it is taken, it is delivered."""
        world = self._closed(OK)
        self.assertEqual((world.at(0).delivered, world.at(0).cancelled), (1, 0))

    def test_tried_on_its_own(self) -> None:
        """A post that was tried on its own and is under way is counted once."""
        world = World(reply=lambda host, position: Answer(400))
        world.subscribe(0)
        world.post([0])
        world.run()
        world.now = world.now.later(700.0)
        world.begin()
        world.unsubscribe(0)
        world.answer(world.under_way[0], OK)
        world.run()
        self.assertEqual((world.at(0).delivered, world.at(0).cancelled), (1, 0))

    def test_tried_on_its_own_when_it_comes_back(self) -> None:
        """A post that is tried on its own, and is under way while a destination is closed and opened again, is not tried after that."""
        for reply in (Answer(400), BROKEN, REFUSED, OK):
            world = World(reply=lambda host, position: Answer(400))
            world.subscribe(0)
            world.post([0])
            world.run()
            world.now = world.now.later(700.0)
            world.begin()
            world.unsubscribe(0)
            world.subscribe(0)
            world.answer(world.under_way[0], reply)
            world.reply = lambda host, position: OK
            world.wait(DAY)
            self.assertEqual((len(world.tried), world.at(0).delivered, world.at(0).cancelled), (2, reply == OK, reply != OK))
            world.save()
            self.assertEqual(world.deferred, {})

    def test_back_at_once(self) -> None:
        """A destination that is closed and opened again before anything was written loses no count."""
        world = World()
        world.subscribe(0)
        world.post([0])
        world.run()
        world.manager.suspend("node-0.example")
        for _ in range(3):
            world.post([0])
        world.unsubscribe(0)
        world.subscribe(0)
        world.post([0])
        world.manager.resume("node-0.example", world.now)
        world.run()
        self.assertEqual((world.at(0).delivered, world.at(0).cancelled, world.at(0).cursor), (2, 3, 5))

    def test_named_meanwhile(self) -> None:
        """Who comes back before it was counted what he did not get is not sent what he was named in before."""
        world = World()
        world.subscribe(0)
        world.manager.suspend("node-0.example")
        world.post([0])
        world.unsubscribe(0)
        world.post([0])
        world.subscribe(0)
        world.post([0])
        world.manager.resume("node-0.example", world.now)
        world.run()
        self.assertEqual((world.arrived, world.at(0).cancelled), ([("node-0.example", 3)], 2))

    def test_back_and_well(self) -> None:
        """A dead host that is subscribed anew is tried at once."""
        world = World(reply=lambda host, position: REFUSED)
        world.subscribe(0)
        while world.at(0).state is not State.DEAD:
            world.post([0])
            world.wait(HOUR)
        world.unsubscribe(0)
        world.run()
        world.reply = lambda host, position: OK
        world.subscribe(0)
        last = world.post([0])
        world.run()
        self.assertEqual(world.arrived, [("node-0.example", last)])

    def test_cancelled_while_it_is_read(self) -> None:
        """A post that is cancelled while the log is being read is not sent."""
        world = World()
        world.subscribe(0)
        world.post([0], told=False)
        world.manager.extend(1, world.now)
        world.ask()
        [load], world.reading = world.reading, []
        entries = [entry for entry, _ in world.log]
        world.cancel(1)
        world.manager.loaded(load, entries, world.now)
        world.run()
        self.assertEqual((world.tried, world.at(0).cancelled), ([], 1))


class SharedPositionTests(SynchronousTestCase):
    """A crash after it was written that destinations follow the log."""

    def after_a_crash(self, world: World) -> None:
        """Everything that was published arrives in the end."""
        world.save()
        world.crash()
        world.wait(60.0)
        self.assertEqual(set(world.arrived), {(f"node-{number}.example", found.position) for found, to in world.log for number in to})
        self.assertEqual(sum(found.delivered for found in world.manager.all()), sum(len(to) for _, to in world.log))

    def test_fell_behind(self) -> None:
        """One that fell behind since begins where it fell behind."""
        world = World()
        world.subscribe(0, 1)
        world.save()
        for _ in range(20):
            world.post([0])
        self.after_a_crash(world)

    def test_still_to_go_out(self) -> None:
        """One to whom a post had still to go out gets it."""
        world = World(spread=30.0, at_once=1)
        world.subscribe(0, 1)
        world.save()
        world.post([0, 1])
        world.run()
        self.after_a_crash(world)

    def test_under_way(self) -> None:
        """One to whom a post was under way gets it, and what others took is not sent again."""
        world = World()
        world.subscribe(0, 1)
        world.save()
        world.post([0, 1])
        [first, _] = world.ask()
        world.answer(first)
        world.post([0])
        world.save()
        self.assertEqual(world.followed, 0)
        self.after_a_crash(world)
        self.assertEqual(len(world.arrived), 3)

    def test_ahead_of_a_slow_one(self) -> None:
        """What the others took while one was slow is sent to none of them again, and counted once."""
        world = World()
        world.subscribe(0, 1, 2)
        world.save()
        world.post([0, 1, 2])
        [_, *quick] = world.ask()
        for attempt in quick:
            world.answer(attempt)
        for _ in range(4):
            world.post([1, 2])
            for attempt in world.ask():
                world.answer(attempt)
        self.after_a_crash(world)
        self.assertEqual((len(world.arrived), world.again), (11, 0))

    def test_so_much_at_risk(self) -> None:
        """However much waits for a destination, at most five posts that it took are not written down."""
        world = World(limits=Limits(window=5))
        world.subscribe(0)
        world.save()
        for _ in range(8):
            world.post([0])
        world.storage = False
        world.run()
        self.assertEqual(len(world.arrived), UNWRITTEN_MAX)
        world.storage = True
        world.save()
        world.run()
        self.assertEqual(len(world.arrived), 8)

    def test_nothing_twice(self) -> None:
        """What was taken by all is sent to nobody again, although no row says so."""
        world = World()
        world.subscribe(0, 1)
        world.save()
        for _ in range(5):
            world.post([0, 1])
            world.run()
        self.after_a_crash(world)
        self.assertEqual(len(world.arrived), 10)
        self.assertEqual([found.delivered for found in world.stored.values()], [5, 5])


REPLIES: list[Reply] = [OK, OK, OK, REFUSED, BROKEN, Answer(400), Answer(403), Answer(404), Answer(429, 100.0)]

NODES = 3

_turmoil = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.sets(st.integers(0, NODES - 1)), st.integers(0, 2)),
        st.tuples(st.just("burst"), st.sets(st.integers(0, NODES - 1), min_size=1), st.integers(1, 40)),
        st.tuples(st.just("silent"), st.sets(st.integers(0, NODES - 1)), st.just(0)),
        st.tuples(st.just("extend"), st.just(0), st.just(0)),
        st.tuples(st.just("ask"), st.just(0), st.just(0)),
        st.tuples(st.just("read"), st.just(0), st.just(0)),
        st.tuples(st.just("begin"), st.just(0), st.just(0)),
        st.tuples(st.just("answer"), st.integers(0, 5), st.sampled_from(range(len(REPLIES)))),
        st.tuples(st.just("answer"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("abort"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("expire"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("subscribe"), st.integers(0, NODES - 1), st.just(0)),
        st.tuples(st.just("unsubscribe"), st.integers(0, NODES - 1), st.just(0)),
        st.tuples(st.just("suspend"), st.integers(0, NODES - 1), st.just(0)),
        st.tuples(st.just("resume"), st.integers(0, NODES - 1), st.just(0)),
        st.tuples(st.just("wake"), st.integers(0, NODES - 1), st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("storage"), st.booleans(), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 40.0, 700.0, HOUR, DAY, 8 * DAY]), st.just(0)),
        st.tuples(st.just("save"), st.just(0), st.just(0)),
        st.tuples(st.just("crash"), st.just(0), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("hold"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("release"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("away"), st.integers(0, NODES - 1), st.integers(1, 40)),
        st.tuples(st.just("outlive"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("requeue"), st.integers(0, 5), st.booleans()),
    ),
    max_size=60,
)


class Turmoil:
    """A world in which everything happens, and its ledger."""

    def __init__(self, case: SynchronousTestCase, spread: float = 0.0, newest_beyond: float = inf) -> None:
        self.case = case
        limits = Limits(in_flight=4, probes=2, late=3, body_bytes=350, catching_up=2, newest_beyond=newest_beyond)
        self.world = World(limits=limits, spread=spread, at_once=1)
        self.world.subscribe(*range(NODES))
        self.since = dict.fromkeys(range(NODES), 0)
        self.crashed = False

    def do(self, what: str, one: Any, two: Any) -> None:
        """One step; the ledger is even after it."""
        world = self.world
        attempt = world.under_way[one % len(world.under_way)] if what in ("answer", "abort", "expire") and world.under_way else None
        if what == "post":
            world.post(self.subscribed(one), author=f"author{two}@pod.example")
        elif what == "burst":
            for _ in range(two):
                world.post(self.subscribed(one))
        elif what == "silent":
            world.post(one, told=False)
        elif what == "extend":
            world.manager.extend(len(world.log), world.now)
        elif what in ("ask", "read", "begin", "save"):
            getattr(world, what)()
        elif what == "answer" and attempt:
            world.answer(attempt, REPLIES[two])
        elif what == "abort" and attempt:
            world.under_way.remove(attempt)
            world.manager.aborted(attempt, world.now)
        elif what == "expire" and attempt:
            world.under_way.remove(attempt)
            world.manager.expired(attempt, "its body is not kept any more", world.now)
        elif what == "subscribe" and not world.stored[one].subscribed:
            self.subscribe(one)
        elif what == "unsubscribe" and world.stored[one].subscribed:
            world.unsubscribe(one)
        elif what in ("suspend", "resume", "wake"):
            arguments = {"suspend": (), "resume": (world.now,), "wake": (world.now, two)}[what]
            getattr(world.manager, what)(f"node-{one}.example", *arguments)
        elif what == "cancel" and one < len(world.log):
            world.cancel(one + 1)
        elif what == "storage":
            world.storage = one
        elif what == "wait":
            world.now = world.now.later(one)
        elif what == "crash":
            self.crash()
        elif what == "restart" and world.storage:
            self.restart()
        elif what == "hold" and one < len(world.log):
            world.manager.hold(one + 1, world.log[one][1])
        elif what == "release":
            world.manager.release(one + 1, world.now)
        elif what == "away":
            world.manager.suspend(f"node-{one}.example")
            for _ in range(two):
                world.post(self.subscribed(range(NODES)))
            world.manager.resume(f"node-{one}.example", world.now)
        elif what == "outlive":
            world.manager.expire(min(one, len(world.log)))
        elif what == "requeue":
            self.requeue(one, two)
        self.check()

    def subscribed(self, numbers: Iterable[int]) -> list[int]:
        """Posts name those who are subscribed; and now and then one that was when its recipients were determined."""
        return [number for number in numbers if self.world.stored[number].subscribed or number == 0]

    def subscribe(self, number: int) -> None:
        """It comes back; if the relay does not know it any more, what it was named in before counts no longer."""
        known = any(destination.number == number for destination in self.world.manager.all())
        self.world.subscribe(number)
        if not known:
            self.account_anew(number)

    def requeue(self, which: object, everything: object) -> None:
        """The operator puts a post back that is stored as bounced, or all of them, if there is any and the relay knows the node."""
        known = {destination.number for destination in self.world.manager.all()}
        bounced = [key for key in sorted(self.world.bounces) if key[0] in known]
        for number, position in bounced if everything else bounced[which : which + 1]:
            self.world.requeue(number, position)

    def crash(self) -> None:
        """The process dies. What was under way past the cursor of a destination that was given up dies uncounted."""
        self.crashed = True
        self.world.crash()
        for destination in self.world.manager.all():
            self.account_anew(destination.number)

    def restart(self) -> None:
        """The process dies when everything was just written down: what is pending is pending still, and nothing else is."""
        self.world.save()
        ending = {d.number for d in self.world.manager.all() if any(not d.pending(p) and p not in d.deferred for p in d.in_flight)}
        giving_up = {d.number for d in self.world.manager.all() if not d.wanted or d.abandoning or d.cursor < d.begin}
        self.crashed = True
        self.world.crash()
        for number in ending | giving_up:
            if any(destination.number == number for destination in self.world.manager.all()):
                self.account_anew(number)

    def account_anew(self, number: int) -> None:
        self.since[number] = self.world.named(number) - self.world.accounted(number)

    def check(self) -> None:
        """What holds at every moment."""
        manager = self.world.manager
        for destination in manager.all():
            number = destination.number
            self.case.assertEqual(self.world.named(number) - self.since[number], self.world.accounted(number))
            self.case.assertTrue(1 <= destination.host.feedback.width <= 5)
            self.case.assertLessEqual(destination.host.in_flight, 5)
            self.case.assertLessEqual(len(destination.queue), CATCH_UP + QUEUE_MAX)
            authors = [entry.author for entry in destination.in_flight.values()]
            self.case.assertEqual(len(authors), len(set(authors)))
        self.case.assertLessEqual(manager.in_flight, 4)
        self.case.assertLessEqual(manager._probes, 2)
        self.case.assertLessEqual(manager._late, 3)
        self.case.assertLessEqual(len(manager._reader._holding), 4)
        self.case.assertLessEqual(len(self.world.reading), LOADS)
        self.case.assertLessEqual(self.world.again, UNWRITTEN_MAX)
        if not self.crashed:
            self.case.assertEqual(len(self.world.arrived), len(set(self.world.arrived)))

    def end_well(self) -> None:
        """Storage, the network and the operator are well again: nothing is pending any more."""
        world = self.world
        world.storage = True
        for destination in list(world.manager.all()):
            world.manager.resume(destination.host.name, world.now)
        for attempt in list(world.under_way):
            world.answer(attempt, OK)
        world.manager.extend(len(world.log), world.now)
        for position in range(1, len(world.log) + 1):
            world.manager.release(position, world.now)
        world.wait(9 * DAY)
        self.check()
        self.case.assertEqual(world.manager.changes(world.now, everything=True).followed, len(world.log))
        for destination in world.manager.all():
            destination.advance(len(world.log))
            self.case.assertEqual((len(destination.deferred), len(destination.ahead), len(destination.missed)), (0, 0, 0))
            self.case.assertTrue(destination.following)
            self.case.assertEqual(destination.upto(len(world.log)), len(world.log))
            lost = destination.bounced - destination.requeued + destination.expired + destination.cancelled
            self.case.assertEqual(destination.delivered + lost, world.named(destination.number) - self.since[destination.number])
            taken = len({position for host, position in world.arrived if host == destination.host.name})
            self.case.assertGreaterEqual(taken + lost + self.since[destination.number], world.named(destination.number))
        manager, reading = world.manager, world.manager._reader
        self.case.assertEqual((manager.in_flight, manager._probes, manager._late, manager._body_bytes), (0, 0, 0, 0))
        self.case.assertEqual((reading._loading, reading._counting, reading._holding), (0, 0, {}))


class TurmoilTests(SynchronousTestCase):
    """What holds whatever happens in whatever order."""

    @settings(max_examples=200, deadline=None)
    @given(_turmoil, st.sampled_from([0.0, 30.0]), st.sampled_from([inf, 5]))
    def test_ledger_is_even(self, steps: list[tuple[str, object, object]], spread: float, newest_beyond: float) -> None:
        """Each post that names a destination is delivered, bounced, expired, cancelled or pending, once; in the end none is pending."""
        self.patch(reader, "CATCH_UP", QUEUE_MAX + 1)  # so that a stretch is read in more than one part
        turmoil = Turmoil(self, spread, newest_beyond)
        for step in steps:
            turmoil.do(*step)
        turmoil.end_well()
