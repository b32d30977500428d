"""Store, then publish."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Answer, BusMessage, Unavailable
from socialrelay.boundaries.bus import HTTP, INGEST, LEGACY, OWN, SEQUENCE_MARK
from socialrelay.bus import queue
from socialrelay.bus.counts import Counts
from socialrelay.bus.journal import AWAY, BACKOFF, IDLE, Journal
from socialrelay.bus.queue import OVERHEAD, ROWS
from socialrelay.storage.memory import MemoryTables
from tests.bus_messages import TOPIC, message
from tests.bus_stores import REFUSED, ScriptedBus
from tests.storing import NOW

ROOM = 1024 * 1024


class JournalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = ScriptedBus(MemoryTables())
        self.published: list[bytes] = []
        self.begin()

    def begin(self, queue_bytes: int = ROOM, unacknowledged: int = 10) -> None:
        """A journal that knows nothing but what the store has."""
        self.clock = Clock()
        self.counts = Counts()
        self.journal = Journal(self.store, self.publish, self.clock, lambda: NOW, queue_bytes, unacknowledged, self.counts)
        self.addCleanup(self.journal.stop)
        self.answers: list[tuple[str, Answer]] = []
        self.started = Deferred.fromCoroutine(self.journal.start())

    def publish(self, topic: str, body: bytes) -> None:
        self.published.append(body)

    def keep(self, *messages: BusMessage, waited: bool = False) -> None:
        for each in messages:
            answered = (lambda answer, msg_id=each.msg_id: self.answers.append((msg_id, answer))) if waited else None
            self.assertTrue(self.journal.keep(each, answered))

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)

    def bodies(self, *messages: BusMessage) -> list[bytes]:
        return [each.body for each in messages]

    def at_rest(self) -> None:
        """Nothing waits, and nothing will happen."""
        self.turn(IDLE)
        self.assertEqual((self.journal.queue.waiting, self.journal.queue.waiting_bytes, self.journal.queue.unanswered), (0, 0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class KeepingTests(JournalTests):
    def test_stored_then_published(self) -> None:
        """
        A message is published when it is stored, and not before; then its sender hears its number.
        """
        self.store.prompt = False
        sent = message()
        self.keep(sent, waited=True)
        self.turn()
        self.assertEqual((self.published, self.answers), ([], []))
        self.store.well()
        self.assertEqual(self.published, [sent.body])
        self.assertEqual(self.answers, [(sent.msg_id, Answer("ok", 1))])
        self.assertEqual((self.journal.last_seq, self.journal.published), (1, 1))
        self.assertEqual(self.store.stored[1].received_at, NOW)

    def test_batches(self) -> None:
        """
        What came in one turn is one batch, and what comes while it is written is the next; the order stays.
        """
        self.store.prompt = False
        first, second, third = message("a"), message("b"), message("c")
        self.keep(first, second)
        self.turn()
        self.keep(third)
        self.turn()
        self.assertEqual(self.store.batches, [["a", "b"]])
        self.store.well()
        self.store.well()
        self.assertEqual(self.store.batches, [["a", "b"], ["c"]])
        self.assertEqual(self.published, self.bodies(first, second, third))
        self.assertEqual((self.journal.commits, self.journal.last_batch), (2, 1))

    def test_size_of_a_batch(self) -> None:
        """
        A batch has a bound in messages and one in bytes; a message that is longer is a batch by itself.
        """
        self.begin(queue_bytes=1 << 40)
        self.keep(*[message() for _ in range(ROWS + 5)])
        self.turn()
        self.assertEqual([len(batch) for batch in self.store.batches], [ROWS, 5])
        del self.store.batches[:]
        self.patch(queue, "BYTES", 1000)
        self.keep(message(msg="x" * 2000), message(msg="x" * 700), message(msg="x" * 700))
        self.turn()
        self.assertEqual([len(batch) for batch in self.store.batches], [1, 1, 1])

    def test_twins(self) -> None:
        """
        Of two messages of one C{msg_id} in one batch the first is stored and published; the second is told the number of the first.
        """
        first, other, second = message("a"), message("b"), message("a")
        self.keep(first, other, second, waited=True)
        self.turn()
        self.assertEqual(self.store.batches, [["a", "b"]])
        self.assertEqual(self.published, self.bodies(first, other))
        self.assertEqual(self.answers, [("a", Answer("ok", 1)), ("b", Answer("ok", 2)), ("a", Answer("dup", 1))])
        self.assertEqual((self.counts.kept[LEGACY], self.counts.duplicates[LEGACY]), (2, 1))

    def test_duplicate(self) -> None:
        """
        A message that is stored already is not published again; its sender is told its number.
        """
        first = message("a")
        for sent in (first, message("a")):
            self.keep(sent, waited=True)
            self.turn()
        self.assertEqual(self.published, [first.body])
        self.assertEqual(self.answers, [("a", Answer("ok", 1)), ("a", Answer("dup", 1))])

    def test_own(self) -> None:
        """
        The relay's own messages hold their number when they are published, as they do when they are read again; nobody else's are touched.
        """
        own = BusMessage("o", TOPIC, b'{"msg":{"seq":%b}}' % SEQUENCE_MARK.encode(), OWN)
        odd = BusMessage("x", TOPIC, b"\x1f", HTTP)
        self.keep(message(), odd, own)
        self.turn()
        self.assertEqual(self.published[1:], [b"\x1f", b'{"msg":{"seq":3}}'])
        self.assertEqual(self.store.stored[3].body, self.published[2])

    def test_known_again(self) -> None:
        """
        What was published is remembered, what only waits is not.
        """
        self.store.prompt = False
        self.keep(message("a"))
        self.turn()
        self.assertNotIn("a", self.journal.publication.recent)
        self.store.well()
        self.assertIn("a", self.journal.publication.recent)

    def test_sender_gone(self) -> None:
        """
        A sender that cannot be answered, and a listener that cannot be told, hold up nobody.
        """
        self.publish = lambda topic, body: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        self.begin()
        self.journal.keep(message("a"), lambda answer: {}["nobody"])
        self.keep(message("b"), waited=True)
        self.turn()
        self.assertEqual(self.answers, [("b", Answer("ok", 2))])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_reactor_breathes(self) -> None:
        """
        When publication takes its time, others have their turn in between, and the order stays.
        """
        seen: list[int] = []

        def publish(topic: str, body: bytes) -> None:
            self.published.append(body)
            self.clock.rightNow += 0.0008

        self.publish = publish  # type: ignore[method-assign]
        self.begin()
        sent = [message() for _ in range(10)]
        self.keep(*sent)
        self.clock.callLater(0, lambda: seen.append(len(self.published)))
        self.turn()
        self.assertEqual(seen, [3])
        self.assertEqual(self.published, self.bodies(*sent))

    def test_next_batch_meanwhile(self) -> None:
        """
        While a batch is published the next one is being committed.
        """
        self.store.prompt = False
        commits: list[int] = []
        self.publish = lambda topic, body: commits.append(len(self.store.open))  # type: ignore[method-assign,assignment]
        self.begin()
        self.store.well()
        self.keep(message())
        self.turn()
        self.keep(message())
        self.store.well()
        self.assertEqual(commits, [1])
        self.store.well()
        self.assertEqual(commits, [1, 0])

    def test_watched(self) -> None:
        """
        Who watches is told the topics of what was committed.
        """
        seen: list[Collection[str] | None] = []
        self.journal.watch(seen.append)
        self.keep(message(topic="a"), message(topic="b"), message(topic="a"))
        self.turn()
        self.assertEqual(seen, [{"a", "b"}])


class RoomTests(JournalTests):
    def test_bytes(self) -> None:
        """
        What waits has a bound in bytes; one message may wait, whatever its size; committing makes room.
        """
        first = message()
        self.begin(queue_bytes=2 * (len(first.body) + OVERHEAD) + 20)
        self.keep(first, message())
        self.assertFalse(self.journal.keep(message()))
        self.assertFalse(self.journal.keep(message(source=OWN)))
        self.turn()
        self.keep(message(msg="x" * ROOM))
        self.assertFalse(self.journal.keep(message(source=HTTP)))
        self.turn()
        self.assertEqual(dict(self.counts.refused), {LEGACY: 1, HTTP: 1})
        self.assertEqual(len(self.published), 3)
        self.at_rest()

    def test_unacknowledged(self) -> None:
        """
        Messages whose senders wait have a bound in number, which those of others do not feel.
        """
        self.begin(unacknowledged=2)
        self.keep(message("a"), message("b"), waited=True)
        self.assertFalse(self.journal.keep(message(source=INGEST), self.fail))
        self.keep(message())
        self.turn()
        self.keep(message("c"), waited=True)
        self.turn()
        self.assertEqual([msg_id for msg_id, _ in self.answers], ["a", "b", "c"])
        self.at_rest()


class TroubleTests(JournalTests):
    def setUp(self) -> None:
        super().setUp()
        self.store.prompt = False

    def test_away(self) -> None:
        """
        While the database is away, who waits is told to come again, and the rest waits and keeps its order.
        """
        first, waited, second = message(), message("w", source=INGEST), message()
        self.keep(first)
        self.keep(waited, waited=True)
        self.turn()
        self.keep(second)
        self.keep(message("v"), waited=True)
        self.store.away()
        self.assertEqual([(msg_id, answer.status) for msg_id, answer in self.answers], [("w", "busy"), ("v", "busy")])
        self.assertEqual(self.answers[0][1].detail, AWAY)
        self.assertEqual((self.journal.queue.waiting, self.journal.queue.unanswered), (2, 0))
        self.assertFalse(self.journal.keep(message(), self.fail))
        third = message()
        self.keep(third)
        self.store.prompt = True
        self.turn(BACKOFF[0])
        self.assertEqual(self.published, self.bodies(first, second, third))
        self.keep(waited, waited=True)
        self.turn()
        self.assertEqual(self.answers[-1], ("w", Answer("ok", 4)))
        self.assertEqual(dict(self.counts.refused), {INGEST: 1, LEGACY: 2})
        self.at_rest()

    def test_backoff(self) -> None:
        """
        The waits between attempts grow up to a bound; when the database is said to be back there is no wait.
        """
        self.keep(message())
        self.turn()
        self.store.away()
        for wait in (*BACKOFF, BACKOFF[-1]):
            asked = len(self.store.asked)
            self.turn(wait - 0.01)
            self.assertEqual(len(self.store.asked), asked)
            self.turn(0.01)
            self.store.away()
        self.store.prompt = True
        self.journal.wake()
        self.assertEqual((len(self.published), self.journal.away), (1, ""))
        self.journal.wake()
        self.at_rest()

    def test_read_only(self) -> None:
        """
        Of a database that can be read and takes nothing, as with a full disk, is told once; the waits grow, and who waits is not let in.
        """
        with capturedLogs() as events:
            self.keep(message())
            self.turn()
            self.store.away()
            for wait in (*BACKOFF, BACKOFF[-1]):
                self.assertEqual(list(self.store.open), [])
                self.turn(wait)
                self.store.well("extent")
                self.assertFalse(self.journal.keep(message(), self.fail))
                self.store.away()
            self.store.prompt = True
            self.turn(BACKOFF[-1])
        self.assertEqual(len(self.published), 1)
        told = [formatEvent(event) for event in events]
        waits = "The bus cannot store messages: the database is away. 1 wait."
        self.assertEqual(told, [waits, "The bus stores messages again; 0 wait."])
        self.at_rest()

    def test_read_only_and_none_waits(self) -> None:
        """
        Where only such wait as are told to come again, one of them is let in to try.
        """
        self.keep(message(), waited=True)
        self.turn()
        self.store.away()
        self.turn(BACKOFF[0])
        self.assertFalse(self.journal.keep(message(), self.fail))
        self.store.prompt = True
        self.store.well("extent")
        self.keep(message("w"), waited=True)
        self.turn()
        self.assertEqual(self.answers[-1], ("w", Answer("ok", 1)))
        self.at_rest()

    def test_answer_lost(self) -> None:
        """
        A commit whose answer is lost is found again: all is published, once and in order, also what its sender is told to send again.
        """
        first, waited, second = message("a"), message("w"), message("b")
        self.keep(first)
        self.keep(waited, waited=True)
        self.keep(second)
        self.turn()
        self.store.lost()
        self.assertEqual(self.published, [])
        self.store.prompt = True
        self.turn(BACKOFF[0])
        self.assertEqual(self.published, self.bodies(first, waited, second))
        self.keep(message("w"), waited=True)
        self.turn()
        self.assertEqual([answer for _, answer in self.answers], [Answer("busy", detail=AWAY), Answer("dup", 2)])
        self.assertEqual(len(self.published), 3)
        self.at_rest()

    def test_answer_late(self) -> None:
        """
        A commit that takes effect only when it was given up leaves no gap: what it stored is published before what follows.
        """
        waited, second = message("w"), message("b")
        self.keep(waited, waited=True)
        self.turn()
        self.store.late()
        self.keep(second)
        self.store.prompt = True
        self.turn(BACKOFF[0])
        self.turn()
        self.assertEqual(self.published, self.bodies(waited, second))
        self.at_rest()

    def test_answer_late_to_another_body(self) -> None:
        """
        What is published under an identifier is what is stored under it, also if its sender says something else the second time.
        """
        first, second = message("w"), message("w")
        self.keep(first, waited=True)
        self.turn()
        self.store.late()
        self.keep(second)
        self.store.prompt = True
        self.turn(BACKOFF[0])
        self.assertEqual(self.published, self.bodies(first))
        self.at_rest()

    def test_crash(self) -> None:
        """
        What was stored and not published before a crash is published at the next start.
        """
        sent = message(), message()
        for each in sent:
            self.keep(each)
            self.turn()
            self.store.lost()
            self.journal.stop()
            self.begin()
            while self.store.open:
                self.store.well()
        self.assertEqual(self.published, self.bodies(*sent))
        self.assertEqual((self.journal.published, self.journal.last_seq), (2, 2))

    def test_refused(self) -> None:
        """
        A message that the database does not take spoils only itself; its sender is told that it never will be.
        """
        self.store.prompt = True
        first, bad, second = message("a"), message("x", topic=REFUSED), message("b")
        self.keep(first, bad, second, waited=True)
        self.turn()
        self.assertEqual(self.published, self.bodies(first, second))
        self.assertEqual([(msg_id, answer.status) for msg_id, answer in self.answers], [("a", "ok"), ("x", "bad"), ("b", "ok")])
        self.assertEqual(self.counts.invalid["not-stored"], 1)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.keep(message("c"), message("d"))
        self.turn()
        self.assertEqual(self.store.batches[-1], ["c", "d"])
        self.at_rest()


class StartTests(JournalTests):
    def fill(self, count: int, published: int) -> list[bytes]:
        stored = [message() for _ in range(count)]
        self.store.add(stored, NOW, 0)
        self.store.mark_published(published)
        return self.bodies(*stored)

    def test_rest_is_published(self) -> None:
        """
        At start what is stored and was not published is published, page by page, and then what comes.
        """
        bodies = self.fill(2 * ROWS + 10, 4)
        self.begin()
        while not self.started.called:
            self.turn()
        self.assertEqual(self.published, bodies[4:])
        self.assertEqual(self.store.asked.count("read"), 3)
        sent = message()
        self.keep(sent)
        self.turn()
        self.assertEqual(self.published[-1], sent.body)

    def test_before_the_start(self) -> None:
        """
        What is taken in before the start waits for it.
        """
        self.store.prompt = False
        self.begin()
        self.keep(message())
        self.turn()
        self.assertEqual((self.journal.queue.waiting, self.store.batches), (1, []))
        self.store.prompt = True
        self.store.well()
        self.turn()
        self.assertEqual(len(self.published), 1)

    def test_away(self) -> None:
        """
        There is no start without the database.
        """
        self.store.prompt = False
        self.begin()
        self.store.away()
        self.failureResultOf(self.started, Unavailable)

    def test_stopped_meanwhile(self) -> None:
        """
        A start that is stopped ends, and nothing that follows notes as published what nobody could hear any more.
        """
        self.fill(2 * ROWS, 0)
        self.store.prompt = False
        self.begin()
        self.store.well("extent")
        self.journal.stop()
        self.store.well("read")
        while not self.started.called:
            self.turn()
        self.keep(message())
        self.turn(IDLE)
        self.assertEqual((list(self.store.open), self.store.noted, self.clock.getDelayedCalls()), ([], 0, []))

    def test_noted(self) -> None:
        """
        Up to where all is published is noted with the next batch, or when there was none for a while; and not again.
        """
        self.keep(message())
        self.turn()
        self.assertEqual(self.store.noted, 0)
        self.keep(message())
        self.turn()
        self.assertEqual(self.store.noted, 1)
        self.turn(IDLE)
        self.assertEqual(self.store.noted, 2)
        self.assertEqual(self.store.asked.count("mark_published"), 1)
        self.at_rest()


class StopTests(JournalTests):
    def drained(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.journal.drain())

    def test_drain(self) -> None:
        """
        A drain ends when all is stored and published, and that is noted.
        """
        self.store.prompt = False
        self.keep(message())
        self.turn()
        drained = self.drained()
        self.keep(message())
        for _ in range(3):
            self.assertNoResult(drained)
            self.store.well()
        self.successResultOf(drained)
        self.assertEqual((self.store.noted, self.journal.queue.waiting), (2, 0))
        self.at_rest()

    def test_nothing_to_drain(self) -> None:
        """
        Where nothing waits a drain ends at once.
        """
        self.successResultOf(self.drained())

    def test_drain_outlives_an_outage(self) -> None:
        """
        A drain ends only when the database is back; what was told to come again does not hold it up.
        """
        self.store.prompt = False
        self.keep(message())
        self.keep(message(), waited=True)
        self.turn()
        drained = self.drained()
        self.store.lost()
        self.assertNoResult(drained)
        self.store.prompt = True
        self.journal.wake()
        self.turn()
        self.successResultOf(drained)
        self.assertEqual(len(self.published), 2)

    def test_stop(self) -> None:
        """
        After the stop nothing happens any more.
        """
        self.store.prompt = False
        self.keep(message())
        self.turn()
        self.store.away()
        self.journal.stop()
        self.keep(message())
        self.assertEqual((self.clock.getDelayedCalls(), list(self.store.open)), ([], []))


IDS = st.sampled_from([f"id-{number}" for number in range(12)])


class Lives(RuleBasedStateMachine):
    """One store, and one journal after another on it."""

    def __init__(self) -> None:
        super().__init__()
        self.store = ScriptedBus(MemoryTables())
        self.store.prompt = False
        self.published: list[list[bytes]] = []
        self.accepted: set[str] = set()
        self.committed: list[tuple[str, Answer]] = []
        self.asked = self.answered = 0
        self.crashes = 0
        self.live()

    def live(self) -> None:
        self.store.open.clear()
        self.clock = Clock()
        self.journal = Journal(self.store, self.publish, self.clock, lambda: NOW, ROOM, 5, Counts())
        self.published.append([])
        self.asked = self.answered = 0
        self.unanswered: set[str] = set()
        Deferred.fromCoroutine(self.journal.start()).addErrback(lambda failure: failure.trap(Unavailable) and None)
        while not self.journal._running:
            self.store.well()
            self.clock.advance(0)

    def publish(self, topic: str, body: bytes) -> None:
        self.published[-1].append(body)

    @rule(msg_id=IDS, waited=st.booleans(), source=st.sampled_from([LEGACY, OWN]), bad=st.integers(0, 9))
    def keep(self, msg_id: str, waited: bool, source: str, bad: int) -> None:
        sent = message(msg_id if bad else f"bad-{msg_id}", topic=TOPIC if bad else REFUSED, source=source)

        def answered(answer: Answer) -> None:
            self.answered += 1
            assert answer.status in ("bad", "busy") or bad, answer
            if answer.status in ("ok", "dup"):
                self.committed.append((msg_id, answer))

        if self.journal.keep(sent, answered if waited else None):
            self.asked += waited
            if not waited and bad:
                self.unanswered.add(msg_id)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.6, 10.0]))
    def turn(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(how=st.sampled_from(["well", "well", "well", "away", "lost", "late"]))
    @precondition(lambda self: self.store.open)
    def answer(self, how: str) -> None:
        getattr(self.store, how)()

    @rule()
    def wake(self) -> None:
        self.journal.wake()

    @rule(committed=st.booleans())
    @precondition(lambda self: self.crashes < 3)
    def crash(self, committed: bool) -> None:
        if committed and self.store.open:
            self.store.lost()
        self.crashes += 1
        self.journal.stop()
        self.live()

    @invariant()
    def counted(self) -> None:
        assert self.journal.published <= self.journal.last_seq <= len(self.store.stored)
        assert self.journal.queue.unanswered == self.asked - self.answered

    def teardown(self) -> None:
        self.store.prompt = True
        while self.store.open:
            self.store.well()
        self.journal.wake()
        self.clock.advance(10)
        self.journal.keep(message("last"))
        for _ in range(5):
            self.clock.advance(10)
        assert (self.journal.queue.waiting, self.journal.queue.waiting_bytes, self.journal.queue.unanswered) == (0, 0, 0)
        assert self.asked == self.answered
        stored = {each.msg_id: each.seq for each in self.store.stored.values()}
        for msg_id, answer in self.committed:
            assert stored[msg_id] == answer.seq
        assert self.unanswered <= set(stored)
        assert self.journal.published == self.journal.last_seq == max(self.store.stored) == self.store.noted
        self.in_order()

    def in_order(self) -> None:
        """Each life published some numbers one after another, beginning where the one before it ended, or before that."""
        seqs = {each.body: each.seq for each in self.store.stored.values()}
        reached = 0
        for bodies in self.published:
            life = [seqs[body] for body in bodies]
            if life:
                assert life == list(range(life[0], life[-1] + 1)), self.published
                assert life[0] <= reached + 1
                reached = max(reached, life[-1])
        assert reached == max(seqs.values())


class LivesTests(SynchronousTestCase):
    def test_whatever_happens(self) -> None:
        """
        Whatever becomes of the database and of the process: who was told that a message is kept finds it in the store, once; who is not
        told has it kept unless the process crashed; and all that is stored is published in order, once in the life of a process.
        """
        quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much]
        run_state_machine_as_test(
            Lives, settings=settings(max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=quiet)
        )
        self.flushLoggedErrors(LookupError)
