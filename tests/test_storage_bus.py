"""What was said on the message bus keeps its contract, in memory and in PostgreSQL."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import Any

import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from socialrelay.boundaries import BusMessage, Extent, Kept, StoredMessage, Unavailable
from socialrelay.boundaries.bus import BATCH_BYTES, ERASED, HTTP, INGEST, LEGACY, OWN, READ_BYTES, READ_MESSAGES, READ_RANGE, SEQUENCE_MARK
from socialrelay.bus.message import canonical
from socialrelay.storage.memory import MemoryTables, memory_storage
from socialrelay.storage.postgres import open_storage
from socialrelay.storage.queries import StorageError
from tests import servers
from tests.storing import NOW, InMemory, InPostgres, ago

MIB = 1024 * 1024
EVERYTHING = 2**60


def message(msg_id: str, topic: str = "org.example.dev.git.receive", body: bytes = b'{"msg":{}}', source: str = LEGACY) -> BusMessage:
    return BusMessage(msg_id, topic, body, source)


def own(msg_id: str, body: bytes = b'{"msg":{"seq":\x1f}}') -> BusMessage:
    return message(msg_id, "org.example.dev.socialrelay.relay.heartbeat", body, OWN)


class BusContract:
    storage: Any
    assertEqual: Any
    assertFailure: Any
    assertLess: Any

    async def bus(self) -> Any:
        return (await self.storage()).bus

    async def seqs(self, bus: Any, after: int = 0, topic: str = "", limit: int = 9999) -> list[int]:
        return [each.seq for each in (await bus.read(after, topic, limit))[0]]

    async def test_empty(self) -> None:
        """Of an empty store there is nothing to read and to forget, and the first number is still to be given."""
        bus = await self.bus()
        self.assertEqual(await bus.extent(), Extent(0, 1, 1, 0, 0))
        self.assertEqual(await bus.read(0, "", 10), ([], 0))
        self.assertEqual(await bus.add([], NOW, 0), [])
        self.assertEqual(await bus.prune(NOW, 0, 0), 0)

    async def test_add(self) -> None:
        """Messages get numbers without holes, in the order in which they are handed over, and are read as they came."""
        bus = await self.bus()
        texts = ('{"msg": "it\'s $1 \\\\ 100%"}', '{"msg":"’ö\U0001f600"}', '{\t"a"\r\n:\u2028""}', '{"msg":"%(now)s {} {{}} NULL"}')
        sources = (LEGACY, INGEST, HTTP, LEGACY)
        messages = [
            BusMessage(f"it's-{n}\\", f"org.exämple.dev.'{n}", text.encode(), source)
            for n, (text, source) in enumerate(zip(texts, sources, strict=True))
        ]
        self.assertEqual(await bus.add(messages[:3], NOW, 0), [Kept(1, False), Kept(2, False), Kept(3, False)])
        self.assertEqual(await bus.add(messages[3:], NOW + timedelta(seconds=1), 2), [Kept(4, False)])
        expected = [
            StoredMessage(n, each.msg_id, each.topic, each.body, each.source, NOW + timedelta(seconds=n == 4))
            for n, each in enumerate(messages, 1)
        ]
        found, looked = await bus.read(0, "", 10)
        self.assertEqual((found, looked), (expected, 4))
        self.assertEqual({type(each.body) for each in found}, {bytes})
        self.assertEqual({each.received_at.utcoffset() for each in found}, {UTC.utcoffset(None)})
        self.assertEqual(await bus.extent(), Extent(4, 1, 1, 2, sum(len(each.body) for each in messages)))

    async def test_duplicates(self) -> None:
        """What is there already keeps its number and its body, takes no new number, and is told of."""
        bus = await self.bus()
        await bus.add([message("a"), message("b")], NOW, 0)
        again = [message("c"), message("b", body=b'{"other":1}'), message("d"), message("a"), message("e")]
        expected = [Kept(3, False), Kept(2, True), Kept(4, False), Kept(1, True), Kept(5, False)]
        self.assertEqual(await bus.add(again, NOW, 0), expected)
        self.assertEqual(await bus.add(again, NOW, 0), [Kept(kept.seq, True) for kept in expected])
        self.assertEqual([each.body for each in (await bus.read(0, "", 9))[0]], [b'{"msg":{}}'] * 5)
        self.assertEqual(await bus.extent(), Extent(5, 1, 1, 0, 50))

    async def test_case_counts(self) -> None:
        """Names that differ in case, or by a space at the end of a topic, are different."""
        bus = await self.bus()
        kept = await bus.add([message("a", "x"), message("A", "x "), message("a.", "X")], NOW, 0)
        self.assertEqual([each.duplicate for each in kept], [False] * 3)
        self.assertEqual([await self.seqs(bus, topic=topic) for topic in ("x", "x ", "X")], [[1, 2], [2], [3]])

    async def test_own(self) -> None:
        """A message of the relay's own holds its number, once it has one; those of others stay untouched."""
        bus = await self.bus()
        await bus.add([message("a"), own("b"), message("c"), own("d")], NOW, 0)
        await bus.add([own("b"), own("e", f'{{"a":{SEQUENCE_MARK},"b":{SEQUENCE_MARK}}}'.encode())], NOW, 0)
        bodies = [each.body for each in (await bus.read(0, "", 9))[0]]
        self.assertEqual(bodies[1::2], [b'{"msg":{"seq":2}}', b'{"msg":{"seq":4}}'])
        self.assertEqual(json.loads(bodies[4]), {"a": 5, "b": 5})
        self.assertEqual((await bus.extent()).size, sum(map(len, bodies)))

    async def test_topics(self) -> None:
        """A topic is the beginning of those that are read, byte by byte; no character of it means anything else."""
        bus = await self.bus()
        topics = ("a.b", "a.bc", "a_b", "a%", "ä.b", "ab.", "A.b")
        await bus.add([message(str(n), topic) for n, topic in enumerate(topics)], NOW, 0)
        for prefix, expected in (("", [1, 2, 3, 4, 5, 6, 7]), ("a.b", [1, 2]), ("a_", [3]), ("a%", [4]), ("ä", [5]), ("'", []), ("\\", [])):
            self.assertEqual((await self.seqs(bus, topic=prefix), (await bus.read(0, prefix, 9))[1]), (expected, 7), prefix)

    async def test_read_pages(self) -> None:
        """A page has as many messages as were asked for, and says up to where was looked."""
        bus = await self.bus()
        await bus.add([message(str(n), "even" if n % 2 == 0 else "odd") for n in range(1, 8)], NOW, 0)
        self.assertEqual((await self.seqs(bus, limit=3), (await bus.read(0, "", 3))[1]), ([1, 2, 3], 3))
        self.assertEqual((await self.seqs(bus, 3, "even", 1), (await bus.read(3, "even", 1))[1]), ([4], 4))
        self.assertEqual((await self.seqs(bus, 4, "even", 9), (await bus.read(4, "even", 9))[1]), ([6], 7))
        self.assertEqual((await self.seqs(bus, 4, "even", 1), (await bus.read(4, "even", 1))[1]), ([6], 6))
        self.assertEqual(await bus.read(7, "", 9), ([], 7))

    async def test_read_range(self) -> None:
        """However rare a topic is, a bounded range is looked through at a time."""
        bus = await self.bus()
        await bus.add([message(str(n)) for n in range(READ_RANGE + 1)], NOW, 0)
        await bus.add([message("rare", "rare")], NOW, 0)
        self.assertEqual(await bus.read(0, "rare", 9), ([], READ_RANGE))
        self.assertEqual(await self.seqs(bus, READ_RANGE, "rare"), [READ_RANGE + 2])

    async def test_read_at_most(self) -> None:
        """A page is bounded, however many messages are asked for."""
        bus = await self.bus()
        await bus.add([message(str(n)) for n in range(READ_MESSAGES + 1)], NOW, 0)
        found, looked = await bus.read(0, "", 10**6)
        self.assertEqual((len(found), looked), (READ_MESSAGES, READ_MESSAGES))

    async def test_read_bytes(self) -> None:
        """A page has no more bytes than a page may have, but always one message."""
        bus = await self.bus()
        sizes = (10, READ_BYTES, 10, READ_BYTES // 2, READ_BYTES // 2 - 10, 1)
        await bus.add([message(str(n), body=b"1" * size) for n, size in enumerate(sizes)], NOW, 0)
        pages, after = [], 0
        while after < len(sizes):
            found, after = await bus.read(after, "", 9)
            pages.append([len(each.body) for each in found])
        self.assertEqual(pages, [[10], [READ_BYTES], [10, READ_BYTES // 2, READ_BYTES // 2 - 10], [1]])

    async def test_too_much(self) -> None:
        """A batch of more bytes than can be written at a time is refused as a whole; one of so many is kept."""
        bus = await self.bus()
        most = [message(str(n), body=b"1" * (BATCH_BYTES // 8)) for n in range(8)]
        await self.assertFailure(bus.add([*most, message("more", body=b"1")], NOW, 0), ValueError)
        self.assertEqual((await bus.extent()).last_seq, 0)
        self.assertEqual((await bus.add(most, NOW, 0))[-1], Kept(8, False))
        self.assertEqual((await bus.extent()).size, BATCH_BYTES)

    async def test_published(self) -> None:
        """Up to where all is published is noted, by itself or with what is added, and never goes back."""
        bus = await self.bus()
        await bus.add([message(str(n)) for n in range(9)], NOW, 0)
        seen = []
        for seq in (3, 2):
            await bus.mark_published(seq)
            seen.append((await bus.extent()).published)
        for seq in (5, 4):
            await bus.add([message(f"more {seq}")], NOW, seq)
            seen.append((await bus.extent()).published)
        self.assertEqual(seen, [3, 3, 5, 5])

    async def test_prune_by_age(self) -> None:
        """What is too old goes, oldest first, up to the first that may stay or is not published yet."""
        bus = await self.bus()
        for hours in (5, 4, 3, 1):
            await bus.add([message(f"{hours}"), own(f"own {hours}")], ago(hours=hours), 3)
        self.assertEqual(await bus.prune(ago(hours=4), EVERYTHING, EVERYTHING), 2)
        self.assertEqual(await self.seqs(bus), [3, 4, 5, 6, 7, 8])
        self.assertEqual([await bus.prune(ago(hours=2), EVERYTHING, EVERYTHING) for _ in range(2)], [1, 0])
        found = await bus.extent()
        self.assertEqual((found.oldest_seq, found.oldest_own_seq, found.last_seq), (4, 4, 8))
        await bus.mark_published(8)
        self.assertEqual(await bus.prune(NOW, EVERYTHING, EVERYTHING), 5)
        self.assertEqual(await bus.extent(), Extent(8, 9, 9, 8, 0))
        self.assertEqual(await bus.read(0, "", 9), ([], 8))

    async def test_prune_what_came_from_the_future(self) -> None:
        """A message that was kept while the clock was years ahead goes with those that came after it, and holds none of them up."""
        bus = await self.bus()
        for hours in (5, -90_000, 4, 1):
            await bus.add([message(f"{hours}")], ago(hours=hours), 4)
        self.assertEqual(await bus.prune(ago(hours=2), EVERYTHING, EVERYTHING), 3)
        self.assertEqual(await self.seqs(bus), [4])

    async def test_prune_by_size(self) -> None:
        """The oldest go until the rest fits, and none more."""
        bus = await self.bus()
        await bus.add([message(str(n), body=b"1" * 100) for n in range(10)], NOW, 10)
        self.assertEqual(await bus.prune(ago(days=1), 1000, EVERYTHING), 0)
        self.assertEqual(await bus.prune(ago(days=1), 701, EVERYTHING), 3)
        self.assertEqual(await bus.extent(), Extent(10, 4, 4, 10, 700))
        self.assertEqual(await bus.prune(ago(days=1), 0, 0), 7)
        self.assertEqual(await bus.extent(), Extent(10, 11, 11, 10, 0))

    async def test_prune_own(self) -> None:
        """The relay's own messages go first, down to their share; what others said stays, and nothing of it is missing."""
        bus = await self.bus()
        await bus.add([own(f"own {n}", b"1" * 10) if n % 2 else message(str(n), body=b"1" * 10) for n in range(1, 11)], NOW, 6)
        self.assertEqual(await bus.prune(ago(days=1), 100, 40), 1)
        self.assertEqual(await self.seqs(bus), [2, 3, 4, 5, 6, 7, 8, 9, 10])
        self.assertEqual(await bus.prune(ago(days=1), 100, 0), 2)
        self.assertEqual(await self.seqs(bus), [2, 4, 6, 7, 8, 9, 10])
        self.assertEqual(await bus.extent(), Extent(10, 1, 6, 6, 70))
        self.assertEqual(await bus.read(2, "", 1), ((await bus.read(0, "", 2))[0][1:], 4))
        await bus.mark_published(10)
        self.assertEqual(await bus.prune(ago(days=1), 50, 10), 2)
        self.assertEqual(await bus.extent(), Extent(10, 3, 8, 10, 50))

    async def test_forgotten_ids(self) -> None:
        """What was forgotten is new when it comes again, and no number is given twice."""
        bus = await self.bus()
        await bus.add([message("a"), message("b")], NOW, 2)
        await bus.prune(ago(days=1), 10, 0)
        self.assertEqual(await bus.add([message("a"), message("b")], NOW, 2), [Kept(3, False), Kept(2, True)])

    async def said(self, bus: Any, **msgs: dict[str, object]) -> None:
        """Let the relay say these."""
        await bus.add(
            [
                own(id, canonical({"msg": {**msg, "seq": SEQUENCE_MARK}, "topic": "t"}).replace(b'"\\u001f"', b"\x1f"))
                for id, msg in msgs.items()
            ],
            NOW,
            0,
        )

    async def blank(self, bus: Any) -> list[str]:
        """The names of the messages that say nothing any more."""
        found, _ = await bus.read(0, "", 99)
        bodies = {each.msg_id: json.loads(each.body) for each in found}
        blank = {each.msg_id: {"msg": {ERASED: True, "seq": each.seq}, "topic": "t"} for each in found}
        return [msg_id for msg_id, body in bodies.items() if body == blank[msg_id]]

    async def test_erase(self) -> None:
        """Messages of the relay's own that name somebody say nothing any more, and stay; what others said is theirs."""
        bus = await self.bus()
        await self.said(
            bus,
            ada={"actor": "ada@pod.example", "activity_id": "f00d", "node": "pod.example"},
            again={"actor": "ada@pod.example", "activity_id": "f00e", "node": None},
            eve={"actor": "eve@pod.example", "activity_id": "f00d", "target": "https://pod.example/"},
            below={"node": "a.pod.example"},
            none={},
        )
        await bus.add([message("theirs", body=b'{"msg":{"actor":"ada@pod.example","node":"pod.example"},"topic":"t"}')], NOW, 0)
        self.assertEqual([await bus.erase(), await bus.erase(author="ada@pod.exampl"), await bus.erase(guid="F00D")], [0, 0, 0])
        self.assertEqual([await bus.erase(author="ada@pod.example", guid="f00e") for _ in range(2)], [1, 0])
        self.assertEqual(await self.blank(bus), ["again"])
        self.assertEqual(await bus.erase(guid="f00d"), 2)
        self.assertEqual(await self.blank(bus), ["ada", "again", "eve"])
        self.assertEqual(await bus.erase(host="pod.example"), 1)
        self.assertEqual(await self.blank(bus), ["ada", "again", "eve", "below"])
        found = await bus.extent()
        self.assertEqual((found.last_seq, found.size), (6, sum(len(each.body) for each in (await bus.read(0, "", 9))[0])))
        await bus.mark_published(6)
        await bus.prune(ago(days=1), 0, 0)
        self.assertEqual((await bus.extent()).size, 0)


class MemoryBusTests(BusContract, InMemory):
    """In memory."""

    async def test_away(self) -> None:
        """While the tables are away every question fails, and what was kept is there again afterwards."""
        tables = MemoryTables()
        bus = memory_storage(tables).bus
        await bus.add([message("a")], NOW, 0)
        tables.go_away()
        for asked in (bus.add([message("b")], NOW, 0), bus.read(0, "", 1), bus.extent(), bus.mark_published(1), bus.prune(NOW, 0, 0)):
            await self.assertFailure(asked, Unavailable)
        tables.come_back()
        self.assertEqual(await bus.extent(), Extent(1, 1, 1, 0, 10))


class PostgresBusTests(BusContract, InPostgres):
    """In PostgreSQL."""

    async def opened(self) -> tuple[str, Any]:
        dsn = servers.database()
        storage = await open_storage(reactor, dsn)
        self.addCleanup(storage.close)
        return dsn, storage

    async def test_at_once(self) -> None:
        """The same batch sent twice at once, as when a connection was lost and the server had not noticed, is kept once."""
        storage = await self.storage()
        batch = [message(str(n)) for n in range(100)]
        first, second = await gatherResults([storage.bus.add(batch, NOW, 0) for _ in range(2)])
        self.assertEqual([each.seq for each in first], [*range(1, 101)])
        self.assertEqual([each.seq for each in second], [*range(1, 101)])
        self.assertEqual({each.duplicate for each in first} | {each.duplicate for each in second}, {True, False})
        self.assertEqual((await storage.bus.extent()).last_seq, 100)

    async def test_spoiled(self) -> None:
        """What would tear the columns apart, or is no text, spoils its batch, and nothing of it is kept."""
        storage = await self.storage()
        bad = (
            message("a\x1eb"),
            message("c", topic="a\x1eb"),
            *(message("b", body=body) for body in (b"1\x1e2", b"1\x002", b"\xc3", b"'\xc3")),
        )
        for spoiled in bad:
            await self.assertFailure(storage.bus.add([message("good"), spoiled], NOW, 0), StorageError)
        self.assertEqual((await storage.bus.extent()).last_seq, 0)

    async def test_totals(self) -> None:
        """Forgetting while messages come keeps the totals exact."""
        dsn, storage = await self.opened()
        await storage.bus.add([message(str(n), body=b"1" * 10) for n in range(10)], NOW, 10)
        connection = psycopg2.connect(dsn)
        self.addCleanup(connection.close)
        cursor = connection.cursor()
        cursor.execute("SELECT FROM bus_state FOR UPDATE")
        added = storage.bus.add([message("more", body=b"1" * 5)], NOW, 10)
        pruned = storage.bus.prune(ago(days=1), 40, 0)
        cursor.execute("UPDATE bus_state SET bytes = bytes + 1000, published = 9")
        await deferToThread(waits, dsn, 2)
        connection.commit()
        self.assertEqual((await added, await pruned), ([Kept(11, False)], 6))
        self.assertEqual(await storage.bus.extent(), Extent(11, 7, 7, 10, 1045))

    async def test_killed(self) -> None:
        """What was acknowledged is there after PostgreSQL was killed, with its number, and is known when it comes again."""
        server = servers.RunningPostgres()
        self.addCleanup(server.remove)
        await deferToThread(server.start)
        storage = await open_storage(reactor, server.dsn())
        await storage.bus.add([message("a"), own("b")], NOW, 0)
        await deferToThread(server.crash)
        await storage.close()
        await deferToThread(server.start)
        storage = await open_storage(reactor, server.dsn())
        self.addCleanup(storage.close)
        self.assertEqual(await self.seqs(storage.bus), [1, 2])
        self.assertEqual(await storage.bus.add([message("a"), message("c")], NOW, 0), [Kept(1, True), Kept(3, False)])

    async def test_hole(self) -> None:
        """A hole between numbers, as it is after a restore, is passed at once."""
        dsn, storage = await self.opened()
        await storage.bus.add([message("a"), own("b")], NOW, 0)
        await deferToThread(run, dsn, "UPDATE bus_state SET last_seq = 10000000000")
        self.assertEqual(await storage.bus.read(2, "", 9), ([], 10**10))
        self.assertEqual(
            await storage.bus.add([message("c"), own("d")], NOW, 10**10 + 2), [Kept(10**10 + 1, False), Kept(10**10 + 2, False)]
        )
        self.assertEqual(await self.seqs(storage.bus), [1, 2, 10**10 + 1, 10**10 + 2])
        self.assertEqual(await storage.bus.erase(author="ada@pod.example"), 0)
        self.assertEqual(await storage.bus.prune(ago(days=1), 10, 0), 3)
        self.assertEqual(await self.seqs(storage.bus), [10**10 + 1])

    async def test_long(self) -> None:
        """Bodies of all sizes come back byte for byte."""
        storage = await self.storage()
        sizes = (1, 1000, 2040, 4000, 8200, 100_000, 4 * MIB)
        bodies = [(f'{{"{"ö" * (size // 2)}"}}').encode() for size in sizes]
        await storage.bus.add([message(str(n), body=body) for n, body in enumerate(bodies)], NOW, 0)
        found: list[StoredMessage] = []
        while len(found) < len(sizes):
            found += (await storage.bus.read(len(found), "", 99))[0]
        self.assertEqual([each.body == body for each, body in zip(found, bodies, strict=True)], [True] * len(sizes))


def run(dsn: str, statement: str) -> None:
    """Run a statement, blocking."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def waits(dsn: str, many: int) -> None:
    """Return when so many wait for a lock."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        waiting = 0
        while waiting < many:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
            waiting = cursor.fetchall()[0][0]
    connection.close()
