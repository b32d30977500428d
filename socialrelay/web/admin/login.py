"""Logging in and out."""

from __future__ import annotations

import math
from collections import Counter

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from socialrelay.boundaries import Full
from socialrelay.operators.who import LINK, done_by, shortened
from socialrelay.web.addresses import limited_as
from socialrelay.web.admin.forms import Form
from socialrelay.web.admin.gate import Gate, from_elsewhere
from socialrelay.web.admin.look import Look, away
from socialrelay.web.admin.password import Passwords
from socialrelay.web.admin.sessions import Flash, Links
from socialrelay.web.admin.throttle import Throttle
from socialrelay.web.admin.visits import form_of, visit_of
from socialrelay.web.answers import application
from socialrelay.web.pages import shielded

ADMIN = "admin"
"""Whoever knows the password."""

RESULTS = ("password", "link", "wrong-password", "wrong-link", "too-many", "busy", "other-site")
"""The first two are logged in; C{too-many}: nothing was tried, C{busy}: too many passwords were being checked."""


@define(eq=False, slots=False)
class LoginPages:
    """
    C{/admin/login} and C{/admin/logout}.

    @ivar counts: how tries ended: L{RESULTS}.
    """

    gate: Gate
    links: Links
    passwords: Passwords
    clock: IReactorTime
    look: Look
    throttle: Throttle
    counts: Counter[str]

    app = application()
    _log = Logger()

    @app.route("/admin/login", methods=["GET"])
    def form(self, request: Request) -> bytes:
        """The form; or, for a link, a button: whoever only looks at a link, such as a chat's preview, does not use it up."""
        if visit_of(request) is not None:
            return away(request, "/admin/")
        code = request.args.get(b"code", [b""])[0].decode("utf-8", "replace")
        if code and not self.links.holds(code):
            return self._form(request, "This link is used up, or older than five minutes.", code=403)
        return self._form(request, link=code)

    @app.route("/admin/login", methods=["POST"])
    async def enter(self, request: Request) -> bytes:
        """With a password or a code."""
        form = form_of(request)
        if from_elsewhere(request):
            self.counts["other-site"] += 1
            return self._form(request, "Another site made your browser send this; nothing was done.", code=403)
        client = self.gate.client_of(request)
        if code := form.get("code"):
            return self._with_link(request, code, client)
        return await self._with_password(request, form, client)

    @app.route("/admin/logout", methods=["POST"])
    def leave(self, request: Request) -> bytes:
        """End the session."""
        visit = visit_of(request)
        if visit is not None:
            self._log.info("{who} logged out.", who=visit.who)
        self.gate.leave(request)
        return away(request, "/admin/login")

    def _with_link(self, request: Request, code: str, client: str) -> bytes:
        user = self.links.use(code)
        if user is None:
            wait = self.throttle.begin(limited_as(client), self.clock.seconds())
            if wait:
                return self._wait(request, wait)
            self.counts["wrong-link"] += 1
            self._log.warn("Somebody from {client} tried a login link that is used up or was none.", client=shortened(client))
            return self._form(request, "This link is used up, or older than five minutes.", code=403)
        return self._entered(request, user, LINK, client)

    async def _with_password(self, request: Request, form: Form, client: str) -> bytes:
        wait = self.throttle.begin(limited_as(client), self.clock.seconds())
        if wait:
            return self._wait(request, wait)
        try:
            right = await shielded(Deferred.fromCoroutine(self.passwords.right(form.get("password"))))
        except Full:
            return self._wait(request, 5.0, "busy")
        if not right:
            self.counts["wrong-password"] += 1
            self._log.warn("Somebody from {client} gave a wrong password for the operators' pages.", client=shortened(client))
            return self._form(request, "That is not the password.", code=403)
        self.throttle.right(limited_as(client))
        return self._entered(request, ADMIN, "", client)

    def _entered(self, request: Request, user: str, way: str, client: str) -> bytes:
        session = self.gate.enter(request, user, way)
        session.flashes.append(Flash("You are logged in."))
        self.counts["link" if way == LINK else "password"] += 1
        self._log.info("{who} logged in.", who=done_by(user, way, client))
        return away(request, "/admin/")

    def _wait(self, request: Request, seconds: float, why: str = "too-many") -> bytes:
        self.counts[why] += 1
        wait = math.ceil(seconds)
        unit = "second" if wait == 1 else "seconds"
        return self._form(
            request, f"There were too many wrong passwords. Try again in {wait} {unit}.", code=429, headers={"Retry-After": str(wait)}
        )

    def _form(self, request: Request, error: str = "", *, link: str = "", code: int = 200, headers: dict[str, str] | None = None) -> bytes:
        facts = {"error": error, "link": link, "by_password": bool(self.passwords.known)}
        return self.look.page(request, "login.html", None, facts, code=code, headers=headers or {})
