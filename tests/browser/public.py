"""The pages for the public."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser import seed
from tests.browser.case import NARROW, BrowserCase
from tests.envelopes import new_guid

WANTS_TAGS = b'{"subscribe": true, "scope": "tags", "tags": ["cats", "gardening"]}'
WANTS_NOTHING = b'{"subscribe": false, "scope": "", "tags": []}'


def grouped(number: int) -> str:
    """As the pages write it: in groups of three."""
    return f"{number:,}".replace(",", "\u202f")


class FirstPageTests(BrowserCase):
    def test_numbers(self) -> None:
        """The first page says how much is relayed, and to whom, as /stats.json does."""
        page = self.page(java_script_enabled=False)
        stats = page.request.get(f"{self.stage.busy.public}/stats.json").json()
        page.goto(f"{self.stage.busy.public}/")
        figures = page.locator(".figures")
        expect(figures).to_contain_text(grouped(stats["nodes"]))
        expect(figures).to_contain_text(grouped(stats["subscribers"]["total"]))
        self.assertGreaterEqual(stats["nodes"], seed.NODES)
        self.assertGreater(stats["deliveries"]["24h"], 50_000)
        row = page.get_by_role("row").filter(has_text=grouped(stats["deliveries"]["30d"]))
        expect(row).to_contain_text(grouped(stats["deliveries"]["total"]))

    def test_periods(self) -> None:
        """The charts show a day, a week or a month, as chosen, with a table behind each."""
        page = self.page(f"{self.stage.busy.public}/", reduced_motion="reduce")
        for words, spans in (("7 days", 7 * 24), ("30 days", 30), ("24 hours", 24)):
            self.follow(page, page.get_by_role("list", name="Period of the charts").get_by_role("link", name=words))
            expect(page.get_by_role("list", name="Period of the charts").locator("[aria-current]")).to_have_text(words)
            charts = page.locator(".chart")
            self.assertEqual(charts.count(), 2)
            for chart in charts.all():
                expect(chart.locator("svg[role=img]")).to_have_accessible_name(re.compile(f"in the last {words}"))
                self.assertEqual(chart.locator("svg path.span").count(), spans)
                expect(chart.get_by_role("table")).to_be_hidden()
                chart.get_by_text("The same as a table").click()
                expect(chart.get_by_role("table")).to_be_visible()
                self.assertEqual(chart.locator("tbody tr").count(), spans)

    def test_live(self) -> None:
        """While one looks, a post arrives, and the numbers change without the page being loaded anew."""
        stage = self.stage
        node, home = stage.subscribed("livenews"), stage.node()
        page = self.page(f"{stage.busy.public}/")
        expect(page.locator("[data-live]")).to_have_class(re.compile("is-live"))
        posts = page.locator('.hero [data-stat="posts.24h"]')
        before = posts.inner_text()
        page.evaluate("() => { window.same = true; }")
        guid = new_guid()
        stage.posts(stage.author(home), "Something happens #livenews", guid=guid)
        stage.has(node, guid)
        expect(posts).not_to_have_text(before)
        self.assertTrue(page.evaluate("() => window.same"))

    def test_too_many_streams(self) -> None:
        """Whoever opens more pages than are kept up to date for one address still has pages that show everything."""
        context = self.context()
        pages = [self.page(f"{self.stage.fresh.public}/", context=context, allowed=(503,)) for _ in range(5)]
        live = re.compile("is-live")
        for page in pages[:4]:
            expect(page.locator("[data-live]")).to_have_class(live)
        expect(pages[4].locator("[data-live-text]")).to_contain_text("Updated")
        expect(pages[4].locator("[data-live]")).not_to_have_class(live)

    def test_empty(self) -> None:
        """A relay that was just started shows zeros, says that it is in development mode, and how to join."""
        page = self.page(f"{self.stage.fresh.public}/")
        expect(page.get_by_role("complementary", name="Development mode")).to_be_visible()
        expect(page.locator('.hero [data-stat="posts.24h"]')).to_have_text("0")
        expect(page.get_by_role("heading", name="Join with your node")).to_be_visible()

    def test_join(self) -> None:
        """What to do on each kind of node is folded away, and unfolds by a click or a key."""
        page = self.page(f"{self.stage.busy.public}/", java_script_enabled=False)
        for name, text in (("Friendica", "relay_scope"), ("Hubzilla", "firehose"), ("diaspora*", "x-social-relay.json")):
            summary = page.locator("summary").filter(has_text=name).first
            expect(page.get_by_text(text).first).to_be_hidden()
            summary.focus()
            page.keyboard.press("Enter")
            expect(page.get_by_text(text).first).to_be_visible()

    def test_skip(self) -> None:
        """The first press of the tab key offers the way to the content, and it leads there."""
        page = self.page(f"{self.stage.busy.public}/tags")
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        self.assertTrue(page.evaluate("() => document.querySelector('main').contains(document.activeElement)"))

    def test_navigation(self) -> None:
        """From the first page one comes to every other, and each says where one is."""
        page = self.page(f"{self.stage.busy.public}/")
        for name in ("Check a node", "Hashtags", "Nodes", "Privacy", "Start"):
            self.follow(page, page.get_by_role("navigation", name="Pages").get_by_role("link", name=name))
            expect(page.get_by_role("navigation", name="Pages").locator("[aria-current=page]")).to_have_text(name)


class TagsTests(BrowserCase):
    def test_search(self) -> None:
        """A part of a hashtag finds those that have it in them, with or without the #, and in any case."""
        page = self.page(f"{self.stage.busy.public}/tags", java_script_enabled=False)
        page.get_by_role("searchbox").fill("#PHOTO")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=2)).to_contain_text("with “#PHOTO”")
        found = page.locator(".tags li").all_inner_texts()
        self.assertIn("photography", found[0])
        self.assertTrue(all("photo" in each for each in found), found)
        expect(page.get_by_role("searchbox")).to_have_value("#PHOTO")
        self.follow(page, page.get_by_role("link", name="Show all"))
        expect(page.get_by_role("searchbox")).to_have_value("")

    def test_nothing_found(self) -> None:
        """Where nothing is found the page says what was looked for, as text."""
        page = self.page(f"{self.stage.busy.public}/tags?q=%3Cscript%3Ealert(1)%3C/script%3E")
        expect(page.get_by_role("main")).to_contain_text("<script>alert(1)</script>")
        self.assertEqual(page.locator(".tags li").count(), 0)

    def test_long(self) -> None:
        """What was looked for is shown whole on a phone, and does not turn the words after it around."""
        page = self.page(f"{self.stage.busy.public}/tags?q={'W' * 100}", viewport=NARROW)
        self.assert_fits(page)
        page.goto(f"{self.stage.busy.public}/tags?q=%E2%80%AEabc")
        expect(page.locator("main bdi")).to_have_text("\u202eabc")

    def test_pages(self) -> None:
        """A long list comes in pages; the second shows others than the first, those less wanted."""
        page = self.page(f"{self.stage.busy.public}/tags", java_script_enabled=False)
        first = self.shown(page)
        self.follow(page, page.get_by_role("link", name="Next"))
        second = self.shown(page)
        self.assertFalse({tag for tag, _ in first} & {tag for tag, _ in second})
        counts = [nodes for _, nodes in (*first, *second)]
        self.assertEqual(counts, sorted(counts, reverse=True))
        self.assertGreaterEqual(counts[-1], 2)
        self.follow(page, page.get_by_role("link", name="Previous"))
        self.assertEqual(self.shown(page), first)

    def shown(self, page: Page) -> list[tuple[str, int]]:
        """Tags, and how many nodes want each."""
        texts = page.locator(".tags li").all_inner_texts()
        return [(tag, int(re.sub(r"\D", "", rest))) for tag, _, rest in (" ".join(text.split()).partition(" ") for text in texts)]


class CheckTests(BrowserCase):
    def ask(self, page: Page, host: str) -> None:
        page.goto(f"{self.stage.busy.public}/check")
        page.get_by_label("Your node", exact=True).fill(host)
        self.follow(page, page.get_by_role("button", name="Check"))

    def test_good(self) -> None:
        """A node that asks for hashtags is subscribed by the check, and its administrator sees to which; all with the keyboard alone."""
        node = self.stage.node(wants=WANTS_TAGS)
        page = self.page(f"{self.stage.busy.public}/check", java_script_enabled=False)
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement.id") == "node":
                break
        page.keyboard.type(f"https://{node.host}/")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=node.host)).to_be_visible()
        expect(page.get_by_role("main")).to_contain_text("Subscribed to 2 hashtags")
        self.assertEqual([each.strip() for each in page.locator(".tags li").all_inner_texts()], ["#cats", "#gardening"])

    def test_refusing(self) -> None:
        """A node that wants nothing is told that it is not subscribed, and why."""
        node = self.stage.node(wants=WANTS_NOTHING)
        page = self.page()
        self.ask(page, node.host)
        expect(page.get_by_role("main")).to_contain_text("Not subscribed.")

    def test_without_preferences(self) -> None:
        """A node without preferences is told which document is missing, and what to do."""
        node = self.stage.node(wants=404)
        page = self.page()
        self.ask(page, node.host)
        expect(page.get_by_role("main")).to_contain_text("/.well-known/x-social-relay")
        expect(page.locator(".faults li").first).to_contain_text("404")
        self.assert_accessible(page)
        self.assert_well_formed(page)
        page.set_viewport_size(NARROW)
        self.assert_fits(page)

    def test_unknown(self) -> None:
        """A host that cannot be reached is told so, with the reason."""
        host = self.stage.calls(lambda: self.stage.world.node().host)
        page = self.page()
        self.ask(page, host)
        expect(page.locator(".faults li").first).to_contain_text("connection refused")

    def test_no_host(self) -> None:
        """What is no host name is refused in words, beside the field, which keeps what was typed and says that it is wrong."""
        page = self.page(allowed=(400,))
        self.ask(page, "not-a-host")
        expect(page.get_by_role("alert")).to_be_visible()
        field = page.get_by_label("Your node", exact=True)
        expect(field).to_have_value("not-a-host")
        expect(field).to_have_attribute("aria-invalid", "true")
        self.assertIn(page.locator(f"#{field.get_attribute('aria-describedby')}").inner_text(), page.get_by_role("alert").inner_text())

    def test_too_often(self) -> None:
        """Whoever checks again and again is asked to wait."""
        page = self.page(allowed=(400, 429))
        for _ in range(11):
            page.goto(f"{self.stage.busy.public}/check?node=not-a-host")
        expect(page.get_by_role("alert")).to_contain_text("please wait")


class OtherPagesTests(BrowserCase):
    def test_privacy(self) -> None:
        """The page on privacy says what is kept and for how long, what the rules are, and whom to ask."""
        page = self.page(f"{self.stage.busy.public}/privacy")
        rows = page.get_by_role("row")
        expect(rows.filter(has_text="Private messages")).to_contain_text("not after they are")
        self.assertGreater(rows.count(), 8)
        main = page.get_by_role("main")
        expect(main).to_contain_text("Public posts in good faith.")
        expect(main.get_by_role("link", name=re.compile("ada@relay.example")).first).to_have_attribute("href", "mailto:ada@relay.example")
        expect(main.locator('a[href="https://relay.example/imprint"]')).to_be_visible()

    def test_nodes(self) -> None:
        """If the operator shows them, the names of subscribed nodes are listed in pages."""
        page = self.page(f"{self.stage.busy.public}/nodes", java_script_enabled=False)
        first = page.locator("tbody th").all_inner_texts()
        self.assertGreaterEqual(len(first), 50)
        self.assertEqual(first, sorted(first))
        self.follow(page, page.get_by_role("link", name="Next"))
        self.assertFalse(set(first) & set(page.locator("tbody th").all_inner_texts()))

    def test_nodes_hidden(self) -> None:
        """If not, there is no such page, and no way to it."""
        page = self.page(f"{self.stage.fresh.public}/nodes", allowed=(404,))
        expect(page.locator("body")).to_contain_text("There is nothing at this address")
        page.goto(f"{self.stage.fresh.public}/")
        expect(page.get_by_role("link", name="Nodes", exact=True)).to_have_count(0)

    def test_operators_site_is_elsewhere(self) -> None:
        """Nothing of the operators' site is at the public address."""
        page = self.page()
        for path in ("/admin/", "/admin/login", "/admin/nodes", "/metrics", "/bus/"):
            self.assertEqual(page.request.get(f"{self.stage.busy.public}{path}").status, 404, path)

    def test_robots(self) -> None:
        """Search engines are let to the pages for people alone."""
        text = self.page().request.get(f"{self.stage.busy.public}/robots.txt").text()
        self.assertIn("Disallow: /\n", text)
        self.assertEqual(set(re.findall(r"^Allow: (\S+)", text, re.MULTILINE)), {"/$", "/check$", "/privacy$"})

    def test_no_cookies(self) -> None:
        """The public pages set no cookies and store nothing in the browser."""
        context = self.context()
        for path in ("/", "/tags", "/check", "/privacy"):
            page = self.page(f"{self.stage.busy.public}{path}", context=context)
            self.assertEqual(page.evaluate("() => localStorage.length + sessionStorage.length"), 0)
        self.assertEqual(context.cookies(), [])
