"""The log keeps its contract, in memory and in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve
from twisted.internet.defer import gatherResults

from socialrelay.boundaries import LogEntry
from socialrelay.config import Retention
from socialrelay.scheduler.record import DeferredDelivery, Progress
from socialrelay.storage.database import StorageError
from tests.storing import NOW, InMemory, InPostgres, ago, arrival, publication


class LogContract:
    async def test_positions_ascend(self):
        """
        Posts get ascending positions in the order in which they were handed over, and the end is the last of them.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.end(), 0)
        positions = [await log.publish(publication()) for _ in range(3)]
        positions += await gatherResults([log.publish(publication()) for _ in range(20)])
        self.assertEqual(positions, sorted(set(positions)))
        self.assertGreater(positions[0], 0)
        self.assertEqual(await log.end(), positions[-1])

    async def test_duplicate(self):
        """
        A post one of whose identities is taken is a duplicate and gets no position, and claims none of its other identities.
        """
        log = (await self.storage()).log
        a, b, c = (bytes([n]) * 32 for n in range(3))
        first = await log.publish(publication(identities=(a, b)))
        self.assertIsNone(await log.publish(publication(identities=(c, b))))
        second = await log.publish(publication(identities=(c,)))
        self.assertIsNone(await log.publish(publication(identities=(a,))))
        self.assertEqual([type(first), type(second)], [int, int])
        self.assertEqual(await log.end(), second)

    async def test_duplicates_at_once(self):
        """
        Of duplicates that arrive together exactly the first is published.
        """
        log = (await self.storage()).log
        post = publication()
        answers = await gatherResults([log.publish(each) for each in (post, publication(), post, post)])
        self.assertEqual([answer is None for answer in answers], [False, False, True, True])

    async def test_chain_of_shared_identities(self):
        """
        A post whose only clash is with a duplicate that was not published is itself published.
        """
        log = (await self.storage()).log
        a, b, c = (bytes([n]) * 32 for n in range(3))
        posts = [publication(identities=each) for each in ((a,), (a, b), (b, c))]
        answers = await gatherResults([log.publish(post) for post in posts])
        self.assertEqual([answer is None for answer in answers], [False, True, False])

    async def test_read_matching(self):
        """
        A destination reads, of a range, the posts that name it, with what is needed to schedule them.
        """
        log = (await self.storage()).log
        posts = [publication(recipients=frozenset(each)) for each in ({0}, {1, 9}, (), {0, 1, 7, 8, 1000}, {9})]
        positions = [await log.publish(post) for post in posts]
        end = positions[-1]

        async def read(destination, after=0, upto=end):
            return [entry.position for entry in await log.read(destination, after, upto)]

        self.assertEqual(await read(0), [positions[0], positions[3]])
        self.assertEqual(await read(9), [positions[1], positions[4]])
        self.assertEqual(await read(1000), [positions[3]])
        self.assertEqual([await read(n) for n in (2, 15, 999, 1001, 100000)], [[]] * 5)
        self.assertEqual(await read(0, after=positions[0]), [positions[3]])
        self.assertEqual(await read(0, upto=positions[0]), [positions[0]])
        self.assertEqual([await log.pending(n, 0, end) for n in (0, 1, 2)], [2, 2, 0])
        [entry] = await log.read(0, 0, positions[0])
        self.assertEqual(entry, LogEntry(positions[0], "ada@pod.example", NOW, len(posts[0].body)))

    async def test_range_is_bounded(self):
        """
        More than 5000 positions at a time are refused.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.read(0, 10, 5010), [])
        await self.assertFailure(log.read(0, 10, 5011), ValueError)

    async def test_bodies(self):
        """
        Bodies come back byte for byte; those that are not kept are left out.
        """
        log = (await self.storage()).log
        posts = [publication(body=bytes(range(256)) * 40), publication(), publication(recipients=frozenset())]
        positions = [await log.publish(post) for post in posts]
        bodies = await log.bodies([*positions, 4711])
        self.assertEqual(bodies, {positions[0]: posts[0].body, positions[1]: posts[1].body})
        self.assertIs(type(bodies[positions[0]]), bytes)
        self.assertEqual(await log.bodies([]), {})

    async def test_publishing_ends_the_wait(self):
        """
        What is published, or turns out to be a duplicate, no longer waits to be judged.
        """
        storage = await self.storage()
        first, second, third = [await storage.incoming.keep(arrival()) for _ in range(3)]
        post = publication(incoming=first)
        await storage.log.publish(post)
        await storage.log.publish(publication(identities=post.identities, incoming=second))
        self.assertEqual([row.id for row in await storage.incoming.claim(NOW, NOW, 9)], [third])
        self.assertEqual((await storage.incoming.usage())[0], 1)

    async def test_cancel_author(self):
        """
        Cancelling an author marks the author's posts of the last week, and theirs alone.
        """
        log = (await self.storage()).log
        old = await log.publish(publication(published_at=ago(days=8)))
        mine = [await log.publish(publication(published_at=ago(days=6))), await log.publish(publication())]
        other = await log.publish(publication(author="eve@pod.example"))
        self.assertEqual(await log.cancel(author="ada@pod.example"), mine)
        marks = {entry.position: entry.cancelled for entry in await log.read(0, 0, other)}
        self.assertEqual(marks, {old: False, mine[0]: True, mine[1]: True, other: False})
        self.assertEqual(await log.cancel(author="ada@pod.example"), mine)

    async def test_cancel_host(self):
        """
        Cancelling a host marks the posts of its authors and of those of its subdomains.
        """
        log = (await self.storage()).log
        hosts = ("pod.example", "a.pod.example", "notpod.example", "example", "pod_example")
        positions = [await log.publish(publication(author=f"x@{host}", author_host=host)) for host in hosts]
        self.assertEqual(await log.cancel(host="pod.example"), positions[:2])
        self.assertEqual(await log.cancel(host="example"), positions[:4])

    async def test_cancel_nothing(self):
        """
        Cancelling in an empty log, or nobody in particular, marks nothing.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.cancel(host="pod.example"), [])
        await log.publish(publication())
        self.assertEqual(await log.cancel(), [])

    async def test_oldest(self):
        """
        The oldest position that can still be delivered is the one after the last that is too old.
        """
        log = (await self.storage()).log
        self.assertEqual(await log.oldest(NOW), 0)
        old = [await log.publish(publication(published_at=ago(days=days))) for days in (9, 8)]
        await log.publish(publication())
        self.assertEqual(await log.oldest(ago(days=7)), old[-1])
        self.assertEqual(await log.oldest(ago(days=10)), 0)

    async def test_prune_keeps_what_is_pending(self):
        """
        A body that a destination has still to get is kept for a week, and so is one that is tried on its own; the others for a day.
        """
        storage = await self.storage()
        log = storage.log
        records = [await storage.destinations.open(host, "diaspora", "https://x", NOW) for host in ("a.example", "b.example")]
        everybody = frozenset(record.number for record in records)
        days = (6, 5, 4, 3, 0.5)
        positions = [await log.publish(publication(published_at=ago(days=each), recipients=everybody)) for each in days]
        tried = DeferredDelivery(records[0].number, positions[0], 1, NOW, "HTTP 400")
        await storage.destinations.save(Progress(deferred=(tried,)))
        self.assertEqual(await log.prune(NOW), 0)
        await self.move(storage, {0: positions[4], 1: positions[2]})
        self.assertEqual(await log.prune(NOW), 2)
        self.assertEqual(sorted(await log.bodies(positions)), [positions[0], positions[3], positions[4]])
        self.assertEqual(await log.oldest(ago(days=7)), positions[2])
        await self.move(storage, {1: positions[4]})
        await log.prune(NOW)
        self.assertEqual(sorted(await log.bodies(positions)), [positions[0], positions[4]])
        await log.prune(NOW + timedelta(days=1.1))
        self.assertEqual(sorted(await log.bodies(positions)), [])

    async def test_young_bodies_stay(self):
        """
        A body is kept for a day, settled or not.
        """
        storage = await self.storage()
        record = await storage.destinations.open("a.example", "diaspora", "https://x", NOW)
        positions = [await storage.log.publish(publication(published_at=ago(hours=hours))) for hours in (23, 1)]
        await self.move(storage, {record.number: positions[-1]})
        self.assertEqual(await storage.log.prune(NOW), 0)
        self.assertEqual(sorted(await storage.log.bodies(positions)), positions)

    async def test_closed_destination_keeps_nothing(self):
        """
        A destination that is no longer subscribed keeps no bodies.
        """
        storage = await self.storage()
        record = await storage.destinations.open("a.example", "diaspora", "https://x", NOW)
        position = await storage.log.publish(publication(published_at=ago(days=2), recipients=frozenset({record.number})))
        await storage.destinations.close(record.number)
        await storage.log.prune(NOW)
        self.assertEqual(await storage.log.bodies([position]), {})

    async def test_prune_by_size(self):
        """
        When all bodies together are too large the oldest go, pending or not, and are then too old to be delivered.
        """
        storage = await self.storage(retention=Retention(bodies_max_bytes=25_000))
        await storage.destinations.open("a.example", "diaspora", "https://x", NOW)
        bodies = [bytes([n]) * 10_000 for n in range(4)]
        positions = [await storage.log.publish(publication(body=body, published_at=NOW)) for body in bodies]
        self.assertEqual(await storage.log.prune(NOW), 2)
        self.assertEqual(sorted(await storage.log.bodies(positions)), positions[2:])
        self.assertEqual(await storage.log.oldest(ago(days=7)), positions[1])

    async def test_prune_log(self):
        """
        Posts are forgotten after a month, their identities after three.
        """
        log = (await self.storage()).log
        ages = {days: publication(published_at=ago(days=days), recipients=frozenset()) for days in (91, 89, 31, 29)}
        positions = {days: await log.publish(post) for days, post in ages.items()}
        self.assertEqual(await log.prune(NOW), 4)
        again = {days: await log.publish(publication(identities=post.identities)) for days, post in ages.items()}
        self.assertEqual([days for days, position in again.items() if position is not None], [91])
        self.assertEqual(await log.pending(0, 0, positions[29]), 0)
        self.assertEqual(await log.oldest(ago(days=30)), positions[31])

    async def test_silence(self):
        """
        However long nothing was published, the log knows its end.
        """
        log = (await self.storage()).log
        positions = [await log.publish(publication(published_at=ago(days=100))) for _ in range(2)]
        await log.prune(NOW)
        self.assertEqual(await log.end(), positions[-1])
        self.assertEqual(await log.bodies(positions), {})
        self.assertEqual(await log.oldest(ago(days=7)), positions[-1])

    async def move(self, storage, cursors):
        records = [evolve(record, cursor=cursors.get(record.number, record.cursor)) for record in await storage.destinations.load()]
        await storage.destinations.save(Progress(destinations=tuple(records)))


class MemoryLogTests(LogContract, InMemory):
    """In memory."""


class PostgresLogTests(LogContract, InPostgres):
    """In PostgreSQL."""

    async def test_text_that_cannot_be_stored(self):
        """
        A post with text that PostgreSQL does not take spoils only itself.
        """
        log = (await self.storage()).log
        posts = [publication(guid=guid) for guid in ("first-post-of-all", "good-one", "nul-\0-byte", "nul-too-\0", "good-two")]
        publishing = [log.publish(post) for post in posts]
        positions = [await publishing[n] for n in (0, 1, 4)]
        self.assertEqual(len(await log.read(0, 0, positions[-1])), 3)
        for n in (2, 3):
            await self.assertFailure(publishing[n], StorageError)
