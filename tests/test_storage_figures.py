"""What all L{socialrelay.storage.stores.Figures} do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import evolve

from socialrelay.boundaries import BusMessage, Full, NodeRecord, PollNote
from socialrelay.config import Receive, Retention
from tests.storing import NOW, InMemory, InPostgres, arrival, publication


class FiguresContract:
    storage: Any
    assertEqual: Any
    assertGreaterEqual: Any

    async def test_empty(self) -> None:
        """New stores hold nothing."""
        storage = await self.storage()
        found = await storage.figures.measure(NOW)
        self.assertEqual((found.quarantine_rows, found.body_bytes, found.polls_due), (0, 0, 0))
        self.assertGreaterEqual(found.database_bytes, 0)

    async def test_incoming(self) -> None:
        """What waits to be judged is known in the process, and what was put into quarantine to the database."""
        storage = await self.storage()
        one = await storage.incoming.keep(arrival(body=b"12345"))
        await storage.incoming.keep(arrival(body=b"1234567"))
        found = storage.figures.at_hand()
        self.assertEqual((found.incoming_rows, found.incoming_bytes, found.to_be_kept), (2, 12, 0))
        await storage.incoming.quarantine(one, "it breaks", NOW)
        self.assertEqual((await storage.figures.measure(NOW)).quarantine_rows, 1)
        self.assertEqual(storage.figures.at_hand().incoming_rows, 1)

    async def test_bodies(self) -> None:
        """Bodies are counted in bytes, as long as they are kept."""
        storage = await self.storage()
        await storage.log.publish(publication(body=b"x" * 100))
        await storage.log.publish(publication(body=b"x" * 50, recipients=frozenset()))
        self.assertEqual((await storage.figures.measure(NOW)).body_bytes, 100)
        await storage.log.prune(NOW + timedelta(days=30))
        self.assertEqual((await storage.figures.measure(NOW)).body_bytes, 0)

    async def test_polls(self) -> None:
        """A node is due when its time has come."""
        storage = await self.storage()
        await storage.nodes.listed("list", {"a.example": NOW, "b.example": NOW + timedelta(hours=1)}, NOW)
        self.assertEqual((await storage.figures.measure(NOW)).polls_due, 1)

    async def test_last_written(self) -> None:
        """When something was stored last is known from posts, polls and messages of the bus."""
        storage = await self.storage()
        self.assertEqual(await storage.figures.last_written(), None)
        await storage.log.publish(publication(published_at=NOW))
        self.assertEqual(await storage.figures.last_written(), NOW)
        later = NOW + timedelta(hours=1)
        await storage.nodes.save(NodeRecord("a.example", ("list",), NOW, NOW, last_poll=later), PollNote(later, "read"))
        self.assertEqual(await storage.figures.last_written(), later)
        await storage.bus.add([BusMessage("id", "org.example.dev.topic", b"{}", "own")], later + timedelta(hours=1), 0)
        self.assertEqual(await storage.figures.last_written(), later + timedelta(hours=1))


class MemoryFiguresTests(FiguresContract, InMemory):
    """See L{FiguresContract}."""


class PostgresFiguresTests(FiguresContract, InPostgres):
    """See L{FiguresContract}."""

    async def test_pool(self) -> None:
        """The pool's connections and statements are counted."""
        storage = await self.storage()
        before = storage.figures.at_hand()
        await storage.log.end()
        after = storage.figures.at_hand()
        self.assertEqual(after.statements, before.statements + 1)
        self.assertEqual((after.connections_limit, after.busy, after.statements_waiting, after.connections_lost), (4, 0, 0, 0))
        self.assertGreaterEqual(after.connections, 1)

    async def test_adjusted(self) -> None:
        """Other bounds hold from now on."""
        storage = await self.storage()
        await storage.incoming.keep(arrival(body=b"1"))
        storage.adjust(evolve(Receive(), waiting_bytes=1), Retention(bodies_max_bytes=0))
        await self.assertFailure(storage.incoming.keep(arrival(body=b"2", sender_host="other.example")), Full)  # type: ignore[attr-defined]
        await storage.log.publish(publication())
        await storage.log.prune(NOW)
        self.assertEqual((await storage.figures.measure(NOW)).body_bytes, 0)
        storage.adjust(evolve(Receive(), bytes_in_hand=1), Retention())
        for act in (storage.log.publish, storage.incoming.keep):
            make = publication if act == storage.log.publish else arrival
            written, waiting, refused = (act(make(body=bytes([number]))) for number in range(3))
            await self.assertFailure(refused, Full)  # type: ignore[attr-defined]
            await written, await waiting
