"""Tests for L{socialrelay.delivery.dispatcher}, L{socialrelay.delivery.bodies} and what else is counted on the way."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Rejection, Unavailable
from socialrelay.config import Memory
from socialrelay.delivery.bodies import BodyCache
from socialrelay.delivery.dispatcher import COUNTED, FEW, STOP_STORAGE
from socialrelay.delivery.news import DeliveryNews
from socialrelay.federation import DeliveryRequest
from socialrelay.quota import ClientQuota
from socialrelay.scheduler.orders import Event, Settled, What
from socialrelay.scheduler.outcome import Answer, NoAnswer, Trouble
from socialrelay.scheduler.pacing import Pacer
from socialrelay.statistics import REJECTIONS_PER_FLUSH, Tally
from socialrelay.storage.memory import MemoryTables, memory_storage
from tests.envelopes import Author
from tests.relays import EPOCH, WholeRelay

ALICE = Author("alice@pod-a.example")


class DispatcherTests(SynchronousTestCase):
    """The service that drives the queue manager."""

    def setUp(self) -> None:
        self.relay = WholeRelay().start()
        self.relay.keyring.hold(ALICE)
        self.relay.subscribe("one.example")

    def accept(self, text: str = "Hello") -> bytes:
        """A post comes in."""
        body = ALICE.post(text)
        self.successResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run()
        return body

    def cursor(self) -> int:
        """How far it is written that the node has come."""
        [record] = self.successResultOf(self.relay.storage.destinations.load())
        return self.relay.tables.reached(record)

    def test_writes_down(self) -> None:
        """What is delivered is written down soon after."""
        self.accept()
        self.assertEqual(self.cursor(), 1)

    def test_counted(self) -> None:
        """Deliveries that are wanted are counted, and attempts with what came back and how long it took."""
        self.accept()
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.DNS)
        self.accept("Second")
        dispatcher = self.relay.dispatcher
        self.assertEqual((dispatcher.wanted, dispatcher.results), (2, {"2xx": 1, "dns": 1}))
        self.assertEqual(dispatcher.durations.count, 2)

    def test_storage_goes_away(self) -> None:
        """While storage is away deliveries go on, and how far they have come is written when it is back."""
        self.relay.transport.reply = lambda url: None
        self.accept()
        self.relay.tables.go_away("gone")
        self.relay.transport.hanging[0].callback(Answer(202))
        self.relay.run()
        self.relay.tables.come_back()
        self.relay.run(5.0)
        self.assertEqual(self.cursor(), 1)

    def test_reads_later(self) -> None:
        """What has to be read while storage is away is read when it is back."""
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.accept()
        self.relay.transport.reply = lambda url: Answer(202)
        self.relay.tables.go_away("gone")
        self.relay.run(40.0)
        self.assertEqual(len(self.relay.transport.sent), 1)
        self.relay.tables.come_back()
        self.relay.run(20.0)
        self.assertEqual(len(self.relay.transport.sent), 2)

    def test_body_is_gone(self) -> None:
        """A post whose body is not kept any more is expired, and the next one is delivered."""
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.accept("First")
        second = self.accept("Second")
        del self.relay.tables.bodies[1]
        after = WholeRelay(self.relay.tables).start()
        after.run(40.0)
        self.assertEqual([body for _, body in after.transport.sent], [second])
        status = after.dispatcher.destination("one.example")
        self.assertEqual((status.record.expired, status.record.cursor) if status else None, (1, 2))

    def test_answer_to_a_commit_is_lost(self) -> None:
        """A post that was written although the relay could not know it is found in the log and delivered."""
        publish = self.relay.storage.log.publish

        def written_and_lost(publication: object) -> Deferred[int | None]:
            publish(publication)  # type: ignore[arg-type]
            return fail(Unavailable("the connection is lost"))

        self.relay.relay._posts = type("Lossy", (), {"publish": staticmethod(written_and_lost)})()
        body = ALICE.post("Hello")
        self.failureResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run(5.0)
        self.assertEqual([sent for _, sent in self.relay.transport.sent], [body])

    def test_bug_in_transport(self) -> None:
        """A transfer that fails in a way that it should not is logged, and tried again."""
        send = self.relay.transport.send
        self.relay.transport.send = lambda request, timeout: fail(ZeroDivisionError())  # type: ignore[method-assign]
        self.accept()
        self.relay.transport.send = send  # type: ignore[method-assign]
        self.relay.run(10.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.relay.transport.hosts(), ["one.example"])

    def test_bug_in_a_turn(self) -> None:
        """A turn that breaks is logged, and followed by another: deliveries do not wait for the next post."""
        take, broken = self.relay.dispatcher._manager.take, iter([True])

        def breaks_once(*arguments: Any) -> Any:
            return 1 / 0 if next(broken, False) else take(*arguments)

        self.patch(self.relay.dispatcher._manager, "take", breaks_once)
        self.accept()
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), self.relay.transport.sent), (1, []))
        self.relay.run(1.0)
        self.assertEqual(self.relay.transport.hosts(), ["one.example"])

    def test_behind(self) -> None:
        """While answers come faster than they are taken in, few deliveries are begun at a time."""
        dispatcher, hosts = self.relay.dispatcher, 2 * FEW
        for number in range(hosts):
            self.relay.subscribe(f"n{number}.example")
        begun: list[int] = []
        take = dispatcher._manager.take
        self.patch(dispatcher._manager, "take", lambda now, most: [begun.append(len(found := take(now, most))), found][1])
        for behind, most in ((False, hosts + 1), (True, FEW)):
            self.patch(dispatcher, "_behind", lambda behind=behind: behind)
            begun.clear()
            self.accept()
            self.assertEqual((max(begun), sum(begun)), (most, hosts + 1))

    def test_rounds(self) -> None:
        """It is known when the log was looked at last, and when progress was written last, or there was none to write."""
        dispatcher = self.relay.dispatcher
        self.relay.run(100.0)
        for rounds in (dispatcher.looks, dispatcher.saves):
            self.assertLessEqual(rounds.success_age or 0.0, 30.0)
        self.accept()
        self.relay.tables.go_away("gone")
        self.relay.run(1000.0)
        self.assertGreater(dispatcher.looks.success_age or 0.0, 900.0)
        self.assertIn("looking for the log's end: failing for", dispatcher.looks.trouble)
        self.relay.tables.come_back()
        self.relay.run(100.0)
        self.assertEqual((dispatcher.looks.trouble, dispatcher.saves.trouble), ("", ""))

    def test_bug_after_an_answer(self) -> None:
        """What goes wrong when an answer is told to the queue is logged."""
        self.patch(self.relay.dispatcher._manager, "ended", lambda *_: 1 / 0)
        self.accept()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_bug_in_reading(self) -> None:
        """Whatever is raised where storage is asked is logged, and asked again; the others are not held up."""
        read, bodies = self.relay.storage.log.read, self.relay.storage.log.bodies
        store = self.relay.dispatcher._posts
        broken = type("Broken", (), {"read": lambda *_: fail(ZeroDivisionError()), "bodies": lambda *_: fail(ZeroDivisionError())})()
        broken.end, broken.pending = store.end, store.pending
        self.relay.dispatcher._posts = broken
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.accept()
        self.relay.transport.reply = lambda url: Answer(202)
        self.relay.run(100.0)
        broken.read = read
        self.relay.dispatcher._bodies.discard(1)
        self.relay.run(20.0)
        broken.bodies = bodies
        self.relay.run(20.0)
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.relay.transport.sent), 2)
        self.assertEqual(self.cursor(), 1)

    def test_bug_in_the_protocol(self) -> None:
        """A delivery that cannot be made up holds up no other."""
        self.relay.subscribe("two.example")
        protocol = self.relay.dispatcher._protocols["diaspora"]

        def delivery(url: str, body: bytes) -> DeliveryRequest:
            if "one.example" in url:
                raise ZeroDivisionError
            return protocol.delivery(url, body)

        self.relay.dispatcher._protocols = {"diaspora": type("Broken", (), {"delivery": staticmethod(delivery)})()}
        self.accept()
        self.assertEqual(self.relay.transport.hosts(), ["two.example"])
        self.assertEqual(self.relay.dispatcher.in_flight, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_progress_that_is_refused(self) -> None:
        """Progress that storage refuses, for whatever reason, is not forgotten."""
        save = self.relay.dispatcher._destinations.save
        self.relay.dispatcher._destinations = type("Broken", (), {"save": lambda *_: fail(ZeroDivisionError())})()
        self.accept()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.relay.dispatcher._destinations.save = save
        self.relay.run(5.0)
        self.assertEqual(self.cursor(), 1)

    def test_one_write_at_a_time(self) -> None:
        """While one write is under way no other is begun, however long it takes."""
        under_way: list[Deferred[None]] = []

        def save(progress: object) -> Deferred[None]:
            under_way.append(Deferred())
            return under_way[-1]

        self.relay.dispatcher._destinations = type("Slow", (), {"save": staticmethod(save)})()
        self.accept()
        self.relay.run(700.0)
        self.assertEqual(len(under_way), 1)
        under_way[0].callback(None)
        self.accept("More")
        self.relay.run(5.0)
        self.assertEqual(len(under_way), 2)

    def test_stop_while_a_write_is_under_way(self) -> None:
        """A stop waits for it a while, writes what came since when it is done, and else writes nothing more."""
        for done, writes in ((True, 2), (False, 1)):
            under_way: list[Deferred[None]] = []

            def save(progress: object, under_way: list[Deferred[None]] = under_way) -> Deferred[None]:
                under_way.append(Deferred() if not under_way else succeed(None))
                return under_way[-1]

            self.setUp()
            self.relay.dispatcher._destinations = type("Slow", (), {"save": staticmethod(save)})()
            self.accept()
            stopped = Deferred.fromCoroutine(self.relay.dispatcher.stop(1.0))
            self.relay.clock.advance(STOP_STORAGE / 2)
            self.assertNoResult(stopped)
            if done:
                under_way[0].callback(None)
            self.relay.clock.advance(STOP_STORAGE / 2)
            self.successResultOf(stopped)
            self.assertEqual(len(under_way), writes)

    def test_writes_in_time(self) -> None:
        """A node that takes much is written of at once, and gets no more than five posts before that is done."""
        under_way: list[Deferred[None]] = []

        def save(progress: object) -> Deferred[None]:
            under_way.append(Deferred())
            return under_way[-1]

        self.relay.dispatcher._destinations = type("Slow", (), {"save": staticmethod(save)})()
        for number in range(9):
            self.relay.relay.accept(ALICE.post(f"{number}"), "192.0.2.1")
        self.relay.run(0.0)
        self.assertEqual((len(self.relay.transport.sent), len(under_way)), (5, 1))
        under_way[0].callback(None)
        self.relay.run(0.0)
        self.assertEqual((len(self.relay.transport.sent), len(under_way)), (9, 2))

    def test_counting_while_storage_is_away(self) -> None:
        """What a node that left was not sent is counted when storage is back."""
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.accept()
        [status] = self.relay.dispatcher.destinations()
        self.relay.tables.go_away("gone")
        self.relay.dispatcher.close(status.record.number, "it wants nothing")
        self.relay.run()
        self.relay.tables.come_back()
        self.relay.run(20.0)
        [record] = self.successResultOf(self.relay.storage.destinations.load())
        self.assertEqual((record.cancelled, record.cursor), (1, 1))
        self.assertEqual(len(self.relay.tables.gaps), 1)

    def test_counting_in_steps(self) -> None:
        """However long the stretch is that is given up, it is counted in queries that take a moment."""
        asked: list[tuple[int, int]] = []

        def pending(destination: int, after: int, upto: int) -> Deferred[int]:
            asked.append((after, upto))
            return succeed(1)

        store = self.relay.dispatcher._posts
        self.relay.dispatcher._posts = type("Log", (), {"pending": staticmethod(pending), "end": store.end, "read": store.read})()
        [status] = self.relay.dispatcher.destinations()
        self.relay.dispatcher._manager._ledger.end = 2 * COUNTED + 1
        self.relay.dispatcher.close(status.record.number, "it wants nothing")
        self.relay.run()
        self.assertEqual(asked, [(0, COUNTED), (COUNTED, 2 * COUNTED), (2 * COUNTED, 2 * COUNTED + 1)])
        self.assertEqual(self.relay.dispatcher.destinations()[0].record.cancelled, 3)

    def test_a_post_on_its_way(self) -> None:
        """A post that storage shows before it has answered is taken as it comes: nobody falls behind for it."""
        publish = self.relay.storage.log.publish
        answers: list[tuple[Deferred[int | None], object]] = []

        def slow(publication: object) -> Deferred[int | None]:
            answers.append((Deferred(), self.successResultOf(publish(publication))))  # type: ignore[arg-type]
            return answers[-1][0]

        self.relay.relay._posts = type("Slow", (), {"publish": staticmethod(slow)})()
        self.relay.clock.advance(self.relay.dispatcher._resync_at - self.relay.clock.seconds() - 0.01)
        self.relay.relay.accept(ALICE.post("Hello"), "192.0.2.1")
        self.relay.run(0.5)
        [(answer, position)] = answers
        [status] = self.relay.dispatcher.destinations()
        self.assertTrue(status.following)
        answer.callback(position)  # type: ignore[arg-type]
        self.relay.run(0.0)
        self.assertEqual(self.relay.transport.hosts(), ["one.example"])

    def test_suspended(self) -> None:
        """The operator holds a node back and lets it go on."""
        self.assertTrue(self.relay.dispatcher.suspend("one.example"))
        body = self.accept()
        self.assertEqual(self.relay.transport.sent, [])
        self.assertTrue(self.relay.dispatcher.resume("one.example"))
        self.relay.run()
        self.assertEqual([sent for _, sent in self.relay.transport.sent], [body])
        self.assertFalse(self.relay.dispatcher.suspend("nobody.example"))

    def test_woken(self) -> None:
        """An operator has a deferred node tried at once."""
        self.relay.transport.reply = lambda url: NoAnswer(Trouble.CONNECT)
        self.accept()
        self.relay.transport.reply = lambda url: Answer(202)
        self.assertTrue(self.relay.dispatcher.wake("one.example"))
        self.relay.run()
        self.assertEqual(len(self.relay.transport.sent), 2)

    def test_quiet_destinations(self) -> None:
        """The place of a node that nothing was for is known, too, so that a restart need not read the log for it."""
        self.relay.subscribe("dogs.example", "dogs")
        self.accept()
        records = self.successResultOf(self.relay.storage.destinations.load())
        places = {record.host: self.relay.tables.reached(record) for record in records}
        self.assertEqual(places, {"one.example": 1, "dogs.example": 1})

    def test_spread_over_time(self) -> None:
        """How many deliveries wait for their time is known."""
        self.relay.dispatcher._manager._pacer = Pacer(30.0, lambda numbers: None, at_once=3)
        for number in range(9):
            self.relay.subscribe(f"node-{number}.example")
        self.successResultOf(self.relay.relay.accept(ALICE.post("Hello"), "192.0.2.1"))
        self.assertEqual(self.relay.dispatcher.paced, 7)

    def test_too_old(self) -> None:
        """What a suspended node has not come to when it is too old is given up, and counted."""
        self.relay.dispatcher.suspend("one.example")
        self.accept()
        self.relay.run(8 * 86400.0)
        [status] = self.relay.dispatcher.destinations()
        self.assertEqual((status.record.expired, status.record.cursor), (1, 1))


class BodyCacheTests(SynchronousTestCase):
    """Bodies at hand."""

    def test_bound(self) -> None:
        """No more bytes are held than there may be, and what was used least lately goes first."""
        cache = BodyCache(10)
        cache.put(1, b"aaaa")
        cache.put(2, b"bbbb")
        cache.get(1)
        cache.put(3, b"cccc")
        self.assertEqual((cache.get(1), cache.get(2), cache.get(3), cache.size), (b"aaaa", None, b"cccc", 8))
        cache.discard(1)
        self.assertEqual(cache.size, 4)


class QuotaTests(SynchronousTestCase):
    """What may wait from one address."""

    def test_counts(self) -> None:
        """What is over makes room again, and an address that has nothing waiting is forgotten."""
        quota = ClientQuota(2, 100)
        has_room = partial(quota.has_room, "192.0.2.1", "pod.example")
        quota.took("192.0.2.1", 1, "pod.example", 60)
        self.assertEqual([has_room(40), has_room(41)], [True, False])
        quota.took("192.0.2.1", 2, "pod.example", 1)
        self.assertFalse(has_room(1))
        for number in (1, 2, 3):
            quota.released(number)
        self.assertTrue(has_room(100))
        self.assertEqual(quota._held, {})


class TallyTests(SynchronousTestCase):
    """Counts on their way to storage."""

    def test_kept_while_storage_is_away(self) -> None:
        """What cannot be written is written later, and nothing twice."""
        tables = MemoryTables()
        storage = memory_storage(tables)
        tally = Tally(storage.statistics, storage.rejections, lambda: EPOCH)
        tally.count("accepted", "pod.example")
        tables.go_away("gone")
        self.successResultOf(tally.flush())
        tally.count("accepted", "pod.example")
        tables.come_back()
        for _ in range(2):
            self.successResultOf(tally.flush())
        self.assertEqual(self.successResultOf(storage.statistics.totals()), {"accepted": 2})

    def test_rejections_are_bounded(self) -> None:
        """A flood of rejections is counted, and not all of its reasons kept."""
        storage = memory_storage()
        tally = Tally(storage.statistics, storage.rejections, lambda: EPOCH)
        for _ in range(Memory().rejections + 5):
            tally.rejected(Rejection(EPOCH, "bad-signature"))
        self.assertEqual(tally.forgotten, 5)

    def test_a_lasting_flood_of_rejections(self) -> None:
        """Whoever sends rubbish without pause fills the store of reasons slowly, whether it can be written to or not."""
        tables = MemoryTables()
        storage = memory_storage(tables)
        tally = Tally(storage.statistics, storage.rejections, lambda: EPOCH)

        def flood(flushes: int) -> None:
            for _ in range(flushes):
                for _ in range(Memory().rejections):
                    tally.rejected(Rejection(EPOCH, "bad-signature"))
                self.successResultOf(tally.flush())

        flood(5)
        kept = Memory().rejections + 4 * REJECTIONS_PER_FLUSH
        self.assertEqual(len(tables.rejected), kept)
        tables.go_away("gone")
        flood(200)
        self.assertLessEqual(len(tally._rejected), Memory().rejections)


class NewsTests(SynchronousTestCase):
    """What operators are told."""

    def test_given_up(self) -> None:
        """Posts that are given up together are all counted."""
        storage = memory_storage()
        tally = Tally(storage.statistics, storage.rejections, lambda: EPOCH)
        DeliveryNews(tally, lambda host: None, log_each=False).settled(Settled("expired", "one.example", 9, "the node is dead", 7))
        self.assertEqual(tally.totals["expired"], 7)

    def test_polls(self) -> None:
        """A node whose answers make its preferences doubtful is polled."""
        storage, polled = memory_storage(), []
        news = DeliveryNews(Tally(storage.statistics, storage.rejections, lambda: EPOCH), polled.append, log_each=False)
        for what in What:
            news.event(Event(what, "one.example", "HTTP 404"))
        self.assertEqual(polled, ["one.example"])

    def test_retires(self) -> None:
        """A node that is gone is retired, and no other."""
        storage, retired = memory_storage(), []
        tally = Tally(storage.statistics, storage.rejections, lambda: EPOCH)
        news = DeliveryNews(tally, lambda host: None, log_each=False, retire=retired.append)
        for what in What:
            news.event(Event(what, f"{what.value}.example", "HTTP 410"))
        self.assertEqual(retired, ["gone.example"])
