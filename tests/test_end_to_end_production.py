"""A relay with a public name: it finds nodes by lists, asks them what they want, and stays who it is."""

from __future__ import annotations

import json

from tests.end_to_end import OwnRelay, guids
from tests.envelopes import preferences

LIST = "/pods.json"


class ProductionTests(OwnRelay):
    configuration = f"""
host = "relay.example"
[polling]
lists = [{{ name = "test", url = "https://list.example{LIST}" }}]
"""
    names = ["list.example", *OwnRelay.names]

    async def prepare(self) -> None:
        self.list = self.node()
        self.cats, self.refuses, self.broken, self.home = self.node(), self.node(), self.node(), self.node()
        self.cats.wants = preferences("cats")
        self.refuses.wants = preferences(subscribe=False)
        self.broken.wants = b"<html>"
        nodes = (self.cats, self.refuses, self.broken)
        self.list.pages[LIST] = json.dumps({"pods": [{"host": node.host} for node in nodes]}).encode()

    async def known(self) -> set[str]:
        return {node["host"] for node in (await self.relay.view("nodes"))["nodes"]}

    async def test_listed(self) -> None:
        """A node in a list is asked what it wants, gets it, and gets no more when it says so."""
        hosts = {node.host for node in (self.cats, self.refuses, self.broken)}
        await self.relay.eventually(self.known, lambda known: known == hosts)
        for host in hosts:  # it would do so by itself within a day, which is how the first questions are spread
            await self.relay.act("poll", host=host)
        alice = self.home.author("alice")
        first, second = guids(2)
        await self.accepted(alice.post("One of my #cats", guid=first))
        await self.cats.has(first)
        self.cats.wants = preferences(subscribe=False)
        await self.relay.act("poll", host=self.cats.host)
        await self.accepted(alice.post("And another of my #cats", guid=second))
        await self.relay.logs(f"Accepted {second}")
        self.assertEqual([node.guids for node in (self.cats, self.refuses, self.broken)], [[first], [], []])

    async def test_identity(self) -> None:
        """It introduces itself as pods want it, and as the same after a restart; and it refuses to become another. Its log tells what its licence wants."""
        page = "/.well-known/webfinger?resource=acct:relay@relay.example"
        before = (await self.relay.get(page)).json
        self.assertEqual(before["subject"], "acct:relay@relay.example")
        hcard = (await self.relay.get("/hcard/users/" + (await self.relay.view("identity"))["guid"])).body
        self.assertIn("set operator.source to its address", self.relay.log)
        await self.relay.terminate()
        await self.relay.start()
        self.assertEqual((await self.relay.get(page)).json, before)
        self.assertEqual((await self.relay.get("/hcard/users/" + (await self.relay.view("identity"))["guid"])).body, hcard)
        await self.relay.terminate()
        self.relay.launch("--host", "other.example")
        self.assertEqual(await self.relay.end(0), 1)
        self.assertIn("this database belongs to relay@relay.example", self.relay.log)
