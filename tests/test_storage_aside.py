"""What waits to be judged, and what could not be, keeps its contract, in memory and in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from socialrelay.boundaries.aside import NOT_KEPT, NOT_THERE, WAITS_ALREADY, Backlogged, PutAside, Share
from tests.storing import NOW, InMemory, InPostgres, ago, arrival

LATER = NOW + timedelta(minutes=5)


class AsideContract:
    async def test_waiting(self):
        """
        What waits is counted, in all and of the hosts of which most waits.
        """
        storage = await self.storage()
        self.assertEqual(await storage.aside.waiting(2), Backlogged(0, 0, None, (), 0))
        for host, hours, sizes in (("a.example", 3, (10, 20)), ("b.example", 1, (5, 5, 5)), ("c.example", 9, (1,)), ("d.example", 2, (1,))):
            for number, size in enumerate(sizes):
                body = f"{host} {number}".encode().ljust(20 + size, b".")
                received_at = ago(hours=hours) + timedelta(minutes=number)
                await storage.incoming.keep(arrival(sender=f"ada@{host}", sender_host=host, body=body, received_at=received_at))
        [last] = [row for row in await storage.incoming.claim(NOW, LATER, 99) if row.sender == "ada@d.example"]
        await storage.incoming.quarantine(last.id, "it broke", NOW)
        found = await storage.aside.waiting(2)
        self.assertEqual((found.rows, found.bytes, found.oldest, found.quarantine), (6, 6 * 20 + 46, ago(hours=9), 1))
        self.assertEqual(found.hosts, (Share("b.example", 3, 75, ago(hours=1)), Share("a.example", 2, 70, ago(hours=3))))

    async def quarantined(self, storage, minutes, **changes):
        id = await storage.incoming.keep(arrival(received_at=ago(hours=1), **changes))
        await storage.incoming.quarantine(id, f"it broke {minutes} minutes ago", ago(minutes=minutes))
        return id

    async def test_quarantined(self):
        """
        What could not be judged is listed, the latest first; of a private message neither sender nor body is there.
        """
        storage = await self.storage()
        first = await self.quarantined(storage, 2, body=b"12345")
        second = await self.quarantined(storage, 1, body=b"1234567", private=True, sender="", sender_host="private-3")
        rows = [
            PutAside(second, ago(hours=1), ago(minutes=1), "", True, 0, "it broke 1 minutes ago"),
            PutAside(first, ago(hours=1), ago(minutes=2), "ada@pod.example", False, 5, "it broke 2 minutes ago"),
        ]
        self.assertEqual(await storage.aside.quarantined(9), (rows, 2))
        self.assertEqual(await storage.aside.quarantined(1), (rows[:1], 2))

    async def test_retry(self):
        """
        A body is judged again as if it had come now, and takes its author's host's share of the room.
        """
        storage = await self.storage()
        id = await self.quarantined(storage, 1, body=b"again", sender="ada@pod.example:8443")
        await storage.incoming.usage()
        self.assertEqual([await storage.aside.retry(id, NOW) for _ in range(2)], ["", NOT_THERE])
        self.assertEqual(await storage.incoming.usage(), (1, 5))
        [row] = await storage.incoming.claim(NOW, LATER, 9)
        self.assertEqual((row.body, row.sender, row.received_at, row.attempts), (b"again", "ada@pod.example:8443", NOW, 1))
        self.assertEqual([share.host for share in (await storage.aside.waiting(9)).hosts], ["pod.example"])
        self.assertEqual(await storage.aside.quarantined(9), ([], 0))

    async def test_retry_in_vain(self):
        """
        What is not kept, or waits already, stays in quarantine.
        """
        storage = await self.storage()
        private = await self.quarantined(storage, 1, private=True, sender="", sender_host="private-3")
        known = await self.quarantined(storage, 1, body=b"again")
        await storage.incoming.keep(arrival(body=b"again"))
        self.assertEqual([await storage.aside.retry(id, NOW) for id in (private, known)], [NOT_KEPT, WAITS_ALREADY])
        self.assertEqual((await storage.aside.quarantined(9))[1], 2)

    async def test_drop(self):
        """
        A body is dropped once.
        """
        storage = await self.storage()
        id = await self.quarantined(storage, 1)
        self.assertEqual([await storage.aside.drop(id) for _ in range(2)], [True, False])
        self.assertEqual(await storage.aside.quarantined(9), ([], 0))


class MemoryAsideTests(AsideContract, InMemory):
    """In memory."""


class PostgresAsideTests(AsideContract, InPostgres):
    """In PostgreSQL."""
