"""The table of nodes keeps its contract, in memory and in PostgreSQL."""

from __future__ import annotations

from itertools import pairwise

from attrs import evolve

from socialrelay.boundaries import NodeRecord
from socialrelay.boundaries.node_table import KINDS, ORDERS, NodeQuery, NodeRow
from socialrelay.routing.subscription import Preferences, Scope
from socialrelay.scheduler.record import Progress, State
from tests.storing import NOW, InMemory, InPostgres, ago, publication

TAGS = Preferences(Scope.TAGS, frozenset({"cats", "dögs"}), "https://a.example/receive/public")


class NodeTableContract:
    async def filled(self):
        """Five nodes: a takes posts, b is behind, c is gone, d was never subscribed and fails to be polled, e wants nothing any more."""
        storage = await self.storage()
        published = {"a.example": TAGS, "b.example": Preferences(Scope.ALL), "c.example": Preferences(Scope.ALL), "d.test": None}
        for days, (host, preferences) in enumerate(published.items()):
            await storage.nodes.save(NodeRecord(host, ("list",), ago(days=days), NOW, preferences, last_poll=ago(hours=days)))
        await storage.nodes.save(NodeRecord("d.test", ("list", "check"), ago(days=9), NOW, poll_failures=2, poll_error="HTTP 500"))
        await storage.nodes.save(NodeRecord("e.example", ("check",), NOW, NOW, Preferences(Scope.NONE)))
        opened = [
            await storage.destinations.open(f"{name}.example", "diaspora", f"https://{name}.example/receive/public", NOW) for name in "abce"
        ]
        for _ in range(5):
            await storage.log.publish(publication(recipients=frozenset(range(4))))
        a, b, c, e = opened
        changes = (
            evolve(a, cursor=3, following=True, delivered=5, last_success=ago(minutes=1)),
            evolve(
                b,
                cursor=2,
                state=State.DEFERRED,
                failures=1,
                delivered=2,
                last_success=ago(hours=1),
                last_reason="HTTP 502",
                next_attempt=NOW,
            ),
            evolve(c, cursor=5, state=State.GONE),
            evolve(e, cursor=5, delivered=7),
        )
        await storage.destinations.save(Progress(destinations=changes, followed=5))
        for number in (c.number, e.number):
            await storage.destinations.close(number)
        return storage.node_table

    async def hosts(self, table, **query):
        rows, total = await table.page(NodeQuery(**query))
        self.assertEqual(total, len(rows))
        return [row.host[0] for row in rows]

    async def test_rows(self):
        """
        A row says what the node publishes and how deliveries to it stand.
        """
        rows, total = await (await self.filled()).page(NodeQuery())
        self.assertEqual(total, 5)
        self.assertEqual(rows[0], NodeRow(
            host="a.example", sources=("list",), first_seen=NOW, next_poll=NOW, last_poll=NOW, scope="tags", tags=2,
            state="active", behind=0, delivered=5, last_success=ago(minutes=1),
        ))  # fmt: skip
        self.assertEqual(rows[1], NodeRow(
            host="b.example", sources=("list",), first_seen=ago(days=1), next_poll=NOW, last_poll=ago(hours=1), scope="all",
            state="deferred", behind=3, delivered=2, last_success=ago(hours=1), last_reason="HTTP 502", next_attempt=NOW,
        ))  # fmt: skip
        self.assertEqual([(row.state, row.behind, row.delivered) for row in rows[2:]], [("gone", 0, 0), (None, 0, 0), (None, 0, 7)])
        self.assertEqual((rows[3].sources, rows[3].poll_failures, rows[3].poll_error), (("list", "check"), 2, "HTTP 500"))

    async def test_kinds(self):
        """
        Nodes are chosen by a part of the host and by what they are.
        """
        table = await self.filled()
        found = {which: "".join(await self.hosts(table, which=which)) for which in KINDS}
        expected = {"all": "abcde", "subscribed": "ab", "refusing": "e", "failing": "d", "active": "a", "deferred": "b", "gone": "c"}
        self.assertEqual({which: hosts for which, hosts in found.items() if hosts}, expected)
        self.assertEqual(await self.hosts(table, text="EXAMPLE"), ["a", "b", "c", "e"])
        self.assertEqual(await self.hosts(table, text="%"), [])

    async def test_orders(self):
        """
        Whatever they are sorted by, equals are sorted by host, and who has no such value comes last.
        """
        table = await self.filled()
        for sort in ORDERS:
            for descending in (False, True):
                rows, _ = await table.page(NodeQuery(sort=sort, descending=descending))
                values = [getattr(row, sort) for row in rows]
                known = [value for value in values if value is not None]
                self.assertEqual(values, sorted(known, reverse=descending) + [None] * (len(values) - len(known)), sort)
                for one, other in pairwise(rows):
                    self.assertTrue(sort == "host" or getattr(one, sort) != getattr(other, sort) or one.host < other.host, sort)

    async def test_pages(self):
        """
        A page is a part of the table; how many rows there are is known on each, also beyond the last.
        """
        table = await self.filled()
        for offset, hosts in ((0, "ab"), (2, "cd"), (4, "e"), (6, "")):
            rows, total = await table.page(NodeQuery(offset=offset, limit=2))
            self.assertEqual(("".join(row.host[0] for row in rows), total), (hosts, 5))
        self.assertEqual(await table.page(NodeQuery(text="nobody", offset=6)), ([], 0))


class MemoryNodeTableTests(NodeTableContract, InMemory):
    """In memory."""


class PostgresNodeTableTests(NodeTableContract, InPostgres):
    """In PostgreSQL."""
