"""The pages for people: what this relay is, how to use it, what it keeps."""

from __future__ import annotations

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Request
from werkzeug.exceptions import NotFound

from socialrelay import __version__
from socialrelay.boundaries import Overview, Unavailable
from socialrelay.config import Config
from socialrelay.diaspora.identity import Introduction
from socialrelay.web.answers import HTML, answer, application, as_json, sentence
from socialrelay.web.templating import STRICT, static_file, templates

STATIC = {
    "site.css": "text/css; charset=utf-8",
    "hero.svg": "image/svg+xml",
    "logo.svg": "image/svg+xml",
    "logo-300.png": "image/png",
    "logo-100.png": "image/png",
    "logo-50.png": "image/png",
    "favicon.ico": "image/x-icon",
}

ROBOTS = b"User-agent: *\nAllow: /$\nAllow: /check$\nAllow: /privacy$\nAllow: /static/\nDisallow: /\n"

CACHED = {"Cache-Control": "public, max-age=86400"}
BRIEFLY = {"Cache-Control": "public, max-age=10"}


def site_facts(config: Config, introduction: Introduction) -> dict[str, object]:
    """
    What every template may name; C{here}, the path of the page that is shown, is overridden by pages that are in C{pages}.
    """
    pages = [("/", "Start"), ("/check", "Check a node"), ("/tags", "Hashtags")]
    if config.dashboard.node_names:
        pages.append(("/nodes", "Nodes"))
    return {
        "pages": [*pages, ("/privacy", "Privacy")],
        "here": "",
        "relay": introduction,
        "operator": config.operator,
        "development": not config.production,
        "version": __version__,
        "retention": config.retention,
    }


class Pages:
    """The first page, the numbers as JSON, and the files that belong to them."""

    app: Klein = application()
    _log = Logger()

    def __init__(self, overview: Overview, config: Config, introduction: Introduction) -> None:
        self._overview = overview
        environment = templates()
        environment.globals.update(site_facts(config, introduction))
        self._index = environment.get_template("index.html")
        self._privacy = environment.get_template("privacy.html").render().encode()
        self._static = {name: static_file(name) for name in STATIC}

    @app.route("/", methods=["GET"])
    async def index(self, request: Request) -> bytes:
        """
        The first page. It answers 200 also when the numbers are not to be had: nodes take the relay for offline if it does not
        (diaspora:lib/connection_tester.rb).
        """
        try:
            stats = await shielded(self._overview.stats())
        except Unavailable:
            stats = None
        except Exception:
            self._log.failure("The numbers for the first page are not to be had.")
            stats = None
        return answer(request, self._index.render(stats=stats).encode(), HTML, headers=STRICT | BRIEFLY)

    @app.route("/stats.json", methods=["GET"])
    async def stats(self, request: Request) -> bytes:
        """The numbers."""
        try:
            stats = await shielded(self._overview.stats())
        except Unavailable:
            return sentence(request, 503, "The numbers are not to be had at the moment.", headers={"Retry-After": "60"})
        return as_json(request, stats, headers=BRIEFLY | {"Access-Control-Allow-Origin": "*"})

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


def shielded(work: Deferred[dict[str, object]]) -> Deferred[dict[str, object]]:
    """The same result, but cancelling this does not cancel the work, which may be a query, or be shared."""
    outcome: Deferred[dict[str, object]] = Deferred()
    work.addBoth(outcome.callback)
    return outcome
