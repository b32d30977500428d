"""What waits, was put aside or refused, as operators see it, and what they do about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from socialrelay.scheduler.record import Bounce, DeferredDelivery, Progress, State
from tests.operators import EVERYTHING, NOW
from tests.storing import arrival, publication
from tests.test_operations import OperatorTestCase

HOST = "pod.example"
DAY = timedelta(days=1)


class BacklogTestCase(OperatorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now(self.relay.publishes(HOST, EVERYTHING))

    def bounce(self, *positions: int) -> None:
        """Posts of these positions are refused; so many posts there are."""
        for number in range(1, max(positions) + 1):
            post = publication(guid=f"guid-of-post-{number}", recipients=frozenset({0}), published_at=NOW)
            self.successResultOf(self.relay.stores.log.publish(post))
        bounces = tuple(Bounce(0, position, "HTTP 403", NOW + timedelta(minutes=position)) for position in positions)
        self.successResultOf(self.relay.stores.destinations.save(Progress(bounces=bounces)))
        self.relay.queue.becomes(HOST, State.ACTIVE, bounced=len(positions))

    def requeued(self) -> list[str]:
        return [act for act, _ in self.relay.queue.asked]


class BouncedTests(BacklogTestCase):
    def test_listed(self) -> None:
        """
        What a node refused is listed, the latest first, and what keeps it from being tried once more.
        """
        self.bounce(1, 2, 3)
        del self.relay.tables.bodies[1]
        self.relay.tables.cancelled.add(2)
        answer = self.now(self.views.backlog.bounced(host="POD.example"))
        self.assertEqual((answer["host"], answer["total"]), (HOST, 3))
        self.assertEqual(answer["bounced"][0], {
            "position": 3, "bounced_at": "2026-11-21T21:33:00+00:00", "reason": "HTTP 403", "author": "ada@pod.example",
            "guid": "guid-of-post-3", "published_at": "2026-11-21T21:30:00+00:00", "why_not": "",
        })  # fmt: skip
        self.assertEqual(
            [each["why_not"] for each in answer["bounced"][1:]],
            ["It was taken back, or is not wanted any more.", "Its body is not kept any more."],
        )
        self.assertEqual(len(self.now(self.views.backlog.bounced(host=HOST, limit=1))["bounced"]), 1)

    def test_not_subscribed(self) -> None:
        """
        To a node that is not subscribed, or gone, nothing is sent again.
        """
        self.bounce(1)
        for changes in ({"subscribed": False}, {"state": State.GONE}):
            status = self.relay.queue.statuses[HOST]
            self.relay.queue.statuses[HOST] = evolve(status, record=evolve(status.record, **changes))
            [row] = self.now(self.views.backlog.bounced(host=HOST))["bounced"]
            self.assertEqual(row["why_not"], "pod.example is not subscribed.")
            self.relay.queue.statuses[HOST] = status

    def test_unknown(self) -> None:
        """
        Of a node that nothing was delivered to there is nothing to show.
        """
        self.assertEqual(self.refused(self.views.backlog.bounced(host="other.example")).code, "unknown-node")


class RequeueTests(BacklogTestCase):
    def test_one(self) -> None:
        """
        One post goes out again, and the log says who wanted it.
        """
        self.bounce(1, 2)
        with capturedLogs() as logged:
            answer = self.now(self.acts.repairs.requeue(host=HOST, position=2, who="ada"))
        self.assertEqual((answer["message"], answer["requeued"]), ("The post 2 goes out to pod.example once more.", 1))
        self.assertEqual(self.requeued(), ["requeue 2"])
        self.assertEqual([event["who"] for event in logged if event.get("act") == "requeue"], ["ada"])

    def test_all(self) -> None:
        """
        All that are listed go out again, in their order, but for those that cannot, and it is said why.
        """
        self.bounce(1, 2, 3, 4)
        del self.relay.tables.bodies[2]
        self.relay.queue.unwilling[3] = "it is to be tried already"
        answer = self.now(self.acts.repairs.requeue(host=HOST, everything=True, who="ada"))
        self.assertEqual(self.requeued(), ["requeue 1", "requeue 3", "requeue 4"])
        self.assertEqual(answer["requeued"], 2)
        self.assertTrue(answer["message"].startswith("2 posts go out to pod.example once more."))
        self.assertIn("1 post cannot be. Its body is not kept any more.", answer["message"])
        self.assertIn("1 post cannot be. It is to be tried already.", answer["message"])

    def test_refused(self) -> None:
        """
        What is not listed, or cannot go out, is refused with its reason.
        """
        self.bounce(1)
        for position, reason in ((7, "not listed"), (1, "Its body is not kept any more.")):
            self.relay.tables.bodies.clear()
            error = self.refused(self.acts.repairs.requeue(host=HOST, position=position, who="ada"))
            self.assertEqual(error.code, "refused")
            self.assertIn(reason, str(error))
        self.assertIn("Its body", str(self.refused(self.acts.repairs.requeue(host=HOST, everything=True, who="ada"))))
        self.assertEqual(self.requeued(), [])

    def test_nothing_listed(self) -> None:
        """
        Where nothing was refused there is nothing to try.
        """
        self.assertIn("No post is listed", str(self.refused(self.acts.repairs.requeue(host=HOST, everything=True, who="ada"))))

    def test_which(self) -> None:
        """
        Which post is meant has to be said.
        """
        for fields in ({}, {"position": 1, "everything": True}):
            self.assertEqual(self.refused(self.acts.repairs.requeue(host=HOST, who="ada", **fields)).code, "bad-request")

    def test_one_after_the_other(self) -> None:
        """
        What is asked for while another post is put back is looked up when that is done: else it might be read, delivered, and go out again.
        """
        self.bounce(1, 2)
        kind: Any = type(self.relay.stores.destinations)
        read, reading = kind.bounced, [Deferred[object](), Deferred[object]()]
        asked: list[int] = []

        def bounced(store: object, number: int, limit: int, position: int) -> Deferred[object]:
            asked.append(position)
            return reading[len(asked) - 1].addCallback(lambda _: read(store, number, limit, position))

        self.patch(kind, "bounced", bounced)
        acts = [Deferred.fromCoroutine(self.acts.repairs.requeue(host=HOST, position=position, who="ada")) for position in (1, 2)]
        self.assertEqual(asked, [1])
        reading[0].callback(None)
        self.assertEqual((asked, self.requeued()), ([1, 2], ["requeue 1"]))
        reading[1].callback(None)
        self.assertEqual([self.successResultOf(act)["requeued"] for act in acts], [1, 1])

    def test_not_at_once(self) -> None:
        """
        If the node is not well it is said that the post waits.
        """
        self.bounce(1)
        self.relay.queue.becomes(HOST, State.DEFERRED)
        answer = self.now(self.acts.repairs.requeue(host=HOST, position=1, who="ada"))
        self.assertEqual(answer["message"], "The post 1 waits for pod.example, which is deferred, until it takes posts again.")


class WaitingTests(BacklogTestCase):
    def keep(self, minutes: int = 0, quarantined: bool = False, **changes: object) -> int:
        at = NOW - timedelta(minutes=minutes)
        id = self.successResultOf(self.relay.stores.incoming.keep(arrival(received_at=at, **changes)))
        assert id is not None
        if quarantined:
            self.successResultOf(self.relay.stores.incoming.quarantine(id, "ValueError", NOW))
        return id

    def test_waiting(self) -> None:
        """
        What waits to be judged is shown by host.
        """
        self.keep(3, body=b"123")
        self.keep(2, body=b"12345", sender_host="other.example")
        self.keep(1, quarantined=True)
        answer = self.now(self.views.backlog.waiting())
        self.assertEqual(answer["hosts"][0], {"host": "other.example", "rows": 1, "bytes": 5, "oldest": "2026-11-21T21:28:00+00:00"})
        del answer["hosts"]
        self.assertEqual(answer, {"rows": 2, "bytes": 8, "oldest": "2026-11-21T21:27:00+00:00", "quarantine": 1})

    def test_quarantine(self) -> None:
        """
        A body that could not be judged is shown, and judged again or dropped as the operator wishes.
        """
        one, other = self.keep(2, body=b"12345", quarantined=True), self.keep(1, quarantined=True)
        answer = self.now(self.views.backlog.quarantine())
        self.assertEqual(([row["id"] for row in answer["quarantine"]], answer["total"]), ([other, one], 2))
        self.assertEqual(answer["quarantine"][1], {
            "id": one, "quarantined_at": "2026-11-21T21:30:00+00:00", "received_at": "2026-11-21T21:28:00+00:00",
            "sender": "ada@pod.example", "private": False, "size": 5, "reason": "ValueError",
        })  # fmt: skip
        self.now(self.acts.repairs.quarantine_retry(id=one, who="ada"))
        self.assertEqual((len(self.relay.poked), self.now(self.views.backlog.waiting())["rows"]), (1, 1))
        self.now(self.acts.repairs.quarantine_drop(id=other, who="ada"))
        self.assertEqual(self.now(self.views.backlog.quarantine()), {"quarantine": [], "total": 0})
        for act in (self.acts.repairs.quarantine_retry, self.acts.repairs.quarantine_drop):
            self.assertIn("There is no such body", str(self.refused(act(id=one, who="ada"))))
        self.assertEqual(len(self.relay.poked), 1)

    def test_deferred(self) -> None:
        """
        Posts that are tried on their own are shown with where they fail.
        """
        self.successResultOf(self.relay.stores.log.publish(publication(guid="guid-of-post-1")))
        tried = DeferredDelivery(0, 1, 2, NOW + DAY, "HTTP 400")
        self.successResultOf(self.relay.stores.destinations.save(Progress(deferred=(tried,))))
        self.assertEqual(self.now(self.views.backlog.deferred()), {"total": 1, "deferred": [{
            "host": HOST, "position": 1, "attempts": 2, "next_attempt": "2026-11-22T21:30:00+00:00", "reason": "HTTP 400",
            "author": "ada@pod.example", "guid": "guid-of-post-1",
        }]})  # fmt: skip


class ForgetKeyTests(BacklogTestCase):
    def test_forgotten(self) -> None:
        """
        A key is forgotten once; where none is kept that is said.
        """
        self.relay.keyring.held.add("ada@pod.example")
        answer = self.now(self.acts.repairs.forget_key(handle=" Ada@Pod.example ", who="ada"))
        self.assertEqual(answer["message"], "The key of ada@pod.example is forgotten; it is looked up anew when the next post comes.")
        self.assertEqual(self.refused(self.acts.repairs.forget_key(handle="ada@pod.example", who="ada")).code, "refused")
        self.assertEqual(self.refused(self.acts.repairs.forget_key(handle="pod.example", who="ada")).code, "bad-host")
