"""Tests for L{socialrelay.bus.announcer} and L{socialrelay.bus.own}."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries.bus import OWN, SEQUENCE_MARK, BusMessage
from socialrelay.bus.announcer import AGAIN, BURST, SLICE, Announcer
from socialrelay.bus.message import canonical, envelope
from socialrelay.bus.own import OwnMessages
from socialrelay.bus.topics import Topics

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
RANDOM = UUID("2f1c7b1e-5b1a-4c3e-9d0a-6d1f0c9a7e55")
TOPICS = Topics("org.example", "prod")

TEXTS = st.text(max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each, max_size=3)
)
MEMBERS = st.dictionaries(st.sampled_from(["seq", "seqa", "a", "Z", "ä", '"seq":0', "msg"]) | TEXTS, VALUES, max_size=5)


def numbered(message: BusMessage, seq: int) -> bytes:
    """As the store puts the number in."""
    return message.body.replace(SEQUENCE_MARK.encode(), str(seq).encode())


class OwnMessagesTests(SynchronousTestCase):
    """The messages themselves."""

    def setUp(self) -> None:
        self.own = OwnMessages(TOPICS, lambda: RANDOM)

    def test_whole(self) -> None:
        """A message is the envelope of fedmsg in canonical JSON, by socialrelay, with its number in the place of a number."""
        message = self.own.kept("payload.received", {"type": "status_message", "actor": "ann@pod.example", "size": 12}, EPOCH)
        self.assertEqual(
            numbered(message, 4711).decode(),
            '{"i":1,"msg":{"actor":"ann@pod.example","seq":4711,"size":12,"type":"status_message"},'
            '"msg_id":"2026-2f1c7b1e-5b1a-4c3e-9d0a-6d1f0c9a7e55","timestamp":1772323200,'
            '"topic":"org.example.prod.socialrelay.payload.received","username":"socialrelay"}',
        )
        self.assertEqual(
            (message.msg_id, message.topic, message.source), (f"2026-{RANDOM}", json.loads(numbered(message, 1))["topic"], OWN)
        )

    def test_counted(self) -> None:
        """Messages are numbered in the life of the process, whether they are kept or not."""
        bodies = [self.own.passing("relay.heartbeat", {}, EPOCH).body, numbered(self.own.kept("relay.started", {}, EPOCH), 1)]
        self.assertEqual([json.loads(body)["i"] for body in bodies], [1, 2])

    @given(MEMBERS, st.integers(1, 1 << 62))
    def test_exact(self, members: dict[str, object], seq: int) -> None:
        """Whatever the members are, there is one mark, and with the number in its place the whole is canonical."""
        message = OwnMessages(TOPICS, lambda: RANDOM).kept("node.back", members, EPOCH)
        self.assertEqual(message.body.count(SEQUENCE_MARK.encode()), 1)
        whole = envelope(message.topic, {**members, "seq": seq}, msg_id=message.msg_id, at=EPOCH, username="socialrelay")
        self.assertEqual(numbered(message, seq), canonical(whole))

    def test_like_the_number(self) -> None:
        """A text that looks like the number is none; a mapping in which one looks like it is refused."""
        self.assertIn(b"4711", numbered(self.own.kept("node.back", {"a": '"seq":"\x1f"', "seq": 1, "b": "\x1f"}, EPOCH), 4711))
        self.assertRaises(ValueError, self.own.kept, "node.back", {"a": {"seq": SEQUENCE_MARK}}, EPOCH)

    @given(MEMBERS)
    def test_passing(self, members: dict[str, object]) -> None:
        """What is not kept holds no mark and is canonical as it is."""
        message = OwnMessages(TOPICS, lambda: RANDOM).passing("relay.heartbeat", members, EPOCH)
        whole = envelope(message.topic, members, msg_id=message.msg_id, at=EPOCH, username="socialrelay")
        self.assertEqual(message.body, canonical(whole))


class AnnouncerTests(SynchronousTestCase):
    """The queue before the bus."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.kept: list[BusMessage] = []
        self.room = 1_000_000
        self.announcer = self.made()

    def made(self, **bounds: int) -> Announcer:
        return Announcer(
            OwnMessages(TOPICS, lambda: RANDOM), self.keep, self.clock, lambda: EPOCH + timedelta(seconds=self.clock.seconds()), **bounds
        )

    def keep(self, message: BusMessage) -> bool:
        if len(self.kept) >= self.room:
            return False
        self.kept.append(message)
        return True

    def said(self) -> list[tuple[str, dict[str, object]]]:
        """What was handed on: event and members."""
        found = [(each.topic.removeprefix("org.example.prod.socialrelay."), json.loads(numbered(each, 0))["msg"]) for each in self.kept]
        return [(event, {key: value for key, value in members.items() if key != "seq"}) for event, members in found]

    def test_later(self) -> None:
        """Nothing is written or handed on in the caller's turn, and all of it, in order, in the next."""
        self.announcer.start()
        self.announcer("node.dead", {"node": "a.example"})
        self.announcer("node.back", {"node": "b.example"})
        self.assertEqual(self.kept, [])
        self.clock.advance(0)
        self.assertEqual(self.said(), [("node.dead", {"node": "a.example"}), ("node.back", {"node": "b.example"})])
        self.assertEqual(self.announcer.announced, {"node.dead": 1, "node.back": 1})
        self.assertEqual((self.announcer.waiting, self.announcer.waiting_bytes, self.clock.getDelayedCalls()), (0, 0, []))

    def test_before_the_start(self) -> None:
        """What is announced before the start is handed on after it, with the time at which it was announced."""
        self.announcer("relay.started", {})
        self.clock.advance(60)
        self.assertEqual(self.kept, [])
        self.announcer.start()
        self.clock.advance(0)
        self.assertEqual([json.loads(numbered(each, 1))["timestamp"] for each in self.kept], [int(EPOCH.timestamp())])

    def test_slices(self) -> None:
        """In one turn of the reactor only some are handed on; then others have theirs."""
        for _ in range(2 * SLICE):
            self.announcer("node.back", {})
        self.announcer.start()
        meanwhile: list[int] = []
        self.clock.callLater(0.0, lambda: meanwhile.append(len(self.kept)))
        self.clock.advance(0)
        self.assertEqual((meanwhile, len(self.kept)), ([SLICE], 2 * SLICE))

    def test_no_room(self) -> None:
        """What is not taken for want of room is offered again, the same and in order."""
        self.room = 1
        self.announcer.start()
        for host in ("a", "b", "c"):
            self.announcer("node.back", {"node": host})
        self.clock.advance(0)
        self.assertEqual((len(self.kept), self.announcer.waiting), (1, 2))
        self.room = 3
        self.clock.advance(AGAIN)
        self.assertEqual([members["node"] for _, members in self.said()], ["a", "b", "c"])
        self.assertEqual([json.loads(numbered(each, 1))["i"] for each in self.kept], [1, 2, 3])

    def test_full(self) -> None:
        """When too many wait, what comes is dropped and counted by its event."""
        announcer = self.made(most=2)
        for event in ("node.back", "node.back", "node.back", "node.dead"):
            announcer(event, {})
        self.assertEqual((announcer.waiting, announcer.dropped), (2, {"node.back": 1, "node.dead": 1}))

    def test_full_of_bytes(self) -> None:
        """Texts that wait are bounded by their length, too, and give way when they are handed on."""
        announcer = self.made(most_bytes=100)
        announcer("node.back", {"node": "x" * 90})
        announcer("node.back", {"node": "x" * 11})
        announcer("node.back", {"node": "x" * 10})
        self.assertEqual((announcer.waiting_bytes, announcer.dropped["node.back"]), (100, 1))
        announcer.start()
        self.clock.advance(0)
        announcer("node.back", {"node": "x" * 11})
        self.clock.advance(0)
        self.assertEqual(len(self.kept), 3)

    def test_strangers(self) -> None:
        """Of what strangers can cause a burst is announced, and then two a second; of all else as much as there is."""
        self.announcer.start()
        for _ in range(BURST + 5):
            self.announcer("payload.rejected", {"reason": "bad-signature"})
            self.announcer("payload.received", {})
        self.assertEqual(self.announcer.dropped, {"payload.rejected": 5})
        self.clock.advance(1.0)
        for _ in range(5):
            self.announcer("payload.rejected", {"reason": "bad-signature"})
        self.assertEqual(self.announcer.dropped, {"payload.rejected": 8})

    def test_no_message(self) -> None:
        """What no message can be made of is our error: it is logged, counted, and keeps nothing else back."""
        self.announcer.start()
        self.announcer("node.back", {"node": object()})
        self.announcer("node.back", {"node": "b.example"})
        self.clock.advance(0)
        self.assertEqual(self.said(), [("node.back", {"node": "b.example"})])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(self.announcer.dropped, {"node.back": 1})

    def test_stop(self) -> None:
        """A stop hands on what waits, however much it is, and takes nothing more."""
        self.announcer.start()
        for _ in range(SLICE + 1):
            self.announcer("node.back", {})
        stopped = self.announcer.stop()
        self.announcer("node.dead", {})
        self.assertNoResult(stopped)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((len(self.kept), self.announcer.announced["node.dead"]), (SLICE + 1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_without_room(self) -> None:
        """A stop does not wait for room: what is not taken is dropped and counted."""
        self.room = 1
        self.announcer.start()
        for _ in range(3):
            self.announcer("node.back", {})
        stopped = self.announcer.stop()
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((self.announcer.announced, self.announcer.dropped), ({"node.back": 1}, {"node.back": 2}))

    def test_stop_without_a_start(self) -> None:
        """A bus that never came up keeps nothing."""
        self.announcer("node.back", {})
        self.successResultOf(self.announcer.stop())
        self.assertEqual((self.announcer.waiting, self.announcer.dropped), (0, {"node.back": 1}))
