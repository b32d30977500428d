"""
One connection to PostgreSQL, as txpostgres makes it and the reactor wants it.

txpostgres and psycopg2 are met only here and in L{socialrelay.storage.database}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg2
from twisted.python.failure import Failure
from txpostgres import txpostgres

from socialrelay.storage.arguments import one_line


class Cursor(txpostgres.Cursor):
    """A cursor that is seen by the reactor under its connection's descriptor."""

    def fileno(self) -> int:
        descriptor: int = self._connection.fileno()
        return descriptor


class Connection(txpostgres.Connection):
    """
    A connection that says when it is lost while nobody waits for an answer, and that has a descriptor of its own.

    libpq closes its socket whenever it finds it broken, while the reactor still knows its number; the next socket of the process gets the
    same number, and would never be watched.  A duplicate is closed by us alone, when the reactor has forgotten it.
    """

    cursorFactory = Cursor

    def __init__(self, reactor: Any, lost: Callable[[Connection, str], None]) -> None:
        super().__init__(reactor)
        self._lost = lost
        self._descriptor = -1
        self._inode = -1
        self._open = False

    def opened(self) -> None:
        """It is connected: from now on its socket stays the same one."""
        self._open = True

    def fileno(self) -> int:
        """Our own descriptor of the socket; -1 when there is none."""
        raw = self.pollable()
        if not self._open and raw is not None and not raw.closed:
            self._follow(raw)
        return self._descriptor

    def _follow(self, raw: Any) -> None:
        """While it connects, libpq may take one socket after another; none is watched while it changes them."""
        try:
            inode = os.fstat(raw.fileno()).st_ino
            if inode != self._inode:
                self._forget()
                self._descriptor, self._inode = os.dup(raw.fileno()), inode
        except (OSError, psycopg2.Error):
            return  # it has none just now

    def _forget(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def doRead(self) -> None:
        try:
            super().doRead()
        except psycopg2.Error as error:
            self._lost(self, one_line(error))

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if self.closed:
            self._lost(self, reason.getErrorMessage())

    @property
    def closed(self) -> bool:
        raw = self.pollable()
        return raw is None or bool(raw.closed)

    def abandon(self) -> None:
        """Be rid of it at once, whatever state it is in; never blocks."""
        self._open = True
        if self._descriptor >= 0:
            self.reactor.removeReader(self)
            self.reactor.removeWriter(self)
            # Shut down first: then libpq has nobody to take leave of.
            with suppress(OSError), socket.socket(fileno=os.dup(self._descriptor)) as copy:
                copy.shutdown(socket.SHUT_RDWR)
        if self.pollable() is not None:
            with suppress(psycopg2.Error):
                self.close()
        self._forget()
