"""
The old relay's database, brought into temporary tables beside the new one's: C{old_node}, C{old_profile}, and the statistics by hour in
C{old_statistic}.

There are millions of rows of statistics, one for each post, and they are summed up where they are: in the old database, or, of files, in
temporary tables.  Its times are those of the clock on the wall where it ran.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import psycopg2
from attrs import frozen
from psycopg2.sql import SQL, Identifier

from socialrelay.storage.blocking import connected, copy_in, one_line
from socialrelay.takeover.old_config import TakeoverError

Tell = Callable[[str, float], None]

_IN_MEMORY = 16 * 1024 * 1024
_HEADER = 4096

_STAGES = """
    CREATE TEMPORARY TABLE old_node (host text, created_at timestamp, last_success timestamp, total_delivered bigint) ON COMMIT DROP;
    CREATE TEMPORARY TABLE old_profile (identifier text, public_key text, created_at timestamp) ON COMMIT DROP;
    CREATE TEMPORARY TABLE old_statistic (hour timestamptz, event text, count bigint) ON COMMIT DROP
"""

_RAW = """
    CREATE TEMPORARY TABLE old_receivestatistic (created_at timestamp) ON COMMIT DROP;
    CREATE TEMPORARY TABLE old_workerreceivestatistic (
        created_at timestamp, entities integer, sent_amount integer, sent_success integer) ON COMMIT DROP
"""


@frozen
class _OldTable:
    """
    @ivar columns: what is read of it.
    @ivar into: the temporary table.
    @ivar rows: the statement that gives what belongs there; C{{name}} is the table, C{{zone}} its time zone.
    """

    name: str
    columns: tuple[str, ...]
    into: str
    rows: str


_TABLES = (
    _OldTable(
        "node",
        ("host", "created_at", "last_success", "total_delivered"),
        "old_node",
        "SELECT host, created_at, last_success, total_delivered FROM {name}",
    ),
    _OldTable(
        "profile",
        ("identifier", "public_key", "created_at"),
        "old_profile",
        "SELECT identifier, public_key, created_at FROM {name}",
    ),
    _OldTable(
        "receivestatistic",
        ("created_at",),
        "old_statistic",
        "SELECT date_trunc('hour', created_at AT TIME ZONE {zone}), 'received', count(*) FROM {name} GROUP BY 1",
    ),
    _OldTable(
        "workerreceivestatistic",
        ("created_at", "entities", "sent_amount", "sent_success"),
        "old_statistic",
        """
        SELECT hour, event, count
          FROM (SELECT date_trunc('hour', created_at AT TIME ZONE {zone}) AS hour,
                       count(*) FILTER (WHERE entities > 0) AS accepted,
                       count(*) FILTER (WHERE entities = 0) AS ignored,
                       sum(sent_success) AS delivered,
                       sum(greatest(sent_amount - sent_success, 0)) AS failed
                  FROM {name}
                 GROUP BY 1) AS worked
         CROSS JOIN LATERAL (VALUES ('accepted', accepted), ('ignored', ignored), ('delivered', delivered), ('failed', failed))
               AS counted (event, count)
         WHERE count > 0
        """,
    ),
)


def prepare(cursor: Any) -> None:
    """Make the temporary tables, empty; they go with the transaction."""
    cursor.execute(_STAGES)


def from_postgres(cursor: Any, dsn: str, zone: str, tell: Tell) -> None:
    """
    Fill them from the old database. Nothing is changed there.

    @param cursor: of the new database.
    @raise socialrelay.boundaries.Unavailable: it cannot be reached.
    @raise TakeoverError: it is not an old relay's.
    """
    with connected(dsn, "socialrelay import") as old, old.cursor() as source:
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for index, table in enumerate(_TABLES):
            tell(table.name, index / len(_TABLES))
            statement = _statement(source, table, table.name, zone)
            with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
                try:
                    source.copy_expert(f"COPY ({statement}) TO STDOUT", file)
                except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn, psycopg2.errors.InsufficientPrivilege) as error:
                    raise TakeoverError(
                        f"the old database is not as Social-Relay 1.5 and 1.6 keep theirs, or may not be read: {one_line(error)}"
                    ) from None
                file.seek(0)
                copy_in(cursor, f"COPY {table.into} FROM STDIN", file)


def from_files(cursor: Any, folder: Path, zone: str, tell: Tell) -> None:
    """
    Fill them from files as C{mysql -B} writes them: C{node.tsv} and so on, with a line of column names.

    @raise TakeoverError: one is missing, or has other columns.
    """
    cursor.execute(_RAW)
    for index, table in enumerate(_TABLES):
        tell(table.name, index / len(_TABLES))
        raw = f"old_{table.name}"
        path = folder / f"{table.name}.tsv"
        try:
            with path.open("rb") as file:
                _copy_in(cursor, raw, table, file, path)
        except OSError as error:
            raise TakeoverError(f"{path} cannot be read: {error.strerror}. docs/moving.md says how the files are made") from None
        if raw != table.into:
            cursor.execute(f"INSERT INTO {table.into} {_statement(cursor, table, raw, zone)}")


def _copy_in(cursor: Any, raw: str, table: _OldTable, file: IO[bytes], path: Path) -> None:
    header = file.readline(_HEADER).decode("utf-8", "replace").rstrip("\r\n").split("\t")
    if sorted(header) != sorted(table.columns):
        raise TakeoverError(
            f"{path} has the columns {', '.join(header)[:200]}, and must have {', '.join(table.columns)} in its first line, with tabs"
        )
    columns = SQL(", ").join(map(Identifier, header))
    try:
        copy_in(cursor, SQL("COPY {} ({}) FROM STDIN WITH (FORMAT text, NULL 'NULL')").format(Identifier(raw), columns), file)
    except psycopg2.DataError as error:
        raise TakeoverError(f"{path} cannot be read: {one_line(error)}") from None


def _statement(cursor: Any, table: _OldTable, name: str, zone: str) -> str:
    return table.rows.format(name=name, zone=cursor.mogrify("%s", (zone,)).decode())
