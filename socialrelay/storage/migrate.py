"""
Brings a database to the schema that this version knows.

Migrations are numbered SQL files (C{0001.initial.sql}); each is applied in one transaction together with its row in C{schema_version}, all
of them under an advisory lock, so that two daemons that start at once do not meet.  The row keeps a checksum of the file: a file that was
changed after it was applied has made another schema than the one that the database has.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import Any

import psycopg2
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from socialrelay import __version__
from socialrelay.storage.blocking import MIGRATION_LOCK, connected, one_line
from socialrelay.storage.queries import StorageError

VERSIONS = """
    CREATE TABLE IF NOT EXISTS schema_version (
        version     integer PRIMARY KEY,
        name        text NOT NULL,
        checksum    bytea NOT NULL,
        applied_at  timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE schema_version IS 'Which migrations were applied';
    COMMENT ON COLUMN schema_version.version IS 'Number of the migration';
    COMMENT ON COLUMN schema_version.name IS 'Its name';
    COMMENT ON COLUMN schema_version.checksum IS 'SHA-256 of its file';
    COMMENT ON COLUMN schema_version.applied_at IS 'When it was applied'
"""

_log = Logger()


@frozen(order=True)
class Migration:
    """A step of the schema."""

    version: int
    name: str
    sql: str

    @property
    def label(self) -> str:
        """The name of its file."""
        return f"{self.version:04}.{self.name}.sql"

    @property
    def checksum(self) -> bytes:
        """SHA-256 of its text."""
        return sha256(self.sql.encode()).digest()


@frozen
class Schema:
    """
    How a database stands.

    @ivar present: the version that it has; 0 if it has none of the relay's tables.
    @ivar missing: what is to be applied.
    """

    present: int
    missing: tuple[Migration, ...]


def known_migrations() -> list[Migration]:
    """Those that come with this version, in order."""
    found = []
    for entry in files("socialrelay.storage").joinpath("migrations").iterdir():
        number, _, rest = entry.name.partition(".")
        if rest.endswith(".sql"):
            found.append(Migration(int(number), rest.removesuffix(".sql"), entry.read_text("utf-8")))
    return sorted(found)


def migrate(reactor: Any, dsn: str) -> Deferred[int]:
    """
    Apply what is missing, in a thread.

    @param reactor: provides IReactorThreads.
    @return: how many were applied.
    @raise Unavailable: the database cannot be reached.
    @raise StorageError: a migration failed and was undone, is not the one that was applied, or the database belongs to a newer version.
    """
    return deferToThreadPool(reactor, reactor.getThreadPool(), apply, dsn, known_migrations())


def apply(dsn: str, migrations: list[Migration]) -> int:
    """As L{migrate}. Blocks."""
    with connected(dsn) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        cursor.execute(VERSIONS)
        missing = schema(cursor, migrations).missing
        for migration in missing:
            try:
                run(cursor, migration)
            except psycopg2.Error as error:
                if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)):
                    raise
                raise StorageError(f"migration {migration.label} failed and was undone: {one_line(error)}") from error
            _log.info("Schema: {name} applied.", name=migration.label)
        return len(missing)


def run(cursor: Any, migration: Migration) -> None:
    """Apply one, together with its row; in one message, which is one transaction of its own if there is none."""
    row = "INSERT INTO schema_version (version, name, checksum) VALUES (%s, %s, %s)"
    values = (migration.version, migration.name, migration.checksum)
    cursor.execute(f"{migration.sql};\n{cursor.mogrify(row, values).decode()}")


def inspect(dsn: str, migrations: list[Migration]) -> Schema:
    """
    How a database stands; nothing is changed. Blocks.

    @raise Unavailable: it cannot be reached.
    @raise StorageError: it belongs to a newer version of the relay, or a migration is not the one that was applied.
    """
    with connected(dsn) as connection, connection.cursor() as cursor:
        return schema(cursor, migrations)


def schema(cursor: Any, migrations: list[Migration]) -> Schema:
    """
    The same, over a connection.

    @raise StorageError: likewise.
    """
    cursor.execute("SELECT to_regclass('schema_version') IS NOT NULL")
    applied: list[tuple[int, str, memoryview]] = []
    if cursor.fetchone()[0]:
        cursor.execute("SELECT version, name, checksum FROM schema_version ORDER BY version")
        applied = cursor.fetchall()
    present = applied[-1][0] if applied else 0
    require_known(present, migrations, "the database has")
    known = {migration.version: migration for migration in migrations}
    for version, name, checksum in applied:
        if version in known and bytes(checksum) != known[version].checksum:
            raise StorageError(
                f"migration {known[version].label} is not the one that this database was made with ({version:04}.{name}.sql then): "
                "install an unchanged version of the relay; if you changed the file yourself, undo that and add a migration of a new number"
            )
    return Schema(present, tuple(migration for migration in migrations if migration.version > present))


def require_known(version: int, migrations: list[Migration], whose: str) -> None:
    """
    @param whose: C{the database has}, C{the export is of}.
    @raise StorageError: this version of the relay is too old for that schema.
    """
    newest = migrations[-1].version
    if version > newest:
        raise StorageError(
            f"{whose} schema {version}, and this is socialrelay {__version__}, which knows none above {newest}: a newer version made it. "
            "Install that version or a later one; to go back to this one, restore a backup from before the upgrade into an empty database"
        )
