"""What comes to the bus from outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Answer
from socialrelay.boundaries.bus import HTTP, INGEST, LEGACY
from socialrelay.bus.counts import Counts
from socialrelay.bus.intake import INTERVAL, PROBE, STOPPING, Intake
from socialrelay.bus.journal import AWAY, NO_ROOM, Journal
from socialrelay.bus.recent import Recent
from socialrelay.bus.topics import Topics
from socialrelay.storage.memory import MemoryTables
from tests.bus_messages import TOPIC, body, message
from tests.bus_stores import ScriptedBus
from tests.storing import NOW

T = TOPIC.encode()
TOPICS = Topics("org.example", "dev")
RESERVED = b"org.example.prod.socialrelay.node.subscribed"


class IntakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = ScriptedBus(MemoryTables())
        self.clock = Clock()
        self.counts = Counts()
        self.published: list[tuple[str, bytes]] = []
        self.probes: list[bytes] = []
        self.answers: list[Answer] = []
        publish: Callable[[str, bytes], None] = lambda topic, sent: self.published.append((topic, sent))  # noqa: E731
        self.journal = Journal(self.store, publish, self.clock, lambda: NOW, 10_000, 10, self.counts)
        self.addCleanup(self.journal.stop)
        self.successResultOf(Deferred.fromCoroutine(self.journal.start()))
        self.intake = Intake(self.journal, TOPICS, self.counts, self.clock, max_message=2000, probed=self.probes.append)

    def take(self, msg_id: str, sent: bytes, topic: bytes = T, source: str = INGEST, **more: Any) -> None:
        self.intake.take(msg_id, topic, sent, source, self.answers.append, **more)
        self.clock.advance(0)

    def answer(self) -> Answer:
        """The only one that was given."""
        [answer] = self.answers
        del self.answers[:]
        return answer

    def legacy(self, *frames: bytes) -> None:
        self.intake.legacy(frames)
        self.clock.advance(0)


class LegacyTests(IntakeTests):
    def test_kept(self) -> None:
        """
        A message is stored and published as the bytes that came.
        """
        sent = b' {"topic": "%b", "msg": {"a": 1.10}, "msg_id": "2026-1"}' % T
        self.legacy(T, sent)
        self.assertEqual(self.published, [(TOPIC, sent)])
        stored = self.store.stored[1]
        self.assertEqual((stored.msg_id, stored.body, stored.source), ("2026-1", sent, LEGACY))
        self.assertEqual((self.counts.received[LEGACY], self.counts.kept[LEGACY], self.counts.published[LEGACY]), (1, 1, 1))

    def test_not_kept(self) -> None:
        """
        Where legacy messages are not stored they are published at once, looked at like all.
        """
        self.intake.store_legacy = False
        sent = body()
        self.intake.legacy([T, sent])
        self.intake.legacy([T, b"[]"])
        self.assertEqual(self.published, [(TOPIC, sent)])
        self.assertEqual((self.store.batches, self.counts.published[LEGACY], self.counts.invalid["not-object"]), ([], 1, 1))

    def test_reserved(self) -> None:
        """
        Nobody speaks for the relay, in whatever environment.
        """
        self.legacy(RESERVED, body(RESERVED.decode()))
        self.assertEqual((self.published, self.counts.invalid["reserved"]), ([], 1))

    def test_malformed(self) -> None:
        """
        What is no message is counted by its reason, and not relayed.
        """
        for frames in ([], [T], [T, b"{"], [T, b"[]"], [b"", body()], [b"other", body()], [T, body(msg=None)], [T, body(msg="x" * 2000)]):
            self.legacy(*frames)
        expected = {"frames": 2, "not-json": 1, "not-object": 1, "topic": 1, "other-topic": 1, "no-msg": 1, "too-large": 1}
        self.assertEqual((dict(self.counts.invalid), self.published), (expected, []))
        self.assertEqual(self.counts.received[LEGACY], 8)

    def test_lenient(self) -> None:
        """
        Where it is wished, what is no envelope is wrapped.
        """
        self.intake.lenient = True
        self.legacy(T, b"hello")
        [(topic, sent)] = self.published
        self.assertEqual((topic, json.loads(sent)), (TOPIC, {"topic": TOPIC, "msg": "hello"}))

    def test_sent_back(self) -> None:
        """
        What was published is not taken in again when a bridge sends it back, whether it is stored or not; the relay's own is no forgery then.
        """
        own = message("own", TOPICS.own("relay.started"))
        for store_legacy in (True, False):
            self.intake.store_legacy = store_legacy
            sent = body()
            for _ in range(3):
                self.legacy(T, sent)
        self.journal.publication.at_once(own.msg_id, own.topic, own.body, own.source)
        self.legacy(own.topic.encode(), own.body)
        self.assertEqual(len(self.published), 3)
        self.assertEqual((self.counts.duplicates[LEGACY], dict(self.counts.invalid)), (5, {}))

    def test_not_published_yet(self) -> None:
        """
        A message that was turned away may come another way.
        """
        self.store.prompt = False
        sent = body(msg_id="2026-1")
        self.take("2026-1", sent)
        self.store.away()
        self.assertEqual(self.answer().status, "busy")
        self.legacy(T, sent)
        self.store.prompt = True
        self.journal.wake()
        self.clock.advance(0)
        self.assertEqual(self.published, [(TOPIC, sent)])

    def test_no_room(self) -> None:
        """
        What there is no room for is dropped and counted, which the log says once in a while.
        """
        self.store.prompt = False
        with capturedLogs() as logged:
            for _ in range(20):
                self.legacy(T, body())
        self.assertEqual([event["reason"] for event in logged if "reason" in event], ["no-room"])
        self.assertEqual(self.journal.queue.waiting + self.counts.refused[LEGACY], 20)
        self.assertGreater(self.counts.refused[LEGACY], 0)
        self.legacy(T, b"?" * 10_000)
        self.assertEqual(self.counts.invalid["not-json"], 0)

    def test_probe(self) -> None:
        """
        What the relay sends to itself is handed on and leaves no other trace.
        """
        self.journal.queue.bytes_limit = 0
        self.legacy(TOPICS.own(PROBE).encode(), b"token")
        self.assertEqual((self.probes, self.published, sum(self.counts.received.values())), ([b"token"], [], 0))

    def test_log(self) -> None:
        """
        The first that is refused for a reason is logged, and later how many were not; never what it said.
        """
        with capturedLogs() as logged:
            for _ in range(5):
                self.legacy(T, b"secret")
            self.legacy(T, b"[]")
            self.clock.advance(INTERVAL)
            self.legacy(b"\xff" * 1000, b"secret")
            self.legacy(T, b"secret")
        told = [(event["reason"], event["count"]) for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual(told, [("not-json", 0), ("not-object", 0), ("topic", 0), ("not-json", 4)])
        self.assertEqual(
            [event["more"] for event in logged if "more" in event], ["", "", "", " Like it and not logged since the last one: 4."]
        )
        self.assertNotIn("secret", repr(logged))


class TakeTests(IntakeTests):
    def test_kept(self) -> None:
        """
        A message is answered with its number when it is kept, and again when it comes again.
        """
        sent = body(msg_id="2026-1")
        for status in ("ok", "dup"):
            self.take("2026-1", sent, source=HTTP)
            self.assertEqual(self.answer(), Answer(status, 1))
        self.assertEqual(self.published, [(TOPIC, sent)])
        self.assertEqual((self.store.stored[1].source, self.counts.received[HTTP]), (HTTP, 2))

    def test_bad(self) -> None:
        """
        What is no message, or calls itself otherwise than its sender does or not at all, is refused for good.
        """
        for msg_id, sent, reason in (
            ("2026-1", body(msg_id="2026-2"), "other-id"),
            ("2026-1", body(msg_id=None), "other-id"),
            ("a b", body(msg_id="a b"), "bad-id"),
            ("2026-1", b"hello", "not-json"),
            ("2026-1", body("other", msg_id="2026-1"), "other-topic"),
        ):
            self.take(msg_id, sent)
            answer = self.answer()
            self.assertEqual((answer.status, bool(answer.detail), self.counts.invalid.pop(reason)), ("bad", True, 1))
        self.assertEqual((self.published, +self.counts.invalid), ([], {}))

    def test_never_lenient(self) -> None:
        """
        Nothing is wrapped for those who can be answered.
        """
        self.intake.lenient = True
        self.take("2026-1", b"hello")
        self.assertEqual(self.answer().status, "bad")

    def test_denied(self) -> None:
        """
        The relay's own topics are nobody's, and others only those of who may use them.
        """
        self.take("2026-1", body(RESERVED.decode(), msg_id="2026-1"), RESERVED)
        self.assertEqual(self.answer(), Answer("denied", detail="this topic is the relay's own"))
        self.take("2026-1", body(msg_id="2026-1"), allowed=lambda topic: topic != TOPIC)
        self.assertEqual(self.answer().status, "denied")
        self.assertEqual((dict(self.counts.invalid), self.published), ({"reserved": 1, "not-allowed": 1}, []))
        self.take("2026-1", body(msg_id="2026-1"), allowed=lambda topic: topic == TOPIC)
        self.assertEqual(self.answer().status, "ok")

    def test_stopping(self) -> None:
        """
        While the relay stops its senders are told to come again; what was taken before is answered.
        """
        self.store.prompt = False
        self.take("2026-1", body(msg_id="2026-1"))
        self.intake.accepting = False
        self.take("2026-2", body(msg_id="2026-2"))
        self.assertEqual(self.answer(), Answer("busy", detail=STOPPING))
        self.store.well()
        self.assertEqual(self.answer(), Answer("ok", 1))

    def test_busy(self) -> None:
        """
        Where there is no room, or no database, the answer says so.
        """
        self.store.prompt = False
        for number in range(11):
            self.take(f"2026-{number}", body(msg_id=f"2026-{number}"))
        self.assertEqual(self.answer(), Answer("busy", detail=NO_ROOM))
        self.store.away()
        del self.answers[:]
        self.take("2026-1", body(msg_id="2026-1"))
        self.assertEqual(self.answer(), Answer("busy", detail=AWAY))
        self.assertEqual(self.counts.refused[INGEST], 12)


class RecentTests(SynchronousTestCase):
    def test_bound(self) -> None:
        """
        At least as many as it is told to are remembered, and at most twice as many.
        """
        seen = Recent(10)
        for number in range(1000):
            seen.add(str(number))
            self.assertTrue(all(str(each) in seen for each in range(max(number - 9, 0), number + 1)))
            self.assertLessEqual(len(seen), 20)
        self.assertNotIn("900", seen)
        self.assertEqual((seen.limit, len(seen) + seen.forgotten), (20, 1000))

    def test_no_bound(self) -> None:
        """
        To remember nothing is refused.
        """
        self.assertRaises(ValueError, Recent, 0)
