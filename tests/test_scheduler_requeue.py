"""Posts that bounced and are tried once more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.backoff import DAY
from socialrelay.scheduler.outcome import Answer, Reply
from socialrelay.scheduler.reckoning import DEFERRED_POSTS_MAX
from tests.scheduling import OK, World

FORBIDDEN = Answer(403)
WEEK = 7 * DAY


class Moody:
    """Nodes that refuse everything, until they are told to take it."""

    def __init__(self) -> None:
        self.answer: Reply = FORBIDDEN

    def __call__(self, host: str, position: int) -> Reply:
        return self.answer


class RequeueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.mood = Moody()
        self.world = World(self.mood)
        self.world.subscribe(0, 1)

    def bounce(self, posts: int = 1) -> list[int]:
        """Posts that bounce at node 0, and are stored as such."""
        positions = []
        for _ in range(posts):
            positions.append(self.world.post([0]))
            self.world.run()
        self.world.save()
        self.assertEqual(sorted(self.world.bounces), [(0, position) for position in positions])
        return positions

    def lost(self) -> int:
        """How many posts are refused for good, as operators see it."""
        return self.world.at(0).bounced - self.world.at(0).requeued

    def test_delivered(self) -> None:
        """
        It goes out at once, and is delivered and not bounced then; nothing else is sent again.
        """
        first, second = self.bounce(2)
        self.mood.answer = OK
        self.assertEqual(self.world.requeue(0, first), "")
        self.assertEqual(self.world.accounted(0), self.world.named(0))
        self.world.run()
        self.world.save()
        self.assertEqual(self.world.arrived, [("node-0.example", first)])
        self.assertEqual((self.world.at(0).delivered, self.lost()), (1, 1))
        self.assertEqual((sorted(self.world.bounces), self.world.deferred), ([(0, second)], {}))
        self.assertEqual(self.world.accounted(0), self.world.named(0))

    def test_bounces_again(self) -> None:
        """
        What is refused once more is listed once more, counted once, and may be tried a third time.
        """
        [position] = self.bounce()
        for _ in range(3):
            self.assertEqual(self.world.requeue(0, position), "")
            self.world.run()
            self.world.save()
            self.assertEqual((self.lost(), sorted(self.world.bounces)), (1, [(0, position)]))
        self.assertEqual(self.world.accounted(0), 1)

    def test_twice(self) -> None:
        """
        While it is to be tried it is not put back a second time, nor as long as it is not written that it was.
        """
        [position] = self.bounce()
        self.assertEqual(self.world.requeue(0, position), "")
        self.assertEqual(self.world.requeue(0, position), "it is to be tried already")
        self.mood.answer = OK
        self.world.storage = False
        self.world.save()
        self.world.storage = True
        self.world.run()
        self.assertEqual(self.world.requeue(0, position), "it is to be tried already")
        self.world.save()
        self.assertEqual((self.world.bounces, self.world.accounted(0), self.lost()), ({}, 1, 0))

    def test_not_wanted(self) -> None:
        """
        A node that is not subscribed, or said that it is gone, is sent nothing.
        """
        [position] = self.bounce()
        self.world.unsubscribe(0)
        self.assertEqual(self.world.requeue(0, position), "it takes nothing now")

    def test_room(self) -> None:
        """
        Not more posts are put back than may be tried on their own, so that the node is not held for one that chokes on everything.
        """
        for number in range(DEFERRED_POSTS_MAX * 3 // 2):
            self.mood.answer = OK if number % 5 == 0 else FORBIDDEN  # ten refused in a row would defer the node
            self.world.post([0])
            self.world.run()
        self.world.save()
        refusals = [self.world.requeue(number, position) for number, position in sorted(self.world.bounces)]
        self.assertEqual(refusals, [""] * 50 + ["50 posts are tried on their own there, which is as many as may be"] * 10)
        self.mood.answer = OK
        self.world.run()
        self.assertEqual((self.lost(), self.world.accounted(0)), (10, self.world.named(0)))

    def test_taken_back_meanwhile(self) -> None:
        """
        A post that is taken back before it goes out again is cancelled.
        """
        [position] = self.bounce()
        self.world.requeue(0, position)
        self.world.cancel(position)
        self.world.run()
        self.assertEqual((self.world.at(0).cancelled, self.lost(), self.world.accounted(0)), (1, 0, 1))

    def test_taken_back_before(self) -> None:
        """
        A post that was taken back does not go out, whoever puts it back.
        """
        [position] = self.bounce()
        self.world.cancel(position)
        self.world.requeue(0, position)
        self.world.run()
        self.assertEqual((self.world.tried, self.world.at(0).cancelled, self.lost()), ([("node-0.example", position)], 1, 0))

    def test_too_old(self) -> None:
        """
        A post that is older than the queue lifetime expires instead.
        """
        [position] = self.bounce()
        self.world.wait(WEEK + 1)
        self.assertGreater(self.world.now.wall - self.world.log[0][0].published_at, timedelta(days=7))
        self.assertEqual(self.world.requeue(0, position), "")
        self.world.run()
        self.assertEqual((self.world.at(0).expired, self.lost(), self.world.accounted(0)), (1, 0, 1))

    def test_held_back(self) -> None:
        """
        To a node that is held back it goes when deliveries are resumed.
        """
        [position] = self.bounce()
        self.world.manager.suspend("node-0.example")
        self.world.requeue(0, position)
        self.mood.answer = OK
        self.world.run()
        self.assertEqual((self.world.arrived, self.world.accounted(0)), ([], 1))
        self.world.manager.resume("node-0.example", self.world.now)
        self.world.wait(1200.0)
        self.assertEqual(self.world.arrived, [("node-0.example", position)])


class CrashTests(SynchronousTestCase):
    def test_at_every_point(self) -> None:
        """
        Wherever the relay dies, the post is either still listed as bounced, or goes out; it is never lost from the count nor counted twice.
        """
        steps: list[tuple[str, Callable[[World], object]]] = [
            ("put back", lambda world: world.requeue(0, 1)),
            ("written", lambda world: world.save()),
            ("begun", lambda world: world.begin()),
            ("written again", lambda world: world.save()),
            ("answered", lambda world: [world.answer(attempt) for attempt in list(world.under_way)]),
            ("written at last", lambda world: world.save()),
        ]
        for reply, last in ((OK, "delivered"), (FORBIDDEN, "bounced"), (Answer(400), "bounced")):
            for without in (None, "written", "written again"):
                for point in range(len(steps) + 1):
                    self.die(reply, last, [step for name, step in steps[:point] if name != without], f"{reply} {without} {point}")

    def die(self, reply: Reply, last: str, steps: list[Callable[[World], object]], where: str) -> None:
        mood = Moody()
        world = World(mood)
        world.subscribe(0)
        world.post([0])
        world.run()
        world.save()
        mood.answer = reply
        for step in steps:
            step(world)
        stored = world.stored[0]
        world.crash()
        self.assertEqual(world.accounted(0), world.named(0), where)
        self.assertEqual(stored.bounced - stored.requeued, len(world.bounces), where)
        self.assertLessEqual(len(world.bounces) + len(world.deferred) + stored.delivered, 1, where)
        world.wait(7200.0)
        world.save()
        if (0, 1) in world.bounces:
            self.assertEqual((world.at(0).bounced - world.at(0).requeued, world.at(0).delivered), (1, 0), where)
            self.assertEqual(world.requeue(0, 1), "", where)
            world.wait(7200.0)
        found = world.at(0)
        outcome = {"delivered": found.delivered, "bounced": found.bounced - found.requeued}
        self.assertEqual((outcome, world.accounted(0)), ({"delivered": 0, "bounced": 0} | {last: 1}, 1), where)
