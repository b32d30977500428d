"""
How a node reads what a relay brings: the rules of the receiving side, written from the protocol and not from the code under test.

They are those of diaspora_federation (lib/diaspora_federation/salmon/magic_envelope.rb): children by their prefix, base64url with padding,
three literals, the author's RSA key over the padded text.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from xml.etree import ElementTree as ET

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

_ME = "{http://salmon-protocol.org/ns/magic-env}"
_LITERALS = ".YXBwbGljYXRpb24veG1s.YmFzZTY0dXJs.UlNBLVNIQTI1Ng=="


class Unacceptable(Exception):
    """A real node would refuse it; the message says why."""


@frozen
class Post:
    """
    What an envelope holds.

    @ivar guid: of the post, or of what is retracted.
    """

    author: str
    guid: str
    kind: str
    text: str


def read_envelope(body: bytes, key_of: Callable[[str], RSAPublicKey | None]) -> Post:
    """
    Open an envelope, as a node does that knows its author's key.

    @raise Unacceptable: it would not be taken.
    """
    if b"<!DOCTYPE" in body or not re.search(rb"<me:env[\s>]", body):
        raise Unacceptable("no magic envelope")
    try:
        root = ET.fromstring(body)
        data, sig = root.find(f"{_ME}data"), root.find(f"{_ME}sig")
    except ET.ParseError as error:
        raise Unacceptable(f"not XML: {error}") from None
    if data is None or sig is None or not data.text or not sig.text:
        raise Unacceptable("no data, or no signature")
    literals = (data.get("type"), root.findtext(f"{_ME}encoding"), root.findtext(f"{_ME}alg"))
    if literals != ("application/xml", "base64url", "RSA-SHA256"):
        raise Unacceptable(f"type, encoding and alg are {literals}")
    try:
        payload, signature = _decoded(data.text), _decoded(sig.text)
        sender = _decoded(sig.get("key_id", "")).decode("ascii")
    except ValueError as error:
        raise Unacceptable(f"base64: {error}") from None
    key = key_of(sender)
    if key is None:
        raise Unacceptable(f"nobody knows {sender}")
    try:
        key.verify(signature, (_padded(data.text) + _LITERALS).encode("ascii"), PKCS1v15(), SHA256())
    except InvalidSignature:
        raise Unacceptable(f"the signature is not {sender}'s") from None
    entity = ET.fromstring(payload)
    if entity.findtext("author") != sender:
        raise Unacceptable(f"{sender} signs for {entity.findtext('author')}")
    guid = entity.findtext("guid") or entity.findtext("target_guid") or ""
    return Post(sender, guid, entity.tag, entity.findtext("text") or "")


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


def _decoded(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]+=*", text):
        raise ValueError(f"{text[:40]!r}")
    return urlsafe_b64decode(_padded(text))
