"""Tests for L{socialrelay.web.pages}."""

from __future__ import annotations

from html.parser import HTMLParser

from attrs import define
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Overview, Unavailable
from socialrelay.config import Operator
from socialrelay.web.pages import STATIC, Pages, shielded
from socialrelay.web.templating import contact, moment, number, sentence
from tests.web_requests import Answer, ask, config, introduction

STATS: dict[str, object] = {
    "posts": {"24h": 1234567, "7d": 2, "30d": 3, "total": 4},
    "deliveries": {"24h": 5, "7d": 6, "30d": 7, "total": 8},
    "subscribers": {"total": 9, "all": 4, "tags": 5},
    "tags": 10,
    "nodes": 11,
    "queue": {},
}


@define
class FakeOverview:
    """Fixed numbers, or an error."""

    error: Exception | None = None

    def stats(self) -> Deferred[dict[str, object]]:
        return succeed(STATS) if self.error is None else fail(self.error)


_overview: type[Overview] = FakeOverview


class Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.levels: list[int] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.named: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.levels.append(int(tag[1]))
        for name, value in attrs:
            if name in ("href", "src", "action"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name in ("aria-labelledby", "for", "aria-describedby"):
                self.named.append(value or "")


def outline_faults(page: str) -> list[str]:
    """What is wrong with the structure of a page, for somebody who hears it or whose browser only shows it."""
    outline = Outline(page)
    faults: list[str] = [tag for tag in ("script", "style", "iframe", "object") if tag in outline.tags]
    faults += [address for address in outline.addresses if "//" in address or address.startswith("data:")]
    faults += [name for name in outline.named if outline.ids.count(name) != 1]
    faults += [landmark for landmark in ("header", "main", "footer", "nav") if outline.tags.count(landmark) != 1]
    faults += [f"h{level}" for before, level in zip([0, *outline.levels], outline.levels, strict=False) if level > before + 1]
    if '<html lang="en">' not in page or outline.levels.count(1) != 1 or 'style="' in page:
        faults.append("lang, h1 or style")
    return faults


class PagesTests(SynchronousTestCase):
    """What people and their programs see."""

    def setUp(self) -> None:
        self.overview = FakeOverview()

    def ask(self, path: str, method: str = "GET", **changes: object) -> Answer:
        pages = Pages(self.overview, config(**changes), introduction())
        return ask(self, pages.app.resource(), path, method)

    def test_first_page(self) -> None:
        """
        The first page names the relay and its operator, and shows the numbers.
        """
        page = self.ask("/").text
        for text in ("relay@relay.example", "1\u202f234\u202f567", 'href="mailto:ada@relay.example"', "Friendica", "Hubzilla", "diaspora*"):
            self.assertIn(text, page)
        self.assertNotIn("development mode", page)

    def test_source(self) -> None:
        """
        Each page says where the source code is, or who can be asked for it.
        """
        for path in ("/", "/privacy"):
            self.assertIn("Ask the operator for its source code.", self.ask(path).text)
            page = self.ask(path, operator=Operator(source="https://code.example/relay?a=1&b=2")).text
            self.assertIn('<a href="https://code.example/relay?a=1&amp;b=2">Source code</a>', page)
            self.assertNotIn("Ask the operator for its source", page)

    def test_structure(self) -> None:
        """
        The pages have language, landmarks and headings in order, run no scripts and load nothing from elsewhere.
        """
        for path in ("/", "/privacy"):
            self.assertEqual(outline_faults(self.ask(path).text), [])

    def test_strict(self) -> None:
        """
        A browser is told that the pages need nothing but their own style and pictures.
        """
        for path in ("/", "/privacy"):
            policy = self.ask(path).header(b"Content-Security-Policy")
            self.assertTrue(policy.startswith("default-src 'none'; style-src 'self'; img-src 'self';"), policy)

    def test_numbers_away(self) -> None:
        """
        The first page is there although storage is not: nodes judge by it whether the relay is online.
        """
        self.overview.error = Unavailable()
        self.assertEqual((self.ask("/").code, self.ask("/stats.json").code), (200, 503))

    def test_numbers_broken(self) -> None:
        """
        The first page survives an error in the numbers, which is logged.
        """
        self.overview.error = ZeroDivisionError()
        self.assertEqual(self.ask("/").code, 200)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stats(self) -> None:
        """
        The numbers are there as JSON for anybody.
        """
        found = self.ask("/stats.json")
        self.assertEqual((found.json, found.header(b"Access-Control-Allow-Origin")), (STATS, "*"))

    def test_development(self) -> None:
        """
        In development mode every page says so.
        """
        for path in ("/", "/privacy"):
            self.assertIn("development mode", self.ask(path, host="").text)

    def test_operator_is_escaped(self) -> None:
        """
        What the operator wrote is text, not markup.
        """
        page = self.ask("/", operator=Operator("<b>Ada</b>", '"><script>')).text
        self.assertIn("&lt;b&gt;Ada", page)
        self.assertNotIn("<script", page)

    def test_files(self) -> None:
        """
        Style, logo and favicon are there under their types.
        """
        for name, content_type in STATIC.items():
            found = self.ask(f"/static/{name}")
            self.assertEqual((found.code, found.header(b"Content-Type")), (200, content_type))
        self.assertEqual(self.ask("/favicon.ico").body, self.ask("/static/favicon.ico").body)

    def test_pictures_of_the_card(self) -> None:
        """
        The pictures that the hcard names are there.
        """
        for path in introduction().photos:
            self.assertTrue(self.ask(path).body.startswith(b"\x89PNG"))

    def test_no_other_files(self) -> None:
        """
        No path leads to a file that is not meant to be shown.
        """
        for path in ("/static/../pages.py", "/static/..%2fpages.py", "/static/", "/static/site.css/", "/templates/index.html"):
            self.assertEqual(self.ask(path).code, 404 if path != "/static/site.css/" else 200, path)

    def test_robots(self) -> None:
        """
        Robots are allowed the pages for people.
        """
        self.assertIn("Allow: /check$\n", self.ask("/robots.txt").text)

    def test_errors_are_sentences(self) -> None:
        """
        What is not there, and what is not allowed, is said in a line of plain text.
        """
        missing, wrong = self.ask("/wp-login.php"), self.ask("/", "DELETE")
        self.assertEqual((missing.code, missing.header(b"Content-Type"), missing.text.count("\n")), (404, "text/plain; charset=utf-8", 1))
        self.assertEqual((wrong.code, wrong.header(b"Allow")), (405, "GET, HEAD"))

    def test_shielded(self) -> None:
        """
        A client that hangs up does not cancel the query that it waited for.
        """
        cancelled: list[object] = []
        work: Deferred[dict[str, object]] = Deferred(cancelled.append)
        waiting = shielded(work)
        waiting.cancel()
        work.callback({})
        self.failureResultOf(waiting)
        self.assertEqual(cancelled, [])

    def test_for_people(self) -> None:
        """
        Numbers, times and addresses are written as people read them.
        """
        self.assertEqual(
            [number(1234), number(None), moment("2026-11-01T21:00:00+00:00")], ["1\u202f234", "–", "1 November 2026, 21:00 UTC"]
        )
        self.assertEqual([sentence("the node asks"), sentence("Done."), sentence("")], ["The node asks.", "Done.", ""])
        self.assertEqual(contact("javascript:alert(1)"), "javascript:alert(1)")
        self.assertIn('href="https://a.example/"', contact("https://a.example/"))
