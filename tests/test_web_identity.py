"""Tests for L{socialrelay.web.identity}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.web.identity import IdentityPages
from tests.web_requests import GUID, Answer, ask, introduction


class IdentityPagesTests(SynchronousTestCase):
    """What nodes are told about the relay."""

    def setUp(self) -> None:
        self.introduction = introduction()
        self.pages = IdentityPages(self.introduction)

    def ask(self, path: str, method: str = "GET") -> Answer:
        return ask(self, self.pages.app.resource(), path, method)

    def test_webfinger(self) -> None:
        """
        The handle is found with and without acct:, in any case, percent-encoded once or twice.
        """
        for resource in (
            "acct:relay@relay.example",
            "relay@relay.example",
            "ACCT:Relay@Relay.Example",
            "acct%3Arelay%40relay.example",
            "acct%253Arelay%2540relay.example",
        ):
            found = self.ask(f"/.well-known/webfinger?resource={resource}")
            self.assertEqual((found.code, found.header(b"Content-Type")), (200, "application/jrd+json; charset=utf-8"), resource)
            self.assertEqual(found.json["subject"], "acct:relay@relay.example")

    def test_webfinger_of_others(self) -> None:
        """
        Other accounts are unknown, and a query without an account is no query; browsers may read either answer.
        """
        for query, code in {
            "?resource=acct:ada@relay.example": 404,
            "?resource=%ff": 404,
            "": 400,
            "?resource=": 400,
            "?q=relay@relay.example": 400,
        }.items():
            found = self.ask(f"/.well-known/webfinger{query}")
            self.assertEqual((found.code, found.header(b"Access-Control-Allow-Origin")), (code, "*"), query)

    def test_legacy_webfinger(self) -> None:
        """
        The XRD is where host-meta says that it is.
        """
        self.assertIn("https://relay.example/webfinger?q={uri}", self.ask("/.well-known/host-meta").text)
        found = self.ask("/webfinger?q=acct:relay@relay.example")
        self.assertEqual((found.code, found.header(b"Content-Type")), (200, "application/xrd+xml; charset=utf-8"))
        self.assertEqual([self.ask("/webfinger").code, self.ask("/webfinger?q=x@y").code], [400, 404])

    def test_hcard(self) -> None:
        """
        The card of the relay's guid is there, and no other.
        """
        found = self.ask(f"/hcard/users/{GUID}")
        self.assertEqual((found.code, found.header(b"Content-Type")), (200, "text/html; charset=utf-8"))
        self.assertIn(GUID, found.text)
        self.assertEqual(self.ask("/hcard/users/0123456789abcdef").code, 404)

    def test_nodeinfo(self) -> None:
        """
        Each version that is announced is there.
        """
        links = self.ask("/.well-known/nodeinfo").json["links"]
        versions = [self.ask(link["href"].removeprefix("https://relay.example")).json["version"] for link in links]
        self.assertEqual(versions, ["2.0", "2.1"])
        self.assertEqual(self.ask("/nodeinfo/1.0").code, 404)

    def test_preferences(self) -> None:
        """
        The relay asks for nothing.
        """
        self.assertEqual(self.ask("/.well-known/x-social-relay").json, {"subscribe": False, "scope": "", "tags": []})

    def test_head(self) -> None:
        """
        Where there is a document, HEAD tells its length without it.
        """
        for path in (
            "/.well-known/webfinger?resource=relay@relay.example",
            f"/hcard/users/{GUID}",
            "/.well-known/host-meta",
            "/nodeinfo/2.0",
        ):
            found = self.ask(path, "HEAD")
            self.assertEqual((found.code, found.body, found.header(b"Content-Length")), (200, b"", str(len(self.ask(path).body))), path)

    def test_not_here(self) -> None:
        """
        What the relay does not do yet is said in a sentence.
        """
        for method, path in (("GET", "/actor"), ("GET", "/inbox"), ("POST", "/inbox")):
            found = self.ask(path, method)
            self.assertEqual((found.code, "ActivityPub" in found.text), (404, True), path)
        self.assertEqual([self.ask("/fetch/post/0123456789abcdef").code, self.ask("/.well-known/other").code], [404, 404])
        self.assertEqual(self.ask("/.well-known/webfinger", "POST").header(b"Allow"), "GET, HEAD")
