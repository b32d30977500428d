"""Tests for L{socialrelay.scheduler} under a system's clock that jumps."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.backoff import DAY, HOST_STEPS, HOUR, SPREAD
from socialrelay.scheduler.breaker import GONE_AFTER
from socialrelay.scheduler.orders import What
from socialrelay.scheduler.outcome import Answer
from socialrelay.scheduler.record import State
from tests.scheduling import OK, REFUSED, START, World

JUMPS = [sign * timedelta(days=days) for days in (1, 3650) for sign in (1, -1)]
WEEK = 7 * DAY


def jump(world: World, by: timedelta) -> None:
    """
    Wall time jumps. It does so for the scheduler when the relay is started, or has believed the system's clock after a day.

    How old posts are is told by wall time alone: that they are given up is another matter.
    """
    world.now = evolve(world.now, wall=world.now.wall + by)
    world.log[:] = [(evolve(entry, published_at=world.now.wall), to) for entry, to in world.log]


class JumpTests(SynchronousTestCase):
    """One host that is down, and a post for it."""

    def world(self) -> World:
        world = World(reply=lambda host, position: REFUSED)
        world.subscribe(1)
        world.post([1])
        return world

    def tries(self, world: World, seconds: float) -> list[float]:
        """When the host is tried, from the start on."""
        found: list[float] = []
        reply = world.reply

        def noted(host: str, position: int):  # type: ignore[no-untyped-def]
            found.append(world.now.seconds - START.seconds)
            return reply(host, position)

        world.reply = noted
        world.wait(seconds)
        world.reply = reply
        return found

    def test_same_times(self) -> None:
        """Whenever the clock jumps, the host is tried at the same times as if it had not."""
        undisturbed = self.tries(self.world(), 2 * DAY)
        self.assertGreater(len(undisturbed), len(HOST_STEPS))
        for by in JUMPS:
            for before in (10.0, HOUR, DAY):
                world = self.world()
                found = self.tries(world, before)
                jump(world, by)
                found += self.tries(world, 2 * DAY - before)
                self.assertEqual(found, undisturbed, (by, before))

    def test_dead_in_its_time(self) -> None:
        """A host is dead after a week without success, however the clock jumps meanwhile; until then its queue is kept."""
        for by in JUMPS:
            world = self.world()
            world.wait(HOUR)
            jump(world, by)
            world.wait(WEEK - 14 * HOUR)
            [found] = world.manager.all()
            self.assertEqual((found.host.state, world.gaps), (State.DEFERRED, []), by)
            world.post([1])  # one that is young enough to be tried with
            world.wait(27 * HOUR)
            self.assertEqual(found.host.state, State.DEAD, by)

    def test_gone_in_its_time(self) -> None:
        """A host that says that it is gone is believed after a day, not after a jump of the clock."""
        for by in JUMPS:
            world = World(reply=lambda host, position: Answer(410))
            world.subscribe(1)
            world.post([1])
            world.wait(30 * 60.0)
            self.assertGreaterEqual(len(world.tried), 3)
            jump(world, by)
            world.wait(GONE_AFTER / 2)
            self.assertNotIn(What.GONE, {event.what for event in world.events}, by)
            world.wait(GONE_AFTER)
            self.assertIn(What.GONE, {event.what for event in world.events}, by)

    def test_jump_across_a_restart(self) -> None:
        """After a start with another clock the host is tried once, at the latest after its step; nothing is given up early."""
        for by in JUMPS:
            world = self.world()
            world.wait(HOUR)
            world.save()
            jump(world, by)
            world.crash()
            many = len(world.tried)
            step = HOST_STEPS[many - 1] * (1 + SPREAD)
            world.wait(step)
            self.assertEqual(len(world.tried), many + 1, by)
            [found] = world.manager.all()
            self.assertEqual((found.host.state, world.gaps), (State.DEFERRED, []), by)
            world.reply = lambda host, position: OK
            world.wait(WEEK)
            self.assertEqual(world.arrived, [("node-1.example", 1)], by)
