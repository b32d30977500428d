"""
Magic envelopes: the signed unit that nodes exchange.

An envelope is opened (read as far as possible without the sender's key), verified, and forwarded as it came, byte for byte.  It is read
more strictly than any single node reads it: where nodes' parsers differ, one that passes here would be refused there, or, worse, be read as
another's.

@see: diaspora_federation:/docs/federation/magicsig.md
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64encode
from string import ascii_letters, digits
from urllib.parse import unquote_to_bytes

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from socialrelay.diaspora.handle import is_handle
from socialrelay.diaspora.xml import Child, Document, Malformed, qualified, read_document, split
from socialrelay.federation import NotAnEnvelope, Refused

NAMESPACE = "http://salmon-protocol.org/ns/magic-env"
PREFIX = "me"

DATA_TYPE = "application/xml"
ENCODING = "base64url"
ALGORITHM = "RSA-SHA256"

MOST_TAGS = 64
"""An envelope has ten C{<}."""

MOST_UNSIGNED = 4096
"""
Bytes beside data and signature.  Nobody has signed them, and yet they are forwarded to every subscriber: without a bound a stranger could
wrap a small genuine post in a megabyte.
"""


@frozen
class MagicEnvelope:
    """
    An envelope, read and not yet verified.

    @ivar sender: the handle whose key must verify it.
    @ivar body: the bytes to keep and forward.
    @ivar payload: the signed entity, XML.
    """

    sender: str
    body: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def recalls(self) -> bool:
        """Whether it may be a retraction or the end of an account: no other entity holds these bytes, unless its author wants it to."""
        return any(mark in self.payload for mark in _RECALLING)

    def verifies(self, key: RSAPublicKey) -> bool:
        """Whether the sender signed it: RSASSA-PKCS1-v1_5 with SHA-256 over the padded data and the three constants."""
        try:
            key.verify(self.signature, urlsafe_b64encode(self.payload) + _SIGNED_TAIL, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True


_RECALLING = (b"<retraction", b"<account_deletion")
_SIGNED_TAIL = b"".join(b"." + urlsafe_b64encode(text.encode("ascii")) for text in (DATA_TYPE, ENCODING, ALGORITHM))


def open_envelope(body: bytes) -> MagicEnvelope:
    """
    Read an envelope, or a form that holds one, as diaspora* 0.6 and others of its time sent it.

    @raise NotAnEnvelope: no node would send that: C{empty}, C{not-xml}, C{doctype}, C{not-envelope} or C{oversized-envelope}.
    @raise Refused: it is an envelope that no node would accept.
    """
    if body.startswith(b"xml="):
        body = _unwrap(body)
    return read_usual(body) or read_any(body)


_USUAL = re.compile(
    rb"""(?:<\?xml version="1\.0"(?: encoding="UTF-8")?\?>)?[ \t\r\n]*"""
    rb"""<me:env xmlns:me="http://salmon-protocol\.org/ns/magic-env">[ \t\r\n]*"""
    rb"""<me:data type="application/xml">([A-Za-z0-9_=-]+)</me:data>[ \t\r\n]*"""
    rb"""<me:encoding>base64url</me:encoding>[ \t\r\n]*"""
    rb"""<me:alg>RSA-SHA256</me:alg>[ \t\r\n]*"""
    rb"""<me:sig key_id="([A-Za-z0-9_=-]+)">([A-Za-z0-9_=-]+)</me:sig>[ \t\r\n]*"""
    rb"""</me:env>[ \t\r\n]*"""
)


def read_usual(body: bytes) -> MagicEnvelope | None:
    """
    Read an envelope that is written as nearly all are, which takes a third of the time that an XML parser takes.

    @return: what L{read_any} returns; C{None} for all that is written otherwise, or in which anything is wrong.
    """
    match = _USUAL.fullmatch(body)
    if match is None:
        return None
    data, key_id, sig = match.groups()
    if len(body) - len(data) - len(sig) > MOST_UNSIGNED:
        return None
    sender, payload, signature = _sender(key_id), _decode(data), _decode(sig)
    if not sender or payload is None or signature is None:
        return None
    return MagicEnvelope(sender, body, payload, signature)


def read_any(body: bytes) -> MagicEnvelope:
    """
    Read an envelope as XML.

    @raise NotAnEnvelope: as L{open_envelope}.
    @raise Refused: as L{open_envelope}.
    """
    parts = _parts(_parse(body))
    sig = parts.get("sig")
    if len(body) - sum(len(parts[name].text) for name in ("data", "sig") if name in parts) > MOST_UNSIGNED:
        raise NotAnEnvelope("oversized-envelope")
    key_id = sig.attributes.get("key_id", "") if sig else ""
    sender = _sender(key_id.encode())
    try:
        payload, signature = _contents(parts)
        if not key_id:
            raise Refused("no-key-id")
        if not sender:
            raise Refused("bad-key-id")
    except Refused as refusal:
        raise Refused(refusal.reason, sender) from None
    return MagicEnvelope(sender, body, payload, signature)


def _unwrap(body: bytes) -> bytes:
    """The field C{xml} of a form.  Some senders encoded it twice."""
    value = body[4:].split(b"&", 1)[0]
    if value.count(b"%") > MOST_UNSIGNED:
        raise NotAnEnvelope("oversized-envelope")
    value = _form_decode(value)
    return value if value.startswith(b"<") else _form_decode(value)


def _form_decode(value: bytes) -> bytes:
    return unquote_to_bytes(value.replace(b"+", b" "))


def _parse(body: bytes) -> Document:
    if not body.strip():
        raise NotAnEnvelope("empty")
    if b"<" not in body:
        raise NotAnEnvelope("not-xml")
    if body.count(b"<") > MOST_TAGS or (len(body) > MOST_UNSIGNED and _beside_base64(body) > MOST_UNSIGNED):
        raise NotAnEnvelope("oversized-envelope")
    try:
        document = read_document(body, most_tags=MOST_TAGS)
    except Malformed as error:
        raise NotAnEnvelope(error.reason) from error
    # Pods look the elements up by prefix, Friendica by namespace: only both together can be delivered.
    if document.name != _ROOT:
        raise NotAnEnvelope("not-envelope")
    return document


def _beside_base64(body: bytes) -> int:
    """
    The bytes beside the two longest texts of base64: of an envelope, at most what is beside data and signature.

    Known before anything is parsed: then there is little left that can be hostile.
    """
    texts = (part.rpartition(b">")[2] for part in body.split(b"<"))
    runs = sorted(len(text) for text in texts if not text.translate(None, _ALPHABET))
    return len(body) - sum(runs[-2:])


_ALPHABET = ascii_letters.encode() + digits.encode() + b"-_="


def _parts(document: Document) -> dict[str, Child]:
    """The four parts that are there, one of each."""
    parts: dict[str, Child] = {}
    for child in document.children:
        namespace, local = split(child.name)
        if namespace != NAMESPACE or local not in _PARTS:
            continue
        if local in parts:
            raise Refused("duplicate-element")
        parts[local] = child
    for child in parts.values():
        if not child.plain:
            raise Refused("nested-markup")
    return {local: child for local, child in parts.items() if child.name == _PARTS[local]}


_ROOT = qualified(NAMESPACE, "env", PREFIX)
_PARTS = {local: qualified(NAMESPACE, local, PREFIX) for local in ("data", "encoding", "alg", "sig")}


def _contents(parts: dict[str, Child]) -> tuple[bytes, bytes]:
    """Payload and signature."""
    data, sig = parts.get("data"), parts.get("sig")
    if data is None or not data.text:
        raise Refused("missing-data")
    if sig is None or not sig.text:
        raise Refused("missing-sig")
    if data.attributes.get("type") != DATA_TYPE:
        raise Refused("bad-type")
    if "encoding" not in parts or parts["encoding"].text != ENCODING:
        raise Refused("bad-encoding")
    if "alg" not in parts or parts["alg"].text != ALGORITHM:
        raise Refused("bad-alg")
    payload, signature = decode(data.text), decode(sig.text)
    if payload is None or signature is None:
        raise Refused("bad-base64")
    return payload, signature


def _sender(key_id: bytes) -> str:
    """The handle that a key id names; empty if it names none."""
    handle = (_decode(key_id) or b"").decode("utf-8", "replace")
    return handle if is_handle(handle) else ""


def decode(text: str) -> bytes | None:
    """
    Decode base64 of the URL-safe alphabet, whose padding may have been lost.

    @return: C{None} for anything but the one text that encodes the result, with its padding or without: what is signed is that text, and
        a decoder that ignores what it does not know gives one signature many envelopes.
    """
    try:
        return _decode(text.encode("ascii"))
    except UnicodeEncodeError:
        return None


def _decode(raw: bytes) -> bytes | None:
    padded = raw if raw.endswith(b"=") else raw + b"=" * (-len(raw) % 4)
    try:
        decoded = binascii.a2b_base64(padded.translate(_TO_STANDARD), strict_mode=True)
    except binascii.Error:
        return None
    # Only the last letter may have bits that mean nothing.
    return decoded if urlsafe_b64encode(decoded[len(decoded) - 1 - (len(decoded) - 1) % 3 :]) == padded[-4:] else None


_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/\0\0")  # the other alphabet's letters become what is none in any
