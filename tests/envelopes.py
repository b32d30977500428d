"""
Builders for valid things: keys, posts, envelopes, private messages and the documents by which an author is found.

They write what a diaspora* pod writes, with C{cryptography} alone and without the code under test.  An L{Author} does most of it::

    alice = Author("alice@pod-a.example")
    body = alice.post("Hello #cats")
    keys = {alice.handle: alice.public_key}
"""

from __future__ import annotations

import json
import os
from base64 import b64encode, urlsafe_b64encode
from functools import cache
from secrets import token_hex
from xml.sax.saxutils import escape

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAMESPACE = "http://salmon-protocol.org/ns/magic-env"


@cache
def private_key(owner: str, bits: int = 1024) -> RSAPrivateKey:
    """The key of an owner: made when first asked for, the same for the rest of the run. 1024 bits are the least that nodes take, and quick."""
    return generate_private_key(public_exponent=65537, key_size=bits)


def pem(key: RSAPublicKey) -> str:
    """As nodes publish it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def b64u(data: bytes) -> str:
    """URL-safe base64 with padding."""
    return urlsafe_b64encode(data).decode("ascii")


def entity(kind: str, /, **fields: str | bool) -> bytes:
    """The XML of an entity: its texts in the order given. Booleans are written as pods do."""
    texts = {name: str(value).lower() if isinstance(value, bool) else escape(value) for name, value in fields.items()}
    inside = "".join(f"  <{name}>{text}</{name}>\n" for name, text in texts.items())
    return f"<{kind}>\n{inside}</{kind}>".encode()


def seal(
    payload: bytes,
    sender: str,
    key: RSAPrivateKey,
    *,
    data_type: str = "application/xml",
    encoding: str = "base64url",
    alg: str = "RSA-SHA256",
) -> bytes:
    """A magic envelope around a payload, as diaspora* writes it."""
    subject = ".".join(b64u(part) for part in (payload, data_type.encode(), encoding.encode(), alg.encode()))
    signature = key.sign(subject.encode("ascii"), PKCS1v15(), SHA256())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<me:env xmlns:me="{NAMESPACE}">\n'
        f'  <me:data type="{data_type}">{b64u(payload)}</me:data>\n'
        f"  <me:encoding>{encoding}</me:encoding>\n"
        f"  <me:alg>{alg}</me:alg>\n"
        f'  <me:sig key_id="{b64u(sender.encode())}">{b64u(signature)}</me:sig>\n'
        "</me:env>\n"
    ).encode()


def encrypt(envelope: bytes, recipient: RSAPublicKey) -> bytes:
    """The JSON of a private message: an envelope, encrypted for one recipient."""
    key, iv = os.urandom(32), os.urandom(16)
    bundle = json.dumps({"key": b64encode(key).decode(), "iv": b64encode(iv).decode()})
    padder, encryptor = PKCS7(128).padder(), Cipher(AES256(key), CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(envelope) + padder.finalize()) + encryptor.finalize()
    message = {
        "aes_key": b64encode(recipient.encrypt(bundle.encode(), PKCS1v15())).decode(),
        "encrypted_magic_envelope": b64encode(ciphertext).decode(),
    }
    return json.dumps(message).encode()


def new_guid() -> str:
    """A guid that nothing has yet."""
    return token_hex(16)


@frozen
class Author:
    """
    Somebody with a handle and a key, at a node.

    @ivar bits: size of the key.
    """

    handle: str
    bits: int = 1024
    guid: str = field(factory=new_guid)

    @property
    def host(self) -> str:
        """The host of the node, without port."""
        return self.handle.partition("@")[2].partition(":")[0]

    @property
    def private_key(self) -> RSAPrivateKey:
        """One per handle and size, for the whole run."""
        return private_key(self.handle, self.bits)

    @property
    def public_key(self) -> RSAPublicKey:
        """What verifies what this author sends."""
        return self.private_key.public_key()

    @property
    def pem(self) -> str:
        """The public key as the author's node publishes it."""
        return pem(self.public_key)

    def seal(self, payload: bytes) -> bytes:
        """An envelope signed by this author, whatever is in it."""
        return seal(payload, self.handle, self.private_key)

    def post(self, text: str, *, guid: str = "", public: bool = True) -> bytes:
        """The envelope of a status message. Each has a guid of its own, unless one is given."""
        return self.seal(status_message(self.handle, text, guid=guid, public=public))

    def reshare(self, root_author: str, root_guid: str, *, guid: str = "") -> bytes:
        """The envelope of a reshare of somebody's post."""
        payload = entity(
            "reshare",
            author=self.handle,
            guid=guid or new_guid(),
            created_at="2026-03-01T12:00:00Z",
            root_author=root_author,
            root_guid=root_guid,
        )
        return self.seal(payload)

    def comment(self, parent_guid: str, text: str) -> bytes:
        """The envelope of a comment, such as the author of the thread passes on."""
        payload = entity(
            "comment",
            author=self.handle,
            guid=new_guid(),
            parent_guid=parent_guid,
            text=text,
            author_signature=b64encode(b"unchecked").decode(),
        )
        return self.seal(payload)

    def retraction(self, target_guid: str, *, target_type: str = "Post") -> bytes:
        """The envelope of a retraction."""
        return self.seal(entity("retraction", author=self.handle, target_guid=target_guid, target_type=target_type))

    def account_deletion(self) -> bytes:
        """The envelope of an account's end."""
        return self.seal(entity("account_deletion", author=self.handle))

    def contact(self, relay_handle: str, relay_key: RSAPublicKey, *, sharing: bool = True, blocking: bool = False) -> bytes:
        """The private message by which this author begins or ends sharing with the relay."""
        payload = entity("contact", author=self.handle, recipient=relay_handle, following=sharing, sharing=sharing, blocking=blocking)
        return encrypt(self.seal(payload), relay_key)

    def hcard_url(self) -> str:
        """Where the author's node shows the hCard."""
        return f"https://{self.handle.partition('@')[2]}/hcard/users/{self.guid}"

    def webfinger(self) -> bytes:
        """The JRD of the author's node."""
        base = f"https://{self.handle.partition('@')[2]}"
        document = {
            "subject": f"acct:{self.handle}",
            "links": [
                {"rel": "http://microformats.org/profile/hcard", "type": "text/html", "href": self.hcard_url()},
                {"rel": "http://joindiaspora.com/seed_location", "type": "text/html", "href": f"{base}/"},
            ],
        }
        return json.dumps(document).encode()

    def hcard(self) -> bytes:
        """The hCard of the author's node."""
        return (
            '<!DOCTYPE html><html><head><meta charset="UTF-8"><title>somebody</title></head><body><div class="entity_profile vcard author">'
            f'<span class="uid">{self.guid}</span><span class="fn">somebody</span><pre class="key">{self.pem}</pre></div></body></html>'
        ).encode()


def status_message(author: str, text: str, *, guid: str = "", public: bool = True) -> bytes:
    """The XML of a status message."""
    return entity("status_message", author=author, guid=guid or new_guid(), created_at="2026-03-01T12:00:00Z", public=public, text=text)


def preferences(*tags: str, subscribe: bool = True, scope: str = "") -> bytes:
    """An x-social-relay document: scope C{tags} if there are any, else C{all}."""
    return json.dumps({"subscribe": subscribe, "scope": scope or ("tags" if tags else "all"), "tags": list(tags)}).encode()
