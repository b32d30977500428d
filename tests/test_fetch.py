"""Tests for L{socialrelay.network.fetch} and L{socialrelay.network.trust}, over TLS on loopback."""

from __future__ import annotations

import gzip
import json
import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase, TestCase

import socialrelay.network.trust as trust_module
from socialrelay.boundaries import Document, FetchFailed
from socialrelay.network.addresses import networks
from socialrelay.network.fetch import TreqFetcher
from socialrelay.network.overrides import Overrides
from socialrelay.network.resolver import Endpoints, Resolver
from socialrelay.network.trust import NoTrustRoot, load_trust, system_bundle
from tests.test_addresses import HOSTILE_HOSTS, SPECIAL
from tests.test_transport import LyingResolver, Names
from tests.tlsnode import LOOPBACK, Behaviour, Exchange, TLSNode, answers, authority_file, floods, hangs, in_turn, trust

reactor: Any = _reactor
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def redirects(*locations: str, status: int = 302) -> Behaviour:
    """To each of these in turn, then a document."""
    return in_turn(*(answers(status, f"Location: {location}") for location in locations), answers(200, body=b"found"))


class FetcherTests(TestCase):
    """Fetching a document."""

    timeout = 8

    def setUp(self) -> None:
        self.node = TLSNode(answers(200, "Content-Type: application/json", "X-A: 1", "X-A: 2", body=b"{}"))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.node.stop()))
        self.fetcher: TreqFetcher | None = None

    def start(self, *names: str, **certificate: Any) -> None:
        """Start the node."""
        self.node.start(reactor, *(names or ("pod.example", "www.pod.example", "other.example")), **certificate)

    def make(self, **options: Any) -> TreqFetcher:
        """A fetcher for which every name below C{example} is on loopback."""
        port = options.pop("port", None) or self.node.port or 1
        settings: dict[str, Any] = {"allow": networks(LOOPBACK), "user_agent": "socialrelay/test", "now": lambda: NOON, **options}
        overrides = Overrides({"*.example:443": f"127.0.0.1:{port}"})
        resolver = settings.pop("resolver", None) or Resolver(reactor, Names(), overrides=overrides, allow=networks(LOOPBACK))
        self.fetcher = fetcher = TreqFetcher(reactor, resolver, trust(), **settings)
        self.addCleanup(fetcher.close)
        return fetcher

    def get(self, url: str = "https://pod.example/x", **options: Any) -> Deferred[Document]:
        """Get it, with the fetcher at hand or a plain one."""
        fetcher = self.make() if self.fetcher is None else self.fetcher
        return fetcher.get(url, **{"accept": "application/json", "max_body": 10000, **options})

    async def failure(self, url: str = "https://pod.example/x", **options: Any) -> FetchFailed:
        """How getting it fails."""
        getting: Deferred[Any] = self.get(url, **options)
        failed: FetchFailed = await self.assertFailure(getting, FetchFailed)
        return failed

    async def test_document(self) -> None:
        """A document comes with its status, its headers in lower case, the first value of each, and its body."""
        self.start()
        document = await self.get(headers={"if-none-match": '"x"'})
        self.assertEqual((document.url, document.status, document.body), ("https://pod.example/x", 200, b"{}"))
        self.assertEqual((document.headers["content-type"], document.headers["x-a"]), ("application/json", "1"))
        [request] = self.node.requests
        sent = {name: request.headers.get(name) for name in ("host", "user-agent", "accept", "if-none-match", "accept-encoding")}
        expected = {
            "host": "pod.example",
            "user-agent": "socialrelay/test",
            "accept": "application/json",
            "if-none-match": '"x"',
            "accept-encoding": "identity",
        }
        self.assertEqual((request.method, sent, request.server_name, self.node.faults), ("GET", expected, "pod.example", []))
        await self.node.until(lambda: not self.node.open)

    async def test_ok(self) -> None:
        """Statuses that the caller takes as answers come back as documents; others fail with the status and the wait asked for."""
        self.start()
        for status in (304, 404, 410):
            self.node.behaviour = answers(status)
            self.assertEqual((await self.get(ok=(200, 304, 404, 410))).status, status)
        self.node.behaviour = answers(503, "Retry-After: Sun, 01 Nov 2026 12:05:00 GMT")
        failed = await self.failure()
        self.assertEqual((str(failed), failed.status, failed.retry_after), ("HTTP 503", 503, 300.0))

    async def test_post_json(self) -> None:
        """A JSON document is posted and its answer returned; a redirect of it is not followed."""
        self.start()
        fetcher = self.make()
        document = await fetcher.post_json("https://pod.example/graphql", {"query": "{ x }"}, max_body=100)
        [request] = self.node.requests
        self.assertEqual((document.body, request.method, json.loads(request.body)), (b"{}", "POST", {"query": "{ x }"}))
        self.assertEqual((request.headers["content-type"], self.node.faults), ("application/json", []))
        self.node.behaviour = redirects("https://other.example/")
        failed = await self.assertFailure(fetcher.post_json("https://pod.example/", {}, max_body=100), FetchFailed)
        self.assertEqual((failed.status, len(self.node.requests)), (302, 2))

    async def test_redirects(self) -> None:
        """Up to three redirects are followed, relative ones too, and the document says where it was found."""
        self.start()
        self.node.behaviour = redirects("/a#fragment", "https://OTHER.example/b", "c?d=e")
        document = await self.get()
        self.assertEqual((document.url, document.body), ("https://other.example/c?d=e", b"found"))
        self.assertEqual([request.headers["host"] for request in self.node.requests], ["pod.example"] * 2 + ["other.example"] * 2)

    async def test_bad_redirects(self) -> None:
        """A redirect that is one too many, in a circle, to nowhere, or to what may not be asked, ends it without another request."""
        hostile = {
            ("/a", "/b", "/c", "/d"): 4,
            ("/a", "/x"): 2,
            ("/x",): 1,
            ("",): 1,
            ("http://pod.example/",): 1,
            ("https://169.254.169.254/",): 1,
            ("https://localhost/",): 1,
            ("//127.0.0.1/",): 1,
            ("https://pod.example:5432/",): 1,
            ("https://a@pod.example/",): 1,
            ("https://[::1/",): 1,
            ("file:///etc/passwd",): 1,
        }
        self.start()
        for locations, requests in hostile.items():
            self.node.behaviour = redirects(*locations)
            self.node.requests.clear()
            with self.subTest(locations):
                self.assertEqual(((await self.failure()).status, len(self.node.requests)), (302, requests))
        self.node.behaviour = answers(302)
        self.assertEqual(str(await self.failure()), "it redirects to nowhere")

    async def test_same_host(self) -> None:
        """Where the caller wants the same host, only C{www.} may come or go."""
        self.start()
        self.node.behaviour = redirects("https://www.pod.example/", "https://pod.example/y")
        self.assertEqual((await self.get(same_host=True)).url, "https://pod.example/y")
        self.node.behaviour = redirects("https://other.example/")
        self.assertIn("another host", str(await self.failure(same_host=True)))

    async def test_endless(self) -> None:
        """Endless headers, interim answers and bodies end at the limit, and the connection is closed."""
        endless = {
            "headers": floods(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 50),
            "interim answers": floods(b"", b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n" * 50),
            "body": floods(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", b"x" * 1000),
            "body to the end": floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000),
            "chunks": floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 100),
        }
        self.start()
        for name, behaviour in endless.items():
            self.node.behaviour = behaviour
            with self.subTest(name):
                self.assertEqual(str(await self.failure()), "the answer is too large")
                await self.node.until(lambda: not self.node.open)

    async def test_just_too_large(self) -> None:
        """The limit of the body is exact."""
        self.start()
        self.node.behaviour = answers(200, body=b"x" * 101)
        self.assertEqual(len((await self.get(max_body=101)).body), 101)
        self.assertEqual(str(await self.failure(max_body=100)), "the answer is too large")

    async def test_gzip_bomb(self) -> None:
        """A compressed answer is not read."""
        self.start()
        self.node.behaviour = answers(200, "Content-Encoding: gzip", body=gzip.compress(b"x" * 3_000_000))
        self.assertIn("compressed", str(await self.failure()))
        await self.node.until(lambda: not self.node.open)

    async def test_hangs(self) -> None:
        """A node that never answers, or never ends, is given up in time, and its connection closed."""

        def drips(exchange: Exchange) -> None:
            exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            dripping = LoopingCall(exchange.raw, b"x")
            self.addCleanup(dripping.stop)
            dripping.start(0.05)

        self.start()
        self.make(timeout=0.3)
        for behaviour in (hangs, drips):
            self.node.behaviour = behaviour
            with self.subTest(behaviour.__name__):
                self.assertEqual(str(await self.failure()), "no answer within 0.3 seconds")
                await self.node.until(lambda: not self.node.open)

    async def test_slow_redirects(self) -> None:
        """The time is for all redirects together."""
        self.start()
        self.node.behaviour = in_turn(answers(302, "Location: /a"), hangs)
        self.make(timeout=0.3)
        self.assertEqual(str(await self.failure()), "no answer within 0.3 seconds")

    async def test_broken(self) -> None:
        """A connection that is reset, closed too early, or speaks no HTTP is a failure in one line."""
        self.start()

        def closes_early(exchange: Exchange) -> None:
            exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
            exchange.end()

        def nonsense(exchange: Exchange) -> None:
            exchange.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            exchange.end()

        for behaviour in (Exchange.reset, Exchange.end, closes_early, nonsense):
            self.node.behaviour = behaviour
            with self.subTest(behaviour.__name__):
                reason = str(await self.failure())
                self.assertTrue(reason and reason.isprintable(), reason)

    async def test_certificates(self) -> None:
        """A certificate for another name, out of date, or of an unknown authority is refused before anything is sent."""
        past = datetime.now(UTC) - timedelta(days=2)
        bad: list[tuple[tuple[str, ...], dict[str, Any]]] = [
            (("else.example",), {}),
            (("pod.example",), {"not_before": past - timedelta(days=9), "not_after": past}),
            (("pod.example",), {"issuer": trustme.CA()}),
        ]
        for names, certificate in bad:
            node = TLSNode().start(reactor, *names, **certificate)
            self.make(port=node.port)
            reason = str(await self.failure())
            self.assertTrue("certificate" in reason, reason)
            self.assertEqual(node.requests, [])
            await node.stop()

    async def test_refused(self) -> None:
        """A port where nobody listens is said so."""
        self.start()
        await self.node.stop()
        self.assertEqual(str(await self.failure()), "connection refused or unreachable")

    async def test_second_address(self) -> None:
        """When the first address cannot be connected to, the first of the other family is tried."""
        self.start()
        both = Endpoints((ip_address("::1"), ip_address("127.0.0.1")), self.node.port)

        class Both(LyingResolver):
            def at_hand(self, host: str, port: int) -> Endpoints:
                return both

        self.make(resolver=Both(1))
        self.assertEqual((await self.get()).status, 200)

    async def test_hostile_urls(self) -> None:
        """URLs that are not of a node on the public internet are refused before anything is looked up or connected to."""
        self.start()
        for url in [f"https://{host}/" for host in HOSTILE_HOSTS] + [
            "http://pod.example/",
            "file:///etc/passwd",
            "https://pod.example:5432/",
        ]:
            with self.subTest(url):
                await self.failure(url)
        self.assertEqual(self.node.connections, 0)

    async def test_special_addresses(self) -> None:
        """A name with any special address, alone or among public ones, is never connected to."""
        for address in SPECIAL:
            for addresses in ((address,), ("1.1.1.1", address)):
                with self.subTest(addresses):
                    self.make(resolver=Resolver(reactor, Names(evil_example=addresses)), allow=())
                    self.assertEqual(str(await self.failure("https://evil.example/")), "it resolves to what is not a public address")

    async def test_second_lock(self) -> None:
        """What the resolver lets through by mistake is broken off before a request is sent."""
        self.start()
        self.make(resolver=LyingResolver(self.node.port), allow=())
        self.assertEqual(str(await self.failure()), "it was reached at an address that is not allowed")
        await self.node.until(lambda: not self.node.open)
        self.assertEqual(self.node.requests, [])

    async def test_no_name(self) -> None:
        """A name that does not resolve is said so."""
        self.make(resolver=Resolver(reactor, Names()))
        self.assertEqual(str(await self.failure()), "name does not resolve")

    async def test_bounded(self) -> None:
        """So many are fetched at a time, so many wait, and more fail at once."""
        self.start()
        held: list[Exchange] = []
        self.node.behaviour = held.append
        fetcher = self.make(concurrency=2, max_waiting=3)
        asking = [self.get() for _ in range(5)]
        self.assertEqual(str(await self.failure()), "too many documents are being fetched")
        for number in range(5):
            await self.node.until(lambda number=number: len(held) > number)  # type: ignore[misc]
            self.assertTrue(len(self.node.open) <= 2)
            held[number].answer(200)
        self.assertEqual([document.status for document in await gatherResults(asking)], [200] * 5)
        self.assertEqual(fetcher.under_way, 0)

    async def test_cancel(self) -> None:
        """Cancelling ends the request and its connection, and gives the turn to the next."""
        self.start()
        self.node.behaviour = in_turn(hangs, answers(200))
        self.make(concurrency=1)
        first, second = self.get(), self.get()
        await self.node.until(lambda: len(self.node.requests) == 1)
        first.cancel()
        await self.assertFailure(first, CancelledError)
        self.assertEqual((await second).status, 200)
        await self.node.until(lambda: not self.node.open)

    async def test_close(self) -> None:
        """Closing gives up what is under way and refuses more."""
        self.start()
        self.node.behaviour = hangs
        fetcher = self.make()
        asking = self.get()
        await self.node.until(lambda: len(self.node.requests) == 1)
        ended = self.assertFailure(asking, CancelledError)
        await fetcher.close()
        await ended
        await self.node.until(lambda: not self.node.open)
        self.assertEqual(str(await self.failure()), "the relay is stopping")


class TrustTests(SynchronousTestCase):
    """Whose certificates are believed."""

    def test_bundle(self) -> None:
        """Without a file of our own the system's store is used as it is; with one, both stand in one file."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.assertEqual(load_trust("", folder).bundle, system_bundle())
        self.addCleanup(os.umask, os.umask(0))
        bundle = load_trust(str(authority_file()), folder).bundle
        together = bundle.read_bytes()
        self.assertEqual(bundle.stat().st_mode & 0o777, 0o600)
        self.assertTrue(together.startswith(system_bundle().read_bytes()) and together.endswith(authority_file().read_bytes()))

    def test_no_store(self) -> None:
        """A system without a store is said so, and where it was looked for."""
        self.patch(trust_module, "_BUNDLES", ("/nonexistent/bundle.pem",))
        self.patch(ssl, "get_default_verify_paths", lambda: type("Paths", (), {"cafile": None}))
        self.assertIn("/nonexistent/bundle.pem", str(self.assertRaises(NoTrustRoot, system_bundle)))
