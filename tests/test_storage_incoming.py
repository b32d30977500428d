"""What waits to be judged keeps its contract, in memory and in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from twisted.internet.defer import gatherResults

from socialrelay.boundaries import Full, HostFull, Rejection
from socialrelay.boundaries.incoming import QUARANTINED
from socialrelay.config import Receive
from socialrelay.routing.hosts import host_of
from tests.storing import NOW, InMemory, InPostgres, ago, arrival

LATER = NOW + timedelta(minutes=5)


class IncomingContract:
    async def test_keep_and_claim(self):
        """
        What was kept comes back as it was, the longest due first, and counts an attempt each time it is claimed.
        """
        incoming = (await self.storage()).incoming
        second = arrival(received_at=NOW)
        first = arrival(received_at=ago(seconds=1), private=True, sender="", sender_host="")
        ids = [await incoming.keep(each) for each in (second, first)]
        rows = await incoming.claim(NOW, LATER, 10)
        self.assertEqual([row.id for row in rows], [ids[1], ids[0]])
        self.assertEqual([row.body for row in rows], [first.body, second.body])
        self.assertIs(type(rows[0].body), bytes)
        self.assertEqual(
            [(row.private, row.sender, row.protocol, row.attempts) for row in rows][1], (False, "ada@pod.example", "diaspora", 1)
        )
        self.assertEqual(rows[0].received_at, ago(seconds=1))
        self.assertEqual([row.attempts for row in await incoming.claim(LATER, LATER, 10, 10)], [2, 2])

    async def test_tried_before(self):
        """
        Of what was claimed and came to no end as many are claimed again as is asked for, whatever else there is.
        """
        incoming = (await self.storage()).incoming
        before = [await incoming.keep(arrival()) for _ in range(3)]
        await incoming.claim(NOW, NOW, 3)
        fresh = [await incoming.keep(arrival()) for _ in range(3)]
        self.assertEqual([row.id for row in await incoming.claim(NOW, LATER, 2)], fresh[:2])
        self.assertEqual([(row.id, row.attempts) for row in await incoming.claim(NOW, LATER, 9, 1)], [(before[0], 2), (fresh[2], 1)])
        self.assertEqual([row.id for row in await incoming.claim(NOW, LATER, 9, 9)], before[1:])

    async def test_claimed_rows_are_hidden(self):
        """
        A claimed row is not given out again before its time is over.
        """
        incoming = (await self.storage()).incoming
        for _ in range(3):
            await incoming.keep(arrival())
        self.assertEqual(len(await incoming.claim(NOW, LATER, 2)), 2)
        self.assertEqual(len(await incoming.claim(NOW, LATER, 2)), 1)
        self.assertEqual(await incoming.claim(NOW, LATER, 2), [])
        self.assertEqual(await incoming.next_due(), LATER)

    async def test_not_due_yet(self):
        """
        A row that was received later than now is not due.
        """
        incoming = (await self.storage()).incoming
        self.assertIsNone(await incoming.next_due())
        await incoming.keep(arrival(received_at=LATER))
        self.assertEqual(await incoming.claim(NOW, LATER, 2), [])
        self.assertEqual(await incoming.next_due(), LATER)

    async def test_same_bytes(self):
        """
        The same bytes wait once, and may come again when they wait no longer.
        """
        incoming = (await self.storage()).incoming
        body = arrival()
        answers = await gatherResults([incoming.keep(body) for _ in range(3)])
        self.assertEqual([answer is None for answer in answers], [False, True, True])
        self.assertIsNone(await incoming.keep(body))
        self.assertEqual(await incoming.usage(), (1, len(body.body)))
        await incoming.finish([answers[0]])
        self.assertIsNotNone(await incoming.keep(body))

    async def test_postpone(self):
        """
        A postponed row is due when it was said, and the attempt does not count.
        """
        incoming = (await self.storage()).incoming
        id = await incoming.keep(arrival())
        await incoming.claim(NOW, LATER, 1)
        await incoming.postpone(id, NOW + timedelta(minutes=1))
        self.assertEqual(await incoming.next_due(), NOW + timedelta(minutes=1))
        [row] = await incoming.claim(LATER, LATER, 1)
        self.assertEqual(row.attempts, 1)

    async def test_postpone_what_is_over(self):
        """
        Postponing says whether the row waits at all.
        """
        incoming = (await self.storage()).incoming
        id = await incoming.keep(arrival())
        self.assertIs(await incoming.postpone(id, LATER), True)
        await incoming.finish([id])
        self.assertIs(await incoming.postpone(id, LATER, hopeless=True), False)

    async def test_give_way(self):
        """
        In a full host the oldest hopeless row gives way, and only if there is no room without.
        """
        incoming = (await self.storage(receive=Receive(waiting_rows_per_host=4))).incoming
        ids = [await incoming.keep(arrival(sender=f"u{n}@pod.example")) for n in range(3)]
        other = await incoming.keep(arrival(sender_host="other.example"))
        for id in (ids[2], ids[1], other):
            await incoming.postpone(id, LATER, hopeless=True)
        await incoming.postpone(ids[1], LATER)
        self.assertEqual(await incoming.give_way("pod.example", 1), {})
        await incoming.keep(arrival())
        await self.assertFailure(incoming.keep(arrival()), HostFull)
        self.assertEqual(await incoming.give_way("pod.example", 1), {ids[1]: "u1@pod.example"})
        await incoming.keep(arrival())
        self.assertEqual(await incoming.give_way("pod.example", 1), {ids[2]: "u2@pod.example"})
        await incoming.keep(arrival())
        self.assertEqual(await incoming.give_way("pod.example", 1), {})
        self.assertEqual(await incoming.give_way("pod.example", 1), {})
        await self.assertFailure(incoming.keep(arrival()), HostFull)
        await incoming.postpone(ids[0], LATER, hopeless=True)
        self.assertEqual(await incoming.give_way("pod.example", 1), {ids[0]: "u0@pod.example"})
        self.assertEqual((await incoming.usage())[0], 4)

    async def test_give_way_to_bytes(self):
        """
        As many rows give way as the bytes of a body need, and none if all are too few.
        """
        incoming = (await self.storage(receive=Receive(waiting_bytes_per_host=100))).incoming
        ids = [await incoming.keep(arrival(body=bytes([n]) * size)) for n, size in enumerate((30, 20, 20, 30))]
        for id in ids[:3]:
            await incoming.postpone(id, LATER, hopeless=True)
        for _ in range(2):
            self.assertEqual(await incoming.give_way("pod.example", 71), {})
        self.assertEqual(list(await incoming.give_way("pod.example", 40)), ids[:2])
        self.assertEqual(await incoming.usage(), (2, 50))

    async def test_recover(self):
        """
        After a start what an earlier process claimed is due again, and its attempts are remembered.
        """
        incoming = (await self.storage()).incoming
        await incoming.keep(arrival())
        await incoming.claim(NOW, LATER, 1)
        self.assertEqual(await incoming.claim(NOW, LATER, 1), [])
        await incoming.recover(NOW)
        [row] = await incoming.claim(NOW, LATER, 1, 1)
        self.assertEqual(row.attempts, 2)

    async def test_finish_and_usage(self):
        """
        What is finished is gone, and the usage says what is left.
        """
        incoming = (await self.storage()).incoming
        self.assertEqual(await incoming.usage(), (0, 0))
        ids = [await incoming.keep(arrival(body=b"x" * size)) for size in (10, 20, 40)]
        self.assertEqual(await incoming.usage(), (3, 70))
        await incoming.finish([ids[0], ids[2], 999])
        await incoming.finish([])
        self.assertEqual(await incoming.usage(), (1, 20))
        self.assertEqual([row.id for row in await incoming.claim(NOW, LATER, 9)], [ids[1]])

    async def test_quarantine(self):
        """
        What is in quarantine waits no longer and takes no room.
        """
        incoming = (await self.storage()).incoming
        ids = [await incoming.keep(arrival(private=private)) for private in (True, False)]
        for id in (*ids, 999):
            await incoming.quarantine(id, "it killed the process", NOW)
        self.assertEqual(await incoming.usage(), (0, 0))
        self.assertIsNone(await incoming.next_due())

    async def test_quarantine_is_bounded(self):
        """
        The oldest in quarantine give way to the latest.
        """
        storage = await self.storage()
        ids = [await storage.incoming.keep(arrival(sender_host=f"pod-{n}.example")) for n in range(QUARANTINED + 2)]
        for n, id in enumerate(ids):
            await storage.incoming.quarantine(id, "it broke", NOW + timedelta(seconds=n))
        found, total = await storage.aside.quarantined(2 * QUARANTINED)
        self.assertEqual(([each.id for each in found], total), (ids[:1:-1], QUARANTINED))

    async def test_rows_per_host(self):
        """
        A host that has as many rows waiting as it may gets no more, others do, and it does again when one is finished.
        """
        incoming = (await self.storage(receive=Receive(waiting_rows_per_host=2))).incoming
        ids = [await incoming.keep(arrival()) for _ in range(2)]
        await self.assertFailure(incoming.keep(arrival()), Full)
        await incoming.keep(arrival(sender_host="other.example"))
        await incoming.finish(ids[:1])
        await incoming.keep(arrival())
        await self.assertFailure(incoming.keep(arrival()), Full)

    async def test_many_at_once(self):
        """
        Bounds hold for what arrives together.
        """
        incoming = (await self.storage(receive=Receive(waiting_rows_per_host=5))).incoming
        kept = [incoming.keep(arrival()) for _ in range(9)]
        answers = await gatherResults([each.addErrback(lambda failure: failure.type) for each in kept])
        self.assertEqual(answers.count(HostFull), 4)
        self.assertEqual((await incoming.usage())[0], 5)

    async def test_rows_in_all(self):
        """
        There are no more rows than there may be, however small they are and however many hosts they are of.
        """
        incoming = (await self.storage(receive=Receive(waiting_rows=3))).incoming
        kept = [await incoming.keep(arrival(sender_host=f"pod-{number}.example")) for number in range(3)]
        await self.assertFailure(incoming.keep(arrival(sender_host="pod-3.example")), Full)
        await incoming.finish(kept[:1])
        self.assertIsNotNone(await incoming.keep(arrival(sender_host="pod-3.example")))

    async def test_bytes(self):
        """
        Bytes are bounded per host and in all.
        """
        bounds = Receive(waiting_bytes_per_host=100, waiting_bytes=150)
        incoming = (await self.storage(receive=bounds)).incoming
        await incoming.keep(arrival(body=b"a" * 60))
        await self.assertFailure(incoming.keep(arrival(body=b"b" * 41)), Full)
        await incoming.keep(arrival(body=b"c" * 40))
        await self.assertFailure(incoming.keep(arrival(body=b"d" * 51, sender_host="other.example")), Full)
        await incoming.keep(arrival(body=b"e" * 50, sender_host="other.example"))

    async def test_erase(self):
        """
        What waits or was put aside of an author, or of all authors of a host, goes, and takes no room; what does not show its author stays.
        """
        senders = ("ada@pod.example", "bob@a.pod.example:8443", "ada@notpod.example")
        for name, theirs in (({"author": senders[0]}, [0]), ({"host": "pod.example"}, [0, 1]), ({"host": "other.example"}, [])):
            incoming = (await self.storage()).incoming
            waiting, aside = [], []
            for sender in senders:
                for ids in (waiting, aside):
                    ids.append(await incoming.keep(arrival(sender=sender, sender_host=host_of(sender))))
                await incoming.quarantine(aside[-1], "it killed the process", NOW)
            private = await incoming.keep(arrival(sender="", sender_host="private-3", private=True))
            self.assertEqual(await incoming.erase(**name), sorted([waiting[n] for n in theirs] + [aside[n] for n in theirs]))
            self.assertEqual(await incoming.erase(**name), [])
            left = [id for n, id in enumerate(waiting) if n not in theirs]
            self.assertEqual((await incoming.usage())[0], len(left) + 1)
            self.assertEqual({row.id for row in await incoming.claim(NOW, LATER, 9)}, {*left, private})


class RejectionsContract:
    async def test_recent(self):
        """
        Rejections come back newest first, as many as are asked for.
        """
        storage = await self.storage()
        first = [Rejection(ago(minutes=n), f"reason-{n}", "ada@pod.example", "guid", "status_message") for n in (3, 2)]
        second = [Rejection(ago(minutes=1), "not-xml"), Rejection(ago(minutes=1), "bad-signature")]
        await storage.rejections.record(first)
        await storage.rejections.record(second)
        await storage.rejections.record([])
        self.assertEqual(await storage.rejections.recent(3), [second[1], second[0], first[1]])

    async def test_reasons(self):
        """
        Of one host it is counted why what names its authors was refused.
        """
        rejections = (await self.storage()).rejections
        rows = [
            ("blocked", "ada@pod.example"),
            ("bad", "eve@pod.example:8443"),
            ("bad", "ada@pod.example"),
            ("bad", "ada@a.pod.example"),
            ("bad", ""),
        ]
        await rejections.record([Rejection(NOW, reason, author) for reason, author in rows])
        self.assertEqual(list((await rejections.reasons("pod.example")).items()), [("bad", 2), ("blocked", 1)])
        self.assertEqual(await rejections.reasons("other.example"), {})

    async def test_forgotten(self):
        """
        They are forgotten after a week.
        """
        storage = await self.storage()
        kept = Rejection(ago(days=6), "not-xml")
        await storage.rejections.record([Rejection(ago(days=8), "not-xml"), kept])
        self.assertEqual(await storage.log.prune(NOW), 1)
        self.assertEqual(await storage.rejections.recent(9), [kept])

    async def test_erase(self):
        """
        Those that name an author, a guid, or any author of a host and its subdomains go; those that name nobody stay.
        """
        senders = ("ada@pod.example", "bob@a.pod.example:8443", "ada@notpod.example", "")
        for name, theirs in (
            ({"author": senders[0]}, [0]),
            ({"guid": "guid-1"}, [1]),
            ({"host": "pod.example"}, [0, 1]),
            ({"host": "other.example"}, []),
            ({}, []),
        ):
            rejections = (await self.storage()).rejections
            rows = [Rejection(NOW, "bad-signature", sender, f"guid-{n}" if sender else "") for n, sender in enumerate(senders)]
            await rejections.record(rows)
            self.assertEqual(await rejections.erase(**name), len(theirs))
            self.assertEqual(await rejections.recent(9), [row for n, row in enumerate(rows) if n not in theirs][::-1])


class MemoryIncomingTests(IncomingContract, RejectionsContract, InMemory):
    """In memory."""


class PostgresIncomingTests(IncomingContract, RejectionsContract, InPostgres):
    """In PostgreSQL."""
