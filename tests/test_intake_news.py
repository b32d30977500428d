"""Tests for L{socialrelay.intake_news}: what the bus hears of bodies that came in, from a whole relay over stores in memory."""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Rule, silence
from socialrelay.federation import NotAnEnvelope
from socialrelay.intake_news import IntakeNews
from tests.envelopes import Author, private_key
from tests.relays import HANDLE, WholeRelay

ALICE = Author("alice@pod-a.example")
BOB = Author("bob@pod-b.example")
GUID = "a" * 32


class IntakeNewsTests(SynchronousTestCase):
    """One announcement for each body; names only of those who are known to be it, and to wish it."""

    def setUp(self) -> None:
        self.relay = WholeRelay().start()
        self.relay.subscribe("all.example")
        self.relay.keyring.hold(ALICE)
        self.relay.announced.clear()

    def send(self, body: bytes) -> list[tuple[str, dict[str, object]]]:
        """Hand a body in; what is announced of it."""
        self.relay.announced.clear()
        self.successResultOf(self.relay.relay.accept(body, "192.0.2.1"))
        self.relay.run()
        return self.about_payloads()

    def about_payloads(self) -> list[tuple[str, dict[str, object]]]:
        return [(event, members) for event, members in self.relay.announced if event.startswith("payload.")]

    def rejected(self, reason: str, node: str | None = None, status: int = 202) -> list[tuple[str, dict[str, object]]]:
        return [("payload.rejected", {"reason": reason, "status": status, "protocol": "diaspora", "node": node})]

    def described(self, body: bytes, kind: str = "status_message") -> dict[str, object]:
        return {
            "type": kind,
            "node": "pod-a.example",
            "protocol": "diaspora",
            "sha256": sha256(body).hexdigest(),
            "size": len(body),
        }

    def test_received(self) -> None:
        """A post that is relayed is named by its guid, its author, and its bytes' SHA-256."""
        body = ALICE.post("Hello", guid=GUID)
        names = {"activity_id": GUID, "actor": ALICE.handle}
        self.assertEqual(self.send(body), [("payload.received", names | self.described(body))])

    def test_duplicate(self) -> None:
        """A post that is known is not named: it may have been erased."""
        body = ALICE.post("Hello", guid=GUID)
        self.send(body)
        self.assertEqual(self.send(body), [("payload.duplicate", self.described(body))])

    def test_taken_back(self) -> None:
        """A retraction that is passed on does not say whose post is to be forgotten; one of an unknown post is rejected."""
        self.send(ALICE.post("Hello", guid=GUID))
        body = ALICE.retraction(GUID)
        self.assertEqual(self.send(body), [("payload.received", self.described(body, "retraction"))])
        self.assertEqual(self.send(body), [("payload.duplicate", self.described(body, "retraction"))])
        self.assertEqual(self.send(ALICE.retraction("b" * 32)), self.rejected("unknown-target"))

    def test_not_authentic(self) -> None:
        """Whom a signature does not fit, or who is not known, is not named."""
        self.relay.keyring.published[ALICE.handle] = ALICE.public_key
        self.assertEqual(self.send(Author(ALICE.handle, bits=1032).post("Forged")), self.rejected("bad-signature"))
        self.assertEqual(self.send(ALICE.post("Hello").replace(b"RSA-SHA256", b"RSA-SHA1")), self.rejected("bad-alg"))

    def test_well_signed(self) -> None:
        """Of what is well signed and cannot be, or must not, the bus hears from which node it is, and not by whom."""
        self.assertEqual(self.send(ALICE.post("Hello", guid="no guid")), self.rejected("bad-guid", "pod-a.example"))
        self.assertEqual(self.send(ALICE.post("Hush", public=False)), self.rejected("not-public", "pod-a.example"))

    def test_not_understood(self) -> None:
        """What is nothing that a node would send is rejected with the answer that its sender got."""
        self.failureResultOf(self.relay.relay.accept(b"<html/>", "192.0.2.1"), NotAnEnvelope)
        self.assertEqual(self.about_payloads(), self.rejected("not-envelope", status=400))

    def test_ignored(self) -> None:
        """Of what policy ignores only the reason is said."""
        self.assertEqual(self.send(ALICE.account_deletion()), self.rejected("account"))

    def test_blocked(self) -> None:
        """Who is blocked is not named, nor is who is limited."""
        for action, reason in (("limit", "limited"), ("block", "blocked")):
            self.relay.storage.rules.put(Rule(action, ALICE.handle, "", self.relay.now(), "root"))
            self.successResultOf(self.relay.subscribers.rules_changed())
            self.assertEqual(self.send(ALICE.post("Hello")), self.rejected(reason), action)

    def test_private(self) -> None:
        """Of messages to the relay itself nothing is said but why one was of no use."""
        for body, expected in (
            (ALICE.contact(HANDLE, private_key(HANDLE).public_key()), []),
            (b"x" * 100_000, self.rejected("private-only")),
        ):
            self.relay.announced.clear()
            self.successResultOf(self.relay.relay.accept_private(body, "192.0.2.1"))
            self.relay.run()
            self.assertEqual(self.about_payloads(), expected)

    def test_waits(self) -> None:
        """A post that waits for its author's key is announced when it is relayed."""
        body = BOB.post("Hello")
        self.assertEqual(self.send(body), [])
        self.relay.keyring.hold(BOB)
        self.relay.run(4000.0)
        self.assertEqual([event for event, _ in self.about_payloads()], ["payload.received"])

    def test_storage_away(self) -> None:
        """What could not be kept is not announced: it comes again."""
        self.relay.tables.go_away("gone")
        self.relay.announced.clear()
        self.relay.relay.accept(ALICE.post("Hello"), "192.0.2.1").addErrback(lambda failure: None)
        self.relay.run()
        self.assertEqual(self.relay.announced, [])

    def test_silence(self) -> None:
        """Where there is no bus all is counted all the same."""
        news = IntakeNews(protocol="diaspora", tally=self.relay.tally, clock=self.relay.clock, now=self.relay.now, announce=silence)
        news.refused("bad-guid", ALICE.handle)
        self.assertEqual(self.relay.tally.totals["rejected"], 1)
