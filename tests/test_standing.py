"""Tests for L{socialrelay.delivery.standing} and L{socialrelay.delivery.outcomes}: how deliveries stand."""

from __future__ import annotations

from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Outcome
from socialrelay.delivery.outcomes import EACH, LONGEST, RecentOutcomes
from socialrelay.delivery.standing import behind, status_of, summary, worst
from socialrelay.scheduler.outcome import Answer, Effect, Judgement, NoAnswer, Trouble
from socialrelay.scheduler.record import State
from tests.envelopes import Author
from tests.relays import WholeRelay
from tests.scheduling import EPOCH, OK, REFUSED, World

ALICE = Author("alice@pod-a.example")


def nobody(host: str) -> bool:
    return False


class StandingTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Node 0 is well, 1 and 2 fail, 3 is suspended, 4 chokes on one post, 5 went away."""
        self.world = World(self.reply)
        self.world.subscribe(*range(6))
        self.world.manager.suspend("node-3.example")
        self.world.post(range(5))
        self.world.run()
        self.world.unsubscribe(5)
        self.world.run()
        self.world.post([2, 3])
        self.world.run()

    def reply(self, host: str, position: int) -> object:
        return {"node-1.example": REFUSED, "node-2.example": REFUSED, "node-4.example": Answer(400)}.get(host, OK)

    def test_summary(self) -> None:
        """
        All destinations are counted by their state, those that went away only if somebody wants them to be.
        """
        found = summary(self.world.manager.all(), self.world.manager.end, nobody)
        expected = {"destinations": 5, "active": 2, "deferred": 2, "suspended": 1, "behind": 3, "deferred_posts": 1}
        self.assertEqual({name: many for name, many in found.items() if many}, expected)
        self.assertEqual({name for name, many in found.items() if not many}, {"dead", "gone", "waiting", "in_flight"})
        found = summary(self.world.manager.all(), self.world.manager.end, lambda host: host == "node-5.example")
        self.assertEqual(found["destinations"], 6)

    def test_worst(self) -> None:
        """
        Those in trouble come first that are behind most, equals by host; as many as are wanted.
        """
        found, left_out = worst(self.world.manager.all(), self.world.manager.end, None, 9, nobody)
        self.assertEqual([each.number for each in found], [1, 2, 3, 4])
        self.assertEqual([behind(each, self.world.manager.end) for each in found], [2, 2, 2, 0])
        self.assertEqual(left_out, 0)
        found, left_out = worst(self.world.manager.all(), self.world.manager.end, None, 1, nobody)
        self.assertEqual(([each.number for each in found], left_out), ([1], 3))

    def test_worst_of_a_state(self) -> None:
        """
        All of one state are listed, also those that are well.
        """
        found, _ = worst(self.world.manager.all(), self.world.manager.end, State.ACTIVE, 9, nobody)
        self.assertEqual([each.number for each in found], [0, 4])
        status = status_of(found[1], self.world.manager.end, 15.0, self.world.now)
        self.assertEqual((status.record.number, status.deferred_posts, status.following), (4, 1, True))


class OutcomesTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """
        The last ten of each host are remembered, the latest first, and not of more hosts than there is room for.
        """
        outcomes = RecentOutcomes(limit=20)
        for number in range(EACH + 5):
            outcomes.note("a.example", number, Judgement(Effect.BOUNCED, "HTTP 403"), EPOCH + timedelta(seconds=number))
        self.assertEqual([each.position for each in outcomes.of("a.example")], list(range(EACH + 4, 4, -1)))
        self.assertEqual(outcomes.of("b.example"), ())
        for number in range(20):
            outcomes.note(f"n{number}.example", 1, Judgement(Effect.HOST_FAILED, "x" * 1000), EPOCH)
        self.assertEqual(outcomes.of("a.example"), ())
        self.assertEqual(len(outcomes.of("n7.example")[0].reason), LONGEST)

    def test_of_attempts(self) -> None:
        """
        An attempt that does not end with a delivery is remembered with its reason; what is delivered needs no room.
        """
        relay = WholeRelay().start()
        relay.keyring.hold(ALICE)
        for host in ("one.example", "two.example"):
            relay.subscribe(host)
        relay.transport.reply = lambda url: Answer(202) if "one" in url else NoAnswer(Trouble.TIMEOUT)
        self.successResultOf(relay.relay.accept(ALICE.post("Hello"), "192.0.2.1"))
        relay.run()
        self.assertEqual(relay.dispatcher.outcomes("one.example"), ())
        [found] = relay.dispatcher.outcomes("two.example")
        self.assertEqual(found, Outcome(found.at, "host failed", Trouble.TIMEOUT.value, 1))


class RequeueTests(SynchronousTestCase):
    def test_delivered(self) -> None:
        """
        A post that a node refused goes out once more when it is put back, and that is written down; elsewhere nothing is.
        """
        relay = WholeRelay().start()
        relay.keyring.hold(ALICE)
        relay.subscribe("one.example")
        relay.transport.reply = lambda url: Answer(403)
        body = ALICE.post("Hello")
        self.successResultOf(relay.relay.accept(body, "192.0.2.1"))
        relay.run()
        [bounced] = self.successResultOf(relay.storage.destinations.bounced(0, 9))
        self.assertEqual((bounced.bounce.position, bounced.bounce.reason, bounced.author), (1, "HTTP 403", ALICE.handle))
        relay.transport.reply = lambda url: Answer(202)
        self.assertEqual(relay.dispatcher.requeue("one.example", 1), "")
        self.assertEqual(relay.dispatcher.requeue("two.example", 1), "nothing was ever delivered to it")
        relay.run()
        self.assertEqual([sent for _, sent in relay.transport.sent], [body, body])
        self.assertEqual(self.successResultOf(relay.storage.destinations.bounced(0, 9)), [])
        [record] = self.successResultOf(relay.storage.destinations.load())
        self.assertEqual((record.bounced, record.requeued, record.delivered), (1, 1, 1))
