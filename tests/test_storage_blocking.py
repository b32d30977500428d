"""Connections for commands that do without the daemon."""

from __future__ import annotations

import signal
import sys

from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from socialrelay.storage.blocking import MIGRATION_LOCK, connected, require_alone
from tests import servers
from tests.daemon import environment

# In the middle of a COPY.
_COPY = """
import os, sys
from socialrelay.storage.blocking import connected, copy_in

class Rows:
    left = 1_000_000

    def read(self, size=-1):
        self.left -= 1
        if self.left == 999_000:
            os.kill(os.getpid(), int(sys.argv[2]))
        return b"row\\n" if self.left else b""

try:
    with connected(sys.argv[1]) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE filled (line text)")
        copy_in(cursor, "COPY filled FROM STDIN", Rows())
        print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
"""

# Over the outer connection, or over one that is opened meanwhile, as when two databases are worked with.
_PROGRAM = """
import os, sys, threading
import psycopg2
from socialrelay.storage.blocking import connected

dsn, number, depth = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def send():
    other = psycopg2.connect(dsn)
    other.autocommit = True
    cursor = other.cursor()
    while True:
        cursor.execute("SELECT FROM pg_stat_activity WHERE application_name = 'waits' AND state = 'active' AND wait_event = 'PgSleep'")
        if cursor.rowcount:
            os.kill(os.getpid(), number)
            return

def work(depth):
    with connected(dsn, "waits") as connection, connection.cursor() as cursor:
        if depth:
            work(depth - 1)
        else:
            cursor.execute("SELECT pg_sleep(600)")

threading.Thread(target=send, daemon=True).start()
try:
    work(depth)
except KeyboardInterrupt:
    print("interrupted")
"""


class ConnectedTests(TestCase):
    timeout = 60

    async def test_interrupted(self) -> None:
        """
        Ctrl-C ends a statement that runs, and the command with it.
        """
        for depth in ("0", "1"):
            words = ["-c", _PROGRAM, servers.database(), str(int(signal.SIGINT)), depth]
            out, err, code = await getProcessOutputAndValue(sys.executable, words, environment(), reactor=reactor)
            self.assertEqual((out, code), (b"interrupted\n", 0), err.decode())

    async def test_copy(self) -> None:
        """
        Ctrl-C ends a COPY as what it is.
        """
        words = ["-c", _COPY, servers.database(), str(int(signal.SIGINT))]
        out, err, code = await getProcessOutputAndValue(sys.executable, words, environment(), reactor=reactor)
        self.assertEqual((out, code), (b"interrupted\n", 0), err.decode())


class AloneTests(TestCase):
    def test_nobody_starts(self) -> None:
        """Who has seen that no daemon works with a database keeps each that starts waiting until the own work is done."""
        dsn = servers.empty_database()
        asks = "SELECT pg_try_advisory_lock(%s), pg_advisory_unlock_all()"  # as a start does, but without waiting
        with connected(dsn) as starting, starting.cursor() as start, connected(dsn) as restoring, restoring.cursor() as restore:
            require_alone(restore)
            start.execute(asks, (MIGRATION_LOCK,))
            self.assertFalse(start.fetchone()[0])
            restoring.commit()
            start.execute(asks, (MIGRATION_LOCK,))
            self.assertTrue(start.fetchone()[0])
