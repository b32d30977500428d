"""The pages for people: what this relay is and does, how to use it, what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlencode

from klein import Klein
from markupsafe import Markup
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import NotFound

from socialrelay import __version__
from socialrelay.boundaries import Overview, Streams, Unavailable
from socialrelay.config import Config
from socialrelay.diaspora.identity import Introduction
from socialrelay.web.addresses import limited_as
from socialrelay.web.answers import HTML, answer, application, as_json, sentence
from socialrelay.web.charts import FRAME, PERIODS, Point, charts
from socialrelay.web.live import RETRY, LiveNumbers
from socialrelay.web.privacy import kept
from socialrelay.web.request import client_address
from socialrelay.web.templating import LIVE, STRICT, static_file, templates

T = TypeVar("T")

STATIC = {
    "site.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "copy.js": "text/javascript; charset=utf-8",
    "hero.svg": "image/svg+xml",
    "logo.svg": "image/svg+xml",
    "logo-300.png": "image/png",
    "logo-100.png": "image/png",
    "logo-50.png": "image/png",
    "favicon.ico": "image/x-icon",
}

ROBOTS = b"User-agent: *\nAllow: /$\nAllow: /check$\nAllow: /privacy$\nDisallow: /\n"

CACHED = {"Cache-Control": "public, max-age=86400"}
BRIEFLY = {"Cache-Control": "public, max-age=10"}

COUNTED = {
    "Incoming posts": {"received": "Taken in", "posts": "Relayed", "rejected": "Rejected", "ignored": "Not relayed by policy"},
    "Outgoing deliveries": {
        "deliveries": "Delivered",
        "failed": "Times a node failed",
        "bounced": "Refused by a node",
        "expired": "Given up",
        "cancelled": "No longer wanted",
    },
}
"""The counts of the table on the first page."""

PER_PAGE = 100
LONGEST_TEXT = 100


def site_facts(config: Config, introduction: Introduction) -> dict[str, object]:
    """
    What every template may name.

    C{menu} are the pages of the public site, as (path, name); C{here} is the path of the one that is shown, which its template says.
    """
    menu = [("/", "Start"), ("/check", "Check a node"), ("/tags", "Hashtags")]
    if config.dashboard.node_names:
        menu.append(("/nodes", "Nodes"))
    return {
        "menu": [*menu, ("/privacy", "Privacy")],
        "here": "",
        "relay": introduction,
        "operator": config.operator,
        "development": not config.production,
        "version": __version__,
    }


class Pages:
    """The pages, the numbers as JSON and as they change, and the files that belong to them."""

    def nothing(self, request: Request, failure: Failure) -> bytes:
        """Whoever came with a browser is led back; everything else is told in one line."""
        if b"text/html" not in b",".join(request.requestHeaders.getRawHeaders(b"Accept", [])):
            return sentence(request, 404, "There is nothing at this address.")
        return answer(request, self._nothing, HTML, code=404, headers=STRICT)

    app: Klein = application({NotFound: nothing})
    _log = Logger()

    def __init__(
        self,
        overview: Overview,
        config: Config,
        introduction: Introduction,
        streams: Streams,
        clock: IReactorTime,
        started_at: datetime | None = None,
    ) -> None:
        """@param started_at: since when the relay runs."""
        self._overview = overview
        self._names = config.dashboard.node_names
        self._live = LiveNumbers(overview.stats, streams, clock)
        environment = templates()
        environment.globals.update(site_facts(config, introduction))
        environment.globals.update(frame=FRAME, periods=PERIODS, counted=COUNTED, started_at=started_at)
        self._index = environment.get_template("index.html")
        self._charts = environment.get_template("charts.html")
        self._tags = environment.get_template("tags.html")
        self._nodes = environment.get_template("nodes.html")
        self._privacy = environment.get_template("privacy.html").render(kept=kept(config)).encode()
        self._nothing = environment.get_template("nothing.html").render().encode()
        self._kept: dict[str, tuple[Sequence[Point], Markup]] = {}
        self._static = {name: static_file(name) for name in STATIC}

    # the first page

    @app.route("/", methods=["GET"])
    async def index(self, request: Request) -> bytes:
        """
        The first page. It answers 200 also when the numbers are not to be had: nodes take the relay for offline if it does not
        (diaspora:lib/connection_tester.rb).
        """
        period = argument(request, b"period")
        period = period if period in PERIODS else next(iter(PERIODS))
        stats, series = maybeDeferred(self._overview.stats), maybeDeferred(self._overview.series, period)
        shown, points = await self._had(stats), await self._had(series)
        drawn = None if points is None else self._drawn(points, period)
        page = self._index.render(stats=shown, charts=drawn, period=period)
        return answer(request, page.encode(), HTML, headers=LIVE | (BRIEFLY if shown and drawn else {"Cache-Control": "no-store"}))

    @app.route("/charts", methods=["GET"])
    async def charts(self, request: Request) -> bytes:
        """The charts alone, for the first page to take in."""
        period = argument(request, b"period")
        if period not in PERIODS:
            return sentence(request, 400, f"The period is one of {', '.join(PERIODS)}.")
        points = await self._had(maybeDeferred(self._overview.series, period))
        if points is None:
            return self._not_to_be_had(request)
        return answer(request, self._drawn(points, period).encode(), HTML, headers=STRICT | BRIEFLY)

    def _drawn(self, points: Sequence[Point], period: str) -> Markup:
        """The charts as escaped HTML; a week takes some milliseconds, so what was drawn of the very same points is used again."""
        known = self._kept.get(period)
        if known is None or known[0] is not points:
            known = self._kept[period] = points, Markup(self._charts.render(charts=charts(points, period)))  # noqa: S704
        return known[1]

    @app.route("/stats.json", methods=["GET"])
    async def stats(self, request: Request) -> bytes:
        """The numbers."""
        try:
            stats = await shielded(self._overview.stats())
        except Unavailable:
            return self._not_to_be_had(request)
        return as_json(request, stats, headers=BRIEFLY | {"Access-Control-Allow-Origin": "*"})

    @app.route("/live", methods=["GET"])
    def live(self, request: Request) -> Deferred[None] | bytes:
        """The numbers, whenever they changed, as server-sent events."""
        if request.method == b"HEAD":
            return answer(request, headers={"Cache-Control": "no-store"})
        ended = self._live.open(request, limited_as(client_address(request)))
        if ended is None:
            text = "Too many pages are kept up to date already; ask for /stats.json now and then."
            return sentence(request, 503, text, headers={"Retry-After": str(RETRY), "Cache-Control": "no-store"})
        return ended

    # lists

    @app.route("/tags", methods=["GET"])
    async def tags(self, request: Request) -> bytes:
        """What nodes ask for, to be searched."""
        text, page = argument(request, b"q")[:LONGEST_TEXT].strip(), page_of(request)
        found = await self._had(maybeDeferred(self._overview.tags, text, (page - 1) * PER_PAGE, PER_PAGE))
        address = f"/tags?{urlencode({'q': text})}&page=" if text else "/tags?page="
        shown = self._tags.render(found=found, text=text, page=page, pages=pages_of(found), address=address)
        return answer(request, shown.encode(), HTML, code=503 if found is None else 200, headers=STRICT | BRIEFLY)

    @app.route("/nodes", methods=["GET"])
    async def nodes(self, request: Request) -> bytes:
        """Who is subscribed, if the operator shows it."""
        if not self._names:
            raise NotFound
        page = page_of(request)
        found = await self._had(maybeDeferred(self._overview.subscribed, (page - 1) * PER_PAGE, PER_PAGE))
        shown = self._nodes.render(found=found, page=page, pages=pages_of(found), address="/nodes?page=")
        return answer(request, shown.encode(), HTML, code=503 if found is None else 200, headers=STRICT | BRIEFLY)

    # what does not change

    @app.route("/privacy", methods=["GET"])
    def privacy(self, request: Request) -> bytes:
        """What is kept, and for how long."""
        return answer(request, self._privacy, HTML, headers=STRICT)

    @app.route("/robots.txt", methods=["GET"])
    def robots(self, request: Request) -> bytes:
        """Search engines find the pages for people and nothing else."""
        return answer(request, ROBOTS, headers=CACHED)

    @app.route("/favicon.ico", methods=["GET"])
    def favicon(self, request: Request) -> bytes:
        """Where browsers look for it."""
        return self.static(request, "favicon.ico")

    @app.route("/static/<name>", methods=["GET"])
    def static(self, request: Request, name: str) -> bytes:
        """A file that is shipped; no path leads anywhere else, because these are all there are."""
        if name not in self._static:
            raise NotFound
        headers = CACHED | {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return answer(request, self._static[name], STATIC[name], headers=headers)

    async def _had(self, work: Deferred[T]) -> T | None:
        """The result; C{None} if it is not to be had."""
        try:
            return await shielded(work)
        except Unavailable:
            return None
        except Exception:
            self._log.failure("What a page is to show is not to be had.")
            return None

    def _not_to_be_had(self, request: Request) -> bytes:
        return sentence(request, 503, "The numbers are not to be had at the moment.", headers={"Retry-After": "60"})


def argument(request: Request, name: bytes) -> str:
    """What a request says in its query; empty if nothing."""
    return request.args.get(name, [b""])[0].decode("utf-8", "replace")


def page_of(request: Request) -> int:
    """Which page of a list a request asks for, counted from 1."""
    text = argument(request, b"page")
    return max(int(text), 1) if len(text) < 7 and text.isascii() and text.isdigit() else 1


def pages_of(found: dict[str, object] | None) -> int:
    """How many pages a list has."""
    total = found["total"] if found else 0
    return -(-total // PER_PAGE) if isinstance(total, int) else 0


def shielded(work: Deferred[T]) -> Deferred[T]:
    """The same result, but cancelling this does not cancel the work, which may be a query, or be shared."""
    outcome: Deferred[T] = Deferred()
    work.addBoth(outcome.callback)
    return outcome
