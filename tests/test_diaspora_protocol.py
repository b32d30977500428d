"""The Diaspora protocol, as the rest of the relay meets it."""

from __future__ import annotations

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.protocol import Diaspora
from socialrelay.federation import DeliveryRequest, Ruling
from tests.envelopes import Author

ALICE = Author("alice@pod-a.example")


@frozen
class Stored:
    """What another part of the relay may hand over: a sender and a body."""

    sender: str
    body: bytes


class ProtocolTests(SynchronousTestCase):
    protocol = Diaspora("socialrelay/1.0 (+https://relay.example/)")

    def test_delivery(self) -> None:
        """
        A delivery is the body as it came, under the protocol's content type and the relay's name, without an expectation.
        """
        self.assertEqual(
            self.protocol.delivery("https://pod.example/receive/public", b"body"),
            DeliveryRequest(
                "https://pod.example/receive/public",
                ("Content-Type: application/magic-envelope+xml", "User-Agent: socialrelay/1.0 (+https://relay.example/)", "Expect:"),
                b"body",
            ),
        )

    def test_name(self) -> None:
        """
        Posts and destinations are stored under the protocol's name.
        """
        self.assertEqual(self.protocol.name, "diaspora")

    def test_reopened(self) -> None:
        """
        Any sealed body can be judged.
        """
        body = ALICE.post("#cats")
        self.assertEqual(
            self.protocol.judge(Stored(ALICE.handle, body), ALICE.public_key),
            self.protocol.judge(self.protocol.open(body), ALICE.public_key),
        )

    def test_forged(self) -> None:
        """
        What its sender did not sign is rejected before it is read.
        """
        verdict = self.protocol.judge(self.protocol.open(ALICE.post("#cats")), Author("bob@pod-b.example").public_key)
        self.assertEqual((verdict.ruling, verdict.reason, verdict.kind, verdict.identities), (Ruling.REJECT, "bad-signature", "", ()))

    def test_reshares(self) -> None:
        """
        Reshares are relayed if the operator wants them.
        """
        body = ALICE.reshare("bob@pod-b.example", "0123456789abcdef")
        for wanted, ruling in ((False, Ruling.IGNORE), (True, Ruling.RELAY)):
            protocol = Diaspora("test", reshares=wanted)
            self.assertIs(protocol.judge(protocol.open(body), ALICE.public_key).ruling, ruling)
