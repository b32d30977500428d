"""Tests for L{socialrelay.web.receive}."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from treq.testing import StubTreq
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Full, Intake, Unavailable
from socialrelay.federation import NotAnEnvelope
from socialrelay.web.receive import PATIENCE, Reception
from socialrelay.web.site import GuardedSite

GUID = "f00dcafe0123456789abcdef01234567"
URL = "https://relay.example/receive/public"
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


class ReceptionTests(SynchronousTestCase):
    """What senders are told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = FakeIntake()
        self.reception = Reception(self.intake, GUID, self.clock)
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
        When nothing can be kept the sender is asked to come again.
        """
        for error in (Full(), Unavailable()):
            self.intake.error = error
            code, _ = self.post()
            self.assertEqual((code, self.headers.getRawHeaders(b"Retry-After")), (503, [b"60"]))

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
        site = GuardedSite(resource, clock=clock, max_body=9, deadline=9.0, max_connections=9, max_connections_per_address=9)
        channel, wire = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)), StringTransport()
        channel.makeConnection(wire)
        self.reception.stop()
        channel.dataReceived(b"POST /receive/public HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 503 ") and b"\r\nConnection: close\r\n" in wire.value())
        self.assertTrue(wire.disconnecting)

    def test_drained_at_once(self) -> None:
        """
        With nothing in hand there is nothing to wait for.
        """
        self.successResultOf(self.reception.drain())

    def test_counted(self) -> None:
        """
        Every answer is counted.
        """
        self.post()
        self.intake.error = Full()
        self.post()
        self.assertEqual(dict(self.reception.counters), {"receive-202": 1, "receive-503": 1})
