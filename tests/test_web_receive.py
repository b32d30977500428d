"""Tests for L{socialrelay.web.receive}."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from treq.testing import StubTreq
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Full, Intake, Unavailable
from socialrelay.federation import NotAnEnvelope
from socialrelay.web.admission import Admission
from socialrelay.web.receive import ACCEPTED, AWAY, FULL, PATIENCE, STOPPING, WAITS, Answer, Reception
from socialrelay.web.room import Room
from socialrelay.web.site import GuardedSite
from socialrelay.web.turns import Turns

GUID = "f00dcafe0123456789abcdef01234567"
URL = "https://relay.example/receive/public"
IN_HAND = 4000
PRIVATE = f"https://relay.example/receive/users/{GUID}"


@define
class FakeIntake:
    """Remembers what it was handed; answers with C{error}, or when C{answers} is fired, or at once."""

    error: Exception | None = None
    waits: bool = False
    public: list[bytes] = field(factory=list)
    private: list[bytes] = field(factory=list)
    answers: list[Deferred[None]] = field(factory=list)
    cancelled: int = 0

    def accept(self, body: bytes, client: str) -> Deferred[None]:
        self.public.append(body)
        return self._answer()

    def accept_private(self, body: bytes, client: str) -> Deferred[None]:
        self.private.append(body)
        return self._answer()

    def _answer(self) -> Deferred[None]:
        if self.error is not None:
            raise self.error
        if not self.waits:
            return succeed(None)

        def cancel(_: Deferred[None]) -> None:
            self.cancelled += 1

        self.answers.append(Deferred(cancel))
        return self.answers[-1]


_intake: type[Intake] = FakeIntake


def make_site(resource: Any, clock: Clock, room: Room, **options: Any) -> GuardedSite:
    """A site with small limits."""
    limits = {"max_body": 1000, "deadline": 30.0, "max_connections": 999, "max_connections_per_address": 999}
    return GuardedSite(resource, clock=clock, room=room, **(limits | options))


def connect(site: GuardedSite) -> tuple[Any, StringTransport]:
    """A connection to it."""
    address = IPv4Address("TCP", "192.0.2.1", 1)
    channel, wire = site.buildProtocol(address), StringTransport(peerAddress=address)
    channel.makeConnection(wire)
    return channel, wire


def request(body: bytes, path: bytes = b"/receive/public", *more: bytes) -> bytes:
    """A whole request."""
    return b"\r\n".join([b"POST %s HTTP/1.1" % path, b"Host: relay.example", b"Content-Length: %d" % len(body), *more, b"", body])


def chunked(body: bytes) -> bytes:
    """A whole request that does not tell its length beforehand."""
    head = b"POST /receive/public HTTP/1.1\r\nHost: relay.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def said(written: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of an answer, but for the date."""
    head, _, body = written.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    del headers[b"Date"]
    return int(status[9:12]), headers, body


class ReceptionTests(SynchronousTestCase):
    """What senders are told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = FakeIntake()
        self.room = Room(IN_HAND, self.clock)
        self.reception = Reception(self.intake, GUID, self.clock, self.room, Admission(self.clock), Turns(self.clock))
        self.treq: Any = StubTreq(self.reception.app.resource())

    def post(self, url: str = URL, body: bytes = b"<me:env/>", **options: object) -> tuple[int, bytes]:
        response = self.successResultOf(self.treq.post(url, data=body, allow_redirects=False, **options))
        self.headers = response.headers
        return response.code, self.successResultOf(self.treq.content(response))

    def test_accepted(self) -> None:
        """
        A body that the intake took is answered with 202 and nothing else, with the slash and without.
        """
        self.assertEqual([self.post(), self.post(URL + "/")], [(202, b""), (202, b"")])
        self.assertEqual(self.intake.public, [b"<me:env/>", b"<me:env/>"])

    def test_any_content_type(self) -> None:
        """
        The body arrives as it was sent, whatever it is said to be.
        """
        for content_type in (b"application/magic-envelope+xml", b"application/x-www-form-urlencoded", b"multipart/form-data", b"x"):
            self.post(body=b"xml=%3Cme%3Aenv%2F%3E", headers={b"Content-Type": content_type})
        self.assertEqual(set(self.intake.public), {b"xml=%3Cme%3Aenv%2F%3E"})

    def test_private(self) -> None:
        """
        What is sent to the relay itself goes the private way, with the slash and without.
        """
        self.assertEqual([self.post(PRIVATE), self.post(PRIVATE + "/")], [(202, b""), (202, b"")])
        self.assertEqual((self.intake.public, len(self.intake.private)), ([], 2))

    def test_away(self) -> None:
        """
        When storage falls silent whoever waits is told to come again; what was begun is finished, and who comes later waits as ever.
        """
        self.intake.waits = True
        first, second = self.treq.post(URL, data=b"1"), self.treq.post(URL, data=b"2")
        self.reception.away()
        self.treq.flush()
        for told in (first, second):
            response = self.successResultOf(told)
            self.assertEqual((response.code, response.headers.getRawHeaders("Retry-After")), (503, ["60"]))
        third = self.treq.post(URL, data=b"3")
        for answer in self.intake.answers:
            answer.callback(None)
        self.treq.flush()
        self.assertEqual(self.successResultOf(third).code, 202)
        self.assertEqual((self.intake.cancelled, self.room.kept), (0, 0))
        self.successResultOf(self.reception.drain())

    def test_too_many(self) -> None:
        """
        When as many bodies are in hand as are settled promptly, the next sender is told at once to come again, and nothing is kept of it.
        """
        self.intake.waits = True
        self.reception._admission.limit = 1
        self.treq.post(URL, data=b"first")
        self.assertEqual((self.post(body=b"second")[0], self.headers.getRawHeaders("Retry-After")), (503, ["60"]))
        self.assertEqual((self.intake.public, self.room.kept), ([b"first"], 5))

    def test_not_even_read(self) -> None:
        """
        While too many are in hand, the plain post of a node is answered before it is read, in the same words; anything else is read.
        """
        plain = b"POST /receive/public HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
        self.assertEqual(self.reception.quick_answer(plain), b"")
        self.intake.waits = True
        self.reception._admission.limit = 1
        self.treq.post(URL, data=b"first")
        answer = self.reception.quick_answer(plain)
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertEqual((head.splitlines()[0], body), (b"HTTP/1.1 503 Service Unavailable", self.post(body=b"second")[1]))
        self.assertIn(b"Content-Length: %d" % len(body), head.splitlines())
        self.assertEqual((self.reception._admission.refused, self.reception.counters["receive-503"]), (2, 2))
        for other in (b"/receive/users/nobody", b"/", b"/receive/public?"):
            self.assertEqual(self.reception.quick_answer(plain.replace(b"/receive/public", other)), b"")

    def test_foreign_guid(self) -> None:
        """
        There is nobody else here.
        """
        code, _ = self.post("https://relay.example/receive/users/0123456789abcdef")
        self.assertEqual((code, self.intake.private), (404, []))

    def test_not_an_envelope(self) -> None:
        """
        A body that no node would send is answered with the reason on one line.
        """
        self.intake.error = NotAnEnvelope("not-xml")
        self.assertEqual(self.post(), (400, b"not-xml\n"))

    def test_not_now(self) -> None:
        """
        When nothing can be kept the sender is asked to come again, and learns why.
        """
        for error, answer in ((Full(), WAITS), (Unavailable(), AWAY)):
            self.intake.error = error
            self.assertEqual(self.post(), (503, answer.text.encode() + b"\n"))
            self.assertEqual(self.headers.getRawHeaders(b"Retry-After"), [b"60"])

    def test_too_slow(self) -> None:
        """
        A sender is not kept waiting for long, and what was begun goes on without it.
        """
        self.intake.waits = True
        waiting = self.treq.post(URL, data=b"<me:env/>")
        self.clock.advance(PATIENCE)
        self.treq.flush()
        self.assertEqual(self.successResultOf(waiting).code, 503)
        self.assertEqual(self.intake.cancelled, 0)
        drained = self.reception.drain()
        self.assertNoResult(drained)
        self.intake.answers[0].callback(None)
        self.successResultOf(drained)

    def test_bug(self) -> None:
        """
        An error of our own is logged, and the sender will try again.
        """
        self.intake.error = ZeroDivisionError()
        code, _ = self.post()
        self.assertEqual((code, len(self.flushLoggedErrors(ZeroDivisionError))), (500, 1))

    def test_other_methods(self) -> None:
        """
        Other methods are told which one there is.
        """
        for url in (URL, URL + "/", PRIVATE):
            response = self.successResultOf(self.treq.get(url, allow_redirects=False))
            self.assertEqual((response.code, response.headers.getRawHeaders(b"Allow")), (405, [b"POST"]))

    def test_untidy_paths(self) -> None:
        """
        A path that is almost right is not found; nothing is ever redirected.
        """
        for path in ("/receive//public", "/receive/users/", "/receive", "/receive/public/x"):
            code, _ = self.post("https://relay.example" + path)
            self.assertEqual(code, 404, path)

    def test_hang_up(self) -> None:
        """
        Storing that has begun is finished although the client is gone.
        """
        self.intake.waits = True
        answer = self.treq.post(URL, data=b"<me:env/>")
        answer.cancel()
        self.treq.flush()
        self.failureResultOf(answer)
        self.assertEqual(self.reception.counters["receive-hung-up"], 1)
        drained = self.reception.drain()
        self.assertNoResult(drained)
        self.intake.answers[0].callback(None)
        self.successResultOf(drained)
        self.assertEqual(self.intake.cancelled, 0)

    def test_stopping(self) -> None:
        """
        While it stops, new bodies are refused and those in hand are answered; then it is drained.
        """
        self.intake.waits = True
        first = self.treq.post(URL, data=b"first")
        second = self.treq.post(URL, data=b"second")
        drained = self.reception.drain()
        self.assertEqual(self.post()[0], 503)
        self.intake.answers[0].callback(None)
        self.assertNoResult(drained)
        self.intake.answers[1].callback(Failure(Unavailable()))
        self.successResultOf(drained)
        self.treq.flush()
        self.assertEqual([self.successResultOf(first).code, self.successResultOf(second).code], [202, 503])
        self.assertEqual(self.intake.public, [b"first", b"second"])

    def test_stopping_ends_connections(self) -> None:
        """
        While it stops, a kept connection is closed with the refusal.
        """
        clock = Clock()
        resource = self.reception.app.resource()
        site = make_site(resource, clock, self.room)
        channel, wire = connect(site)
        self.reception.stop()
        channel.dataReceived(b"POST /receive/public HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 503 ") and b"\r\nConnection: close\r\n" in wire.value())
        self.assertTrue(wire.disconnecting)

    def test_drained_at_once(self) -> None:
        """
        With nothing in hand there is nothing to wait for.
        """
        self.successResultOf(self.reception.drain())

    def test_another_way(self) -> None:
        """
        A body that did not come by HTTP goes the same way, within the same bounds, and gets the same answers.
        """
        answers = [self.successResultOf(self.reception.hand_in(body, "this machine")) for body in (b"x", b"x" * IN_HAND)]
        self.assertEqual((answers, self.intake.public), ([ACCEPTED, FULL], [b"x"]))
        self.intake.error = NotAnEnvelope("not-xml")
        self.assertEqual(self.successResultOf(self.reception.hand_in(b"x", "this machine")), Answer(400, "not-xml"))
        self.reception.stop()
        self.assertEqual(self.successResultOf(self.reception.hand_in(b"x", "this machine")), STOPPING)

    def test_another_way_given_up(self) -> None:
        """
        Whoever handed a body in and waits no more changes nothing, and stopping waits for what was begun.
        """
        self.intake.waits = True
        self.reception.hand_in(b"x", "this machine").addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        drained = self.reception.drain()
        self.assertNoResult(drained)
        self.intake.answers[0].callback(None)
        self.successResultOf(drained)

    def test_counted(self) -> None:
        """
        Every answer is counted.
        """
        self.post()
        self.intake.error = Full()
        self.post()
        self.assertEqual(dict(self.reception.counters), {"receive-202": 1, "receive-503": 1})


class ShortcutTests(SynchronousTestCase):
    """The same without Klein, as the site hands requests over."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = FakeIntake()
        self.room = Room(IN_HAND, self.clock)
        self.reception = Reception(self.intake, GUID, self.clock, self.room, Admission(self.clock), Turns(self.clock))
        resource = self.reception.app.resource()
        self.site = make_site(resource, self.clock, self.room, shortcuts=self.reception.shortcuts)
        self.through_klein = make_site(resource, self.clock, self.room)

    def feed(self, site: GuardedSite, data: bytes) -> bytes:
        channel, wire = connect(site)
        channel.dataReceived(data)
        return wire.value()

    def test_same_answers(self) -> None:
        """
        Each outcome is answered as Klein answers it, to the header.
        """
        own = b"/receive/users/" + GUID.encode()
        for error in (None, NotAnEnvelope("not-xml"), Full(), Unavailable(), ZeroDivisionError()):
            self.intake.error = error
            for path in (b"/receive/public", b"/receive/public/", own, own + b"/"):
                for more in ((), (b"Connection: close",)):
                    data = request(b"<me:env/>", path, *more)
                    self.assertEqual(said(self.feed(self.site, data)), said(self.feed(self.through_klein, data)), data)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 16)
        counters = {"receive-202": 16, "receive-400": 16, "receive-503": 32, "receive-500": 16}
        self.assertEqual(self.reception.counters, counters)
        self.intake.error = None
        self.reception.stop()
        data = request(b"<me:env/>")
        self.assertEqual(said(self.feed(self.site, data)), said(self.feed(self.through_klein, data)))

    def test_answered_later(self) -> None:
        """
        An answer comes when the intake has one, and the connection goes on with what came meanwhile.
        """
        self.intake.waits = True
        channel, wire = connect(self.site)
        channel.dataReceived(request(b"first") + request(b"second"))
        self.assertEqual((self.intake.public, wire.value()), ([b"first"], b""))
        for answer in (0, 1):
            self.intake.answers[answer].callback(None)
        self.assertEqual((self.intake.public, wire.value().count(b"HTTP/1.1 202 ")), ([b"first", b"second"], 2))

    def test_hang_up(self) -> None:
        """
        Storing that has begun is finished although the client is gone.
        """
        self.intake.waits = True
        channel, wire = connect(self.site)
        channel.dataReceived(request(b"first"))
        channel.connectionLost(Failure(ConnectionError()))
        drained = self.reception.drain()
        self.assertNoResult(drained)
        self.intake.answers[0].callback(None)
        self.successResultOf(drained)
        self.assertEqual((wire.value(), self.reception.counters, self.intake.cancelled), (b"", {"receive-hung-up": 1}, 0))

    def test_patience_in_turn(self) -> None:
        """
        Each sender is told to come again when its own time is over, and no timer is left when nothing is in hand.
        """
        self.intake.waits = True
        wires = []
        for _ in range(3):
            channel, wire = connect(self.site)
            channel.dataReceived(request(b"x"))
            wires.append(wire)
            self.clock.advance(1)
        self.intake.answers[1].callback(None)
        self.clock.advance(PATIENCE - 3)
        self.assertEqual([wire.value()[9:12] for wire in wires], [b"503", b"202", b""])
        self.clock.advance(2)
        self.assertEqual([wire.value()[9:12] for wire in wires], [b"503", b"202", b"503"])
        self.intake.answers[0].callback(None)
        self.intake.answers[2].callback(None)
        self.assertEqual([wire.value().count(b"HTTP/1.1 ") for wire in wires], [1, 1, 1])
        deadlines = [call.getTime() for call in self.clock.getDelayedCalls()]
        self.assertEqual(len(deadlines), 3, "one timer for each connection and none else")

    def test_flood_of_large_bodies(self) -> None:
        """
        While storage stands still, bodies are taken up to the bound and no further; the rest are told to come again, the small ones last.

        When storage goes on, all that was taken is answered, and everything is taken again.
        """
        self.intake.waits = True
        wires = []
        for number in range(100):
            channel, wire = connect(self.site)
            channel.dataReceived(request(b"x" * 1000) if number % 2 else chunked(b"x" * 900))
            wires.append(wire)
            self.assertTrue(self.room.kept + self.room.receiving <= IN_HAND)
        waiting = sum(not wire.value() for wire in wires)
        told = [said_to for said_to in (wire.value() for wire in wires) if said_to]
        self.assertTrue(1 <= waiting == len(self.intake.answers) <= 4, waiting)
        self.assertTrue(all(b"HTTP/1.1 503 " in each and b"Retry-After: 60" in each for each in told))
        self.assertEqual(self.room.refused, 100 - waiting)
        channel, _ = connect(self.site)
        channel.dataReceived(request(b"small"))
        self.assertEqual(len(self.intake.answers), waiting + 1)
        self.clock.advance(PATIENCE)
        self.assertTrue(self.room.kept, "a sender that was told to come again leaves its body in hand until it is settled")
        for answer in self.intake.answers:
            answer.callback(None)
        self.assertEqual((self.room.kept, self.room.receiving), (0, 0))
        self.intake.waits = False
        self.assertTrue(self.feed(self.site, request(b"x" * 1000)).startswith(b"HTTP/1.1 202 "))
