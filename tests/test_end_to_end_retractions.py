"""What authors take back goes no further: through the real relay, between nodes, with a database to look into."""

from __future__ import annotations

import json
from typing import Any

import psycopg2
from twisted.internet.threads import deferToThread

from tests import servers
from tests.end_to_end import OwnRelay, guids
from tests.envelopes import Author, new_guid
from tests.nodes import Node
from tests.nodes.conduct import silent, welcoming

TABLES = ("incoming", "quarantine", "rejected", "post", "post_body", "contact", "profile", "deferred_delivery")


class RetractionTests(OwnRelay):
    async def prepare(self) -> None:
        self.dsn = servers.database()
        self.relay.configuration += f"\n[postgres]\ndsn = {json.dumps(self.dsn)}\n"

    async def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a statement finds in the relay's database."""

        def ask() -> list[tuple[Any, ...]]:
            connection = psycopg2.connect(self.dsn)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(statement, parameters)
                    return cursor.fetchall()
            finally:
                connection.close()

        found: list[tuple[Any, ...]] = await deferToThread(ask)
        return found

    async def named(self, name: str) -> list[str]:
        """The tables that hold a name."""
        return [table for table in TABLES if await self.rows(f"SELECT FROM {table} AS t WHERE strpos(t::text, %s) > 0", name)]

    async def ledger(self, node: Node, delivered: int, cancelled: int) -> None:
        """Whatever named a node is delivered or cancelled there, as many as said."""

        async def counts() -> tuple[int, int]:
            deliveries = (await self.relay.view(f"node?host={node.host}"))["deliveries"]
            return deliveries["delivered"], deliveries["cancelled"]

        await self.relay.eventually(counts, lambda answer: answer == (delivered, cancelled))
        [[number]] = await self.rows("SELECT number FROM destination WHERE host = %s", node.host)
        bit = "CASE WHEN octet_length(recipients) > %s >> 3 THEN get_bit(recipients, %s) ELSE 0 END"
        self.assertEqual(await self.rows(f"SELECT sum({bit})::integer FROM post", number, number), [(delivered + cancelled,)])

    def took(self, node: Node) -> list[tuple[str, str]]:
        """Kind and guid of what a node took, in order."""
        return [(taken.post.kind, taken.post.guid) for taken in node.taken]

    async def retracted(self, author: Author, guid: str, *told: Node) -> None:
        """The retraction is accepted, and these are told."""
        body = author.retraction(guid)
        await self.accepted(body)
        for node in told:
            await node.until(lambda node=node: ("retraction", guid) in self.took(node))
            self.assertEqual(node.taken[-1].body, body)

    async def test_who_is_told(self) -> None:
        """The node that has the post gets its retraction; the one that is down gets neither when it is back, and both get what comes after."""
        well, down, home = self.node(), self.world.node(), self.node()
        for node in (well, down):
            await self.subscribe(node)
        alice = home.author("alice")
        guid, after = guids(2)
        await self.accepted(alice.post("Not for long #regrets", guid=guid))
        await well.has(guid)
        await self.retracted(alice, guid, well)
        [(author, name, tags, cancelled, body)] = await self.rows(
            "SELECT author, guid, tags, cancelled, body FROM post LEFT JOIN post_body USING (position) WHERE NOT retraction"
        )
        self.assertEqual((author, name, tags, cancelled, body), ("", "", [], True, None))
        down.start()
        await self.relay.act("wake", host=down.host)
        await self.accepted(alice.post("Better", guid=after))
        for node in (well, down):
            await node.has(after)
        self.assertEqual(self.took(well), [("status_message", guid), ("retraction", guid), ("status_message", after)])
        self.assertEqual(self.took(down), [("status_message", after)])
        await self.ledger(well, delivered=3, cancelled=0)
        await self.ledger(down, delivered=1, cancelled=1)

    async def test_killed(self) -> None:
        """Who may have the post gets the retraction also if the relay is killed as soon as it has accepted that."""
        slow, home = self.node(conduct=silent), self.node()
        await self.subscribe(slow)
        alice = home.author("alice")
        guid = new_guid()
        await self.accepted(alice.post("Not for long", guid=guid))
        await slow.until(lambda: bool(slow.brought))
        await self.accepted(alice.retraction(guid))
        await self.relay.kill()
        slow.conduct = welcoming
        await self.relay.start()
        await self.retracted(alice, new_guid())
        await slow.until(lambda: bool(slow.taken))
        self.assertEqual(self.took(slow), [("retraction", guid)])

    async def test_comes_first(self) -> None:
        """A post that comes after its retraction is kept from everybody, and is nowhere named."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        before, guid, after = guids(3)
        await self.accepted(alice.post("Hello", guid=before))
        await node.has(before)
        await self.accepted(alice.retraction(guid))
        await self.accepted(alice.post("Too late", guid=guid))
        self.assertEqual(await self.named(guid), [])
        await self.accepted(alice.post("In time", guid=after))
        await node.has(after)
        self.assertEqual(self.took(node), [("status_message", before), ("status_message", after)])

    async def test_account_deleted(self) -> None:
        """When an account is deleted its author is nowhere named any more, and what was pending is cancelled."""
        well, down, home = self.node(), self.world.node(), self.node()
        for node in (well, down):
            await self.subscribe(node)
        alice, bob = home.author("alice"), home.author("bob")
        first, second, after = guids(3)
        for guid in (first, second):
            await self.accepted(alice.post("Hello #world", guid=guid))
        await well.has(first, second)
        self.assertEqual(await self.named(alice.handle), ["post", "profile"])
        await self.accepted(alice.account_deletion())
        await self.relay.eventually(lambda: self.named(alice.handle), lambda tables: not tables)
        down.start()
        await self.relay.act("wake", host=down.host)
        await self.accepted(bob.post("Bye", guid=after))
        await down.has(after)
        self.assertEqual(self.took(down), [("status_message", after)])
        await self.ledger(down, delivered=1, cancelled=2)
