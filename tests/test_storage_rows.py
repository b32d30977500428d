"""Tests for L{socialrelay.storage.rows}."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import psycopg2
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.storage.arguments import connect_arguments
from socialrelay.storage.rows import Literal, rows, rows_with_body
from tests import servers

VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.binary(max_size=10) | st.frozensets(st.text(max_size=3))


class RowsTests(SynchronousTestCase):
    """Batches as JSON."""

    def test_kinds(self) -> None:
        """
        Each kind of value is written as PostgreSQL reads it; one that has no place in a row is an error.
        """
        row = {"at": datetime(2026, 3, 1, 12, tzinfo=UTC), "tags": frozenset({"b", "a"}), "hash": b"\x00\xff", "author": 'a"\\é'}
        self.assertEqual(
            json.loads(rows([row])), [{"at": "2026-03-01T12:00:00+00:00", "tags": ["a", "b"], "hash": "\\x00ff", "author": 'a"\\é'}]
        )
        with self.assertRaises(TypeError):
            rows([{"what": object()}])

    @given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=3), st.none() | st.binary(max_size=20))
    def test_body(self, others: list[dict[str, object]], body: bytes | None) -> None:
        """
        A body, or none, among whatever else gives the same rows in either way.
        """
        values = [{**other, "n": n, "body": body} for n, other in enumerate(others)]
        self.assertEqual(json.loads(rows_with_body(values)), json.loads(rows(values)))


class LiteralTests(SynchronousTestCase):
    """A long text as a parameter."""

    def setUp(self) -> None:
        arguments = connect_arguments(f"{servers.empty_database()} options='-c standard_conforming_strings=off'")
        self.connection = psycopg2.connect(**arguments)
        self.addCleanup(self.connection.close)

    def test_as_it_is(self) -> None:
        """
        Any text arrives as it is, whatever the operator says of backslashes.
        """
        odd = [
            "",
            "'",
            "''",
            "\\",
            "\\'",
            "'; DROP TABLE post; --",
            "$$ %s %(x)s {}",
            "\n\x01\x1e\x7f",
            "ö\u2028\U0001f600",
            "E'\\x41'",
            "'\\",
        ]
        with self.connection.cursor() as cursor:
            for text in odd:
                cursor.execute("SELECT %(a)s, %(b)s, %(c)s", {"a": Literal(text.encode()), "b": "'", "c": Literal(text.encode())})
                self.assertEqual(cursor.fetchall(), [(text, "'", text)])

    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
    def test_any(self, text: str) -> None:
        """
        So does every other.
        """
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT %(text)s", {"text": Literal(text.encode())})
            self.assertEqual(cursor.fetchall(), [(text,)])
