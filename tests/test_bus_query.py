"""Tests for L{socialrelay.bus.query}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.query import BadQuery, Query, read_query, read_texts
from socialrelay.bus.wire import MAX_PAGE, MAX_WAIT

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_names = st.sampled_from(["since", "topic", "limit", "wait"])


class QueryTests(SynchronousTestCase):
    def test_nothing_said(self) -> None:
        """
        Who says nothing asks for what comes from now on, and does not wait; null is nothing.
        """
        for query in (read_query({}), read_texts({}), read_query({"since": None, "topic": None, "limit": None, "wait": None})):
            self.assertEqual(query, Query(None, "", MAX_PAGE, 0.0))

    def test_all_said(self) -> None:
        """
        JSON and the query of a URL mean the same.
        """
        expected = Query(4711, "org.example.", 10, 1.5)
        self.assertEqual(read_query({"since": 4711, "topic": "org.example.", "limit": 10, "wait": 1.5}), expected)
        self.assertEqual(read_texts({"since": "4711", "topic": "org.example.", "limit": "10", "wait": "1.5"}), expected)
        self.assertEqual(read_texts({"topic": "10", "wait": "2"}), Query(topic="10", wait=2.0))

    def test_bounds(self) -> None:
        """
        The least and the greatest are allowed, and nothing beyond.
        """
        for name, least, most in (("since", 0, 2**63 - 1), ("limit", 1, MAX_PAGE), ("wait", 0, MAX_WAIT)):
            for value in (least, most):
                self.assertEqual(getattr(read_query({name: value}), name), value)
            for wrong in (least - 1, most + 1):
                self.assertRaises(BadQuery, read_query, {name: wrong})

    def test_other_kinds(self) -> None:
        """
        A value of another kind is refused, and named.
        """
        wrong: list[dict[str, object]] = [
            {"since": 1.0},
            {"since": True},
            {"since": "1"},
            {"limit": False},
            {"wait": float("nan")},
            {"wait": []},
            {"topic": 1},
        ]
        for said in wrong:
            error = self.assertRaises(BadQuery, read_query, said)
            self.assertIn(next(iter(said)), str(error))

    def test_topics_that_cannot_be(self) -> None:
        """
        A topic that no message has is refused: too long, with control characters, or no text that UTF-8 can say.
        """
        for topic in ("x" * 256, "ä" * 128, "a\0", "a\nb", "\ud800"):
            self.assertRaises(BadQuery, read_query, {"topic": topic})

    def test_texts_that_are_no_numbers(self) -> None:
        """
        Only plain decimal digits are numbers in a URL.
        """
        for text in ("", " 1", "+1", "1_0", "٣", "0x1", "1e3", "9" * 20):
            self.assertRaises(BadQuery, read_texts, {"since": text})
        for text in ("", ".5", "1.", "nan", "inf", "1.2.3", "-1", "1e0"):
            self.assertRaises(BadQuery, read_texts, {"wait": text})

    def test_unknown(self) -> None:
        """
        A name that there is not is refused, and those that there are are told.
        """
        error = self.assertRaises(BadQuery, read_query, {"sinc": 1})
        self.assertIn("there are since, topic, limit, wait", str(error))

    @given(st.dictionaries(_names | st.text(), _values))
    def test_whatever_json(self, said: dict[str, object]) -> None:
        """
        Whatever JSON says is a query within its bounds, or refused.
        """
        try:
            query = read_query(said)
        except BadQuery:
            return
        self.assertTrue(query.since is None or query.since >= 0)
        self.assertTrue(1 <= query.limit <= MAX_PAGE and 0 <= query.wait <= MAX_WAIT)
        query.topic.encode()

    @given(st.dictionaries(_names, st.text()))
    def test_whatever_text(self, said: dict[str, str]) -> None:
        """
        The same of whatever stands in a URL.
        """
        try:
            query = read_texts(said)
        except BadQuery:
            return
        self.assertEqual(query, read_texts(said))
        self.assertTrue(1 <= query.limit <= MAX_PAGE and 0 <= query.wait <= MAX_WAIT)
