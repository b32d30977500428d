"""Tests for L{socialrelay.web.public}."""

from __future__ import annotations

from collections import Counter

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.config import Receive
from socialrelay.health import Health
from socialrelay.identity import RelayIdentity
from socialrelay.web.live import LiveStreams
from socialrelay.web.public import PublicSite, public_site
from tests.test_web_check import Counts, FakeSelfService
from tests.test_web_live import Connection
from tests.test_web_pages import FakeOverview
from tests.test_web_receive import FakeIntake
from tests.web_requests import GUID, ask, config

KEY = generate_private_key(65537, 2048)


def make(**changes: object) -> PublicSite:
    """A site over fakes."""
    identity = RelayIdentity("relay.example", "relay", GUID, "Relay", KEY.public_key(), KEY)
    clock, counters = Clock(), Counter[str]()
    return public_site(
        intake=FakeIntake(),
        overview=FakeOverview(),
        self_service=FakeSelfService(),
        health=Health(),
        identity=identity,
        cache=Counts(),
        streams=LiveStreams(clock, most=2, per_client=1, counters=counters),
        counters=counters,
        config=config(**changes),
        clock=clock,
    )


class PublicSiteTests(SynchronousTestCase):
    """All that is public, in one site."""

    def test_every_page(self) -> None:
        """
        Each part of the site is where the world expects it.
        """
        resource = make().site.resource
        pages = {
            "/": 200,
            "/check": 200,
            "/privacy": 200,
            "/stats.json": 200,
            "/robots.txt": 200,
            "/favicon.ico": 200,
            "/static/logo-300.png": 200,
            "/health/live": 200,
            "/health/ready": 503,
            "/.well-known/webfinger?resource=acct:relay@relay.example": 200,
            "/.well-known/host-meta": 200,
            "/.well-known/nodeinfo": 200,
            "/.well-known/x-social-relay": 200,
            "/webfinger?q=relay@relay.example": 200,
            "/nodeinfo/2.0": 200,
            f"/hcard/users/{GUID}": 200,
            "/fetch/post/0123456789abcdef": 404,
            "/actor": 404,
            "/inbox": 404,
            "/admin/": 404,
            "/metrics": 404,
            "/bus/v1/messages": 404,
            "/receive/public": 405,
        }
        for path, code in pages.items():
            self.assertEqual((ask(self, resource, path).code, ask(self, resource, path, "HEAD").code), (code, code), path)

    def test_own_links(self) -> None:
        """
        The addresses that the webfinger document names are there.
        """
        resource = make().site.resource
        document = ask(self, resource, "/.well-known/webfinger?resource=acct:relay@relay.example").json
        for link in document["links"]:
            path = link["href"].removeprefix("https://relay.example") or "/"
            self.assertIn(ask(self, resource, path).code, (200, 405), link)

    def test_receive(self) -> None:
        """
        What is posted reaches the intake, and is counted where the site counts.
        """
        public = make()
        self.assertEqual(ask(self, public.site.resource, "/receive/public", "POST", data=b"<me:env/>").code, 202)
        self.assertEqual(public.counters, {"receive-202": 1})

    def test_live(self) -> None:
        """
        The numbers come as they change, to so many pages of a client and no more.
        """
        public = make()
        page, second = Connection(public.site), Connection(public.site)
        page.ask(b"/live")
        self.assertIn(b'event: stats\ndata: {"at": "2026-11-22', page.read())
        second.ask(b"/live")
        refusal = second.read()
        self.assertIn(b" 503 ", refusal)
        self.assertIn(b"Retry-After: 30\r\n", refusal)
        page.hang_up()
        second.ask(b"/live")
        self.assertIn(b"event: stats", second.read())
        self.assertEqual(public.counters, {"streams-opened": 2, "refused-streams-client": 1})

    def test_limits(self) -> None:
        """
        The configuration's limits are the site's.
        """
        site = make(receive=Receive(max_body=123, deadline=4.5)).site
        self.assertEqual((site.max_body, site.deadline), (123, 4.5))
        with self.assertRaises(ValueError):
            make(receive=Receive(trusted_proxies=("nobody",)))
