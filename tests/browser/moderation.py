"""Rules: made by hand, imported as lists, and what they do to posts."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

from tests.browser import seed
from tests.browser.case import BrowserCase
from tests.envelopes import new_guid

MASTODON = """#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate
evil.example,suspend,TRUE,TRUE,Harassment,FALSE
noisy.example,silence,FALSE,FALSE,"Noise, mostly",FALSE
"""


class RulesTests(BrowserCase):
    def setUp(self) -> None:
        self.site = self.page(f"{self.stage.busy.admin}/admin/rules", context=self.operator(java_script_enabled=False))

    def row(self, subject: str) -> Locator:
        return self.site.locator("section.list tbody tr").filter(has=self.site.get_by_role("rowheader", name=subject, exact=True))

    def add(self, subject: str, button: str, **said: str) -> None:
        form = self.site.get_by_role("region", name="Add a rule")
        form.get_by_label("Host, author or tag").fill(subject)
        form.get_by_label("Reason").fill(said.get("reason", ""))
        form.get_by_label("For how long").fill(said.get("until", ""))
        self.follow(self.site, form.get_by_role("button", name=button))
        if button.startswith("Block"):
            self.follow(self.site, self.site.get_by_role("button", name=f"Block {subject}"))
        expect(self.site.get_by_role("status").first).to_contain_text(subject)

    def find(self, text: str, **chosen: str) -> None:
        self.site.get_by_label("Part of the subject or the reason").fill(text)
        for name, option in chosen.items():
            self.site.get_by_label(name.capitalize(), exact=True).select_option(option)
        self.follow(self.site, self.site.get_by_role("button", name="Show"))

    def total(self) -> int:
        """How many rules the page says there are."""
        found = re.search(r"(\d+) rules?", re.sub(r"(?<=\d)\s(?=\d)", "", self.site.get_by_role("status").last.inner_text()))
        assert found is not None
        return int(found[1])

    def test_by_hand(self) -> None:
        """A rule with an end and a reason is listed with both, with who made it and when, and can be removed."""
        self.add("eve@by-hand.example", "Block …", reason="impersonation", until="7d")
        row = self.row("eve@by-hand.example")
        for said in ("block", "impersonation", "admin"):
            expect(row).to_contain_text(said)
        expect(row.locator("time")).to_have_count(2)
        self.follow(self.site, row.get_by_role("button", name="Remove"))
        expect(self.site.get_by_role("status").first).to_contain_text("eve@by-hand.example")
        expect(self.row("eve@by-hand.example")).to_have_count(0)

    def test_wrong_end(self) -> None:
        """What is no time is refused in words, and no rule is made."""
        form = self.site.get_by_role("region", name="Add a rule")
        form.get_by_label("Host, author or tag").fill("wrong-end.example")
        form.get_by_label("For how long").fill("until the cows come home")
        self.follow(self.site, form.get_by_role("button", name="Limit"))
        expect(self.site.get_by_role("alert")).to_contain_text("cows come home")
        expect(self.row("wrong-end.example")).to_have_count(0)

    def test_limited_tag(self) -> None:
        """A post with a hashtag that is limited is taken in and goes nowhere, until the rule is removed."""
        stage = self.stage
        node = stage.subscribed("limitedtag", "unlimitedtag")
        author = stage.author(stage.node())
        self.add("#limitedtag", "Limit")
        kept, other, later = new_guid(), new_guid(), new_guid()
        stage.posts(author, "One #limitedtag", guid=kept)
        stage.posts(author, "Two #unlimitedtag", guid=other)
        stage.has(node, other)
        self.assertNotIn(kept, node.guids)
        self.find("limitedtag")
        self.follow(self.site, self.row("#limitedtag").get_by_role("button", name="Remove"))
        expect(self.site.get_by_role("status").first).to_contain_text("#limitedtag")
        stage.posts(author, "Three #limitedtag", guid=later)
        stage.has(node, later)
        self.assertNotIn(kept, node.guids)

    def test_import(self) -> None:
        """Mastodon's list, as a file, is taken over with its reasons, may be tried first, and goes again as one."""
        for trial in (True, False):
            self.site.get_by_text("Import a list").click()
            self.site.get_by_label("Name of the list").fill("mastodon")
            self.site.get_by_label("A file").set_input_files({"name": "blocks.csv", "mimeType": "text/csv", "buffer": MASTODON.encode()})
            if trial:
                self.site.get_by_label("only say what would change").check()
            self.follow(self.site, self.site.get_by_role("button", name="Import"))
            expect(self.site.get_by_role("status").first).to_contain_text("2")
            self.find("", From="mastodon" if not trial else "")
            expect(self.row("evil.example")).to_have_count(0 if trial else 1)
        self.assertEqual(self.total(), 2)
        expect(self.row("evil.example")).to_contain_text("Harassment")
        expect(self.row("noisy.example")).to_contain_text("limit")
        lists = self.site.get_by_role("region", name="Lists").first
        self.follow(self.site, lists.get_by_role("row").filter(has_text="mastodon").get_by_role("button", name="Remove"))
        expect(self.site.get_by_role("heading", level=1)).to_contain_text("Remove the list mastodon?")
        self.follow(self.site, self.site.get_by_role("button", name="Remove the list"))
        self.find("evil.example")
        self.assertEqual(self.total(), 0)

    def test_many(self) -> None:
        """Five thousand entries are taken over at once, and come in pages that can be searched."""
        text = "".join(f"bulk-{number}.example\n" for number in range(5000))
        self.site.get_by_text("Import a list").click()
        self.site.get_by_label("Name of the list").fill("bulk")
        self.site.get_by_label("A file").set_input_files({"name": "bulk.txt", "mimeType": "text/plain", "buffer": text.encode()})
        self.follow(self.site, self.site.get_by_role("button", name="Import"))
        expect(self.site.get_by_role("status").first).to_contain_text(re.compile("5.?000"))
        self.find("bulk-49")
        self.assertEqual(self.total(), 111)
        self.follow(self.site, self.site.get_by_role("link", name="Next"))
        self.assertGreater(self.site.locator("section.list tbody tr").count(), 1)

    def test_export(self) -> None:
        """What is blocked can be taken elsewhere as a file, a list by itself, too."""
        lists = self.site.get_by_role("region", name="Lists").first
        with self.site.expect_download() as download:
            lists.get_by_role("row").filter(has_text=seed.LIST).get_by_role("link", name="Export").click()
        lines = download.value.path().read_text().splitlines()
        self.assertEqual(len(lines), seed.LISTED + 1)
        self.assertIn("spam-7.example,suspend", "\n".join(lines))

    def test_shown(self) -> None:
        """The page shows rules of all kinds, chosen by kind, by list and by a part of the subject."""
        self.assertGreaterEqual(self.total(), seed.LISTED + 6)
        self.find("archive", Rule="forward")
        self.assertEqual(self.total(), 1)
        expect(self.row("archive.example")).to_contain_text("keeps a public archive")
        self.find("spam-12", Rule="", From=seed.LIST)
        self.assertEqual(self.total(), 11)
