"""C{socialrelay post}: a script on the relay's machine brings a post that another implementation made, and a node gets it."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile

from socialrelay.digest import digest_of
from tests.end_to_end import OwnRelay
from tests.test_diaspora_vectors import INDEX, VECTORS, key_of, rows


class PostTests(OwnRelay):
    async def prepare(self) -> None:
        keys = self.relay.folder / "keys"
        keys.mkdir()
        for name, handle in INDEX["keys"].items():
            copyfile(VECTORS / "keys" / f"{name}.public.pem", keys / f"{handle}.pem")
        self.relay.configuration = self.relay.configuration.replace("[network]", f'[network]\nauthor_keys = "{keys}"')

    async def test_post(self) -> None:
        """An envelope from a file reaches a node, once, however often and whichever way it comes; what HTTP refuses is refused."""
        node = self.node()
        await self.subscribe(node)
        row = next(row for row in rows("public") if row["verdict"] == "relay")
        self.world.strangers[row["key_id"]] = key_of(row)
        file = Path(VECTORS / row["file"])
        said = await self.relay.command("post", str(file))
        self.assertEqual((said.code, said.err), (0, ""))
        self.assertIn(digest_of(file.read_bytes()), said.out)
        await node.has(row["guid"])
        self.assertEqual((await self.relay.command("post", str(file))).code, 0)
        await self.accepted(file.read_bytes())
        refused = next(row for row in rows("public") if row["reason"] == "not-xml")
        said = await self.relay.command("post", str(VECTORS / refused["file"]), "--json")
        self.assertEqual((said.code, said.json["error"]["code"]), (1, "not-xml"))
        last = self.node().author("alice").post("The last one")
        await self.accepted(last)
        await node.until(lambda: len(node.guids) == 2)
        self.assertEqual(node.guids.count(row["guid"]), 1)
