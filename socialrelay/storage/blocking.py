"""
A connection to PostgreSQL that blocks: for threads, and for commands that do without the daemon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import psycopg2

from socialrelay.boundaries import Unavailable
from socialrelay.storage.database import StorageError, connect_arguments

CONNECT_SECONDS = 10


class Readable(Protocol):
    """What a COPY reads."""

    def read(self, size: int = -1, /) -> bytes: ...


@contextmanager
def connected(dsn: str, application: str = "socialrelay tool", seconds: int = CONNECT_SECONDS) -> Iterator[Any]:
    """
    A connection as the relay's own are, with its time zone UTC, but without a limit for a statement; closed at the end, and what was not
    committed is undone.

    @param application: by which it is told from the daemon's connections.
    @param seconds: for connecting.
    @raise Unavailable: the database cannot be reached, or is lost meanwhile.
    @raise StorageError: it refuses a statement, or the connection string is none.
    """
    arguments: Mapping[str, object] = {
        "connect_timeout": seconds,
        **connect_arguments(dsn),
        "application_name": application,
    }
    try:
        connection = psycopg2.connect(**arguments)
    except psycopg2.Error as error:
        raise Unavailable(one_line(error)) from None
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
        connection.commit()
        yield connection
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise Unavailable(one_line(error)) from None
    except psycopg2.Error as error:
        raise StorageError(one_line(error)) from error
    finally:
        connection.close()


class _Reading:
    """
    @ivar ended: what ended a reading.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.ended: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """As files do."""
        try:
            return self._file.read(size)
        except BaseException as error:
            self.ended = error
            raise


def copy_in(cursor: Any, statement: Any, file: Readable) -> None:
    """
    A COPY from a file.

    @raise Exception: what ends the reading, be it Ctrl-C, as it is; psycopg2 makes an error of the database of it, without its name.
    @raise Unavailable: the server broke off; psycopg2 does not say why.
    """
    reading = _Reading(file)
    try:
        cursor.copy_expert(statement, reading)
    except psycopg2.Error:
        if reading.ended is not None:
            raise reading.ended from None
        if cursor.connection.closed:
            raise Unavailable("PostgreSQL broke off while rows were put into it; its log says why, such as a full disk") from None
        raise


def one_line(error: BaseException) -> str:
    """What the database said."""
    return " ".join(str(error).split()) or type(error).__name__


_DAEMONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'socialrelay'"


def require_alone(cursor: Any) -> None:
    """
    See that no daemon works with this database, on whatever machine.

    @raise StorageError: one does.
    """
    cursor.execute(_DAEMONS)
    if cursor.fetchone()[0]:
        raise StorageError("a relay is connected to the database: stop it first")
