"""Genuine things to begin with: the keys are those of the vectors, so that each run has the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from socialrelay.diaspora.envelope import MOST_UNSIGNED
from socialrelay.diaspora.private import judge_private, open_private
from socialrelay.diaspora.protocol import Diaspora
from socialrelay.federation import NotAnEnvelope, Refused, Ruling, Verdict, Wish
from tests.envelopes import b64u, encrypt, entity, seal, status_message

VECTORS = Path(__file__).parent.parent / "vectors"
RELAY = "relay@relay.example"
CAROL, BOB, ALICE = "carol@pod-c.example", "bob@pod-b.example", "alice@pod-a.example"
GUID = "0123456789abcdef"
PROTOCOL = Diaspora("test", reshares=True)


def _key(name: str) -> RSAPrivateKey:
    key = load_pem_private_key((VECTORS / "diaspora" / "keys" / f"{name}.private.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


PRIVATE_KEYS = {handle: _key(handle.partition("@")[0]) for handle in (CAROL, BOB, ALICE, RELAY, "erin@pod-e.example:8443")}
KEYS: dict[str, RSAPublicKey] = {handle: key.public_key() for handle, key in PRIVATE_KEYS.items()}
"""Handle -> the key that its node publishes."""


def signed(payload: bytes, author: str = CAROL) -> bytes:
    """An envelope around a payload; Carol's key is the smallest, and the quickest to sign with."""
    return seal(payload, author, PRIVATE_KEYS[author])


def private(envelope: bytes) -> bytes:
    """A message to the relay itself."""
    return encrypt(envelope, KEYS[RELAY])


POST = status_message(CAROL, "Hello #cats & <dogs>", guid=GUID)
RESHARE = entity("reshare", author=CAROL, guid=GUID, created_at="2026-03-01T12:00:00Z", root_author=BOB, root_guid=GUID)
RETRACTION = entity("retraction", author=CAROL, target_guid=GUID, target_type="Post")
CONTACT = entity("contact", author=CAROL, recipient=RELAY, following=True, sharing=True)
PAYLOADS = (POST, RESHARE, RETRACTION)
"""Each is taken, once signed."""

ANOTHER = signed(status_message(BOB, "Hello #dogs", guid=GUID), BOB)
"""Somebody else's envelope, to take parts from."""


def _vectors() -> tuple[bytes, ...]:
    paths = sorted((VECTORS / "diaspora" / "public").glob("relay-*"))
    return tuple(body for body in (path.read_bytes() for path in paths) if len(body) < 3000)


ENVELOPES = (*map(signed, PAYLOADS), *_vectors())
"""As nodes write them; each is taken."""


class Taken(NamedTuple):
    """
    All that the relay goes by, of what it takes.

    @ivar bulk: it would pass on more than a little that nobody has signed.
    """

    payload: bytes
    sender: str
    author: str
    kind: str
    guid: str
    tags: frozenset[str]
    ruling: Ruling
    bulk: bool


def taken(body: bytes) -> Taken | None:
    """What becomes of a body: C{None} if it is not taken."""
    try:
        sealed = PROTOCOL.open(body)
    except (NotAnEnvelope, Refused):
        return None
    key = KEYS.get(sealed.sender)
    if key is None:
        return None
    verdict = PROTOCOL.judge(sealed, key)
    if verdict.ruling not in (Ruling.RELAY, Ruling.RETRACT):
        return None
    bulk = len(sealed.body) - len(b64u(sealed.payload)) - len(b64u(sealed.signature)) > MOST_UNSIGNED
    return Taken(sealed.payload, sealed.sender, verdict.author, verdict.kind, verdict.guid, verdict.tags, verdict.ruling, bulk)


def heard(body: bytes) -> Wish | Verdict | None:
    """The same of a message to the relay itself: C{None} if it cannot be read."""
    try:
        envelope = open_private(body, PRIVATE_KEYS[RELAY])
    except Refused:
        return None
    key = KEYS.get(envelope.sender)
    return None if key is None else judge_private(envelope, key, RELAY)


GENUINE = frozenset(map(taken, (*ENVELOPES, ANOTHER)))
"""What was signed, and may be taken: nothing else may."""
