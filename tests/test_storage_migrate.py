"""The schema is brought up to date."""

from __future__ import annotations

import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from socialrelay.boundaries import Unavailable
from socialrelay.storage.migrate import Migration, Schema, apply, inspect, known_migrations, migrate
from socialrelay.storage.queries import StorageError
from tests import servers


def rows(dsn, statement):
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


class MigrateTests(TestCase):
    timeout = 60

    async def test_at_once(self):
        """
        Two daemons that start at once apply each migration once.
        """
        dsn = servers.empty_database()
        applied = await gatherResults([migrate(reactor, dsn) for _ in range(3)])
        self.assertEqual(sorted(applied), [0, 0, len(known_migrations())])

    async def test_every_column_is_explained(self):
        """
        Each table and each column has a comment.
        """
        dsn = servers.database()
        silent = rows(
            dsn,
            """
            SELECT c.relname, a.attname
              FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
               AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)
            """,
        )
        self.assertEqual(silent, [])

    def test_failed_migration(self):
        """
        A migration that fails is named and leaves nothing behind; those before it stay.
        """
        dsn = servers.empty_database()
        good = Migration(1, "first", "CREATE TABLE one (n integer)")
        bad = Migration(2, "second", "CREATE TABLE two (n integer); SELECT nonsense")
        error = self.assertRaises(StorageError, apply, dsn, [good, bad])
        self.assertIn("0002.second.sql", str(error))
        self.assertEqual(rows(dsn, "SELECT version, name FROM schema_version"), [(1, "first")])
        self.assertEqual(rows(dsn, "SELECT to_regclass('one') IS NULL, to_regclass('two') IS NULL"), [(False, True)])
        self.assertEqual(apply(dsn, [good, Migration(2, "second", "CREATE TABLE two (n integer);\n-- done")]), 1)

    def test_newer_schema(self):
        """
        A database that a newer version has used is refused with a sentence.
        """
        dsn = servers.empty_database()
        apply(dsn, [Migration(7, "later", "SELECT 1")])
        error = self.assertRaises(StorageError, apply, dsn, [Migration(6, "known", "SELECT 1")])
        self.assertIn("the database has schema 7", str(error))
        self.assertIn("Install that version or a later one", str(error))
        self.assertRaises(StorageError, inspect, dsn, [Migration(6, "known", "SELECT 1")])

    def test_changed_migration(self):
        """
        A migration that is not the one that was applied is refused by name, and nothing is applied after it.
        """
        dsn = servers.empty_database()
        apply(dsn, [Migration(1, "first", "CREATE TABLE one (n integer)")])
        changed = [Migration(1, "first", "CREATE TABLE one (n bigint)"), Migration(2, "second", "CREATE TABLE two (n integer)")]
        error = self.assertRaises(StorageError, apply, dsn, changed)
        self.assertIn("migration 0001.first.sql is not the one that this database was made with", str(error))
        self.assertEqual(rows(dsn, "SELECT to_regclass('two') IS NULL"), [(True,)])

    def test_inspect(self):
        """
        What is missing is told, and nothing is changed.
        """
        dsn = servers.empty_database()
        steps = [Migration(1, "first", "SELECT 1"), Migration(2, "second", "SELECT 2")]
        self.assertEqual(inspect(dsn, steps), Schema(0, tuple(steps)))
        self.assertEqual(rows(dsn, "SELECT to_regclass('schema_version') IS NULL"), [(True,)])
        apply(dsn, steps[:1])
        self.assertEqual(inspect(dsn, steps), Schema(1, (steps[1],)))

    def test_no_server(self):
        """
        A server that is not there is Unavailable.
        """
        self.assertRaises(Unavailable, apply, "host=/nonexistent dbname=x", known_migrations())

    def test_no_connection_string(self):
        """
        What is no connection string is refused with a sentence.
        """
        error = self.assertRaises(StorageError, apply, "this is nothing", known_migrations())
        self.assertIn("connection string", str(error))
