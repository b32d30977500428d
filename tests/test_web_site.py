"""Tests for L{socialrelay.web.site}, L{socialrelay.web.channel} and L{socialrelay.web.framing}: raw bytes over loopback."""

from __future__ import annotations

import gc
import tempfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any
from weakref import ref

import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from socialrelay.web.addresses import TrustedProxies
from socialrelay.web.channel import LINGER, PACE, PROMPT
from socialrelay.web.framing import plain_post
from socialrelay.web.request import PIECE, PIECES, client_address
from socialrelay.web.room import Room
from socialrelay.web.site import FAREWELL, TIME_ENOUGH, GuardedSite
from socialrelay.web.turns import Turns

MAX_BODY = 5000
IN_HAND = 20 * MAX_BODY


class Echo(Resource):
    """Answers with the length of the body; C{/wait} answers when told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []
        self.contents: list[object] = []
        self.waiting: list[Request] = []
        self.clients: list[str] = []
        self.lengths: list[int] = []

    def render(self, request: Request) -> bytes | int:
        body = request.content.read()  # type: ignore[union-attr]
        self.seen.append(request.path)
        self.lengths.append(len(body))
        self.contents.append(request.content)
        self.clients.append(client_address(request))
        if request.path == b"/wait":
            self.waiting.append(request)
            return NOT_DONE_YET
        return b"%d" % len(body)


class Peer(Protocol):
    """The other end: all that it received, and when the connection ended."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[None] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for wanted, fired in list(self._waiting):
            if wanted in self.received:
                self._waiting.remove((wanted, fired))
                fired.callback(None)

    def until(self, wanted: bytes) -> Deferred[None]:
        """Fires when these bytes have come."""
        fired: Deferred[None] = Deferred()
        self._waiting.append((wanted, fired))
        self.dataReceived(b"")
        return fired

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)

    def statuses(self) -> list[int]:
        """The status codes of the answers, in order."""
        return [int(part[:3]) for part in self.received.split(b"HTTP/1.1 ")[1:]]


def make_site(clock: IReactorTime, resource: Resource, **options: object) -> GuardedSite:
    """A site with small limits."""
    settled: dict[str, object] = {"max_body": MAX_BODY, "deadline": 30.0, "max_connections": 10, "max_connections_per_address": 10}
    settled["room"] = Room(IN_HAND, clock)
    return GuardedSite(resource, clock=clock, **(settled | options))  # type: ignore[arg-type]


def post(body: bytes, path: bytes = b"/", *more: bytes) -> bytes:
    """A whole request."""
    return b"\r\n".join([b"POST %s HTTP/1.1" % path, b"Host: relay.example", b"Content-Length: %d" % len(body), *more, b"", body])


class LoopbackTests(TestCase):
    """A site on a real socket, and a peer that writes raw bytes."""

    timeout = 20
    secure = False

    def server(self) -> IStreamServerEndpoint:
        return TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")

    def client(self) -> IStreamClientEndpoint:
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)

    async def listen(self, **options: object) -> None:
        self.resource = Echo()
        self.clock = Clock()
        self.site = make_site(self.clock, self.resource, **options)
        self.port = await self.server().listen(self.site)
        self.addCleanup(self.port.stopListening)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.until_idle()))

    async def connect(self, data: bytes = b"") -> Peer:
        peer: Peer = await connectProtocol(self.client(), Peer())
        self.addCleanup(lambda: Deferred.fromCoroutine(self._end(peer)))
        if data:
            peer.transport.write(data)
        return peer

    async def _end(self, peer: Peer) -> None:
        if not peer.ended.called:
            peer.transport.abortConnection()
        await peer.ended

    async def refused(self, peer: Peer, reason: bytes) -> None:
        """Wait for a refusal and the end of the connection. TLS cannot be closed in one direction, so there the end takes a moment."""
        await peer.until(b"\r\n\r\n" + reason + b"\n")
        if self.secure:
            self.clock.advance(LINGER)
        await peer.ended

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the reactor turn until it is so."""
        while not condition():
            await deferLater(reactor, 0)

    async def until_idle(self) -> None:
        """Wait until the site has no connection."""
        await self.until(lambda: not self.site.connections)

    async def test_kept_connection(self) -> None:
        """
        Requests follow each other on one connection, and are answered in order when they are sent at once.
        """
        await self.listen()
        peer = await self.connect(post(b"abc") + post(b"") + post(b"defgh", b"/", b"Connection: close"))
        await peer.ended
        self.assertEqual(peer.statuses(), [200, 200, 200])
        self.assertEqual([part.rpartition(b"\r\n")[2] for part in peer.received.split(b"HTTP/1.1 ")[1:]], [b"3", b"0", b"5"])

    async def test_leave(self) -> None:
        """
        A site that stops answers what is under way on its connections, and what comes a moment later, each as the last of its connection.
        """
        await self.listen()
        silent, talks, slow, waits = [await self.connect(post(b"abc")) for _ in range(4)]
        for peer in (silent, talks, slow, waits):
            await peer.until(b"\r\n\r\n3")
        new = await self.connect()
        slow.transport.write(post(b"abcd")[:-2])
        waits.transport.write(post(b"abcde", b"/wait"))
        await self.until(lambda: bool(self.resource.waiting) and self.site.connections == 5)
        await self.until(lambda: sum(each.held for each in self.site._channels) == 2)
        left = self.site.leave()
        for peer in (talks, new):
            peer.transport.write(post(b"abcdef"))
            await peer.ended
            self.assertEqual((peer.statuses()[-1], peer.received.lower().count(b"connection: close")), (200, 1))
        await self.until(lambda: self.site.connections == 3)
        self.clock.advance(FAREWELL)
        await silent.ended
        await self.until(lambda: self.site.connections == 2)
        self.assertNoResult(left)
        slow.transport.write(b"cd")
        self.resource.waiting[0].finish()
        for peer in (slow, waits):
            await peer.ended
            self.assertEqual(peer.statuses(), [200, 200])
        await left

    async def test_leave_silent(self) -> None:
        """
        Who was silent for long is hung up on at once; a site without connections is left at once.
        """
        await self.listen()
        peer = await self.connect(post(b"abc"))
        await peer.until(b"\r\n\r\n3")
        self.clock.advance(FAREWELL)
        await self.site.leave()
        await peer.ended
        self.assertEqual(peer.statuses(), [200])
        self.successResultOf(self.site.leave())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_pipelined_refusal(self) -> None:
        """
        A bad request behind a good one that takes its time is refused only after the good one's answer.
        """
        await self.listen()
        peer = await self.connect(post(b"abc", b"/wait") + b"GET / HTTP/1.1\r\n\r\n" + post(b"never seen", b"/never"))
        await self.until(lambda: bool(self.resource.waiting))
        self.resource.waiting[0].finish()
        await self.refused(peer, b"no-host")
        self.assertEqual(peer.statuses(), [200, 400])
        self.assertEqual(self.resource.seen, [b"/wait"])

    async def test_declared_too_large(self) -> None:
        """
        A body that is said to be too large is answered with 413 before any of it is read, and no 100 Continue invites it.
        """
        await self.listen()
        peer = await self.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5001\r\nExpect: 100-continue\r\n\r\n")
        await self.refused(peer, b"too-large")
        self.assertEqual(peer.statuses(), [413])
        self.assertTrue(peer.received.endswith(b"\r\n\r\ntoo-large\n"))
        self.assertEqual((self.resource.seen, self.site.counters["refused-too-large"]), ([], 1))

    async def test_honest_large_body(self) -> None:
        """
        A sender that writes its whole large body before it reads sees the 413.
        """
        await self.listen()
        peer = await self.connect(post(b"x" * 500_000) + post(b"smuggled", b"/never"))
        await self.refused(peer, b"too-large")
        self.assertEqual((peer.statuses(), self.resource.seen), ([413], []))

    async def test_largest_body(self) -> None:
        """
        A body of the greatest size is taken, from memory and not from a file.
        """
        await self.listen()
        self.patch(tempfile, "TemporaryFile", None)
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1388\r\n%s\r\n0\r\n\r\n" % (
            b"x" * MAX_BODY
        )
        peer = await self.connect(post(b"x" * MAX_BODY) + chunked)
        await peer.ended
        self.assertEqual(peer.statuses(), [200, 200])
        self.assertEqual({type(content) for content in self.resource.contents}, {BytesIO})

    async def test_chunked_too_large(self) -> None:
        """
        A chunked body is cut off where it passes the limit.
        """
        await self.listen()
        peer = await self.connect(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n%s\r\n" % (b"x" * 1000) * 6
        )
        await self.refused(peer, b"too-large")
        self.assertEqual((peer.statuses(), self.resource.seen), ([413], []))
        self.assertEqual(self.site.counters["refused-too-large"], 1)

    async def test_endless_body(self) -> None:
        """
        A sender that goes on writing after its refusal is cut off.
        """
        await self.listen()
        peer = await self.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n")
        await peer.until(b"too-large")
        peer.transport.write(b"x" * 8_000_000)
        await self.until(lambda: not self.site.connections)

    async def test_silent_after_refusal(self) -> None:
        """
        A refused sender that neither writes nor leaves is left after a moment.
        """
        await self.listen()
        peer = await self.connect(b"GET / HTTP/1.1\r\n\r\n")
        await peer.until(b"no-host")
        if self.site.connections:
            self.clock.advance(LINGER)
        await self.until_idle()
        await peer.ended

    async def test_lying_length(self) -> None:
        """
        What is sent beyond the declared length is the next request and nothing else; what is sent short of it is never served.
        """
        await self.listen()
        longer = await self.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcdef\r\n\r\n")
        await self.refused(longer, b"bad-request")
        self.assertEqual(longer.statuses(), [200, 400])
        shorter = await self.connect(b"POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nabcdef")
        await shorter.until(b"")
        shorter.transport.loseConnection()
        await shorter.ended
        await self.until_idle()
        self.assertNotIn(b"/never", self.resource.seen)

    async def test_slow_request(self) -> None:
        """
        A request must be complete in time, however steadily its bytes arrive.
        """
        await self.listen()
        for start in (b"", b"POST / HT", b"POST / HTTP/1.1\r\nX-A: b\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nx"):
            peer = await self.connect(start)
            await self.until(lambda: self.site.connections == 1)
            peer.transport.write(b"x")
            await self.until(lambda: any(channel.requests or channel._buffer for channel in self.site._channels))
            for _ in range(6):
                self.assertEqual(self.site.connections, 1)
                peer.transport.write(b"x")
                self.clock.advance(5.0)
            await self.until_idle()
            await peer.ended
        self.assertEqual(self.site.counters["overdue"], 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_slow_answer(self) -> None:
        """
        The deadline is the sender's, not ours: while we take our time the connection stays, and then the sender's time begins anew.
        """
        await self.listen()
        peer = await self.connect(post(b"abc", b"/wait"))
        await self.until(lambda: bool(self.resource.waiting))
        self.clock.pump([20.0] * 5)
        self.resource.waiting[0].finish()
        await peer.until(b"200 OK")
        self.clock.pump([29.0, 0.5])
        self.assertEqual(self.site.connections, 1)
        self.clock.advance(0.6)
        await peer.ended

    async def test_idle_connection(self) -> None:
        """
        A kept connection on which nothing more comes is closed in peace, and is not counted with the slow ones.
        """
        await self.listen()
        peer = await self.connect(post(b"abc"))
        await peer.until(b"200 OK")
        self.clock.advance(30.0)
        if self.secure:
            self.clock.advance(LINGER)
        await peer.ended
        self.assertEqual(dict(self.site.counters), {"idle": 1})

    async def test_hundred_slow_senders(self) -> None:
        """
        Slow senders use up the connections for their time and no longer; then others are served again.
        """
        await self.listen(max_connections=100, max_connections_per_address=200)
        slow = [await self.connect(b"POST / HTTP/1.1\r\nX: ") for _ in range(100)]
        await self.until(lambda: self.site.connections == 100)
        refused = await self.connect(post(b"abc"))
        await refused.ended
        self.assertEqual((refused.received, self.site.counters["refused-connections"]), (b"", 1))
        self.clock.advance(TIME_ENOUGH)
        for _ in range(3):
            served = await self.connect(post(b"abc", b"/", b"Connection: close"))
            await served.ended
            self.assertEqual(served.statuses(), [200])
        self.assertIn(self.site.counters["gave-way"], (1, 2, 3))  # over TLS a served connection takes a moment to end
        self.clock.advance(30.0)
        for peer in slow:
            await peer.ended
        served = await self.connect(post(b"abc", b"/", b"Connection: close"))
        await served.ended
        self.assertEqual(served.statuses(), [200])

    async def test_connections_per_address(self) -> None:
        """
        One client has only so many connections, and an ended one makes room.
        """
        await self.listen(max_connections_per_address=1)
        first = await self.connect(post(b""))
        await first.until(b"200 OK")
        second = await self.connect(post(b""))
        await second.ended
        self.assertEqual((second.received, self.site.counters["refused-connections-address"]), (b"", 1))
        first.transport.loseConnection()
        await self.until_idle()
        third = await self.connect(post(b""))
        await third.until(b"200 OK")

    async def test_no_version(self) -> None:
        """
        The server does not say what it is made of.
        """
        await self.listen()
        peer = await self.connect(post(b"", b"/", b"Connection: close"))
        await peer.ended
        self.assertIn(b"\r\nServer: socialrelay\r\n", peer.received)
        self.assertNotIn(b"wisted", peer.received)


class TlsTests(LoopbackTests):
    """The same, over TLS."""

    secure = True

    def server(self) -> IStreamServerEndpoint:
        issued = trustme.CA().issue_cert("relay.example")
        pem = issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes()
        return SSL4ServerEndpoint(reactor, 0, PrivateCertificate.loadPEM(pem).options(), interface="127.0.0.1")

    def client(self) -> IStreamClientEndpoint:
        return wrapClientTLS(CertificateOptions(verify=False), super().client())


SMUGGLING = {
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "bad-host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "bad-target": b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "folded-header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "bad-transfer-encoding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    "bad-length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
}

MALFORMED = [
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X" * 101 + b": y\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"* * *\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 600 + b"\r\n",
]


class Wire(StringTransport):
    """A transport in memory that can be aborted."""

    def abortConnection(self) -> None:
        self.disconnecting = True


class Held(Turns):
    """Lets nobody have a turn until it is told to."""

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock)
        self.held: list[Callable[[], None]] = []

    def run(self, work: Callable[[], None]) -> None:
        self.held.append(work)

    def go(self) -> None:
        """All that waits is done."""
        for work in self.held:
            work()


class ChannelTests(SynchronousTestCase):
    """What the parser makes of bytes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.resource = Echo()
        self.site = make_site(self.clock, self.resource)

    def feed(self, *pieces: bytes) -> tuple[bytes, Counter[str]]:
        self.site.counters.clear()
        channel = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        wire = Wire(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
        channel.makeConnection(wire)
        for piece in pieces:
            channel.dataReceived(piece)
        channel.connectionLost(Failure(ConnectionError()))
        return wire.value(), self.site.counters

    def test_named_faults(self) -> None:
        """
        Heads that two parsers could read differently are refused with the name of what is wrong.
        """
        for name, data in SMUGGLING.items():
            written, counters = self.feed(data, b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertTrue(written.startswith(b"HTTP/1.1 400 ") and written.endswith(b"\r\n%s\n" % name.encode()), (name, written))
            self.assertEqual(counters, {f"refused-{name}": 1})
        self.assertEqual(self.resource.seen, [])

    def test_malformed(self) -> None:
        """
        Each malformed request is answered once, with 400, and nothing behind it is served.
        """
        for data in MALFORMED:
            written, _ = self.feed(data, b"GET /never HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            self.assertTrue(written.startswith(b"HTTP/1.1 400 "), (data, written))
            self.assertEqual((written.count(b"HTTP/1."), self.resource.seen), (1, []), data)

    def test_path_is_text(self) -> None:
        """
        A path that is no UTF-8 is refused; the connection is in order and goes on.
        """
        written, _ = self.feed(b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", post(b""))
        self.assertEqual([part[4:7] for part in written.split(b"HTTP/")[1:]], [b"400", b"200"])

    def test_old_client(self) -> None:
        """
        HTTP/1.0 is served without a Host, as monitors and old proxies speak it.
        """
        written, _ = self.feed(b"GET / HTTP/1.0\r\n\r\n")
        self.assertTrue(written.startswith(b"HTTP/1.0 200 "), written)

    def test_any_host(self) -> None:
        """
        What a client writes as Host, if it is well formed, changes nothing.
        """
        for host in (b"a..b", b"xn--a", b"x" * 300, b"[::1]:8080", b"a:b", b"%"):
            written, _ = self.feed(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
            self.assertTrue(written.startswith(b"HTTP/1.1 200 "), (host, written))

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.sampled_from([*SMUGGLING.values(), *MALFORMED, post(b"abc"), b"\r\n", b"GET ", b"\xff"]), max_size=4),
        st.integers(1, 60),
    )
    def test_any_bytes(self, requests: list[bytes], step: int) -> None:
        """
        Whatever arrives, in whatever pieces, is answered or refused, and nothing breaks.
        """
        data = b"".join(requests)
        written, _ = self.feed(*(data[start : start + step * 50] for start in range(0, len(data), step * 50)))
        self.assertTrue({int(part[2:5]) for part in written.split(b"HTTP/1.")[1:]} <= {200, 400}, written)
        self.clock.advance(0)
        self.assertEqual((self.site.connections, self.clock.getDelayedCalls()), (0, []))

    def test_bodies_together(self) -> None:
        """
        When bodies in reception are too many bytes together, the largest gives way and the small ones do not.
        """
        site = make_site(self.clock, self.resource, max_connections=1000, max_connections_per_address=1000)
        wires, channels = [], []
        for number in range(IN_HAND // MAX_BODY + 2):
            channel = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", number))
            wires.append(Wire())
            channels.append(channel)
            channel.makeConnection(wires[-1])
            size = 10 if number == 0 else MAX_BODY - 1
            channel.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (size + 1) + b"x" * size)
        answered = [wire.value().startswith(b"HTTP/1.1 503 ") for wire in wires]
        self.assertEqual((sum(answered), answered[0], site.counters["refused-too-much-at-once"]), (1, False, 1))
        self.assertTrue(0 < site.room.receiving <= IN_HAND)
        for channel in channels:
            channel.connectionLost(Failure(ConnectionError()))
        self.assertEqual((site.room.receiving, site.room.kept, site.room.refused), (0, 0, 1))

    def test_several_give_way(self) -> None:
        """
        When one that gives way is not enough, the next one does.
        """
        wires, channels = [], []
        for size in (30, 20, 10):
            channels.append(self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
            wires.append(Wire())
            channels[-1].makeConnection(wires[-1])
            channels[-1].dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * size)
        self.site.room.kept = IN_HAND - 15
        channels[-1].dataReceived(b"x")
        self.assertEqual([wire.value()[9:12] for wire in wires], [b"503", b"503", b""])
        self.assertEqual(self.site.room.receiving, 11)
        for channel in channels:
            channel.connectionLost(Failure(ConnectionError()))
        self.assertEqual(self.site.room.receiving, 0)

    def test_no_room(self) -> None:
        """
        While bodies that cannot give way take nearly all room, a large one is refused at its announcement, and a small one is served.
        """
        while self.site.room.fits(MAX_BODY // 2):
            self.site.room.keep(MAX_BODY // 2)
        announced = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        written, counters = self.feed(announced % MAX_BODY)
        self.assertTrue(written.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 60\r\n" in written, written)
        self.assertEqual((counters, self.resource.seen), ({"refused-too-much-at-once": 1}, []))
        written, _ = self.feed(post(b"small"))
        self.assertTrue(written.startswith(b"HTTP/1.1 200 "), written)

    def test_bodies_of_no_use(self) -> None:
        """
        The body of a request that is no POST is not kept while the answer is prepared.
        """
        self.feed(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        self.assertEqual((self.resource.seen, self.resource.lengths), ([b"/"], [0]))

    def test_shortcut(self) -> None:
        """
        What is posted to the address of a shortcut, exactly, is handed over; it answers, and the connection goes on.
        """
        taken: list[bytes] = []

        def take(request: Any) -> None:
            taken.append(request.content.getvalue())
            request.reply(202)

        self.site = make_site(self.clock, self.resource, shortcuts={b"/short": take})
        get = b"GET /short HTTP/1.1\r\nHost: a\r\n\r\n"
        written, _ = self.feed(
            post(b"one", b"/short"), get + post(b"", b"/short?x") + post(b"two", b"/short"), post(b"3", b"/short", b"Connection: close")
        )
        self.assertEqual([part[4:7] for part in written.split(b"HTTP/")[1:]], [b"202", b"200", b"200", b"202", b"202"])
        self.assertEqual((taken, self.resource.seen), ([b"one", b"two", b"3"], [b"/short", b"/short"]))
        self.assertTrue(written.endswith(b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), written)

    def test_shortcut_fails(self) -> None:
        """
        An error of our own is logged and answered with 500; when the answer has begun the connection ends.
        """

        def fail(request: Any) -> None:
            raise ZeroDivisionError

        def fail_late(request: Any) -> None:
            request.startedWriting = 1
            raise ZeroDivisionError

        self.site = make_site(self.clock, self.resource, shortcuts={b"/short": fail, b"/late": fail_late})
        written, _ = self.feed(post(b"x", b"/short"), post(b"x", b"/late"))
        self.assertTrue(written.startswith(b"HTTP/1.1 500 ") and written.count(b"HTTP/1.1") == 1, written)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_who_gives_way(self) -> None:
        """
        The place of a client that keeps us waiting goes to a newcomer, the longest wait first; one that waits for us keeps its own.
        """
        site = make_site(self.clock, self.resource, max_connections=2)
        wires = []
        for address, request in (("192.0.2.1", post(b"", b"/wait")), ("192.0.2.3", b"POST / HT")):
            channel = site.buildProtocol(IPv4Address("TCP", address, 1))
            wires.append(Wire())
            channel.makeConnection(wires[-1])
            channel.dataReceived(request)
        newcomer = IPv4Address("TCP", "192.0.2.2", 1)
        self.clock.advance(TIME_ENOUGH - 0.1)
        site.buildProtocol(newcomer)
        self.assertEqual(site.counters, {"refused-connections": 1})
        self.clock.advance(0.1)
        site.buildProtocol(newcomer).makeConnection(Wire())
        self.assertEqual((site.connections, [wire.disconnecting for wire in wires]), (2, [False, True]))
        site.buildProtocol(newcomer)
        self.assertEqual(site.counters, {"refused-connections": 2, "gave-way": 1})

    def test_answered_unread(self) -> None:
        """
        A request that is not to be read is answered, and the connection goes on; not while another one is being answered.
        """
        full = [True]
        told = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
        self.site = make_site(self.clock, self.resource, quick_answer=lambda data: told if full[0] and plain_post(data) == b"/" else b"")
        channel, wire = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)), Wire()
        channel.makeConnection(wire)
        channel.dataReceived(post(b"one"))
        channel.dataReceived(post(b"two"))
        full[0] = False
        channel.dataReceived(post(b"three", b"/wait"))
        full[0] = True
        channel.dataReceived(post(b"four"))
        self.assertEqual(([part[:3] for part in wire.value().split(b"HTTP/1.1 ")[1:]], self.resource.lengths), ([b"503", b"503"], [5]))
        self.resource.waiting[0].finish()
        self.assertEqual(
            ([part[:3] for part in wire.value().split(b"HTTP/1.1 ")[1:]], len(self.resource.lengths)), ([b"503", b"503", b"200", b"503"], 1)
        )
        self.clock.advance(1.0)
        channel.dataReceived(post(b"five"))
        self.clock.pump([1.0] * 29)
        self.assertFalse(wire.disconnecting)

    def test_plain_post(self) -> None:
        """
        Only a whole request whose end is beyond dispute is taken for a plain post.
        """
        head = b"POST /a HTTP/1.1\r\nHost: b\r\n"
        self.assertEqual(plain_post(head + b"Content-Length: 3\r\nX-Y: z\r\n\r\nabc"), b"/a")
        self.assertEqual(plain_post(head + b"User-Agent: c d (e)\r\ncontent-length: 0\r\n\r\n"), b"/a")
        length = b"Content-Length: 3\r\n"
        for rest in (
            length + b"\r\nab",
            length + b"\r\nabcd",
            b"\r\n",
            length + length + b"\r\nabc",
            b"Transfer-Encoding: chunked\r\n" + length + b"\r\nabc",
            length + b"transfer-encoding: chunked\r\n\r\nabc",
            length + b"Transfer-Encoding : chunked\r\n\r\nabc",
            length + b"X: y\r\n z\r\n\r\nabc",
            length + b"X: y\nTransfer-Encoding: chunked\r\n\r\nabc",
            length + b"X: y\rz\r\n\r\nabc",
            length + b"X: \x00\r\n\r\nabc",
            length + b"Connection: close\r\n\r\nabc",
            length + b"Expect: 100-continue\r\n\r\nabc",
            b"Content-Length: +3\r\n\r\nabc",
            b"Content-Length: 3, 3\r\n\r\nabc",
            b"Content-Length:  3\r\n\r\nabc",
        ):
            self.assertIsNone(plain_post(head + rest), rest)
        for data in SMUGGLING.values():
            self.assertIsNone(plain_post(data), data)
        for data in MALFORMED:
            self.assertIsNone(plain_post(data), data)

    def test_fewer_come_first(self) -> None:
        """
        When nobody had time enough, the address that has most connections gives one up for one that has fewer, and for no other.
        """
        site = make_site(self.clock, self.resource, max_connections=4)
        wires = []
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.1"):
            wires.append(Wire())
            site.buildProtocol(IPv4Address("TCP", address, 1)).makeConnection(wires[-1])
            self.clock.advance(0.1)
        for address in ("192.0.2.3", "192.0.2.1", "192.0.2.2"):
            wires.append(Wire())
            site.buildProtocol(IPv4Address("TCP", address, 1)).makeConnection(wires[-1])
        self.assertEqual([wire.disconnecting for wire in wires], [True, False, False, False, False, True, True])
        self.assertEqual((site.connections, site.counters), (4, {"gave-way": 1, "refused-connections": 2}))

    def test_fewest_wait_for_us(self) -> None:
        """
        Who waits for our answer is not cut off in favour of somebody else.
        """
        site = make_site(self.clock, self.resource, max_connections=2)
        for _ in range(2):
            channel = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
            channel.makeConnection(Wire())
            channel.dataReceived(post(b"", b"/wait"))
        site.buildProtocol(IPv4Address("TCP", "192.0.2.2", 1))
        self.assertEqual((site.connections, site.counters), (2, {"refused-connections": 1}))

    def test_tiny_chunks(self) -> None:
        """
        A body in more and smaller chunks than anybody has reason to send is refused, and the rest of them is not looked at.
        """
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        written, counters = self.feed(head + b"1\r\na\r\n" * PIECES + b"0\r\n\r\n")
        self.assertTrue(written.startswith(b"HTTP/1.1 200 "), written)
        written, counters = self.feed(head + b"1\r\na\r\n" * 4000 + b"0\r\n\r\n")
        self.assertTrue(written.startswith(b"HTTP/1.1 400 ") and written.count(b"HTTP/1.1") == 1, written)
        self.assertEqual((counters["refused-tiny-chunks"], self.resource.lengths), (1, [PIECES]))
        written, _ = self.feed(head, *(b"%x\r\n" % PIECE + b"a" * PIECE + b"\r\n" for _ in range(MAX_BODY // PIECE)), b"0\r\n\r\n")
        self.assertTrue(written.startswith(b"HTTP/1.1 200 "), written)

    def test_trailers(self) -> None:
        """
        A few lines after the last chunk are skipped; a kilobyte of them is refused.
        """
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
        written, _ = self.feed(head + b"X: y\r\n" * 20 + b"\r\n")
        self.assertTrue(written.startswith(b"HTTP/1.1 200 "), written)
        written, counters = self.feed(head + b"X: y\r\n" * 200)
        self.assertTrue(written.startswith(b"HTTP/1.1 400 "), written)
        self.assertEqual((counters["refused-bad-request"], self.resource.lengths), (1, [1]))

    def test_other_work_first(self) -> None:
        """
        A request whose turn has not come is answered when it has; if its client is gone, or its body gave way, it is not answered any more.
        """
        turns = Held(self.clock)
        site = make_site(self.clock, self.resource, turns=turns)
        wires, channels = [], []
        for body in (b"first", b"second", b"third"):
            channels.append(site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
            wires.append(Wire())
            channels[-1].makeConnection(wires[-1])
            channels[-1].dataReceived(post(body))
        self.assertEqual((self.resource.lengths, site.room.receiving), ([], 16))
        channels[1].turn_away()
        channels[2].connectionLost(Failure(ConnectionError()))
        turns.go()
        self.assertEqual((self.resource.lengths, site.room.receiving), ([5], 0))
        self.assertEqual([wire.value()[9:12] for wire in wires], [b"200", b"503", b""])

    def test_forgotten(self) -> None:
        """
        Nothing of a connection that ended within a request stays in memory until somebody looks for cycles.
        """
        head = b"POST / HTTP/1.1\r\nHost: a\r\n"
        gc.disable()
        self.addCleanup(gc.enable)
        for data in (head, head + b"Content-Length: 10\r\n\r\n12345", head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n123"):
            channel, wire = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)), Wire()
            channel.makeConnection(wire)
            channel.dataReceived(data)
            wire.producer = None  # as a transport that is lost
            channel.connectionLost(Failure(ConnectionError()))
            left = ref(channel)
            del channel, wire
            self.assertIsNone(left(), data)

    def test_answers_that_nobody_reads(self) -> None:
        """
        While a client does not read its answers, no further requests of it are answered, though they are here.
        """
        channel, wire = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)), Wire()
        channel.makeConnection(wire)
        channel.pauseProducing()
        channel.dataReceived(b"".join(post(b"") for _ in range(3)))
        self.clock.advance(0)
        self.assertEqual(len(self.resource.lengths), 1)
        channel.resumeProducing()
        self.assertEqual(len(self.resource.lengths), 3)
        channel.pauseProducing()
        channel.dataReceived(post(b"") + b"POST")
        self.clock.advance(PROMPT)
        self.assertEqual((wire.disconnecting, self.site.counters), (True, {"overdue": 1}))

    def test_pace(self) -> None:
        """
        A body that comes slowly is cut off before the time for a request is over; one that keeps up the pace has all of it.
        """
        size = int(PACE * 20)
        site = make_site(self.clock, self.resource, max_body=size, room=Room(10 * size, self.clock))
        ended = []
        for each in (1, PACE):
            channel, wire = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)), Wire()
            channel.makeConnection(wire)
            channel.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            seconds = 0
            while not wire.disconnecting and not self.resource.lengths:
                self.clock.advance(1)
                seconds += 1
                if not wire.disconnecting:
                    channel.dataReceived(b"x" * each)
            ended.append((seconds, wire.disconnecting))
        self.assertEqual((ended, site.counters), ([(PROMPT, True), (20, False)], {"overdue": 1}))

    def test_slow_after_a_rest(self) -> None:
        """
        A connection may rest between requests; once one has begun it has to come promptly.
        """
        channel, wire = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)), Wire()
        channel.makeConnection(wire)
        channel.dataReceived(post(b"x"))
        self.clock.pump([1.0] * 12)
        channel.dataReceived(b"POST")
        self.clock.pump([1.0] * (int(PROMPT) - 1))
        self.assertFalse(wire.disconnecting)
        self.clock.advance(1.0)
        self.assertEqual((wire.disconnecting, self.site.counters), (True, {"overdue": 1}))

    def test_proxies_are_many(self) -> None:
        """
        Connections of a trusted proxy and of a UNIX socket are not counted as one client's; an IPv6 client's are counted by its network.
        """
        site = make_site(self.clock, self.resource, max_connections_per_address=1, trusted_proxies=TrustedProxies.parse(["10.0.0.0/8"]))
        addresses = [IPv4Address("TCP", "10.1.1.1", 1), UNIXAddress(b"/s"), UNIXAddress(None), IPv4Address("TCP", "192.0.2.1", 1)]
        addresses.append(IPv6Address("TCP", "2001:db8::1", 1))
        for address in addresses * 2:
            site.buildProtocol(address)
        site.buildProtocol(IPv6Address("TCP", "2001:db8::2", 1))
        self.assertEqual((site.connections, site.counters["refused-connections-address"]), (8, 3))

    def test_client_behind_proxy(self) -> None:
        """
        The client's address is taken from a trusted proxy, and from nobody else.
        """
        request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n"
        self.feed(request)
        self.site = make_site(self.clock, self.resource, trusted_proxies=TrustedProxies.parse(["192.0.2.0/24"]))
        self.feed(request)
        self.assertEqual(self.resource.clients, ["192.0.2.1", "198.51.100.7"])
