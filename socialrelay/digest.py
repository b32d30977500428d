"""The short name of a post, by which the log can be searched for it."""

from __future__ import annotations

from hashlib import sha256

LENGTH = 12


def digest_of(body: bytes) -> str:
    """
    The first digits of the SHA-256 of a body as it was received: what C{sha256sum} prints, cut.

    It is the same whichever way the post goes, after a restart, and at another relay.

    @return: 12 hexadecimal digits. Among a million posts two of the same name are found once in five hundred times.
    """
    return sha256(body).hexdigest()[:LENGTH]
