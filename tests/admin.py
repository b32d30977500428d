"""The operators' site in memory, and a browser that looks at it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html import unescape
from typing import Any

from argon2 import PasswordHasher
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import rsa
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.config import Admin
from socialrelay.identity import RelayIdentity
from socialrelay.operators.offers import Offer, act_offers, view_offers
from socialrelay.web.admin.events import LiveLog
from socialrelay.web.admin.places import Places, login_offer
from socialrelay.web.admin.site import AdminSite, admin_site
from socialrelay.web.live import LiveStreams
from tests.operators import Relay
from tests.web_requests import GUID, Answer, config

PASSWORD = "correct horse battery"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""One that is quick to check; what an operator gets takes a tenth of a second."""

_KEY = rsa.generate_private_key(65537, 2048)


def at_once(work: Any, *args: Any) -> Deferred[Any]:
    """Instead of a thread."""
    return maybeDeferred(work, *args)


class Operators:
    """A relay over memory, with its operators' site."""

    def __init__(self, *, in_thread: Any = at_once, views: Mapping[str, Offer] = {}, **admin: Any) -> None:
        """
        @param views: in addition to those of every relay.
        @param admin: fields of L{Admin}.
        """
        self.relay = Relay()
        self.clock = Clock()
        self.clock.advance(1000)
        self.log = LiveLog()
        self.streams = LiveStreams(self.clock, most=5, per_client=3, counters=Counter())
        self.to_reactor: list[Any] = []
        self.views, self.acts = {**view_offers(self.relay.views), **views}, act_offers(self.relay.operations)
        self.identity = RelayIdentity("relay.example", "relay", GUID, "Relay relay.example", _KEY.public_key(), _KEY)
        self.config = config(admin=evolve(Admin(password=HASH), **admin))
        self.admin: AdminSite = admin_site(
            views=self.views,
            acts=self.acts,
            health=self.relay.health,
            identity=self.identity,
            config=self.config,
            clock=self.clock,
            in_thread=in_thread,
            log=self.log,
            streams=self.streams,
            to_reactor=self.to_reactor.append,
        )
        self.login = login_offer(self.admin.links, Places(("http://127.0.0.1:8081",)), "relay.example")


class Browser:
    """
    Keeps cookies, follows no redirects, and sends the token of the last form that it saw.

    @ivar headers: sent with each request.
    """

    def __init__(self, case: SynchronousTestCase, operators: Operators, scheme: str = "http", **headers: str) -> None:
        self.case = case
        self.scheme = scheme
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.cookies: dict[str, str] = {}
        self.token = ""
        self._resource = operators.admin.site.resource

    def request(self, method: str, path: str, **options: Any) -> Answer:
        """The answer, which must come at once."""
        headers = self.headers | options.pop("headers", {})
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        treq: Any = StubTreq(self._resource)  # a new one: it would keep cookies, too
        response = self.case.successResultOf(
            treq.request(method, f"{self.scheme}://operators.example{path}", allow_redirects=False, headers=headers, **options)
        )
        answer = Answer(response.code, response.headers, self.case.successResultOf(treq.content(response)))
        for cookie in response.headers.getRawHeaders("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        if found := re.search(r'name="csrf" value="([^"]+)"', answer.body.decode("utf-8", "replace")):
            self.token = unescape(found[1])
        return answer

    def get(self, path: str, **options: Any) -> Answer:
        """Look at a page."""
        return self.request("GET", path, **options)

    def post(self, path: str, fields: dict[str, str] | None = None, **options: Any) -> Answer:
        """Send a form, with the token."""
        return self.request("POST", path, data={"csrf": self.token, **(fields or {})}, **options)

    def log_in(self) -> Answer:
        """With the password; then look at the overview."""
        self.case.assertEqual(self.request("POST", "/admin/login", data={"password": PASSWORD}).code, 303)
        return self.get("/admin/")

    def act(self, act: str, /, **fields: str) -> str:
        """Do an act; what the next page says of it."""
        answer = self.post(f"/admin/act/{act}", fields)
        self.case.assertEqual(answer.code, 303, answer.text)
        return text_of(self.get(answer.header(b"Location")).text)


def text_of(page: str) -> str:
    """What a reader sees of a page, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def done(value: object) -> Any:
    """A result that is there."""
    return succeed(value)
