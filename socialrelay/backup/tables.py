"""Which tables and sequences the relay's schema has, and in which order they can be filled."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from psycopg2.sql import SQL, Composed, Identifier

from socialrelay.storage.migrate import Migration

_CREATED = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_DROPPED = re.compile(r"^DROP TABLE (\w+)", re.MULTILINE)

# What can be generated cannot be written.
_COLUMNS = """
    SELECT attname
      FROM pg_attribute
     WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
     ORDER BY attnum
"""

_SEQUENCES = """
    SELECT sequence.relname
      FROM pg_depend
      JOIN pg_class AS sequence ON sequence.oid = pg_depend.objid AND sequence.relkind = 'S'
     WHERE pg_depend.refobjid = ANY(%(tables)s::regclass[]) AND pg_depend.deptype IN ('a', 'i')
     ORDER BY sequence.relname
"""


def tables_of(migrations: Iterable[Migration]) -> list[str]:
    """
    The relay's tables, those that are referred to before those that refer to them.  The database may have others.

    Each migration makes and drops tables at the beginning of a line.
    """
    found: list[str] = []
    for migration in migrations:
        found += _CREATED.findall(migration.sql)
        for name in _DROPPED.findall(migration.sql):
            found.remove(name)
    return found


def columns_of(cursor: Any, table: str) -> tuple[str, ...]:
    """Those that are to be written, in order; empty if there is no such table."""
    cursor.execute(_COLUMNS, {"table": table})
    return tuple(name for (name,) in cursor.fetchall())


def sequences_of(cursor: Any, tables: list[str]) -> list[str]:
    """The sequences that number the rows of these tables."""
    cursor.execute(_SEQUENCES, {"tables": tables})
    return [name for (name,) in cursor.fetchall()]


def last_of(cursor: Any, sequence: str) -> int:
    """The last number that a sequence gave; 0 for none."""
    cursor.execute(SQL("SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {}").format(Identifier(sequence)))
    return int(cursor.fetchone()[0])


def reading(table: str, columns: Iterable[str], *, rows: bool = True) -> Composed:
    """
    The statement that writes a table out.

    @param rows: else it is written as if it were empty.
    """
    condition = SQL("") if rows else SQL(" WHERE false")
    return SQL("COPY (SELECT {} FROM {}{}) TO STDOUT").format(_names(columns), Identifier(table), condition)


def filling(table: str, columns: Iterable[str]) -> Composed:
    """The statement that reads it in. COPY writes into columns that the database numbers itself, too."""
    return SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), _names(columns))


def _names(columns: Iterable[str]) -> Composed:
    return SQL(", ").join(map(Identifier, columns))
