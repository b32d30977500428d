"""The way of a post through the real relay, between nodes: what operators, authors and nodes' administrators are promised."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.end_to_end import EndToEnd, guids
from tests.envelopes import Author, new_guid, preferences, seal, status_message
from tests.nodes import Node


class DeliveryTests(EndToEnd):
    async def test_who_gets_it(self) -> None:
        """A post arrives, byte for byte, at the node that wants all and the one that wants its tag, and not at the third."""
        everything, cats, dogs, home = (self.node() for _ in range(4))
        await self.subscribe(everything)
        await self.subscribe(cats, "cats")
        await self.subscribe(dogs, "dogs")
        alice = home.author("alice")
        first, second = guids(2)
        body = alice.post("A picture of #Cats, at last", guid=first)
        await self.accepted(body)
        await cats.has(first)
        await self.accepted(alice.post("Both #cats and #dogs", guid=second))
        for node in (everything, cats, dogs):
            await node.has(second)
        self.assertEqual([node.guids for node in (everything, cats, dogs, home)], [[first, second], [first, second], [second], []])
        self.assertEqual([node.taken[0].body for node in (everything, cats)], [body, body])

    async def test_connection_kept(self) -> None:
        """Posts that follow one another use one connection."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        for guid in guids(5):
            await self.accepted(alice.post("again", guid=guid))
            await node.has(guid)
        self.assertEqual((len(node.taken), node.connections), (5, 1))

    async def test_author_is_found(self) -> None:
        """The key of an unknown author is found at the author's node, once, by webfinger and hCard."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        first, second = guids(2)
        await self.accepted(alice.post("Hello", guid=first))
        await node.has(first)
        await self.accepted(alice.post("Hello again", guid=second))
        await node.has(second)
        self.assertEqual(home.asked, ["/.well-known/webfinger", f"/hcard/users/{alice.guid}"])

    async def test_once(self) -> None:
        """A post that comes again, also with other bytes around it, is delivered once."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        guid, after = guids(2)
        body = alice.post("Only once", guid=guid)
        await self.accepted(body)
        await self.accepted(body)
        await node.has(guid)
        await self.accepted(body.replace(b"<me:encoding>", b"\n<me:encoding>"))
        await self.accepted(alice.post("Edited", guid=guid))
        await self.accepted(alice.post("The end", guid=after))
        await node.has(after)
        self.assertEqual(node.guids, [guid, after])

    async def test_not_back(self) -> None:
        """A post is not sent to its author's own node, whatever that wants."""
        home, away = self.node(), self.node()
        await self.subscribe(home)
        await self.subscribe(away)
        ours, theirs = guids(2)
        await self.accepted(home.author("alice").post("Mine", guid=ours))
        await away.has(ours)
        await self.accepted(away.author("bob").post("Yours", guid=theirs))
        await home.has(theirs)
        self.assertEqual((home.guids, away.guids), ([theirs], [ours]))

    async def test_legacy_form(self) -> None:
        """A post in the form of old senders arrives as the envelope that is in it."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        guid = new_guid()
        envelope = home.author("alice").post("An old pod says hello & more", guid=guid)
        await self.accepted(
            urlencode({"xml": envelope}).encode(), path="/receive/public/", content_type="application/x-www-form-urlencoded"
        )
        await node.has(guid)
        self.assertEqual(node.taken[0].body, envelope)

    async def test_large(self) -> None:
        """A post of the greatest length that pods know arrives."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        guid = new_guid()
        body = alice.post("日" * 65535, guid=guid)
        await self.accepted(body)
        await node.has(guid)
        self.assertEqual(node.taken[0].body, body)

    async def test_burst(self) -> None:
        """Many posts of several authors, one upon the other, arrive once each."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        authors = [home.author(name) for name in ("alice", "bob", "carol")]
        posts = guids(60)
        for number, guid in enumerate(posts):
            await self.accepted(authors[number % 3].post(f"Number {number}", guid=guid))
        await node.has(*posts)
        self.assertEqual(sorted(node.guids), sorted(posts))


class RefusalTests(EndToEnd):
    async def reasons(self) -> dict[str, str]:
        """What the operator is told: guid, or else author, and why."""
        return {row["guid"] or row["author"]: row["reason"] for row in (await self.relay.view("rejected?limit=1000"))["rejected"]}

    async def rejected(self, name: str) -> str:
        """Wait for the reason."""
        found = await self.relay.eventually(self.reasons, lambda reasons: name in reasons)
        return str(found[name])

    async def test_forged(self) -> None:
        """A post that somebody else signed is answered 202, goes nowhere, and the operator reads why; the genuine one still arrives."""
        node, home, elsewhere = self.node(), self.node(), self.node()
        await self.subscribe(node)
        alice, mallory = home.author("alice"), elsewhere.author("mallory")
        guid = new_guid()
        await self.accepted(seal(status_message(alice.handle, "I am Alice", guid=guid), alice.handle, mallory.private_key))
        self.assertEqual(await self.rejected(alice.handle), "bad-signature")
        said = await self.relay.command("rejected", "--json")
        self.assertIn((alice.handle, "bad-signature"), [(row["author"], row["reason"]) for row in said.json["rejected"]])
        await self.accepted(alice.post("No, I am", guid=guid))
        await node.has(guid)
        self.assertEqual([taken.post.text for taken in node.taken], ["No, I am"])

    async def test_in_the_name_of_another(self) -> None:
        """Nobody signs for another."""
        home = self.node()
        alice, mallory = home.author("alice"), home.author("mallory")
        await self.accepted(mallory.seal(status_message(alice.handle, "I am Alice")))
        self.assertEqual(await self.rejected(mallory.handle), "sender-mismatch")

    async def test_unwanted(self) -> None:
        """Comments, reshares and posts that are not public are taken and not relayed."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        first, last = guids(2)
        await self.accepted(alice.post("Hello", guid=first))
        await node.has(first)
        for body in (alice.comment(new_guid(), "Nice"), alice.reshare("bob@pod.example", new_guid()), alice.post("Psst", public=False)):
            await self.accepted(body)
        await self.accepted(alice.post("Bye", guid=last))
        await node.has(last)
        self.assertEqual(node.guids, [first, last])

    async def test_no_envelope(self) -> None:
        """What is no envelope is answered 400, on a path that is none 404."""
        for body in (b"", b"hello", b"<html/>", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'):
            self.assertEqual(await self.relay.post(body), 400)
        self.assertEqual(await self.relay.post(b"hello", path="/receive"), 404)


class WishTests(EndToEnd):
    """What authors and nodes wish."""

    async def relay_key(self) -> tuple[str, str, object]:
        """The relay's handle, guid and key, as a node finds them."""
        said = await self.relay.view("identity")
        hcard = (await self.relay.get(f"/hcard/users/{said['guid']}")).body
        start, end = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"
        pem = hcard[hcard.index(start) : hcard.index(end) + len(end)]
        return said["handle"], said["guid"], load_pem_public_key(pem)

    async def share(self, author: Author, sharing: bool) -> None:
        """The author begins or ends to share with the relay."""
        handle, guid, key = await self.relay_key()
        message = author.contact(handle, key, sharing=sharing)  # type: ignore[arg-type]
        await self.accepted(message, path=f"/receive/users/{guid}", content_type="application/json")

    async def test_also_what_waits(self) -> None:
        """That counts for the author's posts that wait, too."""
        node, other, home = self.node(), self.node(), self.node()
        await self.subscribe(node)
        await self.subscribe(other)
        alice, bob = home.author("alice"), home.author("bob")
        waits, after = guids(2)
        await self.relay.act("suspend", host=node.host)
        await self.accepted(alice.post("Wait", guid=waits))
        await other.has(waits)
        await self.share(alice, False)
        await self.relay.logs(f"{alice.handle} does not wish to be relayed.")
        await self.accepted(bob.post("Me too", guid=after))
        await other.has(after)
        await self.relay.act("resume", host=node.host)
        await node.has(after)
        self.assertEqual(node.guids, [after])

    async def test_author_ends_sharing(self) -> None:
        """An author who ends sharing with the relay is relayed no more, and again after sharing anew."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice = home.author("alice")
        before, unwanted, after = guids(3)
        await self.share(alice, True)
        await self.relay.logs(f"{alice.handle} wishes to be relayed.")
        await self.accepted(alice.post("With you", guid=before))
        await node.has(before)
        await self.share(alice, False)
        await self.relay.logs(f"{alice.handle} does not wish to be relayed.")
        await self.accepted(alice.post("Alone", guid=unwanted))
        await self.share(alice, True)
        await self.relay.logs(f"{alice.handle} wishes to be relayed.", 2)
        await self.accepted(alice.post("With you again", guid=after))
        await node.has(after)
        self.assertEqual(node.guids, [before, after])


class SubscriptionTests(EndToEnd):
    async def post_for(self, *nodes: Node) -> str:
        """A post with the tag C{#cats} that all these nodes get."""
        home = self.node()
        guid = new_guid()
        await self.accepted(home.author("alice").post("My #cats", guid=guid))
        for node in nodes:
            await node.has(guid)
        return guid

    async def test_check(self) -> None:
        """A node that nobody knew and that says what it wants is subscribed by looking at its check page."""
        node = self.node(wants=preferences("Cats"))
        shown = await self.relay.check(node.host)
        self.assertEqual((shown["faults"], shown["subscription"]["scope"], shown["subscription"]["tags"]), ([], "tags", ["cats"]))
        await self.post_for(node)
        shown = await self.relay.eventually(lambda: self.relay.check(node.host), lambda page: page["deliveries"]["delivered"])
        self.assertEqual((shown["deliveries"]["state"], shown["deliveries"]["delivered"]), ("active", 1))

    async def test_where(self) -> None:
        """A node that publishes where it takes posts, as Friendica does, gets them there and nowhere else."""
        node = self.node(receives_at="/receive/public/")
        receive = f"https://{node.host}/receive/public/"
        node.wants = json.dumps(
            {"subscribe": True, "scope": "tags", "tags": {"0": "Cats", "3": "dogs"}, "protocols": {"diaspora": {"receive": receive}}}
        ).encode()
        shown = await self.relay.check(node.host)
        self.assertEqual((shown["faults"], shown["subscription"]["tags"]), ([], ["cats", "dogs"]))
        await self.post_for(node)

    async def test_published_no(self) -> None:
        """A node that publishes that it wants nothing gets nothing, also if it was subscribed by hand."""
        for refusal in (preferences(subscribe=False), 410):
            node, other = self.node(), self.node()
            await self.subscribe(node)
            await self.subscribe(other)
            first = await self.post_for(node, other)
            node.wants = refusal
            shown = await self.relay.check(node.host)
            self.assertEqual(shown["subscription"]["scope"], "none")
            await self.post_for(other)
            self.assertEqual(node.guids, [first])
            said = await self.relay.command("subscribe", node.host, "--all", "--json")
            self.assertEqual((said.code, said.json["error"]["code"]), (1, "refused"))


class OperatorTests(EndToEnd):
    async def operate(self, *words: str) -> str:
        """Run a command that is to succeed; what it said."""
        said = await self.relay.command(*words)
        self.assertEqual((said.code, said.err), (0, ""))
        return said.out

    async def test_subscription(self) -> None:
        """Subscribed from now on, suspended it waits, resumed it catches up, unsubscribed it gets no more."""
        node, other, home = self.node(), self.node(), self.node()
        await self.subscribe(other)
        alice = home.author("alice")
        before, first, waiting, late = guids(4)
        await self.accepted(alice.post("Too early", guid=before))
        await other.has(before)
        self.assertIn("all public posts", await self.operate("subscribe", node.host, "--all"))
        await self.accepted(alice.post("Hello", guid=first))
        await node.has(first)
        self.assertIn("suspended", await self.operate("suspend", node.host))
        await self.accepted(alice.post("Wait", guid=waiting))
        await other.has(waiting)
        self.assertEqual(node.guids, [first])
        self.assertIn(node.host, await self.operate("queue", "--state", "suspended"))
        await self.operate("resume", node.host)
        await node.has(waiting)
        await self.operate("unsubscribe", node.host)
        await self.accepted(alice.post("Gone", guid=late))
        await other.has(late)
        self.assertEqual(node.guids, [first, waiting])

    async def test_block(self) -> None:
        """Nothing is relayed of a blocked author, and nothing from or to a blocked node, until it is unblocked."""
        node, home = self.node(), self.node()
        await self.subscribe(node)
        alice, bob = home.author("alice"), home.author("bob")
        blocked, other, after, never, last = guids(5)
        await self.operate("block", alice.handle, "--reason", "spam")
        await self.accepted(alice.post("Buy", guid=blocked))
        await self.accepted(bob.post("Hello", guid=other))
        await node.has(other)
        await self.operate("unblock", alice.handle)
        await self.accepted(alice.post("Sorry", guid=after))
        await node.has(after)
        await self.operate("block", home.host)
        await self.accepted(bob.post("Am I?", guid=never))
        await self.operate("unblock", home.host)
        await self.accepted(bob.post("I am", guid=last))
        await node.has(last)
        self.assertEqual(node.guids, [other, after, last])

    async def test_second_relay(self) -> None:
        """A second relay on the same data is refused with one line."""
        process = self.relay.process
        said = await self.relay.command("run", "--nodaemon", "--listen", f"unix:{self.relay.folder}/other")
        assert process is not None
        self.assertEqual((said.code, said.out), (1, ""))
        self.assertRegex(said.err, rf"\Asocialrelay: Another relay is running in {self.relay.state} \(process {process.pid}\)[^\n]*\n\Z")
