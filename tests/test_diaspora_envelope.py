"""Magic envelopes, opened and verified."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from urllib.parse import quote, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.diaspora.envelope import MOST_UNSIGNED, MagicEnvelope, decode, open_envelope, read_any, read_usual
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.federation import NotAnEnvelope, Refused, Ruling
from tests.envelopes import NAMESPACE, Author, private_key, seal, status_message

ALICE = Author("alice@pod-a.example")
GUID = "0123456789abcdef"
PAYLOAD = status_message(ALICE.handle, "Hello #cats", guid=GUID)
BODY = ALICE.seal(PAYLOAD)


class OpenTests(SynchronousTestCase):
    def assertBadRequest(self, body: bytes, reason: str) -> None:
        """The body is answered with 400."""
        self.assertEqual(self.assertRaises(NotAnEnvelope, open_envelope, body).reason, reason)

    def assertRefused(self, body: bytes, reason: str, sender: str = ALICE.handle) -> None:
        """The body is acknowledged and dropped."""
        refusal = self.assertRaises(Refused, open_envelope, body)
        self.assertEqual((refusal.reason, refusal.sender), (reason, sender))

    def test_recalls(self) -> None:
        """
        It is seen before it is verified what may take something back; the text of a post never looks so.
        """
        for body, recalls in (
            (ALICE.retraction(GUID), True),
            (ALICE.account_deletion(), True),
            (ALICE.post("<retraction> <account_deletion/>"), False),
            (ALICE.comment(GUID, "<retraction>"), False),
        ):
            self.assertEqual(open_envelope(body).recalls, recalls)

    def test_opened(self) -> None:
        """
        An envelope is opened to its sender, its payload and its own bytes, and verifies with the sender's key and no other.
        """
        envelope = open_envelope(BODY)
        self.assertEqual((envelope.sender, envelope.payload, envelope.body), (ALICE.handle, PAYLOAD, BODY))
        self.assertTrue(envelope.verifies(ALICE.public_key))
        self.assertFalse(envelope.verifies(Author("bob@pod-b.example").public_key))

    def test_not_shown(self) -> None:
        """
        Neither body nor payload appears where an envelope is shown.
        """
        self.assertNotIn("cats", repr(open_envelope(BODY)))

    def test_no_envelope(self) -> None:
        """
        What no node sends is a bad request.
        """
        for body, reason in {
            b"": "empty",
            b" \r\n": "empty",
            b"xml=": "empty",
            b"hello": "not-xml",
            b"\x00": "not-xml",
            b"{}" * 10_000: "not-xml",
            b"<": "not-xml",
            BODY[:-3]: "not-xml",
            b" " + BODY: "not-xml",
            BODY.decode().replace("UTF-8", "UTF-16").encode("utf-16"): "not-xml",
            BODY.replace(b"</me:env>", b"&boom;</me:env>"): "not-xml",
            BODY.replace(b"?>\n", b"?>\n<!DOCTYPE me:env>"): "doctype",
            BODY.replace(b"?>\n", b'?>\n<!DOCTYPE me:env SYSTEM "file:///etc/passwd">'): "doctype",
            b"<me:env/>": "not-xml",
            b"<env/>": "not-envelope",
            b'<me:env xmlns:me="urn:other"/>': "not-envelope",
            BODY.replace(b"me:env", b"me:envelope"): "not-envelope",
            BODY.replace(b"me:", b"em:").replace(b":me=", b":em="): "not-envelope",
            BODY.replace(b"me:", b"").replace(b"xmlns:me", b"xmlns"): "not-envelope",
            BODY.replace(b"</me:env>", b"<x/>" * 60 + b"</me:env>"): "oversized-envelope",
        }.items():
            self.assertBadRequest(body, reason)

    def test_bulk(self) -> None:
        """
        A genuine post cannot be wrapped in bulk that nobody signed, wherever that is put.
        """
        bulk = b"x" * MOST_UNSIGNED
        for body in (
            BODY + b"\n" * MOST_UNSIGNED,
            BODY + b"<!--" + bulk + b"-->",
            BODY.replace(b"</me:env>", b"<x>" + bulk + b" </x></me:env>"),
            BODY.replace(b"<me:sig", b'<me:sig x="' + bulk + b'"'),
            BODY.replace(b"<me:sig", b'<me:sig x=">' + bulk + b'"'),
            BODY.replace(b"me:env>", b"me:env" + b" " * MOST_UNSIGNED + b">"),
        ):
            self.assertBadRequest(body, "oversized-envelope")

    def test_bulk_in_place_of_the_signature(self) -> None:
        """
        Bulk that looks like base64 gains nothing outside data and signature.
        """
        bulk = b"x" * (3 * MOST_UNSIGNED)
        self.assertBadRequest(ALICE.post("#cats " * 4000).replace(b"</me:env>", b"<x>" + bulk + b"</x></me:env>"), "oversized-envelope")

    def test_large(self) -> None:
        """
        A post of the greatest legal size is opened.
        """
        body = ALICE.post("\N{GRINNING FACE}" * 65535)
        self.assertTrue(open_envelope(body).verifies(ALICE.public_key))

    def test_refused(self) -> None:
        """
        An envelope that is not quite one is refused, with its sender's name.
        """
        alg = b"<me:alg>RSA-SHA256</me:alg>"
        for body, reason in {
            BODY.replace(alg, b""): "bad-alg",
            BODY.replace(alg, alg.replace(b">RSA", b"> RSA")): "bad-alg",
            BODY.replace(b"me:alg", b"o:alg").replace(b"xmlns:me", f'xmlns:o="{NAMESPACE}" xmlns:me'.encode()): "bad-alg",
            BODY.replace(b"application/xml", b"application/XML"): "bad-type",
            BODY.replace(b"type=", b"me:type="): "bad-type",
            BODY.replace(b">base64url<", b">base64<"): "bad-encoding",
            BODY.replace(b'/xml">', b'/xml">!'): "bad-base64",
            BODY.replace(b'/xml">', b'/xml">\xc3\xa9'): "bad-base64",
        }.items():
            self.assertRefused(body, reason)

    def test_ambiguous(self) -> None:
        """
        An envelope that parsers would read differently is refused before anything in it is believed.
        """
        alg = b"<me:alg>RSA-SHA256</me:alg>"
        for instead, reason in {
            alg + alg: "duplicate-element",
            alg + f'<o:alg xmlns:o="{NAMESPACE}">none</o:alg>'.encode(): "duplicate-element",
            alg.replace(b"-", b"<!-- -->-"): "nested-markup",
            alg.replace(b"-", b"<?x?>-"): "nested-markup",
            alg.replace(b"-", b"<b/>-"): "nested-markup",
        }.items():
            self.assertRefused(BODY.replace(alg, instead), reason, "")

    def test_other_children(self) -> None:
        """
        Other children, of other names or namespaces, are passed over.
        """
        for extra in (b"<me:x>1</me:x>", b'<o:data xmlns:o="urn:o">eA==</o:data>', b"<data><sig/></data>", b"<!-- x --><?y?>"):
            envelope = open_envelope(BODY.replace(b"</me:env>", extra + b"</me:env>"))
            self.assertEqual(envelope.payload, PAYLOAD)

    def test_nested_decoy(self) -> None:
        """
        Data inside another element is no data.
        """
        start, end = BODY.index(b"<me:data"), BODY.index(b"<me:encoding>")
        self.assertRefused(BODY[:start] + b"<me:x>" + BODY[start:end] + b"</me:x>" + BODY[end:], "missing-data")

    def test_key_id(self) -> None:
        """
        A key id names a handle of lower-case ASCII, and a host that could be one.
        """
        for handle in (
            "Alice@pod-a.example",
            "alice",
            "alice@localhost",
            "alice@127.0.0.1",
            "alice@pod-a.example:0",
            "alice@pod-a.example:65536",
            "alice@pod-a.example:080",
            "alice@pod-a.example.",
            "alice@pod-a.example/x",
            "alice@@pod-a.example",
            "alice@pod-a.example\n",
            "ali\u0131ce@pod-a.example",
            "a" * 256 + "@pod-a.example",
        ):
            self.assertRefused(seal(PAYLOAD, handle, private_key("x")), "bad-key-id", "")

    def test_forms(self) -> None:
        """
        The field of an old form is taken out of it, whatever follows it and whether or not it was encoded twice.
        """
        text = BODY.decode()
        for form in (quote_plus(text), quote(text), quote(quote(text)), quote_plus(quote_plus(text)) + "&more=1"):
            self.assertEqual(open_envelope(f"xml={form}".encode()).body, BODY)
        self.assertBadRequest(b"xml=" + b"%25" * 10_000, "oversized-envelope")
        self.assertBadRequest(b"xml=%3Cdiaspora%3E%3Cheader%2F%3E%3C%2Fdiaspora%3E", "not-envelope")


class DecodeTests(SynchronousTestCase):
    @given(st.binary(max_size=40))
    def test_padding(self, data: bytes) -> None:
        """
        What was encoded is decoded, with its padding or without.
        """
        text = urlsafe_b64encode(data).decode()
        self.assertEqual((decode(text), decode(text.rstrip("="))), (data, data))

    @given(st.text("AQgw-_=+/ \n\0!é", max_size=12))
    def test_one_text(self, text: str) -> None:
        """
        No other text is decoded to the same bytes.
        """
        data = decode(text)
        if data is not None:
            encoded = urlsafe_b64encode(data).decode()
            self.assertIn(text, (encoded, encoded.rstrip("=")))


def opened(body: bytes) -> MagicEnvelope | str:
    """What an XML parser makes of an envelope, or why it makes nothing of it."""
    try:
        return read_any(body)
    except (NotAnEnvelope, Refused) as error:
        return error.reason


class UsualTests(SynchronousTestCase):
    """Envelopes that are read without an XML parser."""

    SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)

    def test_usual(self) -> None:
        """
        As diaspora* and Friendica write them they are, and so they are without white space and without a declaration.
        """
        bare = BODY.partition(b"?>\n")[2]
        for body in (BODY, BODY.replace(b' encoding="UTF-8"', b""), bare, bare.replace(b"\n", b"").replace(b"  ", b"")):
            envelope = read_usual(body)
            self.assertEqual(envelope, read_any(body))
            assert envelope is not None
            self.assertTrue(envelope.verifies(ALICE.public_key))

    def test_faults(self) -> None:
        """
        In which anything is wrong is left to the XML parser, which says what it is.
        """
        for body in (
            BODY.replace(b"base64url", b"base64"),
            BODY.replace(b"key_id", b"keyid"),
            BODY.replace(b'key_id="', b'key_id="A'),
            BODY.replace(b"</me:data>", b"=</me:data>"),
            BODY.replace(b"</me:env>", b" " * MOST_UNSIGNED + b"</me:env>"),
            BODY.replace(b"</me:sig>", b"A</me:sig>"),
            BODY + b"<me:env/>",
            BODY + b"\x0b",
        ):
            self.assertIs(read_usual(body), None, body)
            self.assertIsInstance(opened(body), str)

    @settings(max_examples=300, deadline=None)
    @given(
        st.integers(0, len(BODY)),
        st.integers(0, 12),
        st.binary(max_size=4) | st.text('AZaz09-_= \t\n\r<>&"', max_size=6).map(str.encode),
        SPACE,
    )
    def test_as_xml(self, start: int, length: int, instead: bytes, space: bytes) -> None:
        """
        Whatever is read so, an XML parser reads as the same.
        """
        for body in (BODY[:start] + instead + BODY[start + length :], BODY.replace(b"\n", space) + instead):
            envelope = read_usual(body)
            if envelope is not None:
                self.assertEqual(envelope, opened(body), body)


class MutationTests(SynchronousTestCase):
    """Whatever happens to a valid envelope on the way."""

    protocol = Diaspora("test")

    def judge(self, body: bytes) -> None:
        """It is refused in good order, or still the same post of the same author."""
        try:
            sealed = self.protocol.open(body)
        except (NotAnEnvelope, Refused):
            return
        verdict = self.protocol.judge(sealed, ALICE.public_key)
        if verdict.ruling is Ruling.RELAY:
            self.assertEqual((sealed.payload, sealed.sender), (PAYLOAD, ALICE.handle))
            self.assertEqual((verdict.author, verdict.guid), (ALICE.handle, GUID))

    @settings(max_examples=400, deadline=None)
    @given(st.integers(0, len(BODY)), st.integers(0, 12), st.binary(max_size=12))
    def test_bytes(self, start: int, length: int, instead: bytes) -> None:
        """
        Other bytes somewhere.
        """
        self.judge(BODY[:start] + instead + BODY[start + length :])

    FRAGMENTS = (
        b"<!--x-->",
        b"<?x?>",
        b"<![CDATA[x]]>",
        b"&amp;",
        b"&#65;",
        b"&x;",
        b"<me:data>",
        b"</me:data>",
        b'<me:data type="application/xml">eHh4</me:data>',
        b'<me:sig key_id="Ym9iQHBvZC1iLmV4YW1wbGU=">eHh4</me:sig>',
        b"<me:env>",
        b"</me:env>",
        b'xmlns:me="urn:x"',
        b' key_id="Ym9iQHBvZC1iLmV4YW1wbGU="',
        b"=",
        b"\n",
        b"<!DOCTYPE x [<!ENTITY y 'z'>]>",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
    )

    @settings(max_examples=400, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(BODY)), st.sampled_from(FRAGMENTS)), min_size=1, max_size=3))
    def test_markup(self, insertions: list[tuple[int, bytes]]) -> None:
        """
        Markup where it hurts.
        """
        body = BODY
        for place, fragment in sorted(insertions, reverse=True):
            body = body[:place] + fragment + body[place:]
        self.judge(body)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300))
    def test_anything(self, body: bytes) -> None:
        """
        Bytes from nowhere are refused in good order.
        """
        self.judge(body)
        self.judge(b"xml=" + body)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: b"<status_message>" + text.encode("utf-8", "ignore")))
    def test_signed(self, payload: bytes) -> None:
        """
        Nor does what an author signs upset the relay.
        """
        verdict = self.protocol.judge(self.protocol.open(ALICE.seal(payload or b"x")), ALICE.public_key)
        self.assertIs(verdict.ruling, Ruling.REJECT)
