"""
Builders for what no honest node sends: envelopes with any signature, and keys that no author should have.

They stand on L{tests.envelopes}, and likewise use none of the code under test.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm

from tests.envelopes import NAMESPACE, Author, b64u

XML = "application/xml"
NULL = b"\x05\x00"
"""The parameters of a hash in DER."""


def changed(body: bytes, old: bytes, new: bytes) -> bytes:
    """C{body} with the first C{old} replaced, which must be there."""
    if old not in body:
        raise ValueError(f"{old!r} is not in what was to be changed")
    return body.replace(old, new, 1)


def signed_text(payload: bytes, data_type: str = XML, encoding: str = "base64url", alg: str = "RSA-SHA256") -> bytes:
    """What an honest author signs."""
    return ".".join(b64u(part) for part in (payload, data_type.encode(), encoding.encode(), alg.encode())).encode()


def with_signature(payload: bytes, sender: str | bytes, signature: bytes) -> bytes:
    """The usual envelope, with any key id and any signature."""
    key_id = sender.encode() if isinstance(sender, str) else sender
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<me:env xmlns:me="{NAMESPACE}">\n'
        f'  <me:data type="{XML}">{b64u(payload)}</me:data>\n  <me:encoding>base64url</me:encoding>\n  <me:alg>RSA-SHA256</me:alg>\n'
        f'  <me:sig key_id="{b64u(key_id)}">{b64u(signature)}</me:sig>\n</me:env>\n'
    ).encode()


def signature(author: Author, text: bytes, padding: AsymmetricPadding | None = None, hash: HashAlgorithm | None = None) -> bytes:
    """An author's signature of a text, made as another protocol would make it."""
    return author.private_key.sign(text, padding or PKCS1v15(), hash or SHA256())


def pss() -> PSS:
    """The newer padding, which the protocol does not use."""
    return PSS(MGF1(SHA256()), 32)


def digest_info(text: bytes, parameters: bytes = NULL) -> bytes:
    """The DER that RSASSA-PKCS1-v1_5 signs for SHA-256."""
    algorithm = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01" + parameters
    inside = b"\x30" + bytes([len(algorithm)]) + algorithm + b"\x04\x20" + sha256(text).digest()
    return b"\x30" + bytes([len(inside)]) + inside


def raw_signature(key: RSAPrivateKey, info: bytes, *, kind: int = 1, filler: bytes = b"\xff", garbage: int = 0) -> bytes:
    """RSA over a block of one's own making: C{00 kind filler... 00 info garbage...}."""
    size = key.key_size // 8
    block = b"\x00" + bytes([kind]) + filler * (size - 3 - len(info) - garbage) + b"\x00" + info + b"\x2a" * garbage
    numbers = key.private_numbers()
    return pow(int.from_bytes(block), numbers.d, numbers.public_numbers.n).to_bytes(size)


def plus_modulus(key: RSAPrivateKey, signature: bytes) -> bytes:
    """The same number modulo the key's, written with another."""
    number = int.from_bytes(signature) + key.private_numbers().public_numbers.n
    return number.to_bytes((number.bit_length() + 7) // 8)


def cube_root(info: bytes, size: int) -> bytes:
    """A signature that needs no private key: its third power begins as a block with little filler does, whatever comes after."""
    start = b"\x00\x01" + b"\xff" * 8 + b"\x00" + info
    wanted = int.from_bytes(start + b"\xff" * (size - len(start)))
    low, high = 0, 1 << (wanted.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= wanted else (low, middle - 1)
    return low.to_bytes(size)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag]) + length + content


def _number(value: int) -> bytes:
    return _der(2, value.to_bytes(value.bit_length() // 8 + 1))


def any_key(n: int, e: int) -> str:
    """The PEM of a public key of any numbers, which no library has looked at."""
    key = _der(0x30, _number(n) + _number(e))
    rsa = _der(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" + NULL)
    text = b64encode(_der(0x30, rsa + _der(3, b"\x00" + key))).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"
