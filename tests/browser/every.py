"""What holds for every page of both sites, whoever looks at it and with what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.browser import seed
from tests.browser.case import NARROW, BrowserCase

PUBLIC = (
    "/",
    "/?period=7d",
    "/tags",
    "/tags?q=nobodywantsthis",
    "/check",
    "/check?node=not%20a%20host",
    "/privacy",
    "/nodes",
)
FRESH = ("/", "/tags", "/check", "/privacy")
LOGIN = "/admin/login"
EMPTY = ("/admin/", "/admin/nodes", "/admin/queue", "/admin/rules")


def admin_paths() -> list[str]:
    """The operators' pages, with nodes in each state."""
    hosts = seed.hosts()
    return [
        "/admin/",
        "/admin/nodes",
        f"/admin/nodes/{hosts[0]}",
        f"/admin/nodes/{hosts[50]}",
        f"/admin/nodes/{hosts[100]}",
        "/admin/queue",
        "/admin/rejected",
        "/admin/rules",
        "/admin/bus",
        "/admin/events",
    ]


class EveryPageTests(BrowserCase):
    def each(self, check: Callable[[Page], object], **options: Any) -> None:
        """
        Hold every page of both sites against something.

        @param options: of the browser's context.
        """
        busy, fresh = self.stage.busy, self.stage.fresh
        anybody = [*(f"{busy.public}{path}" for path in PUBLIC), f"{busy.admin}{LOGIN}", *(f"{fresh.public}{path}" for path in FRESH)]
        context = self.context(**options)
        for address in anybody:
            self._one(check, context, address)
        context.close()
        context = self.operator(**options)
        for path in admin_paths():
            self._one(check, context, f"{busy.admin}{path}")
        context.close()
        context = self.by_link(**options)
        for path in EMPTY:
            self._one(check, context, f"{fresh.admin}{path}")
        context.close()

    def by_link(self, **options: Any) -> BrowserContext:
        """Somebody who has logged in at the fresh relay, which has no password."""
        context, daemon = self.context(**options), self.stage.fresh.daemon
        page = self.page(f"{self.stage.fresh.admin}{self.stage.does(daemon.act('login'))['path']}", context=context)
        self.follow(page, page.get_by_role("region", name="With your link").get_by_role("button", name="Log in"))
        page.close()
        return context

    def _one(self, check: Callable[[Page], object], context: BrowserContext, address: str) -> None:
        with self.subTest(page=address):
            page = self.page(address, context=context, allowed=(400,) if "not%20a" in address else ())
            try:
                check(page)
            finally:
                page.close()

    def test_accessible(self) -> None:
        """Axe finds nothing to complain about on any page, light or dark, and nothing moves for those who asked that nothing should."""

        def check(page: Page) -> None:
            self.assert_accessible(page)
            self.assertEqual(page.evaluate(_MOVING), [], page.url)

        self.each(check, reduced_motion="reduce")

    def test_outline(self) -> None:
        """Each page tells programs, too, its language, its title, its parts, its headings in their order, and its times."""
        titles: dict[str, str] = {}

        def check(page: Page) -> None:
            self.assert_well_formed(page)
            self.assertEqual(page.evaluate(_LOOSE_TIMES), [], page.url)
            site, _, path = page.url.partition("?")[0].removeprefix("http://").partition("/")
            self.assertEqual(titles.setdefault(f"{site} {page.title()}", path), path, "two pages have one title")

        self.each(check)

    def test_fits(self) -> None:
        """On a telephone, and with letters twice as large, no page has to be scrolled sideways; on paper is what can be read there."""

        def check(page: Page) -> None:
            self.assert_fits(page)
            page.set_viewport_size({"width": 640, "height": 800})
            page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
            self.assert_fits(page)
            page.emulate_media(media="print")
            self.assertTrue(page.locator("h1").is_visible(), page.url)
            self.assertFalse(page.locator("header nav").first.is_visible(), page.url)

        self.each(check, viewport=NARROW)

    def test_keyboard(self) -> None:
        """The tab key reaches everything that can be used, in its order, and one sees where one is."""
        self.each(self.assert_reachable, reduced_motion="reduce")

    def test_without_scripts(self) -> None:
        """Without scripts each page has the same headings and tables as with them."""
        found: dict[str, list[str]] = {}
        self.each(lambda page: found.update({page.url: words(page)}))
        self.each(lambda page: self.assertEqual(words(page), found[page.url]), java_script_enabled=False)


def words(page: Page) -> list[str]:
    """The headings, and what the tables say in their first column."""
    return [each.strip() for each in page.locator("h1, h2, h3, th").all_inner_texts()]


_MOVING = """() => document.getAnimations().filter(each => each.playState === 'running' && each.effect.getComputedTiming().duration > 1)
  .map(each => each.effect.target.outerHTML.slice(0, 120))"""

_LOOSE_TIMES = r"""() => {
  const wrong = [];
  const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent;
    const home = walker.currentNode.parentElement;
    if (/\b([01]\d|2[0-3]):[0-5]\d\b/.test(text) && !home.closest('time, svg, code, pre, .log')) wrong.push(text.trim().slice(0, 80));
  }
  return wrong;
}"""
