"""JSON from strangers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.jsontext import NotJSON, read_json, read_object


class ReadTests(SynchronousTestCase):
    def test_read(self) -> None:
        """
        UTF-8 is read with a byte order mark and without.
        """
        for mark in (b"", b"\xef\xbb\xbf"):
            self.assertEqual(read_object(mark + '{"é": [1]}'.encode()), {"é": [1]})

    def test_refused(self) -> None:
        """
        Other encodings, other syntax and endless nesting or numbers are one error.
        """
        for body in (b"", b"{", b"\xff", '{"a": 1}'.encode("utf-16"), b"[" * 200_000, b"9" * 20_000):
            self.assertRaises(NotJSON, read_json, body)

    def test_no_object(self) -> None:
        """
        Where an object has to be, nothing else will do.
        """
        for body in (b"[]", b"1", b"null", b'"{}"'):
            self.assertIn("not an object", str(self.assertRaises(NotJSON, read_object, body)))

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=50))
    def test_anything(self, body: bytes) -> None:
        """
        No bytes upset the reader.
        """
        try:
            read_json(body)
        except NotJSON:
            pass
