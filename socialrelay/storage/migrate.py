"""
Brings a database to the schema that this version knows.

Migrations are numbered SQL files (C{0001.initial.sql}); each is applied in one transaction together with its row in C{schema_version}, all
of them under an advisory lock, so that two daemons that start at once do not meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from importlib.resources import files
from typing import Any

import psycopg2
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from socialrelay.boundaries import Unavailable
from socialrelay.storage.database import StorageError, connect_arguments

# Any number that nothing else in this database uses.
_LOCK = 7_310_200_116_001
_CONNECT_SECONDS = 10

_VERSIONS = """
    CREATE TABLE IF NOT EXISTS schema_version (
        version     integer PRIMARY KEY,
        name        text NOT NULL,
        applied_at  timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE schema_version IS 'Which migrations were applied';
    COMMENT ON COLUMN schema_version.version IS 'Number of the migration';
    COMMENT ON COLUMN schema_version.name IS 'Its name';
    COMMENT ON COLUMN schema_version.applied_at IS 'When it was applied'
"""

_log = Logger()


@frozen(order=True)
class Migration:
    """A step of the schema."""

    version: int
    name: str
    sql: str


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
    @raise StorageError: a migration failed and was undone, or the database belongs to a newer version of the relay.
    """
    return deferToThreadPool(reactor, reactor.getThreadPool(), apply, dsn, known_migrations())


def apply(dsn: str, migrations: list[Migration]) -> int:
    """As L{migrate}. Blocks."""
    arguments: Mapping[str, object] = {"connect_timeout": _CONNECT_SECONDS, **connect_arguments(dsn)}
    try:
        connection = psycopg2.connect(**arguments)
    except psycopg2.Error as error:
        raise Unavailable(" ".join(str(error).split())) from None
    with closing(connection), connection.cursor() as cursor:
        connection.autocommit = True
        try:
            cursor.execute("SET statement_timeout = 0; SELECT pg_advisory_lock(%s)", (_LOCK,))
            cursor.execute(_VERSIONS)
            return _apply_missing(cursor, migrations)
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise Unavailable(" ".join(str(error).split())) from None
        except psycopg2.Error as error:
            raise StorageError(f"the schema cannot be brought up to date: {' '.join(str(error).split())}") from error


def _apply_missing(cursor: Any, migrations: list[Migration]) -> int:
    cursor.execute("SELECT coalesce(max(version), 0) FROM schema_version")
    present = cursor.fetchone()[0]
    newest = migrations[-1].version
    if present > newest:
        raise StorageError(f"the database has schema {present}, and this version of the relay knows none above {newest}: use a newer one")
    missing = [migration for migration in migrations if migration.version > present]
    for migration in missing:
        label = f"{migration.version:04}.{migration.name}.sql"
        try:
            # One message is one transaction.
            row = cursor.mogrify("INSERT INTO schema_version (version, name) VALUES (%s, %s)", (migration.version, migration.name))
            cursor.execute(f"{migration.sql};\n{row.decode()}")
        except psycopg2.Error as error:
            if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)):
                raise
            raise StorageError(f"migration {label} failed and was undone: {' '.join(str(error).split())}") from error
        _log.info("Schema: {name} applied.", name=label)
    return len(missing)
