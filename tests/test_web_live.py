"""Tests for L{socialrelay.web.live}: streams over the guarded site, in memory and on a socket."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from socialrelay.boundaries import Stream, Unavailable
from socialrelay.web.channel import Channel
from socialrelay.web.live import EVERY, HEARTBEAT, LiveNumbers, LiveStreams
from socialrelay.web.request import client_address
from tests.test_web_site import make_site

DEADLINE = 30.0


class Live(Resource):
    """Opens a stream for whoever asks."""

    isLeaf = True

    def __init__(self, streams: LiveStreams) -> None:
        super().__init__()
        self.streams = streams
        self.operator = False
        self.opened: list[Stream] = []
        self.ended = 0

    def render(self, request: Request) -> bytes | int:
        if request.path != b"/live":
            return b"a page"
        stream = self.streams.open(request, client_address(request), self._end, operator=self.operator)
        if stream is None:
            request.setResponseCode(503)
            return b""
        self.opened.append(stream)
        return NOT_DONE_YET

    def _end(self) -> None:
        self.ended += 1


class Connection:
    """A client's connection to a site, in memory."""

    def __init__(self, site: Any, address: str = "192.0.2.1") -> None:
        peer = IPv4Address("TCP", address, 5000)
        self.transport = StringTransport(peerAddress=peer)
        self.channel = cast(Channel, site.buildProtocol(peer))
        self.channel.makeConnection(self.transport)

    def ask(self, path: bytes = b"/live", version: bytes = b"HTTP/1.1") -> None:
        self.channel.dataReceived(b"GET %b %b\r\nHost: relay.example\r\n\r\n" % (path, version))

    def hang_up(self) -> None:
        self.channel.connectionLost(Failure(connectionDone.value))

    def read(self) -> bytes:
        value = self.transport.value()
        self.transport.clear()
        return value


class LiveStreamsTests(SynchronousTestCase):
    """Pages that are kept up to date."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.streams = LiveStreams(self.clock, most=3, per_client=2, counters=Counter())
        self.live = Live(self.streams)
        self.site = make_site(self.clock, self.live, deadline=DEADLINE)

    def connect(self, address: str = "192.0.2.1") -> Connection:
        connection = Connection(self.site, address)
        connection.ask()
        return connection

    def test_answer(self) -> None:
        """
        A stream is answered at once, without a length, and nobody on the way may keep it.
        """
        head = self.connect().read()
        for line in (b"200 OK", b"Content-Type: text/event-stream; charset=utf-8", b"Cache-Control: no-store", b"X-Accel-Buffering: no"):
            self.assertIn(line, head)
        self.assertNotIn(b"Content-Length", head)

    def test_events(self) -> None:
        """
        An event has a name and any number of lines.
        """
        connection = self.connect()
        connection.read()
        self.live.opened[0].send("stats", '{"a": "é"}')
        self.live.opened[0].send("log", "one\r\ntwo\n\nthree")
        lines = connection.read()
        self.assertIn('event: stats\ndata: {"a": "é"}\n\n'.encode(), lines)
        self.assertIn(b"event: log\ndata: one\ndata: two\ndata: \ndata: three\n\n", lines)

    def test_per_client(self) -> None:
        """
        A client has so many streams and no more; the others are not concerned.
        """
        clients = [self.connect() for _ in range(3)]
        self.assertIn(b" 503 ", clients[2].read())
        self.assertIn(b" 200 ", self.connect("192.0.2.2").read())
        self.assertEqual(self.streams.counters, {"streams-opened": 3, "refused-streams-client": 1})

    def test_in_all(self) -> None:
        """
        All have so many together; who goes makes room.
        """
        first, *_ = [self.connect(f"192.0.2.{number}") for number in range(3)]
        self.assertIn(b" 503 ", self.connect("192.0.2.9").read())
        first.hang_up()
        self.assertEqual((self.live.ended, len(self.streams)), (1, 2))
        self.assertIn(b" 200 ", self.connect("192.0.2.9").read())
        self.assertEqual(self.streams.counters["refused-streams"], 1)

    def test_operators(self) -> None:
        """
        Some places are kept for operators: strangers cannot take all of them.
        """
        for number in range(3):
            self.connect(f"192.0.2.{number}")
        self.live.operator = True
        self.assertIn(b" 200 ", self.connect("192.0.2.9").read())
        self.live.operator = False
        self.assertIn(b" 503 ", self.connect("192.0.2.9").read())

    def test_changed_limits(self) -> None:
        """
        Other limits hold for those who come.
        """
        self.connect()
        self.streams.most = self.streams.per_client = 1
        self.assertIn(b" 503 ", self.connect("192.0.2.2").read())
        self.assertEqual(len(self.streams), 1)

    def test_heartbeat(self) -> None:
        """
        A stream without news shows now and then that it lives, and outlasts the deadline of requests.
        """
        connection = self.connect()
        connection.read()
        self.clock.advance(HEARTBEAT - 1)
        self.assertEqual(connection.read(), b"")
        self.clock.pump([1.0] * 100)
        self.assertEqual(connection.read().count(b":\n\n"), 5)
        self.assertEqual(len(self.streams), 1)

    def test_broken_stream(self) -> None:
        """
        A stream that breaks takes no other's heartbeat away.
        """
        broken, well = self.connect(), self.connect()
        for connection in (broken, well):
            connection.read()
        self.patch(self.live.opened[0], "beat", lambda: 1 / 0)
        self.clock.pump([HEARTBEAT] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertEqual(well.read().count(b":\n\n"), 3)

    def test_nothing_left(self) -> None:
        """
        Without streams there is no timer.
        """
        for connection in [self.connect(), self.connect()]:
            connection.hang_up()
        self.clock.advance(0)
        self.assertEqual((self.clock.getDelayedCalls(), self.live.ended), ([], 2))
        self.live.opened[0].send("stats", "too late")

    def test_unread(self) -> None:
        """
        A page that does not read is cut off when the next event comes; one that reads again in time is not.
        """
        slow, late = self.connect(), self.connect()
        late.channel.pauseProducing()
        late.channel.resumeProducing()
        slow.channel.pauseProducing()
        for connection in (slow, late):
            connection.read()
        for stream in self.live.opened:
            stream.send("stats", "1")
        self.assertEqual((slow.transport.disconnecting, slow.read()), (True, b""))
        self.assertEqual((late.transport.disconnecting, b"data: 1" in late.read()), (False, True))
        slow.hang_up()
        self.assertEqual((self.live.ended, self.streams.counters["streams-unread"], len(self.streams)), (1, 1, 1))

    def test_answers_unread_before(self) -> None:
        """
        A stream that is asked for behind answers that nobody reads sends nothing.
        """
        connection = Connection(self.site)
        connection.channel.pauseProducing()
        connection.ask(b"/page")
        connection.ask()
        self.assertNotIn(b"event-stream", connection.read())
        self.assertTrue(connection.transport.disconnecting)
        connection.hang_up()
        self.assertEqual((self.live.ended, len(self.streams)), (1, 0))

    def test_stop(self) -> None:
        """
        A stop ends all streams at once, and lets no other begin.
        """
        connections = [self.connect(), self.connect()]
        self.streams.stop()
        for connection in connections:
            self.assertTrue(connection.read().endswith(b"0\r\n\r\n"))
        self.assertEqual((len(self.streams), self.live.ended), (0, 2))
        self.assertIn(b" 503 ", self.connect().read())

    def test_pipelined(self) -> None:
        """
        What is asked for behind a stream is answered when the stream has ended.
        """
        connection = self.connect()
        connection.ask(b"/page")
        self.assertNotIn(b"a page", connection.read())
        self.streams.stop()
        self.assertIn(b"a page", connection.read())

    def test_old_client(self) -> None:
        """
        A client that speaks HTTP/1.0 gets the events as they are, and its connection ends with them.
        """
        connection = Connection(self.site)
        connection.ask(version=b"HTTP/1.0")
        self.live.opened[0].send("stats", "1")
        self.assertTrue(connection.read().endswith(b"\r\n\r\nretry: 5000\n\nevent: stats\ndata: 1\n\n"))
        self.streams.stop()
        self.assertTrue(connection.transport.disconnecting)


class Sloth(Protocol):
    """A client that asks for a stream and never reads."""

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        self.transport.write(b"GET /live HTTP/1.1\r\nHost: relay.example\r\n\r\n")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


class UnreadTests(TestCase):
    """A page that does not read, on a real socket."""

    timeout = 20

    async def test_bound(self) -> None:
        """
        What waits for a page that does not read is bounded, and the page is ended.
        """
        began: Deferred[Stream] = Deferred()
        streams = LiveStreams(cast(Any, reactor), most=1, per_client=1, counters=Counter())
        self.addCleanup(streams.stop)
        ended: Deferred[None] = Deferred()

        class Begin(Resource):
            isLeaf = True

            def render(self, request: Request) -> int:
                stream = streams.open(request, "client", lambda: ended.callback(None))
                assert stream is not None
                began.callback(stream)
                return NOT_DONE_YET

        site = make_site(cast(Any, reactor), Begin())
        port = cast(Any, reactor).listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        sloth = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), Sloth())
        stream = await began
        sent = 0
        while not streams.counters["streams-unread"]:
            stream.send("stats", "x" * 10_000)
            sent += 1
            self.assertTrue(sent < 1000)
            await self._turn()
        await ended
        sloth.transport.abortConnection()
        await sloth.ended

    def _turn(self) -> Deferred[None]:
        turned: Deferred[None] = Deferred()
        cast(Any, reactor).callLater(0, turned.callback, None)
        return turned


@define(eq=False)
class FakeStream:
    """Remembers what it was told."""

    ended: Callable[[], None]
    told: list[dict[str, object]] = field(factory=list)

    def send(self, event: str, data: str) -> None:
        assert event == "stats" or not data
        self.told.append(json.loads(data) if data else {event: True})


@define
class FakeStreams:
    """Has room for all, or for none."""

    room: bool = True
    streams: list[FakeStream] = field(factory=list)

    def open(self, request: object, client: str, ended: Callable[[], None]) -> FakeStream | None:
        if not self.room:
            return None
        self.streams.append(FakeStream(ended))
        return self.streams[-1]


class LiveNumbersTests(SynchronousTestCase):
    """The numbers, as they change."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.streams = FakeStreams()
        self.asked = 0
        self.error: Exception | None = None
        self.posts = 1
        self.numbers = LiveNumbers(self.stats, self.streams, self.clock)

    def stats(self) -> Deferred[dict[str, object]]:
        self.asked += 1
        return succeed({"at": f"{self.asked}", "posts": self.posts}) if self.error is None else fail(self.error)

    def open(self) -> FakeStream:
        self.assertNoResult(cast(Deferred[None], self.numbers.open(object(), "client")))
        return self.streams.streams[-1]

    def test_told(self) -> None:
        """
        Whoever listens is told at once, and again when something changed; the time of the look alone is no change.
        """
        page = self.open()
        self.clock.pump([EVERY] * 3)
        self.posts = 2
        self.clock.advance(EVERY)
        self.assertEqual(page.told, [{"at": "1", "posts": 1}, {"at": "5", "posts": 2}])

    def test_one_look_for_all(self) -> None:
        """
        One look serves all pages, also those that come between two.
        """
        pages = [self.open() for _ in range(3)]
        self.posts = 2
        self.clock.advance(EVERY)
        self.assertEqual((self.asked, [page.told for page in pages]), (2, [[{"at": "1", "posts": 1}, {"at": "2", "posts": 2}]] * 3))

    def test_nobody(self) -> None:
        """
        Nobody looks while nobody listens; who comes then is told what is so then.
        """
        first = self.open()
        first.ended()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.posts = 7
        self.assertEqual(self.open().told, [{"at": "2", "posts": 7}])
        self.assertEqual(len(first.told), 1)

    def test_ended(self) -> None:
        """
        Who opened a stream learns that it has ended.
        """
        ended = self.numbers.open(object(), "client")
        self.streams.streams[0].ended()
        self.successResultOf(cast(Deferred[None], ended))

    def test_no_room(self) -> None:
        """
        Without room there is no stream, and no look.
        """
        self.streams.room = False
        self.assertEqual((self.numbers.open(object(), "client"), self.asked), (None, 0))

    def test_away(self) -> None:
        """
        While storage is away pages are told that, so that none claims to be live; afterwards the numbers, also if they are as before.
        """
        self.error = Unavailable()
        page = self.open()
        self.error = None
        self.clock.advance(EVERY)
        self.error = Unavailable()
        self.clock.advance(EVERY)
        self.error = None
        self.clock.advance(EVERY)
        self.assertEqual(page.told, [{"away": True}, {"at": "2", "posts": 1}, {"away": True}, {"at": "4", "posts": 1}])

    def test_broken(self) -> None:
        """
        An error is logged, and is not the last look.
        """
        self.error = ZeroDivisionError()
        page = self.open()
        self.error = None
        self.clock.advance(EVERY)
        self.assertEqual((len(page.told), len(self.flushLoggedErrors(ZeroDivisionError))), (2, 1))
