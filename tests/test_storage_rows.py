"""Tests for L{socialrelay.storage.rows}."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.storage.rows import rows, rows_with_body

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
