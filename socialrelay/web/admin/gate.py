"""
Who asks, and whether the wish is that person's own.

Two ways lead in: a session, which begins with the password or a link; and a header in which a proxy that authenticates names the user.
Either way a session holds the token that every form must bring along, since a browser sends cookies, and a proxy the name, with whatever
another site makes it send.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, frozen
from twisted.web.server import Request

from socialrelay.operators.who import PROXY, done_by
from socialrelay.web.admin.sessions import Session, Sessions
from socialrelay.web.request import client_address, header_texts

COOKIE = "socialrelay_admin"


@frozen
class Visit:
    """
    A request of somebody who is logged in.

    @ivar client: the address.
    """

    session: Session
    client: str

    @property
    def who(self) -> str:
        """As it stands in the log."""
        return done_by(self.session.user, self.session.way, self.client)


@define(eq=False)
class Gate:
    """
    @ivar user_header: in which a proxy names the user; empty: none does.
    """

    sessions: Sessions
    user_header: str = ""
    client_of: Callable[[Request], str] = client_address

    def visit(self, request: Request) -> Visit | None:
        """Who asks; C{None} if nobody knows. A user whom the proxy names gets a session, and with the answer its cookie."""
        client = self.client_of(request)
        name = request.getCookie(cookie_name(request).encode())
        session = self.sessions.find(name.decode("latin-1")) if name else None
        user = self._named(request)
        if user:
            if session is None or (session.user, session.way) != (user, PROXY):
                session = self.enter(request, user, PROXY)
        elif session is not None and session.way == PROXY:
            session = None  # the proxy vouches for each request, or for none
        return None if session is None else Visit(session, client)

    def enter(self, request: Request, user: str, way: str) -> Session:
        """Log somebody in; a session that the request had is over."""
        self._end(request)
        name, session = self.sessions.begin(user, way)
        _set_cookie(request, name)
        return session

    def leave(self, request: Request) -> None:
        """Log somebody out."""
        self._end(request)
        _set_cookie(request, "", "Max-Age=0")

    def _end(self, request: Request) -> None:
        name = request.getCookie(cookie_name(request).encode())
        if name:
            self.sessions.end(name.decode("latin-1"))

    def _named(self, request: Request) -> str:
        """The user whom a proxy names. Two names are none: one of them was the client's."""
        values = header_texts(request, self.user_header) if self.user_header else []
        return values[0].strip() if len(values) == 1 else ""


def is_secure(request: Request) -> bool:
    """Whether the client came by https, as far as is known: here, or at a proxy that says so."""
    forwarded = header_texts(request, "X-Forwarded-Proto")
    return bool(request.isSecure()) or [each.strip().lower() for each in forwarded] == ["https"]


def cookie_name(request: Request) -> str:
    """Of the session. With the prefix a browser takes it from https alone, for this host and all paths."""
    return f"__Host-{COOKIE}" if is_secure(request) else COOKIE


def _set_cookie(request: Request, value: str, *more: str) -> None:
    parts = [f"{cookie_name(request)}={value}", "Path=/", "HttpOnly", "SameSite=Strict", *(["Secure"] if is_secure(request) else []), *more]
    request.responseHeaders.addRawHeader("Set-Cookie", "; ".join(parts))


def from_elsewhere(request: Request) -> bool:
    """
    Whether the browser says that another site made it send this.  Browsers that say nothing are believed: the form's token decides.
    """
    sites = header_texts(request, "Sec-Fetch-Site")
    if sites:
        return any(site not in ("same-origin", "none") for site in sites)
    origins = header_texts(request, "Origin")
    hosts = [host.strip().lower() for name in ("Host", "X-Forwarded-Host") for host in header_texts(request, name)]
    return any(_place(origin) not in hosts for origin in origins)


def _place(origin: str) -> str:
    scheme, _, place = origin.strip().lower().partition("://")
    return place.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ":")) or "nowhere"  # C{null} is what a browser says of none
