"""Tests for L{socialrelay.delivery.transport} and L{socialrelay.delivery.curl}, over TLS on loopback."""

from __future__ import annotations

import gc
import socket
from collections import Counter
from datetime import UTC, datetime, timedelta
from errno import EMFILE
from ipaddress import ip_address
from pathlib import Path
from random import Random
from textwrap import dedent
from typing import Any, cast

import pycurl
import trustme
from h2.errors import ErrorCodes
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from socialrelay.delivery import curl
from socialrelay.delivery.curl import SLICE, Outcome, Transfers
from socialrelay.delivery.sessions import Sessions
from socialrelay.delivery.transport import Counts, CurlTransport
from socialrelay.federation import DeliveryRequest
from socialrelay.network.addresses import networks
from socialrelay.network.overrides import Overrides
from socialrelay.network.resolver import AddressRefused, Endpoints, Found, NotFound, Resolution, Resolver
from socialrelay.network.resolver import Answer as DnsAnswer
from socialrelay.scheduler.outcome import Answer, NoAnswer, Reply, Trouble
from tests.h2node import H2Node, Stream
from tests.h2node import accepts as h2_accepts
from tests.test_addresses import HOSTILE_HOSTS, SPECIAL
from tests.tlsnode import LOOPBACK, Behaviour, Exchange, TLSNode, accepts, answers, floods, hangs, in_turn, trust

reactor: Any = _reactor
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
BODY = b"<me:env/>" * 200
KINDS = ("Content-Type: application/magic-envelope+xml",)


class Names:
    """DNS as a table."""

    def __init__(self, **names: tuple[str, ...]) -> None:
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}

    def look_up(self, host: str, proven: bool, done: Any) -> None:
        """Answer at once."""
        addresses = self.names.get(host)
        answer: DnsAnswer = NotFound("name does not resolve", final=True)
        if addresses:
            answer = Found(tuple(ip_address(address) for address in addresses))
        done(answer)


class LyingResolver(Resolver):
    """Says that everything is on loopback."""

    def __init__(self, port: int, *addresses: str) -> None:
        super().__init__(reactor, Names())
        self._lie = Endpoints(tuple(ip_address(address) for address in addresses or ("127.0.0.1",)), port)

    def at_hand(self, host: str, port: int) -> Resolution:
        """The lie."""
        return self._lie


class TransportTestCase(TestCase):
    """A transport and a node."""

    timeout = 8

    def setUp(self) -> None:
        self.node = TLSNode()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.node.stop()))
        self.transport: CurlTransport | None = None

    def start(self, *names: str, **certificate: Any) -> None:
        """Start the node."""
        self.node.start(reactor, *(names or ("pod.example",)), **certificate)

    def make(self, port: int | None = None, **options: Any) -> CurlTransport:
        """A transport for which every name below C{example} is on loopback."""
        where = f"127.0.0.1:{port or self.node.port or 1}"
        overrides = Overrides({"*.example:443": where})
        settings: dict[str, Any] = {"allow": networks(LOOPBACK), "user_agent": "socialrelay/test", "now": lambda: NOON, **options}
        resolver = settings.pop("resolver", None) or Resolver(reactor, Names(), overrides=overrides, allow=networks(LOOPBACK))
        self.transport = transport = CurlTransport(reactor, resolver, trust(), **settings)
        self.addCleanup(transport.close)
        return transport

    def send(self, host: str = "pod.example", timeout: float = 10.0, body: bytes = BODY) -> Deferred[Reply]:
        """Send a delivery, with the transport at hand or a plain one."""
        transport = self.transport or self.make()
        return transport.send(DeliveryRequest(f"https://{host}/receive/public", KINDS, body), timeout)


class TransportTests(TransportTestCase):
    """What becomes of a delivery."""

    async def trouble(self, behaviour: Any, timeout: float = 10.0, **options: Any) -> Trouble | None:
        """What happens with a node that behaves so."""
        self.node.behaviour = behaviour
        self.start()
        self.make(**options)
        reply = await self.send(timeout=timeout)
        return reply.trouble if isinstance(reply, NoAnswer) else None

    async def test_accepted(self) -> None:
        """The body arrives byte for byte, under the host's name, with nothing in the request that is not needed."""
        self.start()
        self.assertEqual(await self.send(), Answer(202))
        [request] = self.node.requests
        self.assertEqual(
            (request.method, request.path, request.body, request.server_name), ("POST", "/receive/public", BODY, "pod.example")
        )
        expected = {
            "host": "pod.example",
            "user-agent": "socialrelay/test",
            "accept": "*/*",
            "content-type": "application/magic-envelope+xml",
            "content-length": str(len(BODY)),
        }
        self.assertEqual((request.headers, self.node.faults), (expected, []))

    async def test_large(self) -> None:
        """A body of a megabyte arrives."""
        self.start()
        self.assertEqual(await self.send(body=b"x" * 1048576), Answer(202))
        self.assertEqual((len(self.node.requests[0].body), self.node.faults), (1048576, []))

    async def test_kept(self) -> None:
        """One connection serves many deliveries."""
        self.start()
        for _ in range(5):
            await self.send()
        self.assertEqual((len(self.node.requests), self.node.connections), (5, 1))
        assert self.transport is not None
        self.assertEqual(self.transport.counts, Counts(transfers=5, opened=1))

    async def test_not_kept(self) -> None:
        """Where no connections may be kept each delivery closes its own."""
        self.start()
        self.make(kept_connections=0)
        for _ in range(3):
            await self.send()
        await self.node.until(lambda: not self.node.open)
        assert self.transport is not None
        self.assertEqual((self.node.connections, self.transport.counts), (3, Counts(transfers=3, opened=3, not_kept=3)))

    async def test_kept_are_bounded(self) -> None:
        """However many hosts there are, only so many connections stay open."""
        hosts = [f"pod{number}.example" for number in range(12)]
        self.start(*hosts)
        self.make(kept_connections=4)
        for _ in range(2):
            await gatherResults([self.send(host) for host in hosts])
        await self.node.until(lambda: len(self.node.open) == 4)
        self.assertEqual(self.node.connections, 12 + 8)

    async def test_connections_are_bounded(self) -> None:
        """At the bound deliveries wait for a connection, and those that lie idle give way."""
        hosts = [f"pod{number}.example" for number in range(12)]
        self.start(*hosts)
        most: list[int] = []

        def behave(exchange: Exchange) -> None:
            most.append(len(self.node.open))
            exchange.answer(202)

        self.node.behaviour = behave
        self.make(max_connections=3, kept_connections=3)
        for _ in range(2):
            self.assertEqual(await gatherResults([self.send(host) for host in hosts]), [Answer(202)] * 12)
        # The node may learn of a new connection before it learns of the end of the one that gave way.
        self.assertTrue(max(most) <= 6, most)
        await self.node.until(lambda: len(self.node.open) <= 3)

    async def test_many(self) -> None:
        """Many deliveries to many hosts go at once, and each gets its own answer."""
        hosts = [f"pod{number}.example" for number in range(30)]
        self.start(*hosts)
        self.node.behaviour = lambda exchange: exchange.answer(200 + int(exchange.request.server_name[3:-8]))
        self.make()
        replies = await gatherResults([self.send(host) for host in hosts for _ in range(10)])
        self.assertEqual(replies, [Answer(200 + number) for number in range(30) for _ in range(10)])
        self.assertEqual(self.node.faults, [])

    async def test_starts_more(self) -> None:
        """Who learns of an answer may send the next delivery at once."""
        self.start()
        replies: list[Reply] = []

        def again(reply: Reply) -> Any:
            replies.append(reply)
            return self.send().addCallback(again) if len(replies) < 20 else None

        await self.send().addCallback(again)
        self.assertEqual(replies, [Answer(202)] * 20)

    async def test_stale(self) -> None:
        """A kept connection that the node closes or resets as the next request comes costs nothing: it is sent again over a new one."""
        for end in (Exchange.end, Exchange.reset):
            with self.subTest(end.__name__):
                self.node = node = TLSNode(in_turn(accepts, end, accepts)).start(reactor, "pod.example")
                transport = self.make()
                replies = [await self.send(), await self.send()]
                self.assertEqual((replies, node.connections, len(node.requests)), ([Answer(202)] * 2, 2, 3))
                await transport.close()
                await node.stop()

    async def test_closed_while_idle(self) -> None:
        """A kept connection that was closed meanwhile is not used."""
        self.start()
        await self.send()
        for connection in list(self.node.open):
            connection.transport.abortConnection()
        await self.node.until(lambda: not self.node.open)
        self.assertEqual((await self.send(), self.node.connections), (Answer(202), 2))

    async def test_statuses(self) -> None:
        """An answer is an answer, whatever its status."""
        self.start()
        for status in (200, 204, 400, 404, 410, 429, 500, 503):
            self.node.behaviour = answers(status, body=b"" if status == 204 else b"why")
            with self.subTest(status):
                self.assertEqual(await self.send(), Answer(status))

    async def test_redirect(self) -> None:
        """A redirect is not followed; the operator is told where it points, in one printable line."""
        self.start()
        self.node.behaviour = answers(302, "Location: https://169.254.169.254/\x1b[31m" + "x" * 400)
        reply = await self.send()
        assert isinstance(reply, Answer)
        self.assertEqual((reply.status, len(reply.location or "")), (302, 200))
        self.assertTrue(reply.location is not None and reply.location.startswith("https://169.254.169.254/\\x1b[31mxxx"))
        self.assertEqual(len(self.node.requests), 1)

    async def test_retry_after(self) -> None:
        """Retry-After is read as seconds and as a date, and what an interim answer says does not count."""
        self.start()
        self.node.behaviour = in_turn(
            answers(429, "Retry-After: 120"),
            answers(503, "retry-after: Sun, 01 Nov 2026 13:00:00 GMT"),
            answers(503, "Retry-After: soon"),
            lambda exchange: exchange.raw(b"HTTP/1.1 103 Hints\r\nRetry-After: 9\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
        )
        replies = [await self.send() for _ in range(4)]
        self.assertEqual(replies, [Answer(429, 120.0), Answer(503, 3600.0), Answer(503), Answer(503)])

    async def test_wrong_name(self) -> None:
        """A certificate for another name is refused, and nothing is sent."""
        self.start("other.example")
        reply = await self.send()
        self.assertEqual((reply.trouble if isinstance(reply, NoAnswer) else reply, self.node.requests), (Trouble.CERTIFICATE, []))

    async def test_expired(self) -> None:
        """A certificate that has expired is refused."""
        past = datetime.now(UTC) - timedelta(days=2)
        self.start(not_before=past - timedelta(days=9), not_after=past)
        reply = await self.send()
        self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.CERTIFICATE)

    async def test_untrusted(self) -> None:
        """A certificate of an unknown authority is refused."""
        self.start(issuer=trustme.CA())
        reply = await self.send()
        self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.CERTIFICATE)

    def listening(self) -> socket.socket:
        """A socket that accepts connections, as far as TCP goes, and does nothing with them."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        return listening

    async def test_refuses(self) -> None:
        """A port where nobody listens is a refused connection."""
        listening = self.listening()
        port = listening.getsockname()[1]
        listening.close()
        self.make(port=port)
        reply = await self.send()
        self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.CONNECT)

    async def test_black_hole(self) -> None:
        """A host that takes the connection and says nothing is given up after the time for connecting."""
        self.make(port=self.listening().getsockname()[1], connect_timeout=0.2)
        reply = await self.send()
        self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.TIMEOUT)

    async def test_little_time(self) -> None:
        """The time for connecting is no longer than that for the whole, of which looking up the name took a part."""

        class Slow:
            def look_up(self, host: str, proven: bool, done: Any) -> None:
                reactor.callLater(0.1, done, Found((ip_address("127.0.0.1"),)))

        port = self.listening().getsockname()[1]
        self.make(resolver=Resolver(reactor, Slow(), allow=networks(LOOPBACK)), connect_timeout=60.0, ports=(443, port))
        assert self.transport is not None
        reply = await self.transport.send(DeliveryRequest(f"https://slow.example:{port}/", KINDS, BODY), 0.3)
        self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.TIMEOUT)

    async def test_second_address(self) -> None:
        """Where nobody listens at the first address of a host the second is used."""
        self.start()
        resolver = LyingResolver(self.node.port, "127.0.0.2", "127.0.0.1")
        self.make(resolver=resolver, ports=(443, self.node.port))
        assert self.transport is not None
        request = DeliveryRequest(f"https://pod.example:{self.node.port}/", KINDS, BODY)
        replies = [await self.transport.send(request, 5.0) for _ in range(3)]
        self.assertEqual((replies, self.node.connections), ([Answer(202)] * 3, 1))
        self.assertEqual(self.transport.counts, Counts(transfers=3, opened=2))

    async def test_not_tls(self) -> None:
        """A host that does not speak TLS is a TLS failure."""
        listening = self.listening()
        self.make(port=listening.getsockname()[1])
        sending = self.send()
        accepted: Deferred[None] = Deferred()
        reactor.callLater(0.05, accepted.callback, None)
        await accepted
        peer = listening.accept()[0]
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        reply = await sending
        peer.close()
        self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.TLS)

    async def test_hangs(self) -> None:
        """A node that never answers is given up after the time for the whole, and its connection closed."""
        self.assertEqual(await self.trouble(hangs, timeout=0.3), Trouble.TIMEOUT)
        await self.node.until(lambda: not self.node.open)

    async def test_drip(self) -> None:
        """A node that answers a byte at a time does not get more time."""

        def behave(exchange: Exchange) -> None:
            exchange.raw(b"HTTP/1.1 200 OK\r\nX-Long: ")
            dripping = LoopingCall(exchange.raw, b"H")
            self.addCleanup(dripping.stop)
            dripping.start(0.05)

        self.assertEqual(await self.trouble(behave, timeout=0.3), Trouble.TIMEOUT)

    async def test_endless(self) -> None:
        """Endless headers, interim answers and bodies end at the limit, and the connection is closed."""
        endless = {
            "headers": floods(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 50),
            "one header": floods(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 1000),
            "interim answers": floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
            "body": floods(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", b"x" * 1000),
            "chunks": floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 100),
            "trailers": floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-More: and more\r\n" * 50),
            "gzip": floods(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", b"\x00" * 1000),
        }
        self.start()
        self.make(max_answer=20000)
        for name, behaviour in endless.items():
            self.node.behaviour = behaviour
            with self.subTest(name):
                reply = await self.send()
                self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.TOO_LARGE)
                await self.node.until(lambda: not self.node.open)

    async def test_skipped_without_end(self) -> None:
        """What libcurl skips and does not report ends, too, if there is no end of it."""
        behave = floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536)
        self.assertEqual(await self.trouble(behave), Trouble.CLOSED)
        await self.node.until(lambda: not self.node.open)

    async def test_not_http(self) -> None:
        """What is no HTTP is said to be none."""
        nonsense = {
            b"SSH-2.0-OpenSSH_9.2\r\n": Trouble.PROTOCOL,
            b"HTTP/9.9 200 OK\r\n\r\n": Trouble.PROTOCOL,
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n": Trouble.PROTOCOL,
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx": Trouble.CLOSED,
            b"HTTP/1.1 200": Trouble.CLOSED,
            b"": Trouble.CLOSED,
        }
        self.start()
        for raw, expected in nonsense.items():

            def behave(exchange: Exchange, raw: bytes = raw) -> None:
                exchange.raw(raw)
                exchange.end()

            self.node.behaviour = behave
            with self.subTest(raw):
                reply = await self.send()
                self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, expected, (raw, reply))

    async def test_reset(self) -> None:
        """A connection that breaks off is said to have been closed."""
        self.assertEqual(await self.trouble(Exchange.reset), Trouble.CLOSED)

    async def test_answers_early(self) -> None:
        """An answer that comes before the whole body was read counts."""
        self.start()
        self.node.early = lambda exchange: exchange.answer(413, close=True)
        self.assertEqual(await self.send(body=b"x" * 1048576), Answer(413))

    async def test_cancel(self) -> None:
        """A cancelled delivery ends at once: its socket is closed, and others go on."""
        self.start("pod.example", "well.example")
        self.make()
        self.node.behaviour = lambda exchange: None if exchange.request.server_name == "pod.example" else exchange.answer(202)
        hanging = self.send()
        await self.node.until(lambda: len(self.node.requests) == 1)
        hanging.cancel()
        await self.assertFailure(hanging, CancelledError)
        await self.node.until(lambda: not self.node.open)
        self.assertEqual(await self.send("well.example"), Answer(202))
        assert self.transport is not None
        self.assertEqual(self.transport.under_way, 0)

    async def test_cancel_another(self) -> None:
        """Who learns of an answer may cancel another delivery, even one that was answered in the same turn."""
        self.start("a.example", "b.example")
        held: list[Exchange] = []

        def behave(exchange: Exchange) -> None:
            held.append(exchange)
            if len(held) == 2:
                for each in held:
                    each.answer(202)

        self.node.behaviour = behave
        self.make()
        sent = [self.send("a.example"), self.send("b.example")]
        ended: list[Any] = []
        for sending, other in zip(sent, reversed(sent), strict=True):
            sending.addBoth(ended.append).addCallback(lambda _, other: other.cancel(), other)
        await gatherResults(sent)
        self.assertEqual(len(ended), 2)

    async def test_turmoil(self) -> None:
        """Whatever hundreds of deliveries meet at once, each ends once, in its own way, and nothing is left of them."""
        chance = Random(7)
        hosts = [f"pod{number}.example" for number in range(20)]
        self.start(*hosts)
        ends: list[Behaviour] = [
            accepts,
            accepts,
            answers(500, body=b"x" * 3000),
            hangs,
            Exchange.reset,
            Exchange.end,
            lambda exchange: exchange.raw(b"nonsense\r\n\r\n"),
            lambda exchange: exchange.answer(202, close=True),
        ]
        self.node.behaviour = lambda exchange: chance.choice(ends)(exchange)
        transport = self.make(kept_connections=5, max_answer=2000)
        kinds: set[str] = set()
        sent = [self.send(chance.choice(hosts), timeout=chance.choice([0.05, 0.5, 1.0])) for _ in range(300)]
        for sending in sent:
            sending.addBoth(lambda result: kinds.add(type(result.value if isinstance(result, Failure) else result).__name__))
        for sending in chance.sample(sent, 60):
            reactor.callLater(chance.random() / 2, sending.cancel)
        await gatherResults(sent)
        self.assertEqual((kinds, transport.under_way), ({"Answer", "NoAnswer", "CancelledError"}, 0))
        await transport.close()
        await self.node.until(lambda: not self.node.open)

    async def test_close(self) -> None:
        """Closing ends what is under way, closes kept connections, and refuses further deliveries."""
        self.start("pod.example", "well.example")
        transport = self.make()
        await self.send("well.example")
        self.node.behaviour = hangs
        hanging = self.send()
        await self.node.until(lambda: len(self.node.requests) == 2)
        ended = self.assertFailure(hanging, CancelledError)
        await transport.close()
        await ended
        await self.node.until(lambda: not self.node.open)
        self.assertEqual(await self.send(), NoAnswer(Trouble.BROKEN, "the relay is stopping"))
        await transport.close()

    async def test_no_name(self) -> None:
        """A name that does not resolve is said so."""
        self.make(resolver=Resolver(reactor, Names()))
        self.assertEqual(await self.send("none.example.org"), NoAnswer(Trouble.DNS))

    async def test_slow_name(self) -> None:
        """The time for the whole includes that for the name."""

        class Silent:
            def look_up(self, host: str, proven: bool, done: Any) -> None:
                pass

        self.make(resolver=Resolver(reactor, Silent()))
        self.assertEqual(await self.send("slow.example.org", timeout=0.1), NoAnswer(Trouble.DNS, "DNS does not answer in time"))

    async def test_looked_up(self) -> None:
        """A name that is looked up first is delivered to, and the look-up is cancelled with the delivery."""
        self.start()
        waiting: list[Any] = []

        class Later:
            def look_up(self, host: str, proven: bool, done: Any) -> None:
                waiting.append(done)

        self.make(resolver=Resolver(reactor, Later()))
        sending = self.send("late.example.org")
        sending.cancel()
        await self.assertFailure(sending, CancelledError)
        waiting.pop()(NotFound("name does not resolve", final=True))

    async def test_no_literals(self) -> None:
        """URLs that are not of a node on the public internet are refused before anything is looked up or connected to."""
        self.start()
        transport = self.make()
        urls = [f"https://{host}/receive/public" for host in HOSTILE_HOSTS]
        urls += ["http://pod.example/receive/public", "file:///etc/passwd", "gopher://pod.example/", "https://pod.example:5432/"]
        for url in urls:
            with self.subTest(url):
                reply = await transport.send(DeliveryRequest(url, KINDS, BODY), 1.0)
                self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.ADDRESS)
        self.assertEqual(self.node.connections, 0)

    async def test_special_addresses(self) -> None:
        """A name with any special address, alone or among public ones, is never connected to."""
        for address in SPECIAL:
            for addresses in ((address,), ("1.1.1.1", address)):
                with self.subTest(addresses):
                    resolver = Resolver(reactor, Names(evil_example=addresses))
                    self.assertIsInstance(await resolver.resolve("evil.example", 443), AddressRefused)
                    transport = CurlTransport(reactor, resolver, trust(), user_agent="x")
                    reply = await transport.send(DeliveryRequest("https://evil.example/", KINDS, BODY), 1.0)
                    self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.ADDRESS)
                    await transport.close()

    async def test_second_lock(self) -> None:
        """What the resolver lets through by mistake, the opening of the socket refuses."""
        self.start()
        self.make(resolver=LyingResolver(self.node.port), allow=(), ports=(443, self.node.port))
        assert self.transport is not None
        reply = await self.transport.send(DeliveryRequest(f"https://pod.example:{self.node.port}/", KINDS, BODY), 5.0)
        self.assertEqual((reply, self.node.connections), (NoAnswer(Trouble.ADDRESS, "127.0.0.1 is not a public address"), 0))

    async def test_pinned(self) -> None:
        """libcurl connects to the address that the resolver gave, under the name."""
        self.start()
        self.make(resolver=LyingResolver(self.node.port), ports=(443, self.node.port))
        assert self.transport is not None
        reply = await self.transport.send(DeliveryRequest(f"https://pod.example:{self.node.port}/", KINDS, BODY), 5.0)
        self.assertEqual((reply, self.node.requests[0].server_name), (Answer(202), "pod.example"))

    async def test_environment(self) -> None:
        """Proxies named in the environment are not used."""
        self.start()
        for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            self.patch(__import__("os"), "environ", {**__import__("os").environ, name: "http://127.0.0.1:1"})
        self.assertEqual(await self.send(), Answer(202))

    async def test_no_garbage(self) -> None:
        """Deliveries leave no cycles behind for the garbage collector."""
        self.start()
        await self.send()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        assert self.transport is not None
        sent = [await self.send() for _ in range(3)]
        kinds = ("Deferred", "_Handle", "Outcome")
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = [type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("socialrelay")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        self.assertEqual((sent, [kind for kind in left if kind in kinds]), ([Answer(202)] * 3, []))


class SessionTests(TransportTestCase):
    """TLS sessions."""

    def resumed(self) -> list[bool]:
        """Of each request, whether its connection resumed a session."""
        return [request.resumed for request in self.node.requests]

    async def test_resumed(self) -> None:
        """A new connection to a host resumes the session of the one before, though no connection is kept."""
        self.start()
        self.make(kept_connections=0)
        for _ in range(3):
            await self.send()
        self.assertEqual((self.resumed(), self.node.connections), ([False, True, True], 3))

    async def test_many_hosts(self) -> None:
        """Sessions of more hosts than one cache of libcurl holds are all resumed."""
        hosts = [f"pod{number}.example" for number in range(60)]
        self.start(*hosts)
        self.make(kept_connections=0)
        for _ in range(2):
            for host in hosts:
                await self.send(host)
        self.assertEqual(self.resumed(), [False] * 60 + [True] * 60)

    async def test_across_handles(self) -> None:
        """A session that one handle got serves another of the same host."""
        self.start()
        self.make(kept_connections=0)
        await self.send()
        await gatherResults([self.send(), self.send()])
        self.assertEqual(self.resumed(), [False, True, True])

    async def test_own_host_only(self) -> None:
        """The session of one host is never offered to another, though both are at the same address, with the same certificate."""
        self.start("pod.example", "other.example")
        self.make(kept_connections=0)
        for host in ("pod.example", "other.example", "pod.example"):
            await self.send(host)
        self.assertEqual(self.resumed(), [False, False, True])

    async def test_other_certificate(self) -> None:
        """A session does not help a server that has another certificate, of another authority, now."""
        self.start()
        transport = self.make(kept_connections=0, port=self.node.port)
        await self.send()
        await self.node.stop()
        self.node.start(reactor, "pod.example", issuer=trustme.CA())
        reply = await transport.send(DeliveryRequest("https://pod.example/receive/public", KINDS, BODY), 5.0)
        self.assertEqual(reply.trouble if isinstance(reply, NoAnswer) else reply, Trouble.CERTIFICATE)

    def test_bounded(self) -> None:
        """However many hosts there are, sessions are kept of so many, in so many caches; who comes back gets one again."""
        sessions = Sessions(50)
        caches = {id(sessions.of(f"pod{number}.example")) for number in range(500)}
        self.assertEqual((len(sessions), len(caches)), (50, 3))
        self.assertIs(sessions.of("pod499.example"), sessions.of("pod499.example"))
        self.assertIsNone(Sessions(0).of("pod.example"))


class Http2Tests(TransportTestCase):
    """Hosts that speak HTTP/2, where the relay does."""

    def setUp(self) -> None:
        super().setUp()
        self.h2 = H2Node()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.h2.stop()))
        self.h2.start(reactor, "pod.example")
        self.make(port=self.h2.port, http2=True)

    async def test_one_connection(self) -> None:
        """Several deliveries to a host are under way at once on one connection, which later ones use, too."""

        def behave(stream: Stream) -> None:
            if len(self.h2.streams) == 5:
                for each in self.h2.streams:
                    each.answer(202)

        self.h2.behaviour = behave
        self.assertEqual(await gatherResults([self.send() for _ in range(5)]), [Answer(202)] * 5)
        self.h2.behaviour = h2_accepts
        self.assertEqual((await self.send(), self.h2.connections, len(self.h2.streams)), (Answer(202), 1, 6))
        assert self.transport is not None
        self.assertEqual(self.transport.counts, Counts(transfers=6, opened=1))
        stream = self.h2.streams[0]
        self.assertEqual((stream.body, stream.headers[":authority"], stream.headers[":method"]), (BODY, "pod.example", "POST"))

    async def test_one_place(self) -> None:
        """However many deliveries to a host are under way, they need one place for a connection that is kept."""
        self.make(port=self.h2.port, http2=True, kept_connections=1)
        await self.send()
        for _ in range(3):
            await gatherResults([self.send() for _ in range(3)])
        assert self.transport is not None
        self.assertEqual((self.h2.connections, self.transport.counts.not_kept), (1, 0))

    async def test_told(self) -> None:
        """Retry-After and Location are read as ever."""
        self.h2.behaviour = lambda stream: stream.answer(429, ("retry-after", "120"))
        self.assertEqual(await self.send(), Answer(429, 120.0))
        self.h2.behaviour = lambda stream: stream.answer(301, ("location", "https://new.example/"))
        self.assertEqual(await self.send(), Answer(301, None, "https://new.example/"))

    async def test_reset(self) -> None:
        """A stream that is reset is a connection closed before an answer; the others on it go on."""

        def behave(stream: Stream) -> None:
            if len(self.h2.streams) == 2:
                self.h2.streams[0].reset(ErrorCodes.INTERNAL_ERROR)
                stream.answer(202)

        self.h2.behaviour = behave
        first, second = await gatherResults([self.send(), self.send()])
        self.assertEqual((first.trouble if isinstance(first, NoAnswer) else first, second), (Trouble.CLOSED, Answer(202)))
        self.assertEqual(self.h2.connections, 1)

    async def test_refused(self) -> None:
        """A stream that is refused was not looked at: it is sent once more."""
        self.h2.behaviour = lambda stream: stream.reset(ErrorCodes.REFUSED_STREAM) if len(self.h2.streams) == 1 else stream.answer(202)
        self.assertEqual((await self.send(), len(self.h2.streams)), (Answer(202), 2))

    async def test_goes_away(self) -> None:
        """What was taken before GOAWAY is answered; later deliveries use a new connection."""

        def behave(stream: Stream) -> None:
            if stream.connection.number == 1:
                stream.go_away(stream.number)
            stream.answer(202)

        self.h2.behaviour = behave
        self.assertEqual([await self.send(), await self.send()], [Answer(202)] * 2)
        self.assertEqual(self.h2.connections, 2)

    async def test_went_away(self) -> None:
        """What GOAWAY says was not taken is sent over a new connection."""

        def behave(stream: Stream) -> None:
            if stream.connection.number == 1:
                stream.go_away(0)
                stream.end()
            else:
                stream.answer(202)

        self.h2.behaviour = behave
        self.assertEqual((await self.send(), self.h2.connections), (Answer(202), 2))

    async def test_cut_off(self) -> None:
        """A connection that ends before the answer to what was taken is a failure of the host, also when GOAWAY gives no reason."""
        troubles = []
        for code in (ErrorCodes.NO_ERROR, ErrorCodes.INTERNAL_ERROR):

            def behave(stream: Stream, code: ErrorCodes = code) -> None:
                stream.go_away(stream.number, code)
                stream.end()

            self.h2.behaviour = behave
            reply = await self.send()
            troubles.append(reply.trouble if isinstance(reply, NoAnswer) else reply)
        self.assertEqual(troubles, [Trouble.PROTOCOL, Trouble.PROTOCOL])

    async def test_cancel(self) -> None:
        """Cancelling a delivery resets its stream and leaves the connection to the others."""
        self.h2.behaviour = lambda stream: None
        hanging = self.send()
        await self.h2.until(lambda: len(self.h2.streams) == 1)
        other = self.send()
        await self.h2.until(lambda: len(self.h2.streams) == 2)
        hanging.cancel()
        await self.assertFailure(hanging, CancelledError)
        await self.h2.until(lambda: self.h2.resets == 1)
        self.h2.streams[1].answer(202)
        self.assertEqual((await other, self.h2.connections), (Answer(202), 1))

    async def test_given_up(self) -> None:
        """A connection on which a delivery failed is closed with the last delivery that uses it, whatever still comes there."""
        for behaviour in (lambda stream: None, lambda stream: stream.answer(200, body=b"x" * 16000)):
            self.h2.behaviour = behaviour
            self.make(port=self.h2.port, http2=True, max_answer=10000)
            replies = await gatherResults([self.send(timeout=0.3), self.send(timeout=0.6)])
            self.assertEqual([type(reply) for reply in replies], [NoAnswer] * 2)
            await self.h2.until(lambda: not self.h2.open)
        self.h2.behaviour = h2_accepts
        self.assertEqual(await self.send(), Answer(202))

    async def test_too_large(self) -> None:
        """The bound of an answer holds."""
        self.h2.behaviour = lambda stream: stream.answer(200, body=b"x" * 16000)
        self.make(port=self.h2.port, http2=True, max_answer=10000)
        self.assertEqual(await self.send(), NoAnswer(Trouble.TOO_LARGE, "more than 10000 bytes"))

    async def test_http1(self) -> None:
        """A host that speaks HTTP/1.1 only is served as ever."""
        self.start()
        self.make(http2=True)
        self.assertEqual([await self.send() for _ in range(3)], [Answer(202)] * 3)
        self.assertEqual((self.node.connections, self.node.faults), (1, []))

    async def test_off(self) -> None:
        """HTTP/2 is not offered unless it is asked for."""
        self.make(port=self.h2.port)
        await self.send()
        self.assertEqual((self.h2.offered, self.h2.streams), ([[b"http/1.1"]], []))


class TransfersTests(TestCase):
    """The driver by itself."""

    timeout = 8

    def setUp(self) -> None:
        self.node = TLSNode(hangs).start(reactor, "pod.example")
        self.addCleanup(lambda: Deferred.fromCoroutine(self.node.stop()))
        self.transfers = Transfers(reactor, max_connections=4)
        self.addCleanup(self.transfers.close)

    def handle(self) -> pycurl.Curl:
        """One for the node."""
        handle = pycurl.Curl()
        self.addCleanup(handle.close)
        for option, value in (
            (pycurl.URL, f"https://pod.example:{self.node.port}/"),
            (pycurl.RESOLVE, [f"pod.example:{self.node.port}:127.0.0.1"]),
            (pycurl.CAINFO, str(trust().bundle)),
            (pycurl.WRITEFUNCTION, len),
            (pycurl.POSTFIELDS, BODY),
            (pycurl.HTTPHEADER, ["Expect:"]),
        ):
            handle.setopt(option, value)
        return handle

    async def begun(self, count: int) -> list[Deferred[Outcome]]:
        """So many transfers that have arrived at the node and wait there."""
        transfers = [self.transfers.start(self.handle()) for _ in range(count)]
        await self.node.until(lambda: len(self.node.requests) == count)
        return transfers

    def answer(self, number: int) -> None:
        """The node answers one of the requests."""
        request = self.node.requests[number]
        next(each for each in self.node.open if each.number == request.connection).transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        )

    def test_closed(self) -> None:
        """A closed driver takes nothing, leaves neither timer nor reader, and can be closed again."""
        before = reactor.getDelayedCalls(), reactor.getReaders()
        transfers = Transfers(reactor, max_connections=4)
        self.successResultOf(transfers.close(grace=9.0))
        self.successResultOf(transfers.close())
        self.assertRaises(RuntimeError, transfers.start, None)
        self.assertEqual((transfers.under_way, (reactor.getDelayedCalls(), reactor.getReaders())), (0, before))

    async def test_drains(self) -> None:
        """Closing with a grace lets what is under way end, and takes nothing new."""
        first, second = await self.begun(2)
        closing = self.transfers.close(grace=60.0)
        self.assertRaises(RuntimeError, self.transfers.start, self.handle())
        self.answer(0)
        self.assertEqual((await first, closing.called), (Outcome(0), False))
        self.answer(1)
        self.assertEqual(await second, Outcome(0))
        await closing
        await self.node.until(lambda: not self.node.open)

    async def test_grace_is_over(self) -> None:
        """What has not ended when the grace is over is cancelled."""
        [hanging] = await self.begun(1)
        ended = self.assertFailure(hanging, CancelledError)
        await self.transfers.close(grace=0.05)
        await ended
        await self.node.until(lambda: not self.node.open)

    async def test_impatient(self) -> None:
        """Closing again, and cancelling what closes, end the wait at once."""
        for impatient in ("again", "cancel"):
            with self.subTest(impatient):
                self.node.requests.clear()
                self.transfers = Transfers(reactor, max_connections=4)
                [hanging] = await self.begun(1)
                closing = self.transfers.close(grace=60.0)
                if impatient == "again":
                    self.transfers.close()
                else:
                    closing.cancel()
                await self.assertFailure(hanging, CancelledError)
                self.assertIsNone(await closing)

    async def test_cannot_be_closed(self) -> None:
        """A connection that cannot be closed, for want of a descriptor, keeps no transfer from its end, neither this one nor others."""

        def no_descriptor(handle: pycurl.Curl, outcome: Outcome) -> bool:
            raise OSError(EMFILE, "Too many open files")

        self.transfers = Transfers(reactor, max_connections=4, severs=no_descriptor)
        self.addCleanup(self.transfers.close)
        [other] = await self.begun(1)
        late = self.handle()
        late.setopt(pycurl.TIMEOUT_MS, 50)
        self.assertEqual((await self.transfers.start(late)).code, pycurl.E_OPERATION_TIMEDOUT)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.answer(0)
        self.assertEqual(await other, Outcome(0))

    async def test_cancelled_last(self) -> None:
        """Cancelling the last one under way ends the wait, too."""
        [hanging] = await self.begun(1)
        closing = self.transfers.close(grace=60.0)
        hanging.cancel()
        await self.assertFailure(hanging, CancelledError)
        await closing

    async def test_in_slices(self) -> None:
        """Answers that come all at once, and take their time, are taken in over several turns of the reactor; until then that is said."""
        turns: Counter[int] = Counter()
        turn, behind = 0, []

        class Slow:
            """The reactor, with a clock that goes on by half a slice with each answer."""

            def seconds(self) -> float:
                return reactor.seconds() + turns.total() * SLICE / 2

            def __getattr__(self, name: str) -> Any:
                return getattr(reactor, name)

        self.transfers = Transfers(cast(Any, Slow()), max_connections=40, arrived=lambda descriptor, now: turns.update([turn]))
        self.addCleanup(self.transfers.close)
        waiting = gatherResults(await self.begun(40))
        turns.clear()
        for number in range(40):
            self.answer(number)
        while not waiting.called:
            await deferLater(reactor, 0.0)
            turn += 1
            behind.append(self.transfers.behind)
        self.assertEqual(len(await waiting), 40)
        self.assertEqual((any(behind), behind[-1]), (True, False))
        self.assertLessEqual(max(turns.values()), 32)

    async def test_example(self) -> None:
        """The example in the module's documentation runs."""
        _, _, text = (curl.__doc__ or "").partition("An example::\n")
        example, _, _ = text.partition("How it works:")
        names: dict[str, Any] = {}
        exec(dedent(example), names)
        root = Resource()
        root.putChild(b"", Data(b"hello", "text/plain"))
        page = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
        self.addCleanup(page.stopListening)
        self.assertEqual(await names["get"](reactor, f"http://127.0.0.1:{page.getHost().port}/"), (0, 200, b"hello"))

    def test_stands_alone(self) -> None:
        """The module imports nothing of the relay."""
        imported = [
            line for line in Path(curl.__file__).read_text().splitlines() if line.startswith(("from socialrelay", "import socialrelay"))
        ]
        self.assertEqual(imported, [])
