"""The operators' pages: getting in, and what they show."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from tests.browser import seed
from tests.browser.case import BrowserCase, log_in
from tests.browser.stage import PASSWORD

PER_PAGE = 50


class LoginTests(BrowserCase):
    @property
    def site(self) -> str:
        return self.stage.busy.admin

    def test_right(self) -> None:
        """The password leads to the overview; the cookie is for this site alone, and no script can read it."""
        context = self.context()
        page = self.page(f"{self.site}/admin/", context=context)
        expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()
        log_in(page, PASSWORD)
        expect(page.get_by_role("status")).to_contain_text("You are logged in.")
        self.assertEqual(urlsplit(page.url).path, "/admin/")
        [cookie] = context.cookies()
        self.assertTrue(cookie["httpOnly"])
        self.assertEqual(cookie["sameSite"], "Strict")

    def test_wrong(self) -> None:
        """Another password is refused in words that say no more, and leaves nobody logged in."""
        context = self.context()
        page = self.page(f"{self.site}/admin/login", context=context, allowed=(403,))
        log_in(page, "correct horse")
        expect(page.get_by_role("alert")).to_contain_text("That is not the password.")
        page.goto(f"{self.site}/admin/nodes")
        expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()

    def test_again_and_again(self) -> None:
        """Who tries one password after another has to wait; a visitor from another address has not."""
        page = self.page(f"{self.site}/admin/login", allowed=(403, 429))
        for _ in range(12):
            with page.expect_navigation():
                log_in(page, "guess")
            if "too many wrong passwords" in page.get_by_role("alert").inner_text():
                break
        expect(page.get_by_role("alert")).to_contain_text("Try again in")
        other = self.page(f"{self.site}/admin/login")
        log_in(other, PASSWORD)
        expect(other.get_by_role("status")).to_contain_text("You are logged in.")

    def test_out(self) -> None:
        """After logging out no page is shown any more, and the session's cookie is worth nothing, whoever kept it."""
        context = self.operator(anew=True)
        kept = context.cookies()
        page = self.page(f"{self.site}/admin/nodes", context=context)
        self.follow(page, page.get_by_role("button", name="Log out"))
        expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()
        context.add_cookies(kept)
        page.goto(f"{self.site}/admin/nodes")
        expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()

    def test_link(self) -> None:
        """A link from the relay's machine logs in once, by a press of its button; to look at it does not use it up."""
        path = self.stage.does(self.stage.busy.daemon.act("login"))["path"]
        self.page(f"{self.site}{path}")
        page = self.page(f"{self.site}{path}", java_script_enabled=False)
        page.get_by_role("region", name="With your link").get_by_role("button", name="Log in").click()
        expect(page.get_by_role("status")).to_contain_text("You are logged in.")
        again = self.page(f"{self.site}{path}", allowed=(403,))
        expect(again.get_by_role("alert")).to_contain_text("used up")

    def test_no_password(self) -> None:
        """Where no password is set the page has no field for one, and says how to get in."""
        page = self.page(f"{self.stage.fresh.admin}/admin/login")
        expect(page.get_by_role("main")).to_contain_text("socialrelay login")
        expect(page.locator("input[type=password]")).to_have_count(0)

    def test_closed(self) -> None:
        """Nobody sees any page without logging in, and nothing is done for whoever sends a form without the session's token."""
        page = self.page()
        for path in ("/admin/", "/admin/nodes", "/admin/queue", "/admin/rejected", "/admin/rules", "/admin/bus", "/admin/events"):
            page.goto(f"{self.site}{path}")
            expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()
        host = seed.hosts()[300]
        context = self.operator()
        for forged in ({"host": host}, {"host": host, "csrf": "guessed"}):
            answer = context.request.post(f"{self.site}/admin/act/suspend", form=forged)
            self.assertEqual(answer.status, 403)
        self.assertEqual(self.stage.view(f"node?host={host}")["deliveries"]["state"], "active")


class PagesTests(BrowserCase):
    def setUp(self) -> None:
        self.entered = self.operator(java_script_enabled=False)

    def at(self, path: str, allowed: tuple[int, ...] = ()) -> Page:
        return self.page(f"{self.stage.busy.admin}/admin/{path}", context=self.entered, allowed=allowed)

    def hosts(self, page: Page) -> list[str]:
        return page.locator("tbody th[scope=row]").all_inner_texts()

    def total(self, page: Page) -> int:
        """How many nodes the page says there are."""
        found = re.search(r"(\d+) nodes?", re.sub(r"(?<=\d)\s(?=\d)", "", page.get_by_role("status").last.inner_text()))
        assert found is not None
        return int(found[1])

    def test_overview(self) -> None:
        """The overview says how the relay is, what needs attention, and how many nodes are in which state."""
        page = self.at("")
        expect(page.get_by_role("main")).to_contain_text("ready")
        expect(page.get_by_role("region", name="What needs attention")).to_contain_text("21 nodes are dead")
        nodes = page.get_by_role("region", name="Nodes that are sent to")
        for state in ("active", "deferred", "dead", "gone", "suspended"):
            expect(nodes).to_contain_text(state)
        self.follow(page, page.get_by_role("link", name="21 nodes are dead"))
        self.assertEqual(len(self.hosts(page)), 21)

    def test_many(self) -> None:
        """Ten thousand nodes come in pages of fifty, from the first to the last."""
        page = self.at("nodes")
        total = self.total(page)
        self.assertGreaterEqual(total, seed.NODES)
        first = self.hosts(page)
        self.assertEqual(len(first), PER_PAGE)
        self.assertEqual(first, sorted(first))
        self.follow(page, page.get_by_role("link", name="Next"))
        second = self.hosts(page)
        self.assertEqual([*first, *second], sorted({*first, *second}))
        self.follow(page, page.get_by_role("link", name="Last", exact=True))
        last = self.hosts(page)
        self.assertEqual(len(last), total % PER_PAGE or PER_PAGE)
        self.assertGreater(last[0], second[-1])
        self.follow(page, page.get_by_role("link", name="First", exact=True))
        self.assertEqual(self.hosts(page), first)

    def test_filter(self) -> None:
        """A part of a name and a kind choose among them, and stay chosen on the next page and under another order."""
        page = self.at("nodes")
        page.get_by_label("Part of the name").fill("harbour")
        self.follow(page, page.get_by_role("button", name="Show"))
        wanted = sorted(host for host in seed.hosts() if "harbour" in host)
        self.assertEqual(self.total(page), len(wanted))
        self.assertEqual(self.hosts(page), wanted[:PER_PAGE])
        self.follow(page, page.get_by_role("link", name="Next"))
        self.assertEqual(self.hosts(page), wanted[PER_PAGE : 2 * PER_PAGE])
        self.follow(page, page.get_by_role("link", name="Node", exact=True))
        self.assertEqual(self.hosts(page), wanted[::-1][:PER_PAGE])
        page.get_by_role("combobox", name="Nodes").select_option("subscribed")
        self.follow(page, page.get_by_role("button", name="Show"))
        self.assertEqual(self.total(page), len([host for host in seed.hosts()[: seed.SUBSCRIBERS] if "harbour" in host]))

    def test_nothing_found(self) -> None:
        """Where no node fits, the page says so and can still be searched."""
        page = self.at("nodes?text=%3Cb%3E")
        self.assertEqual(self.total(page), 0)
        expect(page.get_by_role("status").last).to_contain_text("<b>")
        expect(page.get_by_label("Part of the name")).to_have_value("<b>")

    def test_sort(self) -> None:
        """Each heading sorts by its column, says that it does, and turns round when it is pressed again."""
        page = self.at("nodes?which=subscribed")
        for name, cell in (("Delivered", 4), ("Behind", 3)):
            self.follow(page, page.get_by_role("link", name=name, exact=True))
            expect(page.get_by_role("columnheader", name=name)).to_have_attribute("aria-sort", "descending")
            column = page.locator(f"tbody tr td:nth-of-type({cell})")
            falling = [int(re.sub(r"\D", "", text) or -1) for text in column.all_inner_texts()]
            self.assertEqual(falling, sorted(falling, reverse=True))
            self.follow(page, page.get_by_role("link", name=name, exact=True))
            expect(page.get_by_role("columnheader", name=name)).to_have_attribute("aria-sort", "ascending")
            rising = [int(re.sub(r"\D", "", text)) for text in column.all_inner_texts() if re.search(r"\d", text)]
            self.assertEqual(rising, sorted(rising))
            self.assertLessEqual(rising[-1], falling[0])

    def test_node(self) -> None:
        """One node's page says in which state it is and why, how far behind, when it is tried again, what it asks for and since when."""
        host = seed.hosts()[1]  # deferred, wants everything
        node = self.stage.view(f"node?host={host}")
        page = self.at(f"nodes?text={host}")
        self.follow(page, page.get_by_role("link", name=host, exact=True))
        expect(page.get_by_role("heading", level=1)).to_have_text(host)
        fares = page.get_by_role("region", name="How deliveries fare")
        for said in ("deferred", node["deliveries"]["last_reason"], "Next attempt", "positions behind the end of the log", "refused"):
            expect(fares).to_contain_text(said)
        expect(page.get_by_role("region", name="What it gets")).to_contain_text("all public posts")
        expect(page.get_by_role("region", name="What it publishes")).to_contain_text("Last poll")

    def test_unknown_node(self) -> None:
        """A node that nobody has heard of is said to be unknown, with what can be done."""
        page = self.at("nodes/never-heard-of.example", allowed=(404,))
        expect(page.get_by_role("main")).to_contain_text("has never heard of never-heard-of.example")

    def test_queue(self) -> None:
        """The queue shows the nodes that do not get what is meant for them, those of one state if that is chosen."""
        page = self.at("queue")
        troubled = self.hosts(page)
        self.assertGreaterEqual(len(troubled), 75)
        states = page.get_by_role("list", name="Nodes")
        self.follow(page, states.get_by_role("link", name="suspended"))
        shown = self.hosts(page)
        self.assertGreaterEqual(len(shown), 3)
        self.assertLessEqual(set(shown), set(troubled))
        expect(states.locator("[aria-current]")).to_contain_text("suspended")

    def test_quarantine(self) -> None:
        """What the relay could not judge is listed with its reason, and can be dropped."""
        page = self.at("queue")
        rows = page.get_by_role("region", name="Quarantine").first.locator("tbody tr")
        expect(rows).to_have_count(3)
        expect(rows.first).to_contain_text("RecursionError")
        rows.last.get_by_role("button", name="Drop it").click()
        expect(page.get_by_role("status").first).to_be_visible()
        expect(rows).to_have_count(2)

    def test_rejected(self) -> None:
        """What was not relayed is listed with its reason, and the reasons are counted."""
        page = self.at("rejected")
        expect(page.get_by_role("region", name="Reasons")).to_contain_text("bad-signature")
        self.assertGreater(page.locator("tbody tr").count(), 40)

    def test_no_such_page(self) -> None:
        """A wrong address says so, and leads back."""
        page = self.at("nonsense", allowed=(404,))
        self.follow(page, page.get_by_role("link", name="To the overview"))
        self.assertEqual(urlsplit(page.url).path, "/admin/")


class EventsTests(BrowserCase):
    def test_live(self) -> None:
        """What the relay logs appears on the page of events as it happens, without the page being loaded anew."""
        stage = self.stage
        page = self.page(f"{stage.busy.admin}/admin/events", context=self.operator())
        expect(page.locator("#live")).to_contain_text("as it happens")
        page.evaluate("() => { window.same = true; }")
        node = stage.node()
        stage.does(stage.busy.daemon.act("subscribe", host=node.host, tags=["eventful"]))
        expect(page.locator("#events tr").filter(has_text=node.host).first).to_be_visible()
        self.assertTrue(page.evaluate("() => window.same"))

    def test_levels(self) -> None:
        """Only warnings are shown if that is chosen."""
        log_in(self.page(f"{self.stage.busy.admin}/admin/login", allowed=(403,)), "a wrong password")
        page = self.page(f"{self.stage.busy.admin}/admin/events", context=self.operator(java_script_enabled=False))
        self.follow(page, page.get_by_role("link", name="warnings and errors"))
        rows = page.locator("#events tr")
        self.assertGreater(rows.count(), 0)
        expect(rows.filter(has_text="warn")).to_have_count(rows.count())
