"""Tests for L{socialrelay.boundaries.Accounts}: in memory and in PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg2
from attrs import evolve
from twisted.internet import reactor

from socialrelay.scheduler.record import DeferredDelivery, DestinationRecord, Progress
from socialrelay.storage.migrate import apply, known_migrations
from socialrelay.storage.postgres import open_storage
from socialrelay.storage.stores import Storage
from tests import servers
from tests.storing import NOW, InMemory, InPostgres, publication

BEFORE = r"""
    INSERT INTO post (position, received_at, published_at, protocol, kind, author, author_host, guid, tags, recipients, recipient_count,
                      size, publication)
    SELECT n, now(), now(), 'diaspora', 'post', 'ada@pod.example', 'pod.example', n, '{}', '\x0f', 4, 9, n
      FROM generate_series(11, 16) AS n;
    UPDATE log_state SET followed = 15, bodies_removed = 10;
    INSERT INTO destination (number, host, protocol, url, subscribed, following, cursor, ahead, missed, delivered, bounced, created_at)
    VALUES (0, 'follows.example', 'diaspora', '', true, true, 12, '{16}', '[]', 9, 0, now()),
           (1, 'lags.example', 'diaspora', '', true, false, 13, '{15}', '[]', 7, 1, now()),
           (2, 'missed.example', 'diaspora', '', true, false, 16, '{}', '[[12, 14, [13]]]', 9, 0, now()),
           (3, 'closed.example', 'diaspora', '', false, false, 11, '{}', '[]', 1, 0, now());
    INSERT INTO deferred_delivery (destination, position, attempts, next_attempt, reason) VALUES (1, 12, 1, now(), 'HTTP 400');
"""
"""What a relay had written that knew no accounts, and was killed."""


class AccountsContract:
    """What both promise."""

    async def start(self: Any, posts: int = 0) -> tuple[Storage, list[DestinationRecord]]:
        """Two destinations from before the first post, and posts that name both."""
        storage = await self.storage()
        hosts = [await storage.destinations.open(host, "diaspora", f"https://{host}/", NOW) for host in ("a.example", "b.example")]
        for _ in range(posts):
            await storage.log.publish(publication(recipients=frozenset({0, 1})))
        return storage, hosts

    async def differences(self: Any, storage: Storage, positions: int = 1000) -> list[int | None]:
        examined = await storage.accounts.examine(-1, 100, positions)
        return [account.difference for account in examined.accounts]

    async def save(
        self: Any, storage: Storage, row: DestinationRecord, deferred: tuple[DeferredDelivery, ...] = (), **changes: Any
    ) -> None:
        await storage.destinations.save(Progress((evolve(row, **changes),), deferred))

    async def test_even(self: Any) -> None:
        """
        What is settled up to the cursor, settled ahead of it, or tried on its own is accounted for, and what lies above waits.
        """
        storage, (first, second) = await self.start(posts=8)
        self.assertEqual(await self.differences(storage), [0, 0])
        await self.save(storage, first, cursor=4, delivered=1, bounced=3, requeued=1, expired=1)
        alone = DeferredDelivery(1, 3, 1, NOW, "HTTP 400")
        await self.save(storage, second, (alone,), cursor=4, ahead=(6, 7), delivered=4, cancelled=1)
        self.assertEqual(await self.differences(storage), [0, 0])
        await storage.destinations.save(Progress((evolve(second, cursor=8, delivered=7, cancelled=1),), settled=((1, 3),)))
        self.assertEqual(await self.differences(storage), [0, 0])

    async def test_uneven(self: Any) -> None:
        """
        A cursor that went past a post without an outcome, a count without a post, and a row that is missing are a difference, until they
        are mended.
        """
        storage, (first, second) = await self.start(posts=8)
        await self.save(storage, first, cursor=4, delivered=3)
        alone = DeferredDelivery(1, 3, 1, NOW, "HTTP 400")
        await self.save(storage, second, (alone,), cursor=4, delivered=5)
        self.assertEqual(await self.differences(storage), [-1, 2])
        await storage.destinations.save(Progress(settled=((1, 3),)))
        self.assertEqual(await self.differences(storage), [-1, 1])
        await self.save(storage, first, cursor=4, delivered=3, expired=1)
        self.assertEqual(await self.differences(storage), [0, 1])

    async def test_others_posts(self: Any) -> None:
        """
        Posts that do not name a destination are none of its.
        """
        storage, (first, _) = await self.start(posts=2)
        for to in ({1}, {1, 9}, {17}):
            await storage.log.publish(publication(recipients=frozenset(to)))
        await self.save(storage, first, cursor=5, delivered=2)
        self.assertEqual(await self.differences(storage), [0, 0])

    async def test_little_by_little(self: Any) -> None:
        """
        No more of the log is counted at a time than is asked for, and nothing twice; until all is counted nothing is known.
        """
        storage, (first, second) = await self.start(posts=8)
        for row in (first, second):
            await self.save(storage, row, cursor=8, delivered=7)
        seen = []
        for _ in range(8):
            examined = await storage.accounts.examine(-1, 100, 3)
            after = examined.last
            rest = (await storage.accounts.examine(after, 100, 3)).accounts if after is not None else ()
            seen.append([account.difference for account in (*examined.accounts, *rest)])
        self.assertEqual(seen[:3], [[None, None], [None, None], [-1, -1]])
        self.assertEqual(seen[3:], [[-1, -1]] * 5)

    async def test_in_turn(self: Any) -> None:
        """
        It is said where to go on, until there is nobody left.
        """
        storage, _ = await self.start(posts=1)
        first = await storage.accounts.examine(-1, 1, 100)
        second = await storage.accounts.examine(0, 1, 100)
        self.assertEqual([(found.accounts[0].host, found.last) for found in (first, second)], [("a.example", 0), ("b.example", None)])
        empty = await storage.accounts.examine(1, 1, 100)
        self.assertEqual((empty.accounts, empty.last), ((), None))

    async def test_catching_up_on_what_was_missed(self: Any) -> None:
        """
        Nothing is known of one that still gets what it missed; when it has it, its account is even.
        """
        storage, (first, _) = await self.start(posts=8)
        await self.save(storage, first, cursor=8, missed=((0, 4, (2,)),), delivered=5)
        self.assertEqual(await self.differences(storage), [None, 0])
        await self.save(storage, first, cursor=8, missed=(), delivered=8)
        self.assertEqual(await self.differences(storage), [0, 0])

    async def test_closed_and_opened_again(self: Any) -> None:
        """
        One that is subscribed again has the account that it had, and what was pending is still to be accounted for.
        """
        storage, (first, _) = await self.start(posts=4)
        await self.save(storage, first, cursor=2, delivered=2)
        await storage.destinations.close(0)
        await storage.log.publish(publication(recipients=frozenset({1})))
        again = await storage.destinations.open("a.example", "diaspora", "https://a.example/", NOW)
        self.assertEqual((again.cursor, again.begin), (2, 5))
        self.assertEqual(await self.differences(storage), [0, 0])
        await self.save(storage, again, cursor=5)
        self.assertEqual(await self.differences(storage), [-2, 0])
        await self.save(storage, again, cursor=5, cancelled=2)
        self.assertEqual(await self.differences(storage), [0, 0])


class MemoryAccountsTests(AccountsContract, InMemory):
    """In memory."""


class PostgresAccountsTests(AccountsContract, InPostgres):
    """In PostgreSQL."""

    async def test_upgrade(self) -> None:
        """
        A database of a relay that knew no accounts has even ones as it is found, and from then on each post is accounted for.
        """
        dsn = servers.empty_database()
        apply(dsn, known_migrations()[:2])
        connection = psycopg2.connect(dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute(BEFORE)
        connection.close()
        storage = await open_storage(reactor, dsn)
        self.addCleanup(storage.close)
        await storage.destinations.settle_followers()
        self.assertEqual(await self.differences(storage), [0, 0, None, 0])
        follows, lags, missed, _ = await storage.destinations.load()
        self.assertEqual((follows.cursor, follows.delivered), (15, 12))
        await self.save(storage, lags, cursor=16, ahead=(), delivered=9)
        await self.save(storage, missed, missed=(), delivered=11)
        closed = await storage.destinations.open("closed.example", "diaspora", "https://closed.example/", NOW)
        await self.save(storage, closed, cursor=closed.begin, cancelled=5)
        self.assertEqual(await self.differences(storage), [0, 0, 0, 0])
        await self.save(storage, follows, cursor=16, ahead=(), delivered=13)
        self.assertEqual(await self.differences(storage), [1, 0, 0, 0])
