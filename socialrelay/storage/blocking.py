"""
A connection to PostgreSQL that blocks: for threads, and for commands that do without the daemon.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import psycopg2

from socialrelay.boundaries import Unavailable
from socialrelay.storage.arguments import connect_arguments
from socialrelay.storage.queries import StorageError

CONNECT_SECONDS = 10
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_open: list[Any] = []
"""Connections of the main thread; a statement runs over the last."""


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
        with _cancelled_by_signals(connection):
            yield connection
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise Unavailable(one_line(error)) from None
    except psycopg2.Error as error:
        raise StorageError(one_line(error)) from error
    finally:
        connection.close()


@contextmanager
def _cancelled_by_signals(connection: Any) -> Iterator[None]:
    """
    Ctrl-C, or a signal that ends the process, ends the statement that runs meanwhile; else Python learns of it when the statement has
    ended, which may take minutes.  Only in the main thread, and not beside a reactor, which wants to hear of signals itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _open.append(connection)
    try:
        if len(_open) > 1:
            yield
            return
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write, False)
        others = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if others != -1:
            signal.set_wakeup_fd(others)
        watcher = threading.Thread(target=_watch, args=(read,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            if others == -1:
                signal.set_wakeup_fd(-1)
            os.close(write)
            watcher.join()
    finally:
        _open.pop()


def _watch(read: int) -> None:
    """Until the other end is closed."""
    with open(read, "rb", buffering=0) as signals:
        while numbers := signals.read(64):
            if _ENDING.intersection(numbers):
                with suppress(psycopg2.Error):
                    _open[-1].cancel()


class _Reading:
    """
    @ivar ended: what ended a reading.
    """

    def __init__(self, file: Readable, signals: list[int]) -> None:
        self._file = file
        self._signals = signals
        self.ended: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """As files do."""
        if self._signals:
            raise InterruptedError
        try:
            return self._file.read(size)
        except BaseException as error:
            self.ended = error
            raise


@contextmanager
def _signals_held() -> Iterator[list[int]]:
    """
    Signals that end the command do so at the end.

    @return: those that came.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {number: handler for number in _ENDING if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in came:
            before[signal.Signals(caught)](caught, None)


def copy_in(cursor: Any, statement: Any, file: Readable) -> None:
    """
    A COPY from a file.

    @raise BaseException: what ends the reading, or Ctrl-C; psycopg2 makes an error of the database of either, without its name.
    @raise Unavailable: the server broke off; psycopg2 does not say why.
    """
    with _signals_held() as signals:
        reading = _Reading(file, signals)
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


MIGRATION_LOCK = 7_310_200_116_001
"""The advisory lock under which the schema is looked at and changed: each daemon begins with that."""

_DAEMONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'socialrelay'"


def require_alone(cursor: Any) -> None:
    """
    See that no daemon works with this database, on whatever machine, and let none that starts go on until this transaction ends.

    @raise StorageError: one does.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
    cursor.execute(_DAEMONS)
    if cursor.fetchone()[0]:
        raise StorageError("a relay is connected to the database: stop it first")
