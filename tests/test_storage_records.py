"""Keys, counts and the relay's name keep their contract, in memory and in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from socialrelay.boundaries import BoundIdentity
from tests.storing import NOW, InMemory, InPostgres, ago

TODAY = NOW.date()


class ProfilesContract:
    async def test_keys(self):
        """
        A key is put, replaced and removed.
        """
        profiles = (await self.storage()).profiles
        self.assertIsNone(await profiles.get("ada@pod.example"))
        await profiles.put("ada@pod.example", "PEM 1", ago(days=1))
        await profiles.put("ada@pod.example", "PEM 2", NOW)
        self.assertEqual(await profiles.get("ada@pod.example"), ("PEM 2", NOW))
        await profiles.remove("ada@pod.example")
        self.assertIsNone(await profiles.get("ada@pod.example"))

    async def test_unused(self):
        """
        Keys that have verified nothing for long are forgotten.
        """
        profiles = (await self.storage()).profiles
        for handle in ("ada@pod.example", "eve@pod.example"):
            await profiles.put(handle, "PEM", ago(days=100))
        await profiles.used(["eve@pod.example", "nobody@pod.example"], TODAY)
        await profiles.used(["eve@pod.example"], TODAY - timedelta(days=95))
        await profiles.used([], TODAY)
        self.assertEqual(await profiles.prune(TODAY - timedelta(days=90)), 1)
        self.assertIsNone(await profiles.get("ada@pod.example"))
        self.assertIsNotNone(await profiles.get("eve@pod.example"))

    async def test_remove(self):
        """
        One author's key is removed, or those of a host and its subdomains; how many went is told.
        """
        profiles = (await self.storage()).profiles
        handles = ("ada@pod.example", "eve@pod.example", "bob@a.pod.example:8443", "ada@notpod.example")
        for handle in handles:
            await profiles.put(handle, "PEM", NOW)
        self.assertEqual(await profiles.count(), 4)
        self.assertEqual([await profiles.remove(handles[0]) for _ in range(2)], [1, 0])
        self.assertEqual([await profiles.remove_host("pod.example") for _ in range(2)], [2, 0])
        self.assertEqual([await profiles.get(handle) for handle in handles], [None, None, None, ("PEM", NOW)])


class StatisticsContract:
    async def test_counts(self):
        """
        Counts add up per hour, event and subject, and are summed as asked.
        """
        statistics = (await self.storage()).statistics
        before = NOW - timedelta(hours=2)
        await statistics.add({(before, "delivered", "a.example"): 5, (NOW, "delivered", "a.example"): 1})
        await statistics.add({(NOW, "delivered", "a.example"): 2, (NOW, "delivered", "b.example"): 10, (NOW, "bounced", "a.example"): 1})
        await statistics.add({})
        self.assertEqual(await statistics.totals(), {"delivered": 18, "bounced": 1})
        self.assertEqual(await statistics.totals(NOW), {"delivered": 13, "bounced": 1})
        self.assertEqual(await statistics.of_subject("a.example", before), {"delivered": 8, "bounced": 1})
        self.assertEqual(await statistics.of_subject("a.example", NOW), {"delivered": 3, "bounced": 1})
        self.assertEqual(await statistics.of_subject("c.example", before), {})

    async def test_series(self):
        """
        Counts are summed by the hour or by the day, in UTC, from an hour on.
        """
        statistics = (await self.storage()).statistics
        midnight, noon = NOW.replace(hour=0), NOW
        for hour in (ago(days=2), midnight - timedelta(hours=1), midnight, noon):
            await statistics.add({(hour, "delivered", "a.example"): 1, (hour, "delivered", "b.example"): 2})
        await statistics.add({(noon, "failed", "a.example"): 5})
        hours = {(midnight - timedelta(hours=1), "delivered"): 3, (midnight, "delivered"): 3, (noon, "delivered"): 3, (noon, "failed"): 5}
        self.assertEqual(await statistics.series("hour", ago(days=1)), hours)
        yesterday = midnight - timedelta(days=1)
        days = {(yesterday, "delivered"): 3, (midnight, "delivered"): 6, (midnight, "failed"): 5}
        self.assertEqual(await statistics.series("day", yesterday), days)
        self.assertEqual(await statistics.series("day", NOW + timedelta(hours=1)), {})

    async def test_last(self):
        """
        The hour in which something was last counted is known.
        """
        statistics = (await self.storage()).statistics
        await statistics.add({(ago(hours=hours), "accepted", "a.example"): 1 for hours in (5, 2, 9)})
        await statistics.add({(NOW, "accepted", "b.example"): 1, (NOW, "received", "a.example"): 1})
        self.assertEqual(await statistics.last("accepted", "a.example"), ago(hours=2))
        self.assertIsNone(await statistics.last("accepted", "c.example"))

    async def test_of_event(self):
        """
        One event is told apart by its subjects, of some hours.
        """
        statistics = (await self.storage()).statistics
        for hours in (0, 1, 2):
            await statistics.add({(ago(hours=hours), "delay", "0.5"): 1, (ago(hours=hours), "delay", "inf"): hours})
            await statistics.add({(ago(hours=hours), "delivered", "0.5"): 9})
        self.assertEqual(await statistics.of_event("delay", [NOW, ago(hours=2)]), {"0.5": 2, "inf": 2})
        self.assertEqual(await statistics.of_event("delay", []), {})

    async def test_totals_stay(self):
        """
        Hours are forgotten after thirteen months; the totals of all time stay.
        """
        storage = await self.storage()
        await storage.statistics.add({(ago(days=401), "delivered", "a.example"): 5, (ago(days=399), "delivered", "a.example"): 1})
        self.assertEqual(await storage.log.prune(NOW), 2)
        self.assertEqual(await storage.statistics.totals(ago(days=999)), {"delivered": 1})
        self.assertEqual(await storage.statistics.totals(), {"delivered": 6})

    async def test_erase(self):
        """
        The hourly counts of a host and its subdomains go; the sums, which name nobody, and the counts of others stay.
        """
        statistics = (await self.storage()).statistics
        subjects = ("pod.example", "a.pod.example", "notpod.example", "bad-signature")
        counts = {(ago(hours=hour), event, each): 1 for hour in range(3) for event in ("received", "delivered") for each in subjects}
        await statistics.add(counts)
        self.assertEqual([await statistics.erase("pod.example") for _ in range(2)], [12, 0])
        self.assertEqual([await statistics.of_subject(each, ago(days=1)) for each in subjects[:2]], [{}, {}])
        self.assertEqual(await statistics.of_subject("notpod.example", ago(days=1)), {"received": 3, "delivered": 3})
        for totals in (await statistics.totals(ago(days=1)), await statistics.totals()):
            self.assertEqual(totals, {"received": 12, "delivered": 12})
        self.assertEqual(await statistics.erase("other.example"), 0)

    async def test_erase_nothing(self):
        """
        Where nothing was counted nothing is erased.
        """
        self.assertEqual(await (await self.storage()).statistics.erase("pod.example"), 0)


class IdentityContract:
    async def test_bind(self):
        """
        The relay is bound once; whoever binds it again learns to whom.
        """
        store = (await self.storage()).identity
        self.assertIsNone(await store.get())
        identity = BoundIdentity("relay.example", "relay", "0123456789abcdef", b"\x00\xff" * 16)
        self.assertEqual(await store.bind(identity, NOW), identity)
        self.assertEqual(await store.bind(evolve(identity, host="other.example"), NOW), identity)
        self.assertEqual(await store.get(), identity)


class MemoryRecordsTests(ProfilesContract, StatisticsContract, IdentityContract, InMemory):
    """In memory."""


class PostgresRecordsTests(ProfilesContract, StatisticsContract, IdentityContract, InPostgres):
    """In PostgreSQL."""
