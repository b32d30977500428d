"""What becomes of verified entities."""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.entity import judge_entity
from socialrelay.federation import Ruling, Verdict
from tests.envelopes import entity, status_message

ALICE, BOB = "alice@pod-a.example", "bob@pod-b.example"
GUID = "0123456789abcdef"


def message(**fields: str | bool) -> bytes:
    """A status message with some fields another."""
    return entity("status_message", **{"author": ALICE, "guid": GUID, "public": True, "text": "Hello #cats", **fields})


class PostTests(SynchronousTestCase):
    def assertRejected(self, payload: bytes, reason: str) -> None:
        """The entity is rejected for that reason."""
        verdict = judge_entity(payload, ALICE)
        self.assertEqual((verdict.ruling, verdict.reason), (Ruling.REJECT, reason), repr(payload))

    def test_relayed(self) -> None:
        """
        A public post is relayed under the name of its author and guid and under its very bytes.
        """
        payload = message()
        identities = (sha256(f"post:{ALICE}:{GUID}".encode()).digest(), sha256(payload).digest())
        self.assertEqual(
            judge_entity(payload, ALICE),
            Verdict(Ruling.RELAY, "", "status_message", ALICE, GUID, frozenset({"cats"}), identities),
        )

    def test_unread(self) -> None:
        """
        Dates, unknown elements and nested entities do not matter.
        """
        for extra in (
            "<created_at>yesterday</created_at>",
            "<created_at/><created_at/>",
            "<x:text xmlns:x='urn:x'>#dogs</x:text>",
            f"<photo><author>{BOB}</author><public>false</public><text>#dogs</text></photo>" * 2,
            "<!-- #dogs --><?dogs?>",
        ):
            payload = message().replace(b"</status_message>", extra.encode() + b"</status_message>")
            self.assertEqual(judge_entity(payload, ALICE).tags, {"cats"}, extra)

    def test_text(self) -> None:
        """
        A text may be empty and have 65 535 characters, not one more, and has to be there.
        """
        self.assertIs(judge_entity(message(text=""), ALICE).ruling, Ruling.RELAY)
        self.assertIs(judge_entity(message(text="\N{GRINNING FACE}" * 65535), ALICE).ruling, Ruling.RELAY)
        self.assertRejected(message(text="x" * 65536), "text-too-long")
        self.assertRejected(entity("status_message", author=ALICE, guid=GUID, public=True), "no-text")

    def test_cdata(self) -> None:
        """
        A text may be written as CDATA.
        """
        payload = message(text="").replace(b"<text></text>", b"<text><![CDATA[#a&b ]]>#c</text>")
        self.assertEqual(judge_entity(payload, ALICE).tags, {"a", "c"})

    def test_public(self) -> None:
        """
        Only what says C{true}, exactly, is public.
        """
        for text in ("True", " true", "1", "yes", "", "false"):
            self.assertRejected(message(public=text), "not-public")

    def test_guid(self) -> None:
        """
        A guid has 16 to 255 characters that nodes take.
        """
        for guid in ("", "x" * 15, "x" * 256, "x" * 15 + "-", "x" * 15 + "\n", "x" * 15 + " ", "\u00e9" * 16):
            self.assertRejected(message(guid=guid), "bad-guid")
        for guid in ("x" * 16, "x" * 255, "0-9_@.:aB-_@.:-x"):
            self.assertEqual(judge_entity(message(guid=guid), ALICE).guid, guid)

    def test_author(self) -> None:
        """
        The author is the sender, to the byte.
        """
        for author in (BOB, f" {ALICE}", f"{ALICE}\n", "", "Alice@pod-a.example"):
            self.assertRejected(message(author=author), "sender-mismatch")

    def test_twice(self) -> None:
        """
        What is read may not be there twice, nor hold markup.
        """
        for name, text in {"author": ALICE, "guid": GUID, "public": "true", "text": "Hello #cats"}.items():
            once = f"<{name}>{text}</{name}>".encode()
            self.assertIn(once, message())
            self.assertRejected(message().replace(once, once + b"\n" + once), "duplicate-element")
            for markup in (b"<!-- -->", b"<?x?>", b"<b/>", b"<b>bold</b>"):
                self.assertRejected(message().replace(once, once.replace(b"</", markup + b"</")), "nested-markup")

    def test_hostile_xml(self) -> None:
        """
        A payload is read as carefully as a body, although it is signed.
        """
        bomb = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10 if n else b"lol") for n in range(10))
        for payload, reason in {
            b"<!DOCTYPE x [" + bomb + b"]>" + message(text="&l9;"): "payload-doctype",
            b'<!DOCTYPE x SYSTEM "http://localhost/x">' + message(): "payload-doctype",
            message().replace(b"Hello", b"&hello;"): "payload-not-xml",
            message().decode().encode("utf-16"): "payload-not-xml",
            b'<?xml version="1.0" encoding="UTF-7"?>' + message().replace(b"Hello", b"\xff"): "payload-not-xml",
            b"": "payload-not-xml",
            message() + b"<x/>": "payload-not-xml",
            b"<status_message>" + b"<x>" * 5000: "payload-oversized",
        }.items():
            self.assertRejected(payload, reason)
        deep = message().replace(b"</status_message>", b"<x>" * 1900 + b"</x>" * 1900 + b"</status_message>")
        self.assertIs(judge_entity(deep, ALICE).ruling, Ruling.RELAY)


class PolicyTests(SynchronousTestCase):
    def ignored(self, kind: str, **fields: str) -> Verdict:
        """The verdict on an entity that is not relayed."""
        verdict = judge_entity(entity(kind, **{"author": ALICE, **fields}), ALICE)
        self.assertIs(verdict.ruling, Ruling.IGNORE)
        return verdict

    def test_reasons(self) -> None:
        """
        What is not relayed is ignored for a reason.
        """
        for kinds, reason in {
            ("comment", "like", "poll_participation", "event_participation"): "relayable",
            ("participation",): "participation",
            ("photo",): "photo",
            ("profile",): "profile",
            ("account_deletion", "account_migration"): "account",
            ("contact", "conversation", "message"): "private-only",
            ("XML", "poll", "event", "Status_message"): "unsupported-entity",
        }.items():
            for kind in kinds:
                self.assertEqual((self.ignored(kind).kind, self.ignored(kind).reason), (kind, reason))

    def test_others(self) -> None:
        """
        Only the author of a thread signs what others say in it; everything else is the author's own.
        """
        self.assertEqual(judge_entity(entity("comment", author=BOB), ALICE).reason, "relayable")
        for kind in ("profile", "photo", "account_deletion", "participation", "reshare"):
            verdict = judge_entity(entity(kind, author=BOB), ALICE)
            self.assertEqual((verdict.ruling, verdict.reason), (Ruling.REJECT, "sender-mismatch"), kind)

    def test_strange_names(self) -> None:
        """
        An entity of an endless or foreign name is ignored without it.
        """
        for name in ("x" * 41, "é", "a.b"):
            self.assertEqual(self.ignored(name).kind, "other")
        foreign = judge_entity(status_message(ALICE, "x").replace(b"<status_message>", b"<status_message xmlns='urn:x'>"), ALICE)
        self.assertEqual((foreign.kind, foreign.reason), ("other", "unsupported-entity"))

    def test_reshares(self) -> None:
        """
        Reshares are ignored unless wanted; then they are relayed, without tags.
        """
        payload = entity("reshare", author=ALICE, guid=GUID, text="#cats")
        self.assertEqual(judge_entity(payload, ALICE).reason, "reshare")
        verdict = judge_entity(payload, ALICE, reshares=True)
        self.assertEqual((verdict.ruling, verdict.guid, verdict.tags), (Ruling.RELAY, GUID, frozenset()))


class RetractionTests(SynchronousTestCase):
    def judge(self, target_type: str, *, author: str = ALICE, target: str = GUID) -> Verdict:
        return judge_entity(entity("retraction", author=author, target_guid=target, target_type=target_type), ALICE)

    def test_post(self) -> None:
        """
        A post's retraction names its target, of the same author, and has an identity of its own.
        """
        verdict = self.judge("Post")
        self.assertEqual(verdict.target, sha256(f"post:{ALICE}:{GUID}".encode()).digest())
        self.assertEqual((verdict.ruling, verdict.guid, verdict.author), (Ruling.RETRACT, GUID, ALICE))
        self.assertEqual(verdict.identities[0], sha256(f"retraction:{ALICE}:{GUID}".encode()).digest())

    def test_other_targets(self) -> None:
        """
        Other retractions are ignored, whoever sends them.
        """
        for target_type, reason in {
            "Comment": "retraction-of-relayable",
            "Like": "retraction-of-relayable",
            "Photo": "photo",
            "Person": "private-only",
            "Frobnication": "unsupported-entity",
            "": "unsupported-entity",
        }.items():
            for author in (ALICE, BOB):
                verdict = self.judge(target_type, author=author)
                self.assertEqual((verdict.ruling, verdict.reason), (Ruling.IGNORE, reason))

    def test_malformed(self) -> None:
        """
        A post's retraction by another than its sender, of no guid, or of two targets, is rejected.
        """
        self.assertEqual(self.judge("Post", author=BOB).reason, "sender-mismatch")
        self.assertEqual(self.judge("Post", target="short").reason, "bad-guid")
        payload = entity("retraction", author=ALICE, target_guid=GUID, target_type="Post")
        twice = payload.replace(b"<target_type>", b"<target_type>Post</target_type><target_type>")
        self.assertEqual(judge_entity(twice, ALICE).reason, "duplicate-element")
