"""Tests for L{socialrelay.bus.heartbeat}."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import BusMessage
from socialrelay.bus.heartbeat import TELL, Heartbeat
from socialrelay.bus.own import OwnMessages
from socialrelay.bus.topics import Topics


class HeartbeatTests(SynchronousTestCase):
    """What is said and not kept."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[tuple[str, dict[str, object]]] = []
        self.figures = {"last_seq": 7, "dropped": 0, "backlog": 2, "subscribers": 1}
        own = OwnMessages(Topics("org.example", "dev"), lambda: UUID(int=1))
        now = lambda: datetime(2026, 3, 1, tzinfo=UTC)  # noqa: E731
        self.heartbeat = Heartbeat(own, self.publish, lambda: self.figures, self.clock, now)

    def publish(self, message: BusMessage) -> None:
        self.said.append((message.topic.removeprefix("org.example.dev.socialrelay."), json.loads(message.body)["msg"]))

    def test_beat(self) -> None:
        """A heartbeat says the figures as they are then, and for how long the relay has been running."""
        self.clock.advance(12.5)
        self.figures["last_seq"] = 8
        self.heartbeat.beat()
        members = {"last_seq": 8, "dropped": 0, "backlog": 2, "subscribers": 1, "uptime": 12}
        self.assertEqual(self.said, [("relay.heartbeat", members)])

    def test_overflow(self) -> None:
        """Overflows of a second are told at once, with how many there were since the start."""
        for _ in range(3):
            self.heartbeat.overflowed("relay_outbound")
        self.assertEqual(self.said, [])
        self.clock.advance(TELL)
        self.heartbeat.overflowed("relay_outbound")
        self.clock.advance(TELL)
        self.assertEqual(self.said, [("relay.overflow", {"socket": "relay_outbound", "episodes": episodes}) for episodes in (3, 4)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_overflow_by_telling(self) -> None:
        """That telling of an overflow is too much for somebody, too, is told, and no sooner than the first."""
        publish = self.publish
        self.heartbeat._publish = lambda message: (publish(message), self.heartbeat.overflowed("relay_outbound"))
        self.heartbeat.overflowed("relay_outbound")
        for _ in range(3):
            self.clock.advance(TELL)
        self.assertEqual([members["episodes"] for _, members in self.said], [1, 2, 3])

    def test_stop(self) -> None:
        """After the stop nothing is said."""
        self.heartbeat.overflowed("relay_outbound")
        self.heartbeat.stop()
        self.heartbeat.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.said), ([], []))
