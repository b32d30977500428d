"""Destinations keep their contract, in memory and in PostgreSQL."""

from __future__ import annotations

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from socialrelay.boundaries import DatedGap
from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, Gap, Progress, State
from socialrelay.storage import destinations
from socialrelay.storage.blocking import connected
from socialrelay.storage.postgres import open_storage
from socialrelay.storage.queries import StorageError
from tests import servers
from tests.storing import NOW, InMemory, InPostgres, ago, publication


class DestinationsContract:
    async def open(self, storage, host="a.example", url="https://a.example/receive/public"):
        return await storage.destinations.open(host, "diaspora", url, NOW)

    async def test_open_new(self):
        """
        A new destination starts at the end of the log, and its number is the next one.
        """
        storage = await self.storage()
        first = await self.open(storage)
        end = await storage.log.publish(publication())
        second = await self.open(storage, "b.example")
        self.assertEqual(first, DestinationRecord(0, "a.example", "diaspora", "https://a.example/receive/public", 0))
        self.assertEqual((second.number, second.cursor), (1, end))
        self.assertEqual(await storage.destinations.load(), [first, second])

    async def test_open_again(self):
        """
        To open what is open changes its url and nothing else, and uses up no number.
        """
        storage = await self.storage()
        first = await self.open(storage)
        await storage.destinations.save(Progress(destinations=(evolve(first, failures=3, state=State.DEFERRED),)))
        await storage.log.publish(publication())
        again = await self.open(storage, url="https://a.example/elsewhere")
        self.assertEqual(again, evolve(first, url="https://a.example/elsewhere", failures=3, state=State.DEFERRED))
        self.assertEqual((await self.open(storage, "b.example")).number, 1)

    async def test_many(self):
        """
        However many there are, all are loaded, in the order of their numbers.
        """
        self.patch(destinations, "_RECORDS", 2)
        storage = await self.storage()
        for count in range(1, 6):
            await self.open(storage, f"{count % 2}{count}.example")
            self.assertEqual([record.number for record in await storage.destinations.load()], list(range(count)))

    async def test_reopen(self):
        """
        What was closed keeps its number, totals and place in the log, begins at the log's end, and its troubles are forgotten.
        """
        storage = await self.storage()
        first = await self.open(storage)
        troubled = evolve(first, state=State.DEAD, failures=9, failing_since=NOW, next_attempt=NOW, ahead=(), delivered=5, last_success=NOW)
        await storage.destinations.save(Progress(destinations=(troubled,)))
        await storage.destinations.close(first.number)
        [closed] = await storage.destinations.load()
        self.assertFalse(closed.subscribed)
        end = await storage.log.publish(publication())
        self.assertEqual(await self.open(storage), evolve(first, begin=end, delivered=5, last_success=NOW, tried=end))

    async def test_reopen_suspended(self):
        """
        What the operator suspended stays so.
        """
        storage = await self.storage()
        first = await self.open(storage)
        await storage.destinations.save(Progress(destinations=(evolve(first, state=State.SUSPENDED),)))
        await storage.destinations.close(first.number)
        self.assertIs((await self.open(storage)).state, State.SUSPENDED)

    async def test_protocols_apart(self):
        """
        One host is another destination for another protocol.
        """
        storage = await self.storage()
        await self.open(storage)
        other = await storage.destinations.open("a.example", "activitypub", "https://a.example/inbox", NOW)
        self.assertEqual(other.number, 1)

    async def test_save(self):
        """
        What is saved is loaded, but for what only opening and closing change.
        """
        storage = await self.storage()
        first, second = [await self.open(storage, host) for host in ("a.example", "b.example")]
        changed = evolve(
            first,
            cursor=7,
            state=State.GONE,
            ahead=(9, 12),
            failures=4,
            failing_since=ago(hours=1),
            next_attempt=NOW,
            last_success=ago(days=2),
            last_reason="HTTP 410",
            gone_answers=2,
            gone_since=ago(hours=2),
            delivered=100,
            bounced=2,
            expired=3,
            cancelled=4,
            last_bounce="HTTP 413",
            following=True,
            tried=12,
            missed=((2, 4, (3,)), (5, 6, ())),
        )
        await storage.destinations.save(Progress(destinations=(evolve(changed, url="https://x", subscribed=False),)))
        self.assertEqual(await storage.destinations.load(), [changed, second])
        await storage.destinations.save(Progress(destinations=(evolve(changed, next_attempt=None, failing_since=None, ahead=()),)))
        [loaded, _] = await storage.destinations.load()
        self.assertEqual((loaded.next_attempt, loaded.failing_since, loaded.ahead), (None, None, ()))

    async def test_late(self):
        """
        Progress that comes after what was written later, or from the run of the relay before, fails and changes nothing.
        """
        storage = await self.storage()
        first = await self.open(storage)
        await storage.destinations.save(Progress((evolve(first, ahead=(3, 4), delivered=2),), number=7))
        late = Progress((evolve(first, ahead=(3,), delivered=1),), (), (), (), number=6)
        await self.assertFailure(storage.destinations.save(late), StorageError)
        [found] = await storage.destinations.load()
        self.assertEqual(found.ahead, (3, 4))
        await storage.destinations.save(Progress((evolve(first, ahead=(3, 4, 5), delivered=3),), number=7))
        await storage.destinations.save(Progress((evolve(first, ahead=(3, 4, 5, 6), delivered=4),), number=8))
        [found] = await storage.destinations.load()
        self.assertEqual(found.ahead, (3, 4, 5, 6))

    async def test_cursor_never_goes_back(self):
        """
        A cursor that is behind the stored one does not count, nor what it has ahead, nor totals that are smaller.
        """
        storage = await self.storage()
        first = await self.open(storage)
        ahead = evolve(first, cursor=9, ahead=(11,), delivered=9)
        await storage.destinations.save(Progress(destinations=(ahead,)))
        await storage.destinations.save(Progress(destinations=(evolve(first, cursor=5, ahead=(7, 8), delivered=5, failures=1),)))
        self.assertEqual(await storage.destinations.load(), [evolve(ahead, failures=1)])

    async def test_many_at_once(self):
        """
        Many are opened and closed at once: the new ones get the next numbers without gaps, and those that were there keep theirs.
        """
        storage = await self.storage()
        first = await self.open(storage)
        await storage.destinations.close(first.number)
        await storage.log.publish(publication())
        urls = {"new.example": "https://new.example/r", first.host: "https://moved.example/r", "newer.example": "https://newer.example/r"}
        found = await storage.destinations.open_all(urls, "diaspora", NOW)
        hosts = [first.host, "new.example", "newer.example"]
        self.assertEqual([(row.number, row.host, row.url) for row in found], [(n, host, urls[host]) for n, host in enumerate(hosts)])
        self.assertEqual({(max(row.cursor, row.begin), row.subscribed) for row in found}, {(1, True)})
        self.assertEqual(await storage.destinations.load(), found)
        await storage.destinations.close(0, 2, 4711)
        self.assertEqual([row.subscribed for row in await storage.destinations.load()], [False, True, False])

    async def test_tried_never_goes_back(self):
        """
        What was once begun to be sent is not unsaid, neither by what is saved nor by a new subscription.
        """
        storage = await self.storage()
        first = await self.open(storage)
        for tried in (9, 5):
            await storage.destinations.save(Progress(destinations=(evolve(first, tried=tried),)))
        await storage.destinations.close(first.number)
        await storage.log.publish(publication())
        self.assertEqual((await self.open(storage)).tried, 9)

    async def test_close_follower(self):
        """
        What is closed does not follow, nor when it is subscribed anew.
        """
        storage = await self.storage()
        first = await self.open(storage)
        await storage.destinations.save(Progress(destinations=(evolve(first, following=True),)))
        await storage.destinations.close(first.number)
        self.assertEqual([record.following for record in await storage.destinations.load()], [False])
        self.assertFalse((await self.open(storage)).following)

    async def test_suspend(self):
        """
        What is suspended is so until it is resumed; and only what is suspended is resumed.
        """
        storage = await self.storage()
        first, second = await self.open(storage), await self.open(storage, "deferred.example")
        await storage.destinations.save(Progress(destinations=(evolve(second, state=State.DEFERRED),)))

        async def states() -> list[State]:
            return [record.state for record in await storage.destinations.load()]

        await storage.destinations.suspend(first.number)
        self.assertEqual(await states(), [State.SUSPENDED, State.DEFERRED])
        for record in (first, second):
            await storage.destinations.resume(record.number)
        self.assertEqual(await states(), [State.ACTIVE, State.DEFERRED])

    async def test_settle_followers(self):
        """
        A row that says that it follows is brought up to the shared position, and what names it on the way was delivered.
        """
        storage = await self.storage()
        hosts = [await self.open(storage, f"{letter}.example") for letter in "abcde"]
        for to in ({0, 1, 3}, {0}, {0, 1, 4}, {1}, {0, 1, 3, 4}):
            await storage.log.publish(publication(recipients=frozenset(to)))
        rows = [
            evolve(hosts[0], cursor=0, following=True, delivered=10),
            evolve(hosts[1], cursor=1, following=True, ahead=(3, 5)),
            evolve(hosts[2], cursor=5, following=True),
            evolve(hosts[3], cursor=2),
            evolve(hosts[4], cursor=0, following=True),
        ]
        await storage.destinations.save(Progress(destinations=tuple(rows), followed=4))
        await storage.destinations.close(4)
        await storage.destinations.settle_followers()
        expected = [
            evolve(rows[0], cursor=4, following=False, delivered=13),
            evolve(rows[1], cursor=4, following=False, delivered=1, ahead=(5,)),
            evolve(rows[2], following=False),
            rows[3],
            evolve(rows[4], subscribed=False, following=False, begin=5),
        ]
        self.assertEqual(await storage.destinations.load(), expected)
        await storage.destinations.settle_followers()
        self.assertEqual(await storage.destinations.load(), expected)

    async def test_settle_what_some_took(self):
        """
        What is noted of posts above the shared position counts for the rows that follow: delivered, unless their own row says so already.
        """
        storage = await self.storage()
        hosts = [await self.open(storage, f"{letter}.example") for letter in "abcd"]
        for _ in range(4):
            await storage.log.publish(publication(recipients=frozenset(range(4))))
        rows = [
            evolve(hosts[0], cursor=0, following=True, delivered=10),
            evolve(hosts[1], cursor=2, following=True, ahead=(4,), delivered=3),
            evolve(hosts[2], cursor=3, following=True, delivered=3),
            evolve(hosts[3], cursor=0),
        ]
        everybody = 0b1111
        progress = Progress(destinations=tuple(rows), followed=1, taken=((2, 0b1), (3, everybody)), number=1)
        await storage.destinations.save(evolve(progress, taken=((2, everybody),)))
        await storage.destinations.save(evolve(progress, taken=((3, everybody), (4, 0b11)), number=2))
        await storage.destinations.save(Progress(followed=1, number=3))
        await storage.destinations.settle_followers()
        expected = [
            evolve(rows[0], cursor=1, following=False, delivered=13, ahead=(3, 4)),
            evolve(rows[1], cursor=2, following=False, delivered=4, ahead=(3, 4)),
            evolve(rows[2], following=False),
            rows[3],
        ]
        self.assertEqual(await storage.destinations.load(), expected)
        await storage.destinations.save(Progress(destinations=(evolve(expected[0], following=True),), followed=1, number=4))
        await storage.destinations.settle_followers()
        self.assertEqual(await storage.destinations.load(), expected)

    async def test_followed_never_goes_back(self):
        """
        The shared position only grows.
        """
        storage = await self.storage()
        first = await self.open(storage)
        for _ in range(3):
            await storage.log.publish(publication(recipients=frozenset({first.number})))
        await storage.destinations.save(Progress(destinations=(evolve(first, following=True),)))
        for followed in (2, 1, 0):
            await storage.destinations.save(Progress(followed=followed))
        await storage.destinations.settle_followers()
        self.assertEqual(await storage.destinations.load(), [evolve(first, cursor=2, delivered=2)])

    async def test_a_write_that_comes_late(self):
        """
        A write that is done after the next one, by which somebody had left those who follow, does not bring him back among them.
        """
        storage = await self.storage()
        first = await self.open(storage)
        for _ in range(3):
            await storage.log.publish(publication(recipients=frozenset({first.number})))
        await storage.destinations.save(Progress(destinations=(first,), followed=3))
        await storage.destinations.save(Progress(destinations=(evolve(first, following=True),), followed=1))
        await storage.destinations.settle_followers()
        self.assertEqual(await storage.destinations.load(), [first])

    async def test_unknown_destination(self):
        """
        Nothing is made of a destination that was never opened.
        """
        storage = await self.storage()
        await storage.destinations.save(Progress(destinations=(DestinationRecord(4, "a.example", "diaspora", "https://x", 5),)))
        await storage.destinations.save(Progress())
        self.assertEqual(await storage.destinations.load(), [])

    async def test_deferred_deliveries(self):
        """
        Deliveries that are tried on their own are kept, changed and settled, each in the transaction of what else changed.
        """
        storage = await self.storage()
        first, second = [await self.open(storage, host) for host in ("a.example", "b.example")]
        positions = [await storage.log.publish(publication()) for _ in range(3)]
        rows = [DeferredDelivery(first.number, position, 1, NOW, "HTTP 400") for position in positions[:2]]
        rows.append(DeferredDelivery(second.number, positions[2], 2, NOW, "HTTP 500"))
        await storage.destinations.save(Progress(deferred=tuple(rows)))
        self.assertEqual(await storage.destinations.deferred(), rows)
        self.assertEqual(await storage.destinations.deferred(first.number), rows[:2])
        again = evolve(rows[0], attempts=2, reason="HTTP 418")
        settled = ((first.number, positions[1]), (9, 9))
        await storage.destinations.save(Progress(deferred=(rows[0], again), settled=settled))
        self.assertEqual(await storage.destinations.deferred(), [again, rows[2]])

    async def test_deferred_without_post(self):
        """
        A post that is no longer in the log is not tried on its own.
        """
        storage = await self.storage()
        record = await self.open(storage)
        await storage.destinations.save(Progress((evolve(record, cursor=3),), (DeferredDelivery(record.number, 4711, 1, NOW, ""),)))
        self.assertEqual(await storage.destinations.deferred(), [])
        self.assertEqual([each.cursor for each in await storage.destinations.load()], [3])

    async def test_gaps_twice(self):
        """
        To save the same gap twice does no harm.
        """
        storage = await self.storage()
        record = await self.open(storage)
        gap = Gap(record.number, 0, 9, 4, "expired", "older than a week")
        for gaps in ((gap,), (gap, evolve(gap, outcome="cancelled"))):
            await storage.destinations.save(Progress(gaps=gaps))
        self.assertEqual([found.gap.outcome for found in await storage.destinations.gaps(record.number, 9)], ["cancelled", "expired"])

    async def test_gaps(self):
        """
        The gaps of a destination are found, the latest first, and when the posts in them were published.
        """
        storage = await self.storage()
        first, second = [await self.open(storage, host) for host in ("a.example", "b.example")]
        for hours in (9, 8, 7, 6):
            await storage.log.publish(publication(published_at=ago(hours=hours)))
        gaps = [
            Gap(first.number, 0, 2, 2, "expired", "the node is dead"),
            Gap(first.number, 2, 3, 1, "cancelled", "it wants nothing"),
            Gap(first.number, 8, 9, 1, "expired", "the node is dead"),
        ]
        await storage.destinations.save(Progress(gaps=(*gaps, Gap(second.number, 0, 1, 1, "expired", "the node is dead"))))
        expected = [
            DatedGap(gaps[2], None, None),
            DatedGap(gaps[1], ago(hours=7), ago(hours=7)),
            DatedGap(gaps[0], ago(hours=9), ago(hours=8)),
        ]
        self.assertEqual(await storage.destinations.gaps(first.number, 9), expected)
        self.assertEqual(await storage.destinations.gaps(first.number, 1), expected[:1])
        self.assertEqual(await storage.destinations.gaps(7, 9), [])

    async def test_gap_that_is_forgotten(self):
        """
        When the log has forgotten where a gap begins, only its end has a time.
        """
        storage = await self.storage()
        record = await self.open(storage)
        for days in (40, 20, 1):
            await storage.log.publish(publication(published_at=ago(days=days)))
        gap = Gap(record.number, 0, 2, 2, "expired", "the node is dead")
        await storage.destinations.save(Progress((evolve(record, cursor=2, expired=2),), gaps=(gap,)))
        await storage.log.prune(NOW)
        self.assertEqual(await storage.destinations.gaps(record.number, 9), [DatedGap(gap, None, ago(days=20))])


class MemoryDestinationsTests(DestinationsContract, InMemory):
    """In memory."""


class PostgresDestinationsTests(DestinationsContract, InPostgres):
    """In PostgreSQL."""

    async def test_one_at_a_time(self):
        """
        Who opens or closes destinations waits for who writes their progress: with rows of both in different orders one would be ended.
        """
        dsn = servers.database()
        storage = await open_storage(reactor, dsn)
        self.addCleanup(storage.close)
        await self.open(storage)
        with connected(dsn) as other, other.cursor() as progress:
            progress.execute("SELECT FROM log_state FOR UPDATE")
            ended = [storage.destinations.open("b.example", "diaspora", "https://b.example/", NOW), storage.destinations.close(0)]
            locks = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            while progress.rowcount != 2:
                await deferLater(reactor, 0.01)
                progress.execute("SELECT pg_stat_clear_snapshot()")
                progress.execute(locks)
            self.assertEqual([each.called for each in ended], [False, False])
            other.commit()
        await gatherResults(ended)
