"""What a relay between nodes says on its bus, and that nobody's posts wait for that."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.bus_wire import Asker, Listener, Publisher, free_address, met, until
from tests.end_to_end import OwnRelay, guids
from tests.servers import database

OWN = "org.example.dev.socialrelay."


class EventTests(OwnRelay):
    """
    @ivar listener: hears all that is published.
    """

    async def prepare(self) -> None:
        """The relay has a bus, and a database that the test can reach."""
        self.inbound, self.outbound, self.ingest = free_address(), free_address(), free_address()
        self.dsn = database()
        bus = {"relay_inbound": [self.inbound], "relay_outbound": [self.outbound], "relay_ingest": [self.ingest]}
        self.relay.configuration += "\n".join(
            (
                "[postgres]",
                f"dsn = {json.dumps(self.dsn)}",
                "[bus]",
                "enabled = true",
                'topic_prefix = "org.example"',
                *(f"{key} = {json.dumps(value)}" for key, value in bus.items()),
            )
        )

    async def listen(self) -> None:
        """From now on all is heard."""
        self.listener = Listener(self.outbound)
        self.addCleanup(deferToThread, self.listener.close)
        publisher = await deferToThread(Publisher, self.inbound)
        self.addCleanup(deferToThread, publisher.close)
        heard = partial(map, lambda frames: frames[0].decode(), self.listener.heard)
        await deferToThread(met, publisher, [heard], "org.example.dev.probe.events")

    def heard(self, event: str, **members: object) -> list[dict[str, Any]]:
        """What was said of it, as far as it has these members."""
        said = [message["msg"] for message in self.listener.messages(OWN + event)]
        return [msg for msg in said if members.items() <= msg.items()]

    def hears(self, event: str, **members: object) -> Deferred[Any]:
        """Wait until there is such a thing."""
        return deferToThread(until, partial(self.heard, event, **members))

    async def test_life(self) -> None:
        """While posts are delivered, listeners hear of them, of the nodes that want them, and of the one that is away; none twice."""
        await self.listen()
        node, home, away = self.node(), self.node(), self.world.node()
        await self.subscribe(node, "cats", "dogs")
        await self.subscribe(away)
        await self.hears("node.subscribed", node=node.host, selector="tags", tags=2)
        await self.hears("node.subscribed", node=away.host, selector="all")
        alice = home.author("alice")
        posts = guids(5)
        for guid in posts:
            await self.accepted(alice.post("#cats", guid=guid))
        await node.has(*posts)
        for guid in posts:
            await self.hears("payload.received", activity_id=guid, actor=alice.handle, node=home.host)
        self.assertEqual(len(self.heard("payload.received")), len(posts))
        [failed] = await self.hears("delivery.failed", node=away.host)
        self.assertEqual((failed["target"], failed["error"]), (f"https://{away.host}/receive/public", "connect"))
        await self.relay.act("block", subject=node.host)
        await self.hears("node.blocked", node=node.host)
        await self.hears("node.unsubscribed", node=node.host)
        self.assertEqual(self.listener.faults, [])

    async def test_erased(self) -> None:
        """When an author is erased, nobody who asks what was said finds the name."""
        await self.listen()
        home = self.node()
        alice = home.author("alice")
        await self.accepted(alice.post("Hello"))
        await self.hears("payload.received", actor=alice.handle)
        asker = Asker(self.ingest)
        self.addCleanup(asker.close)
        before = await deferToThread(asker.said)
        self.assertIn(alice.handle, json.dumps(before))
        await self.relay.act("erase", handle=alice.handle)
        after = await deferToThread(asker.said)
        self.assertNotIn(alice.handle, json.dumps(after))
        self.assertEqual([each["seq"] for each in after][: len(before)], [each["seq"] for each in before])

    async def test_bus_is_stuck(self) -> None:
        """While the bus can store nothing posts are taken and delivered all the same; what was announced meanwhile is said when it can."""
        await self.listen()
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        posts = guids(20)
        stuck = await deferToThread(psycopg2.connect, self.dsn)
        self.addCleanup(stuck.close)
        await deferToThread(stuck.cursor().execute, "LOCK bus_state, bus_message IN ACCESS EXCLUSIVE MODE")
        for guid in posts:
            await self.accepted(alice.post("Hello", guid=guid))
        await node.has(*posts)
        self.assertEqual(self.heard("payload.received"), [])
        await deferToThread(stuck.rollback)
        for guid in posts:
            await self.hears("payload.received", activity_id=guid)
        self.assertEqual(len(self.heard("payload.received")), len(posts))
