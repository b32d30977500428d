"""A post that a node refused is tried once more, over the wire."""

from __future__ import annotations

from typing import Any

from tests.end_to_end import OwnRelay
from tests.envelopes import new_guid
from tests.nodes.conduct import says, silent, welcoming
from tests.nodes.node import Node


class RequeueTests(OwnRelay):
    async def bounced(self, host: str) -> list[Any]:
        """What the node is listed to have refused."""
        found: list[Any] = (await self.relay.view(f"bounced?host={host}"))["bounced"]
        return found

    async def refused_by(self, node: Node) -> int:
        """A post that this node refuses; its position."""
        await self.subscribe(node)
        self.guid = new_guid()
        await self.accepted(self.node().author("alice").post("Too much", guid=self.guid))
        [row] = await self.relay.eventually(lambda: self.bounced(node.host), bool)
        self.assertEqual((row["guid"], row["reason"], row["why_not"]), (self.guid, "HTTP 413", ""))
        return int(row["position"])

    async def test_delivered(self) -> None:
        """When the node has mended what was wrong the operator has the post sent again; then it is not listed any more."""
        node = self.node(conduct=says(413))
        position = await self.refused_by(node)
        node.conduct = welcoming
        said = await self.relay.command("requeue", node.host, str(position))
        self.assertIn(f"The post {position} goes out to {node.host} once more.", " ".join(said.out.split()))
        await node.has(self.guid)
        await self.relay.eventually(lambda: self.bounced(node.host), lambda rows: not rows)
        deliveries = (await self.relay.command("node", node.host, "--json")).json["deliveries"]
        self.assertEqual((deliveries["bounced"], deliveries["requeued"], deliveries["delivered"]), (0, 1, 1))

    async def test_killed_meanwhile(self) -> None:
        """What was put back and not delivered when the relay was killed goes out after the next start, and is counted once."""
        node = self.node(conduct=says(413))
        position = await self.refused_by(node)
        node.conduct = silent
        await self.relay.act("requeue", host=node.host, position=position)
        await self.relay.eventually(lambda: self.bounced(node.host), lambda rows: not rows)
        await node.until(lambda: len(node.brought) == 2)
        await self.relay.kill()
        node.conduct = welcoming
        await self.relay.start()
        await node.has(self.guid)
        answer = await self.relay.eventually(
            lambda: self.relay.view(f"node?host={node.host}"), lambda answer: answer["deliveries"]["delivered"] == 1
        )
        self.assertEqual((answer["deliveries"]["bounced"], answer["deliveries"]["requeued"]), (0, 1))
