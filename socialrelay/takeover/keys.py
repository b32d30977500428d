"""Keys of authors as the old relay kept them."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from socialrelay.diaspora.handle import is_handle
from socialrelay.diaspora.keys import BadKey, pem_of, read_public_key


def taken_key(identifier: str, public_key: str) -> tuple[str, str] | None:
    """
    @param public_key: PEM, or C{ssh-rsa …}, as old rows have it.
    @return: the handle and the key as they are stored; C{None} if one of them is of no use.
    """
    handle = (identifier or "").strip().lower().removeprefix("acct:")
    if not is_handle(handle):
        return None
    text = (public_key or "").strip()
    try:
        return handle, pem_of(read_public_key(_pem_of_ssh(text) if text.startswith("ssh-") else text))
    except (BadKey, ValueError, UnsupportedAlgorithm):
        return None


def _pem_of_ssh(text: str) -> bytes:
    return load_ssh_public_key(text.encode("utf-8")).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
