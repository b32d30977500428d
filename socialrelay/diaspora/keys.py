"""RSA public keys of authors, as nodes publish them."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

SMALLEST = 1024
LARGEST = 8192
EXPONENT = 65537
LONGEST_PEM = 16 * 1024

_BEGINNINGS = (b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN RSA PUBLIC KEY-----")


class BadKey(ValueError):
    """That is no key that verifies posts; the message says why."""


def read_public_key(pem: bytes | str) -> RSAPublicKey:
    """
    Read an author's key.

    The bounds keep a key from being guessed, and its arithmetic from costing more than a post is worth.

    @param pem: SubjectPublicKeyInfo or PKCS#1, at most 16 kB.
    @raise BadKey: it is none, not RSA, of an odd exponent, or not of 1024 to 8192 bits.
    """
    text = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
    text = text.strip()
    if len(text) > LONGEST_PEM:
        raise BadKey(f"the key is longer than {LONGEST_PEM} bytes")
    if not text.startswith(_BEGINNINGS):
        raise BadKey("the key is not PEM that begins with BEGIN PUBLIC KEY or BEGIN RSA PUBLIC KEY")
    try:
        key = load_pem_public_key(text)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey("the key cannot be read") from error
    if not isinstance(key, RSAPublicKey):
        raise BadKey("the key is not an RSA key")
    if not SMALLEST <= key.key_size <= LARGEST:
        raise BadKey(f"the key has {key.key_size} bits, not {SMALLEST} to {LARGEST}")
    if key.public_numbers().e != EXPONENT:
        raise BadKey(f"the key's exponent is not {EXPONENT}")
    return key


def pem_of(key: RSAPublicKey) -> str:
    """The key as nodes publish it and storage keeps it: SubjectPublicKeyInfo, PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
