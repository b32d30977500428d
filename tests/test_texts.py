"""Tests for L{socialrelay.network.texts}."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.network.texts import MAX_LINE, one_line, retry_after

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class OneLineTests(SynchronousTestCase):
    """Texts for operators."""

    @given(st.text())
    def test_printable(self, text: str) -> None:
        """Whatever comes, one bounded line of printable ASCII goes out."""
        line = one_line(text)
        self.assertTrue(len(line) <= MAX_LINE and line.isascii() and (line.isprintable() or not line))

    def test_escapes(self) -> None:
        """Control characters are escaped, not dropped."""
        self.assertEqual(one_line("a\r\n\x1b[31mü"), "a\\r\\n\\x1b[31m\\xfc")


class RetryAfterTests(SynchronousTestCase):
    """C{Retry-After}."""

    def test_read(self) -> None:
        """Seconds and dates of all three forms are read; a date in the past means now."""
        values = ["120", " 7 ", "Sun, 01 Nov 2026 12:01:00 GMT", "Sun Nov  1 12:00:30 2026", "Sun, 01 Nov 2020 12:00:00 GMT"]
        self.assertEqual([retry_after(value, NOON) for value in values], [120, 7, 60, 30, 0])

    def test_nonsense(self) -> None:
        """Anything else means nothing."""
        self.assertEqual([retry_after(value, NOON) for value in ("", "soon", "-1", "1.5", "١٢", "Sun, 99 Nov")], [None] * 6)

    @given(st.text())
    def test_never_raises(self, value: str) -> None:
        """Whatever comes, the answer is None or not negative."""
        seconds = retry_after(value, NOON)
        self.assertTrue(seconds is None or seconds >= 0)
