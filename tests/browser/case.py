"""What the tests of pages have in common: a browser, watched pages, and what is asked of every page."""

from __future__ import annotations

from itertools import count
from typing import Any, ClassVar
from unittest import TestCase

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, Response, expect

from tests.browser.stage import PASSWORD, Stage

STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NARROW = {"width": 360, "height": 780}
WIDE = {"width": 1280, "height": 900}
_clients = count(1)

expect.set_options(timeout=20_000)


class Watched:
    """
    What went wrong on a page while it was open.

    @ivar allowed: statuses of answers that are as they should be.
    """

    def __init__(self, page: Page, allowed: tuple[int, ...]) -> None:
        self.allowed = allowed
        self.found: list[str] = []
        self._page = page
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.found.append(f"an error in a script: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", self._asked)
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(f"status of {code}" in message.text for code in self.allowed):
            self.found.append(f"on the console: {message.text}")

    def _failed(self, request: Request) -> None:
        # What goes on when a page is left is broken off, and so it should be.
        if request.failure != "net::ERR_ABORTED":
            self.found.append(f"{request.url}: {request.failure}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.found.append(f"asked elsewhere: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.allowed:
            self.found.append(f"{response.url} was answered with {response.status}")


class BrowserCase(TestCase):
    """
    @cvar stage: the relays.
    @cvar browser: the one browser of the run; each test has contexts of its own in it.
    @cvar _session: cookies of an operator who has logged in.
    """

    stage: ClassVar[Stage]
    browser: ClassVar[Browser]
    _session: ClassVar[list[Any]] = []
    maxDiff = None

    def context(self, **options: Any) -> BrowserContext:
        """A visitor with an address of his own, and no cookies."""
        number = next(_clients)
        headers = {"X-Forwarded-For": f"198.51.{100 + number // 250}.{number % 250 + 1}"}
        options = {"viewport": WIDE, "locale": "en-GB", "extra_http_headers": headers, **options}
        context = self.browser.new_context(**options)
        context.set_default_timeout(20_000)
        self.addCleanup(context.close)
        return context

    def page(self, address: str = "", *, allowed: tuple[int, ...] = (), context: BrowserContext | None = None, **options: Any) -> Page:
        """
        A page that is watched until the test is over.

        @param address: shown at once, unless it is empty.
        @param allowed: statuses of errors that are expected.
        """
        page = (context or self.context(**options)).new_page()
        watched = Watched(page, allowed)
        self.addCleanup(lambda: self.assertEqual(watched.found, []))
        if address:
            page.goto(address)
        return page

    def operator(self, *, anew: bool = False, **options: Any) -> BrowserContext:
        """
        A visitor who is logged in at the operators' site of the busy relay.

        @param anew: with a session that nobody else has, to be ended.
        """
        if anew or not self._session:
            context = self.context()
            page = self.page(f"{self.stage.busy.admin}/admin/login", context=context)
            with page.expect_navigation():
                log_in(page, PASSWORD)
            if anew:
                return context
            BrowserCase._session = context.cookies()
            context.close()
        context = self.context(**options)
        context.add_cookies(self._session)
        return context

    def follow(self, page: Page, leads: Locator) -> None:
        """Press what leads to another page, and wait until it is there."""
        with page.expect_navigation():
            leads.click()

    # What is asked of every page

    def assert_accessible(self, page: Page) -> None:
        """Axe finds nothing; in dark, where but the colours differ, nothing wrong with them."""
        page.emulate_media(color_scheme="light")
        self.assertEqual(axe(page, {"type": "tag", "values": STANDARD}), [], f"{page.url}, light")
        page.emulate_media(color_scheme="dark")
        self.assertEqual(axe(page, {"type": "rule", "values": ["color-contrast"]}), [], f"{page.url}, dark")

    def assert_fits(self, page: Page) -> None:
        """Nothing has to be scrolled sideways but what scrolls by itself."""
        self.assertEqual(page.evaluate(_TOO_WIDE), [], page.url)

    def assert_well_formed(self, page: Page) -> None:
        """It has a language, a title, landmarks, one main heading, and no heading skips a level."""
        self.assertEqual(page.evaluate(_OUTLINE), [], page.url)

    def assert_reachable(self, page: Page) -> None:
        """The tab key reaches all that can be used, in the order in which it stands there, and one sees where one is."""
        self.assertEqual(walk(page), [], page.url)


def log_in(page: Page, password: str) -> None:
    """Fill the form in, and send it."""
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()


def axe(page: Page, rules: dict[str, Any]) -> list[str]:
    """
    What axe-core has to complain about, a line for each kind.

    @param rules: which of its rules are asked.
    """
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate(
        "rules => axe.run({runOnly: rules, resultTypes: ['violations']})"
        ".then(found => found.violations.map(each => [each.id, each.nodes.map(node => [node.target.join(' '), node.failureSummary])]))",
        rules,
    )
    return [f"{name}: {len(nodes)}, such as {nodes[0][0]}: {' '.join(nodes[0][1].split())}" for name, nodes in found]


def walk(page: Page, limit: int = 70) -> list[str]:
    """
    Press the tab key until the page's end; of a long list, for its beginning.

    @return: what is wrong.
    """
    wanted = page.evaluate(_USABLE)
    found, wrong = [], []
    page.evaluate(_FROM_THE_START)
    for _ in range(min(len(wanted) + 1, limit)):
        page.keyboard.press("Tab")
        at = page.evaluate(_FOCUSED)
        if at is None:
            break
        if found and at["number"] == found[0]:
            break
        found.append(at["number"])
        if not at["seen"]:
            wrong.append(f"one does not see the focus at {at['what']}")
    missed = [each["what"] for each in wanted[:limit] if each["number"] not in found]
    wrong += [f"the tab key does not reach {what}" for what in missed]
    if not missed and found != sorted(found):
        wrong.append(f"the order is {found}")
    return wrong


# Elements are numbered in the order of the document.
_USABLE = """() => {
  let number = 0;
  const found = [];
  for (const each of document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')) {
    each.dataset.numbered = ++number;
    const hidden = !each.checkVisibility({visibilityProperty: true, contentVisibilityAuto: true}) || each.closest('details:not([open]) > :not(summary)');
    const away = each.disabled || each.tabIndex < 0 || each.type === 'hidden';
    const group = each.type === 'radio' && !each.checked && document.querySelector(`input[type=radio][name="${each.name}"]:checked`);
    if (!hidden && !away && !group) {
      found.push({number, what: each.outerHTML.slice(0, 120)});
    }
  }
  return found;
}"""

_FROM_THE_START = """() => {
  const start = document.createElement('span');
  start.tabIndex = -1;
  document.body.prepend(start);
  start.focus();
  start.remove();
}"""

_FOCUSED = """() => {
  const at = document.activeElement;
  if (!at || at === document.body || !at.dataset.numbered) return null;
  const style = getComputedStyle(at);
  const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  const box = at.getBoundingClientRect();
  const shown = box.width > 0 && box.height > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  return {number: Number(at.dataset.numbered), what: at.outerHTML.slice(0, 120), seen: shown && (outlined || style.boxShadow !== 'none')};
}"""

_TOO_WIDE = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const wide = [...document.querySelectorAll('body *')].filter(each => each.getBoundingClientRect().right > root.clientWidth + 1);
  return [`the page is ${root.scrollWidth} wide on a screen of ${root.clientWidth}`, ...wide.slice(0, 3).map(each => each.outerHTML.slice(0, 120))];
}"""

_OUTLINE = """() => {
  const wrong = [];
  if (!document.documentElement.lang) wrong.push('no language');
  if (!document.title.trim()) wrong.push('no title');
  for (const landmark of ['header', 'main', 'footer']) {
    const count = document.querySelectorAll(`body > ${landmark}`).length;
    if (count !== 1) wrong.push(`${count} times ${landmark}`);
  }
  const levels = [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(each => Number(each.tagName[1]));
  if (levels.filter(each => each === 1).length !== 1) wrong.push('not one main heading');
  levels.forEach((level, place) => { if (place && level > levels[place - 1] + 1) wrong.push(`h${levels[place - 1]} is followed by h${level}`); });
  for (const table of document.querySelectorAll('table')) {
    if (!table.querySelector('th')) wrong.push('a table without headings: ' + table.outerHTML.slice(0, 80));
  }
  return wrong;
}"""
