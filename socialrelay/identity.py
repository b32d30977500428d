"""
Who the relay is: host, user name, GUID and key pair.

Nodes store these when they first meet the relay and never refresh them (C{diaspora:config/initializers/diaspora_federation.rb}), so the
first production start binds them for good: the database remembers host, user name, GUID and the hash of the public key, a file holds the
private key.  Everything that contradicts what is bound stops the start, because going on would make a relay that no node believes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from socialrelay.boundaries import BoundIdentity, IdentityStore
from socialrelay.config import Config

KEY_BITS = 2048
_KEY_FILE_MAX = 65536

_log = Logger()


class IdentityError(Exception):
    """The relay cannot be who it should be; the message is one line: what, why, what to do."""


@frozen
class RelayIdentity:
    """
    The relay as nodes know it.

    @ivar guid: 32 hexadecimal digits.
    @ivar name: for people.
    @ivar provisional: it is a development identity: made at this start, forgotten at its end.
    """

    host: str
    username: str
    guid: str
    name: str
    public_key: RSAPublicKey
    private_key: RSAPrivateKey = field(repr=False)
    provisional: bool = False

    @property
    def handle(self) -> str:
        """C{username@host}."""
        return f"{self.username}@{self.host}"

    @property
    def public_pem(self) -> str:
        """The public key as SubjectPublicKeyInfo, PEM."""
        return self.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    @property
    def key_hash(self) -> bytes:
        """SHA-256 of the public key (SubjectPublicKeyInfo, DER)."""
        return sha256(self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def key_path(config: Config) -> Path:
    """Where the private key is kept."""
    return Path(config.identity.key_file) if config.identity.key_file else config.state_dir / "identity.pem"


def check_key_file(path: Path) -> None:
    """
    Look at the key file without reading it; quick enough to be done before the daemon forks.  That it is missing is no error here.

    @raise IdentityError: it is no file, or others may read it.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise IdentityError(
            f"{path}: the relay's private key cannot be looked at: {error.strerror}; correct its folder's permissions"
        ) from None
    if not stat.S_ISREG(found.st_mode):
        raise IdentityError(f"{path}: the relay's private key must be a file, and this is none; correct identity.key_file")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise IdentityError(f"{path}: the relay's private key may be read by others (mode {mode:04o}); run: chmod 600 {path}")


def read_key(path: Path) -> RSAPrivateKey | None:
    """
    Read the private key. Blocks.

    @return: the key; C{None} if there is no file.
    @raise IdentityError: it cannot be used.
    """
    check_key_file(path)
    try:
        with path.open("rb") as file:
            pem = file.read(_KEY_FILE_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityError(f"{path}: the relay's private key cannot be read: {error.strerror}; make the daemon's user its owner") from None
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise IdentityError(f"{path}: the relay's private key is encrypted; store it without a pass phrase, mode 0600") from None
    except (ValueError, UnsupportedAlgorithm):
        raise IdentityError(f"{path}: this is no private key in PEM format; restore the file from your backup") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < KEY_BITS:
        raise IdentityError(f"{path}: the relay needs an RSA key of at least {KEY_BITS} bits, and this is another; use the right file")
    return key


def make_key() -> RSAPrivateKey:
    """A new key. Takes up to a second of computing."""
    return generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def write_key(path: Path, key: RSAPrivateKey) -> None:
    """
    Write the private key, whole or not at all, and never over a file that is there. Blocks.

    @raise IdentityError: it cannot be written.
    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename, this fails if the name is taken
        finally:
            draft.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise IdentityError(f"{path}: the relay's new private key cannot be written: {error.strerror}; make its folder writable") from None


async def load_identity(
    config: Config,
    store: IdentityStore,
    *,
    now: datetime,
    in_thread: Callable[..., Deferred[Any]],
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> RelayIdentity:
    """
    The relay's identity: in production the bound one, which the first production start binds; in development one for this run.

    @param in_thread: runs a blocking function with its arguments outside the reactor's thread.
    @raise IdentityError: configuration, key file and database do not agree.
    @raise Unavailable: the database cannot be asked now.
    """
    if not config.production:
        key = await in_thread(make_key)
        return _identity("localhost", config.identity.username, random_bytes(16).hex(), key, provisional=True)
    path = key_path(config)
    bound = await store.get()
    if bound is not None:
        _agree(config, bound)
    held = await in_thread(read_key, path)
    if held is None and bound is not None:
        raise IdentityError(
            f"{path}: the private key of {bound.username}@{bound.host} is missing; restore it from your backup: nodes will accept no other"
        )
    if held is None:
        held = await in_thread(make_key)
        await in_thread(write_key, path, held)
    if bound is None:
        mine = _identity(config.host, config.identity.username, random_bytes(16).hex(), held)
        bound = await store.bind(BoundIdentity(mine.host, mine.username, mine.guid, mine.key_hash), now)
        _agree(config, bound)
        if bound.guid == mine.guid:
            _log.info(
                "From now on this relay is {handle}; back up its private key {path}: nodes will never accept another.",
                handle=mine.handle,
                path=str(path),
            )
    identity = _identity(bound.host, bound.username, bound.guid, held)
    if identity.key_hash != bound.key_hash:
        raise IdentityError(
            f"{path}: this is not the private key of {identity.handle}, which nodes know; restore the right one from your backup"
        )
    return identity


def _identity(host: str, username: str, guid: str, key: RSAPrivateKey, *, provisional: bool = False) -> RelayIdentity:
    return RelayIdentity(host, username, guid, f"Relay {host}", key.public_key(), key, provisional)


def _agree(config: Config, bound: BoundIdentity) -> None:
    """@raise IdentityError: the configuration names another relay than the one that is bound."""
    handle = f"{config.identity.username}@{config.host}"
    if (bound.host, bound.username) != (config.host, config.identity.username):
        raise IdentityError(
            f"the configuration says {handle}, but this database belongs to {bound.username}@{bound.host}, and nodes learn no new name;"
            " set host and identity.username back, or start a new relay with another database and state directory"
        )
