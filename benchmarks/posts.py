"""Posts that are signed before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.envelopes import pem, seal, status_message

AUTHORS = [f"author{number}@home{number}.example" for number in range(64)]
SIZE = 2048
"""Bytes of an envelope, about."""

TAGS = 15
"""Every post has one of so many tags, C{#t0} and so on, in turn."""


def text(number: int) -> str:
    """What a post says: like a short post of somebody, with a tag."""
    filler = sha256(str(number).encode()).hexdigest()
    return f"Post {number} #t{number % TAGS} #everyone " + (filler * 12)[:560]


def _sign(arguments: tuple[bytes, range]) -> list[bytes]:
    key = load_pem_private_key(arguments[0], None)
    assert isinstance(key, RSAPrivateKey)
    return [_one(key, number) for number in arguments[1]]


def _one(key: RSAPrivateKey, number: int) -> bytes:
    author = AUTHORS[number % len(AUTHORS)]
    guid = sha256(f"guid {number}".encode()).hexdigest()[:32]
    return seal(status_message(author, text(number), guid=guid), author, key)


class Posts:
    """
    Envelopes of L{AUTHORS}, who share one key: what verifying costs does not depend on whose key it is.

    @ivar keys: the folder for C{network.author_keys}.
    """

    def __init__(self, folder: Path, bits: int = 4096) -> None:
        self.key = generate_private_key(public_exponent=65537, key_size=bits)
        self.keys = folder
        folder.mkdir()
        for author in AUTHORS:
            (folder / f"{author}.pem").write_text(pem(self.key.public_key()))
        self._pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._signed: list[bytes] = []

    def first(self, count: int) -> list[bytes]:
        """So many of them, always the same. Signing takes 2 ms each, for the first time."""
        missing = range(len(self._signed), count)
        if missing:
            with ProcessPoolExecutor() as pool:
                for signed in pool.map(_sign, [(self._pem, part) for part in _parts(missing, 250)]):
                    self._signed += signed
        return self._signed[:count]


def _parts(whole: range, size: int) -> Iterator[range]:
    for start in range(whole.start, whole.stop, size):
        yield range(start, min(start + size, whole.stop))
