"""Tests for L{socialrelay.web.bus}."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from treq.testing import StubTreq
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Answer as Came
from socialrelay.boundaries import Full, TooOld, Unavailable
from socialrelay.bus.message import MAX_VALUES
from socialrelay.bus.topics import Topics
from socialrelay.config import Bus, BusToken
from socialrelay.web.admin.throttle import PER_CLIENT, WINDOW
from socialrelay.web.bus import PATIENCE, READERS, BusPages
from socialrelay.web.room import Room
from socialrelay.web.site import GuardedSite
from tests.test_bus_ingest import FakeIngest, FakeReplay, page
from tests.web_requests import Answer, ask

NOW = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
SECRET, READER, LIMITED = "publisher's secret", "reader's secret 1", "limited secret 123"
URL = "/bus/v1/messages"
TOKENS = (
    BusToken("ci", SECRET, read=False),
    BusToken("reader", READER, publish=()),
    BusToken("limited", LIMITED, publish=("org.example.dev.ci.", "org.example.dev.cd."), read=False),
)


class BusCase(SynchronousTestCase):
    """The pages over an intake and a replay that a test scripts."""

    def setUp(self) -> None:
        self.ingest, self.replay, self.clock = FakeIngest(), FakeReplay(), Clock()
        self.pages = self.make(tokens=TOKENS, max_message=5000)
        self.resource = self.pages.app.resource()

    def make(self, **options: Any) -> BusPages:
        return BusPages(
            self.ingest, self.replay, Topics("org.example", "dev"), Bus(**options), lambda: NOW, lambda: UUID(int=7), self.clock
        )

    def post(self, message: object, token: str = SECRET, content_type: str = "application/json") -> Answer:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        return ask(self, self.resource, URL, "POST", data=body, headers=headers)

    def get(self, query: str = "", token: str = READER, method: str = "GET") -> Answer:
        return ask(self, self.resource, URL + query, method, headers={"Authorization": f"Bearer {token}"})

    def assertRefused(self, answer: Answer, status: int, code: str) -> str:
        """It is refused in JSON; the reason."""
        self.assertEqual((answer.code, answer.json["error"]["code"]), (status, code), answer.text)
        return str(answer.json["error"]["message"])


class PublishTests(BusCase):
    def test_envelope(self) -> None:
        """
        An envelope that has all it needs is handed on as its bytes, and answered with its number.
        """
        body = b'{ "msg": {"n": 1.10}, "topic":"org.example.dev.git.receive","msg_id":"2026-1" , "signature": "x"}'
        answer = self.post(body)
        self.assertEqual((answer.code, answer.json), (200, {"msg_id": "2026-1", "seq": 1, "duplicate": False}))
        self.assertEqual(self.ingest.taken, {"2026-1": (b"org.example.dev.git.receive", body, "http")})

    def test_duplicate(self) -> None:
        """
        The same once more is no error, and is said to be the same.
        """
        message = {"topic": "git.receive", "msg": {}, "msg_id": "2026-1"}
        self.assertEqual([self.post(message).json["duplicate"] for _ in range(2)], [False, True])

    def test_filled_in(self) -> None:
        """
        What a message lacks is filled in.
        """
        answer = self.post({"topic": "git.receive", "msg": {"log": "hello"}})
        msg_id = f"2026-{UUID(int=7)}"
        self.assertEqual(answer.json, {"msg_id": msg_id, "seq": 1, "duplicate": False})
        topic, body, _ = self.ingest.taken[msg_id]
        self.assertEqual(topic, b"org.example.dev.git.receive")
        self.assertEqual(
            json.loads(body),
            {
                "i": 1,
                "msg": {"log": "hello"},
                "msg_id": msg_id,
                "timestamp": int(NOW.timestamp()),
                "topic": "org.example.dev.git.receive",
                "username": "ci",
            },
        )

    def test_what_is_said_stays(self) -> None:
        """
        Nothing that a message says is replaced, but for a topic without its prefix.
        """
        said = {"topic": "git.receive", "msg": 1, "msg_id": "2026-1", "timestamp": 1, "i": 9, "username": "ada", "more": [None]}
        self.post(said)
        self.assertEqual(json.loads(self.ingest.taken["2026-1"][1]), {**said, "topic": "org.example.dev.git.receive"})

    def test_which_topics(self) -> None:
        """
        The intake is told which topics a token may use.
        """
        for token in (SECRET, READER, LIMITED):
            self.post({"topic": "x", "msg": {}}, token)
        topics = ["org.example.dev.ci.done", "org.example.dev.cd.", "org.example.dev.git.receive", "org.example.dev.c"]
        self.assertEqual(
            [[may(topic) for topic in topics] for may in self.ingest.allowed], [[True] * 4, [False] * 4, [True, True, False, False]]
        )

    def test_refused(self) -> None:
        """
        What the intake refuses is answered with its reason.
        """
        for status, code, name in (("bad", 400, "bad-request"), ("denied", 403, "forbidden"), ("busy", 503, "unavailable")):
            self.ingest.answer = Came(status, detail="for some reason")
            answer = self.post({"topic": "x", "msg": {}, "msg_id": "2026-1"})
            self.assertIn("For some reason.", self.assertRefused(answer, code, name))
            self.assertEqual(bool(answer.header(b"Retry-After")), code == 503)

    def test_no_message(self) -> None:
        """
        What is no message is refused with 400.
        """
        deep = b'{"topic": "x", "msg": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        self.pages = self.make(tokens=TOKENS, max_message=1_000_000)
        self.resource = self.pages.app.resource()
        for body in (
            b"",
            b"x",
            b"[]",
            b"{}",
            b'{"msg": 1}',
            b'{"topic": "x"}',
            b'{"topic": 1, "msg": 1}',
            b'{"topic": "", "msg": 1}',
            b'{"topic": "x", "msg": NaN}',
            b'{"topic": "x", "msg": [1e400]}',
            b'{"topic": "x", "msg": [' + b"[]," * MAX_VALUES + b"1]}",
            deep,
        ):
            self.assertRefused(self.post(body), 400, "bad-request")
        self.assertRefused(self.post({"topic": "x", "msg": 1, "msg_id": 1}), 400, "bad-request")
        self.assertEqual(self.ingest.taken, {})

    def test_half_a_character(self) -> None:
        """
        A topic that UTF-8 cannot say is for the intake to refuse.
        """
        self.post(b'{"topic": "\\ud800", "msg": 1, "msg_id": "2026-1"}')
        self.assertEqual(self.ingest.taken["2026-1"][0], b"org.example.dev.\xed\xa0\x80")

    def test_too_large(self) -> None:
        """
        A message that is too long is refused with 413.
        """
        self.assertRefused(self.post(b"x" * 5001), 413, "too-large")

    def test_other_types(self) -> None:
        """
        A message must say that it is JSON.
        """
        self.assertRefused(self.post({}, content_type="application/x-www-form-urlencoded"), 415, "wrong-type")
        self.assertEqual(self.post({"topic": "x", "msg": 1}, content_type="Application/JSON; charset=utf-8").code, 200)

    def test_answered_later(self) -> None:
        """
        The answer comes when the message is committed.
        """
        self.ingest.waits = True
        treq: Any = StubTreq(self.resource)
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        asked = treq.post(f"https://relay.example{URL}", data=b'{"topic": "x", "msg": 1}', headers=headers)
        self.assertNoResult(asked)
        self.ingest.commit()
        treq.flush()
        self.assertEqual(self.successResultOf(asked).code, 200)

    def test_patience(self) -> None:
        """
        Whoever waits too long is told to come again, and by which name; that it was committed later does no harm.
        """
        self.ingest.waits = True
        treq: Any = StubTreq(self.resource)
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        asked = treq.post(f"https://relay.example{URL}", data=b'{"topic": "x", "msg": 1}', headers=headers)
        self.clock.advance(PATIENCE)
        treq.flush()
        response = self.successResultOf(asked)
        self.assertEqual((response.code, self.successResultOf(treq.json_content(response))["msg_id"]), (503, f"2026-{UUID(int=7)}"))
        self.ingest.commit()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReadTests(BusCase):
    def test_page(self) -> None:
        """
        A page is answered as JSON, to be kept by nobody.
        """
        self.replay.page_ = page(3, 5)
        answer = self.get("?since=0&topic=org.example.dev.&limit=10&wait=1.5")
        self.assertEqual(self.replay.asked, [(0, "org.example.dev.", 10, 1.5)])
        self.assertEqual((answer.code, answer.header(b"Cache-Control")), (200, "no-store"))
        self.assertEqual((answer.json["next"], [each["body"] for each in answer.json["messages"]]), (2, ["xxx", "xxxxx"]))

    def test_defaults(self) -> None:
        """
        Without a query it is asked for what comes from now on, without waiting.
        """
        self.get()
        self.assertEqual(self.replay.asked, [(None, "", 1000, 0.0)])

    def test_forgotten(self) -> None:
        """
        Who asks for what was forgotten is told what is there.
        """
        self.replay.error = TooOld(42)
        answer = self.get("?since=1")
        self.assertRefused(answer, 410, "gone")
        self.assertEqual(answer.json["oldest_seq"], 42)

    def test_refused(self) -> None:
        """
        What is asked for in vain says whether to ask again.
        """
        for error, code, name in (
            (ValueError("another relay's number"), 400, "bad-request"),
            (Full("100 readers wait already"), 503, "unavailable"),
            (Unavailable(), 503, "unavailable"),
        ):
            self.replay.error = error
            answer = self.get("?since=1")
            self.assertRefused(answer, code, name)
            self.assertEqual(bool(answer.header(b"Retry-After")), code == 503)
        self.assertEqual(self.pages.readers, 0)

    def test_error_of_ours(self) -> None:
        """
        An error of the relay's own is logged, and answered with 500.
        """
        self.replay.error = KeyError("oops")
        self.assertRefused(self.get(), 500, "internal")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_nonsense(self) -> None:
        """
        Parameters that there are not, or that cannot be, are refused.
        """
        for query in (
            "sinc=1",
            "since=-1",
            "since=x",
            "since=",
            "limit=0",
            "limit=1001",
            "wait=31",
            "wait=nan",
            "since=1&since=2",
            "topic=%FF",
        ):
            self.assertRefused(self.get(f"?{query}"), 400, "bad-request")
        self.assertRefused(self.get(f"?since={'9' * 30}"), 400, "bad-request")
        self.assertEqual(self.replay.asked, [])

    def test_head(self) -> None:
        """
        HEAD tells what GET would, without the page, and never waits.
        """
        answer = self.get("?wait=30", method="HEAD")
        self.assertEqual((answer.code, answer.body, self.replay.asked), (200, b"", [(None, "", 1000, 0.0)]))


class WaitTests(BusCase):
    """Readers who wait, over a site with real connections."""

    def setUp(self) -> None:
        super().setUp()
        self.replay.waits = True
        self.site = GuardedSite(
            self.resource,
            clock=self.clock,
            max_body=10_000,
            deadline=60.0,
            max_connections=2 * READERS,
            max_connections_per_address=2 * READERS,
            room=Room(1_000_000, self.clock),
        )

    def reader(self, address: Any = IPv4Address("TCP", "192.0.2.1", 1)) -> tuple[Any, StringTransport]:
        channel, wire = self.site.buildProtocol(address), StringTransport(peerAddress=address)
        channel.makeConnection(wire)
        channel.dataReceived(f"GET {URL}?since=7&wait=30 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {READER}\r\n\r\n".encode())
        return channel, wire

    def test_answered(self) -> None:
        """
        Who waits gets the message when it is there, also through a UNIX socket.
        """
        _, wire = self.reader(UNIXAddress(None))
        self.assertEqual(wire.value(), b"")
        self.replay.waiting[0].callback(page(3, first=8))
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 200 ") and b'"seq": 8' in wire.value())

    def test_leaves(self) -> None:
        """
        When a reader leaves, nobody waits for it any more.
        """
        channel, _ = self.reader()
        self.assertEqual((self.replay.waiting[0].called, self.pages.readers), (False, 1))
        channel.connectionLost()
        self.assertEqual((self.replay.waiting[0].called, self.pages.readers), (True, 0))

    def test_sender_leaves(self) -> None:
        """
        When a sender leaves before its answer, the message is kept all the same.
        """
        self.ingest.waits = True
        channel, wire = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)), StringTransport()
        channel.makeConnection(wire)
        body = b'{"topic": "x", "msg": 1}'
        head = f"POST {URL} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SECRET}\r\nContent-Type: application/json\r\n"
        channel.dataReceived(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        channel.connectionLost()
        self.ingest.commit()
        self.assertEqual(len(self.ingest.taken), 1)

    def test_places(self) -> None:
        """
        Readers take so many connections and no more, so that operators get in.
        """
        readers = [self.reader() for _ in range(READERS)]
        _, late = self.reader()
        self.assertTrue(late.value().startswith(b"HTTP/1.1 503 ") and b"Retry-After" in late.value())
        self.replay.waiting[0].callback(page())
        self.replay.waits = False
        _, late = self.reader()
        self.assertTrue(late.value().startswith(b"HTTP/1.1 200 "))
        for channel, _ in readers[1:]:
            channel.connectionLost()
        self.assertEqual(self.pages.readers, 0)


class TokenTests(BusCase):
    def test_none_configured(self) -> None:
        """
        Where no token is configured nobody gets in, and it is said what to do.
        """
        self.resource = self.make().app.resource()
        for answer in (self.post({}), self.get()):
            self.assertIn("bus.tokens", self.assertRefused(answer, 403, "forbidden"))

    def test_none_said(self) -> None:
        """
        Who says no token is told that there is one to say.
        """
        for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": [f"Bearer {READER}"] * 2}):
            answer = ask(self, self.resource, URL, headers=headers)
            self.assertRefused(answer, 401, "unauthorized")
            self.assertTrue(answer.header(b"WWW-Authenticate").startswith("Bearer "))
        self.assertEqual(self.pages.counters["bus-wrong-token"], 0)

    def test_wrong(self) -> None:
        """
        A token that is none is refused, counted and logged, and not itself logged.
        """
        with capturedLogs() as logs:
            for token in (SECRET[:-1], SECRET + "x", "", "\xff"):
                self.assertRefused(self.get(token=token), 401, "unauthorized")
        self.assertEqual((self.pages.counters["bus-wrong-token"], len(logs)), (4, 4))
        self.assertNotIn(SECRET[:-1], str(logs))
        self.assertEqual(self.replay.asked, [])

    def test_too_many(self) -> None:
        """
        After some wrong ones it is said when to come again; a right one is heard meanwhile.
        """
        for _ in range(PER_CLIENT):
            self.assertRefused(self.get(token="wrong"), 401, "unauthorized")
        answer = self.get(token="wrong")
        self.assertRefused(answer, 429, "too-many")
        self.assertEqual(answer.header(b"Retry-After"), str(round(WINDOW)))
        self.assertEqual(self.get().code, 200)
        self.clock.advance(WINDOW)
        self.assertRefused(self.get(token="wrong"), 401, "unauthorized")

    def test_may_not_read(self) -> None:
        """
        A token without the right to read may not.
        """
        self.assertRefused(self.get(token=SECRET), 403, "forbidden")
        self.assertEqual(self.replay.asked, [])

    def test_reloaded(self) -> None:
        """
        With another configuration other tokens count, at once.
        """
        self.pages.adjust(Bus(tokens=(BusToken("new", "a new secret 1234"),)))
        self.assertEqual([self.get().code, self.get(token="a new secret 1234").code], [401, 200])


class PlaceTests(BusCase):
    def test_other_methods(self) -> None:
        """
        What can be done is said to who tries something else.
        """
        for method in ("PUT", "DELETE", "PATCH"):
            answer = self.get(method=method)
            self.assertRefused(answer, 405, "wrong-method")
            self.assertEqual(answer.header(b"Allow"), "GET, HEAD, OPTIONS, POST")
        answer = self.get(method="OPTIONS")
        self.assertEqual((answer.code, answer.header(b"Allow")), (204, "GET, HEAD, OPTIONS, POST"))

    def test_other_places(self) -> None:
        """
        At other addresses there is nothing.
        """
        for path in ("/bus/", "/bus/v1/messages/1", "/bus/v2/messages"):
            self.assertRefused(ask(self, self.resource, path), 404, "not-found")

    def test_counted(self) -> None:
        """
        Every answer is counted, by what was done.
        """
        self.post({"topic": "x", "msg": 1})
        self.post({})
        self.get()
        self.get(method="HEAD")
        self.get("?limit=0")
        self.get(method="WHATEVER")
        counts = {"bus-post-200": 1, "bus-post-400": 1, "bus-get-200": 2, "bus-get-400": 1, "bus-other-405": 1}
        self.assertEqual(self.pages.counters, counts)
