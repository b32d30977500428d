"""Puts an export into a database and a key file: all of it, or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from psycopg2.sql import SQL, Identifier

from socialrelay.backup.exporting import Tell, public_hash
from socialrelay.backup.manifest import BackupError, Table, Who
from socialrelay.backup.reading import Opened
from socialrelay.backup.tables import columns_of, filling, tables_of
from socialrelay.identity import read_key, write_key
from socialrelay.storage.blocking import connected, copy_in, require_alone
from socialrelay.storage.migrate import VERSIONS, Migration, apply, run, schema

APPLICATION = "socialrelay restore"

_IDENTITY = "SELECT host, username, guid, key_hash FROM relay_identity"
_LAST = "SELECT setval(%(sequence)s::regclass, %(last)s)"

# Nothing can be delivered of which there is no body: who has not come so far has lost it.
_BODILESS = "UPDATE log_state SET bodies_removed = greatest(bodies_removed, (SELECT coalesce(max(position), 0) FROM post))"

# Listeners know numbers that were given after the export: none of those is given again to another message.
_AHEAD = """
    UPDATE bus_state
       SET last_seq = last_seq + 1000000000, published = CASE WHEN published < last_seq THEN published ELSE last_seq + 1000000000 END
     WHERE last_seq > 0
"""

_MESSAGELESS = "UPDATE bus_state SET published = last_seq, pruned = last_seq, pruned_own = last_seq, bytes = 0, bytes_own = 0"

_HOLDS = {
    "log_state": SQL("SELECT EXISTS (SELECT FROM {} WHERE bodies_removed > 0 OR followed > 0)"),
    "bus_state": SQL("SELECT EXISTS (SELECT FROM {} WHERE last_seq > 0)"),
}
_HOLDS_ANY = SQL("SELECT EXISTS (SELECT FROM {})")


@frozen
class Restored:
    """
    @ivar rows: in all tables.
    @ivar upgraded: migrations that were applied because this version is newer than the export.
    @ivar key_written: else the right one was there.
    """

    rows: int
    upgraded: int
    key_written: bool


def restore(
    export: Opened,
    dsn: str,
    key_file: Path,
    migrations: list[Migration],
    *,
    force: bool = False,
    tell: Tell = lambda what, part: None,
) -> Restored:
    """
    Restore an export. Blocks. The daemon must not run.

    @param key_file: where the private key is to be.
    @param force: in place of what the database holds; never in place of another identity.
    @raise BackupError: the target is in use, or holds something.
    @raise socialrelay.boundaries.Unavailable: the database cannot be reached.
    @raise socialrelay.storage.database.StorageError: it refuses something.
    @raise socialrelay.identity.IdentityError: the private key cannot be written.
    """
    manifest = export.manifest
    applied = [migration for migration in migrations if migration.version <= manifest.schema]
    with connected(dsn, APPLICATION) as connection, connection.cursor() as cursor:
        require_alone(cursor)
        _clear(cursor, migrations, manifest.identity, force)
        cursor.execute(VERSIONS)
        for migration in applied:
            run(cursor, migration)
        _fill(cursor, export, tell)
        with _key(export, key_file) as written:
            connection.commit()
    return Restored(sum(table.rows for table in manifest.tables), apply(dsn, migrations), written)


def _clear(cursor: Any, migrations: list[Migration], identity: Who | None, force: bool) -> None:
    """See that nothing is lost that is not to be lost, and take the relay's tables away; the database may have others."""
    present = schema(cursor, migrations).present
    if not present:
        return
    tables = tables_of(migration for migration in migrations if migration.version <= present)
    cursor.execute(_IDENTITY)
    found = cursor.fetchone()
    if found is not None:
        held = Who.of(found)
        if held != identity:
            whose = "a relay that was never bound to a name" if identity is None else identity.handle
            raise BackupError(
                f"the database belongs to {held.handle} (guid {held.guid}), and the export is of {whose}"
                f"{f' (guid {identity.guid})' if identity else ''}: take another database and state directory"
            )
    if not force and (holding := [name for name in tables if _holds(cursor, name)]):
        raise BackupError(
            f"the database is not empty (there is something in {', '.join(holding[:5])}): take an empty one. "
            "--force throws away what it holds"
        )
    cursor.execute(SQL("DROP TABLE {}, schema_version").format(SQL(", ").join(map(Identifier, tables))))


def _holds(cursor: Any, table: str) -> bool:
    cursor.execute(_HOLDS.get(table, _HOLDS_ANY).format(Identifier(table)))
    return bool(cursor.fetchone()[0])


def _fill(cursor: Any, export: Opened, tell: Tell) -> None:
    manifest = export.manifest
    whole = sum(table.bytes for table in manifest.tables) or 1
    done = 0
    for table in manifest.tables:
        _check_columns(cursor, table)
        # A migration may have put rows into it.
        cursor.execute(SQL("DELETE FROM {}").format(Identifier(table.name)))
        with export.archive.open(table.member) as member:
            copy_in(cursor, filling(table.name, table.columns), _Told(member, table.name, done, whole, tell))
        if cursor.rowcount != table.rows:
            raise BackupError(f"{table.name} took {cursor.rowcount} rows of {table.rows}: nothing was restored")
        done += table.bytes
    for sequence, last in manifest.sequences.items():
        if last > 0:
            cursor.execute(_LAST, {"sequence": sequence, "last": last})
    if not manifest.bodies:
        cursor.execute(_BODILESS)
    if any(table.name == "bus_state" for table in manifest.tables):
        cursor.execute(_AHEAD)
        if not manifest.bodies:
            cursor.execute(_MESSAGELESS)


def _check_columns(cursor: Any, table: Table) -> None:
    if columns_of(cursor, table.name) != table.columns:
        raise BackupError(f"the columns of {table.name} in the export are not those of its schema: it was changed")


class _Told:
    """A file that tells how far it is read."""

    def __init__(self, file: IO[bytes], name: str, before: int, whole: int, tell: Tell) -> None:
        self._file = file
        self._name = name
        self._done = before
        self._whole = whole
        self._tell = tell

    def read(self, size: int = -1) -> bytes:
        """As files do."""
        data = self._file.read(size)
        self._done += len(data)
        self._tell(self._name, min(1.0, self._done / self._whole))
        return data


@contextmanager
def _key(export: Opened, path: Path) -> Iterator[bool]:
    """The key is in its place before the database is committed, and goes again if that fails: neither is there without the other."""
    if export.key is None:
        yield False
        return
    written = place_key(export.key, path, export.manifest.identity)
    try:
        yield written
    except BaseException:
        if written:
            path.unlink(missing_ok=True)
        raise


def place_key(key: RSAPrivateKey, path: Path, identity: Who | None) -> bool:
    """
    Write the key with mode 0600, unless it is there.

    @return: whether it was written.
    @raise BackupError: another key is there.
    @raise socialrelay.identity.IdentityError: it cannot be written, or what is there cannot be read.
    """
    held = read_key(path)
    if held is not None:
        if public_hash(held) != public_hash(key):
            whose = identity.handle if identity else "the export"
            raise BackupError(f"{path} is another private key than that of {whose}: move it away first, to where you will find it")
        return False
    write_key(path, key)
    folder = path.parent.stat()
    if os.geteuid() == 0 and folder.st_uid != 0:
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)  # the daemon's, like all that is beside it
    return True


def check_target(export: Opened, host: str, username: str) -> str:
    """
    What is to be said of the configuration that the relay would be started with; empty if all is well.

    @param host: the configuration's; empty in development.
    @raise BackupError: the relay would refuse to start.
    """
    identity = export.manifest.identity
    if identity is None:
        return ""
    if not host:
        return f'The configuration has no host: set host = "{identity.host}" before you start the relay.'
    if (host, username) != (identity.host, identity.username):
        raise BackupError(
            f"the configuration says {username}@{host}, and the export is of {identity.handle}: set host and identity.username to those, "
            "or name the configuration with --config"
        )
    return ""
