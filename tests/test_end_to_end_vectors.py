"""Bodies made by other implementations, brought to the real relay."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile

from tests.end_to_end import OwnRelay
from tests.test_diaspora_vectors import BAD_REQUESTS, INDEX, VECTORS, key_of, rows

TAGS = ("dates", "form", "strasse", "日本")


class VectorTests(OwnRelay):
    async def prepare(self) -> None:
        keys = self.relay.folder / "keys"
        keys.mkdir()
        for name, handle in INDEX["keys"].items():
            copyfile(VECTORS / "keys" / f"{name}.public.pem", keys / f"{handle}.pem")
        self.relay.configuration = self.relay.configuration.replace("[network]", f'[network]\nauthor_keys = "{keys}"')

    async def test_public(self) -> None:
        """What is authentic arrives where it is wanted, once, and nothing else does; the answers are those of the protocol."""
        everything = self.node()
        await self.subscribe(everything)
        tagged = {tag: self.node() for tag in TAGS}
        for tag, node in tagged.items():
            await self.subscribe(node, tag)
        vectors = rows("public")
        for row in vectors:
            if row["key"]:
                self.world.strangers[row["key_id"]] = key_of(row)
            content_type = "application/x-www-form-urlencoded" if row["file"].endswith("form.txt") else "application/magic-envelope+xml"
            code = await self.relay.post(Path(VECTORS / row["file"]).read_bytes(), content_type=content_type)
            self.assertEqual(code, 400 if row["reason"] in BAD_REQUESTS else 202, row["file"])
        wanted = {row["guid"] for row in vectors if row["verdict"] == "relay"}
        last = self.node().author("alice")
        marker = "0123456789abcdef0123456789abcdef"
        await self.accepted(last.post(" ".join(f"#{tag}" for tag in TAGS), guid=marker))
        await everything.has(marker, *wanted)
        posts = [taken.post.guid for taken in everything.taken if taken.post.kind == "status_message"]
        self.assertEqual(sorted(posts), sorted({marker, *wanted}))
        for tag, node in tagged.items():
            await node.has(marker)
            expected = {row["guid"] for row in vectors if row["verdict"] == "relay" and tag in row["tags"]}
            self.assertEqual(set(node.guids), {marker, *expected}, tag)
