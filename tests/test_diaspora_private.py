"""Messages to the relay itself."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.private import judge_private, open_private
from socialrelay.federation import Refused, Ruling, Verdict, Wish
from tests.envelopes import Author, encrypt, entity, private_key, status_message

ALICE, BOB = Author("alice@pod-a.example"), Author("bob@pod-b.example")
RELAY = "relay@relay.example"
KEY = private_key(RELAY)


def judge(payload: bytes, author: Author = ALICE) -> Wish | Verdict:
    """What a private message with that in it comes to."""
    envelope = open_private(encrypt(author.seal(payload), KEY.public_key()), KEY)
    return judge_private(envelope, author.public_key, RELAY)


def contact(**fields: str | bool) -> bytes:
    """A contact to the relay."""
    return entity("contact", **{"author": ALICE.handle, "recipient": RELAY, **fields})


class OpenTests(SynchronousTestCase):
    def assertRefused(self, body: bytes, reason: str) -> None:
        """The message is dropped, for that reason."""
        self.assertEqual(self.assertRaises(Refused, open_private, body, KEY).reason, reason)

    def test_no_message(self) -> None:
        """
        What is no encrypted message is named so.
        """
        for body in (b"", b"x", b"[]", b"{}", b'{"aes_key": 1, "encrypted_magic_envelope": ""}', b"\xff", b"[" * 100_000):
            self.assertRefused(body, "not-encrypted-envelope")

    def test_undecryptable(self) -> None:
        """
        Whatever goes wrong in decrypting is one and the same.
        """
        message = json.loads(ALICE.contact(RELAY, KEY.public_key()))
        other = json.loads(ALICE.contact(RELAY, private_key("other").public_key()))
        bundle, data = message["aes_key"], message["encrypted_magic_envelope"]
        for aes_key, ciphertext in (
            (other["aes_key"], data),
            ("", data),
            ("é", data),
            (bundle[:-8], data),
            (bundle, ""),
            (bundle, "é"),
            (bundle, data[:-4]),
            (bundle, data[:64]),
            (bundle, data[4:]),
        ):
            self.assertRefused(json.dumps({"aes_key": aes_key, "encrypted_magic_envelope": ciphertext}).encode(), "undecryptable")

    def test_line_breaks(self) -> None:
        """
        Base64 may be broken into lines.
        """
        message = json.loads(ALICE.contact(RELAY, KEY.public_key()))
        broken = {name: "\n".join(text[at : at + 60] for at in range(0, len(text), 60)) + "\n" for name, text in message.items()}
        self.assertEqual(open_private(json.dumps(broken).encode(), KEY).sender, ALICE.handle)

    def test_no_envelope(self) -> None:
        """
        Well encrypted nonsense is acknowledged like everything else.
        """
        self.assertRefused(encrypt(b"hello", KEY.public_key()), "not-xml")
        self.assertRefused(encrypt(ALICE.post("x").replace(b"SHA256", b"SHA1"), KEY.public_key()), "bad-alg")

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200))
    def test_anything(self, content: bytes) -> None:
        """
        Nothing that is encrypted for the relay upsets it.
        """
        self.assertRaises(Refused, open_private, encrypt(content, KEY.public_key()), KEY)
        self.assertRaises(Refused, open_private, content, KEY)


class JudgeTests(SynchronousTestCase):
    def test_contact(self) -> None:
        """
        An author wishes to be relayed who shares and does not block.
        """
        for fields, wishes in (
            ({}, True),
            ({"sharing": True}, True),
            ({"following": False}, True),
            ({"sharing": False}, False),
            ({"sharing": True, "blocking": True}, False),
            ({"sharing": "T", "blocking": "No"}, True),
            ({"sharing": "0"}, False),
        ):
            self.assertEqual(judge(contact(**fields)), Wish(ALICE.handle, wishes), fields)

    def test_built(self) -> None:
        """
        The builders' contact is understood.
        """
        for sharing in (True, False):
            envelope = open_private(ALICE.contact(RELAY, KEY.public_key(), sharing=sharing), KEY)
            self.assertEqual(judge_private(envelope, ALICE.public_key, RELAY), Wish(ALICE.handle, sharing))

    def test_unsharing(self) -> None:
        """
        The retraction of a person is the end of sharing.
        """
        payload = entity("retraction", author=ALICE.handle, target_guid="0123456789abcdef", target_type="Person")
        self.assertEqual(judge(payload), Wish(ALICE.handle, False))

    def test_rejected(self) -> None:
        """
        Nobody changes the wishes of another, or with words that pods do not know.
        """
        for payload, reason in {
            contact(author=BOB.handle): "sender-mismatch",
            contact(sharing="maybe"): "bad-boolean",
            contact(sharing=""): "bad-boolean",
            contact().replace(b"</contact>", b"<sharing>true</sharing><sharing>false</sharing></contact>"): "duplicate-element",
            entity("retraction", author=BOB.handle, target_type="Person"): "sender-mismatch",
            b"<contact": "payload-not-xml",
        }.items():
            verdict = judge(payload)
            assert isinstance(verdict, Verdict)
            self.assertEqual((verdict.ruling, verdict.reason), (Ruling.REJECT, reason))

    def test_forged(self) -> None:
        """
        A message that its sender did not sign changes nothing.
        """
        envelope = open_private(ALICE.contact(RELAY, KEY.public_key()), KEY)
        self.assertEqual(judge_private(envelope, BOB.public_key, RELAY), Verdict(Ruling.REJECT, "bad-signature", author=ALICE.handle))

    def test_others(self) -> None:
        """
        A contact with somebody else, and all other messages, are dropped: also posts, which were sent in private.
        """
        for payload, reason in {
            contact(recipient=BOB.handle): "wrong-recipient",
            entity("contact", author=ALICE.handle): "wrong-recipient",
            entity("profile", author=ALICE.handle): "profile",
            entity("message", author=ALICE.handle): "private-only",
            status_message(ALICE.handle, "#cats"): "private-only",
            entity("retraction", author=ALICE.handle, target_guid="0123456789abcdef", target_type="Post"): "private-only",
        }.items():
            verdict = judge(payload)
            assert isinstance(verdict, Verdict)
            self.assertEqual((verdict.ruling, verdict.reason), (Ruling.IGNORE, reason))
