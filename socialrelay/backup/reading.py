"""Opens an export, and holds all of it against its manifest before any of it is used."""

from __future__ import annotations

import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from socialrelay.backup.exporting import public_hash
from socialrelay.backup.manifest import KEY, KEY_MAX, MANIFEST, MANIFEST_MAX, BackupError, Manifest
from socialrelay.backup.tables import tables_of
from socialrelay.storage.migrate import Migration, require_known

_CHUNK = 1024 * 1024
_ENCRYPTED = 1


@frozen
class Opened:
    """
    An export that was found to be whole.

    @ivar open_to_others: others may read the file, and the private key in it.
    """

    archive: ZipFile
    manifest: Manifest
    key: RSAPrivateKey | None
    open_to_others: bool


@contextmanager
def opened(path: Path, migrations: list[Migration], tell: Callable[[float], None] = lambda part: None) -> Iterator[Opened]:
    """
    Open an export and check it.

    @param migrations: that this version knows.
    @param tell: called with the part that is checked, from 0 to 1.
    @raise BackupError: it is none, or damaged.
    @raise socialrelay.storage.database.StorageError: a newer version made it.
    """
    try:
        with ZipFile(path) as archive:
            manifest = _manifest(archive)
            require_known(manifest.schema, migrations, "the export is of")
            _check_schema(manifest, migrations)
            _check_members(archive, manifest, tell)
            yield Opened(archive, manifest, _key(archive, manifest), bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)))
    except BackupError as error:
        raise BackupError(f"{path}: {error}") from None
    except (BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        raise BackupError(f"{path}: this is no whole export: {error}. Take another copy of it") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}") from None


def _manifest(archive: ZipFile) -> Manifest:
    try:
        found = archive.getinfo(MANIFEST)
    except KeyError:
        raise BackupError("this is no export of a relay: it has no manifest") from None
    if any(member.flag_bits & _ENCRYPTED for member in archive.infolist()):
        raise BackupError("it is encrypted: decrypt it first")
    if found.file_size > MANIFEST_MAX:
        raise BackupError("its manifest is too long to be one")
    return Manifest.from_json(archive.read(found))


def _check_schema(manifest: Manifest, migrations: list[Migration]) -> None:
    """Its schema is made anew from the migrations, so they must be the same, and its tables those that they make."""
    applied = [migration for migration in migrations if migration.version <= manifest.schema]
    for migration in applied:
        if manifest.migrations.get(migration.label) != migration.checksum.hex():
            raise BackupError(
                f"it was made with another {migration.label} than this version of the relay has: install socialrelay {manifest.made_by}"
            )
    if [table.name for table in manifest.tables] != tables_of(applied):
        raise BackupError("its tables are not those of its schema: it was changed")


def _check_members(archive: ZipFile, manifest: Manifest, tell: Callable[[float], None]) -> None:
    whole = sum(table.bytes for table in manifest.tables) or 1
    done = 0
    for name, expected in [*((table.member, table.sha256) for table in manifest.tables), (KEY, manifest.key_file_sha256)]:
        if not expected:
            continue
        digest = sha256()
        try:
            with archive.open(name) as member:
                while chunk := member.read(_CHUNK):
                    digest.update(chunk)
                    done += len(chunk)
                    tell(min(1.0, done / whole))
        except KeyError:
            raise BackupError(f"{name} is missing in it") from None
        if digest.hexdigest() != expected:
            raise BackupError(f"{name} in it is damaged: its checksum is another. Take another copy of the export")


def _key(archive: ZipFile, manifest: Manifest) -> RSAPrivateKey | None:
    if manifest.identity is None:
        return None
    try:
        with archive.open(KEY) as member:
            key = load_pem_private_key(member.read(KEY_MAX), password=None)
    except (KeyError, ValueError, TypeError):
        raise BackupError("the private key in it cannot be read") from None
    if not isinstance(key, RSAPrivateKey) or public_hash(key) != manifest.identity.key_sha256:
        raise BackupError(f"the private key in it is not that of {manifest.identity.handle}")
    return key
