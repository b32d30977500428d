"""The operators' site, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import NotFound

from socialrelay.boundaries import Streams
from socialrelay.bounds import Bound, bound_of
from socialrelay.config import Config
from socialrelay.health import Health
from socialrelay.operators.offers import Offer
from socialrelay.running.limits import OPERATORS
from socialrelay.web.addresses import TrustedProxies
from socialrelay.web.admin.acts import ActPages
from socialrelay.web.admin.consequences import Consequences
from socialrelay.web.admin.events import Feed, LiveLog
from socialrelay.web.admin.forms import MAX_UPLOAD
from socialrelay.web.admin.gate import Gate
from socialrelay.web.admin.login import LoginPages
from socialrelay.web.admin.look import Look, Named, away
from socialrelay.web.admin.pages import AdminPages
from socialrelay.web.admin.password import Passwords
from socialrelay.web.admin.sessions import Links, Sessions
from socialrelay.web.admin.throttle import Throttle
from socialrelay.web.admin.visits import Visits
from socialrelay.web.answers import answer, application
from socialrelay.web.health import HealthPages, with_reasons
from socialrelay.web.public import Root
from socialrelay.web.room import SHARE, Room
from socialrelay.web.site import GuardedSite
from socialrelay.web.templating import static_file

DEADLINE = 60.0
STATIC = {
    "site.css": "text/css; charset=utf-8",
    "admin.css": "text/css; charset=utf-8",
    "admin.js": "text/javascript; charset=utf-8",
    "logo.svg": "image/svg+xml",
    "favicon.ico": "image/x-icon",
}


class Files:
    """What belongs to the pages; and what is neither a page nor such a file."""

    app: Klein = application()

    def __init__(self) -> None:
        self._files = {name: static_file(name) for name in STATIC}

    @app.route("/static/<name>", methods=["GET"])
    def static(self, request: Request, name: str) -> bytes:
        """A file that is shipped; no path leads anywhere else, because these are all there are."""
        if name not in self._files:
            raise NotFound
        return answer(request, self._files[name], STATIC[name], headers={"Cache-Control": "private, max-age=86400"})

    @app.route("/favicon.ico", methods=["GET"])
    def favicon(self, request: Request) -> bytes:
        """Where browsers look for it."""
        return self.static(request, "favicon.ico")

    @app.route("/robots.txt", methods=["GET"])
    def robots(self, request: Request) -> bytes:
        """Nothing here is for search engines."""
        return answer(request, b"User-agent: *\nDisallow: /\n")

    @app.route("/", methods=["GET"])
    def start(self, request: Request) -> bytes:
        """The pages are below."""
        return away(request, "/admin/")


@frozen
class AdminSite:
    """
    @ivar site: to be listened with, where the public cannot reach it.
    @ivar parts: first segment of a path -> what answers there; more may be put in.
    @ivar links: log in whoever has one.
    @ivar sessions: who is logged in.
    @ivar throttle: who tries wrong passwords.
    @ivar logins: how tries to log in ended, by the names of L{socialrelay.web.admin.login.RESULTS}; it only grows.
    @ivar bounds: what is in memory.
    @ivar prepare: makes what depends on a configuration anew; what it returns puts it in place. With another password all sessions end.
    """

    site: GuardedSite
    parts: dict[bytes, IResource]
    links: Links
    sessions: Sessions
    throttle: Throttle
    logins: Counter[str]
    prepare: Callable[[Config], Callable[[], None]]
    bounds: tuple[Bound, ...]


def admin_site(
    *,
    views: Mapping[str, Offer],
    acts: Mapping[str, Offer],
    health: Health,
    identity: Named,
    config: Config,
    clock: IReactorTime,
    in_thread: Callable[..., Deferred[Any]],
    log: LiveLog,
    streams: Streams,
    to_reactor: Callable[[Callable[[], None]], object],
    connections: int = OPERATORS,
    parts: Mapping[bytes, IResource] = MappingProxyType({}),
) -> AdminSite:
    """
    The operators' site over its collaborators.

    @param in_thread: runs a function with its arguments elsewhere.
    @param to_reactor: runs a function in the reactor's thread.
    @param connections: how many there may be.
    @param parts: first segment of a path -> what else answers there, to whoever can connect: it is not asked who that is.
    """
    links = Links(clock.seconds)
    sessions = Sessions(config.admin.session, clock.seconds, config.memory.sessions)
    gate = Gate(sessions, config.admin.user_header)
    passwords = Passwords(config.admin.password, in_thread)
    throttle = Throttle(config.memory.login_clients)
    logins: Counter[str] = Counter()
    feed = Feed(log, streams, sessions, clock, to_reactor)

    def visits(config: Config) -> Visits:
        look = Look.of(config, identity, views)
        login = LoginPages(gate, links, passwords, clock, look, throttle, logins).app.resource()
        answerable = bool(config.operator.source or config.operator.contact)
        pages = AdminPages(views, look, feed, answerable).app.resource()
        inside = {b"login": login, b"logout": login, b"act": ActPages(acts, Consequences(views), look).app.resource()}
        return Visits(gate, look, in_thread, inside, pages)

    answering: dict[bytes, IResource] = {
        b"admin": visits(config),
        b"health": HealthPages(health, with_reasons).app.resource(),
        **parts,
    }
    site = GuardedSite(
        Root(answering, Files().app.resource()),
        clock=clock,
        max_body=MAX_UPLOAD + 64 * 1024,
        deadline=DEADLINE,
        max_connections=connections,
        max_connections_per_address=connections,
        room=Room(2 * SHARE * MAX_UPLOAD, clock),
        trusted_proxies=TrustedProxies.parse(config.receive.trusted_proxies),
    )

    def prepare(config: Config) -> Callable[[], None]:
        anew = visits(config)

        def commit() -> None:
            answering[b"admin"] = anew
            gate.user_header, sessions.lifetime = config.admin.user_header, config.admin.session
            if passwords.known != config.admin.password:
                passwords.known = config.admin.password
                sessions.end_all()

        return commit

    bounds = (
        bound_of("sessions", lambda: sessions),
        bound_of("login-clients", lambda: throttle.clients),
        Bound(
            "operators-connections", lambda: site.connections, lambda: site.max_connections, lambda: site.counters["refused-connections"]
        ),
        *log.bounds,
    )
    return AdminSite(site, answering, links, sessions, throttle, logins, prepare, bounds)
