"""Tests for L{socialrelay.scheduler.journal}."""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import LogEntry
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.host import Host
from socialrelay.scheduler.journal import LAZY_EVERY, SLICE, TAKEN_MAX, Journal
from socialrelay.scheduler.record import DeferredDelivery, Gap, Progress, State
from tests.scheduling import EPOCH, START, record


class JournalTests(SynchronousTestCase):
    """What changed since it was last written down."""

    def setUp(self) -> None:
        self.journal = Journal()
        self.destination = Destination(record(0), Host("node-0.example", 2))

    def take(self, seconds: float = 0.0) -> Progress:
        return self.journal.take(START.later(seconds), 0, inf)

    def test_once(self) -> None:
        """A destination is written as it is when it is written, once."""
        self.journal.changed(self.destination)
        self.destination.cursor = 7
        self.journal.changed(self.destination)
        self.assertEqual([found.cursor for found in self.take().destinations], [7])
        self.assertFalse(self.journal)
        self.assertEqual(self.take(), Progress(number=2))

    def test_put_back(self) -> None:
        """What could not be written comes again, but for what is newer by then or over."""
        first, second = (DeferredDelivery(0, position, 1, EPOCH, "HTTP 400") for position in (1, 2))
        later = DeferredDelivery(0, 1, 2, EPOCH, "HTTP 400")
        gap = Gap(0, 3, 5, 1, "expired", "the node is dead")
        self.journal.changed(self.destination)
        for entry in (first, second):
            self.journal.deferred(entry)
        self.journal.gap(gap)
        progress = self.take()
        self.destination.deferred = {1: later}
        self.journal.deferred(later)
        self.journal.over(self.destination, 2)
        self.journal.put_back(progress, {0: self.destination})
        self.assertEqual(self.take(), Progress(progress.destinations, (later,), ((0, 2),), (gap,), number=2, taken=()))


class FollowersTests(SynchronousTestCase):
    """Those that follow the log and take all that names them."""

    def setUp(self) -> None:
        self.journal = Journal(followed=10)
        self.destinations = [Destination(record(number, cursor=10), Host(f"node-{number}.example", 2)) for number in range(3)]
        for destination in self.destinations:
            destination.following = True
            self.journal.changed(destination)
        self.take()

    def take(self, end: int = 10, floor: float = inf, seconds: float = 0.0, everything: bool = False) -> Progress:
        return self.journal.take(START.later(seconds), end, floor, everything)

    def waiting(self, number: int, position: int) -> Destination:
        destination = self.destinations[number]
        destination.queue = [LogEntry(position, "ada@pod.example", EPOCH, 100)]
        self.journal.busy(destination)
        return destination

    def test_one_number_for_all(self) -> None:
        """What they take is written as one position, without their rows."""
        for destination in self.destinations:
            self.journal.delivered(destination, 11, START.seconds)
        self.assertEqual(self.take(end=12), Progress(followed=12, number=2))

    def test_some_took_it(self) -> None:
        """While one has still to take a post, it is written who took it, and what comes after; with everybody past it nothing is."""
        slow = self.waiting(0, 11)
        for number, position in ((1, 11), (2, 12), (1, 12)):
            self.journal.delivered(self.destinations[number], position, START.seconds)
        self.assertEqual(self.take(end=12), Progress(followed=10, number=2, taken=((11, 0b10), (12, 0b110))))
        slow.queue.clear()
        self.journal.delivered(slow, 11, START.seconds)
        self.assertEqual(self.take(end=12), Progress(followed=12, number=3, taken=()))

    def test_some_took_it_before(self) -> None:
        """Who took it is not written again while it stays the same, unless it may be not written."""
        self.waiting(0, 11)
        self.journal.delivered(self.destinations[1], 11, START.seconds)
        written = self.take(end=11)
        self.assertEqual((written.taken, self.take(end=11).taken), (((11, 0b10),), None))
        self.journal.put_back(self.take(end=12), {})
        self.assertEqual((self.take(end=12).taken, self.take(end=12).taken), (written.taken, None))

    def test_many_positions(self) -> None:
        """Of more positions than are kept together each row says what its destination took."""
        self.waiting(0, 11)
        for position in range(11, 11 + TAKEN_MAX):
            self.journal.delivered(self.destinations[1], position, START.seconds)
        self.journal.delivered(self.destinations[1], 11 + TAKEN_MAX, START.seconds)
        self.journal.delivered(self.destinations[2], 11, START.seconds)
        progress = self.take(end=11 + TAKEN_MAX)
        self.assertEqual((len(progress.taken), progress.taken[0]), (TAKEN_MAX, (11, 0b110)))
        self.assertEqual([(found.number, found.following) for found in progress.destinations], [(1, True)])

    def test_unwritten(self) -> None:
        """What somebody took is unwritten until the write that has it is done, however often that had to be tried."""
        quick = self.destinations[1]

        def taken() -> int:
            self.journal.unwritten(quick)
            self.journal.delivered(quick, 11, START.seconds)
            return quick.unwritten

        self.assertEqual(taken(), 1)
        lost = self.take(end=11)
        self.assertEqual((taken(), self.journal.pressing), (2, False))
        self.journal.put_back(lost, {each.number: each for each in self.destinations})
        self.assertEqual(quick.unwritten, 2)
        self.take(end=11)
        self.assertEqual((taken(), self.journal.pressing), (3, True))
        self.assertEqual((self.journal.written(), quick.unwritten), ([quick], 1))
        self.take(end=11)
        self.assertFalse(self.journal.pressing)
        self.assertEqual((self.journal.written(), quick.unwritten, self.journal.written()), ([quick], 0, []))

    def test_unwritten_slices(self) -> None:
        """Where a row has to wait for others, what it says is unwritten as long."""
        many = [Destination(record(number, cursor=10), Host(f"node-{number}.example", 2)) for number in range(3, SLICE + 5)]
        for destination in many:
            self.journal.unwritten(destination)
            self.journal.delivered(destination, 11, START.seconds)
        self.take(end=11)
        self.assertEqual((len(self.journal.written()), sum(each.unwritten for each in many)), (SLICE, 2))
        self.take(end=11)
        self.assertEqual((len(self.journal.written()), sum(each.unwritten for each in many)), (2, 0))

    def test_counts_later(self) -> None:
        """Their counts are written once a minute, or when all is to be written."""
        self.journal.delivered(self.destinations[1], 11, START.seconds)
        self.assertEqual(self.take(seconds=LAZY_EVERY - 1).destinations, ())
        self.assertEqual([found.number for found in self.take(seconds=LAZY_EVERY).destinations], [1])
        self.journal.delivered(self.destinations[2], 11, START.seconds)
        self.assertEqual([found.number for found in self.take(everything=True).destinations], [2])

    def test_nothing_happens(self) -> None:
        """The rows of those that nothing was for are written when they are to be refreshed and are older than the last time."""
        self.take(end=20)
        self.journal.refresh(self.destinations)
        self.assertEqual(self.take(end=20).destinations, ())
        self.journal.refresh(self.destinations)
        self.assertEqual([found.cursor for found in self.take(end=20).destinations], [20, 20, 20])

    def test_slowest(self) -> None:
        """The position is that of the slowest of them."""
        self.waiting(0, 12)
        self.assertEqual(self.take(end=15).followed, 11)
        self.destinations[0].queue.clear()
        self.assertEqual(self.take(end=15).followed, 15)

    def test_still_to_go_out(self) -> None:
        """The position stays below a post that has still to go out to somebody."""
        self.assertEqual(self.take(end=15, floor=13).followed, 12)

    def test_falls_behind(self) -> None:
        """One that follows no more is written before the position goes on without it."""
        destination = self.waiting(0, 12)
        destination.drop_queue()
        self.journal.changed(destination)
        progress = self.take(end=15)
        self.assertEqual([(found.number, found.following) for found in progress.destinations], [(0, False)])
        self.assertEqual(progress.followed, 15)

    def test_too_far_behind_to_join(self) -> None:
        """One that follows again joins the others when it has come up to their position."""
        late = self.waiting(0, 12)
        late.drop_queue()
        self.journal.changed(late)
        self.take(end=15)
        late.following, late.queue = True, [LogEntry(13, "ada@pod.example", EPOCH, 100)]
        self.journal.busy(late)
        self.journal.changed(late)
        self.assertEqual([(found.cursor, found.following) for found in self.take(end=15).destinations], [(12, False)])
        late.queue.clear()
        self.journal.changed(late)
        self.assertEqual([found.following for found in self.take(end=15).destinations], [True])

    def test_fails(self) -> None:
        """One whose host is being tried again does not count among those who follow, although nothing waits for it."""
        self.destinations[0].host.state = State.DEFERRED
        self.journal.changed(self.destinations[0])
        self.assertEqual([found.following for found in self.take().destinations], [False])

    def test_rows_that_belong_together(self) -> None:
        """However many rows can wait, what is tried on its own is written with the row that counts it as settled."""
        many = [Destination(record(number, cursor=10), Host(f"node-{number}.example", 2)) for number in range(3, SLICE + 100)]
        for destination in many:
            self.journal.changed(destination)
        self.journal.deferred(DeferredDelivery(SLICE + 99, 11, 1, EPOCH, "HTTP 400"))
        progress = self.take()
        self.assertEqual((len(progress.deferred), progress.destinations[-1].number), (1, SLICE + 99))

    def test_falls_behind_and_cannot_be_written(self) -> None:
        """One that follows no more is written before the position goes on without it, also if that had to be tried twice."""
        many = [Destination(record(number, cursor=10), Host(f"node-{number}.example", 2)) for number in range(3, SLICE + 100)]
        late = self.waiting(2, 12)
        late.drop_queue()
        self.journal.changed(late)
        unwritten = self.take(end=15)
        for destination in many:
            self.journal.changed(destination)
        self.journal.put_back(unwritten, {2: late})
        self.assertIn((2, False), [(found.number, found.following) for found in self.take(end=15).destinations])

    def test_slices(self) -> None:
        """Thousands of rows are written some hundred at a time, but never without the position of one that had joined."""
        many = [Destination(record(number, cursor=10), Host(f"node-{number}.example", 2)) for number in range(3, SLICE + 100)]
        for destination in [*many, *self.destinations]:
            self.journal.changed(destination)
        first = {found.number for found in self.take().destinations}
        self.assertEqual((len(first), {0, 1, 2} <= first, bool(self.journal)), (SLICE, True, True))
        self.assertEqual(len(first | {found.number for found in self.take().destinations}), SLICE + 100)
        self.assertFalse(self.journal)

    def test_ended_by_rules(self) -> None:
        """So are the rows of thousands that are subscribed no more, though they had joined: the position counts for none of them."""
        many = [Destination(record(number, cursor=10), Host(f"node-{number}.example", 2)) for number in range(3, SLICE + 100)]
        for destination in many:
            destination.following = True
            self.journal.changed(destination)
        while self.journal:
            self.take()
        for destination in [*many, *self.destinations]:
            destination.subscribed = destination in self.destinations
            self.journal.changed(destination)
        first = self.take().destinations
        self.assertEqual((len(first), {0, 1, 2} <= {found.number for found in first}), (SLICE, True))
        second = self.take().destinations
        self.assertEqual((len(second), {found.following for found in (*first, *second) if found.number > 2}), (100, {False}))
