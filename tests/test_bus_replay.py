"""What was said on the bus, page by page."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import BusPage, Full, TooOld, Unavailable
from socialrelay.boundaries.bus import OWN
from socialrelay.bus import replay as replays
from socialrelay.bus.counts import Counts
from socialrelay.bus.journal import IDLE, Journal
from socialrelay.bus.replay import READS, Replayer, plain_page
from socialrelay.bus.topics import Topics
from socialrelay.bus.wire import MAX_PAGE, MAX_WAIT
from socialrelay.storage.memory import MemoryTables
from tests.bus_messages import message
from tests.bus_stores import ScriptedBus
from tests.storing import NOW

TOPICS = Topics("org.example", "dev")


class ReplayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = ScriptedBus(MemoryTables())
        self.clock = Clock()
        self.journal = Journal(self.store, lambda topic, body: None, self.clock, lambda: NOW, 1 << 30, 10, Counts())
        self.addCleanup(self.journal.stop)
        self.successResultOf(Deferred.fromCoroutine(self.journal.start()))
        self.replayer = Replayer(self.store, self.journal, TOPICS, self.clock, waiting_readers=3)

    def say(self, *topics: str, source: str = "legacy") -> None:
        for topic in topics:
            self.assertTrue(self.journal.keep(message(topic=topic, source=source)))
        self.clock.advance(0)

    def forget(self, most: int = 0, most_own: int = 0) -> None:
        self.clock.advance(IDLE)
        self.store.prune(NOW - timedelta(days=1), most, most_own)

    def seqs(self, page: BusPage) -> list[int]:
        return [each.seq for each in page.messages]

    def ask(self, *args: Any, **more: Any) -> BusPage:
        return self.successResultOf(self.replayer.page(*args, **more))


class PageTests(ReplayTests):
    def test_pages(self) -> None:
        """
        Messages after a number come in order, so many at a time; C{next} is where to go on.
        """
        self.say("a", "b", "a", "c")
        first = self.ask(0, limit=3)
        self.assertEqual((self.seqs(first), first.next, first.last_seq, first.oldest_seq), ([1, 2, 3], 3, 4, 1))
        rest = self.ask(first.next, limit=3)
        self.assertEqual((self.seqs(rest), rest.next), ([4], 4))
        nothing = self.ask(rest.next)
        self.assertEqual((self.seqs(nothing), nothing.next), ([], 4))

    def test_topic(self) -> None:
        """
        A topic is the beginning of the topics that are wanted; what is passed over is not asked for again.
        """
        self.say("git.a", "mail.b", "git.c", "mail.d")
        page = self.ask(0, "git.")
        self.assertEqual((self.seqs(page), page.next), ([1, 3], 4))

    def test_limit(self) -> None:
        """
        A page has one message at least and a thousand at most, whatever is asked for.
        """
        self.say(*["a"] * (MAX_PAGE + 2))
        while self.journal.published < MAX_PAGE + 2:
            self.clock.advance(0)
        self.assertEqual([len(self.ask(0, limit=limit).messages) for limit in (-5, 0, MAX_PAGE + 1)], [1, 1, MAX_PAGE])

    def test_from_now(self) -> None:
        """
        Who names no number is told the last one.
        """
        self.say("a", "b")
        page = self.ask(None)
        self.assertEqual((self.seqs(page), page.next), ([], 2))

    def test_empty(self) -> None:
        """
        Where nothing was said there is an empty page.
        """
        self.assertEqual(self.ask(0), BusPage([], 0, 0, 1, 1))

    def test_beyond(self) -> None:
        """
        A number that was never given is another relay's.
        """
        self.say("a")
        self.assertIn("another relay", str(self.failureResultOf(self.replayer.page(2), ValueError).value))

    def test_too_old(self) -> None:
        """
        Who asks for what was forgotten is told what the oldest is, and may go on from there.
        """
        self.say("a", "a", "a")
        self.forget(most=len(self.store.stored[3].body))
        error = self.failureResultOf(self.replayer.page(1), TooOld).value
        self.assertEqual(error.oldest_seq, 3)
        self.assertEqual(self.seqs(self.ask(error.oldest_seq - 1)), [3])

    def test_all_forgotten(self) -> None:
        """
        Where all is forgotten one goes on after the last number.
        """
        self.say("a")
        self.forget()
        self.assertEqual(self.failureResultOf(self.replayer.page(0), TooOld).value.oldest_seq, 2)
        self.assertEqual(self.ask(1).next, 1)

    def test_own_too_old(self) -> None:
        """
        The relay's own messages may be forgotten earlier, which who asks for them is told, and nobody else.
        """
        own = TOPICS.own("payload.received")
        self.say(own, source=OWN)
        self.say("a")
        self.forget(most=10_000)
        for topic in (own, TOPICS.own("")):
            self.assertEqual(self.failureResultOf(self.replayer.page(0, topic), TooOld).value.oldest_seq, 2)
        page = self.ask(0)
        self.assertEqual((self.seqs(page), page.oldest_seq, page.oldest_own_seq), ([2], 1, 2))

    def test_forgotten_while_reading(self) -> None:
        """
        What is forgotten while a page is read is not passed over in silence.
        """
        self.say("a", "a")
        self.clock.advance(IDLE)
        self.store.prompt = False
        page = self.replayer.page(0)
        self.forget()
        for name in ("prune", "read", "extent"):
            self.store.well(name)
        self.failureResultOf(page, TooOld)

    def test_away(self) -> None:
        """
        Without the database there is no page.
        """
        self.store.prompt = False
        page = self.replayer.page(0)
        self.store.away()
        self.failureResultOf(page, Unavailable)

    def test_plain(self) -> None:
        """
        A page as JSON holds the bodies as the texts that came.
        """
        self.say("a")
        page = self.ask(0)
        plain = json.loads(json.dumps(plain_page(page)))
        [stored] = page.messages
        self.assertEqual(
            plain,
            {
                "messages": [
                    {
                        "seq": 1,
                        "msg_id": stored.msg_id,
                        "topic": "a",
                        "body": stored.body.decode(),
                        "received_at": NOW.isoformat(),
                        "source": "legacy",
                    }
                ],
                "next": 1,
                "last_seq": 1,
                "oldest_seq": 1,
                "oldest_own_seq": 1,
            },
        )


class WaitTests(ReplayTests):
    def tearDown(self) -> None:
        self.assertEqual(self.replayer.waiting, 0)

    def test_next(self) -> None:
        """
        Who waits gets the next message when it is stored.
        """
        self.say("a")
        page = self.replayer.page(None, wait=20)
        self.clock.advance(19)
        self.assertNoResult(page)
        self.say("b")
        self.assertEqual(self.seqs(self.successResultOf(page)), [2])

    def test_at_hand(self) -> None:
        """
        Who asks for what is there does not wait, nor does who has not come to the end.
        """
        self.say("a", "b")
        self.assertEqual(self.seqs(self.ask(0, wait=20)), [1, 2])
        self.patch(self.store, "read", lambda after, topic, limit: succeed(([], after + 1)))
        self.assertEqual(self.ask(0, "c", wait=20).next, 1)

    def test_other_topics(self) -> None:
        """
        Messages on other topics wake nobody, and are not looked at again.
        """
        page = self.replayer.page(0, "git.", wait=20)
        asked = len(self.store.asked)
        self.say("mail.a", "mail.b")
        self.assertNoResult(page)
        self.assertEqual(self.store.asked[asked:].count("read"), 0)
        self.say("git.c")
        answer = self.successResultOf(page)
        self.assertEqual((self.seqs(answer), answer.next), ([3], 3))

    def test_in_vain(self) -> None:
        """
        When the time is over there is an empty page, which says up to where there was nothing.
        """
        page = self.replayer.page(0, "git.", wait=5)
        self.say("mail.a")
        self.clock.advance(5)
        answer = self.successResultOf(page)
        self.assertEqual((self.seqs(answer), answer.next, answer.last_seq), ([], 1, 1))

    def test_bounds(self) -> None:
        """
        Nobody waits for longer than there is to wait, and only so many at a time; who does not wait is not hindered.
        """
        pages = [self.replayer.page(0, wait=1e9) for _ in range(3)]
        self.failureResultOf(self.replayer.page(0, wait=1), Full)
        self.assertEqual(self.ask(0).next, 0)
        self.clock.advance(MAX_WAIT)
        for page in pages:
            self.successResultOf(page)

    def test_one_look(self) -> None:
        """
        Readers who wait for the same are served by one look at the database.
        """
        pages = [self.replayer.page(0, wait=9) for _ in range(3)]
        self.store.prompt = False
        self.journal.keep(message())
        self.clock.advance(0)
        asked = len(self.store.asked)
        self.store.well()
        self.assertEqual(self.store.asked[asked:].count("read"), 1)
        while self.store.open:
            self.store.well()
        self.assertEqual([self.seqs(self.successResultOf(page)) for page in pages], [[1]] * 3)

    def test_few_looks_at_a_time(self) -> None:
        """
        Readers of different topics ask the database a few at a time.
        """
        self.replayer.waiting_readers = 10
        pages = [self.replayer.page(0, topic, wait=9) for topic in ("", "a", "ab", "abc", "abcd")]
        self.store.prompt = False
        self.journal.keep(message(topic="abcd"))
        self.clock.advance(0)
        self.store.well()
        most = 0
        while self.store.open:
            most = max(most, len(self.store.open))
            self.store.well()
        self.assertEqual(most, READS)
        self.assertEqual([self.seqs(self.successResultOf(page)) for page in pages], [[1]] * 5)

    def test_crowd(self) -> None:
        """
        Who asks when too many ask already is told so.
        """
        self.patch(replays, "AT_ONCE", 1)
        self.replayer = Replayer(self.store, self.journal, TOPICS, self.clock, waiting_readers=1)
        self.store.prompt = False
        pages = [self.replayer.page(0, topic) for topic in ("a", "b", "c")]
        self.failureResultOf(pages.pop(), Full)
        while self.store.open:
            self.store.well()
        for page in pages:
            self.successResultOf(page)

    def test_cancelled(self) -> None:
        """
        Who goes away while waiting, or while the database is asked, leaves nothing behind, and takes nobody along.
        """
        waits = self.replayer.page(0, wait=9)
        waits.cancel()
        self.failureResultOf(waits, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.store.prompt = False
        pages = [self.replayer.page(0), self.replayer.page(0)]
        pages[0].cancel()
        while self.store.open:
            self.store.well()
        self.failureResultOf(pages[0], CancelledError)
        self.successResultOf(pages[1])

    def test_while_a_page_is_read(self) -> None:
        """
        What is stored while the database is asked is not waited for.
        """
        self.store.prompt = False
        page = self.replayer.page(0, wait=9)
        self.store.well()
        self.journal.keep(message())
        self.clock.advance(0)
        self.store.well("add")
        self.store.well("extent")
        self.assertEqual(self.successResultOf(page).next, 0)

    def test_after_an_outage(self) -> None:
        """
        What is found in the store after an outage wakes who waits for it.
        """
        page = self.replayer.page(0, "a", wait=30)
        self.store.prompt = False
        self.journal.keep(message(topic="a"))
        self.clock.advance(0)
        self.store.lost()
        self.assertNoResult(page)
        self.store.prompt = True
        self.journal.wake()
        self.assertEqual(self.seqs(self.successResultOf(page)), [1])

    def test_stop(self) -> None:
        """
        When the relay stops nobody waits any more.
        """
        page = self.replayer.page(0, wait=9)
        self.replayer.stop()
        self.assertEqual(self.successResultOf(page).next, 0)
        self.assertEqual(self.ask(0, wait=9).next, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
