"""What happened between the relay and one node lately."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from socialrelay.boundaries import NodeRecord, Outcome, PollNote, Rejection
from socialrelay.scheduler.record import State
from tests.operators import EVERYTHING, NOW
from tests.storing import publication
from tests.test_operations import OperatorTestCase

HOST = "pod.example"
HOUR = timedelta(hours=1)


class HistoryTests(OperatorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now(self.relay.publishes(HOST, EVERYTHING))

    def test_outcomes(self) -> None:
        """
        How the last attempts ended is shown with the last delivery in its place, ten of them.
        """
        ended = [Outcome(NOW - n * HOUR, "host failed", "HTTP 502", n) for n in (1, 3)]
        self.relay.queue.ended[HOST] = ended
        self.relay.queue.becomes(HOST, State.DEFERRED, last_success=NOW - 2 * HOUR)
        found = self.now(self.views.node(HOST))["outcomes"]
        self.assertEqual(
            [(each["outcome"], each["position"]) for each in found], [("host failed", 1), ("delivered", None), ("host failed", 3)]
        )
        self.assertEqual(found[0]["at"], "2026-11-21T20:30:00+00:00")
        self.relay.queue.ended[HOST] = [Outcome(NOW - n * HOUR, "bounced", "HTTP 403", n) for n in range(10)]
        self.assertEqual(len(self.now(self.views.node(HOST))["outcomes"]), 10)

    def test_polls(self) -> None:
        """
        The last polls are shown, the latest first.
        """
        node = NodeRecord(HOST, ("list",), NOW, NOW, EVERYTHING)
        for poll in (PollNote(NOW - HOUR, "failed", error="timeout"), PollNote(NOW, "read", "all")):
            self.successResultOf(self.relay.stores.nodes.save(node, poll))
        latest, before = self.now(self.views.node(HOST))["polls"]
        self.assertEqual(latest, {"at": "2026-11-21T21:30:00+00:00", "outcome": "read", "scope": "all", "tags": 0, "error": ""})
        self.assertEqual((before["outcome"], before["error"]), ("failed", "timeout"))

    def test_received(self) -> None:
        """
        What came from its authors is counted, and why some of it was not relayed.
        """
        statistics = self.relay.stores.statistics
        hour = NOW.replace(minute=0)
        counts = {
            (hour, "received", HOST): 5,
            (hour, "accepted", HOST): 3,
            (hour - 48 * HOUR, "accepted", HOST): 4,
            (hour, "delivered", HOST): 9,
        }
        self.successResultOf(statistics.add(counts))
        authors = (f"ada@{HOST}", f"eve@{HOST}:8443", "ada@other.example")
        rejected = [Rejection(NOW, "bad-signature" if n else "blocked", author) for n, author in enumerate(authors)]
        self.successResultOf(self.relay.stores.rejections.record(rejected))
        self.assertEqual(
            self.now(self.views.node(HOST))["received"],
            {
                "24h": {"received": 5, "accepted": 3, "duplicate": 0},
                "30d": {"received": 5, "accepted": 7, "duplicate": 0},
                "refused": {"bad-signature": 1, "blocked": 1},
                "last": "2026-11-21T21:00:00+00:00",
            },
        )

    def test_cursor(self) -> None:
        """
        Of a node that is behind it is shown how many posts wait for it, and since when.
        """
        for hours in (3, 2, 1):
            post = publication(published_at=NOW - hours * HOUR, recipients=frozenset({0} if hours > 1 else {5}))
            self.successResultOf(self.relay.stores.log.publish(post))
        self.assertEqual(self.now(self.views.node(HOST))["cursor"], {"position": 0, "posts": 0, "since": None})
        self.relay.queue.becomes(HOST, State.DEFERRED, behind=2, cursor=1)
        cursor = {"position": 1, "posts": 1, "since": "2026-11-21T19:30:00+00:00"}
        self.assertEqual(self.now(self.views.node(HOST))["cursor"], cursor)

    def test_never_delivered_to(self) -> None:
        """
        Of a node that is not sent anything only what came from it is shown.
        """
        self.successResultOf(self.relay.stores.nodes.listed("list", {"other.example": NOW}, NOW))
        answer = self.now(self.views.node("other.example"))
        self.assertEqual((answer["cursor"], answer["bounces"], answer["outcomes"], answer["polls"]), (None, None, [], []))

    def test_bounces(self) -> None:
        """
        What it refused lately is shown with it.
        """
        status = self.relay.queue.statuses[HOST]
        self.relay.queue.statuses[HOST] = evolve(status, record=evolve(status.record, bounced=5, requeued=2))
        answer = self.now(self.views.node(HOST))
        self.assertEqual((answer["bounces"], answer["deliveries"]["bounced"]), ({"host": HOST, "total": 3, "bounced": []}, 3))
