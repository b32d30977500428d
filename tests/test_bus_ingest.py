"""Tests for L{socialrelay.bus.ingest}, with real sockets of its peers: they block, so each has a thread."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import zmq
from attrs import define, field
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from socialrelay.boundaries import Answer, BusPage, Full, Ingest, Replay, StoredMessage, TooOld, Unavailable
from socialrelay.bus.context import BusContext, CannotBind
from socialrelay.bus.ingest import QUERIES_EACH, IngestSocket
from tests.bus_wire import PATIENCE, free_address

reactor: Any = installed_reactor
NOW = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
TOPIC, BODY = b"org.example.dev.git.receive", b'{"topic": "org.example.dev.git.receive", "msg": {}}'


@define
class FakeIngest:
    """Keeps what comes, and answers at once, or when it is told to."""

    waits: bool = False
    answer: Answer | None = None
    taken: dict[str, tuple[bytes, bytes, str]] = field(factory=dict)
    allowed: list[Callable[[str], bool]] = field(factory=list)
    waiting: list[Callable[[], None]] = field(factory=list)
    watchers: list[tuple[int, Deferred[None]]] = field(factory=list)

    def take(
        self,
        msg_id: str,
        topic: bytes,
        body: bytes,
        source: str,
        answered: Callable[[Answer], None],
        allowed: Callable[[str], bool] = lambda topic: True,
    ) -> None:
        answer = self.answer or Answer("dup" if msg_id in self.taken else "ok", len(self.taken) + (msg_id not in self.taken))
        self.taken[msg_id] = topic, body, source
        self.allowed.append(allowed)
        if self.waits:
            self.waiting.append(lambda: answered(answer))
        else:
            answered(answer)
        for count, watcher in [*self.watchers]:
            if len(self.taken) >= count and not watcher.called:
                watcher.callback(None)

    def has(self, count: int) -> Deferred[None]:
        """Fires when there are so many."""
        watcher: Deferred[None] = Deferred()
        if len(self.taken) >= count:
            watcher.callback(None)
        self.watchers.append((count, watcher))
        return watcher

    def commit(self) -> None:
        """Answer all who wait."""
        waiting, self.waiting = self.waiting, []
        for answer in waiting:
            answer()


@define
class FakeReplay:
    """Has a page for whoever asks; or fails, or lets them wait."""

    page_: BusPage = BusPage((), 7, 7, 1, 1)
    error: Exception | None = None
    waits: bool = False
    asked: list[tuple[int | None, str, int, float]] = field(factory=list)
    waiting: list[Deferred[BusPage]] = field(factory=list)

    def page(self, since: int | None, topic: str = "", limit: int = 1000, wait: float = 0.0) -> Deferred[BusPage]:
        self.asked.append((since, topic, limit, wait))
        if self.error is not None:
            raise self.error
        if not self.waits:
            return succeed(self.page_)
        self.waiting.append(Deferred())
        return self.waiting[-1]


_ingest: type[Ingest] = FakeIngest
_replay: type[Replay] = FakeReplay


def page(*sizes: int, first: int = 1) -> BusPage:
    """Messages with bodies of these sizes."""
    messages = [
        StoredMessage(number, f"id-{number}", TOPIC.decode(), b"x" * size, "ingest", NOW) for number, size in enumerate(sizes, first)
    ]
    return BusPage(messages, first + len(sizes) - 1, 7, 1, 1)


class Peer:
    """A client's socket, which belongs to the thread that uses it; only one does at a time."""

    def __init__(self, address: str, kind: int = zmq.DEALER, **options: Any) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.set(zmq.LINGER, 0)
        for name, value in options.items():
            self.socket.set(getattr(zmq, name), value)
        self.socket.connect(address)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def receive(self) -> list[bytes]:
        if not self.socket.poll(int(PATIENCE * 1000)):
            raise AssertionError("no answer")
        return self.socket.recv_multipart()

    async def answers(self, count: int) -> list[list[bytes]]:
        """The next ones."""
        found: list[list[bytes]] = await deferToThread(lambda: [self.receive() for _ in range(count)])
        return found

    async def ask(self, *frames: bytes) -> list[bytes]:
        self.send(*frames)
        (answer,) = await self.answers(1)
        return answer

    async def query(self, **said: object) -> tuple[bytes, Any]:
        name, status, detail = await self.ask(b"q", json.dumps(said).encode())
        assert name == b"q"
        return status, json.loads(detail) if status in (b"ok", b"gone") else detail.decode()

    def close(self) -> None:
        self.socket.close()
        self.context.term()


class IngestTests(TestCase):
    """A socket that listens, in front of an intake that a test scripts."""

    timeout = 60.0

    def setUp(self) -> None:
        self.ingest, self.replay = FakeIngest(), FakeReplay()
        self.context = BusContext(reactor)
        self.address = free_address()
        self.socket = self.make()
        self.socket.start()
        self.addCleanup(self.context.close)
        self.addCleanup(lambda: self.socket.close())

    def make(self, *addresses: str, **options: Any) -> IngestSocket:
        return IngestSocket(reactor, self.context, addresses or [self.address], self.ingest, self.replay, **options)

    def again(self, **options: Any) -> None:
        """Another socket in its place."""
        self.socket.close()
        self.address = free_address()
        self.socket = self.make(**options)
        self.socket.start()

    def peer(self, kind: int = zmq.DEALER, **options: Any) -> Peer:
        peer = Peer(self.address, kind, **options)
        self.addCleanup(peer.close)
        return peer

    async def until(self, well: Callable[[], object]) -> None:
        """The test's own deadline ends it."""
        while not well():
            await deferLater(reactor, 0.01, lambda: None)


class MessageTests(IngestTests):
    async def test_acknowledged(self) -> None:
        """
        A message is handed on as it came, and answered with its number, under the name that its sender gave it.
        """
        answer = await self.peer().ask(b"2026-1", TOPIC, BODY)
        self.assertEqual(answer, [b"2026-1", b"ok", b"1"])
        self.assertEqual(self.ingest.taken, {"2026-1": (TOPIC, BODY, "ingest")})

    async def test_duplicate(self) -> None:
        """
        A message that was there is answered with the number that it has.
        """
        peer = self.peer()
        await peer.ask(b"2026-1", TOPIC, BODY)
        self.assertEqual(await peer.ask(b"2026-1", TOPIC, BODY), [b"2026-1", b"dup", b"1"])

    async def test_refused(self) -> None:
        """
        Whatever is not kept is answered with the reason.
        """
        peer = self.peer()
        for status in ("bad", "denied", "busy"):
            self.ingest.answer = Answer(status, detail="für dich nicht")
            self.assertEqual(await peer.ask(b"2026-1", TOPIC, BODY), [b"2026-1", status.encode(), "für dich nicht".encode()])

    async def test_name_that_is_no_text(self) -> None:
        """
        A name of whatever bytes comes back as it was.
        """
        self.assertEqual((await self.peer().ask(b"\xff\xfe", TOPIC, BODY))[0], b"\xff\xfe")

    async def test_request_socket(self) -> None:
        """
        A REQ socket gets its delimiter back, so that it takes the answer.
        """
        peer = self.peer(zmq.REQ)
        self.assertEqual(await peer.ask(b"2026-1", TOPIC, BODY), [b"2026-1", b"ok", b"1"])
        self.assertEqual(await peer.ask(b"2026-2", TOPIC, BODY), [b"2026-2", b"ok", b"2"])

    async def test_request_socket_always_answered(self) -> None:
        """
        A REQ socket, which can say nothing before it is answered, is answered whatever it says.
        """
        peer = self.peer(zmq.REQ)
        for frames in ([b""], [b"one"], [b"", TOPIC, BODY], [b"1", b"2", b"3", b"4"], [b"x"] * 30):
            self.assertEqual((await peer.ask(*frames))[1], b"bad", frames)
        self.assertEqual((await peer.ask(b"2026-1", TOPIC, BODY))[1], b"ok")
        self.assertEqual(self.socket.counters["malformed"], 5)

    async def test_garbage(self) -> None:
        """
        Frames that are no request are counted, answered, and harm nobody.
        """
        peer = self.peer()
        self.assertEqual((await peer.ask(b""))[:3], [b"", b"", b"bad"])
        self.assertEqual((await peer.ask(b"", b""))[:3], [b"", b"", b"bad"])
        self.assertEqual((await peer.ask(b"one"))[:2], [b"one", b"bad"])
        self.assertEqual((await peer.ask(b"1", b"2", b"3", b"4"))[:2], [b"1", b"bad"])
        self.assertEqual((await peer.ask(b"n" * 100_000))[0], b"n" * 255)
        self.assertEqual((await peer.ask(b"2026-1", TOPIC, BODY))[1], b"ok")
        self.assertEqual(self.socket.counters["malformed"], 5)

    async def test_late_answers(self) -> None:
        """
        Answers that are sent in later turns all arrive, and none of them makes the socket deaf to what comes next.
        """
        peer, rounds, each = self.peer(), 5, 200
        self.ingest.waits = True
        for number in range(rounds):
            for message in range(each):
                peer.send(b"%d-%d" % (number, message), TOPIC, BODY)
            await self.ingest.has((number + 1) * each)
            self.ingest.commit()
            answers = await peer.answers(each)
            self.assertEqual([answer[0] for answer in answers], [b"%d-%d" % (number, message) for message in range(each)])
        for number in range(10):
            peer.send(b"single-%d" % number, TOPIC, BODY)
            await self.ingest.has(rounds * each + number + 1)
            self.ingest.commit()
            self.assertEqual((await peer.answers(1))[0][1], b"ok")
        self.assertEqual(self.socket.unanswered, 0)

    async def test_pipelined(self) -> None:
        """
        A thousand messages sent without waiting for an answer get their thousand answers, though they are read at the end only.
        """
        peer = self.peer()
        for number in range(1000):
            peer.send(b"%d" % number, TOPIC, BODY)
        answers = await peer.answers(1000)
        self.assertEqual(answers, [[b"%d" % number, b"ok", b"%d" % (number + 1)] for number in range(1000)])

    async def test_vanished(self) -> None:
        """
        The answer of a peer that has gone is dropped and counted, and those of others are sent.
        """
        self.ingest.waits = True
        gone, stays, many = Peer(self.address), self.peer(), 1000
        for number in range(many):
            gone.send(b"%d" % number, TOPIC, BODY)
        await self.ingest.has(many)
        gone.close()
        stays.send(b"stays", TOPIC, BODY)
        await self.ingest.has(many + 1)
        # That it has gone is learned when its connection ends, a moment later.
        while not self.socket.counters["unsent-gone"]:
            self.ingest.waiting.pop(0)()
            await deferLater(reactor, 0.01, lambda: None)
        self.ingest.commit()
        self.assertEqual((await stays.answers(1))[0][0], b"stays")
        self.assertEqual(self.socket.unanswered, 0)

    async def test_comes_again(self) -> None:
        """
        A peer that names itself is heard when it comes again, though its old connection still stands.
        """
        await self.peer(ROUTING_ID=b"hook", RECONNECT_IVL=-1).ask(b"1", TOPIC, BODY)
        second = self.peer(ROUTING_ID=b"hook")
        self.assertEqual((await second.ask(b"2", TOPIC, BODY))[1], b"ok")

    async def test_unread(self) -> None:
        """
        Of a peer that never reads its answers some wait, the others are dropped and counted; others are answered.
        """
        self.again(unread_answers=10)
        self.ingest.answer = Answer("busy", detail="x" * 100_000)
        deaf = self.peer(RCVHWM=1)
        sent = 0
        while not self.socket.counters["unsent-full"]:
            sent += 1
            deaf.send(b"%d" % sent, TOPIC, BODY)
            await deferLater(reactor, 0, lambda: None)
        self.ingest.answer = None
        self.assertEqual((await self.peer().ask(b"2026-1", TOPIC, BODY))[1], b"ok")

    async def test_too_large_by_far(self) -> None:
        """
        What is far beyond the bound is not read, and its sender is cut off; others are heard.
        """
        self.again(max_message=1024)
        self.peer().send(b"2026-1", TOPIC, b"x" * 10_000_000)
        self.assertEqual((await self.peer().ask(b"2026-2", TOPIC, BODY))[1], b"ok")
        self.assertEqual(list(self.ingest.taken), ["2026-2"])


class QueryTests(IngestTests):
    async def test_page(self) -> None:
        """
        A query is answered with a page in JSON.
        """
        self.replay.page_ = page(3, 5)
        status, answer = await self.peer().query(since=0, topic="org.example.", limit=10, wait=1.5)
        self.assertEqual(self.replay.asked, [(0, "org.example.", 10, 1.5)])
        self.assertEqual((status, answer["next"], answer["last_seq"], answer["oldest_seq"]), (b"ok", 2, 7, 1))
        self.assertEqual(
            [(each["seq"], each["msg_id"], each["body"]) for each in answer["messages"]], [(1, "id-1", "xxx"), (2, "id-2", "xxxxx")]
        )
        self.assertEqual((answer["messages"][0]["topic"], answer["messages"][0]["received_at"]), (TOPIC.decode(), NOW.isoformat()))

    async def test_request_socket(self) -> None:
        """
        A REQ socket may ask, too.
        """
        status, answer = await self.peer(zmq.REQ).query()
        self.assertEqual((status, answer["next"], self.replay.asked), (b"ok", 7, [(None, "", 1000, 0.0)]))

    async def test_wait(self) -> None:
        """
        A query that waits holds up nothing, and is answered when there is something.
        """
        self.replay.waits = True
        peer = self.peer()
        peer.send(b"q", b'{"wait": 30}')
        await self.until(lambda: self.socket.asking)
        self.assertEqual((await peer.ask(b"2026-1", TOPIC, BODY))[:2], [b"2026-1", b"ok"])
        self.assertEqual(self.socket.asking, 1)
        self.replay.waiting[0].callback(page(3))
        name, status, detail = (await peer.answers(1))[0]
        self.assertEqual((name, status, len(json.loads(detail)["messages"])), (b"q", b"ok", 1))
        self.assertEqual(self.socket.asking, 0)

    async def test_refused(self) -> None:
        """
        Why there is no page is said in a word that tells whether to ask again.
        """
        peer = self.peer()
        for error, expected in [
            (TooOld(42), (b"gone", {"oldest_seq": 42})),
            (ValueError("another relay's number"), (b"bad", "another relay's number")),
            (Full("100 readers wait already"), (b"busy", "100 readers wait already")),
            (Unavailable(), (b"busy", "the relay's database cannot be reached now")),
        ]:
            self.replay.error = error
            self.assertEqual(await peer.query(since=1), expected)

    async def test_error_of_ours(self) -> None:
        """
        An error of the relay's own is logged, and who asked is told to come again.
        """
        self.replay.error = KeyError("oops")
        self.assertEqual((await self.peer().query(since=1))[0], b"busy")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_nonsense(self) -> None:
        """
        A query that asks for nothing that there is gets told what is wrong with it.
        """
        peer = self.peer()
        for text in (
            b"",
            b"[]",
            b"\xff",
            b'{"sinc": 1}',
            b'{"since": -1}',
            b'{"limit": 0}',
            b'{"wait": "1"}',
            b'{"topic": 1}',
            b" " * 5000,
        ):
            self.assertEqual((await peer.ask(b"q", text))[:2], [b"q", b"bad"], text)
        self.assertEqual(self.replay.asked, [])

    async def test_many_of_one(self) -> None:
        """
        One peer may ask only so much at a time; another may ask meanwhile.
        """
        self.replay.waits = True
        peer = self.peer()
        for number in range(QUERIES_EACH + 1):
            peer.send(b"%d" % number, b"{}")
        self.assertEqual((await peer.answers(1))[0][:2], [b"%d" % QUERIES_EACH, b"busy"])
        self.replay.waits = False
        self.assertEqual((await self.peer().query())[0], b"ok")
        self.assertEqual(self.socket.counters["refused-queries"], 1)

    async def test_many_in_all(self) -> None:
        """
        All together may ask only so much at a time.
        """
        self.again(queries=2)
        self.replay.waits = True
        peers = [self.peer() for _ in range(2)]
        for peer in peers:
            peer.send(b"q", b"{}")
        await self.until(lambda: self.socket.asking == 2)
        self.assertEqual((await self.peer().query())[0], b"busy")
        for waiting in self.replay.waiting:
            waiting.callback(page())
        self.assertEqual([(await peer.answers(1))[0][:2] for peer in peers], [[b"q", b"ok"]] * 2)
        self.replay.waits = False
        self.assertEqual((await self.peer().query())[0], b"ok")

    async def test_unread_pages(self) -> None:
        """
        Who asks again and again without ever going on from an answer is told to read first; who goes on may ask for ever.
        """
        self.again(unread_bytes=50_000)
        self.replay.page_ = page(20_000)
        peer = self.peer()
        self.assertEqual([(await peer.query(since=0))[0] for _ in range(4)], [b"ok", b"ok", b"ok", b"busy"])
        self.assertEqual((await self.peer().query(since=0))[0], b"ok")
        for number in range(1, 10):
            self.replay.page_ = page(20_000, first=number + 1)
            self.assertEqual((await peer.query(since=number))[0], b"ok")

    async def test_unread_pages_of_all(self) -> None:
        """
        What all leave unread is bounded, too, however many connect; who reads makes room for others, and small pages are always sent.
        """
        self.again(unread_bytes_of_all=50_000)
        self.replay.page_ = page(20_000)
        peers = [self.peer() for _ in range(5)]
        self.assertEqual([(await peer.query(since=0))[0] for peer in peers], [b"ok"] * 3 + [b"busy"] * 2)
        self.replay.page_ = page(10, first=2)
        self.assertEqual((await peers[4].query(since=0))[0], b"ok")
        self.assertEqual((await peers[0].query(since=1))[0], b"ok")
        self.replay.page_ = page(20_000)
        self.assertEqual((await peers[4].query(since=0))[0], b"ok")

    async def test_small_pages(self) -> None:
        """
        Pages of a few messages may be asked for as often as one likes.
        """
        self.again(unread_bytes=1000)
        self.replay.page_ = page(500)
        peer = self.peer()
        self.assertEqual({(await peer.query(since=0))[0] for _ in range(10)}, {b"ok"})

    async def test_large_page(self) -> None:
        """
        A page of megabytes arrives whole.
        """
        self.replay.page_ = page(*[400_000] * 10)
        status, answer = await self.peer().query(since=0)
        self.assertEqual((status, [len(each["body"]) for each in answer["messages"]]), (b"ok", [400_000] * 10))


class LifeTests(IngestTests):
    async def test_stop(self) -> None:
        """
        When it stops, who asks is told to come again, who waits for a message as well, and it ends when all that was taken is answered.
        """
        self.ingest.waits = self.replay.waits = True
        peer = self.peer()
        peer.send(b"taken", TOPIC, BODY)
        peer.send(b"q", b'{"wait": 30}')
        await self.until(lambda: self.socket.asking)
        ended = self.socket.stop()
        self.assertEqual((await peer.answers(1))[0][:2], [b"q", b"busy"])
        self.assertEqual((await peer.ask(b"late", TOPIC, BODY))[:2], [b"late", b"busy"])
        self.assertEqual((await peer.ask(b"late", b"{}"))[:2], [b"late", b"busy"])
        self.assertFalse(ended.called)
        self.ingest.commit()
        await ended
        self.assertEqual((await peer.answers(1))[0], [b"taken", b"ok", b"1"])
        self.assertEqual(list(self.ingest.taken), ["taken"])

    async def test_stop_sends_what_was_answered(self) -> None:
        """
        Answers that were given just before the end still arrive.
        """
        self.ingest.waits = True
        peer = self.peer()
        for number in range(500):
            peer.send(b"%d" % number, TOPIC, BODY)
        await self.ingest.has(500)
        ended = self.socket.stop()
        self.ingest.commit()
        await ended
        closed = self.context.close()
        self.assertEqual(len(await peer.answers(500)), 500)
        await closed

    async def test_close(self) -> None:
        """
        It can be closed while somebody waits; an answer that comes afterwards goes nowhere, and a stop that waited is over.
        """
        self.ingest.waits = True
        self.peer().send(b"taken", TOPIC, BODY)
        await self.ingest.has(1)
        ended = self.socket.stop()
        self.socket.close()
        await ended
        self.ingest.commit()
        self.assertEqual(self.socket.unanswered, 0)

    async def test_never_started(self) -> None:
        """
        What was not started can be stopped.
        """
        await self.make(free_address()).stop()

    async def test_taken_address(self) -> None:
        """
        Where somebody else listens it cannot start, and then it listens nowhere.
        """
        free = free_address()
        other = self.make(free, self.address)
        with self.assertRaises(CannotBind) as caught:
            other.start()
        self.assertEqual(caught.exception.address, self.address)
        third = self.make(free)
        await self.until(lambda: starts(third))
        third.close()

    async def test_several_addresses(self) -> None:
        """
        It listens at all of its addresses, UNIX sockets among them.
        """
        path = f"ipc:///tmp/sr-ingest-{free_address().rpartition(':')[2]}"
        addresses = [free_address(), path]
        other = self.make(*addresses)
        other.start()
        self.addCleanup(other.close)
        for number, address in enumerate(addresses):
            peer = Peer(address)
            self.addCleanup(peer.close)
            self.assertEqual((await peer.ask(b"%d" % number, TOPIC, BODY))[1], b"ok")


def starts(socket: IngestSocket) -> bool:
    """Whether it does; a socket that was closed lets its address go a moment later."""
    try:
        socket.start()
    except CannotBind:
        return False
    return True
