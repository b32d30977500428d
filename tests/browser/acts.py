"""What operators do on their pages, followed to the node at the other end."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.case import BrowserCase
from tests.envelopes import Author, new_guid
from tests.nodes import Node
from tests.nodes.conduct import says, welcoming


class ActTests(BrowserCase):
    def setUp(self) -> None:
        self.entered = self.operator()

    def at(self, path: str) -> Page:
        return self.page(f"{self.stage.busy.admin}/admin/{path}", context=self.entered)

    def done(self, page: Page, *words: str) -> None:
        """The page says what was done."""
        for word in words:
            expect(page.get_by_role("status").first).to_contain_text(word)

    def pressed(self, page: Page, button: str, *words: str) -> None:
        self.follow(page, page.get_by_role("button", name=button, exact=True).first)
        self.done(page, *words)

    def brings(self, author: Author, text: str, *nodes: Node) -> str:
        """An author posts, and these nodes get it; its guid."""
        guid = new_guid()
        self.stage.posts(author, text, guid=guid)
        for node in nodes:
            self.stage.has(node, guid)
        return guid

    def settled(self, witness: Node, author: Author, tag: str) -> None:
        """All that was posted before is settled at every node that takes posts: a witness has something that came later."""
        self.brings(author, f"later #{tag}", witness)

    def test_poll(self) -> None:
        """A node that asks for posts is subscribed once an operator has it polled, by a form on the page of nodes."""
        node, home = self.stage.node(wants=b'{"subscribe": true, "scope": "tags", "tags": ["polled"]}'), self.stage.node()
        page = self.at("nodes")
        page.get_by_placeholder("pod.example").fill(node.host)
        self.pressed(page, "Poll it", node.host)
        page.goto(f"{self.stage.busy.admin}/admin/nodes/{node.host}")
        expect(page.get_by_role("region", name="What it gets")).to_contain_text("posts with 1 tag")
        self.brings(self.stage.author(home), "Hello #polled", node)
        node.wants = b'{"subscribe": false}'
        self.pressed(page, "Poll now", node.host)
        expect(page.get_by_role("region", name="What it gets")).to_contain_text("nothing")

    def test_wake(self) -> None:
        """A node that asked to be left alone for hours is tried at once if an operator says so, and gets what it missed."""
        node, home = self.stage.subscribed("woken", conduct=says(503, "Retry-After: 7200")), self.stage.node()
        guid = new_guid()
        self.stage.posts(self.stage.author(home), "Are you there? #woken", guid=guid)
        self.stage.state(node.host, "deferred")
        page = self.at(f"nodes/{node.host}")
        expect(page.get_by_role("region", name="How deliveries fare")).to_contain_text("HTTP 503")
        node.conduct = welcoming
        self.pressed(page, "Try again now", node.host)
        self.stage.has(node, guid)
        self.stage.becomes(f"node?host={node.host}", lambda found: found["deliveries"]["following"])
        page.reload()
        expect(page.get_by_role("region", name="How deliveries fare")).to_contain_text("follows the log")

    def test_suspend(self) -> None:
        """Nothing goes to a node that is suspended; when it is resumed it gets what has waited. All without scripts, by keyboard."""
        node, witness = self.stage.subscribed("halted"), self.stage.subscribed("halted", "halted2")
        author = self.stage.author(self.stage.node())
        page = self.page(f"{self.stage.busy.admin}/admin/nodes/{node.host}", context=self.operator(java_script_enabled=False))
        page.get_by_role("button", name="Suspend deliveries").focus()
        with page.expect_navigation():
            page.keyboard.press("Enter")
        self.done(page, node.host)
        expect(page.get_by_role("region", name="How deliveries fare")).to_contain_text("suspended")
        guid = self.brings(author, "Wait #halted", witness)
        self.settled(witness, author, "halted2")
        self.assertNotIn(guid, node.guids)
        page.get_by_role("button", name="Resume deliveries").focus()
        with page.expect_navigation():
            page.keyboard.press("Space")
        self.done(page, node.host)
        self.stage.has(node, guid)

    def test_subscribe(self) -> None:
        """A node can be subscribed by hand to some tags, then to everything, and its subscription be ended; each from the next post on."""
        node, witness = self.stage.node(wants=404), self.stage.subscribed("byhand", "other1", "other2", "other3")
        author = self.stage.author(self.stage.node())
        page = self.at("nodes")
        page.get_by_placeholder("pod.example").fill(node.host)
        self.follow(page, page.get_by_role("button", name="Poll it"))
        self.stage.does(self.stage.busy.daemon.act("subscribe", host=node.host, tags=["something"]))
        page.goto(f"{self.stage.busy.admin}/admin/nodes/{node.host}")
        page.get_by_text("Subscribe it by hand").click()
        page.get_by_label("Tags, with blanks or commas").fill("byhand, #Second")
        self.pressed(page, "Subscribe", node.host)
        self.brings(author, "One #byhand", node, witness)
        page.get_by_text("Subscribe it by hand").click()
        page.get_by_label("all public posts, instead of tags").check()
        self.pressed(page, "Subscribe", node.host)
        self.brings(author, "Two #other1", node, witness)
        self.pressed(page, "End the subscription by hand", node.host)
        guid = self.brings(author, "Three #other2", witness)
        self.settled(witness, author, "other3")
        self.assertNotIn(guid, node.guids)

    def test_block(self) -> None:
        """A block is asked for twice, says what follows, and then nothing from that node or to it is relayed; lifting it ends that."""
        node, witness = self.stage.subscribed("blocked1"), self.stage.subscribed("blocked1", "blocked2")
        author, blocked = self.stage.author(self.stage.node()), self.stage.author(node, "mallory")
        page = self.at(f"nodes/{node.host}")
        page.get_by_text("Block or limit it").click()
        page.get_by_label("Reason", exact=True).fill("spam and worse")
        self.follow(page, page.get_by_role("button", name="Block …"))
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Block {node.host}?")
        expect(page.get_by_role("main")).to_contain_text("subdomains")
        self.assert_accessible(page)
        self.pressed(page, f"Block {node.host}", node.host)
        expect(page.get_by_role("region", name="Rules about it").first).to_contain_text("spam and worse")
        to_it, from_it = self.brings(author, "To it #blocked1", witness), new_guid()
        self.stage.posts(blocked, "From it #blocked1", guid=from_it)
        self.settled(witness, author, "blocked2")
        self.assertNotIn(to_it, node.guids)
        self.assertNotIn(from_it, witness.guids)
        page.goto(f"{self.stage.busy.admin}/admin/rules")
        row = page.get_by_role("row").filter(has_text=node.host)
        expect(row).to_contain_text("spam and worse")

    def test_not_meant(self) -> None:
        """Who says no, when asked whether a block is meant, finds everything as it was."""
        node = self.stage.subscribed("spared")
        page = self.at(f"nodes/{node.host}")
        page.get_by_text("Block or limit it").click()
        self.follow(page, page.get_by_role("button", name="Block …"))
        self.follow(page, page.get_by_role("link", name="No, go back"))
        expect(page.get_by_role("heading", level=1)).to_have_text(node.host)
        self.assertEqual(self.stage.view(f"node?host={node.host}")["rules"], [])

    def test_requeue(self) -> None:
        """A post that a node refused is listed on its page, and can be sent once more."""
        node, home = self.stage.subscribed("bounced", conduct=says(403)), self.stage.node()
        guid = new_guid()
        self.stage.posts(self.stage.author(home), "No entry #bounced", guid=guid)
        self.stage.becomes(f"bounced?host={node.host}", lambda found: len(found["bounced"]) == 1)
        node.conduct = welcoming
        page = self.at(f"nodes/{node.host}")
        expect(page.get_by_role("region", name="Posts that it refused", exact=True).first).to_contain_text("HTTP 403")
        self.pressed(page, f"Send it again {guid}", node.host)
        self.stage.has(node, guid)

    def test_forget_key(self) -> None:
        """An author's key that the relay is told to forget is fetched anew with the next post."""
        node, home = self.stage.subscribed("keys"), self.stage.node()
        author = self.stage.author(home)
        self.brings(author, "First #keys", node)
        asked = len(home.asked)
        self.brings(author, "Second #keys", node)
        self.assertEqual(len(home.asked), asked)
        page = self.at("")
        page.get_by_text("Forget an author’s key").click()
        page.locator("form[action$=forget-key]").get_by_label("Author’s handle").fill(author.handle)
        self.pressed(page, "Forget the key", author.handle)
        self.brings(author, "Third #keys", node)
        self.assertGreater(len(home.asked), asked)

    def test_refused(self) -> None:
        """What the relay refuses to do it refuses in words, on the page that it was asked from."""
        page = self.at("nodes")
        page.get_by_placeholder("pod.example").fill("no host at all")
        self.follow(page, page.get_by_role("button", name="Poll it"))
        expect(page.get_by_role("alert").first).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_have_text("Nodes")

    def test_logged(self) -> None:
        """Each act is logged with who did it and from where."""
        node = self.stage.subscribed("logged")
        page = self.at(f"nodes/{node.host}")
        self.pressed(page, "Suspend deliveries", node.host)
        page.goto(f"{self.stage.busy.admin}/admin/events")
        row = page.locator("#events tr").filter(has_text=node.host).first
        expect(row).to_contain_text(re.compile(r"admin.*198\.51"))
        expect(row).to_contain_text("suspend")
