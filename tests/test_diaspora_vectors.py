"""Bodies and documents made by other implementations, each with the verdict that has to be reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.discovery import DiscoveryFault, hcard_key, hcard_url
from socialrelay.diaspora.keys import pem_of, read_public_key
from socialrelay.diaspora.private import judge_private, open_private
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.federation import NotAnEnvelope, Refused, Ruling, Verdict, Wish

VECTORS = Path(__file__).parent / "vectors" / "diaspora"
INDEX: dict[str, Any] = json.loads((VECTORS / "vectors.json").read_text())
RELAY = "relay@relay.example"
BAD_REQUESTS = {"empty", "not-xml", "doctype", "not-envelope", "oversized-envelope"}


def rows(folder: str) -> list[dict[str, Any]]:
    """The vectors of a folder."""
    found = [row for row in INDEX["vectors"] if row["file"].startswith(folder + "/")]
    assert found
    return found


def key_of(row: dict[str, Any]) -> RSAPublicKey:
    """The key that the sender's node publishes."""
    return read_public_key((VECTORS / row["key"]).read_bytes())


def relay_key() -> RSAPrivateKey:
    """The relay's own."""
    key = load_pem_private_key((VECTORS / "keys" / "relay.private.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def verdict_on(row: dict[str, Any]) -> Verdict:
    """What the relay makes of a body."""
    protocol = Diaspora("test")
    try:
        sealed = protocol.open((VECTORS / row["file"]).read_bytes())
    except NotAnEnvelope as error:
        return Verdict(Ruling.REJECT, error.reason)
    except Refused as error:
        return Verdict(Ruling.REJECT, error.reason, author=error.sender)
    assert sealed.sender == row["key_id"]
    return protocol.judge(sealed, key_of(row))


class PublicTests(SynchronousTestCase):
    def test_verdicts(self) -> None:
        """
        Every public body gets its verdict, for its reason.
        """
        for row in rows("public"):
            if row["reason"] == "retraction-not-author":
                continue  # for the log to say
            verdict = verdict_on(row)
            self.assertEqual((verdict.ruling.value, verdict.reason or None), (row["verdict"], row["reason"]), row["file"])

    def test_read(self) -> None:
        """
        Kind, guid and tags of what is relayed are those that nodes read.
        """
        for row in rows("public"):
            if row["verdict"] not in ("relay", "retract"):
                continue
            verdict = verdict_on(row)
            self.assertEqual((verdict.kind, verdict.guid), (row["entity"], row["guid"]), row["file"])
            self.assertEqual(sorted(verdict.tags), sorted(row.get("tags") or ()), row["file"])
            self.assertEqual(verdict.author, row["key_id"])
            self.assertEqual([len(identity) for identity in verdict.identities], [32, 32])

    def test_bad_requests(self) -> None:
        """
        400 is for what no node sends; a body that could be an envelope is acknowledged, whatever is wrong with it.
        """
        for row in rows("public"):
            try:
                Diaspora("test").open((VECTORS / row["file"]).read_bytes())
            except NotAnEnvelope as error:
                self.assertIn(row["reason"], BAD_REQUESTS, row["file"])
                self.assertIn(error.reason, BAD_REQUESTS)
            except Refused:
                self.assertNotIn(row["reason"], BAD_REQUESTS, row["file"])

    def test_forms(self) -> None:
        """
        What is kept of a form is the envelope in it.
        """
        opened = [
            Diaspora("test").open((VECTORS / "public" / name).read_bytes()).body
            for name in ("relay-legacy-form.txt", "relay-legacy-form-encoded-twice.txt")
        ]
        self.assertEqual(opened[0], opened[1])
        self.assertTrue(opened[0].startswith(b"<?xml"))

    def test_body_unchanged(self) -> None:
        """
        What is kept of any other body is the body.
        """
        for row in rows("public"):
            if row["verdict"] == "relay" and not row["file"].endswith(".txt"):
                body = (VECTORS / row["file"]).read_bytes()
                self.assertEqual(Diaspora("test").open(body).body, body)

    def test_stranger(self) -> None:
        """
        The retraction of another's post is named after whoever signed it, so that the log finds no such post.
        """
        [row] = [row for row in rows("public") if row["reason"] == "retraction-not-author"]
        verdict = verdict_on(row)
        self.assertEqual((verdict.ruling, verdict.author, verdict.guid), (Ruling.RETRACT, row["key_id"], row["guid"]))

    def test_same_identity(self) -> None:
        """
        An envelope that lost its padding is the same post.
        """
        whole, stripped = [
            verdict_on(row)
            for row in rows("public")
            if row["file"] in ("public/relay-padding-2.xml", "public/relay-padding-2-stripped.xml")
        ]
        self.assertEqual(whole, stripped)


class PrivateTests(SynchronousTestCase):
    def judge(self, row: dict[str, Any]) -> tuple[str, str | None]:
        try:
            envelope = open_private((VECTORS / row["file"]).read_bytes(), relay_key())
        except Refused as error:
            return "reject", error.reason
        answer = judge_private(envelope, key_of(row), RELAY)
        if isinstance(answer, Wish):
            self.assertEqual(answer.author, row["key_id"])
            return "subscribe" if answer.wishes else "unsubscribe", None
        return answer.ruling.value, answer.reason

    def test_verdicts(self) -> None:
        """
        Every private message changes what it should, or nothing for its reason.
        """
        for row in rows("private"):
            self.assertEqual(self.judge(row), (row["verdict"], row["reason"]), row["file"])


class DiscoveryTests(SynchronousTestCase):
    def test_documents(self) -> None:
        """
        Every discovery document yields what nodes find in it, or its fault.
        """
        for row in rows("discovery"):
            document = (VECTORS / row["file"]).read_bytes()
            try:
                if ".webfinger." in row["file"]:
                    self.assertEqual(hcard_url(document, row["key_id"]), row["hcard"], row["file"])
                else:
                    self.assertEqual(pem_of(hcard_key(document)), pem_of(key_of(row)), row["file"])
                self.assertEqual(row["verdict"], "accept", row["file"])
            except DiscoveryFault as fault:
                self.assertEqual(("reject", fault.reason), (row["verdict"], row["reason"]), row["file"])
