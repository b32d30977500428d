"""
Forged posts, one line for each: what is handed in, and why it is not relayed.

Each case goes the whole way of a post (L{tests.relays.WholeRelay}, with the real keyring over a web in memory) three times: with the key at
hand, with the key to be looked up, and with a key that is so old that it is asked for again.  Afterwards the posts that it was to be taken
for are relayed, byte for byte, to all who want them, so nothing here passes because everything is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.dsa import generate_private_key as generate_dsa_key
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries import Document, FetchFailed, Full
from socialrelay.config import Discovery
from socialrelay.diaspora.discovery import webfinger_url
from socialrelay.discovery.keyring import LOOKUP_BURST, DiscoveringKeyring
from socialrelay.discovery.lookup import KeyLookup
from socialrelay.federation import NotAnEnvelope
from socialrelay.storage.memory_cache import MemoryCache
from tests.envelopes import NAMESPACE, Author, b64u, encrypt, entity, private_key, seal, status_message
from tests.fetching import MemoryWeb
from tests.forging import (
    any_key,
    changed,
    cube_root,
    digest_info,
    plus_modulus,
    pss,
    raw_signature,
    signature,
    signed_text,
    with_signature,
)
from tests.fuzzing import counts
from tests.relays import HANDLE, WholeRelay
from tests.test_diaspora_keys import SHORT

ALICE, BOB = Author("alice@pod-a.example"), Author("bob@pod-b.example")
MALLORY, EVE = Author("mallory@pod-a.example"), Author("eve@evil.example")
ZOE = Author("zoe@pod-z.example")
"""Whose node says what a case wants; the others' nodes publish their keys."""

GUID = "a" * 32
THEIRS = "b" * 32
POST = status_message(ALICE.handle, "Hello #cats", guid=GUID)
FORGED = status_message(ALICE.handle, "Buy #cats", guid=GUID)
BODY = ALICE.seal(POST)
EARLIER = BOB.post("Before #cats", guid=THEIRS)
SIGNED = signed_text(POST)
SIGNATURE = signature(ALICE, SIGNED)
DATA, SIG = b64u(POST).encode(), b64u(SIGNATURE).encode()
SPLIT = len(DATA) // 2

Case = tuple[str, bytes, str]
"""What it is, the body, and why it is dropped; C{400 reason} is said to the sender, all else is acknowledged."""


def outside(old: bytes, new: bytes, body: bytes = BODY) -> bytes:
    """A genuine envelope, changed after it was signed."""
    return changed(body, old, new)


def inside(old: bytes, new: bytes, signer: Author = ALICE) -> bytes:
    """A post of Alice's that was changed before it was signed."""
    return signer.seal(changed(POST, old, new))


def of(author: str, signer: Author = ALICE) -> bytes:
    """A signed post whose author element holds this."""
    return inside(f"<author>{ALICE.handle}<".encode(), f"<author>{author}<".encode(), signer)


def sealed(signer: Author, kind: str, /, **fields: str | bool) -> bytes:
    """Any entity, signed."""
    return signer.seal(entity(kind, **fields))


def keyed(key_id: str | bytes) -> bytes:
    """The genuine post under another key id."""
    return with_signature(POST, key_id, SIGNATURE)


def by(mark: bytes, payload: bytes = POST) -> bytes:
    """The genuine post with any signature."""
    return with_signature(payload, ALICE.handle, mark)


def over(text: bytes, **how: Any) -> bytes:
    """The genuine post with Alice's signature of something else."""
    return by(signature(ALICE, text, **how))


def crafted(info: bytes, **how: Any) -> bytes:
    """The genuine post with a signature of a block that no honest author makes."""
    return by(raw_signature(ALICE.private_key, info, **how))


def twice(payload: bytes, name: str, before: str) -> bytes:
    """An entity with another element of a name before the one that it has."""
    return changed(payload, f"<{name}>".encode(), f"<{name}>{before}</{name}><{name}>".encode())


def typed(declared: bytes, body: bytes) -> bytes:
    """A document with a type that declares an entity C{d}."""
    return changed(body, b"?>\n", b"?>\n<!DOCTYPE x [<!ENTITY d " + declared + b">]>")


def private(envelope: bytes) -> bytes:
    """A message to the relay."""
    return encrypt(envelope, private_key(HANDLE).public_key())


def retraction(author: Author, target: str = THEIRS, kind: str = "Post") -> bytes:
    """The payload of a retraction."""
    return entity("retraction", author=author.handle, target_guid=target, target_type=kind)


def passed_on(kind: str) -> bytes:
    """What Eve says in Alice's thread, signed by Alice."""
    return sealed(ALICE, kind, author=EVE.handle, guid="e" * 32, parent_guid=GUID, text="#cats")


def end(author: Author) -> bytes:
    """The payload that ends an author's account."""
    return entity("account_deletion", author=author.handle)


def farewell(author: Author) -> bytes:
    """The payload by which an author ends sharing with the relay."""
    return entity("contact", author=author.handle, recipient=HANDLE, following=False, sharing=False)


AUTHOR_TAG = f"<author>{ALICE.handle}</author>".encode()


def stranger(new: bytes) -> bytes:
    """A post that Eve signed, in which Alice's author element is replaced."""
    return inside(AUTHOR_TAG, new, EVE)


def raw_key(attribute: bytes) -> bytes:
    """The genuine post with another attribute of the signature."""
    return outside(f'key_id="{b64u(ALICE.handle.encode())}"'.encode(), attribute)


WRONG_KEY: list[Case] = [
    ("another's key, the author's name", seal(POST, ALICE.handle, EVE.private_key), "bad-signature"),
    ("a key of the same node, the author's name", seal(POST, ALICE.handle, MALLORY.private_key), "bad-signature"),
    ("another key of the right size", seal(POST, ALICE.handle, private_key("nobody@pod-a.example")), "bad-signature"),
    ("the relay's own key", seal(POST, ALICE.handle, private_key(HANDLE)), "bad-signature"),
    ("another's name and key", EVE.seal(POST), "sender-mismatch"),
    ("name and key of somebody at the author's node", MALLORY.seal(POST), "sender-mismatch"),
    ("another's name, the author's key", seal(POST, EVE.handle, ALICE.private_key), "bad-signature"),
    ("a genuine envelope under a neighbour's name", keyed(MALLORY.handle), "bad-signature"),
    ("other data, the genuine signature", outside(DATA, b64u(FORGED).encode()), "bad-signature"),
    ("the genuine data, the signature of another post", over(b"x"), "bad-signature"),
    ("one letter of the text changed", by(SIGNATURE, changed(POST, b"Hello", b"Jello")), "bad-signature"),
    ("a space added to the payload", by(SIGNATURE, POST + b" "), "bad-signature"),
    ("the payload's end cut off", by(SIGNATURE, POST[:-1]), "bad-signature"),
    ("made public after it was signed", by(signature(ALICE, signed_text(changed(POST, b">true<", b">false<")))), "bad-signature"),
]

WRONG_SIGNATURE: list[Case] = [
    ("zeros", by(bytes(128)), "bad-signature"),
    ("the number one", by(bytes(127) + b"\x01"), "bad-signature"),
    ("all bits set", by(b"\xff" * 128), "bad-signature"),
    ("one byte", by(b"\x01"), "bad-signature"),
    ("a byte too few", by(SIGNATURE[:-1]), "bad-signature"),
    ("a byte too many", by(SIGNATURE + b"\0"), "bad-signature"),
    ("a zero before it", by(b"\0" + SIGNATURE), "bad-signature"),
    ("twice", by(SIGNATURE * 2), "bad-signature"),
    ("backwards", by(SIGNATURE[::-1]), "bad-signature"),
    ("one bit turned", by(SIGNATURE[:-1] + bytes([SIGNATURE[-1] ^ 1])), "bad-signature"),
    ("the modulus added", by(plus_modulus(ALICE.private_key, SIGNATURE)), "bad-signature"),
    ("larger than the largest key", by(SIGNATURE * 16), "bad-signature"),
    ("of a SHA-1", over(SIGNED, hash=SHA1()), "bad-signature"),
    ("of a SHA-512", over(SIGNED, hash=SHA512()), "bad-signature"),
    ("padded by PSS", over(SIGNED, padding=pss()), "bad-signature"),
    ("of the bare payload", over(POST), "bad-signature"),
    ("of the data alone", over(DATA), "bad-signature"),
    ("of data without its padding", by(signature(ALICE, signed_text(POST + b"\n").replace(b"=", b"")), POST + b"\n"), "bad-signature"),
    ("of the parts without dots", over(SIGNED.replace(b".", b"")), "bad-signature"),
    ("of another data type", over(signed_text(POST, "text/xml")), "bad-signature"),
    ("of another encoding", over(signed_text(POST, encoding="base64")), "bad-signature"),
    ("of another algorithm", over(signed_text(POST, alg="none")), "bad-signature"),
    ("of the whole envelope", over(BODY), "bad-signature"),
    ("of nothing", over(b""), "bad-signature"),
    ("a hash without its name", crafted(digest_info(SIGNED)[-32:]), "bad-signature"),
    ("a hash without parameters", crafted(digest_info(SIGNED, b"")), "bad-signature"),
    ("something after the hash", crafted(digest_info(SIGNED), garbage=20), "bad-signature"),
    ("a block of the kind for encryption", crafted(digest_info(SIGNED), kind=2), "bad-signature"),
    ("a block of kind 0", crafted(digest_info(SIGNED), kind=0), "bad-signature"),
    ("a block filled with zeros", crafted(digest_info(SIGNED), filler=b"\0"), "bad-signature"),
    ("a block whose root is guessed", by(cube_root(digest_info(SIGNED), 128)), "bad-signature"),
]

KEY_ID: list[Case] = [
    ("none", raw_key(b""), "no-key-id"),
    ("empty", raw_key(b'key_id=""'), "no-key-id"),
    ("in the envelope's namespace", raw_key(b'me:key_id="' + b64u(ALICE.handle.encode()).encode() + b'"'), "no-key-id"),
    ("in capitals", raw_key(b'KEY_ID="' + b64u(ALICE.handle.encode()).encode() + b'"'), "no-key-id"),
    ("twice", raw_key(b'key_id="YQ==" key_id="' + b64u(ALICE.handle.encode()).encode() + b'"'), "400 not-xml"),
    ("not encoded", raw_key(b'key_id="alice@pod-a.example"'), "bad-key-id"),
    ("with white space around", raw_key(b'key_id=" ' + b64u(ALICE.handle.encode()).encode() + b'"'), "bad-key-id"),
    ("padded too much", raw_key(b'key_id="' + b64u(ALICE.handle.encode()).encode() + b'=="'), "bad-key-id"),
    ("two of them", keyed("alice@pod-a.example eve@evil.example"), "bad-key-id"),
    ("capital letters", keyed("Alice@pod-a.example"), "bad-key-id"),
    ("a capital host", keyed("alice@POD-A.example"), "bad-key-id"),
    ("a line break after it", keyed("alice@pod-a.example\n"), "bad-key-id"),
    ("a zero after it", keyed("alice@pod-a.example\0"), "bad-key-id"),
    ("a zero within", keyed("alice@pod-a.example\0@evil.example"), "bad-key-id"),
    ("acct:", keyed("acct:alice@pod-a.example"), "bad-key-id"),
    ("a URL", keyed("https://pod-a.example/alice"), "bad-key-id"),
    ("no host", keyed("alice"), "bad-key-id"),
    ("no name", keyed("@pod-a.example"), "bad-key-id"),
    ("two signs", keyed("alice@pod-a.example@evil.example"), "bad-key-id"),
    ("an address as host", keyed("alice@127.0.0.1"), "bad-key-id"),
    ("an address of IPv6", keyed("alice@[::1]"), "bad-key-id"),
    ("a host without a dot", keyed("alice@localhost"), "bad-key-id"),
    ("a dot at the end", keyed("alice@pod-a.example."), "bad-key-id"),
    ("an empty label", keyed("alice@pod-a..example"), "bad-key-id"),
    ("port 0", keyed("alice@pod-a.example:0"), "bad-key-id"),
    ("port 65536", keyed("alice@pod-a.example:65536"), "bad-key-id"),
    ("a path", keyed("alice@pod-a.example/x"), "bad-key-id"),
    ("a letter that looks like one", keyed("\u0430lice@pod-a.example"), "bad-key-id"),
    ("a full-width sign", keyed("alice\uff20pod-a.example"), "bad-key-id"),
    ("bytes that are no text", keyed(b"\xffalice@pod-a.example"), "bad-key-id"),
    ("too long", keyed("a" * 250 + "@pod-a.example"), "bad-key-id"),
    ("the same host with its port", keyed("alice@pod-a.example:443"), "unknown-key"),
    ("another port", keyed("alice@pod-a.example:8443"), "unknown-key"),
    ("a port that is not asked", keyed("alice@pod-a.example:22"), "unknown-key"),
    ("a host below the author's", keyed("alice@x.pod-a.example"), "unknown-key"),
    ("the host above the author's", keyed("alice@example.example"), "unknown-key"),
    ("nobody at the author's node", keyed("nobody@pod-a.example"), "unknown-key"),
]

ALGORITHMS = ("rsa-sha256", "RSA-SHA1", "RSA-SHA512", "none", "NONE", "HMAC-SHA256", "RSA-SHA256 ", "\nRSA-SHA256", "PS256", "")
ENCODINGS = ("base64", "BASE64URL", "base64url ", "\nbase64url", "base64-url", "hex", "identity", "")
TYPES = ("application/json", "text/xml", "application/XML", "application/xml;q=1", " application/xml", "application/atom+xml", "")


def constants() -> list[Case]:
    """The three that every envelope has: changed afterwards, and other ones honestly signed."""
    cases: list[Case] = []
    for alg in ALGORITHMS:
        cases.append((f"algorithm {alg!r}, changed", outside(b">RSA-SHA256<", f">{alg}<".encode()), "bad-alg"))
        cases.append((f"algorithm {alg!r}, signed", seal(POST, ALICE.handle, ALICE.private_key, alg=alg), "bad-alg"))
    for name in ENCODINGS:
        cases.append((f"encoding {name!r}, changed", outside(b">base64url<", f">{name}<".encode()), "bad-encoding"))
        cases.append((f"encoding {name!r}, signed", seal(POST, ALICE.handle, ALICE.private_key, encoding=name), "bad-encoding"))
    for kind in TYPES:
        cases.append((f"type {kind!r}, changed", outside(b'"application/xml"', f'"{kind}"'.encode()), "bad-type"))
        cases.append((f"type {kind!r}, signed", seal(POST, ALICE.handle, ALICE.private_key, data_type=kind), "bad-type"))
    return cases


ENV, END = BODY[BODY.index(b"<me:env") :], b"</me:env>"
ALG, ENCODED = b"  <me:alg>RSA-SHA256</me:alg>\n", b"  <me:encoding>base64url</me:encoding>\n"
ME_DATA = b'  <me:data type="application/xml">' + DATA + b"</me:data>\n"
ME_SIG = BODY[BODY.index(b"  <me:sig") : BODY.index(b"</me:env>")]
DECOY = changed(ME_DATA, DATA, b64u(FORGED).encode())
OTHER = DECOY.replace(b"me:data", b"o:data").replace(b" type", f' xmlns:o="{NAMESPACE}" type'.encode())
THEIR_SIG = EVE.seal(POST)[EVE.seal(POST).index(b"  <me:sig") :].partition(END)[0]
HOSTILE_SIG = ME_SIG.replace(SIG, b64u(bytes(128)).encode())

ENVELOPE: list[Case] = [
    ("no data", outside(ME_DATA, b""), "missing-data"),
    ("empty data", outside(DATA, b""), "missing-data"),
    ("no signature", outside(ME_SIG, b""), "missing-sig"),
    ("an empty signature", outside(SIG, b""), "missing-sig"),
    ("no algorithm", outside(ALG, b""), "bad-alg"),
    ("no encoding", outside(ENCODED, b""), "bad-encoding"),
    ("no type", outside(b' type="application/xml"', b""), "bad-type"),
    ("a type in the envelope's namespace", outside(b" type=", b" me:type="), "bad-type"),
    ("forged data before the genuine", outside(ME_DATA, DECOY + ME_DATA), "duplicate-element"),
    ("forged data after the genuine", outside(ME_DATA, ME_DATA + DECOY), "duplicate-element"),
    ("the same data twice", outside(ME_DATA, ME_DATA * 2), "duplicate-element"),
    ("forged data under another prefix", outside(ME_DATA, OTHER + ME_DATA), "duplicate-element"),
    ("forged data under another prefix, at the end", outside(END, OTHER + END), "duplicate-element"),
    ("forged data without a prefix", outside(END, OTHER.replace(b"o:data", b"data").replace(b":o=", b"=") + END), "duplicate-element"),
    ("a second signature", outside(ME_SIG, ME_SIG + HOSTILE_SIG), "duplicate-element"),
    ("a second signature before it", outside(ME_SIG, HOSTILE_SIG + ME_SIG), "duplicate-element"),
    ("another's signature besides", outside(END, THEIR_SIG + END), "duplicate-element"),
    ("a second algorithm", outside(ALG, ALG + ALG.replace(b"RSA-SHA256", b"none")), "duplicate-element"),
    ("a second encoding", outside(ENCODED, ENCODED * 2), "duplicate-element"),
    ("data within data", outside(DATA, b64u(FORGED).encode() + ME_DATA), "nested-markup"),
    ("a comment within data", outside(DATA, DATA[:SPLIT] + b"<!-- -->" + DATA[SPLIT:]), "nested-markup"),
    ("an instruction within data", outside(DATA, DATA[:SPLIT] + b"<?x?>" + DATA[SPLIT:]), "nested-markup"),
    ("an element within data", outside(DATA, DATA[:SPLIT] + b"<x/>" + DATA[SPLIT:]), "nested-markup"),
    ("a comment within the signature", outside(SIG, SIG[:4] + b"<!-- -->" + SIG[4:]), "nested-markup"),
    ("a comment within the algorithm", outside(b">RSA-SHA256", b">none<!-- -->RSA-SHA256"), "nested-markup"),
    ("a comment within the encoding", outside(b">base64url", b">base64<!-- -->url"), "nested-markup"),
    ("forged data in a CDATA section", outside(DATA, b"<![CDATA[" + b64u(FORGED).encode() + b"]]>"), "bad-signature"),
    ("forged data in a CDATA section after the genuine", outside(DATA, DATA + b"<![CDATA[" + b64u(FORGED).encode() + b"]]>"), "bad-base64"),
    ("forged data, the genuine one deeper", outside(ME_DATA, DECOY + b"<me:x>" + ME_DATA + b"</me:x>"), "bad-signature"),
    ("all that is genuine within another element", outside(ME_DATA, b"<me:x>" + ME_DATA + b"</me:x>"), "missing-data"),
    ("a genuine envelope within an envelope", outside(ME_DATA, ENV), "missing-data"),
    ("a genuine envelope within a forged one", EVE.seal(FORGED).replace(END, ENV + END), "sender-mismatch"),
    ("two envelopes", BODY + ENV, "400 not-xml"),
    ("a root around it", b"<x>" + ENV + b"</x>", "400 not-envelope"),
    ("an Atom entry around it", b'<entry xmlns="http://www.w3.org/2005/Atom">' + ENV + b"</entry>", "400 not-envelope"),
    ("the old root of private messages", b'<diaspora xmlns="urn:diaspora">' + ENV + b"</diaspora>", "400 not-envelope"),
    ("no namespace", outside(f' xmlns:me="{NAMESPACE}"'.encode(), b""), "400 not-xml"),
    ("another namespace", outside(b"ns/magic-env", b"ns/magic-envelope"), "400 not-envelope"),
    ("the namespace in capitals", outside(b"ns/magic-env", b"ns/MAGIC-ENV"), "400 not-envelope"),
    ("the namespace by https", outside(b'"http://', b'"https://'), "400 not-envelope"),
    ("the namespace with a stroke", outside(b"ns/magic-env", b"ns/magic-env/"), "400 not-envelope"),
    ("the namespace of RFC salmon's draft", outside(b"http://salmon-protocol.org/ns/magic-env", b"urn:magic-env"), "400 not-envelope"),
    ("no prefix", BODY.replace(b"xmlns:me", b"xmlns").replace(b"me:", b""), "400 not-envelope"),
    ("another prefix", BODY.replace(b"me:", b"m:").replace(b":me=", b":m="), "400 not-envelope"),
    ("a prefix that data binds to something else", outside(b"<me:data", b'<me:data xmlns:me="urn:x"'), "missing-data"),
    ("a prefix that the signature binds to something else", outside(b"<me:sig", b'<me:sig xmlns:me="urn:x"'), "missing-sig"),
    ("data in no namespace", outside(ME_DATA, ME_DATA.replace(b"me:data", b"data")), "missing-data"),
    ("data in capitals", outside(ME_DATA, ME_DATA.replace(b"me:data", b"me:Data")), "missing-data"),
    ("a document type", outside(b"?>\n", b"?>\n<!DOCTYPE me:env>"), "400 doctype"),
    ("data from an entity", outside(DATA, b"&data;"), "400 not-xml"),
    ("data from an entity that is declared", typed(b'"' + DATA + b'"', outside(DATA, b"&d;")), "400 doctype"),
    ("data from a file", typed(b'SYSTEM "file:///etc/passwd"', outside(DATA, b"&d;")), "400 doctype"),
    ("data by inclusion", outside(ME_DATA, b'<include xmlns="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>'), "missing-data"),
    ("UTF-16", BODY.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "400 not-xml"),
    ("UTF-7, declared", outside(b"UTF-8", b"UTF-7"), "400 not-xml"),
    ("EBCDIC, declared", outside(b"UTF-8", b"IBM037"), "400 not-xml"),
    ("XML 1.1", outside(b'"1.0"', b'"1.1"'), "400 not-xml"),
    ("cut off", BODY[:-12], "400 not-xml"),
    ("something after it", BODY + b"x", "400 not-xml"),
    ("a zero after it", BODY + b"\0", "400 not-xml"),
    ("wrapped in a megabyte", outside(END, b"<!--" + b"x" * 1_000_000 + b"-->" + END), "400 oversized-envelope"),
]

BASE64: list[Case] = [
    ("a line break in the data", outside(DATA, DATA[:SPLIT] + b"\n" + DATA[SPLIT:]), "bad-base64"),
    ("a space before the data", outside(DATA, b" " + DATA), "bad-base64"),
    ("a line break after the data", outside(DATA, DATA + b"\n"), "bad-base64"),
    ("a foreign letter in the data", outside(DATA, DATA[:SPLIT] + b"!" + DATA[SPLIT:]), "bad-base64"),
    ("a dot in the data", outside(DATA, DATA[:SPLIT] + b"." + DATA[SPLIT:]), "bad-base64"),
    ("the signature appended to the data", outside(DATA, DATA + b"." + SIG), "bad-base64"),
    ("padding in the middle", outside(DATA, DATA[:4] + b"====" + DATA[4:]), "bad-base64"),
    ("more padding", outside(DATA, DATA + b"===="), "bad-base64"),
    ("forged data after the padding", outside(DATA, DATA + b"=" + b64u(FORGED).encode()), "bad-base64"),
    ("one letter more", outside(DATA, b64u(POST + b" " * (-len(POST) % 3)).encode() + b"A"), "bad-base64"),
    ("the other alphabet", inside(b"Hello", b"???>>>~~~").replace(b"_", b"/").replace(b"key/id", b"key_id"), "bad-base64"),
    ("bits that mean nothing", by(SIGNATURE).replace(SIG, SIG[:-2] + bytes([SIG[-2] + 1]) + b"="), "bad-base64"),
    ("a line break in the signature", outside(SIG, SIG[:60] + b"\n" + SIG[60:]), "bad-base64"),
    ("a foreign letter in the signature", outside(SIG, SIG[:60] + b"*" + SIG[60:]), "bad-base64"),
    ("more padding of the signature", outside(SIG, SIG + b"===="), "bad-base64"),
    ("a letter from beyond ASCII", outside(DATA, "\uff21".encode() + DATA), "bad-base64"),
    ("hexadecimal", outside(SIG, SIGNATURE.hex().encode()), "bad-signature"),
    ("encoded twice", outside(DATA, b64u(DATA).encode()), "bad-signature"),
]

AUTHOR: list[Case] = [
    ("another", of(BOB.handle), "sender-mismatch"),
    ("somebody at the same node", of(MALLORY.handle), "sender-mismatch"),
    ("nobody", of(""), "sender-mismatch"),
    ("a capital letter", of("Alice@pod-a.example"), "sender-mismatch"),
    ("a capital host", of("alice@Pod-a.example"), "sender-mismatch"),
    ("a space before it", of(" alice@pod-a.example"), "sender-mismatch"),
    ("a line break after it", of("alice@pod-a.example\n"), "sender-mismatch"),
    ("a tab as a reference", of("alice@pod-a.example&#9;"), "sender-mismatch"),
    ("acct:", of("acct:alice@pod-a.example"), "sender-mismatch"),
    ("its port", of("alice@pod-a.example:443"), "sender-mismatch"),
    ("a dot at the end", of("alice@pod-a.example."), "sender-mismatch"),
    ("a host below", of("alice@x.pod-a.example"), "sender-mismatch"),
    ("a letter that looks like one", of("\u0430lice@pod-a.example"), "sender-mismatch"),
    ("a full-width sign", of("alice\uff20pod-a.example"), "sender-mismatch"),
    ("a space of no width", of("alice@pod-a.example\u200b"), "sender-mismatch"),
    ("a reference in a reference", of("alice&amp;#64;pod-a.example"), "sender-mismatch"),
    ("percent-encoded", of("alice%40pod-a.example"), "sender-mismatch"),
    ("two of them", of("alice@pod-a.example bob@pod-b.example"), "sender-mismatch"),
    ("its guid", of(ALICE.guid), "sender-mismatch"),
    ("a comment that cuts off another", of("eve@evil.example<!-- -->.alice", EVE), "nested-markup"),
    ("a comment before another", of("alice@pod-a.example<!-- -->eve@evil.example"), "nested-markup"),
    ("a comment within", of("alice<!-- -->@pod-a.example"), "nested-markup"),
    ("an instruction within", of("alice<?x?>@pod-a.example"), "nested-markup"),
    ("an element within", of("alice@pod-a.example<b>bob@pod-b.example</b>"), "nested-markup"),
    ("an element around", of("<b>alice@pod-a.example</b>"), "nested-markup"),
    ("another in a CDATA section", of("<![CDATA[bob@pod-b.example]]>"), "sender-mismatch"),
    ("a CDATA section after it", of("alice@pod-a.example<![CDATA[.evil.example]]>"), "sender-mismatch"),
    ("another before it", inside(b"<author>", b"<author>bob@pod-b.example</author><author>"), "duplicate-element"),
    ("another after it", inside(b"</author>", b"</author><author>bob@pod-b.example</author>"), "duplicate-element"),
    ("the victim's after one's own", inside(b"<author>", b"<author>eve@evil.example</author><author>", EVE), "duplicate-element"),
    ("an empty one before it", inside(b"<author>", b"<author/><author>"), "duplicate-element"),
    ("only as an attribute", inside(b">\n  <author>alice@pod-a.example</author>", b' author="eve@evil.example">', EVE), "sender-mismatch"),
    ("only in another namespace", stranger(b'<x:author xmlns:x="urn:x">eve@evil.example</x:author>'), "sender-mismatch"),
    ("only deeper", stranger(b"<x><author>eve@evil.example</author></x>"), "sender-mismatch"),
    ("only in capitals", stranger(b"<Author>eve@evil.example</Author>"), "sender-mismatch"),
    ("by its name of old", stranger(b"<diaspora_handle>eve@evil.example</diaspora_handle>"), "sender-mismatch"),
    ("one's own by its name of old", stranger(b"<diaspora_handle>eve@evil.example</diaspora_handle>" + AUTHOR_TAG), "sender-mismatch"),
]

PAYLOAD: list[Case] = [
    ("two guids", inside(b"<guid>", b"<guid>" + b"c" * 32 + b"</guid><guid>"), "duplicate-element"),
    ("two texts", inside(b"<text>", b"<text>#dogs</text><text>"), "duplicate-element"),
    ("two that say whether it is public", inside(b"<public>", b"<public>false</public><public>"), "duplicate-element"),
    ("a comment within the guid", inside(b"<guid>", b"<guid>c<!-- -->"), "nested-markup"),
    ("an element within the text", inside(b"#cats", b"<b>#cats</b>"), "nested-markup"),
    ("not public", inside(b">true<", b">false<"), "not-public"),
    ("public in capitals", inside(b">true<", b">TRUE<"), "not-public"),
    ("public by a number", inside(b">true<", b">1<"), "not-public"),
    ("not said whether public", inside(b"  <public>true</public>\n", b""), "not-public"),
    ("no guid", inside(f"  <guid>{GUID}</guid>\n".encode(), b""), "bad-guid"),
    ("a guid with a space", inside(b"<guid>", b"<guid> "), "bad-guid"),
    ("a guid too short", inside(GUID.encode(), b"short"), "bad-guid"),
    ("a guid too long", inside(GUID.encode(), b"g" * 256), "bad-guid"),
    ("a guid that is a path", inside(GUID.encode(), b"../../../../etc/passwd"), "bad-guid"),
    ("no text", inside(b"  <text>Hello #cats</text>\n", b""), "no-text"),
    ("a document type", ALICE.seal(b"<!DOCTYPE x>" + POST), "payload-doctype"),
    ("the author from an entity", ALICE.seal(b'<!DOCTYPE x [<!ENTITY d "x">]>' + changed(POST, AUTHOR_TAG, b"&d;")), "payload-doctype"),
    ("two roots", ALICE.seal(POST + FORGED), "payload-not-xml"),
    ("cut off", ALICE.seal(POST[:-4]), "payload-not-xml"),
    ("UTF-16", ALICE.seal(POST.decode().encode("utf-16")), "payload-not-xml"),
    ("bytes that are no text", inside(b"Hello", b"\xff\xfe"), "payload-not-xml"),
    ("more elements than a post has", inside(b"</status_message>", b"<x/>" * 4001 + b"</status_message>"), "payload-oversized"),
    ("in a post of one's own", EVE.seal(entity("status_message", author=EVE.handle).replace(b"</s", POST + b"</s")), "bad-guid"),
    ("in the wrapping of old", ALICE.seal(b"<XML><post>" + POST + b"</post></XML>"), "unsupported-entity"),
    ("in another's wrapping of old", EVE.seal(b"<XML><post>" + POST + b"</post></XML>"), "unsupported-entity"),
    ("in a namespace", inside(b"<status_message>", b'<status_message xmlns="urn:x">'), "unsupported-entity"),
    (
        "under a prefix",
        ALICE.seal(POST.replace(b"status_message>", b"x:s>").replace(b"<x:s", b"<x:s xmlns:x='urn:x'")),
        "unsupported-entity",
    ),
    ("in capitals", ALICE.seal(POST.replace(b"status_message", b"Status_Message")), "unsupported-entity"),
    ("in a profile", EVE.seal(b"<profile><author>eve@evil.example</author>" + POST + b"</profile>"), "profile"),
    ("in a profile of the victim", EVE.seal(b"<profile><author>alice@pod-a.example</author>" + POST + b"</profile>"), "sender-mismatch"),
    ("in a reshare", EVE.seal(changed(entity("reshare", author=EVE.handle, guid="e" * 32), b"</r", POST + b"</r")), "reshare"),
    ("in a photo", EVE.seal(b"<photo><author>eve@evil.example</author>" + POST + b"</photo>"), "photo"),
    ("in a comment", EVE.seal(b"<comment><author>eve@evil.example</author>" + POST + b"</comment>"), "relayable"),
    ("in an element that does not exist", EVE.seal(b"<post>" + POST + b"</post>"), "unsupported-entity"),
    ("an envelope within the envelope", EVE.seal(BODY), "unsupported-entity"),
    ("an encrypted message", EVE.seal(encrypt(BODY, EVE.public_key)), "payload-not-xml"),
]

OTHERS: list[Case] = [
    ("a reshare in the victim's name", sealed(EVE, "reshare", author=ALICE.handle, guid=GUID, root_guid=THEIRS), "sender-mismatch"),
    ("a reshare of the victim's post", EVE.reshare(ALICE.handle, GUID), "reshare"),
    ("a reshare with the victim's guid", EVE.reshare(BOB.handle, THEIRS, guid=GUID), "reshare"),
    ("a reshare by two", EVE.seal(twice(entity("reshare", author=EVE.handle, guid=GUID), "author", ALICE.handle)), "duplicate-element"),
    ("a retraction in the author's name", EVE.seal(retraction(BOB)), "sender-mismatch"),
    ("a retraction in the author's name and by another's key", seal(retraction(BOB), BOB.handle, EVE.private_key), "bad-signature"),
    ("a retraction of another's post in one's own name", EVE.retraction(THEIRS), "unknown-target"),
    ("a retraction of a neighbour's post in one's own name", MALLORY.retraction(GUID), "unknown-target"),
    ("a retraction of a post as a comment", EVE.seal(retraction(BOB, kind="Comment")), "retraction-of-relayable"),
    ("a retraction of two targets", BOB.seal(twice(retraction(BOB, GUID), "target_guid", THEIRS)), "duplicate-element"),
    ("a retraction of two types", BOB.seal(twice(retraction(BOB), "target_type", "Comment")), "duplicate-element"),
    ("a retraction by two", EVE.seal(twice(retraction(EVE), "author", BOB.handle)), "duplicate-element"),
    (
        "a retraction that names the author of its target",
        EVE.seal(changed(retraction(EVE), b"</r", b"<t>" + AUTHOR_TAG + b"</t></r")),
        "unknown-target",
    ),
    ("a retraction of no type", sealed(EVE, "retraction", author=EVE.handle, target_guid=THEIRS), "unsupported-entity"),
    ("a retraction of a person", EVE.seal(retraction(BOB, kind="Person")), "private-only"),
    ("a retraction of old", sealed(EVE, "signed_retraction", sender_handle=BOB.handle, target_guid=THEIRS), "unsupported-entity"),
    ("the other one of old", sealed(EVE, "relayable_retraction", sender_handle=BOB.handle, target_guid=THEIRS), "unsupported-entity"),
    ("a comment signed by the author of the thread", passed_on("comment"), "relayable"),
    ("a comment of one's own", EVE.comment(GUID, "#cats"), "relayable"),
    ("a comment with the guid of a post", sealed(ALICE, "comment", author=ALICE.handle, guid=GUID, text="#cats"), "relayable"),
    ("a like signed by the author of the thread", passed_on("like"), "relayable"),
    ("a vote signed by the author of the poll", passed_on("poll_participation"), "relayable"),
    ("an acceptance signed by the host", passed_on("event_participation"), "relayable"),
    ("a participation signed by the author of the thread", passed_on("participation"), "sender-mismatch"),
    ("a participation of one's own", sealed(EVE, "participation", author=EVE.handle, guid=GUID, parent_guid=GUID), "participation"),
    ("a profile of the victim", sealed(EVE, "profile", author=ALICE.handle, first_name="Eve"), "sender-mismatch"),
    ("a photo of the victim", sealed(EVE, "photo", author=ALICE.handle, guid=GUID, public=True), "sender-mismatch"),
    ("the end of the victim's account", EVE.seal(end(BOB)), "sender-mismatch"),
    ("the end of a neighbour's account", MALLORY.seal(end(ALICE)), "sender-mismatch"),
    ("the end of the victim's account, by another's key", seal(end(BOB), BOB.handle, EVE.private_key), "bad-signature"),
    ("the end of one's own and the victim's account", EVE.seal(twice(end(EVE), "author", BOB.handle)), "duplicate-element"),
    ("the victim moves", sealed(EVE, "account_migration", author=BOB.handle, profile=""), "sender-mismatch"),
    ("to the relay, in the victim's name, in public", EVE.seal(farewell(ALICE)), "sender-mismatch"),
    ("to the relay, in public", ALICE.seal(farewell(ALICE)), "private-only"),
    ("a private message in public", sealed(EVE, "message", author=EVE.handle, guid=GUID, text="#cats"), "private-only"),
    ("a conversation of the victim", sealed(EVE, "conversation", author=ALICE.handle, guid=GUID, subject="#cats"), "sender-mismatch"),
]

AS_JSON = {"data": DATA.decode(), "data_type": "application/xml", "alg": "RSA-SHA256", "sigs": [{"value": SIG.decode()}]}
NOTE = {"@context": "https://www.w3.org/ns/activitystreams", "type": "Note", "attributedTo": ALICE.handle, "content": "#cats"}

MIXED: list[Case] = [
    ("an envelope as JSON", json.dumps(AS_JSON).encode(), "400 not-xml"),
    ("an ActivityPub note", json.dumps(NOTE).encode(), "400 not-xml"),
    ("a genuine envelope in JSON", json.dumps({"xml": BODY.decode()}).encode(), "400 not-xml"),
    ("JSON before a genuine envelope", b"{}\n" + BODY, "400 not-xml"),
    ("JSON after a genuine envelope", BODY + b'{"author": "eve@evil.example"}', "400 not-xml"),
    ("a private message on the public way", encrypt(BODY, private_key(HANDLE).public_key()), "400 not-xml"),
    ("a note in a signed envelope", ALICE.seal(json.dumps(NOTE).encode()), "payload-not-xml"),
    ("a note as its own type", seal(b"{}", ALICE.handle, ALICE.private_key, data_type="application/activity+json"), "bad-type"),
    ("a post as JSON", ALICE.seal(json.dumps({"author": ALICE.handle, "text": "#cats", "public": True}).encode()), "payload-not-xml"),
    ("JSON in the text of an element", ALICE.seal(b'<status_message>{"author": "me"}</status_message>'), "sender-mismatch"),
    ("a form with a forged envelope", b"xml=" + seal(FORGED, ALICE.handle, EVE.private_key), "bad-signature"),
    ("a form whose second field is genuine", b"xml=" + EVE.seal(POST) + b"&xml=" + BODY, "sender-mismatch"),
    ("a form with another field first", b"a=b&xml=" + BODY, "400 not-xml"),
    ("a form with nothing", b"xml=&x=" + BODY, "400 empty"),
    ("parts of a form", b'--x\r\nContent-Disposition: form-data; name="xml"\r\n\r\n' + BODY + b"\r\n--x--", "400 not-xml"),
    ("a web page", b"<!DOCTYPE html><html><body>" + BODY + b"</body></html>", "400 doctype"),
    ("nothing", b"", "400 empty"),
]

PRIVATE: list[Case] = [
    ("a farewell by another's key", private(seal(farewell(ALICE), ALICE.handle, EVE.private_key)), "bad-signature"),
    ("a farewell in the victim's name", private(EVE.seal(farewell(ALICE))), "sender-mismatch"),
    ("a farewell by two", private(EVE.seal(twice(farewell(EVE), "author", ALICE.handle))), "duplicate-element"),
    ("a farewell to another", ALICE.contact(BOB.handle, private_key(HANDLE).public_key(), sharing=False), "wrong-recipient"),
    ("a farewell that is not encrypted", ALICE.seal(farewell(ALICE)), "not-encrypted-envelope"),
    ("a farewell encrypted for another", ALICE.contact(HANDLE, BOB.public_key, sharing=False), "undecryptable"),
    ("a farewell of old in the victim's name", private(EVE.seal(retraction(ALICE, kind="Person"))), "sender-mismatch"),
    ("a genuine post", private(BODY), "private-only"),
    ("a genuine retraction", private(BOB.retraction(THEIRS)), "private-only"),
    ("the end of the victim's account", private(EVE.seal(end(BOB))), "sender-mismatch"),
]

GENUINE: list[tuple[str, bytes]] = [
    ("as diaspora* writes it", BODY),
    ("lines of Windows", BODY.replace(b"\n", b"\r\n")),
    ("all in one line", BODY.replace(b"\n", b"")),
    ("without declaration", ENV),
    ("ASCII, declared", outside(b"UTF-8", b"us-ascii")),
    ("without padding", outside(DATA, DATA.rstrip(b"="))),
    ("a signature without padding", outside(SIG, SIG.rstrip(b"="))),
    ("in a form", b"xml=" + BODY.replace(b"+", b"%2B")),
    ("data in a CDATA section", outside(DATA, b"<![CDATA[" + DATA + b"]]>")),
    ("data with a reference", outside(DATA, DATA.replace(b"P", b"&#80;", 1))),
    ("a comment beside the parts", outside(ALG, b"<!-- x -->" + ALG)),
    ("other elements beside the parts", outside(ALG, b"<me:x/><x/>" + ALG)),
    ("attributes beside its own", outside(b"<me:sig", b'<me:sig x="y"')),
    ("the parts in another order", outside(ALG, b"").replace(END, ALG + END)),
    ("a decoy that is nested", outside(END, b"<x>" + DECOY + b"</x>" + END)),
    ("a decoy in another namespace", outside(END, DECOY.replace(b"me:data", b"data") + END)),
    ("an author with a reference", of("alice&#64;pod-a.example")),
    ("an author in a CDATA section", of("<![CDATA[alice@pod-a.example]]>")),
    ("another author deeper", inside(b"</status_message>", b"<poll><author>bob@pod-b.example</author></poll></status_message>")),
    ("elements that are not known", inside(b"</status_message>", b"<x:author xmlns:x='urn:x'>bob</x:author></status_message>")),
]
"""Neighbours of the forged ones, all of one post of Alice's."""

TABLES = {
    "key": WRONG_KEY,
    "signature": WRONG_SIGNATURE,
    "key id": KEY_ID,
    "constants": constants(),
    "envelope": ENVELOPE,
    "base64": BASE64,
    "author": AUTHOR,
    "payload": PAYLOAD,
    "others": OTHERS,
    "mixed": MIXED,
}

CLIENT = "192.0.2.1"
HOUR = timedelta(hours=1)


def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return maybeDeferred(function, *args)


def publish(web: MemoryWeb, author: Author, key: str = "") -> None:
    """The author's node shows a key: the author's, or another."""
    web.pages[webfinger_url(author.handle)] = author.webfinger()
    web.pages[author.hcard_url()] = author.hcard().replace(author.pem.encode(), (key or author.pem).encode())


class Watched(MemoryWeb):
    """A web that writes down when whose key was asked for."""

    def __init__(self, now: Callable[[], Any]) -> None:
        super().__init__()
        self.asked: list[tuple[str, Any]] = []
        self._now = now

    def get(self, url: str, **how: Any) -> Deferred[Document]:
        if "webfinger" in url:
            self.asked.append((url, self._now()))
        return super().get(url, **how)

    def most_within(self, window: timedelta) -> int:
        """How often the key of one author was asked for, at most, in so long."""
        most = 0
        for url in {url for url, _ in self.asked}:
            times = [at for each, at in self.asked if each == url]
            most = max([most, *(sum(start <= at < start + window for at in times) for start in times)])
        return most


class Scene:
    """
    A relay whose keyring is the real one, two subscribers, one of them halted, and a post of Bob's on its way to both.

    @ivar web: what the keyring asks.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        self.whole = whole = WholeRelay()
        self.web = Watched(whole.now)
        lookup = KeyLookup(self.web, 32, in_thread)
        cache = MemoryCache(whole.clock)
        self.keyring = DiscoveringKeyring(lookup, whole.storage.profiles, cache, whole.clock, whole.now, Discovery(), lambda host: False)
        for name in ("at_hand", "key", "refresh", "forget", "forget_host"):
            setattr(whole.keyring, name, getattr(self.keyring, name))
        for author in (ALICE, BOB, MALLORY, EVE):
            publish(self.web, author)
        whole.start()
        whole.subscribe("all.example")
        whole.subscribe("later.example")
        whole.dispatcher.suspend("later.example")
        self._case = case
        case.assertEqual(self.hand_in(EARLIER), "relayed")

    def hold(self, *authors: Author, age: timedelta = timedelta(0)) -> None:
        """These keys are at hand, and so old."""
        for author in authors:
            self._case.successResultOf(self.keyring.key(author.handle))
        self.whole.run(age.total_seconds())

    def hand_in(self, body: bytes, private: bool = False) -> str:
        """What becomes of a body, at last."""
        tally, rejected = self.whole.tally, self.whole.tables.rejected
        tally.flush()
        before, counted = len(rejected), Counter(tally.totals)
        relay = self.whole.relay
        accepted = relay.accept_private(body, CLIENT) if private else relay.accept(body, CLIENT)
        said: list[object] = []
        accepted.addBoth(said.append)
        self.whole.run()
        if isinstance(said[0], Failure):
            error = said[0].value
            assert isinstance(error, NotAnEnvelope), error
            return f"400 {error.reason}"
        for _ in range(30):
            if self.whole.tables.incoming:
                self.whole.run(3600.0)
        tally.flush()
        ends = [each.reason for each in rejected[before:]]
        ends += ["relayed"] * (tally.totals["accepted"] - counted["accepted"])
        ends += ["duplicate"] * (tally.totals["duplicate"] - counted["duplicate"])
        return ", ".join(ends) or "nothing"

    def sent(self) -> list[bytes]:
        """What the subscriber that is well was sent."""
        return [body for url, body in self.whole.transport.sent if "all.example" in url]

    def untouched(self, body: bytes = BODY) -> None:
        """Only Bob's post was sent; the genuine one is relayed yet, and both go to the subscriber that was halted."""
        self._case.assertEqual(self.whole.transport.hosts(), ["all.example"])
        self._case.assertEqual(self.hand_in(body), "relayed")
        self.whole.dispatcher.resume("later.example")
        self.whole.run()
        later = [sent for url, sent in self.whole.transport.sent if "later.example" in url]
        self._case.assertEqual((self.sent(), later), ([EARLIER, body], [EARLIER, body]))


WAYS: dict[str, Callable[[Scene], None]] = {
    "at hand": lambda scene: scene.hold(ALICE, BOB, MALLORY, EVE),
    "looked up": lambda scene: None,
    "old": lambda scene: scene.hold(ALICE, BOB, MALLORY, EVE, age=2 * HOUR),
}


class MatrixTests(SynchronousTestCase):
    """No forgery is relayed, and each is refused for what is wrong with it."""

    def check(self, table: Iterable[Case], private: bool = False) -> None:
        for name, body, reason in table:
            for way, prepare in WAYS.items():
                scene = Scene(self)
                prepare(scene)
                self.assertEqual((name, way, scene.hand_in(body, private)), (name, way, reason))
                self.assertEqual(scene.web.most_within(HOUR), 1)
                scene.untouched()
                counts.note(forgeries=1)

    def test_size(self) -> None:
        """There are two hundred of them and more, and each is another body."""
        bodies = [body for table in TABLES.values() for _, body, _ in table]
        self.assertGreaterEqual(len(bodies), 200)
        self.assertEqual([body for body, count in Counter(bodies).items() if count > 1], [])

    def test_key(self) -> None:
        """Whoever is not the author does not sign as the author, and whoever signs is not taken for another."""
        self.check(TABLES["key"])

    def test_signature(self) -> None:
        """Only the author's RSASSA-PKCS1-v1_5 with SHA-256 of just these bytes is a signature."""
        self.check(TABLES["signature"])

    def test_key_id(self) -> None:
        """A key id is one handle, to the byte."""
        self.check(TABLES["key id"])

    def test_constants(self) -> None:
        """Algorithm, encoding and type are the three that the protocol has, whatever was signed."""
        self.check(TABLES["constants"])

    def test_envelope(self) -> None:
        """An envelope that two parsers could read differently is read by none."""
        self.check(TABLES["envelope"])

    def test_base64(self) -> None:
        """Data and signature have one text each."""
        self.check(TABLES["base64"])

    def test_author(self) -> None:
        """The author is the signer, to the byte, and there is one."""
        self.check(TABLES["author"])

    def test_payload(self) -> None:
        """A payload is the one entity at its root, and says everything once."""
        self.check(TABLES["payload"])

    def test_others(self) -> None:
        """Nobody says, takes back or ends anything in another's name."""
        self.check(TABLES["others"])

    def test_mixed(self) -> None:
        """What is no magic envelope is not looked into for one."""
        self.check(TABLES["mixed"])

    def test_private(self) -> None:
        """In the victim's name nobody tells the relay anything, and what is private is not relayed."""
        self.check(PRIVATE, private=True)

    def test_genuine(self) -> None:
        """What is written otherwise and says the same is relayed, once: whatever comes after it is a duplicate."""
        for name, body in GENUINE:
            for way, prepare in WAYS.items():
                scene = Scene(self)
                prepare(scene)
                self.assertEqual((name, way, scene.hand_in(body)), (name, way, "relayed"))
                self.assertEqual([scene.hand_in(other) for _, other in GENUINE], ["duplicate"] * len(GENUINE))
                self.assertEqual(len(scene.sent()), 2)


def as_zoe() -> bytes:
    """A post in Zoe's name, signed by Eve."""
    return with_signature(ZOES, ZOE.handle, BY_EVE)


def public_pem(key: Any) -> str:
    """A key of any kind."""
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def block() -> bytes:
    """What is signed of Zoe's post, as one number: the signature itself where the exponent is 1."""
    info = digest_info(signed_text(ZOES))
    return b"\0\x01" + b"\xff" * (125 - len(info)) + b"\0" + info


ZOES = status_message(ZOE.handle, "Buy #cats", guid=GUID)
N = EVE.public_key.public_numbers().n
CUBE = private_key("cube@evil.example")
PRIVATE_PEM = EVE.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
BY_EVE = signature(EVE, signed_text(ZOES))

KEYS: list[tuple[str, str, bytes]] = [
    ("512 bits", SHORT, BY_EVE),
    ("a key of 1023 bits", any_key((1 << 1022) + 1, 65537), BY_EVE),
    ("a key of 8193 bits", any_key((1 << 8192) + 1, 65537), bytes(1024)),
    ("a key of 16384 bits", any_key((1 << 16383) + 1, 65537), bytes(2048)),
    ("a key of 65536 bits", any_key((1 << 65535) + 1, 65537), bytes(8192)),
    ("exponent 1", any_key(N, 1), block()),
    ("exponent 2", any_key(N, 2), BY_EVE),
    ("exponent 3", any_key(N, 3), cube_root(digest_info(signed_text(ZOES)), 128)),
    ("exponent 17", any_key(N, 17), BY_EVE),
    ("an exponent near the usual one", any_key(N, 65539), BY_EVE),
    ("an even exponent", any_key(N, 65536), BY_EVE),
    ("an exponent as long as the modulus", any_key(N, N - 2), BY_EVE),
    ("a modulus of zero", any_key(0, 65537), BY_EVE),
    ("a modulus of one", any_key(1, 65537), BY_EVE),
    ("an elliptic curve", public_pem(generate_ec_key(SECP256R1())), BY_EVE),
    ("Ed25519", public_pem(Ed25519PrivateKey.generate()), BY_EVE),
    ("DSA", public_pem(generate_dsa_key(1024)), BY_EVE),
    ("a private key", PRIVATE_PEM, BY_EVE),
    ("a certificate", EVE.pem.replace("PUBLIC KEY", "CERTIFICATE"), BY_EVE),
    ("a key for SSH", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ", BY_EVE),
    ("a key that breaks off", EVE.pem[:100], BY_EVE),
    ("nothing", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", BY_EVE),
    ("a megabyte", "-----BEGIN PUBLIC KEY-----\n" + "A" * 200_000 + "\n-----END PUBLIC KEY-----\n", BY_EVE),
    ("something before the key", "x" + EVE.pem, BY_EVE),
]
"""Keys that Zoe's node shows, with a signature that one could wish for: none of them is taken for a key."""


def links(subject: object, href: str = ZOE.hcard_url(), rel: str = "http://microformats.org/profile/hcard") -> bytes:
    """A webfinger document."""
    return json.dumps({"subject": subject, "links": [{"rel": rel, "href": href}]}).encode()


ZOE_IS = webfinger_url(ZOE.handle)
ACCT = f"acct:{ZOE.handle}"
EVES = EVE.hcard_url()
EVE_SHOWS = ZOE.hcard().replace(ZOE.pem.encode(), EVE.pem.encode())

DOCUMENTS: list[tuple[str, dict[str, bytes], str]] = [
    ("the key of another host's document", {webfinger_url(EVE.handle): links(ACCT, EVES), EVES: EVE_SHOWS}, "unknown-key"),
    ("a document about another", {ZOE_IS: links(f"acct:{EVE.handle}", EVES), EVES: EVE_SHOWS}, "unknown-key"),
    ("a document about a neighbour", {ZOE_IS: links("acct:eve@pod-z.example"), ZOE.hcard_url(): EVE_SHOWS}, "unknown-key"),
    ("a document about nobody", {ZOE_IS: links(""), ZOE.hcard_url(): EVE_SHOWS}, "unknown-key"),
    ("a document about two", {ZOE_IS: links(f"{ACCT} acct:{EVE.handle}"), ZOE.hcard_url(): EVE_SHOWS}, "unknown-key"),
    ("a subject that is a list", {ZOE_IS: links([ACCT], ZOE.hcard_url()), ZOE.hcard_url(): EVE_SHOWS}, "unknown-key"),
    ("a key by http", {ZOE_IS: links(ACCT, "http://pod-z.example/x"), "http://pod-z.example/x": EVE_SHOWS}, "unknown-key"),
    ("a key at an address", {ZOE_IS: links(ACCT, "https://127.0.0.1/x"), "https://127.0.0.1/x": EVE_SHOWS}, "unknown-key"),
    ("a key in a file", {ZOE_IS: links(ACCT, "file:///tmp/x"), "file:///tmp/x": EVE_SHOWS}, "unknown-key"),
    ("a key in the URL", {ZOE_IS: links(ACCT, "data:text/html," + EVE_SHOWS.decode())}, "unknown-key"),
    ("a link of another kind", {ZOE_IS: links(ACCT, rel="self"), ZOE.hcard_url(): EVE_SHOWS}, "unknown-key"),
    ("a key of no class", {ZOE_IS: links(ACCT), ZOE.hcard_url(): EVE_SHOWS.replace(b"key", b"k")}, "unknown-key"),
    ("a key in a comment", {ZOE_IS: links(ACCT), ZOE.hcard_url(): b"<!--" + EVE_SHOWS.replace(b"<!", b"<") + b"-->"}, "unknown-key"),
    ("a second key", {ZOE_IS: links(ACCT), ZOE.hcard_url(): ZOE.hcard() + EVE_SHOWS}, "bad-signature"),
    ("the right key, and a forged post", {ZOE_IS: links(ACCT), ZOE.hcard_url(): ZOE.hcard()}, "bad-signature"),
]
"""What hosts answer when they are asked for Zoe's key; Eve's would verify the post."""


class KeyTests(SynchronousTestCase):
    """Whose key it is, and that it is one."""

    def test_hostile(self) -> None:
        """A key that is too short, too long, too easy or none at all verifies nothing; with the right one the author is relayed."""
        for name, key, sig in KEYS:
            scene = Scene(self)
            publish(scene.web, ZOE, key)
            self.assertEqual((name, scene.hand_in(with_signature(ZOES, ZOE.handle, sig))), (name, "unknown-key"))
            self.recovers(scene)

    def test_documents(self) -> None:
        """Whose key it is says the author's own host, about this very author, over https."""
        for name, pages, reason in DOCUMENTS:
            scene = Scene(self)
            scene.web.pages.update(pages)
            self.assertEqual((name, scene.hand_in(as_zoe())), (name, reason))
            self.recovers(scene)

    def recovers(self, scene: Scene) -> None:
        """When the author's node shows the right key, the author is relayed."""
        self.assertLessEqual(scene.web.most_within(HOUR), 1)
        publish(scene.web, ZOE)
        scene.whole.run(2 * 3600.0)
        scene.untouched(ZOE.post("Hello #cats", guid=GUID))

    def test_smallest(self) -> None:
        """What is just large enough is a key: the table above does not pass because all keys are refused."""
        for bits in (1024, 1032, 2048):
            scene, author = Scene(self), Author(ZOE.handle, bits)
            publish(scene.web, author)
            self.assertEqual(scene.hand_in(author.post("Hello #cats")), "relayed")


OLD, NEW = Author(ALICE.handle, 1032), ALICE
"""Alice before and after her node has made her a new key."""

ROTATION: list[tuple[str, Author, Author | None, int, Author, str]] = [
    ("the new key, the old one just read", OLD, NEW, 0, NEW, "bad-signature"),
    ("the new key, the old one read almost an hour ago", OLD, NEW, 3500, NEW, "bad-signature"),
    ("the new key, the old one read more than an hour ago", OLD, NEW, 3700, NEW, "relayed"),
    ("the old key, the new one just read", NEW, NEW, 0, OLD, "bad-signature"),
    ("the old key, the new one read long ago", NEW, NEW, 3 * 86400, OLD, "bad-signature"),
    ("the old key again, which the node shows", NEW, OLD, 3700, OLD, "relayed"),
    ("another's key, asked for anew", OLD, NEW, 3700, Author(ALICE.handle, 1040), "bad-signature"),
    ("the new key, and the node is silent", OLD, None, 3700, NEW, "bad-signature"),
]
"""What was read, what the node shows now, seconds since, and who signs."""


class RotationTests(SynchronousTestCase):
    """Keys change, and who had the old one is the author no more."""

    def test_rotation(self) -> None:
        """The key that counts is the one that was read last, which is read again at most once an hour."""
        for name, held, shown, age, signer, reason in ROTATION:
            scene = Scene(self)
            publish(scene.web, held)
            scene.hold(held, age=timedelta(seconds=age))
            scene.web.pages[webfinger_url(ALICE.handle)] = FetchFailed("timed out") if shown is None else ALICE.webfinger()
            if shown is not None:
                publish(scene.web, shown)
            self.assertEqual((name, scene.hand_in(signer.post("Hello #cats", guid=GUID))), (name, reason))
            self.assertEqual(scene.web.most_within(HOUR), 1)

    def test_afterwards(self) -> None:
        """Once a post was signed with the new key, nothing that is signed with the old one is relayed."""
        scene = Scene(self)
        publish(scene.web, OLD)
        self.assertEqual(scene.hand_in(OLD.post("One #cats")), "relayed")
        publish(scene.web, NEW)
        scene.whole.run(3700.0)
        self.assertEqual(scene.hand_in(NEW.post("Two #cats")), "relayed")
        for _ in range(3):
            self.assertEqual(scene.hand_in(OLD.post("Three #cats")), "bad-signature")
            scene.whole.run(3700.0)
        self.assertEqual(len(scene.sent()), 3)


class LookupTests(SynchronousTestCase):
    """How often strangers make the relay ask for keys."""

    def test_known_author(self) -> None:
        """A flood of forgeries in the name of an author makes the author's node be asked once an hour."""
        scene = Scene(self)
        scene.hold(ALICE)
        for number in range(200):
            forged = seal(status_message(ALICE.handle, f"{number} #cats"), ALICE.handle, EVE.private_key)
            self.assertEqual(scene.hand_in(forged), "bad-signature")
            scene.whole.run(90.0)
        self.assertEqual((scene.web.most_within(HOUR), scene.sent()), (1, [EARLIER]))
        hours = (scene.whole.now() - scene.web.asked[0][1]) / HOUR
        self.assertLessEqual(sum("alice" in url for url, _ in scene.web.asked), hours + 1)

    def test_silent_node(self) -> None:
        """Nor is it asked more often when it does not answer."""
        scene = Scene(self)
        scene.hold(ALICE, age=2 * HOUR)
        scene.web.pages[webfinger_url(ALICE.handle)] = FetchFailed("timed out")
        for number in range(60):
            forged = seal(status_message(ALICE.handle, f"{number} #cats"), ALICE.handle, EVE.private_key)
            self.assertEqual(scene.hand_in(forged), "bad-signature")
            scene.whole.run(90.0)
        self.assertEqual((scene.web.most_within(HOUR), scene.sent()), (1, [EARLIER]))

    def test_unknown_author(self) -> None:
        """An author whom the node does not know, or of whom it shows no usable key, is asked for once an hour."""
        for pages in ({}, {ZOE_IS: links(ACCT)}, {ZOE_IS: b"{}"}):
            scene = Scene(self)
            scene.web.pages.update(pages)
            for number in range(30):
                scene.whole.relay.accept(as_zoe() + b"\n" * number, CLIENT)
                scene.whole.run(300.0)
            asked = sum(url == ZOE_IS for url, _ in scene.web.asked)
            self.assertTrue(2 <= asked <= 3 and scene.web.most_within(HOUR) == 1, asked)
            self.assertEqual(scene.sent(), [EARLIER])

    def test_one_domain(self) -> None:
        """Of ten thousand unknown authors at one host ten are asked for at once, then one a second, whoever hands them in."""
        scene = Scene(self)
        whole = scene.whole
        began = whole.clock.seconds()
        host = "pod-z.example"
        for number in range(10_000):
            handing_in = whole.relay.accept(with_signature(ZOES, f"u{number}@{host}", BY_EVE), f"192.0.2.{number % 250}")
            handing_in.addErrback(lambda failure: failure.trap(Full) and None)
            if number % 100 == 99:
                whole.run(0.3)
                self.assertLessEqual(self.asked(scene, host), LOOKUP_BURST + 1 + (whole.clock.seconds() - began))
        self.assertGreaterEqual(self.asked(scene, host), LOOKUP_BURST)
        for _ in range(60):
            whole.run(60.0)
            self.assertLessEqual(self.asked(scene, host), LOOKUP_BURST + 1 + (whole.clock.seconds() - began))
        self.assertEqual((scene.sent(), scene.web.most_within(HOUR)), ([EARLIER], 1))
        counts.note(unknown=number + 1, fetches=self.asked(scene, host), seconds=int(whole.clock.seconds() - began))

    def asked(self, scene: Scene, host: str) -> int:
        """How many times the host was asked for a key."""
        return sum(f"//{host}/" in url for url, _ in scene.web.asked)
