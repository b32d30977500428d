"""
Messages to the relay itself: encrypted, and of interest only where an author says whether to be relayed.

Whoever sends one is told nothing of what was in it, and not by the time it takes either: it is acknowledged before it is opened, which is
also what makes the padding of RSA and AES useless as an oracle.  Nothing of a body is logged or kept.

@see: diaspora_federation:/docs/federation/encryption.md
"""

from __future__ import annotations

import binascii
from base64 import b64decode

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from socialrelay.diaspora.entity import CONTACT, RETRACTION, Rejected, judge_entity, read_entity
from socialrelay.diaspora.envelope import MagicEnvelope, open_envelope
from socialrelay.federation import NotAnEnvelope, Refused, Ruling, Verdict, Wish
from socialrelay.jsontext import NotJSON, read_object


def open_private(body: bytes, key: RSAPrivateKey) -> MagicEnvelope:
    """
    Decrypt a message to the relay and read the envelope inside.

    @param key: the relay's own.
    @raise Refused: C{not-encrypted-envelope}, C{undecryptable}, or what is wrong with the envelope.
    """
    try:
        document = read_object(body)
    except NotJSON as error:
        raise Refused("not-encrypted-envelope") from error
    bundle, ciphertext = document.get("aes_key"), document.get("encrypted_magic_envelope")
    if not isinstance(bundle, str) or not isinstance(ciphertext, str):
        raise Refused("not-encrypted-envelope")
    try:
        plaintext = _decrypt(_base64(ciphertext), *_aes_key(_base64(bundle), key))
    except ValueError as error:
        raise Refused("undecryptable") from error
    try:
        return open_envelope(plaintext)
    except NotAnEnvelope as error:
        raise Refused(error.reason) from error


def judge_private(envelope: MagicEnvelope, key: RSAPublicKey, recipient: str) -> Wish | Verdict:
    """
    Check the signature of a decrypted message and say what it changes.

    diaspora* sets C{following} and C{sharing} alike and reads only C{sharing}; Friendica sends both.

    @param key: the sender's.
    @param recipient: the relay's own handle.
    @return: a verdict where nothing is changed.
    """
    sender = envelope.sender
    if not envelope.verifies(key):
        return Verdict(Ruling.REJECT, "bad-signature", author=sender)
    kind = ""
    try:
        entity = read_entity(envelope.payload)
        kind = entity.kind
        if kind == CONTACT:
            return _contact(entity.fields(sender), recipient)
        if kind == RETRACTION and entity.texts("target_type") == ["Person"]:  # as pods stopped sharing before contact existed
            return Wish(entity.fields(sender)["author"], wishes=False)
    except Rejected as rejection:
        return Verdict(Ruling.REJECT, rejection.reason, kind, sender)
    return _unwanted(judge_entity(envelope.payload, sender))


def _contact(fields: dict[str, str], recipient: str) -> Wish | Verdict:
    author = fields["author"]
    if fields.get("recipient") != recipient:
        return Verdict(Ruling.IGNORE, "wrong-recipient", CONTACT, author)
    return Wish(author, wishes=_truth(fields, "sharing", True) and not _truth(fields, "blocking", False))


def _unwanted(verdict: Verdict) -> Verdict:
    """A post that was sent in private is not public, whatever it says of itself."""
    if verdict.ruling in (Ruling.RELAY, Ruling.RETRACT):
        return Verdict(Ruling.IGNORE, "private-only", verdict.kind, verdict.author, verdict.guid)
    return verdict


_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})


def _truth(fields: dict[str, str], name: str, default: bool) -> bool:
    """A boolean as pods read it."""
    text = fields.get(name)
    if text is None:
        return default
    if text.lower() not in _TRUE | _FALSE:
        raise Rejected("bad-boolean")
    return text.lower() in _TRUE


def _aes_key(bundle: bytes, key: RSAPrivateKey) -> tuple[bytes, bytes]:
    """
    Key and IV.

    A wrong RSA key raises or yields random bytes, as OpenSSL's version has it; both end as ValueError.
    """
    document = read_object(key.decrypt(bundle, PKCS1v15()))
    secret, iv = document.get("key"), document.get("iv")
    if not isinstance(secret, str) or not isinstance(iv, str):
        raise ValueError("no key or no IV")  # noqa: TRY004 (like everything that goes wrong here)
    return _base64(secret), _base64(iv)


def _decrypt(ciphertext: bytes, secret: bytes, iv: bytes) -> bytes:
    decryptor = Cipher(AES256(secret), CBC(iv)).decryptor()  # checks the lengths
    unpadder = PKCS7(AES256.block_size).unpadder()
    return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()


def _base64(text: str) -> bytes:
    """The standard alphabet, with white space wherever a pod put it."""
    try:
        return b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
