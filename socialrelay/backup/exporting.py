"""Writes an export: one snapshot of the database, whatever happens meanwhile, and the private key."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from socialrelay import __version__
from socialrelay.backup.manifest import KEY, MANIFEST, BackupError, Manifest, Table, Who
from socialrelay.backup.tables import columns_of, last_of, reading, sequences_of, tables_of
from socialrelay.identity import read_key
from socialrelay.storage.blocking import connected
from socialrelay.storage.embedded.process import exists
from socialrelay.storage.migrate import known_migrations, schema

HOLD_BODIES = frozenset({"post_body", "incoming", "quarantine", "bus_message"})
_LEVEL = 6
_CHUNK = 256 * 1024

Tell = Callable[[str, float], None]
"""Called with what is being done, and the part of all that is done, from 0 to 1."""

_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_SIZE = "SELECT pg_table_size(to_regclass(%(table)s))"
_IDENTITY = "SELECT host, username, guid, key_hash FROM relay_identity"


@frozen
class Export:
    """
    @ivar path: where it is.
    @ivar size: bytes of the file.
    """

    path: Path
    size: int
    manifest: Manifest


def export(
    dsn: str,
    key_file: Path,
    path: Path,
    *,
    now: datetime,
    bodies: bool = True,
    overwrite: bool = False,
    tell: Tell = lambda what, part: None,
) -> Export:
    """
    Write an export, whole or not at all, for nobody but its owner to read (mode 0600). Blocks.

    @param key_file: where the relay's private key is.
    @param bodies: with what is still to be judged or delivered, and what was said on the bus.
    @param overwrite: in place of a file that is there.
    @raise BackupError: it cannot be written, or would be of no use.
    @raise socialrelay.boundaries.Unavailable: the database cannot be reached.
    @raise socialrelay.storage.database.StorageError: it is of a newer version, or no relay's.
    @raise socialrelay.identity.IdentityError: the private key cannot be read.
    """
    if path.exists() and not overwrite:
        raise BackupError(f"{path} is there already: name another file, or say --overwrite")
    with _new_file(path) as file, ZipFile(file, "w", ZIP_DEFLATED, compresslevel=_LEVEL) as archive, connected(dsn) as connection:
        with connection.cursor() as cursor:
            cursor.execute(_SNAPSHOT)
            manifest = _write(archive, cursor, key_file, now, bodies, tell)
        archive.writestr(MANIFEST, manifest.to_json())
    return Export(path, path.stat().st_size, manifest)


def _write(archive: ZipFile, cursor: Any, key_file: Path, now: datetime, bodies: bool, tell: Tell) -> Manifest:
    migrations = known_migrations()
    found = schema(cursor, migrations)
    if not found.present:
        raise BackupError("the database has no tables of a relay: there is nothing to export. Is it the right one?")
    applied = [migration for migration in migrations if migration.version <= found.present]
    names = tables_of(applied)
    identity, key = _identity(cursor, key_file)
    if key:
        archive.writestr(KEY, key)
    tables = _copy(archive, cursor, names, bodies, tell)
    return Manifest(
        made_by=__version__,
        made_at=now.isoformat(timespec="seconds"),
        schema=found.present,
        migrations={migration.label: migration.checksum.hex() for migration in applied},
        postgres=_server(cursor),
        identity=identity,
        key_file_sha256=sha256(key).hexdigest() if key else "",
        bodies=bodies,
        # Sequences know no snapshot: asked last, they are ahead of all rows.
        sequences={name: last_of(cursor, name) for name in sequences_of(cursor, names)},
        tables=tables,
    )


def _identity(cursor: Any, key_file: Path) -> tuple[Who | None, bytes]:
    """Whose database it is, and the private key; a relay that was never bound to a name has neither."""
    cursor.execute(_IDENTITY)
    found = cursor.fetchone()
    if found is None:
        return None, b""
    who = Who.of(found)
    key = read_key(key_file)
    if key is None:
        raise BackupError(
            f"{key_file}: the private key of {who.handle} is missing, and without it this would be no backup. Restore it first"
        )
    if public_hash(key) != who.key_sha256:
        raise BackupError(f"{key_file}: this is not the private key of {who.handle}, which nodes know. Restore the right one first")
    return who, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_hash(key: RSAPrivateKey) -> str:
    """SHA-256 of the public key that belongs to it, as the database remembers it; hexadecimal."""
    return sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _copy(archive: ZipFile, cursor: Any, names: list[str], bodies: bool, tell: Tell) -> tuple[Table, ...]:
    sizes = {}
    for name in names:
        cursor.execute(_SIZE, {"table": name})
        sizes[name] = cursor.fetchone()[0] or 0
    whole = sum(sizes.values()) or 1
    before = 0
    tables = []
    for name in names:
        columns = columns_of(cursor, name)
        with archive.open(f"tables/{name}.copy", "w", force_zip64=True) as member:
            counted = _Counting(member, partial(_told, tell, name, before, sizes[name], whole))
            cursor.copy_expert(reading(name, columns, rows=bodies or name not in HOLD_BODIES), counted)
            counted.flush()
        before += sizes[name]
        tables.append(Table(name, columns, cursor.rowcount, counted.bytes, counted.digest.hexdigest()))
        tell(name, before / whole)
    return tuple(tables)


def _told(tell: Tell, name: str, before: int, size: int, whole: int, done: int) -> None:
    tell(name, (before + min(done, size)) / whole)


class _Counting:
    """A file that counts and digests what is written to it; the database writes row by row."""

    def __init__(self, file: IO[bytes], tell: Callable[[int], None]) -> None:
        self._file = file
        self._tell = tell
        self._held = bytearray()
        self.bytes = 0
        self.digest = sha256()

    def write(self, data: bytes) -> int:
        """As files do."""
        self._held += data
        if len(self._held) >= _CHUNK:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """As files do; to be called at the end."""
        self.digest.update(self._held)
        self.bytes += len(self._held)
        self._file.write(self._held)
        self._held.clear()
        self._tell(self.bytes)


def _server(cursor: Any) -> str:
    cursor.execute("SHOW server_version")
    return str(cursor.fetchone()[0])


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _remove_left(path)
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def _remove_left(path: Path) -> None:
    """Drafts of exports that were killed go: the private key is in them, too."""
    for draft in path.parent.glob(f".{escape(path.name)}.*"):
        number = draft.name.rpartition(".")[2]
        if number.isdecimal() and not exists(int(number)):
            draft.unlink(missing_ok=True)
