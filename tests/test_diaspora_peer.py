"""
The C{federation} library as a peer: it builds, we read; we build, it reads.

Its envelope code needs Django, which it does not declare, and which only tests have; and libmagic, for pictures, which it never asks here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine
from types import ModuleType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.private import judge_private, open_private
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.federation import Ruling, Wish
from tests.envelopes import Author, entity, private_key, status_message

try:
    import magic  # noqa: F401
except ImportError:
    sys.modules["magic"] = ModuleType("magic")

from Crypto.PublicKey import RSA
from federation.exceptions import SignatureVerificationError
from federation.protocols.diaspora.encrypted import EncryptedPayload
from federation.protocols.diaspora.magic_envelope import MagicEnvelope

ALICE = Author("alice@pod-a.example", 2048)
RELAY, RELAY_KEY = "relay@relay.example", private_key("relay@relay.example", 2048)
PAYLOAD = status_message(ALICE.handle, "Größe #日本 <b>", guid="0123456789abcdef")


def theirs(key: RSAPrivateKey) -> Any:
    """A key as the peer holds it."""
    return RSA.import_key(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        story.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


class EnvelopeTests(SynchronousTestCase):
    def test_they_build(self) -> None:
        """
        An envelope of the library is relayed.
        """
        body = MagicEnvelope(message=PAYLOAD, private_key=theirs(ALICE.private_key), author_handle=ALICE.handle).render().encode()
        protocol = Diaspora("test")
        verdict = protocol.judge(protocol.open(body), ALICE.public_key)
        self.assertEqual((verdict.ruling, verdict.author, verdict.tags), (Ruling.RELAY, ALICE.handle, {"日本"}))

    def test_we_build(self) -> None:
        """
        The library verifies what the builders sign, and reads the same from it.
        """
        envelope = MagicEnvelope(payload=ALICE.seal(PAYLOAD), public_key=ALICE.pem)
        run(envelope.verify())
        self.assertEqual((envelope.author_handle, envelope.message), (ALICE.handle, PAYLOAD))

    def test_forgery(self) -> None:
        """
        Both refuse the signature of another.
        """
        body = ALICE.seal(PAYLOAD)
        mallory = Author("mallory@pod-m.example", 2048)
        self.assertRaises(SignatureVerificationError, run, MagicEnvelope(payload=body, public_key=mallory.pem).verify())
        protocol = Diaspora("test")
        self.assertEqual(protocol.judge(protocol.open(body), mallory.public_key).reason, "bad-signature")


class PrivateTests(SynchronousTestCase):
    payload = entity("contact", author=ALICE.handle, recipient=RELAY, following=True, sharing=True)

    def test_they_encrypt(self) -> None:
        """
        A private message of the library is understood.
        """
        envelope = MagicEnvelope(message=self.payload, private_key=theirs(ALICE.private_key), author_handle=ALICE.handle).render()
        body = json.dumps(EncryptedPayload.encrypt(envelope, theirs(RELAY_KEY).publickey())).encode()
        self.assertEqual(judge_private(open_private(body, RELAY_KEY), ALICE.public_key, RELAY), Wish(ALICE.handle, True))

    def test_we_encrypt(self) -> None:
        """
        The library decrypts what the builders encrypt.
        """
        document = EncryptedPayload.decrypt(json.loads(ALICE.contact(RELAY, RELAY_KEY.public_key())), theirs(RELAY_KEY))
        envelope = MagicEnvelope(doc=document, public_key=ALICE.pem)
        run(envelope.verify())
        self.assertIn(b"<sharing>true</sharing>", envelope.message_from_doc())
