"""What is kept of bounced posts, of posts on their own, and of what waits, keeps its contract, in memory and in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from socialrelay.boundaries import BouncedPost, SinglePost
from socialrelay.boundaries.destinations import BOUNCES_KEPT
from socialrelay.scheduler.record import Bounce, DeferredDelivery, Progress
from tests.storing import NOW, InMemory, InPostgres, ago, publication


class BouncesContract:
    async def opened(self, storage, *hosts):
        return [await storage.destinations.open(host, "diaspora", f"https://{host}/receive/public", NOW) for host in hosts]

    async def test_bounced(self):
        """
        Posts that a destination refused are listed, the latest first, with what the log still knows of them.
        """
        storage = await self.storage()
        one, other = await self.opened(storage, "a.example", "b.example")
        for n, author in enumerate(("ada@pod.example", "eve@pod.example"), 1):
            await storage.log.publish(publication(author=author, guid=f"guid-of-post-{n}", published_at=ago(hours=9 - n)))
        await storage.log.publish(publication(recipients=frozenset()))
        await storage.log.cancel(authors=["eve@pod.example"])
        bounces = [Bounce(one.number, position, "HTTP 403", ago(minutes=9 - position)) for position in (1, 2, 3, 77)]
        await storage.destinations.save(Progress(bounces=(*bounces, Bounce(other.number, 1, "HTTP 413", NOW))))
        found = await storage.destinations.bounced(one.number, 9)
        self.assertEqual(found[3], BouncedPost(bounces[0], "ada@pod.example", "guid-of-post-1", ago(hours=8), kept=True, cancelled=False))
        self.assertEqual(found[2], BouncedPost(bounces[1], "eve@pod.example", "guid-of-post-2", ago(hours=7), kept=True, cancelled=True))
        self.assertEqual((found[1].kept, found[1].bounce), (False, bounces[2]))
        self.assertEqual(found[0], BouncedPost(bounces[3], "", "", None, kept=False, cancelled=False))
        self.assertEqual(await storage.destinations.bounced(one.number, 1), found[:1])
        self.assertEqual(await storage.destinations.bounced(one.number, 9, 2), [found[2]])
        self.assertEqual(await storage.destinations.bounced(9, 9), [])

    async def test_requeued(self):
        """
        What is tried once more is listed no more, and counted once, however often it is written.
        """
        storage = await self.storage()
        [record] = await self.opened(storage, "a.example")
        await storage.log.publish(publication())
        counted = evolve(record, bounced=1)
        await storage.destinations.save(Progress(destinations=(counted,), bounces=(Bounce(0, 1, "HTTP 403", NOW),)))
        again = DeferredDelivery(0, 1, 0, NOW, "requeued by the operator")
        put_back = Progress(destinations=(evolve(counted, requeued=1),), deferred=(again,), requeued=((0, 1),))
        for progress in (put_back, put_back, Progress(destinations=(counted,))):
            await storage.destinations.save(progress)
            [found] = await storage.destinations.load()
            self.assertEqual((found.bounced, found.requeued), (1, 1))
            self.assertEqual(await storage.destinations.deferred(), [again])
            self.assertEqual(await storage.destinations.bounced(0, 9), [])

    async def test_bounded(self):
        """
        Of each destination the last hundred are kept, of all of them for a week.
        """
        storage = await self.storage()
        await self.opened(storage, "a.example", "b.example")
        many = [Bounce(0, position, "HTTP 403", ago(minutes=500 - position)) for position in range(1, BOUNCES_KEPT + 11)]
        await storage.destinations.save(Progress(bounces=(*many[:60], Bounce(1, 1, "HTTP 403", ago(days=8)))))
        await storage.destinations.save(Progress(bounces=tuple(many[60:])))
        self.assertEqual([found.bounce for found in await storage.destinations.bounced(0, 999)], many[: -BOUNCES_KEPT - 1 : -1])
        self.assertEqual(await storage.log.prune(NOW), 1)
        self.assertEqual(await storage.destinations.bounced(1, 9), [])
        self.assertEqual(len(await storage.destinations.bounced(0, 999)), BOUNCES_KEPT)

    async def test_singles(self):
        """
        Posts that are tried on their own are listed, the next to be tried first, and counted.
        """
        storage = await self.storage()
        one, other = await self.opened(storage, "a.example", "b.example")
        for n in (1, 2):
            await storage.log.publish(publication(guid=f"guid-of-post-{n}"))
        tried = [
            DeferredDelivery(one.number, 2, 1, NOW, "HTTP 500"),
            DeferredDelivery(other.number, 1, 2, ago(hours=1), "HTTP 400"),
            DeferredDelivery(one.number, 1, 1, NOW + timedelta(hours=1), "HTTP 500"),
        ]
        self.assertEqual(await storage.destinations.singles(9), ([], 0))
        await storage.destinations.save(Progress(deferred=tuple(tried)))
        found, total = await storage.destinations.singles(2)
        expected = [("b.example", tried[1], "guid-of-post-1"), ("a.example", tried[0], "guid-of-post-2")]
        self.assertEqual(found, [SinglePost(host, each, "ada@pod.example", guid) for host, each, guid in expected])
        self.assertEqual(total, 3)

    async def test_backlog(self):
        """
        How many posts wait for a destination after a position, and since when, is known.
        """
        storage = await self.storage()
        for hours in (4, 3, 2, 1):
            await storage.log.publish(publication(published_at=ago(hours=hours), recipients=frozenset({hours % 2})))
        self.assertEqual(await storage.destinations.backlog(0, 0), (2, ago(hours=4)))
        self.assertEqual(await storage.destinations.backlog(0, 1), (1, ago(hours=2)))
        self.assertEqual(await storage.destinations.backlog(1, 4), (0, None))
        self.assertEqual(await storage.destinations.backlog(9, 0), (0, None))


class MemoryBouncesTests(BouncesContract, InMemory):
    """In memory."""


class PostgresBouncesTests(BouncesContract, InPostgres):
    """In PostgreSQL."""
