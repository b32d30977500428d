"""Group commit."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Full, Unavailable
from socialrelay.storage import commit
from socialrelay.storage.commit import SLICE, GroupCommit


class GroupCommitTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.batches = []
        self.answers = []

    def group(self, waiting=100, waiting_bytes=2**30):
        def write(batch):
            self.batches.append(batch)
            self.answers.append(Deferred())
            return self.answers[-1]

        return GroupCommit(write, self.clock, waiting=waiting, waiting_bytes=waiting_bytes)

    def submit(self, group, *items, keys=()):
        return [group.submit(item, 1, keys) for item in items]

    def test_batches(self):
        """
        The first is written at once, what comes meanwhile together after it, and each caller gets the result of his own.
        """
        group = self.group()
        deferreds = self.submit(group, "a", "b", "c")
        self.assertEqual(self.batches, [["a"]])
        self.answers[0].callback([1])
        self.assertEqual(self.batches, [["a"], ["b", "c"]])
        self.answers[1].callback([2, 3])
        self.assertEqual([self.successResultOf(each) for each in deferreds], [1, 2, 3])

    def test_settled(self):
        """
        Whoever waits for what was submitted is told when all of it is written or has failed, after those who submitted it.
        """
        group = self.group()
        told = []
        self.successResultOf(group.settled())
        first, second = self.submit(group, "a", "b")
        for each in (first, second):
            each.addBoth(lambda result: told.append(result if isinstance(result, int) else "failed"))
        group.settled().addCallback(lambda _: told.append("all"))
        [third] = self.submit(group, "c")
        self.answers[0].callback([1])
        self.assertEqual(told, [1])
        self.answers[1].errback(Unavailable("gone"))
        self.assertEqual(told, [1, "failed", "all"])
        self.failureResultOf(third, Unavailable)

    def test_answers_in_slices(self):
        """
        Those whose items are written are answered in order, some in each turn of the event loop; meanwhile the next batch is written, and
        nobody counts as settled who was not told.
        """
        group = self.group()
        told = []
        for answer in self.submit(group, *"abcdef"):
            answer.addCallback(self._told, told)
        self.answers[0].callback([1])
        self.answers[1].callback([2, 3, 4, 5, 6])
        [late] = self.submit(group, "late")
        settled = group.settled()
        self.assertEqual((told, self.batches[2]), ([1, 2, 3], ["late"]))
        self.answers[2].callback([7])
        self._turn()
        self.assertEqual(told, [1, 2, 3, 4, 5])
        self.assertNoResult(settled)
        self._turn()
        self.assertEqual((told, self.clock.getDelayedCalls()), ([1, 2, 3, 4, 5, 6], []))
        self.assertEqual((self.successResultOf(late), self.successResultOf(settled)), (7, None))

    def _turn(self):
        """Of the event loop: what was asked for before it."""
        [call] = self.clock.getDelayedCalls()
        function = call.func
        call.cancel()
        function()

    def _told(self, result, told):
        told.append(result)
        self.clock.rightNow += SLICE / 2

    def test_full(self):
        """
        No more waits than may.
        """
        group = self.group(waiting=2)
        *_, last = self.submit(group, "a", "b", "c", "d")
        self.failureResultOf(last, Full)
        self.answers[0].callback([1])
        self.assertEqual(self.batches[1], ["b", "c"])

    def test_full_of_bytes(self):
        """
        No more bytes wait than may, whatever way they take; but one item may wait whatever its size.
        """
        group = self.group(waiting_bytes=10)
        group.submit("first", 1, ())
        group.submit("huge", 11, ())
        self.failureResultOf(group.submit("more", 0, ()), Full)
        self.answers[0].callback([0])
        group.submit("a", 6, ())
        before = group.submit("b", 4, ())
        self.failureResultOf(group.submit("more", 1, ()), Full)
        self.answers[1].callback([1])
        self.assertEqual(self.batches[1:], [["huge"], ["a", "b"]])
        waiting = [group.submit("c", 1, ())]
        self.answers[2].errback(ValueError("one of them is bad"))
        self.assertEqual(self.batches[3:], [["a"]])
        waiting.append(group.submit("d", 5, ()))
        self.failureResultOf(group.submit("more", 1, ()), Full)
        group.refuse_waiting("away")
        for each in (before, *waiting):
            self.failureResultOf(each, Unavailable)
        self.assertNoResult(group.submit("e", 10, ()))

    def test_shared_key(self):
        """
        What shares a key with something in the batch waits for the next one, and keeps its place.
        """
        group = self.group()
        self.submit(group, "first")
        for item, keys in (("a", (1,)), ("b", (1, 2)), ("c", (2, 3)), ("d", (4,))):
            group.submit(item, 1, keys)
        self.answers[0].callback([0])
        self.answers[1].callback([0] * 2)
        self.answers[2].callback([0])
        self.assertEqual(self.batches, [["first"], ["a", "d"], ["b"], ["c"]])

    def test_size(self):
        """
        A batch ends when it is large.
        """
        group = self.group()
        for item in ("a", "b", "c"):
            group.submit(item, commit.BYTES, ())
        self.answers[0].callback([0])
        self.assertEqual(self.batches, [["a"], ["b"]])

    def test_bad_item(self):
        """
        An item that is refused spoils only itself.
        """
        group = self.group()
        deferreds = self.submit(group, "first", "good", "bad", "other")
        self.answers[0].callback([0])
        self.answers[1].errback(ValueError("bad"))
        self.assertEqual(self.batches[2:], [["good"]])
        late = self.submit(group, "late")
        self.answers[2].callback([1])
        self.answers[3].errback(ValueError("bad"))
        self.answers[4].callback([2])
        self.answers[5].callback([3])
        self.assertEqual(self.batches[3:], [["bad"], ["other"], ["late"]])
        self.failureResultOf(deferreds[2], ValueError)
        self.assertEqual([self.successResultOf(each) for each in (deferreds[1], deferreds[3], *late)], [1, 2, 3])

    def test_item_that_cannot_be_written_down(self):
        """
        An item that breaks the writer before it waits for anything spoils only itself, too.
        """
        batches = []

        def write(batch):
            batches.append(batch)
            if "bad" in batch:
                raise MemoryError("too much")
            return succeed(list(batch)) if batch != ["first"] else first

        first = Deferred()
        group = GroupCommit(write, self.clock, waiting=100, waiting_bytes=2**30)
        deferreds = self.submit(group, "first", "good", "bad", "other")
        first.callback(["first"])
        self.failureResultOf(deferreds[2], MemoryError)
        self.assertEqual([self.successResultOf(deferreds[n]) for n in (0, 1, 3)], ["first", "good", "other"])
        self.assertEqual(self.successResultOf(*self.submit(group, "late")), "late")

    def test_many_that_cannot_be_written_down(self):
        """
        However many in a row break the writer, each is refused, and what comes behind them is written.
        """

        def write(batch):
            if "bad" in batch:
                raise ValueError("not in this alphabet")
            return succeed(list(batch)) if batch != ["first"] else first

        first = Deferred()
        group = GroupCommit(write, self.clock, waiting=1000, waiting_bytes=2**30)
        deferreds = self.submit(group, "first", *["bad"] * 600, "last")
        first.callback(["first"])
        for each in deferreds[1:-1]:
            self.failureResultOf(each, ValueError)
        self.assertEqual(self.successResultOf(deferreds[-1]), "last")
        self.assertEqual(self.successResultOf(*self.submit(group, "late")), "late")

    def test_unavailable(self):
        """
        When the database is away nothing goes on waiting.
        """
        group = self.group()
        deferreds = self.submit(group, "a", "b", "c")
        self.answers[0].errback(Unavailable("away"))
        for each in deferreds:
            self.failureResultOf(each, Unavailable)
        self.submit(group, "d")
        self.assertEqual(self.batches, [["a"], ["d"]])
