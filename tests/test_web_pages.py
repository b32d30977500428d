"""Tests for L{socialrelay.web.pages}."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Overview, Unavailable
from socialrelay.config import Bus, Dashboard, Operator, Retention
from socialrelay.web.live import LiveStreams
from socialrelay.web.pages import PER_PAGE, STATIC, Pages, shielded
from socialrelay.web.templating import contact, moment, number, seconds, sentence, when
from tests.test_web_charts import points
from tests.web_requests import Answer, ask, config, introduction

T = TypeVar("T")


def periods(count: int) -> dict[str, int]:
    """A count of each period."""
    return {"24h": count, "7d": count + 1, "30d": count + 2, "total": count + 3}


STATS: dict[str, object] = {
    "at": "2026-11-22T04:05:06+00:00",
    "received": periods(20),
    "posts": periods(1234567),
    "rejected": periods(0),
    "ignored": periods(30),
    "deliveries": periods(40),
    "failed": periods(50),
    "bounced": periods(60),
    "expired": periods(70),
    "cancelled": periods(80),
    "subscribers": {"total": 987, "all": 400, "tags": 587},
    "tags": 4321,
    "nodes": 1100,
    "authors": 2200,
    "delay": {"24h": {"p50": 0.5, "p99": 130.0}},
    "queue": {"destinations": 990, "active": 980, "deferred": 7, "dead": 3, "waiting": 77, "behind": 4},
}


@define
class FakeOverview:
    """Fixed numbers, or an error; remembers what it was asked."""

    error: Exception | None = None
    asked: list[tuple[object, ...]] = field(factory=list)
    total: int = 250

    def stats(self) -> Deferred[dict[str, object]]:
        return self._answer(STATS)

    def series(self, period: str) -> Deferred[list[dict[str, object]]]:
        self.asked.append((period,))
        return self._answer(points(30 if period == "30d" else 24 if period == "24h" else 168, days=period == "30d"))

    def tags(self, text: str, offset: int, limit: int) -> Deferred[dict[str, object]]:
        self.asked.append((text, offset, limit))
        found = [{"tag": f"tag{number}", "nodes": 1000 - number} for number in range(self.total)]
        return self._answer({"tags": found[offset : offset + limit], "total": self.total})

    def subscribed(self, offset: int, limit: int) -> Deferred[dict[str, object]]:
        self.asked.append((offset, limit))
        found = [{"host": f"pod{number}.example", "scope": ("all", "tags")[number % 2], "tags": number % 2} for number in range(self.total)]
        return self._answer({"nodes": found[offset : offset + limit], "total": self.total})

    def _answer(self, result: T) -> Deferred[T]:
        return succeed(result) if self.error is None else fail(self.error)


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
        self.navs: list[str] = []
        self.scripts: list[str] = []
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
                self.named += (value or "").split()
            if tag == "nav" and name == "aria-label":
                self.navs.append(value or "")
            if tag == "script" and name == "src":
                self.scripts.append(value or "")


def outline_faults(page: str) -> list[str]:
    """What is wrong with the structure of a page, for somebody who hears it or whose browser only shows it."""
    outline = Outline(page)
    faults: list[str] = [tag for tag in ("style", "iframe", "object") if tag in outline.tags]
    faults += ["an inline script"] * (outline.tags.count("script") - len(outline.scripts))
    faults += [address for address in outline.addresses if "//" in address or address.startswith("data:")]
    faults += [name for name in outline.named if outline.ids.count(name) != 1]
    faults += [each for each in outline.ids if outline.ids.count(each) != 1]
    faults += [landmark for landmark in ("header", "main", "footer") if outline.tags.count(landmark) != 1]
    if len(set(outline.navs)) != outline.tags.count("nav") or "Pages" not in outline.navs:
        faults.append("each nav needs a label of its own")
    faults += [f"h{level}" for before, level in zip([0, *outline.levels], outline.levels, strict=False) if level > before + 1]
    if '<html lang="en">' not in page or outline.levels.count(1) != 1 or 'style="' in page:
        faults.append("lang, h1 or style")
    return faults


class PagesTests(SynchronousTestCase):
    """What people and their programs see."""

    def setUp(self) -> None:
        self.overview = FakeOverview()

    def ask(self, path: str, method: str = "GET", headers: dict[bytes, bytes] | None = None, **changes: object) -> Answer:
        clock = Clock()
        streams = LiveStreams(clock, most=0, per_client=0, counters=Counter())
        started_at = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        pages = Pages(self.overview, config(**changes), introduction(), streams, clock, started_at)
        return ask(self, pages.app.resource(), path, method, headers=headers or {})

    def test_first_page(self) -> None:
        """
        The first page names the relay and its operator, and shows the numbers.
        """
        page = self.ask("/").text
        for text in ("relay@relay.example", "1\u202f234\u202f567", 'href="mailto:ada@relay.example"', "Friendica", "Hubzilla", "diaspora*"):
            self.assertIn(text, page)
        for text in (">987<", ">4\u202f321<", ">2\u202f200<", ">0.5 s<", ">2 min<", ">77<", "20 November 2026, 12:00 UTC", "As of"):
            self.assertIn(text, page)
        self.assertNotIn("development mode", page)

    def test_counts(self) -> None:
        """
        What came in and went out is counted for a day, a week, a month, and all time.
        """
        row = re.search("Given up</th>(.*?)</tr>", self.ask("/").text)
        assert row is not None
        self.assertEqual(re.findall(r">(\d+)<", row[1]), ["70", "71", "72", "73"])

    def test_period(self) -> None:
        """
        The charts show a day, a week or a month, by a link; what is none of these shows a day.
        """
        for path in ("/", "/?period=7d", "/?period=30d", "/?period=1y"):
            self.assertEqual(self.ask(path).code, 200)
        self.assertEqual(self.overview.asked, [("24h",), ("7d",), ("30d",), ("24h",)])
        self.assertIn('href="/?period=7d#time" aria-current="true"', self.ask("/?period=7d").text)

    def test_no_deliveries(self) -> None:
        """
        Without deliveries there is no delay to speak of.
        """
        stats, STATS["delay"] = STATS["delay"], {"24h": None}
        self.addCleanup(STATS.update, delay=stats)
        self.assertIn("Delay of a delivery", self.ask("/").text)

    def test_charts_alone(self) -> None:
        """
        The charts can be had without the page; of no other periods.
        """
        found = self.ask("/charts?period=7d").text
        self.assertEqual((found.count("<svg"), found.count("<table"), "<html" in found), (6, 2, False))
        self.assertEqual(self.ask("/charts?period=1y").code, 400)

    def test_drawn_once(self) -> None:
        """
        Charts of the same points are drawn once.
        """
        clock = Clock()
        pages = Pages(self.overview, config(), introduction(), LiveStreams(clock, most=0, per_client=0, counters=Counter()), clock)
        same, other = points(24), points(24, posts=99)
        drawn = pages._drawn(same, "24h")
        self.assertIs(pages._drawn(same, "24h"), drawn)
        self.assertIn("99 relayed", pages._drawn(other, "24h"))

    def test_live_refused(self) -> None:
        """
        A page for which there is no stream learns when to ask again.
        """
        found = self.ask("/live")
        self.assertEqual((found.code, found.header(b"Retry-After")), (503, "30"))
        self.assertEqual(self.ask("/live", "HEAD").code, 200)

    def test_tags(self) -> None:
        """
        Hashtags are searched and come in pages; what was searched for stays in the form and in the links.
        """
        page = self.ask("/tags?q=%23Ta%22g&page=2").text
        self.assertEqual(self.overview.asked, [('#Ta"g', PER_PAGE, PER_PAGE)])
        for text in ("Page 2 of 3", "#tag100", 'value="#Ta&#34;g"', "/tags?q=%23Ta%22g&amp;page=3"):
            self.assertIn(text, page)
        self.assertEqual(outline_faults(page), [])

    def test_tags_without_end(self) -> None:
        """
        A page that is no number is the first; one that is not there says which is the last.
        """
        for wrong in ("0", "-1", "x", "٣", "9" * 30, ""):
            self.assertIn("Page 1 of 3", self.ask(f"/tags?page={wrong}").text, wrong)
        self.assertIn('<a href="/tags?page=3">', self.ask("/tags?page=4").text)
        self.overview.total = 0
        self.assertIn("No hashtag", self.ask("/tags?q=x").text)

    def test_nodes(self) -> None:
        """
        Names of subscribed nodes are shown by operators who wish it.
        """
        self.assertEqual(self.ask("/nodes").code, 404)
        self.assertNotIn('href="/nodes"', self.ask("/").text)
        shown = Dashboard(node_names=True)
        page = self.ask("/nodes?page=2", dashboard=shown).text
        for text in ("pod100.example", "all public posts", "posts with 1 hashtag", "Page 2 of 3"):
            self.assertIn(text, page)
        self.assertEqual(outline_faults(page), [])
        self.assertIn('href="/nodes"', self.ask("/", dashboard=shown).text)

    def test_lists_away(self) -> None:
        """
        While storage is away the lists say so.
        """
        self.overview.error = Unavailable()
        for path in ("/tags", "/nodes", "/charts?period=7d"):
            found = self.ask(path, dashboard=Dashboard(node_names=True))
            self.assertEqual((found.code, "not to be had" in found.text), (503, True), path)

    def test_retention(self) -> None:
        """
        What is kept stands on the page for privacy as the configuration says, as do rules and imprint.
        """
        operator = Operator("Ada", "ada@relay.example", rules="Be kind.\nNo spam.", imprint="https://ada.example/imprint")
        page = self.ask("/privacy", retention=Retention(posts=12, keys=1), operator=operator).text
        for text in ("12 days", "1 day<", "Be kind.\nNo spam.", '<a href="https://ada.example/imprint">'):
            self.assertIn(text, page)
        self.assertNotIn("What may be relayed", self.ask("/privacy").text)
        self.assertNotIn("programs were told", page)
        self.assertIn("programs were told", self.ask("/privacy", bus=Bus(enabled=True)).text)

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

    def test_scripts(self) -> None:
        """
        The first page has scripts of the relay's own; the others have none, and may have none.
        """
        scripts = Outline(self.ask("/").text).scripts
        self.assertEqual([self.ask(script).header(b"Content-Type") for script in scripts], ["text/javascript; charset=utf-8"] * 2)
        for path in ("/privacy", "/tags"):
            found = self.ask(path)
            self.assertNotIn("<script", found.text)
            self.assertNotIn("script", found.header(b"Content-Security-Policy"))

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
        self.assertEqual(outline_faults(self.ask("/").text), [])

    def test_numbers_away_for_a_moment(self) -> None:
        """
        A page without numbers is kept by no cache, and says so to the script that looks whether they are back.
        """
        self.overview.error = Unavailable()
        found = self.ask("/")
        self.assertEqual((found.header(b"Cache-Control"), found.text.count("data-away")), ("no-store", 1))
        self.overview.error = None
        found = self.ask("/")
        self.assertEqual((found.header(b"Cache-Control"), found.text.count("data-away")), ("public, max-age=10", 0))

    def test_numbers_broken(self) -> None:
        """
        The first page survives an error in the numbers, which is logged.
        """
        self.overview.error = ZeroDivisionError()
        self.assertEqual(self.ask("/").code, 200)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

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
        self.assertNotIn("<script>", page)

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
        self.assertEqual(self.ask("/robots.txt").text, "User-agent: *\nAllow: /$\nAllow: /check$\nAllow: /privacy$\nDisallow: /\n")

    def test_errors_are_sentences(self) -> None:
        """
        What is not there, and what is not allowed, is said in a line of plain text.
        """
        missing, wrong = self.ask("/wp-login.php"), self.ask("/", "DELETE")
        self.assertEqual((missing.code, missing.header(b"Content-Type"), missing.text.count("\n")), (404, "text/plain; charset=utf-8", 1))
        self.assertEqual((wrong.code, wrong.header(b"Allow")), (405, "GET, HEAD"))

    def test_nothing_there(self) -> None:
        """
        Whoever comes with a browser to an address where there is nothing is led to the first page.
        """
        page = self.ask("/wp-login.php", headers={b"Accept": b"text/html,*/*;q=0.8"})
        self.assertEqual((page.code, page.header(b"Content-Type")), (404, "text/html; charset=utf-8"))
        self.assertIn('<a class="button" href="/">', page.text)

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
        self.assertEqual(
            str(when("2026-11-01T22:00:00+01:00")), '<time datetime="2026-11-01T21:00:00+00:00">1 November 2026, 21:00 UTC</time>'
        )
        self.assertEqual([str(when("<")), str(when("2026-11-01T09:05:00", "%H:%M"))[-13:]], ["&lt;", ">09:05</time>"])
        self.assertEqual(
            [seconds(0), seconds(0.02), seconds(9.94), seconds(59.6), seconds(3600), seconds(7200), seconds(None)],
            ["0.0 s", "20 ms", "9.9 s", "60 s", "60 min", "2 h", "–"],
        )
        self.assertEqual([sentence("the node asks"), sentence("Done."), sentence("")], ["The node asks.", "Done.", ""])
        self.assertEqual(contact("javascript:alert(1)"), "javascript:alert(1)")
        self.assertIn('href="https://a.example/"', contact("https://a.example/"))
