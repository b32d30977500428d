"""Nodes and wishes keep their contract, in memory and in PostgreSQL."""

from __future__ import annotations

from attrs import evolve

from socialrelay.boundaries import ManualSubscription, NodeRecord, PollNote
from socialrelay.routing.subscription import Preferences, Scope, Subscription
from tests.storing import NOW, InMemory, InPostgres, ago

TAGS = Preferences(Scope.TAGS, frozenset({"cats", "dögs", 'qu"ote,{}'}), "https://a.example/receive/public", 2)


class NodesContract:
    async def test_listed(self):
        """
        A list makes nodes known, each once, and remembers which lists named it.
        """
        nodes = (await self.storage()).nodes
        self.assertEqual(await nodes.listed("one", {"a.example": NOW, "b.example": NOW}, ago(days=1)), 2)
        self.assertEqual(await nodes.listed("two", {"b.example": NOW, "c.example": NOW}, NOW), 1)
        self.assertEqual(await nodes.listed("two", {"b.example": NOW}, NOW), 0)
        self.assertEqual(await nodes.listed("two", {}, NOW), 0)
        self.assertEqual(await nodes.get("b.example"), NodeRecord("b.example", ("one", "two"), ago(days=1), NOW, last_listed=NOW))
        self.assertEqual((await nodes.get("a.example")).last_listed, ago(days=1))
        self.assertIsNone(await nodes.get("x.example"))
        self.assertEqual(await nodes.count(), 3)

    async def test_named(self):
        """
        Several nodes are looked up together; who is not known is left out.
        """
        nodes = (await self.storage()).nodes
        await nodes.listed("one", {"a.example": NOW, "b.example": NOW, "c.example": NOW}, NOW)
        found = await nodes.named(["a.example", "c.example", "x.example"])
        self.assertEqual(sorted(node.host for node in found), ["a.example", "c.example"])
        self.assertEqual(await nodes.named([]), [])

    async def test_save(self):
        """
        A node is saved and comes back as it was, with and without preferences.
        """
        nodes = (await self.storage()).nodes
        full = NodeRecord(
            "a.example", ("check",), ago(days=9), NOW, TAGS, ago(days=3), ago(days=2), ago(days=1), 3, "HTTP 500", ago(hours=1)
        )
        bare = NodeRecord("b.example", ("operator",), NOW, NOW)
        for node in (full, bare):
            await nodes.save(node)
            self.assertEqual(await nodes.get(node.host), node)
        none = evolve(full, preferences=Preferences(Scope.NONE), missing_since=None, poll_error="")
        await nodes.save(none)
        self.assertEqual(await nodes.get("a.example"), none)

    async def test_polls(self):
        """
        The last ten polls of a node are remembered, each once; saving it for another reason leaves them as they are.
        """
        nodes = (await self.storage()).nodes
        node = NodeRecord("a.example", ("check",), ago(days=9), NOW)
        polls = [PollNote(ago(hours=12 - n), "read", "tags", n) for n in range(6)] + [
            PollNote(ago(minutes=9 - n), "failed", error='HTTP 500 "oops"') for n in range(6)
        ]
        for poll in polls:
            await nodes.save(node, poll)
        await nodes.save(node, polls[-1])
        await nodes.save(evolve(node, sources=("check", "list")))
        self.assertEqual(await nodes.polls("a.example"), polls[:1:-1])
        self.assertEqual(await nodes.polls("b.example"), [])

    async def test_due(self):
        """
        Those whose poll is due come back, the longest due first.
        """
        nodes = (await self.storage()).nodes
        for host, minutes in (("a.example", 1), ("b.example", 3), ("c.example", 2), ("d.example", -1)):
            await nodes.save(NodeRecord(host, ("check",), NOW, ago(minutes=minutes)))
        self.assertEqual([node.host for node in await nodes.due(NOW, 9)], ["b.example", "c.example", "a.example"])
        self.assertEqual([node.host for node in await nodes.due(NOW, 1)], ["b.example"])

    async def test_subscribers(self):
        """
        Subscribers are those that published preferences, a refusal included.
        """
        nodes = (await self.storage()).nodes
        for host, wishes in (("c.example", TAGS), ("a.example", Preferences(Scope.NONE)), ("b.example", None)):
            await nodes.save(NodeRecord(host, ("check",), NOW, NOW, wishes))
        self.assertEqual([node.host for node in await nodes.subscribers()], ["a.example", "c.example"])

    async def test_page(self):
        """
        Pages go through the hosts in the order of their bytes.
        """
        nodes = (await self.storage()).nodes
        hosts = ["a-b.example", "a.example", "ab.example", "xn--d1a.example"]
        await nodes.listed("list", dict.fromkeys(hosts, NOW), NOW)
        self.assertEqual([node.host for node in await nodes.page("", 3)], hosts[:3])
        self.assertEqual([node.host for node in await nodes.page(hosts[2], 3)], hosts[3:])

    async def test_forget(self):
        """
        Candidates of which nothing was heard are forgotten; never one that has said what it wants, or that the operator subscribed.
        """
        storage = await self.storage()
        old, since = ago(days=60), ago(days=30)
        stale = NodeRecord("stale.example", ("list",), old, NOW, last_listed=old, last_answer=old)
        kept = [
            evolve(stale, host="a.example", last_listed=NOW),
            evolve(stale, host="b.example", last_answer=NOW),
            evolve(stale, host="c.example", preferences=Preferences(Scope.NONE)),
            evolve(stale, host="d.example"),
            NodeRecord("e.example", ("check",), NOW, NOW),
        ]
        await storage.subscriptions.put(ManualSubscription("d.example", Subscription(Scope.ALL), NOW, "root"))
        for node in (stale, *kept, NodeRecord("f.example", ("list",), old, NOW)):
            await storage.nodes.save(node)
        self.assertEqual(await storage.nodes.forget(since), 2)
        self.assertEqual(await storage.nodes.page("", 99), kept)


class WishesContract:
    async def test_subscriptions(self):
        """
        The operator's subscriptions are put, replaced and removed.
        """
        subscriptions = (await self.storage()).subscriptions
        tags = ManualSubscription("b.example", Subscription(Scope.TAGS, frozenset({"cats", "ö"})), NOW, "root")
        everything = ManualSubscription("a.example", Subscription(Scope.ALL), NOW, "root")
        for entry in (tags, everything):
            await subscriptions.put(entry)
        self.assertEqual(await subscriptions.all(), [everything, tags])
        await subscriptions.put(evolve(tags, created_by="ada"))
        self.assertEqual(await subscriptions.all(), [everything, evolve(tags, created_by="ada")])
        self.assertEqual([await subscriptions.remove("b.example") for _ in range(2)], [True, False])
        self.assertEqual(await subscriptions.all(), [everything])

    async def test_contacts(self):
        """
        The last thing that an author said counts.
        """
        contacts = (await self.storage()).contacts
        await contacts.put("ada@pod.example", True, NOW)
        await contacts.put("eve@pod.example", True, NOW)
        await contacts.put("ada@pod.example", False, NOW)
        self.assertEqual(await contacts.all(), {"ada@pod.example": False, "eve@pod.example": True})
        await contacts.remove("eve@pod.example")
        await contacts.remove("eve@pod.example")
        self.assertEqual(await contacts.all(), {"ada@pod.example": False})


class MemoryNodesTests(NodesContract, WishesContract, InMemory):
    """In memory."""


class PostgresNodesTests(NodesContract, WishesContract, InPostgres):
    """In PostgreSQL."""
