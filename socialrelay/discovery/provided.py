"""Authors' keys from a folder, for tests, demo and benchmarks: C{network.author_keys}."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from socialrelay.diaspora.handle import is_handle
from socialrelay.diaspora.keys import LONGEST_PEM, BadKey, read_public_key

MAX_FILES = 100_000


class ProvidedKeysError(Exception):
    """The folder cannot be used; the message is one line that names the file."""


def read_author_keys(folder: Path) -> dict[str, RSAPublicKey]:
    """
    Read all C{HANDLE.pem} of a folder. Blocks.

    @return: handle -> key.
    @raise ProvidedKeysError: a file is not what its name says, or there are too many.
    """
    try:
        files = sorted(islice(folder.glob("*.pem"), MAX_FILES + 1))
    except OSError as error:
        raise ProvidedKeysError(f"network.author_keys: {folder} cannot be read: {error.strerror}") from None
    if not folder.is_dir():
        raise ProvidedKeysError(f"network.author_keys: {folder} is no folder")
    if len(files) > MAX_FILES:
        raise ProvidedKeysError(f"network.author_keys: {folder} holds more than {MAX_FILES} keys")
    return {file.stem: _read(file) for file in files}


def _read(file: Path) -> RSAPublicKey:
    if not is_handle(file.stem):
        raise ProvidedKeysError(f"network.author_keys: {file} is not named after a handle, such as alice@pod.example.pem")
    try:
        with file.open("rb") as stream:
            return read_public_key(stream.read(LONGEST_PEM + 1))
    except BadKey as error:
        raise ProvidedKeysError(f"network.author_keys: {file}: {error}") from None
    except OSError as error:
        raise ProvidedKeysError(f"network.author_keys: {file} cannot be read: {error.strerror}") from None
